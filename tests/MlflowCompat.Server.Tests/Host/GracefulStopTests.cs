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
}
