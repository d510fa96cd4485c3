using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>What the prompt clients 2.21 to 3.11 send (contract: endpoints §10, since-3.6 §1.6).</summary>
public sealed class PromptsTests
{
    private const string IsPrompt = "mlflow.prompt.is_prompt";
    private const string Text = "mlflow.prompt.text";

    [Theory, BothDatabases]
    public async Task Prompt_RegisteredTwice_HasTwoVersionsOfItsTexts(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        var chat = """[{"role": "system", "content": "You forecast {{series}}."}, {"role": "user", "content": "{{question}}"}]""";
        Assert.Equal("1", await RegisterAsync(server, name, "Forecast {{horizon}} values of {{ series }}.", "first"));
        // The client asks whether it is there, and creates it nevertheless when another one may have been quicker.
        await server.PostRefusedAsync("registered-models/create", Prompt(name), HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", "Prompt", name);
        await server.PostAsync("model-versions/create", Version(name, chat, ("_mlflow_prompt_type", "chat"),
            ("_mlflow_prompt_response_format", """{"type": "object", "properties": {"mae": {"type": "number"}}}"""),
            ("_mlflow_prompt_model_config", """{"model_name": "gpt", "temperature": 0.5}""")));

        var first = await LoadAsync(server, name, "1");
        Assert.Equal("Forecast {{horizon}} values of {{ series }}.", Tags(first)[Text]);
        Assert.Equal("first", (string)first["description"]!);
        Assert.Equal(("prompt-template", "READY", ""), ((string)first["source"]!, (string)first["status"]!, (string)first["run_id"]!));
        var second = await LoadAsync(server, name, "2");
        Assert.Equal(
            (chat, "chat", "true", """{"model_name": "gpt", "temperature": 0.5}"""),
            (Tags(second)[Text], Tags(second)["_mlflow_prompt_type"], Tags(second)[IsPrompt], Tags(second)["_mlflow_prompt_model_config"]));
    }

    [Theory]
    [BothDatabases("prompt-template")]
    [BothDatabases("dummy-source")]
    [BothDatabases("any text at all")]
    public async Task Source_OfAPromptsVersion_IsKeptAndNotALocation(DatabaseKind kind, string source)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        await server.PostAsync("registered-models/create", Prompt(name));
        await server.PostAsync("model-versions/create", new { name, source, tags = new[] { new { key = IsPrompt, value = "true" }, new { key = Text, value = "t" } } });
        Assert.Equal(source, (string)(await LoadAsync(server, name, "1"))["source"]!);
    }

    [Theory, BothDatabases]
    public async Task Alias_MovesFromVersionToVersion_AndLatestIsTheNewest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        foreach (var text in new[] { "one", "two", "three" })
            await RegisterAsync(server, name, text, text);
        await server.PostAsync("registered-models/alias", new { name, alias = "production", version = "1" });
        Assert.Equal("one", await TextAsync("production"));
        await server.PostAsync("registered-models/alias", new { name, alias = "production", version = "2" });
        Assert.Equal("two", await TextAsync("production"));
        Assert.Equal("three", await TextAsync("latest"));
        Assert.Equal("""["production"]""", (await LoadAsync(server, name, "2"))["aliases"]!.ToJsonString());
        using (var deleted = await server.SendAsync(HttpMethod.Delete, "registered-models/alias", ApiServer.Json(new { name, alias = "production" })))
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        await server.GetRefusedAsync($"registered-models/alias?name={name}&alias=production", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");

        async Task<string> TextAsync(string alias) =>
            Tags((await server.GetAsync($"registered-models/alias?name={name}&alias={alias}"))["model_version"]!)[Text];
    }

    [Theory, BothDatabases]
    public async Task Name_HeldByTheOtherKind_IsRefusedSayingWhich(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (prompt, model) = (ApiServer.FreshName("prompt"), ApiServer.FreshName("model"));
        await server.PostAsync("registered-models/create", Prompt(prompt));
        await server.PostAsync("registered-models/create", new { name = model });
        await server.PostRefusedAsync("registered-models/create", new { name = prompt }, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", "prompt");
        await server.PostRefusedAsync("registered-models/create", Prompt(model), HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", "registered model");
    }

    [Theory, BothDatabases]
    public async Task SearchPrompts_FindsPromptsOnlyAndByTheirExperiments(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = ApiServer.FreshName("p");
        await RegisterAsync(server, $"{stem}-a", "a", "");
        await RegisterAsync(server, $"{stem}-b", "b", "");
        await server.PostAsync("registered-models/create", new { name = $"{stem}-model" });
        await server.PostAsync("registered-models/set-tag", new { name = $"{stem}-a", key = "_mlflow_experiment_ids", value = ",1,17," });
        await server.PostAsync("registered-models/set-tag", new { name = $"{stem}-b", key = "_mlflow_experiment_ids", value = ",7," });
        await server.PostAsync("registered-models/set-tag", new { name = $"{stem}-b", key = "task", value = "qa" });

        Assert.Equal([$"{stem}-a", $"{stem}-b"], await FindAsync($"tags.`{IsPrompt}` = 'true' AND name LIKE '{stem}%'"));
        Assert.Equal([$"{stem}-b"], await FindAsync($"tags.`{IsPrompt}` = 'true' AND tags._mlflow_experiment_ids LIKE '%,7,%' AND name LIKE '{stem}%'"));
        Assert.Equal([$"{stem}-b"], await FindAsync($"name LIKE '{stem}%' AND tags.task = 'qa' AND tag.`{IsPrompt}` = 'true'"));
        Assert.Equal([$"{stem}-model"], await FindAsync($"name LIKE '{stem}%' AND tag.`{IsPrompt}` != 'true'"));

        async Task<List<string>> FindAsync(string filter) =>
            [.. (await server.GetAsync($"registered-models/search?max_results=100&filter={Uri.EscapeDataString(filter)}"))["registered_models"]!.AsArray()
                .Select(model => (string)model!["name"]!)];
    }

    [Theory, BothDatabases]
    public async Task SearchPromptVersions_FindsTheNewestFirst(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        foreach (var text in new[] { "one", "two", "three" })
            await RegisterAsync(server, name, text, text);
        var filter = Uri.EscapeDataString($"name = '{name}' AND tag.`{IsPrompt}` = 'true'");
        var page = await server.GetAsync($"model-versions/search?max_results=2&order_by=version_number+DESC&filter={filter}");
        Assert.Equal(["three", "two"], page["model_versions"]!.AsArray().Select(version => Tags(version!)[Text]));
        page = await server.GetAsync(
            $"model-versions/search?max_results=2&order_by=version_number+DESC&filter={filter}&page_token={Uri.EscapeDataString((string)page["next_page_token"]!)}");
        Assert.Equal(["one"], page["model_versions"]!.AsArray().Select(version => Tags(version!)[Text]));
        Assert.Null(page["next_page_token"]);
        Assert.Empty(await server.GetAsync($"model-versions/search?filter={Uri.EscapeDataString($"name = '{name}'")}"));
    }

    [Theory, BothDatabases]
    public async Task Tags_OfPromptAndVersion_AreSetAndDeleted(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        await RegisterAsync(server, name, "text", "");
        await server.PostAsync("registered-models/set-tag", new { name, key = "task", value = "qa" });
        await server.PostAsync("model-versions/set-tag", new { name, version = "1", key = "reviewed", value = "yes" });
        Assert.Equal("qa", Tags((await server.GetAsync($"registered-models/get?name={name}"))["registered_model"]!)["task"]);
        Assert.Equal("yes", Tags(await LoadAsync(server, name, "1"))["reviewed"]);
        foreach (var (route, body) in new (string, object)[]
        {
            ("registered-models/delete-tag", new { name, key = "task" }), ("model-versions/delete-tag", new { name, version = "1", key = "reviewed" }),
        })
        {
            using var deleted = await server.SendAsync(HttpMethod.Delete, route, ApiServer.Json(body));
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        }

        Assert.Equal([IsPrompt], Tags((await server.GetAsync($"registered-models/get?name={name}"))["registered_model"]!).Keys);
        Assert.False(Tags(await LoadAsync(server, name, "1")).ContainsKey("reviewed"));
    }

    [Theory, BothDatabases]
    public async Task Text_OfAnyKind_ComesBackAsItWas(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        string[] texts = [new('x', 100_000), string.Concat(Enumerable.Repeat("乗客 ✈ 😀 ", 5000)), "{{ a }} {% if b %}\r\n\t\"quoted\" \\ 'it''s' \u0001</script>", " "];
        foreach (var (number, text) in texts.Index())
        {
            Assert.Equal($"{number + 1}", await RegisterAsync(server, name, text, ""));
            Assert.Equal(text, Tags(await LoadAsync(server, name, $"{number + 1}"))[Text]);
        }

        await server.PostInvalidAsync("model-versions/create", Version(name, new string('x', 100_001)));
        await server.PostInvalidAsync("model-versions/set-tag", new { name, version = "1", key = Text, value = new string('x', 100_001) });
    }

    [Theory, BothDatabases]
    public async Task Prompt_Deleted_IsGoneWithItsVersions(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        await RegisterAsync(server, name, "one", "");
        await RegisterAsync(server, name, "two", "");
        await DeleteAsync("model-versions/delete", new { name, version = "2" });
        await server.GetRefusedAsync($"model-versions/get?name={name}&version=2", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        Assert.Equal("3", await RegisterAsync(server, name, "three", ""));
        await DeleteAsync("registered-models/delete", new { name });
        await server.GetRefusedAsync($"model-versions/get?name={name}&version=1", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        // The name is free, for a model too.
        await server.PostAsync("registered-models/create", new { name });

        async Task DeleteAsync(string route, object body)
        {
            using var deleted = await server.SendAsync(HttpMethod.Delete, route, ApiServer.Json(body));
            Assert.Equal(HttpStatusCode.OK, deleted.StatusCode);
        }
    }

    [Theory, BothDatabases]
    public async Task Run_LinkedToAPrompt_KeepsTheTag(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("prompt");
        await RegisterAsync(server, name, "text", "");
        var run = await server.PostAsync("runs/create", new { experiment_id = await server.CreateExperimentAsync() });
        var id = (string)run["run"]!["info"]!["run_id"]!;
        var link = $$"""[{"name": "{{name}}", "version": "1"}]""";
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.linkedPrompts", value = link });
        Assert.Equal(link, Tags((await server.GetAsync($"runs/get?run_id={id}"))["run"]!["data"]!)["mlflow.linkedPrompts"]);
    }

    private static object Prompt(string name) => new { name, tags = new[] { new { key = IsPrompt, value = "true" } } };

    private static object Version(string name, string text, params (string Key, string Value)[] tags) => new
    {
        name,
        source = "prompt-template",
        description = "",
        tags = tags.Prepend((Text, text)).Prepend((IsPrompt, "true")).Select(tag => new { key = tag.Item1, value = tag.Item2 }),
    };

    /// <summary>Registers as the client does; returns the number of the version.</summary>
    private static async Task<string> RegisterAsync(TestServer server, string name, string text, string message)
    {
        using (var known = await server.SendAsync(HttpMethod.Get, $"registered-models/get?name={name}"))
        {
            if (known.StatusCode == HttpStatusCode.NotFound)
                await server.PostAsync("registered-models/create", Prompt(name));
        }

        var answer = await server.PostAsync("model-versions/create", new
        {
            name,
            source = "prompt-template",
            description = message,
            tags = new[] { new { key = IsPrompt, value = "true" }, new { key = Text, value = text }, new { key = "_mlflow_prompt_type", value = "text" } },
        });
        return (string)answer["model_version"]!["version"]!;
    }

    private static async Task<JsonNode> LoadAsync(TestServer server, string name, string version) =>
        (await server.GetAsync($"model-versions/get?name={name}&version={version}"))["model_version"]!;

    private static Dictionary<string, string> Tags(JsonNode entity) =>
        entity["tags"]!.AsArray().ToDictionary(tag => (string)tag!["key"]!, tag => (string)tag!["value"]!);
}
