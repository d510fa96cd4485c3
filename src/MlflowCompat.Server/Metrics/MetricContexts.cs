using MlflowCompat.Server.Http;
using MlflowCompat.Server.LoggedModels;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// What the points of a request refer to: logged models and data sets, and from the latter what kind of data a point was measured on
/// (mapping C-23, C-24). Most requests name neither, and then nothing is asked of the database.
/// </summary>
internal sealed class MetricContexts
{
    private const string DefaultType = "validation";

    private static readonly (string Prefix, string Type)[] NamePrefixes =
    [
        ("train_", "train"), ("train/", "train"), ("training_", "train"), ("training/", "train"),
        ("val_", "validation"), ("val/", "validation"), ("valid_", "validation"), ("valid/", "validation"),
        ("validation_", "validation"), ("validation/", "validation"),
        ("test_", "test"), ("test/", "test"),
    ];

    private readonly Dictionary<Guid, long> models = [];
    private readonly Dictionary<(long Run, string Name, string Digest), (long Key, string? Context)> datasets = [];

    private MetricContexts()
    {
    }

    /// <summary>Looks up everything that the points of some requests name.</summary>
    public static async Task<MetricContexts> ReadAsync(
        Database database,
        DatabaseSession session,
        Dictionary<Guid, HeldRun> held,
        List<PendingLog> logs,
        CancellationToken cancellationToken)
    {
        var contexts = new MetricContexts();
        var modelIds = new HashSet<Guid>();
        var datasetNames = new HashSet<string>(StringComparer.Ordinal);
        var datasetRuns = new HashSet<long>();
        foreach (var log in logs)
        {
            foreach (var point in log.Log.Metrics)
            {
                if (point.Model is { } model)
                    modelIds.Add(model);
                if (point.DatasetName is not { } name)
                    continue;
                datasetNames.Add(name);
                datasetRuns.Add(held[log.RunId].Key);
            }
        }

        if (modelIds.Count > 0)
            await contexts.ReadModelsAsync(database, session, [.. modelIds], cancellationToken).ConfigureAwait(false);
        if (datasetNames.Count > 0)
            await contexts.ReadDatasetsAsync(database, session, [.. datasetRuns], [.. datasetNames], cancellationToken).ConfigureAwait(false);
        return contexts;
    }

    /// <summary>Refuses points of logged models that are not there.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public void RequireModels(IReadOnlyList<MetricPoint> points)
    {
        foreach (var point in points)
        {
            if (point.Model is { } id && !models.ContainsKey(id))
                throw ModelId.NotFound(id);
        }
    }

    /// <summary>Key of the logged model of a point.</summary>
    public long? ModelKey(MetricPoint point) => point.Model is { } id ? models[id] : null;

    /// <summary>Key of the data set of a point; it may name one that is not stored.</summary>
    public long? DatasetKey(ActiveRun run, MetricPoint point) => Find(run, point)?.Key;

    /// <summary>The value of <c>dataset_type</c>: by the context of the named data set, else by the name of the metric.</summary>
    public string DatasetType(ActiveRun run, MetricPoint point) =>
        Find(run, point)?.Context is { } context && TypeOf(context) is { } byContext ? byContext : TypeByName(point.Key);

    /// <summary>The value of <c>dataset_type</c> for a point of which only the name of the metric says something.</summary>
    public static string TypeByName(string name)
    {
        foreach (var (prefix, type) in NamePrefixes)
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal))
                return type;
        }

        return DefaultType;
    }

    private static string? TypeOf(string context) => context switch
    {
        "training" or "train" => "train",
        "validation" or "eval" => "validation",
        "test" or "testing" => "test",
        _ => null,
    };

    private (long Key, string? Context)? Find(ActiveRun run, MetricPoint point) =>
        point.DatasetName is not null && datasets.TryGetValue((run.Key, point.DatasetName, point.DatasetDigest ?? ""), out var dataset)
            ? dataset
            : null;

    private async Task ReadModelsAsync(
        Database database, DatabaseSession session, IReadOnlyList<Guid> ids, CancellationToken cancellationToken)
    {
        var rows = await session.ListAsync(
            database.Statement(
                "SELECT model_uuid, model_id FROM models WHERE model_uuid = ANY($1) AND lifecycle_stage = 'active'",
                "SELECT model_uuid, model_id FROM models WHERE model_uuid IN (SELECT value FROM json_each($1)) AND lifecycle_stage = 'active'")
                .Add(ids),
            reader => (Id: reader.GetGuid(0), Key: reader.GetInt64(1)),
            cancellationToken).ConfigureAwait(false);
        foreach (var (id, key) in rows)
            models.Add(id, key);
    }

    private async Task ReadDatasetsAsync(
        Database database,
        DatabaseSession session,
        IReadOnlyList<long> runs,
        IReadOnlyList<string> names,
        CancellationToken cancellationToken)
    {
        var ofRun = database.Choose(
            "i.source_id = d.dataset_uuid::text AND i.destination_id = r.run_uuid::text",
            "i.source_id = d.dataset_uuid AND i.destination_id = r.run_uuid");
        var rows = await session.ListAsync(
            database.Statement($"""
                SELECT r.run_id, d.dataset_id, d.dataset_name, d.dataset_digest,
                    (SELECT t.value FROM inputs i JOIN input_tags t ON t.input_uuid = i.input_uuid
                        WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND {ofRun} AND t.name = 'mlflow.data.context')
                FROM runs r JOIN datasets d ON d.experiment_id = r.experiment_id
                WHERE r.run_id {database.Choose("= ANY($1)", "IN (SELECT value FROM json_each($1))")}
                    AND d.dataset_name {database.Choose("= ANY($2)", "IN (SELECT value FROM json_each($2))")}
                """).Add(runs).Add(names),
            reader => (
                Run: reader.GetInt64(0),
                Key: reader.GetInt64(1),
                Name: reader.GetString(2),
                Digest: reader.GetStringOrNull(3) ?? "",
                Context: reader.GetStringOrNull(4)),
            cancellationToken).ConfigureAwait(false);
        foreach (var row in rows)
            datasets[(row.Run, row.Name, row.Digest)] = (row.Key, row.Context);
    }
}
