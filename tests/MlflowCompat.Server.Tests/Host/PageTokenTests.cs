using System.Net;
using System.Text;
using MlflowCompat.Server.Tests.EvaluationDatasets;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>Page tokens that are none, wherever one is taken (contract: semantics §11).</summary>
public sealed class PageTokenTests
{
    [Theory]
    [BothDatabases("no base64!")]
    [BothDatabases("e30")]
    [BothDatabases("é")]
    public Task Token_NoBase64_IsRefusedEverywhere(DatabaseKind kind, string token) => RefusedEverywhereAsync(kind, token);

    [Theory]
    [BothDatabases("null")]
    [BothDatabases("5")]
    [BothDatabases("[]")]
    [BothDatabases("\"x\"")]
    [BothDatabases("{}")]
    [BothDatabases("{")]
    [BothDatabases("no JSON")]
    [BothDatabases("{\"offset\": null}")]
    [BothDatabases("{\"offset\": 0}")]
    [BothDatabases("{\"offset\": -1}")]
    [BothDatabases("{\"offset\": \"x\"}")]
    [BothDatabases("{\"offset\": \"\\ud800\"}")]
    [BothDatabases("{\"\\ud800\": 1}")]
    [BothDatabases("{\"offset\": 1e400}")]
    [BothDatabases("{\"offset\": 9223372036854775808}")]
    [BothDatabases("{\"offset\": 1.5}")]
    [BothDatabases("{\"offset\": 1, \"timestamp_ms\": 1, \"trace_id\": \"\\ud800\", \"experiment_ids\": [\"\\ud800\"], \"filter_string\": \"\\ud800\"}", "runs", "experiments", "models", "datasets", "webhooks", "history")]
    public Task Token_OfSomethingElse_IsRefusedEverywhere(DatabaseKind kind, string content, params string[] but) =>
        RefusedEverywhereAsync(kind, Convert.ToBase64String(Encoding.UTF8.GetBytes(content)), but);

    [Theory, BothDatabases]
    public async Task Token_OfBytesOrDeepJson_IsRefusedEverywhere(DatabaseKind kind)
    {
        await RefusedEverywhereAsync(kind, Convert.ToBase64String([0xFF, 0xFE, 0x00]));
        await RefusedEverywhereAsync(kind, Convert.ToBase64String(Encoding.UTF8.GetBytes(new string('[', 5000))));
    }

    /// <param name="kind">The database.</param>
    /// <param name="token">What is sent.</param>
    /// <param name="but">Listings for which it is one of theirs: they read the offset only.</param>
    private static async Task RefusedEverywhereAsync(DatabaseKind kind, string token, params string[] but)
    {
        var server = await TestServer.SharedAsync(kind);
        var query = "page_token=" + Uri.EscapeDataString(token);
        string[] ids = ["0"];
        object[] locations = [new { mlflow_experiment = new { experiment_id = "0" } }];
        var run = await server.CreateRunAsync("0");
        var dataset = await server.CreateDatasetIdAsync();
        foreach (var (listing, route, message) in ((string, string, object?)[])
            [
                ("experiments", "experiments/search", new { max_results = 1, page_token = token }),
                ("runs", "runs/search", new { experiment_ids = ids, page_token = token }),
                ("models", $"registered-models/search?{query}", null),
                ("models", $"model-versions/search?{query}", null),
                ("logged models", "logged-models/search", new { experiment_ids = ids, page_token = token }),
                ("traces", $"traces?experiment_ids=0&{query}", null),
                ("traces", "/api/3.0/mlflow/traces/search", new { locations, page_token = token }),
                ("datasets", "/api/3.0/mlflow/datasets/search", new { page_token = token }),
                ("records", $"/api/3.0/mlflow/datasets/{dataset}/records?{query}", null),
                ("webhooks", $"webhooks?{query}", null),
                ("history", $"metrics/get-history?run_id={run}&metric_key=m&max_results=5&{query}", null),
            ])
        {
            if (but.Contains(listing))
                continue;
            using var response = await server.SendAsync(message is null ? HttpMethod.Get : HttpMethod.Post, route, message is null ? null : ApiServer.Json(message));
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "page token");
        }
    }
}
