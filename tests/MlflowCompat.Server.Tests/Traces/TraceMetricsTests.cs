using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Metrics of traces, spans and assessments (contract: since-3.6 §3.4).</summary>
public sealed class TraceMetricsTests
{
    private const string Route = TraceCalls.Prefix + "traces/metrics";
    private const long Start = 1_735_689_600_000; // 2025-01-01T00:00:00Z
    private const long Hour = 3_600_000;

    private static readonly Dictionary<DatabaseKind, Lazy<Task<(TestServer Server, string Experiment)>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => MakeAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => MakeAsync(DatabaseKind.PostgreSql)),
    };

    [Theory]
    [BothDatabases("TRACES", "trace_count", "COUNT", "", "{}: COUNT=4")]
    [BothDatabases("1", "trace_count", "COUNT", "trace_name", "trace_name=a: COUNT=2 | trace_name=b: COUNT=1")]
    [BothDatabases("TRACES", "trace_count", "COUNT", "trace_status", "trace_status=ERROR: COUNT=1 | trace_status=OK: COUNT=3")]
    [BothDatabases("TRACES", "latency", "AVG P50 P99.5 P0 P100", "", "{}: AVG=250 P50.0=250 P99.5=398.5 P0.0=100 P100.0=400")]
    [BothDatabases("TRACES", "latency", "P50", "trace_name", "trace_name=a: P50.0=150 | trace_name=b: P50.0=300")]
    [BothDatabases("TRACES", "input_tokens", "SUM AVG P50", "", "{}: SUM=30 AVG=15 P50.0=15")]
    [BothDatabases("TRACES", "total_tokens", "SUM", "trace_name", "trace_name=a: SUM=45")]
    [BothDatabases("TRACES", "cache_read_input_tokens", "SUM", "", "")]
    [BothDatabases("SPANS", "span_count", "COUNT", "", "{}: COUNT=6")]
    [BothDatabases("SPANS", "span_count", "COUNT", "span_name span_status", "span_name=llm span_status=UNSET: COUNT=2 | span_name=root span_status=ERROR: COUNT=1 | span_name=root span_status=OK: COUNT=3")]
    [BothDatabases("SPANS", "span_count", "COUNT", "span_model_name span_model_provider", "span_model_name=m span_model_provider=p: COUNT=2")]
    [BothDatabases("SPANS", "span_count", "COUNT", "span_type", "span_type=LLM: COUNT=2")]
    [BothDatabases("SPANS", "latency", "AVG", "span_name", "span_name=llm: AVG=150 | span_name=root: AVG=250")]
    [BothDatabases("SPANS", "total_cost", "SUM AVG", "span_model_name", "span_model_name=m: SUM=0.75 AVG=0.375")]
    [BothDatabases("ASSESSMENTS", "assessment_count", "COUNT", "assessment_name", "assessment_name=good: COUNT=3 | assessment_name=score: COUNT=1")]
    [BothDatabases("ASSESSMENTS", "assessment_count", "COUNT", "assessment_value", "assessment_value=\"no\": COUNT=1 | assessment_value=\"unsure\": COUNT=1 | assessment_value=0.5: COUNT=1 | assessment_value=true: COUNT=1")]
    [BothDatabases("ASSESSMENTS", "assessment_value", "AVG P50", "assessment_name", "assessment_name=good: AVG=0.5 P50.0=0.5 | assessment_name=score: AVG=0.5 P50.0=0.5")]
    public async Task Query_EveryMetric_IsComputedByDimension(DatabaseKind kind, string view, string metric, string aggregations, string dimensions, string expected)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        Assert.Equal(expected, await QueryAsync(server, Request(experiment, view, metric, aggregations, dimensions)));
    }

    [Theory]
    [BothDatabases("trace.status = 'OK'", "{}: COUNT=3")]
    [BothDatabases("trace.tag.team = 'x'", "{}: COUNT=1")]
    [BothDatabases("trace.tag.`team` = 'x'", "{}: COUNT=1")]
    [BothDatabases("trace.metadata.mlflow.trace.session = 's'", "{}: COUNT=1")]
    [BothDatabases("trace.tag.nothing = 'x'", "{}: COUNT=0")]
    public async Task Query_FiltersOfTraces_Restrict(DatabaseKind kind, string filter, string expected)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        var request = Request(experiment, "TRACES", "trace_count", "COUNT", "");
        request["filters"] = new JsonArray(filter);
        Assert.Equal(expected, await QueryAsync(server, request));
    }

    [Theory]
    [BothDatabases("SPANS", "span_count", "span.name = 'llm'", "{}: COUNT=2")]
    [BothDatabases("SPANS", "span_count", "span.status = 'ERROR'", "{}: COUNT=1")]
    [BothDatabases("SPANS", "span_count", "span.type = 'LLM'", "{}: COUNT=2")]
    [BothDatabases("ASSESSMENTS", "assessment_count", "assessment.name = 'good'", "{}: COUNT=3")]
    [BothDatabases("ASSESSMENTS", "assessment_count", "assessment.type = 'expectation'", "{}: COUNT=0")]
    public async Task Query_FiltersOfTheView_Restrict(DatabaseKind kind, string view, string metric, string filter, string expected)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        var request = Request(experiment, view, metric, "COUNT", "");
        request["filters"] = new JsonArray(filter);
        Assert.Equal(expected, await QueryAsync(server, request));
        request["filters"]!.AsArray().Add("trace.status = 'nothing'");
        Assert.Equal("{}: COUNT=0", await QueryAsync(server, request));
    }

    [Theory, BothDatabases]
    public async Task Query_TimeBuckets_AreThoseThatHaveSomething(DatabaseKind kind)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        var request = Request(experiment, "TRACES", "trace_count", "COUNT", "");
        (request["start_time_ms"], request["end_time_ms"], request["time_interval_seconds"]) = (Start, Start + (4 * Hour), 3600);
        Assert.Equal(
            "time_bucket=2025-01-01T00:00:00+00:00: COUNT=2 | time_bucket=2025-01-01T01:00:00+00:00: COUNT=1 | time_bucket=2025-01-01T03:00:00+00:00: COUNT=1",
            await QueryAsync(server, request));
        request["max_results"] = 1;
        Assert.Equal("time_bucket=2025-01-01T00:00:00+00:00: COUNT=2", await QueryAsync(server, request));
        request.Remove("time_interval_seconds");
        (request["start_time_ms"], request["end_time_ms"]) = (Start + 1, Start + Hour);
        Assert.Equal("{}: COUNT=2", await QueryAsync(server, request));
    }

    [Theory, BothDatabases]
    public async Task Query_TimeBucketsOfAllTimes_BeginBeforeWhatIsInThem(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        foreach (var time in (long[])[-62_135_596_800_000, -Hour - 1, -Hour, -1, 0, Hour - 1, 253_402_300_799_999])
            await server.PostAsync("traces", new { experiment_id = experiment, timestamp_ms = time });
        var request = Request(experiment, "TRACES", "trace_count", "COUNT", "");
        (request["start_time_ms"], request["end_time_ms"], request["time_interval_seconds"]) = (-10 * Hour, 10 * Hour, 3600);
        Assert.Equal(
            "time_bucket=1969-12-31T22:00:00+00:00: COUNT=1 | time_bucket=1969-12-31T23:00:00+00:00: COUNT=2 | time_bucket=1970-01-01T00:00:00+00:00: COUNT=2",
            await QueryAsync(server, request));
        (request["start_time_ms"], request["end_time_ms"]) = (long.MinValue, long.MaxValue);
        foreach (var (seconds, first, last) in ((int, string, string)[])
            [(1, "0001-01-01T00:00:00", "9999-12-31T23:59:59"), (1_000_000_000, "0001-01-01T00:00:00", "9987-04-02T17:46:40")])
        {
            request["time_interval_seconds"] = seconds;
            var buckets = (await QueryAsync(server, request)).Split(" | ");
            Assert.Equal(($"time_bucket={first}+00:00: COUNT=1", $"time_bucket={last}+00:00: COUNT=1"), (buckets[0], buckets[^1]));
        }

        request["time_interval_seconds"] = 1_000_000_001;
        await server.PostInvalidAsync(Route, request, "time_interval_seconds");
    }

    [Theory, BothDatabases]
    public async Task Query_LatenciesOfAllLengths_AreMeasured(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        foreach (var duration in (string[])["999999999999999s", "-999999999999999s", "0s"])
        {
            var info = TraceCalls.Info(experiment);
            info["execution_duration"] = duration;
            await server.StartTraceAsync(info);
        }

        Assert.Equal(
            "{}: AVG=0 P0.0=-9.99999999999999E+17 P50.0=0 P100.0=9.99999999999999E+17 P75.0=4.999999999999995E+17",
            await QueryAsync(server, Request(experiment, "TRACES", "latency", "AVG P0 P50 P100 P75", "")));
    }

    [Theory]
    [BothDatabases("1e90", 1e90)]
    [BothDatabases("-1e90", -1e90)]
    [BothDatabases("1e-90", 1e-90)]
    [BothDatabases("0", 0.0)]
    [BothDatabases("2e90", null)]
    [BothDatabases("1e-100", null)]
    [BothDatabases("1e308", null)]
    [BothDatabases("\"1\"", null)]
    [BothDatabases("[1]", null)]
    public async Task Query_ValuesOfAssessments_CountWhereTheyCanBeSquared(DatabaseKind kind, string value, double? expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.AssessAsync(await server.StartTraceAsync(experiment), new { feedback = new { value = JsonNode.Parse(value) } });
        var answer = await server.PostAsync(Route, Request(experiment, "ASSESSMENTS", "assessment_value", "AVG", ""));
        Assert.Equal(expected, (double?)answer["data_points"]?[0]!["values"]!["AVG"]);
    }

    [Theory, BothDatabases]
    public async Task Query_AsMuchAsIsAllowed_CountsWhatIsEqualOnce(DatabaseKind kind)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        var request = Request(experiment, "TRACES", "latency", "AVG", "");
        request["filters"] = Many(100, "trace.status = 'OK'");
        request["dimensions"] = Many(100, "trace_name");
        request["aggregations"] = Many(100, new JsonObject { ["aggregation_type"] = "PERCENTILE", ["percentile_value"] = 100 });
        Assert.Equal("trace_name=a: P100.0=200", await QueryAsync(server, request));
    }

    [Theory, BothDatabases]
    public async Task Query_NumbersBeyondAnyMeasure_DoNotFailIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var info = TraceCalls.Info(experiment);
        info["trace_metadata"] = new JsonObject { ["mlflow.trace.tokenUsage"] = $$"""{"input_tokens": {{new string('9', 400)}}, "total_tokens": 7}""" };
        var trace = await server.StartTraceAsync(info);
        foreach (var value in (double[])[0.5, 1e300])
            await server.AssessAsync(trace, new { assessment_name = "score", source = new { source_type = "HUMAN", source_id = "a" }, feedback = new { value } });

        Assert.Equal("{}: SUM=7", await QueryAsync(server, Request(experiment, "TRACES", "total_tokens", "SUM", "")));
        foreach (var (view, metric, aggregations) in ((string, string, string)[])[("TRACES", "input_tokens", "SUM AVG P50"), ("ASSESSMENTS", "assessment_value", "AVG P50")])
            await QueryAsync(server, Request(experiment, view, metric, aggregations, ""));
    }

    [Theory, BothDatabases]
    public async Task Query_Wrong_IsRefused(DatabaseKind kind)
    {
        var (server, experiment) = await Fixtures[kind].Value;
        await Refused(request => request.Remove("experiment_ids"), "experiment_ids");
        await Refused(request => request["experiment_ids"] = new JsonArray(), "experiment_ids");
        await Refused(request => request["experiment_ids"] = new JsonArray("abc"), "abc");
        await Refused(request => request.Remove("view_type"), "view_type");
        await Refused(request => request["view_type"] = "NOPE", "view_type");
        await Refused(request => request.Remove("metric_name"), "metric_name");
        await Refused(request => request["metric_name"] = "span_count", "metric_name", "span_count");
        await Refused(request => request["aggregations"] = new JsonArray(), "aggregations");
        await Refused(request => request["aggregations"]![0]!["aggregation_type"] = "SUM", "aggregations", "SUM");
        await Refused(request => request["aggregations"]![0]!["aggregation_type"] = "MIN", "aggregations", "MIN");
        await Refused(request => request["dimensions"] = new JsonArray("span_name"), "dimensions", "span_name");
        await Refused(request => request["time_interval_seconds"] = 60, "start_time_ms");
        await Refused(request => (request["time_interval_seconds"], request["start_time_ms"], request["end_time_ms"]) = (0, 1, 2), "time_interval_seconds");
        await Refused(request => request["filters"] = Many(101, "trace.status = 'OK'"), "filters", "101", "100");
        await Refused(request => request["dimensions"] = Many(101, "trace_name"), "dimensions", "101", "100");
        await Refused(request => request["aggregations"] = Many(101, new JsonObject { ["aggregation_type"] = "COUNT" }), "aggregations", "101", "100");
        await Refused(request => request["max_results"] = 0, "max_results");
        await Refused(request => request["max_results"] = -1, "max_results");
        foreach (var filter in (string[])["", "trace.status = 'OK' AND trace.status = 'OK'", "status = 'OK'", "trace.status != 'OK'", "span.name = 'x'", "assessment.name = 'x'", "trace.foo = 'x'"])
            await Refused(request => request["filters"] = new JsonArray(filter));
        await Refused(
            request => (request["metric_name"], request["aggregations"]) = ("latency", new JsonArray(new JsonObject { ["aggregation_type"] = "PERCENTILE" })), "percentile_value");
        await Refused(
            request => (request["metric_name"], request["aggregations"]) = (
                "latency", new JsonArray(new JsonObject { ["aggregation_type"] = "PERCENTILE", ["percentile_value"] = 101 })), "percentile_value");

        async Task Refused(Action<JsonObject> change, params string[] parts)
        {
            var request = Request(experiment, "TRACES", "trace_count", "COUNT", "");
            change(request);
            await server.PostInvalidAsync(Route, request, parts);
        }
    }

    private static JsonArray Many(int count, JsonNode entry) => [.. Enumerable.Range(0, count).Select(_ => entry.DeepClone())];

    private static JsonObject Request(string experiment, string view, string metric, string aggregations, string dimensions) => new()
    {
        ["experiment_ids"] = new JsonArray(experiment),
        ["view_type"] = view,
        ["metric_name"] = metric,
        ["aggregations"] = new JsonArray([.. aggregations.Split(' ').Select(name => name[0] == 'P'
            ? new JsonObject { ["aggregation_type"] = "PERCENTILE", ["percentile_value"] = double.Parse(name[1..], System.Globalization.CultureInfo.InvariantCulture) }
            : new JsonObject { ["aggregation_type"] = name })]),
        ["dimensions"] = new JsonArray([.. dimensions.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(name => JsonValue.Create(name))]),
    };

    private static async Task<string> QueryAsync(TestServer server, JsonObject request)
    {
        var points = (await server.PostAsync(Route, request))["data_points"]?.AsArray() ?? [];
        return string.Join(" | ", points.Select(point =>
        {
            Assert.Equal((string?)request["metric_name"], (string?)point!["metric_name"]);
            var dimensions = point["dimensions"] is JsonObject named ? string.Join(' ', named.Select(entry => $"{entry.Key}={entry.Value}")) : "{}";
            return $"{dimensions}: {string.Join(' ', point["values"]!.AsObject().Select(value => FormattableString.Invariant($"{value.Key}={Math.Round((double)value.Value!, 9)}")))}";
        }));
    }

    private static async Task<(TestServer Server, string Experiment)> MakeAsync(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await Make("a", 0, 100, 1, new() { ["team"] = "x" }, new() { ["mlflow.trace.session"] = "s" }, 0.25);
        await Make("a", 1, 200, 1, [], [], 0.5);
        await Make("b", Hour, 300, 2, [], new() { ["mlflow.trace.tokenUsage"] = "no JSON" }, null);
        await Make(null, 3 * Hour, 400, 1, [], [], null);
        return (server, experiment);

        async Task Make(string? name, long after, long duration, int status, JsonObject tags, JsonObject metadata, double? cost)
        {
            var root = OtlpExport.Root(startMs: Start + after, durationMs: duration) with { Status = status };
            List<ExportedSpan> spans = [root];
            if (cost is not null)
            {
                spans.Add(OtlpExport.Child(root, "llm") with
                {
                    Attributes = new()
                    {
                        ["mlflow.spanType"] = "LLM", ["gen_ai.usage.input_tokens"] = duration / 10, ["gen_ai.usage.output_tokens"] = duration / 20,
                        ["gen_ai.request.model"] = "m", ["gen_ai.system"] = "p", ["mlflow.llm.cost"] = new Dictionary<string, object?> { ["total_cost"] = cost },
                    },
                });
            }

            await server.ExportAsync(experiment, [.. spans]);
            if (name is not null)
                tags["mlflow.traceName"] = name;
            var info = TraceCalls.Info(experiment, root.MlflowId, Start + after);
            info["execution_duration"] = FormattableString.Invariant($"{duration / 1000m}s");
            info["state"] = status == 2 ? "ERROR" : "OK";
            info["tags"] = tags;
            info["trace_metadata"] = metadata;
            await server.StartTraceAsync(info);
            if (after == 0)
            {
                foreach (var value in (object[])[true, "no", "unsure"])
                    await server.AssessAsync(root.MlflowId, new { assessment_name = "good", feedback = new { value } });
                await server.AssessAsync(root.MlflowId, new { assessment_name = "score", feedback = new { value = 0.5 } });
            }
        }
    }
}
