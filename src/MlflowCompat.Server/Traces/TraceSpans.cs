using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Traces.Otlp;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// Writes traces with their spans into the answer as they come from the database, so that one of 30,000 spans needs no more memory than one
/// of ten: the ids of the spans are read first, in their order, then their contents a few at a time, each time in a session of its own.
/// </summary>
/// <param name="database">The workspace's database.</param>
/// <param name="traces">The traces themselves.</param>
/// <param name="roots">Where the files of traces are whose spans older clients have put into one.</param>
public sealed class TraceSpans(Database database, TraceStore traces, ArtifactRoots roots)
{
    /// <summary>The file of a trace's spans.</summary>
    public const string FileName = "traces.json";

    /// <summary>The largest such file that is read, in bytes.</summary>
    private const int MaxFileBytes = 64 * 1024 * 1024;

    /// <summary>How many spans are read at a time.</summary>
    private const int ChunkSpans = 200;

    /// <summary>How often a trace is looked at whose spans are still to come, and how long it takes in between.</summary>
    private const int Looks = 7;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);

    /// <summary>Answers traces/batchGet; traces whose spans have not all come are left out.</summary>
    internal async Task WriteAsync(IReadOnlyList<string> traceIds, HttpResponse response, CancellationToken cancellationToken)
    {
        var found = await traces.GetAsync(traceIds, cancellationToken).ConfigureAwait(false);
        var spanIds = await ReadIdsAsync([.. found.Select(trace => trace.Row.TraceId)], cancellationToken).ConfigureAwait(false);
        var answer = new StreamedObject(response);
        await using var ownedAnswer = answer.ConfigureAwait(false);
        var any = false;
        foreach (var (row, assessments) in found)
        {
            var ids = spanIds.GetValueOrDefault(row.TraceId, []);
            var file = ids.Count == 0 ? await ReadFileAsync(row, cancellationToken).ConfigureAwait(false) : null;
            if ((file?.Count ?? ids.Count) < ExpectedSpans(row))
                continue;
            if (!any)
                answer.Writer.WriteStartArray("traces"u8);
            any = true;
            await WriteTraceAsync(answer, row, assessments, ids, file, cancellationToken).ConfigureAwait(false);
        }

        if (any)
            answer.Writer.WriteEndArray();
        await answer.EndAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Answers traces/get (since-3.6 §3.1).</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such trace, or spans of it are still to come.</exception>
    internal async Task WriteAsync(string traceId, bool allowPartial, HttpResponse response, CancellationToken cancellationToken)
    {
        for (var look = 1; ; look++)
        {
            var found = await traces.GetAsync([traceId], cancellationToken).ConfigureAwait(false);
            if (found.Count == 0)
                throw TraceId.NotFound(traceId);
            var (row, assessments) = found[0];
            var ids = (await ReadIdsAsync([traceId], cancellationToken).ConfigureAwait(false)).GetValueOrDefault(traceId, []);
            var file = ids.Count == 0 ? await ReadFileAsync(row, cancellationToken).ConfigureAwait(false) : null;
            if (allowPartial || (file?.Count ?? ids.Count) >= ExpectedSpans(row))
            {
                var answer = new StreamedObject(response);
                await using var ownedAnswer = answer.ConfigureAwait(false);
                answer.Writer.WritePropertyName("trace"u8);
                await WriteTraceAsync(answer, row, assessments, ids, file, cancellationToken).ConfigureAwait(false);
                await answer.EndAsync(cancellationToken).ConfigureAwait(false);
                return;
            }

            if (look == Looks)
                throw MlflowException.NotFound($"Trace with ID '{traceId}' is not fully exported yet: {ids.Count} of {ExpectedSpans(row)} spans have come.");
            await Task.Delay(Pause, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Answers get-trace-artifact with the spans that are stored, in the form of the file; false when there are none.</summary>
    internal async Task<bool> TryWriteFileAsync(string traceId, HttpResponse response, CancellationToken cancellationToken)
    {
        var ids = (await ReadIdsAsync([traceId], cancellationToken).ConfigureAwait(false)).GetValueOrDefault(traceId, []);
        if (ids.Count == 0)
            return false;
        response.Headers.ContentDisposition = "attachment; filename=traces.json";
        var answer = new StreamedObject(response, "text/plain");
        await using var ownedAnswer = answer.ConfigureAwait(false);
        answer.Writer.WriteStartArray("spans"u8);
        await ReadContentsAsync(
            traceId,
            ids,
            content => answer.Writer.WriteRawValue(content, skipInputValidation: true),
            () => answer.FlushIfDueAsync(cancellationToken),
            cancellationToken).ConfigureAwait(false);
        answer.Writer.WriteEndArray();
        await answer.EndAsync(cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>
    /// Where the files of a trace are: below the location of its experiment, by its id, whatever its tags say, so that none leads to files of
    /// others. Null when its id, of an earlier version, names no folder.
    /// </summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: the server does not serve the files of its experiment.</exception>
    internal async Task<ArtifactLocation?> FindFolderAsync(TraceRow row, CancellationToken cancellationToken)
    {
        if (!TraceId.IsName(row.TraceId))
            return null;
        string? location;
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            location = await session.FirstOrDefaultAsync(
                database.Statement("SELECT artifact_location FROM experiments WHERE experiment_id = $1").Add(row.ExperimentId),
                reader => reader.GetStringOrNull(0) ?? "",
                cancellationToken).ConfigureAwait(false);
        }

        return location is null ? null : roots.Resolve(location).Append(ArtifactPath.Parse(TraceTags.FolderOf(row.TraceId)));
    }

    private async Task WriteTraceAsync(
        StreamedObject answer,
        TraceRow row,
        List<Assessment>? assessments,
        List<string> spanIds,
        List<ReadOnlyMemory<byte>>? file,
        CancellationToken cancellationToken)
    {
        var writer = answer.Writer;
        writer.WriteStartObject();
        writer.WritePropertyName("trace_info"u8);
        JsonSerializer.Serialize(writer, row.ToInfoV3(assessments), MlflowJson.TypeInfo<TraceInfoV3>());
        if (file is { Count: > 0 })
        {
            writer.WriteStartArray("spans"u8);
            foreach (var span in file)
                SpanJson.WriteMessage(span.Span, writer);
            writer.WriteEndArray();
        }
        else if (spanIds.Count > 0)
        {
            writer.WriteStartArray("spans"u8);
            await ReadContentsAsync(
                row.TraceId,
                spanIds,
                content => SpanJson.WriteMessage(Encoding.UTF8.GetBytes(content), writer),
                () => answer.FlushIfDueAsync(cancellationToken),
                cancellationToken).ConfigureAwait(false);
            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }

    /// <summary>How many spans a client says that a trace has; 0 when it does not say.</summary>
    private static long ExpectedSpans(TraceRow row)
    {
        if (row.MetadataValue(TraceTags.SizeStats) is not { } stats || row.Tag(TraceTags.SpansLocation) != TraceTags.TrackingStore)
            return 0;
        try
        {
            var json = Encoding.UTF8.GetBytes(stats);
            LoneSurrogates.Replace(json);
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("num_spans", out var count) && count.ValueKind == JsonValueKind.Number && count.TryGetInt64(out var number)
                ? number
                : 0;
        }
        catch (JsonException)
        {
            return 0;
        }
    }

    /// <summary>The spans of a trace that clients before 3.4 have put into a file; null when there is none that can be read.</summary>
    private async Task<List<ReadOnlyMemory<byte>>?> ReadFileAsync(TraceRow row, CancellationToken cancellationToken)
    {
        try
        {
            if (await FindFolderAsync(row, cancellationToken).ConfigureAwait(false) is not { } folder)
                return null;
            var file = folder.Append(ArtifactPath.Parse(FileName));
            var content = await file.Store.OpenAsync(file.Path, cancellationToken).ConfigureAwait(false);
            await using (content.ConfigureAwait(false))
            {
                if (content.Entry.Size > MaxFileBytes)
                    return null;
                var bytes = new byte[content.Entry.Size];
                using var copy = new MemoryStream(bytes);
                await content.CopyToAsync(copy, 0, bytes.Length, cancellationToken).ConfigureAwait(false);
                if (!Utf8.IsValid(bytes))
                    return null;
                LoneSurrogates.Replace(bytes);
                return Split(bytes);
            }
        }
        catch (Exception exception) when (exception is MlflowException or JsonException
            or ArtifactStoreException { Fault: ArtifactFault.NotFound or ArtifactFault.NotAFile or ArtifactFault.InvalidPath or ArtifactFault.Refused })
        {
            // A location that is not this server's, no file there, or none of spans: the trace has none that could be given.
            return null;
        }
    }

    /// <summary>
    /// The spans of such a file, as parts of it; those of another form, as clients 2.x write them, are left out. A file may be
    /// full of tiny values, of which a parsed document would be many times as large, so it is read token by token.
    /// </summary>
    /// <exception cref="JsonException">It is no JSON.</exception>
    private static List<ReadOnlyMemory<byte>> Split(ReadOnlyMemory<byte> json)
    {
        var spans = new List<ReadOnlyMemory<byte>>();
        var reader = new Utf8JsonReader(json.Span);
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
            return spans;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var areSpans = reader.ValueTextEquals("spans"u8);
            reader.Read();
            if (!areSpans || reader.TokenType != JsonTokenType.StartArray)
            {
                reader.Skip();
                continue;
            }

            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                var start = (int)reader.TokenStartIndex;
                if (SkipSpan(ref reader))
                    spans.Add(json[start..(int)reader.BytesConsumed]);
            }
        }

        // What follows the object is no JSON.
        reader.Read();
        return spans;
    }

    /// <summary>Passes over a value; tells whether it is a span that says which one it is.</summary>
    private static bool SkipSpan(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            reader.Skip();
            return false;
        }

        var (hasId, hasTrace) = (false, false);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            hasId |= reader.ValueTextEquals("span_id"u8);
            hasTrace |= reader.ValueTextEquals("trace_id"u8);
            reader.Skip();
        }

        return hasId && hasTrace;
    }

    /// <summary>Of each trace the ids of its spans: roots first, then by start.</summary>
    private async Task<Dictionary<string, List<string>>> ReadIdsAsync(IReadOnlyList<string> traceIds, CancellationToken cancellationToken)
    {
        var ids = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        if (traceIds.Count == 0)
            return ids;
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        var reader = await session.QueryAsync(
            database.Statement(
                """
                SELECT trace_id, span_id FROM spans WHERE trace_id = ANY($1)
                ORDER BY trace_id, parent_span_id IS NOT NULL, start_time_unix_nano, span_id
                """,
                """
                SELECT trace_id, span_id FROM spans WHERE trace_id IN (SELECT value FROM json_each($1))
                ORDER BY trace_id, parent_span_id IS NOT NULL, start_time_unix_nano, span_id
                """).Add(traceIds),
            cancellationToken).ConfigureAwait(false);
        await using var ownedReader = reader.ConfigureAwait(false);
        List<string>? list = null;
        var last = "";
        while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            var traceId = reader.GetString(0);
            if (list is null || traceId != last)
                ids.Add(last = traceId, list = []);
            list.Add(reader.GetString(1));
        }

        return ids;
    }

    private async Task ReadContentsAsync(
        string traceId, List<string> spanIds, Action<string> write, Func<Task> flush, CancellationToken cancellationToken)
    {
        foreach (var chunk in spanIds.Chunk(ChunkSpans))
        {
            var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
            await using (session.ConfigureAwait(false))
            {
                var reader = await session.QueryAsync(
                    database.Statement(
                        """
                        SELECT s.content FROM unnest($2) WITH ORDINALITY AS asked(span_id, position)
                            CROSS JOIN LATERAL (SELECT content FROM spans WHERE trace_id = $1 AND spans.span_id = asked.span_id OFFSET 0) s
                        ORDER BY asked.position
                        """,
                        """
                        SELECT s.content FROM json_each($2) AS asked CROSS JOIN spans s ON s.trace_id = $1 AND s.span_id = asked.value
                        ORDER BY asked.key
                        """).Add(traceId).Add(chunk),
                    cancellationToken).ConfigureAwait(false);
                await using (reader.ConfigureAwait(false))
                {
                    while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
                    {
                        write(reader.GetString(0));
                        await flush().ConfigureAwait(false);
                    }
                }
            }
        }
    }
}
