using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using MlflowCompat.Search;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// The index over the text of spans: which traces contain which <see cref="SpanGrams"/>. Exports only note their traces in
/// <c>span_text_pending</c>; about a thousand of them at a time become a segment, which is never changed. A search takes the traces that
/// segments name and those that are still pending, and reads the spans of these alone.
/// </summary>
/// <remarks>
/// What must hold: each trace with spans is pending, or all grams of its spans are in one segment, of the experiment that it is in. So what
/// stores spans, or moves them, notes their trace in the same transaction, and traces leave that table with the transaction that adds their
/// segment. That a trace is in several segments, or is gone, does no harm: the search looks at the spans themselves.
/// </remarks>
/// <param name="database">The workspace's database.</param>
internal sealed class SpanTextIndex(Database database)
{
    /// <summary>How many traces a segment has; part of how postings are stored.</summary>
    public const int SegmentTraces = 1024;

    /// <summary>With more candidates than this a search is done as if there were no index.</summary>
    public const int MaxCandidates = 50_000;

    /// <summary>How many batches of spans a segment takes at most, where they are of few traces.</summary>
    private const int MaxPending = 8 * SegmentTraces;

    /// <summary>The spans of so many traces are read at a time.</summary>
    private const int TracesRead = 64;

    private const int BitsPerWord = 64;
    private const int SetWords = SpanGrams.Count / BitsPerWord;
    private const int TraceWords = SegmentTraces / BitsPerWord;
    private const int BitmapBytes = SegmentTraces / 8;

    /// <summary>So many grams share a row: all rows of a segment then have about 1 kB.</summary>
    private const int BucketGrams = 64;

    private static readonly RowsInsert Pending = new("span_text_pending", "experiment_id, trace_id");

    private static readonly RowsInsert Postings = new("span_text_postings", "segment_id, bucket, postings");

    /// <summary>
    /// For each gram a bit for each trace of the segment that is being made. Its eight megabytes are kept for the next one; a pool would
    /// keep as many for every thread that has given it back.
    /// </summary>
    private ulong[]? matrix;

    /// <summary>Notes that the spans of traces have changed.</summary>
    /// <param name="database">The workspace's database.</param>
    /// <param name="session">The transaction that changes them.</param>
    /// <param name="traces">The traces, and the experiments that they are in.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static Task NoteAsync(
        Database database, DatabaseSession session, IReadOnlyCollection<KeyValuePair<string, long>> traces, CancellationToken cancellationToken) =>
        session.ExecuteLastAsync(
            database.Rows(Pending).Add([.. traces.Select(trace => trace.Value)]).Add([.. traces.Select(trace => trace.Key)]), cancellationToken);

    /// <summary>The traces that can meet a filter, and others; null when they are too many, or the filter asks for no text.</summary>
    public async Task<IReadOnlyCollection<string>?> FindAsync(
        DatabaseSession session, IReadOnlyList<long> experimentIds, Filter filter, CancellationToken cancellationToken)
    {
        var grams = SpanGrams.Required(filter).ToLookup(gram => gram / BucketGrams, gram => gram % BucketGrams);
        if (grams.Count == 0)
            return null;

        var candidates = new HashSet<string>(StringComparer.Ordinal);
        var segments = new Dictionary<long, (int Buckets, ulong[] Traces)>();
        // One statement, one snapshot: a trace goes from the one table to the other.
        var reader = await session.QueryAsync(
            database.Statement(
                $"""
                SELECT s.segment_id, p.bucket, p.postings, NULL::text FROM span_text_segments s
                    CROSS JOIN LATERAL (SELECT bucket, postings FROM span_text_postings
                        WHERE span_text_postings.segment_id = s.segment_id AND bucket = ANY($2) OFFSET 0) p
                WHERE s.experiment_id = ANY($1)
                UNION ALL (SELECT DISTINCT NULL::bigint, NULL::int, NULL::bytea, trace_id FROM span_text_pending
                    WHERE experiment_id = ANY($1) LIMIT {MaxCandidates + 1})
                """,
                $"""
                SELECT s.segment_id, p.bucket, p.postings, NULL FROM span_text_segments s CROSS JOIN span_text_postings p
                WHERE s.experiment_id IN (SELECT value FROM json_each($1)) AND p.segment_id = s.segment_id
                    AND p.bucket IN (SELECT value FROM json_each($2))
                UNION ALL SELECT * FROM (SELECT DISTINCT NULL, NULL, NULL, trace_id FROM span_text_pending
                    WHERE experiment_id IN (SELECT value FROM json_each($1)) LIMIT {MaxCandidates + 1})
                """).Add(experimentIds).Add([.. grams.Select(bucket => (long)bucket.Key)]),
            cancellationToken).ConfigureAwait(false);
        await using (reader.ConfigureAwait(false))
        {
            while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
            {
                if (reader.IsDBNull(0))
                {
                    candidates.Add(reader.GetString(3));
                    continue;
                }

                var id = reader.GetInt64(0);
                var (buckets, traces) = segments.TryGetValue(id, out var segment) ? segment : (0, AllTraces());
                foreach (var slot in grams[reader.GetInt32(1)])
                    Intersect(traces, reader.GetFieldValue<byte[]>(2), slot);
                segments[id] = (buckets + 1, traces);
            }
        }

        // A bucket without a row has none of its grams.
        var found = segments.Where(segment => segment.Value.Buckets == grams.Count && segment.Value.Traces.AsSpan().ContainsAnyExcept(0UL))
            .ToDictionary(segment => segment.Key, segment => segment.Value.Traces);
        if (candidates.Count > MaxCandidates || found.Values.Sum(traces => traces.Sum(BitOperations.PopCount)) > MaxCandidates)
            return null;
        var named = await session.ListAsync(
            database.Statement(
                "SELECT segment_id, trace_ids FROM span_text_segments WHERE segment_id = ANY($1)",
                "SELECT segment_id, trace_ids FROM span_text_segments WHERE segment_id IN (SELECT value FROM json_each($1))").Add([.. found.Keys]),
            reader => (Id: reader.GetInt64(0), TraceIds: reader.GetString(1)),
            cancellationToken).ConfigureAwait(false);
        // A segment was taken apart meanwhile.
        if (named.Count < found.Count)
            return null;
        foreach (var (id, traceIds) in named)
        {
            var ordinal = 0;
            foreach (var traceId in traceIds.Split('\n'))
            {
                if ((found[id][ordinal / BitsPerWord] & (1UL << (ordinal % BitsPerWord))) != 0)
                    candidates.Add(traceId);
                ordinal++;
            }
        }

        return candidates.Count > MaxCandidates ? null : candidates;
    }

    /// <summary>Makes a segment of an experiment's pending traces, if they are enough. One index makes one segment at a time.</summary>
    /// <param name="experimentId">The experiment.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="least">How many traces are enough.</param>
    /// <returns>Whether a segment was made.</returns>
    public async Task<bool> IndexAsync(long experimentId, CancellationToken cancellationToken, int least = SegmentTraces)
    {
        var taken = new List<long>();
        var traceIds = new HashSet<string>(StringComparer.Ordinal);
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var pending = await session.ListAsync(
                database.Statement(string.Create(
                    CultureInfo.InvariantCulture,
                    $"SELECT pending_id, trace_id FROM span_text_pending WHERE experiment_id = $1 ORDER BY pending_id LIMIT {MaxPending}")).Add(experimentId),
                reader => (Id: reader.GetInt64(0), TraceId: reader.GetString(1)),
                cancellationToken).ConfigureAwait(false);
            foreach (var (id, traceId) in pending)
            {
                if (traceIds.Count == SegmentTraces && !traceIds.Contains(traceId))
                    break;
                traceIds.Add(traceId);
                taken.Add(id);
            }

            if (traceIds.Count < least && pending.Count < MaxPending)
                return false;
            matrix ??= new ulong[SpanGrams.Count * TraceWords];
            Array.Clear(matrix);
            await ReadGramsAsync(session, traceIds, matrix, cancellationToken).ConfigureAwait(false);
        }

        var (buckets, postings) = Pack(matrix);
        await database.WriteAsync(
            async (writing, token) =>
            {
                var forgotten = await writing.ExecuteAsync(
                    database.Statement(
                        "DELETE FROM span_text_pending WHERE experiment_id = $1 AND pending_id = ANY($2)",
                        "DELETE FROM span_text_pending WHERE experiment_id = $1 AND pending_id IN (SELECT value FROM json_each($2))")
                        .Add(experimentId).Add(taken),
                    token).ConfigureAwait(false);
                // Another server was quicker.
                if (forgotten == 0)
                    return;
                var segment = await writing.ScalarAsync<long>(
                    database.Statement("INSERT INTO span_text_segments (experiment_id, trace_ids) VALUES ($1, $2) RETURNING segment_id")
                        .Add(experimentId).Add(string.Join('\n', traceIds)),
                    token).ConfigureAwait(false);
                await writing.ExecuteLastAsync(
                    database.Rows(Postings).Add(Array.ConvertAll(buckets, _ => segment)).Add(buckets).AddBytes(postings), token).ConfigureAwait(false);
            },
            cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>The experiments with traces that no segment knows yet.</summary>
    public async Task<List<long>> ReadPendingAsync(CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.ListAsync(
                database.Statement("SELECT DISTINCT experiment_id FROM span_text_pending"), reader => reader.GetInt64(0), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Takes segments apart of whose traces most are gone: those that are left become pending. What is gone does not stay pending.</summary>
    public async Task TidyAsync(CancellationToken cancellationToken)
    {
        foreach (var id in await ReadSegmentsAsync(cancellationToken).ConfigureAwait(false))
        {
            List<string> left;
            long experimentId;
            var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
            await using (session.ConfigureAwait(false))
            {
                var segment = await session.FirstOrDefaultAsync(
                    database.Statement("SELECT experiment_id, trace_ids FROM span_text_segments WHERE segment_id = $1").Add(id),
                    reader => new { Experiment = reader.GetInt64(0), TraceIds = reader.GetString(1).Split('\n') },
                    cancellationToken).ConfigureAwait(false);
                if (segment is null)
                    continue;
                experimentId = segment.Experiment;
                left = await session.ListAsync(
                    database.Statement(
                        "SELECT trace_id FROM trace_info WHERE trace_id = ANY($1) AND experiment_id = $2",
                        "SELECT trace_id FROM trace_info WHERE trace_id IN (SELECT value FROM json_each($1)) AND +experiment_id = $2")
                        .Add(segment.TraceIds).Add(experimentId),
                    reader => reader.GetString(0),
                    cancellationToken).ConfigureAwait(false);
                if (left.Count * 2 >= segment.TraceIds.Length)
                    continue;
            }

            await database.WriteAsync(
                async (writing, token) =>
                {
                    var deleted = await writing.ExecuteAsync(
                        database.Statement("DELETE FROM span_text_segments WHERE segment_id = $1").Add(id), token).ConfigureAwait(false);
                    if (deleted > 0 && left.Count > 0)
                        await NoteAsync(database, writing, [.. left.Select(traceId => KeyValuePair.Create(traceId, experimentId))], token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }

        await database.WriteAsync(
            () => database.Statement(
                "DELETE FROM span_text_pending WHERE NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.trace_id = span_text_pending.trace_id)"),
            cancellationToken).ConfigureAwait(false);
    }

    private async Task<List<long>> ReadSegmentsAsync(CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.ListAsync(
                database.Statement("SELECT segment_id FROM span_text_segments ORDER BY segment_id"), reader => reader.GetInt64(0), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Sets, for each gram, the bits of the traces that have it; a trace's number is its place in the set.</summary>
    private async Task ReadGramsAsync(DatabaseSession session, HashSet<string> traceIds, ulong[] matrix, CancellationToken cancellationToken)
    {
        var ordinals = traceIds.Select((traceId, ordinal) => (traceId, ordinal)).ToDictionary(trace => trace.traceId, trace => trace.ordinal, StringComparer.Ordinal);
        var set = new ulong[SetWords];
        foreach (var chunk in traceIds.Chunk(TracesRead))
        {
            string? current = null;
            var reader = await session.QueryAsync(
                database.Statement(
                    "SELECT trace_id, content FROM spans WHERE trace_id = ANY($1) ORDER BY trace_id",
                    "SELECT trace_id, content FROM spans WHERE trace_id IN (SELECT value FROM json_each($1)) ORDER BY trace_id").Add(chunk),
                cancellationToken).ConfigureAwait(false);
            await using (reader.ConfigureAwait(false))
            {
                while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
                {
                    var traceId = reader.GetString(0);
                    if (current is not null && traceId != current)
                        MoveTo(matrix, set, ordinals[current]);
                    current = traceId;
                    SpanGrams.AddTo(set, reader.GetString(1));
                }
            }

            if (current is not null)
                MoveTo(matrix, set, ordinals[current]);
        }
    }

    private static void MoveTo(ulong[] matrix, ulong[] set, int trace)
    {
        for (var word = 0; word < set.Length; word++)
        {
            for (var bits = set[word]; bits != 0; bits &= bits - 1)
            {
                var gram = (word * BitsPerWord) + BitOperations.TrailingZeroCount(bits);
                matrix[(gram * TraceWords) + (trace / BitsPerWord)] |= 1UL << (trace % BitsPerWord);
            }

            set[word] = 0;
        }
    }

    /// <summary>
    /// The rows of a segment. Each gram that some trace has takes a byte for its number within the bucket, one for a length, and the traces:
    /// the distances between their numbers, seven bits per byte and the last byte of each with the high bit; or, where that is no longer than
    /// a bit for each trace, those bits.
    /// </summary>
    private static (long[] Buckets, byte[][] Postings) Pack(ulong[] matrix)
    {
        var buckets = new List<long>(SpanGrams.Count / BucketGrams);
        var rows = new List<byte[]>(SpanGrams.Count / BucketGrams);
        var row = new ArrayBufferWriter<byte>(4096);
        for (var gram = 0; gram < SpanGrams.Count; gram++)
        {
            var traces = matrix.AsSpan(gram * TraceWords, TraceWords);
            if (traces.ContainsAnyExcept(0UL))
            {
                var entry = row.GetSpan(2 + BitmapBytes);
                entry[0] = (byte)(gram % BucketGrams);
                var length = PackDistances(traces, entry[2..]);
                if (length < 0)
                {
                    length = BitmapBytes;
                    for (var word = 0; word < traces.Length; word++)
                        BinaryPrimitives.WriteUInt64LittleEndian(entry[(2 + (word * sizeof(ulong)))..], traces[word]);
                }

                entry[1] = (byte)length;
                row.Advance(2 + length);
            }

            if (gram % BucketGrams == BucketGrams - 1 && row.WrittenCount > 0)
            {
                buckets.Add(gram / BucketGrams);
                rows.Add(row.WrittenSpan.ToArray());
                row.ResetWrittenCount();
            }
        }

        return ([.. buckets], [.. rows]);
    }

    /// <returns>How many bytes were written; -1 when they would be as many as the bits take.</returns>
    private static int PackDistances(ReadOnlySpan<ulong> traces, Span<byte> to)
    {
        var (length, last) = (0, -1);
        for (var word = 0; word < traces.Length; word++)
        {
            for (var bits = traces[word]; bits != 0; bits &= bits - 1)
            {
                var trace = (word * BitsPerWord) + BitOperations.TrailingZeroCount(bits);
                var distance = trace - last - 1;
                last = trace;
                if (length + 2 >= BitmapBytes)
                    return -1;
                if (distance >= 0x80)
                    to[length++] = (byte)(distance >> 7);
                to[length++] = (byte)((distance & 0x7F) | 0x80);
            }
        }

        return length;
    }

    private static ulong[] AllTraces()
    {
        var traces = new ulong[TraceWords];
        traces.AsSpan().Fill(ulong.MaxValue);
        return traces;
    }

    /// <summary>Takes out of a set what does not have a gram.</summary>
    private static void Intersect(ulong[] traces, ReadOnlySpan<byte> row, int slot)
    {
        Span<ulong> having = stackalloc ulong[TraceWords];
        having.Clear();
        while (row.Length > 0 && row[0] != slot)
            row = row[(2 + row[1])..];
        if (row.Length > 0)
        {
            var entry = row.Slice(2, row[1]);
            if (entry.Length == BitmapBytes)
            {
                for (var word = 0; word < having.Length; word++)
                    having[word] = BinaryPrimitives.ReadUInt64LittleEndian(entry[(word * sizeof(ulong))..]);
            }
            else
            {
                var (trace, distance) = (-1, 0);
                foreach (var part in entry)
                {
                    distance = (distance << 7) | (part & 0x7F);
                    if (part < 0x80)
                        continue;
                    trace += distance + 1;
                    distance = 0;
                    having[trace / BitsPerWord] |= 1UL << (trace % BitsPerWord);
                }
            }
        }

        for (var word = 0; word < traces.Length; word++)
            traces[word] &= having[word];
    }
}
