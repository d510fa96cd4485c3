using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>Making, reading, changing and deleting logged models (contract: endpoints §6, semantics §4; mapping C-27 to C-33).</summary>
public sealed class LoggedModelsTests
{
    [Theory, BothDatabases]
    public async Task Model_WithEverything_IsReadBackAsItWasMade(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var made = await server.CreateModelAsync(experiment, new
        {
            name = "forecaster 漢",
            model_type = "AutoNHITS",
            source_run_id = run,
            @params = new[] { new { key = "h", value = (string?)"24" }, new { key = "a/b c", value = (string?)null } },
            tags = new[] { new { key = "team@x", value = "😀" }, new { key = "Case", value = "Up" } },
        });

        var id = made.Id();
        Assert.Matches("^m-[0-9a-f]{32}$", id);
        var info = made["info"]!;
        Assert.Equal(experiment, (string?)info["experiment_id"]);
        Assert.Equal(("forecaster 漢", "AutoNHITS", run), ((string?)info["name"], (string?)info["model_type"], (string?)info["source_run_id"]));
        Assert.Equal("LOGGED_MODEL_PENDING", made.Status());
        Assert.Equal($"mlflow-artifacts:/{experiment}/models/{id}/artifacts", (string?)info["artifact_uri"]);
        Assert.InRange((long)info["creation_timestamp_ms"]!, 1_700_000_000_000, 4_000_000_000_000);
        Assert.Equal((long)info["creation_timestamp_ms"]!, (long)info["last_updated_timestamp_ms"]!);
        Assert.False(info.AsObject().ContainsKey("status_message"));
        Assert.Equal(new Dictionary<string, string> { ["h"] = "24", ["a/b c"] = "" }, made.ModelParams());
        Assert.Equal(new Dictionary<string, string> { ["team@x"] = "😀", ["Case"] = "Up" }, made.ModelTags());
        Assert.False(made["data"]!.AsObject().ContainsKey("metrics"));
        Assert.True(JsonNode.DeepEquals(made, await server.GetModelAsync(id)));
        Assert.True(JsonNode.DeepEquals(made, (await server.GetAsync($"/ajax-api/2.0/mlflow/logged-models/{id}"))["model"]));
    }

    [Theory, BothDatabases]
    public async Task Model_WithoutAnything_HasAMadeUpNameAndEmptyTexts(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        foreach (var fields in new object?[] { null, new { name = "", model_type = "", source_run_id = "", @params = Array.Empty<object>() } })
        {
            var model = await server.CreateModelAsync(experiment, fields);
            var info = model["info"]!.AsObject();
            Assert.Matches("^[a-z]+-[a-z]+-[0-9]{1,4}$", (string?)info["name"]);
            Assert.Equal(("", ""), ((string?)info["model_type"], (string?)info["source_run_id"]));
            Assert.False(info.ContainsKey("tags"));
            Assert.Equal("{}", model["data"]!.ToJsonString());
            Assert.True(JsonNode.DeepEquals(model, await server.GetModelAsync(model.Id())));
        }
    }

    [Theory, BothDatabases]
    public async Task Models_OfOneName_AreSeveral(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var one = await server.CreateModelIdAsync(experiment, new { name = "twin" });
        var other = await server.CreateModelIdAsync(experiment, new { name = "twin" });
        Assert.NotEqual(one, other);
        Assert.Equal("twin twin", await server.SearchModelsAsync(experiment));
    }

    [Theory]
    [BothDatabases("s3://bucket/path", "s3://bucket/path/models/ID/artifacts")]
    [BothDatabases("s3://bucket/path/", "s3://bucket/path/models/ID/artifacts")]
    [BothDatabases("s3://bucket/path?a=1&b=2", "s3://bucket/path/models/ID/artifacts?a=1&b=2")]
    public async Task ArtifactUri_IsBelowTheLocationOfTheExperiment(DatabaseKind kind, string location, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = (string)(await server.PostAsync(
            "experiments/create", new { name = ApiServer.FreshName("located"), artifact_location = location }))["experiment_id"]!;
        var model = await server.CreateModelAsync(experiment);
        Assert.Equal(expected.Replace("ID", model.Id(), StringComparison.Ordinal), (string?)model["info"]!["artifact_uri"]);
    }

    [Theory, BothDatabases]
    public async Task Limits_AreInCodePoints_AndRefuseWhatIsBeyond(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        string Long(int length) => string.Concat(Enumerable.Repeat("😀", length));
        var value = Long(20_000);
        var model = await server.CreateModelAsync(experiment, new
        {
            name = Long(500),
            model_type = Long(500),
            source_run_id = Long(32),
            @params = new[] { new { key = Long(255), value } },
            tags = new[] { new { key = Long(255), value } },
        });
        Assert.Equal(value, model.ModelParams()[Long(255)]);
        Assert.True(JsonNode.DeepEquals(model, await server.GetModelAsync(model.Id())));

        await server.PostInvalidAsync("logged-models", new { experiment_id = experiment, name = Long(501) }, "'name' exceeds");
        await server.PostInvalidAsync("logged-models", new { experiment_id = experiment, model_type = Long(501) }, "'model_type' exceeds");
        await server.PostInvalidAsync("logged-models", new { experiment_id = experiment, source_run_id = Long(33) }, "'source_run_id' exceeds");
        foreach (var list in new[] { "params", "tags" })
        {
            await server.PostInvalidAsync(
                "logged-models", $$"""{"experiment_id": "{{experiment}}", "{{list}}": [{"key": "a"}, {"key": "{{Long(256)}}"}]}""", $"'{list}[1].key' exceeds");
        }
    }

    [Theory]
    [BothDatabases("a/b")]
    [BothDatabases("a:b")]
    [BothDatabases("a.b")]
    [BothDatabases("100%")]
    [BothDatabases("say \"x\"")]
    [BothDatabases("it's")]
    public async Task Name_WithAForbiddenCharacter_IsRefused(DatabaseKind kind, string name)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync("logged-models", new { experiment_id = experiment, name }, "Invalid model name", name);
        Assert.Equal("", await server.SearchModelsAsync(experiment));
    }

    [Theory]
    [BothDatabases("""{}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": null}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": ""}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": "0", "name": 5}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "model_type": []}""", "model_type")]
    [BothDatabases("""{"experiment_id": "0", "params": {}}""", "params")]
    [BothDatabases("""{"experiment_id": "0", "params": [{"value": "v"}]}""", "params[0].key")]
    [BothDatabases("""{"experiment_id": "0", "params": [null]}""", "params")]
    [BothDatabases("""{"experiment_id": "0", "tags": [{"key": ""}]}""", "tags[0].key")]
    [BothDatabases("""{"experiment_id": "0", "tags": [{"key": "k", "value": 5}]}""", "tags[0].value")]
    [BothDatabases("""{"experiment_id": "0", "name": "\u0000"}""", "name")]
    public async Task Create_Malformed_IsRefusedNamingTheField(DatabaseKind kind, string body, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("logged-models", body, named);
    }

    [Theory, BothDatabases]
    public async Task Create_WithAKeyTwice_IsABadRequest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var twice = new[] { new { key = "k", value = "1" }, new { key = "k", value = "1" } };
        await server.PostRefusedAsync("logged-models", new { experiment_id = experiment, @params = twice }, HttpStatusCode.BadRequest, "BAD_REQUEST", "params", "k");
        await server.PostRefusedAsync("logged-models", new { experiment_id = experiment, tags = twice }, HttpStatusCode.BadRequest, "BAD_REQUEST", "tags", "k");
        Assert.Equal("", await server.SearchModelsAsync(experiment));
    }

    [Theory, BothDatabases]
    public async Task Create_InAnExperimentThatIsNotActive_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostNotFoundAsync("logged-models", new { experiment_id = "987654321" }, "987654321");
        await server.PostNotFoundAsync("logged-models", new { experiment_id = "abc" }, "abc");
        var experiment = await server.CreateExperimentAsync();
        var before = await server.CreateModelIdAsync(experiment);
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostInvalidAsync("logged-models", new { experiment_id = experiment }, "'active'");

        // What is there stays readable, searchable and changeable (contract: semantics §9).
        await server.FinalizeAsync(before);
        await server.SendAsync("PATCH", $"logged-models/{before}/tags", new { tags = new[] { new { key = "k", value = "v" } } });
        Assert.Single((await server.PostAsync("logged-models/search", new { experiment_ids = new[] { experiment } }))["models"]!.AsArray());

        await server.PostAsync("experiments/restore", new { experiment_id = experiment });
        await server.CreateModelIdAsync(experiment);
    }

    [Theory, BothDatabases]
    public async Task ExperimentId_AsANumber_IsTaken(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var model = (await server.PostAsync("logged-models", JsonNode.Parse($$"""{"experiment_id": {{experiment}}}""")!))["model"]!;
        Assert.Equal(experiment, (string?)model["info"]!["experiment_id"]);
    }

    [Theory, BothDatabases]
    public async Task Finalize_SetsTheStatus_AnyNumberOfTimes(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await server.CreateModelAsync(await server.CreateExperimentAsync(), new { name = "m" });
        var (id, updated) = (model.Id(), (long)model["info"]!["last_updated_timestamp_ms"]!);
        object[] statuses = ["LOGGED_MODEL_READY", 3, "2", "LOGGED_MODEL_PENDING", "LOGGED_MODEL_UPLOAD_FAILED", 2, 2, 1];
        foreach (var status in statuses)
        {
            await Task.Delay(2);
            var finalized = await server.FinalizeAsync(id, status);
            Assert.Equal(
                status.ToString() switch { "1" => "LOGGED_MODEL_PENDING", "2" => "LOGGED_MODEL_READY", "3" => "LOGGED_MODEL_UPLOAD_FAILED", var name => name },
                finalized.Status());
            Assert.True((long)finalized["info"]!["last_updated_timestamp_ms"]! > updated);
            updated = (long)finalized["info"]!["last_updated_timestamp_ms"]!;
            Assert.Equal((long)model["info"]!["creation_timestamp_ms"]!, (long)finalized["info"]!["creation_timestamp_ms"]!);
            Assert.True(JsonNode.DeepEquals(finalized, await server.GetModelAsync(id)));
        }
    }

    [Theory]
    [BothDatabases("trained")]
    [BothDatabases("evaluating")]
    [BothDatabases("evaluated")]
    [BothDatabases("deployed")]
    [BothDatabases("archived")]
    public async Task Status_OfTheSpecifiedSchema_IsShownAsReadyAndKeptByReady(DatabaseKind kind, string stored)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateModelIdAsync(await server.CreateExperimentAsync());
        await StoreAsync(server, id, $"status = '{stored}'");
        Assert.Equal("LOGGED_MODEL_READY", (await server.GetModelAsync(id)).Status());
        Assert.Equal("LOGGED_MODEL_READY", (await server.FinalizeAsync(id)).Status());
        Assert.Equal([stored], await server.ModelRowAsync(id, "SELECT status FROM models WHERE model_uuid = $1"));
        await server.FinalizeAsync(id, "LOGGED_MODEL_UPLOAD_FAILED");
        Assert.Equal(["failed"], await server.ModelRowAsync(id, "SELECT status FROM models WHERE model_uuid = $1"));
    }

    [Theory, BothDatabases]
    public async Task Finalize_Malformed_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (id, other) = (await server.CreateModelIdAsync(experiment), await server.CreateModelIdAsync(experiment));
        var route = $"logged-models/{id}";
        await server.InvalidAsync("PATCH", route, new { status = "LOGGED_MODEL_READY" }, "model_id");
        await server.InvalidAsync("PATCH", route, new { model_id = id }, "status");
        await server.InvalidAsync("PATCH", route, null, "model_id");
        await server.InvalidAsync("PATCH", route, "not JSON");
        foreach (var status in new object[] { "READY", "NOPE", "", 0, 4, -1, true })
            await server.InvalidAsync("PATCH", route, new { model_id = id, status }, "status");
        // The reference takes the body's id and ignores the path's; here neither is ignored.
        await server.InvalidAsync("PATCH", route, new { model_id = other, status = "LOGGED_MODEL_READY" }, "model_id", other);
        await server.NotFoundAsync(
            "PATCH", $"logged-models/{LoggedModelCalls.Unknown}", new { model_id = LoggedModelCalls.Unknown, status = 2 }, LoggedModelCalls.Unknown, "not found");
        await server.NotFoundAsync("PATCH", "logged-models/bogus", new { model_id = "bogus", status = 2 }, "bogus", "not found");
        Assert.Equal(("LOGGED_MODEL_PENDING", "LOGGED_MODEL_PENDING"), ((await server.GetModelAsync(id)).Status(), (await server.GetModelAsync(other)).Status()));
    }

    [Theory, BothDatabases]
    public async Task Delete_HidesTheModel_AndMayBeRepeated(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var id = await server.CreateModelIdAsync(experiment, new { name = "gone" });
        await server.CreateModelIdAsync(experiment, new { name = "stays" });
        Assert.Equal("{}", (await server.SendAsync("DELETE", $"logged-models/{id}")).ToJsonString());
        Assert.Equal("{}", (await server.SendAsync("DELETE", $"logged-models/{id}", new { model_id = id })).ToJsonString());

        Assert.Equal("stays", await server.SearchModelsAsync(experiment));
        Assert.Equal("", await server.SearchModelsAsync(experiment, "lifecycle_stage = 'deleted'"));
        await server.GetRefusedAsync($"logged-models/{id}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id, "not found");
        await server.GetRefusedAsync($"logged-models/{id}?allow_deleted=false", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id);
        await server.NotFoundAsync("PATCH", $"logged-models/{id}", new { model_id = id, status = 2 }, id);
        await server.NotFoundAsync("PATCH", $"logged-models/{id}/tags", new { tags = new[] { new { key = "k", value = "v" } } }, id);
        await server.NotFoundAsync("DELETE", $"logged-models/{id}/tags/k", null, id);
        await server.NotFoundAsync("POST", $"logged-models/{id}/params", new { model_id = id, @params = Array.Empty<object>() }, id);
        await server.NotFoundAsync("GET", $"logged-models/{id}/artifacts/directories", null, id);
        await server.NotFoundAsync("GET", $"/ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files?artifact_file_path=x", null, id);
        await server.PostNotFoundAsync("runs/log-metric", new { run_id = run, key = "m", value = 1, timestamp = 1, model_id = id }, id);

        var kept = (await server.GetAsync($"logged-models/{id}?allow_deleted=true"))["model"]!;
        Assert.Equal("gone", (string?)kept["info"]!["name"]);
        Assert.False(kept["info"]!.AsObject().ContainsKey("lifecycle_stage"));
        Assert.Equal("gone", (string?)(await server.GetAsync($"logged-models/{id}?allow_deleted=TRUE"))["model"]!["info"]!["name"]);
        await server.GetRefusedAsync($"logged-models/{id}?allow_deleted=1", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "allow_deleted");

        await server.NotFoundAsync("DELETE", $"logged-models/{LoggedModelCalls.Unknown}", null, LoggedModelCalls.Unknown, "not found");
        await server.NotFoundAsync("DELETE", "logged-models/bogus", null, "bogus", "not found");
    }

    [Theory]
    [BothDatabases("m-00000000000000000000000000000000")]
    [BothDatabases("bogus")]
    [BothDatabases("m-0123456789ABCDEF0123456789ABCDEF")]
    [BothDatabases("m-")]
    [BothDatabases("m-01234567-89ab-cdef-0123-456789abcdef")]
    [BothDatabases("%27%20OR%201=1")]
    public async Task Model_ThatDoesNotExist_IsNotFound(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            $"logged-models/{id}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", Uri.UnescapeDataString(id), "not found");
        await server.GetRefusedAsync($"logged-models/{id}?allow_deleted=true", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "not found");
    }

    [Theory, BothDatabases]
    public async Task Tags_AreSetOverwrittenAndDeleted(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var created = await server.CreateModelAsync(await server.CreateExperimentAsync(), new { tags = new[] { new { key = "k", value = "v" } } });
        var id = created.Id();
        var answer = await server.SendAsync("PATCH", $"logged-models/{id}/tags", new
        {
            tags = new object[]
            {
                new { key = "k", value = "w" }, new { key = "z", value = "1" }, new { key = "z", value = "2" }, new { key = "none" },
                new { key = "a b", value = "x" }, new { key = "50%", value = "x" }, new { key = "q?r#s", value = "x" }, new { key = "{a}+漢", value = "x" },
                new { key = "a%2Fb", value = "x" }, new { key = "a/b", value = "x" },
            },
        });
        Assert.Equal("{}", answer.ToJsonString());
        var tags = (await server.GetModelAsync(id)).ModelTags();
        Assert.Equal(("w", "2", "", 9), (tags["k"], tags["z"], tags["none"], tags.Count));

        foreach (var key in new[] { "k", "none", "a b", "50%", "q?r#s", "{a}+漢", "a%2Fb" })
        {
            Assert.Equal("{}", (await server.SendAsync("DELETE", $"logged-models/{id}/tags/{Uri.EscapeDataString(key)}")).ToJsonString());
            Assert.True(tags.Remove(key));
            Assert.Equal(tags, (await server.GetModelAsync(id)).ModelTags());
        }

        await server.NotFoundAsync("DELETE", $"logged-models/{id}/tags/k", null, "k");
        await server.NotFoundAsync("DELETE", $"logged-models/{id}/tags/Z", null, "Z");
        await server.NotFoundAsync("DELETE", $"logged-models/{LoggedModelCalls.Unknown}/tags/k", null, LoggedModelCalls.Unknown);
        await server.NotFoundAsync("PATCH", $"logged-models/{LoggedModelCalls.Unknown}/tags", new { tags = Array.Empty<object>() }, LoggedModelCalls.Unknown);
        await server.InvalidAsync("PATCH", $"logged-models/{id}/tags", new { tags = new[] { new { key = "", value = "v" } } }, "tags[0].key");
        await server.InvalidAsync("PATCH", $"logged-models/{id}/tags", new { tags = new[] { new { key = new string('k', 256), value = "v" } } }, "tags[0].key");
        await server.InvalidAsync("PATCH", $"logged-models/{id}/tags", new { tags = "k" }, "tags");
        Assert.Equal("{}", (await server.SendAsync("PATCH", $"logged-models/{id}/tags", new { })).ToJsonString());
        var left = await server.GetModelAsync(id);
        Assert.Equal(["a/b", "z"], left.ModelTags().Keys.Order(StringComparer.Ordinal));
        // Tags are no news of the model itself.
        Assert.Equal((long)created["info"]!["last_updated_timestamp_ms"]!, (long)left["info"]!["last_updated_timestamp_ms"]!);
    }

    [Theory]
    [BothDatabases("a/b")]
    [BothDatabases("a%2Fb")]
    [BothDatabases("a%2fb")]
    [BothDatabases("")]
    public async Task Tag_WithASlash_CannotBeAddressed(DatabaseKind kind, string key)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateModelIdAsync(await server.CreateExperimentAsync(), new { tags = new[] { new { key = "a/b", value = "v" } } });
        using var answer = await server.SendAsync(HttpMethod.Delete, $"logged-models/{id}/tags/{key}");
        Assert.Equal((HttpStatusCode.NotFound, "text/html"), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
        Assert.Single((await server.GetModelAsync(id)).ModelTags());
    }

    [Theory, BothDatabases]
    public async Task Params_AreAdded_AndKeepTheirValues(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateModelIdAsync(await server.CreateExperimentAsync(), new { @params = new[] { new { key = "p", value = "1" } } });
        var route = $"logged-models/{id}/params";
        object Message(params (string Key, string? Value)[] list) => new { model_id = id, @params = list.Select(item => new { key = item.Key, value = item.Value }) };

        Assert.Equal("{}", (await server.PostAsync(route, Message(("q", "2"), ("none", null), ("p", "1"), ("q", "2")))).ToJsonString());
        await server.PostAsync(route, Message(("q", "2"), ("none", "")));
        await server.PostAsync(route, Message());
        await server.PostAsync(route, new { model_id = id });
        var expected = new Dictionary<string, string> { ["p"] = "1", ["q"] = "2", ["none"] = "" };
        Assert.Equal(expected, (await server.GetModelAsync(id)).ModelParams());

        // Nothing is written of a request that is refused.
        await server.PostInvalidAsync(route, Message(("new", "1"), ("q", "3")), "Changing param values is not allowed", "q", "2", "3", id);
        await server.PostInvalidAsync(route, Message(("new", "1"), ("new", "2")), "Changing param values is not allowed", "new");
        await server.PostInvalidAsync(route, Message(("", "1")), "params[0].key");
        await server.PostInvalidAsync(route, Message((new string('k', 256), "1")), "params[0].key");
        await server.PostInvalidAsync(route, new { @params = Array.Empty<object>() }, "model_id");
        await server.PostInvalidAsync(route, new { model_id = LoggedModelCalls.Unknown, @params = Array.Empty<object>() }, "model_id");
        await server.PostNotFoundAsync($"logged-models/{LoggedModelCalls.Unknown}/params", new { model_id = LoggedModelCalls.Unknown }, LoggedModelCalls.Unknown);
        Assert.Equal(expected, (await server.GetModelAsync(id)).ModelParams());
    }

    [Theory, BothDatabases]
    public async Task Params_OfManyRequestsAtOnce_AreAllThereAndNoneChanges(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateModelIdAsync(await server.CreateExperimentAsync());
        var answers = await Task.WhenAll(Enumerable.Range(0, 24).Select(async i =>
        {
            using var answer = await server.SendAsync(HttpMethod.Post, $"logged-models/{id}/params", ApiServer.Json(new
            {
                model_id = id,
                @params = new[] { new { key = $"own {i}", value = $"{i}" }, new { key = $"shared {i / 2}", value = $"{i}" } },
            }));
            using var tag = await server.SendAsync(
                HttpMethod.Patch, $"logged-models/{id}/tags", ApiServer.Json(new { tags = new[] { new { key = $"tag {i}", value = $"{i}" } } }));
            Assert.Equal(HttpStatusCode.OK, tag.StatusCode);
            return (Number: i, IsTaken: answer.StatusCode == HttpStatusCode.OK);
        }));

        var taken = answers.Where(answer => answer.IsTaken).Select(answer => answer.Number).ToList();
        Assert.Equal(12, taken.Count);
        var model = await server.GetModelAsync(id);
        Assert.Equal(
            taken.SelectMany(i => new[] { ($"own {i}", $"{i}"), ($"shared {i / 2}", $"{i}") }).Order(),
            model.ModelParams().Select(item => (item.Key, item.Value)).Order());
        Assert.Equal(24, model.ModelTags().Count);
    }

    [Theory, BothDatabases]
    public async Task Columns_OfTheSpecifiedSchema_FollowFromWhatClientsSay(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var id = await server.CreateModelIdAsync(experiment, new
        {
            name = "nhits",
            source_run_id = run,
            @params = new[] { new { key = "h", value = "24" } },
            tags = new[] { new { key = "framework", value = "NeuralForecast" } },
        });
        const string Columns = """
            SELECT m.model_name, m.model_type, m.framework, m.status, m.lifecycle_stage, m.source_run_uuid, r.run_uuid, m.training_dataset_id, m.model_size_bytes
            FROM models m JOIN runs r ON r.run_id = m.run_id WHERE m.model_uuid = $1
            """;
        var runUuid = Guid.ParseExact(run, "N").ToString("D");
        Assert.Equal(["nhits", "", "neuralforecast", "training", "active", run, runUuid, null, null], await server.ModelRowAsync(id, Columns));

        // A tag may change its mind; what is no identifier is not taken.
        const string Framework = "SELECT framework FROM models WHERE model_uuid = $1";
        foreach (var (tag, column) in new[] { ("darts", "darts"), ("not an identifier", "other"), ("gluonts_2.0-x", "gluonts_2.0-x"), (new string('x', 51), "other"), ("", "other") })
        {
            await server.SendAsync("PATCH", $"logged-models/{id}/tags", new { tags = new[] { new { key = "framework", value = tag } } });
            Assert.Equal([column], await server.ModelRowAsync(id, Framework));
        }

        await server.SendAsync("PATCH", $"logged-models/{id}/tags", new { tags = new[] { new { key = "framework", value = "darts" } } });
        await server.SendAsync("DELETE", $"logged-models/{id}/tags/framework");
        Assert.Equal(["other"], await server.ModelRowAsync(id, Framework));

        var elsewhere = await server.CreateModelIdAsync(experiment, new { source_run_id = "a run of another server" });
        Assert.Equal(
            [null, "a run of another server", "other"],
            await server.ModelRowAsync(elsewhere, "SELECT run_id, source_run_uuid, framework FROM models WHERE model_uuid = $1"));
    }

    [Theory]
    [BothDatabases("train")]
    [BothDatabases("training")]
    public async Task TrainingDataset_IsTheInputOfThatContext(DatabaseKind kind, string context)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        object Input(string name, string use) => new
        {
            dataset = new { name, digest = "d", source_type = "t", source = "s" },
            tags = new[] { new { key = "mlflow.data.context", value = use } },
        };
        var early = await server.CreateModelIdAsync(experiment, new { source_run_id = run });
        await server.PostAsync("runs/log-inputs", new { run_id = run, datasets = new[] { Input("other", "eval"), Input("the one", context) } });
        var late = await server.CreateModelIdAsync(experiment, new { source_run_id = run });
        const string Dataset = "SELECT d.dataset_name FROM models m JOIN datasets d ON d.dataset_id = m.training_dataset_id WHERE m.model_uuid = $1";
        Assert.Equal(["the one"], await server.ModelRowAsync(late, Dataset));
        await server.FinalizeAsync(early);
        Assert.Equal(["the one"], await server.ModelRowAsync(early, Dataset));
    }

    [Theory, BothDatabases]
    public async Task Model_OutlivesItsRun(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = await server.CreateRunAsync(experiment);
        var id = await server.CreateModelIdAsync(experiment, new { source_run_id = run });
        await server.PostAsync("runs/delete", new { run_id = run });
        Assert.Equal(run, (string?)(await server.GetModelAsync(id))["info"]!["source_run_id"]);
        await server.FinalizeAsync(id);
    }

    [Theory]
    [BothDatabases("POST", "logged-models/m-1")]
    [BothDatabases("PUT", "logged-models/m-1/tags")]
    [BothDatabases("GET", "logged-models/search")]
    [BothDatabases("GET", "logged-models")]
    public async Task WrongMethod_IsAPage(DatabaseKind kind, string method, string route)
    {
        var server = await TestServer.SharedAsync(kind);
        using var answer = await server.SendAsync(HttpMethod.Parse(method), route);
        if (route == "logged-models/search")
        {
            // GET logged-models/{id}: "search" is no model's id.
            await ApiServer.AssertErrorAsync(answer, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "search");
            return;
        }

        Assert.Equal((HttpStatusCode.MethodNotAllowed, "text/html"), (answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
    }

    private static async Task StoreAsync(TestServer server, string id, string assignment) => await server.Database.WriteAsync(
        (session, token) => session.ExecuteAsync(
            server.Database.Statement($"UPDATE models SET {assignment} WHERE model_uuid = $1").Add(Guid.ParseExact(id[2..], "N")), token),
        CancellationToken.None);
}
