using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>A run that a transaction is about to write to, and that nobody else can write to until it ends.</summary>
/// <param name="Key">Its key in the database.</param>
/// <param name="Id">Its id.</param>
/// <param name="ExperimentId">Its experiment.</param>
public sealed record ActiveRun(long Key, Guid Id, long ExperimentId)
{
    /// <summary>Finds a run, holds it, and refuses it when it is deleted: no write of any kind goes to a deleted run.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when it is deleted.</exception>
    public static async Task<ActiveRun> LockAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken) =>
        (await HeldRun.LockAsync(database, session, id, cancellationToken).ConfigureAwait(false)).RequireActive();
}

/// <summary>A run that a transaction holds, deleted or not.</summary>
/// <param name="Key">Its key in the database.</param>
/// <param name="Id">Its id.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Stage"><c>active</c> or <c>deleted</c>.</param>
public sealed record HeldRun(long Key, Guid Id, long ExperimentId, string Stage)
{
    private const string Select = "SELECT run_id, run_uuid, experiment_id, lifecycle_stage FROM runs";

    /// <summary>Whether it may be written to.</summary>
    public bool IsActive => Stage == "active";

    /// <summary>Finds a run and holds it.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public static async Task<HeldRun> LockAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken) =>
        await session.FirstOrDefaultAsync(
            database.Statement($"{Select} WHERE run_uuid = $1 FOR NO KEY UPDATE", $"{Select} WHERE run_uuid = $1").Add(id),
            Read,
            cancellationToken).ConfigureAwait(false) ?? throw RunId.NotFound(RunId.Format(id));

    /// <summary>
    /// Finds runs and holds those that nobody else holds; the others, and those that do not exist, are left out. It never waits, so that
    /// a transaction with several runs is in nobody's way.
    /// </summary>
    public static Task<List<HeldRun>> LockFreeAsync(
        Database database, DatabaseSession session, IReadOnlyList<Guid> ids, CancellationToken cancellationToken) =>
        session.ListAsync(
            database.Statement(
                $"{Select} WHERE run_uuid = ANY($1) FOR NO KEY UPDATE SKIP LOCKED",
                $"{Select} WHERE run_uuid IN (SELECT value FROM json_each($1))").Add(ids),
            Read,
            cancellationToken);

    /// <summary>
    /// Holds the runs of an experiment that are in a stage, in the order of their keys: two that do this do not wait for each other in a
    /// circle. On SQLite a transaction has everything to itself anyway.
    /// </summary>
    public static Task LockExperimentAsync(
        Database database, DatabaseSession session, long experimentId, string stage, CancellationToken cancellationToken) =>
        database.Kind == DatabaseKind.Sqlite
            ? Task.CompletedTask
            : session.ExecuteAsync(
                database.Statement("""
                    SELECT count(*) FROM (
                        SELECT run_id FROM runs WHERE experiment_id = $1 AND lifecycle_stage = $2 ORDER BY run_id FOR NO KEY UPDATE) AS held
                    """).Add(experimentId).Add(stage),
                cancellationToken);

    /// <summary>Why it may not be written to, INVALID_PARAMETER_VALUE because it is deleted; null when it may.</summary>
    public MlflowException? Refusal => IsActive
        ? null
        : MlflowException.InvalidParameter($"The run {RunId.Format(Id)} must be in the 'active' state; its lifecycle_stage is '{Stage}'.");

    /// <summary>The run, if it may be written to.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is deleted.</exception>
    public ActiveRun RequireActive() => Refusal is { } refusal ? throw refusal : new ActiveRun(Key, Id, ExperimentId);

    /// <summary>Reads <c>run_id, run_uuid, experiment_id, lifecycle_stage</c>.</summary>
    internal static HeldRun Read(DbDataReader reader) =>
        new(reader.GetInt64(0), reader.GetGuid(1), reader.GetInt64(2), reader.GetString(3));
}
