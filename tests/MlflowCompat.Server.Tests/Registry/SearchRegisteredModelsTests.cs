using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>registered-models/search (contract: endpoints §7, search §4; rows of its table by number).</summary>
public sealed class SearchRegisteredModelsTests
{
    private const string PromptTag = "mlflow.prompt.is_prompt";

    [Theory]
    [BothDatabases(101, "", "Beta alpha plain")]
    [BothDatabases(102, "name = '*alpha'", "alpha")]
    [BothDatabases(102, "attribute.name = '*alpha'", "alpha")]
    [BothDatabases(102, "name like '%alpha'", "alpha")]
    [BothDatabases(103, "name ILIKE '%ALPHA'", "alpha")]
    [BothDatabases(103, "name = '*ALPHA'", "")]
    [BothDatabases(103, "name LIKE '%ALPHA'", "")]
    [BothDatabases(105, "tags.k = 'v'", "alpha")]
    [BothDatabases(105, "tags.k != 'v'", "Beta")]
    [BothDatabases(105, "tags.k ILIKE 'v'", "Beta alpha")]
    [BothDatabases(106, "tags.k = 'v' AND tags.Team = 'A'", "alpha")]
    [BothDatabases(107, "tags.`mlflow.prompt.is_prompt` = 'true'", "prompt1 prompt2")]
    [BothDatabases(107, "tag.mlflow.prompt.is_prompt = 'true'", "prompt1 prompt2")]
    [BothDatabases(107, "tags.`mlflow.prompt.is_prompt` = 'TRUE'", "")]
    [BothDatabases(108, "tags.`mlflow.prompt.is_prompt` != 'true'", "Beta alpha plain")]
    [BothDatabases(108, "tags.`mlflow.prompt.is_prompt` = 'false'", "Beta alpha plain")]
    [BothDatabases(108, "name LIKE '%alpha' AND tag.`mlflow.prompt.is_prompt` != 'true'", "alpha")]
    [BothDatabases(109, "tags.`mlflow.prompt.is_prompt` != 'false'", "prompt1 prompt2")]
    [BothDatabases(110, "tags.`mlflow.prompt.is_prompt` = 'true' AND tags.k = 'v'", "prompt1")]
    [BothDatabases(110, "tags.`mlflow.prompt.is_prompt` = 'true' AND tags.`mlflow.prompt.is_prompt` != 'true'", "")]
    [BothDatabases(110, "tags.`mlflow.prompt.is_prompt` = 'true' AND tags._mlflow_experiment_ids LIKE '%,1,%'", "prompt2")]
    public async Task Filter_ValidRow_FindsTheModelsOfTheTable(DatabaseKind kind, int row, string filter, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = await ModelsAsync(server);
        Assert.Equal((row, expected), (row, string.Join(' ', await FindAsync(server, stem, filter))));
    }

    [Theory]
    [BothDatabases("attributes.name = 'x'")]
    [BothDatabases("name > 'a'")]
    [BothDatabases("name IN ('a')")]
    [BothDatabases("name = alpha")]
    [BothDatabases("description = 'x'")]
    [BothDatabases("creation_timestamp > 0")]
    [BothDatabases("last_updated_timestamp > 0")]
    [BothDatabases("version = 1")]
    [BothDatabases("run_id = 'x'")]
    [BothDatabases("aliases.al = '2'")]
    [BothDatabases("tags.k IS NULL")]
    [BothDatabases("tags.k IS NOT NULL")]
    public async Task Filter_InvalidRow_IsRefused(DatabaseKind kind, string filter)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            $"registered-models/search?filter={Uri.EscapeDataString(filter)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory]
    [BothDatabases("timestamp DESC", "plain alpha Beta")]
    [BothDatabases("last_updated_timestamp", "Beta alpha plain")]
    [BothDatabases("name DESC", "plain alpha Beta")]
    [BothDatabases("name", "Beta alpha plain")]
    [BothDatabases("name|timestamp", "Beta alpha plain")]
    public async Task OrderBy_ValidRow_Orders(DatabaseKind kind, string orderBy, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = await ModelsAsync(server);
        Assert.Equal(expected, string.Join(' ', await FindAsync(server, stem, "", orderBy.Split('|'))));
    }

    [Theory]
    [BothDatabases("creation_timestamp")]
    [BothDatabases("foo")]
    [BothDatabases("tags.k")]
    [BothDatabases("`name`")]
    [BothDatabases("name|name")]
    [BothDatabases("timestamp|last_updated_timestamp")]
    public async Task OrderBy_InvalidRow_IsRefused(DatabaseKind kind, string orderBy)
    {
        var server = await TestServer.SharedAsync(kind);
        var query = string.Join('&', orderBy.Split('|').Select(key => $"order_by={Uri.EscapeDataString(key)}"));
        await server.GetRefusedAsync($"registered-models/search?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory, BothDatabases]
    public async Task Answer_HasAliasesAndTheNewestVersionOfEachStage(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("model");
        await server.PostAsync("registered-models/create", new { name, description = "what", tags = new[] { new { key = "k", value = "v" } } });
        for (var version = 1; version <= 4; version++)
            await server.PostAsync("model-versions/create", new { name, source = "s3://bucket/model", tags = new[] { new { key = "n", value = $"{version}" } } });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "2", stage = "Production" });
        await server.PostAsync("registered-models/alias", new { name, alias = "champion", version = "3" });
        using (var deleted = await server.SendAsync(HttpMethod.Delete, "model-versions/delete", ApiServer.Json(new { name, version = "4" })))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);

        var page = await server.GetAsync($"registered-models/search?filter=name%3D'{name}'");
        var model = Assert.Single(page["registered_models"]!.AsArray())!;
        Assert.True(JsonNode.DeepEquals((await server.GetAsync($"registered-models/get?name={name}"))["registered_model"], model));
        Assert.Equal(["3", "2"], model["latest_versions"]!.AsArray().Select(version => (string)version!["version"]!));
        Assert.Equal(["None", "Production"], model["latest_versions"]!.AsArray().Select(version => (string)version!["current_stage"]!));
        Assert.All(model["latest_versions"]!.AsArray(), version => Assert.Null(version!["aliases"]));
        Assert.Equal("""[{"alias":"champion","version":"3"}]""", model["aliases"]!.ToJsonString());
        Assert.Equal("what", (string)model["description"]!);
    }

    [Theory, BothDatabases]
    public async Task Pages_FollowEachOtherByTokens(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = ApiServer.FreshName("page");
        foreach (var number in Enumerable.Range(0, 7))
            await server.PostAsync("registered-models/create", new { name = $"{stem}{number}" });
        foreach (var size in new[] { 1, 3, 7, 8 })
        {
            var found = new List<string>();
            for (string? token = ""; token is not null;)
            {
                var page = await server.GetAsync($"registered-models/search?filter=name%20LIKE%20'{stem}%25'&max_results={size}&page_token={Uri.EscapeDataString(token)}");
                found.AddRange(page["registered_models"]!.AsArray().Select(model => (string)model!["name"]!));
                token = (string?)page["next_page_token"];
                Assert.True(token is null == (found.Count == 7));
            }

            Assert.Equal(Enumerable.Range(0, 7).Select(number => $"{stem}{number}"), found);
        }
    }

    [Theory, BothDatabases]
    public async Task PageSize_DefaultIs100AndAbove1000IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = ApiServer.FreshName("many");
        await Task.WhenAll(Enumerable.Range(0, 101).Select(number => server.PostAsync("registered-models/create", new { name = $"{stem}{number}" })));
        var page = await server.GetAsync($"registered-models/search?filter=name%20LIKE%20'{stem}%25'");
        Assert.Equal(100, page["registered_models"]!.AsArray().Count);
        Assert.NotNull(page["next_page_token"]);
        page = await server.GetAsync($"registered-models/search?filter=name%20LIKE%20'{stem}%25'&max_results=1000");
        Assert.Equal(101, page["registered_models"]!.AsArray().Count);
        foreach (var query in new[] { "max_results=1001", "max_results=many", "page_token=x", "page_token=e30%3D" })
            await server.GetRefusedAsync($"registered-models/search?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    /// <summary>As MLflow answers; whoever asks for nothing gets nothing.</summary>
    [Theory]
    [BothDatabases(0)]
    [BothDatabases(-1)]
    public async Task PageSize_BelowOne_IsAnEmptyPage(DatabaseKind kind, int maxResults)
    {
        var server = await TestServer.SharedAsync(kind);
        await ModelsAsync(server);
        var page = await server.GetAsync($"registered-models/search?max_results={maxResults}");
        Assert.Null(page["registered_models"]);
        Assert.NotEqual("", (string)page["next_page_token"]!);
    }

    [Theory, BothDatabases]
    public async Task PromptTag_SetAndDeleted_MovesBetweenTheKinds(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("kind");
        await server.PostAsync("registered-models/create", new { name });
        Assert.Equal((1, 0), await CountAsync());
        await server.PostAsync("registered-models/set-tag", new { name, key = PromptTag, value = "true" });
        Assert.Equal((0, 1), await CountAsync());
        await server.PostAsync("registered-models/set-tag", new { name, key = PromptTag, value = "false" });
        Assert.Equal((1, 0), await CountAsync());
        await server.PostAsync("registered-models/set-tag", new { name, key = PromptTag, value = "true" });
        using (var deleted = await server.SendAsync(HttpMethod.Delete, "registered-models/delete-tag", ApiServer.Json(new { name, key = PromptTag })))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        Assert.Equal((1, 0), await CountAsync());

        async Task<(int Models, int Prompts)> CountAsync() =>
            ((await FindAsync(server, name, "")).Count, (await FindAsync(server, name, $"tags.`{PromptTag}` = 'true'")).Count);
    }

    private static async Task<List<string>> FindAsync(TestServer server, string stem, string filter, params string[] orderBy)
    {
        filter = $"name LIKE '{stem}%'" + (filter.Length == 0 ? "" : " AND " + filter.Replace("*", stem, StringComparison.Ordinal));
        var query = $"filter={Uri.EscapeDataString(filter)}" + string.Concat(orderBy.Select(key => $"&order_by={Uri.EscapeDataString(key)}"));
        var page = await server.GetAsync($"registered-models/search?{query}");
        return [.. (page["registered_models"]?.AsArray() ?? []).Select(model => ((string)model!["name"]!)[stem.Length..])];
    }

    private static readonly Dictionary<TestServer, Task<string>> Stems = [];

    /// <summary>The models of the contract's table, once for each server; the stem of their names.</summary>
    private static Task<string> ModelsAsync(TestServer server)
    {
        lock (Stems)
        {
            if (!Stems.TryGetValue(server, out var stem))
                Stems.Add(server, stem = MakeAsync(server));
            return stem;
        }
    }

    private static async Task<string> MakeAsync(TestServer server)
    {
        var stem = ApiServer.FreshName("s") + ".";
        await MakeModelAsync("Beta", ("k", "V"));
        await MakeModelAsync("alpha", ("k", "v"), ("Team", "A"), (PromptTag, "false"));
        await MakeModelAsync("plain");
        await MakeModelAsync("prompt1", (PromptTag, "true"), ("k", "v"));
        await MakeModelAsync("prompt2", (PromptTag, "true"), ("_mlflow_experiment_ids", ",11,1,7,"));
        return stem;

        async Task MakeModelAsync(string name, params (string Key, string Value)[] tags)
        {
            await server.PostAsync(
                "registered-models/create", new { name = stem + name, tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) });
            // Times are whole milliseconds, and an order by them has to be decided.
            await Task.Delay(3);
        }
    }
}
