using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>model-versions/search and get-latest-versions (contract: endpoints §7, §8, search §5; rows of its table by number).</summary>
public sealed class SearchModelVersionsTests
{
    private const string Run = "0af7651916cd43dd8448eb211c80319c";
    private const string PromptTag = "mlflow.prompt.is_prompt";

    [Theory]
    [BothDatabases(115, "name = '*alpha'", "alpha:3 alpha:2 alpha:1")]
    [BothDatabases(115, "name ILIKE '*ALPHA'", "alpha:3 alpha:2 alpha:1")]
    [BothDatabases(115, "", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases(116, "name = '*alpha' AND run_id = '0af7651916cd43dd8448eb211c80319c'", "alpha:1")]
    [BothDatabases(117, "run_id IN ('0af7651916cd43dd8448eb211c80319c','x')", "alpha:1")]
    [BothDatabases(117, "run_id in ('', '0af7651916cd43dd8448eb211c80319c')", "Beta:1 alpha:2 alpha:1")]
    [BothDatabases(118, "run_id != '0af7651916cd43dd8448eb211c80319c'", "Beta:1 alpha:3 alpha:2")]
    [BothDatabases(118, "run_id = ''", "Beta:1 alpha:2")]
    [BothDatabases(118, "run_id LIKE '0AF%'", "")]
    [BothDatabases(118, "run_id ILIKE '0AF%'", "alpha:1")]
    [BothDatabases(119, "source_path = 's3://b/1'", "alpha:1")]
    [BothDatabases(119, "source_path LIKE 's3://b/%'", "alpha:2 alpha:1")]
    [BothDatabases(119, "source_path ILIKE 's3://b/%'", "alpha:3 alpha:2 alpha:1")]
    [BothDatabases(121, "version_number > 1", "alpha:3 alpha:2")]
    [BothDatabases(121, "version_number >= '1'", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases(121, "version_number > 1.5", "alpha:3 alpha:2")]
    [BothDatabases(121, "version_number = 1.5", "")]
    [BothDatabases(121, "version_number != 1", "alpha:3 alpha:2")]
    [BothDatabases(121, "version_number < 1e400", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases(121, "version_number < 9223372036854775808", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases(121, "version_number < 4294967297", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases(123, "tags.k = 'v' AND tags.z = '1'", "Beta:1")]
    [BothDatabases(124, "tags.`mlflow.prompt.is_prompt` = 'true'", "prompt1:1")]
    [BothDatabases(124, "tags.`mlflow.prompt.is_prompt` != 'true'", "Beta:1 alpha:3 alpha:2 alpha:1")]
    public async Task Filter_ValidRow_FindsTheVersionsOfTheTable(DatabaseKind kind, int row, string filter, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = await VersionsAsync(server);
        Assert.Equal((row, expected), (row, string.Join(' ', await FindAsync(server, stem, filter))));
    }

    [Theory]
    [BothDatabases("run_id NOT IN ('a')")]
    [BothDatabases("source = 's3://b/1'")]
    [BothDatabases("version = 1")]
    [BothDatabases("version = '1'")]
    [BothDatabases("version_number IN (1)")]
    [BothDatabases("version_number > 'x'")]
    [BothDatabases("name IN ('x')")]
    [BothDatabases("source_path IN ('x')")]
    [BothDatabases("current_stage = 'None'")]
    [BothDatabases("status = 'READY'")]
    [BothDatabases("creation_timestamp > 0")]
    [BothDatabases("user_id = 'x'")]
    [BothDatabases("description LIKE '%'")]
    [BothDatabases("run_id IS NULL")]
    [BothDatabases("tags.k IS NOT NULL")]
    public async Task Filter_InvalidRow_IsRefused(DatabaseKind kind, string filter)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            $"model-versions/search?filter={Uri.EscapeDataString(filter)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory]
    [BothDatabases("name", "Beta:1 alpha:3 alpha:2 alpha:1")]
    [BothDatabases("name DESC", "alpha:3 alpha:2 alpha:1 Beta:1")]
    [BothDatabases("version_number", "Beta:1 alpha:1 alpha:2 alpha:3")]
    [BothDatabases("version_number DESC|name DESC", "alpha:3 alpha:2 alpha:1 Beta:1")]
    [BothDatabases("creation_timestamp", "alpha:1 alpha:2 alpha:3 Beta:1")]
    [BothDatabases("last_updated_timestamp", "alpha:1 alpha:2 alpha:3 Beta:1")]
    [BothDatabases("attribute.last_updated_timestamp DESC", "Beta:1 alpha:3 alpha:2 alpha:1")]
    public async Task OrderBy_ValidRow_Orders(DatabaseKind kind, string orderBy, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = await VersionsAsync(server);
        Assert.Equal(expected, string.Join(' ', await FindAsync(server, stem, "", orderBy.Split('|'))));
    }

    [Theory]
    [BothDatabases("timestamp")]
    [BothDatabases("run_id")]
    [BothDatabases("foo")]
    [BothDatabases("tags.k")]
    [BothDatabases("name|name")]
    public async Task OrderBy_InvalidRow_IsRefused(DatabaseKind kind, string orderBy)
    {
        var server = await TestServer.SharedAsync(kind);
        var query = string.Join('&', orderBy.Split('|').Select(key => $"order_by={Uri.EscapeDataString(key)}"));
        await server.GetRefusedAsync($"model-versions/search?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory, BothDatabases]
    public async Task Versions_OfOneTime_ComeByNameAndThenTheNewestFirst(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = ApiServer.FreshName("tie") + ".";
        foreach (var name in new[] { "b", "é", "B", "😀", "\uff21" })
        {
            await server.PostAsync("registered-models/create", new { name = stem + name });
            await MakeVersionAsync(server, stem + name, "s3://c/x", null);
            await MakeVersionAsync(server, stem + name, "s3://c/x", null);
        }

        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement("UPDATE model_registry SET updated_at = $1 WHERE registered_model_name LIKE $2").AddTime(1_700_000_000_000).Add(stem + "%"),
                token),
            CancellationToken.None);

        string[] expected = ["B:2", "B:1", "b:2", "b:1", "é:2", "é:1", "\uff21:2", "\uff21:1", "😀:2", "😀:1"];
        Assert.Equal(expected, await FindAsync(server, stem, ""));
        Assert.Equal(expected, await FindAsync(server, stem, "", "last_updated_timestamp"));
    }

    [Theory, BothDatabases]
    public async Task Version_Deleted_IsNotFound(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("gone");
        await server.PostAsync("registered-models/create", new { name });
        await MakeVersionAsync(server, name, "s3://b/1", null);
        await MakeVersionAsync(server, name, "s3://b/2", null);
        using (var deleted = await server.SendAsync(HttpMethod.Delete, "model-versions/delete", ApiServer.Json(new { name, version = "2" })))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        Assert.Equal([":1"], await FindAsync(server, name, ""));
        Assert.Equal([":1"], await FindAsync(server, name, $"name = '{name}'"));
    }

    [Theory, BothDatabases]
    public async Task Answer_HasNoAliases(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("aliased");
        await server.PostAsync("registered-models/create", new { name });
        await MakeVersionAsync(server, name, "s3://b/1", Run, ("k", "v"));
        await server.PostAsync("registered-models/alias", new { name, alias = "champion", version = "1" });
        var found = Assert.Single((await server.GetAsync($"model-versions/search?filter=name%3D'{name}'"))["model_versions"]!.AsArray())!.AsObject();
        var read = (await server.GetAsync($"model-versions/get?name={name}&version=1"))["model_version"]!.AsObject();
        Assert.Equal("""["champion"]""", read["aliases"]!.ToJsonString());
        read.Remove("aliases");
        Assert.True(JsonNode.DeepEquals(read, found));
    }

    [Theory, BothDatabases]
    public async Task Pages_FollowEachOtherByTokens(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("paged");
        await server.PostAsync("registered-models/create", new { name });
        for (var i = 0; i < 5; i++)
            await MakeVersionAsync(server, name, "s3://c/x", null);
        foreach (var size in new[] { 1, 2, 5, 6 })
        {
            var found = new List<string>();
            for (string? token = ""; token is not null;)
            {
                var page = await server.GetAsync(
                    $"model-versions/search?filter=name%3D'{name}'&order_by=version_number&max_results={size}&page_token={Uri.EscapeDataString(token)}");
                found.AddRange(page["model_versions"]!.AsArray().Select(version => (string)version!["version"]!));
                token = (string?)page["next_page_token"];
                Assert.True(token is null == (found.Count == 5));
            }

            Assert.Equal(["1", "2", "3", "4", "5"], found);
        }
    }

    [Theory]
    [BothDatabases("max_results=0")]
    [BothDatabases("max_results=-1")]
    [BothDatabases("max_results=200001")]
    [BothDatabases("page_token=x")]
    public async Task Request_OutOfBounds_IsRefused(DatabaseKind kind, string query)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync($"model-versions/search?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        await server.GetAsync("model-versions/search?max_results=200000&filter=name%3D'nobody'");
    }

    [Theory, BothDatabases]
    public async Task LatestVersions_AreTheNewestOfEachStageWithTheirAliases(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("latest");
        await server.PostAsync("registered-models/create", new { name });
        Assert.Empty(await LatestAsync());
        for (var i = 0; i < 5; i++)
            await MakeVersionAsync(server, name, "s3://c/x", null);
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "2", stage = "Production" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "3", stage = "Staging" });
        await server.PostAsync("registered-models/alias", new { name, alias = "b", version = "2" });
        await server.PostAsync("registered-models/alias", new { name, alias = "a", version = "2" });
        using (var deleted = await server.SendAsync(HttpMethod.Delete, "model-versions/delete", ApiServer.Json(new { name, version = "5" })))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);

        Assert.Equal(["4 None", "3 Staging", "2 Production a b"], await LatestAsync());
        Assert.Equal(["2 Production a b"], await LatestAsync("pRODUCTION"));
        Assert.Equal(["4 None", "3 Staging"], await LatestAsync("staging", "none", "Staging"));
        Assert.Empty(await LatestAsync("Archived"));

        async Task<List<string>> LatestAsync(params string[] stages)
        {
            var posted = await server.PostAsync("registered-models/get-latest-versions", new { name, stages });
            var got = await server.GetAsync(
                $"registered-models/get-latest-versions?name={name}{string.Concat(stages.Select(stage => $"&stages={stage}"))}");
            Assert.True(JsonNode.DeepEquals(posted, got));
            return [.. (posted["model_versions"]?.AsArray() ?? []).Select(version =>
                string.Join(' ', [(string)version!["version"]!, (string)version["current_stage"]!, .. (version["aliases"]?.AsArray() ?? []).Select(alias => (string)alias!)]))];
        }
    }

    [Theory, BothDatabases]
    public async Task LatestVersions_OfWhatIsNotThere_AreRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("refused");
        await server.PostNotFoundAsync("registered-models/get-latest-versions", new { name }, name);
        await server.PostInvalidAsync("registered-models/get-latest-versions", new { }, "name");
        await server.PostAsync("registered-models/create", new { name });
        await server.PostInvalidAsync("registered-models/get-latest-versions", new { name, stages = new[] { "Live" } }, "Live");
        await server.GetRefusedAsync(
            $"registered-models/get-latest-versions?name={name}&stages=None&stages=x", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    private static async Task<List<string>> FindAsync(TestServer server, string stem, string filter, params string[] orderBy)
    {
        filter = $"name LIKE '{stem}%'" + (filter.Length == 0 ? "" : " AND " + filter.Replace("*", stem, StringComparison.Ordinal));
        var query = $"filter={Uri.EscapeDataString(filter)}" + string.Concat(orderBy.Select(key => $"&order_by={Uri.EscapeDataString(key)}"));
        var page = await server.GetAsync($"model-versions/search?{query}");
        return [.. (page["model_versions"]?.AsArray() ?? []).Select(version => $"{((string)version!["name"]!)[stem.Length..]}:{(string)version["version"]!}")];
    }

    private static Task<JsonObject> MakeVersionAsync(TestServer server, string name, string source, string? run, params (string Key, string Value)[] tags) =>
        server.PostAsync("model-versions/create", new { name, source, run_id = run, tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) });

    private static readonly Dictionary<TestServer, Task<string>> Stems = [];

    /// <summary>The versions of the contract's table, once for each server; the stem of their names.</summary>
    private static Task<string> VersionsAsync(TestServer server)
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
        var stem = ApiServer.FreshName("v") + ".";
        foreach (var name in new[] { "alpha", "Beta" })
            await server.PostAsync("registered-models/create", new { name = stem + name });
        await server.PostAsync("registered-models/create", new { name = stem + "prompt1", tags = new[] { new { key = PromptTag, value = "true" } } });
        (string Name, string Source, string? Run, (string, string)[] Tags)[] versions =
        [
            ("alpha", "s3://b/1", Run, []),
            ("alpha", "s3://b/2", null, []),
            ("alpha", "s3://B/4", "other", []),
            ("Beta", "s3://c/x", null, [("k", "v"), ("z", "1")]),
            ("prompt1", "prompt-template", null, [(PromptTag, "true"), ("k", "v")]),
        ];
        foreach (var version in versions)
        {
            await MakeVersionAsync(server, stem + version.Name, version.Source, version.Run, version.Tags);
            // Times are whole milliseconds, and an order by them has to be decided.
            await Task.Delay(3);
        }

        return stem;
    }
}
