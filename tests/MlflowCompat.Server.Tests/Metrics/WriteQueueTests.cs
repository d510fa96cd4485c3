using System.Net;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>
/// Requests that are committed together. Each test holds a run, so that what comes meanwhile has to wait, and is one group when the run
/// is let go.
/// </summary>
public sealed class WriteQueueTests
{
    [Theory, BothDatabases]
    public async Task Requests_BeyondTheBoundOfTheQueue_AreToldToComeBackAndNothingIsLost(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { MaxWaitingRows = 10 });
        var id = await server.CreateRunAsync();
        var held = await HeldRuns.HoldAsync(server, id);
        // Whichever of the two comes second has no room.
        var (first, second) = (SendBatchAsync(server, id, "a", 6), SendBatchAsync(server, id, "b", 6));
        var refused = await Task.WhenAny(first, second);
        var waiting = refused == first ? second : first;
        using (var answer = await refused)
        {
            await TestServer.AssertErrorAsync(answer, HttpStatusCode.TooManyRequests, "REQUEST_LIMIT_EXCEEDED", "write queue is full", "6 of 10");
            Assert.Equal("1", Assert.Single(answer.Headers.GetValues("Retry-After")));
        }

        Assert.False(waiting.IsCompleted);
        await held.ReleaseAsync();
        Assert.Equal(HttpStatusCode.OK, (await waiting).StatusCode);
        var written = refused == first ? "b" : "a";
        Assert.Equal(Enumerable.Range(0, 6).Select(i => $"{written}{i}"), (await server.GetRunAsync(id)).Metrics().Keys.Order());

        Assert.Equal(HttpStatusCode.OK, (await SendBatchAsync(server, id, "c", 6)).StatusCode);
        // A batch that is larger than the queue passes when nothing else is waiting.
        Assert.Equal(HttpStatusCode.OK, (await SendBatchAsync(server, id, "d", 50)).StatusCode);
        Assert.Equal(62, (await server.GetRunAsync(id)).Metrics().Count);
    }

    [Theory, BothDatabases]
    public async Task Requests_OfOneGroup_HaveTheirOwnAnswers(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (id, other, deleted) = (await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment));
        await server.PostAsync("runs/delete", new { run_id = deleted });
        await server.PostAsync("runs/log-parameter", new { run_id = id, key = "fixed", value = "1" });
        var held = await HeldRuns.HoldAsync(server, id, other, deleted);
        // The lanes of the queue get something to do, so that all that follows waits behind it.
        var ahead = Enumerable.Range(0, 16).Select(_ => LogAsync(server, id, "ahead", 1)).ToList();
        await Task.Delay(50);

        var metric = LogAsync(server, id, "loss", 5);
        var param = SendAsync(server, "runs/log-parameter", new { run_id = id, key = "new", value = "x" });
        var sameParam = SendAsync(server, "runs/log-parameter", new { run_id = id, key = "fixed", value = "1" });
        var changedParam = SendAsync(server, "runs/log-batch", new
        {
            run_id = id,
            metrics = new[] { new { key = "torn", value = 1, timestamp = 1, step = 1 } },
            @params = new[] { new { key = "fixed", value = "2" }, new { key = "torn", value = "2" } },
            tags = new[] { new { key = "torn", value = "2" } },
        });
        var unknown = LogAsync(server, Guid.NewGuid().ToString("N"), "loss", 1);
        var gone = LogAsync(server, deleted, "loss", 1);
        var noModel = SendAsync(server, "runs/log-metric", new { run_id = id, key = "torn", value = 1, timestamp = 1, model_id = $"m-{Guid.NewGuid():N}" });
        var longName = SendAsync(server, "runs/set-tag", new { run_id = id, key = "mlflow.runName", value = new string('n', 251) });
        var tag = SendAsync(server, "runs/set-tag", new { run_id = other, key = "mlflow.runName", value = "renamed" });
        await Task.Delay(50);
        await held.ReleaseAsync();

        foreach (var accepted in ahead.Concat([metric, param, sameParam, tag]))
            Assert.Equal(HttpStatusCode.OK, (await accepted).StatusCode);
        await TestServer.AssertErrorAsync(await changedParam, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "fixed", "\"1\"", "\"2\"");
        await TestServer.AssertErrorAsync(await unknown, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Run with id=");
        await TestServer.AssertErrorAsync(await gone, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", deleted, "'deleted'");
        await TestServer.AssertErrorAsync(await noModel, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Logged model");
        await TestServer.AssertErrorAsync(await longName, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "run_name");
        var run = await server.GetRunAsync(id);
        Assert.Equal(["ahead", "loss"], run.Metrics().Keys.Order());
        Assert.Equal(["fixed", "new"], run.Params().Keys.Order());
        Assert.DoesNotContain("torn", run.Tags());
        Assert.Equal("renamed", (string?)(await server.GetRunAsync(other))["info"]!["run_name"]);
    }

    [Theory, BothDatabases]
    public async Task Request_ThatTheDatabaseRefuses_TakesNoOtherAlong(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        // A rule that no check of the server knows of.
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement(
                    "ALTER TABLE hyperparameters ADD CONSTRAINT ck_odd CHECK (param_value <> 'odd')",
                    """
                    CREATE TRIGGER ck_odd BEFORE INSERT ON hyperparameters WHEN NEW.param_value = 'odd'
                    BEGIN SELECT RAISE(ABORT, 'odd'); END
                    """),
                token),
            CancellationToken.None);
        var id = await server.CreateRunAsync();
        var held = await HeldRuns.HoldAsync(server, id);
        var ahead = LogAsync(server, id, "ahead", 1);
        await Task.Delay(50);
        var answers = Enumerable.Range(0, 5).Select(i => SendAsync(server, "runs/log-batch", new
        {
            run_id = id,
            metrics = new[] { new { key = $"m{i}", value = i, timestamp = 1, step = 1 } },
            @params = new[] { new { key = $"p{i}", value = i == 2 ? "odd" : "even" } },
        })).ToList();
        await Task.Delay(50);
        await held.ReleaseAsync();
        Assert.Equal(HttpStatusCode.OK, (await ahead).StatusCode);
        for (var i = 0; i < answers.Count; i++)
            Assert.Equal(i == 2 ? HttpStatusCode.InternalServerError : HttpStatusCode.OK, (await answers[i]).StatusCode);
        var run = await server.GetRunAsync(id);
        Assert.Equal(["p0", "p1", "p3", "p4"], run.Params().Keys.Order());
        Assert.Equal(["ahead", "m0", "m1", "m3", "m4"], run.Metrics().Keys.Order());
    }

    [Theory, BothDatabases]
    public async Task Server_StoppedWhileRequestsWait_WritesAndAnswersThem(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        string id;
        List<Task<HttpResponseMessage>> waiting;
        var server = await TestServer.StartAsync(test.Address);
        await using (server)
        {
            id = await server.CreateRunAsync();
            var held = await HeldRuns.HoldAsync(server, id);
            waiting = [.. Enumerable.Range(0, 20).Select(i => LogAsync(server, id, $"m{i}", 1))];
            await Task.Delay(100);
            var stopping = server.StopAsync();
            await held.ReleaseAsync();
            foreach (var answer in waiting)
                Assert.Equal(HttpStatusCode.OK, (await answer).StatusCode);
            await stopping;
        }

        await using var restarted = await TestServer.StartAsync(test.Address);
        Assert.Equal(20, (await restarted.GetRunAsync(id)).Metrics().Count);
    }

    private static Task<HttpResponseMessage> SendAsync(TestServer server, string route, object message) =>
        server.SendAsync(HttpMethod.Post, route, TestServer.Json(message));

    private static Task<HttpResponseMessage> LogAsync(TestServer server, string runId, string key, double value) =>
        SendAsync(server, "runs/log-metric", new { run_id = runId, key, value, timestamp = 1, step = 1 });

    private static Task<HttpResponseMessage> SendBatchAsync(TestServer server, string runId, string stem, int count) =>
        SendAsync(server, "runs/log-batch", new
        {
            run_id = runId,
            metrics = Enumerable.Range(0, count).Select(i => new { key = $"{stem}{i}", value = i, timestamp = 1, step = 1 }),
        });

    /// <summary>A transaction that holds runs, on SQLite the right to write at all, until it is told to end.</summary>
    private sealed class HeldRuns(Task transaction, TaskCompletionSource release)
    {
        public static async Task<HeldRuns> HoldAsync(TestServer server, params string[] runIds)
        {
            var held = new TaskCompletionSource();
            var release = new TaskCompletionSource();
            var transaction = server.Database.WriteAsync(
                async (session, token) =>
                {
                    await ActiveRun.LockAllAsync(server.Database, session, [.. runIds.Select(Guid.Parse)], token);
                    held.TrySetResult();
                    await release.Task;
                },
                CancellationToken.None);
            await Task.WhenAny(held.Task, transaction);
            return new HeldRuns(transaction, release);
        }

        public async Task ReleaseAsync()
        {
            release.SetResult();
            await transaction;
        }
    }
}
