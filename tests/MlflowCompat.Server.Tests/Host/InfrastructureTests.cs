using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

public sealed class InfrastructureTests
{
    [Theory]
    [InlineData("/health", "OK")]
    [InlineData("/version", "3.6.0")]
    public async Task HealthAndVersion_AreBareTexts(string path, string text)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Get, path);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(text, await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Version_NamesThisProductInAHeader()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Get, "/version");

        Assert.True(Version.TryParse(response.Headers.GetValues("X-MlflowCompat-Version").Single(), out _));
    }

    [Fact]
    public async Task Root_ExplainsItself()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Get, "/");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.Contains("MLFLOW_TRACKING_URI", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/api/3.0/mlflow/server-info")]
    [InlineData("/ajax-api/3.0/mlflow/server-info")]
    public async Task ServerInfo_SaysThatThereAreNoWorkspaces(string path)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);

        Assert.True(JsonNode.DeepEquals(
            JsonNode.Parse("""{"store_type": "SqlStore", "workspaces_enabled": false}"""), await server.GetAsync(path)));
    }

    [Fact]
    public async Task Telemetry_IsOff()
    {
        const string Path = "/ajax-api/3.0/mlflow/ui-telemetry";
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);

        Assert.True(JsonNode.DeepEquals(
            JsonNode.Parse("""{"disable_ui_telemetry": true, "disable_ui_events": [], "ui_rollout_percentage": 0}"""), await server.GetAsync(Path)));
        Assert.True(JsonNode.DeepEquals(
            JsonNode.Parse("""{"status": "disabled"}"""), await server.PostAsync(Path, new { records = Array.Empty<object>() })));
    }

    [Theory]
    [InlineData("/health")]
    [InlineData("/api/2.0/mlflow/experiments/get?experiment_id=0")]
    [InlineData("/ajax-api/3.0/mlflow/server-info")]
    public async Task StaticPrefix_ServesEveryRouteWithAndWithoutIt(string path)
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { StaticPrefix = "/team/mlflow" });
        using var plain = await server.SendAsync(HttpMethod.Get, path);
        using var prefixed = await server.SendAsync(HttpMethod.Get, "/team/mlflow" + path);
        using var other = await server.SendAsync(HttpMethod.Get, "/team" + path);

        Assert.Equal(HttpStatusCode.OK, plain.StatusCode);
        Assert.Equal(HttpStatusCode.OK, prefixed.StatusCode);
        Assert.Equal(await plain.Content.ReadAsStringAsync(), await prefixed.Content.ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.NotFound, other.StatusCode);
    }

    [Theory]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", HttpStatusCode.ServiceUnavailable)]
    [InlineData("POST", "/ajax-api/2.0/mlflow/runs/search", HttpStatusCode.ServiceUnavailable)]
    [InlineData("GET", "/model-versions/get-artifact?name=n&version=1&path=p", HttpStatusCode.ServiceUnavailable)]
    [InlineData("GET", "/health", HttpStatusCode.OK)]
    [InlineData("GET", "/version", HttpStatusCode.OK)]
    [InlineData("GET", "/", HttpStatusCode.OK)]
    [InlineData("GET", "/api/3.0/mlflow/server-info", HttpStatusCode.OK)]
    [InlineData("GET", "/api/2.0/mlflow/nothing", HttpStatusCode.NotFound)]
    public async Task ArtifactsOnly_TakesTheTrackingRoutesOutOfService(string method, string path, HttpStatusCode status)
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { ArtifactsOnly = true });
        using var response = await server.SendAsync(new HttpMethod(method), path, method == "POST" ? TestServer.JsonText("{}") : null);

        Assert.Equal(status, response.StatusCode);
        if (status == HttpStatusCode.ServiceUnavailable)
        {
            Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
            var text = await response.Content.ReadAsStringAsync();
            Assert.Contains(path.Split('?')[0], text, StringComparison.Ordinal);
            Assert.Contains("--artifacts-only", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task LongQuery_IsTaken()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var ids = string.Concat(Enumerable.Range(0, 100).Select(_ => $"&run_id={Guid.NewGuid():N}"));
        var key = Uri.EscapeDataString(new string('é', 250));

        var answer = await server.GetAsync($"/ajax-api/2.0/mlflow/metrics/get-history-bulk?metric_key={key}{ids}");

        Assert.Empty(answer["metrics"]!.AsArray());
    }

    [Fact]
    public async Task BodyBeyondKestrelsOwnLimit_IsTaken()
    {
        const int KestrelsOwnLimit = 30_000_000;
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);

        var answer = await server.PostAsync("experiments/search", new { max_results = 1, unknown = new string('x', KestrelsOwnLimit) });

        Assert.NotNull(answer["experiments"]);
    }

    [Theory]
    [InlineData("/api/2.0/mlflow/experiments/search")]
    [InlineData("/ajax-api/2.0/mlflow/runs/log-batch")]
    public async Task BodyThatNeverEnds_IsRefused(string path)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var client = await RawHttp.ConnectAsync(server);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(
            $"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"));
        var sending = SendForeverAsync(stream);

        var answer = await RawHttp.ReadHeadAsync(client);

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        client.Close();
        await sending;
        await server.GetAsync("experiments/get?experiment_id=0");
    }

    [Fact]
    public async Task BodyThatIsAnnouncedTooLarge_IsRefusedAtOnce()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var length = (long)RequestBinding.MaxBodyBytes + 1;
        using var client = await RawHttp.ConnectAsync(server);
        await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(
            $"POST /api/2.0/mlflow/experiments/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"));

        Assert.StartsWith("HTTP/1.1 400 ", await RawHttp.ReadHeadAsync(client), StringComparison.Ordinal);
    }

    /// <summary>Sends blanks, of which a JSON body may have any number, until the server no longer takes them.</summary>
    private static async Task SendForeverAsync(NetworkStream stream)
    {
        const int ChunkBytes = 0x100000;
        var chunk = Encoding.Latin1.GetBytes($"{ChunkBytes:x}\r\n{new string(' ', ChunkBytes)}\r\n");
        try
        {
            while (true)
                await stream.WriteAsync(chunk);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The connection is closed, which is what this waits for.
        }
    }
}
