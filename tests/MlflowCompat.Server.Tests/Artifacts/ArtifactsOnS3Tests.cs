using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Tests.Host;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

/// <summary>What only a store has that clients reach themselves.</summary>
public sealed class ArtifactsOnS3Tests
{
    private const int MiB = 1 << 20;

    [Theory, BothDatabases]
    public async Task UploadInParts_ThatClientsSendToTheStore_IsAFileLikeAnyOther(DatabaseKind kind)
    {
        await using var started = await ArtifactServer.StartAsync(kind, StoreKind.S3);
        var server = started.Server;
        var (run, root) = await server.CreateRunWithRootAsync();
        byte[][] parts = [RandomNumberGenerator.GetBytes(5 * MiB), RandomNumberGenerator.GetBytes(MiB)];
        var created = await server.PostAsync($"{ArtifactCalls.Api}mpu/create/{root}", new { path = "/home/x/big.bin", num_parts = 2 });
        var sent = new List<object>();
        foreach (var credential in created["credentials"]!.AsArray())
        {
            var number = (int)credential!["part_number"]!;
            Assert.StartsWith(started.S3.Endpoint.ToString(), (string?)credential["url"], StringComparison.Ordinal);
            using var response = await PutAsync(credential.AsObject(), "url", parts[number - 1]);
            sent.Add(new { part_number = number, etag = response.Headers.ETag!.ToString(), url = (string)credential["url"]! });
        }

        Assert.Empty(await server.NamesAsync(root));
        await server.PostAsync($"{ArtifactCalls.Api}mpu/complete/{root}", new { path = "big.bin", upload_id = (string)created["upload_id"]!, parts = sent });

        byte[] whole = [.. parts[0], .. parts[1]];
        Assert.Equal(whole, await server.DownloadAsync($"{root}/big.bin"));
        // Nobody here has seen the content, so there is no hash.
        Assert.Equal([(long)whole.Length, null, "s3", "big.bin"], Assert.Single(await server.ArtifactRowsAsync(root, "file_size_bytes, file_hash, storage_type, artifact_path")));
        Assert.Equal(["big.bin"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={run}")));

        var given = await server.PostAsync($"{ArtifactCalls.Api}mpu/create/{root}", new { path = "up.bin", num_parts = 1 });
        await server.PostAsync($"{ArtifactCalls.Api}mpu/abort/{root}", new { path = "up.bin", upload_id = (string)given["upload_id"]! });
        await server.PostNotFoundAsync(
            $"{ArtifactCalls.Api}mpu/complete/{root}",
            new { path = "up.bin", upload_id = (string)given["upload_id"]!, parts = new[] { new { part_number = 1, etag = "x" } } });
        Assert.Empty(started.S3.Uploads);
        Assert.Single(await server.ArtifactRowsAsync(root, "artifact_id"));
    }

    [Fact]
    public async Task UploadInParts_WhenSwitchedOff_IsRefused()
    {
        await using var started = await ArtifactServer.StartAsync(
            DatabaseKind.Sqlite, StoreKind.S3, options => options with { MultipartUploads = MultipartUploadMode.Off });
        await started.Server.PostRefusedAsync(
            $"{ArtifactCalls.Api}mpu/create/a", new { path = "big.bin", num_parts = 2 }, HttpStatusCode.NotImplemented, "NOT_IMPLEMENTED", "Multipart upload is not supported");
    }

    [Theory, BothDatabases]
    public async Task PresignedDownload_LeadsToTheFile(DatabaseKind kind)
    {
        var server = await ArtifactServer.SharedAsync(kind, StoreKind.S3);
        var folder = TestServer.FreshName("presigned");
        await server.UploadAsync($"{folder}/%C3%A9%20+1.txt", "0123456789");
        var address = await server.GetAsync($"{ArtifactCalls.Api}presigned/{folder}/%C3%A9%20+1.txt");

        Assert.Equal(10, (int)address["file_size"]!);
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, (string)address["url"]!) { Headers = { Range = new RangeHeaderValue(2, 4) } };
        using var response = await client.SendAsync(request);
        Assert.Equal("234", await response.Content.ReadAsStringAsync());
        foreach (var nothing in (string[])[$"{folder}/none", folder])
            await server.GetRefusedAsync($"{ArtifactCalls.Api}presigned/{nothing}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", nothing);
    }

    [Theory, BothDatabases]
    public async Task RunsThatClientsReachThemselves_TakePresignedUploads_AndGetRowsWhenListed(DatabaseKind kind)
    {
        await using var started = await ArtifactServer.StartAsync(kind, StoreKind.S3, options => options with { ServeArtifacts = false });
        var server = started.Server;
        var run = (await server.CreateWholeRunAsync())["info"]!;
        var (id, uri) = ((string)run["run_id"]!, (string)run["artifact_uri"]!);
        Assert.StartsWith(ArtifactServer.Destination + "/", uri, StringComparison.Ordinal);

        var address = await server.PostAsync("artifacts/presigned-upload-url", new { run_id = id, path = "in/table.csv", expiration = 60 });
        using (var put = await PutAsync(address, "presigned_url", Encoding.UTF8.GetBytes("1,2")))
            Assert.Equal(HttpStatusCode.OK, put.StatusCode);
        Assert.Equal(["in"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={id}")));
        Assert.Equal(["in/table.csv"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={id}&path=in")));
        using var shown = await server.SendAsync(HttpMethod.Get, $"/get-artifact?run_id={id}&path=in/table.csv");
        Assert.Equal("1,2", await shown.Content.ReadAsStringAsync());
        await ArtifactCalls.UntilAsync(async () => (await server.RowsAsync(
            id, "SELECT a.storage_path FROM artifacts a JOIN runs r ON r.run_id = a.run_id WHERE r.run_uuid = $1")) is [[string path]] && path == $"{uri}/in/table.csv");

        using var uploaded = await server.SendAsync(HttpMethod.Post, $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={id}&path=up.txt", new ByteArrayContent([1]));
        Assert.Equal(HttpStatusCode.OK, uploaded.StatusCode);
        Assert.Equal(["in", "up.txt"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={id}")));
        await server.PostInvalidAsync("artifacts/presigned-upload-url", new { run_id = id, path = "../x" }, "Invalid path");
        await server.PostInvalidAsync("artifacts/presigned-upload-url", new { run_id = id, path = "in" });
    }

    /// <summary>In a process of its own, where the serializer has nothing but what was made for it at build time.</summary>
    [Fact]
    public async Task PresignedUpload_OfTheProgramItself_HasItsHeaders()
    {
        await using var s3 = await FakeS3.StartAsync();
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        await using var server = await ServerProcess.StartAsync(
            database.Address, ArtifactServer.VariablesOf(s3), "--artifacts-destination", ArtifactServer.Destination, "--no-serve-artifacts");
        var address = await server.PostAsync("artifacts/presigned-upload-url", new { run_id = await server.CreateRunAsync(), path = "table.csv" });

        Assert.Equal("""{"Content-Type":"text/csv"}""", address["headers"]!.ToJsonString());
        using var put = await PutAsync(address, "presigned_url", [1]);
        Assert.Equal(HttpStatusCode.OK, put.StatusCode);
    }

    [Theory, BothDatabases]
    public async Task Upload_ThatBreaksOff_LeavesNothing(DatabaseKind kind)
    {
        await using var started = await ArtifactServer.StartAsync(kind, StoreKind.S3);
        var server = started.Server;
        foreach (var head in (string[])["Content-Length: 20000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1312D00\r\n"])
        {
            using var client = await RawHttp.ConnectAsync(server);
            await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes($"PUT {ArtifactCalls.Proxy}broken/off.bin HTTP/1.1\r\nHost: localhost\r\n{head}{new string('x', 9 * MiB)}"));
            await ArtifactCalls.UntilAsync(() => Task.FromResult(UploadsUnderWay() == 1));
            client.Close();
            await ArtifactCalls.UntilAsync(() => Task.FromResult(UploadsUnderWay() == 0));
        }

        Assert.Empty(started.S3.Objects);
        Assert.Empty(await server.ArtifactRowsAsync("broken", "artifact_id"));

        int UploadsUnderWay()
        {
            lock (started.S3.Objects)
                return started.S3.Uploads.Count;
        }
    }

    [Fact]
    public async Task KeyTooLongForS3_IsAnInvalidPath()
    {
        await using var started = await ArtifactServer.StartAsync(DatabaseKind.Sqlite, StoreKind.S3);
        // Short enough for a path of a client, and too long behind the prefix.
        var path = string.Join('/', Enumerable.Repeat(new string('x', 255), 4));
        foreach (var (method, target) in ((HttpMethod, string)[])
            [(HttpMethod.Put, "artifacts/"), (HttpMethod.Get, "artifacts/"), (HttpMethod.Get, "presigned/"), (HttpMethod.Post, "mpu/create/")])
        {
            using var response = await started.Server.SendAsync(
                method, ArtifactCalls.Api + target + path, method == HttpMethod.Get ? null : ApiServer.Json(new { path = "x", num_parts = 1 }));
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Invalid path");
        }

        Assert.Empty(await started.Server.ArtifactRowsAsync("xxx", "artifact_id"));
    }

    private static async Task<HttpResponseMessage> PutAsync(JsonObject address, string url, byte[] content)
    {
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Put, (string)address[url]!) { Content = new ByteArrayContent(content) };
        foreach (var (name, value) in address["headers"]?.AsObject() ?? [])
        {
            if (!request.Headers.TryAddWithoutValidation(name, (string)value!))
                request.Content.Headers.TryAddWithoutValidation(name, (string)value!);
        }

        return await client.SendAsync(request);
    }
}
