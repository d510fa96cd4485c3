using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests;

/// <summary>A server that tests talk to over HTTP, wherever it runs.</summary>
public abstract class ApiServer
{
    private const string Prefix = "/api/2.0/mlflow/";

    /// <summary>Talks to a server that listens already.</summary>
    /// <param name="address">Where it listens.</param>
    protected ApiServer(string address)
    {
        // Redirects are answers that tests look at; a proxy of the machine must not come between.
        Client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseProxy = false }) { BaseAddress = new Uri(address) };
    }

    /// <summary>Talks to the server; its base address is the server's.</summary>
    public HttpClient Client { get; }

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

    private static async Task<JsonObject> MessageAsync(HttpResponseMessage response, string request)
    {
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{request}: {(int)response.StatusCode} {body}");
        Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
        return JsonNode.Parse(body)!.AsObject();
    }
}
