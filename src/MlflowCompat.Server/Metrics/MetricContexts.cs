using System.Globalization;
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

    private readonly Dictionary<Guid, (long Key, bool IsTrained)> models = [];
    private readonly HashSet<Guid> heldModels = [];
    private readonly Dictionary<(long Run, PointOfModel Point), MeasuredValue> measured = [];
    private readonly Dictionary<(long Run, string Name, string Digest), (long Key, string? Context)> datasets = [];

    private MetricContexts()
    {
    }

    /// <summary>Looks up everything that the points of some requests name, and holds the models: nobody finalizes or deletes them meanwhile.</summary>
    /// <param name="database">The database.</param>
    /// <param name="session">A transaction.</param>
    /// <param name="held">The runs that it holds.</param>
    /// <param name="logs">The requests.</param>
    /// <param name="waitForModels">Whether to wait for models that somebody else holds.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<MetricContexts> ReadAsync(
        Database database,
        DatabaseSession session,
        Dictionary<Guid, HeldRun> held,
        List<PendingLog> logs,
        bool waitForModels,
        CancellationToken cancellationToken)
    {
        var contexts = new MetricContexts();
        var ofModels = new HashSet<(long Run, PointOfModel Point)>();
        var datasetNames = new HashSet<string>(StringComparer.Ordinal);
        var datasetRuns = new HashSet<long>();
        foreach (var log in logs)
        {
            foreach (var point in log.Log.Metrics)
            {
                if (point.Model is not null)
                    ofModels.Add((held[log.RunId].Key, PointOfModel.Of(point)));
                if (point.DatasetName is not { } name)
                    continue;
                datasetNames.Add(name);
                datasetRuns.Add(held[log.RunId].Key);
            }
        }

        if (ofModels.Count > 0)
        {
            await contexts.ReadModelsAsync(database, session, [.. ofModels.Select(point => point.Point.Model).Distinct()], waitForModels, cancellationToken)
                .ConfigureAwait(false);
            await contexts.ReadMeasuredAsync(database, session, [.. ofModels], cancellationToken).ConfigureAwait(false);
        }

        if (datasetNames.Count > 0)
            await contexts.ReadDatasetsAsync(database, session, [.. datasetRuns], [.. datasetNames], cancellationToken).ConfigureAwait(false);
        return contexts;
    }

    /// <summary>Whether a request has to wait, because somebody else holds a model that it logs for.</summary>
    public bool HasToWait(RunLog log) => heldModels.Count > 0 && log.Metrics.Any(point => point.Model is { } id && heldModels.Contains(id));

    /// <summary>
    /// What the points of a request say about logged models. A model has one value per metric, time, step and run: the same one may come
    /// again (contract: endpoints §6).
    /// </summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: there is no such model; BAD_REQUEST: it has another value.</exception>
    public Dictionary<(long Run, PointOfModel Point), MeasuredValue> Check(ActiveRun run, IReadOnlyList<MetricPoint> points)
    {
        var news = new Dictionary<(long Run, PointOfModel Point), MeasuredValue>();
        foreach (var point in points)
        {
            if (point.Model is not { } id)
                continue;
            if (!models.ContainsKey(id))
                throw ModelId.NotFound(id);
            var key = (run.Key, PointOfModel.Of(point));
            var value = MeasuredValue.Of(point);
            if (!measured.TryGetValue(key, out var known) && !news.TryGetValue(key, out known))
            {
                news.Add(key, value);
            }
            else if (known != value)
            {
                throw new MlflowException(ErrorCode.BadRequest, string.Create(
                    CultureInfo.InvariantCulture,
                    $"The metric {MlflowException.Quote(point.Key)} of the logged model {ModelId.Format(id)} has another value, or another data set, at step {point.Step} and time {point.Timestamp} in this run."));
            }
        }

        return news;
    }

    /// <summary>Takes in what a request that is accepted says about logged models.</summary>
    public void Add(Dictionary<(long Run, PointOfModel Point), MeasuredValue> news)
    {
        foreach (var (key, value) in news)
            measured.Add(key, value);
    }

    /// <summary>Key of the logged model of a point.</summary>
    public long? ModelKey(MetricPoint point) => point.Model is { } id ? models[id].Key : null;

    /// <summary>Whether a point is about a model that was trained and not evaluated until now.</summary>
    public bool IsFirstEvaluation(ActiveRun run, MetricPoint point) =>
        point.Model is { } id && models[id].IsTrained && DatasetType(run, point) is "validation" or "test";

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
        Database database, DatabaseSession session, IReadOnlyList<Guid> ids, bool wait, CancellationToken cancellationToken)
    {
        const string Select = "SELECT model_uuid, model_id, status FROM models";
        var isActive = database.Choose("model_uuid = ANY($1)", "model_uuid IN (SELECT value FROM json_each($1))") + " AND lifecycle_stage = 'active'";
        // In the order of their keys: two that wait do not wait for each other.
        var hold = database.Choose(wait ? " ORDER BY model_id FOR NO KEY UPDATE" : " FOR NO KEY UPDATE SKIP LOCKED", "");
        foreach (var (id, key, status) in await ListAsync(hold).ConfigureAwait(false))
            models.Add(id, (key, status == "trained"));
        if (models.Count == ids.Count || wait || database.Kind == DatabaseKind.Sqlite)
            return;
        foreach (var (id, _, _) in await ListAsync("").ConfigureAwait(false))
        {
            if (!models.ContainsKey(id))
                heldModels.Add(id);
        }

        Task<List<(Guid Id, long Key, string Status)>> ListAsync(string lockClause) => session.ListAsync(
            database.Statement($"{Select} WHERE {isActive}{lockClause}").Add(ids),
            reader => (reader.GetGuid(0), reader.GetInt64(1), reader.GetString(2)),
            cancellationToken);
    }

    /// <summary>Reads what models have already where points are to be logged.</summary>
    private async Task ReadMeasuredAsync(
        Database database, DatabaseSession session, List<(long Run, PointOfModel Point)> points, CancellationToken cancellationToken)
    {
        var known = points.FindAll(point => models.ContainsKey(point.Point.Model));
        if (known.Count == 0)
            return;
        var statement = database.Statement(
            """
            SELECT g.position, COALESCE(m.timestamp_ms, -1), m.metric_value, m.is_nan, m.dataset_name, m.dataset_digest
            FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS g(run_id, model_id, name, time, step, position) CROSS JOIN LATERAL (
                SELECT * FROM metrics m WHERE m.model_id = g.model_id AND m.metric_name = g.name AND m.timestamp = g.time
                    AND m.metric_step = g.step AND m.run_id = g.run_id OFFSET 0) m
            """,
            """
            SELECT g.key + 1, -1, m.metric_value, m.is_nan, m.dataset_name, m.dataset_digest
            FROM json_each($1) AS g CROSS JOIN metrics m
            WHERE m.model_id = json_extract($2, '$[' || g.key || ']') AND m.metric_name = json_extract($3, '$[' || g.key || ']')
                AND m.timestamp = json_extract($4, '$[' || g.key || ']') AND m.metric_step = json_extract($5, '$[' || g.key || ']')
                AND m.run_id = g.value
            """)
            .Add((IReadOnlyList<long>)known.ConvertAll(point => point.Run))
            .Add((IReadOnlyList<long>)known.ConvertAll(point => models[point.Point.Model].Key))
            .Add((IReadOnlyList<string>)known.ConvertAll(point => point.Point.Name))
            .AddTimes(known.ConvertAll(point => point.Point.Timestamp))
            .Add((IReadOnlyList<long>)known.ConvertAll(point => point.Point.Step));
        var rows = await session.ListAsync(
            statement,
            reader => (
                Point: known[(int)reader.GetInt64(0) - 1],
                Overflow: reader.GetInt64(1),
                Value: new MeasuredValue(
                    reader.GetBoolean(3) ? 0 : reader.GetDouble(2), reader.GetBoolean(3), reader.GetStringOrNull(4), reader.GetStringOrNull(5))),
            cancellationToken).ConfigureAwait(false);
        foreach (var (point, overflow, value) in rows)
        {
            // Times beyond the calendar share a TIMESTAMP (mapping C-2).
            if (overflow < 0 || overflow == point.Point.Timestamp)
                measured.TryAdd(point, value);
        }
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

/// <summary>What tells the points of logged models in a run apart.</summary>
internal readonly record struct PointOfModel(Guid Model, string Name, long Timestamp, long Step)
{
    public static PointOfModel Of(MetricPoint point) => new(point.Model!.Value, point.Key, point.Timestamp, point.Step);
}

/// <summary>The value at a point of a logged model, and what it was measured on.</summary>
internal readonly record struct MeasuredValue(double Value, bool IsNan, string? DatasetName, string? DatasetDigest)
{
    public static MeasuredValue Of(MetricPoint point) => new(point.Value, point.IsNan, point.DatasetName, point.DatasetDigest);
}
