using System.Collections.Concurrent;
using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>The server is told to stop in the middle of its work, as by a container engine or Ctrl+C.</summary>
public sealed class GracefulStopTests
{
    private const int Clients = 8;
    private const int Runs = 8;

    /// <summary>Container engines kill what is still there after this time, so it is no measure of speed but part of the behaviour.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [Theory, BothDatabases]
    public async Task Server_StoppedUnderLoad_AnswersOrRefusesAndKeepsWhatItAcknowledged(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        var load = new WriteLoad(Clients, Runs);
        for (var stop = 0; stop < 3; stop++)
        {
            await using var server = await ServerProcess.StartAsync(database.Address);
            if (stop == 0)
                await load.PrepareAsync(server);
            else
                await load.AssertKeptAsync(server);
            await load.SendAgainAsync(server);

            var enough = load.Acknowledged + 100;
            var writing = load.RunAsync([server], stopping: true, CancellationToken.None);
            while (load.Acknowledged < enough && !writing.IsCompleted)
                await Task.Delay(1);
            using var patience = new CancellationTokenSource(Patience);
            var (exitCode, output) = await server.StopAsync(patience.Token);
            await writing;

            Assert.True(load.Acknowledged >= enough, "the server was gone before it was told to stop");
            Assert.Equal(0, exitCode);
            // Nothing that a request failed with, and no end by an exception.
            Assert.DoesNotContain("Exception", output, StringComparison.Ordinal);
        }

        await using var again = await ServerProcess.StartAsync(database.Address);
        await load.AssertKeptAsync(again);
    }

    /// <summary>Requests that the database keeps waiting do not keep the server from ending, and what it refuses is not written later.</summary>
    [Theory, BothDatabases]
    public async Task Server_StoppedWhileTheDatabaseIsHeld_StillEnds(DatabaseKind kind)
    {
        await using var testDatabase = await TestDatabase.CreateAsync(kind);
        await using var server = await ServerProcess.StartAsync(testDatabase.Address);
        var id = await server.CreateRunAsync();
        await using var database = testDatabase.Open();
        var held = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var holder = database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(database.Statement("UPDATE runs SET user_id = user_id WHERE run_uuid = $1").Add(Guid.ParseExact(id, "N")), token);
                held.SetResult();
                await release.Task;
            },
            CancellationToken.None);
        await held.Task;
        var refused = new ConcurrentBag<string>();
        try
        {
            var writes = Enumerable.Range(0, 20).Select(async i =>
            {
                try
                {
                    using var answer = await server.SendAsync(HttpMethod.Post, "runs/set-tag", ApiServer.Json(new { run_id = id, key = $"{i}", value = "x" }));
                    await ApiServer.AssertErrorAsync(answer, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
                    refused.Add($"{i}");
                }
                catch (HttpRequestException)
                {
                    // Cut off without an answer: it may be written or not.
                }
            }).ToList();
            await Task.Delay(500);
            // Requests get most of the engine's patience; a busy machine's delay on top of it is not what is tested here.
            using var patience = new CancellationTokenSource(3 * Patience);
            Assert.Equal(0, (await server.StopAsync(patience.Token)).ExitCode);
            await Task.WhenAll(writes);
        }
        finally
        {
            release.SetResult();
            await holder;
        }

        await using var again = await ServerProcess.StartAsync(testDatabase.Address);
        Assert.Empty((await again.GetRunAsync(id)).Tags().Keys.Intersect(refused));
    }
}
