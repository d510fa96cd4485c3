using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Versions of registered models (contract: endpoints §8, semantics §4, §10; mapping C-32 to C-38).</summary>
public sealed class ModelVersionsTests
{
    private const string Create = "model-versions/create";

    [Theory, BothDatabases]
    public async Task Version_MadeAndRead_IsWhatWasSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var run = await server.CreateRunAsync();
        var made = (await server.PostAsync(Create, new
        {
            name,
            source = $"mlflow-artifacts:/0/{run}/artifacts/m",
            run_id = run,
            run_link = "https://example.org/run",
            description = "d",
            tags = new[] { new { key = "t", value = "1" }, new { key = "t", value = "2" } },
        }))["model_version"]!.AsObject();
        Assert.Equal((name, "1", "None", "READY", "d"), (
            (string)made["name"]!, (string)made["version"]!, (string)made["current_stage"]!, (string)made["status"]!, (string)made["description"]!));
        Assert.Equal(($"mlflow-artifacts:/0/{run}/artifacts/m", run, "https://example.org/run"), (
            (string)made["source"]!, (string)made["run_id"]!, (string)made["run_link"]!));
        Assert.Equal("2", RunCalls.KeyValues(made["tags"])["t"]);
        Assert.Equal((long)made["creation_timestamp"]!, (long)made["last_updated_timestamp"]!);
        Assert.True(JsonNode.DeepEquals(made, await server.GetVersionAsync(name, "1")));

        // What was not given is told as empty, and a run need not be known here.
        var bare = await server.CreateVersionAsync(name, run_id: new string('0', 32));
        Assert.Equal(("", "", new string('0', 32)), ((string)bare["description"]!, (string)bare["run_link"]!, (string)bare["run_id"]!));
        Assert.False(bare.ContainsKey("tags"));
        Assert.Equal("", (string)(await server.CreateVersionAsync(name))["run_id"]!);
        Assert.True(JsonNode.DeepEquals(bare, await server.GetVersionAsync(name, "2")));
    }

    [Theory]
    [BothDatabases("""{"source": "s3://b/x"}""", "'name'")]
    [BothDatabases("""{"name": "", "source": "s3://b/x"}""", "'name'")]
    [BothDatabases("""{"name": "MODEL"}""", "'source'")]
    [BothDatabases("""{"name": "MODEL", "source": ""}""", "'source'")]
    [BothDatabases("""{"name": "MODEL", "source": null}""", "'source'")]
    [BothDatabases("""{"name": "MODEL", "source": 5}""", "source", "5")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/x", "run_id": 5}""", "run_id", "5")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/x", "run_link": {}}""", "run_link")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/x", "tags": "t"}""", "tags")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/x", "tags": [{"key": "", "value": "v"}]}""", "'key'")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/x", "tags": [{"key": "a$", "value": "v"}]}""", "'key'")]
    [BothDatabases("""{"name": "MODEL", "source": "/etc"}""", "Invalid model version source: '/etc'", "run_id")]
    [BothDatabases("""{"name": "MODEL", "source": "s3://b/../x"}""", "Invalid model version source: 's3://b/../x'", "relative")]
    public async Task Version_OfWrongFields_IsNotMade(DatabaseKind kind, string body, params string[] parts)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.PostInvalidAsync(Create, body.Replace("MODEL", name, StringComparison.Ordinal), parts);
        Assert.Empty(RegistryCalls.LatestVersions(await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task Lengths_UpToTheLimit_AreTaken(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var source = "s3://b/" + new string('x', 493);
        var link = new string('l', 500);
        var run = new string('r', 32);
        var description = string.Concat(Enumerable.Repeat("😀", 5000));
        var tag = new { key = new string('k', 250), value = new string('v', 100_000) };
        await server.PostAsync(Create, new { name, source, run_link = link, run_id = run, description, tags = new[] { tag } });
        await server.PostAsync("model-versions/set-tag", new { name, version = "1", tag.key, tag.value });
        await server.CallAsync(HttpMethod.Patch, "model-versions/update", new { name, version = "1", description });

        await server.PostInvalidAsync(Create, new { name, source = source + "x" }, "'source'", "500");
        await server.PostInvalidAsync(Create, new { name, source, run_link = link + "l" }, "'run_link'", "500");
        await server.PostInvalidAsync(Create, new { name, source, run_id = run + "r" }, "'run_id'", "32");
        await server.PostInvalidAsync(Create, new { name, source, description = description + "d" }, "'description'", "5000");
        await server.InvalidAsync(
            HttpMethod.Patch, "model-versions/update", new { name, version = "1", description = description + "d" }, "'description'", "5000");
        await server.PostInvalidAsync("model-versions/set-tag", new { name, version = "1", key = tag.key + "k", value = "" }, "'key' exceeds", "250");
        await server.PostInvalidAsync("model-versions/set-tag", new { name, version = "1", key = "k", value = tag.value + "v" }, "'value' exceeds", "100000");
        await server.PostInvalidAsync(
            "model-versions/set-tag", new { name, version = "1", key = "mlflow.prompt.text", value = tag.value + "v" }, "text of a prompt", "100000");
        await server.PostInvalidAsync(
            Create, new { name, source, tags = new[] { new { key = "mlflow.prompt.text", value = tag.value + "v" } } }, "text of a prompt", "100000");
        await server.PostInvalidAsync(Create, new { name, source, tags = new[] { new { key = tag.key + "k", value = "" } } }, "'key' exceeds");
        Assert.Equal(["1"], RegistryCalls.LatestVersions(await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task Numbers_AreNeverGivenTwice(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        for (var i = 1; i <= 3; i++)
            Assert.Equal($"{i}", (string)(await server.CreateVersionAsync(name))["version"]!);
        foreach (var version in new[] { "2", "3" })
            await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version });
        Assert.Equal("4", (string)(await server.CreateVersionAsync(name))["version"]!);
        await server.PostNotFoundAsync(Create, new { name = "absent", source = "s3://b/x" }, "Registered Model with name=absent not found");
    }

    [Theory, BothDatabases]
    public async Task Version_NamedInManyWays_IsFoundOrSaidWhyNot(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        foreach (var version in new[] { "1", "01", "%201", "%2B1" })
            Assert.Equal("1", (string)(await server.GetVersionAsync(name, version))["version"]!);
        foreach (var version in new[] { "2", "-1", "0", "99999999999999999999" })
            await server.GetNotFoundAsync($"model-versions/get?name={name}&version={version}", $"Model Version (name={name}, version=", "not found");
        foreach (var version in new[] { "one", "1.0", "1e0", "-", "%20" })
            await server.GetInvalidAsync($"model-versions/get?name={name}&version={version}", "'version' must be an integer");
        await server.GetNotFoundAsync("model-versions/get?name=absent&version=1", "Model Version (name=absent, version=1) not found");

        // Each endpoint that names a version says the same of what is missing, wrong or unknown.
        var changes = new (HttpMethod Method, string Route, JsonObject Message)[]
        {
            (HttpMethod.Patch, "model-versions/update", []),
            (HttpMethod.Delete, "model-versions/delete", []),
            (HttpMethod.Post, "model-versions/set-tag", new() { ["key"] = "k" }),
            (HttpMethod.Delete, "model-versions/delete-tag", new() { ["key"] = "k" }),
            (HttpMethod.Post, "model-versions/transition-stage", new() { ["stage"] = "Staging" }),
            (HttpMethod.Post, "model-versions/set-approval", []),
            (HttpMethod.Post, "model-versions/set-approval", new() { ["approved_by"] = "x" }),
        };
        foreach (var (method, route, message) in changes)
        {
            await server.InvalidAsync(method, route, With(message, null, "1"), "'name'");
            await server.InvalidAsync(method, route, With(message, name, null), "'version'");
            await server.InvalidAsync(method, route, With(message, name, 1), "version", "1");
            await server.InvalidAsync(method, route, With(message, name, "x"), "'version' must be an integer");
            await server.NotFoundAsync(method, route, With(message, name, "7"), $"Model Version (name={name}, version=7) not found");
            await server.NotFoundAsync(method, route, With(message, "absent", "1"), "Model Version (name=absent, version=1) not found");
        }

        foreach (var route in new[] { "get", "get-download-uri", "get-approval" })
        {
            await server.GetInvalidAsync($"model-versions/{route}?name={name}", "'version'");
            await server.GetInvalidAsync($"model-versions/{route}?version=1", "'name'");
            await server.GetNotFoundAsync($"model-versions/{route}?name={name}&version=7", "version=7");
        }

        static JsonObject With(JsonObject message, JsonNode? name, JsonNode? version)
        {
            message = message.DeepClone().AsObject();
            message["name"] = name;
            message["version"] = version;
            return message;
        }
    }

    [Theory, BothDatabases]
    public async Task Update_ChangesTheDescription_OrClearsIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.SetAliasAsync(name, "a", "1");
        var updated = await server.CallAsync(HttpMethod.Patch, "model-versions/update", new { name, version = "1", description = "new" });
        Assert.Equal("new", (string)updated["model_version"]!["description"]!);
        Assert.True(JsonNode.DeepEquals(updated["model_version"], await server.GetVersionAsync(name, "1")));
        updated = await server.CallAsync(HttpMethod.Patch, "model-versions/update", new { name, version = "1" });
        Assert.Null(updated["model_version"]!["description"]);
        Assert.Equal(["a"], RegistryCalls.Texts(updated["model_version"]!["aliases"]));
    }

    [Theory, BothDatabases]
    public async Task Tags_SetChangedAndDeleted_AreReadAsTheyAre(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.PostAsync("model-versions/set-tag", new { name, version = "1", key = "k", value = "1" });
        await server.PostAsync("model-versions/set-tag", new { name, version = "1", key = "k", value = "{\"é\": 1}" });
        await server.PostAsync("model-versions/set-tag", new { name, version = "1", key = "empty" });
        Assert.Equal(
            new Dictionary<string, string> { ["empty"] = "", ["k"] = "{\"é\": 1}" },
            RunCalls.KeyValues((await server.GetVersionAsync(name, "1"))["tags"]));
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete-tag", new { name, version = "1", key = "k" });
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete-tag", new { name, version = "1", key = "k" });
        Assert.Equal(["empty"], RunCalls.KeyValues((await server.GetVersionAsync(name, "1"))["tags"]).Keys);
        await server.PostInvalidAsync("model-versions/set-tag", new { name, version = "1", value = "v" }, "'key'");
        await server.PostInvalidAsync("model-versions/set-tag", new { name, version = "1", key = "a//b", value = "v" }, "'key'");
        await server.InvalidAsync(HttpMethod.Delete, "model-versions/delete-tag", new { name, version = "1" }, "'key'");
    }

    [Theory, BothDatabases]
    public async Task Transition_MovesAVersionAndArchivesOthersWhenAsked(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        for (var i = 0; i < 4; i++)
            await server.CreateVersionAsync(name);
        await server.SetAliasAsync(name, "a", "1");
        foreach (var (version, stage) in new[] { ("1", "production"), ("2", "PRODUCTION"), ("3", "Staging"), ("4", "production") })
        {
            var moved = (await server.PostAsync("model-versions/transition-stage", new { name, version, stage }))["model_version"]!;
            Assert.Equal(stage == "Staging" ? "Staging" : "Production", (string)moved["current_stage"]!);
            Assert.True(JsonNode.DeepEquals(moved, await server.GetVersionAsync(name, version)));
        }

        await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "4" });
        await server.PostAsync(
            "model-versions/transition-stage", new { name, version = "3", stage = "Production", archive_existing_versions = true });
        Assert.Equal(["Archived", "Archived", "Production"], await StagesAsync("1", "2", "3"));
        await server.PostAsync(
            "model-versions/transition-stage", new { name, version = "1", stage = "Production", archive_existing_versions = false });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "2", stage = "none", archive_existing_versions = (bool?)null });
        Assert.Equal(["Production", "None", "Production"], await StagesAsync("1", "2", "3"));

        const string Route = "model-versions/transition-stage";
        await server.PostInvalidAsync(Route, new { name, version = "1" }, "'stage'");
        await server.PostInvalidAsync(Route, new { name, version = "1", stage = "Nope" }, "Nope", "None, Staging, Production, Archived");
        await server.PostInvalidAsync(Route, new { name, version = "1", stage = "Deleted_Internal" }, "Deleted_Internal");
        await server.PostInvalidAsync(Route, new { name, version = "1", stage = "None", archive_existing_versions = true }, "archive_existing_versions");
        await server.PostInvalidAsync(Route, new { name, version = "1", stage = "Archived", archive_existing_versions = true }, "archive_existing_versions");
        await server.PostInvalidAsync(Route, new { name, version = "1", stage = "Staging", archive_existing_versions = "yes" }, "archive_existing_versions");
        // Nothing is archived for a version that there is none of.
        await server.PostNotFoundAsync(Route, new { name, version = "4", stage = "Production", archive_existing_versions = true }, "version=4");
        Assert.Equal(["Production", "None", "Production"], await StagesAsync("1", "2", "3"));

        async Task<List<string>> StagesAsync(params string[] versions)
        {
            var stages = new List<string>();
            foreach (var version in versions)
                stages.Add((string)(await server.GetVersionAsync(name, version))["current_stage"]!);
            return stages;
        }
    }

    [Theory, BothDatabases]
    public async Task Transition_LeavesItsTracesInTheSpecifiedColumns(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        var approval = await ApprovalAsync();
        Assert.Equal(["name", "version", "current_stage"], approval.Select(field => field.Key));

        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production" });
        var first = await ApprovalAsync();
        Assert.Equal(("Production", "None"), ((string)first["current_stage"]!, (string)first["previous_stage"]!));
        Assert.Equal((long)first["deployed_at"]!, (long)first["stage_transition_at"]!);
        await RegistryCalls.TickAsync();
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Archived" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Archived" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production" });
        var second = await ApprovalAsync();
        Assert.Equal(("Production", "Archived"), ((string)second["current_stage"]!, (string)second["previous_stage"]!));
        Assert.Equal((long)first["deployed_at"]!, (long)second["deployed_at"]!);
        Assert.NotEqual((long)first["stage_transition_at"]!, (long)second["stage_transition_at"]!);

        async Task<JsonObject> ApprovalAsync() =>
            (await server.GetAsync($"model-versions/get-approval?name={name}&version=1"))["approval"]!.AsObject();
    }

    [Theory]
    [BothDatabases("trained", "deployed")]
    [BothDatabases("evaluated", "deployed")]
    [BothDatabases("archived", "deployed")]
    [BothDatabases("training", "training")]
    [BothDatabases("failed", "failed")]
    public async Task Transition_ToProduction_MakesALoggedModelThatIsReadyADeployedOne(DatabaseKind kind, string before, string after)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var model = await server.InsertLoggedModelAsync("mlflow-artifacts:/0/models/x/artifacts", before);
        await server.CreateVersionAsync(name, $"models:/{model}", model_id: model);
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Staging" });
        Assert.Equal([before], await server.LoggedModelAsync(model, "status"));
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Production" });
        Assert.Equal([after], await server.LoggedModelAsync(model, "status"));
    }

    [Theory, BothDatabases]
    public async Task Delete_KeepsTheNumberAndForgetsTheRest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.PostAsync(Create, new { name, source = "s3://b/x", run_id = "r", run_link = "l", description = "d" });
        await server.PostAsync("model-versions/transition-stage", new { name, version = "1", stage = "Staging" });
        Assert.Equal("{}", (await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "1" })).ToJsonString());
        foreach (var route in new[] { "get", "get-download-uri", "get-approval" })
            await server.GetNotFoundAsync($"model-versions/{route}?name={name}&version=1", $"Model Version (name={name}, version=1) not found");
        foreach (var (method, route) in new[] { (HttpMethod.Delete, "delete"), (HttpMethod.Patch, "update"), (HttpMethod.Post, "set-approval") })
            await server.NotFoundAsync(method, $"model-versions/{route}", new { name, version = "1", approved_by = "x" }, "version=1");
        await server.PostNotFoundAsync("model-versions/set-tag", new { name, version = "1", key = "k" });
        await server.PostNotFoundAsync("model-versions/transition-stage", new { name, version = "1", stage = "None" });
        await server.PostNotFoundAsync(Create, new { name, source = $"models:/{name}/1" }, $"models:/{name}/1");

        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        var row = Assert.Single(await session.ListAsync(
            server.Database.Statement("""
                SELECT current_stage, previous_stage, description, source, storage_location, source_run_uuid, run_link
                FROM model_registry WHERE registered_model_name = $1 AND deleted_at IS NOT NULL
                """).Add(name),
            reader => Enumerable.Range(0, 7).Select(reader.GetStringOrNull).ToList(),
            CancellationToken.None));
        Assert.Equal(["none", "staging", null, "REDACTED-SOURCE-PATH", null, "REDACTED-RUN-ID", "REDACTED-RUN-LINK"], row);
    }

    [Theory, BothDatabases]
    public async Task Source_OfALoggedModel_BringsItsRunItsFilesAndATag(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var run = new string('a', 32);
        const string Location = "mlflow-artifacts:/0/models/m-1/artifacts";
        var model = await server.InsertLoggedModelAsync(Location, runId: run, tags: """{"other": "tag"}""");

        var byBoth = await server.CreateVersionAsync(name, $"models:/{model}", model_id: model);
        Assert.Equal(($"models:/{model}", run), ((string)byBoth["source"]!, (string)byBoth["run_id"]!));
        var bySource = await server.CreateVersionAsync(name, $"models:/{model}");
        Assert.Equal(run, (string)bySource["run_id"]!);
        var byId = await server.CreateVersionAsync(name, "s3://b/elsewhere", run_id: "given", model_id: model);
        Assert.Equal("given", (string)byId["run_id"]!);
        foreach (var (version, uri) in new[] { ("1", Location), ("2", Location), ("3", "s3://b/elsewhere") })
            Assert.Equal(uri, await DownloadUriAsync(server, name, version));

        var tags = JsonNode.Parse((await server.LoggedModelAsync(model, "tags"))[0]!)!;
        Assert.Equal("tag", (string)tags["other"]!);
        Assert.Equal(
            $$"""[{"name": "{{name}}", "version": 1}, {"name": "{{name}}", "version": 2}, {"name": "{{name}}", "version": 3}]""",
            (string)tags["mlflow.modelVersions"]!);

        // What somebody wrote into the tag that is no list does not keep a model from being registered.
        var odd = await server.InsertLoggedModelAsync(Location, tags: """{"mlflow.modelVersions": "no list"}""");
        await server.CreateVersionAsync(name, $"models:/{odd}");

        var deleted = await server.InsertLoggedModelAsync(Location, stage: "deleted");
        foreach (var unknown in new[] { deleted, $"m-{Guid.NewGuid():N}", "m-x", "nonsense" })
        {
            await server.PostNotFoundAsync(Create, new { name, source = "s3://b/x", model_id = unknown }, unknown, "not found");
            await server.PostNotFoundAsync(Create, new { name, source = $"models:/{unknown}" }, unknown);
        }
    }

    [Theory, BothDatabases]
    public async Task Source_OfAnotherVersion_BringsItsFiles(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (name, copy) = (await server.CreateModelAsync(ApiServer.FreshName("a/b")), await server.CreateModelAsync());
        await server.CreateVersionAsync(name, "s3://b/original");
        await server.CreateVersionAsync(copy, $"models:/{name}/1", run_id: "r");
        await server.CreateVersionAsync(copy, $"models:/{copy}/1");
        Assert.Equal("s3://b/original", await DownloadUriAsync(server, copy, "1"));
        Assert.Equal("s3://b/original", await DownloadUriAsync(server, copy, "2"));
        Assert.Equal($"models:/{name}/1", (string)(await server.GetVersionAsync(copy, "1"))["source"]!);
        foreach (var unknown in new[] { $"models:/{name}/2", "models:/absent/1", $"models:/{name}", $"models:/{name}/latest", $"models:/{name}@alias" })
            await server.PostNotFoundAsync(Create, new { name = copy, source = unknown }, unknown);

        // A prompt has no files that a model could have.
        var prompt = await server.CreatePromptAsync();
        await server.CreateVersionAsync(prompt, "s3://b/text", tags: RegistryCalls.PromptTags("true"));
        await server.PostNotFoundAsync(Create, new { name = copy, source = $"models:/{prompt}/1" }, prompt);
    }

    [Theory, BothDatabases]
    public async Task Source_ThatIsLocal_HasToBeTheRunsOrTheModels(DatabaseKind kind)
    {
        var folder = TestFolder.Create();
        await using var server = await TestServer.StartAsync(kind, options => options with { ServeArtifacts = false, DefaultArtifactRoot = folder });
        var name = await server.CreateModelAsync();
        var info = (await server.CreateWholeRunAsync())["info"]!;
        var (run, root) = ((string)info["run_id"]!, (string)info["artifact_uri"]!);
        var other = await server.CreateRunAsync();
        var model = await server.InsertLoggedModelAsync($"{folder}/0/models/m/artifacts");

        foreach (var source in new[] { root, $"{root}/m", $"{root}//m/../m/", $"file://{root}/m", $"file://localhost{root}/m", $"file:{root}" })
        {
            await server.CreateVersionAsync(name, source, run_id: run);
            await server.PostInvalidAsync(Create, new { name, source }, "Invalid model version source", "run_id");
            await server.PostInvalidAsync(Create, new { name, source, run_id = other }, "Invalid model version source");
            await server.PostInvalidAsync(Create, new { name, source, run_id = new string('0', 32) }, "Invalid model version source");
            await server.PostInvalidAsync(Create, new { name, source, run_id = run, model_id = model }, "Invalid model version source");
        }

        await server.CreateVersionAsync(name, $"{folder}/0/models/m/artifacts/x", model_id: model);
        foreach (var source in new[] { folder, $"{root}/../x", $"{root}x", "/etc", "m", $"file://elsewhere{root}", "file:///etc", $"{root}/m/../../x", $"file://{root}/%2e%2e/x" })
            await server.PostInvalidAsync(Create, new { name, source, run_id = run }, source.StartsWith("file://e", StringComparison.Ordinal) ? "source" : "Invalid model version source");
    }

    [Theory, BothDatabases]
    public async Task Source_OfAPrompt_IsAnyTextAndNoPlace(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (prompt, model) = (await server.CreatePromptAsync(), await server.CreateModelAsync());
        foreach (var source in new[] { "prompt-template", "/etc", "../up", "file:///etc/passwd" })
        {
            var version = await server.CreateVersionAsync(prompt, source, tags: RegistryCalls.PromptTags("true"));
            Assert.Equal(source, (string)version["source"]!);
            Assert.Equal(source, await DownloadUriAsync(server, prompt, (string)version["version"]!));
            // Neither a tag alone makes a prompt, nor one that says no, nor the registered model alone.
            await server.PostInvalidAsync(Create, new { name = model, source, tags = RegistryCalls.PromptTags("true") }, "Invalid model version source");
            await server.PostInvalidAsync(Create, new { name = prompt, source, tags = RegistryCalls.PromptTags("false") }, "Invalid model version source");
            await server.PostInvalidAsync(Create, new { name = prompt, source }, "Invalid model version source");
        }
    }

    [Theory, BothDatabases]
    public async Task Source_HasToMatchThePatternOfTheOperator(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with
        {
            ModelVersionSourcePattern = new Regex("^mlflow-artifacts:|(a+)+!", RegexOptions.None, TimeSpan.FromMilliseconds(100)),
        });
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name, "mlflow-artifacts:/x");
        await server.CreateVersionAsync(name, "s3://b/aa!");
        await server.PostInvalidAsync(Create, new { name, source = "s3://b/x" }, "Invalid model version source: 's3://b/x'.");
        // Deciding this one would take longer than the world lasts.
        await server.PostInvalidAsync(Create, new { name, source = "s3://b/" + new string('a', 400) }, "Invalid model version source");
        var prompt = await server.CreatePromptAsync();
        await server.PostInvalidAsync(Create, new { name = prompt, source = "text", tags = RegistryCalls.PromptTags("true") }, "'text'");
    }

    [Theory, BothDatabases]
    public async Task Approval_IsKeptBesideWhatClientsOfMlflowSee(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        var before = await server.GetVersionAsync(name, "1");
        var set = (await server.PostAsync("model-versions/set-approval", new
        {
            name,
            version = "1",
            approved_by = "ana",
            approval_notes = "fine",
            deployment_target = "eu-1",
            production_metrics = new Dictionary<string, object> { ["mae"] = 0.5, ["n"] = 3, ["none"] = "NaN" },
        }))["approval"]!.AsObject();
        Assert.Equal(("ana", "fine", "eu-1"), (
            (string)set["approved_by"]!, (string)set["approval_notes"]!, (string)set["deployment_target"]!));
        Assert.Equal(0.5, (double)set["production_metrics"]!["mae"]!);
        Assert.Equal("NaN", (string)set["production_metrics"]!["none"]!);
        Assert.InRange((long)set["approved_at"]!, 1, long.MaxValue);
        Assert.True(JsonNode.DeepEquals(set, (await server.GetAsync($"model-versions/get-approval?name={name}&version=1"))["approval"]));
        Assert.True(JsonNode.DeepEquals(before, await server.GetVersionAsync(name, "1")));

        // What is not given stays, what is empty goes.
        var unchanged = (await server.PostAsync("model-versions/set-approval", new { name, version = "1" }))["approval"];
        Assert.True(JsonNode.DeepEquals(set, unchanged));
        var cleared = (await server.PostAsync("model-versions/set-approval", new
        {
            name,
            version = "1",
            approved_by = "",
            approval_notes = "",
            deployment_target = "",
            production_metrics = new Dictionary<string, double>(),
        }))["approval"]!.AsObject();
        Assert.Equal(["name", "version", "current_stage"], cleared.Select(field => field.Key));

        await server.PostInvalidAsync("model-versions/set-approval", new { name, version = "1", approved_by = new string('x', 256) }, "'approved_by'", "255");
        await server.PostInvalidAsync("model-versions/set-approval", new { name, version = "1", approval_notes = new string('x', 5001) }, "'approval_notes'");
        await server.PostInvalidAsync("model-versions/set-approval", new { name, version = "1", deployment_target = new string('x', 101) }, "'deployment_target'");
        await server.PostInvalidAsync("model-versions/set-approval", """{"name": "x", "version": "1", "production_metrics": {"a": "b"}}""", "production_metrics");
        await server.PostInvalidAsync("model-versions/set-approval", """{"name": "x", "version": "1", "production_metrics": []}""", "production_metrics");
    }

    private static async Task<string> DownloadUriAsync(ApiServer server, string name, string version) =>
        (string)(await server.GetAsync($"model-versions/get-download-uri?name={Uri.EscapeDataString(name)}&version={version}"))["artifact_uri"]!;
}
