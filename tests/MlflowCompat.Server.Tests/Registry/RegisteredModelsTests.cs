using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Registered models (contract: endpoints §7, semantics §4, §10).</summary>
public sealed class RegisteredModelsTests
{
    private const string Get = "registered-models/get?name=";

    [Theory, BothDatabases]
    public async Task Model_MadeAndRead_IsWhatWasSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("ünï co:de/x \\ %2f 漢");
        var answer = await server.PostAsync("registered-models/create", new
        {
            name,
            description = "d",
            deployment_job_id = "ignored",
            tags = new[] { new { key = "b", value = "1" }, new { key = "a", value = "" }, new { key = "b", value = "2" } },
        });
        var made = answer["registered_model"]!.AsObject();
        Assert.Equal(name, (string)made["name"]!);
        Assert.Equal("d", (string)made["description"]!);
        Assert.Equal(new Dictionary<string, string> { ["a"] = "", ["b"] = "2" }, RunCalls.KeyValues(made["tags"]));
        Assert.Equal((long)made["creation_timestamp"]!, (long)made["last_updated_timestamp"]!);
        Assert.False(made.ContainsKey("aliases"));
        Assert.False(made.ContainsKey("latest_versions"));
        Assert.True(JsonNode.DeepEquals(made, await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task Model_OfNothingButAName_HasNothingElse(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var model = await server.GetModelAsync(name);
        Assert.Equal(["name", "creation_timestamp", "last_updated_timestamp"], model.Select(field => field.Key));
    }

    [Theory]
    [BothDatabases("{}", "'name'")]
    [BothDatabases("""{"name": null}""", "'name'")]
    [BothDatabases("""{"name": ""}""", "'name'")]
    [BothDatabases("""{"name": "  \t"}""", "'name'")]
    [BothDatabases("""{"name": "."}""", "name")]
    [BothDatabases("""{"name": ".."}""", "name")]
    [BothDatabases("""{"name": 5}""", "name", "5")]
    [BothDatabases("""{"name": "a\u0000b"}""", "name")]
    [BothDatabases("""{"name": "refused", "description": 5}""", "description", "5")]
    [BothDatabases("""{"name": "refused", "tags": {}}""", "tags")]
    [BothDatabases("""{"name": "refused", "tags": [{"value": "v"}]}""", "'key'")]
    [BothDatabases("""{"name": "refused", "tags": [{"key": "a//b", "value": "v"}]}""", "'key'")]
    [BothDatabases("""{"name": "refused", "tags": [{"key": "bad$", "value": "v"}]}""", "'key'")]
    public async Task Model_OfWrongFields_IsNotMade(DatabaseKind kind, string body, params string[] parts)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("registered-models/create", body, parts);
        await server.GetNotFoundAsync(Get + "refused", "Registered Model with name=refused not found");
    }

    [Theory, BothDatabases]
    public async Task Lengths_UpToTheLimitInCodePoints_AreTaken(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("") is var fresh && fresh.Length > 0 ? string.Concat(Enumerable.Repeat("😀", 256 - fresh.Length)) + fresh : "";
        var tag = new { key = new string('k', 250), value = new string('v', 100_000) };
        await server.PostAsync("registered-models/create", new { name, description = new string('d', 5000), tags = new[] { tag } });
        await server.PostAsync("registered-models/set-tag", new { name, tag.key, tag.value });
        Assert.Equal(tag.value, RunCalls.KeyValues((await server.GetModelAsync(name))["tags"])[tag.key]);

        await server.PostInvalidAsync("registered-models/create", new { name = name + "x" }, "'name'", "256");
        await server.PostInvalidAsync("registered-models/rename", new { name, new_name = name + "x" }, "'new_name'", "256");
        await server.PostInvalidAsync("registered-models/create", new { name = "refused", description = new string('d', 5001) }, "'description'", "5000");
        await server.InvalidAsync(HttpMethod.Patch, "registered-models/update", new { name, description = new string('d', 5001) }, "'description'");
        await server.PostInvalidAsync(
            "registered-models/create", new { name = "refused", tags = new[] { new { key = tag.key + "k", value = "" } } }, "'key' exceeds", "250");
        await server.PostInvalidAsync(
            "registered-models/create", new { name = "refused", tags = new[] { new { key = "k", value = tag.value + "v" } } }, "'value' exceeds", "100000");
        await server.PostInvalidAsync("registered-models/set-tag", new { name, key = tag.key + "k", value = "" }, "'key' exceeds", "250");
        await server.PostInvalidAsync("registered-models/set-tag", new { name, key = "k", value = tag.value + "v" }, "'value' exceeds", "100000");
        await server.GetNotFoundAsync(Get + "refused");
    }

    [Theory, BothDatabases]
    public async Task Name_ThatIsTaken_IsRefusedAndSaysByWhat(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await server.CreateModelAsync();
        var prompt = await server.CreatePromptAsync();
        var tags = RegistryCalls.PromptTags("true");
        await Taken(new { name = model }, $"Registered Model (name={model}) already exists");
        await Taken(new { name = prompt, tags }, $"Prompt (name={prompt}) already exists");
        await Taken(new { name = model, tags }, "No prompt can have the name", "a registered model has it");
        await Taken(new { name = prompt }, "No registered model can have the name", "a prompt has it");

        // Names are told apart by case, and those of deleted ones are free.
        await server.CreateModelAsync(model.ToUpperInvariant());
        await server.CallAsync(HttpMethod.Delete, "registered-models/delete", new { name = model });
        await server.CreateModelAsync(model, tags);

        Task Taken(object message, params string[] parts) => server.PostRefusedAsync(
            "registered-models/create", message, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", parts);
    }

    [Theory, BothDatabases]
    public async Task Update_ChangesTheDescription_OrClearsIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        var updated = await server.CallAsync(HttpMethod.Patch, "registered-models/update", new { name, description = "new" });
        Assert.Equal("new", (string)updated["registered_model"]!["description"]!);
        Assert.True(JsonNode.DeepEquals(updated["registered_model"], await server.GetModelAsync(name)));
        updated = await server.CallAsync(HttpMethod.Patch, "registered-models/update", new { name });
        Assert.Null(updated["registered_model"]!["description"]);
        Assert.Null((await server.GetModelAsync(name))["description"]);
        await server.InvalidAsync(HttpMethod.Patch, "registered-models/update", new { description = "x" }, "'name'");
        await server.InvalidAsync(HttpMethod.Patch, "registered-models/update", new { name, description = 5 }, "description");
        await server.NotFoundAsync(
            HttpMethod.Patch, "registered-models/update", new { name = "absent" }, "Registered Model with name=absent not found");
    }

    [Theory, BothDatabases]
    public async Task Rename_TakesVersionsTagsAndAliasesAlong(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync(tags: new[] { new { key = "t", value = "v" } });
        await server.CreateVersionAsync(name);
        await server.CreateVersionAsync(name, tags: new[] { new { key = "x", value = "y" } });
        await server.SetAliasAsync(name, "best", "2");
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "1" });
        var newName = name + " new/ï";

        var renamed = (await server.PostAsync("registered-models/rename", new { name, new_name = newName }))["registered_model"]!.AsObject();
        Assert.Equal(newName, (string)renamed["name"]!);
        Assert.Equal(["2"], RegistryCalls.LatestVersions(renamed));
        Assert.Equal(newName, (string)renamed["latest_versions"]![0]!["name"]!);
        Assert.True(JsonNode.DeepEquals(renamed, await server.GetModelAsync(newName)));
        Assert.Equal("v", RunCalls.KeyValues(renamed["tags"])["t"]);
        Assert.Equal("2", RegistryCalls.Aliases(renamed)["best"]);
        Assert.Equal("2", await server.VersionOfAliasAsync(newName, "best"));
        Assert.Equal("y", RunCalls.KeyValues((await server.GetVersionAsync(newName, "2"))["tags"])["x"]);
        Assert.Equal("3", (string)(await server.CreateVersionAsync(newName))["version"]!);
        await server.GetNotFoundAsync(Get + name);
        await server.GetNotFoundAsync($"model-versions/get?name={name}&version=2");

        // The old name is free, the new one is not, and the same name is no other.
        await server.CreateModelAsync(name);
        await Taken(new { name, new_name = newName }, $"Registered Model (name={newName}) already exists");
        await server.PostAsync("registered-models/rename", new { name, new_name = name });
        var prompt = await server.CreatePromptAsync();
        await Taken(new { name, new_name = prompt }, "a prompt has it");

        await server.PostInvalidAsync("registered-models/rename", new { name }, "'new_name'");
        await server.PostInvalidAsync("registered-models/rename", new { name, new_name = "" }, "'new_name'");
        await server.PostInvalidAsync("registered-models/rename", new { name, new_name = " " }, "'new_name'");
        await server.PostInvalidAsync("registered-models/rename", new { name, new_name = ".." }, "new_name");
        await server.PostInvalidAsync("registered-models/rename", new { new_name = "x" }, "'name'");
        await server.PostNotFoundAsync("registered-models/rename", new { name = "absent", new_name = prompt }, "Registered Model with name=absent not found");

        Task Taken(object message, string part) => server.PostRefusedAsync(
            "registered-models/rename", message, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", part);
    }

    [Theory, BothDatabases]
    public async Task Delete_TakesEverythingAway(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.SetAliasAsync(name, "a", "1");
        // What is deleted is named by the body alone.
        await server.InvalidAsync(HttpMethod.Delete, $"registered-models/delete?name={name}", new { }, "'name'");
        Assert.Equal("{}", (await server.CallAsync(HttpMethod.Delete, "registered-models/delete", new { name })).ToJsonString());
        await server.GetNotFoundAsync(Get + name);
        await server.GetNotFoundAsync($"model-versions/get?name={name}&version=1");
        await server.GetInvalidAsync($"registered-models/alias?name={name}&alias=a", "a not found");
        await server.NotFoundAsync(HttpMethod.Delete, "registered-models/delete", new { name }, $"Registered Model with name={name} not found");

        // Of the one that takes its name nothing is left over, the numbers of versions neither.
        await server.CreateModelAsync(name);
        Assert.Equal("1", (string)(await server.CreateVersionAsync(name))["version"]!);
        Assert.Empty(RegistryCalls.Aliases(await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task Tags_SetChangedAndDeleted_AreReadAsTheyAre(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.PostAsync("registered-models/set-tag", new { name, key = "k", value = "1" });
        await server.PostAsync("registered-models/set-tag", new { name, key = "k", value = "é😀\"" });
        await server.PostAsync("registered-models/set-tag", new { name, key = "K" });
        Assert.Equal(
            new Dictionary<string, string> { ["K"] = "", ["k"] = "é😀\"" }, RunCalls.KeyValues((await server.GetModelAsync(name))["tags"]));
        await server.CallAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name, key = "k" });
        await server.CallAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name, key = "k" });
        await server.CallAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name, key = "bad$" });
        Assert.Equal(["K"], RunCalls.KeyValues((await server.GetModelAsync(name))["tags"]).Keys);

        await server.PostInvalidAsync("registered-models/set-tag", new { name, value = "v" }, "'key'");
        await server.PostInvalidAsync("registered-models/set-tag", new { key = "k", value = "v" }, "'name'");
        await server.PostInvalidAsync("registered-models/set-tag", new { name, key = "bad\u0005", value = "v" }, "'key'");
        await server.PostInvalidAsync("registered-models/set-tag", new { name, key = "k", value = 5 }, "value", "5");
        await server.InvalidAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name }, "'key'");
        await server.InvalidAsync(HttpMethod.Delete, "registered-models/delete-tag", new { key = "k" }, "'name'");
        await server.PostNotFoundAsync("registered-models/set-tag", new { name = "absent", key = "k", value = "v" }, "name=absent");
        await server.NotFoundAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name = "absent", key = "k" }, "name=absent");
    }

    [Theory, BothDatabases]
    public async Task LatestVersions_AreTheNewestOfEachStage(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        for (var i = 1; i <= 12; i++)
            await server.CreateVersionAsync(name, $"s3://b/{i}");
        foreach (var (version, stage) in new[] { ("2", "Staging"), ("9", "Staging"), ("10", "Staging"), ("3", "Production"), ("1", "Archived") })
            await server.PostAsync("model-versions/transition-stage", new { name, version, stage });
        await server.SetAliasAsync(name, "a", "12");

        var model = await server.GetModelAsync(name);
        Assert.Equal(["12", "10", "3", "1"], RegistryCalls.LatestVersions(model));
        Assert.Equal(
            ["None", "Staging", "Production", "Archived"], model["latest_versions"]!.AsArray().Select(version => (string)version!["current_stage"]!));
        Assert.All(model["latest_versions"]!.AsArray(), version => Assert.False(version!.AsObject().ContainsKey("aliases")));

        foreach (var version in new[] { "10", "12" })
            await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version });
        Assert.Equal(["11", "9", "3", "1"], RegistryCalls.LatestVersions(await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task LastUpdate_IsMovedByWhatMovesItInMlflow(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.CreateVersionAsync(name);

        Assert.Equal((true, false), await server.BumpsAsync(name, () => server.CallAsync(HttpMethod.Patch, "registered-models/update", new { name })));
        Assert.Equal((true, false), await server.BumpsAsync(name, () => server.CreateVersionAsync(name)));
        Assert.Equal((true, true), await Post("model-versions/transition-stage", new { name, version = "1", stage = "Staging" }));
        Assert.Equal((true, false), await Post("model-versions/transition-stage", new { name, version = "2", stage = "Staging" }));
        Assert.Equal(
            (true, true), await Post("model-versions/transition-stage", new { name, version = "2", stage = "Staging", archive_existing_versions = true }));
        Assert.Equal(
            (true, false),
            await server.BumpsAsync(name, () => server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "2" })));
        Assert.Equal(
            (false, true),
            await server.BumpsAsync(name, () => server.CallAsync(HttpMethod.Patch, "model-versions/update", new { name, version = "1" })));
        Assert.Equal((false, false), await Post("registered-models/set-tag", new { name, key = "k" }));
        Assert.Equal((false, false), await Post("model-versions/set-tag", new { name, version = "1", key = "k" }));
        Assert.Equal((false, false), await Post("registered-models/alias", new { name, version = "1", alias = "a" }));
        Assert.Equal((false, false), await Post("model-versions/set-approval", new { name, version = "1", approved_by = "me" }));
        foreach (var (route, message) in new (string, object)[]
        {
            ("registered-models/delete-tag", new { name, key = "k" }),
            ("model-versions/delete-tag", new { name, version = "1", key = "k" }),
            ("registered-models/alias", new { name, alias = "a" }),
        })
        {
            Assert.Equal((false, false), await server.BumpsAsync(name, () => server.CallAsync(HttpMethod.Delete, route, message)));
        }

        Assert.Equal((true, true), await server.BumpsAsync(
            name, () => server.PostAsync("registered-models/rename", new { name, new_name = name + "2" }), name + "2"));

        Task<(bool Model, bool Version)> Post(string route, object message) => server.BumpsAsync(name, () => server.PostAsync(route, message));
    }

    [Theory, BothDatabases]
    public async Task Get_WithoutAName_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetInvalidAsync("registered-models/get", "'name'");
        await server.GetInvalidAsync("registered-models/get?name=", "'name'");
    }
}
