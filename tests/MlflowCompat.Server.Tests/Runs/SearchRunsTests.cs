using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>
/// The example table of contract search §2, by its row numbers, with exactly its runs. Each metric has older points than the one that
/// counts, which no clause and no order may look at.
/// </summary>
public sealed class SearchRunsTests
{
    private static readonly Dictionary<DatabaseKind, Lazy<Task<Fixture>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => Fixture.CreateAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => Fixture.CreateAsync(DatabaseKind.PostgreSql)),
    };

    /// <summary>Filters and the runs that they find; a name in angle brackets stands for the id of that run.</summary>
    private static readonly (int Row, string Filter, string Runs)[] Valid =
    [
        (1, "metrics.acc > 0.5", "A C"),
        (2, "metric.acc >= 0.9", "A C"),
        (3, "metrics.acc != 0.9", "B E F_x"),
        (4, "metrics.acc < 1", "A B C E F_x"),
        (5, "metrics.acc <= .5", "B E F_x"),
        (6, "metrics.loss = 0", "B"),
        (7, "metrics.acc > 5e-1", "A C"),
        (7, "metrics.acc > 00.5", "A C"),
        (8, "metrics.acc > 1e400", ""),
        (8, "metrics.missing > 0", ""),
        (11, "metrics.acc>-1", "A B C E F_x"),
        (12, "metrics.`m 1` = 5", "A"),
        (12, "metrics.\"m 1\" = 5", "A"),
        (12, "metrics.'m 1' = 5", "A"),
        (14, "metrics.`a/b` = 1", "A"),
        (15, "metrics.`a/b` = 1 AND metrics.`m 1` >= 5", "A"),
        (17, "metrics.é > 1", ""),
        (17, "metrics.1abc > 1", ""),
        (19, "metrics.acc > 0.5 AND metrics.loss < 1", "A"),
        (20, "metrics.acc > 0.5 and params.lr = '0.1'", "A"),
        (25, "metrics.acc > 0.5 AND", "A C"),
        (25, "AND metrics.acc > 0.5", "A C"),
        (25, "metrics.acc > 0.5 AND AND metrics.loss < 1", "A"),
        (25, "metrics.acc > 0.5 metrics.loss < 1", "A"),
        (31, "params.lr = '0.1'", "A"),
        (31, "params.lr = \"0.1\"", "A"),
        (31, "param.lr = '0.1'", "A"),
        (31, "parameter.lr = '0.1'", "A"),
        (31, "parameters.lr = '0.1'", "A"),
        (34, "params.lr != '0.1'", "B C E F_x"),
        (35, "params.lr LIKE '0.1%'", "A C"),
        (36, "params.lr LIKE 'a_b'", "E F_x"),
        (37, "params.lr ILIKE 'A_B'", "E F_x"),
        (37, "params.lr ilike 'A_B'", "E F_x"),
        (40, "params.lr = ''", ""),
        (41, "params.Case = 'up'", ""),
        (41, "params.Case = 'Up'", "A"),
        (41, "params.`Case` = 'Up'", "A"),
        (42, "params.p.dot = 'v'", "A"),
        (43, "tags.t != 'one'", "B C D E"),
        (44, "tags.t ILIKE 'one'", "A C"),
        (45, "tags.t = \"it's\"", "D"),
        (46, "tags.t = 'it''s'", ""),
        (46, "tags.t = 'it\\'s'", ""),
        (47, "tags.t = 'a\"b'", "E"),
        (48, "tags.k.d = '1'", "A"),
        (48, "tags.`k.d` = '1'", "A"),
        (49, "tags.`team/x` = 'q'", "A"),
        (49, "tags.\"team/x\" = 'q'", "A"),
        (50, "tags.mlflow.runName = 'A'", "A"),
        (52, "status = 'FINISHED'", "A F_x"),
        (52, "attributes.status = 'FINISHED'", "A F_x"),
        (52, "attribute.status = 'FINISHED'", "A F_x"),
        (52, "attr.status = 'FINISHED'", "A F_x"),
        (52, "run.status = 'FINISHED'", "A F_x"),
        (53, "status = 'finished'", ""),
        (53, "status ILIKE 'fin%'", "A F_x"),
        (56, "run_name = 'A'", "A"),
        (56, "`run name` = 'A'", "A"),
        (56, "\"run name\" = 'A'", "A"),
        (56, "attributes.`Run name` = 'A'", "A"),
        (56, "`Run Name` = 'A'", "A"),
        (58, "run_name LIKE 'F_x'", "F_x"),
        (58, "run_name LIKE 'f%'", ""),
        (58, "run_name ILIKE 'f_X'", "F_x"),
        (59, "start_time >= 200 AND start_time <= 300", "B C"),
        (61, "start_time > 200.5", "C D E"),
        (62, "created > 200", "C D E"),
        (62, "attributes.Created = 100", "A"),
        (63, "end_time < 1000", "A B D F_x"),
        (63, "end_time != 900", "B D F_x"),
        (64, "user_id LIKE 'u%'", "A B D E F_x"),
        (64, "user_id ILIKE 'U1'", "A C D E F_x"),
        (65, "artifact_uri LIKE '%artifacts'", "A B C D E F_x"),
        (67, "run_id IN ('<A>','<C>')", "A C"),
        (67, "run_id in ('<A>', '<C>')", "A C"),
        (67, "run_id IN ('<A>',)", "A"),
        (67, "run_id IN(\"<A>\",\"<C>\")", "A C"),
        (68, "run_id NOT IN ('<A>','<C>')", "B D E F_x"),
        (70, "run_id IN ('ABC')", ""),
        (71, "dataset.name = 'ds1'", "A B"),
        (71, "datasets.name = 'ds1'", "A B"),
        (72, "dataset.context != 'train'", "B"),
        (73, "dataset.name != 'ds1'", "B C"),
        (74, "dataset.name NOT IN ('ds1')", "B C"),
        (75, "dataset.name IN ('DS1')", ""),
        (75, "dataset.name ILIKE 'DS1'", "A B"),
        (76, "dataset.name = 'ds1' AND dataset.context = 'test'", "B"),
        (77, "dataset.name = 'ds1' AND status = 'FINISHED'", "A"),
        (78, "dataset.name = 'ds1' AND params.lr = '0.1'", "A"),
        (53, "status ilike 'fin%'", "A F_x"),
        (67, "run_id = '<A>'", "A"),
        (67, "run_id != '<A>'", "B C D E F_x"),
        (67, "run_id LIKE '<A>'", "A"),
        (67, "run_id IN ('<A>', 'x', '<A>')", "A"),
        (78, "metrics.acc > 0.1 AND dataset.name LIKE 'ds%' AND tags.t = 'two' AND params.lr = '0.01'", "B"),
        (78, "dataset.digest IN ('d2', 'd3')", "B C"),
        (0, "", "A B C D E F_x"),
        (0, " ", "A B C D E F_x"),
    ];

    private static readonly (int Row, string Filter)[] Invalid =
    [
        (9, "metrics.acc > '0.5'"),
        (10, "metrics.acc > NaN"),
        (10, "metrics.acc > +0.5"),
        (10, "metrics.acc > .5e0"),
        (10, "metrics.acc > 0x1"),
        (10, "metrics.acc > - 1"),
        (13, "metrics.a/b = 1"),
        (16, "metrics.val-loss > 1"),
        (16, "metrics.val:loss > 1"),
        (18, "Metrics.acc > 0.5"),
        (21, "metrics.acc > 0.5 OR params.lr = '0.1'"),
        (22, "(metrics.acc > 0.5)"),
        (23, "NOT metrics.acc > 0.5"),
        (24, "metrics.acc > 0.5;"),
        (24, "metrics.acc > 1; metrics.loss < 2"),
        (26, "metrics.acc == 0.9"),
        (26, "metrics.acc <> 0.9"),
        (27, "0.5 < metrics.acc"),
        (28, "metrics.acc BETWEEN 0 AND 1"),
        (28, "metrics.acc IS NULL"),
        (28, "params.lr IS NOT NULL"),
        (28, "metrics.acc"),
        (29, "acc > 0.5"),
        (30, "metrics.acc IN (0.9)"),
        (32, "params.lr = 0.1"),
        (33, "params.lr = `0.1`"),
        (38, "params.lr NOT LIKE '0%'"),
        (38, "params.lr > '0.1'"),
        (39, "params.lr IN ('0.1','0.01')"),
        (39, "tags.t IN ('one')"),
        (49, "tags.team/x = 'q'"),
        (51, "\"tags\".t = 'one'"),
        (54, "status = FINISHED"),
        (55, "status IN ('FINISHED','FAILED')"),
        (57, "Run Name = 'A'"),
        (57, "name = 'A'"),
        (57, "attributes.name = 'A'"),
        (60, "start_time > '200'"),
        (60, "start_time LIKE '2%'"),
        (60, "start_time IN (100)"),
        (66, "experiment_id = '1'"),
        (66, "lifecycle_stage = 'active'"),
        (66, "run_uuid = 'x'"),
        (69, "run_id IN ()"),
        (69, "run_id IN ('<A>', 5)"),
        (69, "run_id IN '<A>'"),
        (79, "dataset.source = 'x'"),
        (79, "dataset.name > 'x'"),
        (79, "dataset = 'x'"),
        (79, "dataset.name = ds1"),
        (80, "metrics.acc > 0.5 -- x"),
        (80, "metrics.acc > 0.5 /* c */"),
        (81, "tags.t = 'one"),
        (81, "tags.`t = 'one'"),
        (82, "params.lr = TRUE"),
        (82, "params.lr = NULL"),
    ];

    public static IEnumerable<object[]> ValidRows => OnBoth(Valid.Select(row => new object[] { row.Row, row.Filter, row.Runs }));

    public static IEnumerable<object[]> InvalidRows => OnBoth(Invalid.Select(row => new object[] { row.Row, row.Filter }));

    [Theory, MemberData(nameof(ValidRows))]
    public async Task Filter_FindsTheRunsOfTheTable(DatabaseKind kind, int row, string filter, string expected)
    {
        var fixture = await Fixtures[kind].Value;
        var found = await fixture.SearchAsync(fixture.WithIds(filter));
        Assert.Equal((row, expected), (row, string.Join(' ', found.Order(StringComparer.Ordinal))));
    }

    [Theory, MemberData(nameof(InvalidRows))]
    public async Task Filter_ThatTheTableRefuses_IsRefused(DatabaseKind kind, int row, string filter)
    {
        Assert.InRange(row, 1, 82);
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.PostInvalidAsync(
            "runs/search", new { experiment_ids = new[] { fixture.Experiment }, filter = fixture.WithIds(filter) });
    }

    [Theory]
    [BothDatabases("DE C B A F_x")]
    [BothDatabases("C A B F_x E D", "metrics.acc DESC")]
    [BothDatabases("F_x B C A E D", "metrics.acc ASC")]
    [BothDatabases("F_x B C A E D", "metrics.acc")]
    [BothDatabases("F_x B C A E D", "metric.`acc` asc")]
    [BothDatabases("D A B E C F_x", "metrics.loss ASC")]
    [BothDatabases("A D B E C F_x", "metrics.loss DESC")]
    [BothDatabases("B A C E F_x D", "params.lr")]
    [BothDatabases("F_x E C A B D", "params.lr DESC")]
    [BothDatabases("F_x D B A E C", "end_time")]
    [BothDatabases("A B D F_x E C", "end_time DESC")]
    [BothDatabases("B A F_x D C E", "status", "metrics.acc DESC")]
    [BothDatabases("A DE C B F_x", "metrics.`m 1` DESC")]
    [BothDatabases("A DE C B F_x", "metrics.\"m 1\" DESC")]
    [BothDatabases("DE C B A F_x", "metrics.foo")]
    [BothDatabases("DE C B A F_x", "tags.foo DESC", "params.foo")]
    [BothDatabases("F_x A B C DE", "attributes.created")]
    [BothDatabases("F_x A B C DE", "Created")]
    [BothDatabases("DE C B A F_x", "start_time DESC")]
    [BothDatabases("F_x E D C B A", "tags.mlflow.runName DESC")]
    [BothDatabases("C E D A B F_x", "tags.t")]
    [BothDatabases("B A D E C F_x", "tags.t DESC")]
    [BothDatabases("C DE A F_x B", "user_id")]
    [BothDatabases("F_x E D C B A", "run_name desc")]
    [BothDatabases("C A B F_x E D", "metrics.acc DESC", "run_id DESC", "start_time")]
    public async Task OrderBy_OrdersTheRunsAsTheTable(DatabaseKind kind, string expected, params string[] orderBy)
    {
        var fixture = await Fixtures[kind].Value;
        // What is equal in all keys comes in the order of start and id; D and E started at once.
        var tie = string.CompareOrdinal(fixture.Ids["D"], fixture.Ids["E"]) < 0 ? "D E" : "E D";
        if (orderBy.Contains("run_id DESC"))
            expected = string.CompareOrdinal(fixture.Ids["A"], fixture.Ids["C"]) < 0 ? expected : expected.Replace("C A", "A C", StringComparison.Ordinal);
        Assert.Equal(expected.Replace("DE", tie, StringComparison.Ordinal), string.Join(' ', await fixture.SearchAsync(null, orderBy)));
    }

    [Theory]
    [BothDatabases("run_id")]
    [BothDatabases("attributes.run_id DESC")]
    [BothDatabases("artifact_uri")]
    [BothDatabases("artifact_uri DESC")]
    public async Task OrderBy_IdOrLocation_OrdersByTheText(DatabaseKind kind, string orderBy)
    {
        var fixture = await Fixtures[kind].Value;
        var names = fixture.Ids.Where(run => run.Key != "Del").OrderBy(run => run.Value, StringComparer.Ordinal).Select(run => run.Key);
        Assert.Equal(orderBy.EndsWith("DESC", StringComparison.Ordinal) ? names.Reverse() : names, await fixture.SearchAsync(null, orderBy));
    }

    [Theory]
    [BothDatabases("metrics.m 1 DESC")]
    [BothDatabases("metrics.acc DESCENDING")]
    [BothDatabases("metrics.acc, metrics.loss")]
    [BothDatabases("")]
    [BothDatabases("foo")]
    [BothDatabases("dataset.name")]
    [BothDatabases("experiment_id")]
    [BothDatabases("`run name`")]
    [BothDatabases("metrics.a/b")]
    [BothDatabases("metrics.acc nulls last")]
    [BothDatabases("start_time; DROP TABLE runs")]
    [BothDatabases("metrics.acc", "metrics.acc DESC")]
    [BothDatabases("start_time", "created")]
    public async Task OrderBy_ThatTheTableRefuses_IsRefused(DatabaseKind kind, params string[] orderBy)
    {
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.PostInvalidAsync("runs/search", new { experiment_ids = new[] { fixture.Experiment }, order_by = orderBy });
    }

    [Theory]
    [BothDatabases("ACTIVE_ONLY", "A C")]
    [BothDatabases("DELETED_ONLY", "Del")]
    [BothDatabases("ALL", "A C Del")]
    public async Task View_AndFilter_BothRestrict(DatabaseKind kind, string view, string expected)
    {
        var fixture = await Fixtures[kind].Value;
        var answer = await fixture.Server.PostAsync(
            "runs/search", new { experiment_ids = new[] { fixture.Experiment }, filter = "metrics.acc > 0.5", run_view_type = view });
        Assert.Equal(expected, string.Join(' ', RunCalls.Names(answer).Order(StringComparer.Ordinal)));
    }

    [Theory, BothDatabases]
    public async Task FoundRuns_AreWhole(DatabaseKind kind)
    {
        var fixture = await Fixtures[kind].Value;
        var answer = await fixture.Server.PostAsync("runs/search", new { experiment_ids = new[] { fixture.Experiment } });
        foreach (var found in answer["runs"]!.AsArray())
        {
            var read = await fixture.Server.GetRunAsync((string)found!["info"]!["run_id"]!);
            Assert.Equal(Normal(read), Normal(found.AsObject()));
        }

        // The order of lists within a run is nobody's business.
        static string Normal(System.Text.Json.Nodes.JsonNode? node) => node switch
        {
            System.Text.Json.Nodes.JsonObject members =>
                $"{{{string.Join(',', members.OrderBy(member => member.Key, StringComparer.Ordinal).Select(member => $"{member.Key}:{Normal(member.Value)}"))}}}",
            System.Text.Json.Nodes.JsonArray items => $"[{string.Join(',', items.Select(Normal).Order(StringComparer.Ordinal))}]",
            _ => node?.ToJsonString() ?? "null",
        };
    }

    private static IEnumerable<object[]> OnBoth(IEnumerable<object[]> rows) =>
        rows.SelectMany(row => new object[][] { [DatabaseKind.Sqlite, .. row], [DatabaseKind.PostgreSql, .. row] });

    private sealed record Fixture(TestServer Server, string Experiment, Dictionary<string, string> Ids)
    {
        public static async Task<Fixture> CreateAsync(DatabaseKind kind)
        {
            var server = await TestServer.SharedAsync(kind);
            var fixture = new Fixture(server, await server.CreateExperimentAsync(), []);
            await fixture.AddAsync(
                "A", 100, 900, "FINISHED", "u1",
                [("acc", .9), ("loss", .1), ("m 1", 5.0), ("a/b", 1.0)],
                [("lr", "0.1"), ("p 1", "x"), ("p.dot", "v"), ("Case", "Up")],
                [("t", "one"), ("team/x", "q"), ("k.d", "1")],
                ("ds1", "d1", "train"));
            await fixture.AddAsync(
                "B", 200, 800, "FAILED", "u2", [("acc", .5), ("loss", "NaN")], [("lr", "0.01")], [("t", "two")], ("ds2", "d2", "test"), ("ds1", "d1", "train"));
            await fixture.AddAsync("C", 300, null, "RUNNING", "U1", [("acc", .9)], [("lr", "0.1%")], [("t", "One")], ("ds3", "d3", null));
            await fixture.AddAsync("D", 400, 700, "KILLED", "u1", [("loss", -1.0)], [], [("t", "it's")]);
            await fixture.AddAsync("E", 400, null, "SCHEDULED", "u1", [("acc", "NaN")], [("lr", "a_b")], [("t", "a\"b")]);
            await fixture.AddAsync("F_x", 50, 60, "FINISHED", "u1", [("acc", .2)], [("lr", "axb")], []);
            await fixture.AddAsync("Del", 500, 501, "FINISHED", "u1", [("acc", .9)], [("lr", "0.1")], [("t", "one")], ("ds1", "d1", "train"));
            await server.PostAsync("runs/delete", new { run_id = fixture.Ids["Del"] });
            return fixture;
        }

        public string WithIds(string filter) =>
            Ids.Aggregate(filter, (text, run) => text.Replace($"<{run.Key}>", run.Value, StringComparison.Ordinal));

        public Task<List<string>> SearchAsync(string? filter, params string[] orderBy) => Server.SearchNamesAsync(Experiment, filter, orderBy);

        private async Task AddAsync(
            string name,
            long start,
            long? end,
            string status,
            string user,
            (string Key, object Value)[] metrics,
            (string Key, string Value)[] parameters,
            (string Key, string Value)[] tags,
            params (string Name, string Digest, string? Context)[] datasets)
        {
            var id = await Server.CreateRunAsync(Experiment, new { run_name = name, start_time = start, user_id = user });
            Ids.Add(name, id);
            await Server.PostAsync("runs/log-batch", new
            {
                run_id = id,
                metrics = metrics.SelectMany(metric => new object[]
                {
                    new { key = metric.Key, value = metric.Value, timestamp = 5, step = 1 },
                    new { key = metric.Key, value = 0.77, timestamp = 9, step = 0 },
                }),
                @params = parameters.Select(parameter => new { key = parameter.Key, value = parameter.Value }),
                tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }),
            });
            await Server.PostAsync("runs/log-inputs", new
            {
                run_id = id,
                datasets = datasets.Select(dataset => new
                {
                    dataset = new { name = dataset.Name, digest = dataset.Digest, source_type = "local", source = "{}" },
                    tags = dataset.Context is null ? null : new[] { new { key = "mlflow.data.context", value = dataset.Context } },
                }),
            });
            await Server.PostAsync("runs/update", new { run_id = id, status, end_time = end ?? 0 });
        }
    }
}
