using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// One transaction with what several requests log. It holds their runs, decides about each request as if it came alone and in its turn,
/// and then writes all rows of those that are accepted, kind by kind, and their tags run by run.
/// </summary>
internal sealed class RunLogGroup
{
    /// <summary>A point that is there already is left alone: sending it again is no error (mapping C-22).</summary>
    private static readonly RowsInsert Points = new(
        "metrics",
        """
        run_id, metric_name, metric_value, is_nan, metric_step, timestamp, timestamp_ms, dataset_type,
        model_id, dataset_id, dataset_name, dataset_digest
        """,
        "ON CONFLICT DO NOTHING");

    /// <summary>What of a point <c>latest_metrics</c> has.</summary>
    internal const string LatestColumns = "run_id, metric_name, metric_value, is_nan, metric_step, metric_timestamp_ms";

    /// <summary>
    /// Keeps the latest value of each metric: the greatest (step, timestamp, value), whatever the order in which points arrive (C-25).
    /// </summary>
    internal const string ReplaceLatest = """
        ON CONFLICT (run_id, metric_name) DO UPDATE SET
            metric_value = excluded.metric_value, is_nan = excluded.is_nan,
            metric_step = excluded.metric_step, metric_timestamp_ms = excluded.metric_timestamp_ms
        WHERE (excluded.metric_step, excluded.metric_timestamp_ms, excluded.metric_value)
            > (latest_metrics.metric_step, latest_metrics.metric_timestamp_ms, latest_metrics.metric_value)
        """;

    private static readonly RowsInsert Latest = new("latest_metrics", LatestColumns, ReplaceLatest);

    private readonly Database database;
    private readonly RunParams parameters;
    private readonly MetricContexts contexts;
    private readonly List<(ActiveRun Run, MetricPoint Point)> points = [];
    private readonly Dictionary<ActiveRun, List<KeyValue>> tags = [];

    private RunLogGroup(Database database, RunParams parameters, MetricContexts contexts)
    {
        this.database = database;
        this.parameters = parameters;
        this.contexts = contexts;
    }

    /// <summary>Writes a group; what a request is refused for is returned in its place.</summary>
    /// <param name="database">The database.</param>
    /// <param name="session">A transaction.</param>
    /// <param name="logs">The requests; all of one run if it is to be waited for.</param>
    /// <param name="waitForRun">
    /// Whether to wait for a run, or for models that it logs for, which somebody else holds; its requests get a <see cref="RunHeldException"/>
    /// if not.
    /// </param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    public static async Task<IReadOnlyList<Exception?>> WriteAsync(
        Database database, DatabaseSession session, IReadOnlyList<PendingLog> logs, bool waitForRun, CancellationToken cancellationToken)
    {
        var ids = logs.Select(log => log.RunId).Distinct().ToList();
        var runs = (waitForRun
            ? [await HeldRun.LockAsync(database, session, ids[0], cancellationToken).ConfigureAwait(false)]
            : await HeldRun.LockFreeAsync(database, session, ids, cancellationToken).ConfigureAwait(false)).ToDictionary(run => run.Id);
        var writable = logs.Where(log => runs.TryGetValue(log.RunId, out var run) && run.IsActive).ToList();
        var group = new RunLogGroup(
            database,
            await RunParams.ReadAsync(database, session, runs, writable, cancellationToken).ConfigureAwait(false),
            await MetricContexts.ReadAsync(database, session, runs, writable, waitForRun, cancellationToken).ConfigureAwait(false));
        var outcomes = new Exception?[logs.Count];
        for (var i = 0; i < outcomes.Length; i++)
        {
            if (!runs.TryGetValue(logs[i].RunId, out var run) || group.contexts.HasToWait(logs[i].Log))
            {
                outcomes[i] = new RunHeldException();
                continue;
            }

            try
            {
                group.Accept(run.RequireActive(), logs[i].Log);
            }
            catch (MlflowException refusal)
            {
                outcomes[i] = refusal;
            }
        }

        await group.WriteAsync(session, cancellationToken).ConfigureAwait(false);
        return outcomes;
    }

    /// <summary>Takes a request in as a whole.</summary>
    /// <exception cref="MlflowException">It is refused, and nothing of it was taken in.</exception>
    private void Accept(ActiveRun run, RunLog log)
    {
        RunTags.Check(log.Tags);
        var measured = contexts.Check(run, log.Metrics);
        parameters.Add(run, log.Params);
        contexts.Add(measured);
        foreach (var point in log.Metrics)
            points.Add((run, point));
        if (log.Tags.Count == 0)
            return;
        if (!tags.TryGetValue(run, out var list))
            tags.Add(run, list = []);
        list.AddRange(log.Tags);
    }

    private async Task WriteAsync(DatabaseSession session, CancellationToken cancellationToken)
    {
        await session.ExecuteLastAsync(parameters.Insert(), cancellationToken).ConfigureAwait(false);
        await session.ExecuteLastAsync(InsertPoints(), cancellationToken).ConfigureAwait(false);
        await session.ExecuteLastAsync(InsertLatest(), cancellationToken).ConfigureAwait(false);
        foreach (var (run, list) in tags)
            await session.ExecuteLastAsync(RunTags.Set(database, run.Key, list), cancellationToken).ConfigureAwait(false);
        var evaluated = points.Where(row => contexts.IsFirstEvaluation(row.Run, row.Point)).Select(row => contexts.ModelKey(row.Point)!.Value).Distinct().ToArray();
        if (evaluated.Length > 0)
        {
            await session.ExecuteLastAsync(
                database.Statement(
                    "UPDATE models SET status = 'evaluated' WHERE model_id = ANY($1) AND status = 'trained'",
                    "UPDATE models SET status = 'evaluated' WHERE model_id IN (SELECT value FROM json_each($1)) AND status = 'trained'")
                    .Add((IReadOnlyList<long>)evaluated),
                cancellationToken).ConfigureAwait(false);
        }
    }

    private RowsStatement InsertPoints()
    {
        // NaN is stored as such on PostgreSQL; only the table of latest values compares it as 0 there (mapping C-21).
        var nan = database.Kind == DatabaseKind.PostgreSql ? double.NaN : 0;
        return database.Rows(Points)
            .Add(Column(row => row.Run.Key))
            .Add(Column(row => row.Point.Key))
            .Add(Column(row => row.Point.IsNan ? nan : row.Point.Value))
            .Add(Column(row => row.Point.IsNan))
            .Add(Column(row => row.Point.Step))
            .AddTimesAndOverflows(Column(row => row.Point.Timestamp))
            .Add(Column(row => contexts.DatasetType(row.Run, row.Point)))
            .Add(Column(row => contexts.ModelKey(row.Point)))
            .Add(Column(row => contexts.DatasetKey(row.Run, row.Point)))
            .Add(Column(row => row.Point.DatasetName))
            .Add(Column(row => row.Point.DatasetDigest));

        T[] Column<T>(Func<(ActiveRun Run, MetricPoint Point), T> value)
        {
            var values = new T[points.Count];
            for (var i = 0; i < values.Length; i++)
                values[i] = value(points[i]);
            return values;
        }
    }

    private RowsStatement InsertLatest()
    {
        // Of equals the first one stays, as it would had they come one after the other.
        var latest = new Dictionary<(long Run, string Key), MetricPoint>();
        foreach (var (run, point) in points)
        {
            if (!latest.TryGetValue((run.Key, point.Key), out var known) || point.IsLaterThan(known))
                latest[(run.Key, point.Key)] = point;
        }

        var rows = latest.ToArray();
        return database.Rows(Latest)
            .Add(Array.ConvertAll(rows, row => row.Key.Run))
            .Add(Array.ConvertAll(rows, row => row.Key.Key))
            .Add(Array.ConvertAll(rows, row => row.Value.Value))
            .Add(Array.ConvertAll(rows, row => row.Value.IsNan))
            .Add(Array.ConvertAll(rows, row => row.Value.Step))
            .Add(Array.ConvertAll(rows, row => row.Value.Timestamp));
    }
}
