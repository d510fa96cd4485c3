using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// Reads the points of metrics and writes them into the answer as they come from the database, so that a million of them need no more
/// memory than a hundred (contract: endpoints §3, semantics §7).
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class MetricHistory(Database database)
{
    /// <summary>Points of a history that are read first, so that the answer begins soon.</summary>
    private const int FirstChunkRows = 1000;

    /// <summary>Points of a history that are read at a time afterwards: about a megabyte of answer.</summary>
    private const int ChunkRows = 10_000;

    /// <summary>Most points of one run that an interval answer holds.</summary>
    private const int MaxIntervalRowsPerRun = 25_000;

    /// <summary>NaN takes the place of 0 in every order, as it does where MLflow stores it.</summary>
    private const string OrderValue = "CASE WHEN m.is_nan THEN 0 ELSE m.metric_value END";

    /// <summary>
    /// Writes the answer to get-history. The points are read in chunks, each from where the last one ended and in a session of its own:
    /// while a client takes its time, no connection waits for it, and no snapshot holds back what the database wants to clean up.
    /// </summary>
    /// <param name="runId">The run; an unknown one has no points.</param>
    /// <param name="key">The metric.</param>
    /// <param name="maxResults">Points per page; null for all.</param>
    /// <param name="offset">Points to skip.</param>
    /// <param name="response">Where to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task WriteAsync(
        Guid? runId, string key, int? maxResults, long offset, HttpResponse response, CancellationToken cancellationToken)
    {
        var left = maxResults ?? long.MaxValue;
        var chunk = new List<Point>();
        var asked = Asked(FirstChunkRows);
        await ReadChunkAsync(chunk, runId, key, null, offset, asked, cancellationToken).ConfigureAwait(false);

        var answer = new StreamedObject(response);
        await using var ownedAnswer = answer.ConfigureAwait(false);
        var writer = answer.Writer;
        var any = chunk.Count > 0;
        if (any)
            writer.WriteStartArray("metrics"u8);
        var more = false;
        while (chunk.Count > 0)
        {
            foreach (var point in chunk)
            {
                more = left-- == 0;
                if (more)
                    break;
                WritePoint(writer, key, null, point.IsNan ? double.NaN : point.Value, point.Milliseconds, point.Step);
            }

            if (more || chunk.Count < asked)
                break;
            await answer.FlushAsync(cancellationToken).ConfigureAwait(false);
            var last = chunk[^1];
            chunk.Clear();
            asked = Asked(ChunkRows);
            await ReadChunkAsync(chunk, runId, key, last, 0, asked, cancellationToken).ConfigureAwait(false);
        }

        if (any)
            writer.WriteEndArray();
        if (more)
            writer.WriteString("next_page_token"u8, PageToken.For(offset + maxResults!.Value));
        await answer.EndAsync(cancellationToken).ConfigureAwait(false);

        // One point more than what is left of the page tells whether another page follows.
        int Asked(int rows) => left < rows ? (int)left + 1 : rows;
    }

    /// <summary>Writes the answer to get-history-bulk: ordered by run, timestamp, step, value.</summary>
    public Task WriteBulkAsync(
        IReadOnlyList<Guid> runIds, string key, long maxResults, HttpResponse response, CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        var ids = sql.Add(runIds);
        sql.Append($"""
            SELECT DISTINCT m.timestamp, m.timestamp_ms, m.metric_step, {OrderValue} AS ordered, m.is_nan, r.run_uuid
            FROM metrics m JOIN runs r ON r.run_id = m.run_id
            WHERE r.run_uuid {database.Choose($"= ANY({ids})", $"IN (SELECT value FROM json_each({ids}))")} AND m.metric_name = {sql.Add(key)}
            ORDER BY r.run_uuid, m.timestamp, m.timestamp_ms, m.metric_step, ordered, m.is_nan
            """).Append(Conditions.Limit(maxResults, 0));
        return WriteListAsync(
            response,
            sql.ToStatement(),
            key,
            printEmpty: true,
            cancellationToken);
    }

    /// <summary>
    /// Writes the answer to get-history-bulk-interval. Which steps are sampled is decided over all runs together: of the n distinct steps
    /// of the window those at floor(i·n/max), the last one, and the first and last one of each run (contract: endpoints §3).
    /// </summary>
    /// <param name="runIds">The runs, in the order of the answer.</param>
    /// <param name="key">The metric.</param>
    /// <param name="startStep">First step of the window.</param>
    /// <param name="endStep">Last step of the window.</param>
    /// <param name="maxResults">How many steps to sample.</param>
    /// <param name="response">Where to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task WriteIntervalAsync(
        IReadOnlyList<Guid> runIds,
        string key,
        long startStep,
        long endStep,
        int maxResults,
        HttpResponse response,
        CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        var (ids, name, start, end, max) = (sql.Add(runIds), sql.Add(key), sql.Add(startStep), sql.Add(endStep), sql.Add((long)maxResults));
        var asked = database.Choose(
            $"SELECT r.run_id, r.run_uuid, a.position FROM unnest({ids}) WITH ORDINALITY AS a(id, position) JOIN runs r ON r.run_uuid = a.id",
            $"SELECT r.run_id, r.run_uuid, a.key AS position FROM json_each({ids}) AS a JOIN runs r ON r.run_uuid = a.value");
        // Written so that a limit is known when it is planned and that it is no join: PostgreSQL then looks each row's step up in a hash
        // table, whatever its statistics say. The index cannot find a single step.
        var chosenLimit = (maxResults + 1 + (2 * runIds.Count)).ToString(CultureInfo.InvariantCulture);
        // Index i of n is floor(k·n/max) for some k exactly when ceil(i·max/n) is below (i+1)·max/n.
        sql.Append($"""
            WITH asked AS ({asked}),
            ends AS (
                SELECT min(m.metric_step) AS low, max(m.metric_step) AS high FROM metrics m JOIN asked ON asked.run_id = m.run_id
                WHERE m.metric_name = {name} GROUP BY m.run_id),
            numbered AS (
                SELECT metric_step, row_number() OVER (ORDER BY metric_step) - 1 AS i FROM (
                    SELECT DISTINCT m.metric_step FROM metrics m JOIN asked ON asked.run_id = m.run_id
                    WHERE m.metric_name = {name} AND m.metric_step BETWEEN {start} AND {end}) AS steps),
            total AS MATERIALIZED (SELECT count(*) AS n FROM numbered),
            chosen AS (
                SELECT metric_step FROM numbered CROSS JOIN total
                WHERE n <= {max} OR i = n - 1 OR (i * {max} + n - 1) / n * n < (i + 1) * {max}
                UNION SELECT low FROM ends WHERE low BETWEEN {start} AND {end}
                UNION SELECT high FROM ends WHERE high BETWEEN {start} AND {end}),
            points AS (
                SELECT DISTINCT asked.position, asked.run_uuid, m.timestamp, m.timestamp_ms, m.metric_step, {OrderValue} AS ordered, m.is_nan
                FROM metrics m JOIN asked ON asked.run_id = m.run_id
                WHERE m.metric_name = {name} AND (m.metric_step IN (SELECT metric_step FROM chosen LIMIT {chosenLimit})) IS TRUE),
            ranked AS (
                SELECT points.*, row_number() OVER (
                    PARTITION BY position ORDER BY metric_step, timestamp, timestamp_ms, ordered, is_nan) AS place
                FROM points)
            SELECT timestamp, timestamp_ms, metric_step, ordered, is_nan, run_uuid FROM ranked WHERE place <= {MaxIntervalRowsPerRun}
            ORDER BY position, place
            """);
        return WriteListAsync(
            response,
            sql.ToStatement(),
            key,
            printEmpty: false,
            cancellationToken);
    }

    /// <summary>The next points of the history, in its order, which is that of the index uq_metrics_point.</summary>
    private async Task ReadChunkAsync(
        List<Point> chunk, Guid? runId, string key, Point? after, long offset, int count, CancellationToken cancellationToken)
    {
        var behind = after is null ? "" : database.Choose(
            $"AND (m.timestamp, COALESCE(m.timestamp_ms, -1), m.metric_step, {OrderValue}, m.is_nan) > ($5, $6, $7, $8, $9)",
            "AND (m.timestamp, m.metric_step, m.metric_value, m.is_nan) > ($5, $6, $7, $8)");
        var statement = database.Statement(
            $"""
            SELECT DISTINCT m.timestamp, COALESCE(m.timestamp_ms, -1) AS overflow, m.metric_step, {OrderValue} AS ordered, m.is_nan
            FROM metrics m
            WHERE m.run_id = (SELECT run_id FROM runs WHERE run_uuid = $1) AND m.metric_name = $2 {behind}
            ORDER BY m.timestamp, overflow, m.metric_step, ordered, m.is_nan LIMIT $3 OFFSET $4
            """,
            $"""
            SELECT DISTINCT m.timestamp, m.metric_step, m.metric_value, m.is_nan
            FROM metrics m
            WHERE m.run_id = (SELECT run_id FROM runs WHERE run_uuid = $1) AND m.metric_name = $2 {behind}
            ORDER BY m.timestamp, m.metric_step, m.metric_value, m.is_nan LIMIT $3 OFFSET $4
            """).Add(runId ?? Guid.Empty).Add(key).Add((long)count).Add(offset);

        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        if (database.Kind == DatabaseKind.Sqlite)
        {
            if (after is { } point)
                statement.Add(point.Time).Add(point.Step).Add(point.Value).Add(point.IsNan);
            await ReadAsync(reader => new Point(
                reader.GetInt64(0), Point.NoOverflow, reader.GetInt64(1), reader.GetDouble(2), reader.GetBoolean(3), reader.GetInt64(0)))
                .ConfigureAwait(false);
            return;
        }

        if (after is { } last)
            statement.AddTime(new DateTime(last.Time)).Add(last.Overflow).Add(last.Step).Add(last.Value).Add(last.IsNan);
        // Left to its estimates, PostgreSQL would sometimes sort all that is left of the history for every chunk.
        await session.ExecuteAsync(
            [
                database.Statement("BEGIN READ ONLY"),
                database.Statement(
                    "SELECT set_config('enable_sort', 'off', true), set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)"),
            ],
            cancellationToken).ConfigureAwait(false);
        await ReadAsync(reader =>
        {
            var (time, overflow) = (reader.GetDateTime(0), reader.GetInt64(1));
            return new Point(
                time.Ticks, overflow, reader.GetInt64(2), reader.GetDouble(3), reader.GetBoolean(4),
                overflow == Point.NoOverflow ? StoredTime.ToMilliseconds(time) : overflow);
        }).ConfigureAwait(false);
        await session.ExecuteAsync(database.Statement("COMMIT"), cancellationToken).ConfigureAwait(false);

        async Task ReadAsync(Func<DbDataReader, Point> map)
        {
            var reader = await session.QueryAsync(statement, cancellationToken).ConfigureAwait(false);
            await using var ownedReader = reader.ConfigureAwait(false);
            while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
                chunk.Add(map(reader));
        }
    }

    /// <summary>Writes the whole answer row by row: timestamp, its overflow, step, value, whether that is NaN, the run's id.</summary>
    private async Task WriteListAsync(
        HttpResponse response, Statement statement, string key, bool printEmpty, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        var reader = await session.QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using var ownedReader = reader.ConfigureAwait(false);
        var any = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);

        var list = any || printEmpty;
        var answer = new StreamedObject(response);
        await using var ownedAnswer = answer.ConfigureAwait(false);
        var writer = answer.Writer;
        if (list)
            writer.WriteStartArray("metrics"u8);
        while (any)
        {
            WritePoint(
                writer, key, RunId.Format(reader.GetGuid(5)), reader.GetBoolean(4) ? double.NaN : reader.GetDouble(3),
                reader.GetMilliseconds(0, 1), reader.GetInt64(2));
            await answer.FlushIfDueAsync(cancellationToken).ConfigureAwait(false);
            any = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
        }

        if (list)
            writer.WriteEndArray();
        await answer.EndAsync(cancellationToken).ConfigureAwait(false);
    }

    private static void WritePoint(Utf8JsonWriter writer, string key, string? runId, double value, long milliseconds, long step)
    {
        writer.WriteStartObject();
        writer.WriteString("key"u8, key);
        writer.WritePropertyName("value"u8);
        DoubleConverter.Write(writer, value);
        writer.WriteNumber("timestamp"u8, milliseconds);
        writer.WriteNumber("step"u8, step);
        if (runId is not null)
            writer.WriteString("run_id"u8, runId);
        writer.WriteEndObject();
    }

    /// <summary>A point of a history, and with it the place where the points behind it begin.</summary>
    /// <param name="Time">The time column as it is stored: ticks on PostgreSQL, milliseconds on SQLite.</param>
    /// <param name="Overflow">The overflow column, or <see cref="NoOverflow"/>.</param>
    /// <param name="Step">The step.</param>
    /// <param name="Value">The value; 0 for NaN.</param>
    /// <param name="IsNan">Whether it is NaN.</param>
    /// <param name="Milliseconds">The time as clients see it.</param>
    private readonly record struct Point(long Time, long Overflow, long Step, double Value, bool IsNan, long Milliseconds)
    {
        /// <summary>What the index has in place of NULL; no time that overflows, because a calendar has that one.</summary>
        public const long NoOverflow = -1;
    }
}
