using System.Net;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Metrics;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>
/// Requests that are committed together. The tests keep the database from taking metrics for a while, so that what comes meanwhile has to
/// wait and is one group afterwards.
/// </summary>
public sealed class WriteQueueTests
{
    [Theory, BothDatabases]
    public async Task Requests_BeyondTheBoundOfTheQueue_AreToldToComeBackAndNothingIsLost(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { MaxWaitingBytes = 3500 });
        var id = await server.CreateRunAsync();
        var held = await HeldDatabase.HoldAsync(server);
        // Whichever of the two comes second has no room; on SQLite what holds the database takes some as well.
        var (first, second) = (SendBatchAsync(server, id, "a", 10), SendBatchAsync(server, id, "b", 10));
        var refused = await Task.WhenAny(first, second);
        var waiting = refused == first ? second : first;
        using (var answer = await refused)
        {
            await TestServer.AssertErrorAsync(answer, HttpStatusCode.TooManyRequests, "REQUEST_LIMIT_EXCEEDED", "write queue is full", " of 3500 bytes");
            Assert.Equal("1", Assert.Single(answer.Headers.GetValues("Retry-After")));
        }

        Assert.False(waiting.IsCompleted);
        await held.ReleaseAsync();
        Assert.Equal(HttpStatusCode.OK, (await waiting).StatusCode);
        var written = refused == first ? "b" : "a";
        Assert.Equal(Enumerable.Range(0, 10).Select(i => $"{written}{i}"), (await server.GetRunAsync(id)).Metrics().Keys.Order());

        Assert.Equal(HttpStatusCode.OK, (await SendBatchAsync(server, id, "c", 6)).StatusCode);
        // A batch that is larger than the queue passes when nothing else is waiting.
        Assert.Equal(HttpStatusCode.OK, (await SendBatchAsync(server, id, "d", 50)).StatusCode);
        Assert.Equal(66, (await server.GetRunAsync(id)).Metrics().Count);
    }

    [Theory, BothDatabases]
    public async Task Requests_OfOneGroup_HaveTheirOwnAnswers(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (id, other, deleted) = (await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment));
        await server.PostAsync("runs/delete", new { run_id = deleted });
        await server.PostAsync("runs/log-parameter", new { run_id = id, key = "fixed", value = "1" });
        var runsAhead = await CreateRunsAsync(server, experiment);
        var held = await HeldDatabase.HoldAsync(server);
        var ahead = await OccupyAsync(server, runsAhead);

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
        await WaitingAsync(server, ahead.Count + 9);
        await held.ReleaseAsync();

        foreach (var accepted in ahead.Concat([metric, param, sameParam, tag]))
            Assert.Equal(HttpStatusCode.OK, (await accepted).StatusCode);
        await TestServer.AssertErrorAsync(await changedParam, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "fixed", "\"1\"", "\"2\"");
        await TestServer.AssertErrorAsync(await unknown, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Run with id=");
        await TestServer.AssertErrorAsync(await gone, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", deleted, "'deleted'");
        await TestServer.AssertErrorAsync(await noModel, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Logged model");
        await TestServer.AssertErrorAsync(await longName, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "run_name");
        var run = await server.GetRunAsync(id);
        Assert.Equal(["loss"], run.Metrics().Keys);
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
        var runsAhead = await CreateRunsAsync(server, await server.CreateExperimentAsync());
        var held = await HeldDatabase.HoldAsync(server);
        var ahead = await OccupyAsync(server, runsAhead);
        var answers = Enumerable.Range(0, 5).Select(i => SendAsync(server, "runs/log-batch", new
        {
            run_id = id,
            metrics = new[] { new { key = $"m{i}", value = i, timestamp = 1, step = 1 } },
            @params = new[] { new { key = $"p{i}", value = i == 2 ? "odd" : "even" } },
        })).ToList();
        await WaitingAsync(server, ahead.Count + answers.Count);
        await held.ReleaseAsync();
        foreach (var accepted in ahead)
            Assert.Equal(HttpStatusCode.OK, (await accepted).StatusCode);
        for (var i = 0; i < answers.Count; i++)
            Assert.Equal(i == 2 ? HttpStatusCode.InternalServerError : HttpStatusCode.OK, (await answers[i]).StatusCode);
        var run = await server.GetRunAsync(id);
        Assert.Equal(["p0", "p1", "p3", "p4"], run.Params().Keys.Order());
        Assert.Equal(["m0", "m1", "m3", "m4"], run.Metrics().Keys.Order());
    }

    [Fact]
    public async Task Requests_AfterOneThatThePostgreSqlServerCannotTake_KeepTheirOwnAnswers()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.PostgreSql);
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement("""
                    CREATE FUNCTION refuse() RETURNS TRIGGER AS $$
                    BEGIN
                        IF NEW.param_value = 'odd' THEN RAISE EXCEPTION 'odd' USING ERRCODE = '23514'; END IF;
                        IF NEW.param_value = 'full' THEN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END IF;
                        RETURN NEW;
                    END
                    $$ LANGUAGE plpgsql;
                    CREATE TRIGGER refuse BEFORE INSERT ON hyperparameters FOR EACH ROW EXECUTE FUNCTION refuse();
                    """),
                token),
            CancellationToken.None);
        var id = await server.CreateRunAsync();
        var runsAhead = await CreateRunsAsync(server, await server.CreateExperimentAsync());
        var held = await HeldDatabase.HoldAsync(server);
        var ahead = await OccupyAsync(server, runsAhead);
        // One after the other, so that the group has this order: it is the first that fails, and is then written in halves.
        string[] values = ["even", "odd", "even", "full", "even", "even", "odd", "even"];
        var answers = new List<Task<HttpResponseMessage>>();
        for (var i = 0; i < values.Length; i++)
        {
            answers.Add(SendAsync(server, "runs/log-parameter", new { run_id = id, key = $"p{i}", value = values[i] }));
            await WaitingAsync(server, ahead.Count + answers.Count);
        }

        await held.ReleaseAsync();
        await Task.WhenAll(ahead);
        var acknowledged = new List<string>();
        for (var i = 0; i < values.Length; i++)
        {
            var status = (await answers[i]).StatusCode;
            if (status == HttpStatusCode.OK)
                acknowledged.Add($"p{i}");
            // A database that is full refuses neighbours too, but it never says so of what it has written.
            var own = values[i] switch
            {
                "odd" => HttpStatusCode.InternalServerError,
                "full" => HttpStatusCode.ServiceUnavailable,
                _ => HttpStatusCode.OK,
            };
            Assert.True(status == own || status == HttpStatusCode.ServiceUnavailable, $"p{i} = {values[i]}: {status}");
        }

        Assert.Equal(acknowledged, (await server.GetRunAsync(id)).Params().Keys.Order());
        // Before it came one that is refused for itself, and before that one a good one.
        Assert.Contains("p0", acknowledged);
    }

    [Fact]
    public async Task Run_ThatSomebodyHoldsInPostgreSql_HoldsUpNoOther()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.PostgreSql);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        var others = await CreateRunsAsync(server, experiment);
        var held = await HeldDatabase.HoldRunAsync(server, id);
        var metric = LogAsync(server, id, "loss", 1);
        var first = SendAsync(server, "runs/log-parameter", new { run_id = id, key = "p", value = "1" });
        await WaitingAsync(server, 2);
        var second = SendAsync(server, "runs/log-parameter", new { run_id = id, key = "p", value = "2" });
        foreach (var other in others)
            Assert.Equal(HttpStatusCode.OK, (await LogAsync(server, other, "loss", 1)).StatusCode);
        await WaitingAsync(server, 3);
        Assert.False(metric.IsCompleted);
        Assert.False(first.IsCompleted);
        await held.ReleaseAsync();
        Assert.Equal(HttpStatusCode.OK, (await metric).StatusCode);
        HttpStatusCode[] answers = [(await first).StatusCode, (await second).StatusCode];
        Assert.Equal([HttpStatusCode.OK, HttpStatusCode.BadRequest], answers.Order());
        Assert.Equal(answers[0] == HttpStatusCode.OK ? "1" : "2", (await server.GetRunAsync(id)).Params()["p"]);
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
            var held = await HeldDatabase.HoldAsync(server);
            waiting = [.. Enumerable.Range(0, 20).Select(i => LogAsync(server, id, $"m{i}", 1))];
            await WaitingAsync(server, waiting.Count);
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

    /// <summary>Gives every lane something to write, so that all that follows waits behind it.</summary>
    private static async Task<List<Task<HttpResponseMessage>>> OccupyAsync(TestServer server, List<string> runs)
    {
        var ahead = runs.ConvertAll(run => LogAsync(server, run, "ahead", 1));
        await WaitingAsync(server, ahead.Count);
        return ahead;
    }

    private static async Task<List<string>> CreateRunsAsync(TestServer server, string experiment)
    {
        var runs = new List<string>();
        for (var i = 0; i < 16; i++)
            runs.Add(await server.CreateRunAsync(experiment));
        return runs;
    }

    /// <summary>Returns when that many requests are in the queue; the test's own time limit is all that ends it otherwise.</summary>
    private static async Task WaitingAsync(TestServer server, int count)
    {
        var store = server.Services.GetRequiredService<RunLogStore>();
        // On SQLite what holds the database is a write like any other.
        var others = server.Database.Kind == DatabaseKind.Sqlite ? 1 : 0;
        while (store.WaitingCount - others < count)
            await Task.Delay(5);
    }

    /// <summary>A transaction without whose end no metric can be written.</summary>
    private sealed class HeldDatabase(Task transaction, TaskCompletionSource release)
    {
        public static Task<HeldDatabase> HoldAsync(TestServer server) => HoldAsync(server, (session, token) => session.ExecuteAsync(
            server.Database.Statement("LOCK TABLE metrics IN SHARE MODE", "SELECT 1"), token));

        public static Task<HeldDatabase> HoldRunAsync(TestServer server, string runId) => HoldAsync(
            server, (session, token) => ActiveRun.LockAsync(server.Database, session, Guid.Parse(runId), token));

        public async Task ReleaseAsync()
        {
            release.SetResult();
            await transaction;
        }

        private static async Task<HeldDatabase> HoldAsync(TestServer server, Func<DatabaseSession, CancellationToken, Task> hold)
        {
            var held = new TaskCompletionSource();
            var release = new TaskCompletionSource();
            var transaction = server.Database.WriteAsync(
                async (session, token) =>
                {
                    await hold(session, token);
                    held.TrySetResult();
                    await release.Task;
                },
                CancellationToken.None);
            await await Task.WhenAny(held.Task, transaction);
            return new HeldDatabase(transaction, release);
        }
    }
}
