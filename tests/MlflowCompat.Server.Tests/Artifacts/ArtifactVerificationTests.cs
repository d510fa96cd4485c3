using System.Security.Cryptography;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

public sealed class ArtifactVerificationTests
{
    private static readonly string[] Problems = ["Missing gone.txt", "Orphaned new.txt", "WrongHash changed.txt", "WrongSize longer.txt"];

    [Theory, BothDatabases]
    public async Task Verification_FindsWhatDoesNotAgree_AndPutsTheTableRight(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        await BreakAsync(server);

        Assert.Equal(Problems, await server.VerifyAsync());
        Assert.Equal(Problems, await server.VerifyAsync(repair: true));
        Assert.Empty(await server.VerifyAsync());
        Assert.Equal(
            ["changed.txt", "longer.txt", "new.txt", "right.txt"],
            (await server.ArtifactRowsAsync("files", "artifact_name")).Select(row => (string)row[0]!));
        Assert.All(await server.ArtifactRowsAsync("files", "file_hash"), row => Assert.Equal(64, ((string)row[0]!).Length));
    }

    [Theory, BothDatabases]
    public async Task Command_SaysByItsExitCodeWhetherAllAgrees(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        await using var server = await TestServer.StartAsync(database.Address);
        await BreakAsync(server);

        var (code, output) = await RunAsync("--hash");
        Assert.Equal(1, code);
        Assert.Contains("4 files, 4 rows: 1 missing, 1 orphaned, 1 of wrong size, 1 of wrong hash", output, StringComparison.Ordinal);
        Assert.Equal(0, (await RunAsync("--hash", "--repair")).Code);
        Assert.Equal(0, (await RunAsync()).Code);

        async Task<(int Code, string Output)> RunAsync(params string[] options)
        {
            using var process = ServerProcess.StartProgram(
                ["artifacts", "verify", "--backend-store-uri", database.Address, "--artifacts-destination", server.Folder(), .. options]);
            var error = process.StandardError.ReadToEndAsync();
            var text = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            return (process.ExitCode, text + await error);
        }
    }

    [Theory, BothDatabases]
    public async Task Server_KilledDuringUploads_HasKeptWhatItAcknowledged_AndNoHalfFiles(DatabaseKind kind)
    {
        const int Kills = 4;
        const int Clients = 8;
        const int Files = 5;
        await using var database = await TestDatabase.CreateAsync(kind);
        var folder = Path.Combine(TestFolder.Create(), "artifacts");
        var random = new Random(4);
        // What each file may hold: what was acknowledged last, and what was on its way.
        var acknowledged = new byte[Clients * Files][];
        var sent = new byte[Clients * Files][];
        var count = 0;
        for (var kill = 0; kill < Kills; kill++)
        {
            await using var server = await ServerProcess.StartAsync(database.Address, "--artifacts-destination", folder);
            await AssertWholeAsync(server);
            var enough = count + 60;
            var writing = Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
            {
                var own = new Random((kill * Clients) + client);
                try
                {
                    while (true)
                    {
                        var file = (client * Files) + own.Next(Files);
                        sent[file] = RandomNumberGenerator.GetBytes(own.Next(4) == 0 ? own.Next(2_000_000) : own.Next(5_000));
                        await server.UploadAsync($"killed/{file}.bin", sent[file]);
                        acknowledged[file] = sent[file];
                        Interlocked.Increment(ref count);
                    }
                }
                catch (HttpRequestException)
                {
                    // The server is gone.
                }
            })).ToArray();
            await ArtifactCalls.UntilAsync(() => Task.FromResult(Volatile.Read(ref count) >= enough));
            await Task.Delay(random.Next(300));
            await server.KillAsync();
            await Task.WhenAll(writing);
            if (kind == DatabaseKind.PostgreSql)
                await PostgreSqlServer.UntilNobodyIsConnectedAsync(database.Address);
        }

        await using var again = await TestServer.StartAsync(database.Address, options => options with { ArtifactsDestination = folder });
        await AssertWholeAsync(again);
        await ArtifactCalls.UntilAsync(async () => (await again.ArtifactRowsAsync("killed", "upload_id")).TrueForAll(row => row[0] is null));
        Assert.Empty(await again.VerifyAsync());

        async Task AssertWholeAsync(ApiServer server)
        {
            for (var file = 0; file < sent.Length; file++)
            {
                var content = await server.DownloadAsync($"killed/{file}.bin");
                Assert.True(
                    content is null ? acknowledged[file] is null : content.AsSpan().SequenceEqual(acknowledged[file]) || content.AsSpan().SequenceEqual(sent[file]),
                    $"file {file} holds neither what was acknowledged nor what was sent last");
                // The one that is there now is the one that has to stay.
                acknowledged[file] = content!;
            }
        }
    }

    private static async Task BreakAsync(TestServer server)
    {
        foreach (var name in (string[])["right", "gone", "changed", "longer"])
            await server.UploadAsync($"files/{name}.txt", name);
        // Every row has to be sure of its file: until then it is left alone.
        await ArtifactCalls.UntilAsync(async () => (await server.ArtifactRowsAsync("files", "upload_id")).TrueForAll(row => row[0] is null));
        var folder = Path.Combine(server.Folder(), "files");
        File.Delete(Path.Combine(folder, "gone.txt"));
        await File.WriteAllTextAsync(Path.Combine(folder, "changed.txt"), "CHANGED");
        await File.WriteAllTextAsync(Path.Combine(folder, "longer.txt"), "longer than before");
        await File.WriteAllTextAsync(Path.Combine(folder, "new.txt"), "new");
    }
}
