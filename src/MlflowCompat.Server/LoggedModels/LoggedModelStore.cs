using System.Text.RegularExpressions;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>Logged models in the database (mapping 2.7).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="files">The files of artifacts.</param>
public sealed partial class LoggedModelStore(Database database, ArtifactFiles files)
{
    /// <summary>What the column framework holds when nobody has said (mapping C-30).</summary>
    private const string NoFramework = "other";

    private const string FrameworkTag = "framework";
    private const int MaxFrameworkLength = 50;

    /// <summary>The files of models, among others.</summary>
    public ArtifactFiles Files { get; } = files;

    /// <summary>Makes a model in an active experiment.</summary>
    /// <param name="experimentId">Its experiment.</param>
    /// <param name="name">Its name.</param>
    /// <param name="modelType">Kind of model, or "".</param>
    /// <param name="sourceRunId">The run that makes it, as sent, or "".</param>
    /// <param name="parameters">Its parameters, each key once.</param>
    /// <param name="tags">Its tags, each key once.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such experiment; INVALID_PARAMETER_VALUE: it is deleted.</exception>
    public async Task<LoggedModel> CreateAsync(
        long experimentId,
        string name,
        string modelType,
        string sourceRunId,
        List<KeyValue> parameters,
        List<KeyValue> tags,
        CancellationToken cancellationToken)
    {
        var id = Guid.NewGuid();
        var now = StoredTime.Now();
        while (true)
        {
            var artifactUri = await database.WriteAsync(
                (session, token) => session.CommitWithAsync(
                    Insert(id, experimentId, name, modelType, sourceRunId, parameters, tags, now), reader => reader.GetString(0), token),
                cancellationToken).ConfigureAwait(false);
            if (artifactUri is not null)
            {
                return new LoggedModel(
                    new LoggedModelInfo(
                        ModelId.Format(id), ExperimentId.Format(experimentId), name, now, now, artifactUri, LoggedModelReader.StatusName("training"),
                        modelType, sourceRunId, null, Sorted(tags)),
                    new LoggedModelData(Sorted(parameters), null));
            }

            // There is no such experiment, or it is deleted; if it was restored by now, the model is made after all.
            await database.WriteAsync(
                (session, token) => ExperimentStore.RequireActiveAsync(database, session, experimentId, token), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Reads a model.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown, or deleted and not <paramref name="allowDeleted"/>.</exception>
    public async Task<LoggedModel> GetAsync(Guid id, bool allowDeleted, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await LoggedModelReader.FindAsync(database, session, id, allowDeleted, cancellationToken).ConfigureAwait(false)
                ?? throw ModelId.NotFound(id);
        }
    }

    /// <summary>The root of a model's files.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown or deleted.</exception>
    public async Task<string> ArtifactRootAsync(Guid id, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement("SELECT model_file_path FROM models WHERE model_uuid = $1 AND lifecycle_stage = 'active'").Add(id),
                reader => reader.GetString(0),
                cancellationToken).ConfigureAwait(false) ?? throw ModelId.NotFound(id);
        }
    }

    /// <summary>A page of the models that meet a filter.</summary>
    /// <param name="search">What is searched for.</param>
    /// <param name="maxResults">Length of the page.</param>
    /// <param name="offset">Models before the page.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The page, and one model more where another page follows.</returns>
    public async Task<List<LoggedModel>> SearchAsync(LoggedModelQuery search, int maxResults, long offset, CancellationToken cancellationToken)
    {
        if (search.ExperimentIds.Count == 0)
            return [];
        var sql = LoggedModelSearch.Compile(database, search, maxResults + 1L, offset);
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await LoggedModelReader.ListAsync(database, session, sql, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sets the status of a model.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown or deleted.</exception>
    public async Task<LoggedModel> FinalizeAsync(Guid id, LoggedModelStatus status, CancellationToken cancellationToken)
    {
        var file = status == LoggedModelStatus.LoggedModelReady
            ? await ModelFile.ReadAsync(Files, await ArtifactRootAsync(id, cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false)
            : null;
        return await database.WriteAsync(
            async (session, token) =>
            {
                // Who logs metrics of the model holds it as well: those that are there by then count.
                var model = await ActiveLoggedModel.LockAsync(database, session, id, token).ConfigureAwait(false);
                await session.ExecuteAsync(Finalize(model.Key, status, file), token).ConfigureAwait(false);
                return (await LoggedModelReader.FindAsync(database, session, id, allowDeleted: false, token).ConfigureAwait(false))!;
            },
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Deletes a model softly; nothing happens when it is deleted already.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task DeleteAsync(Guid id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var deleted = await session.ExecuteAsync(
                database.Statement("""
                    UPDATE models SET lifecycle_stage = 'deleted', deleted_at = $2, updated_at = $2
                    WHERE model_uuid = $1 AND lifecycle_stage = 'active'
                    """).Add(id).AddTime(StoredTime.Now()),
                token).ConfigureAwait(false);
            if (deleted == 0)
                await RequireAsync(session, id, "", token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Sets tags of a model.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown or deleted.</exception>
    public Task SetTagsAsync(Guid id, List<KeyValue> tags, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE models SET tags = ").Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(tags))));
            if (tags.FindLast(tag => tag.Key == FrameworkTag) is { } framework)
                sql.Append($", framework = {sql.Add(Framework(framework.Value))}");
            sql.Append($" WHERE model_uuid = {sql.Add(id)} AND lifecycle_stage = 'active'");
            if (await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false) == 0)
                throw ModelId.NotFound(id);
        },
        cancellationToken);

    /// <summary>Deletes a tag of a model.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: the model is unknown or deleted, or has no such tag.</exception>
    public Task DeleteTagAsync(Guid id, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE models SET tags = ").Append(Tags.Without(sql, "tags", key));
            if (key == FrameworkTag)
                sql.Append($", framework = {sql.Add(NoFramework)}");
            sql.Append($" WHERE model_uuid = {sql.Add(id)} AND lifecycle_stage = 'active' AND ").Append(Tags.Has(sql, "tags", key));
            if (await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false) > 0)
                return;
            await RequireAsync(session, id, " AND lifecycle_stage = 'active'", token).ConfigureAwait(false);
            throw MlflowException.NotFound($"No tag with key {MlflowException.Quote(key)} found for model with ID {MlflowException.Quote(ModelId.Format(id))}.");
        },
        cancellationToken);

    /// <summary>Adds parameters to a model; one that it has already may be given again with the same value.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: unknown or deleted; INVALID_PARAMETER_VALUE: a parameter has another value.
    /// </exception>
    public Task LogParamsAsync(Guid id, List<KeyValue> parameters, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var model = await ActiveLoggedModel.LockAsync(database, session, id, token).ConfigureAwait(false);
            var values = model.Parameters.ToDictionary(parameter => parameter.Key!, parameter => parameter.Value, StringComparer.Ordinal);
            foreach (var parameter in parameters)
            {
                if (!values.TryAdd(parameter.Key!, parameter.Value) && values[parameter.Key!] != parameter.Value)
                {
                    throw MlflowException.InvalidParameter(
                        $"Changing param values is not allowed. Param with key={MlflowException.Quote(parameter.Key!)} was already logged with value={MlflowException.Quote(values[parameter.Key!]!)} "
                        + $"for model ID={MlflowException.Quote(ModelId.Format(id))}. Attempted logging new value {MlflowException.Quote(parameter.Value!)}.");
                }
            }

            var sql = new StatementBuilder(database);
            sql.Append("UPDATE models SET hyperparameters = ").Append(Tags.Merge(database, "hyperparameters", sql.AddJson(Tags.ToJson(parameters))))
                .Append($" WHERE model_id = {sql.Add(model.Key)}");
            await session.ExecuteLastAsync(sql.ToStatement(), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Makes no row unless the experiment is active; returns the artifact root.</summary>
    private Statement Insert(
        Guid id,
        long experimentId,
        string name,
        string modelType,
        string sourceRunId,
        List<KeyValue> parameters,
        List<KeyValue> tags,
        long now)
    {
        var sql = new StatementBuilder(database);
        var artifactUri = ArtifactRoots.ForModel(database, "COALESCE(e.artifact_location, '')", sql.Add(ModelId.Format(id)));
        var framework = Framework(tags.Find(tag => tag.Key == FrameworkTag)?.Value);
        var run = RunId.TryParse(sourceRunId) is { } runId ? $"(SELECT run_id FROM runs WHERE run_uuid = {sql.Add(runId)})" : "NULL";
        var time = sql.AddTime(now);
        // The experiment is held until the model is there: deleting it waits.
        return sql
            .Append("INSERT INTO models (model_uuid, experiment_id, run_id, source_run_uuid, model_name, model_type, framework, hyperparameters, tags, ")
            .Append("model_file_path, created_at, updated_at, training_dataset_id) ")
            .Append($"SELECT {sql.Add(id)}, e.experiment_id, {run}, {sql.Add(sourceRunId)}, {sql.Add(name)}, {sql.Add(modelType)}, {sql.Add(framework)}, ")
            .Append($"{sql.AddJson(Tags.ToJson(parameters))}, {sql.AddJson(Tags.ToJson(tags))}, {artifactUri}, {time}, {time}, ")
            .Append($"{(run == "NULL" ? run : TrainingDataset(run))} ")
            .Append($"FROM experiments e WHERE e.experiment_id = {sql.Add(experimentId)} AND e.lifecycle_stage = 'active'{database.Choose(" FOR SHARE OF e", "")} ")
            .Append("RETURNING model_file_path")
            .ToStatement();
    }

    private Statement Finalize(long key, LoggedModelStatus status, ModelFile? file)
    {
        var sql = new StatementBuilder(database);
        sql.Append($"UPDATE models SET status = {StoredStatus(status)}, updated_at = {sql.AddTime(StoredTime.Now())}, ")
            .Append($"training_dataset_id = COALESCE(training_dataset_id, {TrainingDataset("models.run_id")})");
        // What a tag says of the framework stays.
        if (file?.Framework is { } framework)
            sql.Append($", framework = CASE WHEN framework = '{NoFramework}' THEN {sql.Add(framework)} ELSE framework END");
        if (file?.FrameworkVersion is { } version)
            sql.Append($", framework_version = {sql.Add(version)}");
        if (file?.SizeBytes is { } size)
            sql.Append($", model_size_bytes = {sql.Add(size)}");
        return sql.Append($" WHERE model_id = {sql.Add(key)}").ToStatement();
    }

    /// <summary>The data set that a run was trained on: its input of that context, of several the first.</summary>
    private string TrainingDataset(string run)
    {
        var (runId, sourceId) = database.Kind == DatabaseKind.PostgreSql ? ("r.run_uuid::text", "i.source_id::uuid") : ("r.run_uuid", "i.source_id");
        return $"""
            (SELECT min((SELECT d.dataset_id FROM datasets d WHERE d.dataset_uuid = {sourceId})) FROM runs r CROSS JOIN inputs i
                WHERE r.run_id = {run} AND i.destination_type = 'RUN' AND i.destination_id = {runId} AND i.source_type = 'DATASET'
                    AND EXISTS (SELECT 1 FROM input_tags t
                        WHERE t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' AND t.value IN ('training', 'train')))
            """;
    }

    /// <summary>
    /// The expression of a status to be stored. The specified schema knows several that clients see as READY, and none of them is taken back
    /// by saying READY again; what was evaluated before it was ready is evaluated at once (mapping C-32).
    /// </summary>
    private static string StoredStatus(LoggedModelStatus status) => status switch
    {
        LoggedModelStatus.LoggedModelPending => "'training'",
        LoggedModelStatus.LoggedModelReady => """
            CASE WHEN status NOT IN ('training', 'failed') THEN status
                WHEN EXISTS (SELECT 1 FROM metrics m WHERE m.model_id = models.model_id AND m.dataset_type IN ('validation', 'test')) THEN 'evaluated'
                ELSE 'trained' END
            """,
        LoggedModelStatus.LoggedModelUploadFailed => "'failed'",
        _ => throw new ArgumentOutOfRangeException(nameof(status), status, null),
    };

    private async Task RequireAsync(DatabaseSession session, Guid id, string condition, CancellationToken cancellationToken)
    {
        if (await session.ScalarAsync<long>(database.Statement($"SELECT model_id FROM models WHERE model_uuid = $1{condition}").Add(id), cancellationToken)
            .ConfigureAwait(false) is null)
        {
            throw ModelId.NotFound(id);
        }
    }

    private static List<KeyValue>? Sorted(List<KeyValue> list) =>
        list.Count == 0 ? null : [.. list.OrderBy(item => item.Key, StringComparer.Ordinal)];

    /// <summary>The column framework takes lower-case identifiers only (mapping C-30).</summary>
    private static string Framework(string? tag) =>
        tag?.ToLowerInvariant() is { Length: <= MaxFrameworkLength } name && FrameworkName().IsMatch(name) ? name : NoFramework;

    [GeneratedRegex(@"^[a-z0-9][a-z0-9_.-]*\z")]
    private static partial Regex FrameworkName();
}
