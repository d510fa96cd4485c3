using System.Net;
using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Tests.Host;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

public sealed class ArtifactProxyTests
{
    [Theory, EachStore]
    public async Task File_UploadedReplacedAndDeleted_IsAsTheTableSays(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (run, root) = await server.CreateRunWithRootAsync();
        const string Columns = "artifact_name, artifact_type, artifact_path, file_size_bytes, file_format, mime_type, file_hash, storage_type";

        await server.UploadAsync($"{root}/plots/loss.png", "first");
        Assert.Equal("first"u8.ToArray(), await server.DownloadAsync($"{root}/plots/loss.png"));
        Assert.Equal(["plots"], await server.NamesAsync(root));
        Assert.Equal(["loss.png"], await server.NamesAsync($"{root}/plots"));
        Assert.Equal(
            ["loss.png", "plot", "plots/loss.png", 5L, "png", "image/png", Hash("first"), store == StoreKind.S3 ? "s3" : "local"],
            Assert.Single(await server.ArtifactRowsAsync(root, Columns)));
        var place = store == StoreKind.S3 ? ArtifactServer.Destination : $"file://{server.Folder()}";
        Assert.Equal([$"{place}/{root}/plots/loss.png"], Assert.Single(await server.ArtifactRowsAsync(root, "storage_path")));
        Assert.Equal(
            "plots/loss.png",
            Assert.Single(await server.RowAsync(run, "SELECT a.artifact_path FROM artifacts a JOIN runs r ON r.run_id = a.run_id WHERE r.run_uuid = $1")));

        await server.UploadAsync($"{root}/plots/loss.png", "the second");
        Assert.Equal("the second"u8.ToArray(), await server.DownloadAsync($"{root}/plots/loss.png"));
        Assert.Equal([10L, Hash("the second")], Assert.Single(await server.ArtifactRowsAsync(root, "file_size_bytes, file_hash")));

        await server.DeleteAsync($"{root}/plots/loss.png");
        Assert.Null(await server.DownloadAsync($"{root}/plots/loss.png"));
        Assert.Empty(await server.NamesAsync(root));
        Assert.Empty(await server.ArtifactRowsAsync(root, "artifact_id"));
        await server.DeleteAsync($"{root}/plots/loss.png");
    }

    [Theory, EachStore]
    public async Task Upload_OfARunThatIsNone_BelongsToItsExperimentOrNobody(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var experiment = await server.CreateExperimentAsync();
        var nobodys = Guid.NewGuid().ToString("N");

        await server.UploadAsync($"{experiment}/{nobodys}/artifacts/a.txt", "a");
        await server.UploadAsync($"{nobodys}/b.txt", "b");

        Assert.Equal(
            [null, long.Parse(experiment, System.Globalization.CultureInfo.InvariantCulture)],
            Assert.Single(await server.ArtifactRowsAsync($"{nobodys}/artifacts", "run_id, experiment_id")));
        Assert.Contains(await server.ArtifactRowsAsync(nobodys, "artifact_path, experiment_id"), row => (string)row[0]! == $"{nobodys}/b.txt" && row[1] is null);
    }

    [Theory, EachStore]
    public async Task Delete_OfAFolder_TakesTheRowsBelowItAndNoOthers(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (_, root) = await server.CreateRunWithRootAsync();
        string[] names = ["a/b.txt", "a/c/d.txt", "ab.txt", "a_/b.txt", "a%25/b.txt", "a0", "a-", "A/b.txt"];
        foreach (var name in names)
            await server.UploadAsync($"{root}/{name}", name);

        await server.DeleteAsync($"{root}/a");

        Assert.Equal(
            ["A/b.txt", "a%/b.txt", "a-", "a0", "a_/b.txt", "ab.txt"],
            (await server.ArtifactRowsAsync(root, "artifact_path")).Select(row => (string)row[0]!).Order(StringComparer.Ordinal));
        Assert.Equal(["A", "a%", "a-", "a0", "a_", "ab.txt"], await server.NamesAsync(root));
    }

    [Theory, EachStore]
    public async Task Delete_OfAFolderThatEndsWithASlash_IsThatOfTheFolder(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (_, root) = await server.CreateRunWithRootAsync();
        await server.UploadAsync($"{root}/a/b.txt", "b");

        // What MLflow's clients send for all artifacts of a run.
        await server.DeleteAsync($"{root}/");

        Assert.Empty(await server.NamesAsync(root));
        Assert.Empty(await server.ArtifactRowsAsync(root, "artifact_id"));
        using var all = await server.SendAsync(HttpMethod.Delete, ArtifactCalls.Proxy + "/");
        Assert.Equal(HttpStatusCode.BadRequest, all.StatusCode);
    }

    [Theory, EachStore]
    public async Task Upload_InChunksOfUnknownLength_IsTakenWhole(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var content = RandomNumberGenerator.GetBytes(3_000_000);
        var name = TestServer.FreshName("chunked");
        using var request = new HttpRequestMessage(HttpMethod.Put, ArtifactCalls.Proxy + name) { Content = new ByteArrayContent(content) };
        request.Headers.TransferEncodingChunked = true;
        using var response = await server.Client.SendAsync(request);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(content, await server.DownloadAsync(name));
    }

    [Theory, BothDatabases]
    public async Task Upload_ThatBreaksOff_LeavesNothing(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        foreach (var head in (string[])["Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nF4240\r\n"])
        {
            using var client = await RawHttp.ConnectAsync(server);
            await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes($"PUT {ArtifactCalls.Proxy}broken/off.bin HTTP/1.1\r\nHost: localhost\r\n{head}{new string('x', 300_000)}"));
            await ArtifactCalls.UntilAsync(() => Task.FromResult(FilesIn(server).Length > 0));
            client.Close();
            await ArtifactCalls.UntilAsync(() => Task.FromResult(FilesIn(server).Length == 0));
        }

        Assert.Empty(await server.NamesAsync("broken"));
        Assert.Null(await server.DownloadAsync("broken/off.bin"));
        Assert.Empty(await server.ArtifactRowsAsync("broken", "artifact_id"));

        static string[] FilesIn(TestServer server) =>
            Directory.Exists(server.Folder()) ? Directory.GetFiles(server.Folder(), "*", SearchOption.AllDirectories) : [];
    }

    [Theory, EachStore]
    public async Task Download_WhileTheFileIsReplaced_GoesOnWithTheOldContent(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var name = TestServer.FreshName("replaced");
        var old = RandomNumberGenerator.GetBytes(20_000_000);
        await server.UploadAsync(name, old);
        using var response = await server.Client.GetAsync(new Uri(ArtifactCalls.Proxy + name, UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);

        await server.UploadAsync(name, "new");

        Assert.Equal(old, await response.Content.ReadAsByteArrayAsync());
        Assert.Equal("new"u8.ToArray(), await server.DownloadAsync(name));
    }

    [Theory, EachStore]
    public async Task FilesThatArrivedWithoutTheServer_GetRowsWhenTheyAreListed(DatabaseKind kind, StoreKind store)
    {
        await using var started = await ArtifactServer.StartAsync(kind, store);
        var server = started.Server;
        var (_, root) = await server.CreateRunWithRootAsync();
        for (var i = 0; i < 1200; i++)
            await started.WriteAsync($"{root}/many/{i}.csv", "x");

        Assert.Equal(1200, (await server.NamesAsync($"{root}/many")).Count);

        await ArtifactCalls.UntilAsync(async () => (await server.ArtifactRowsAsync($"{root}/many", "artifact_id")).Count == 1200);
        Assert.All(
            await server.ArtifactRowsAsync(root, "artifact_type, file_size_bytes, file_hash, upload_id"),
            row => Assert.Equal(["data", 1L, null, null], row));
    }

    [Theory, EachStore]
    public async Task Accesses_AreCounted_AndUploadsCleared_AtTheLatestAtTheStop(DatabaseKind kind, StoreKind store)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        await using var s3 = await FakeS3.StartAsync();
        await using (var server = await StartAsync())
        {
            await server.UploadAsync("counted/a", "a");
            for (var i = 0; i < 3; i++)
                await server.DownloadAsync("counted/a");
            await server.SendAsync(HttpMethod.Head, ArtifactCalls.Proxy + "counted/a");
            await server.StopAsync();
        }

        await using var again = await StartAsync();
        Assert.Equal([3L, null], Assert.Single(await again.ArtifactRowsAsync("counted", "access_count, upload_id")));

        Task<TestServer> StartAsync() => store == StoreKind.S3
            ? TestServer.StartAsync(database.Address, ArtifactServer.OnBucket(), ArtifactServer.Reaching(s3))
            : TestServer.StartAsync(database.Address);
    }

    [Theory]
    [InlineData("page.html", "text/html; charset=utf-8", "attachment; filename=page.html")]
    [InlineData("drawing.svg", "image/svg+xml", "attachment; filename=drawing.svg")]
    [InlineData("MLmodel", "text/plain; charset=utf-8", "attachment; filename=MLmodel")]
    [InlineData("UPPER.TXT", "text/plain; charset=utf-8", "attachment; filename=UPPER.TXT")]
    [InlineData("model.pkl", "application/octet-stream", "attachment; filename=model.pkl")]
    [InlineData(".hidden", "application/octet-stream", "attachment; filename=.hidden")]
    [InlineData("größe \"1\".csv", "text/plain; charset=utf-8", "attachment; filename=\"gr__e _1_.csv\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22.csv")]
    public async Task Files_AreDownloadsOfTheirType(string name, string contentType, string disposition)
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            var server = await ArtifactServer.SharedAsync(DatabaseKind.Sqlite, store);
            var path = $"{TestServer.FreshName("types")}/{Uri.EscapeDataString(name)}";
            await server.UploadAsync(path, "<script>alert(1)</script>");
            foreach (var method in (HttpMethod[])[HttpMethod.Get, HttpMethod.Head])
            {
                using var response = await server.SendAsync(method, ArtifactCalls.Proxy + path);

                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
                Assert.Equal(contentType, response.Content.Headers.GetValues("Content-Type").Single());
                Assert.Equal(disposition, response.Content.Headers.GetValues("Content-Disposition").Single());
                Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
                Assert.Equal("no-cache", response.Headers.GetValues("Cache-Control").Single());
                Assert.Equal(25, response.Content.Headers.ContentLength);
                Assert.Equal(method == HttpMethod.Get ? 25 : 0, (await response.Content.ReadAsByteArrayAsync()).Length);
            }
        }
    }

    [Theory]
    [InlineData("bytes=0-0", HttpStatusCode.PartialContent, "0", "bytes 0-0/10")]
    [InlineData("bytes=3-", HttpStatusCode.PartialContent, "3456789", "bytes 3-9/10")]
    [InlineData("bytes=3-99", HttpStatusCode.PartialContent, "3456789", "bytes 3-9/10")]
    [InlineData("bytes=-4", HttpStatusCode.PartialContent, "6789", "bytes 6-9/10")]
    [InlineData("bytes=-99", HttpStatusCode.PartialContent, "0123456789", "bytes 0-9/10")]
    [InlineData("bytes=10-", HttpStatusCode.RequestedRangeNotSatisfiable, "", "bytes */10")]
    [InlineData("bytes=-0", HttpStatusCode.RequestedRangeNotSatisfiable, "", "bytes */10")]
    [InlineData("bytes=0-1,3-4", HttpStatusCode.OK, "0123456789", null)]
    [InlineData("bytes=5-3", HttpStatusCode.OK, "0123456789", null)]
    [InlineData("lines=1-2", HttpStatusCode.OK, "0123456789", null)]
    public async Task Download_OfARange_IsThatPart(string range, HttpStatusCode status, string body, string? contentRange)
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            var server = await ArtifactServer.SharedAsync(DatabaseKind.Sqlite, store);
            var name = TestServer.FreshName("range");
            await server.UploadAsync(name, "0123456789");
            using var response = await GetAsync(server, name, ("Range", range));

            Assert.Equal(status, response.StatusCode);
            Assert.Equal(contentRange, response.Content.Headers.ContentRange?.ToString());
            Assert.Equal(body, await response.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task Download_ThatIsResumed_GoesOnOnlyIfTheFileIsTheSame()
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            var server = await ArtifactServer.SharedAsync(DatabaseKind.Sqlite, store);
            var name = TestServer.FreshName("resumed");
            await server.UploadAsync(name, "0123456789");
            using var first = await GetAsync(server, name);
            var tag = first.Headers.ETag!.ToString();
            using var same = await GetAsync(server, name, ("Range", "bytes=5-"), ("If-Range", tag));
            Assert.Equal("56789", await same.Content.ReadAsStringAsync());

            await server.UploadAsync(name, "abcdefghij");

            using var other = await GetAsync(server, name, ("Range", "bytes=5-"), ("If-Range", tag));
            Assert.Equal(HttpStatusCode.OK, other.StatusCode);
            Assert.Equal("abcdefghij", await other.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task Conditions_AreAnsweredWithoutTheFile()
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            var server = await ArtifactServer.SharedAsync(DatabaseKind.Sqlite, store);
            var name = TestServer.FreshName("conditions");
            await server.UploadAsync(name, "content");
            using var first = await GetAsync(server, name);
            var tag = first.Headers.ETag!.ToString();
            var modified = first.Content.Headers.LastModified!.Value.ToString("R");
            var past = DateTimeOffset.UnixEpoch.ToString("R");

            await AssertStatusAsync(HttpStatusCode.NotModified, ("If-None-Match", tag));
            await AssertStatusAsync(HttpStatusCode.NotModified, ("If-None-Match", $"\"x\", W/{tag}"));
            await AssertStatusAsync(HttpStatusCode.NotModified, ("If-None-Match", "*"));
            await AssertStatusAsync(HttpStatusCode.OK, ("If-None-Match", "\"x\""), ("If-Modified-Since", modified));
            await AssertStatusAsync(HttpStatusCode.NotModified, ("If-Modified-Since", modified));
            await AssertStatusAsync(HttpStatusCode.OK, ("If-Modified-Since", past));
            await AssertStatusAsync(HttpStatusCode.PreconditionFailed, ("If-Match", "\"x\""));
            await AssertStatusAsync(HttpStatusCode.OK, ("If-Match", tag));
            await AssertStatusAsync(HttpStatusCode.PreconditionFailed, ("If-Unmodified-Since", past));

            async Task AssertStatusAsync(HttpStatusCode status, params (string Name, string Value)[] headers)
            {
                using var response = await GetAsync(server, name, headers);
                Assert.Equal(status, response.StatusCode);
                Assert.Equal(status == HttpStatusCode.OK ? "content" : "", await response.Content.ReadAsStringAsync());
                if (status == HttpStatusCode.NotModified)
                    Assert.Equal(tag, response.Headers.ETag?.ToString());
            }
        }
    }

    [Fact]
    public async Task Collection_TakesNoFile_AndNoSlash()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        foreach (var prefix in (string[])[ArtifactCalls.Api, ArtifactCalls.Ajax])
        {
            using var put = await server.SendAsync(HttpMethod.Put, prefix + "artifacts", new ByteArrayContent([1]));
            Assert.Equal(HttpStatusCode.MethodNotAllowed, put.StatusCode);
            using var delete = await server.SendAsync(HttpMethod.Delete, prefix + "artifacts");
            Assert.Equal(HttpStatusCode.MethodNotAllowed, delete.StatusCode);
            using var slash = await server.SendAsync(HttpMethod.Get, prefix + "artifacts/");
            Assert.Equal(HttpStatusCode.NotFound, slash.StatusCode);
            Assert.Equal("text/html", slash.Content.Headers.ContentType?.MediaType);
        }
    }

    [Fact]
    public async Task FolderInPlaceOfAFile_IsRefused()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var name = TestServer.FreshName("folder");
        await server.UploadAsync($"{name}/file", "x");

        await server.GetRefusedAsync(ArtifactCalls.Proxy + name, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        using var onto = await server.SendAsync(HttpMethod.Put, ArtifactCalls.Proxy + name, new ByteArrayContent([1]));
        await ApiServer.AssertErrorAsync(onto, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        using var through = await server.SendAsync(HttpMethod.Put, $"{ArtifactCalls.Proxy}{name}/file/below", new ByteArrayContent([1]));
        await ApiServer.AssertErrorAsync(through, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        Assert.Equal("x"u8.ToArray(), await server.DownloadAsync($"{name}/file"));
    }

    [Fact]
    public async Task Upload_ToAnInvalidPath_IsRefusedBeforeItsBodyIsSent()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var answer = await RawHttp.SendAsync(
            server, $"PUT {ArtifactCalls.Proxy}%2e%2e/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Addresses_AreOnlyOfStoresThatHaveThem()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);

        await server.GetRefusedAsync($"{ArtifactCalls.Api}presigned/a/b", HttpStatusCode.NotImplemented, "NOT_IMPLEMENTED", "Multipart download is not supported");
        foreach (var (route, message) in (IEnumerable<(string, object)>)
        [
            ("create", new { path = "/home/x/big.bin", num_parts = 2 }),
            ("complete", new { path = "big.bin", upload_id = "u", parts = new[] { new { part_number = 1, etag = "e" } } }),
            ("abort", new { path = "big.bin", upload_id = "u" }),
        ])
        {
            await server.PostRefusedAsync(
                $"{ArtifactCalls.Api}mpu/{route}/a", message, HttpStatusCode.NotImplemented, "NOT_IMPLEMENTED", "Multipart upload is not supported for the current artifact repository");
        }
    }

    [Theory, BothDatabases]
    public async Task UploadInParts_WhenSwitchedOn_IsAFileLikeAnyOther(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { MultipartUploads = MultipartUploadMode.On });
        byte[][] parts = [RandomNumberGenerator.GetBytes(700_000), RandomNumberGenerator.GetBytes(300_000)];
        var created = await server.PostAsync($"{ArtifactCalls.Api}mpu/create/in%20parts", new { path = "/home/x/big.bin", num_parts = 2 });
        var sent = new List<object>();
        foreach (var credential in created["credentials"]!.AsArray())
        {
            var number = (int)credential!["part_number"]!;
            using var response = await server.Client.PutAsync(new Uri((string)credential["url"]!), new ByteArrayContent(parts[number - 1]));
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            sent.Add(new { part_number = number, etag = response.Headers.ETag!.ToString(), url = (string)credential["url"]! });
        }

        Assert.Empty(await server.NamesAsync(""));
        await server.PostAsync($"{ArtifactCalls.Api}mpu/complete/in%20parts", new { path = "big.bin", upload_id = (string)created["upload_id"]!, parts = sent });

        byte[] whole = [.. parts[0], .. parts[1]];
        Assert.Equal(whole, await server.DownloadAsync("in%20parts/big.bin"));
        Assert.Equal([1_000_000L, Convert.ToHexStringLower(SHA256.HashData(whole))], Assert.Single(await server.ArtifactRowsAsync("in%20parts", "file_size_bytes, file_hash")));

        var given = await server.PostAsync($"{ArtifactCalls.Api}mpu/create/in%20parts", new { path = "up.bin", num_parts = 1 });
        await server.PostAsync($"{ArtifactCalls.Api}mpu/abort/in%20parts", new { path = "up.bin", upload_id = (string)given["upload_id"]! });
        await server.PostNotFoundAsync(
            $"{ArtifactCalls.Api}mpu/complete/in%20parts",
            new { path = "up.bin", upload_id = (string)given["upload_id"]!, parts = new[] { new { part_number = 1, etag = "x" } } });
        Assert.Equal(["big.bin"], await server.NamesAsync("in parts"));
    }

    [Fact]
    public async Task Proxy_SwitchedOff_SaysSo()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ServeArtifacts = false });
        foreach (var prefix in (string[])[ArtifactCalls.Api, ArtifactCalls.Ajax])
        {
            foreach (var (method, route) in ((string, string)[])
            [
                ("GET", "artifacts"), ("GET", "artifacts/a"), ("PUT", "artifacts/a"), ("DELETE", "artifacts/a"), ("GET", "presigned/a"),
                ("POST", "mpu/create/a"), ("POST", "mpu/complete/a"), ("POST", "mpu/abort/a"), ("PUT", "mpu/parts/a"),
            ])
            {
                using var response = await server.SendAsync(new HttpMethod(method), prefix + route);
                Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
                Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
                Assert.Contains("--no-serve-artifacts", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task ArtifactsOnly_ServesTheProxyAndFiles_ButNoListingsOfRuns()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ArtifactsOnly = true });
        await server.UploadAsync("a/b", "x");

        Assert.Equal(["b"], await server.NamesAsync("a"));
        await server.GetRefusedAsync("/get-artifact?run_id=00000000000000000000000000000000&path=x", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        foreach (var (method, route) in ((string, string)[])[("GET", "/api/2.0/mlflow/artifacts/list"), ("POST", "/ajax-api/2.0/mlflow/upload-artifact")])
        {
            using var response = await server.SendAsync(new HttpMethod(method), route);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }
    }

    [Fact]
    public async Task StaticPrefix_IsServedToo()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { StaticPrefix = "/p" });
        await server.UploadAsync("a", "x");
        using var response = await server.SendAsync(HttpMethod.Get, "/p" + ArtifactCalls.Ajax + "artifacts/a");
        Assert.Equal("x", await response.Content.ReadAsStringAsync());
        await server.GetRefusedAsync("/p/get-artifact?run_id=x&path=x", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static async Task<HttpResponseMessage> GetAsync(ApiServer server, string name, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, ArtifactCalls.Proxy + name);
        foreach (var (header, value) in headers)
            Assert.True(request.Headers.TryAddWithoutValidation(header, value));
        return await server.Client.SendAsync(request);
    }
}
