using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Tests.Host;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

/// <summary>What clients are told when the store fails, and what is left then.</summary>
public sealed class ArtifactFaultTests
{
    [Theory, BothDatabases]
    public async Task StoreThatFails_IsToldAsWhatItIs_ByEveryRoute(DatabaseKind kind)
    {
        await using var started = await ArtifactServer.StartAsync(
            kind, StoreKind.S3, reach: s3 => s3 with { CallLimit = TimeSpan.FromSeconds(2), IdleLimit = TimeSpan.FromSeconds(2) });
        var (server, s3) = (started.Server, started.S3);
        var (run, root) = await server.CreateRunWithRootAsync();
        await server.UploadAsync($"{root}/a.txt", "a");
        foreach (var (status, code, expected, errorCode) in ((int, string, int, string)[])
        [
            (404, "NoSuchBucket", 500, "INTERNAL_ERROR"), (403, "AccessDenied", 500, "INTERNAL_ERROR"), (403, "", 500, "INTERNAL_ERROR"),
            (503, "SlowDown", 503, "TEMPORARILY_UNAVAILABLE"), (502, "", 503, "TEMPORARILY_UNAVAILABLE"), (507, "XMinioStorageFull", 507, "INTERNAL_ERROR"),
            (0, "no answer", 503, "TEMPORARILY_UNAVAILABLE"), (-1, "cut", 503, "TEMPORARILY_UNAVAILABLE"),
        ])
        {
            s3.Intercept = context => FailAsync(context, status, code);
            lock (s3.Requests)
                s3.Requests.Clear();
            // What is tried again takes its time, for all in the same way.
            var routes = expected == 503 ? 3 : int.MaxValue;
            await AssertFailsAsync(server, run, root, (HttpStatusCode)expected, errorCode, routes);
            lock (s3.Requests)
            {
                // Where a connection is cut, the HTTP client asks again on its own.
                if (status > 0)
                    Assert.InRange(s3.Requests.Count, 1, expected == 503 ? 3 * routes : 24);
            }
        }

        s3.Intercept = null;
        Assert.Equal("a"u8.ToArray(), await server.DownloadAsync($"{root}/a.txt"));
        Assert.Equal(["a.txt"], await server.NamesAsync(root));
        Assert.Empty(s3.Uploads);
        Assert.Equal(["a.txt"], Assert.Single(await server.ArtifactRowsAsync(root, "artifact_path")));
    }

    [Fact]
    public async Task StoreThatIsNotThere_OrDoesNotKnowTheServer_IsToldAsWhatItIs()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        await using (var gone = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, StoreKind.S3, reach: s3 => s3 with { Endpoint = new Uri($"http://127.0.0.1:{port}") }))
        {
            var (run, root) = await gone.Server.CreateRunWithRootAsync();
            await AssertFailsAsync(gone.Server, run, root, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
        }

        await using (var wrong = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, StoreKind.S3, reach: s3 => s3 with { SecretAccessKey = "topsecret" }))
        {
            var (run, root) = await wrong.Server.CreateRunWithRootAsync();
            await AssertFailsAsync(wrong.Server, run, root, HttpStatusCode.InternalServerError, "INTERNAL_ERROR");
        }
    }

    [Theory, BothDatabases]
    public async Task UploadThatTheStoreDoesNotTakeAtTheEnd_ChangesNothing_OnceItIsRecovered(DatabaseKind kind)
    {
        await using var started = await ArtifactServer.StartAsync(kind, StoreKind.S3);
        var (server, s3) = (started.Server, started.S3);
        await server.UploadAsync("f/kept.bin", "kept");
        await ArtifactCalls.UntilAsync(async () => (await server.ArtifactRowsAsync("f", "upload_id")).TrueForAll(row => row[0] is null));
        var large = RandomNumberGenerator.GetBytes(9_000_000);
        // The one request that shows a file: a PUT of a small one, a POST of the list of parts of a large one.
        s3.Intercept = context => context.Request.Method == "PUT" && context.Request.Query.Count == 0 || context.Request.Query.ContainsKey("uploadId") && context.Request.Method == "POST"
            ? FailAsync(context, 503, "SlowDown")
            : Task.FromResult(false);
        foreach (var (name, content) in ((string, byte[])[])[("kept.bin", [1]), ("new.bin", [1]), ("large.bin", large)])
        {
            using var response = await server.SendAsync(HttpMethod.Put, $"{ArtifactCalls.Proxy}f/{name}", new ByteArrayContent(content));
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
        }

        s3.Intercept = null;
        Assert.Equal(["kept.bin"], await server.NamesAsync("f"));
        Assert.Equal("kept"u8.ToArray(), await server.DownloadAsync("f/kept.bin"));
        Assert.Empty(s3.Uploads);

        // Uploads to S3 may be another server's for a minute; here there is none.
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(server.Database.Statement("UPDATE artifacts SET updated_at = updated_at - interval '1 hour'", "UPDATE artifacts SET updated_at = updated_at - 3600000"), token),
            CancellationToken.None);
        await server.Services.GetRequiredService<ArtifactUpkeep>().RecoverAsync(atStart: false, CancellationToken.None);
        Assert.Equal(["kept.bin", 4L, null], Assert.Single(await server.ArtifactRowsAsync("f", "artifact_name, file_size_bytes, upload_id")));
        Assert.Empty(await server.VerifyAsync());
    }

    [Fact]
    public async Task Download_OverConnectionsToTheStoreThatBreak_IsWhole_OrSeenToBeBroken()
    {
        await using var started = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, StoreKind.S3);
        var (server, s3) = (started.Server, started.S3);
        var content = RandomNumberGenerator.GetBytes(4_000_000);
        await server.UploadAsync("f.bin", content);
        var broken = 0;
        s3.Intercept = context => context.Request.Method == "GET" && broken++ < 2 ? CutAsync(context) : Task.FromResult(false);
        Assert.Equal(content, await server.DownloadAsync("f.bin"));

        s3.Intercept = context => context.Request.Method == "GET" ? CutAsync(context) : Task.FromResult(false);
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => server.DownloadAsync("f.bin"));
        s3.Intercept = null;
        Assert.Equal(content, await server.DownloadAsync("f.bin"));

        async Task<bool> CutAsync(HttpContext context)
        {
            var from = context.Request.GetTypedHeaders().Range?.Ranges.Single().From ?? 0;
            var rest = content.AsMemory((int)from);
            var response = context.Response;
            response.StatusCode = from == 0 ? 200 : 206;
            response.ContentLength = rest.Length;
            response.Headers.ETag = s3.Objects[ArtifactServer.Prefix + "f.bin"].ETag;
            await response.Body.WriteAsync(rest[..100_000]);
            await response.Body.FlushAsync();
            context.Abort();
            return true;
        }
    }

    [Fact]
    public async Task Download_ThatTheClientBreaksOff_LeavesNothingOpen()
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            await using var started = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, store);
            await started.Server.UploadAsync("f.bin", new byte[30_000_000]);
            for (var i = 0; i < 20; i++)
            {
                using var client = await RawHttp.ConnectAsync(started.Server);
                await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes($"GET {ArtifactCalls.Proxy}f.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"));
                Assert.StartsWith("HTTP/1.1 200 ", await RawHttp.ReadHeadAsync(client), StringComparison.Ordinal);
            }

            if (store == StoreKind.Local)
            {
                var file = Path.Combine(started.Server.Folder(), "f.bin");
                await ArtifactCalls.UntilAsync(() => Task.FromResult(!Directory.GetFiles("/proc/self/fd").Any(open => new System.IO.FileInfo(open).LinkTarget == file)));
            }

            Assert.Equal(30_000_000, (await started.Server.DownloadAsync("f.bin"))!.Length);
        }
    }

    [Theory, EachStore]
    public async Task ClientThatSendsLessThanItSaid_IsRefused_AndNothingIsLeft(DatabaseKind kind, StoreKind store)
    {
        await using var started = await ArtifactServer.StartAsync(kind, store);
        var server = started.Server;
        await server.UploadAsync("f/kept.bin", "kept");
        foreach (var (announced, sent) in ((int, int)[])[(5, 0), (5, 4), (20_000_000, 9_000_000)])
        {
            foreach (var name in (string[])["kept.bin", "new.bin"])
            {
                using var client = await RawHttp.ConnectAsync(server);
                var stream = client.GetStream();
                await stream.WriteAsync(Encoding.Latin1.GetBytes($"PUT {ArtifactCalls.Proxy}f/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n\r\n{new string('x', sent)}"));
                client.Client.Shutdown(SocketShutdown.Send);
                using var reader = new StreamReader(stream);
                try
                {
                    Assert.DoesNotContain(" 200 ", await reader.ReadLineAsync() ?? "", StringComparison.Ordinal);
                }
                catch (IOException)
                {
                    // No answer is one as well.
                }
            }
        }

        Assert.Equal(["kept.bin"], await server.NamesAsync("f"));
        Assert.Equal("kept"u8.ToArray(), await server.DownloadAsync("f/kept.bin"));
        Assert.Single(await server.ArtifactRowsAsync("f", "artifact_id"));
        if (store == StoreKind.S3)
            await ArtifactCalls.UntilAsync(() => Task.FromResult(started.S3.Uploads.Count == 0));
        else
            await ArtifactCalls.UntilAsync(() => Task.FromResult(Directory.GetFiles(Path.Combine(server.Folder(), ".mlflow-compat"), "*", SearchOption.AllDirectories).Length == 0));
        Assert.Empty(await server.VerifyAsync());
    }

    [SmallFileSystemFact]
    public async Task FullDisk_IsSaid_AndNothingIsLeft()
    {
        foreach (var kind in (DatabaseKind[])[DatabaseKind.Sqlite, DatabaseKind.PostgreSql])
        {
            using var small = new SmallFileSystem();
            await using var server = await TestServer.StartAsync(kind, options => options with { ArtifactsDestination = small.Folder });
            var run = await server.CreateRunAsync();
            await server.UploadAsync("f/kept.bin", "kept");
            foreach (var chunked in (bool[])[false, true])
            {
                foreach (var (method, target) in ((HttpMethod, string)[])
                    [(HttpMethod.Put, ArtifactCalls.Proxy + "f/kept.bin"), (HttpMethod.Put, ArtifactCalls.Proxy + "f/new.bin"), (HttpMethod.Post, $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=x")])
                {
                    using var request = new HttpRequestMessage(method, target) { Content = new ByteArrayContent(new byte[3_000_000]) };
                    request.Headers.TransferEncodingChunked = chunked;
                    using var response = await server.Client.SendAsync(request);
                    await ApiServer.AssertErrorAsync(response, HttpStatusCode.InsufficientStorage, "INTERNAL_ERROR", "no room");
                    Assert.DoesNotContain(small.Folder, await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
                }
            }

            Assert.Equal(["kept.bin"], await server.NamesAsync("f"));
            Assert.Equal("kept"u8.ToArray(), await server.DownloadAsync("f/kept.bin"));
            Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(small.Folder, ".mlflow-compat", "uploads")));
            await server.UploadAsync("f/new.bin", new byte[500_000]);
            await ArtifactCalls.UntilAsync(async () => (await server.ArtifactRowsAsync("f", "upload_id")).TrueForAll(row => row[0] is null));
            Assert.Empty(await server.VerifyAsync());
        }
    }

    [SmallFileSystemFact]
    public async Task ClaimsOfLargeUploads_DoNotFillTheDisk()
    {
        using var small = new SmallFileSystem(size: 64);
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ArtifactsDestination = small.Folder });
        using var first = await ClaimAsync();
        using var second = await ClaimAsync();
        using var large = await server.SendAsync(HttpMethod.Put, ArtifactCalls.Proxy + "large.bin", new ByteArrayContent(new byte[65 << 20]));
        Assert.Equal(HttpStatusCode.InsufficientStorage, large.StatusCode);

        async Task<TcpClient> ClaimAsync()
        {
            var client = await RawHttp.ConnectAsync(server);
            await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(
                $"PUT {ArtifactCalls.Proxy}claimed.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {40 << 20}\r\nExpect: 100-continue\r\n\r\n"));
            Assert.StartsWith("HTTP/1.1 100 ", await RawHttp.ReadHeadAsync(client), StringComparison.Ordinal);
            return client;
        }
    }

    [Fact]
    public async Task ClientThatHasNotSentItsFile_IsToldAllTheSameThatTheStoreFails()
    {
        await using var started = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, StoreKind.S3);
        started.S3.Intercept = context => FailAsync(context, 403, "AccessDenied");
        var answer = await RawHttp.SendAsync(started.Server, $"PUT {ArtifactCalls.Proxy}f.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 500 ", answer, StringComparison.Ordinal);
    }

    [SmallFileSystemFact]
    public async Task ReadOnlyRoot_IsSaid_AndCanBeRead()
    {
        using var small = new SmallFileSystem();
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ArtifactsDestination = small.Folder });
        await server.UploadAsync("f/kept.bin", "kept");
        small.MakeReadOnly();
        foreach (var (method, target) in ((HttpMethod, string)[])[(HttpMethod.Put, "f/kept.bin"), (HttpMethod.Put, "f/new.bin"), (HttpMethod.Put, "g/new.bin"), (HttpMethod.Delete, "f/kept.bin"), (HttpMethod.Delete, "f")])
        {
            using var response = await server.SendAsync(method, ArtifactCalls.Proxy + target, method == HttpMethod.Put ? new ByteArrayContent([1]) : null);
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.InternalServerError, "INTERNAL_ERROR", "read-only");
            Assert.DoesNotContain(small.Folder, await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        Assert.Equal(["kept.bin"], await server.NamesAsync("f"));
        Assert.Equal("kept"u8.ToArray(), await server.DownloadAsync("f/kept.bin"));
    }

    /// <summary>Every route fails in the same way, and says nothing that is nobody's business.</summary>
    private static async Task AssertFailsAsync(
        TestServer server, string run, string root, HttpStatusCode status, string errorCode, int routes = int.MaxValue)
    {
        foreach (var (method, target) in new (string, string)[]
        {
            ("GET", $"{ArtifactCalls.Proxy}{root}/a.txt"), ("HEAD", $"{ArtifactCalls.Proxy}{root}/a.txt"), ("PUT", $"{ArtifactCalls.Proxy}{root}/new.txt"),
            ("GET", $"{ArtifactCalls.Api}artifacts?path={root}"), ("GET", $"{ArtifactCalls.Api}presigned/{root}/a.txt"), ("DELETE", $"{ArtifactCalls.Proxy}{root}/none"),
            ("POST", $"{ArtifactCalls.Api}mpu/create/{root}"), ("POST", $"{ArtifactCalls.Api}mpu/complete/{root}"), ("POST", $"{ArtifactCalls.Api}mpu/abort/{root}"),
            ("GET", $"artifacts/list?run_id={run}"), ("GET", $"/get-artifact?run_id={run}&path=a.txt"), ("POST", $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=new.txt"),
        }.Take(routes))
        {
            using var body = method switch
            {
                "POST" => ApiServer.Json(new { path = "x", num_parts = 1, upload_id = "u", parts = new[] { new { part_number = 1, etag = "e" } } }),
                "PUT" => new ByteArrayContent([1]),
                _ => null,
            };
            using var response = await server.SendAsync(new HttpMethod(method), target, body);
            if (method == "HEAD")
            {
                Assert.True(status == response.StatusCode, $"{method} {target}: {response.StatusCode}");
            }
            else
            {
                await ApiServer.AssertErrorAsync(response, status, errorCode);
                var answer = await response.Content.ReadAsStringAsync();
                foreach (var secret in (string[])["hush", "topsecret", "AKIDTEST", "bucket/", "prefix", "127.0.0.1"])
                    Assert.DoesNotContain(secret, answer.Replace(root, "", StringComparison.Ordinal), StringComparison.Ordinal);
            }

            Assert.Equal(status == HttpStatusCode.ServiceUnavailable, response.Headers.RetryAfter is not null);
        }
    }

    private static async Task<bool> FailAsync(HttpContext context, int status, string code)
    {
        if (status > 0)
            await FakeS3.FailAsync(context, status, code);
        else if (status < 0)
            context.Abort();
        else
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return true;
    }
}
