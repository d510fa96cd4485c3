using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests.EvaluationDatasets;

/// <summary>The calls about evaluation data sets that many tests make.</summary>
internal static class DatasetCalls
{
    /// <summary>Where data sets are.</summary>
    public const string Route = "/api/3.0/mlflow/datasets/";

    /// <summary>An id that no data set has.</summary>
    public const string Unknown = "d-00000000000000000000000000000000";

    /// <summary>Makes a data set and returns it.</summary>
    public static async Task<JsonObject> CreateDatasetAsync(this ApiServer server, string? name = null, object? tags = null, params string[] experimentIds) =>
        (await server.PostAsync(Route + "create", new
        {
            name = name ?? ApiServer.FreshName("dataset"),
            tags = tags is null ? null : JsonSerializer.Serialize(tags),
            experiment_ids = experimentIds,
        }))["dataset"]!.AsObject();

    /// <summary>Makes a data set and returns its id.</summary>
    public static async Task<string> CreateDatasetIdAsync(this ApiServer server) => (string)(await server.CreateDatasetAsync())["dataset_id"]!;

    /// <summary>Reads a data set.</summary>
    public static async Task<JsonObject> GetDatasetAsync(this ApiServer server, string id) =>
        (await server.GetAsync(Route + id))["dataset"]!.AsObject();

    /// <summary>Upserts records and returns the answer.</summary>
    /// <param name="server">The server.</param>
    /// <param name="id">The data set.</param>
    /// <param name="records">A text is sent as it is, all else as its JSON.</param>
    public static Task<JsonObject> UpsertAsync(this ApiServer server, string id, object records) =>
        server.PostAsync($"{Route}{id}/records", new { records = records as string ?? JsonSerializer.Serialize(records) });

    /// <summary>All records, page by page.</summary>
    public static async Task<List<JsonObject>> RecordsAsync(this ApiServer server, string id, int? pageSize = null)
    {
        var records = new List<JsonObject>();
        string? token = null;
        do
        {
            var page = await server.GetAsync(
                $"{Route}{id}/records?max_results={pageSize ?? 0}{(token is null ? "" : $"&page_token={Uri.EscapeDataString(token)}")}");
            var found = JsonNode.Parse((string)page["records"]!, documentOptions: new JsonDocumentOptions { MaxDepth = 1000 })!.AsArray();
            Assert.True(pageSize is null || found.Count <= pageSize);
            records.AddRange(found.Select(record => record!.AsObject()));
            token = (string?)page["next_page_token"];
            Assert.NotEqual("", token);
        }
        while (token is not null);
        return records;
    }

    /// <summary>Sends a request, which has to succeed.</summary>
    public static async Task<JsonObject> CallAsync(this ApiServer server, HttpMethod method, string route, object? message)
    {
        using var answer = await server.SendAsync(method, route, message is null ? null : ApiServer.Json(message));
        var body = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.StatusCode == HttpStatusCode.OK, $"{method} {route}: {(int)answer.StatusCode} {body}");
        return JsonNode.Parse(body)!.AsObject();
    }

    /// <summary>Sends a request that has to be refused as INVALID_PARAMETER_VALUE.</summary>
    public static async Task SendInvalidAsync(this ApiServer server, HttpMethod method, string route, string message, params string[] parts)
    {
        using var answer = await server.SendAsync(method, route, ApiServer.JsonText(message));
        await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", parts);
    }

    /// <summary>The text of a field that holds JSON.</summary>
    public static string Compact(JsonNode? field) => JsonNode.Parse((string)field!)!.ToJsonString();

    /// <summary>An object without the members that the server makes.</summary>
    public static JsonObject Without(JsonNode node, params string[] names)
    {
        var copy = node.DeepClone().AsObject();
        foreach (var name in names)
            Assert.True(copy.Remove(name), $"{name} is missing in {node.ToJsonString()}");
        return copy;
    }

    /// <summary>Asserts that two pieces of JSON say the same.</summary>
    public static void AssertJson(string expected, JsonNode? actual) =>
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(expected), actual), $"expected {expected}, found {actual?.ToJsonString()}");
}
