using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Deletes traces that are older than the server was told to keep them, once an hour; does nothing unless it was told.</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">The server's options.</param>
/// <param name="logger">Where it says what it did.</param>
public sealed class TraceRetention(Database database, ServerOptions options, ILogger<TraceRetention> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromHours(1);

    /// <summary>Deletes what is too old by now, and returns how much it was.</summary>
    /// <param name="keep">How long traces are kept after they began.</param>
    /// <param name="cancellationToken">Gives up between two transactions.</param>
    internal async Task<long> DeleteOldAsync(TimeSpan keep, CancellationToken cancellationToken)
    {
        var oldest = (DateTimeOffset.UtcNow - keep).ToUnixTimeMilliseconds();
        var store = new TraceStore(database, options);
        long deleted = 0;
        foreach (var experiment in await ReadExperimentsAsync(cancellationToken).ConfigureAwait(false))
            deleted += await store.DeleteAsync(experiment, oldest - 1, long.MaxValue, cancellationToken).ConfigureAwait(false);
        return deleted;
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.TraceRetention is not { } keep)
            return;
        using var timer = new PeriodicTimer(Interval);
        do
        {
            try
            {
                // Several servers on one database may do so at the same time: each deletes what it comes to first.
                if (await DeleteOldAsync(keep, stoppingToken).ConfigureAwait(false) is > 0 and var deleted)
                    logger.OldTracesDeleted(deleted);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                // Whatever it was, the server goes on, and so does this in an hour.
                logger.TraceRetentionFailed(exception.Message);
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false));
    }

    private async Task<List<long>> ReadExperimentsAsync(CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.ListAsync(
                database.Statement("SELECT experiment_id FROM experiments ORDER BY experiment_id"), reader => reader.GetInt64(0), cancellationToken).ConfigureAwait(false);
        }
    }
}
