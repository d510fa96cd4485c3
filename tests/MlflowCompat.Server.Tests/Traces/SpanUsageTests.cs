using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Tokens and costs of spans, and what their trace and its metrics make of them.</summary>
public sealed class SpanUsageTests
{
    private const long Most = 1_000_000_000_000_000;

    [Theory]
    [BothDatabases(0L, true)]
    [BothDatabases(Most, true)]
    [BothDatabases(1e15, true)]
    [BothDatabases("7", true)]
    [BothDatabases(Most + 1, false)]
    [BothDatabases(long.MaxValue, false)]
    [BothDatabases(long.MinValue, false)]
    [BothDatabases(-1L, false)]
    [BothDatabases("9223372036854775807", false)]
    [BothDatabases("9223372036854775808", false)]
    [BothDatabases(1.5, false)]
    [BothDatabases(1e300, false)]
    [BothDatabases(double.NaN, false)]
    [BothDatabases(double.PositiveInfinity, false)]
    [BothDatabases(true, false)]
    public async Task Tokens_OutOfRange_AreNoUsageAndNoErrorEither(DatabaseKind kind, object count, bool counts)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root() with
        {
            Attributes = new() { ["mlflow.chat.tokenUsage"] = new Dictionary<string, object?> { ["input_tokens"] = count, ["output_tokens"] = 3L } },
        };
        await server.ExportAsync(experiment, root);
        var expected = counts ? (long)Convert.ToDouble(count, System.Globalization.CultureInfo.InvariantCulture) : 0;
        Assert.Equal($$"""{"input_tokens": {{expected}}, "output_tokens": 3, "total_tokens": 0}""", await UsageAsync(server, root));
    }

    [Theory]
    [BothDatabases("""{"input_tokens": 1e400, "output_tokens": 2, "total_tokens": 99999999999999999999999}""", 0, 2)]
    [BothDatabases("""{"input_tokens": 5, "output_tokens": "\ud800"}""", 0, 0)]
    [BothDatabases("""{"input_tokens": 5, "output_tokens": [1]}""", 5, 0)]
    public async Task Tokens_InAText_AreReadAsFarAsTheyAreSome(DatabaseKind kind, string usage, long input, long output)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root() with
        {
            Attributes = new() { ["mlflow.chat.tokenUsage"] = usage, ["mlflow.llm.cost"] = """{"input_cost": 1e400, "total_cost": -1e-320}""" },
        };
        await server.ExportAsync(await server.CreateExperimentAsync(), root);
        var metadata = (await server.TraceInfoAsync(root.MlflowId))["trace_metadata"]!;
        Assert.Equal(
            (input, output) is (0, 0) ? null : $$"""{"input_tokens": {{input}}, "output_tokens": {{output}}, "total_tokens": 0}""",
            (string?)metadata["mlflow.trace.tokenUsage"]);
        Assert.Equal(0.0, (double)JsonNode.Parse((string)metadata["mlflow.trace.cost"]!)!["input_cost"]!);
    }

    [Theory, BothDatabases]
    public async Task Tokens_OfManySpans_AddUpToTheMostThatIsShown(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root() with { Attributes = Usage(Most - 1, 1) };
        await server.ExportAsync(experiment, root);
        await server.ExportAsync(experiment, OtlpExport.Child(root) with { Attributes = Usage(1, 2) });
        Assert.Equal($$"""{"input_tokens": {{Most}}, "output_tokens": 3, "total_tokens": {{Most}}}""", await UsageAsync(server, root));
        // More than a signed 64-bit integer holds.
        await server.ExportAsync(experiment, [.. Enumerable.Range(0, 9300).Select(_ => OtlpExport.Child(root) with { Attributes = Usage(Most, 0) })]);
        Assert.Equal($$"""{"input_tokens": {{Most}}, "output_tokens": 3, "total_tokens": {{Most}}}""", await UsageAsync(server, root));
        Assert.Equal((double)Most, await MetricAsync(server, experiment, "TRACES", "input_tokens", "SUM"));
        Assert.Equal((double)Most, await MetricAsync(server, experiment, "TRACES", "total_tokens", "AVG"));

        static Dictionary<string, object?> Usage(long input, long output) => new()
        {
            ["mlflow.chat.tokenUsage"] = new Dictionary<string, object?> { ["input_tokens"] = input, ["output_tokens"] = output, ["total_tokens"] = input },
        };
    }

    [Theory]
    [BothDatabases(0.25, 0.25)]
    [BothDatabases(-2.0, -2.0)]
    [BothDatabases(1e15, 1e15)]
    [BothDatabases(2e15, null)]
    [BothDatabases(-1.7e308, null)]
    [BothDatabases(1e200, null)]
    [BothDatabases(double.NaN, null)]
    [BothDatabases(double.NegativeInfinity, null)]
    [BothDatabases(long.MaxValue, null)]
    public async Task Cost_OutOfRange_IsNone(DatabaseKind kind, object cost, double? expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var attributes = new Dictionary<string, object?> { ["mlflow.llm.cost"] = new Dictionary<string, object?> { ["total_cost"] = cost } };
        var root = OtlpExport.Root() with { Attributes = attributes };
        await server.ExportAsync(experiment, root, OtlpExport.Child(root) with { Attributes = attributes });
        var shown = (string?)(await server.TraceInfoAsync(root.MlflowId))["trace_metadata"]?["mlflow.trace.cost"];
        Assert.Equal(expected * 2, shown is null ? null : (double)JsonNode.Parse(shown)!["total_cost"]!);
        Assert.Equal(expected * 2, await MetricAsync(server, experiment, "SPANS", "total_cost", "SUM"));
        Assert.Equal(expected, await MetricAsync(server, experiment, "SPANS", "total_cost", "AVG"));
    }

    [Theory]
    [BothDatabases("""{"input_tokens": 12, "total_tokens": 12}""", 12.0)]
    [BothDatabases("""{"input_tokens": 1000000000000000}""", 1e15)]
    [BothDatabases("""{"input_tokens": 1000000000000001}""", null)]
    [BothDatabases("""{"input_tokens": -1}""", null)]
    [BothDatabases("""{"input_tokens": 12.5}""", null)]
    [BothDatabases("""{"input_tokens": 1e3}""", null)]
    [BothDatabases("""{"input_tokens": 1e400}""", null)]
    [BothDatabases("""{"input_tokens": "12"}""", null)]
    [BothDatabases("""{"input_tokens": null}""", null)]
    [BothDatabases("12", null)]
    [BothDatabases("", null)]
    public async Task TokensOfATrace_AsAClientWroteThem_CountWhereTheyAreSome(DatabaseKind kind, string usage, double? expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var info = TraceCalls.Info(experiment);
        info["trace_metadata"] = new JsonObject { ["mlflow.trace.tokenUsage"] = usage };
        await server.StartTraceAsync(info);
        Assert.Equal(expected, await MetricAsync(server, experiment, "TRACES", "input_tokens", "SUM"));
    }

    private static async Task<string?> UsageAsync(TestServer server, ExportedSpan span) =>
        (string?)(await server.TraceInfoAsync(span.MlflowId))["trace_metadata"]!["mlflow.trace.tokenUsage"];

    /// <summary>The only value of a metric, or null.</summary>
    private static async Task<double?> MetricAsync(TestServer server, string experiment, string view, string metric, string aggregation)
    {
        var answer = await server.PostAsync(TraceCalls.Prefix + "traces/metrics", new
        {
            experiment_ids = new[] { experiment }, view_type = view, metric_name = metric, aggregations = new[] { new { aggregation_type = aggregation } },
        });
        return (double?)answer["data_points"]?.AsArray().Single()!["values"]!.AsObject().Single().Value;
    }
}
