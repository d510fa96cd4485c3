using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// What the points of a request refer to: logged models and data sets, and from the latter what kind of data a point was measured on
/// (mapping C-23, C-24). Most requests name neither, and then nothing is asked of the database.
/// </summary>
public sealed class MetricContexts
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
    private readonly Dictionary<(string Name, string Digest), (long Key, string? Context)> datasets = [];

    private MetricContexts()
    {
    }

    /// <summary>Looks up everything that the points name.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: a logged model is not there.</exception>
    public static async Task<MetricContexts> ResolveAsync(
        Database database, DatabaseSession session, ActiveRun run, IReadOnlyList<MetricPoint> points, CancellationToken cancellationToken)
    {
        var contexts = new MetricContexts();
        var modelIds = points.Select(point => point.Model).OfType<Guid>().Distinct().ToList();
        if (modelIds.Count > 0)
            await contexts.ReadModelsAsync(database, session, modelIds, cancellationToken).ConfigureAwait(false);
        var names = points.Select(point => point.DatasetName).OfType<string>().Distinct(StringComparer.Ordinal).ToList();
        if (names.Count > 0)
            await contexts.ReadDatasetsAsync(database, session, run, names, cancellationToken).ConfigureAwait(false);
        return contexts;
    }

    /// <summary>Key of the logged model of a point.</summary>
    public long? ModelKey(MetricPoint point) => point.Model is { } id ? models[id] : null;

    /// <summary>Key of the data set of a point; it may name one that is not stored.</summary>
    public long? DatasetKey(MetricPoint point) => Find(point)?.Key;

    /// <summary>The value of <c>dataset_type</c>: by the context of the named data set, else by the name of the metric.</summary>
    public string DatasetType(MetricPoint point)
    {
        if (Find(point)?.Context is { } context && TypeOf(context) is { } byContext)
            return byContext;
        foreach (var (prefix, type) in NamePrefixes)
        {
            if (point.Key.StartsWith(prefix, StringComparison.Ordinal))
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

    private (long Key, string? Context)? Find(MetricPoint point) =>
        point.DatasetName is not null && datasets.TryGetValue((point.DatasetName, point.DatasetDigest ?? ""), out var dataset) ? dataset : null;

    private async Task ReadModelsAsync(
        Database database, DatabaseSession session, List<Guid> ids, CancellationToken cancellationToken)
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
        foreach (var id in ids)
        {
            if (!models.ContainsKey(id))
                throw ModelId.NotFound(ModelId.Format(id));
        }
    }

    private async Task ReadDatasetsAsync(
        Database database, DatabaseSession session, ActiveRun run, List<string> names, CancellationToken cancellationToken)
    {
        var ofRun = $"i.source_type = 'DATASET' AND i.source_id = {database.Choose("d.dataset_uuid::text", "d.dataset_uuid")} "
            + "AND i.destination_type = 'RUN' AND i.destination_id = $2";
        var rows = await session.ListAsync(
            database.Statement($"""
                SELECT d.dataset_id, d.dataset_name, d.dataset_digest,
                    (SELECT t.value FROM inputs i JOIN input_tags t ON t.input_uuid = i.input_uuid
                        WHERE {ofRun} AND t.name = 'mlflow.data.context')
                FROM datasets d
                WHERE d.experiment_id = $1 AND d.dataset_name {database.Choose("= ANY($3)", "IN (SELECT value FROM json_each($3))")}
                """).Add(run.ExperimentId).Add(run.Id.ToString("D")).Add(names),
            reader => (Key: reader.GetInt64(0), Name: reader.GetString(1), Digest: reader.GetStringOrNull(2) ?? "", Context: reader.GetStringOrNull(3)),
            cancellationToken).ConfigureAwait(false);
        foreach (var row in rows)
            datasets[(row.Name, row.Digest)] = (row.Key, row.Context);
    }
}

/// <summary>Ids of logged models: a UUID in the database, <c>m-</c> and its 32 hex digits for clients (mapping C-1).</summary>
public static class ModelId
{
    private const string Prefix = "m-";

    /// <summary>What clients see.</summary>
    public static string Format(Guid id) => Prefix + id.ToString("N");

    /// <summary>Reads an id.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no model has such an id.</exception>
    public static Guid Parse(string id) =>
        id.StartsWith(Prefix, StringComparison.Ordinal) && Guid.TryParseExact(id.AsSpan(Prefix.Length), "N", out var guid) ? guid : throw NotFound(id);

    /// <summary>The error for an unknown logged model.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"Logged model with ID {MlflowException.Quote(id)} not found.");
}
