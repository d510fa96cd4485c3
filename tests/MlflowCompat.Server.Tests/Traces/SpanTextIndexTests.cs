using System.Globalization;
using System.Text;
using MlflowCompat.Search;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>The index over the text of spans: a search finds the same with it as without, whatever became of the traces.</summary>
public sealed class SpanTextIndexTests
{
    /// <summary>Texts whose case, length in bytes or spelling in JSON is not what it seems.</summary>
    private static readonly string[] Fragments =
    [
        "hello", "World", "HELLO", "straße", "É", "é", "i", "İ", "ı", "k", "\u212A", "K", "ſ", "s", "😀", "😁", "\ud83d\ude00x", "\"", "\\", "\\\\", "\n", "\t",
        "%", "_", "'", " ", "  ", "{", "}", ":", ",", "ab", "abc", "abd", "zz", "1", "12", "123", "true", "null", "日本", "日本語", "\u0301", "gpt-4o", "x/y",
    ];

    [Theory, BothDatabases]
    public async Task Search_OfRandomPatterns_FindsTheSameWithAndWithoutTheIndex(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var random = new Random(19);
        var texts = new List<string>();
        for (var trace = 0; trace < 60; trace++)
        {
            // The third part of the traces stays pending.
            if (trace is 20 or 40)
                await IndexAsync(server, experiment);
            var root = OtlpExport.Root();
            ExportedSpan[] spans = [root, OtlpExport.Child(root), OtlpExport.Child(root)];
            for (var i = 0; i < spans.Length; i++)
            {
                texts.Add(Text(random, 6));
                spans[i] = spans[i] with { Name = Text(random, 2), Attributes = new() { ["q"] = texts[^1], ["a\"b"] = trace % 2 == 0 ? trace : Text(random, 3) } };
            }

            await server.ExportAsync(experiment, spans);
        }

        var (found, pruned) = (0, 0);
        for (var i = 0; i < 400; i++)
        {
            var pattern = Pattern(random, texts);
            var like = random.Next(2) == 0 ? Comparator.Like : Comparator.ILike;
            var key = random.Next(4) switch { 0 => "attributes.q", 1 => "attributes.a\"b", _ => "content" };
            Filter filter = new([new Clause(EntityKind.Span, key, like, new TextValue(pattern))]);
            var candidates = await CandidatesAsync(server, experiment, filter);
            var without = await FindAsync(server, experiment, filter, null);
            var with = await FindAsync(server, experiment, filter, candidates);
            Assert.True(without.SequenceEqual(with), $"{key} {like} {pattern}: {without.Count} traces without the index, {with.Count} with it");
            found += without.Count;
            pruned += candidates is null ? 0 : 60 - candidates.Count;
        }

        Assert.InRange(found, 400, 400 * 59);
        Assert.InRange(pruned, 400, 400 * 60);
    }

    [Theory, BothDatabases]
    public async Task Candidates_OfARareText_AreTheTracesThatHaveItAndThosePending(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var traces = new List<ExportedSpan>();
        for (var i = 0; i < 30; i++)
            traces.Add(OtlpExport.Root() with { Attributes = new() { ["q"] = "trace " + i, [i == 7 ? "rareKey" : "key"] = "x" } });
        await server.ExportAsync(experiment, [.. traces]);
        await IndexAsync(server, experiment);
        var late = OtlpExport.Root();
        await server.ExportAsync(experiment, late);

        Assert.Equal(Ids(traces[17], late), await Candidates("trace.text LIKE '%trace 17%'"));
        Assert.Equal(Ids(traces[17], late), await Candidates("trace.text ILIKE '%TRACE 17%' AND span.content LIKE '%race%'"));
        Assert.Equal(Ids(traces[17], late), await Candidates("span.attributes.q LIKE '%trace 17\"'"));
        Assert.Equal(Ids(traces[7], late), await Candidates("span.attributes.rareKey RLIKE 'x'"));
        Assert.Equal(Ids(late), await Candidates("trace.text LIKE '%nowhere%'"));
        // Too short, or none that the index can say.
        foreach (var filter in (string[])["trace.text LIKE '%tr%'", "trace.text LIKE '%t_a_e%'", "trace.text ILIKE '%träce%'", "span.name LIKE '%nowhere%'", "tags.t = 'nowhere'"])
            Assert.Null(await CandidatesAsync(server, experiment, FilterParser.Parse(filter, Vocabularies.Traces)));
        // Over HTTP it is the same search.
        Assert.Equal([traces[17].MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([experiment], "trace.text LIKE '%trace 17%'"))).Ids);

        async Task<IEnumerable<string>> Candidates(string filter) =>
            (await CandidatesAsync(server, experiment, FilterParser.Parse(filter, Vocabularies.Traces)))!.Order(StringComparer.Ordinal);

        static IEnumerable<string> Ids(params ExportedSpan[] spans) => spans.Select(span => span.MlflowId).Order(StringComparer.Ordinal);
    }

    [Theory, BothDatabases]
    public async Task Text_ThatChangesBehindTheIndex_IsFound(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (first, second) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var roots = Enumerable.Range(0, 10).Select(i => OtlpExport.Root() with { Attributes = new() { ["q"] = "early " + i } }).ToArray();
        await server.ExportAsync(first, roots);
        await IndexAsync(server, first);

        // A span comes late, another one again with another text, a trace goes to another experiment, another one is deleted.
        await server.ExportAsync(first, OtlpExport.Child(roots[0]) with { Attributes = new() { ["q"] = "belated" } });
        await server.ExportAsync(first, roots[1] with { Attributes = new() { ["q"] = "replaced" } });
        await server.StartTraceAsync(TraceCalls.Info(second, roots[2].MlflowId));
        await server.PostAsync("traces/delete-traces", new { experiment_id = first, request_ids = new[] { roots[3].MlflowId } });
        await Check();
        await IndexAsync(server, first);
        await IndexAsync(server, second);
        await Check();

        // With most of its traces gone a segment is taken apart.
        await server.PostAsync("traces/delete-traces", new { experiment_id = first, request_ids = roots[4..9].Select(root => root.MlflowId) });
        await new SpanTextIndex(server.Database).TidyAsync(CancellationToken.None);
        Assert.Contains(long.Parse(first, CultureInfo.InvariantCulture), await new SpanTextIndex(server.Database).ReadPendingAsync(CancellationToken.None));
        await Check();
        await IndexAsync(server, first);
        await Check();

        async Task Check()
        {
            Assert.Equal([roots[0].MlflowId], await Find(first, "belated"));
            Assert.Equal([roots[0].MlflowId], await Find(first, "early 0"));
            Assert.Equal([roots[1].MlflowId], await Find(first, "replaced"));
            Assert.Empty(await Find(first, "early 1"));
            Assert.Empty(await Find(first, "early 2"));
            Assert.Equal([roots[2].MlflowId], await Find(second, "early 2"));
            Assert.Empty(await Find(first, "early 3"));
            Assert.Equal([roots[9].MlflowId], await Find(first, "early 9"));
        }

        async Task<List<string>> Find(string experiment, string text) =>
            (await server.SearchTracesAsync(TraceCalls.Search([experiment], $"trace.text LIKE '%{text}%'"))).Ids;
    }

    [Theory, BothDatabases]
    public async Task Segment_OfManyTraces_IsMadeByTheServerAndNamesEachTraceByItsText(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        const int Count = SpanTextIndex.SegmentTraces + 76;
        var traces = Enumerable.Range(0, Count).Select(i => OtlpExport.Root() with
        {
            // Texts of one trace, of every third, of the first ones and of the last ones.
            Attributes = new() { ["q"] = string.Create(CultureInfo.InvariantCulture, $"<{i:D4}> {(i % 3 == 0 ? "third" : "")} {(i < 200 ? "first" : "")} {(i > 900 ? "final" : "")}") },
        }).ToArray();
        foreach (var part in traces.Chunk(100))
            await server.ExportAsync(experiment, part);
        // The server does it by itself, soon.
        var id = long.Parse(experiment, CultureInfo.InvariantCulture);
        while (await PendingAsync() >= SpanTextIndex.SegmentTraces)
            await Task.Delay(20);
        await IndexAsync(server, experiment);

        foreach (var (text, expected) in new[] { ("<0000>", 1), ("<0127>", 1), ("<0128>", 1), ("<0200>", 1), ("<1023>", 1), ("<1099>", 1), ("third", 367), ("first", 200), ("final", 199), ("thirdx", 0) })
        {
            var candidates = await CandidatesAsync(server, experiment, FilterParser.Parse($"trace.text LIKE '%{text}%'", Vocabularies.Traces));
            var having = traces.Where(trace => ((string)trace.Attributes["q"]!).Contains(text, StringComparison.Ordinal)).Select(trace => trace.MlflowId).ToList();
            Assert.Equal((text, expected), (text, having.Count));
            Assert.Empty(having.Except(candidates!));
            Assert.InRange(candidates!.Count, expected, expected + 20);
        }

        async Task<long> PendingAsync()
        {
            await using var session = await server.Database.OpenAsync(CancellationToken.None);
            return (await session.ScalarAsync<long>(
                server.Database.Statement("SELECT count(*) FROM span_text_pending WHERE experiment_id = $1").Add(id), CancellationToken.None))!.Value;
        }
    }

    private static string Text(Random random, int parts)
    {
        var text = new StringBuilder();
        for (var i = random.Next(1, parts + 1); i > 0; i--)
            text.Append(Fragments[random.Next(Fragments.Length)]);
        return text.ToString();
    }

    /// <summary>A part of what is there, or of what could be, with wildcards and other cases in it.</summary>
    private static string Pattern(Random random, List<string> texts)
    {
        var runes = (random.Next(3) == 0 ? Text(random, 3) : texts[random.Next(texts.Count)]).EnumerateRunes().ToList();
        var start = random.Next(runes.Count);
        var text = new StringBuilder(random.Next(8) == 0 ? "" : "%");
        foreach (var rune in runes.Skip(start).Take(random.Next(1, 12)))
        {
            var written = rune.ToString();
            text.Append(random.Next(12) switch { 0 => "%", 1 => "_", 2 => written.ToUpperInvariant(), _ => written });
        }

        return text.Append(random.Next(8) == 0 ? "" : "%").ToString();
    }

    [Theory, BothDatabases]
    public async Task Text_BehindManyNotesOfAnotherTrace_IsFound(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.Database.WriteAsync(
            () => server.Database.Statement($"""
                WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n <= {SpanTextIndex.MaxCandidates})
                INSERT INTO span_text_pending (experiment_id, trace_id) SELECT $1, 'tr-many' FROM numbers
                """).Add(long.Parse(experiment, CultureInfo.InvariantCulture)),
            CancellationToken.None);
        var root = OtlpExport.Root() with { Attributes = new() { ["q"] = "behind" } };
        await server.ExportAsync(experiment, root);

        var found = await server.SearchTracesAsync(TraceCalls.Search([experiment], "trace.text LIKE '%behind%'"));

        Assert.Equal([root.MlflowId], found.Ids);
    }

    private static Task<bool> IndexAsync(TestServer server, string experiment) =>
        new SpanTextIndex(server.Database).IndexAsync(long.Parse(experiment, CultureInfo.InvariantCulture), CancellationToken.None, least: 1);

    private static async Task<IReadOnlyCollection<string>?> CandidatesAsync(TestServer server, string experiment, Filter filter)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return await new SpanTextIndex(server.Database).FindAsync(
            session, [long.Parse(experiment, CultureInfo.InvariantCulture)], filter, CancellationToken.None);
    }

    private static async Task<List<string>> FindAsync(TestServer server, string experiment, Filter filter, IReadOnlyCollection<string>? candidates)
    {
        var ids = new List<string>();
        // Both ways to use candidates: alone, and behind a walk.
        foreach (var walk in (int[])[1000, 10])
        {
            var statement = TraceSearch.Page(
                server.Database, [long.Parse(experiment, CultureInfo.InvariantCulture)], filter, [], 5, new TracePosition(0), candidates, walk);
            await using var session = await server.Database.OpenAsync(CancellationToken.None);
            ids.AddRange((await session.ListAsync(statement, TraceRow.Read, CancellationToken.None)).Select(row => row.TraceId));
        }

        return ids;
    }
}
