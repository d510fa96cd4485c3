using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Datasets;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Metrics;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>
/// Reads whole runs: the row, its tags, latest metrics, params, inputs and outputs. On PostgreSQL that is one statement for any number of
/// runs, on SQLite, where a statement costs no round trip, one for each kind of row.
/// </summary>
internal static class RunReader
{
    /// <summary>Columns of <see cref="ReadInfo"/>, where nothing else is called so; SQLite's RETURNING takes no alias.</summary>
    public const string InfoColumns =
        "run_uuid, run_name, experiment_id, user_id, mlflow_status, start_time, start_time_ms, end_time, end_time_ms, artifact_uri, lifecycle_stage";

    private const int TagsOrdinal = 11;
    private const int DatasetsOrdinal = 12;
    private const int OutputsOrdinal = 13;
    private const int KeyOrdinal = 14;
    private const int MetricsOrdinal = 15;
    private const int ParamsOrdinal = 20;
    private const int PostgreSqlModelsOrdinal = 22;
    private const int SqliteModelsOrdinal = 15;

    private const string PostgreSqlColumns = $"""
        {InfoColumns}, r.tags,
        (SELECT json_agg(json_build_object(
                'tags', (SELECT json_agg(json_build_object('key', t.name, 'value', t.value)) FROM input_tags t WHERE t.input_uuid = i.input_uuid),
                'dataset', json_build_object('name', d.dataset_name, 'digest', d.dataset_digest, 'source_type', d.dataset_source_type,
                    'source', d.dataset_source, 'schema', d.dataset_schema, 'profile', d.dataset_profile)) ORDER BY d.dataset_id)
            FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id::uuid
            WHERE i.destination_type = 'RUN' AND i.destination_id = r.run_uuid::text AND i.source_type = 'DATASET'),
        (SELECT json_agg(json_build_object('model_id', o.destination_id, 'step', o.step))
            FROM inputs o WHERE o.source_type = 'RUN_OUTPUT' AND o.source_id = r.run_uuid::text AND o.destination_type = 'MODEL_OUTPUT'),
        r.run_id, m.names, m.numbers, m.nans, m.timestamps, m.steps, p.names, p.texts
        """;

    private const string PostgreSqlLists = """
        CROSS JOIN LATERAL (
            SELECT array_agg(metric_name) AS names, array_agg(metric_value) AS numbers, array_agg(is_nan) AS nans,
                array_agg(metric_timestamp_ms) AS timestamps, array_agg(metric_step) AS steps
            FROM latest_metrics WHERE run_id = r.run_id) m
        CROSS JOIN LATERAL (
            SELECT array_agg(param_key) AS names, array_agg(param_value) AS texts FROM hyperparameters WHERE run_id = r.run_id) p
        """;

    private const string SqliteColumns = $"""
        {InfoColumns}, r.tags,
        (SELECT json_group_array(json(entry)) FROM (SELECT json_object(
                'tags', json((SELECT json_group_array(json_object('key', t.name, 'value', t.value)) FROM input_tags t WHERE t.input_uuid = i.input_uuid)),
                'dataset', json_object('name', d.dataset_name, 'digest', d.dataset_digest, 'source_type', d.dataset_source_type,
                    'source', d.dataset_source, 'schema', d.dataset_schema, 'profile', d.dataset_profile)) AS entry
            FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id
            WHERE i.destination_type = 'RUN' AND i.destination_id = r.run_uuid AND +i.source_type = 'DATASET'
            ORDER BY d.dataset_id)),
        (SELECT json_group_array(json_object('model_id', o.destination_id, 'step', o.step))
            FROM inputs o WHERE o.source_type = 'RUN_OUTPUT' AND o.source_id = r.run_uuid AND o.destination_type = 'MODEL_OUTPUT'),
        r.run_id
        """;

    /// <summary>One run, or null.</summary>
    public static async Task<Run?> FindAsync(Database database, DatabaseSession session, Guid id, CancellationToken cancellationToken)
    {
        // Only runs/get tells the model inputs (contract: semantics §8). RUN_INPUT alone leads to models, and the condition on the
        // destination would tempt PostgreSQL to the index that begins with it.
        var statement = database.Statement(
            $"""
            SELECT {PostgreSqlColumns},
                (SELECT json_agg(json_build_object('model_id', i.destination_id)) FROM inputs i WHERE i.source_type = 'RUN_INPUT' AND i.source_id = $2)
            FROM runs r {PostgreSqlLists} WHERE r.run_uuid = $1
            """,
            $"""
            SELECT {SqliteColumns},
                (SELECT json_group_array(json_object('model_id', i.destination_id)) FROM inputs i WHERE i.source_type = 'RUN_INPUT' AND i.source_id = $2)
            FROM runs r WHERE r.run_uuid = $1
            """).Add(id).Add(id.ToString("D"));
        var models = database.Kind == DatabaseKind.PostgreSql ? PostgreSqlModelsOrdinal : SqliteModelsOrdinal;
        var runs = await ReadAsync(database, session, statement, cancellationToken, models).ConfigureAwait(false);
        return runs.Count == 0 ? null : runs[0];
    }

    /// <summary>The runs that a search has found, in its order.</summary>
    /// <param name="database">The database.</param>
    /// <param name="session">An open session.</param>
    /// <param name="search">From <see cref="RunSearch"/>: a query for the keys of the runs.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<List<Run>> ListAsync(
        Database database, DatabaseSession session, StatementBuilder search, CancellationToken cancellationToken)
    {
        // The narrow search finds and orders keys; only the rows of the page are then read as a whole.
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            search.Prepend($"SELECT {PostgreSqlColumns} FROM unnest(ARRAY(")
                .Append($")) WITH ORDINALITY AS page(run_id, position) JOIN runs r ON r.run_id = page.run_id {PostgreSqlLists} ORDER BY page.position");
            return await ReadAsync(database, session, search.ToStatement(), cancellationToken).ConfigureAwait(false);
        }

        var keys = await session.ListAsync(search.ToStatement(), reader => reader.GetInt64(0), cancellationToken).ConfigureAwait(false);
        var page = database.Statement($"SELECT {SqliteColumns} FROM json_each($1) page CROSS JOIN runs r WHERE r.run_id = page.value ORDER BY page.key");
        return await ReadAsync(database, session, page.Add(keys), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads <see cref="InfoColumns"/>.</summary>
    public static RunInfo ReadInfo(DbDataReader reader)
    {
        var id = RunId.Format(reader.GetGuid(0));
        return new RunInfo(
            id,
            id,
            reader.GetString(1),
            reader.GetInt64(2).ToString(CultureInfo.InvariantCulture),
            reader.GetStringOrNull(3) ?? "",
            reader.GetString(4),
            reader.GetMilliseconds(5, 6),
            reader.GetMillisecondsOrNull(7, 8),
            reader.GetStringOrNull(9) ?? "",
            reader.GetString(10));
    }

    private static async Task<List<Run>> ReadAsync(
        Database database, DatabaseSession session, Statement statement, CancellationToken cancellationToken, int? modelsOrdinal = null)
    {
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            return await session.ListAsync(
                statement, reader => Read(reader, ReadMetrics(reader), ReadParams(reader), modelsOrdinal), cancellationToken).ConfigureAwait(false);
        }

        var rows = await session.ListAsync(
            statement, reader => (Key: reader.GetInt64(KeyOrdinal), Run: Read(reader, null, null, modelsOrdinal)), cancellationToken)
            .ConfigureAwait(false);
        if (rows.Count == 0)
            return [];
        var keys = rows.ConvertAll(row => row.Key);
        var metrics = await ByRunAsync(
            "SELECT run_id, metric_name, metric_value, is_nan, metric_timestamp_ms, metric_step FROM latest_metrics",
            reader => new Metric(
                reader.GetString(1), reader.GetBoolean(3) ? double.NaN : reader.GetDouble(2), reader.GetInt64(4), reader.GetInt64(5)))
            .ConfigureAwait(false);
        var parameters = await ByRunAsync(
            "SELECT run_id, param_key, param_value FROM hyperparameters",
            reader => new KeyValue { Key = reader.GetString(1), Value = reader.GetString(2) }).ConfigureAwait(false);
        return rows.ConvertAll(row => row.Run with
        {
            Data = row.Run.Data with { Metrics = metrics.GetValueOrDefault(row.Key), Params = parameters.GetValueOrDefault(row.Key) },
        });

        async Task<Dictionary<long, List<T>>> ByRunAsync<T>(string select, Func<DbDataReader, T> map)
        {
            var lists = new Dictionary<long, List<T>>();
            var children = database.Statement($"{select} WHERE run_id IN (SELECT value FROM json_each($1))").Add(keys);
            foreach (var (key, item) in await session.ListAsync(children, reader => (reader.GetInt64(0), map(reader)), cancellationToken).ConfigureAwait(false))
            {
                if (!lists.TryGetValue(key, out var list))
                    lists.Add(key, list = []);
                list.Add(item);
            }

            return lists;
        }
    }

    private static Run Read(DbDataReader reader, List<Metric>? metrics, List<KeyValue>? parameters, int? modelsOrdinal) => new(
        ReadInfo(reader),
        new RunData(metrics, parameters, Tags.Read(reader, TagsOrdinal)),
        new RunInputs(ReadInputs(reader), modelsOrdinal is { } ordinal ? ReadJsonList<ModelInput>(reader, ordinal) : null),
        new RunOutputs(ReadJsonList<ModelOutput>(reader, OutputsOrdinal)));

    private static List<Metric>? ReadMetrics(DbDataReader reader)
    {
        if (reader.IsDBNull(MetricsOrdinal))
            return null;
        var names = reader.GetFieldValue<string[]>(MetricsOrdinal);
        var numbers = reader.GetFieldValue<double[]>(MetricsOrdinal + 1);
        var nans = reader.GetFieldValue<bool[]>(MetricsOrdinal + 2);
        var timestamps = reader.GetFieldValue<long[]>(MetricsOrdinal + 3);
        var steps = reader.GetFieldValue<long[]>(MetricsOrdinal + 4);
        var metrics = new List<Metric>(names.Length);
        for (var i = 0; i < names.Length; i++)
            metrics.Add(new Metric(names[i], nans[i] ? double.NaN : numbers[i], timestamps[i], steps[i]));
        return metrics;
    }

    private static List<KeyValue>? ReadParams(DbDataReader reader)
    {
        if (reader.IsDBNull(ParamsOrdinal))
            return null;
        var names = reader.GetFieldValue<string[]>(ParamsOrdinal);
        var texts = reader.GetFieldValue<string[]>(ParamsOrdinal + 1);
        var parameters = new List<KeyValue>(names.Length);
        for (var i = 0; i < names.Length; i++)
            parameters.Add(new KeyValue { Key = names[i], Value = texts[i] });
        return parameters;
    }

    private static List<DatasetInput>? ReadInputs(DbDataReader reader)
    {
        var inputs = ReadJsonList<DatasetInput>(reader, DatasetsOrdinal);
        foreach (var input in inputs ?? [])
        {
            // SQLite aggregates no rows to an empty array where PostgreSQL gives NULL.
            input.Tags = input.Tags is { Count: > 0 } ? input.Tags : null;
            input.Tags?.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        }

        return inputs;
    }

    private static List<T>? ReadJsonList<T>(DbDataReader reader, int ordinal)
    {
        if (reader.IsDBNull(ordinal))
            return null;
        var list = JsonSerializer.Deserialize(reader.GetString(ordinal), MlflowJson.TypeInfo<List<T>>());
        return list is { Count: > 0 } ? list : null;
    }
}
