using System.Collections.Concurrent;
using System.Net;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests;

/// <summary>The database goes away under load and comes back, while the server stays up.</summary>
public sealed class OutageTests
{
    private const int Writers = 4;

    [PrivateClusterFact]
    public Task Database_StoppedAndStartedUnderLoad_IsMissedWithoutLosingWhatWasAcknowledged() =>
        AssertRecoversAsync(cluster => cluster.StopAsync());

    [PrivateClusterFact]
    public Task Database_CrashingAndStartedUnderLoad_IsMissedWithoutLosingWhatWasAcknowledged() =>
        AssertRecoversAsync(cluster => cluster.CrashAsync());

    private static async Task AssertRecoversAsync(Func<PostgreSqlServer, Task> takeAway)
    {
        await using var cluster = await PostgreSqlServer.StartAsync();
        await using var server = await TestServer.StartAsync(await cluster.CreateDatabaseAsync());
        var experiment = await server.CreateExperimentAsync();
        var run = (string)(await server.PostAsync("runs/create", new { experiment_id = experiment, start_time = 1 }))["run"]!["info"]!["run_id"]!;

        var acknowledged = new ConcurrentBag<long>();
        var refusals = new ConcurrentQueue<HttpResponseMessage>();
        using var enough = new CancellationTokenSource();
        var step = 0L;
        var load = Enumerable.Range(0, Writers).Select(_ => Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested)
            {
                var number = Interlocked.Increment(ref step);
                var message = new { run_id = run, key = "loss", value = number * 0.5, timestamp = number, step = number };
                var answer = await server.SendAsync(HttpMethod.Post, "runs/log-metric", TestServer.Json(message));
                if (answer.StatusCode == HttpStatusCode.OK)
                    acknowledged.Add(number);
                else
                    refusals.Enqueue(answer);
            }
        })).ToArray();

        await UntilAsync(() => acknowledged.Count >= 50);
        await takeAway(cluster);
        await UntilAsync(() => refusals.Count >= 50);
        Assert.Equal("OK", await server.Client.GetStringAsync(new Uri("/health", UriKind.Relative)));
        await server.GetRefusedAsync($"runs/get?run_id={run}", HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
        await server.PostRefusedAsync(
            "experiments/create", new { name = TestServer.FreshName("away") }, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");

        await cluster.StartAgainAsync();
        var before = acknowledged.Count;
        await UntilAsync(() => acknowledged.Count >= before + 50);
        await enough.CancelAsync();
        await Task.WhenAll(load);

        foreach (var refusal in refusals)
        {
            await TestServer.AssertErrorAsync(refusal, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "try again");
            Assert.NotNull(refusal.Headers.RetryAfter);
        }

        var history = (await server.GetAsync($"metrics/get-history?run_id={run}&metric_key=loss"))["metrics"]!.AsArray();
        var kept = history.ToDictionary(metric => (long)metric!["step"]!, metric => (double)metric!["value"]!);
        Assert.Equal([], acknowledged.Where(number => !kept.ContainsKey(number)));
        Assert.All(kept, point => Assert.Equal(point.Key * 0.5, point.Value));
        Assert.Equal(kept.Keys.Max(), LatestStep(await server.GetAsync($"runs/get?run_id={run}")));
    }

    private static long LatestStep(JsonObject answer) => (long)answer["run"]!["data"]!["metrics"]![0]!["step"]!;

    /// <summary>Waits for something that comes by itself; a test that waits in vain for so long has failed.</summary>
    private static async Task UntilAsync(Func<bool> reached)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (!reached())
            await Task.Delay(20, patience.Token);
    }
}
