using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// Writes what runs log: metrics with their latest values, params and tags (contract: semantics §6, §7; mapping 2.3, 2.5). Requests that
/// come at the same time are committed together; each of them is written as a whole or not at all, and has its own answer.
/// </summary>
public sealed class RunLogStore : IAsyncDisposable
{
    /// <summary>
    /// Transactions at a time on PostgreSQL: while one waits for the disk, another one uses the processor. More of them would make groups
    /// smaller. A run is always on the same lane, so that no transaction of this server waits for another one's run.
    /// </summary>
    private const int PostgreSqlLanes = 2;

    /// <summary>From this many rows on a transaction takes no further request: those behind should not wait for too much.</summary>
    private const int MaxGroupRows = 4000;

    private readonly Database database;
    private readonly GroupCommit<PendingLog> queue;

    /// <summary>Makes the store; there is one per database.</summary>
    /// <param name="database">The workspace's database.</param>
    /// <param name="options">The server's options.</param>
    public RunLogStore(Database database, ServerOptions options)
    {
        this.database = database;
        Options = options;
        var lanes = database.Kind == DatabaseKind.PostgreSql ? PostgreSqlLanes : 1;
        queue = new GroupCommit<PendingLog>(lanes, options.MaxWaitingRows, MaxGroupRows, WriteGroupAsync);
    }

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; }

    /// <summary>Logs to an active run: everything, or nothing when one part is refused.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such run, or no such logged model; INVALID_PARAMETER_VALUE: the run is deleted, or a param has another
    /// value already.
    /// </exception>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    public Task LogAsync(Guid runId, RunLog log, CancellationToken cancellationToken) =>
        queue.WriteAsync(runId.GetHashCode(), new PendingLog(runId, log), log.RowCount, cancellationToken);

    /// <summary>Waits until everything that was accepted is written.</summary>
    public ValueTask DisposeAsync() => queue.DisposeAsync();

    private async Task<IReadOnlyList<Exception?>> WriteGroupAsync(IReadOnlyList<PendingLog> group)
    {
        try
        {
            return await database.WriteAsync(
                (session, token) => RunLogGroup.WriteAsync(database, session, group, token), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception) when (DatabaseFaults.Classify(exception) is DatabaseFault.Other or DatabaseFault.Duplicate)
        {
            if (group.Count == 1)
                return [exception];
        }

        // One of them meets a rule of the database that no check knows of; on its own it takes no other along.
        var outcomes = new List<Exception?>(group.Count);
        foreach (var member in group)
            outcomes.AddRange(await WriteGroupAsync([member]).ConfigureAwait(false));
        return outcomes;
    }
}

/// <summary>A request that waits to be written.</summary>
/// <param name="RunId">The run.</param>
/// <param name="Log">What it logs.</param>
internal sealed record PendingLog(Guid RunId, RunLog Log);
