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
        (await LockAnyAsync(database, session, id, cancellationToken).ConfigureAwait(false)).RequireActive();

    /// <summary>Finds a run and holds it, deleted or not.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public static async Task<HeldRun> LockAnyAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken) =>
        await session.FirstOrDefaultAsync(
            database.Statement(
                "SELECT run_uuid, run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1 FOR NO KEY UPDATE",
                "SELECT run_uuid, run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1").Add(id),
            HeldRun.Read,
            cancellationToken).ConfigureAwait(false) ?? throw RunId.NotFound(RunId.Format(id));

    /// <summary>
    /// Finds runs and holds them, deleted or not; those that do not exist are left out. They are taken in the order of their keys, so that
    /// transactions with several of them do not wait for each other in a circle.
    /// </summary>
    public static Task<List<HeldRun>> LockAllAsync(
        Database database, DatabaseSession session, IReadOnlyList<Guid> ids, CancellationToken cancellationToken) =>
        session.ListAsync(
            database.Statement(
                "SELECT run_uuid, run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = ANY($1) ORDER BY run_id FOR NO KEY UPDATE",
                "SELECT run_uuid, run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid IN (SELECT value FROM json_each($1))").Add(ids),
            HeldRun.Read,
            cancellationToken);

    /// <summary>Holds all runs of an experiment, in the same order; on SQLite a transaction has everything to itself anyway.</summary>
    public static Task LockAllAsync(Database database, DatabaseSession session, long experimentId, CancellationToken cancellationToken) =>
        database.Kind == DatabaseKind.Sqlite
            ? Task.CompletedTask
            : session.ExecuteAsync(
                database.Statement("""
                    SELECT count(*) FROM (SELECT run_id FROM runs WHERE experiment_id = $1 ORDER BY run_id FOR NO KEY UPDATE) AS held
                    """).Add(experimentId),
                cancellationToken);
}

/// <summary>A run that a transaction holds, deleted or not.</summary>
/// <param name="Run">The run.</param>
/// <param name="Stage"><c>active</c> or <c>deleted</c>.</param>
public sealed record HeldRun(ActiveRun Run, string Stage)
{
    /// <summary>Whether it may be written to.</summary>
    public bool IsActive => Stage == "active";

    /// <summary>The run, if it may be written to.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is deleted.</exception>
    public ActiveRun RequireActive() => IsActive
        ? Run
        : throw MlflowException.InvalidParameter(
            $"The run {RunId.Format(Run.Id)} must be in the 'active' state; its lifecycle_stage is '{Stage}'.");

    /// <summary>Reads <c>run_uuid, run_id, experiment_id, lifecycle_stage</c>.</summary>
    internal static HeldRun Read(DbDataReader reader) =>
        new(new ActiveRun(reader.GetInt64(1), reader.GetGuid(0), reader.GetInt64(2)), reader.GetString(3));
}
