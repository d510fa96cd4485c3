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
    /// Groups at a time on PostgreSQL: while one waits for the disk, another one uses the processor. More of them would make groups smaller.
    /// A run is always on the same lane, so that they do not meet.
    /// </summary>
    private const int PostgreSqlLanes = 2;

    /// <summary>From this many bytes on a group takes no further request: those behind should not wait for too much.</summary>
    private const int MaxGroupBytes = 1024 * 1024;

    /// <summary>How many runs that somebody else holds are waited for at a time; each takes a connection while it waits.</summary>
    private const int MaxAwaitedRuns = 4;

    private readonly Database database;
    private readonly GroupCommit<PendingLog> queue;
    private readonly SemaphoreSlim awaitedRuns = new(MaxAwaitedRuns);
    private readonly CancellationTokenSource stopping = new();

    /// <summary>Makes the store; there is one per database.</summary>
    /// <param name="database">The workspace's database.</param>
    /// <param name="options">The server's options.</param>
    public RunLogStore(Database database, ServerOptions options)
    {
        this.database = database;
        Options = options;
        var lanes = database.Kind == DatabaseKind.PostgreSql ? PostgreSqlLanes : 1;
        queue = new GroupCommit<PendingLog>(lanes, options.MaxWaitingBytes, "bytes", MaxGroupBytes, WriteGroupAsync);
    }

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; }

    /// <summary>How many requests wait or are under way.</summary>
    internal int WaitingCount => queue.Count;

    /// <summary>Logs to an active run: everything, or nothing when one part is refused.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such run, or no such logged model; INVALID_PARAMETER_VALUE: the run is deleted, or a param has another
    /// value already.
    /// </exception>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    public Task LogAsync(Guid runId, RunLog log, CancellationToken cancellationToken) =>
        queue.WriteAsync(runId.GetHashCode(), new PendingLog(runId, log), log.EstimateBytes(), cancellationToken);

    /// <summary>Writes what is under way, and gives up what waits for a run that somebody else holds.</summary>
    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync().ConfigureAwait(false);
        await queue.DisposeAsync().ConfigureAwait(false);
        stopping.Dispose();
        awaitedRuns.Dispose();
    }

    private async Task<IReadOnlyList<Task>> WriteGroupAsync(IReadOnlyList<PendingLog> group)
    {
        var outcomes = await TryWriteAsync(group, waitForRuns: false).ConfigureAwait(false);
        var held = Enumerable.Range(0, group.Count).Where(i => outcomes[i] is RunHeldException).ToList();
        if (held.Count == 0)
            return [.. outcomes.Select(ToTask)];

        // What somebody else holds is waited for beside the lane, run by run, so that all others go on.
        var tasks = outcomes.Select(ToTask).ToArray();
        foreach (var run in held.GroupBy(i => group[i].RunId))
        {
            var members = run.ToList();
            var written = WriteHeldAsync(members.ConvertAll(i => group[i]));
            for (var i = 0; i < members.Count; i++)
                tasks[members[i]] = OutcomeAsync(written, i);
        }

        return tasks;

        static async Task OutcomeAsync(Task<IReadOnlyList<Exception?>> written, int index) =>
            await ToTask((await written.ConfigureAwait(false))[index]).ConfigureAwait(false);
    }

    private async Task<IReadOnlyList<Exception?>> WriteHeldAsync(IReadOnlyList<PendingLog> logs)
    {
        await awaitedRuns.WaitAsync(stopping.Token).ConfigureAwait(false);
        try
        {
            return await TryWriteAsync(logs, waitForRuns: true).ConfigureAwait(false);
        }
        finally
        {
            awaitedRuns.Release();
        }
    }

    /// <summary>Writes requests in one transaction and returns what each is refused for, or null.</summary>
    private async Task<IReadOnlyList<Exception?>> TryWriteAsync(IReadOnlyList<PendingLog> logs, bool waitForRuns)
    {
        try
        {
            return await database.WriteAsync(
                (session, token) => RunLogGroup.WriteAsync(database, session, logs, waitForRuns, token), stopping.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // One of them may meet a rule of the database that no check knows of: on its own it takes no other along.
            var mayBeOne = DatabaseFaults.Classify(exception) is DatabaseFault.Other or DatabaseFault.Duplicate
                && exception is not (WriteQueueFullException or OperationCanceledException);
            if (logs.Count == 1 || !mayBeOne)
                return [.. Enumerable.Repeat(exception, logs.Count)];
        }

        var half = logs.Count / 2;
        return
        [
            .. await TryWriteAsync([.. logs.Take(half)], waitForRuns).ConfigureAwait(false),
            .. await TryWriteAsync([.. logs.Skip(half)], waitForRuns).ConfigureAwait(false),
        ];
    }

    private static Task ToTask(Exception? outcome) => outcome is null ? Task.CompletedTask : Task.FromException(outcome);
}

/// <summary>A request that waits to be written.</summary>
/// <param name="RunId">The run.</param>
/// <param name="Log">What it logs.</param>
internal sealed record PendingLog(Guid RunId, RunLog Log);

/// <summary>Somebody else holds the run, and the transaction was not to wait for it.</summary>
internal sealed class RunHeldException : Exception;
