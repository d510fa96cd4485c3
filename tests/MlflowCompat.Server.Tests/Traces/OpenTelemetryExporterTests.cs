using System.Diagnostics;
using MlflowCompat.Storage;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Trace;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>OpenTelemetry's own exporter for .NET against the server.</summary>
public sealed class OpenTelemetryExporterTests
{
    [Theory, BothDatabases]
    public async Task Exporter_NestedActivities_ComeBackAsTheyWere(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        using var source = new ActivitySource(ApiServer.FreshName("activities"));
        string traceId;
        using (var provider = Sdk.CreateTracerProviderBuilder().AddSource(source.Name).AddOtlpExporter(options =>
        {
            options.Endpoint = new Uri(server.Client.BaseAddress!, "v1/traces");
            options.Protocol = OtlpExportProtocol.HttpProtobuf;
            options.Headers = $"x-mlflow-experiment-id={experiment}";
            options.HttpClientFactory = () => new HttpClient(new SocketsHttpHandler { UseProxy = false });
        }).Build())
        {
            using (var order = source.StartActivity("order é", ActivityKind.Server)!)
            {
                order.SetTag("text", "ü").SetTag("number", 5L).SetTag("share", 0.5).SetTag("list", new[] { "a", "b" });
                using (var payment = source.StartActivity("payment"))
                {
                    payment!.SetTag("gen_ai.usage.input_tokens", 7L).SetTag("gen_ai.usage.output_tokens", 2L);
                    payment.AddException(new InvalidOperationException("no money"));
                    payment.SetStatus(ActivityStatusCode.Error, "no money");
                }

                order.SetStatus(ActivityStatusCode.Ok);
                traceId = order.TraceId.ToHexString();
            }

            Assert.True(provider!.ForceFlush());
        }

        var trace = Assert.Single(await server.BatchGetAsync("tr-" + traceId))!;
        Assert.Equal("OK", (string?)trace["trace_info"]!["state"]);
        Assert.Equal("""{"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}""", (string?)trace["trace_info"]!["trace_metadata"]!["mlflow.trace.tokenUsage"]);
        var spans = trace["spans"]!.AsArray();
        Assert.Equal(["order é", "payment"], spans.Select(span => (string)span!["name"]!));
        Assert.Equal((string?)spans[0]!["span_id"], (string?)spans[1]!["parent_span_id"]);
        var values = spans[0]!["attributes"]!.AsArray().ToDictionary(attribute => (string)attribute!["key"]!, attribute => attribute!["value"]!);
        Assert.Equal(("ü", 5, 0.5), ((string?)values["text"]["string_value"], (long)values["number"]["int_value"]!, (double)values["share"]["double_value"]!));
        Assert.Equal(2, values["list"]["array_value"]!["values"]!.AsArray().Count);
        Assert.Equal(("STATUS_CODE_ERROR", "no money"), ((string?)spans[1]!["status"]!["code"], (string?)spans[1]!["status"]!["message"]));
        Assert.Equal("exception", (string?)Assert.Single(spans[1]!["events"]!.AsArray())!["name"]);
    }
}
