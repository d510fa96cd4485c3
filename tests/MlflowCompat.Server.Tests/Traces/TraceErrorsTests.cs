using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>
/// The errors that the contract names for traces, their assessments and metrics, one row each, in its order (endpoints §12, §13; since-3.6
/// §3.1, §3.4, §4.1). What else is refused stands in the tests of each capability.
/// </summary>
public sealed class TraceErrorsTests
{
    private const string V2 = "/api/2.0/mlflow/traces";
    private const string V3 = "/api/3.0/mlflow/traces";
    private const string Location = """{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"{E}"}}""";

    private static readonly Dictionary<DatabaseKind, Lazy<Task<Fixture>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => MakeAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => MakeAsync(DatabaseKind.PostgreSql)),
    };

    [Theory]
    // Version 2.
    [BothDatabases("POST", V2, """{"experiment_id":"999999999","timestamp_ms":1}""", 404, "RESOURCE_DOES_NOT_EXIST", "999999999")]
    [BothDatabases("POST", V2, """{"experiment_id":"{D}","timestamp_ms":1}""", 400, "INVALID_PARAMETER_VALUE", "deleted")]
    [BothDatabases("POST", V2, """{"timestamp_ms":1}""", 400, "INVALID_PARAMETER_VALUE", "experiment_id")]
    [BothDatabases("POST", V2, """{"experiment_id":"{E}","timestamp_ms":9223372036854775808}""", 400, "INVALID_PARAMETER_VALUE", "timestamp_ms")]
    [BothDatabases("PATCH", V2 + "/unknown", """{"timestamp_ms":1,"status":"OK"}""", 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("PATCH", V2 + "/{T}", """{"timestamp_ms":1}""", 400, "INVALID_PARAMETER_VALUE", "status")]
    [BothDatabases("PATCH", V2 + "/{T}", """{"timestamp_ms":1,"status":"DONE"}""", 400, "INVALID_PARAMETER_VALUE", "DONE")]
    [BothDatabases("GET", V2 + "/unknown/info", null, 404, "RESOURCE_DOES_NOT_EXIST", "Trace with ID 'unknown' not found")]
    [BothDatabases("GET", V2, null, 400, "INVALID_PARAMETER_VALUE", "experiment_ids")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&max_results=0", null, 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&max_results=-1", null, 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&max_results=501", null, 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("GET", V2 + "?experiment_ids=abc", null, 400, "INVALID_PARAMETER_VALUE", "abc")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&filter=foo+%3D+%27x%27", null, 400, "INVALID_PARAMETER_VALUE", "foo")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&order_by=foo", null, 400, "INVALID_PARAMETER_VALUE", "foo")]
    [BothDatabases("GET", V2 + "?experiment_ids={E}&page_token=x", null, 400, "INVALID_PARAMETER_VALUE", "page token")]
    [BothDatabases("PATCH", V2 + "/{T}/tags", """{"key":"a//b","value":"v"}""", 400, "INVALID_PARAMETER_VALUE", "a//b")]
    [BothDatabases("PATCH", V2 + "/{T}/tags", """{"value":"v"}""", 400, "INVALID_PARAMETER_VALUE", "key")]
    [BothDatabases("PATCH", V2 + "/unknown/tags", """{"key":"k","value":"v"}""", 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("DELETE", V2 + "/{T}/tags", """{"key":"none"}""", 404, "RESOURCE_DOES_NOT_EXIST", "tag with key 'none'")]
    [BothDatabases("DELETE", V2 + "/unknown/tags", """{"key":"k"}""", 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("DELETE", V2 + "/{T}/tags?key=k", "{}", 400, "INVALID_PARAMETER_VALUE", "key")]
    [BothDatabases("POST", V2 + "/delete-traces", """{"max_timestamp_millis":1}""", 400, "INVALID_PARAMETER_VALUE", "experiment_id")]
    [BothDatabases("POST", V2 + "/delete-traces", """{"experiment_id":"{E}"}""", 400, "INVALID_PARAMETER_VALUE", "request_ids")]
    [BothDatabases("POST", V2 + "/delete-traces", """{"experiment_id":"{E}","max_timestamp_millis":1,"request_ids":["a"]}""", 400, "INVALID_PARAMETER_VALUE", "not both")]
    [BothDatabases("POST", V2 + "/delete-traces", """{"experiment_id":"{E}","max_traces":1,"request_ids":["a"]}""", 400, "INVALID_PARAMETER_VALUE", "max_traces")]
    [BothDatabases("POST", V2 + "/delete-traces", """{"experiment_id":"{E}","max_timestamp_millis":1,"max_traces":0}""", 400, "INVALID_PARAMETER_VALUE", "max_traces")]
    [BothDatabases("POST", V2 + "/link-to-run", """{"run_id":"r"}""", 400, "INVALID_PARAMETER_VALUE", "trace_ids")]
    [BothDatabases("POST", V2 + "/link-to-run", """{"trace_ids":[]}""", 400, "INVALID_PARAMETER_VALUE", "run_id")]
    [BothDatabases("POST", V2 + "/link-prompts", """{"prompt_versions":[]}""", 400, "INVALID_PARAMETER_VALUE", "trace_id")]
    [BothDatabases("POST", V2 + "/link-prompts", """{"trace_id":"t"}""", 400, "INVALID_PARAMETER_VALUE", "prompt_versions")]
    [BothDatabases("POST", V2 + "/link-prompts", """{"trace_id":"t","prompt_versions":[{"name":"p","version":"x"}]}""", 400, "INVALID_PARAMETER_VALUE", "version")]
    [BothDatabases("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", null, 400, "BAD_REQUEST", "request_id")]
    [BothDatabases("GET", "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=unknown", null, 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("GET", "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=%00", null, 404, "RESOURCE_DOES_NOT_EXIST", "")]
    [BothDatabases("GET", "/ajax-api/2.0/mlflow/get-trace-artifact?request_id={T}", null, 404, "NOT_FOUND", "{T}")]
    [BothDatabases("GET", "/ajax-api/3.0/mlflow/get-trace-artifact?request_id={T}&path=x", null, 400, "INVALID_PARAMETER_VALUE", "path")]
    [BothDatabases("GET", "/ajax-api/3.0/mlflow/get-trace-artifact?request_id={T}&path=01234567-89ab-cdef-0123-456789abcdef", null, 404, "RESOURCE_DOES_NOT_EXIST", "")]
    // Version 3.
    [BothDatabases("POST", V3, "{}", 400, "INVALID_PARAMETER_VALUE", "'trace'")]
    [BothDatabases("POST", V3, """{"trace":{"trace_info":{"trace_id":"{N}"}}}""", 400, "INVALID_PARAMETER_VALUE", "trace_location")]
    [BothDatabases("POST", V3, """{"trace":{"trace_info":{"trace_id":"{N}","trace_location":{"type":"INFERENCE_TABLE","mlflow_experiment":{"experiment_id":"{E}"}}}}}""", 400, "INVALID_PARAMETER_VALUE", "MLFLOW_EXPERIMENT")]
    [BothDatabases("POST", V3, """{"trace":{"trace_info":{"trace_id":"{N}","trace_location":{"type":"MLFLOW_EXPERIMENT"}}}}""", 400, "INVALID_PARAMETER_VALUE", "mlflow_experiment")]
    [BothDatabases("POST", V3, """{"trace":{"trace_info":{"trace_id":"{N}","trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"999999999"}}}}}""", 404, "RESOURCE_DOES_NOT_EXIST", "999999999")]
    [BothDatabases("POST", V3, """{"trace":{"trace_info":{"trace_id":"{N}","trace_location":{"type":"MLFLOW_EXPERIMENT","mlflow_experiment":{"experiment_id":"{D}"}}}}}""", 400, "INVALID_PARAMETER_VALUE", "deleted")]
    [BothDatabases("GET", V3 + "/unknown", null, 404, "RESOURCE_DOES_NOT_EXIST", "Trace with ID 'unknown' not found")]
    [BothDatabases("GET", V3 + "/batchGet", null, 400, "INVALID_PARAMETER_VALUE", "trace_ids")]
    [BothDatabases("GET", V3 + "/get", null, 400, "INVALID_PARAMETER_VALUE", "trace_id")]
    [BothDatabases("GET", V3 + "/get?trace_id=unknown", null, 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("POST", V3 + "/batchGetInfos", "{}", 400, "INVALID_PARAMETER_VALUE", "trace_ids")]
    [BothDatabases("POST", V3 + "/search", "{}", 400, "INVALID_PARAMETER_VALUE", "locations")]
    [BothDatabases("POST", V3 + "/search", """{"locations":[{"mlflow_experiment":{"experiment_id":"1.5"}}]}""", 400, "INVALID_PARAMETER_VALUE", "1.5")]
    [BothDatabases("POST", V3 + "/search", """{"locations":[{"mlflow_experiment":{"experiment_id":"abc"}}]}""", 400, "INVALID_PARAMETER_VALUE", "abc")]
    [BothDatabases("POST", V3 + "/search", """{"locations":[{L}],"max_results":0}""", 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("POST", V3 + "/search", """{"locations":[{L}],"max_results":501}""", 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("POST", V3 + "/search", """{"locations":[{L}],"order_by":["foo"]}""", 400, "INVALID_PARAMETER_VALUE", "foo")]
    [BothDatabases("PATCH", V3 + "/{T}/tags", """{"key":"a//b","value":"v"}""", 400, "INVALID_PARAMETER_VALUE", "a//b")]
    [BothDatabases("PATCH", V3 + "/unknown/tags", """{"key":"k","value":"v"}""", 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("DELETE", V3 + "/{T}/tags", """{"key":"none"}""", 404, "RESOURCE_DOES_NOT_EXIST", "tag with key 'none'")]
    [BothDatabases("POST", V3 + "/delete-traces", """{"max_timestamp_millis":1}""", 400, "INVALID_PARAMETER_VALUE", "experiment_id")]
    [BothDatabases("POST", V3 + "/delete-traces", """{"experiment_id":"{E}"}""", 400, "INVALID_PARAMETER_VALUE", "request_ids")]
    [BothDatabases("POST", V3 + "/delete-traces", """{"experiment_id":"{E}","max_timestamp_millis":1,"request_ids":["a"]}""", 400, "INVALID_PARAMETER_VALUE", "not both")]
    [BothDatabases("POST", V3 + "/delete-traces", """{"experiment_id":"{E}","max_timestamp_millis":1,"max_traces":-1}""", 400, "INVALID_PARAMETER_VALUE", "max_traces")]
    [BothDatabases("POST", V3 + "/calculate-filter-correlation", """{"experiment_ids":["{E}"],"filter_string1":"foo = 'x'","filter_string2":"status = 'OK'"}""", 400, "INVALID_PARAMETER_VALUE", "foo")]
    [BothDatabases("POST", V3 + "/calculate-filter-correlation", """{"experiment_ids":["abc"],"filter_string1":"status = 'OK'","filter_string2":"status = 'OK'"}""", 400, "INVALID_PARAMETER_VALUE", "abc")]
    [BothDatabases("POST", V3 + "/calculate-filter-correlation", """{"filter_string1":"status = 'OK'","filter_string2":"status = 'OK'"}""", 400, "INVALID_PARAMETER_VALUE", "experiment_ids")]
    [BothDatabases("POST", V3 + "/calculate-filter-correlation", """{"experiment_ids":["{E}"],"filter_string2":"status = 'OK'"}""", 400, "INVALID_PARAMETER_VALUE", "filter_string1")]
    // Metrics.
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":[],{M}}""", 400, "INVALID_PARAMETER_VALUE", "experiment_ids")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["abc"],{M}}""", 400, "INVALID_PARAMETER_VALUE", "abc")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"view_type":"ALL"}""", 400, "INVALID_PARAMETER_VALUE", "view_type")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"metric_name":"span_count"}""", 400, "INVALID_PARAMETER_VALUE", "span_count")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"aggregations":[]}""", 400, "INVALID_PARAMETER_VALUE", "aggregations")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"aggregations":[{"aggregation_type":"MIN"}]}""", 400, "INVALID_PARAMETER_VALUE", "MIN")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"aggregations":[{"aggregation_type":"PERCENTILE"}]}""", 400, "INVALID_PARAMETER_VALUE", "percentile_value")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"aggregations":[{"aggregation_type":"PERCENTILE","percentile_value":-0.5}]}""", 400, "INVALID_PARAMETER_VALUE", "percentile_value")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"aggregations":[{"aggregation_type":"PERCENTILE","percentile_value":"NaN"}]}""", 400, "INVALID_PARAMETER_VALUE", "percentile_value")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"time_interval_seconds":60,"start_time_ms":1}""", 400, "INVALID_PARAMETER_VALUE", "end_time_ms")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"max_results":0}""", 400, "INVALID_PARAMETER_VALUE", "max_results")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"filters":["status = 'OK'"]}""", 400, "INVALID_PARAMETER_VALUE", "status")]
    [BothDatabases("POST", V3 + "/metrics", """{"experiment_ids":["{E}"],{M},"filters":["trace.status != 'OK'"]}""", 400, "INVALID_PARAMETER_VALUE", "")]
    // Assessments.
    [BothDatabases("POST", V3 + "/{T}/assessments", "{}", 400, "INVALID_PARAMETER_VALUE", "'assessment'")]
    [BothDatabases("POST", V3 + "/{T}/assessments", """{"assessment":{"assessment_name":"n"}}""", 400, "INVALID_PARAMETER_VALUE", "feedback")]
    [BothDatabases("POST", V3 + "/{T}/assessments", """{"assessment":{"feedback":{}}}""", 400, "INVALID_PARAMETER_VALUE", "error")]
    [BothDatabases("POST", V3 + "/{T}/assessments", """{"assessment":{"feedback":{"value":1},"source":{"source_type":"AI_JUDGE"}}}""", 400, "INVALID_PARAMETER_VALUE", "AI_JUDGE")]
    [BothDatabases("POST", V3 + "/unknown/assessments", """{"assessment":{"feedback":{"value":1}}}""", 404, "RESOURCE_DOES_NOT_EXIST", "unknown")]
    [BothDatabases("POST", V3 + "/{T}/assessments", """{"assessment":{"feedback":{"value":1},"overrides":"a-none"}}""", 404, "RESOURCE_DOES_NOT_EXIST", "a-none")]
    [BothDatabases("POST", V3 + "/{T}/assessments", """{"assessment":{"assessment_id":"{A}","feedback":{"value":1}}}""", 400, "BAD_REQUEST", "{A}")]
    [BothDatabases("GET", V3 + "/{T}/assessments/a-none", null, 404, "RESOURCE_DOES_NOT_EXIST", "a-none")]
    [BothDatabases("GET", V3 + "/unknown/assessments/{A}", null, 404, "RESOURCE_DOES_NOT_EXIST", "")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{A}", """{"update_mask":"feedback"}""", 400, "INVALID_PARAMETER_VALUE", "'assessment'")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{A}", """{"assessment":{"feedback":{"value":1}}}""", 400, "INVALID_PARAMETER_VALUE", "update_mask")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{A}", """{"assessment":{"feedback":{"value":1}},"update_mask":""}""", 400, "INVALID_PARAMETER_VALUE", "update_mask")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{A}", """{"assessment":{"expectation":{"value":1}},"update_mask":"expectation"}""", 400, "INVALID_PARAMETER_VALUE", "expectation")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{X}", """{"assessment":{"feedback":{"value":1}},"update_mask":"feedback"}""", 400, "INVALID_PARAMETER_VALUE", "feedback")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/{A}", """{"assessment":{"valid":false},"update_mask":"valid"}""", 400, "INVALID_PARAMETER_VALUE", "valid")]
    [BothDatabases("PATCH", V3 + "/{T}/assessments/a-none", """{"assessment":{"rationale":"r"},"update_mask":"rationale"}""", 404, "RESOURCE_DOES_NOT_EXIST", "a-none")]
    public async Task Request_ThatTheContractRefuses_IsRefusedSo(
        DatabaseKind kind, string method, string route, string? body, int status, string code, string part)
    {
        var fixture = await Fixtures[kind].Value;
        using var response = await fixture.Server.SendAsync(new HttpMethod(method), fixture.Fill(route), body is null ? null : ApiServer.JsonText(fixture.Fill(body)));
        await ApiServer.AssertErrorAsync(response, (HttpStatusCode)status, code, fixture.Fill(part));
    }

    private static async Task<Fixture> MakeAsync(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, deleted) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        await server.PostAsync("experiments/delete", new { experiment_id = deleted });
        var trace = await server.StartTraceAsync(experiment);
        var feedback = await server.AssessAsync(trace, new { feedback = new { value = 1 } });
        var expectation = await server.AssessAsync(trace, new { expectation = new { value = 1 } });
        return new Fixture(server, experiment, deleted, trace, (string)feedback["assessment_id"]!, (string)expectation["assessment_id"]!);
    }

    private sealed record Fixture(TestServer Server, string Experiment, string Deleted, string Trace, string Feedback, string Expectation)
    {
        public string Fill(string text) => text
            .Replace("{L}", Location, StringComparison.Ordinal)
            .Replace("{M}", "\"view_type\":\"TRACES\",\"metric_name\":\"latency\",\"aggregations\":[{\"aggregation_type\":\"AVG\"}]", StringComparison.Ordinal)
            .Replace("{E}", Experiment, StringComparison.Ordinal)
            .Replace("{D}", Deleted, StringComparison.Ordinal)
            .Replace("{T}", Trace, StringComparison.Ordinal)
            .Replace("{N}", "tr-" + OtlpExport.NewTraceId(), StringComparison.Ordinal)
            .Replace("{A}", Feedback, StringComparison.Ordinal)
            .Replace("{X}", Expectation, StringComparison.Ordinal);
    }
}
