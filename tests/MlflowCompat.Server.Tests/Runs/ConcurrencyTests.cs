using System.Collections.Concurrent;
using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>Many clients at one run: every answer is right, and what is there in the end agrees with the answers.</summary>
public sealed class ConcurrencyTests
{
    [Theory, BothDatabases]
    public async Task Points_OutOfOrderAndTwice_EndAsTheRuleSays(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var random = new Random(31);
        var messages = new List<(string Route, object Message)>();
        var points = new Dictionary<string, HashSet<Point>> { ["a"] = [], ["b"] = [] };
        for (var i = 0; i < 160; i++)
        {
            var batch = Enumerable.Range(0, random.Next(1, 25)).Select(_ =>
            {
                var point = new Point(random.Next(-3, 4), random.Next(5), random.Next(-20, 20));
                var key = random.Next(2) == 0 ? "a" : "b";
                points[key].Add(point);
                return new { run_id = id, key, value = point.Value, timestamp = point.Timestamp, step = point.Step };
            }).ToList();
            messages.Add(batch.Count == 1 ? ("runs/log-metric", batch[0]) : ("runs/log-batch", new { run_id = id, metrics = batch }));
        }

        await Parallel.ForEachAsync(
            messages, new ParallelOptions { MaxDegreeOfParallelism = 16 }, async (call, _) => await server.PostAsync(call.Route, call.Message));

        var latest = (await server.GetRunAsync(id)).Metrics();
        foreach (var (key, sent) in points)
        {
            Assert.Equal(sent.OrderBy(point => (point.Timestamp, point.Step, point.Value)), await server.HistoryAsync(id, key));
            Assert.Equal(sent.MaxBy(point => (point.Step, point.Timestamp, point.Value)), latest[key]);
        }
    }

    [Theory, BothDatabases]
    public async Task Param_SentWithDifferentValues_HasOneAndTheOthersAreTold(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        for (var round = 0; round < 5; round++)
        {
            var key = $"p{round}";
            var answers = await Task.WhenAll(Enumerable.Range(0, 16).Select(async i =>
            {
                var value = $"v{i % 4}";
                // A batch that loses must leave nothing else behind either.
                var message = i < 8
                    ? (object)new { run_id = id, key, value }
                    : new { run_id = id, @params = new[] { new { key, value } }, tags = new[] { new { key = $"{key} {i}", value } } };
                return (Number: i, Value: value, Answer: await server.SendAsync(HttpMethod.Post, i < 8 ? "runs/log-parameter" : "runs/log-batch", TestServer.Json(message)));
            }));
            var run = await server.GetRunAsync(id);
            var winner = run.Params()[key];
            foreach (var (number, value, answer) in answers)
            {
                if (value == winner)
                    Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
                else
                    await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed", winner, value);
                if (number >= 8)
                    Assert.Equal(value == winner, run.Tags().ContainsKey($"{key} {number}"));
            }
        }
    }

    [Theory, BothDatabases]
    public async Task Tags_OfManyClients_AreAllKeptBesideOtherChanges(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { tags = Enumerable.Range(0, 20).Select(i => new { key = $"old {i}", value = "x" }) });
        await Task.WhenAll(Enumerable.Range(0, 20).Select(async client =>
        {
            for (var i = 0; i < 6; i++)
                await server.PostAsync("runs/set-tag", new { run_id = id, key = $"{client}/{i}", value = $"{client} {i}" });
            await server.PostAsync("runs/delete-tag", new { run_id = id, key = $"old {client}" });
            await server.PostAsync("runs/update", new { run_id = id, run_name = $"name {client}", status = "FINISHED", end_time = client + 1 });
            await server.PostAsync("runs/log-batch", new { run_id = id, tags = new[] { new { key = $"{client}/batch", value = "b" } } });
        }));

        var run = await server.GetRunAsync(id);
        var tags = run.Tags();
        Assert.Equal((20 * 7) + 1, tags.Count);
        for (var client = 0; client < 20; client++)
        {
            for (var i = 0; i < 6; i++)
                Assert.Equal($"{client} {i}", tags[$"{client}/{i}"]);
        }

        Assert.Equal(tags["mlflow.runName"], (string)run["info"]!["run_name"]!);
    }

    [Theory, BothDatabases]
    public async Task Run_DeletedWhileItIsLoggedTo_HasExactlyWhatWasAcknowledged(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var acknowledged = new ConcurrentBag<long>();
        var some = new TaskCompletionSource();
        var writers = Enumerable.Range(0, 8).Select(async writer =>
        {
            for (var step = (long)writer; ; step += 8)
            {
                var message = new { run_id = id, metrics = new[] { new { key = "m", value = step, timestamp = 1, step } }, tags = new[] { new { key = $"t{step}", value = "v" } } };
                using var answer = await server.SendAsync(HttpMethod.Post, "runs/log-batch", TestServer.Json(message));
                if (answer.StatusCode != HttpStatusCode.OK)
                {
                    await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "active");
                    return;
                }

                acknowledged.Add(step);
                if (acknowledged.Count >= 40)
                    some.TrySetResult();
            }
        }).ToList();
        await Task.WhenAny(some.Task, Task.WhenAll(writers));
        await server.PostAsync("runs/delete", new { run_id = id });
        await Task.WhenAll(writers);

        Assert.Equal(acknowledged.Order(), (await server.HistoryAsync(id, "m")).ConvertAll(point => point.Step));
        var run = await server.GetRunAsync(id);
        Assert.Equal("deleted", (string)run["info"]!["lifecycle_stage"]!);
        Assert.Equal(acknowledged.Max(), run.Metrics()["m"].Step);
        Assert.Equal(acknowledged.Count + 1, run.Tags().Count);
    }

    [Theory, BothDatabases]
    public async Task Experiment_DeletedWhileRunsAreCreated_HasNoActiveRun(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        for (var round = 0; round < 12; round++)
        {
            var experiment = await server.CreateExperimentAsync();
            var creations = Enumerable.Range(0, 8).Select(_ =>
                server.SendAsync(HttpMethod.Post, "runs/create", TestServer.Json(new { experiment_id = experiment }))).ToList();
            await Task.WhenAny(creations);
            await server.PostAsync("experiments/delete", new { experiment_id = experiment });
            var created = 0;
            foreach (var answer in await Task.WhenAll(creations))
            {
                if (answer.StatusCode == HttpStatusCode.OK)
                    created++;
                else
                    await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "active");
            }

            Assert.Empty(await server.SearchNamesAsync(experiment));
            var deleted = await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, run_view_type = "DELETED_ONLY" });
            Assert.Equal(created, RunCalls.Ids(deleted).Count);
        }
    }

    [Fact]
    public async Task TwoServers_OnOneDatabase_WorkOnTheSameRuns()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        await using var first = await TestServer.StartAsync(database.Address);
        await using var second = await TestServer.StartAsync(database.Address);
        TestServer[] servers = [first, second];
        var experiment = await first.CreateExperimentAsync();
        var id = await second.CreateRunAsync(experiment);

        // The same params from both: each key has the value of the one that was told so.
        var told = new ConcurrentDictionary<string, string>();
        await Parallel.ForEachAsync(Enumerable.Range(0, 120), new ParallelOptions { MaxDegreeOfParallelism = 12 }, async (i, _) =>
        {
            var server = servers[i % 2];
            var (key, value) = ($"p{i / 2}", $"of server {i % 2}");
            using var answer = await server.SendAsync(HttpMethod.Post, "runs/log-parameter", TestServer.Json(new { run_id = id, key, value }));
            if (answer.StatusCode == HttpStatusCode.OK)
                Assert.True(told.TryAdd(key, value));
            else
                await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Changing param values");
            await server.PostAsync("runs/log-batch", new
            {
                run_id = id,
                metrics = Enumerable.Range(0, 5).Select(n => new { key = $"m{n}", value = i, timestamp = 1, step = i }),
                tags = new[] { new { key = $"t{i}", value } },
            });
        });

        foreach (var server in servers)
        {
            var run = await server.GetRunAsync(id);
            Assert.Equal(60, told.Count);
            Assert.Equal(told.ToDictionary(), run.Params());
            Assert.Equal(121, run.Tags().Count);
            Assert.All(run.Metrics().Values, latest => Assert.Equal(new Point(119, 1, 119), latest));
            Assert.Equal(120, (await server.HistoryAsync(id, "m3")).Count);
        }

        // What one server does the other one sees at once.
        await first.PostAsync("runs/delete", new { run_id = id });
        await second.PostInvalidAsync("runs/set-tag", new { run_id = id, key = "t", value = "v" }, "active");
        await second.PostAsync("runs/restore", new { run_id = id });
        await first.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = "v" });
        Assert.Equal([id], RunCalls.Ids(await second.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, filter = "tags.t = 'v'" })));

        var repeats = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => servers[i % 2].SendAsync(
            HttpMethod.Post, "runs/create", TestServer.Json(new { experiment_id = experiment, tags = new[] { new { key = "run_fingerprint", value = "f" } } }))));
        Assert.Equal(1, repeats.Count(answer => answer.StatusCode == HttpStatusCode.OK));
    }

    [Fact]
    public async Task SqliteFile_LockedByAnother_IsSaidAndMissedNoLongerThanItLasts()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        await using var server = await TestServer.StartAsync(database.Address);
        var id = await server.CreateRunAsync();
        await using var other = database.Open();
        var release = new TaskCompletionSource();
        var held = new TaskCompletionSource();
        var holder = other.WriteAsync(
            async (_, _) =>
            {
                held.SetResult();
                await release.Task;
            },
            CancellationToken.None);
        await held.Task;

        Task patient;
        try
        {
            // More writers than would be patient one after the other; readers do not wait at all.
            var writes = Enumerable.Range(0, 12)
                .Select(i => server.SendAsync(HttpMethod.Post, "runs/set-tag", TestServer.Json(new { run_id = id, key = $"t{i}", value = "v" }))).ToList();
            await server.GetRunAsync(id);
            foreach (var answer in await Task.WhenAll(writes).WaitAsync(TimeSpan.FromSeconds(30)))
            {
                await TestServer.AssertErrorAsync(answer, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
                Assert.NotNull(answer.Headers.RetryAfter);
            }

            patient = server.PostAsync("runs/set-tag", new { run_id = id, key = "patient", value = "v" });
        }
        finally
        {
            release.SetResult();
            await holder;
        }

        await patient;
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "after", value = "v" });
        Assert.Equal(["after", "mlflow.runName", "patient"], (await server.GetRunAsync(id)).Tags().Keys.Order(StringComparer.Ordinal));
    }
}
