using System.Globalization;
using System.Net;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Summaries;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Summaries;

/// <summary>What the summary views show of what clients log (docs/schema.md, "Summary views").</summary>
public sealed class SummaryViewsTests
{
    private static readonly string[] Errors = ["validation_mae", "validation_rmse", "validation_smape", "test_mae", "test_rmse", "test_smape"];

    [Theory, BothDatabases]
    public async Task ExperimentSummary_CountsRunsByTheirEnd(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("summary");
        var experiment = await server.CreateExperimentAsync(name);
        foreach (var (status, seconds) in new[] { ("FINISHED", 10), ("FINISHED", 20), ("FAILED", 3), ("KILLED", 7) })
        {
            var run = await server.CreateRunAsync(experiment, new { start_time = 1_700_000_000_000 });
            await server.PostAsync("runs/update", new { run_id = run, status, end_time = 1_700_000_000_000 + (1000 * seconds) });
        }

        await server.CreateRunAsync(experiment);
        // As specified: what was logged counts, also when it was put into the bin.
        await server.PostAsync("runs/delete", new { run_id = await server.CreateRunAsync(experiment) });

        Assert.Equal([name, "active", 6L, 2L, 1L, 10.0, 1_700_000_020_000L], Assert.Single(await ExperimentAsync(server, experiment)));

        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        Assert.Empty(await ExperimentAsync(server, experiment));
    }

    [Theory]
    [BothDatabases("training", false)]
    [BothDatabases("trained", false)]
    [BothDatabases("evaluating", false)]
    [BothDatabases("evaluated", true)]
    [BothDatabases("deployed", true)]
    [BothDatabases("archived", false)]
    [BothDatabases("failed", false)]
    public async Task ModelPerformance_ShowsModelsThatAreEvaluatedOrDeployed(DatabaseKind kind, string status, bool isShown)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await AddModelAsync(server, await server.CreateRunAsync(), status);
        Assert.Equal(isShown, (await ModelAsync(server, model)).Count == 1);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_OfADeletedModel_IsNotShown(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await AddModelAsync(server, await server.CreateRunAsync());
        await ExecuteAsync(server, "UPDATE models SET lifecycle_stage = 'deleted', deleted_at = created_at WHERE model_uuid = $1", model);
        Assert.Empty(await ModelAsync(server, model));
    }

    [Theory]
    [BothDatabases("mae", "validation_mae")]
    [BothDatabases("val_mae", "validation_mae")]
    [BothDatabases("val/rmse", "validation_rmse")]
    [BothDatabases("valid_smape", "validation_smape")]
    [BothDatabases("valid/MAE", "validation_mae")]
    [BothDatabases("validation_RMSE", "validation_rmse")]
    [BothDatabases("validation/mae", "validation_mae")]
    [BothDatabases("val_mean_absolute_error", "validation_mae")]
    [BothDatabases("root_mean_squared_error", "validation_rmse")]
    [BothDatabases("test_mae", "test_mae")]
    [BothDatabases("test/rmse", "test_rmse")]
    [BothDatabases("test_sMAPE", "test_smape")]
    [BothDatabases("train_mae", null)]
    [BothDatabases("training/rmse", null)]
    [BothDatabases("mae_per_series", null)]
    [BothDatabases("myval_mae", null)]
    public async Task ModelPerformance_FindsAMeasureUnderItsNames(DatabaseKind kind, string key, string? column)
    {
        var server = await TestServer.SharedAsync(kind);
        var run = await server.CreateRunAsync();
        var model = await AddModelAsync(server, run);
        await LogAsync(server, run, model, key, 0.25);

        var shown = Assert.Single(await ModelAsync(server, model));
        Assert.Equal(Errors.Select(error => error == column ? 0.25 : (object?)null), shown[^6..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_TakesTheKindOfDataFromTheDataSetBeforeTheName(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var run = await server.CreateRunAsync();
        var model = await AddModelAsync(server, run);
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = run,
            datasets = new[]
            {
                new
                {
                    dataset = new { name = "holdout", digest = "d", source_type = "local", source = "{}" },
                    tags = new[] { new { key = "mlflow.data.context", value = "testing" } },
                },
            },
        });
        await server.PostAsync("runs/log-metric", new
        {
            run_id = run, key = "mae", value = 0.5, timestamp = 1, model_id = "m-" + model, dataset_name = "holdout", dataset_digest = "d",
        });

        Assert.Equal([null, null, null, 0.5, null, null], Assert.Single(await ModelAsync(server, model))[^6..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_IsTheMaximumOverTheSteps_WithoutNaN(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var run = await server.CreateRunAsync();
        var model = await AddModelAsync(server, run);
        await LogAsync(server, run, model, "val_mae", 3, step: 0);
        await LogAsync(server, run, model, "val_mae", 2, step: 1);
        await LogAsync(server, run, model, "val_mae", "NaN", step: 2);
        await LogAsync(server, run, model, "test_mae", "NaN");

        Assert.Equal([3.0, null, null, null, null, null], Assert.Single(await ModelAsync(server, model))[^6..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_TakesFromTheRun_WhatTheOnlyModelOfItDoesNotSay(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var run = await server.CreateRunAsync();
        var model = await AddModelAsync(server, run);
        await LogAsync(server, run, model, "val_mae", 1);
        await LogAsync(server, run, null, "val_mae", 100);
        await LogAsync(server, run, null, "test_mae", 2);
        Assert.Equal([1.0, null, null, 2.0, null, null], Assert.Single(await ModelAsync(server, model))[^6..]);

        // Of which of two the run speaks nobody knows.
        await AddModelAsync(server, run, "training");
        Assert.Equal([1.0, null, null, null, null, null], Assert.Single(await ModelAsync(server, model))[^6..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_OfAModelThatAnotherRunEvaluated_HasItsErrors(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var model = await AddModelAsync(server, await server.CreateRunAsync(experiment));
        await LogAsync(server, await server.CreateRunAsync(experiment), model, "test_rmse", 7);
        Assert.Equal([null, null, null, null, 7.0, null], Assert.Single(await ModelAsync(server, model))[^6..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_OfAModelWhoseRunIsGone_IsStillShown(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var model = await AddModelAsync(server, run);
        await LogAsync(server, await server.CreateRunAsync(experiment), model, "val_mae", 4);
        await ExecuteAsync(server, "DELETE FROM runs WHERE run_uuid = $1", run);

        Assert.Equal(
            [null, long.Parse(experiment, CultureInfo.InvariantCulture), 4.0, null, null, null, null, null], Assert.Single(await ModelAsync(server, model))[3..]);
    }

    [Theory, BothDatabases]
    public async Task ModelPerformance_OfAVersionThatIsNoLoggedModel_IsShownOnceItWasInProduction(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var run = await server.CreateRunAsync();
        await LogAsync(server, run, null, "validation/mae", 0.5);
        await LogAsync(server, run, null, "test/mae", 0.75);
        var name = ApiServer.FreshName("model");
        await ExecuteAsync(server, "INSERT INTO registered_models (registered_model_name) VALUES ($1)", null, name);
        await ExecuteAsync(
            server,
            """
            INSERT INTO model_registry (registered_model_name, model_version, source, source_run_uuid) VALUES ($1, 1, 'runs:/x/model', $2),
                ($1, 2, 'runs:/x/model', 'a run of another server'), ($1, 3, 'somewhere', NULL)
            """,
            null,
            name,
            run);
        Assert.Empty(await VersionAsync());

        await ExecuteAsync(server, "UPDATE model_registry SET deployed_at = created_at WHERE registered_model_name = $1", null, name);
        Assert.Equal([null, name, 0.5, null, null, 0.75, null, null], Assert.Single(await VersionAsync()));

        await ExecuteAsync(server, "UPDATE model_registry SET deleted_at = created_at WHERE registered_model_name = $1", null, name);
        Assert.Empty(await VersionAsync());

        async Task<List<object?[]>> VersionAsync()
        {
            await RefreshAsync(server);
            return await server.RowsAsync(
                run,
                $"""
                SELECT p.model_id, p.model_name, {string.Join(", ", Errors)} FROM mv_model_performance p
                JOIN model_registry v ON v.registry_id = p.registry_id JOIN runs r ON r.run_id = p.run_id WHERE r.run_uuid = $1
                """);
        }
    }

    [Theory]
    [BothDatabases(true)]
    [BothDatabases(false)]
    public async Task ModelPerformance_OfAModelThatClientsMovedToProduction_IsShownWithItsErrors(DatabaseKind kind, bool isLoggedModel)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var model = isLoggedModel
            ? (string)(await server.PostAsync("logged-models", new { experiment_id = experiment, name = "net", source_run_id = run }))["model"]!["info"]!["model_id"]!
            : null;
        if (model is not null)
        {
            using var finalized = await server.SendAsync(
                HttpMethod.Patch, $"logged-models/{model}", ApiServer.Json(new { model_id = model, status = "LOGGED_MODEL_READY" }));
            Assert.Equal(HttpStatusCode.OK, finalized.StatusCode);
        }

        foreach (var (key, value) in new[] { ("val_mae", 1.5), ("val_rmse", 2.5), ("test_mae", 1.75), ("test_smape", 12.5) })
            await server.PostAsync("runs/log-metric", new { run_id = run, key, value, timestamp = 1, model_id = model });
        var name = ApiServer.FreshName("model");
        await server.PostAsync("registered-models/create", new { name });
        await server.PostAsync("model-versions/create", new { name, source = model is null ? $"runs:/{run}/model" : $"models:/{model}", run_id = run, model_id = model });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production", archive_existing_versions = true });

        await RefreshAsync(server);
        var shown = await server.RowsAsync(
            run, $"SELECT p.model_name, {string.Join(", ", Errors)} FROM mv_model_performance p JOIN runs r ON r.run_id = p.run_id WHERE r.run_uuid = $1");
        Assert.Equal([isLoggedModel ? "net" : name, 1.5, 2.5, null, 1.75, null, 12.5], Assert.Single(shown));
    }

    [Fact]
    public async Task Schedule_RefreshesWhatHasChanged_AndThenComesToRest()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.PostgreSql, options => options with { ViewRefreshInterval = TimeSpan.Zero });
        await RestAsync();
        var refreshed = await RefreshedAsync("mv_experiment_summary");
        await RestAsync();
        Assert.Equal(refreshed, await RefreshedAsync("mv_experiment_summary"));

        var experiment = await server.CreateExperimentAsync();
        await UntilAsync(async () =>
        {
            await RestAsync();
            return (await server.RowsAsync(Guid.Empty.ToString("N"), $"SELECT 1 FROM mv_experiment_summary WHERE experiment_id = {experiment}")).Count == 1;
        });
        Assert.True(await RefreshedAsync("mv_experiment_summary") > refreshed);

        // Both views come to rest, because refreshing them is no change.
        async Task RestAsync()
        {
            foreach (var view in SummaryView.All)
                await UntilAsync(async () => !await view.RefreshIfChangedAsync(server.Database, CancellationToken.None));
        }

        async Task<long> RefreshedAsync(string view) => (long)Assert.Single(await server.RowsAsync(
            Guid.Empty.ToString("N"), $"SELECT CAST(EXTRACT(EPOCH FROM refreshed_at) * 1000000 AS BIGINT) FROM view_refreshes WHERE view_name = '{view}'"))[0]!;
    }

    [Fact]
    public async Task Schedule_WhileAnotherServerIsAtIt_LeavesItToThat()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.PostgreSql, options => options with { ViewRefreshInterval = TimeSpan.Zero });
        await server.CreateRunAsync();
        var view = SummaryView.All[0];
        await server.Database.WriteAsync(
            async (other, token) =>
            {
                await other.ScalarAsync<bool>(
                    server.Database.Statement($"SELECT pg_try_advisory_xact_lock({SummaryView.AdvisoryLock}, hashtext(current_schema()))"), token);
                Assert.False(await view.RefreshIfChangedAsync(server.Database, token));
                return true;
            },
            CancellationToken.None);
        Assert.True(await view.RefreshIfChangedAsync(server.Database, CancellationToken.None));
    }

    [Fact]
    public async Task Schedule_OfTwoServersUnderLoad_ShowsInTheEndWhatWasLogged_ThoughAViewIsBroken()
    {
        static ServerOptions Often(ServerOptions options) => options with { ViewRefreshInterval = TimeSpan.FromMilliseconds(5) };
        await using var server = await TestServer.StartAsync(DatabaseKind.PostgreSql, Often);
        await using var second = await TestServer.StartAsync(server.Services.GetService<ServerOptions>()!.BackendStoreUri, Often);
        var experiment = await server.CreateExperimentAsync();
        await ExecuteAsync(server, "DROP MATERIALIZED VIEW mv_model_performance", null);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(async i =>
        {
            var run = await (i % 2 == 0 ? server : second).CreateRunAsync(experiment);
            await server.PostAsync("runs/update", new { run_id = run, status = "FINISHED", end_time = 1_700_000_000_000 });
        }));
        await UntilAsync(async () => (await server.RowsAsync(
            Guid.Empty.ToString("N"), $"SELECT 1 FROM mv_experiment_summary WHERE experiment_id = {experiment} AND completed_runs = 20")).Count == 1);
    }

    [Theory, BothDatabases]
    public async Task RefreshViewsCommand_MakesThemCurrent(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { ViewRefreshInterval = TimeSpan.Zero });
        var experiment = await server.CreateExperimentAsync();
        using var command = ServerProcess.StartProgram("db", "refresh-views", server.Services.GetService<ServerOptions>()!.BackendStoreUri);
        var output = await command.StandardOutput.ReadToEndAsync();
        await command.WaitForExitAsync();

        Assert.Equal(0, command.ExitCode);
        Assert.Contains(kind == DatabaseKind.PostgreSql ? "refreshed mv_model_performance" : "always current", output, StringComparison.Ordinal);
        Assert.Single(await server.RowsAsync(Guid.Empty.ToString("N"), $"SELECT 1 FROM mv_experiment_summary WHERE experiment_id = {experiment}"));
    }

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        while (!await condition())
            await Task.Delay(20);
    }

    private static async Task RefreshAsync(TestServer server)
    {
        foreach (var view in SummaryView.All)
            await view.RefreshAsync(server.Database, CancellationToken.None);
    }

    private static async Task<List<object?[]>> ExperimentAsync(TestServer server, string experiment)
    {
        await RefreshAsync(server);
        return await server.RowsAsync(
            Guid.Empty.ToString("N"),
            $"""
            SELECT experiment_name, status, total_runs, completed_runs, failed_runs, CAST(avg_duration AS DOUBLE PRECISION), last_run_time
            FROM mv_experiment_summary WHERE experiment_id = {experiment}
            """);
    }

    /// <summary>Of a model its name, type and framework, run, experiment and its errors, if it is shown.</summary>
    private static async Task<List<object?[]>> ModelAsync(TestServer server, string model)
    {
        await RefreshAsync(server);
        return await server.RowsAsync(
            model,
            $"""
            SELECT p.model_name, p.model_type, p.framework, p.run_id, p.experiment_id, {string.Join(", ", Errors)}
            FROM mv_model_performance p JOIN models m ON m.model_id = p.model_id WHERE m.model_uuid = $1
            """);
    }

    /// <summary>Makes a model of a run and returns its id without the prefix.</summary>
    private static async Task<string> AddModelAsync(TestServer server, string run, string status = "evaluated")
    {
        var model = Guid.NewGuid().ToString("N");
        await ExecuteAsync(
            server,
            """
            INSERT INTO models (model_uuid, experiment_id, run_id, model_name, model_file_path, status)
            SELECT $1, experiment_id, run_id, 'net', '', $2 FROM runs WHERE run_uuid = $3
            """,
            model,
            status,
            Guid.Parse(run));
        return model;
    }

    private static async Task LogAsync(TestServer server, string run, string? model, string key, object value, long step = 0) =>
        await server.PostAsync("runs/log-metric", new { run_id = run, key, value, timestamp = 1, step, model_id = model is null ? null : "m-" + model });

    /// <param name="server">The server.</param>
    /// <param name="sql">What to do.</param>
    /// <param name="id">The first parameter, an id as MLflow gives it out; null for none.</param>
    /// <param name="others">The other parameters: texts and ids.</param>
    private static async Task ExecuteAsync(TestServer server, string sql, string? id, params object[] others)
    {
        var statement = server.Database.Statement(sql);
        if (id is not null)
            statement.Add(Guid.Parse(id));
        foreach (var other in others)
            _ = other is Guid guid ? statement.Add(guid) : statement.Add((string)other);
        await server.Database.WriteAsync((session, token) => session.ExecuteAsync(statement, token), CancellationToken.None);
    }
}
