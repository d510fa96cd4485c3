using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

public sealed class RunArtifactsTests
{
    [Theory, EachStore]
    public async Task List_ShowsPathsFromTheRootOfTheRun(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (run, root) = await server.CreateRunWithRootAsync();
        await server.UploadAsync($"{root}/b/c/d.txt", "12345");
        await server.UploadAsync($"{root}/b/empty", "");
        await server.UploadAsync($"{root}/d/e/e/p.txt", "deep");
        await server.UploadAsync($"{root}/a.txt", "1");

        var listing = await server.GetAsync($"artifacts/list?run_id={run}");
        Assert.Equal($"mlflow-artifacts:/{root}", (string?)listing["root_uri"]);
        Assert.Equal(
            """[{"path":"a.txt","is_dir":false,"file_size":1},{"path":"b","is_dir":true},{"path":"d","is_dir":true}]""",
            listing["files"]!.ToJsonString());
        Assert.Equal(
            """[{"path":"b/c","is_dir":true},{"path":"b/empty","is_dir":false}]""",
            (await server.GetAsync($"artifacts/list?run_uuid={run}&path=b&page_token=x"))["files"]!.ToJsonString());
        Assert.Equal(["b/c", "b/empty"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={run}&path=b/")));
        foreach (var nothing in (string[])["a.txt", "none"])
            Assert.Equal(["root_uri"], (await server.GetAsync($"artifacts/list?run_id={run}&path={nothing}")).Select(field => field.Key));
    }

    [Theory, EachStore]
    public async Task GetArtifact_SendsTheFile(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (run, root) = await server.CreateRunWithRootAsync();
        await server.UploadAsync($"{root}/a/b.html", "<p>");
        foreach (var id in (string[])["run_id", "run_uuid"])
        {
            using var response = await server.SendAsync(HttpMethod.Get, $"/get-artifact?{id}={run}&path=a/b.html");
            Assert.Equal("<p>", await response.Content.ReadAsStringAsync());
            Assert.Equal("attachment; filename=b.html", response.Content.Headers.GetValues("Content-Disposition").Single());
            Assert.NotNull(response.Headers.ETag);
        }

        foreach (var missing in (string[])["a/none", "a"])
            await server.GetRefusedAsync($"/get-artifact?run_id={run}&path={missing}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", missing);
        await server.GetRefusedAsync($"/get-artifact?run_id={run}&path=", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        await server.GetRefusedAsync("/get-artifact?path=x", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        await server.GetRefusedAsync($"/get-artifact?run_id={Guid.NewGuid():N}&path=x", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        using var pathless = await server.SendAsync(HttpMethod.Get, $"/get-artifact?run_id={run}");
        Assert.Equal(HttpStatusCode.BadRequest, pathless.StatusCode);
        Assert.Equal("text/html", pathless.Content.Headers.ContentType?.MediaType);
    }

    [Theory, EachStore]
    public async Task UploadArtifact_GoesToTheRootOfTheRun(DatabaseKind kind, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(kind, store);
        var (run, root) = await server.CreateRunWithRootAsync();
        var route = $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}";
        using var response = await server.SendAsync(HttpMethod.Post, $"{route}&path=up/loaded.txt", new ByteArrayContent([1, 2]));

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
        Assert.Equal([1, 2], await server.DownloadAsync($"{root}/up/loaded.txt"));
        Assert.Equal(["up/loaded.txt"], Assert.Single(await server.ArtifactRowsAsync(root, "artifact_path")));

        await AssertInvalidAsync(route, new byte[1]);
        await AssertInvalidAsync($"/ajax-api/2.0/mlflow/upload-artifact?run_id={run}&path=x", new byte[1]);
        await AssertInvalidAsync($"{route}&path=empty", []);
        await AssertInvalidAsync($"{route}&path=large", new byte[(10 * 1024 * 1024) + 1]);
        using var twin = await server.SendAsync(HttpMethod.Post, $"/api/2.0/mlflow/upload-artifact?run_uuid={run}&path=x", new ByteArrayContent([1]));
        Assert.Equal(HttpStatusCode.NotFound, twin.StatusCode);
        Assert.Equal(["up"], await server.NamesAsync(root));

        async Task AssertInvalidAsync(string target, byte[] body)
        {
            using var refused = await server.SendAsync(HttpMethod.Post, target, new ByteArrayContent(body));
            await ApiServer.AssertErrorAsync(refused, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        }
    }

    [Fact]
    public async Task UploadArtifact_InChunksOfUnknownLength_IsNotEmptyEither()
    {
        foreach (var store in Enum.GetValues<StoreKind>())
        {
            var server = await ArtifactServer.SharedAsync(DatabaseKind.Sqlite, store);
            var (run, root) = await server.CreateRunWithRootAsync();
            foreach (var (size, status) in ((int, HttpStatusCode)[])[(0, HttpStatusCode.BadRequest), (5, HttpStatusCode.OK)])
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=x{size}")
                {
                    Content = new ByteArrayContent(new byte[size]),
                };
                request.Headers.TransferEncodingChunked = true;
                using var response = await server.Client.SendAsync(request);
                Assert.Equal(status, response.StatusCode);
            }

            Assert.Equal(["x5"], await server.NamesAsync(root));
        }
    }

    [Fact]
    public async Task PresignedUpload_IsOnlyForStoresThatClientsReach()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var run = await server.CreateRunAsync();
        await server.PostInvalidAsync("artifacts/presigned-upload-url", new { run_id = run, path = "a" });
        await server.PostInvalidAsync("artifacts/presigned-upload-url", new { run_id = run, path = "../a" }, "Invalid path");
        await server.PostInvalidAsync("artifacts/presigned-upload-url", new { run_id = run, path = "a", expiration = "soon" });
        await server.PostNotFoundAsync("artifacts/presigned-upload-url", new { run_id = Guid.NewGuid().ToString("N"), path = "a" });

        await using var direct = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ServeArtifacts = false });
        await direct.PostRefusedAsync(
            "artifacts/presigned-upload-url",
            new { run_id = await direct.CreateRunAsync(), path = "a" },
            HttpStatusCode.NotImplemented,
            "NOT_IMPLEMENTED",
            "Presigned upload is not supported");
    }

    [Theory, BothDatabases]
    public async Task RunsOnALocalRoot_AreServedAlsoWithoutTheProxy(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { ServeArtifacts = false });
        var run = await server.CreateWholeRunAsync();
        var (id, root) = ((string)run["info"]!["run_id"]!, (string)run["info"]!["artifact_uri"]!);
        Directory.CreateDirectory(root);
        await File.WriteAllTextAsync(Path.Combine(root, "direct.csv"), "1,2");

        Assert.Equal(["direct.csv"], ArtifactCalls.Paths(await server.GetAsync($"artifacts/list?run_id={id}")));
        using var response = await server.SendAsync(HttpMethod.Get, $"/get-artifact?run_id={id}&path=direct.csv");
        Assert.Equal("1,2", await response.Content.ReadAsStringAsync());
        await ArtifactCalls.UntilAsync(async () =>
            (await server.RowsAsync(id, "SELECT a.artifact_type FROM artifacts a JOIN runs r ON r.run_id = a.run_id WHERE r.run_uuid = $1")) is [["data"]]);
    }
}
