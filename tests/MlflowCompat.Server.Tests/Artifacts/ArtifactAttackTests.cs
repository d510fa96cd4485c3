using System.Net;
using MlflowCompat.Artifacts.Local;
using MlflowCompat.Server.Tests.Host;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Artifacts;

/// <summary>Nothing that a client sends leads out of the artifact root (contract: security §2).</summary>
public sealed class ArtifactAttackTests
{
    /// <summary>Paths as they stand in an address, and in a query.</summary>
    private static readonly string[] Paths =
    [
        "..", "../secret.txt", "../../secret.txt", "a/../../secret.txt", "a/..", "%2e%2e", "%2e%2e/secret.txt", "..%2fsecret.txt", "a/..%2f..%2fsecret.txt",
        "%2e%2e%2fsecret.txt", "%252e%252e/secret.txt", "%252e%252e%252fsecret.txt", "%25252e%25252e/secret.txt", ".%2e/secret.txt", "./secret.txt", ".",
        "a/./secret.txt", "%2fetc%2fpasswd", "%252fetc%252fpasswd", "..%5csecret.txt", "a%5Cb", "a%255Cb", "%5C%5Chost%5Cshare%5Cx", "C:/x", "C:%5Cx", "c:%2fx",
        "file:/etc/passwd", "file:///etc/passwd", "file:%2f%2f%2fetc%2fpasswd", "http://h/x", "a%00b", "a%0Ab", "a%0d%0aSet-Cookie:x", "a%7fb", "h%23h.txt", "a%2523b",
        ".mlflow-compat", ".mlflow-compat/uploads", ".mlflow-compat/uploads/x", "%2emlflow-compat/uploads/x",
        Long("x", 300), "a/" + Long("x", 256), Long("0123456789/", 200) + "x",
    ];

    [Theory, BothDatabases]
    public async Task PathsThatLeadOut_AreRefusedByEveryRoute_AndTouchNothing(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var (run, root) = await server.CreateRunWithRootAsync();
        await server.UploadAsync($"{root}/kept.txt", "kept");
        var outside = Path.GetDirectoryName(server.Folder())!;
        await File.WriteAllTextAsync(Path.Combine(outside, "secret.txt"), "secret");
        var before = Snapshot(outside);

        foreach (var path in Paths)
        {
            foreach (var prefix in (string[])[ArtifactCalls.Api, ArtifactCalls.Ajax])
            {
                await AssertRefusedAsync("GET", $"{prefix}artifacts/{path}");
                await AssertRefusedAsync("HEAD", $"{prefix}artifacts/{path}");
                await AssertRefusedAsync("PUT", $"{prefix}artifacts/{path}");
                await AssertRefusedAsync("DELETE", $"{prefix}artifacts/{path}");
                await AssertRefusedAsync("GET", $"{prefix}presigned/{path}", mayBeUnsupported: true);
                await AssertRefusedAsync("GET", $"{prefix}artifacts?path={path}");
                foreach (var step in (string[])["create", "complete", "abort"])
                    await AssertRefusedAsync("POST", $"{prefix}mpu/{step}/{path}", """{"path": "x"}""", mayBeUnsupported: true);
            }

            await AssertRefusedAsync("GET", $"/api/2.0/mlflow/artifacts/list?run_id={run}&path={path}");
            await AssertRefusedAsync("GET", $"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}&path={path}");
            await AssertRefusedAsync("GET", $"/get-artifact?run_id={run}&path={path}");
            await AssertRefusedAsync("POST", $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path={path}");
        }

        Assert.Equal(before, Snapshot(outside));

        async Task AssertRefusedAsync(string method, string target, string body = "x", bool mayBeUnsupported = false)
        {
            // A path below the run's root is longer, and the staging folder is only one at the root of the store.
            if (target.Contains("mlflow-compat", StringComparison.Ordinal) && (target.Contains("run_", StringComparison.Ordinal) || mayBeUnsupported))
                return;
            var content = method is "GET" or "HEAD" or "DELETE" ? "" : $"Content-Type: application/json\r\nContent-Length: {body.Length}\r\n";
            var answer = await RawHttp.SendAsync(server, $"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{content}\r\n{(content.Length > 0 ? body : "")}");
            Assert.True(answer.StartsWith("HTTP/1.1 400 ", StringComparison.Ordinal), $"{method} {target}: {answer}");
            Assert.DoesNotContain("secret\r", answer, StringComparison.Ordinal);
            Assert.DoesNotContain(outside, answer, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Refusals_SayInvalidPath()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        foreach (var target in (string[])["artifacts/%252e%252e/x", "artifacts?path=../x", "artifacts/a%5Cb"])
        {
            using var response = await server.SendAsync(HttpMethod.Get, ArtifactCalls.Api + target);
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
            Assert.Contains("\"message\":\"Invalid path\"", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task DoubledSlashes_AreOne_AndLeadingOnesAreRefused()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var name = TestServer.FreshName("slashes");

        Assert.StartsWith("HTTP/1.1 200 ", await PutAsync($"artifacts/{name}//b.txt"), StringComparison.Ordinal);
        Assert.Equal("x"u8.ToArray(), await server.DownloadAsync($"{name}/b.txt"));
        Assert.StartsWith("HTTP/1.1 400 ", await PutAsync($"artifacts//{name}"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400 ", await PutAsync("artifacts///"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400 ", await PutAsync($"artifacts/{name}/"), StringComparison.Ordinal);
        // The address as a whole, as proxies send it.
        Assert.StartsWith("HTTP/1.1 400 ", await RawHttp.SendAsync(server, $"PUT http://localhost{ArtifactCalls.Api}artifacts/../../x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"), StringComparison.Ordinal);

        Task<string> PutAsync(string target) =>
            RawHttp.SendAsync(server, $"PUT {ArtifactCalls.Api}{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx");
    }

    [Theory]
    [InlineData("...")]
    [InlineData("~")]
    [InlineData("~root/.ssh")]
    [InlineData("a;b=c")]
    [InlineData("p%25p.txt")]
    [InlineData("sp%20ace+plus.txt")]
    [InlineData("%C3%A9.txt")]
    [InlineData("c:x")]
    [InlineData("loss%25step%251%25timestamp%251700000000000%25a0b1.png")]
    [InlineData("..a")]
    public async Task OddNames_AreNames(string name)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var folder = TestServer.FreshName("odd");
        await server.UploadAsync($"{folder}/{name}", name);

        Assert.Equal(name, System.Text.Encoding.UTF8.GetString((await server.DownloadAsync($"{folder}/{name}"))!));
        Assert.Equal([Uri.UnescapeDataString(name).Split('/')[0]], await server.NamesAsync(folder));
    }

    [Theory, BothDatabases]
    public async Task LinksThatLeaveTheRoot_AreAsGoodAsAbsent(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        await server.UploadAsync("a/kept.txt", "kept");
        var outside = TestFolder.Create();
        await File.WriteAllTextAsync(Path.Combine(outside, "secret.txt"), "secret");
        Directory.CreateSymbolicLink(Path.Combine(server.Folder(), "a", "folder"), outside);
        File.CreateSymbolicLink(Path.Combine(server.Folder(), "a", "file"), Path.Combine(outside, "secret.txt"));

        Assert.Equal(["kept.txt"], await server.NamesAsync("a"));
        Assert.Empty(await server.NamesAsync("a/folder"));
        Assert.Null(await server.DownloadAsync("a/file"));
        Assert.Null(await server.DownloadAsync("a/folder/secret.txt"));
        using var through = await server.SendAsync(HttpMethod.Put, ArtifactCalls.Proxy + "a/folder/new.txt", new ByteArrayContent([1]));
        Assert.Equal(HttpStatusCode.BadRequest, through.StatusCode);
        await server.DeleteAsync("a/folder/secret.txt");
        await server.DeleteAsync("a");

        Assert.Equal(["secret.txt"], Directory.GetFileSystemEntries(outside).Select(Path.GetFileName));
        Assert.Equal("secret", await File.ReadAllTextAsync(Path.Combine(outside, "secret.txt")));
    }

    [Theory, BothDatabases]
    public async Task RootsOfOldRuns_OutsideOfThisServersOwn_AreRefusedAtEachAccess(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var run = await server.CreateRunAsync();
        var outside = TestFolder.Create();
        await File.WriteAllTextAsync(Path.Combine(outside, "secret.txt"), "secret");
        foreach (var uri in (string[])
        [
            outside, $"file://{outside}", $"file:{outside}", $"{server.Folder()}/../", $"{server.Folder()}-not", "/", "/etc", "etc", "../..", "file://elsewhere/etc",
            "s3://bucket/a", "gs://bucket/a", "http://127.0.0.1:1/a", "http://127.0.0.1:1/api/2.0/mlflow-artifacts/artifactsx/a",
            "mlflow-artifacts:/../..", "mlflow-artifacts:/%2e%2e/x", "mlflow-artifacts:/%252e%252e/x", "mlflow-artifacts://h/a/../../x", "mlflow-artifacts:/a#b",
            "mlflow-artifacts:/a%00b", "", $"{outside}?x=mlflow-artifacts:/", $"mlflow-artifacts:/a#{outside}", "dbfs:/x", "C:/x", "\\\\host\\x",
        ])
        {
            await server.Database.WriteAsync(
                (session, token) => session.ExecuteAsync(server.Database.Statement("UPDATE runs SET artifact_uri = $1").Add(uri), token), CancellationToken.None);
            foreach (var (method, route) in ((string, string)[])
            [
                ("GET", $"artifacts/list?run_id={run}"),
                ("GET", $"/get-artifact?run_id={run}&path=secret.txt"),
                ("POST", $"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=new.txt"),
            ])
            {
                using var response = await server.SendAsync(new HttpMethod(method), route, method == "POST" ? new ByteArrayContent([1]) : null);
                Assert.True(response.StatusCode == HttpStatusCode.BadRequest, $"{uri}: {method} {route}: {(int)response.StatusCode}");
                await ApiServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
            }
        }

        Assert.Equal(["secret.txt"], Directory.GetFileSystemEntries(outside).Select(Path.GetFileName));
    }

    [Fact]
    public async Task LinkThatIsSwapped_WhileFilesAreReadAndWritten_LeadsNowhere()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite);
        await server.UploadAsync("a/real/file", "inside");
        var outside = TestFolder.Create();
        await File.WriteAllTextAsync(Path.Combine(outside, "secret.txt"), "secret");
        var folder = Path.Combine(server.Folder(), "a");
        Assert.Equal(0, Linux.OpenPlace(null, folder, out var place));
        using var stop = new CancellationTokenSource();
        var swapping = Task.Run(() =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                Directory.CreateSymbolicLink(Path.Combine(folder, "next"), i % 2 == 0 ? outside : "real");
                Linux.Rename(place!, "next", place!, "link");
            }
        });
        for (var i = 0; i < 300; i++)
        {
            Assert.Null(await server.DownloadAsync("a/link/secret.txt"));
            Assert.DoesNotContain("secret.txt", await server.NamesAsync("a/link"));
            using var put = await server.SendAsync(HttpMethod.Put, ArtifactCalls.Proxy + "a/link/new", new ByteArrayContent([1]));
            Assert.Contains(put.StatusCode, (HttpStatusCode[])[HttpStatusCode.OK, HttpStatusCode.BadRequest]);
            await server.DeleteAsync("a/link/new");
        }

        await stop.CancelAsync();
        await swapping;
        place!.Dispose();
        Assert.Equal(["secret.txt"], Directory.GetFileSystemEntries(outside).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("%22%3b%20filename%3d%22evil.sh", "attachment; filename=\"_; filename=_evil.sh\"; filename*=UTF-8''%22%3B%20filename%3D%22evil.sh")]
    [InlineData("a%250d%250aX-Evil:1", "attachment; filename=\"a_0D_0AX-Evil:1\"; filename*=UTF-8''a%250D%250AX-Evil%3A1")]
    [InlineData("a%c2%85b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%C2%85b")]
    public async Task NamesOfFiles_CannotMakeHeaders(string name, string disposition)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var folder = TestServer.FreshName("headers");
        await server.UploadAsync($"{folder}/{name}", "x");
        using var response = await server.SendAsync(HttpMethod.Get, $"{ArtifactCalls.Proxy}{folder}/{name}");

        Assert.Equal(disposition, response.Content.Headers.GetValues("Content-Disposition").Single());
        Assert.False(response.Headers.Contains("X-Evil"));
    }

    private static string Long(string unit, int count) => string.Concat(Enumerable.Repeat(unit, count));

    private static List<string> Snapshot(string folder) =>
    [
        .. Directory.GetFileSystemEntries(folder, "*", SearchOption.AllDirectories)
            .Where(path => !path.Contains(".mlflow-compat", StringComparison.Ordinal))
            .Select(path => File.Exists(path) ? $"{path} {File.ReadAllText(path)}" : path)
            .Order(StringComparer.Ordinal),
    ];
}
