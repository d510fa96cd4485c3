using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>A client that sends the tag run_fingerprint asks for repeats to be refused (mapping C-12).</summary>
public sealed class FingerprintTests
{
    private const string Fingerprint = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    [Theory, BothDatabases]
    public async Task Run_WithoutFingerprint_GetsARandomOneThatBlocksNobody(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var seen = new HashSet<string>();
        for (var i = 0; i < 3; i++)
        {
            var id = await server.CreateRunAsync(experiment, new { run_name = "same", start_time = 1, user_id = "u" });
            var (fingerprint, _) = await StoredAsync(server, id);
            Assert.Matches("^[0-9a-f]{64}$", fingerprint);
            Assert.True(seen.Add(fingerprint));
        }

        // A tag without a value names no fingerprint.
        for (var i = 0; i < 2; i++)
            await server.CreateRunAsync(experiment, new { tags = new[] { new { key = "run_fingerprint", value = "" } } });
    }

    [Theory, BothDatabases]
    public async Task Repeat_OfALiveRun_IsRefusedWithinItsExperimentOnly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await CreateAsync(server, experiment);
        Assert.Equal((Fingerprint, null), await StoredAsync(server, id));
        Assert.Equal(Fingerprint, (await server.GetRunAsync(id)).Tags()["run_fingerprint"]);
        await AssertRefusedAsync(server, experiment);
        await CreateAsync(server, await server.CreateExperimentAsync());
        Assert.Single(await server.SearchNamesAsync(experiment));

        await server.PostInvalidAsync(
            "runs/create",
            new { experiment_id = experiment, tags = new[] { new { key = "run_fingerprint", value = new string('f', 65) } } },
            "run_fingerprint", "64");
    }

    [Theory, BothDatabases]
    public async Task Deletion_FreesTheFingerprint_AndRestoringNeverFails(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var first = await CreateAsync(server, experiment);
        await server.PostAsync("runs/delete", new { run_id = first });
        await server.PostAsync("runs/restore", new { run_id = first });
        Assert.Equal((Fingerprint, null), await StoredAsync(server, first));
        await AssertRefusedAsync(server, experiment);

        await server.PostAsync("runs/delete", new { run_id = first });
        var second = await CreateAsync(server, experiment);
        await AssertRefusedAsync(server, experiment);
        await server.PostAsync("runs/restore", new { run_id = first });
        await AssertMovedAsync(server, first);
        Assert.Equal((Fingerprint, null), await StoredAsync(server, second));
        Assert.Equal("active", (string)(await server.GetRunAsync(first))["info"]!["lifecycle_stage"]!);
        Assert.Equal(Fingerprint, (await server.GetRunAsync(first)).Tags()["run_fingerprint"]);
        await AssertRefusedAsync(server, experiment);

        // The run that gave it away does not hold it any more.
        await server.PostAsync("runs/delete", new { run_id = second });
        await CreateAsync(server, experiment);
    }

    [Theory, BothDatabases]
    public async Task Experiment_DeletedAndRestoredWithRepeats_LeavesTheFingerprintWithOneOfThem(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var ids = new List<string>();
        for (var i = 0; i < 4; i++)
        {
            ids.Add(await CreateAsync(server, experiment));
            if (i < 3)
                await server.PostAsync("runs/delete", new { run_id = ids[i] });
        }

        var other = await server.CreateRunAsync(experiment, new { tags = new[] { new { key = "run_fingerprint", value = "another" } } });
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostAsync("experiments/restore", new { experiment_id = experiment });
        Assert.Equal(5, (await server.SearchNamesAsync(experiment)).Count);
        var holders = 0;
        foreach (var id in ids)
        {
            if ((await StoredAsync(server, id)).Fingerprint == Fingerprint)
                holders++;
            else
                await AssertMovedAsync(server, id);
        }

        Assert.Equal(1, holders);
        Assert.Equal(("another", null), await StoredAsync(server, other));
        await AssertRefusedAsync(server, experiment);
    }

    [Theory, BothDatabases]
    public async Task Experiment_RestoredWhileARestoredRunHoldsTheFingerprint_LeavesItThere(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var first = await CreateAsync(server, experiment);
        await server.PostAsync("runs/delete", new { run_id = first });
        var second = await CreateAsync(server, experiment);
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostAsync("runs/restore", new { run_id = second });
        await server.PostAsync("experiments/restore", new { experiment_id = experiment });
        Assert.Equal((Fingerprint, null), await StoredAsync(server, second));
        await AssertMovedAsync(server, first);
        Assert.Equal(2, (await server.SearchNamesAsync(experiment)).Count);
    }

    [Theory, BothDatabases]
    public async Task EqualRuns_CreatedAtOnce_AreOne(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(_ =>
            server.SendAsync(HttpMethod.Post, "runs/create", TestServer.Json(Message(experiment)))));
        Assert.Equal(1, answers.Count(answer => answer.StatusCode == HttpStatusCode.OK));
        foreach (var answer in answers.Where(answer => answer.StatusCode != HttpStatusCode.OK))
            await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", Fingerprint);
        Assert.Single(await server.SearchNamesAsync(experiment));
    }

    private static object Message(string experiment) =>
        new { experiment_id = experiment, tags = new[] { new { key = "run_fingerprint", value = Fingerprint } } };

    private static async Task<string> CreateAsync(TestServer server, string experiment) =>
        (string)(await server.PostAsync("runs/create", Message(experiment)))["run"]!["info"]!["run_id"]!;

    private static Task AssertRefusedAsync(TestServer server, string experiment) => server.PostRefusedAsync(
        "runs/create", Message(experiment), HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS", Fingerprint, experiment);

    private static async Task AssertMovedAsync(TestServer server, string id)
    {
        var (fingerprint, moved) = await StoredAsync(server, id);
        Assert.Matches("^[0-9a-f]{64}$", fingerprint);
        Assert.NotEqual(Fingerprint, fingerprint);
        Assert.Equal(Fingerprint, moved);
    }

    /// <summary>The fingerprint of a run and the one that it had to give away.</summary>
    private static async Task<(string Fingerprint, string? Moved)> StoredAsync(TestServer server, string id)
    {
        var moved = server.Database.Choose("metadata ->> 'fingerprint'", "json_extract(metadata, '$.fingerprint')");
        var row = await server.RowAsync(id, $"SELECT run_fingerprint, {moved} FROM runs WHERE run_uuid = $1");
        return ((string)row[0]!, (string?)row[1]);
    }
}
