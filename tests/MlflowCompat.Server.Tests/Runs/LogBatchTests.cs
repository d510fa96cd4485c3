using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>log-batch and log-parameter: limits, the order of checks, all or nothing, params that never change (contract: semantics §6).</summary>
public sealed class LogBatchTests
{
    [Theory, BothDatabases]
    public async Task Batch_OfEverything_IsKept(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "n" });
        await server.PostAsync("runs/log-batch", new
        {
            run_id = id,
            metrics = new object[]
            {
                new { key = "a", value = 1, timestamp = 10, step = 1 },
                new { key = "a", value = 2, timestamp = 20, step = 2 },
                new { key = "b", value = "NaN", timestamp = "30" },
                new { key = "a", value = 1, timestamp = 10, step = 1 },
            },
            @params = new object[] { new { key = "p", value = "v" }, new { key = "no value" }, new { key = "null", value = (string?)null } },
            tags = new object[] { new { key = "t", value = "1" }, new { key = "t", value = "2" }, new { key = "no value" } },
        });
        var run = await server.GetRunAsync(id);
        Assert.Equal(new Dictionary<string, Point> { ["a"] = new(2, 20, 2), ["b"] = new(double.NaN, 30, 0) }, run.Metrics());
        Assert.Equal(new Dictionary<string, string> { ["p"] = "v", ["no value"] = "", ["null"] = "" }, run.Params());
        Assert.Equal(new Dictionary<string, string> { ["t"] = "2", ["no value"] = "", ["mlflow.runName"] = "n" }, run.Tags());
        Assert.Equal([new Point(1, 10, 1), new Point(2, 20, 2)], await server.HistoryAsync(id, "a"));
    }

    [Theory, BothDatabases]
    public async Task Batch_OfNothing_StillLooksAtTheRun(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var rest in new[] { "", """, "metrics": [], "params": [], "tags": []""", """, "metrics": null, "params": null, "tags": null""" })
        {
            var answer = await server.SendAsync(HttpMethod.Post, "runs/log-batch", TestServer.JsonText($$"""{"run_id": "{{id}}"{{rest}}}"""));
            Assert.Equal("{}", await answer.Content.ReadAsStringAsync());
            await server.PostNotFoundAsync("runs/log-batch", System.Text.Json.Nodes.JsonNode.Parse($$"""{"run_id": "0123456789abcdef0123456789abcdef"{{rest}}}""")!, "not found");
        }

        await server.AssertEmptyAsync(id);
    }

    [Theory]
    [BothDatabases(1000, 0, 0)]
    [BothDatabases(0, 100, 100)]
    [BothDatabases(800, 100, 100)]
    public async Task Batch_AtItsLimits_IsKept(DatabaseKind kind, int metrics, int parameters, int tags)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-batch", Batch(id, metrics, parameters, tags));
        var run = await server.GetRunAsync(id);
        Assert.Equal((metrics, parameters, tags + 1), (run.Metrics().Count, run.Params().Count, run.Tags().Count));
    }

    [Theory]
    [BothDatabases(1001, 0, 0, "1000", "1001", "metrics")]
    [BothDatabases(0, 101, 0, "100", "101", "params")]
    [BothDatabases(0, 0, 101, "100", "101", "tags")]
    [BothDatabases(801, 100, 100, "1000", "1001", "metrics, params and tags")]
    [BothDatabases(0, 0, 10_000, "100", "10000", "tags")]
    public async Task Batch_BeyondItsLimits_IsRefusedWithTheNumbers(DatabaseKind kind, int metrics, int parameters, int tags, params string[] named)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-batch", Batch(id, metrics, parameters, tags), named);
        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task Checks_OfABatch_ComeInTheirOrder(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var deleted = await server.CreateRunAsync();
        await server.PostAsync("runs/log-parameter", new { run_id = deleted, key = "p", value = "old" });
        await server.PostAsync("runs/delete", new { run_id = deleted });

        object[] badMetric = [new { key = "bad$", value = 1, timestamp = 1 }];
        object[] tooMany = [.. Enumerable.Repeat(new { key = "p", value = "new" }, 101)];
        object[] badTag = [new { key = "bad$", value = "v" }];
        object[] twice = [new { key = "p", value = "new" }, new { key = "p", value = "new" }];
        foreach (var run in new[] { "a b", "-abc", "a\n", new string('a', 257) })
            await server.PostInvalidAsync("runs/log-batch", new { run_id = run, metrics = badMetric }, "for parameter 'run_id' supplied");
        foreach (var run in new[] { "unknown", "0123456789abcdef0123456789abcdef", deleted })
        {
            await server.PostInvalidAsync("runs/log-batch", new { run_id = run, metrics = badMetric, @params = tooMany, tags = badTag }, "metrics[0].name");
            await server.PostInvalidAsync("runs/log-batch", new { run_id = run, @params = tooMany, tags = badTag }, "tags[0].key");
            await server.PostInvalidAsync("runs/log-batch", new { run_id = run, @params = tooMany }, "101");
            await server.PostInvalidAsync("runs/log-batch", new { run_id = run, @params = twice }, "Duplicate parameter keys");
        }

        await server.PostNotFoundAsync("runs/log-batch", new { run_id = "unknown", @params = new[] { new { key = "p", value = "new" } } }, "Run", "unknown");
        await server.PostInvalidAsync("runs/log-batch", new { run_id = deleted, @params = new[] { new { key = "p", value = "new" } } }, "active");
    }

    [Theory]
    [BothDatabases("""{"key": "m", "timestamp": 1}""", "Missing value for required parameter 'metrics[0].value'")]
    [BothDatabases("""{"key": "m", "value": null, "timestamp": 1}""", "metrics[0].value")]
    [BothDatabases("""{"key": "m", "value": 1}""", "metrics[0].timestamp")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": -1}""", "metrics[0].timestamp")]
    [BothDatabases("""{"key": "m", "value": "abc", "timestamp": 1}""", "metrics[0].value")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": 1, "step": 1.5}""", "metrics[0].step")]
    [BothDatabases("""{"key": 5, "value": 1, "timestamp": 1}""", "metrics[0].key")]
    [BothDatabases("5", "metrics[0]")]
    [BothDatabases("null", "metrics")]
    [BothDatabases("[]", "metrics[0]")]
    public async Task Metric_OfABatchWithABadField_IsRefusedNamingIt(DatabaseKind kind, string metric, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync(
            "runs/log-batch", $$"""{"run_id": "{{id}}", "params": [{"key": "p", "value": "v"}], "tags": [{"key": "t"}], "metrics": [{{metric}}]}""", named);
        await server.AssertEmptyAsync(id);
    }

    [Theory]
    [BothDatabases("metrics", "{}")]
    [BothDatabases("metrics", "\"x\"")]
    [BothDatabases("params", "{\"p\": \"v\"}")]
    [BothDatabases("params", "true")]
    [BothDatabases("params", "[{\"key\": \"p\", \"value\": 5}]")]
    [BothDatabases("params", "[{\"key\": \"p\", \"value\": \"a\\u0000b\"}]")]
    [BothDatabases("params", "[{\"key\": \"p\", \"value\": \"a\\ud800b\"}]")]
    [BothDatabases("tags", "5")]
    [BothDatabases("tags", "[[]]")]
    [BothDatabases("tags", "[{\"key\": \"t\", \"value\": {}}]")]
    [BothDatabases("tags", "[{\"key\": \"t\\u0000\", \"value\": \"v\"}]")]
    [BothDatabases("tags", "[{\"key\": \"t\", \"value\": \"\\udc00\"}]")]
    public async Task List_OfTheWrongType_IsRefusedNamingIt(DatabaseKind kind, string list, string value)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-batch", $$"""{"run_id": "{{id}}", "{{list}}": {{value}}}""", list);
        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task Params_GivenTwiceInOneBatch_AreRefusedEvenWhenEqual(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-batch", Params(id, ("a", "1"), ("b", "2"), ("a", "1"), ("c", "3"), ("c", "4")), "Duplicate parameter keys", "\"a\"", "\"c\"");
        await server.AssertEmptyAsync(id);
        await server.PostAsync("runs/log-batch", Params(id, ("a", "1"), ("A", "2"), ("a ", "3")));
        Assert.Equal(3, (await server.GetRunAsync(id)).Params().Count);
    }

    [Theory, BothDatabases]
    public async Task Param_LoggedAgain_MayOnlyRepeatItsValue(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var (number, value) in new[] { "", "0.1", "é😀", " 0.1", "0.10", "'\"\\;%" }.Index())
        {
            var key = $"p{number}";
            await server.PostAsync("runs/log-parameter", new { run_id = id, key, value });
            await server.PostAsync("runs/log-parameter", new { run_id = id, key, value });
            await server.PostAsync("runs/log-batch", Params(id, (key, value)));
            await server.PostInvalidAsync(
                "runs/log-parameter", new { run_id = id, key, value = value + "x" }, "Changing param values is not allowed", key, value, value + "x", id);
            Assert.Equal(value, (await server.GetRunAsync(id)).Params()[key]);
        }
    }

    [Theory, BothDatabases]
    public async Task Batch_ThatChangesParams_NamesAllOfThemAndWritesNothing(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "kept" });
        await server.PostAsync("runs/log-batch", Params(id, ("a", "1"), ("b", "2"), ("c", "3")));
        await server.PostInvalidAsync(
            "runs/log-batch",
            new
            {
                run_id = id,
                metrics = new[] { new { key = "m", value = 1, timestamp = 1 } },
                @params = new[] { new { key = "new", value = "n" }, new { key = "a", value = "changed a" }, new { key = "b", value = "2" }, new { key = "c", value = "changed c" } },
                tags = new[] { new { key = "t", value = "v" }, new { key = "mlflow.runName", value = "changed" } },
            },
            "Changing param values is not allowed", "\"a\"", "\"1\"", "changed a", "\"c\"", "\"3\"", "changed c", id);
        var run = await server.GetRunAsync(id);
        Assert.Equal(new Dictionary<string, string> { ["a"] = "1", ["b"] = "2", ["c"] = "3" }, run.Params());
        Assert.Equal(new Dictionary<string, string> { ["mlflow.runName"] = "kept" }, run.Tags());
        Assert.Equal("kept", (string)run["info"]!["run_name"]!);
        Assert.Empty(run.Metrics());
        Assert.Empty(await server.HistoryAsync(id, "m"));

        await server.PostAsync("runs/log-batch", Params(id, ("new", "n"), ("a", "1"), ("b", "2")));
        Assert.Equal("n", (await server.GetRunAsync(id)).Params()["new"]);
    }

    [Theory, BothDatabases]
    public async Task Batch_NamingAnUnknownModel_WritesNothing(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var model in new[] { "m-0123456789abcdef0123456789abcdef", "m-x", "x" })
        {
            await server.PostNotFoundAsync(
                "runs/log-batch",
                new
                {
                    run_id = id,
                    metrics = new object[] { new { key = "m", value = 1, timestamp = 1 }, new { key = "n", value = 1, timestamp = 1, model_id = model } },
                    @params = new[] { new { key = "p", value = "v" } },
                    tags = new[] { new { key = "t", value = "v" } },
                },
                model);
            await server.PostNotFoundAsync("runs/log-metric", new { run_id = id, key = "m", value = 1, timestamp = 1, model_id = model }, model);
        }

        await server.AssertEmptyAsync(id);
        Assert.Empty(await server.HistoryAsync(id, "m"));
    }

    private static object Params(string run, params (string Key, string Value)[] parameters) =>
        new { run_id = run, @params = parameters.Select(parameter => new { key = parameter.Key, value = parameter.Value }) };

    private static object Batch(string run, int metrics, int parameters, int tags) => new
    {
        run_id = run,
        metrics = Enumerable.Range(0, metrics).Select(i => new { key = $"m{i}", value = i, timestamp = i, step = i }),
        @params = Enumerable.Range(0, parameters).Select(i => new { key = $"p{i}", value = $"{i}" }),
        tags = Enumerable.Range(0, tags).Select(i => new { key = $"t{i}", value = $"{i}" }),
    };
}
