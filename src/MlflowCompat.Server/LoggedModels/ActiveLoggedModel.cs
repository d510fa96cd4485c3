using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>A logged model that is not deleted.</summary>
/// <param name="Key">Its key in the database.</param>
/// <param name="ArtifactLocation">The root of its files.</param>
/// <param name="SourceRunId">The run that logged it; null without one.</param>
/// <param name="Parameters">The parameters that it has so far.</param>
/// <param name="Tags">Its tags.</param>
internal sealed record ActiveLoggedModel(
    long Key, string ArtifactLocation, string? SourceRunId, IReadOnlyList<KeyValue> Parameters, IReadOnlyList<KeyValue> Tags)
{
    private const string Select = """
        SELECT model_id, model_file_path, source_run_uuid, hyperparameters, tags FROM models WHERE model_uuid = $1 AND lifecycle_stage = 'active'
        """;

    /// <summary>Finds a model.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown or deleted.</exception>
    public static Task<ActiveLoggedModel> FindAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken) =>
        ReadAsync(session, database.Statement(Select), id, cancellationToken);

    /// <summary>
    /// Finds a model and holds it until the transaction ends: meanwhile nobody else logs metrics for it, finalizes it, or adds parameters or
    /// versions.
    /// </summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown or deleted.</exception>
    public static Task<ActiveLoggedModel> LockAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken) =>
        ReadAsync(session, database.Statement($"{Select} FOR NO KEY UPDATE", Select), id, cancellationToken);

    private static async Task<ActiveLoggedModel> ReadAsync(DatabaseSession session, Statement statement, Guid id, CancellationToken cancellationToken) =>
        await session.FirstOrDefaultAsync(
            statement.Add(id),
            reader => new ActiveLoggedModel(
                reader.GetInt64(0),
                reader.GetString(1),
                reader.GetStringOrNull(2),
                Searching.Tags.Read(reader, 3) ?? [],
                Searching.Tags.Read(reader, 4) ?? []),
            cancellationToken).ConfigureAwait(false) ?? throw ModelId.NotFound(id);
}
