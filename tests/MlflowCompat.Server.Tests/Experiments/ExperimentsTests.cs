using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Experiments;

/// <summary>Experiments one by one (contract: endpoints §1, semantics §9).</summary>
public sealed class ExperimentsTests
{
    private static readonly string FiveHundredEmoji = string.Concat(Enumerable.Repeat("😀", 500 - 32 - 1));

    [Theory, BothDatabases]
    public async Task Create_NameOnly_MakesAnActiveExperimentUnderTheServersRoot(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("plain");
        var before = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

        var answer = await server.PostAsync("experiments/create", new { name });

        Assert.Equal(["experiment_id"], answer.Select(field => field.Key));
        var id = (string)answer["experiment_id"]!;
        Assert.Matches("^[0-9]+$", id);
        var experiment = await GetAsync(server, id);
        Assert.Equal(
            ["artifact_location", "creation_time", "experiment_id", "last_update_time", "lifecycle_stage", "name"],
            experiment.Select(field => field.Key).Order(StringComparer.Ordinal));
        Assert.Equal(
            (id, name, "active", $"mlflow-artifacts:/{id}"),
            ((string?)experiment["experiment_id"], (string?)experiment["name"], (string?)experiment["lifecycle_stage"],
                (string?)experiment["artifact_location"]));
        Assert.InRange((long)experiment["creation_time"]!, before, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        Assert.Equal((long)experiment["creation_time"]!, (long)experiment["last_update_time"]!);
    }

    [Theory, BothDatabases]
    public async Task Create_WithTags_KeepsThemWhateverTheirKeysAre(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = new Dictionary<string, string>
        {
            ["k"] = "v",
            ["K"] = "V",
            ["mlflow.note.content"] = "# Notes\n",
            ["bad$ //key"] = "kept",
            ["quote\"back\\slash'"] = "\"\\'",
            ["ключ 数 😀"] = "значение 😀",
            ["empty"] = "",
            ["null"] = "null",
            [new string('k', 250)] = new('v', 5000),
        };

        var id = await CreateAsync(server, new { name = TestServer.FreshName("tags"), tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) });

        AssertTags(tags, await GetAsync(server, id));
    }

    [Theory, BothDatabases]
    public async Task Create_TagWithoutValue_IsAnEmptyOne(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await CreateAsync(server, new { name = TestServer.FreshName("tags"), tags = new[] { new { key = "k" } } });
        AssertTags(new() { ["k"] = "" }, await GetAsync(server, id));
    }

    [Theory, BothDatabases]
    public async Task Create_TenThousandTags_KeepsThem(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = Enumerable.Range(0, 10_000).ToDictionary(i => $"key {i}", i => $"value {i}");
        var id = await CreateAsync(server, new { name = TestServer.FreshName("tags"), tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) });
        AssertTags(tags, await GetAsync(server, id));
    }

    [Theory]
    [BothDatabases(" surrounded by blanks ")]
    [BothDatabases("'; DROP TABLE experiments; --")]
    [BothDatabases("%_\\\"{}[]$1\t\n")]
    [BothDatabases("数 😀 é")]
    public async Task Create_AnyCharacters_KeepsTheNameAsItIs(DatabaseKind kind, string stem)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = stem + Guid.NewGuid() + stem;
        var id = await server.CreateExperimentAsync(name);
        Assert.Equal(name, (string?)(await GetAsync(server, id))["name"]);
        Assert.Equal(id, (string?)(await GetByNameAsync(server, name))["experiment_id"]);
    }

    [Theory, BothDatabases]
    public async Task Create_NameOfFiveHundredCodePoints_IsTheLongest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = $"{Guid.NewGuid():N}-{FiveHundredEmoji}";
        var id = await server.CreateExperimentAsync(name);
        Assert.Equal(name, (string?)(await GetAsync(server, id))["name"]);
        await server.PostInvalidAsync("experiments/create", new { name = name + "x" }, "'name' exceeds", "500");
    }

    [Theory, BothDatabases]
    public async Task Create_WithoutName_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/create", new { }, "Missing value for required parameter 'name'");
        await server.PostInvalidAsync("experiments/create", new { name = "" }, "Missing value for required parameter 'name'");
        await server.PostInvalidAsync("experiments/create", new { name = (string?)null }, "Missing value for required parameter 'name'");
    }

    [Theory, BothDatabases]
    public async Task Create_BadTags_IsRefusedNamingThemAndMakesNothing(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("bad-tags");
        var good = new { key = "good", value = "" };
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { good, good } }, "tags[1].key", "good");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { good, new { key = new string('k', 251), value = "" } } }, "tags[1].key", "250");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { new { key = "k", value = new string('v', 5001) } } }, "tags[0].value", "5000");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { new { key = "", value = "" } } }, "tags[0].key");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { new { value = "" } } }, "tags[0].key");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new[] { new { key = "k", value = 5 } } }, "tags[0].value", "5");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new { key = "k", value = "v" } }, "tags");
        await server.PostInvalidAsync("experiments/create", new { name, tags = "k" }, "tags");
        await server.PostInvalidAsync("experiments/create", new { name, tags = new object?[] { null } }, "tags");
        await AssertNoExperimentAsync(server, name);
    }

    [Theory, BothDatabases]
    public async Task Create_NameInUse_IsRefusedWithTheCodeThatClientsKnow(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("taken");
        var id = await server.CreateExperimentAsync(name);
        await server.PostRefusedAsync("experiments/create", new { name }, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", name);
        await server.PostAsync("experiments/delete", new { experiment_id = id });
        await server.PostRefusedAsync("experiments/create", new { name }, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", name);
        Assert.NotEqual(id, await server.CreateExperimentAsync(name.ToUpperInvariant()));
        Assert.NotEqual(id, await server.CreateExperimentAsync(name + " "));
    }

    [Theory, BothDatabases]
    public async Task Create_TwentyTimesAtOnce_SucceedsOnce(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await AssertOneWinsAsync(Enumerable.Repeat(server, 20));
    }

    [Fact]
    public async Task Create_FromTwoServersOnOneDatabaseAtOnce_SucceedsOnce()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        var servers = await Task.WhenAll(TestServer.StartAsync(database.Address), TestServer.StartAsync(database.Address));
        for (var round = 0; round < 5; round++)
            await AssertOneWinsAsync(Enumerable.Range(0, 10).Select(i => servers[i % 2]));

        // Both came up on an empty database at the same moment: there is one default experiment, and both see the same ones.
        var found = await Task.WhenAll(servers.Select(server => server.PostAsync("experiments/search", new { max_results = 100 })));
        Assert.Equal(found[0].ToJsonString(), found[1].ToJsonString());
        Assert.Single(found[0]["experiments"]!.AsArray(), experiment => (string?)experiment!["name"] == "Default");
        foreach (var server in servers)
            await server.DisposeAsync();
    }

    [Theory]
    [BothDatabases("s3://bucket/some//path/../x/")]
    [BothDatabases("s3://bucket/p?x=1&y=a.b")]
    [BothDatabases("mlflow-artifacts:/my/place")]
    [BothDatabases("gs://bucket/%2e%2e/ä")]
    public async Task Create_LocationOfAScheme_IsKeptAsSent(DatabaseKind kind, string location)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await CreateAsync(server, new { name = TestServer.FreshName("location"), artifact_location = location });
        Assert.Equal(location, (string?)(await GetAsync(server, id))["artifact_location"]);
    }

    [Theory]
    [BothDatabases("s3://bucket/p#fragment", "#")]
    [BothDatabases("s3://bucket/p?x=../y", "..")]
    [BothDatabases("s3://bucket/p?x=%2E%2e/y", "..")]
    [BothDatabases("file://elsewhere/tmp/x", "file://elsewhere")]
    [BothDatabases("/etc", "artifact folder")]
    [BothDatabases("file:///etc", "artifact folder")]
    [BothDatabases("../../etc", "artifact folder")]
    public async Task Create_LocationThatMustNotBe_IsRefusedSayingWhy(DatabaseKind kind, string location, string reason)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("location");
        await server.PostInvalidAsync("experiments/create", new { name, artifact_location = location }, "artifact_location", reason);
        await AssertNoExperimentAsync(server, name);
    }

    [Theory, BothDatabases]
    public async Task Create_LocationOf2048Characters_IsTheLongest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var location = "s3://" + new string('b', 2043);
        var id = await CreateAsync(server, new { name = TestServer.FreshName("location"), artifact_location = location });
        Assert.Equal(location, (string?)(await GetAsync(server, id))["artifact_location"]);
        await server.PostInvalidAsync(
            "experiments/create", new { name = TestServer.FreshName("location"), artifact_location = location + "b" }, "Invalid artifact path length", "2048");
    }

    [Fact]
    public async Task Create_LocalLocations_BecomeAbsoluteAndStayWithinTheServersFolder()
    {
        var root = TestFolder.Create();
        await using var server = await TestServer.StartAsync(
            DatabaseKind.Sqlite, options => options with { ServeArtifacts = false, DefaultArtifactRoot = root });

        var id = await server.CreateExperimentAsync();
        Assert.Equal($"{root}/{id}", (string?)(await GetAsync(server, id))["artifact_location"]);
        await AssertLocationAsync($"{root}/x/../y", $"{root}/y");
        await AssertLocationAsync(Path.GetRelativePath(Environment.CurrentDirectory, root) + "/z", $"{root}/z");
        await AssertLocationAsync($"file:{root}/x", $"file://{root}/x");
        await AssertLocationAsync($"file://localhost{root}/x", $"file://{root}/x");
        foreach (var outside in new[] { $"{root}/../x", $"{root}-not", $"file://{root}/%2e%2e/x", $"file://{root}/%2e%2e%2fx" })
        {
            await server.PostInvalidAsync(
                "experiments/create", new { name = TestServer.FreshName("location"), artifact_location = outside }, "artifact folder");
        }

        async Task AssertLocationAsync(string sent, string kept)
        {
            var created = await CreateAsync(server, new { name = TestServer.FreshName("location"), artifact_location = sent });
            Assert.Equal(kept, (string?)(await GetAsync(server, created))["artifact_location"]);
        }
    }

    [Theory, BothDatabases]
    public async Task DefaultExperiment_OnAFreshServer_IsThereAndCanBeDeletedAndRestored(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        await using (var server = await TestServer.StartAsync(database.Address))
        {
            var experiment = await GetAsync(server, "0");
            Assert.Equal(
                ("0", "Default", "mlflow-artifacts:/0", "active"),
                ((string?)experiment["experiment_id"], (string?)experiment["name"], (string?)experiment["artifact_location"],
                    (string?)experiment["lifecycle_stage"]));
            await server.PostAsync("experiments/delete", new { experiment_id = "0" });
            Assert.Equal("deleted", (string?)(await GetByNameAsync(server, "Default"))["lifecycle_stage"]);
        }

        await using (var again = await TestServer.StartAsync(database.Address))
        {
            Assert.Equal("deleted", (string?)(await GetAsync(again, "0"))["lifecycle_stage"]);
            await again.PostAsync("experiments/restore", new { experiment_id = "0" });
            Assert.Equal("active", (string?)(await GetAsync(again, "0"))["lifecycle_stage"]);
            Assert.Equal("1", await again.CreateExperimentAsync());
        }
    }

    [Theory]
    [BothDatabases("123456789")]
    [BothDatabases("-1")]
    [BothDatabases("abc")]
    [BothDatabases("1.5")]
    [BothDatabases("9223372036854775807")]
    [BothDatabases("9223372036854775808")]
    [BothDatabases("99999999999999999999999999")]
    [BothDatabases("0x0")]
    [BothDatabases(" 0")]
    [BothDatabases("٣")]
    public async Task UnknownId_InAnyCall_IsNotFound(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            $"experiments/get?experiment_id={Uri.EscapeDataString(id)}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", $"id={id}");
        await server.PostNotFoundAsync("experiments/update", new { experiment_id = id, new_name = TestServer.FreshName("unknown") }, id);
        await server.PostNotFoundAsync("experiments/delete", new { experiment_id = id }, id);
        await server.PostNotFoundAsync("experiments/restore", new { experiment_id = id }, id);
        await server.PostNotFoundAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "v" }, id);
        await server.PostNotFoundAsync("experiments/delete-experiment-tag", new { experiment_id = id, key = "k" }, id);
    }

    [Theory, BothDatabases]
    public async Task MissingId_InAnyCall_IsRefusedNamingIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var call in new[] { "update", "delete", "restore", "set-experiment-tag", "delete-experiment-tag" })
        {
            foreach (var id in new[] { null, "" })
            {
                await server.PostInvalidAsync(
                    $"experiments/{call}", new { experiment_id = id, new_name = "x", key = "k", value = "v" }, "Missing", "'experiment_id'");
            }
        }

        await server.GetRefusedAsync("experiments/get", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "'experiment_id'");
        await server.GetRefusedAsync("experiments/get?experiment_id=", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "'experiment_id'");
        await server.GetRefusedAsync("experiments/get-by-name?x=1", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "'experiment_name'");
    }

    [Theory, BothDatabases]
    public async Task IdAsNumber_InAnyCall_IsAccepted(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = long.Parse(await server.CreateExperimentAsync(), System.Globalization.CultureInfo.InvariantCulture);
        await server.PostAsync("experiments/update", new { experiment_id = id, new_name = TestServer.FreshName("number") });
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "v" });
        await server.PostAsync("experiments/delete-experiment-tag", new { experiment_id = id, key = "k" });
        await server.PostAsync("experiments/delete", new { experiment_id = id });
        await server.PostAsync("experiments/restore", new { experiment_id = id });
        using var response = await server.SendAsync(HttpMethod.Get, "experiments/get", TestServer.Json(new { experiment_id = id }));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory, BothDatabases]
    public async Task GetByName_UnknownName_IsNotFoundNamingIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(
            "experiments/get-by-name?experiment_name=no%20such%20name", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "no such name");
    }

    [Theory, BothDatabases]
    public async Task EveryCall_UnderTheTwinPrefix_IsTheSame(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        const string Twin = "/ajax-api/2.0/mlflow/";
        var name = TestServer.FreshName("twin");
        var id = (string)(await server.PostAsync(Twin + "experiments/create", new { name }))["experiment_id"]!;
        await server.PostAsync(Twin + "experiments/update", new { experiment_id = id, new_name = name + "2" });
        await server.PostAsync(Twin + "experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "v" });
        await server.PostAsync(Twin + "experiments/delete-experiment-tag", new { experiment_id = id, key = "k" });
        await server.PostAsync(Twin + "experiments/delete", new { experiment_id = id });
        await server.PostAsync(Twin + "experiments/restore", new { experiment_id = id });
        var filter = $"name = '{name}2'";
        Assert.Single((await server.PostAsync(Twin + "experiments/search", new { max_results = 5, filter }))["experiments"]!.AsArray());
        Assert.Single((await server.GetAsync($"{Twin}experiments/search?max_results=5&filter={Uri.EscapeDataString(filter)}"))["experiments"]!.AsArray());
        Assert.Equal(
            (await server.GetAsync($"experiments/get?experiment_id={id}")).ToJsonString(),
            (await server.GetAsync($"{Twin}experiments/get-by-name?experiment_name={name}2")).ToJsonString());
    }

    [Theory, BothDatabases]
    public async Task Rename_ActiveExperiment_ChangesNameAndLastUpdateOnly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (oldName, newName) = (TestServer.FreshName("old"), TestServer.FreshName("new"));
        var id = await server.CreateExperimentAsync(oldName);
        var before = await GetAsync(server, id);
        await NextMillisecondAsync();

        Assert.Empty(await server.PostAsync("experiments/update", new { experiment_id = id, new_name = newName }));

        var after = await GetAsync(server, id);
        Assert.Equal(newName, (string?)after["name"]);
        Assert.True((long)after["last_update_time"]! > (long)before["last_update_time"]!);
        Assert.Equal((long)before["creation_time"]!, (long)after["creation_time"]!);
        Assert.Equal((string?)before["artifact_location"], (string?)after["artifact_location"]);
        await AssertNoExperimentAsync(server, oldName);
        Assert.NotEqual(id, await server.CreateExperimentAsync(oldName));
        await server.PostAsync("experiments/update", new { experiment_id = id, new_name = newName });
    }

    [Theory, BothDatabases]
    public async Task Rename_ThatCannotBe_IsRefusedWithItsOwnCode(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (name, taken) = (TestServer.FreshName("mine"), TestServer.FreshName("taken"));
        var id = await server.CreateExperimentAsync(name);
        var other = await server.CreateExperimentAsync(taken);
        await server.PostRefusedAsync("experiments/update", new { experiment_id = id, new_name = taken }, HttpStatusCode.BadRequest, "BAD_REQUEST", taken);
        await server.PostAsync("experiments/delete", new { experiment_id = other });
        await server.PostRefusedAsync("experiments/update", new { experiment_id = id, new_name = taken }, HttpStatusCode.BadRequest, "BAD_REQUEST", taken);
        await server.PostInvalidAsync("experiments/update", new { experiment_id = id }, "Missing", "'new_name'");
        await server.PostInvalidAsync("experiments/update", new { experiment_id = id, new_name = "" }, "Missing", "'new_name'");
        await server.PostInvalidAsync("experiments/update", new { experiment_id = id, new_name = new string('n', 501) }, "'new_name' exceeds", "500");
        await server.PostRefusedAsync(
            "experiments/update", new { experiment_id = other, new_name = TestServer.FreshName("x") }, HttpStatusCode.InternalServerError, "INVALID_STATE", other);
        Assert.Equal(name, (string?)(await GetAsync(server, id))["name"]);

        var longest = $"{Guid.NewGuid():N}-{FiveHundredEmoji}";
        await server.PostAsync("experiments/update", new { experiment_id = id, new_name = longest });
        Assert.Equal(longest, (string?)(await GetAsync(server, id))["name"]);
    }

    [Theory, BothDatabases]
    public async Task DeleteAndRestore_Experiment_ChangeItsStageAndLastUpdate(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("life");
        var id = await server.CreateExperimentAsync(name);
        var created = await GetAsync(server, id);
        await server.PostNotFoundAsync("experiments/restore", new { experiment_id = id }, id);
        await NextMillisecondAsync();

        Assert.Empty(await server.PostAsync("experiments/delete", new { experiment_id = id }));
        var deleted = await GetAsync(server, id);
        Assert.Equal("deleted", (string?)deleted["lifecycle_stage"]);
        Assert.True((long)deleted["last_update_time"]! > (long)created["last_update_time"]!);
        Assert.Equal(id, (string?)(await GetByNameAsync(server, name))["experiment_id"]);
        await server.PostNotFoundAsync("experiments/delete", new { experiment_id = id }, id);
        await NextMillisecondAsync();

        Assert.Empty(await server.PostAsync("experiments/restore", new { experiment_id = id }));
        var restored = await GetAsync(server, id);
        Assert.Equal("active", (string?)restored["lifecycle_stage"]);
        Assert.True((long)restored["last_update_time"]! > (long)deleted["last_update_time"]!);
        Assert.Equal((long)created["creation_time"]!, (long)restored["creation_time"]!);
    }

    [Theory, BothDatabases]
    public async Task DeleteAndRestore_Experiment_TakeAllItsRunsAlong(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateExperimentAsync();
        var bystander = await RunAsync(server, await server.CreateExperimentAsync());
        string[] runs = [await RunAsync(server, id), await RunAsync(server, id), await RunAsync(server, id)];
        await server.PostAsync("runs/delete", new { run_id = runs[0] });

        await server.PostAsync("experiments/delete", new { experiment_id = id });
        foreach (var run in runs)
            Assert.Equal("deleted", await StageAsync(server, run));

        // Also the one that was deleted by itself comes back.
        await server.PostAsync("experiments/restore", new { experiment_id = id });
        foreach (var run in runs.Append(bystander))
            Assert.Equal("active", await StageAsync(server, run));
    }

    [Theory, BothDatabases]
    public async Task SetTag_NewAndKnownKey_SetsItWithoutTouchingTheLastUpdate(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateExperimentAsync();
        var before = await GetAsync(server, id);
        await NextMillisecondAsync();

        Assert.Empty(await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "v" }));
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "K/é 1:2.3-4_5①", value = "\"\\ 数 😀" });
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "no value" });
        AssertTags(new() { ["k"] = "v", ["K/é 1:2.3-4_5①"] = "\"\\ 数 😀", ["no value"] = "" }, await GetAsync(server, id));

        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "w" });
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "K/é 1:2.3-4_5①", value = "" });
        var after = await GetAsync(server, id);
        AssertTags(new() { ["k"] = "w", ["K/é 1:2.3-4_5①"] = "", ["no value"] = "" }, after);
        Assert.Equal((long)before["last_update_time"]!, (long)after["last_update_time"]!);
    }

    [Theory, BothDatabases]
    public async Task SetTag_Limits_AreCountedInCodePoints(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateExperimentAsync();
        var key = string.Concat(Enumerable.Repeat("𝒌", 250));
        var value = string.Concat(Enumerable.Repeat("😀", 5000));
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key, value });
        AssertTags(new() { [key] = value }, await GetAsync(server, id));
        await server.PostInvalidAsync("experiments/set-experiment-tag", new { experiment_id = id, key = key + "k", value }, "'key' exceeds", "250");
        await server.PostInvalidAsync("experiments/set-experiment-tag", new { experiment_id = id, key, value = value + "v" }, "'value' exceeds", "5000");
        AssertTags(new() { [key] = value }, await GetAsync(server, id));
    }

    [Theory]
    [BothDatabases("a$")]
    [BothDatabases("a\tb")]
    [BothDatabases("a\n")]
    [BothDatabases("a,b")]
    [BothDatabases("a\u0301")]
    [BothDatabases("😀")]
    [BothDatabases("/a")]
    [BothDatabases("a/")]
    [BothDatabases("a//b")]
    [BothDatabases("./a")]
    [BothDatabases("a/../b")]
    [BothDatabases(".")]
    [BothDatabases("..")]
    [BothDatabases("...")]
    [BothDatabases("..a")]
    public async Task SetTag_KeyThatBreaksTheRule_IsRefusedShowingIt(DatabaseKind kind, string key)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync(
            "experiments/set-experiment-tag",
            new { experiment_id = await server.CreateExperimentAsync(), key, value = "v" },
            "Invalid value", key, "for parameter 'key' supplied");
    }

    [Theory, BothDatabases]
    public async Task SetTag_TwentyAtOnce_KeepsThemAll(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateExperimentAsync();
        var tags = Enumerable.Range(0, 20).ToDictionary(i => $"key {i}", i => $"value {i}");
        await Task.WhenAll(tags.Select(tag =>
            server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = tag.Key, value = tag.Value })));
        AssertTags(tags, await GetAsync(server, id));
    }

    [Theory, BothDatabases]
    public async Task DeleteTag_AnyKeyThatIsThere_RemovesItOnly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        string[] keys = ["k", "K", "a.b", "bad$ //key", "quote\"back\\slash'", "ключ 😀", "<&>", ""];
        var id = await CreateAsync(server, new
        {
            name = TestServer.FreshName("tags"),
            tags = keys.Where(key => key.Length > 0).Select(key => new { key, value = key }),
        });
        for (var i = 0; i < keys.Length - 1; i++)
        {
            AssertTags(keys[i..^1].ToDictionary(key => key, key => key), await GetAsync(server, id));
            Assert.Empty(await server.PostAsync("experiments/delete-experiment-tag", new { experiment_id = id, key = keys[i] }));
        }

        AssertTags([], await GetAsync(server, id));
        await server.PostAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "again" });
        AssertTags(new() { ["k"] = "again" }, await GetAsync(server, id));
    }

    [Theory, BothDatabases]
    public async Task DeleteTag_ThatIsNotThere_IsNotFoundNamingIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await CreateAsync(server, new { name = TestServer.FreshName("tags"), tags = new[] { new { key = "k", value = "v" } } });
        foreach (var key in new[] { "missing", "K", "k.", "$.k", "\"k\"" })
            await server.PostNotFoundAsync("experiments/delete-experiment-tag", new { experiment_id = id, key }, $"No tag with name: {key}");
        await server.PostInvalidAsync("experiments/delete-experiment-tag", new { experiment_id = id }, "Missing", "'key'");
        AssertTags(new() { ["k"] = "v" }, await GetAsync(server, id));
    }

    [Theory, BothDatabases]
    public async Task Tags_OfADeletedExperiment_CannotBeChanged(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await CreateAsync(server, new { name = TestServer.FreshName("tags"), tags = new[] { new { key = "k", value = "v" } } });
        await server.PostAsync("experiments/delete", new { experiment_id = id });
        await server.PostInvalidAsync("experiments/set-experiment-tag", new { experiment_id = id, key = "k", value = "w" }, id, "active");
        await server.PostInvalidAsync("experiments/delete-experiment-tag", new { experiment_id = id, key = "k" }, id, "active");
        AssertTags(new() { ["k"] = "v" }, await GetAsync(server, id));
    }

    private static async Task AssertOneWinsAsync(IEnumerable<TestServer> servers)
    {
        var name = TestServer.FreshName("race");
        var responses = await Task.WhenAll(servers.Select(server =>
            server.SendAsync(HttpMethod.Post, "experiments/create", TestServer.Json(new { name }))));
        var winner = Assert.Single(responses, response => response.StatusCode == HttpStatusCode.OK);
        foreach (var loser in responses.Except([winner]))
            await TestServer.AssertErrorAsync(loser, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", name);
    }

    private static async Task<string> CreateAsync(TestServer server, object message) =>
        (string)(await server.PostAsync("experiments/create", message))["experiment_id"]!;

    private static async Task<JsonObject> GetAsync(TestServer server, string id) =>
        (await server.GetAsync($"experiments/get?experiment_id={id}"))["experiment"]!.AsObject();

    private static async Task<JsonObject> GetByNameAsync(TestServer server, string name) =>
        (await server.GetAsync($"experiments/get-by-name?experiment_name={Uri.EscapeDataString(name)}"))["experiment"]!.AsObject();

    private static Task AssertNoExperimentAsync(TestServer server, string name) =>
        server.GetRefusedAsync($"experiments/get-by-name?experiment_name={name}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", name);

    private static async Task<string> RunAsync(TestServer server, string experimentId) =>
        (string)(await server.PostAsync("runs/create", new { experiment_id = experimentId, start_time = 1 }))["run"]!["info"]!["run_id"]!;

    private static async Task<string?> StageAsync(TestServer server, string runId) =>
        (string?)(await server.GetAsync($"runs/get?run_id={runId}"))["run"]!["info"]!["lifecycle_stage"];

    /// <summary>An experiment without tags has no such field.</summary>
    private static void AssertTags(Dictionary<string, string> expected, JsonObject experiment)
    {
        Assert.Equal(expected.Count > 0, experiment.ContainsKey("tags"));
        Assert.Equal(
            expected.OrderBy(tag => tag.Key, StringComparer.Ordinal).Select(tag => (tag.Key, tag.Value)),
            (experiment["tags"]?.AsArray() ?? [])
                .Select(tag => ((string)tag!["key"]!, (string)tag["value"]!)).OrderBy(tag => tag.Item1, StringComparer.Ordinal));
    }

    private static async Task NextMillisecondAsync()
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        while (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() <= now)
            await Task.Delay(1);
    }
}
