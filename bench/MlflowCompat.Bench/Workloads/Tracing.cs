using System.Text;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Workloads;

/// <summary>Workloads of traces.</summary>
internal static class Tracing
{
    /// <summary>Traces of a connection that get assessments in turn: a trace has a few, not thousands.</summary>
    private const int AssessedTraces = 100;

    private const int SpansOfTrace = 10;
    private const long NanosecondsPerMillisecond = 1_000_000;

    private static readonly byte[] SpanMember = "\"span_id\""u8.ToArray();
    private static readonly byte[] TraceMember = "\"request_time\""u8.ToArray();

    /// <summary>Where exports go.</summary>
    public static byte[] ExportPath(ServerAddress server) => server.Path("/v1/traces");

    /// <summary>Exports of whole traces of ten spans by OTLP in protobuf.</summary>
    public static IReadOnlyList<Operation> Export(WorkloadContext context, int traces)
    {
        var path = ExportPath(context.Client.Server);
        var headers = SpanExport.Headers(context.ExperimentId);
        var export = SpanExport.OfTraces(traces, SpansOfTrace);
        return context.ForEach(_ => connection =>
        {
            var now = Writing.Now() * NanosecondsPerMillisecond;
            export.Write(connection.Request, SpanExport.NewTraceIds(traces), _ => now);
            connection.Post(path, headers);
        });
    }

    /// <summary>traces, as a client sends what it knows of a trace.</summary>
    public static IReadOnlyList<Operation> Start(WorkloadContext context)
    {
        var path = context.Client.Server.TraceApiPath("traces");
        var experimentId = context.ExperimentId;
        return context.ForEach(_ => connection =>
        {
            WriteStart(connection, experimentId);
            connection.Post(path);
        });
    }

    /// <summary>A trace as MLflow's client logs it: what is known of it, its spans, and a feedback.</summary>
    public static IReadOnlyList<Operation> Whole(WorkloadContext context)
    {
        var server = context.Client.Server;
        var (start, exports) = (server.TraceApiPath("traces"), ExportPath(server));
        var experimentId = context.ExperimentId;
        var headers = SpanExport.Headers(experimentId);
        var export = SpanExport.OfTraces(1, SpansOfTrace);
        return context.ForEach(_ => connection =>
        {
            var id = WriteStart(connection, experimentId);
            connection.Post(start);
            var now = Writing.Now() * NanosecondsPerMillisecond;
            export.Write(connection.Request, [id], _ => now);
            connection.Post(exports, headers);
            WriteFeedback(connection);
            connection.Post(AssessmentsPath(server, id));
        });
    }

    /// <summary>A feedback on a trace that is there.</summary>
    public static IReadOnlyList<Operation> Assess(WorkloadContext context)
    {
        var server = context.Client.Server;
        return context.ForEach(_ =>
        {
            var paths = Make(context, AssessedTraces).ConvertAll(id => AssessmentsPath(server, id));
            var next = 0;
            return connection =>
            {
                WriteFeedback(connection);
                connection.Post(paths[next++ % AssessedTraces]);
            };
        });
    }

    /// <summary>traces/batchGet of a trace of ten spans.</summary>
    public static IReadOnlyList<Operation> Get(WorkloadContext context)
    {
        var path = BatchGetPath(context.Client.Server, Make(context, 1)[0]);
        return context.ForEach(_ => connection =>
        {
            connection.Count(SpanMember);
            connection.Get(path);
            connection.Expect(SpansOfTrace, path);
        });
    }

    /// <summary>traces/search.</summary>
    public static IReadOnlyList<Operation> Search(WorkloadContext context, TraceSearchShape shape)
    {
        var server = context.Client.Server;
        var experimentId = context.Client.FindExperiment(SeededTraces.Experiment(TraceSearchShape.Traces))
            ?? throw new MissingDataException(
                $"the data is not there; make it with: bench seed --traces {TraceSearchShape.Traces} {server.Text}");
        var body = Encoding.UTF8.GetBytes(
            $$$"""{"locations":[{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"{{{experimentId}}}"}}],"max_results":{{{TraceSearchShape.PageSize}}}"""
            + (shape.Filter is null ? "" : $",\"filter\":\"{shape.Filter}\"")
            + (shape.OrderBy is null ? "" : $",\"order_by\":[\"{shape.OrderBy}\"]") + "}");
        var path = server.TraceApiPath("traces/search");
        return context.ForEach(_ => connection =>
        {
            connection.Count(TraceMember);
            connection.Request.Clear().Append(body);
            connection.Post(path);
            connection.Expect(TraceSearchShape.PageSize, path);
        });
    }

    /// <summary>Where a trace is read with its spans.</summary>
    public static byte[] BatchGetPath(ServerAddress server, byte[] traceId) =>
        server.TraceApiPath($"traces/batchGet?trace_ids={SpanExport.MlflowId(traceId)}");

    /// <summary>Makes traces of ten spans, which are not measured, and returns their ids.</summary>
    private static List<byte[]> Make(WorkloadContext context, int traces)
    {
        var ids = SpanExport.NewTraceIds(traces);
        var now = Writing.Now() * NanosecondsPerMillisecond;
        using var connection = new HttpConnection(context.Client.Server);
        SpanExport.OfTraces(traces, SpansOfTrace).Write(connection.Request, ids, _ => now);
        connection.Post(ExportPath(context.Client.Server), SpanExport.Headers(context.ExperimentId));
        return [.. ids];
    }

    private static byte[] AssessmentsPath(ServerAddress server, byte[] traceId) =>
        server.TraceApiPath($"traces/{SpanExport.MlflowId(traceId)}/assessments");

    private static byte[] WriteStart(HttpConnection connection, string experimentId)
    {
        var id = SpanExport.NewTraceIds(1)[0];
        connection.Request.Clear()
            .Append("{\"trace\":{\"trace_info\":{\"trace_id\":\""u8).Append(SpanExport.MlflowId(id))
            .Append("\",\"trace_location\":{\"type\":\"MLFLOW_EXPERIMENT\",\"mlflow_experiment\":{\"experiment_id\":\""u8).Append(experimentId)
            .Append("\"}},\"request_time\":\""u8).Append(DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture))
            .Append("\",\"execution_duration\":\"1.250s\",\"state\":\"OK\",\"request_preview\":\"What is the answer?\",\"response_preview\":\"42\","u8)
            .Append("\"trace_metadata\":{\"mlflow.user\":\"bench\",\"mlflow.source.name\":\"app.py\",\"mlflow.source.type\":\"LOCAL\","u8)
            .Append("\"mlflow.trace_schema.version\":\"3\",\"mlflow.traceInputs\":\"What is the answer?\",\"mlflow.traceOutputs\":\"42\"},"u8)
            .Append("\"tags\":{\"mlflow.traceName\":\"agent\",\"environment\":\"production\",\"version\":\"7\"}}}}"u8);
        return id;
    }

    private static void WriteFeedback(HttpConnection connection) =>
        connection.Request.Clear()
            .Append("{\"assessment\":{\"assessment_name\":\"correct\",\"source\":{\"source_type\":\"LLM_JUDGE\",\"source_id\":\"judge\"},"u8)
            .Append("\"feedback\":{\"value\":true},\"rationale\":\"The answer agrees with the documents that were found.\"}}"u8);
}
