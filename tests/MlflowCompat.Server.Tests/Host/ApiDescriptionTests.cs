using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.OpenApi;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

public sealed class ApiDescriptionTests
{
    [Fact]
    public async Task Document_IsValidOpenApi()
    {
        var read = OpenApiDocument.Parse((await DocumentAsync()).ToJsonString(), OpenApiConstants.Json);

        Assert.Empty(read.Diagnostic!.Errors);
        Assert.Equal("MlflowCompat", read.Document!.Info.Title);
    }

    [Fact]
    public async Task EveryMappedRoute_IsListedOnceUnderApi()
    {
        var database = BackendStoreUri.Parse($"sqlite:///{TestFolder.Create()}/routes.db");
        await using var owned = database;
        await using var app = MlflowApp.Build(new ServerOptions { Port = 0 }, database);
        var mapped = ((IEndpointRouteBuilder)app).DataSources
            .SelectMany(source => source.Endpoints)
            .OfType<RouteEndpoint>()
            .Where(endpoint => endpoint.Metadata.GetMetadata<MlflowOperation>() is not null)
            .SelectMany(endpoint => endpoint.Metadata.GetRequiredMetadata<IHttpMethodMetadata>().HttpMethods
                .Where(method => method != HttpMethods.Head)
                .Select(method => $"{method} {endpoint.RoutePattern.RawText}"))
            .ToHashSet();
        Assert.NotEmpty(mapped);

        var document = await DocumentAsync();
        var listed = document["paths"]!.AsObject()
            .SelectMany(path => path.Value!.AsObject().Select(operation => $"{operation.Key.ToUpperInvariant()} {path.Key}"))
            .ToHashSet();

        Assert.Equal(
            mapped.Select(route => mapped.Contains(route.Replace("/ajax-api/", "/api/", StringComparison.Ordinal))
                ? route.Replace("/ajax-api/", "/api/", StringComparison.Ordinal)
                : route).Distinct().Order(),
            listed.Order());
    }

    [Fact]
    public async Task EveryOperation_HasAnIdOfItsOwn()
    {
        var ids = Operations(await DocumentAsync()).Select(operation => (string)operation["operationId"]!).ToList();

        Assert.Equal(ids.Count, ids.Distinct().Count());
    }

    [Fact]
    public async Task EveryOperation_RefersToSchemasThatAreThere()
    {
        var document = await DocumentAsync();
        var references = References(document).ToHashSet();

        Assert.NotEmpty(references);
        Assert.All(references, reference => Assert.NotNull(Resolve(document, reference)));
    }

    [Fact]
    public async Task Post_HasItsMessageAsBody()
    {
        var operation = Operation(await DocumentAsync(), "/api/2.0/mlflow/runs/log-metric", "post");

        Assert.Null(operation["parameters"]);
        Assert.Equal("#/components/schemas/LogMetric", (string?)operation["requestBody"]!["content"]!["application/json"]!["schema"]!["$ref"]);
    }

    [Fact]
    public async Task Get_HasItsMessageAsQuery()
    {
        var operation = Operation(await DocumentAsync(), "/api/2.0/mlflow/experiments/search", "get");

        Assert.Null(operation["requestBody"]);
        var parameters = operation["parameters"]!.AsArray().ToDictionary(parameter => (string)parameter!["name"]!, parameter => parameter!["schema"]!);
        Assert.Equal(["filter", "max_results", "order_by", "page_token", "view_type"], parameters.Keys.Order());
        Assert.Equal("int64", (string?)parameters["max_results"]["format"]);
        Assert.Equal("array", (string?)parameters["order_by"]["type"]);
        Assert.Equal("string", (string?)parameters["order_by"]["items"]!["type"]);
        Assert.Equal("#/components/schemas/ViewType", (string?)parameters["view_type"]["$ref"]);
    }

    [Fact]
    public async Task Answers_AreDescribedAsTheyAreWritten()
    {
        var document = await DocumentAsync();
        var answers = Operation(document, "/api/2.0/mlflow/metrics/get-history", "get")["responses"]!;

        var error = Resolve(document, (string)answers["default"]!["$ref"]!)!;
        var body = Resolve(document, (string)error["content"]!["application/json"]!["schema"]!["$ref"]!)!;
        Assert.Equal(["error_code", "message"], body["required"]!.AsArray().Select(name => (string)name!).Order());
        var history = Resolve(document, (string)answers["200"]!["content"]!["application/json"]!["schema"]!["$ref"]!)!;
        Assert.Equal("#/components/schemas/Metric", (string?)history["properties"]!["metrics"]!["items"]!["$ref"]);
    }

    [Theory]
    [InlineData("Metric", "key", """{"type": "string"}""")]
    [InlineData("Metric", "timestamp", """{"type": "integer", "format": "int64"}""")]
    [InlineData("Metric", "value", """{"anyOf": [{"type": "number", "format": "double"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}""")]
    [InlineData("ExperimentRequest", "experiment_id", """{"type": "string"}""")]
    [InlineData("SearchRuns", "experiment_ids", """{"type": "array", "items": {"type": "string"}}""")]
    [InlineData("SearchRuns", "run_view_type", """{"$ref": "#/components/schemas/ViewType"}""")]
    public async Task Fields_HaveTheTypesOfTheWire(string schema, string field, string type)
    {
        var described = (await DocumentAsync())["components"]!["schemas"]![schema]!["properties"]![field]!.DeepClone().AsObject();
        described.Remove("description");

        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(type), described), described.ToJsonString());
    }

    [Theory]
    [InlineData("ViewType", "ACTIVE_ONLY", "DELETED_ONLY", "ALL")]
    [InlineData("RunStatus", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")]
    public async Task Enums_AreTheirNames(string schema, params string[] names)
    {
        var described = (await DocumentAsync())["components"]!["schemas"]![schema]!;

        Assert.Equal("string", (string?)described["type"]);
        Assert.Equal(names, described["enum"]!.AsArray().Select(name => (string)name!));
    }

    [Fact]
    public async Task Fields_ThatAreAlwaysThere_AreRequired()
    {
        var metric = (await DocumentAsync())["components"]!["schemas"]!["GetMetricHistoryResponse"]!;
        var point = (await DocumentAsync())["components"]!["schemas"]!["Metric"]!;

        Assert.Null(metric["required"]);
        Assert.Equal(["key", "step", "timestamp", "value"], point["required"]!.AsArray().Select(name => (string)name!).Order());
    }

    [Fact]
    public async Task Fields_AreDescribedByTheirComments()
    {
        var fields = (await DocumentAsync())["components"]!["schemas"]!["BatchMetric"]!["properties"]!;

        Assert.Contains("Milliseconds", (string?)fields["timestamp"]!["description"], StringComparison.OrdinalIgnoreCase);
    }

    private static async Task<JsonObject> DocumentAsync()
    {
        var server = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        return await server.GetAsync("/openapi/v1.json");
    }

    private static JsonObject Operation(JsonObject document, string path, string method) => document["paths"]![path]![method]!.AsObject();

    private static IEnumerable<JsonObject> Operations(JsonObject document) =>
        document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject().Select(operation => operation.Value!.AsObject()));

    private static JsonNode? Resolve(JsonNode document, string reference) =>
        reference.TrimStart('#', '/').Split('/').Aggregate((JsonNode?)document, (node, step) => node?[step]);

    private static IEnumerable<string> References(JsonNode? node) => node switch
    {
        JsonObject members => members.SelectMany(member => member.Key == "$ref" ? [(string)member.Value!] : References(member.Value)),
        JsonArray items => items.SelectMany(References),
        _ => [],
    };
}
