using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>The server's process is killed in the middle of its work: what it acknowledged is there, batches whole or not at all.</summary>
public sealed class KilledServerTests
{
    private const int Clients = 6;

    [Theory, BothDatabases]
    public async Task Server_KilledUnderLoad_HasKeptWhatItAcknowledged(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        var acknowledged = new ConcurrentDictionary<string, byte>();
        var sent = new ConcurrentDictionary<string, byte>();
        var runs = new List<string>();
        for (var round = 0; round < 2; round++)
        {
            using var process = Start(database.Address);
            using var client = new HttpClient { BaseAddress = new Uri(await ReadAddressAsync(process)) };
            if (round == 0)
            {
                for (var i = 0; i < 3; i++)
                {
                    var answer = await PostAsync(client, "runs/create", new { experiment_id = "0" });
                    runs.Add((string)answer!["run"]!["info"]!["run_id"]!);
                }
            }

            var before = acknowledged.Count;
            var enough = new TaskCompletionSource();
            var load = Enumerable.Range(0, Clients).Select(number => Task.Run(async () =>
            {
                for (var i = 0; ; i++)
                {
                    var batch = $"{round}-{number}-{i}";
                    sent.TryAdd(batch, 0);
                    try
                    {
                        await PostAsync(client, "runs/log-batch", Batch(runs[i % runs.Count], batch));
                    }
                    catch (HttpRequestException)
                    {
                        return;
                    }

                    acknowledged.TryAdd(batch, 0);
                    if (acknowledged.Count - before >= 80)
                        enough.TrySetResult();
                }
            })).ToList();
            await Task.WhenAny(enough.Task, Task.WhenAll(load));
            // On Unix that is SIGKILL: the process gets no chance to tidy up.
            process.Kill();
            await process.WaitForExitAsync();
            await Task.WhenAll(load);
            Assert.True(acknowledged.Count - before >= 80, $"only {acknowledged.Count - before} batches were acknowledged");
        }

        await using var again = await TestServer.StartAsync(database.Address);
        var whole = new HashSet<string>();
        foreach (var id in runs)
        {
            var run = await again.GetRunAsync(id);
            var (metrics, parameters, tags) = (run.Metrics(), run.Params(), run.Tags());
            tags.Remove("mlflow.runName");
            Assert.Equal(parameters.Keys.Order(), tags.Keys.Order());
            Assert.Equal(20 * parameters.Count, metrics.Count);
            foreach (var batch in parameters.Keys)
            {
                Assert.Equal(batch, parameters[batch]);
                for (var i = 0; i < 20; i++)
                    Assert.Equal(new Point(i, i, i), metrics[$"{batch}-{i}"]);
                Assert.Equal([new Point(7, 7, 7)], await again.HistoryAsync(id, $"{batch}-7"));
                Assert.True(whole.Add(batch));
            }
        }

        Assert.Empty(acknowledged.Keys.Except(whole));
        Assert.Empty(whole.Except(sent.Keys));
        await again.PostAsync("runs/log-batch", Batch(runs[0], "after"));
    }

    private static object Batch(string run, string name) => new
    {
        run_id = run,
        metrics = Enumerable.Range(0, 20).Select(i => new { key = $"{name}-{i}", value = i, timestamp = i, step = i }),
        @params = new[] { new { key = name, value = name } },
        tags = new[] { new { key = name, value = name } },
    };

    private static async Task<JsonNode?> PostAsync(HttpClient client, string route, object message)
    {
        using var answer = await client.PostAsJsonAsync(new Uri("/api/2.0/mlflow/" + route, UriKind.Relative), message);
        var body = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode, body);
        return JsonNode.Parse(body);
    }

    private static Process Start(string address)
    {
        var start = new ProcessStartInfo("dotnet") { WorkingDirectory = TestFolder.Create(), RedirectStandardOutput = true };
        foreach (var argument in new[] { Path.Combine(AppContext.BaseDirectory, "mlflow-compat.dll"), "server", "--port", "0", "--backend-store-uri", address })
            start.ArgumentList.Add(argument);
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MLFLOW_", StringComparison.Ordinal)).ToList())
            start.Environment.Remove(name);
        return Process.Start(start)!;
    }

    private static async Task<string> ReadAddressAsync(Process server)
    {
        const string Line = "MLFLOW_TRACKING_URI=";
        while (await server.StandardOutput.ReadLineAsync() is { } line)
        {
            if (line.IndexOf(Line, StringComparison.Ordinal) is >= 0 and var at)
                return line[(at + Line.Length)..];
        }

        throw new InvalidOperationException("The server ended before it said where it listens.");
    }
}
