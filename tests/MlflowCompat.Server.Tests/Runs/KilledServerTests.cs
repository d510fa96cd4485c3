using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>The server's process is killed in the middle of its work: what it acknowledged is there, requests whole or not at all.</summary>
public sealed class KilledServerTests
{
    private const int Kills = 10;
    private const int Clients = 8;
    private const int Runs = 16;

    [Theory, BothDatabases]
    public async Task Server_KilledTenTimesUnderLoad_HasKeptWhatItAcknowledged(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        var load = new WriteLoad(Clients, Runs);
        var random = new Random(10);
        for (var kill = 0; kill < Kills; kill++)
        {
            await using var server = await ServerProcess.StartAsync(database.Address);
            if (kill == 0)
                await load.PrepareAsync(server);
            else
                await load.AssertKeptAsync(server);
            await load.SendAgainAsync(server);

            // At least so many requests, and then at any moment.
            var (enough, longer) = (load.Acknowledged + 150, random.Next(800));
            var writing = load.RunAsync([server], stopping: false, CancellationToken.None);
            while (load.Acknowledged < enough && !writing.IsCompleted)
                await Task.Delay(1);
            await Task.WhenAny(writing, Task.Delay(longer));
            await server.KillAsync();
            await writing;
            Assert.True(load.Acknowledged >= enough, "the server was gone before it was killed");
            // What a killed server has asked of PostgreSQL is done or undone a moment later.
            if (kind == DatabaseKind.PostgreSql)
                await PostgreSqlServer.UntilNobodyIsConnectedAsync(database.Address);
        }

        await using var again = await ServerProcess.StartAsync(database.Address);
        await load.AssertKeptAsync(again);
        await load.SendAgainAsync(again);
        await load.AssertKeptAsync(again);
    }
}
