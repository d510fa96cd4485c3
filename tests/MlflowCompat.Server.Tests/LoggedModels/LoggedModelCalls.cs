using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>The calls about logged models that many tests make.</summary>
internal static class LoggedModelCalls
{
    /// <summary>An id that no model has.</summary>
    public const string Unknown = "m-00000000000000000000000000000000";

    /// <summary>Makes a model and returns it.</summary>
    public static async Task<JsonObject> CreateModelAsync(this ApiServer server, string experimentId, object? fields = null)
    {
        var message = fields is null ? [] : JsonSerializer.SerializeToNode(fields)!.AsObject();
        message["experiment_id"] = experimentId;
        return (await server.PostAsync("logged-models", message))["model"]!.AsObject();
    }

    /// <summary>Makes a model and returns its id.</summary>
    public static async Task<string> CreateModelIdAsync(this ApiServer server, string experimentId, object? fields = null) =>
        (await server.CreateModelAsync(experimentId, fields)).Id();

    public static async Task<JsonObject> GetModelAsync(this ApiServer server, string id) =>
        (await server.GetAsync($"logged-models/{id}"))["model"]!.AsObject();

    /// <summary>Sets the status and returns the model.</summary>
    public static async Task<JsonObject> FinalizeAsync(this ApiServer server, string id, object? status = null) =>
        (await server.SendAsync("PATCH", $"logged-models/{id}", new { model_id = id, status = status ?? "LOGGED_MODEL_READY" }))["model"]!.AsObject();

    /// <summary>Sends a message that has to be answered with a 200, and returns the answer.</summary>
    public static async Task<JsonObject> SendAsync(this ApiServer server, string method, string route, object? message = null)
    {
        using var response = await server.SendAsync(HttpMethod.Parse(method), route, message is null ? null : ApiServer.Json(message));
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{method} {route}: {(int)response.StatusCode} {body}");
        return JsonNode.Parse(body)!.AsObject();
    }

    /// <summary>Sends a message, or a text as it is, that has to be refused.</summary>
    public static async Task RefusedAsync(
        this ApiServer server, string method, string route, object? message, HttpStatusCode status, string errorCode, params string[] messageParts)
    {
        using var response = await server.SendAsync(
            HttpMethod.Parse(method), route, message switch { null => null, string text => ApiServer.JsonText(text), _ => ApiServer.Json(message) });
        await ApiServer.AssertErrorAsync(response, status, errorCode, messageParts);
    }

    public static Task InvalidAsync(this ApiServer server, string method, string route, object? message, params string[] messageParts) =>
        server.RefusedAsync(method, route, message, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", messageParts);

    public static Task NotFoundAsync(this ApiServer server, string method, string route, object? message, params string[] messageParts) =>
        server.RefusedAsync(method, route, message, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", messageParts);

    /// <summary>The names of the models that a search finds, in its order, with blanks between them.</summary>
    public static async Task<string> SearchModelsAsync(
        this ApiServer server, string experimentId, string? filter = null, object[]? orderBy = null, object[]? datasets = null) =>
        Names(await server.PostAsync("logged-models/search", new { experiment_ids = new[] { experimentId }, filter, order_by = orderBy, datasets }));

    public static string Names(JsonObject answer) =>
        string.Join(' ', (answer["models"]?.AsArray() ?? []).Select(model => (string)model!["info"]!["name"]!));

    public static string Id(this JsonObject model) => (string)model["info"]!["model_id"]!;

    public static string Status(this JsonObject model) => (string)model["info"]!["status"]!;

    public static Dictionary<string, string> ModelTags(this JsonObject model) => RunCalls.KeyValues(model["info"]!["tags"]);

    public static Dictionary<string, string> ModelParams(this JsonObject model) => RunCalls.KeyValues(model["data"]!["params"]);

    public static List<JsonNode> ModelMetrics(this JsonObject model) => [.. (model["data"]!["metrics"]?.AsArray() ?? []).Select(metric => metric!)];

    /// <summary>The first row of a query about one model (parameter $1), as <see cref="RunCalls.RowAsync"/> reads it.</summary>
    public static Task<object?[]> ModelRowAsync(this TestServer server, string id, string sql) => server.RowAsync(id["m-".Length..], sql);
}
