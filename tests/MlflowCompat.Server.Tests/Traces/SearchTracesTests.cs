using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Search;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Searches for traces, with the fixture and the rows of contract: search §7.</summary>
public sealed class SearchTracesTests
{
    private static readonly Dictionary<DatabaseKind, Lazy<Task<Fixture>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => MakeAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => MakeAsync(DatabaseKind.PostgreSql)),
    };

    [Theory]
    [BothDatabases("", "A B C D")]
    [BothDatabases("status = 'OK'", "A D")]
    [BothDatabases("trace.status = 'OK'", "A D")]
    [BothDatabases("attributes.status = 'OK'", "A D")]
    [BothDatabases("attribute.status = 'OK'", "A D")]
    [BothDatabases("status = 'ok'", "")]
    [BothDatabases("status ILIKE 'o%'", "A D")]
    [BothDatabases("status RLIKE '^O'", "A D")]
    [BothDatabases("status IN ('OK','ERROR')", "A B D")]
    [BothDatabases("status NOT IN ('OK')", "B C")]
    [BothDatabases("status != 'OK'", "B C")]
    [BothDatabases("timestamp > 1500", "B C D")]
    [BothDatabases("timestamp_ms > 1500", "B C D")]
    [BothDatabases("trace.timestamp > 1500", "B C D")]
    [BothDatabases("trace.timestamp > 1999.5", "B C D")]
    [BothDatabases("timestamp > 500 AND timestamp < 2500", "A B")]
    [BothDatabases("timestamp = 2000", "B")]
    [BothDatabases("timestamp != 2000", "A C D")]
    [BothDatabases("execution_time > 100", "B")]
    [BothDatabases("execution_time_ms >= 100", "A B")]
    [BothDatabases("execution_time_ms >= 99.5", "A B")]
    [BothDatabases("end_time > 2400", "B C D")]
    [BothDatabases("end_time_ms <= 1100", "A")]
    [BothDatabases("name = 'alpha'", "A")]
    [BothDatabases("name ILIKE 'alpha'", "A B")]
    [BothDatabases("name != 'alpha'", "B")]
    [BothDatabases("name RLIKE 'a.*a$'", "A")]
    [BothDatabases("request_id IN ('{A}')", "A")]
    [BothDatabases("request_id = '{B}'", "B")]
    [BothDatabases("client_request_id LIKE 'cr%'", "A")]
    [BothDatabases("client_request_id = 'cr1'", "A")]
    [BothDatabases("run_id = '{R}'", "A D")]
    [BothDatabases("metadata.`mlflow.sourceRun` = '{R}'", "A D")]
    [BothDatabases("run_id != '{R}'", "")]
    [BothDatabases("run_id LIKE '{R}'", "A")]
    [BothDatabases("run_id = 'other'", "")]
    [BothDatabases("tags.t = 'one'", "A")]
    [BothDatabases("tag.t = 'one'", "A")]
    [BothDatabases("tags.`t` = 'one'", "A")]
    [BothDatabases("tags.\"t\" = 'one'", "A")]
    [BothDatabases("tags.k.d = '1'", "A")]
    [BothDatabases("tags.t != 'one'", "B C")]
    [BothDatabases("tags.t RLIKE '^[oO]ne$'", "A B")]
    [BothDatabases("tags.t ILIKE 'ONE'", "A B")]
    [BothDatabases("metadata.m = 'x'", "A")]
    [BothDatabases("request_metadata.m LIKE '_'", "A B")]
    [BothDatabases("span.name = 'root'", "A B")]
    [BothDatabases("span.name != 'root'", "A D")]
    [BothDatabases("span.name LIKE 'llm%'", "A")]
    [BothDatabases("span.name IN ('tool','llm_call')", "A D")]
    [BothDatabases("span.type IN ('LLM','TOOL')", "A D")]
    [BothDatabases("span.type NOT IN ('LLM')", "A B D")]
    [BothDatabases("span.status = 'ERROR'", "B")]
    [BothDatabases("span.status != 'ERROR'", "A D")]
    [BothDatabases("span.name = 'root' AND span.type = 'LLM'", "A")]
    [BothDatabases("span.attributes.model LIKE '%gpt%'", "A")]
    [BothDatabases("span.attributes.model LIKE '%gpt-4'", "A")]
    [BothDatabases("span.attributes.model LIKE 'gpt%'", "")]
    [BothDatabases("span.attributes.model ILIKE '%GPT%'", "A")]
    [BothDatabases("span.attributes.model = 'gpt-4'", "")]
    [BothDatabases("span.attributes.model RLIKE '^gpt'", "A")]
    [BothDatabases("span.attributes.model RLIKE 'e$'", "B")]
    [BothDatabases("span.attributes.`model` LIKE '%claude%'", "B")]
    [BothDatabases("span.attributes.nothing LIKE '%'", "")]
    [BothDatabases("span.content LIKE '%hello%'", "A")]
    [BothDatabases("span.content ILIKE '%HELLO%'", "A")]
    [BothDatabases("trace.text LIKE '%hello%'", "A")]
    [BothDatabases("feedback.good = 'true'", "A")]
    [BothDatabases("feedback.good = 'True'", "")]
    [BothDatabases("feedback.good != 'true'", "B")]
    [BothDatabases("feedback.score = '0.9'", "A")]
    [BothDatabases("feedback.score = '1.0'", "B")]
    [BothDatabases("feedback.score = '1'", "")]
    [BothDatabases("feedback.score IN ('0.9', '1.0')", "A B")]
    [BothDatabases("feedback.txt = '\"yes\"'", "A")]
    [BothDatabases("feedback.txt = 'yes'", "")]
    [BothDatabases("feedback.txt LIKE '%yes%'", "A")]
    [BothDatabases("expectation.exp = '\"v\"'", "A")]
    [BothDatabases("feedback.exp = '\"v\"'", "")]
    [BothDatabases("tags.t IS NULL", "D")]
    [BothDatabases("tags.`k.d` is not null", "A")]
    [BothDatabases("tags.t IS NOT NULL AND metadata.m = 'y'", "B")]
    [BothDatabases("metadata.m IS NULL", "C D")]
    [BothDatabases("request_metadata.m IS NOT NULL", "A B")]
    [BothDatabases("name IS NULL", "C D")]
    [BothDatabases("trace.name IS NOT NULL", "A B")]
    [BothDatabases("run_id IS NULL", "B C D")]
    [BothDatabases("run_id IS NOT NULL", "A")]
    [BothDatabases("feedback.good IS NOT NULL", "A B")]
    [BothDatabases("feedback.good IS NULL", "C D")]
    [BothDatabases("feedback.exp IS NULL", "A B C D")]
    [BothDatabases("expectation.exp IS NOT NULL", "A")]
    [BothDatabases("expectation.exp IS NULL AND feedback.txt IS NULL", "B C D")]
    [BothDatabases("trace.name = 'alpha' AND tags.t = 'one' AND span.type = 'LLM'", "A")]
    [BothDatabases("tags.`mlflow.trace.spansLocation` = 'TRACKING_STORE' AND status = 'OK'", "A D")]
    public async Task Filter_ValidRow_FindsTheTracesOfTheTable(DatabaseKind kind, string filter, string expected)
    {
        var fixture = await Fixtures[kind].Value;
        filter = fixture.Fill(filter);
        Assert.Equal((filter, expected), (filter, await fixture.FindAsync(filter)));
        // What a search finds must not depend on how far it walks through the listing.
        foreach (var walk in (int[])[2, 4, 1000])
            Assert.Equal((filter, walk, expected), (filter, walk, await fixture.WalkAsync(filter, walk)));
        var v2 = await fixture.Server.GetAsync($"traces?experiment_ids={fixture.Experiment}&filter={Uri.EscapeDataString(filter)}");
        Assert.Equal((filter, expected), (filter, fixture.Names((v2["traces"]?.AsArray() ?? []).Select(trace => (string)trace!["request_id"]!))));
    }

    [Theory]
    [BothDatabases("attr.status = 'OK'")]
    [BothDatabases("state = 'OK'")]
    [BothDatabases("trace_id = 'x'")]
    [BothDatabases("request_time > 5")]
    [BothDatabases("experiment_id = '1'")]
    [BothDatabases("timestamp > '1500'")]
    [BothDatabases("timestamp >= 1500.5")]
    [BothDatabases("timestamp IN (1000)")]
    [BothDatabases("name IN ('alpha')")]
    [BothDatabases("run_id IN ('x')")]
    [BothDatabases("tags.t IN ('one')")]
    [BothDatabases("metadata.m IN ('x')")]
    [BothDatabases("span.foo = 'x'")]
    [BothDatabases("spans.name = 'x'")]
    [BothDatabases("span.attributes. = 'x'")]
    [BothDatabases("text LIKE '%hello%'")]
    [BothDatabases("trace.text = 'x'")]
    [BothDatabases("span.content = 'x'")]
    [BothDatabases("feedback.score = 1")]
    [BothDatabases("feedback.score > '0.5'")]
    [BothDatabases("assessment.good = 'true'")]
    [BothDatabases("prompt = 'p/1'")]
    [BothDatabases("session = 's'")]
    [BothDatabases("metrics.m > 1")]
    [BothDatabases("status = 'OK' OR status = 'ERROR'")]
    [BothDatabases("(status = 'OK')")]
    [BothDatabases("status = OK")]
    [BothDatabases("status > 'A'")]
    [BothDatabases("status IS NULL")]
    [BothDatabases("request_id IS NOT NULL")]
    [BothDatabases("client_request_id IS NULL")]
    [BothDatabases("timestamp IS NULL")]
    [BothDatabases("execution_time IS NOT NULL")]
    [BothDatabases("span.name IS NULL")]
    [BothDatabases("span.attributes.model IS NOT NULL")]
    [BothDatabases("trace.text IS NULL")]
    [BothDatabases("tags.t IS")]
    [BothDatabases("tags.t IS 'x'")]
    [BothDatabases("tags.t is  not  null")]
    [BothDatabases("name RLIKE '('")]
    [BothDatabases("name RLIKE '(?=a)b'")]
    [BothDatabases("name RLIKE '(?<n>a)'")]
    [BothDatabases("name RLIKE 'a(?i)b'")]
    [BothDatabases("name RLIKE '\\p{L}'")]
    [BothDatabases("name RLIKE '[\\p{L}]'")]
    [BothDatabases("name RLIKE '\\1'")]
    [BothDatabases("name RLIKE 'a\\Z'")]
    [BothDatabases("name RLIKE '[[:alpha:]]'")]
    [BothDatabases("name RLIKE '[a-z-[b]]'")]
    [BothDatabases("name RLIKE '[a'")]
    [BothDatabases("name RLIKE 'a{256}'")]
    [BothDatabases("name RLIKE 'a{1'")]
    [BothDatabases("name RLIKE '^*a'")]
    [BothDatabases("name RLIKE 'a$+?'")]
    [BothDatabases("name RLIKE '\\b{2}a'")]
    [BothDatabases("name RLIKE 'a{1,x}'")]
    [BothDatabases("name RLIKE 'a{1,2,3}'")]
    [BothDatabases("name RLIKE 'a\\'")]
    public async Task Filter_InvalidRow_IsRefused(DatabaseKind kind, string filter)
    {
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.PostInvalidAsync(TraceCalls.Prefix + "traces/search", TraceCalls.Search([fixture.Experiment], filter));
        await fixture.Server.GetRefusedAsync(
            $"traces?experiment_ids={fixture.Experiment}&filter={Uri.EscapeDataString(filter)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory]
    [BothDatabases("^one$", false)]
    [BothDatabases("one$", false)]
    [BothDatabases("two\\n$", true)]
    [BothDatabases("two$", false)]
    [BothDatabases("^two", false)]
    [BothDatabases("one.two", true)]
    [BothDatabases("(?i)ONE", true)]
    [BothDatabases("\\bone\\b", true)]
    [BothDatabases("\\bon\\b", false)]
    [BothDatabases("\\Bn\\B", true)]
    [BothDatabases("^[a-z]{3}\\s[^\\d]+$", true)]
    [BothDatabases("^(?:one|three)\\W\\w+", true)]
    [BothDatabases("[]o]ne", true)]
    [BothDatabases("o\\.ne", false)]
    [BothDatabases("^[\\s\\S]*$", true)]
    [BothDatabases("^[\\D\\W]{8}$", true)]
    [BothDatabases("o{1,2}ne", true)]
    [BothDatabases("o{,2}ne", false)]
    [BothDatabases("{\"x\"|o{x}", false)]
    [BothDatabases("^{|{$|one", true)]
    public async Task RegularExpression_MeansTheSameOnBoth(DatabaseKind kind, string expression, bool isMet)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var info = TraceCalls.Info(experiment);
        info["tags"] = new JsonObject { ["t"] = "one\ntwo\n" };
        await server.StartTraceAsync(info);
        Assert.Equal(isMet ? 1 : 0, (await server.SearchTracesAsync(TraceCalls.Search([experiment], $"tags.t RLIKE '{expression}'"))).Ids.Count);
    }

    /// <summary>What neither database can tell in reasonable time is refused, and the server goes on.</summary>
    [Fact]
    public async Task RegularExpression_WithoutEnd_IsGivenUp()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var experiment = await server.CreateExperimentAsync();
        await server.ExportAsync(experiment, OtlpExport.Root() with { Attributes = new() { ["a"] = new string('a', 1_000_000) } });

        await server.PostInvalidAsync(
            TraceCalls.Prefix + "traces/search", TraceCalls.Search([experiment], "span.attributes.a RLIKE '([ab]*a[ab]{250}){3}c'"), "takes too long");
    }

    [Theory]
    [BothDatabases("C D B A")]
    [BothDatabases("A B C D", "timestamp")]
    [BothDatabases("A B C D", "timestamp_ms ASC")]
    [BothDatabases("C D B A", "trace.timestamp desc")]
    [BothDatabases("B A C D", "execution_time_ms DESC")]
    [BothDatabases("C D A B", "execution_time")]
    [BothDatabases("B A C D", "name")]
    [BothDatabases("A B C D", "name DESC")]
    [BothDatabases("C A B D", "tags.t DESC")]
    [BothDatabases("B A C D", "tags.t")]
    [BothDatabases("A B C D", "metadata.m")]
    [BothDatabases("B A C D", "metadata.m DESC")]
    [BothDatabases("A C D B", "run_id")]
    [BothDatabases("B C D A", "status", "timestamp DESC")]
    [BothDatabases("A B C D", "end_time")]
    [BothDatabases("A B C D", "request_id")]
    [BothDatabases("D C B A", "request_id DESC")]
    [BothDatabases("C D B A", "experiment_id")]
    public async Task OrderBy_ValidRow_OrdersTheTraces(DatabaseKind kind, string expected, params string[] orderBy)
    {
        var fixture = await Fixtures[kind].Value;
        var (ids, token) = await fixture.Server.SearchTracesAsync(TraceCalls.Search([fixture.Experiment], null, orderBy));
        Assert.Equal((expected, null), (fixture.Ordered(ids), token));
        // Page by page it is the same, and each full page has a token.
        var paged = new List<string>();
        do
        {
            (ids, token) = await fixture.Server.SearchTracesAsync(TraceCalls.Search([fixture.Experiment, fixture.Experiment], null, orderBy, 1, token));
            Assert.Equal(ids.Count == 1, token is not null);
            paged.AddRange(ids);
        }
        while (token is not null);
        Assert.Equal(expected, fixture.Ordered(paged));
    }

    [Theory]
    [BothDatabases("foo")]
    [BothDatabases("client_request_id")]
    [BothDatabases("request_time")]
    [BothDatabases("span.name")]
    [BothDatabases("feedback.good")]
    [BothDatabases("timestamp", "timestamp_ms")]
    [BothDatabases("timestamp, name")]
    public async Task OrderBy_InvalidRow_IsRefused(DatabaseKind kind, params string[] orderBy)
    {
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.PostInvalidAsync(TraceCalls.Prefix + "traces/search", TraceCalls.Search([fixture.Experiment], null, orderBy));
    }

    [Theory]
    [BothDatabases("span.name = 'many'", "span.name != 'many'")]
    [BothDatabases("feedback.many = '\"yes\"'", "feedback.many = '\"no\"'")]
    [BothDatabases("expectation.many = '\"yes\"'", "expectation.many = '\"no\"'")]
    public async Task Filter_OfHundredsOfClauses_IsAnsweredWithoutComparingTheirOrders(DatabaseKind kind, string met, string unmet)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root(name: "many");
        await server.ExportAsync(experiment, root, OtlpExport.Root(name: "other"));
        await server.AssessAsync(root.MlflowId, new { assessment_name = "many", source = new { source_type = "HUMAN", source_id = "a" }, feedback = new { value = "yes" } });
        await server.AssessAsync(root.MlflowId, new { assessment_name = "many", source = new { source_type = "HUMAN", source_id = "a" }, expectation = new { value = "yes" } });

        var clauses = Enumerable.Repeat(met, 300);
        // The order by status is none that a walk can follow.
        foreach (var order in (string[][])[[], ["status"]])
        {
            Assert.Equal([root.MlflowId], await FindAsync(clauses, order));
            Assert.Empty(await FindAsync(clauses.Append(unmet), order));
        }

        async Task<List<string>> FindAsync(IEnumerable<string> all, string[] order) =>
            (await server.SearchTracesAsync(TraceCalls.Search([experiment], string.Join(" AND ", all), order))).Ids;
    }

    [Theory, BothDatabases]
    public async Task Search_Limits_AreKept(DatabaseKind kind)
    {
        var fixture = await Fixtures[kind].Value;
        var (server, route) = (fixture.Server, TraceCalls.Prefix + "traces/search");
        foreach (var count in (int[])[0, -1, 501])
            await server.PostInvalidAsync(route, TraceCalls.Search([fixture.Experiment], maxResults: count), "max_results");
        await server.GetRefusedAsync($"traces?experiment_ids={fixture.Experiment}&max_results=501", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "max_results");
        await server.GetRefusedAsync("traces", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "experiment_ids");
        await server.PostInvalidAsync(route, new { }, "locations");
        await server.PostInvalidAsync(route, TraceCalls.Search(["1.5"]), "1.5");
        await server.PostInvalidAsync(route, TraceCalls.Search(["abc"]), "abc");
        foreach (var token in (string[])["garbage", Token("{}"), Token("{\"offset\": 0}")])
            await server.PostInvalidAsync(route, TraceCalls.Search([fixture.Experiment], pageToken: token), "page token");
        Assert.Empty(await server.PostAsync(route, new { locations = Array.Empty<object>() }));
        Assert.Empty(await server.PostAsync(route, new { locations = new[] { new { } } }));
        Assert.Empty(await server.PostAsync(route, TraceCalls.Search(["999999999"])));
        // Tokens of other makers, and such as somebody has changed.
        Assert.Equal("B A", fixture.Ordered((await server.SearchTracesAsync(TraceCalls.Search([fixture.Experiment], pageToken: Token("{\"offset\": 2}")))).Ids));
        Assert.Equal("A", fixture.Ordered((await server.SearchTracesAsync(
            TraceCalls.Search([fixture.Experiment], pageToken: Token("{\"offset\": 2, \"timestamp_ms\": 2000, \"trace_id\": \"tr-z\"}")))).Ids));
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search([fixture.Experiment], pageToken: Token("{\"offset\": 9}")))).Ids);

        static string Token(string json) => Convert.ToBase64String(Encoding.ASCII.GetBytes(json));
    }

    [Theory, BothDatabases]
    public async Task Correlation_OfFilters_IsComputedOverTheTracesOfTheExperiments(DatabaseKind kind)
    {
        var fixture = await Fixtures[kind].Value;
        // 2 and 1 of 4 traces, 1 of them in both: the figures of the contract.
        var answer = await Correlate("status = 'OK'", "tags.t = 'one'");
        Assert.Equal((2, 1, 1, 4), Counts(answer));
        Assert.Equal(0.5, (double)answer["npmi"]!, 1e-12);
        Assert.Equal(0.2924812503605779, (double)answer["npmi_smoothed"]!, 1e-12);

        answer = await Correlate("status = 'OK'", "span.name = 'root'", "timestamp < 2500");
        Assert.Equal((1, 2, 1, 2), Counts(answer));
        answer = await Correlate("status = 'OK'", "status = 'ERROR'");
        Assert.Equal(-1, (double)answer["npmi"]!);
        answer = await Correlate("timestamp > 0", "timestamp > 1");
        Assert.Equal(((4, 4, 4, 4), 1.0, 1.0), (Counts(answer), (double)answer["npmi"]!, (double)answer["npmi_smoothed"]!));
        answer = await Correlate("tags.t = 'nobody'", "status = 'OK'");
        Assert.Equal((0, 2, 0, 4), Counts(answer));
        Assert.False(answer.ContainsKey("npmi") || answer.ContainsKey("npmi_smoothed"));

        const string Route = TraceCalls.Prefix + "traces/calculate-filter-correlation";
        await fixture.Server.PostInvalidAsync(Route, new { filter_string1 = "status = 'OK'", filter_string2 = "status = 'OK'" }, "experiment_ids");
        await fixture.Server.PostInvalidAsync(Route, new { experiment_ids = new[] { "1" }, filter_string2 = "status = 'OK'" }, "filter_string1");
        await fixture.Server.PostInvalidAsync(Route, new { experiment_ids = new[] { "1" }, filter_string1 = "status = 'OK'" }, "filter_string2");
        await fixture.Server.PostInvalidAsync(Route, new { experiment_ids = new[] { "1" }, filter_string1 = "foo = 'OK'", filter_string2 = "status = 'OK'" }, "foo");
        await fixture.Server.PostInvalidAsync(
            Route, new { experiment_ids = new[] { "1" }, filter_string1 = "status = 'OK'", filter_string2 = "status = 'OK'", base_filter = "bogus" }, "bogus");

        Task<JsonObject> Correlate(string first, string second, string? baseFilter = null) => fixture.Server.PostAsync(
            Route, new { experiment_ids = new[] { fixture.Experiment }, filter_string1 = first, filter_string2 = second, base_filter = baseFilter });

        static (long, long, long, long) Counts(JsonObject answer) =>
            ((long)answer["filter1_count"]!, (long)answer["filter2_count"]!, (long)answer["joint_count"]!, (long)answer["total_count"]!);
    }

    [Theory, BothDatabases]
    public async Task Paging_ThroughEqualTimes_GivesEachTraceOnce(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var all = new List<string>();
        for (var i = 0; i < 23; i++)
            all.Add(await server.StartTraceAsync(experiment, 1_700_000_000_000 + (i / 7)));
        foreach (var direction in (string[])["ASC", "DESC"])
        {
            var seen = new List<string>();
            string? token = null;
            do
            {
                (var ids, token) = await server.SearchTracesAsync(TraceCalls.Search([experiment], null, ["timestamp " + direction], 5, token));
                seen.AddRange(ids);
            }
            while (token is not null);
            Assert.Equal(all.Order(StringComparer.Ordinal), seen.Order(StringComparer.Ordinal));
        }
    }

    [Theory]
    [BothDatabases(2)]
    [BothDatabases(20)]
    public async Task Search_SeveralExperiments_AreWalkedAsOne(DatabaseKind kind, int count)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiments = new List<string>();
        for (var i = 0; i < count; i++)
            experiments.Add(await server.CreateExperimentAsync());
        var traces = new List<(string Id, long Start, bool IsOdd)>();
        for (var i = 0; i < 45; i++)
        {
            var start = 1_700_000_000_000 + (i * 7 % 10);
            var info = TraceCalls.Info(experiments[i * i % count], startMs: start);
            info["tags"] = new JsonObject { ["odd"] = (i % 3 == 0).ToString() };
            traces.Add((await server.StartTraceAsync(info), start, i % 3 == 0));
        }

        foreach (var (filter, order, expected) in new (string?, string, IEnumerable<(string Id, long Start, bool)>)[]
        {
            (null, "timestamp DESC", traces.OrderByDescending(trace => trace.Start)),
            (null, "timestamp ASC", traces.OrderBy(trace => trace.Start)),
            ("timestamp >= 1700000000004", "timestamp DESC", traces.Where(trace => trace.Start >= 1_700_000_000_004).OrderByDescending(trace => trace.Start)),
            ("tags.odd = 'True'", "timestamp DESC", traces.Where(trace => trace.IsOdd).OrderByDescending(trace => trace.Start)),
            ("tags.odd = 'True' AND timestamp < 1700000000007", "timestamp ASC",
                traces.Where(trace => trace.IsOdd && trace.Start < 1_700_000_000_007).OrderBy(trace => trace.Start)),
        })
        {
            var ids = ((IOrderedEnumerable<(string Id, long, bool)>)expected).ThenBy(trace => trace.Id, StringComparer.Ordinal).Select(trace => trace.Id).ToList();
            var seen = new List<string>();
            string? token = null;
            do
            {
                (var page, token) = await server.SearchTracesAsync(TraceCalls.Search([.. experiments], filter, [order], 4, token));
                seen.AddRange(page);
            }
            while (token is not null);
            Assert.Equal(ids, seen);
            // However far the walk goes, and from wherever a page begins.
            foreach (var (walk, offset) in new[] { (8, 0), (16, 3), (64, 20), (1000, 5) })
            {
                var statement = TraceSearch.Page(
                    server.Database, [.. experiments.Select(id => long.Parse(id, CultureInfo.InvariantCulture))], FilterParser.Parse(filter, Vocabularies.Traces),
                    OrderByParser.Parse([order], Vocabularies.Traces), 4, new TracePosition(offset), walk: walk);
                await using var session = await server.Database.OpenAsync(CancellationToken.None);
                Assert.Equal(ids.Skip(offset).Take(4), (await session.ListAsync(statement, TraceRow.Read, CancellationToken.None)).Select(row => row.TraceId));
            }
        }
    }

    private static async Task<Fixture> MakeAsync(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = (string)(await server.PostAsync("runs/create", new { experiment_id = experiment }))["run"]!["info"]!["run_id"]!;
        var fixture = new Fixture(server, experiment, run);

        var a = Span("A", "root", 1000, 100, 1, "CHAIN");
        await Make("A", 1000, 100, "OK", """{"mlflow.traceName": "alpha", "t": "one", "k.d": "1"}""", "{\"mlflow.sourceRun\": \"" + run + "\", \"m\": \"x\"}", "cr1",
            a, OtlpExport.Child(a, "llm_call") with { Status = 1, Attributes = new() { ["mlflow.spanType"] = "LLM", ["model"] = "gpt-4", ["q"] = "hello world" } });
        await Make("B", 2000, 500, "ERROR", """{"mlflow.traceName": "Alpha", "t": "One"}""", """{"m": "y"}""", null,
            Span("B", "root", 2000, 500, 2, "AGENT", ("model", "claude")));
        await Make("C", 3000, 50, "IN_PROGRESS", """{"t": "two"}""", "{}", null);
        await Make("D", 3000, 50, "OK", "{}", "{}", null, Span("D", "tool", 3000, 50, 1, "TOOL"));
        await server.PostAsync("traces/link-to-run", new { trace_ids = new[] { fixture.Ids["D"] }, run_id = run });

        await Assess("A", "good", new { value = true });
        await Assess("A", "score", new { value = 0.9 });
        await Assess("A", "txt", new { value = "yes" });
        await server.AssessAsync(fixture.Ids["A"], new { assessment_name = "exp", expectation = new { value = "v" } });
        await Assess("B", "good", new { value = false });
        await Assess("B", "score", new { value = 1 });
        // What is indexed is found as what is pending: the spans of the table are, those of other tests seldom.
        Assert.True(await new SpanTextIndex(server.Database).IndexAsync(long.Parse(experiment, CultureInfo.InvariantCulture), CancellationToken.None, least: 1));
        return fixture;

        ExportedSpan Span(string name, string span, long start, long duration, int status, string type, params (string Key, object? Value)[] attributes) =>
            OtlpExport.Root(fixture.OtlpId(name), span, start, duration) with
            {
                Status = status,
                Attributes = attributes.Prepend(("mlflow.spanType", type)).ToDictionary(attribute => attribute.Item1, attribute => attribute.Item2),
            };

        async Task Make(string name, long start, long duration, string state, string tags, string metadata, string? clientRequestId, params ExportedSpan[] spans)
        {
            if (spans.Length > 0)
                await server.ExportAsync(experiment, spans);
            var info = TraceCalls.Info(experiment, fixture.Ids[name] = "tr-" + fixture.OtlpId(name), start);
            info["execution_duration"] = string.Create(CultureInfo.InvariantCulture, $"{duration / 1000m}s");
            info["state"] = state;
            info["tags"] = JsonNode.Parse(tags);
            info["trace_metadata"] = JsonNode.Parse(metadata);
            info["client_request_id"] = clientRequestId;
            await server.StartTraceAsync(info);
        }

        Task Assess(string name, string assessment, object feedback) =>
            server.AssessAsync(fixture.Ids[name], new { assessment_name = assessment, source = new { source_type = "HUMAN", source_id = "h" }, feedback });
    }

    private sealed record Fixture(TestServer Server, string Experiment, string Run)
    {
        private readonly string stem = Guid.NewGuid().ToString("N")[1..];

        public Dictionary<string, string> Ids { get; } = [];

        /// <summary>The ids have the order of the names.</summary>
        public string OtlpId(string name) => name.ToLowerInvariant() + stem;

        public string Fill(string filter) => filter.Replace("{R}", Run, StringComparison.Ordinal)
            .Replace("{A}", Ids["A"], StringComparison.Ordinal).Replace("{B}", Ids["B"], StringComparison.Ordinal);

        public string Ordered(IEnumerable<string> ids) => string.Join(' ', ids.Select(id => Ids.Single(entry => entry.Value == id).Key));

        public string Names(IEnumerable<string> ids) => string.Join(' ', Ordered(ids).Split(' ').Order(StringComparer.Ordinal));

        public async Task<string> FindAsync(string filter) => Names((await Server.SearchTracesAsync(TraceCalls.Search([Experiment], filter))).Ids);

        public async Task<string> WalkAsync(string filter, int walk)
        {
            var statement = TraceSearch.Page(
                Server.Database, [long.Parse(Experiment, CultureInfo.InvariantCulture)], FilterParser.Parse(filter, Vocabularies.Traces), [], walk / 2, new TracePosition(0), walk: walk);
            await using var session = await Server.Database.OpenAsync(CancellationToken.None);
            var page = await session.ListAsync(statement, TraceRow.Read, CancellationToken.None);
            // A page may be shorter than the answer; what it holds is the beginning of the whole one.
            var (all, _) = await Server.SearchTracesAsync(TraceCalls.Search([Experiment], filter));
            Assert.Equal(all.Take(walk / 2), page.Select(row => row.TraceId));
            return Names(all);
        }
    }
}
