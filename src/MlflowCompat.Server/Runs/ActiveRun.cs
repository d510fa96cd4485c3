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
    public static async Task<ActiveRun> LockAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken)
    {
        var (run, stage) = await LockAnyAsync(database, session, id, cancellationToken).ConfigureAwait(false);
        return stage == "active"
            ? run
            : throw MlflowException.InvalidParameter(
                $"The run {RunId.Format(id)} must be in the 'active' state; its lifecycle_stage is '{stage}'.");
    }

    /// <summary>Finds a run and holds it, deleted or not.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public static async Task<(ActiveRun Run, string Stage)> LockAnyAsync(
        Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken)
    {
        var row = await session.FirstOrDefaultAsync(
            database.Statement(
                "SELECT run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1 FOR NO KEY UPDATE",
                "SELECT run_id, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = $1").Add(id),
            reader => Tuple.Create(new ActiveRun(reader.GetInt64(0), id, reader.GetInt64(1)), reader.GetString(2)),
            cancellationToken).ConfigureAwait(false) ?? throw RunId.NotFound(RunId.Format(id));
        return (row.Item1, row.Item2);
    }
}
