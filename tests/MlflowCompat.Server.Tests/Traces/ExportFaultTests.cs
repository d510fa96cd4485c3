using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>The server, or its database, goes away in the middle of exports: what was acknowledged is there, exports whole or not at all.</summary>
public sealed class ExportFaultTests
{
    private const int Kills = 5;
    private const int Clients = 6;

    [Theory, BothDatabases]
    public async Task Server_KilledUnderExports_HasKeptWhatItAcknowledged(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        var load = new ExportLoad(Clients);
        var random = new Random(6);
        for (var kill = 0; kill < Kills; kill++)
        {
            await using var server = await ServerProcess.StartAsync(database.Address);
            if (kill == 0)
                await load.PrepareAsync(server);
            else
                await load.AssertKeptAsync(server);
            await load.SendAgainAsync(server);

            // At least so many requests, and then at any moment.
            var (enough, longer) = (load.Acknowledged + 60, random.Next(400));
            var exporting = load.RunAsync(server, kill, retrying: false, CancellationToken.None);
            while (load.Acknowledged < enough && !exporting.IsCompleted)
                await Task.Delay(1);
            await Task.WhenAny(exporting, Task.Delay(longer));
            await server.KillAsync();
            await exporting;
            Assert.True(load.Acknowledged >= enough, "the server was gone before it was killed");
            if (kind == DatabaseKind.PostgreSql)
                await PostgreSqlServer.UntilNobodyIsConnectedAsync(database.Address);
        }

        await using (var again = await ServerProcess.StartAsync(database.Address))
        {
            await load.AssertKeptAsync(again);
            await load.SendAgainAsync(again);
            await load.AssertKeptAsync(again);
        }

        await using var left = database.Open();
        await TraceRows.AssertWholeAsync(left);
    }

    [PrivateClusterFact]
    public Task Database_StoppedUnderExports_IsMissedWithoutLosingOrDoublingAny() => AssertRecoversAsync(cluster => cluster.StopAsync());

    [PrivateClusterFact]
    public Task Database_CrashingUnderExports_IsMissedWithoutLosingOrDoublingAny() => AssertRecoversAsync(cluster => cluster.CrashAsync());

    private static async Task AssertRecoversAsync(Func<PostgreSqlServer, Task> takeAway)
    {
        await using var cluster = await PostgreSqlServer.StartAsync();
        await using var server = await TestServer.StartAsync(await cluster.CreateDatabaseAsync());
        var load = new ExportLoad(Clients);
        await load.PrepareAsync(server);
        using var enough = new CancellationTokenSource();
        var exporting = load.RunAsync(server, 0, retrying: true, enough.Token);
        await UntilAsync(() => load.Acknowledged >= 50 || exporting.IsCompleted);
        await takeAway(cluster);
        await UntilAsync(() => load.Refused >= 30 || exporting.IsCompleted);
        Assert.Equal("OK", await server.Client.GetStringAsync(new Uri("/health", UriKind.Relative)));

        await cluster.StartAgainAsync();
        var before = load.Acknowledged;
        await UntilAsync(() => load.Acknowledged >= before + 50 || exporting.IsCompleted);
        await enough.CancelAsync();
        await exporting;
        await load.AssertKeptAsync(server);
        await TraceRows.AssertWholeAsync(server.Database);
    }

    /// <summary>Waits for something that comes by itself; a test that waits in vain for so long has failed.</summary>
    private static async Task UntilAsync(Func<bool> reached)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (!reached())
            await Task.Delay(20, patience.Token);
    }
}
