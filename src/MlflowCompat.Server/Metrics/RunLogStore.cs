using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// Writes what runs log: metrics with their latest values, params and tags, all of one request in one transaction (contract: semantics
/// §6, §7; mapping 2.3, 2.5).
/// </summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">The server's options.</param>
public sealed class RunLogStore(Database database, ServerOptions options)
{
    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; } = options;

    /// <summary>Logs to an active run: everything, or nothing when one part is refused.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such run, or no such logged model; INVALID_PARAMETER_VALUE: the run is deleted, or a param has another
    /// value already.
    /// </exception>
    public Task LogAsync(Guid runId, RunLog log, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await ActiveRun.LockAsync(database, session, runId, token).ConfigureAwait(false);
            var statements = new List<Statement>();
            if (log.Params.Count > 0)
                AddParams(statements, run, await NewParamsAsync(session, run, log.Params, token).ConfigureAwait(false));
            if (log.Metrics.Count > 0)
            {
                var contexts = await MetricContexts.ResolveAsync(database, session, run, log.Metrics, token).ConfigureAwait(false);
                AddMetrics(statements, run, log.Metrics, contexts);
                AddLatest(statements, run, MetricPoint.Latest(log.Metrics));
            }

            if (log.Tags.Count > 0)
                statements.Add(RunTags.Set(database, run.Key, log.Tags));
            await session.ExecuteAsync(statements, token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>
    /// The params that the run does not have yet. The run is held, so nobody else adds one of them meanwhile.
    /// </summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE naming every param that has another value.</exception>
    private async Task<List<KeyValue>> NewParamsAsync(
        DatabaseSession session, ActiveRun run, IReadOnlyList<KeyValue> parameters, CancellationToken cancellationToken)
    {
        var stored = (await session.ListAsync(
            database.Statement(
                "SELECT param_key, param_value FROM hyperparameters WHERE run_id = $1 AND param_key = ANY($2)",
                "SELECT param_key, param_value FROM hyperparameters WHERE run_id = $1 AND param_key IN (SELECT value FROM json_each($2))")
                .Add(run.Key).Add([.. parameters.Select(parameter => parameter.Key!)]),
            reader => (Key: reader.GetString(0), Value: reader.GetString(1)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(row => row.Key, row => row.Value, StringComparer.Ordinal);
        if (stored.Count == 0)
            return [.. parameters];

        var conflicts = parameters.Where(parameter => stored.TryGetValue(parameter.Key!, out var old) && old != parameter.Value).ToList();
        if (conflicts.Count > 0)
        {
            var list = string.Join("; ", conflicts.Select(parameter =>
                $"Param with key={MlflowException.Quote(parameter.Key!)} is {MlflowException.Quote(stored[parameter.Key!])} and was sent as {MlflowException.Quote(parameter.Value!)}"));
            throw MlflowException.InvalidParameter($"Changing param values is not allowed. {list} (run {RunId.Format(run.Id)})");
        }

        return [.. parameters.Where(parameter => !stored.ContainsKey(parameter.Key!))];
    }

    private void AddParams(List<Statement> statements, ActiveRun run, List<KeyValue> parameters)
    {
        if (parameters.Count == 0)
            return;
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            statements.Add(database.Statement("""
                INSERT INTO hyperparameters (run_id, param_key, param_value, param_type)
                SELECT $1, * FROM unnest($2, $3, $4)
                """)
                .Add(run.Key)
                .Add([.. parameters.Select(parameter => parameter.Key!)])
                .Add([.. parameters.Select(parameter => parameter.Value!)])
                .Add([.. parameters.Select(parameter => ParamType(parameter.Value!))]));
            return;
        }

        foreach (var parameter in parameters)
        {
            statements.Add(database.Statement("INSERT INTO hyperparameters (run_id, param_key, param_value, param_type) VALUES ($1, $2, $3, $4)")
                .Add(run.Key).Add(parameter.Key).Add(parameter.Value).Add(ParamType(parameter.Value!)));
        }
    }

    /// <summary>A point that is there already is left alone: sending it again is no error (mapping C-22).</summary>
    private void AddMetrics(List<Statement> statements, ActiveRun run, IReadOnlyList<MetricPoint> points, MetricContexts contexts)
    {
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            // NaN is stored as such here; only the table of latest values compares it as 0 (mapping C-21).
            statements.Add(database.Statement("""
                INSERT INTO metrics (run_id, metric_name, metric_value, is_nan, metric_step, timestamp, timestamp_ms, dataset_type,
                    model_id, dataset_id, dataset_name, dataset_digest)
                SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                ON CONFLICT DO NOTHING
                """)
                .Add(run.Key)
                .Add([.. points.Select(point => point.Key)])
                .Add([.. points.Select(point => point.IsNan ? double.NaN : point.Value)])
                .Add((bool[])[.. points.Select(point => point.IsNan)])
                .Add((IReadOnlyList<long>)[.. points.Select(point => point.Step)])
                .AddTimesAndOverflows([.. points.Select(point => point.Timestamp)])
                .Add((IReadOnlyList<string>)[.. points.Select(contexts.DatasetType)])
                .Add((long?[])[.. points.Select(contexts.ModelKey)])
                .Add((long?[])[.. points.Select(contexts.DatasetKey)])
                .AddNullable([.. points.Select(point => point.DatasetName)])
                .AddNullable([.. points.Select(point => point.DatasetDigest)]));
            return;
        }

        foreach (var point in points)
        {
            statements.Add(database.Statement("""
                INSERT INTO metrics (run_id, metric_name, metric_value, is_nan, metric_step, timestamp, dataset_type,
                    model_id, dataset_id, dataset_name, dataset_digest)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                ON CONFLICT DO NOTHING
                """)
                .Add(run.Key).Add(point.Key).Add(point.Value).Add(point.IsNan).Add(point.Step).AddTime(point.Timestamp)
                .Add(contexts.DatasetType(point)).Add(contexts.ModelKey(point)).Add(contexts.DatasetKey(point))
                .Add(point.DatasetName).Add(point.DatasetDigest));
        }
    }

    /// <summary>
    /// Keeps the latest value of each metric: the greatest (step, timestamp, value), whatever the order in which points arrive (C-25).
    /// </summary>
    private void AddLatest(List<Statement> statements, ActiveRun run, IReadOnlyCollection<MetricPoint> latest)
    {
        const string Replace = """
            ON CONFLICT (run_id, metric_name) DO UPDATE SET
                metric_value = excluded.metric_value, is_nan = excluded.is_nan,
                metric_step = excluded.metric_step, metric_timestamp_ms = excluded.metric_timestamp_ms
            WHERE (excluded.metric_step, excluded.metric_timestamp_ms, excluded.metric_value)
                > (latest_metrics.metric_step, latest_metrics.metric_timestamp_ms, latest_metrics.metric_value)
            """;
        const string Columns = "run_id, metric_name, metric_value, is_nan, metric_step, metric_timestamp_ms";
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            statements.Add(database.Statement($"INSERT INTO latest_metrics ({Columns}) SELECT $1, * FROM unnest($2, $3, $4, $5, $6) {Replace}")
                .Add(run.Key)
                .Add([.. latest.Select(point => point.Key)])
                .Add([.. latest.Select(point => point.Value)])
                .Add((bool[])[.. latest.Select(point => point.IsNan)])
                .Add((IReadOnlyList<long>)[.. latest.Select(point => point.Step)])
                .Add((IReadOnlyList<long>)[.. latest.Select(point => point.Timestamp)]));
            return;
        }

        foreach (var point in latest)
        {
            statements.Add(database.Statement($"INSERT INTO latest_metrics ({Columns}) VALUES ($1, $2, $3, $4, $5, $6) {Replace}")
                .Add(run.Key).Add(point.Key).Add(point.Value).Add(point.IsNan).Add(point.Step).Add(point.Timestamp));
        }
    }

    /// <summary>What a param looks like, for readers of the specified schema; clients never see it (mapping C-54).</summary>
    private static string ParamType(string value)
    {
        if (long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _))
            return "integer";
        if (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _))
            return "float";
        if (value is "true" or "false" or "True" or "False")
            return "boolean";
        return IsJson(value) ? "json" : "string";
    }

    private static bool IsJson(string value)
    {
        if (value.Length < 2 || value[0] is not ('{' or '[') || value[^1] is not ('}' or ']'))
            return false;
        try
        {
            using var document = JsonDocument.Parse(value);
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
