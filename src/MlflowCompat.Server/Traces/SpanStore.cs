using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// Takes spans in, and keeps what their traces show of them: start, duration, state, previews, tokens (contract: endpoints §14). Exports
/// that come at the same time are committed together: on SQLite the database does so with all writes, on PostgreSQL they are grouped here.
/// </summary>
public sealed class SpanStore : IAsyncDisposable
{
    /// <summary>Exports of one exporter are on the same lane as long as they are of one trace, so that two lanes seldom meet.</summary>
    private const int Lanes = 2;

    /// <summary>From this many bytes on a group takes no further export: those behind should not wait for too much.</summary>
    private const int MaxGroupBytes = 4 * 1024 * 1024;

    /// <summary>
    /// The most tokens of a kind that a span can have used, and that a trace is said to have used: so no sum overflows, and readers that
    /// know doubles only see it exactly.
    /// </summary>
    internal const long MaxTokens = 1_000_000_000_000_000;

    private const string SpanColumns = """
        trace_id, span_id, experiment_id, parent_span_id, name, type, status, start_time_unix_nano, end_time_unix_nano, usage, content
        """;

    /// <summary>A span that comes again, as an exporter does that had no answer, or that sends it once more when it has ended.</summary>
    private const string ReplaceSpan = """
        ON CONFLICT (trace_id, span_id) DO UPDATE SET
            parent_span_id = excluded.parent_span_id, name = excluded.name, type = excluded.type, status = excluded.status,
            start_time_unix_nano = excluded.start_time_unix_nano, end_time_unix_nano = excluded.end_time_unix_nano,
            usage = excluded.usage, content = excluded.content
        """;

    private static readonly RowsInsert Spans = new($"""
        INSERT INTO spans ({SpanColumns})
        SELECT trace_id, span_id, experiment_id, parent_span_id, name, type, status, start_time, end_time, usage::jsonb, content
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            AS u(trace_id, span_id, experiment_id, parent_span_id, name, type, status, start_time, end_time, usage, content)
        {ReplaceSpan}
        """)
    {
        Sqlite = $"INSERT INTO spans ({SpanColumns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) {ReplaceSpan}",
    };

    private readonly Database database;
    private readonly SpanTextIndexing indexing;
    private readonly GroupCommit<PendingExport>? queue;
    private readonly CancellationTokenSource stopping = new();

    /// <summary>Makes the store; there is one per database.</summary>
    /// <param name="database">The workspace's database.</param>
    /// <param name="indexing">What follows with the index over the text of spans.</param>
    public SpanStore(Database database, SpanTextIndexing indexing)
    {
        this.database = database;
        this.indexing = indexing;
        if (database.Kind == DatabaseKind.PostgreSql)
            queue = new GroupCommit<PendingExport>(Lanes, () => database.MaxWaitingBytes, MaxGroupBytes, WriteGroupAsync);
    }

    /// <summary>
    /// Stores spans. A trace that is not there yet is made in the experiment; one that is there stays in its own. What is stored already is
    /// replaced.
    /// </summary>
    /// <param name="experimentId">Where new traces go; null for an id that no experiment can have.</param>
    /// <param name="spans">At least one.</param>
    /// <param name="cancellationToken">Gives up while it waits.</param>
    /// <returns>The traces that could not be made because there is no such experiment; all other spans are stored.</returns>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    internal async Task<IReadOnlyCollection<string>> StoreAsync(long? experimentId, List<SpanRow> spans, CancellationToken cancellationToken)
    {
        var pending = new PendingExport(experimentId, spans);
        long bytes = spans.Sum(span => (long)span.EstimateBytes());
        if (queue is null)
        {
            return await database.WriteAsync(
                async (session, token) =>
                {
                    await WriteAsync(session, [pending], token).ConfigureAwait(false);
                    return pending.Refused;
                },
                cancellationToken,
                bytes).ConfigureAwait(false);
        }

        var lane = (int)((uint)string.GetHashCode(spans[0].TraceId, StringComparison.Ordinal) % Lanes);
        await queue.WriteAsync(lane, pending, bytes, cancellationToken).ConfigureAwait(false);
        return pending.Refused;
    }

    /// <summary>Writes what is under way.</summary>
    public async ValueTask DisposeAsync()
    {
        if (queue is not null)
            await queue.DisposeAsync().ConfigureAwait(false);
        await stopping.CancelAsync().ConfigureAwait(false);
        stopping.Dispose();
    }

    private Task<IReadOnlyList<Task>> WriteGroupAsync(IReadOnlyList<PendingExport> group)
    {
        database.Write(
            async (session, token) =>
            {
                await WriteAsync(session, group, token).ConfigureAwait(false);
                return true;
            },
            stopping.Token);
        return Task.FromResult<IReadOnlyList<Task>>([.. group.Select(_ => Task.CompletedTask)]);
    }

    private async Task WriteAsync(DatabaseSession session, IReadOnlyList<PendingExport> exports, CancellationToken cancellationToken)
    {
        var locations = await ReadLocationsAsync(session, exports, cancellationToken).ConfigureAwait(false);
        await RefuseUnknownAsync(session, exports, locations, cancellationToken).ConfigureAwait(false);

        var traces = new SortedDictionary<string, TraceChange>(StringComparer.Ordinal);
        var spans = new Dictionary<(string Trace, string Span), SpanRow>();
        foreach (var export in exports)
        {
            foreach (var span in export.Spans)
            {
                if (export.Refused.Contains(span.TraceId))
                    continue;
                if (!traces.TryGetValue(span.TraceId, out var trace))
                {
                    traces.Add(span.TraceId, trace = new TraceChange
                    {
                        TraceId = span.TraceId,
                        // Of a trace that is there already the experiment does not matter, but the row has to have one that exists.
                        ExperimentId = export.ExperimentId is { } id && locations.ContainsKey(id) ? id : export.FallbackExperimentId,
                    });
                }

                trace.Add(span);
                spans[(span.TraceId, span.SpanId)] = span;
            }
        }

        if (spans.Count == 0)
            return;
        foreach (var trace in traces.Values)
            trace.Tags = TraceTags.OfNewTrace(locations.GetValueOrDefault(trace.ExperimentId), trace.TraceId, hasSpans: true);

        var experiments = (await session.ListAsync(
            database.Statement(UpsertTraces("jsonb_to_recordset($1) AS g(trace_id text, experiment_id bigint, start_ms bigint, end_ms bigint, "
                    + "root_status text, request_preview text, response_preview text, tags jsonb)"),
                UpsertTraces("""
                    (SELECT json_extract(value, '$.trace_id') AS trace_id, json_extract(value, '$.experiment_id') AS experiment_id,
                        json_extract(value, '$.start_ms') AS start_ms, json_extract(value, '$.end_ms') AS end_ms,
                        json_extract(value, '$.root_status') AS root_status, json_extract(value, '$.request_preview') AS request_preview,
                        json_extract(value, '$.response_preview') AS response_preview, json_extract(value, '$.tags') AS tags
                    FROM json_each($1)) AS g
                    """))
                .AddJson(JsonSerializer.Serialize(traces.Values, SpanStoreJson.Relaxed.IReadOnlyCollectionTraceChange)),
            reader => (Trace: reader.GetString(0), Experiment: reader.GetInt64(1)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(row => row.Trace, row => row.Experiment, StringComparer.Ordinal);

        SpanRow[] rows = [.. spans.Values];
        await session.ExecuteLastAsync(
            database.Rows(Spans)
                .Add(Array.ConvertAll(rows, span => span.TraceId))
                .Add(Array.ConvertAll(rows, span => span.SpanId))
                .Add(Array.ConvertAll(rows, span => experiments[span.TraceId]))
                .Add(Array.ConvertAll(rows, span => span.ParentSpanId))
                .Add(Array.ConvertAll(rows, span => span.Name))
                .Add(Array.ConvertAll(rows, span => span.Type))
                .Add(Array.ConvertAll(rows, span => span.Status))
                .Add(Array.ConvertAll(rows, span => span.Start))
                .Add(Array.ConvertAll(rows, span => span.End))
                .Add(Array.ConvertAll(rows, span => span.Usage))
                .AddUtf8(Array.ConvertAll(rows, span => span.Content)),
            cancellationToken).ConfigureAwait(false);
        await SpanTextIndex.NoteAsync(database, session, experiments, cancellationToken).ConfigureAwait(false);
        session.AfterCommit(() =>
        {
            foreach (var group in experiments.Values.CountBy(experiment => experiment))
                indexing.Noted(group.Key, group.Value);
        });
        var used = rows.Where(span => span.Usage is not null).Select(span => span.TraceId).Distinct().ToList();
        if (used.Count > 0)
            await session.ExecuteLastAsync(SumUsage(used), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Makes traces, or widens those that are there. The first root decides the state unless it is final already; a batch in which nothing
    /// has ended leaves the duration alone. Rows are taken in the order of their ids, so that two transactions do not wait for each other
    /// in a circle.
    /// </summary>
    private string UpsertTraces(string rows)
    {
        var (least, greatest) = database.Kind == DatabaseKind.PostgreSql ? ("least", "greatest") : ("min", "max");
        var hasTag = database.Choose(
            $"t.tags @> '{TraceTags.SpansInStore}'", $"json_extract(t.tags, '$.\"{TraceTags.SpansLocation}\"') = '{TraceTags.TrackingStore}'");
        return $"""
            INSERT INTO trace_info AS t
                (trace_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview, tags)
            SELECT g.trace_id, g.experiment_id, g.start_ms, g.end_ms - g.start_ms, COALESCE(g.root_status, 'IN_PROGRESS'),
                g.request_preview, g.response_preview, g.tags
            FROM {rows} WHERE true ORDER BY g.trace_id
            ON CONFLICT (trace_id) DO UPDATE SET
                timestamp_ms = {least}(t.timestamp_ms, excluded.timestamp_ms),
                execution_time_ms = CASE WHEN excluded.execution_time_ms IS NULL THEN t.execution_time_ms
                    ELSE {greatest}(excluded.timestamp_ms + excluded.execution_time_ms,
                            COALESCE(t.timestamp_ms + t.execution_time_ms, excluded.timestamp_ms + excluded.execution_time_ms))
                        - {least}(t.timestamp_ms, excluded.timestamp_ms) END,
                status = CASE WHEN t.status IN ('IN_PROGRESS', 'STATE_UNSPECIFIED') AND excluded.status <> 'IN_PROGRESS'
                    THEN excluded.status ELSE t.status END,
                request_preview = COALESCE(t.request_preview, excluded.request_preview),
                response_preview = COALESCE(t.response_preview, excluded.response_preview),
                tags = CASE WHEN {hasTag} THEN t.tags ELSE {Searching.Tags.Merge(database, "t.tags", $"'{TraceTags.SpansInStore}'")} END
            RETURNING trace_id, experiment_id
            """;
    }

    /// <summary>Sums the tokens and costs of traces over the spans that are stored, so that a span that comes again counts once.</summary>
    private Statement SumUsage(IReadOnlyList<string> traceIds)
    {
        // SQLite's sum of integers fails where it overflows, and PostgreSQL's least passes over the NULL of no tokens.
        string Tokens(string name)
        {
            var sum = database.Choose($"sum((usage ->> '{name}')::bigint)", $"sum(json_extract(usage, '$.{name}') * 1.0)");
            return $"CAST(CASE WHEN {sum} > {MaxTokens} THEN {MaxTokens} ELSE {sum} END AS BIGINT)";
        }

        string Amount(string name) => database.Choose($"sum((usage ->> '{name}')::float8)", $"sum(json_extract(usage, '$.{name}'))");
        string Optional(string name) => $"COALESCE(', \"{name}\": ' || {name}, '')";
        string Member(string key, string value) => database.Choose($"jsonb_build_object('{key}', {value})", $"json_object('{key}', {value})");
        string With(string column, string condition, string member) => database.Choose(
            $"{column} || CASE WHEN {condition} THEN {member} ELSE '{{}}' END", $"json_patch({column}, CASE WHEN {condition} THEN {member} ELSE '{{}}' END)");

        var tokens = """
            '{"input_tokens": ' || COALESCE(input_tokens, 0) || ', "output_tokens": ' || COALESCE(output_tokens, 0)
                || ', "total_tokens": ' || COALESCE(total_tokens, 0)
            """ + $" || {Optional("cache_read_input_tokens")} || {Optional("cache_creation_input_tokens")} || '}}'";
        var cost = """
            '{"input_cost": ' || COALESCE(input_cost, 0) || ', "output_cost": ' || COALESCE(output_cost, 0)
                || ', "total_cost": ' || COALESCE(total_cost, 0) || '}'
            """;
        var metadata = With(
            With("trace_metadata", "COALESCE(input_tokens, output_tokens, total_tokens) IS NOT NULL", Member(TraceTags.TokenUsage, tokens)),
            "COALESCE(input_cost, output_cost, total_cost) IS NOT NULL",
            Member(TraceTags.Cost, cost));
        var counts = string.Join(", ", TokenCounts.Select(name => $"{Tokens(name)} AS {name}").Concat(Costs.Select(name => $"{Amount(name)} AS {name}")));
        return database.Statement(
            $"""
            UPDATE trace_info SET trace_metadata = {metadata}
            FROM (SELECT trace_id AS used_id, {counts} FROM spans
                WHERE trace_id {database.Choose("= ANY($1)", "IN (SELECT value FROM json_each($1))")} AND usage IS NOT NULL GROUP BY trace_id) used
            WHERE trace_id = used_id
            """).Add(traceIds);
    }

    private static readonly string[] TokenCounts =
        ["input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

    private static readonly string[] Costs = ["input_cost", "output_cost", "total_cost"];

    private async Task<Dictionary<long, string>> ReadLocationsAsync(
        DatabaseSession session, IReadOnlyList<PendingExport> exports, CancellationToken cancellationToken)
    {
        var ids = exports.Select(export => export.ExperimentId).OfType<long>().Distinct().ToList();
        var rows = await session.ListAsync(
            database.Statement(
                "SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id = ANY($1)",
                "SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id IN (SELECT value FROM json_each($1))").Add(ids),
            reader => (Id: reader.GetInt64(0), Location: reader.GetStringOrNull(1) ?? ""),
            cancellationToken).ConfigureAwait(false);
        return rows.ToDictionary(row => row.Id, row => row.Location);
    }

    /// <summary>Of exports that name no experiment of this server, only the spans of traces that are there already can be stored.</summary>
    private async Task RefuseUnknownAsync(
        DatabaseSession session, IReadOnlyList<PendingExport> exports, Dictionary<long, string> locations, CancellationToken cancellationToken)
    {
        foreach (var export in exports)
        {
            export.Refused = [];
            if (export.ExperimentId is { } id && locations.ContainsKey(id))
                continue;
            var traceIds = export.Spans.Select(span => span.TraceId).Distinct().ToList();
            var known = await session.ListAsync(
                database.Statement(
                    "SELECT trace_id, experiment_id FROM trace_info WHERE trace_id = ANY($1)",
                    "SELECT trace_id, experiment_id FROM trace_info WHERE trace_id IN (SELECT value FROM json_each($1))").Add(traceIds),
                reader => (Trace: reader.GetString(0), Experiment: reader.GetInt64(1)),
                cancellationToken).ConfigureAwait(false);
            export.Refused = traceIds.Except(known.Select(row => row.Trace)).ToHashSet(StringComparer.Ordinal);
            export.FallbackExperimentId = known.Select(row => row.Experiment).FirstOrDefault();
        }
    }
}

/// <summary>An export that waits to be written.</summary>
/// <param name="experimentId">Where new traces go; null for an id that no experiment can have.</param>
/// <param name="spans">What is to be written.</param>
internal sealed class PendingExport(long? experimentId, List<SpanRow> spans)
{
    /// <summary>Where new traces go; null for an id that no experiment can have.</summary>
    public long? ExperimentId { get; } = experimentId;

    /// <summary>What is to be written.</summary>
    public List<SpanRow> Spans { get; } = spans;

    /// <summary>Traces that could not be made.</summary>
    public HashSet<string> Refused { get; set; } = [];

    /// <summary>The experiment of traces that are there already, where the one that is named does not exist.</summary>
    public long FallbackExperimentId { get; set; }
}

/// <summary>What spans change of their trace.</summary>
internal sealed class TraceChange
{
    private const long NanosecondsPerMillisecond = 1_000_000;

    /// <summary>The trace.</summary>
    public required string TraceId { get; init; }

    /// <summary>Its experiment, if it is new.</summary>
    public required long ExperimentId { get; init; }

    /// <summary>Earliest start, milliseconds since 1970.</summary>
    public long StartMs { get; private set; } = long.MaxValue;

    /// <summary>Latest end, milliseconds since 1970; null when nothing has ended.</summary>
    public long? EndMs { get; private set; }

    /// <summary><c>OK</c> or <c>ERROR</c>, by the first root; null without one.</summary>
    public string? RootStatus { get; private set; }

    /// <summary>What the root shows of its inputs.</summary>
    public string? RequestPreview { get; private set; }

    /// <summary>What the root shows of its outputs.</summary>
    public string? ResponsePreview { get; private set; }

    /// <summary>Its tags, if it is new.</summary>
    public Dictionary<string, string> Tags { get; set; } = [];

    /// <summary>Takes a span into account.</summary>
    public void Add(SpanRow span)
    {
        StartMs = Math.Min(StartMs, span.Start / NanosecondsPerMillisecond);
        if (span.End is { } end)
            EndMs = Math.Max(EndMs ?? long.MinValue, end / NanosecondsPerMillisecond);
        if (span.ParentSpanId is not null)
            return;
        RootStatus ??= span.Status == "ERROR" ? "ERROR" : "OK";
        RequestPreview ??= span.RequestPreview;
        ResponsePreview ??= span.ResponsePreview;
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(IReadOnlyCollection<TraceChange>))]
internal sealed partial class SpanStoreJson : JsonSerializerContext
{
    /// <summary>Writes tags in the one spelling in which they are stored; see <see cref="Searching.Tags"/>.</summary>
    public static SpanStoreJson Relaxed { get; } = new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    });
}
