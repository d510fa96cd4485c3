using System.Data.Common;
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
    /// <summary>Bytes of answer after which what is written is handed to the connection.</summary>
    private const int FlushThreshold = 32 * 1024;

    /// <summary>Most points of one run that an interval answer holds.</summary>
    private const int MaxIntervalRowsPerRun = 25_000;

    /// <summary>NaN takes the place of 0 in every order, as it does where MLflow stores it.</summary>
    private const string OrderValue = "CASE WHEN m.is_nan THEN 0 ELSE m.metric_value END";

    /// <summary>Writes the answer to get-history.</summary>
    /// <param name="runId">The run; an unknown one has no points.</param>
    /// <param name="key">The metric.</param>
    /// <param name="maxResults">Points per page; null for all.</param>
    /// <param name="offset">Points to skip.</param>
    /// <param name="response">Where to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task WriteAsync(
        Guid? runId, string key, int? maxResults, long offset, HttpResponse response, CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        sql.Append($"""
            SELECT DISTINCT m.timestamp, m.timestamp_ms, m.metric_step, {OrderValue} AS ordered, m.is_nan
            FROM metrics m
            WHERE m.run_id = (SELECT run_id FROM runs WHERE run_uuid = {sql.Add(runId ?? Guid.Empty)}) AND m.metric_name = {sql.Add(key)}
            ORDER BY m.timestamp, m.timestamp_ms, m.metric_step, ordered, m.is_nan
            """);
        // One point more than asked for tells whether another page follows.
        if (maxResults is { } limit)
            sql.Append(Conditions.Limit((long)limit + 1, offset));
        else if (offset > 0)
            sql.Append(Conditions.Limit(long.MaxValue, offset));

        var more = false;
        await WriteListAsync(
            response,
            sql.ToStatement(),
            printEmpty: false,
            (writer, reader, row) =>
            {
                if (row == maxResults)
                {
                    more = true;
                    return;
                }

                WritePoint(writer, key, null, reader);
            },
            writer =>
            {
                if (more)
                    writer.WriteString("next_page_token"u8, PageToken.For(offset + maxResults!.Value));
            },
            cancellationToken).ConfigureAwait(false);
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
            printEmpty: true,
            (writer, reader, _) => WritePoint(writer, key, RunId.Format(reader.GetGuid(5)), reader),
            _ => { },
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
        // Index i of n is floor(k·n/max) for some k exactly when ceil(i·max/n) is below (i+1)·max/n.
        sql.Append($"""
            WITH asked AS ({asked}),
            own AS (
                SELECT m.run_id, m.metric_step FROM metrics m JOIN asked ON asked.run_id = m.run_id
                WHERE m.metric_name = {name} GROUP BY m.run_id, m.metric_step),
            steps AS (SELECT DISTINCT metric_step FROM own WHERE metric_step BETWEEN {start} AND {end}),
            numbered AS (SELECT metric_step, row_number() OVER (ORDER BY metric_step) - 1 AS i, count(*) OVER () AS n FROM steps),
            chosen AS (
                SELECT metric_step FROM numbered WHERE n <= {max} OR i = n - 1 OR (i * {max} + n - 1) / n * n < (i + 1) * {max}
                UNION SELECT min(metric_step) FROM own GROUP BY run_id HAVING min(metric_step) BETWEEN {start} AND {end}
                UNION SELECT max(metric_step) FROM own GROUP BY run_id HAVING max(metric_step) BETWEEN {start} AND {end}),
            points AS (
                SELECT DISTINCT asked.position, asked.run_uuid, m.timestamp, m.timestamp_ms, m.metric_step, {OrderValue} AS ordered, m.is_nan
                FROM metrics m JOIN asked ON asked.run_id = m.run_id JOIN chosen ON chosen.metric_step = m.metric_step
                WHERE m.metric_name = {name}),
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
            printEmpty: false,
            (writer, reader, _) => WritePoint(writer, key, RunId.Format(reader.GetGuid(5)), reader),
            _ => { },
            cancellationToken);
    }

    /// <summary>Writes <c>{"metrics": […]}</c> row by row, and <paramref name="writeEnd"/> behind the list.</summary>
    private async Task WriteListAsync(
        HttpResponse response,
        Statement statement,
        bool printEmpty,
        Action<Utf8JsonWriter, DbDataReader, int> writeRow,
        Action<Utf8JsonWriter> writeEnd,
        CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        var reader = await session.QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using var ownedReader = reader.ConfigureAwait(false);
        var any = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);

        response.ContentType = ResponseWriting.JsonMediaType;
        var writer = new Utf8JsonWriter(response.BodyWriter, new JsonWriterOptions { Encoder = MlflowJson.Options.Encoder, SkipValidation = true });
        await using var ownedWriter = writer.ConfigureAwait(false);
        writer.WriteStartObject();
        if (any || printEmpty)
        {
            writer.WriteStartArray("metrics"u8);
            for (var row = 0; any; row++)
            {
                writeRow(writer, reader, row);
                if (writer.BytesPending >= FlushThreshold)
                {
                    await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
                    await response.BodyWriter.FlushAsync(cancellationToken).ConfigureAwait(false);
                }

                any = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
            }

            writer.WriteEndArray();
        }

        writeEnd(writer);
        writer.WriteEndObject();
        await writer.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private static void WritePoint(Utf8JsonWriter writer, string key, string? runId, DbDataReader reader)
    {
        writer.WriteStartObject();
        writer.WriteString("key"u8, key);
        writer.WritePropertyName("value"u8);
        DoubleConverter.Write(writer, reader.GetBoolean(4) ? double.NaN : reader.GetDouble(3));
        writer.WriteNumber("timestamp"u8, reader.GetMilliseconds(0, 1));
        writer.WriteNumber("step"u8, reader.GetInt64(2));
        if (runId is not null)
            writer.WriteString("run_id"u8, runId);
        writer.WriteEndObject();
    }
}
