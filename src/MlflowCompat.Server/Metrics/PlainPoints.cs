using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// What <see cref="RunLogGroup"/> does, for the commonest of groups, in one round trip to PostgreSQL: points that refer to nothing but
/// their run can be written without anything having been read before. One statement holds the runs that nobody else holds, and writes the
/// points of those that are active.
/// </summary>
internal static class PlainPoints
{
    private static readonly RowsInsert Insert = new($"""
        WITH held AS MATERIALIZED (
            SELECT run_id, run_uuid, experiment_id, lifecycle_stage FROM runs WHERE run_uuid = ANY($1) FOR NO KEY UPDATE SKIP LOCKED),
        given AS MATERIALIZED (
            SELECT held.run_id, point.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
                WITH ORDINALITY AS point(run_uuid, name, value, is_nan, step, time, overflow, milliseconds, dataset_type, position)
                JOIN held USING (run_uuid)
            WHERE held.lifecycle_stage = 'active'),
        points AS (
            INSERT INTO metrics (run_id, metric_name, metric_value, is_nan, metric_step, timestamp, timestamp_ms, dataset_type)
            SELECT run_id, name, value, is_nan, step, time, overflow, dataset_type FROM given
            ON CONFLICT DO NOTHING),
        latest AS (
            INSERT INTO latest_metrics ({RunLogGroup.LatestColumns})
            SELECT DISTINCT ON (run_id, name) run_id, name, CASE WHEN is_nan THEN 0 ELSE value END AS ordered, is_nan, step, milliseconds
            FROM given ORDER BY run_id, name, step DESC, milliseconds DESC, ordered DESC, position
            {RunLogGroup.ReplaceLatest})
        SELECT run_id, run_uuid, experiment_id, lifecycle_stage FROM held
        """);

    /// <summary>Writes a group; what a request is refused for is returned in its place.</summary>
    public static async Task<IReadOnlyList<Exception?>> WriteAsync(
        Database database, DatabaseSession session, IReadOnlyList<PendingLog> logs, CancellationToken cancellationToken)
    {
        var points = logs.SelectMany(log => log.Log.Metrics, (log, point) => (log.RunId, Point: point)).ToArray();
        var held = (await session.CommitWithAsync(
            database.Rows(Insert)
                .Add(Array.ConvertAll(points, row => row.RunId))
                .Add(Array.ConvertAll(points, row => row.Point.Key))
                .Add(Array.ConvertAll(points, row => row.Point.IsNan ? double.NaN : row.Point.Value))
                .Add(Array.ConvertAll(points, row => row.Point.IsNan))
                .Add(Array.ConvertAll(points, row => row.Point.Step))
                .AddTimesAndOverflows(Array.ConvertAll(points, row => row.Point.Timestamp))
                .Add(Array.ConvertAll(points, row => row.Point.Timestamp))
                .Add(Array.ConvertAll(points, row => MetricContexts.TypeByName(row.Point.Key))),
            HeldRun.Read,
            cancellationToken).ConfigureAwait(false)).ToDictionary(run => run.Id);
        return [.. logs.Select(log => held.TryGetValue(log.RunId, out var run) ? run.Refusal : (Exception)new RunHeldException())];
    }
}
