using System.Security.Cryptography;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

public sealed class ArtifactVerificationTests
{
    private static readonly string[] Problems = ["Missing gone.txt", "Orphaned new.txt", "WrongHash changed.txt", "WrongSize longer.txt"];

    [Theory, EachStore]
    public async Task Verification_FindsWhatDoesNotAgree_AndPutsTheTableRight(DatabaseKind kind, StoreKind store)
    {
        await using var started = await ArtifactServer.StartAsync(kind, store);
        var server = started.Server;
        await BreakAsync(started);

        Assert.Equal(Problems, await server.VerifyAsync());
        Assert.Equal(Problems, await server.VerifyAsync(repair: true));
        Assert.Empty(await server.VerifyAsync());
        Assert.Equal(
            ["changed.txt", "longer.txt", "new.txt", "right.txt"],
            (await server.ArtifactRowsAsync("files", "artifact_name")).Select(row => (string)row[0]!));
        Assert.All(await server.ArtifactRowsAsync("files", "file_hash"), row => Assert.Equal(64, ((string)row[0]!).Length));
    }

    [Theory, EachStore]
    public async Task Command_SaysByItsExitCodeWhetherAllAgrees(DatabaseKind kind, StoreKind store)
    {
        await using var started = await ArtifactServer.StartAsync(kind, store);
        await BreakAsync(started);
        var options = started.Server.Services.GetRequiredService<ServerOptions>();

        var (code, output) = await RunAsync("--hash");
        Assert.Equal(1, code);
        Assert.Contains("4 files, 4 rows: 1 missing, 1 orphaned, 1 of wrong size, 1 of wrong hash", output, StringComparison.Ordinal);
        Assert.Equal(0, (await RunAsync("--hash", "--repair")).Code);
        Assert.Equal(0, (await RunAsync()).Code);

        async Task<(int Code, string Output)> RunAsync(params string[] arguments)
        {
            using var process = ServerProcess.StartProgram(
                ["artifacts", "verify", "--backend-store-uri", options.BackendStoreUri, "--artifacts-destination", options.ArtifactsDestination, .. arguments],
                store == StoreKind.S3 ? ArtifactServer.VariablesOf(started.S3) : []);
            var error = process.StandardError.ReadToEndAsync();
            var text = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            return (process.ExitCode, text + await error);
        }
    }

    [Theory, EachStore]
    public async Task Server_KilledDuringUploads_HasKeptWhatItAcknowledged_AndNoHalfFiles(DatabaseKind kind, StoreKind store)
    {
        const int Kills = 4;
        const int Clients = 8;
        const int Files = 5;
        await using var database = await TestDatabase.CreateAsync(kind);
        await using var s3 = await FakeS3.StartAsync();
        var (destination, variables) = store == StoreKind.S3
            ? (ArtifactServer.Destination, ArtifactServer.VariablesOf(s3))
            : (Path.Combine(TestFolder.Create(), "artifacts"), []);
        // Beyond 8 MiB they go to S3 in parts.
        var largest = store == StoreKind.S3 ? 12_000_000 : 2_000_000;
        var random = new Random(4);
        // What each file may hold: what was acknowledged last, and what was on its way.
        var acknowledged = new byte[Clients * Files][];
        var sent = new byte[Clients * Files][];
        var count = 0;
        for (var kill = 0; kill < Kills; kill++)
        {
            await using var server = await ServerProcess.StartAsync(database.Address, variables, "--artifacts-destination", destination);
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
                        sent[file] = RandomNumberGenerator.GetBytes(own.Next(4) == 0 ? own.Next(largest) : own.Next(5_000));
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

        // Uploads to S3 may be another server's for a minute; here there is none.
        await using (var opened = BackendStoreUri.Parse(database.Address))
        {
            await opened.WriteAsync(
                (session, token) => session.ExecuteAsync(
                    opened.Statement("UPDATE artifacts SET updated_at = updated_at - interval '1 hour'", "UPDATE artifacts SET updated_at = updated_at - 3600000"), token),
                CancellationToken.None);
        }

        await using var again = await TestServer.StartAsync(
            database.Address, options => options with { ArtifactsDestination = destination }, ArtifactServer.Reaching(s3));
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

    private static async Task BreakAsync(ArtifactServer started)
    {
        var server = started.Server;
        foreach (var name in (string[])["right", "gone", "changed", "longer"])
            await server.UploadAsync($"files/{name}.txt", name);
        // Every row has to be sure of its file: until then it is left alone.
        await ArtifactCalls.UntilAsync(async () => (await server.ArtifactRowsAsync("files", "upload_id")).TrueForAll(row => row[0] is null));
        started.Remove("files/gone.txt");
        await started.WriteAsync("files/changed.txt", "CHANGED");
        await started.WriteAsync("files/longer.txt", "longer than before");
        await started.WriteAsync("files/new.txt", "new");
    }
}
