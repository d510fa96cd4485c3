using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
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
            var now = Now();
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
            await session.ExecuteLastAsync(
                database.Statement("UPDATE registered_models SET updated_at = $2 WHERE registered_model_name = $1").Add(held.Name).AddTime(now),
                token).ConfigureAwait(false);
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
    public async Task<ModelVersion?> FindAsync(string name, int number, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement($"""
                    SELECT {ModelVersionReader.ColumnsWithAliases(database)} FROM model_registry
                    WHERE model_registry.registered_model_name = $1 AND model_registry.model_version = $2 AND {ModelVersionReader.IsThere}
                    """).Add(name).Add(number),
                reader => ModelVersionReader.Read(reader),
                cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Checks the source of a new version, and finds out where its files are and which run and logged model it comes from.</summary>
    private async Task<Origin> ResolveAsync(
        DatabaseSession session, HeldRegisteredModel held, NewModelVersion version, CancellationToken cancellationToken)
    {
        // The source of a prompt is any text. It never gets a storage location, so nothing ever takes it for a place.
        if (held.IsPrompt && PromptTags.SayPrompt(version.Tags))
            return new Origin(null, version.RunId, null);

        var model = version.ModelId is null ? null : await LockModelAsync(session, version.ModelId, cancellationToken).ConfigureAwait(false);
        var ownRoot = !ModelVersionSource.IsLocal(version.Source) ? null
            : model is not null ? model.ArtifactLocation
            : version.RunId is not null ? await RunRootAsync(session, version.RunId, cancellationToken).ConfigureAwait(false)
            : null;
        ModelVersionSource.Check(version.Source, ownRoot);

        var storage = version.Source;
        if (version.Source.StartsWith(ModelVersionSource.ModelsScheme, StringComparison.OrdinalIgnoreCase))
        {
            var path = version.Source[ModelVersionSource.ModelsScheme.Length..].Trim('/');
            if (TryParseModelId(path) is not null)
            {
                var named = path == version.ModelId ? model! : await LockModelAsync(session, path, cancellationToken).ConfigureAwait(false);
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

    private async Task<LoggedModelRow> LockModelAsync(DatabaseSession session, string modelId, CancellationToken cancellationToken)
    {
        const string Select = "SELECT model_id, model_file_path, source_run_uuid,";
        const string From = "FROM models WHERE model_uuid = $1 AND lifecycle_stage = 'active'";
        var row = TryParseModelId(modelId) is not { } id ? null : await session.FirstOrDefaultAsync(
            database.Statement(
                $"{Select} tags ->> '{ModelVersionsTag}' {From} FOR NO KEY UPDATE",
                $"{Select} json_extract(tags, '$.\"{ModelVersionsTag}\"') {From}").Add(id),
            reader => new LoggedModelRow(reader.GetInt64(0), reader.GetString(1), reader.GetStringOrNull(2), reader.GetStringOrNull(3)),
            cancellationToken).ConfigureAwait(false);
        return row ?? throw MlflowException.NotFound($"Logged model with ID '{modelId}' not found.");
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
    private Statement AddToModel(LoggedModelRow model, string name, int number)
    {
        JsonArray versions;
        try
        {
            versions = JsonNode.Parse(model.ModelVersions ?? "[]") as JsonArray ?? [];
        }
        catch (JsonException)
        {
            // Whoever set the tag by hand wrote something else.
            versions = [];
        }

        versions.Add(new JsonObject { ["name"] = name, ["version"] = number });
        var sql = new StatementBuilder(database);
        sql.Append("UPDATE models SET tags = ")
            .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(ModelVersionsTag, versions.ToJsonString()))))
            .Append($" WHERE model_id = {sql.Add(model.Key)}");
        return sql.ToStatement();
    }

    private static Guid? TryParseModelId(string id) =>
        id.StartsWith("m-", StringComparison.Ordinal) ? RunId.TryParse(id[2..]) : null;

    private static long Now() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    /// <summary>Where a version comes from.</summary>
    /// <param name="StorageLocation">Where its files are; null for a prompt.</param>
    /// <param name="RunId">The run, if known.</param>
    /// <param name="Model">The logged model, if it is one.</param>
    private sealed record Origin(string? StorageLocation, string? RunId, LoggedModelRow? Model);

    /// <summary>A logged model that a transaction holds.</summary>
    private sealed record LoggedModelRow(long Key, string ArtifactLocation, string? SourceRunId, string? ModelVersions);
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
