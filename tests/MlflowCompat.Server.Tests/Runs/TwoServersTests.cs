using System.Globalization;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>
/// Two servers on one PostgreSQL, written to at the same time. <c>MLFLOW_COMPAT_TEST_SOAK_SECONDS</c> says for how long; a minute is
/// what a release should have passed.
/// </summary>
public sealed class TwoServersTests
{
    private const string SecondsVariable = "MLFLOW_COMPAT_TEST_SOAK_SECONDS";
    private const int DefaultSeconds = 8;
    private const int Clients = 12;
    private const int Runs = 12;

    [Fact]
    public async Task TwoServers_UnderWriteLoad_LoseNothingAndNeverBlockEachOther()
    {
        var seconds = int.TryParse(Environment.GetEnvironmentVariable(SecondsVariable), CultureInfo.InvariantCulture, out var given) ? given : DefaultSeconds;
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        await using var first = await ServerProcess.StartAsync(database.Address);
        await using var second = await ServerProcess.StartAsync(database.Address);
        var load = new WriteLoad(Clients, Runs);
        await load.PrepareAsync(first);

        using var time = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        await load.RunAsync([first, second], stopping: false, time.Token);

        await load.AssertKeptAsync(first);
        await load.AssertKeptAsync(second);
        // A deadlock that a server got over by trying again is one too. Sessions that have ended have reported all of theirs.
        foreach (var server in new[] { first, second })
            Assert.Equal(0, (await server.StopAsync(CancellationToken.None)).ExitCode);
        await PostgreSqlServer.UntilNobodyIsConnectedAsync(database.Address);
        Assert.Equal(0, await PostgreSqlServer.CountDeadlocksAsync(database.Address));
    }
}
