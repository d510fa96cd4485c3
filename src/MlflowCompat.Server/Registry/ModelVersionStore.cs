using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.LoggedModels;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Versions of registered models in the database (mapping 2.8).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">The server's options.</param>
/// <param name="outbox">Is told what happens.</param>
public sealed class ModelVersionStore(Database database, ServerOptions options, WebhookOutbox outbox)
{
    /// <summary>The tag of a logged model that lists the versions that it became.</summary>
    private const string ModelVersionsTag = "mlflow.modelVersions";

    /// <summary>The version with the registered model $1 and the number $2.</summary>
    private const string IsVersion =
        $"model_registry.registered_model_name = $1 AND model_registry.model_version = $2 AND {ModelVersionReader.IsThere}";

    private const string ApprovalColumns = """
        registered_model_name, model_version, current_stage, previous_stage, stage_transition_at, approved_by, approved_at, approval_notes,
        deployed_at, deployment_target, production_metrics
        """;

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; } = options;

    /// <summary>Makes the next version of a registered model.</summary>
    /// <param name="version">What it is made of.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such registered model, logged model, or version that the source names; INVALID_PARAMETER_VALUE: the source
    /// is none that may be used.
    /// </exception>
    public Task<ModelVersion> CreateAsync(NewModelVersion version, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var held = await HeldRegisteredModel.LockAsync(database, session, version.Name, token).ConfigureAwait(false);
            var now = StoredTime.Now();
            var origin = await ResolveAsync(session, held, version, token).ConfigureAwait(false);
            var number = (int)(await session.ScalarAsync<long>(
                database.Statement("""
                    INSERT INTO model_registry (model_id, registered_model_name, model_version, current_stage, description, source,
                        storage_location, source_run_uuid, run_link, tags, created_at, updated_at)
                    VALUES ($1, $2, (SELECT COALESCE(MAX(model_version), 0) + 1 FROM model_registry WHERE registered_model_name = $2), 'none', $3, $4,
                        $5, $6, $7, $8, $9, $9)
                    RETURNING CAST(model_version AS BIGINT)
                    """)
                    .Add(origin.Model?.Key).Add(held.Name).Add(version.Description).Add(version.Source).Add(origin.StorageLocation)
                    .Add(origin.RunId).Add(version.RunLink).AddJson(Tags.ToJson(version.Tags)).AddTime(now),
                token).ConfigureAwait(false))!.Value;
            if (origin.Model is { } model)
                await session.ExecuteLastAsync(AddToModel(model, held.Name, number), token).ConfigureAwait(false);
            await session.ExecuteLastAsync(Touch(held.Name, now), token).ConfigureAwait(false);
            await outbox.AddAsync(
                session,
                RegistryEvent.VersionCreated(
                    held.IsPrompt, held.Name, ModelVersionNumber.Format(number), version.Source, origin.RunId, version.Tags, version.Description),
                token).ConfigureAwait(false);
            return new ModelVersion(
                held.Name, ModelVersionNumber.Format(number), now, now, ModelStage.Format(ModelStage.None), version.Description ?? "",
                version.Source, origin.RunId ?? "", "READY", version.RunLink ?? "", version.Tags.Count == 0 ? null : version.Tags, null);
        },
        cancellationToken);

    /// <summary>A version with its aliases, or null.</summary>
    public Task<ModelVersion?> FindAsync(string name, int number, CancellationToken cancellationToken) => FindAsync(
        database.Statement($"SELECT {ModelVersionReader.ColumnsWithAliases(database)} FROM model_registry WHERE {IsVersion}").Add(name).Add(number),
        reader => ModelVersionReader.Read(reader),
        cancellationToken);

    /// <summary>Changes or, with null, clears the description.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<ModelVersion> UpdateAsync(string name, int number, string? description, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await LockAsync(session, name, number, token).ConfigureAwait(false);
            return await session.CommitWithAsync(
                database.Statement($"""
                    UPDATE model_registry SET description = $3, updated_at = $4 WHERE {IsVersion}
                    RETURNING {ModelVersionReader.ColumnsWithAliases(database)}
                    """).Add(name).Add(number).Add(description).AddTime(StoredTime.Now()),
                reader => ModelVersionReader.Read(reader),
                token).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number);
        },
        cancellationToken);

    /// <summary>Moves a version to a stage. With its first transition to production its logged model counts as deployed (mapping C-32, C-36).</summary>
    /// <param name="name">The registered model.</param>
    /// <param name="number">The version.</param>
    /// <param name="stage">One of <see cref="ModelStage.All"/>.</param>
    /// <param name="archiveOthers">Whether other versions in that stage are archived.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<ModelVersion> TransitionAsync(
        string name, int number, string stage, bool archiveOthers, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            const string Transition = """
                previous_stage = CASE WHEN current_stage = $3 THEN previous_stage ELSE current_stage END, current_stage = $3,
                stage_transition_at = $4, updated_at = $4
                """;
            await LockAsync(session, name, number, token).ConfigureAwait(false);
            var now = StoredTime.Now();
            var version = await session.FirstOrDefaultAsync(
                database.Statement($"""
                    UPDATE model_registry SET {Transition},
                        deployed_at = CASE WHEN $3 = '{ModelStage.Production}' THEN COALESCE(deployed_at, $4) ELSE deployed_at END
                    WHERE {IsVersion}
                    RETURNING {ModelVersionReader.ColumnsWithAliases(database)}
                    """).Add(name).Add(number).Add(stage).AddTime(now),
                reader => ModelVersionReader.Read(reader),
                token).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number);
            if (archiveOthers)
            {
                await session.ExecuteLastAsync(
                    database.Statement($"""
                        UPDATE model_registry SET {Transition}
                        WHERE registered_model_name = $1 AND model_version <> $2 AND current_stage = $5 AND {ModelVersionReader.IsThere}
                        """).Add(name).Add(number).Add(ModelStage.Archived).AddTime(now).Add(stage),
                    token).ConfigureAwait(false);
            }

            if (stage == ModelStage.Production)
            {
                // Logged models that are not finished, or failed, stay what they are: clients would take a deployed one for ready.
                await session.ExecuteLastAsync(
                    database.Statement("""
                        UPDATE models SET status = 'deployed'
                        WHERE model_id = (SELECT model_id FROM model_registry WHERE registered_model_name = $1 AND model_version = $2)
                            AND status NOT IN ('training', 'failed', 'deployed')
                        """).Add(name).Add(number),
                    token).ConfigureAwait(false);
            }

            await session.ExecuteLastAsync(Touch(name, now), token).ConfigureAwait(false);
            return version;
        },
        cancellationToken);

    /// <summary>
    /// Deletes a version. Its row stays, without what it said, and keeps the number (mapping C-37). So do aliases that lead to it: they are
    /// listed, lead nowhere, and can be moved, as clients know it from MLflow.
    /// </summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown, or deleted already.</exception>
    public Task DeleteAsync(string name, int number, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await LockAsync(session, name, number, token).ConfigureAwait(false);
            var now = StoredTime.Now();
            var deleted = await session.ExecuteAsync(
                database.Statement($"""
                    UPDATE model_registry SET deleted_at = $3, updated_at = $3, previous_stage = current_stage, current_stage = '{ModelStage.None}',
                        description = NULL, user_id = NULL, status_message = NULL, storage_location = NULL,
                        source = 'REDACTED-SOURCE-PATH', source_run_uuid = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK'
                    WHERE {IsVersion}
                    """).Add(name).Add(number).AddTime(now),
                token).ConfigureAwait(false);
            if (deleted == 0)
                throw ModelVersionNumber.NotFound(name, number);
            await session.ExecuteLastAsync(Touch(name, now), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Sets a tag.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task SetTagAsync(string name, int number, string key, string value, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE model_registry SET tags = ")
                .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(key, value))));
            var held = await ChangeTagsAsync(session, sql, name, number, token).ConfigureAwait(false);
            await outbox.AddAsync(
                session, RegistryEvent.VersionTagSet(held.IsPrompt, name, ModelVersionNumber.Format(number), key, value), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Deletes a tag; nothing happens when there is none.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such version.</exception>
    public Task DeleteTagAsync(string name, int number, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE model_registry SET tags = ").Append(Tags.Without(sql, "tags", key));
            var held = await ChangeTagsAsync(session, sql, name, number, token).ConfigureAwait(false);
            await outbox.AddAsync(
                session, RegistryEvent.VersionTagDeleted(held.IsPrompt, name, ModelVersionNumber.Format(number), key), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Where clients find the files of a version; of a prompt, which has none, its source. Null when there is no such version.</summary>
    public async Task<string?> FindDownloadUriAsync(string name, int number, CancellationToken cancellationToken) =>
        await FindAsync(
            database.Statement($"SELECT COALESCE(storage_location, source, '') FROM model_registry WHERE {IsVersion}").Add(name).Add(number),
            reader => reader.GetString(0),
            cancellationToken).ConfigureAwait(false);

    /// <summary>Where this server reads the files of a version.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE: it has none, as prompts, whatever their source says.</exception>
    public async Task<string> GetStorageLocationAsync(string name, int number, CancellationToken cancellationToken)
    {
        var (location, isPrompt) = await FindAsync(
            database.Statement($"""
                SELECT storage_location, {PromptTags.Value(database, "tags")},
                    (SELECT {PromptTags.Value(database, "m.tags")} FROM registered_models m WHERE m.registered_model_name = $1)
                FROM model_registry WHERE {IsVersion}
                """).Add(name).Add(number),
            reader => Tuple.Create(
                reader.GetStringOrNull(0), PromptTags.IsTrue(reader.GetStringOrNull(1)) || PromptTags.IsTrue(reader.GetStringOrNull(2))),
            cancellationToken).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number);
        return location is null || isPrompt
            ? throw MlflowException.InvalidParameter($"Model Version (name={name}, version={ModelVersionNumber.Format(number)}) has no files.")
            : location;
    }

    /// <summary>Changes what is given of a version's approval; see <see cref="SetModelVersionApproval"/>.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<ModelVersionApproval> SetApprovalAsync(
        string name, int number, SetModelVersionApproval approval, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await LockAsync(session, name, number, token).ConfigureAwait(false);
            var sql = new StatementBuilder(database);
            List<string> changes = [];
            if (approval.ApprovedBy is { } approver)
            {
                changes.Add(approver.Length == 0
                    ? "approved_by = NULL, approved_at = NULL"
                    : $"approved_by = {sql.Add(approver)}, approved_at = {sql.AddTime(StoredTime.Now())}");
            }

            SetText("approval_notes", approval.ApprovalNotes);
            SetText("deployment_target", approval.DeploymentTarget);
            if (approval.ProductionMetrics is { } metrics)
            {
                // As with metrics of runs, an infinity is the number next to it: JSON has none.
                var finite = metrics.ToDictionary(metric => metric.Key, metric => Math.Clamp(metric.Value, double.MinValue, double.MaxValue));
                changes.Add($"production_metrics = {sql.AddJson(JsonSerializer.Serialize(finite, MlflowJson.TypeInfo<Dictionary<string, double>>()))}");
            }

            if (changes.Count == 0)
                return await session.FirstOrDefaultAsync(SelectApproval(name, number), ReadApproval, token).ConfigureAwait(false) ?? throw NotFound();

            sql.Append($"UPDATE model_registry SET {string.Join(", ", changes)}")
                .Append($" WHERE registered_model_name = {sql.Add(name)} AND model_version = {sql.Add(number)} AND {ModelVersionReader.IsThere}")
                .Append($" RETURNING {ApprovalColumns}");
            return await session.CommitWithAsync(sql.ToStatement(), ReadApproval, token).ConfigureAwait(false) ?? throw NotFound();

            void SetText(string column, string? text)
            {
                if (text is not null)
                    changes.Add(text.Length == 0 ? $"{column} = NULL" : $"{column} = {sql.Add(text)}");
            }

            MlflowException NotFound() => ModelVersionNumber.NotFound(name, number);
        },
        cancellationToken);

    /// <summary>The approval of a version, or null when there is no such version.</summary>
    public Task<ModelVersionApproval?> FindApprovalAsync(string name, int number, CancellationToken cancellationToken) =>
        FindAsync(SelectApproval(name, number), ReadApproval, cancellationToken);

    private Statement SelectApproval(string name, int number) =>
        database.Statement($"SELECT {ApprovalColumns} FROM model_registry WHERE {IsVersion}").Add(name).Add(number);

    private async Task<HeldRegisteredModel> ChangeTagsAsync(
        DatabaseSession session, StatementBuilder sql, string name, int number, CancellationToken cancellationToken)
    {
        var held = await LockAsync(session, name, number, cancellationToken).ConfigureAwait(false);
        sql.Append($" WHERE registered_model_name = {sql.Add(name)} AND model_version = {sql.Add(number)} AND {ModelVersionReader.IsThere}");
        if (await session.ExecuteAsync(sql.ToStatement(), cancellationToken).ConfigureAwait(false) == 0)
            throw ModelVersionNumber.NotFound(name, number);
        return held;
    }

    /// <summary>Holds the registered model of a version that is about to be written to.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such registered model.</exception>
    private async Task<HeldRegisteredModel> LockAsync(DatabaseSession session, string name, int number, CancellationToken cancellationToken) =>
        await HeldRegisteredModel.TryLockAsync(database, session, name, cancellationToken).ConfigureAwait(false)
        ?? throw ModelVersionNumber.NotFound(name, number);

    private Statement Touch(string name, long now) =>
        database.Statement("UPDATE registered_models SET updated_at = $2 WHERE registered_model_name = $1").Add(name).AddTime(now);

    private async Task<T?> FindAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
        where T : class
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await session.FirstOrDefaultAsync(statement, map, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Checks the source of a new version, and finds out where its files are and which run and logged model it comes from.</summary>
    private async Task<Origin> ResolveAsync(
        DatabaseSession session, HeldRegisteredModel held, NewModelVersion version, CancellationToken cancellationToken)
    {
        // The source of a prompt is any text. It never gets a storage location, so nothing ever takes it for a place.
        if (held.IsPrompt && PromptTags.SayPrompt(version.Tags))
            return new Origin(null, version.RunId, null);

        var model = version.ModelId is null
            ? null
            : await ActiveLoggedModel.LockAsync(database, session, ModelId.Parse(version.ModelId), cancellationToken).ConfigureAwait(false);
        var ownRoot = !ModelVersionSource.IsLocal(version.Source) ? null
            : model is not null ? model.ArtifactLocation
            : version.RunId is not null ? await RunRootAsync(session, version.RunId, cancellationToken).ConfigureAwait(false)
            : null;
        ModelVersionSource.Check(version.Source, ownRoot);

        var storage = version.Source;
        if (version.Source.StartsWith(ModelVersionSource.ModelsScheme, StringComparison.OrdinalIgnoreCase))
        {
            var path = version.Source[ModelVersionSource.ModelsScheme.Length..].Trim('/');
            if (ModelId.TryParse(path) is { } modelId)
            {
                // Of two logged models only the one that is written to is held, so that nobody waits in a circle.
                var named = model is null
                    ? await ActiveLoggedModel.LockAsync(database, session, modelId, cancellationToken).ConfigureAwait(false)
                    : await ActiveLoggedModel.FindAsync(database, session, modelId, cancellationToken).ConfigureAwait(false);
                model ??= named;
                storage = named.ArtifactLocation;
            }
            else
            {
                storage = await StorageLocationAsync(session, path, cancellationToken).ConfigureAwait(false)
                    ?? throw MlflowException.NotFound($"The model version source '{version.Source}' names no version of a model that has files here.");
            }
        }

        return new Origin(storage, version.RunId ?? model?.SourceRunId, model);
    }

    private async Task<string?> RunRootAsync(DatabaseSession session, string runId, CancellationToken cancellationToken) =>
        RunId.TryParse(runId) is not { } id
            ? null
            : await session.FirstOrDefaultAsync(
                database.Statement("SELECT COALESCE(artifact_uri, '') FROM runs WHERE run_uuid = $1").Add(id),
                reader => reader.GetString(0),
                cancellationToken).ConfigureAwait(false);

    /// <summary>Where the files are of the version that <c>NAME/NUMBER</c> names; null if there is none, or it has no files.</summary>
    private async Task<string?> StorageLocationAsync(DatabaseSession session, string path, CancellationToken cancellationToken)
    {
        var slash = path.LastIndexOf('/');
        if (slash < 0 || !int.TryParse(path[(slash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return null;
        return await session.FirstOrDefaultAsync(
            database.Statement($"""
                SELECT storage_location FROM model_registry
                WHERE registered_model_name = $1 AND model_version = $2 AND {ModelVersionReader.IsThere} AND storage_location IS NOT NULL
                """).Add(path[..slash]).Add(number),
            reader => reader.GetString(0),
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Adds a version to the list that its logged model keeps in a tag.</summary>
    private Statement AddToModel(ActiveLoggedModel model, string name, int number)
    {
        var versions = model.Tags.FirstOrDefault(tag => tag.Key == ModelVersionsTag)?.Value;
        var sql = new StatementBuilder(database);
        sql.Append("UPDATE models SET tags = ")
            .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(ModelVersionsTag, AddToList(versions, name, number)))))
            .Append($" WHERE model_id = {sql.Add(model.Key)}");
        return sql.ToStatement();
    }

    /// <summary>A list of versions with one more, spaced as Python does it: clients add to the same text.</summary>
    private static string AddToList(string? list, string name, int number)
    {
        var versions = "";
        try
        {
            using var document = JsonDocument.Parse(list ?? "[]");
            if (document.RootElement.ValueKind == JsonValueKind.Array)
                versions = document.RootElement.GetRawText()[1..^1].Trim();
        }
        catch (JsonException)
        {
            // Whoever set the tag by hand wrote something else.
        }

        var version = $$"""{"name": {{JsonSerializer.Serialize(name, MlflowJson.TypeInfo<string>())}}, "version": {{ModelVersionNumber.Format(number)}}}""";
        return versions.Length == 0 ? $"[{version}]" : $"[{versions}, {version}]";
    }

    private static ModelVersionApproval ReadApproval(DbDataReader reader)
    {
        var metrics = reader.IsDBNull(10)
            ? null
            : JsonSerializer.Deserialize(reader.GetString(10), MlflowJson.TypeInfo<Dictionary<string, double>>());
        return new ModelVersionApproval(
            reader.GetString(0),
            ModelVersionNumber.Format(reader.GetInt32(1)),
            ModelStage.Format(reader.GetString(2)),
            reader.GetStringOrNull(3) is { } previous ? ModelStage.Format(previous) : null,
            reader.GetMillisecondsOrNull(4),
            reader.GetStringOrNull(5),
            reader.GetMillisecondsOrNull(6),
            reader.GetStringOrNull(7),
            reader.GetMillisecondsOrNull(8),
            reader.GetStringOrNull(9),
            metrics is { Count: > 0 } ? metrics : null);
    }

    /// <summary>Where a version comes from.</summary>
    /// <param name="StorageLocation">Where its files are; null for a prompt.</param>
    /// <param name="RunId">The run, if known.</param>
    /// <param name="Model">The logged model, if it is one.</param>
    private sealed record Origin(string? StorageLocation, string? RunId, ActiveLoggedModel? Model);
}

/// <summary>What a new version is made of; absent texts are null.</summary>
/// <param name="Name">The registered model.</param>
/// <param name="Source">Where its files are, as the client says.</param>
/// <param name="RunId">The run that made it.</param>
/// <param name="RunLink">A link to the run.</param>
/// <param name="Description">Its description.</param>
/// <param name="ModelId">The logged model that it is.</param>
/// <param name="Tags">Its tags, each key once.</param>
public sealed record NewModelVersion(
    string Name, string Source, string? RunId, string? RunLink, string? Description, string? ModelId, List<KeyValue> Tags);
