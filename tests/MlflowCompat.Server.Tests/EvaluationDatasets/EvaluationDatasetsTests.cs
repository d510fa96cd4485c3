using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;
using static MlflowCompat.Server.Tests.EvaluationDatasets.DatasetCalls;

namespace MlflowCompat.Server.Tests.EvaluationDatasets;

/// <summary>Data sets themselves: life cycle, tags, experiments (contract: endpoints §15, since-3.6 §4).</summary>
public sealed class EvaluationDatasetsTests
{
    [Theory, BothDatabases]
    public async Task Create_WithEverything_AnswersWhatWasMade(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var before = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        var answer = await server.PostAsync(Route + "create", new
        {
            name = "qa",
            experiment_ids = new object[] { experiment, experiment, 999_999_999 },
            tags = """{"mlflow.user": "me", "k": "ü"}""",
            source_type = "HUMAN",
            source = "s",
            schema = "x",
            profile = "y",
            created_by = "somebody else",
        });

        Assert.Equal(["dataset"], answer.Select(field => field.Key));
        var dataset = answer["dataset"]!.AsObject();
        Assert.Matches("^d-[0-9a-f]{32}$", (string)dataset["dataset_id"]!);
        Assert.Matches("^[0-9a-f]{8}$", (string)dataset["digest"]!);
        Assert.InRange((long)dataset["created_time"]!, before, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        Assert.Equal((long)dataset["created_time"]!, (long)dataset["last_update_time"]!);
        AssertJson("""{"mlflow.user": "me", "k": "ü"}""", JsonNode.Parse((string)dataset["tags"]!));
        AssertJson(
            $$"""{"name": "qa", "created_by": "me", "last_updated_by": "me", "experiment_ids": ["{{experiment}}", "999999999"]}""",
            Without(dataset, "dataset_id", "digest", "created_time", "last_update_time", "tags"));

        var read = await server.GetDatasetAsync((string)dataset["dataset_id"]!);
        Assert.Equal(Without(dataset, "experiment_ids").ToJsonString(), read.ToJsonString());
        AssertJson($$"""{"experiment_ids": ["{{experiment}}", "999999999"]}""", Sorted(await server.GetAsync($"{Route}{(string)dataset["dataset_id"]!}/experiment-ids")));
    }

    [Theory, BothDatabases]
    public async Task Create_WithTheNameOnly_HasNothingElse(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var tags in new[] { null, "", "null", "{}" })
        {
            // Names are not unique.
            var dataset = (await server.PostAsync(Route + "create", new { name = "same", tags }))["dataset"]!;
            AssertJson("""{"name": "same", "tags": "{}"}""", Without(dataset, "dataset_id", "digest", "created_time", "last_update_time"));
            Assert.Empty(await server.GetAsync($"{Route}{(string)dataset["dataset_id"]!}/experiment-ids"));
            AssertJson("""{"records": "[]"}""", await server.GetAsync($"{Route}{(string)dataset["dataset_id"]!}/records"));
        }
    }

    [Theory]
    [BothDatabases("{}", "name")]
    [BothDatabases("""{"name": null}""", "name")]
    [BothDatabases("""{"name": ""}""", "name")]
    [BothDatabases("""{"name": 5}""", "name")]
    [BothDatabases("""{"name": "a\u0000"}""", "name")]
    [BothDatabases("""{"name": "a", "experiment_ids": "1"}""", "experiment_ids")]
    [BothDatabases("""{"name": "a", "experiment_ids": [null]}""", "experiment_ids")]
    [BothDatabases("""{"name": "a", "tags": {"k": "v"}}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "not json"}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "[]"}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "\"k\""}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "{\"\": \"v\"}"}""", "tags.key")]
    [BothDatabases("""{"name": "a", "tags": "{\"k\": \"\\u0000\"}"}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "{\"k\\u0000\": \"\"}"}""", "tags")]
    [BothDatabases("""{"name": "a", "tags": "{\"k\": \"\\ud83d\"}"}""", "tags")]
    [BothDatabases("[]", "JSON object")]
    public async Task Create_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.SendInvalidAsync(HttpMethod.Post, Route + "create", message, part);
    }

    [Theory, BothDatabases]
    public async Task Limits_OfNameAndTags_AreCountedInCodePoints(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = new Dictionary<string, string> { [Long(255)] = Long(5000) };
        var dataset = await server.CreateDatasetAsync(Long(255), tags);
        Assert.Equal(Long(255), (string)dataset["name"]!);
        AssertJson(JsonSerializer.Serialize(tags), JsonNode.Parse((string)(await server.GetDatasetAsync((string)dataset["dataset_id"]!))["tags"]!));

        await server.PostInvalidAsync(Route + "create", new { name = Long(256) }, "'name' exceeds");
        await server.PostInvalidAsync(
            Route + "create", new { name = "a", tags = JsonSerializer.Serialize(new Dictionary<string, string> { [Long(256)] = "" }) }, "'tags.key' exceeds");
        await server.PostInvalidAsync(Route + "create", new { name = "a", tags = JsonSerializer.Serialize(new { k = Long(5001) }) }, "'tags.value' exceeds");
        await server.PostInvalidAsync(Route + "create", new { name = "a", experiment_ids = new[] { new string('1', 51) } }, "'experiment_ids[0]' exceeds");

        static string Long(int points) => string.Concat(Enumerable.Repeat("😀", points));
    }

    [Theory, BothDatabases]
    public async Task Delete_RemovesAllOfIt_AndMayBeRepeated(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = (string)(await server.CreateDatasetAsync(null, new { k = "v" }, experiment))["dataset_id"]!;
        await server.UpsertAsync(id, new[] { new { inputs = new { q = 1 } } });

        Assert.Empty(await server.CallAsync(HttpMethod.Delete, Route + id, null));
        Assert.Empty(await server.CallAsync(HttpMethod.Delete, Route + id, null));
        await server.GetRefusedAsync(Route + id, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id, "not found");
        AssertJson("""{"records": "[]"}""", await server.GetAsync($"{Route}{id}/records"));
        Assert.Empty(await server.GetAsync($"{Route}{id}/experiment-ids"));
        Assert.Empty(await server.PostAsync(Route + "search", new { experiment_ids = new[] { experiment } }));
        var session = await server.Database.OpenAsync(CancellationToken.None);
        await using (session)
        {
            foreach (var table in new[] { "evaluation_dataset_records WHERE dataset_id", "entity_associations WHERE source_id" })
                Assert.Equal(0, await session.ScalarAsync<long>(server.Database.Statement($"SELECT count(*) FROM {table} = $1").Add(id), CancellationToken.None));
        }
    }

    [Theory, BothDatabases]
    public async Task UnknownDataset_IsAnsweredAsTheContractSays(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(Route + Unknown, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", Unknown, "not found");
        await server.GetRefusedAsync(Route + "create", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "create");
        Assert.Empty(await server.CallAsync(HttpMethod.Delete, Route + Unknown, null));
        Assert.Empty(await server.CallAsync(HttpMethod.Delete, $"{Route}{Unknown}/tags/k", null));
        AssertJson("""{"records": "[]"}""", await server.GetAsync($"{Route}{Unknown}/records"));
        Assert.Empty(await server.GetAsync($"{Route}{Unknown}/experiment-ids"));
        AssertJson(
            """{"deleted_count": 0}""",
            await server.CallAsync(HttpMethod.Delete, $"{Route}{Unknown}/records", new { dataset_record_ids = new[] { "dr-1" } }));
        await server.PostNotFoundAsync($"{Route}{Unknown}/records", new { records = "[]" }, Unknown);
        await server.PostNotFoundAsync($"{Route}{Unknown}/records", new { records = """[{"inputs": {}}]""" }, Unknown);
        await server.PostNotFoundAsync($"{Route}{Unknown}/add-experiments", new { experiment_ids = new[] { "0" } }, Unknown);
        await server.PostNotFoundAsync($"{Route}{Unknown}/remove-experiments", new { experiment_ids = new[] { "0" } }, Unknown);
        using var tags = await server.SendAsync(HttpMethod.Patch, $"{Route}{Unknown}/tags", ApiServer.Json(new { tags = """{"k": "v"}""" }));
        await ApiServer.AssertErrorAsync(tags, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", Unknown);
    }

    [Theory, BothDatabases]
    public async Task Tags_AreMergedAsText(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = (string)(await server.CreateDatasetAsync(null, new { a = 1, b = "old", c = (string?)null, d = true, e = 1.50, f = new[] { 1 } }))["dataset_id"]!;
        Assert.Equal("""{"a":"1","b":"old","d":"True","e":"1.5","f":"[1]"}""", await TagsAsync());

        // What the body calls the data set does not count.
        Assert.Empty(await server.CallAsync(
            HttpMethod.Patch, $"{Route}{id}/tags", new { dataset_id = Unknown, tags = """{"a": null, "b": "new", "new/ö": "", "x": false, "n": 1e2}""" }));
        Assert.Equal("""{"a":"1","b":"new","d":"True","e":"1.5","f":"[1]","n":"100.0","new/ö":"","x":"False"}""", await TagsAsync());
        foreach (var key in new[] { "b", "b", "never", "d", "e", "f", "n", "x" })
            Assert.Empty(await server.CallAsync(HttpMethod.Delete, $"{Route}{id}/tags/{key}", new { key = "a" }));
        Assert.Equal("""{"a":"1","new/ö":""}""", await TagsAsync());

        async Task<string> TagsAsync() => (string)(await server.GetDatasetAsync(id))["tags"]!;
    }

    [Theory]
    [BothDatabases("{}", "Missing value for required parameter 'tags'")]
    [BothDatabases("""{"tags": ""}""", "Missing value for required parameter 'tags'")]
    [BothDatabases("""{"tags": {"k": "v"}}""", "tags")]
    [BothDatabases("""{"tags": "null"}""", "tags")]
    [BothDatabases("""{"tags": "{"}""", "tags")]
    [BothDatabases("""{"tags": "[{}]"}""", "tags")]
    [BothDatabases("""{"tags": "{\"\": \"v\"}"}""", "tags.key")]
    [BothDatabases("""{"tags": "{\"k\": \"\\u0000\"}"}""", "tags")]
    [BothDatabases("""{"tags": "{\"k\": \"\\ud83d\"}"}""", "tags")]
    public async Task SetTags_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.SendInvalidAsync(HttpMethod.Patch, $"{Route}{id}/tags", message, part);
    }

    [Theory, BothDatabases]
    public async Task Experiments_AreAddedAndRemoved(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        string[] experiments = [await server.CreateExperimentAsync(), await server.CreateExperimentAsync(), await server.CreateExperimentAsync()];
        await server.PostAsync("experiments/delete", new { experiment_id = experiments[2] });
        var created = await server.CreateDatasetAsync(null, null, experiments[0]);
        var id = (string)created["dataset_id"]!;

        var added = await AddAsync(experiments[1], experiments[0], experiments[1], experiments[2]);
        AssertJson(JsonSerializer.Serialize(experiments), Sorted(added)["experiment_ids"]);
        Assert.True((long)added["last_update_time"]! >= (long)created["last_update_time"]!);
        Assert.Equal((string)created["digest"]!, (string)added["digest"]!);
        AssertJson(JsonSerializer.Serialize(experiments), Sorted(await AddAsync())["experiment_ids"]);
        AssertJson(JsonSerializer.Serialize(experiments), Sorted((await server.PostAsync($"{Route}{id}/add-experiments", new { }))["dataset"]!)["experiment_ids"]);
        await server.PostNotFoundAsync($"{Route}{id}/add-experiments", new { experiment_ids = new[] { "0", "999999999" } }, "No Experiment with id=999999999");
        await server.PostNotFoundAsync($"{Route}{id}/add-experiments", new { experiment_ids = new[] { "0", "x" } }, "No Experiment with id=x");
        AssertJson(JsonSerializer.Serialize(new { experiment_ids = experiments }), Sorted(await server.GetAsync($"{Route}{id}/experiment-ids")));

        foreach (var route in (string[])["add-experiments", "remove-experiments"])
        {
            await server.SendInvalidAsync(HttpMethod.Post, $"{Route}{id}/{route}", """{"experiment_ids": "1"}""", "experiment_ids");
            await server.SendInvalidAsync(HttpMethod.Post, $"{Route}{id}/{route}", """{"experiment_ids": [null]}""", "experiment_ids");
            await server.PostInvalidAsync($"{Route}{id}/{route}", new { experiment_ids = new[] { new string('1', 51) } }, "'experiment_ids[0]' exceeds");
        }

        var left = await RemoveAsync(experiments[0], "999999999", "x");
        AssertJson(JsonSerializer.Serialize(experiments[1..]), Sorted(left)["experiment_ids"]);
        Assert.Null((await RemoveAsync(experiments))["experiment_ids"]);
        Assert.Empty(await server.GetAsync($"{Route}{id}/experiment-ids"));

        async Task<JsonObject> AddAsync(params string[] ids) =>
            (await server.PostAsync($"{Route}{id}/add-experiments", new { experiment_ids = ids }))["dataset"]!.AsObject();
        async Task<JsonObject> RemoveAsync(params string[] ids) =>
            (await server.PostAsync($"{Route}{id}/remove-experiments", new { experiment_ids = ids }))["dataset"]!.AsObject();
    }

    [Theory, BothDatabases]
    public async Task Routes_AreTheSameUnderBothPrefixesAndNoOther(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        var ajax = await server.GetAsync($"/ajax-api/3.0/mlflow/datasets/{id}?page_token=x");
        Assert.Equal((await server.GetAsync(Route + id)).ToJsonString(), ajax.ToJsonString());
        await server.PostAsync("/ajax-api/3.0/mlflow/datasets/search", new { max_results = 1 });
        foreach (var (method, route, status) in new[]
        {
            (HttpMethod.Get, $"/api/2.0/mlflow/datasets/{id}", HttpStatusCode.NotFound),
            (HttpMethod.Get, $"{Route}{id}/nothing", HttpStatusCode.NotFound),
            (HttpMethod.Put, $"{Route}{id}", HttpStatusCode.MethodNotAllowed),
            (HttpMethod.Get, $"{Route}{id}/tags", HttpStatusCode.MethodNotAllowed),
        })
        {
            using var answer = await server.SendAsync(method, route);
            Assert.Equal((route, status), (route, answer.StatusCode));
            Assert.Equal("text/html", answer.Content.Headers.ContentType?.MediaType);
        }

        using var nul = await server.SendAsync(HttpMethod.Get, Route + "d-%00");
        Assert.Equal(HttpStatusCode.BadRequest, nul.StatusCode);
    }

    private static JsonObject Sorted(JsonNode answer)
    {
        var ids = answer["experiment_ids"]!.AsArray().Select(id => (string)id!).OrderBy(id => id.Length).ThenBy(id => id, StringComparer.Ordinal).ToArray();
        var copy = answer.DeepClone().AsObject();
        copy["experiment_ids"] = JsonSerializer.SerializeToNode(ids);
        return copy;
    }
}
