using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Server.Tests;

/// <summary>
/// The real application on a loopback port of this process, on a migrated database of its own. Tests share one server per kind of
/// database and use names that nobody else uses (<see cref="FreshName"/>); a test that needs other options, or needs to be alone, starts
/// its own.
/// </summary>
public sealed class TestServer : IAsyncDisposable
{
    private const string Prefix = "/api/2.0/mlflow/";

    private static readonly Dictionary<DatabaseKind, Lazy<Task<TestServer>>> Shared = new()
    {
        [DatabaseKind.Sqlite] = new(() => StartAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => StartAsync(DatabaseKind.PostgreSql)),
    };

    private readonly WebApplication app;
    private readonly TestDatabase? ownDatabase;

    private TestServer(WebApplication app, Database database, TestDatabase? ownDatabase)
    {
        this.app = app;
        this.ownDatabase = ownDatabase;
        Database = database;
        // Redirects are answers that tests look at; a proxy of the machine must not come between.
        Client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseProxy = false })
        {
            BaseAddress = new Uri(app.Urls.First()),
        };
    }

    /// <summary>Talks to the server; its base address is the server's.</summary>
    public HttpClient Client { get; }

    /// <summary>What the server stores in.</summary>
    public Database Database { get; }

    /// <summary>The server that all tests of the process share.</summary>
    public static Task<TestServer> SharedAsync(DatabaseKind kind) => Shared[kind].Value;

    /// <summary>Starts a server on a fresh database.</summary>
    /// <param name="kind">Which database.</param>
    /// <param name="configure">Changes the options; the address of the database and the port are given.</param>
    public static async Task<TestServer> StartAsync(DatabaseKind kind, Func<ServerOptions, ServerOptions>? configure = null)
    {
        var database = await TestDatabase.CreateAsync(kind);
        return await StartAsync(database.Address, configure, database);
    }

    /// <summary>Starts a server on a database that may be in use by others.</summary>
    public static Task<TestServer> StartAsync(string backendStoreUri, Func<ServerOptions, ServerOptions>? configure = null) =>
        StartAsync(backendStoreUri, configure, null);

    /// <summary>A name that no other test uses.</summary>
    public static string FreshName(string stem) => $"{stem}-{Guid.NewGuid():N}";

    /// <summary>Sends a message with POST and returns the answer, which has to be a 200.</summary>
    /// <param name="route">What follows <c>/api/2.0/mlflow/</c>, or a whole path.</param>
    /// <param name="message">A JSON node, or anything that serializes to the message.</param>
    public async Task<JsonObject> PostAsync(string route, object message)
    {
        using var response = await SendAsync(HttpMethod.Post, route, Json(message));
        return await MessageAsync(response, $"POST {route}");
    }

    /// <summary>Sends a message as a query string with GET and returns the answer, which has to be a 200.</summary>
    /// <param name="route">What follows <c>/api/2.0/mlflow/</c>, or a whole path, and the query.</param>
    public async Task<JsonObject> GetAsync(string route)
    {
        using var response = await SendAsync(HttpMethod.Get, route);
        return await MessageAsync(response, $"GET {route}");
    }

    /// <summary>Sends anything and returns whatever comes.</summary>
    public async Task<HttpResponseMessage> SendAsync(HttpMethod method, string route, HttpContent? content = null)
    {
        using var request = new HttpRequestMessage(method, route.StartsWith('/') ? route : Prefix + route) { Content = content };
        return await Client.SendAsync(request);
    }

    /// <summary>Sends a message with POST that has to be refused.</summary>
    /// <param name="route">As in <see cref="PostAsync"/>.</param>
    /// <param name="message">As in <see cref="PostAsync"/>; a text is sent as the body that it is.</param>
    /// <param name="status">The expected status.</param>
    /// <param name="errorCode">The expected error_code.</param>
    /// <param name="messageParts">What the error's message has to contain.</param>
    public async Task PostRefusedAsync(string route, object message, HttpStatusCode status, string errorCode, params string[] messageParts)
    {
        using var response = await SendAsync(HttpMethod.Post, route, message is string text ? JsonText(text) : Json(message));
        await AssertErrorAsync(response, status, errorCode, messageParts);
    }

    /// <summary>Sends a query with GET that has to be refused.</summary>
    public async Task GetRefusedAsync(string route, HttpStatusCode status, string errorCode, params string[] messageParts)
    {
        using var response = await SendAsync(HttpMethod.Get, route);
        await AssertErrorAsync(response, status, errorCode, messageParts);
    }

    /// <summary>POST that has to be refused as INVALID_PARAMETER_VALUE, the commonest of all errors.</summary>
    public Task PostInvalidAsync(string route, object message, params string[] messageParts) =>
        PostRefusedAsync(route, message, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", messageParts);

    /// <summary>POST that has to be refused as RESOURCE_DOES_NOT_EXIST.</summary>
    public Task PostNotFoundAsync(string route, object message, params string[] messageParts) =>
        PostRefusedAsync(route, message, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", messageParts);

    /// <summary>Asserts that an answer is an error with a status, a code and a message.</summary>
    public static async Task AssertErrorAsync(
        HttpResponseMessage response, HttpStatusCode status, string errorCode, params string[] messageParts)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"expected {(int)status}, got {(int)response.StatusCode}: {body}");
        Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
        var error = JsonNode.Parse(body)!.AsObject();
        Assert.Equal(errorCode, (string?)error["error_code"]);
        var message = (string?)error["message"];
        Assert.False(string.IsNullOrEmpty(message));
        foreach (var part in messageParts)
            Assert.Contains(part, message, StringComparison.Ordinal);
    }

    /// <summary>A body of this text, as application/json.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "The request disposes of its content.")]
    public static HttpContent JsonText(string text) => new ByteArrayContent(Encoding.UTF8.GetBytes(text))
    {
        Headers = { ContentType = new("application/json") },
    };

    /// <summary>A body that is the JSON of this, as application/json.</summary>
    public static HttpContent Json(object message) => JsonText(JsonSerializer.Serialize(message));

    /// <summary>Makes an experiment under a fresh name and returns its id.</summary>
    public async Task<string> CreateExperimentAsync(string? name = null) =>
        (string)(await PostAsync("experiments/create", new { name = name ?? FreshName("experiment") }))["experiment_id"]!;

    /// <summary>Stops the server as a signal would: it takes no new requests and ends those that it has.</summary>
    public Task StopAsync() => app.StopAsync();

    /// <summary>Stops the server and removes its database.</summary>
    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await app.DisposeAsync();
        await Database.DisposeAsync();
        if (ownDatabase is not null)
            await ownDatabase.DisposeAsync();
    }

    private static async Task<TestServer> StartAsync(
        string backendStoreUri, Func<ServerOptions, ServerOptions>? configure, TestDatabase? ownDatabase)
    {
        var options = new ServerOptions
        {
            BackendStoreUri = backendStoreUri,
            ArtifactsDestination = Path.Combine(TestFolder.Create(), "artifacts"),
            Port = 0,
        };
        options = configure?.Invoke(options) ?? options;
        var database = BackendStoreUri.Parse(options.BackendStoreUri, Conditions.DefineSqliteFunctions);
        await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None);
        var app = MlflowApp.Build(options, database);
        using (var scope = app.Services.CreateScope())
            await scope.ServiceProvider.GetRequiredService<ExperimentStore>().EnsureDefaultAsync(CancellationToken.None);
        await app.StartAsync();
        return new TestServer(app, database, ownDatabase);
    }

    private static async Task<JsonObject> MessageAsync(HttpResponseMessage response, string request)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{request}: {(int)response.StatusCode} {body}");
        Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
        return JsonNode.Parse(body)!.AsObject();
    }
}
