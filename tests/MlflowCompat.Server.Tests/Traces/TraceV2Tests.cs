using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Routes of version 2, deletion and links (contract: endpoints §12.1).</summary>
public sealed class TraceV2Tests
{
    [Theory, BothDatabases]
    public async Task StartAndEnd_AsClients2Do_GivesTheTraceBackInBothForms(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var started = (await server.PostAsync("traces", new
        {
            experiment_id = experiment,
            timestamp_ms = 1_700_000_000_000,
            request_metadata = new[] { new { key = "m", value = "1" } },
            tags = new[] { new { key = "t", value = "a" } },
        }))["trace_info"]!;
        var id = (string)started["request_id"]!;
        Assert.Matches("^[0-9a-f]{32}$", id);
        Assert.Equal(("IN_PROGRESS", 0, experiment), ((string?)started["status"], (long)started["execution_time_ms"]!, (string?)started["experiment_id"]));
        Assert.Equal(["mlflow.artifactLocation", "t"], started["tags"]!.AsArray().Select(tag => (string)tag!["key"]!));

        var ended = (await server.SendJsonAsync(HttpMethod.Patch, $"traces/{id}", new
        {
            timestamp_ms = 1_700_000_000_250,
            status = "OK",
            request_metadata = new[] { new { key = "n", value = "2" } },
            tags = new[] { new { key = "t", value = "z" } },
        }))["trace_info"]!;
        Assert.Equal(("OK", 250, 1_700_000_000_000), ((string?)ended["status"], (long)ended["execution_time_ms"]!, (long)ended["timestamp_ms"]!));
        Assert.True(JsonNode.DeepEquals(ended, (await server.GetAsync($"traces/{id}/info"))["trace_info"]));
        Assert.Equal(["m", "n"], ended["request_metadata"]!.AsArray().Select(entry => (string)entry!["key"]!));

        var v3 = await server.TraceInfoAsync(id);
        Assert.Equal(("OK", "0.250s", "z"), ((string?)v3["state"], (string?)v3["execution_duration"], (string?)v3["tags"]!["t"]));
    }

    [Theory, BothDatabases]
    public async Task StartAndEnd_Wrong_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync("traces", new { timestamp_ms = 1 }, "experiment_id");
        await server.PostInvalidAsync("traces", new { experiment_id = "abc", timestamp_ms = 1 }, "abc");
        await server.PostNotFoundAsync("traces", new { experiment_id = "999999999", timestamp_ms = 1 });
        await server.PostInvalidAsync("traces", new { experiment_id = experiment, timestamp_ms = "x" }, "timestamp_ms");
        var id = (string)(await server.PostAsync("traces", new { experiment_id = experiment, timestamp_ms = 1 }))["trace_info"]!["request_id"]!;
        await server.RefusedAsync(HttpMethod.Patch, $"traces/{id}", new { timestamp_ms = 2 }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "status");
        await server.RefusedAsync(HttpMethod.Patch, $"traces/{id}", new { timestamp_ms = 2, status = "NOPE" }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "status");
        await server.RefusedAsync(HttpMethod.Patch, "traces/unknown", new { timestamp_ms = 2, status = "OK" }, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "unknown");
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await server.PostInvalidAsync("traces", new { experiment_id = experiment, timestamp_ms = 1 }, "deleted");
    }

    [Theory, BothDatabases]
    public async Task StartAndEnd_TimesBeyondTheCalendar_AreRefused(DatabaseKind kind)
    {
        const long Min = -62_135_596_800_000; // 0001-01-01T00:00:00Z
        const long Max = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await Start(Min);
        foreach (var time in (long[])[long.MinValue, Min - 1, Max + 1, 1_700_000_000_000_000_000, long.MaxValue])
        {
            await server.PostInvalidAsync("traces", new { experiment_id = experiment, timestamp_ms = time }, "timestamp_ms", FormattableString.Invariant($"{time}"));
            await server.RefusedAsync(
                HttpMethod.Patch, $"traces/{id}", new { timestamp_ms = time, status = "OK" }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "timestamp_ms");
        }

        var ended = (await server.SendJsonAsync(HttpMethod.Patch, $"traces/{id}", new { timestamp_ms = Max, status = "OK" }))["trace_info"]!;
        Assert.Equal((Min, Max - Min), ((long)ended["timestamp_ms"]!, (long)ended["execution_time_ms"]!));
        var info = await server.TraceInfoAsync(id);
        Assert.Equal(("0001-01-01T00:00:00Z", "315537897599.999s"), ((string?)info["request_time"], (string?)info["execution_duration"]));
        var late = await Start(Max);
        ended = (await server.SendJsonAsync(HttpMethod.Patch, $"traces/{late}", new { timestamp_ms = Min, status = "OK" }))["trace_info"]!;
        Assert.Equal(Min - Max, (long)ended["execution_time_ms"]!);
        Assert.Equal("9999-12-31T23:59:59.999Z", (string?)(await server.TraceInfoAsync(late))["request_time"]);
        // The longest of version 3.
        var v3 = TraceCalls.Info(experiment);
        v3["request_time"] = "9999-12-31T23:59:59.999Z";
        v3["execution_duration"] = "999999999999999.999s";
        Assert.Equal("999999999999999.999s", (string?)(await server.TraceInfoAsync(await server.StartTraceAsync(v3)))["execution_duration"]);

        foreach (var (filter, expected) in ((string, int)[])[("end_time > 0", 2), ("end_time >= 253402300799999", 2), ("execution_time < 0", 1), ("timestamp_ms < -9223372036854775808", 0), ("end_time <= 9223372036854775807", 3)])
            Assert.Equal((filter, expected), (filter, (await server.SearchTracesAsync(TraceCalls.Search([experiment], filter, ["end_time"]))).Ids.Count));

        async Task<string> Start(long time) =>
            (string)(await server.PostAsync("traces", new { experiment_id = experiment, timestamp_ms = time }))["trace_info"]!["request_id"]!;
    }

    [Theory]
    [BothDatabases("2.0")]
    [BothDatabases("3.0")]
    public async Task Delete_ByIdsAndByTime_RemovesAllThatBelongsToTheTraces(DatabaseKind kind, string version)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, other) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var route = $"/api/{version}/mlflow/traces/delete-traces";
        var spans = Enumerable.Range(0, 6).Select(i => OtlpExport.Root(startMs: 1_700_000_000_000 + (i * 1000))).ToArray();
        await server.ExportAsync(experiment, spans);
        var foreign = OtlpExport.Root();
        await server.ExportAsync(other, foreign);
        await server.AssessAsync(spans[0].MlflowId, new { assessment_name = "n", feedback = new { value = 1 } });
        await server.PostAsync("traces/link-to-run", new { trace_ids = new[] { spans[0].MlflowId }, run_id = "r" });

        Assert.Equal(1, await Delete(new { experiment_id = experiment, request_ids = new[] { spans[0].MlflowId, "unknown", foreign.MlflowId, spans[0].MlflowId } }));
        Assert.Equal(0, await Delete(new { experiment_id = experiment, request_ids = new[] { spans[0].MlflowId } }));
        Assert.Equal(0, await Delete(new { experiment_id = experiment, max_timestamp_millis = 0 }));
        Assert.Equal(0, await Delete(new { experiment_id = "999999999", max_timestamp_millis = 1_800_000_000_000 }));
        Assert.Equal(1, await Delete(new { experiment_id = experiment, max_timestamp_millis = 1_700_000_005_000, max_traces = 1 }));
        Assert.Equal(2, await Delete(new { experiment_id = experiment, max_timestamp_millis = 1_700_000_003_000 }));
        Assert.Equal([spans[5].MlflowId, spans[4].MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids);
        Assert.Equal([foreign.MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([other]))).Ids);

        // The same trace made again has nothing of the old one.
        await server.ExportAsync(experiment, spans[0] with { SpanId = OtlpExport.NewSpanId() });
        var trace = Assert.Single(await server.BatchGetAsync(spans[0].MlflowId))!;
        Assert.Single(trace["spans"]!.AsArray());
        Assert.Null(trace["trace_info"]!["assessments"]);
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search([experiment], "run_id = 'r'"))).Ids);

        async Task<long> Delete(object request) => (long)(await server.PostAsync(route, request))["traces_deleted"]!;
    }

    [Theory, BothDatabases]
    public async Task Delete_MoreThanOneTransactionTakes_RemovesAll(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.ExportAsync(experiment, [.. Enumerable.Range(0, 250).Select(i => OtlpExport.Root(startMs: 1_700_000_000_000 + i))]);
        var request = new { experiment_id = experiment, max_timestamp_millis = 1_700_000_000_240, max_traces = 220 };
        Assert.Equal(220, (long)(await server.PostAsync("traces/delete-traces", request))["traces_deleted"]!);
        Assert.Equal(21, (long)(await server.PostAsync("traces/delete-traces", request))["traces_deleted"]!);
        Assert.Equal(9, (await server.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids.Count);
    }

    [Theory, BothDatabases]
    public async Task Delete_TraceOfMoreSpansThanOneTransactionTakes_RemovesItAsAWhole(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (large, small) = (OtlpExport.Root(), OtlpExport.Root());
        await server.ExportAsync(experiment, [small, large, .. Enumerable.Range(0, 10_100).Select(_ => OtlpExport.Child(large))]);
        var request = new { experiment_id = experiment, request_ids = new[] { large.MlflowId, small.MlflowId } };
        Assert.Equal(2, (long)(await server.PostAsync("traces/delete-traces", request))["traces_deleted"]!);
        Assert.Empty(await server.BatchGetAsync(large.MlflowId, small.MlflowId));
        await server.ExportAsync(experiment, large);
        Assert.Single(Assert.Single(await server.BatchGetAsync(large.MlflowId))!["spans"]!.AsArray());
    }

    [Theory, BothDatabases]
    public async Task Retention_DeletesWhatIsTooOldInAllExperiments(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        var kept = new List<string>();
        foreach (var experiment in (string[])[await server.CreateExperimentAsync(), await server.CreateExperimentAsync()])
        {
            await server.ExportAsync(experiment, OtlpExport.Root(startMs: now - (3 * 86_400_000L)), OtlpExport.Root(startMs: now - (2 * 86_400_000L) - 1000));
            var young = OtlpExport.Root(startMs: now - 86_400_000L);
            await server.ExportAsync(experiment, young);
            kept.Add(young.MlflowId);
        }

        var retention = server.Services.GetRequiredService<TraceRetention>();
        Assert.Equal(4, await retention.DeleteOldAsync(TimeSpan.FromDays(2), CancellationToken.None));
        Assert.Equal(0, await retention.DeleteOldAsync(TimeSpan.FromDays(2), CancellationToken.None));
        Assert.Equal(2, (await server.BatchGetAsync([.. kept])).Count);
    }

    [Theory, BothDatabases]
    public async Task Delete_Wrong_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        const string Route = "traces/delete-traces";
        await server.PostInvalidAsync(Route, new { max_timestamp_millis = 1 }, "experiment_id");
        await server.PostInvalidAsync(Route, new { experiment_id = "abc", max_timestamp_millis = 1 }, "abc");
        await server.PostInvalidAsync(Route, new { experiment_id = "1" }, "max_timestamp_millis", "request_ids");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", request_ids = Array.Empty<string>() }, "request_ids");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", max_timestamp_millis = 1, request_ids = new[] { "a" } }, "not both");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", max_traces = 1, request_ids = new[] { "a" } }, "max_traces");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", max_traces = 1 }, "max_timestamp_millis");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", max_timestamp_millis = 1, max_traces = 0 }, "max_traces");
        await server.PostInvalidAsync(Route, new { experiment_id = "1", max_timestamp_millis = 1, max_traces = -1 }, "max_traces");
    }

    [Theory, BothDatabases]
    public async Task Links_AreMadeOnce_AndLimited(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        const string Run = "traces/link-to-run";
        var hundred = Enumerable.Range(0, 100).Select(i => $"tr-{i}").ToList();
        Assert.Empty(await server.PostAsync(Run, new { trace_ids = hundred, run_id = "unknown" }));
        Assert.Empty(await server.PostAsync(Run, new { trace_ids = hundred, run_id = "unknown" }));
        Assert.Empty(await server.PostAsync(Run, new { trace_ids = Array.Empty<string>(), run_id = "unknown" }));
        await server.PostInvalidAsync(Run, new { trace_ids = hundred.Append("tr-100"), run_id = "unknown" }, "100", "101");
        await server.PostInvalidAsync(Run, new { run_id = "unknown" }, "trace_ids");
        await server.PostInvalidAsync(Run, new { trace_ids = hundred }, "run_id");

        const string Prompts = "traces/link-prompts";
        var prompts = new[] { new { name = "p", version = "1" }, new { name = "p", version = "2" } };
        Assert.Empty(await server.PostAsync(Prompts, new { trace_id = "tr-unknown", prompt_versions = prompts }));
        Assert.Empty(await server.PostAsync(Prompts, new { trace_id = "tr-unknown", prompt_versions = prompts }));
        Assert.Empty(await server.PostAsync(Prompts, new { trace_id = "tr-unknown", prompt_versions = Array.Empty<object>() }));
        await server.PostInvalidAsync(Prompts, new { prompt_versions = prompts }, "trace_id");
        await server.PostInvalidAsync(Prompts, new { trace_id = "t" }, "prompt_versions");
        await server.PostInvalidAsync(Prompts, new { trace_id = "t", prompt_versions = new[] { new { version = "1" } } }, "prompt_versions[0].name");
        await server.PostInvalidAsync(Prompts, new { trace_id = "t", prompt_versions = new[] { new { name = "p", version = "one" } } }, "prompt_versions[0].version", "one");
    }
}
