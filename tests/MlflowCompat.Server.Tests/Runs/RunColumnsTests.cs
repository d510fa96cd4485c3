using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>What readers of the specified schema find in the tables behind runs and params (mapping 2.2, 2.5).</summary>
public sealed class RunColumnsTests
{
    [Theory]
    [BothDatabases("RUNNING", "running")]
    [BothDatabases("SCHEDULED", "scheduled")]
    [BothDatabases("FINISHED", "completed")]
    [BothDatabases("FAILED", "failed")]
    [BothDatabases("KILLED", "killed")]
    public async Task Status_IsKeptInTheSchemasWordsAndInMlflows(DatabaseKind kind, string status, string stored)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/update", new { run_id = id, status });
        Assert.Equal([stored, status], await server.RowAsync(id, "SELECT status, mlflow_status FROM runs WHERE run_uuid = $1"));
    }

    [Theory]
    [BothDatabases(1000L, 3500L, 2.5)]
    [BothDatabases(1000L, 1000L, 0.0)]
    [BothDatabases(1_700_000_000_123L, 1_700_000_086_524L, 86.401)]
    [BothDatabases(3500L, 1000L, null)]
    [BothDatabases(0L, 1_700_000_000_000L, null)]
    [BothDatabases(1000L, -5L, null)]
    [BothDatabases(1000L, 0L, null)]
    [BothDatabases(1L, 999_999_999_999L, 999_999_999.998)]
    [BothDatabases(1L, 1_000_000_000_001L, null)]
    [BothDatabases(1L, long.MaxValue, null)]
    [BothDatabases(long.MinValue, long.MaxValue, null)]
    [BothDatabases(null, 1_700_000_000_000L, null)]
    public async Task Duration_IsGivenWhereItIsTrueAndFits(DatabaseKind kind, long? start, long end, double? seconds)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { start_time = start });
        await server.PostAsync("runs/update", new { run_id = id, end_time = end });
        Assert.Equal([seconds], await server.RowAsync(id, "SELECT CAST(execution_duration_seconds AS DOUBLE PRECISION) FROM runs WHERE run_uuid = $1"));
    }

    [Theory, BothDatabases]
    public async Task Duration_OfARunWhoseEndIsTakenBack_IsTakenBackToo(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { start_time = 1000 });
        await server.PostAsync("runs/update", new { run_id = id, end_time = 2000 });
        await server.PostAsync("runs/update", new { run_id = id, status = "RUNNING" });
        Assert.Equal([2000L, 1.0], await ReadAsync());
        await server.PostAsync("runs/update", new { run_id = id, end_time = 0 });
        Assert.Equal([null, null], await ReadAsync());

        Task<object?[]> ReadAsync() =>
            server.RowAsync(id, "SELECT end_time, CAST(execution_duration_seconds AS DOUBLE PRECISION) FROM runs WHERE run_uuid = $1");
    }

    [Theory]
    [BothDatabases(1_700_000_000_123L, false)]
    [BothDatabases(-62_135_596_799_998L, false)]
    [BothDatabases(253_402_300_799_998L, false)]
    [BothDatabases(1_700_000_000_123_456_789L, true)]
    [BothDatabases(long.MinValue, true)]
    public async Task Time_BeyondTheCalendar_GoesToTheOverflowColumnOnPostgreSql(DatabaseKind kind, long time, bool overflows)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { start_time = time });
        await server.PostAsync("runs/update", new { run_id = id, end_time = time });
        var row = await server.RowAsync(id, "SELECT start_time, start_time_ms, end_time, end_time_ms FROM runs WHERE run_uuid = $1");
        if (overflows && kind == DatabaseKind.PostgreSql)
            Assert.Equal((time, time), (row[1], row[3]));
        else
            Assert.Equal([time, null, time, null], row);
    }

    [Theory]
    [BothDatabases("NOTEBOOK", "notebook")]
    [BothDatabases("LOCAL", "script")]
    [BothDatabases("PROJECT", "cli")]
    [BothDatabases("JOB", "scheduled")]
    [BothDatabases("UNKNOWN", null)]
    [BothDatabases("local", null)]
    [BothDatabases("", null)]
    [BothDatabases(null, "api")]
    public async Task SourceType_FollowsTheTag(DatabaseKind kind, string? tag, string? stored)
    {
        var server = await TestServer.SharedAsync(kind);
        var tags = tag is null ? null : new[] { new { key = "mlflow.source.type", value = tag } };
        var id = await server.CreateRunAsync(fields: new { tags });
        await AssertAsync(stored);
        if (tag is null)
            return;
        Assert.Equal(tag, (await server.GetRunAsync(id)).Tags()["mlflow.source.type"]);

        await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.source.type", value = "NOTEBOOK" });
        await AssertAsync("notebook");
        await server.PostAsync("runs/log-batch", new { run_id = id, tags });
        await AssertAsync(stored);
        await server.PostAsync("runs/delete-tag", new { run_id = id, key = "mlflow.source.type" });
        await AssertAsync(null);

        async Task AssertAsync(string? expected) =>
            Assert.Equal([expected], await server.RowAsync(id, "SELECT source_type FROM runs WHERE run_uuid = $1"));
    }

    [Theory, BothDatabases]
    public async Task DescribingTags_AreCopiedAndFollowed(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        const string Columns = "SELECT run_description, source_name, git_commit_hash, git_branch, git_repo_url FROM runs WHERE run_uuid = $1";
        string[] keys = ["mlflow.note.content", "mlflow.source.name", "mlflow.source.git.commit", "mlflow.source.git.branch", "mlflow.source.git.repoURL"];
        object?[] first = ["note é", "train.py", new string('a', 40), new string('b', 255), "https://host/repository.git"];
        var id = await server.CreateRunAsync(fields: new { tags = keys.Zip(first, (key, value) => new { key, value }) });
        Assert.Equal(first, await server.RowAsync(id, Columns));

        // What does not fit the column stays in the tag alone.
        object?[] second = [new string('n', 8000), new string('s', 8000), new string('a', 41), new string('b', 256), new string('r', 8000)];
        await server.PostAsync("runs/log-batch", new { run_id = id, tags = keys.Zip(second, (key, value) => new { key, value }) });
        Assert.Equal([second[0], second[1], null, null, second[4]], await server.RowAsync(id, Columns));
        Assert.Equal(second[2], (await server.GetRunAsync(id)).Tags()["mlflow.source.git.commit"]);

        foreach (var key in keys)
            await server.PostAsync("runs/delete-tag", new { run_id = id, key });
        Assert.Equal([null, null, null, null, null], await server.RowAsync(id, Columns));
    }

    [Theory, BothDatabases]
    public async Task Parent_IsTheRunThatTheTagNames(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (first, second) = (await server.CreateRunAsync(), await server.CreateRunAsync());
        var id = await server.CreateRunAsync(fields: new { tags = new[] { new { key = "mlflow.parentRunId", value = first } } });
        await AssertParentAsync(first);
        await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.parentRunId", value = second });
        await AssertParentAsync(second);
        foreach (var none in new[] { "0123456789abcdef0123456789abcdef", "no run", "" })
        {
            await server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.parentRunId", value = none });
            await AssertParentAsync(null);
            Assert.Equal(none, (await server.GetRunAsync(id)).Tags()["mlflow.parentRunId"]);
        }

        await server.PostAsync("runs/log-batch", new { run_id = id, tags = new[] { new { key = "mlflow.parentRunId", value = first } } });
        await AssertParentAsync(first);
        await server.PostAsync("runs/delete-tag", new { run_id = id, key = "mlflow.parentRunId" });
        await AssertParentAsync(null);
        var orphan = await server.CreateRunAsync(fields: new { tags = new[] { new { key = "mlflow.parentRunId", value = "gone" } } });
        Assert.Equal([null], await server.RowAsync(orphan, "SELECT parent_run_id FROM runs WHERE run_uuid = $1"));

        async Task AssertParentAsync(string? parent)
        {
            var row = await server.RowAsync(id, """
                SELECT parent.run_uuid FROM runs LEFT JOIN runs parent ON parent.run_id = runs.parent_run_id WHERE runs.run_uuid = $1
                """);
            Assert.Equal([parent is null ? null : Guid.ParseExact(parent, "N").ToString("D")], row);
        }
    }

    [Theory, BothDatabases]
    public async Task Deletion_IsSoftAndKnowsItsTime(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await AssertAsync("active", deleted: false);
        await server.PostAsync("runs/delete", new { run_id = id });
        await AssertAsync("deleted", deleted: true);
        await server.PostAsync("runs/restore", new { run_id = id });
        await AssertAsync("active", deleted: false);

        async Task AssertAsync(string stage, bool deleted)
        {
            var row = await server.RowAsync(id, "SELECT lifecycle_stage, deleted_at FROM runs WHERE run_uuid = $1");
            Assert.Equal(stage, row[0]);
            Assert.Equal(deleted, row[1] is not null);
        }
    }

    [Theory]
    [BothDatabases("12", "integer")]
    [BothDatabases("-7", "integer")]
    [BothDatabases("0.1", "float")]
    [BothDatabases("1e-5", "float")]
    [BothDatabases("True", "boolean")]
    [BothDatabases("false", "boolean")]
    [BothDatabases("[1, 2]", "json")]
    [BothDatabases("""{"a": [1]}""", "json")]
    [BothDatabases("[1, 2", "string")]
    [BothDatabases("{'a': 1}", "string")]
    [BothDatabases("adam", "string")]
    [BothDatabases("", "string")]
    public async Task ParamType_IsReadFromTheValue(DatabaseKind kind, string value, string type)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-parameter", new { run_id = id, key = "p", value });
        Assert.Equal(
            [value, type],
            await server.RowAsync(id, "SELECT param_value, param_type FROM hyperparameters WHERE run_id = (SELECT run_id FROM runs WHERE run_uuid = $1)"));
        Assert.Equal(value, (await server.GetRunAsync(id)).Params()["p"]);
    }
}
