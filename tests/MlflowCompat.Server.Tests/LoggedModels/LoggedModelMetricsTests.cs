using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>Metrics of runs that are about a logged model (contract: endpoints §6, semantics §7; mapping C-23, C-24, C-32).</summary>
public sealed class LoggedModelMetricsTests
{
    [Theory, BothDatabases]
    public async Task Metrics_ShowOnTheRunAndOnTheModel(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        await server.PostAsync("runs/log-metric", new
        {
            run_id = run, key = "mae", value = 0.5, timestamp = 10, step = 1, model_id = model, dataset_name = "etth1", dataset_digest = "d1",
        });
        await server.PostAsync("runs/log-batch", new
        {
            run_id = run,
            metrics = new object[]
            {
                new { key = "mae", value = 0.25, timestamp = 20, step = 2, model_id = model },
                new { key = "rmse", value = "NaN", timestamp = 20, step = -1, model_id = model, dataset_name = "only a name" },
                new { key = "rmse", value = "-Infinity", timestamp = 21, model_id = model, dataset_digest = "only a digest" },
                new { key = "plain", value = 1, timestamp = 20 },
            },
        });

        var seen = await server.GetRunAsync(run);
        Assert.Equal(
            [("mae", 0.25, 2L), ("plain", 1, 0), ("rmse", double.MinValue, 0)],
            seen.Metrics().Select(metric => (metric.Key, metric.Value.Value, metric.Value.Step)).Order());
        Assert.All(seen["data"]!["metrics"]!.AsArray(), metric => Assert.Equal(4, metric!.AsObject().Count));
        Assert.Equal([new Point(0.5, 10, 1), new Point(0.25, 20, 2)], await server.HistoryAsync(run, "mae"));

        var expected = new[]
        {
            Metric("mae", 0.5, 10, 1, "etth1", "d1"),
            Metric("mae", 0.25, 20, 2, null, null),
            // The run says NaN, below; a model says 0, as MLflow's.
            Metric("rmse", JsonNode.Parse("0.0")!, 20, -1, "only a name", null),
            Metric("rmse", double.MinValue, 21, 0, null, "only a digest"),
        };
        Assert.Equal(expected, (await server.GetModelAsync(model)).ModelMetrics().Select(metric => metric.ToJsonString()));
        var found = Assert.Single((await server.PostAsync("logged-models/search", new { experiment_ids = new[] { (string)seen["info"]!["experiment_id"]! } }))["models"]!.AsArray());
        Assert.Equal(expected, found!.AsObject().ModelMetrics().Select(metric => metric.ToJsonString()));

        Assert.Equal("NaN", (string?)(await server.GetAsync($"metrics/get-history?run_id={run}&metric_key=rmse"))["metrics"]![0]!["value"]);

        string Metric(string key, JsonNode value, long timestamp, long step, string? dataset, string? digest)
        {
            var metric = new JsonObject { ["key"] = key, ["value"] = value, ["timestamp"] = timestamp, ["step"] = step };
            if (dataset is not null)
                metric["dataset_name"] = dataset;
            if (digest is not null)
                metric["dataset_digest"] = digest;
            metric["model_id"] = model;
            metric["run_id"] = run;
            return metric.ToJsonString();
        }
    }

    [Theory, BothDatabases]
    public async Task Point_SentAgain_IsThereOnce_AndAnotherValueIsRefused(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        object Point(object value, string? dataset = null, long timestamp = 5, long step = 1) =>
            new { key = "m", value, timestamp, step, model_id = model, dataset_name = dataset };
        object Batch(params object[] metrics) => new { run_id = run, metrics };

        for (var i = 0; i < 2; i++)
        {
            await server.PostAsync("runs/log-batch", Batch(Point(1, "d"), Point(1, "d"), Point("NaN", null, 6), Point("Infinity", null, 7), Point(0, null, 8)));
            Assert.Equal(4, (await server.GetModelAsync(model)).ModelMetrics().Count);
        }

        await server.PostAsync("runs/log-batch", Batch(Point(-0.0, null, 8)));
        foreach (var other in new[] { Point(2, "d"), Point("NaN", "d"), Point(1, "e"), Point(1), Point(0, null, 6), Point(1, null, 7) })
            await server.PostRefusedAsync("runs/log-batch", Batch(new { key = "beside", value = 1, timestamp = 1 }, other), HttpStatusCode.BadRequest, "BAD_REQUEST", "m", model);
        await server.PostRefusedAsync("runs/log-batch", Batch(Point(1, null, 9), Point(2, null, 9)), HttpStatusCode.BadRequest, "BAD_REQUEST", model);
        Assert.Equal(4, (await server.GetModelAsync(model)).ModelMetrics().Count);
        Assert.Equal(["m"], (await server.GetRunAsync(run)).Metrics().Keys);

        // Another run, step, time or model is another point.
        var experiment = (string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!;
        var (otherRun, otherModel) = (await server.CreateRunAsync(experiment), await server.CreateModelIdAsync(experiment));
        await server.PostAsync("runs/log-batch", new { run_id = otherRun, metrics = new[] { Point(2, "d") } });
        await server.PostAsync("runs/log-batch", Batch(Point(2, "d", step: 2), Point(2, "d", timestamp: 50)));
        await server.PostAsync("runs/log-metric", new { run_id = run, key = "m", value = 3, timestamp = 5, step = 1, model_id = otherModel });
        Assert.Equal(7, (await server.GetModelAsync(model)).ModelMetrics().Count);
        Assert.Equal(otherRun, (string?)(await server.GetModelAsync(model)).ModelMetrics()[4]["run_id"]);
        Assert.Single((await server.GetModelAsync(otherModel)).ModelMetrics());
    }

    [Theory, BothDatabases]
    public async Task Point_OfTwoModels_IsOnePointOfTheRun(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        var other = await server.CreateModelIdAsync((string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!);
        await server.PostAsync("runs/log-batch", new
        {
            run_id = run,
            metrics = new object[]
            {
                new { key = "m", value = 1, timestamp = 5, model_id = model }, new { key = "m", value = 1, timestamp = 5, model_id = other },
                new { key = "m", value = 1, timestamp = 5 },
            },
        });
        Assert.Equal([new Point(1, 5, 0)], await server.HistoryAsync(run, "m"));
        Assert.Single((await server.GetModelAsync(model)).ModelMetrics());
        Assert.Single((await server.GetModelAsync(other)).ModelMetrics());
    }

    [Theory, BothDatabases]
    public async Task Time_BeyondTheCalendar_IsKept(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        long[] times = [253_402_300_799_999, 253_402_300_800_000, long.MaxValue];
        foreach (var timestamp in times.Concat(times))
            await server.PostAsync("runs/log-metric", new { run_id = run, key = "m", value = timestamp % 10, timestamp, model_id = model });
        Assert.Equal(times, (await server.GetModelAsync(model)).ModelMetrics().Select(metric => (long)metric["timestamp"]!));
        await server.PostRefusedAsync(
            "runs/log-metric", new { run_id = run, key = "m", value = 0.5, timestamp = long.MaxValue, model_id = model }, HttpStatusCode.BadRequest, "BAD_REQUEST");
    }

    [Theory]
    [BothDatabases("mae", null, "evaluated")]
    [BothDatabases("val_mae", null, "evaluated")]
    [BothDatabases("test/mae", null, "evaluated")]
    [BothDatabases("train_mae", null, "trained")]
    [BothDatabases("mae", "training", "trained")]
    [BothDatabases("mae", "eval", "evaluated")]
    [BothDatabases("train_mae", "testing", "evaluated")]
    public async Task Metric_OfValidationOrTest_MakesATrainedModelEvaluated(DatabaseKind kind, string key, string? context, string expected)
    {
        var (server, run, model) = await CreateAsync(kind);
        if (context is not null)
        {
            await server.PostAsync("runs/log-inputs", new
            {
                run_id = run,
                datasets = new[]
                {
                    new
                    {
                        dataset = new { name = "d", digest = "1", source_type = "t", source = "s" },
                        tags = new[] { new { key = "mlflow.data.context", value = context } },
                    },
                },
            });
        }

        var point = new { run_id = run, key, value = 1, timestamp = 1, model_id = model, dataset_name = context is null ? null : "d", dataset_digest = context is null ? null : "1" };
        const string Status = "SELECT status FROM models WHERE model_uuid = $1";
        var finalized = await server.FinalizeAsync(model);
        Assert.Equal(["trained"], await server.ModelRowAsync(model, Status));
        await server.PostAsync("runs/log-metric", point);
        Assert.Equal([expected], await server.ModelRowAsync(model, Status));
        var measured = await server.GetModelAsync(model);
        Assert.Equal("LOGGED_MODEL_READY", measured.Status());
        Assert.Equal((long)finalized["info"]!["last_updated_timestamp_ms"]!, (long)measured["info"]!["last_updated_timestamp_ms"]!);

        // The other way round: measured while it was made, and ready afterwards.
        var early = await server.CreateModelIdAsync((string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!);
        await server.PostAsync("runs/log-batch", new
        {
            run_id = run,
            metrics = new[] { new { point.key, point.value, point.timestamp, model_id = early, point.dataset_name, point.dataset_digest } },
        });
        Assert.Equal(["training"], await server.ModelRowAsync(early, Status));
        await server.FinalizeAsync(early);
        Assert.Equal([expected], await server.ModelRowAsync(early, Status));
    }

    [Theory]
    [BothDatabases("failed")]
    [BothDatabases("deployed")]
    [BothDatabases("archived")]
    public async Task Metric_LeavesOtherStatusesAlone(DatabaseKind kind, string status)
    {
        var (server, run, model) = await CreateAsync(kind);
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement($"UPDATE models SET status = '{status}' WHERE model_uuid = $1").Add(Guid.ParseExact(model[2..], "N")), token),
            CancellationToken.None);
        await server.PostAsync("runs/log-metric", new { run_id = run, key = "test_mae", value = 1, timestamp = 1, model_id = model });
        Assert.Equal([status], await server.ModelRowAsync(model, "SELECT status FROM models WHERE model_uuid = $1"));
    }

    [Theory, BothDatabases]
    public async Task Performance_OfAModel_IsInItsView(DatabaseKind kind)
    {
        var (server, run, _) = await CreateAsync(kind);
        var model = await server.CreateModelIdAsync((string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!, new { name = "nhits", source_run_id = run });
        await server.FinalizeAsync(model);
        await server.PostAsync("runs/log-batch", new
        {
            run_id = run,
            metrics = new[] { new { key = "mae", value = 0.5, timestamp = 1, model_id = model }, new { key = "rmse", value = 0.75, timestamp = 1, model_id = model } },
        });
        if (kind == DatabaseKind.PostgreSql)
        {
            await server.Database.WriteAsync(
                (session, token) => session.ExecuteAsync(server.Database.Statement("REFRESH MATERIALIZED VIEW mv_model_performance"), token), CancellationToken.None);
        }

        Assert.Equal(
            ["nhits", 0.5, 0.75, null],
            await server.ModelRowAsync(model, """
                SELECT p.model_name, p.validation_mae, p.validation_rmse, p.test_mae
                FROM mv_model_performance p JOIN models m ON m.model_id = p.model_id WHERE m.model_uuid = $1
                """));
    }

    [Theory, BothDatabases]
    public async Task Points_OfManyRequestsAtOnce_AreAllThere_WhileTheModelIsFinalized(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        var experiment = (string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!;
        var runs = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => server.CreateRunAsync(experiment)));
        await Task.WhenAll(Enumerable.Range(0, 40).Select(async i =>
        {
            if (i % 10 == 5)
                await server.FinalizeAsync(model);
            else if (i % 2 == 0)
                await server.PostAsync("runs/log-metric", new { run_id = runs[i % 4], key = $"m{i}", value = i, timestamp = i, model_id = model });
            else
                await server.PostAsync("runs/log-batch", new { run_id = runs[i % 4], metrics = Enumerable.Range(0, 20).Select(n => new { key = $"m{i}", value = i, timestamp = i, step = n, model_id = model }) });
        }));

        var measured = await server.GetModelAsync(model);
        Assert.Equal(
            Enumerable.Range(0, 40).Where(i => i % 10 != 5).SelectMany(i => Enumerable.Repeat($"m{i}", i % 2 == 0 ? 1 : 20)).Order(StringComparer.Ordinal),
            measured.ModelMetrics().Select(metric => (string)metric["key"]!).Order(StringComparer.Ordinal));
        Assert.Equal(["evaluated"], await server.ModelRowAsync(model, "SELECT status FROM models WHERE model_uuid = $1"));
    }

    [Fact]
    public async Task Model_HeldBySomebody_IsWaitedForBesideTheOthers()
    {
        var (server, run, model) = await CreateAsync(DatabaseKind.PostgreSql);
        var experiment = (string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!;
        var other = await server.CreateRunAsync(experiment);
        var release = new TaskCompletionSource();
        var isHeld = new TaskCompletionSource();
        var holder = server.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(
                    server.Database.Statement("SELECT 1 FROM models WHERE model_uuid = $1 FOR NO KEY UPDATE").Add(Guid.ParseExact(model[2..], "N")), token);
                isHeld.TrySetResult();
                await release.Task;
            },
            CancellationToken.None);
        await isHeld.Task;

        var waiting = server.PostAsync("runs/log-metric", new { run_id = run, key = "m", value = 1, timestamp = 1, model_id = model });
        await server.PostAsync("runs/log-metric", new { run_id = other, key = "m", value = 1, timestamp = 1 });
        await server.PostNotFoundAsync("runs/log-metric", new { run_id = other, key = "m", value = 1, timestamp = 1, model_id = LoggedModelCalls.Unknown }, LoggedModelCalls.Unknown);
        Assert.False(waiting.IsCompleted);
        release.SetResult();
        await holder;
        await waiting;
        Assert.Single((await server.GetModelAsync(model)).ModelMetrics());
    }

    [Theory, BothDatabases]
    public async Task Outputs_AndInputs_OfARun_NameItsModels(DatabaseKind kind)
    {
        var (server, run, model) = await CreateAsync(kind);
        var experiment = (string)(await server.GetRunAsync(run))["info"]!["experiment_id"]!;
        var input = await server.CreateModelIdAsync(experiment);
        await server.PostAsync("runs/log-inputs", new { run_id = run, models = new[] { new { model_id = input } } });
        await server.PostAsync("runs/outputs", new { run_id = run, models = new[] { new { model_id = model, step = 3 } } });

        var seen = await server.GetRunAsync(run);
        Assert.Equal($$"""[{"model_id":"{{input}}"}]""", seen["inputs"]!["model_inputs"]!.ToJsonString());
        Assert.Equal($$"""[{"model_id":"{{model}}","step":3}]""", seen["outputs"]!["model_outputs"]!.ToJsonString());
        var found = Assert.Single((await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment } }))["runs"]!.AsArray())!;
        Assert.False(found["inputs"]!.AsObject().ContainsKey("model_inputs"));
        Assert.Equal($$"""[{"model_id":"{{model}}","step":3}]""", found["outputs"]!["model_outputs"]!.ToJsonString());
    }

    private static async Task<(TestServer Server, string Run, string Model)> CreateAsync(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        return (server, await server.CreateRunAsync(experiment), await server.CreateModelIdAsync(experiment));
    }
}
