using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>logged-models/search (contract: search §6, semantics §11, §12).</summary>
public sealed class SearchLoggedModelsTests
{
    private static readonly Dictionary<TestServer, Task<Fixture>> Fixtures = [];

    [Theory]
    [BothDatabases(null, "C B A")]
    [BothDatabases("", "C B A")]
    [BothDatabases(" ", "C B A")]
    [BothDatabases("name = 'A'", "A")]
    [BothDatabases("attributes.name = 'A'", "A")]
    [BothDatabases("name LIKE 'A%'", "A")]
    [BothDatabases("name ILIKE 'a'", "A")]
    [BothDatabases("name = \"A\"", "A")]
    [BothDatabases("name IN ('A','B')", "B A")]
    [BothDatabases("name NOT IN ('A')", "C B")]
    [BothDatabases("model_type != 'agent'", "C B")]
    [BothDatabases("status = 2", "A")]
    [BothDatabases("status = '2'", "A")]
    [BothDatabases("status = 'READY'", "A")]
    [BothDatabases("status = 'LOGGED_MODEL_READY'", "A")]
    [BothDatabases("status != 'LOGGED_MODEL_READY'", "C B")]
    [BothDatabases("status IN ('1', 'LOGGED_MODEL_UPLOAD_FAILED')", "C B")]
    [BothDatabases("status NOT IN ('PENDING')", "C A")]
    [BothDatabases("status LIKE 'LOGGED%FAILED'", "C")]
    [BothDatabases("status ILIKE '%ready'", "A")]
    [BothDatabases("status = 'trained'", "")]
    [BothDatabases("metrics.acc > 0.93", "B")]
    [BothDatabases("metrics.acc > 0.6 AND metrics.acc < 0.92", "B A")]
    [BothDatabases("metrics.acc = 0.5", "B")]
    [BothDatabases("metrics.acc != 0.9", "B")]
    [BothDatabases("metrics.loss = 0", "C")]
    [BothDatabases("metrics.`val/acc 1` >= 1", "C")]
    [BothDatabases("metrics.none > 0", "")]
    [BothDatabases("params.lr = '0.1'", "A")]
    [BothDatabases("params.lr = 0.1", "A")]
    [BothDatabases("params.lr != '0.1'", "B")]
    [BothDatabases("params.lr IN ('0.1','0.2')", "B A")]
    [BothDatabases("params.lr NOT IN ('0.1')", "B")]
    [BothDatabases("params.lr LIKE '0._'", "B A")]
    [BothDatabases("tags.t = 'x'", "A")]
    [BothDatabases("tags.t ILIKE 'x'", "B A")]
    [BothDatabases("tags.k.d = '1'", "B")]
    [BothDatabases("tags.t IN ('x', 'y')", "A")]
    [BothDatabases("name = 'A' AND tags.t = 'x'", "A")]
    [BothDatabases("name = 'A' AND tags.t = 'X'", "")]
    [BothDatabases("creation_time > 0 AND creation_timestamp > 0.5 AND creation_timestamp_ms != 1", "C B A")]
    [BothDatabases("creation_timestamp < 0", "")]
    [BothDatabases("last_updated_timestamp >= 0 AND last_updated_timestamp_ms > 1", "C B A")]
    [BothDatabases("source_run_id = '{run}'", "A")]
    [BothDatabases("source_run_id != '{run}'", "C B")]
    [BothDatabases("source_run_id = ''", "C B")]
    [BothDatabases("experiment_id = '{experiment}'", "C B A")]
    [BothDatabases("experiment_id IN ('1234567')", "")]
    [BothDatabases("experiment_id LIKE '%'", "C B A")]
    [BothDatabases("model_id = '{A}'", "A")]
    [BothDatabases("model_id != '{A}'", "C B")]
    [BothDatabases("model_id IN ('{A}', 'm-x', '{B}')", "B A")]
    [BothDatabases("model_id NOT IN ('{A}', 'm-x')", "C B")]
    [BothDatabases("model_id LIKE '{A}%'", "A")]
    [BothDatabases("model_id LIKE 'm-%'", "C B A")]
    [BothDatabases("model_id = 'm-x'", "")]
    [BothDatabases("artifact_location LIKE '%/models/{A}/artifacts'", "A")]
    [BothDatabases("lifecycle_stage = 'active'", "C B A")]
    [BothDatabases("lifecycle_stage != 'active'", "")]
    public async Task Filter_FindsTheModelsOfTheTable(DatabaseKind kind, string? filter, string expected)
    {
        var fixture = await FixtureAsync(kind);
        Assert.Equal(expected, await fixture.Server.SearchModelsAsync(fixture.Experiment, fixture.Fill(filter)));
    }

    [Theory]
    [BothDatabases("attribute.name = 'A'")]
    [BothDatabases("metric.acc > 0")]
    [BothDatabases("param.lr = '0.1'")]
    [BothDatabases("metrics.acc > 'x'")]
    [BothDatabases("creation_timestamp > '0'")]
    [BothDatabases("foo = 'x'")]
    [BothDatabases("name = 'A' OR tags.t = 'x'")]
    [BothDatabases("(name = 'A')")]
    [BothDatabases("name = 'A';")]
    [BothDatabases("name IS NULL")]
    [BothDatabases("params.lr > '0'")]
    [BothDatabases("dataset.name = 'x'")]
    [BothDatabases("name > 'A'")]
    [BothDatabases("metrics.acc")]
    [BothDatabases("name = A")]
    public async Task Filter_OutsideOfTheLanguage_IsRefused(DatabaseKind kind, string filter)
    {
        var fixture = await FixtureAsync(kind);
        await fixture.Server.PostInvalidAsync("logged-models/search", new { experiment_ids = new[] { fixture.Experiment }, filter });
        await fixture.Server.PostInvalidAsync("logged-models/search", new { experiment_ids = Array.Empty<string>(), filter });
    }

    [Theory]
    [BothDatabases(null, "d1", "g1", "A")]
    [BothDatabases(null, "d1", "zz", "")]
    [BothDatabases(null, "d1", null, "")]
    [BothDatabases(null, "d3", null, "C")]
    [BothDatabases(null, "d2", "g2", "B")]
    [BothDatabases("metrics.acc > 0.4", "d2", "g2", "B")]
    [BothDatabases("metrics.acc > 0.6", "d2", "g2", "")]
    [BothDatabases("metrics.acc > 0.6", "d1", null, "")]
    [BothDatabases("metrics.loss < 1", "d3", null, "C")]
    [BothDatabases("name = 'B'", "d1", null, "")]
    [BothDatabases("tags.t = 'x'", "d1", "g1", "A")]
    public async Task Datasets_RestrictWhatMetricsAreLookedAt(DatabaseKind kind, string? filter, string dataset, string? digest, string expected)
    {
        var fixture = await FixtureAsync(kind);
        object[] datasets = [new { dataset_name = dataset, dataset_digest = digest }];
        Assert.Equal(expected, await fixture.Server.SearchModelsAsync(fixture.Experiment, filter, null, datasets));
        object[] both = [new { dataset_name = "none" }, new { dataset_name = dataset, dataset_digest = digest ?? "" }];
        Assert.Equal(expected, await fixture.Server.SearchModelsAsync(fixture.Experiment, filter, null, both));
    }

    [Theory]
    [BothDatabases("metrics.acc", true, null, null, "A B C")]
    [BothDatabases("metrics.acc", false, null, null, "B A C")]
    [BothDatabases("metrics.acc", true, "d2", null, "B C A")]
    [BothDatabases("metrics.acc", true, "d2", "g2", "B C A")]
    [BothDatabases("metrics.acc", true, "d2", "zz", "C B A")]
    [BothDatabases("metrics.acc", true, null, "g1", "A C B")]
    [BothDatabases("metrics.loss", true, null, null, "C B A")]
    [BothDatabases("metrics.loss", false, null, null, "B C A")]
    [BothDatabases("metrics.val/acc 1", true, null, null, "C B A")]
    [BothDatabases("metrics.none", false, null, null, "C B A")]
    [BothDatabases("name", true, null, null, "A B C")]
    [BothDatabases("name", false, null, null, "C B A")]
    [BothDatabases("model_type", true, null, null, "C B A")]
    [BothDatabases("status", true, null, null, "B A C")]
    [BothDatabases("source_run_id", false, null, null, "A C B")]
    [BothDatabases("experiment_id", true, null, null, "C B A")]
    [BothDatabases("lifecycle_stage", true, null, null, "C B A")]
    [BothDatabases("creation_time", true, null, null, "A B C")]
    [BothDatabases("creation_timestamp", false, null, null, "C B A")]
    [BothDatabases("creation_timestamp_ms", true, null, null, "A B C")]
    [BothDatabases("last_updated_timestamp", true, null, null, "B A C")]
    [BothDatabases("last_updated_timestamp_ms", false, null, null, "C A B")]
    public async Task Order_IsThatOfTheContract(DatabaseKind kind, string field, bool ascending, string? dataset, string? digest, string expected)
    {
        var fixture = await FixtureAsync(kind);
        object[] order = [new { field_name = field, ascending, dataset_name = dataset, dataset_digest = digest }];
        Assert.Equal(expected, await fixture.Server.SearchModelsAsync(fixture.Experiment, null, order));
        if (ascending && dataset is null && digest is null)
            Assert.Equal(expected, await fixture.Server.SearchModelsAsync(fixture.Experiment, null, [new { field_name = field }]));
    }

    [Theory, BothDatabases]
    public async Task Order_ByIdAndPlace_AndSeveralKeys(DatabaseKind kind)
    {
        var fixture = await FixtureAsync(kind);
        foreach (var field in new[] { "model_id", "artifact_location" })
        {
            Assert.Equal(
                string.Join(' ', fixture.Ids.OrderBy(model => model.Value, StringComparer.Ordinal).Select(model => model.Key)),
                await fixture.Server.SearchModelsAsync(fixture.Experiment, null, [new { field_name = field }]));
        }

        object[] twice = [new { field_name = "lifecycle_stage" }, new { field_name = "metrics.acc", dataset_name = "d1" }, new { field_name = "metrics.acc" }, new { field_name = "metrics.acc" }];
        Assert.Equal("A B C", await fixture.Server.SearchModelsAsync(fixture.Experiment, null, twice));
    }

    [Theory]
    [BothDatabases("""[{"field_name": "params.lr"}]""", "params")]
    [BothDatabases("""[{"field_name": "tags.t"}]""", "tags")]
    [BothDatabases("""[{"field_name": "foo"}]""", "foo")]
    [BothDatabases("""[{"field_name": "attributes.name"}]""", "attributes")]
    [BothDatabases("""[{}]""", "order_by[0].field_name")]
    [BothDatabases("""[{"field_name": "name"}, {"field_name": ""}]""", "order_by[1].field_name")]
    [BothDatabases("""[{"field_name": "name", "ascending": "yes"}]""", "ascending")]
    [BothDatabases("""["name"]""", "order_by")]
    public async Task Order_OutsideOfTheLanguage_IsRefused(DatabaseKind kind, string order, string named)
    {
        var fixture = await FixtureAsync(kind);
        await fixture.Server.PostInvalidAsync("logged-models/search", $$"""{"experiment_ids": ["{{fixture.Experiment}}"], "order_by": {{order}}}""", named);
    }

    [Theory]
    [BothDatabases("""{}""", "experiment_ids")]
    [BothDatabases("""{"experiment_ids": null}""", "experiment_ids")]
    [BothDatabases("""{"experiment_ids": "0"}""", "experiment_ids")]
    [BothDatabases("""{"experiment_ids": ["0"], "datasets": [{"dataset_digest": "d"}]}""", "datasets[0].dataset_name")]
    [BothDatabases("""{"experiment_ids": ["0"], "datasets": [{"dataset_name": "d"}, {"dataset_name": ""}]}""", "datasets[1].dataset_name")]
    [BothDatabases("""{"experiment_ids": ["0"], "max_results": -1}""", "max_results")]
    [BothDatabases("""{"experiment_ids": ["0"], "max_results": "x"}""", "max_results")]
    [BothDatabases("""{"experiment_ids": ["0"], "page_token": "garbage"}""", "page token")]
    [BothDatabases("""{"experiment_ids": ["0"], "page_token": "e30="}""", "page token")]
    [BothDatabases("""{"experiment_ids": ["0"], "page_token": "eyJvZmZzZXQiOiAxfQ=="}""", "experiment_ids")]
    public async Task Search_Malformed_IsRefusedNamingTheField(DatabaseKind kind, string body, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("logged-models/search", body, named);
    }

    [Theory, BothDatabases]
    public async Task Search_InNoExperiment_FindsNothing(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var ids in new object[] { Array.Empty<string>(), new[] { "987654321" }, new[] { "abc" } })
            Assert.Equal("{}", (await server.PostAsync("logged-models/search", new { experiment_ids = ids })).ToJsonString());
    }

    [Theory, BothDatabases]
    public async Task Pages_FollowEachOther_WithinOneRequestOnly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiments = new[] { await server.CreateExperimentAsync(), await server.CreateExperimentAsync() };
        var names = new List<string>();
        for (var i = 0; i < 103; i++)
        {
            var name = $"m{i:000}";
            await server.CreateModelIdAsync(experiments[i % 2], new { name });
            names.Add(name);
        }

        object Message(int? maxResults, string? token, string? filter = "name LIKE 'm%'", string[]? ids = null, bool ascending = true) => new
        {
            experiment_ids = ids ?? experiments,
            filter,
            order_by = new[] { new { field_name = "name", ascending } },
            max_results = maxResults,
            page_token = token,
        };

        var found = new List<string>();
        string? token = null;
        var pages = 0;
        do
        {
            var page = await server.PostAsync("logged-models/search", Message(50, token));
            found.AddRange(LoggedModelCalls.Names(page).Split(' '));
            token = (string?)page["next_page_token"];
            pages++;
        }
        while (token is not null);
        Assert.Equal(names, found);
        Assert.Equal(3, pages);

        Assert.Equal(50, Count(await server.PostAsync("logged-models/search", Message(null, null))));
        Assert.Equal(100, Count(await server.PostAsync("logged-models/search", Message(0, null))));
        var all = await server.PostAsync("logged-models/search", Message(103, null));
        Assert.Equal(103, Count(all));
        Assert.False(all.ContainsKey("next_page_token"));
        Assert.Equal(103, Count(await server.PostAsync("logged-models/search", Message(int.MaxValue, ""))));

        var first = await server.PostAsync("logged-models/search", Message(102, null));
        token = (string)first["next_page_token"]!;
        Assert.Equal("m102", LoggedModelCalls.Names(await server.PostAsync("logged-models/search", Message(7, token))));
        await server.PostInvalidAsync("logged-models/search", Message(7, token, filter: "name LIKE '%'"), "filter");
        await server.PostInvalidAsync("logged-models/search", Message(7, token, filter: null), "filter");
        await server.PostInvalidAsync("logged-models/search", Message(7, token, ids: [experiments[0]]), "experiment_ids");
        await server.PostInvalidAsync("logged-models/search", Message(7, token, ascending: false), "order_by");

        // MLflow's own form, which a client may have kept from before a change of servers.
        var own = Convert.ToBase64String(Encoding.UTF8.GetBytes(
            $$"""{"experiment_ids": ["{{experiments[0]}}", "{{experiments[1]}}"], "filter_string": "name LIKE 'm%'", "order_by": [{"field_name": "name", "ascending": true, "dataset_name": null, "dataset_digest": null}], "offset": 102}"""));
        Assert.Equal("m102", LoggedModelCalls.Names(await server.PostAsync("logged-models/search", Message(7, own))));

        static int Count(JsonObject page) => page["models"]!.AsArray().Count;
    }

    [Theory, BothDatabases]
    public async Task LatestValue_IsThatOfTheLatestTime_ThenStep(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        async Task AddAsync(string name, params (double Value, long Time, long Step)[] points)
        {
            var model = await server.CreateModelIdAsync(experiment, new { name });
            foreach (var (value, timestamp, step) in points)
                await server.PostAsync("runs/log-metric", new { run_id = run, key = "m", value, timestamp, step, model_id = model });
        }

        // Time counts before step, unlike the latest value of a run.
        await AddAsync("three", (3, 9, 0), (100, 1, 50));
        await AddAsync("two", (100, 5, 1), (2, 5, 2));
        await AddAsync("four", (4, long.MaxValue, 0), (100, 253_402_300_800_000, 9));
        await AddAsync("one", (1, 1, 1));
        await AddAsync("none");
        Assert.Equal("one two three four none", await server.SearchModelsAsync(experiment, null, [new { field_name = "metrics.m" }]));
        Assert.Equal("four three two one none", await server.SearchModelsAsync(experiment, null, [new { field_name = "metrics.m", ascending = false }]));
        Assert.Equal("two three four", await server.SearchModelsAsync(experiment, "metrics.m = 100", [new { field_name = "metrics.m" }]));
    }

    private static Task<Fixture> FixtureAsync(DatabaseKind kind) => FixtureOfAsync(TestServer.SharedAsync(kind));

    private static async Task<Fixture> FixtureOfAsync(Task<TestServer> shared)
    {
        var server = await shared;
        Task<Fixture> fixture;
        lock (Fixtures)
        {
            if (!Fixtures.TryGetValue(server, out fixture!))
                Fixtures.Add(server, fixture = MakeAsync(server));
        }

        return await fixture;
    }

    /// <summary>The models of the contract's table, made in this order, with a metric that is NaN and one that needs quotes.</summary>
    private static async Task<Fixture> MakeAsync(TestServer server)
    {
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var a = await server.CreateModelIdAsync(experiment, new
        {
            name = "A", model_type = "agent", source_run_id = run, @params = new[] { new { key = "lr", value = "0.1" } }, tags = new[] { new { key = "t", value = "x" } },
        });
        await Task.Delay(2);
        var b = await server.CreateModelIdAsync(experiment, new
        {
            name = "B", model_type = "LLM", @params = new[] { new { key = "lr", value = "0.2" } },
            tags = new[] { new { key = "t", value = "X" }, new { key = "k.d", value = "1" } },
        });
        await Task.Delay(2);
        var c = await server.CreateModelIdAsync(experiment, new { name = "C" });
        var deleted = await server.CreateModelIdAsync(experiment, new { name = "deleted", tags = new[] { new { key = "t", value = "x" } } });
        await server.SendAsync("DELETE", $"logged-models/{deleted}");
        await Task.Delay(2);
        await server.FinalizeAsync(a);
        await Task.Delay(2);
        await server.FinalizeAsync(c, "LOGGED_MODEL_UPLOAD_FAILED");
        await server.PostAsync("runs/log-batch", new
        {
            run_id = run,
            metrics = new object[]
            {
                new { key = "acc", value = 0.9, timestamp = 1, model_id = a, dataset_name = "d1", dataset_digest = "g1" },
                new { key = "acc", value = 0.5, timestamp = 1, model_id = b, dataset_name = "d2", dataset_digest = "g2" },
                new { key = "acc", value = 0.95, timestamp = 2, model_id = b },
                new { key = "loss", value = "NaN", timestamp = 1, model_id = c, dataset_name = "d3" },
                new { key = "loss", value = 7, timestamp = 1, model_id = b },
                new { key = "val/acc 1", value = 1, timestamp = 1, model_id = c },
            },
        });
        return new Fixture(server, experiment, run, new() { ["A"] = a, ["B"] = b, ["C"] = c });
    }

    private sealed record Fixture(TestServer Server, string Experiment, string Run, Dictionary<string, string> Ids)
    {
        public string? Fill(string? filter) => filter?
            .Replace("{run}", Run, StringComparison.Ordinal).Replace("{experiment}", Experiment, StringComparison.Ordinal)
            .Replace("{A}", Ids["A"], StringComparison.Ordinal).Replace("{B}", Ids["B"], StringComparison.Ordinal);
    }
}
