using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

public sealed class UnknownRoutesTests
{
    [Theory]
    [InlineData("GET", "/api/2.0/mlflow/nothing/here")]
    [InlineData("POST", "/api/2.0/mlflow/nothing/here")]
    [InlineData("GET", "/api/9.9/mlflow/experiments/get?experiment_id=0")]
    [InlineData("GET", "/api/2.0/preview/mlflow/experiments/get?experiment_id=0")]
    [InlineData("GET", "/api/2.0/mlflow/experiments/list")]
    [InlineData("GET", "/api/2.0/mlflow/experiments/get/?experiment_id=0")]
    [InlineData("GET", "/api/3.0/mlflow/experiments/get?experiment_id=0")]
    [InlineData("GET", "/health/")]
    [InlineData("GET", "/server-info")]
    [InlineData("GET", "/docs")]
    [InlineData("GET", "/openapi.json")]
    [InlineData("GET", "/metrics")]
    [InlineData("OPTIONS", "/nothing")]
    public async Task UnknownPath_IsAPageNotFound(string method, string path)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(new HttpMethod(method), path, method == "POST" ? TestServer.JsonText("""{"a": 1}""") : null);

        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        await AssertPageAsync(response);
    }

    [Theory]
    [InlineData("DELETE", "/api/2.0/mlflow/experiments/create", "POST, OPTIONS")]
    [InlineData("POST", "/ajax-api/2.0/mlflow/experiments/get", "GET, HEAD, OPTIONS")]
    [InlineData("GET", "/api/2.0/mlflow/runs/search", "POST, OPTIONS")]
    [InlineData("PUT", "/api/2.0/mlflow/experiments/search", "GET, HEAD, OPTIONS, POST")]
    [InlineData("POST", "/health", "GET, HEAD, OPTIONS")]
    public async Task WrongMethod_IsAPageThatNamesTheRightOnes(string method, string path, string allowed)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(new HttpMethod(method), path);

        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        Assert.Equal(allowed.Split(", ").Order(), response.Content.Headers.Allow.Order());
        await AssertPageAsync(response);
    }

    [Theory]
    [InlineData("/api/2.0/mlflow/experiments/get", HttpStatusCode.NoContent, "GET, HEAD, OPTIONS")]
    [InlineData("/ajax-api/2.0/mlflow/experiments/create", HttpStatusCode.OK, "POST, OPTIONS")]
    [InlineData("/version", HttpStatusCode.OK, "GET, HEAD, OPTIONS")]
    public async Task Options_AreAnswered(string path, HttpStatusCode status, string allowed)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Options, path);

        Assert.Equal(status, response.StatusCode);
        Assert.Equal(allowed.Split(", ").Order(), response.Content.Headers.Allow.Order());
        Assert.Equal("", await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("/health", "text/html")]
    [InlineData("/api/2.0/mlflow/experiments/get?experiment_id=0", "application/json")]
    public async Task Head_WorksWhereGetDoes(string path, string mediaType)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        using var response = await server.SendAsync(HttpMethod.Head, path);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(mediaType, response.Content.Headers.ContentType?.MediaType);
        Assert.Equal("", await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("/api/2.0/mlflow//experiments/get?experiment_id=0", "/api/2.0/mlflow/experiments/get?experiment_id=0")]
    [InlineData("///health", "/health")]
    [InlineData("//evil.com", "/evil.com")]
    [InlineData("//evil.com/%2e%2e", "/")]
    [InlineData("/%5Cevil.com//x", "/%5Cevil.com/x")]
    [InlineData("//%5Cevil.com", "/%5Cevil.com")]
    [InlineData("/%2F/evil.com//", "/%2F/evil.com/")]
    [InlineData("/a%0d%0aSet-Cookie:%20x//b", "/a%0D%0ASet-Cookie:%20x/b")]
    public async Task DoubledSlashes_AreMergedByARedirectToThisServer(string target, string location)
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        var answer = await RawHttp.SendAsync(server, $"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 308 ", answer, StringComparison.Ordinal);
        Assert.Contains($"\r\nLocation: {location}\r\n", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DoubledSlashes_BelowAPrefix_AreMergedBelowIt()
    {
        await using var server = await TestServer.StartAsync(DatabaseKind.Sqlite, options => options with { StaticPrefix = "/p" });

        Assert.Contains(
            "\r\nLocation: /p/evil.com\r\n",
            await RawHttp.SendAsync(server, "GET /p//evil.com HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            StringComparison.Ordinal);
    }

    /// <summary>A client takes a 404 for an unknown endpoint only when it cannot read the body as JSON.</summary>
    private static async Task AssertPageAsync(HttpResponseMessage response)
    {
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.StartsWith("<!doctype html>", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }
}
