using System.Net;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Calls that tests of traces make.</summary>
internal static class TraceCalls
{
    public const string Prefix = "/api/3.0/mlflow/";

    /// <summary>The info of version 3 that starts a trace; its fields may be changed before it is sent.</summary>
    public static JsonObject Info(string experimentId, string? traceId = null, long startMs = 1_700_000_000_000) => new()
    {
        ["trace_id"] = traceId ?? "tr-" + OtlpExport.NewTraceId(),
        ["trace_location"] = new JsonObject { ["type"] = "MLFLOW_EXPERIMENT", ["mlflow_experiment"] = new JsonObject { ["experiment_id"] = experimentId } },
        ["request_time"] = DateTimeOffset.FromUnixTimeMilliseconds(startMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture),
        ["execution_duration"] = "0.100s",
        ["state"] = "OK",
    };

    public static JsonObject Start(JsonObject info) => new() { ["trace"] = new JsonObject { ["trace_info"] = info.DeepClone() } };

    /// <summary>Starts a trace and returns its id.</summary>
    public static async Task<string> StartTraceAsync(this ApiServer server, JsonObject info)
    {
        await server.PostAsync(Prefix + "traces", Start(info));
        return (string)info["trace_id"]!;
    }

    /// <summary>Starts a trace and returns its id.</summary>
    public static Task<string> StartTraceAsync(this ApiServer server, string experimentId, long startMs = 1_700_000_000_000) =>
        server.StartTraceAsync(Info(experimentId, startMs: startMs));

    public static async Task<JsonObject> TraceInfoAsync(this ApiServer server, string traceId) =>
        (await server.GetAsync($"{Prefix}traces/{traceId}"))["trace"]!["trace_info"]!.AsObject();

    /// <summary>The traces with spans that batchGet gives for ids.</summary>
    public static async Task<JsonArray> BatchGetAsync(this ApiServer server, params string[] traceIds) =>
        (await server.GetAsync($"{Prefix}traces/batchGet?{string.Join('&', traceIds.Select(id => "trace_ids=" + id))}"))["traces"]?.AsArray() ?? [];

    public static JsonObject Search(string[] experimentIds, string? filter = null, string[]? orderBy = null, int? maxResults = null, string? pageToken = null)
    {
        var request = new JsonObject
        {
            ["locations"] = new JsonArray([.. experimentIds.Select(id => new JsonObject
            {
                ["type"] = "MLFLOW_EXPERIMENT", ["mlflow_experiment"] = new JsonObject { ["experiment_id"] = id },
            })]),
        };
        if (filter is not null)
            request["filter"] = filter;
        if (orderBy is not null)
            request["order_by"] = new JsonArray([.. orderBy.Select(element => JsonValue.Create(element))]);
        if (maxResults is not null)
            request["max_results"] = maxResults;
        if (pageToken is not null)
            request["page_token"] = pageToken;
        return request;
    }

    /// <summary>Ids of the traces of a page, and the token of the next one.</summary>
    public static async Task<(List<string> Ids, string? Token)> SearchTracesAsync(this ApiServer server, JsonObject request)
    {
        var answer = await server.PostAsync(Prefix + "traces/search", request);
        return ([.. (answer["traces"]?.AsArray() ?? []).Select(trace => (string)trace!["trace_id"]!)], (string?)answer["next_page_token"]);
    }

    public static async Task<JsonObject> AssessAsync(this ApiServer server, string traceId, object assessment) =>
        (await server.PostAsync($"{Prefix}traces/{traceId}/assessments", new { assessment }))["assessment"]!.AsObject();

    public static async Task<JsonObject> SendJsonAsync(this ApiServer server, HttpMethod method, string route, object message)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{method} {route}: {(int)response.StatusCode} {body}");
        return JsonNode.Parse(body)!.AsObject();
    }

    public static async Task RefusedAsync(
        this ApiServer server, HttpMethod method, string route, object message, HttpStatusCode status, string code, params string[] parts)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        await ApiServer.AssertErrorAsync(response, status, code, parts);
    }
}
