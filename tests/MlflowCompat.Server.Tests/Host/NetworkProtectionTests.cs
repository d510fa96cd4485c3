using System.Net;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

public sealed class NetworkProtectionTests
{
    [Theory]
    [InlineData("localhost", true)]
    [InlineData("localhost:5000", true)]
    [InlineData("LOCALHOST", true)]
    [InlineData("127.0.0.1:9", true)]
    [InlineData("[::1]", true)]
    [InlineData("[::1]:5000", true)]
    [InlineData("[0:0:0:0:0:0:0:1]:5000", true)]
    [InlineData("0.0.0.0:1", true)]
    [InlineData("192.168.1.5", true)]
    [InlineData("192.168.1.5:5000", true)]
    [InlineData("10.1.2.3", true)]
    [InlineData("172.16.0.1", true)]
    [InlineData("172.31.9.9:80", true)]
    [InlineData("[fd00::1]", true)]
    [InlineData("[fc12:3456::1]:5000", true)]
    [InlineData("172.15.0.1", false)]
    [InlineData("172.32.0.1", false)]
    [InlineData("169.254.1.1", false)]
    [InlineData("8.8.8.8", false)]
    [InlineData("evil.com", false)]
    [InlineData("evil.com:5000", false)]
    [InlineData("localhost.evil.com", false)]
    [InlineData("192.168.evil.com", false)]
    [InlineData("10.evil.com", false)]
    [InlineData("10.1", false)]
    [InlineData("167772161", false)]
    [InlineData("0x0a.0.0.1", false)]
    [InlineData("010.0.0.1", false)]
    [InlineData("10.0.0.256", false)]
    [InlineData("fc00:1", false)]
    [InlineData("fd00:1", false)]
    [InlineData("[2001:db8::1]", false)]
    [InlineData("[::1", false)]
    [InlineData("[::1]evil.com", false)]
    [InlineData("localhost:", false)]
    [InlineData("localhost:5000.evil.com", false)]
    [InlineData("localhost:5000:1", false)]
    [InlineData("user@localhost", false)]
    [InlineData(":5000", false)]
    [InlineData("", false)]
    public void DefaultHosts_AreLocalAndPrivateAddresses(string header, bool allowed) =>
        Assert.Equal(allowed, new NetworkProtection(new ServerOptions()).AllowsHost(header));

    [Theory]
    [InlineData("mlflow.example.com", true)]
    [InlineData("MLflow.Example.com", true)]
    [InlineData("mlflow.example.com:5000", false)]
    [InlineData("a.corp.local", true)]
    [InlineData("a.b.corp.local", true)]
    [InlineData("corp.local", false)]
    [InlineData("a.corp.local.evil.com", false)]
    [InlineData("10.0.0.5:99", true)]
    [InlineData("10.0.0.5", false)]
    [InlineData("192.168.7.7:5000", true)]
    [InlineData("192.168.evil.com", false)]
    [InlineData("any.name:8443", true)]
    [InlineData("[fd00::7]:5000", true)]
    [InlineData("[fd00::7]:5001", false)]
    [InlineData("localhost:5316", false)]
    [InlineData("127.0.0.1:5316", false)]
    [InlineData("", false)]
    public void ListedHosts_ReplaceTheDefault(string header, bool allowed)
    {
        var options = new ServerOptions
        {
            AllowedHosts = ["mlflow.example.com", "*.corp.local", "10.0.0.5:*", "192.168.*", "*:8443", "[fd00::7]:5000"],
        };

        Assert.Equal(allowed, new NetworkProtection(options).AllowsHost(header));
    }

    [Theory]
    [InlineData("evil.com")]
    [InlineData("")]
    public void EveryHost_IsAllowedByAnAsterisk(string header) =>
        Assert.True(new NetworkProtection(new ServerOptions { AllowedHosts = ["mlflow.example.com", "*"] }).AllowsHost(header));

    [Theory]
    [InlineData("http://localhost", true)]
    [InlineData("http://localhost:3000", true)]
    [InlineData("HTTP://LocalHost:3000", true)]
    [InlineData("https://127.0.0.1:8443", true)]
    [InlineData("http://[::1]:5000", true)]
    [InlineData("vscode-webview://localhost", true)]
    [InlineData("https://app.example.com", true)]
    [InlineData("https://APP.example.com", true)]
    [InlineData("https://other.example.org:8443", true)]
    [InlineData("https://a.pages.example.com", true)]
    [InlineData("https://app.example.com:444", false)]
    [InlineData("http://app.example.com", false)]
    [InlineData("https://app.example.com.evil.com", false)]
    [InlineData("https://pages.example.com", false)]
    [InlineData("http://a.pages.example.com", false)]
    [InlineData("https://evil.com/.pages.example.com", false)]
    [InlineData("https://evil.com?.pages.example.com", false)]
    [InlineData("https://evil.com#.pages.example.com", false)]
    [InlineData("https://user@a.pages.example.com", false)]
    [InlineData("null", false)]
    [InlineData("localhost", false)]
    [InlineData("://", false)]
    [InlineData("http://", false)]
    [InlineData("http://localhost.evil.com", false)]
    [InlineData("http://localhost@evil.com", false)]
    [InlineData("http://evil.com/localhost", false)]
    [InlineData("http://localhost,http://evil.com", false)]
    [InlineData("http://192.168.1.5", false)]
    [InlineData("http://0.0.0.0:5000", false)]
    [InlineData("http://evil.com", false)]
    public void Origins_MayBeLocalOrListed(string origin, bool allowed)
    {
        var options = new ServerOptions
        {
            CorsAllowedOrigins = ["https://app.example.com", "https://other.example.org:8443/", "https://*.pages.example.com"],
        };

        Assert.Equal(allowed, new NetworkProtection(options).AllowsOrigin(origin, "localhost:5000"));
    }

    [Theory]
    [InlineData("http://192.168.1.5:5000", "192.168.1.5:5000", true)]
    [InlineData("https://mlflow.example.com", "MLflow.example.com", true)]
    [InlineData("http://192.168.1.5:5001", "192.168.1.5:5000", false)]
    [InlineData("file://192.168.1.5:5000", "192.168.1.5:5000", false)]
    public void OwnOrigin_IsAllowed(string origin, string host, bool allowed) =>
        Assert.Equal(allowed, new NetworkProtection(new ServerOptions()).AllowsOrigin(origin, host));

    [Fact]
    public void OwnOrigin_CannotBeToldWhenEveryHostIsAllowed() =>
        Assert.False(new NetworkProtection(new ServerOptions { AllowedHosts = ["*"] }).AllowsOrigin("http://evil.com", "evil.com"));

    [Fact]
    public void EveryOrigin_IsAllowedByAnAsterisk() =>
        Assert.True(new NetworkProtection(new ServerOptions { CorsAllowedOrigins = ["*"] }).AllowsOrigin("http://evil.com", "localhost"));

    [Theory]
    [InlineData("GET", "/", HttpStatusCode.Forbidden)]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", HttpStatusCode.Forbidden)]
    [InlineData("GET", "/nothing/here", HttpStatusCode.Forbidden)]
    [InlineData("OPTIONS", "/api/2.0/mlflow/experiments/get", HttpStatusCode.Forbidden)]
    [InlineData("GET", "/health/", HttpStatusCode.Forbidden)]
    [InlineData("GET", "//health", HttpStatusCode.Forbidden)]
    [InlineData("GET", "/health", HttpStatusCode.OK)]
    [InlineData("GET", "/version", HttpStatusCode.OK)]
    public async Task ForeignHost_IsRefusedExceptForHealthAndVersion(string method, string path, HttpStatusCode status)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var request = new HttpRequestMessage(new HttpMethod(method), server.Client.BaseAddress + path[1..]) { Headers = { Host = "evil.com" } };

        using var response = await server.Client.SendAsync(request);

        Assert.Equal(status, response.StatusCode);
        AssertProtected(response);
        if (status == HttpStatusCode.Forbidden)
        {
            Assert.Equal("text/plain", response.Content.Headers.ContentType?.MediaType);
            var text = await response.Content.ReadAsStringAsync();
            Assert.StartsWith("Invalid Host header", text, StringComparison.Ordinal);
            Assert.Contains("DNS rebinding", text, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost:\r\n\r\n", 403)]
    [InlineData("GET / HTTP/1.0\r\n\r\n", 403)]
    // RFC 9112 §3.2 wants this one refused as malformed, whoever it was meant for.
    [InlineData("GET / HTTP/1.1\r\n\r\n", 400)]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n", 400)]
    [InlineData("GET http://evil.com/ HTTP/1.1\r\nHost: evil.com\r\n\r\n", 403)]
    public async Task RequestWithoutAUsableHost_IsRefused(string request, int status) =>
        Assert.StartsWith($"HTTP/1.1 {status} ", await RawHttp.SendAsync(await TestServer.SharedAsync(DatabaseKind.Sqlite), request), StringComparison.Ordinal);

    [Theory]
    [InlineData("POST", "/api/2.0/mlflow/experiments/search")]
    [InlineData("POST", "/ajax-api/2.0/mlflow/experiments/search")]
    [InlineData("POST", "/ajax-api/3.0/mlflow/ui-telemetry")]
    [InlineData("POST", "/graphql")]
    [InlineData("POST", "/v1/traces")]
    [InlineData("PUT", "/api/2.0/mlflow-artifacts/artifacts/x")]
    [InlineData("PATCH", "/api/2.0/mlflow/logged-models/m-1")]
    [InlineData("DELETE", "/api/2.0/mlflow/logged-models/m-1")]
    public async Task ForeignOrigin_MayChangeNothing(string method, string path)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await SendAsync(server, method, path, "http://evil.com", """{"max_results": 1}""");

        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Equal("text/plain", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal("Cross-origin request blocked", await response.Content.ReadAsStringAsync());
        Assert.False(response.Headers.Contains("Access-Control-Allow-Origin"));
        AssertProtected(response);
    }

    [Theory]
    [InlineData("POST", "/api/2.0/mlflow/experiments/search", "http://localhost:3000", true)]
    [InlineData("POST", "/ajax-api/2.0/mlflow/experiments/search", "http://localhost:3000", true)]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", "http://localhost:3000", true)]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", "http://evil.com", false)]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", "null", false)]
    public async Task AllowedOrigin_IsEchoed(string method, string path, string origin, bool echoed)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await SendAsync(server, method, path, origin, """{"max_results": 1}""");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        AssertEcho(response, echoed ? origin : null);
    }

    [Fact]
    public async Task AllowedOrigin_IsEchoedWithErrorsToo()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await SendAsync(server, "GET", "/api/2.0/mlflow/experiments/get?experiment_id=987654321", "http://localhost:3000");

        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        AssertEcho(response, "http://localhost:3000");
        AssertProtected(response);
    }

    [Theory]
    [InlineData("/api/2.0/mlflow/experiments/search")]
    [InlineData("/ajax-api/2.0/mlflow/experiments/search")]
    public async Task Preflight_OfAnAllowedOrigin_SaysWhatIsAllowed(string path)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await PreflightAsync(server, path, "http://localhost:3000");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        AssertEcho(response, "http://localhost:3000");
        Assert.Contains("PATCH", response.Headers.GetValues("Access-Control-Allow-Methods").Single(), StringComparison.Ordinal);
        Assert.Equal("content-type,x-other", response.Headers.GetValues("Access-Control-Allow-Headers").Single());
        Assert.Equal("600", response.Headers.GetValues("Access-Control-Max-Age").Single());
    }

    [Theory]
    [InlineData("http://evil.com")]
    [InlineData("null")]
    public async Task Preflight_OfAForeignOrigin_AllowsNothing(string origin)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await PreflightAsync(server, "/api/2.0/mlflow/experiments/search", origin);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.DoesNotContain(response.Headers, header => header.Key.StartsWith("Access-Control-", StringComparison.OrdinalIgnoreCase));
    }

    [Theory]
    [InlineData("DENY", "DENY")]
    [InlineData("NONE", null)]
    public async Task FrameOptions_AreAsConfigured(string setting, string? header)
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { XFrameOptions = setting });
        using var response = await server.SendAsync(HttpMethod.Get, "/health");

        Assert.Equal(header, response.Headers.TryGetValues("X-Frame-Options", out var values) ? values.Single() : null);
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
    }

    [Fact]
    public async Task NotebookRenderer_MayBeFramed()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Get, "/static-files/lib/notebook-trace-renderer/index.html");

        Assert.False(response.Headers.Contains("X-Frame-Options"));
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
    }

    [Fact]
    public async Task DisabledMiddleware_ChecksNothing()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { DisableSecurityMiddleware = true });
        using var request = new HttpRequestMessage(HttpMethod.Post, server.Client.BaseAddress + "api/2.0/mlflow/experiments/search")
        {
            Headers = { Host = "evil.com" },
            Content = TestServer.JsonText("""{"max_results": 1}"""),
        };
        request.Headers.Add("Origin", "http://evil.com");

        using var response = await server.Client.SendAsync(request);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.False(response.Headers.Contains("X-Frame-Options"));
    }

    private static async Task<HttpResponseMessage> SendAsync(TestServer server, string method, string path, string origin, string? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        request.Headers.Add("Origin", origin);
        if (body is not null && method != "GET")
            request.Content = TestServer.JsonText(body);
        return await server.Client.SendAsync(request);
    }

    private static async Task<HttpResponseMessage> PreflightAsync(TestServer server, string path, string origin)
    {
        using var request = new HttpRequestMessage(HttpMethod.Options, path);
        request.Headers.Add("Origin", origin);
        request.Headers.Add("Access-Control-Request-Method", "POST");
        request.Headers.Add("Access-Control-Request-Headers", "content-type,x-other");
        return await server.Client.SendAsync(request);
    }

    private static void AssertEcho(HttpResponseMessage response, string? origin)
    {
        Assert.Equal(origin, response.Headers.TryGetValues("Access-Control-Allow-Origin", out var values) ? values.Single() : null);
        Assert.Equal(origin is not null, response.Headers.Contains("Access-Control-Allow-Credentials"));
        Assert.Contains("Origin", response.Headers.Vary);
    }

    private static void AssertProtected(HttpResponseMessage response)
    {
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("SAMEORIGIN", response.Headers.GetValues("X-Frame-Options").Single());
    }
}
