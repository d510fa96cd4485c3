using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// Writes what runs log: metrics with their latest values, params and tags (contract: semantics §6, §7; mapping 2.3, 2.5). Requests that
/// come at the same time are committed together; each of them is written as a whole or not at all, and has its own answer. On SQLite the
/// database does so with all writes; on PostgreSQL a group is written here, set by set.
/// </summary>
public sealed class RunLogStore : IAsyncDisposable
{
    /// <summary>
    /// Lanes for large requests on PostgreSQL, beside the one for small ones. Of a large request the commit is a small part, and several
    /// of them use several processors; small ones gain more from sharing a commit than from lanes. A run is always on the same lane of each
    /// kind, so that two of them hardly ever meet.
    /// </summary>
    private const int BulkLanes = 2;

    /// <summary>From about this many bytes on a request is large: ten rows or so.</summary>
    private const int BulkBytes = 2000;

    /// <summary>From this many bytes on a group takes no further request: those behind should not wait for too much.</summary>
    private const int MaxGroupBytes = 1024 * 1024;

    /// <summary>How many runs that somebody else holds are waited for at a time; each takes a connection while it waits.</summary>
    private const int MaxAwaitedRuns = 4;

    private readonly Database database;
    private readonly GroupCommit<PendingLog>? queue;
    private readonly SemaphoreSlim awaitedRuns = new(MaxAwaitedRuns);
    private readonly CancellationTokenSource stopping = new();

    /// <summary>Makes the store; there is one per database.</summary>
    /// <param name="database">The workspace's database.</param>
    /// <param name="options">The server's options.</param>
    public RunLogStore(Database database, ServerOptions options)
    {
        this.database = database;
        Options = options;
        if (database.Kind == DatabaseKind.PostgreSql)
            queue = new GroupCommit<PendingLog>(1 + BulkLanes, () => database.MaxWaitingBytes, MaxGroupBytes, WriteGroupAsync);
    }

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; }

    /// <summary>How many requests wait or are under way.</summary>
    internal int WaitingCount => queue?.Count ?? database.WaitingWrites;

    /// <summary>Logs to an active run: everything, or nothing when one part is refused.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such run, or no such logged model; INVALID_PARAMETER_VALUE: the run is deleted, or a param has another
    /// value already.
    /// </exception>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    public Task LogAsync(Guid runId, RunLog log, CancellationToken cancellationToken)
    {
        var pending = new PendingLog(runId, log);
        var bytes = log.EstimateBytes();
        if (queue is null)
            return WriteAsync(pending, bytes, cancellationToken);
        var lane = bytes < BulkBytes ? 0 : 1 + (int)((uint)runId.GetHashCode() % BulkLanes);
        return queue.WriteAsync(lane, pending, bytes, cancellationToken);
    }

    /// <summary>Writes what is under way, and gives up what waits for a run that somebody else holds.</summary>
    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync().ConfigureAwait(false);
        if (queue is not null)
            await queue.DisposeAsync().ConfigureAwait(false);
        stopping.Dispose();
        awaitedRuns.Dispose();
    }

    private async Task WriteAsync(PendingLog log, long bytes, CancellationToken cancellationToken)
    {
        var outcomes = await database.WriteAsync(
            (session, token) => RunLogGroup.WriteAsync(database, session, [log], waitForRun: true, token), cancellationToken, bytes)
            .ConfigureAwait(false);
        if (outcomes[0] is { } refusal)
            throw refusal;
    }

    private Task<IReadOnlyList<Task>> WriteGroupAsync(IReadOnlyList<PendingLog> group)
    {
        var outcomes = database.Write(
            (session, token) => group.All(log => log.Log.IsPlain)
                ? PlainPoints.WriteAsync(database, session, group, token)
                : RunLogGroup.WriteAsync(database, session, group, waitForRun: false, token),
            stopping.Token);
        var tasks = ToTasks(outcomes);
        // What somebody else holds is waited for beside the lane, run by run, so that all others go on.
        foreach (var run in Enumerable.Range(0, group.Count).Where(i => outcomes[i] is RunHeldException).GroupBy(i => group[i].RunId))
        {
            var members = run.ToList();
            var written = WriteHeldAsync(members.ConvertAll(i => group[i]));
            for (var i = 0; i < members.Count; i++)
                tasks[members[i]] = OutcomeAsync(written, i);
        }

        return Task.FromResult<IReadOnlyList<Task>>(tasks);

        static async Task OutcomeAsync(Task<IReadOnlyList<Task>> written, int index) =>
            await (await written.ConfigureAwait(false))[index].ConfigureAwait(false);
    }

    /// <summary>Writes requests of one run that somebody else holds, when that one lets it go.</summary>
    private async Task<IReadOnlyList<Task>> WriteHeldAsync(List<PendingLog> logs)
    {
        await awaitedRuns.WaitAsync(stopping.Token).ConfigureAwait(false);
        try
        {
            return await GroupCommit.WriteInPartsAsync(
                logs,
                async part => ToTasks(await database.WriteAsync(
                    (session, token) => RunLogGroup.WriteAsync(database, session, part, waitForRun: true, token), stopping.Token).ConfigureAwait(false)))
                .ConfigureAwait(false);
        }
        finally
        {
            awaitedRuns.Release();
        }
    }

    private static Task[] ToTasks(IReadOnlyList<Exception?> outcomes) =>
        [.. outcomes.Select(outcome => outcome is null ? Task.CompletedTask : Task.FromException(outcome))];
}

/// <summary>A request that waits to be written.</summary>
/// <param name="RunId">The run.</param>
/// <param name="Log">What it logs.</param>
internal sealed record PendingLog(Guid RunId, RunLog Log);

/// <summary>
/// The transaction was not to wait for the run and did not get it: somebody else holds it, or there is none, as whoever waits for it finds out.
/// </summary>
internal sealed class RunHeldException : Exception;
