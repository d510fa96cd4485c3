using System.Data.Common;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>
/// Reads whole logged models: the row, its tags, params, and all points of its metrics. On PostgreSQL that is one statement for any number
/// of models, on SQLite, where a statement costs no round trip, a second one for the points.
/// </summary>
internal static class LoggedModelReader
{
    private const int KeyOrdinal = 12;
    private const int MetricsOrdinal = 13;

    private const string Columns = """
        lm.model_uuid, lm.experiment_id, lm.model_name, lm.created_at, lm.updated_at, lm.model_file_path, lm.status, lm.model_type,
        lm.source_run_uuid, lm.status_message, lm.tags, lm.hyperparameters, lm.model_id
        """;

    /// <summary>The run is looked up by its key: without statistics PostgreSQL would join, and read all runs for it.</summary>
    private const string PostgreSqlLists = """
        CROSS JOIN LATERAL (
            SELECT array_agg(m.metric_name) AS names, array_agg(m.metric_value) AS numbers, array_agg(m.is_nan) AS nans,
                array_agg(COALESCE(m.timestamp_ms, (extract(epoch FROM m.timestamp) * 1000)::bigint)) AS timestamps,
                array_agg(m.metric_step) AS steps, array_agg(m.dataset_name) AS datasets, array_agg(m.dataset_digest) AS digests,
                array_agg((SELECT r.run_uuid FROM runs r WHERE r.run_id = m.run_id)) AS runs
            FROM (SELECT * FROM metrics WHERE model_id = lm.model_id ORDER BY metric_id) m) m
        """;

    /// <summary>One model, or null.</summary>
    /// <param name="database">The database.</param>
    /// <param name="session">An open session.</param>
    /// <param name="id">The model.</param>
    /// <param name="allowDeleted">Whether a deleted one is found.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<LoggedModel?> FindAsync(
        Database database, DatabaseSession session, Guid id, bool allowDeleted, CancellationToken cancellationToken)
    {
        var stage = allowDeleted ? "" : " AND lm.lifecycle_stage = 'active'";
        var statement = database.Statement(
            $"SELECT {Columns}, m.* FROM models lm {PostgreSqlLists} WHERE lm.model_uuid = $1{stage}",
            $"SELECT {Columns} FROM models lm WHERE lm.model_uuid = $1{stage}").Add(id);
        var models = await ReadAsync(database, session, statement, cancellationToken).ConfigureAwait(false);
        return models.Count == 0 ? null : models[0];
    }

    /// <summary>The models that a search has found, in its order.</summary>
    /// <param name="database">The database.</param>
    /// <param name="session">An open session.</param>
    /// <param name="search">From <see cref="LoggedModelSearch"/>: a query for the keys of the models.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<List<LoggedModel>> ListAsync(
        Database database, DatabaseSession session, StatementBuilder search, CancellationToken cancellationToken)
    {
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            search.Prepend($"SELECT {Columns}, m.* FROM unnest(ARRAY(")
                .Append($")) WITH ORDINALITY AS page(model_id, position) JOIN models lm ON lm.model_id = page.model_id {PostgreSqlLists} ORDER BY page.position");
            return await ReadAsync(database, session, search.ToStatement(), cancellationToken).ConfigureAwait(false);
        }

        var keys = await session.ListAsync(search.ToStatement(), reader => reader.GetInt64(0), cancellationToken).ConfigureAwait(false);
        var page = database.Statement($"SELECT {Columns} FROM json_each($1) page CROSS JOIN models lm WHERE lm.model_id = page.value ORDER BY page.key");
        return await ReadAsync(database, session, page.Add(keys), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>MLflow's name of a status of the specified schema (mapping C-32).</summary>
    public static string StatusName(string stored) => ProtoEnumConverter<LoggedModelStatus>.NameOf(stored switch
    {
        "training" => LoggedModelStatus.LoggedModelPending,
        "failed" => LoggedModelStatus.LoggedModelUploadFailed,
        _ => LoggedModelStatus.LoggedModelReady,
    });

    private static async Task<List<LoggedModel>> ReadAsync(
        Database database, DatabaseSession session, Statement statement, CancellationToken cancellationToken)
    {
        if (database.Kind == DatabaseKind.PostgreSql)
            return await session.ListAsync(statement, reader => Read(reader, ReadMetrics(reader)), cancellationToken).ConfigureAwait(false);
        var rows = await session.ListAsync(
            statement, reader => (Key: reader.GetInt64(KeyOrdinal), Model: Read(reader, null)), cancellationToken).ConfigureAwait(false);
        if (rows.Count == 0)
            return [];
        var ids = rows.ToDictionary(row => row.Key, row => row.Model.Info.ModelId);
        var points = await session.ListAsync(
            database.Statement("""
                SELECT m.model_id, m.metric_name, m.metric_value, m.is_nan, m.timestamp, m.metric_step, m.dataset_name, m.dataset_digest, r.run_uuid
                FROM json_each($1) page CROSS JOIN metrics m CROSS JOIN runs r
                WHERE m.model_id = page.value AND r.run_id = m.run_id ORDER BY m.metric_id
                """).Add(rows.ConvertAll(row => row.Key)),
            reader => (Key: reader.GetInt64(0), Point: new LoggedModelMetric(
                reader.GetString(1),
                ShownValue(reader.GetDouble(2), reader.GetBoolean(3)),
                reader.GetInt64(4),
                reader.GetInt64(5),
                reader.GetStringOrNull(6),
                reader.GetStringOrNull(7),
                ids[reader.GetInt64(0)],
                RunId.Format(reader.GetGuid(8)))),
            cancellationToken).ConfigureAwait(false);
        var byModel = points.ToLookup(row => row.Key, row => row.Point);
        return rows.ConvertAll(row => byModel[row.Key].ToList() is { Count: > 0 } metrics
            ? row.Model with { Data = row.Model.Data with { Metrics = metrics } }
            : row.Model);
    }

    /// <summary>
    /// MLflow answers 0 for a NaN of a model, and orders by it as 0; clients compare what they get. The table, and the run to which the
    /// point was logged, say NaN.
    /// </summary>
    private static double ShownValue(double value, bool isNan) => isNan ? 0 : value;

    private static LoggedModel Read(DbDataReader reader, List<LoggedModelMetric>? metrics) => new(
        new LoggedModelInfo(
            ModelId.Format(reader.GetGuid(0)),
            reader.IsDBNull(1) ? "" : ExperimentId.Format(reader.GetInt64(1)),
            reader.GetString(2),
            reader.GetMilliseconds(3),
            reader.GetMilliseconds(4),
            reader.GetString(5),
            StatusName(reader.GetString(6)),
            reader.GetString(7),
            reader.GetStringOrNull(8) ?? "",
            reader.GetStringOrNull(9),
            Tags.Read(reader, 10)),
        new LoggedModelData(Tags.Read(reader, 11), metrics));

    private static List<LoggedModelMetric>? ReadMetrics(DbDataReader reader)
    {
        if (reader.IsDBNull(MetricsOrdinal))
            return null;
        var id = ModelId.Format(reader.GetGuid(0));
        var names = reader.GetFieldValue<string[]>(MetricsOrdinal);
        var numbers = reader.GetFieldValue<double[]>(MetricsOrdinal + 1);
        var nans = reader.GetFieldValue<bool[]>(MetricsOrdinal + 2);
        var timestamps = reader.GetFieldValue<long[]>(MetricsOrdinal + 3);
        var steps = reader.GetFieldValue<long[]>(MetricsOrdinal + 4);
        var datasets = reader.GetFieldValue<string?[]>(MetricsOrdinal + 5);
        var digests = reader.GetFieldValue<string?[]>(MetricsOrdinal + 6);
        var runs = reader.GetFieldValue<Guid[]>(MetricsOrdinal + 7);
        var metrics = new List<LoggedModelMetric>(names.Length);
        for (var i = 0; i < names.Length; i++)
        {
            metrics.Add(new LoggedModelMetric(
                names[i], ShownValue(numbers[i], nans[i]), timestamps[i], steps[i], datasets[i], digests[i], id, RunId.Format(runs[i])));
        }

        return metrics;
    }
}
