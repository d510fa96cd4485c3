using System.Threading.Channels;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Makes the segments of the <see cref="SpanTextIndex"/> beside the requests, and takes apart those of which little is left.</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="logger">Where it says what it could not do.</param>
public sealed class SpanTextIndexing(Database database, ILogger<SpanTextIndexing> logger) : BackgroundService
{
    private static readonly TimeSpan TidyInterval = TimeSpan.FromHours(1);

    /// <summary>How long it waits after the database refused.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly SpanTextIndex index = new(database);
    private readonly Channel<long> due = Channel.CreateUnbounded<long>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Lock counting = new();
    private readonly Dictionary<long, int> counts = [];

    /// <summary>Says that traces of an experiment have become pending; enough of them become a segment.</summary>
    public void Noted(long experimentId, int traces)
    {
        lock (counting)
        {
            counts[experimentId] = counts.GetValueOrDefault(experimentId) + traces;
            if (counts[experimentId] < SpanTextIndex.SegmentTraces)
                return;
            counts.Remove(experimentId);
        }

        due.Writer.TryWrite(experimentId);
    }

    /// <inheritdoc/>
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(IndexAsync(stoppingToken), TidyAsync(stoppingToken));

    private async Task IndexAsync(CancellationToken cancellationToken)
    {
        // What a server before this one has left.
        foreach (var experimentId in await TryAsync(() => index.ReadPendingAsync(cancellationToken), cancellationToken).ConfigureAwait(false) ?? [])
            due.Writer.TryWrite(experimentId);
        await foreach (var experimentId in due.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
        {
            while (await TryAsync(() => index.IndexAsync(experimentId, cancellationToken), cancellationToken).ConfigureAwait(false))
            {
            }
        }
    }

    private async Task TidyAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(TidyInterval);
        while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
        {
            foreach (var (experimentId, traces) in await TryAsync(() => index.TidyAsync(cancellationToken), cancellationToken).ConfigureAwait(false) ?? [])
                Noted(experimentId, traces);
        }
    }

    /// <summary>The searches are right without all this, so what fails waits for the next occasion.</summary>
    private async Task<T?> TryAsync<T>(Func<Task<T>> work, CancellationToken cancellationToken)
    {
        try
        {
            return await work().ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            logger.SpanTextIndexingFailed(exception.Message);
            await Task.Delay(Patience, cancellationToken).ConfigureAwait(false);
            return default;
        }
    }
}
