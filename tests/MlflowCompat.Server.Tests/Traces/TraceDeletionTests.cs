using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Deletions that meet each other, exports, assessments and links: nobody fails, and nothing is left in part.</summary>
public sealed class TraceDeletionTests
{
    private const string Route = "traces/delete-traces";
    private const long Old = 1_600_000_000_000;
    private const long Young = 1_700_000_000_000;

    [Theory, BothDatabases]
    public async Task DeletionsByAge_AtTheSameTime_DeleteAllAndCountEachTraceOnce(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        const int Traces = 600;
        var roots = Enumerable.Range(0, Traces).Select(i => OtlpExport.Root(startMs: Old + i)).ToArray();
        await server.ExportAsync(experiment, [.. roots, .. roots.Select(root => OtlpExport.Child(root))]);
        await server.ExportAsync(experiment, OtlpExport.Root(startMs: Young));

        // Who may delete some only gets some; who comes to those that another one is deleting goes on behind them.
        var counts = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => DeleteAsync(server, i == 0
            ? new { experiment_id = experiment, max_timestamp_millis = Young - 1 }
            : new { experiment_id = experiment, max_timestamp_millis = Young - 1, max_traces = 30 })));
        Assert.Equal(Traces, counts.Sum());
        Assert.All(counts.Skip(1), count => Assert.InRange(count, 0, 30));
        Assert.Single((await server.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids);
        await TraceRows.AssertWholeAsync(server.Database);
    }

    [Theory, BothDatabases]
    public async Task Deletions_WhileExportsArriveForTheSameTraces_LeaveNothingInPart(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        await using (var server = await TestServer.StartAsync(database.Address))
            await MeetAsync([server]);
        await AssertWithoutDeadlocksAsync(database);
    }

    [Fact]
    public async Task Deletions_OfTwoServers_LeaveNothingInPart()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        await using (var first = await TestServer.StartAsync(database.Address))
        await using (var second = await TestServer.StartAsync(database.Address))
            await MeetAsync([first, second]);
        await AssertWithoutDeadlocksAsync(database);
    }

    /// <summary>Retention of two servers on one database, which all servers have, at the same time.</summary>
    [Fact]
    public async Task Retention_OfTwoServers_DeletesEachTraceOnce()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        await using var first = await TestServer.StartAsync(database.Address);
        await using var second = await TestServer.StartAsync(database.Address);
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        string[] experiments = [await first.CreateExperimentAsync(), await first.CreateExperimentAsync()];
        foreach (var experiment in experiments)
        {
            await first.ExportAsync(experiment, [.. Enumerable.Range(0, 300).Select(i => OtlpExport.Root(startMs: now - (3 * 86_400_000L) - i))]);
            await first.ExportAsync(experiment, OtlpExport.Root(startMs: now));
        }

        var counts = await Task.WhenAll(new[] { first, second }.Select(server =>
            server.Services.GetRequiredService<TraceRetention>().DeleteOldAsync(TimeSpan.FromDays(2), CancellationToken.None)));
        Assert.Equal(600, counts.Sum());
        Assert.Equal(2, await TraceRows.CountAsync(first.Database, "trace_info"));
    }

    [Theory, BothDatabases]
    public async Task RetentionSetting_OfTheServer_DeletesWhatIsTooOldWhenItStarts(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        var (old, young) = (OtlpExport.Root(startMs: now - (3 * 86_400_000L)), OtlpExport.Root(startMs: now - 86_400_000L));
        string experiment;
        await using (var server = await TestServer.StartAsync(database.Address))
        {
            experiment = await server.CreateExperimentAsync();
            await server.ExportAsync(experiment, old, young);
        }

        await using (var without = await ServerProcess.StartAsync(database.Address))
            Assert.Equal(2, (await without.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids.Count);
        await using var with = await ServerProcess.StartAsync(database.Address, "--trace-retention-days", "2");
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while ((await with.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids is { Count: > 1 })
            await Task.Delay(20, patience.Token);
        Assert.Equal([young.MlflowId], (await with.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids);
    }

    /// <summary>A trace of more spans than one transaction deletes is not left in part when whoever asked for it has gone.</summary>
    [Theory, BothDatabases]
    public async Task Deletion_GivenUpInTheMiddleOfATrace_EndsItAllTheSame(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var large = OtlpExport.Root(startMs: Old);
        const int Spans = 10_500;
        await server.ExportAsync(experiment, [large, .. Enumerable.Range(1, Spans - 1).Select(_ => OtlpExport.Child(large))]);
        await using var scope = server.Services.CreateAsyncScope();
        using var gone = new CancellationTokenSource();
        var deletion = scope.ServiceProvider.GetRequiredService<TraceStore>()
            .DeleteAsync(long.Parse(experiment, CultureInfo.InvariantCulture), [large.MlflowId], gone.Token);
        while (!deletion.IsCompleted && await TraceRows.CountAsync(server.Database, "spans") == Spans)
        {
        }

        await gone.CancelAsync();
        Assert.Equal(1, await deletion);
        Assert.Equal((0, 0), (await TraceRows.CountAsync(server.Database, "spans"), await TraceRows.CountAsync(server.Database, "trace_info")));
    }

    /// <summary>Nor when it goes to another experiment meanwhile: it is there with all of its spans, or gone with all of them.</summary>
    [Theory, BothDatabases]
    public async Task Deletion_OfALargeTraceThatMoves_LeavesNothingInPart(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var (from, to) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var large = OtlpExport.Root(startMs: Old);
        const int Spans = 25_000;
        await server.ExportAsync(from, [large, .. Enumerable.Range(1, Spans - 1).Select(_ => OtlpExport.Child(large))]);

        var deletion = server.PostAsync("traces/delete-traces", new { experiment_id = from, request_ids = new[] { large.MlflowId } });
        while (!deletion.IsCompleted && await TraceRows.CountAsync(server.Database, "spans") == Spans)
        {
        }

        await server.StartTraceAsync(TraceCalls.Info(to, large.MlflowId));
        Assert.Equal(1, (int)(await deletion)["traces_deleted"]!);
        Assert.Equal(0, await TraceRows.CountAsync(server.Database, "spans"));
    }

    /// <summary>Nobody deletes an experiment for good over the API; who does so in the database takes its traces along.</summary>
    [Theory, BothDatabases]
    public async Task Experiment_DeletedForGood_TakesItsTracesAlong(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var (experiment, other) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        foreach (var each in (string[])[experiment, other])
        {
            var root = OtlpExport.Root();
            await server.ExportAsync(each, root, OtlpExport.Child(root));
            await server.AssessAsync(root.MlflowId, new { assessment_name = "n", feedback = new { value = 1 } });
            await server.SendJsonAsync(HttpMethod.Patch, $"traces/{root.MlflowId}/tags", new { key = "k", value = "v" });
        }

        // Deleted as clients delete it, its traces are there as long as it may be restored.
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        Assert.Equal(2, await TraceRows.CountAsync(server.Database, "trace_info"));
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement("DELETE FROM experiments WHERE experiment_id = $1").Add(long.Parse(experiment, CultureInfo.InvariantCulture)), token),
            CancellationToken.None);
        foreach (var (table, rows) in ((string, long)[])[("trace_info", 1), ("spans", 2), ("assessments", 1)])
            Assert.Equal((table, rows), (table, await TraceRows.CountAsync(server.Database, table)));
        await TraceRows.AssertWholeAsync(server.Database);
    }

    /// <summary>Deletions of every kind, also by retention, exports, assessments and links, all about the same traces.</summary>
    private static async Task MeetAsync(TestServer[] servers)
    {
        const int Rounds = 25;
        var experiment = await servers[0].CreateExperimentAsync();
        var known = new ConcurrentQueue<ExportedSpan>();
        await ExportAsync(servers[0], new Random(0), 200);
        await Task.WhenAll(Enumerable.Range(0, 12).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            var server = servers[worker % servers.Length];
            for (var round = 0; round < Rounds; round++)
            {
                Task work = (worker / servers.Length % 6) switch
                {
                    0 when round % 2 == 0 => DeleteAsync(server, new { experiment_id = experiment, max_timestamp_millis = Old + random.Next(1000) }),
                    0 => server.Services.GetRequiredService<TraceRetention>().DeleteOldAsync(
                        DateTimeOffset.UtcNow - DateTimeOffset.FromUnixTimeMilliseconds(Old + random.Next(1000)), CancellationToken.None),
                    1 => DeleteAsync(server, new { experiment_id = experiment, max_timestamp_millis = Young, max_traces = random.Next(1, 20) }),
                    2 => DeleteAsync(server, new { experiment_id = experiment, request_ids = Some(random, 12).Select(span => span.MlflowId) }),
                    3 => AssessAsync(server, Some(random, 1)[0].MlflowId, random),
                    4 => LinkAsync(server, [.. Some(random, 8).Select(span => span.MlflowId)], random),
                    _ => ExportAsync(server, random, 8),
                };
                await work;
            }
        })));
        await TraceRows.AssertWholeAsync(servers[0].Database);

        // With the traces goes what is linked to them.
        await ExportAsync(servers[0], new Random(1), 50);
        var left = (await servers[0].SearchTracesAsync(TraceCalls.Search([experiment], maxResults: 500))).Ids;
        Assert.NotEmpty(left);
        await LinkAsync(servers[0], [.. left.Take(100)], new Random(0));
        Assert.Equal(await TraceRows.CountAsync(servers[0].Database, "trace_info"), await DeleteAsync(servers[^1], new { experiment_id = experiment, max_timestamp_millis = long.MaxValue }));
        foreach (var table in (string[])["trace_info", "spans", "assessments"])
            Assert.Equal((table, 0), (table, await TraceRows.CountAsync(servers[0].Database, table)));
        var linked = string.Join(", ", left.Select(id => $"'{id}'"));
        Assert.Equal(0, await TraceRows.CountAsync(servers[0].Database, $"entity_associations WHERE source_type = 'trace' AND source_id IN ({linked})"));
        await TraceRows.AssertWholeAsync(servers[0].Database);

        ExportedSpan[] Some(Random random, int count)
        {
            var all = known.ToArray();
            random.Shuffle(all);
            return all[..count];
        }

        // New traces, and late spans of others, which may be deleted already or just now; with tokens and a child each.
        async Task ExportAsync(TestServer server, Random random, int count)
        {
            var roots = Enumerable.Range(0, count).Select(_ => Used(OtlpExport.Root(startMs: Old + random.Next(2000)))).ToArray();
            var late = known.IsEmpty ? [] : Some(random, 8).Select(root => Used(OtlpExport.Child(root))).ToArray();
            await server.ExportAsync(experiment, [.. roots, .. roots.Select(root => Used(OtlpExport.Child(root))), .. late]);
            foreach (var root in roots)
                known.Enqueue(root);
        }
    }

    /// <summary>Makes an assessment, overrides it and deletes the second; the trace may be gone at any moment.</summary>
    private static async Task<long> AssessAsync(TestServer server, string traceId, Random random)
    {
        var route = $"{TraceCalls.Prefix}traces/{traceId}/assessments";
        var (first, second) = ($"a-{Guid.NewGuid():N}", $"a-{Guid.NewGuid():N}");
        await DoneOrGoneAsync(HttpMethod.Post, route, Feedback(first, null));
        await DoneOrGoneAsync(HttpMethod.Post, route, Feedback(second, first));
        await DoneOrGoneAsync(HttpMethod.Patch, $"{route}/{second}", new { assessment = new { rationale = "why" }, update_mask = "rationale" });
        if (random.Next(2) == 0)
            await DoneOrGoneAsync(HttpMethod.Delete, $"{route}/{second}", new { });
        return 0;

        static object Feedback(string id, string? overrides) =>
            new { assessment = new { assessment_id = id, assessment_name = "good", feedback = new { value = 1 }, overrides } };

        async Task DoneOrGoneAsync(HttpMethod method, string path, object message)
        {
            using var answer = await server.SendAsync(method, path, ApiServer.Json(message));
            if (answer.StatusCode != HttpStatusCode.OK)
                await ApiServer.AssertErrorAsync(answer, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        }
    }

    /// <summary>Links traces to the same run as others do, in another order.</summary>
    private static async Task LinkAsync(TestServer server, string[] traceIds, Random random)
    {
        random.Shuffle(traceIds);
        await server.PostAsync("traces/link-to-run", new { trace_ids = traceIds, run_id = "r" });
    }

    private static async Task<long> DeleteAsync(TestServer server, object request) => (long)(await server.PostAsync(Route, request))["traces_deleted"]!;

    private static ExportedSpan Used(ExportedSpan span) =>
        span with { Attributes = new() { ["gen_ai.usage.input_tokens"] = 1L, ["gen_ai.usage.output_tokens"] = 2L } };

    private static async Task AssertWithoutDeadlocksAsync(TestDatabase database)
    {
        if (database.Kind != DatabaseKind.PostgreSql)
            return;
        // A deadlock that a server got over by trying again is one too. Sessions that have ended have reported all of theirs.
        await PostgreSqlServer.UntilNobodyIsConnectedAsync(database.Address);
        Assert.Equal(0, await PostgreSqlServer.CountDeadlocksAsync(database.Address));
    }
}
