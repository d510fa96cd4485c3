using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>Tags of runs and what log-model records in one (contract: endpoints §2, semantics §4, §5).</summary>
public sealed class RunTagsTests
{
    [Theory, BothDatabases]
    public async Task Tags_SetChangedAndDeleted_AreReadAsTheyAre(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { run_name = "n" });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "k", value = "1" });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "k", value = "2" });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "K", value = "other case" });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "absent" });
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "null", value = (string?)null });
        Assert.Equal(
            new Dictionary<string, string> { ["mlflow.runName"] = "n", ["k"] = "2", ["K"] = "other case", ["absent"] = "", ["null"] = "" },
            (await server.GetRunAsync(id)).Tags());

        await server.PostAsync("runs/delete-tag", new { run_id = id, key = "k" });
        Assert.Equal(["K", "absent", "mlflow.runName", "null"], (await server.GetRunAsync(id)).Tags().Keys.Order(StringComparer.Ordinal));
        await server.PostNotFoundAsync("runs/delete-tag", new { run_id = id, key = "k" }, "No tag with name: k");
        await server.PostInvalidAsync("runs/delete-tag", new { run_id = id }, "'key'");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, value = "v" }, "'key'");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key = "" }, "'key'");
        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key = "k", value = 5 }, "value", "5");
    }

    [Theory]
    [BothDatabases("bad$key")]
    [BothDatabases("a//b")]
    [BothDatabases("/abs")]
    [BothDatabases("quote'd")]
    [BothDatabases("double\"quoted")]
    [BothDatabases("back\\slash")]
    [BothDatabases("tab\tbed")]
    [BothDatabases("\u0001")]
    [BothDatabases("😀")]
    [BothDatabases("<&>+")]
    [BothDatabases("$.a[0]")]
    [BothDatabases("\u2028")]
    [BothDatabases("%_{}")]
    public async Task Key_ThatTheRuleForbids_IsTakenAtCreationAndCanBeDeleted(DatabaseKind kind, string key)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment, new { tags = new[] { new { key, value = key }, new { key = "x" + key, value = "y" } } });
        await server.CreateRunAsync(experiment);
        Assert.Equal(key, (await server.GetRunAsync(id)).Tags()[key]);

        var quote = key.Contains('`', StringComparison.Ordinal) ? '"' : '`';
        var found = await server.PostAsync("runs/search", new
        {
            experiment_ids = new[] { experiment },
            filter = key.Contains('\'', StringComparison.Ordinal) ? $"tags.{quote}{key}{quote} = \"{key}\"" : $"tags.{quote}{key}{quote} = '{key}'",
            order_by = new[] { $"tags.{quote}{key}{quote} DESC" },
        });
        Assert.Equal([id], RunCalls.Ids(found));

        await server.PostInvalidAsync("runs/set-tag", new { run_id = id, key, value = "z" }, "key");
        // Another tag set beside it leaves it alone.
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "good", value = "g" });
        Assert.Equal(key, (await server.GetRunAsync(id)).Tags()[key]);
        await server.PostAsync("runs/delete-tag", new { run_id = id, key });
        var tags = (await server.GetRunAsync(id)).Tags();
        Assert.False(tags.ContainsKey(key));
        Assert.Equal("y", tags["x" + key]);
        Assert.Equal("g", tags["good"]);
    }

    [Theory, BothDatabases]
    public async Task TenThousandTags_AtCreation_AreAllKept(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = Enumerable.Range(0, 10_000).ToDictionary(i => $"key {i}", i => new string((char)('a' + (i % 26)), i % 50));
        var id = await server.CreateRunAsync(fields: new { run_name = "many", tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) });
        var stored = (await server.GetRunAsync(id)).Tags();
        Assert.True(stored.Remove("mlflow.runName"));
        Assert.Equal(tags, stored);
    }

    [Theory, BothDatabases]
    public async Task LogModel_SeveralTimes_CollectsWhatClientsReadBack(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var path in new[] { "first", "second" })
        {
            var model = new JsonObject
            {
                ["run_id"] = id,
                ["artifact_path"] = path,
                ["utc_time_created"] = "2025-01-01 00:00:00.000000",
                ["model_uuid"] = "0123456789abcdef0123456789abcdef",
                ["flavors"] = new JsonObject { ["python_function"] = new JsonObject { ["loader_module"] = "m\"é😀", ["config"] = new JsonObject { ["a"] = 1 } } },
            };
            await server.PostAsync("runs/log-model", new { run_id = id, model_json = model.ToJsonString() });
        }

        var history = JsonNode.Parse((await server.GetRunAsync(id)).Tags()["mlflow.log-model.history"])!.AsArray();
        Assert.Equal(["first", "second"], history.Select(entry => (string)entry!["artifact_path"]!));
        foreach (var entry in history)
        {
            Assert.Equal(id, (string)entry!["run_id"]!);
            Assert.Equal("2025-01-01 00:00:00.000000", (string)entry["utc_time_created"]!);
            Assert.Equal("m\"é😀", (string)entry["flavors"]!["python_function"]!["loader_module"]!);
        }
    }

    [Theory]
    [BothDatabases("", "model_json")]
    [BothDatabases("no json", "no json")]
    [BothDatabases("[]", "model_json")]
    [BothDatabases("5", "model_json")]
    [BothDatabases("{}", "artifact_path")]
    [BothDatabases("""{"run_id": "x", "artifact_path": "m", "utc_time_created": "t"}""", "flavors")]
    [BothDatabases("""{"run_id": "x", "artifact_path": "m", "flavors": {}}""", "utc_time_created")]
    [BothDatabases("""{"artifact_path": "m", "flavors": {}, "utc_time_created": "t"}""", "run_id")]
    public async Task LogModel_WithoutAModel_IsRefusedNamingWhatIsMissing(DatabaseKind kind, string json, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-model", new { run_id = id, model_json = json }, named);
        await server.AssertEmptyAsync(id);
    }
}
