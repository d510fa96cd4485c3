using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>Creating, reading, changing, deleting and restoring runs (contract: endpoints §2, semantics §5).</summary>
public sealed class RunLifecycleTests
{
    [Theory, BothDatabases]
    public async Task Create_WithNothingButAnExperiment_AnswersAnEmptyRunningRun(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateWholeRunAsync(experiment);

        var info = run["info"]!.AsObject();
        var id = (string)info["run_id"]!;
        Assert.Matches("^[0-9a-f]{32}$", id);
        Assert.Equal(
            ["artifact_uri", "experiment_id", "lifecycle_stage", "run_id", "run_name", "run_uuid", "start_time", "status", "user_id"],
            info.Select(field => field.Key).Order(StringComparer.Ordinal));
        Assert.Equal(id, (string)info["run_uuid"]!);
        Assert.Equal(experiment, (string)info["experiment_id"]!);
        Assert.Equal("", (string)info["user_id"]!);
        Assert.Equal("RUNNING", (string)info["status"]!);
        Assert.Equal("active", (string)info["lifecycle_stage"]!);
        Assert.Equal("0", info["start_time"]!.ToJsonString());
        Assert.Equal($"mlflow-artifacts:/{experiment}/{id}/artifacts", (string)info["artifact_uri"]!);
        Assert.Equal("{}", run["inputs"]!.ToJsonString());
        Assert.False(run.ContainsKey("outputs"));
        Assert.Equal(["tags"], run["data"]!.AsObject().Select(field => field.Key));

        var stored = await server.GetRunAsync(id);
        Assert.Equal("{}", stored["outputs"]!.ToJsonString());
        stored.Remove("outputs");
        Assert.True(JsonNode.DeepEquals(run, stored), $"{run} is not {stored}");
    }

    [Theory, BothDatabases]
    public async Task Create_WithEverything_KeepsItAsSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new
        {
            run_name = "a name with é and 😀",
            user_id = "u'ser\"\\%",
            start_time = 1_700_000_000_123,
            tags = new[] { new { key = "mlflow.user", value = "somebody else" }, new { key = "empty", value = "" } },
        });

        var run = await server.GetRunAsync(id);
        Assert.Equal("a name with é and 😀", (string)run["info"]!["run_name"]!);
        Assert.Equal("u'ser\"\\%", (string)run["info"]!["user_id"]!);
        Assert.Equal(1_700_000_000_123, (long)run["info"]!["start_time"]!);
        Assert.Equal(
            new Dictionary<string, string> { ["mlflow.user"] = "somebody else", ["empty"] = "", ["mlflow.runName"] = "a name with é and 😀" },
            run.Tags());
    }

    [Theory, BothDatabases]
    public async Task Create_UnderBothPrefixes_IsTheSameCall(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        foreach (var prefix in new[] { "/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/" })
        {
            var run = (await server.PostAsync(prefix + "runs/create", new { experiment_id = experiment, run_name = prefix }))["run"]!;
            var id = (string)run["info"]!["run_id"]!;
            var read = (await server.GetAsync($"{prefix}runs/get?run_id={id}"))["run"]!;
            Assert.Equal(prefix, (string)read["info"]!["run_name"]!);
        }

        Assert.Equal(2, (await server.SearchNamesAsync(experiment)).Count);
    }

    [Theory, BothDatabases]
    public async Task Create_InAnExperimentThatCannotTakeIt_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("runs/create", new { run_name = "x" }, "experiment_id");
        await server.PostInvalidAsync("runs/create", new { experiment_id = "" }, "experiment_id");
        await server.PostInvalidAsync("runs/create", """{"experiment_id": null}""", "experiment_id");
        await server.PostNotFoundAsync("runs/create", new { experiment_id = "987654321" }, "987654321");
        await server.PostNotFoundAsync("runs/create", new { experiment_id = "99999999999999999999" }, "99999999999999999999");
        await server.PostNotFoundAsync("runs/create", new { experiment_id = "abc" }, "abc");

        var experiment = await server.CreateExperimentAsync();
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostInvalidAsync("runs/create", new { experiment_id = experiment }, experiment, "active");
        var all = await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, run_view_type = "ALL" });
        Assert.Empty(RunCalls.Ids(all));
    }

    [Theory, BothDatabases]
    public async Task Create_WithATagTwice_IsRefusedAndNothingIsMade(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostRefusedAsync(
            "runs/create",
            new { experiment_id = experiment, tags = new[] { new { key = "k", value = "1" }, new { key = "k", value = "1" } } },
            HttpStatusCode.BadRequest,
            "BAD_REQUEST",
            "k");
        Assert.Empty(await server.SearchNamesAsync(experiment));
    }

    [Theory, BothDatabases]
    public async Task Name_WhenNoneIsGiven_IsMadeUpAndRepeatedInTheTag(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        for (var i = 0; i < 20; i++)
        {
            var run = await server.CreateWholeRunAsync(experiment, i % 2 == 0 ? null : new { run_name = "" });
            var name = (string)run["info"]!["run_name"]!;
            Assert.Matches("^[a-z]+-[a-z]+-(0|[1-9][0-9]{0,3})$", name);
            Assert.InRange(int.Parse(name.Split('-')[2], System.Globalization.CultureInfo.InvariantCulture), 0, 1000);
            Assert.InRange(name.Length, 5, 20);
            Assert.Equal(name, run.Tags()["mlflow.runName"]);
        }
    }

    [Theory]
    [BothDatabases("n", null, "n")]
    [BothDatabases("n", "n", "n")]
    [BothDatabases("n", "", "n")]
    [BothDatabases(null, "t", "t")]
    [BothDatabases("", "t", "t")]
    public async Task Name_FromFieldOrTag_IsKeptInBoth(DatabaseKind kind, string? field, string? tag, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = tag is null ? null : new[] { new { key = "mlflow.runName", value = tag } };
        var run = await server.GetRunAsync(await server.CreateRunAsync(fields: new { run_name = field, tags }));
        Assert.Equal(expected, (string)run["info"]!["run_name"]!);
        Assert.Equal(expected, run.Tags()["mlflow.runName"]);
    }

    [Theory, BothDatabases]
    public async Task Name_DifferentInFieldAndTag_IsRefusedShowingBoth(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync(
            "runs/create",
            new { experiment_id = experiment, run_name = "the field", tags = new[] { new { key = "mlflow.runName", value = "the tag" } } },
            "the field",
            "the tag");
        Assert.Empty(await server.SearchNamesAsync(experiment));
    }

    [Theory, BothDatabases]
    public async Task Name_ChangedByUpdateOrTag_ChangesInBothPlaces(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "first" });

        var info = (await server.PostAsync("runs/update", new { run_id = id, run_name = "second" }))["run_info"]!;
        Assert.Equal("second", (string)info["run_name"]!);
        await AssertNameAsync("second", "second");

        await server.PostAsync("runs/update", new { run_id = id, run_name = "" });
        await AssertNameAsync("second", "second");

        await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.runName", value = "third" });
        await AssertNameAsync("third", "third");

        await server.PostAsync("runs/log-batch", new { run_id = id, tags = new[] { new { key = "mlflow.runName", value = "fourth" } } });
        await AssertNameAsync("fourth", "fourth");

        // An empty name changes nothing: neither the name nor the tag that repeats it.
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.runName", value = "" });
        await AssertNameAsync("fourth", "fourth");
        await server.PostAsync("runs/log-batch", new
        {
            run_id = id,
            tags = new[] { new { key = "mlflow.runName", value = "fifth" }, new { key = "mlflow.runName", value = "" }, new { key = "x", value = "y" } },
        });
        await AssertNameAsync("fifth", "fifth");
        Assert.Equal("y", (await server.GetRunAsync(id)).Tags()["x"]);

        await server.PostAsync("runs/delete-tag", new { run_id = id, key = "mlflow.runName" });
        await AssertNameAsync("fifth", null);

        async Task AssertNameAsync(string name, string? tag)
        {
            var run = await server.GetRunAsync(id);
            Assert.Equal(name, (string)run["info"]!["run_name"]!);
            Assert.Equal(tag, run.Tags().GetValueOrDefault("mlflow.runName"));
        }
    }

    [Theory]
    [BothDatabases(0L)]
    [BothDatabases(1L)]
    [BothDatabases(-1L)]
    [BothDatabases(-62_135_596_799_999L)]
    [BothDatabases(-62_135_596_800_001L)]
    [BothDatabases(253_402_300_799_999L)]
    [BothDatabases(253_402_300_800_000L)]
    [BothDatabases(1_700_000_000_123_456_789L)]
    [BothDatabases(long.MaxValue)]
    [BothDatabases(long.MinValue)]
    public async Task Times_OfAnyInt64_ComeBackAsSent(DatabaseKind kind, long time)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var created = await server.CreateWholeRunAsync(experiment, new { start_time = time });
        Assert.Equal(time, (long)created["info"]!["start_time"]!);
        var id = (string)created["info"]!["run_id"]!;
        var updated = (await server.PostAsync("runs/update", new { run_id = id, end_time = time }))["run_info"]!;

        var found = (await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment } }))["runs"]![0]!["info"]!;
        foreach (var info in new[] { (await server.GetRunAsync(id))["info"]!, updated, found })
        {
            Assert.Equal(time, (long)info["start_time"]!);
            // An end of 0 is no end.
            Assert.Equal(time == 0 ? null : time, (long?)info["end_time"]);
        }
    }

    [Theory, BothDatabases]
    public async Task Update_OfStatusAndEnd_ChangesOnlyWhatIsSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "kept", user_id = "kept too", start_time = 5 });
        string[] statuses = ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];
        foreach (var from in statuses)
        {
            foreach (var to in statuses)
            {
                await UpdateAsync(new { run_id = id, status = from }, from, null);
                await UpdateAsync(new { run_id = id, status = to }, to, null);
            }
        }

        await UpdateAsync(new { run_id = id, end_time = 99 }, "KILLED", 99);
        await UpdateAsync(new { run_id = id, status = "RUNNING" }, "RUNNING", 99);
        await UpdateAsync(new { run_id = id }, "RUNNING", 99);
        await UpdateAsync(new { run_id = id, end_time = -7 }, "RUNNING", -7);
        await UpdateAsync(new { run_uuid = id, status = 3, end_time = "8" }, "FINISHED", 8);
        await UpdateAsync(new { run_id = id, end_time = 0 }, "FINISHED", null);

        async Task UpdateAsync(object message, string status, long? end)
        {
            var answer = (await server.PostAsync("runs/update", message))["run_info"]!;
            foreach (var info in new[] { answer, (await server.GetRunAsync(id))["info"]! })
            {
                Assert.Equal(status, (string)info["status"]!);
                Assert.Equal(end, (long?)info["end_time"]);
                Assert.Equal("kept", (string)info["run_name"]!);
                Assert.Equal("kept too", (string)info["user_id"]!);
                Assert.Equal(5, (long)info["start_time"]!);
            }
        }
    }

    [Theory]
    [BothDatabases("\"DONE\"")]
    [BothDatabases("\"finished\"")]
    [BothDatabases("0")]
    [BothDatabases("6")]
    [BothDatabases("\"6\"")]
    [BothDatabases("true")]
    [BothDatabases("[]")]
    public async Task Update_ToAnUnknownStatus_IsRefusedAndChangesNothing(DatabaseKind kind, string status)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "before" });
        await server.PostInvalidAsync("runs/update", $$"""{"run_id": "{{id}}", "status": {{status}}, "run_name": "after", "end_time": 5}""", "status");
        var info = (await server.GetRunAsync(id))["info"]!;
        Assert.Equal("RUNNING", (string)info["status"]!);
        Assert.Equal("before", (string)info["run_name"]!);
        Assert.Null(info["end_time"]);
    }

    [Theory]
    [BothDatabases("s3://bucket/path", "s3://bucket/path/{0}/artifacts")]
    [BothDatabases("s3://bucket/path/", "s3://bucket/path/{0}/artifacts")]
    [BothDatabases("s3://b/p?x=1", "s3://b/p/{0}/artifacts?x=1")]
    [BothDatabases("s3://b/p/?x=1&y=2?", "s3://b/p/{0}/artifacts?x=1&y=2?")]
    public async Task ArtifactUri_OfARun_LiesUnderItsExperiment(DatabaseKind kind, string location, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = (string)(await server.PostAsync(
            "experiments/create", new { name = TestServer.FreshName("located"), artifact_location = location }))["experiment_id"]!;
        var id = await server.CreateRunAsync(experiment);
        Assert.Equal(
            expected.Replace("{0}", id, StringComparison.Ordinal), (string)(await server.GetRunAsync(id))["info"]!["artifact_uri"]!);
    }

    [Theory, BothDatabases]
    public async Task DeletedRun_CanBeReadAndNotBeWritten(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m", value = 1.5, timestamp = 1 });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = "v" });
        await server.PostAsync("runs/delete", new { run_id = id });
        await server.PostAsync("runs/delete", new { run_id = id });
        var before = await server.GetRunAsync(id);
        Assert.Equal("deleted", (string)before["info"]!["lifecycle_stage"]!);

        (string Route, object Message)[] writes =
        [
            ("runs/update", new { run_id = id, status = "FINISHED", run_name = "new", end_time = 5 }),
            ("runs/log-metric", new { run_id = id, key = "m", value = 2, timestamp = 2 }),
            ("runs/log-parameter", new { run_id = id, key = "p", value = "v" }),
            ("runs/log-batch", new { run_id = id }),
            ("runs/log-batch", new { run_id = id, tags = new[] { new { key = "t", value = "w" } } }),
            ("runs/set-tag", new { run_id = id, key = "t", value = "w" }),
            ("runs/delete-tag", new { run_id = id, key = "t" }),
            ("runs/log-inputs", new { run_id = id, models = new[] { new { model_id = "m-1" } } }),
            ("runs/outputs", new { run_id = id, models = new[] { new { model_id = "m-1", step = 1 } } }),
            ("runs/log-model", new { run_id = id, model_json = """{"run_id": "x", "artifact_path": "m", "flavors": {}, "utc_time_created": "t"}""" }),
        ];
        foreach (var (route, message) in writes)
            await server.PostInvalidAsync(route, message, $"The run {id} must be in", "active");

        Assert.True(JsonNode.DeepEquals(before, await server.GetRunAsync(id)));
        Assert.Equal([new Point(1.5, 1, 0)], await server.HistoryAsync(id, "m"));
        Assert.Empty(await SearchAsync("ACTIVE_ONLY"));
        Assert.Equal([id], await SearchAsync("DELETED_ONLY"));
        Assert.Equal([id], await SearchAsync("ALL"));

        await server.PostAsync("runs/restore", new { run_id = id });
        await server.PostAsync("runs/restore", new { run_id = id });
        Assert.Equal([id], await SearchAsync("ACTIVE_ONLY"));
        Assert.Empty(await SearchAsync("DELETED_ONLY"));
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = "w" });
        Assert.Equal("w", (await server.GetRunAsync(id)).Tags()["t"]);

        async Task<List<string>> SearchAsync(string view) =>
            RunCalls.Ids(await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, run_view_type = view }));
    }

    [Theory, BothDatabases]
    public async Task RestoredRun_OfADeletedExperiment_CanBeWritten(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key = "t", value = "v" }, "active");

        await server.PostAsync("runs/restore", new { run_id = id });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = "v" });
        Assert.Equal("v", (await server.GetRunAsync(id)).Tags()["t"]);
    }

    [Theory]
    [BothDatabases("x")]
    [BothDatabases("00000000000000000000000000000000")]
    [BothDatabases("0000000000000000000000000000000")]
    [BothDatabases("00000000-0000-0000-0000-000000000000")]
    [BothDatabases("0 OR 1=1")]
    [BothDatabases("é😀%_'\"\\")]
    public async Task UnknownRun_InEveryCall_IsNamed(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            $"runs/get?run_id={Uri.EscapeDataString(id)}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Run", id, "not found");
        (string Route, object Message)[] calls =
        [
            ("runs/update", new { run_id = id, status = "FINISHED" }),
            ("runs/update", new { run_uuid = id, status = "FINISHED" }),
            ("runs/delete", new { run_id = id }),
            ("runs/restore", new { run_id = id }),
            ("runs/log-metric", new { run_id = id, key = "m", value = 2, timestamp = 2 }),
            ("runs/log-parameter", new { run_id = id, key = "p", value = "v" }),
            ("runs/set-tag", new { run_id = id, key = "t", value = "w" }),
            ("runs/delete-tag", new { run_id = id, key = "t" }),
            ("runs/outputs", new { run_id = id, models = Array.Empty<object>() }),
            ("runs/log-model", new { run_id = id, model_json = """{"run_id": "x", "artifact_path": "m", "flavors": {}, "utc_time_created": "t"}""" }),
        ];
        foreach (var (route, message) in calls)
            await server.PostNotFoundAsync(route, message, "Run", id, "not found");

        // These two look at the form of the id first.
        var wellFormed = id.All(character => char.IsAsciiLetterOrDigit(character) || character == '-');
        foreach (var route in new[] { "runs/log-batch", "runs/log-inputs" })
        {
            if (wellFormed)
                await server.PostNotFoundAsync(route, new { run_id = id }, "Run", id, "not found");
            else
                await server.PostInvalidAsync(route, new { run_id = id }, $"Invalid value \"{id}\" for parameter 'run_id' supplied");
        }
    }

    [Theory, BothDatabases]
    public async Task RunId_InCapitals_IsAnotherId(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        while (!id.Any(char.IsAsciiLetter))
            id = await server.CreateRunAsync();
        await server.PostNotFoundAsync("runs/delete", new { run_id = id.ToUpperInvariant() }, "not found");
    }

    [Theory, BothDatabases]
    public async Task RunUuid_IsTakenWhereOldClientsSendIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/update", new { run_uuid = id, status = "FAILED" });
        await server.PostAsync("runs/log-metric", new { run_uuid = id, run_id = "", key = "m", value = 2, timestamp = 2 });
        await server.PostAsync("runs/log-parameter", new { run_uuid = id, run_id = id, key = "p", value = "v" });
        await server.PostAsync("runs/set-tag", new { run_uuid = id, key = "t", value = "w" });
        var run = (await server.GetAsync($"runs/get?run_uuid={id}"))["run"]!.AsObject();
        Assert.Equal("FAILED", (string)run["info"]!["status"]!);
        Assert.Equal(new Point(2, 2, 0), run.Metrics()["m"]);
        Assert.Equal("v", run.Params()["p"]);
        Assert.Equal("w", run.Tags()["t"]);
        Assert.Equal([new Point(2, 2, 0)], RunCalls.Points(await server.GetAsync($"metrics/get-history?run_uuid={id}&metric_key=m")));

        await server.PostInvalidAsync("runs/delete", new { run_uuid = id }, "run_id");
        await server.PostInvalidAsync("runs/restore", new { run_uuid = id }, "run_id");
        Assert.Equal("active", (string)(await server.GetRunAsync(id))["info"]!["lifecycle_stage"]!);
    }

    [Theory]
    [BothDatabases("runs/update")]
    [BothDatabases("runs/delete")]
    [BothDatabases("runs/restore")]
    [BothDatabases("runs/log-metric")]
    [BothDatabases("runs/log-parameter")]
    [BothDatabases("runs/log-batch")]
    [BothDatabases("runs/set-tag")]
    [BothDatabases("runs/delete-tag")]
    [BothDatabases("runs/log-inputs")]
    [BothDatabases("runs/outputs")]
    [BothDatabases("runs/log-model")]
    public async Task RunId_MissingNullOrEmpty_IsAskedFor(DatabaseKind kind, string route)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var body in new[] { "{}", """{"run_id": null}""", """{"run_id": ""}""", """{"run_id": "", "run_uuid": ""}""", "null", "" })
            await server.PostInvalidAsync(route, body, "Missing value for required parameter 'run_id'");
        await server.PostInvalidAsync(route, """{"run_id": 5}""", "run_id", "5");
        await server.PostInvalidAsync(route, """{"run_id": ["5"]}""", "run_id");
    }

    [Theory, BothDatabases]
    public async Task Experiment_DeletedAndRestored_TakesAllItsRunsAlong(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var other = await server.CreateExperimentAsync();
        var (deletedBefore, active, elsewhere) =
            (await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment), await server.CreateRunAsync(other));
        await server.PostAsync("runs/delete", new { run_id = deletedBefore });

        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        Assert.Equal(["deleted", "deleted", "active"], await StagesAsync());
        await server.PostAsync("experiments/restore", new { experiment_id = experiment });
        Assert.Equal(["active", "active", "active"], await StagesAsync());

        async Task<List<string>> StagesAsync()
        {
            var stages = new List<string>();
            foreach (var id in new[] { deletedBefore, active, elsewhere })
                stages.Add((string)(await server.GetRunAsync(id))["info"]!["lifecycle_stage"]!);
            return stages;
        }
    }
}
