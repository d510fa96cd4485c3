using System.Data.Common;
using MlflowCompat.Search;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Traces in the database, all but their spans (mapping section 6).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">The server's options.</param>
public sealed class TraceStore(Database database, ServerOptions options)
{
    /// <summary>How many traces one transaction deletes.</summary>
    private const int DeletedAtOnce = 100;

    /// <summary>How many spans one transaction deletes.</summary>
    private const int SpansDeletedAtOnce = 10_000;

    /// <summary>SQLSTATE of a regular expression that PostgreSQL does not take.</summary>
    private const string InvalidRegularExpression = "2201B";

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; } = options;

    private readonly AssessmentStore assessmentStore = new(database);

    private static readonly string Select = $"SELECT {TraceRow.Columns} FROM trace_info";

    /// <summary>
    /// Makes a trace, or adds to the one that its spans have made: what is given counts, what is not is kept.
    /// </summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such experiment; INVALID_PARAMETER_VALUE: it is deleted; see <see cref="AssessmentStore.MergeAsync"/>.
    /// </exception>
    internal Task<TraceInfoV3> StartAsync(NewTrace trace, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var row = await UpsertAsync(session, trace, token).ConfigureAwait(false);
            await assessmentStore.MergeAsync(session, trace.TraceId, trace.ExperimentId, trace.Assessments, token).ConfigureAwait(false);
            var assessments = await AssessmentStore.OfTracesAsync(database, session, [trace.TraceId], token).ConfigureAwait(false);
            // Spans may have come first, under the header of another experiment.
            await session.ExecuteLastAsync(
                database.Statement("""
                    INSERT INTO span_text_pending (experiment_id, trace_id)
                    SELECT DISTINCT $2, trace_id FROM spans WHERE trace_id = $1 AND experiment_id <> $2
                    """).Add(trace.TraceId).Add(trace.ExperimentId),
                token).ConfigureAwait(false);
            foreach (var table in (string[])["spans", "assessments"])
            {
                await session.ExecuteLastAsync(
                    database.Statement($"UPDATE {table} SET experiment_id = $2 WHERE trace_id = $1 AND experiment_id <> $2")
                        .Add(trace.TraceId).Add(trace.ExperimentId),
                    token).ConfigureAwait(false);
            }

            return row.ToInfoV3(ListOf(assessments, trace.TraceId));
        },
        cancellationToken);

    /// <summary>Makes a trace as clients 2.x do.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such experiment; INVALID_PARAMETER_VALUE: it is deleted.</exception>
    internal Task<TraceRow> StartV2Async(NewTrace trace, CancellationToken cancellationToken) =>
        database.WriteAsync((session, token) => UpsertAsync(session, trace, token), cancellationToken);

    /// <summary>Ends a trace as clients 2.x do.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    internal Task<TraceRow> EndV2Async(
        string traceId, long timestamp, string status, List<KeyValue> metadata, List<KeyValue> tags, CancellationToken cancellationToken) =>
        database.WriteAsync(
            async (session, token) => await session.CommitWithAsync(
                database.Statement($"""
                    UPDATE trace_info SET execution_time_ms = $2 - timestamp_ms, status = $3,
                        trace_metadata = {Tags.Merge(database, "trace_metadata", "$4")}, tags = {Tags.Merge(database, "tags", "$5")}
                    WHERE trace_id = $1
                    RETURNING {TraceRow.Columns}
                    """).Add(traceId).Add(timestamp).Add(status).AddJson(Tags.ToJson(metadata)).AddJson(Tags.ToJson(tags)),
                TraceRow.Read,
                token).ConfigureAwait(false) ?? throw TraceId.NotFound(traceId),
            cancellationToken);

    /// <summary>A trace.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    internal async Task<TraceRow> GetAsync(string traceId, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement($"{Select} WHERE trace_id = $1").Add(traceId), TraceRow.Read, cancellationToken).ConfigureAwait(false)
                ?? throw TraceId.NotFound(traceId);
        }
    }

    /// <summary>What is known of traces, in the order of their ids in the request; those that do not exist are left out.</summary>
    internal async Task<List<(TraceRow Row, List<Assessment>? Assessments)>> GetAsync(IReadOnlyList<string> traceIds, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await session.ListAsync(
                database.Statement($"{Select} WHERE trace_id = ANY($1)", $"{Select} WHERE trace_id IN (SELECT value FROM json_each($1))").Add(traceIds),
                TraceRow.Read,
                cancellationToken).ConfigureAwait(false);
            var assessments = await AssessmentStore.OfTracesAsync(
                database, session, [.. rows.Select(row => row.TraceId)], cancellationToken).ConfigureAwait(false);
            var found = rows.ToDictionary(row => row.TraceId, StringComparer.Ordinal);
            return [.. traceIds.Distinct(StringComparer.Ordinal).Where(found.ContainsKey).Select(id => (found[id], ListOf(assessments, id)))];
        }
    }

    /// <summary>A page of the traces that meet a filter (contract: search §7, semantics §11: a full page has a token).</summary>
    internal async Task<(List<TraceRow> Rows, ILookup<string, Assessment> Assessments, string? NextPageToken)> SearchAsync(
        IReadOnlyList<long> experimentIds,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int maxResults,
        TracePosition position,
        CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            try
            {
                var candidates = await new SpanTextIndex(database).FindAsync(session, experimentIds, filter, cancellationToken).ConfigureAwait(false);
                var rows = experimentIds.Count == 0 ? [] : await session.ListAsync(
                    TraceSearch.Page(database, experimentIds, filter, order, maxResults, position, candidates),
                    TraceRow.Read,
                    cancellationToken).ConfigureAwait(false);
                var assessments = await AssessmentStore.OfTracesAsync(
                    database, session, [.. rows.Select(row => row.TraceId)], cancellationToken).ConfigureAwait(false);
                var token = rows.Count == maxResults
                    ? TracePageToken.For(position.Offset + maxResults, TraceSearch.IsKeyset(order) ? rows[^1] : null)
                    : null;
                return (rows, assessments, token);
            }
            catch (DbException exception) when (BadExpression(exception) is { } refusal)
            {
                throw refusal;
            }
        }
    }

    /// <summary>Counts the traces that meet filters: the base; base and first; base and second; all three.</summary>
    internal async Task<(long Total, long First, long Second, long Joint)> CorrelateAsync(
        IReadOnlyList<long> experimentIds, Filter baseFilter, Filter first, Filter second, CancellationToken cancellationToken)
    {
        if (experimentIds.Count == 0)
            return default;
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            try
            {
                return (await session.ListAsync(
                    TraceSearch.Correlation(database, experimentIds, baseFilter, first, second),
                    reader => (reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetInt64(3)),
                    cancellationToken).ConfigureAwait(false))[0];
            }
            catch (DbException exception) when (BadExpression(exception) is { } refusal)
            {
                throw refusal;
            }
        }
    }

    /// <summary>Sets a tag.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task SetTagAsync(string traceId, string key, string value, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var changed = await session.ExecuteAsync(
                database.Statement($"UPDATE trace_info SET tags = {Tags.Merge(database, "tags", "$2")} WHERE trace_id = $1")
                    .Add(traceId).AddJson(Tags.ToJson(key, value)),
                token).ConfigureAwait(false);
            if (changed == 0)
                throw TraceId.NotFound(traceId);
        },
        cancellationToken);

    /// <summary>Deletes a tag.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such trace or tag.</exception>
    public Task DeleteTagAsync(string traceId, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE trace_info SET tags = ").Append(Tags.Without(sql, "tags", key))
                .Append($" WHERE trace_id = {sql.Add(traceId)} AND ").Append(Tags.Has(sql, "tags", key));
            if (await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false) == 0)
                throw MlflowException.NotFound($"No trace tag with key '{key}' for trace with ID '{traceId}'");
        },
        cancellationToken);

    /// <summary>Deletes traces with all that belongs to them, a few in each transaction.</summary>
    /// <param name="experimentId">Their experiment; others are left alone.</param>
    /// <param name="traceIds">Which.</param>
    /// <param name="cancellationToken">Gives up between two transactions; no trace is left in part.</param>
    /// <returns>How many there were.</returns>
    public async Task<long> DeleteAsync(long experimentId, IReadOnlyList<string> traceIds, CancellationToken cancellationToken)
    {
        long deleted = 0;
        foreach (var ids in traceIds.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Chunk(DeletedAtOnce))
            deleted += await DeleteAsync(experimentId, long.MaxValue, ids, cancellationToken).ConfigureAwait(false);
        return deleted;
    }

    /// <summary>Deletes traces that began at a time or before, the oldest first, a few in each transaction.</summary>
    /// <param name="experimentId">Their experiment.</param>
    /// <param name="maxTimestamp">The time, milliseconds since 1970.</param>
    /// <param name="maxTraces">Not more than so many.</param>
    /// <param name="cancellationToken">Gives up between two transactions; no trace is left in part.</param>
    /// <returns>How many were deleted.</returns>
    public async Task<long> DeleteAsync(long experimentId, long maxTimestamp, long maxTraces, CancellationToken cancellationToken)
    {
        long deleted = 0;
        while (deleted < maxTraces)
        {
            // Read without holding them: what somebody else deletes meanwhile is his, and does not count here. Only when nothing is left to read
            // is this done.
            var oldest = await ReadOldestAsync(experimentId, maxTimestamp, Math.Min(DeletedAtOnce, maxTraces - deleted), cancellationToken).ConfigureAwait(false);
            if (oldest.Count == 0)
                break;
            deleted += await DeleteAsync(experimentId, maxTimestamp, oldest, cancellationToken).ConfigureAwait(false);
        }

        return deleted;
    }

    /// <summary>Links traces to a run; what is linked already stays so, and no id is checked.</summary>
    public Task LinkToRunAsync(IReadOnlyList<string> traceIds, string runId, CancellationToken cancellationToken) =>
        LinkAsync([.. traceIds.Select(traceId => (traceId, runId))], "run", cancellationToken);

    /// <summary>Links a trace to versions of prompts; what is linked already stays so, and nothing is checked.</summary>
    public Task LinkToPromptsAsync(string traceId, IReadOnlyList<string> prompts, CancellationToken cancellationToken) =>
        LinkAsync([.. prompts.Select(prompt => (traceId, prompt))], "prompt_version", cancellationToken);

    private static readonly RowsInsert Links = new(
        "entity_associations", "association_id, source_type, source_id, destination_type, destination_id, created_time", "ON CONFLICT DO NOTHING");

    private async Task LinkAsync((string TraceId, string Destination)[] links, string type, CancellationToken cancellationToken)
    {
        if (links.Length == 0)
            return;
        // In order, so that two requests with the same links do not wait for each other in a circle.
        links = [.. links.OrderBy(link => link.TraceId, StringComparer.Ordinal).ThenBy(link => link.Destination, StringComparer.Ordinal)];
        var now = StoredTime.Now();
        await database.WriteAsync(
            (session, token) => session.ExecuteLastAsync(
                database.Rows(Links)
                    .Add(Array.ConvertAll(links, _ => Guid.NewGuid()))
                    .Add(Array.ConvertAll(links, _ => "trace"))
                    .Add(Array.ConvertAll(links, link => link.TraceId))
                    .Add(Array.ConvertAll(links, _ => type))
                    .Add(Array.ConvertAll(links, link => link.Destination))
                    .Add(Array.ConvertAll(links, _ => now)),
                token),
            cancellationToken).ConfigureAwait(false);
    }

    private async Task<List<string>> ReadOldestAsync(long experimentId, long maxTimestamp, long count, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.ListAsync(
                database.Statement(
                    "SELECT trace_id FROM trace_info WHERE experiment_id = $1 AND timestamp_ms <= $2 ORDER BY timestamp_ms, trace_id LIMIT $3")
                    .Add(experimentId).Add(maxTimestamp).Add(count),
                reader => reader.GetString(0),
                cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Deletes those of some traces that are of an experiment and old enough, as many in a transaction as have not too many spans together.
    /// </summary>
    private async Task<long> DeleteAsync(long experimentId, long maxTimestamp, IReadOnlyList<string> traceIds, CancellationToken cancellationToken)
    {
        long deleted = 0;
        var left = traceIds;
        string? begun = null;
        while (left.Count > 0)
        {
            // A trace with more spans than one transaction deletes is not left in part, whoever asked for it has gone or not.
            (var count, left, begun) = await database.WriteAsync(
                (session, token) => DeleteSomeAsync(session, experimentId, maxTimestamp, left, begun, token),
                begun is null ? cancellationToken : CancellationToken.None).ConfigureAwait(false);
            deleted += count;
        }

        return deleted;
    }

    /// <summary>
    /// One transaction of a deletion: how many traces it has deleted, which are left, and the one of them that it has begun with. That one is
    /// deleted even if somebody has given it another experiment or time since.
    /// </summary>
    private async Task<(long Deleted, IReadOnlyList<string> Left, string? Begun)> DeleteSomeAsync(
        DatabaseSession session,
        long experimentId,
        long maxTimestamp,
        IReadOnlyList<string> traceIds,
        string? begun,
        CancellationToken cancellationToken)
    {
        // In the order in which exports take them, so that nobody waits in a circle; nobody adds to them then.
        var held = await session.ListAsync(
            database.Statement(
                """
                SELECT trace_id FROM trace_info WHERE trace_id = ANY($1) AND (experiment_id = $2 AND timestamp_ms <= $3 OR trace_id = $4)
                ORDER BY trace_id FOR UPDATE
                """,
                """
                SELECT trace_id FROM trace_info
                WHERE trace_id IN (SELECT value FROM json_each($1)) AND (experiment_id = $2 AND timestamp_ms <= $3 OR trace_id = $4)
                ORDER BY trace_id
                """).Add(traceIds).Add(experimentId).Add(maxTimestamp).Add(begun),
            reader => reader.GetString(0),
            cancellationToken).ConfigureAwait(false);
        if (held.Count == 0)
            return (0, [], null);
        var spans = (await session.ListAsync(
            database.Statement(
                "SELECT trace_id, count(*) FROM spans WHERE trace_id = ANY($1) GROUP BY trace_id",
                "SELECT trace_id, count(*) FROM spans WHERE trace_id IN (SELECT value FROM json_each($1)) GROUP BY trace_id").Add(held),
            reader => (Trace: reader.GetString(0), Count: reader.GetInt64(1)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(row => row.Trace, row => row.Count, StringComparer.Ordinal);
        if (spans.GetValueOrDefault(held[0]) > SpansDeletedAtOnce)
        {
            await session.ExecuteLastAsync(
                database.Statement(
                    "DELETE FROM spans WHERE ctid = ANY(ARRAY(SELECT ctid FROM spans WHERE trace_id = $1 LIMIT $2))",
                    "DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans WHERE trace_id = $1 LIMIT $2)")
                    .Add(held[0]).Add((long)SpansDeletedAtOnce),
                cancellationToken).ConfigureAwait(false);
            return (0, held, held[0]);
        }

        long sum = 0;
        var ids = held.TakeWhile(id => (sum += spans.GetValueOrDefault(id)) <= SpansDeletedAtOnce).ToList();
        // Assessments and what SQLite keeps of tags go with the row, and so would spans, but one by one.
        await session.ExecuteLastAsync(
            database.Statement(
                "DELETE FROM entity_associations WHERE source_type = 'trace' AND source_id = ANY($1)",
                "DELETE FROM entity_associations WHERE source_type = 'trace' AND source_id IN (SELECT value FROM json_each($1))").Add(ids),
            cancellationToken).ConfigureAwait(false);
        await session.ExecuteLastAsync(
            database.Statement(
                "DELETE FROM spans WHERE trace_id = ANY($1)",
                "DELETE FROM spans WHERE trace_id IN (SELECT value FROM json_each($1))").Add(ids),
            cancellationToken).ConfigureAwait(false);
        await session.ExecuteLastAsync(
            database.Statement(
                "DELETE FROM trace_info WHERE trace_id = ANY($1)",
                "DELETE FROM trace_info WHERE trace_id IN (SELECT value FROM json_each($1))").Add(ids),
            cancellationToken).ConfigureAwait(false);
        return (ids.Count, held[ids.Count..], null);
    }

    private async Task<TraceRow> UpsertAsync(DatabaseSession session, NewTrace trace, CancellationToken cancellationToken)
    {
        var experiment = await session.FirstOrDefaultAsync(
            database.Statement("SELECT artifact_location, lifecycle_stage FROM experiments WHERE experiment_id = $1").Add(trace.ExperimentId),
            reader => new { Location = reader.GetStringOrNull(0) ?? "", IsActive = reader.GetString(1) == "active" },
            cancellationToken).ConfigureAwait(false) ?? throw ExperimentId.NotFound(trace.ExperimentId);
        if (!experiment.IsActive)
            throw ExperimentId.NotActive(trace.ExperimentId);
        var tags = TraceTags.OfNewTrace(experiment.Location, trace.TraceId, trace.HasSpans)
            .Select(tag => new KeyValue { Key = tag.Key, Value = tag.Value });
        return (await session.FirstOrDefaultAsync(
            database.Statement($"""
                INSERT INTO trace_info AS t ({TraceRow.Columns})
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                ON CONFLICT (trace_id) DO UPDATE SET
                    experiment_id = excluded.experiment_id, timestamp_ms = excluded.timestamp_ms,
                    execution_time_ms = COALESCE(excluded.execution_time_ms, t.execution_time_ms),
                    status = CASE WHEN excluded.status = 'STATE_UNSPECIFIED' THEN t.status ELSE excluded.status END,
                    client_request_id = excluded.client_request_id,
                    request_preview = COALESCE(excluded.request_preview, t.request_preview),
                    response_preview = COALESCE(excluded.response_preview, t.response_preview),
                    tags = {Tags.Merge(database, "t.tags", "excluded.tags")},
                    trace_metadata = {Tags.Merge(database, "t.trace_metadata", "excluded.trace_metadata")}
                RETURNING {TraceRow.Columns}
                """)
                .Add(trace.TraceId).Add(trace.ExperimentId).Add(trace.Timestamp).Add(trace.Duration).Add(trace.Status).Add(trace.ClientRequestId)
                .Add(trace.RequestPreview).Add(trace.ResponsePreview).AddJson(Tags.ToJson([.. trace.Tags, .. tags])).AddJson(Tags.ToJson(trace.Metadata)),
            TraceRow.Read,
            cancellationToken).ConfigureAwait(false))!;
    }

    private static List<Assessment>? ListOf(ILookup<string, Assessment> assessments, string traceId) =>
        assessments.Contains(traceId) ? [.. assessments[traceId]] : null;

    private static MlflowException? BadExpression(DbException exception) =>
        exception.SqlState == InvalidRegularExpression ? MlflowException.InvalidParameter("A regular expression of the filter is not one that PostgreSQL knows.")
        : Conditions.TookTooLong(exception) ? MlflowException.InvalidParameter("A regular expression of the filter takes too long.")
        : null;
}

/// <summary>A trace that is to be stored.</summary>
/// <param name="TraceId">Its id.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Timestamp">Start, milliseconds since 1970.</param>
/// <param name="Status">State.</param>
/// <param name="Tags">Tags.</param>
/// <param name="Metadata">Metadata.</param>
internal sealed record NewTrace(
    string TraceId, long ExperimentId, long Timestamp, string Status, IReadOnlyList<KeyValue> Tags, IReadOnlyList<KeyValue> Metadata)
{
    /// <summary>Milliseconds, or null.</summary>
    public long? Duration { get; init; }

    /// <summary>An id of the client's own, or null.</summary>
    public string? ClientRequestId { get; init; }

    /// <summary>Of the request, or null.</summary>
    public string? RequestPreview { get; init; }

    /// <summary>Of the response, or null.</summary>
    public string? ResponsePreview { get; init; }

    /// <summary>Whether its spans come to the server; else they are a file.</summary>
    public bool HasSpans { get; init; }

    /// <summary>Assessments that come with it.</summary>
    public IReadOnlyList<AssessmentRow> Assessments { get; init; } = [];
}
