using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>Which keys metrics, params and tags may have (contract: semantics §4.3), and how long texts may be (§4.1, §4.2).</summary>
public sealed class KeyRulesTests
{
    [Theory]
    [BothDatabases("a b")]
    [BothDatabases(" ")]
    [BothDatabases("  a")]
    [BothDatabases("a ")]
    [BothDatabases("a/b")]
    [BothDatabases("a:b")]
    [BothDatabases("a.b")]
    [BothDatabases("a-b")]
    [BothDatabases("a_b")]
    [BothDatabases("-")]
    [BothDatabases("_")]
    [BothDatabases("é")]
    [BothDatabases("漢")]
    [BothDatabases("①")]
    [BothDatabases("𝒜")]
    [BothDatabases("a.")]
    [BothDatabases(".a")]
    [BothDatabases("a..b")]
    [BothDatabases("0")]
    [BothDatabases("NaN")]
    [BothDatabases("SELECT")]
    public async Task Key_ThatTheRuleAllows_IsKeptByEveryCall(DatabaseKind kind, string key)
    {
        var server = await TestServer.SharedAsync(kind);
        var single = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", new { run_id = single, key, value = 1.5, timestamp = 1 });
        await server.PostAsync("runs/log-parameter", new { run_id = single, key, value = "p" });
        await server.PostAsync("runs/set-tag", new { run_id = single, key, value = "t" });
        var batch = await server.CreateRunAsync();
        await server.PostAsync("runs/log-batch", Batch(batch, key));
        foreach (var id in new[] { single, batch })
        {
            var run = await server.GetRunAsync(id);
            Assert.Equal(new Point(1.5, 1, 0), run.Metrics()[key]);
            Assert.Equal("p", run.Params()[key]);
            Assert.Equal("t", run.Tags()[key]);
            Assert.Equal([new Point(1.5, 1, 0)], await server.HistoryAsync(id, key));
        }
    }

    [Theory]
    [BothDatabases("a\tb")]
    [BothDatabases("a\nb")]
    [BothDatabases("a\n")]
    [BothDatabases("\r")]
    [BothDatabases("a#")]
    [BothDatabases("a@b")]
    [BothDatabases("%")]
    [BothDatabases("it's")]
    [BothDatabases("a\"b")]
    [BothDatabases("a`b")]
    [BothDatabases("a\\b")]
    [BothDatabases("a,b")]
    [BothDatabases("(a")]
    [BothDatabases("a)")]
    [BothDatabases("a=b")]
    [BothDatabases("~")]
    [BothDatabases("bad$")]
    [BothDatabases("a?")]
    [BothDatabases("a+b")]
    [BothDatabases("😀")]
    [BothDatabases("a\u00a0b")]
    [BothDatabases("a\u0301")]
    [BothDatabases("\u093c")]
    [BothDatabases("\u203f")]
    [BothDatabases("\u200b")]
    public Task Key_WithAForbiddenCharacter_IsRefusedByEveryCall(DatabaseKind kind, string key) =>
        AssertRefusedAsync(kind, key, "names may only contain");

    [Theory]
    [BothDatabases("/a")]
    [BothDatabases("a/")]
    [BothDatabases("a//b")]
    [BothDatabases("./a")]
    [BothDatabases("a/./b")]
    [BothDatabases(".")]
    [BothDatabases("..")]
    [BothDatabases("a/..")]
    [BothDatabases("a/../b")]
    [BothDatabases("../b")]
    [BothDatabases("..a")]
    [BothDatabases("...")]
    [BothDatabases("/")]
    [BothDatabases("//")]
    public Task Key_ThatIsNoCleanPath_IsRefusedByEveryCall(DatabaseKind kind, string key) =>
        AssertRefusedAsync(kind, key, "must not resolve to other names");

    [Theory, BothDatabases]
    public async Task Key_MissingNullOrEmpty_IsAskedFor(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var key in new[] { "", "\"key\": null,", "\"key\": \"\"," })
        {
            var run = $$"""{ {{key}} "run_id": "{{id}}", "value": """;
            await server.PostInvalidAsync("runs/log-metric", run + "1, \"timestamp\": 1}", "Missing value for required parameter 'key'");
            await server.PostInvalidAsync("runs/log-parameter", run + "\"v\"}", "Missing value for required parameter 'key'");
            await server.PostInvalidAsync("runs/set-tag", run + "\"v\"}", "Missing value for required parameter 'key'");
            foreach (var list in new[] { "metrics", "params", "tags" })
            {
                var value = list == "metrics" ? "1, \"timestamp\": 1" : "\"v\"";
                await server.PostInvalidAsync(
                    "runs/log-batch", $$"""{"run_id": "{{id}}", "{{list}}": [{ {{key}} "value": {{value}} }]}""", $"'{list}[0].");
            }
        }

        await server.AssertEmptyAsync(id);
    }

    [Theory]
    [BothDatabases("k")]
    [BothDatabases("é")]
    [BothDatabases("𝒜")]
    public async Task Key_Of250CodePoints_IsTheLongest(DatabaseKind kind, string character)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var key = string.Concat(Enumerable.Repeat(character, 250));
        await server.PostAsync("runs/log-batch", Batch(id, key));
        var run = await server.GetRunAsync(id);
        Assert.True(run.Metrics().ContainsKey(key) && run.Params().ContainsKey(key) && run.Tags().ContainsKey(key));

        key += character;
        await server.PostInvalidAsync("runs/log-metric", new { run_id = id, key, value = 1, timestamp = 1 }, "'Metric name' exceeds", "250");
        await server.PostInvalidAsync("runs/log-parameter", new { run_id = id, key, value = "1" }, "'Param key' exceeds", "250");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key, value = "1" }, "'key' exceeds", "250");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, metrics = Metrics(key) }, "'metrics[0].name' exceeds");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, @params = KeyValues(key) }, "'params[0].key' exceeds");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, tags = KeyValues(key) }, "'tags[0].key' exceeds");
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync("runs/create", new { experiment_id = experiment, tags = KeyValues(key) }, "key", "exceeds");
        Assert.False((await server.GetRunAsync(id)).Tags().ContainsKey(key));
        Assert.Empty(await server.SearchNamesAsync(experiment));
    }

    [Theory]
    [BothDatabases("v")]
    [BothDatabases("😀")]
    public async Task Values_TooLong_AreCutAtTheirLimit(DatabaseKind kind, string character)
    {
        var server = await TestServer.SharedAsync(kind);
        var created = await server.CreateRunAsync(fields: new { tags = KeyValues("created", Text(8001)) });
        await server.PostAsync("runs/log-parameter", new { run_id = created, key = "fits", value = Text(6000) });
        await server.PostAsync("runs/log-parameter", new { run_id = created, key = "cut", value = Text(6001) });
        await server.PostAsync("runs/set-tag", new { run_id = created, key = "fits", value = Text(8000) });
        await server.PostAsync("runs/set-tag", new { run_id = created, key = "cut", value = Text(8001) });
        await server.PostAsync("runs/log-batch", new { run_id = created, @params = KeyValues("batch", Text(6500)), tags = KeyValues("batch", Text(9000)) });
        var run = await server.GetRunAsync(created);
        foreach (var key in new[] { "fits", "cut", "batch" })
        {
            Assert.Equal(Text(6000), run.Params()[key]);
            Assert.Equal(Text(8000), run.Tags()[key]);
        }

        Assert.Equal(Text(8000), run.Tags()["created"]);
        // What was cut is compared as it was cut.
        await server.PostAsync("runs/log-parameter", new { run_id = created, key = "cut", value = Text(6002) });
        await server.PostInvalidAsync("runs/log-parameter", new { run_id = created, key = "cut", value = Text(5999) }, "Changing param values is not allowed");

        string Text(int length) => string.Concat(Enumerable.Repeat(character, length));
    }

    [Theory, BothDatabases]
    public async Task Values_TooLongWhereCuttingIsSwitchedOff_AreRefused(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { TruncateLongValues = false });
        var id = await server.CreateRunAsync();
        const string Exceeds = "exceeds the maximum length";
        await server.PostInvalidAsync("runs/log-parameter", new { run_id = id, key = "k", value = new string('v', 6001) }, Exceeds, "6000");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key = "k", value = new string('v', 8001) }, Exceeds, "8000");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, @params = KeyValues("k", new string('v', 6001)) }, Exceeds, "params[0].value");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, tags = KeyValues("k", new string('v', 8001)) }, Exceeds, "tags[0].value");
        await server.PostInvalidAsync("runs/create", new { experiment_id = "0", tags = KeyValues("k", new string('v', 8001)) }, Exceeds, "tags[0].value");
        await server.AssertEmptyAsync(id);
        await server.PostAsync("runs/log-batch", new { run_id = id, @params = KeyValues("k", new string('v', 6000)), tags = KeyValues("k", new string('v', 8000)) });
        Assert.Equal(8000, (await server.GetRunAsync(id)).Tags()["k"].Length);
    }

    [Theory]
    [BothDatabases("n")]
    [BothDatabases("😀")]
    public async Task NamesAndUsers_TooLong_AreRefusedNamingTheField(DatabaseKind kind, string character)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment, new { run_name = Text(250), user_id = Text(256) });
        Assert.Equal(Text(250), (string)(await server.GetRunAsync(run))["info"]!["run_name"]!);
        Assert.Equal(Text(256), (string)(await server.GetRunAsync(run))["info"]!["user_id"]!);

        await server.PostInvalidAsync("runs/create", new { experiment_id = experiment, run_name = Text(251) }, "run_name", "250");
        await server.PostInvalidAsync("runs/create", new { experiment_id = experiment, tags = KeyValues("mlflow.runName", Text(251)) }, "run_name", "250");
        await server.PostInvalidAsync("runs/create", new { experiment_id = experiment, user_id = Text(257) }, "user_id", "256");
        await server.PostInvalidAsync("runs/update", new { run_id = run, run_name = Text(251), status = "FAILED" }, "run_name", "250");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = run, key = "mlflow.runName", value = Text(251) }, "run_name", "250");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = run, tags = KeyValues("mlflow.runName", Text(251)), metrics = Metrics("m") }, "run_name", "250");
        var after = await server.GetRunAsync(run);
        Assert.Equal("RUNNING", (string)after["info"]!["status"]!);
        Assert.Equal(Text(250), after.Tags()["mlflow.runName"]);
        Assert.Empty(after.Metrics());
        Assert.Single(await server.SearchNamesAsync(experiment));

        string Text(int length) => string.Concat(Enumerable.Repeat(character, length));
    }

    private static async Task AssertRefusedAsync(DatabaseKind kind, string key, string reason)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync(
            "runs/log-metric", new { run_id = id, key, value = 1, timestamp = 1 }, $"Invalid value \"{key}\" for parameter 'name' supplied", reason);
        await server.PostInvalidAsync(
            "runs/log-parameter", new { run_id = id, key, value = "1" }, $"Invalid value \"{key}\" for parameter 'key' supplied", reason);
        await server.PostInvalidAsync(
            "runs/set-tag", new { run_id = id, key, value = "1" }, $"Invalid value \"{key}\" for parameter 'key' supplied", reason);
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, metrics = Metrics("good", key) }, $"\"{key}\" for parameter 'metrics[1].name' supplied");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, @params = KeyValues(key) }, $"\"{key}\" for parameter 'params[0].key' supplied");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = id, tags = KeyValues(key) }, $"\"{key}\" for parameter 'tags[0].key' supplied");
        await server.AssertEmptyAsync(id);
    }

    private static object Batch(string run, string key) =>
        new { run_id = run, metrics = new[] { new { key, value = 1.5, timestamp = 1 } }, @params = KeyValues(key, "p"), tags = KeyValues(key, "t") };

    private static object[] Metrics(params string[] keys) => [.. keys.Select(key => new { key, value = 1, timestamp = 1 })];

    private static object[] KeyValues(string key, string value = "v") => [new { key, value }];
}
