using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Spans that come by OpenTelemetry's protocol (contract: endpoints §14; since-3.6 §3.3).</summary>
public sealed class OtlpTests
{
    [Theory, BothDatabases]
    public async Task Export_EveryKindOfValue_ComesBackAsSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root(name: "GET /cärt \"😀\"") with
        {
            Status = 2,
            Message = "failed\n",
            Attributes = new()
            {
                ["text"] = "a\"b\\c\u0001\té😀", ["int"] = 5L, ["big"] = long.MaxValue, ["negative"] = -7L, ["double"] = 0.25, ["whole"] = 2.0, ["tiny"] = 1e-7,
                ["huge"] = 1e300, ["nan"] = double.NaN, ["infinity"] = double.NegativeInfinity, ["yes"] = true, ["no"] = false, ["unset"] = null,
                ["bytes"] = new byte[] { 1, 2, 255 }, ["list"] = new object?[] { "a", 1L, null, new object?[] { true } }, ["empty"] = Array.Empty<object?>(),
                ["map"] = new Dictionary<string, object?> { ["k"] = 1L, ["deep"] = new Dictionary<string, object?> { ["x"] = 1.5 } },
                ["json"] = "{\"a\": 1}", ["number text"] = "12", ["null text"] = "null",
            },
            Events = [("exception", 1_700_000_000_050_000_000, new() { ["exception.type"] = "ValueError", ["n"] = 3L })],
        };

        using (var response = await server.SendAsync(experiment, OtlpExport.Request(root)))
        {
            Assert.Equal((HttpStatusCode.OK, "application/x-protobuf", 0L), (
                response.StatusCode, response.Content.Headers.ContentType?.ToString(), response.Content.Headers.ContentLength));
        }

        var span = Assert.Single(Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray())!.AsObject();
        Assert.Equal(Convert.ToBase64String(Convert.FromHexString(root.TraceId)), (string?)span["trace_id"]);
        Assert.Equal(Convert.ToBase64String(Convert.FromHexString(root.SpanId)), (string?)span["span_id"]);
        Assert.False(span.ContainsKey("parent_span_id"));
        Assert.Equal((root.Name, root.Start, root.End), ((string?)span["name"], (ulong)span["start_time_unix_nano"]!, (ulong)span["end_time_unix_nano"]!));
        Assert.Equal(("STATUS_CODE_ERROR", "failed\n"), ((string?)span["status"]!["code"], (string?)span["status"]!["message"]));
        var expected = new Dictionary<string, string>
        {
            ["mlflow.traceRequestId"] = $$"""{"string_value":"{{root.MlflowId}}"}""",
            ["text"] = """{"string_value":"a\"b\\c\u0001\té😀"}""",
            ["int"] = """{"int_value":5}""", ["big"] = """{"int_value":9223372036854775807}""", ["negative"] = """{"int_value":-7}""",
            ["double"] = """{"double_value":0.25}""", ["whole"] = """{"double_value":2.0}""", ["tiny"] = """{"double_value":1e-07}""",
            ["huge"] = """{"double_value":1e+300}""", ["nan"] = """{"double_value":"NaN"}""", ["infinity"] = """{"double_value":"-Infinity"}""",
            ["yes"] = """{"bool_value":true}""", ["no"] = """{"bool_value":false}""", ["unset"] = "",
            ["bytes"] = """{"string_value":"AQL/"}""",
            ["list"] = """{"array_value":{"values":[{"string_value":"a"},{"int_value":1},{},{"array_value":{"values":[{"bool_value":true}]}}]}}""",
            ["empty"] = """{"array_value":{"values":[]}}""",
            ["map"] = """{"kvlist_value":{"values":[{"key":"k","value":{"int_value":1}},{"key":"deep","value":{"kvlist_value":{"values":[{"key":"x","value":{"double_value":1.5}}]}}}]}}""",
            ["json"] = """{"string_value":"{\"a\": 1}"}""", ["number text"] = """{"string_value":"12"}""", ["null text"] = """{"string_value":"null"}""",
        };
        Assert.Equal(expected.Keys, span["attributes"]!.AsArray().Select(attribute => (string)attribute!["key"]!));
        foreach (var attribute in span["attributes"]!.AsArray())
        {
            var (key, value) = ((string)attribute!["key"]!, attribute["value"]);
            Assert.True(
                expected[key].Length == 0 ? value is null : JsonNode.DeepEquals(JsonNode.Parse(expected[key]), value), $"{key}: {value?.ToJsonString()}");
        }

        var happened = Assert.Single(span["events"]!.AsArray())!;
        Assert.Equal(("exception", 1_700_000_000_050_000_000), ((string?)happened["name"], (long)happened["time_unix_nano"]!));
        Assert.Equal(["exception.type", "n"], happened["attributes"]!.AsArray().Select(attribute => (string)attribute!["key"]!));
    }

    [Theory, BothDatabases]
    public async Task Export_NumbersThatJsonLacksInAnEvent_AreTextsEverywhere(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root() with
        {
            Attributes = new() { ["team"] = "x", ["nan"] = double.NaN },
            Events = [("loss", 1_700_000_000_050_000_000, new()
            {
                ["nan"] = double.NaN, ["all"] = new object?[] { double.PositiveInfinity, 0.5 },
                ["map"] = new Dictionary<string, object?> { ["least"] = double.NegativeInfinity },
            })],
        };
        await server.ExportAsync(experiment, root);

        var span = (await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={root.MlflowId}"))["trace"]!["spans"]![0]!;
        var values = span["events"]![0]!["attributes"]!.AsArray().ToDictionary(attribute => (string)attribute!["key"]!, attribute => attribute!["value"]!.ToJsonString());
        Assert.Equal("""{"string_value":"NaN"}""", values["nan"]);
        Assert.Equal("""{"array_value":{"values":[{"string_value":"Infinity"},{"double_value":0.5}]}}""", values["all"]);
        Assert.Equal("""{"kvlist_value":{"values":[{"key":"least","value":{"string_value":"-Infinity"}}]}}""", values["map"]);
        Assert.Equal([root.MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([experiment], "span.attributes.team LIKE '%x%'"))).Ids);
        using var artifact = await server.Client.GetAsync(new Uri($"/ajax-api/3.0/mlflow/get-trace-artifact?request_id={root.MlflowId}", UriKind.Relative));
        var written = JsonNode.Parse(await artifact.Content.ReadAsStringAsync())!["spans"]![0]!["events"]![0]!["attributes"]!;
        Assert.Equal("""{"nan":"NaN","all":["Infinity",0.5],"map":{"least":"-Infinity"}}""", written.ToJsonString());
    }

    [Theory, BothDatabases]
    public async Task Export_NewTrace_HasTheTimesAndStateOfItsSpans(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root(startMs: 1_700_000_000_100, durationMs: 50);
        var child = OtlpExport.Child(root) with { Start = root.Start + 1_000_000, End = root.End - 1_000_000 };

        await server.ExportAsync(experiment, child);
        var info = await server.TraceInfoAsync(root.MlflowId);
        Assert.Equal(("IN_PROGRESS", "2023-11-14T22:13:20.101Z", "0.048s"), State(info));
        Assert.Equal("TRACKING_STORE", (string?)info["tags"]!["mlflow.trace.spansLocation"]);
        Assert.Equal($"mlflow-artifacts:/{experiment}/traces/{root.MlflowId}/artifacts", (string?)info["tags"]!["mlflow.artifactLocation"]);
        Assert.Equal(experiment, (string?)info["trace_location"]!["mlflow_experiment"]!["experiment_id"]);
        Assert.False(info.ContainsKey("trace_metadata"));

        await server.ExportAsync(experiment, root with { Status = 0 });
        Assert.Equal(("OK", "2023-11-14T22:13:20.100Z", "0.050s"), State(await server.TraceInfoAsync(root.MlflowId)));

        // The first root has decided; late spans only widen the trace, and an orphan is as good as any.
        var orphan = OtlpExport.Child(root) with { ParentId = OtlpExport.NewSpanId(), End = root.End + 10_000_000 };
        await server.ExportAsync(experiment, OtlpExport.Root(root.TraceId, "second root", 1_700_000_000_120, 1) with { Status = 2 }, orphan);
        Assert.Equal(("OK", "2023-11-14T22:13:20.100Z", "0.060s"), State(await server.TraceInfoAsync(root.MlflowId)));
        Assert.Equal(4, Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray().Count);
    }

    [Theory, BothDatabases]
    public async Task Export_SpanThatHasNotEnded_LeavesTheDuration(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        await server.ExportAsync(experiment, root with { End = 0 });
        Assert.False((await server.TraceInfoAsync(root.MlflowId)).ContainsKey("execution_duration"));
        Assert.False(Assert.Single(Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray())!.AsObject().ContainsKey("end_time_unix_nano"));
        await server.ExportAsync(experiment, root);
        Assert.Equal("0.100s", (string?)(await server.TraceInfoAsync(root.MlflowId))["execution_duration"]);
        Assert.Single(Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray());
        await server.ExportAsync(experiment, OtlpExport.Child(root) with { End = 0 });
        Assert.Equal("0.100s", (string?)(await server.TraceInfoAsync(root.MlflowId))["execution_duration"]);
    }

    [Theory, BothDatabases]
    public async Task Export_SpansThatComeTwice_CountOnceAndAreReplaced(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        var call = OtlpExport.Child(root, "call") with { Attributes = new() { ["gen_ai.usage.input_tokens"] = 10L, ["gen_ai.usage.output_tokens"] = 5L } };
        await server.ExportAsync(experiment, root, call, call);
        await server.ExportAsync(experiment, call);
        await server.ExportAsync(experiment, call with { Name = "renamed", Attributes = new() { ["gen_ai.usage.input_tokens"] = 11L, ["gen_ai.usage.output_tokens"] = 5L } });
        await server.ExportAsync(experiment, OtlpExport.Child(root, "other") with
        {
            Attributes = new() { ["llm.token_count.prompt"] = 1L, ["llm.token_count.completion"] = 2L, ["llm.token_count.total"] = 4L },
        });

        var trace = Assert.Single(await server.BatchGetAsync(root.MlflowId))!;
        Assert.Equal("""{"input_tokens": 12, "output_tokens": 7, "total_tokens": 20}""", (string?)trace["trace_info"]!["trace_metadata"]!["mlflow.trace.tokenUsage"]);
        Assert.Equal(["root", "other", "renamed"], trace["spans"]!.AsArray().Select(span => (string)span!["name"]!).OrderByDescending(name => name == "root").ThenBy(name => name));
    }

    [Theory]
    [BothDatabases("input.value", "output.value", "llm.token_count.prompt", "llm.token_count.completion")]
    [BothDatabases("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")]
    [BothDatabases("traceloop.entity.input", "traceloop.entity.output", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens")]
    public async Task Export_AttributesOfOtherConventions_BecomeMlflows(DatabaseKind kind, string input, string output, string inputTokens, string outputTokens)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root() with { Attributes = new() { [input] = "in", [output] = "out", [inputTokens] = 3L, [outputTokens] = 4L } };
        await server.ExportAsync(await server.CreateExperimentAsync(), root);

        var trace = Assert.Single(await server.BatchGetAsync(root.MlflowId))!;
        Assert.Equal(("\"in\"", "\"out\""), ((string?)trace["trace_info"]!["request_preview"], (string?)trace["trace_info"]!["response_preview"]));
        Assert.Equal("""{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}""", (string?)trace["trace_info"]!["trace_metadata"]!["mlflow.trace.tokenUsage"]);
        var attributes = trace["spans"]![0]!["attributes"]!.AsArray().ToDictionary(attribute => (string)attribute!["key"]!, attribute => attribute!["value"]!);
        Assert.Equal(("in", "out"), ((string?)attributes["mlflow.spanInputs"]["string_value"], (string?)attributes["mlflow.spanOutputs"]["string_value"]));
        Assert.Equal(3, attributes["mlflow.chat.tokenUsage"]["kvlist_value"]!["values"]!.AsArray().Count);
    }

    [Theory]
    [BothDatabases("openinference.span.kind", "LLM", "LLM")]
    [BothDatabases("openinference.span.kind", "NOPE", null)]
    [BothDatabases("traceloop.span.kind", "workflow", "WORKFLOW")]
    [BothDatabases("mlflow.spanType", "TOOL", "TOOL")]
    [BothDatabases("mlflow.spanType", "\"TOOL\"", "TOOL")]
    public async Task Export_KindsOfSpans_AreTypesOfMlflow(DatabaseKind kind, string key, string value, string? expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root() with { Attributes = new() { [key] = value } };
        await server.ExportAsync(experiment, root);
        var found = await server.SearchTracesAsync(TraceCalls.Search([experiment], expected is null ? "span.type LIKE '%'" : $"span.type = '{expected}'"));
        Assert.Equal(expected is not null, found.Ids.Count == 1);
    }

    [Theory]
    [BothDatabases("""{"messages":[{"role":"user","content":"first"},{"role":"assistant","content":"no"},{"role":"user","content":"last"}]}""", "last")]
    [BothDatabases("""{"messages":[{"role":"system","content":"only"}]}""", "only")]
    [BothDatabases("""{"request":{"input":[{"role":"user","content":[{"type":"text","text":"part"}]}]}}""", "part")]
    [BothDatabases("""{"messages":[]}""", """{"messages": []}""")]
    [BothDatabases("""{"a":[1,2.5,true,null]}""", """{"a": [1, 2.5, true, null]}""")]
    public async Task Export_Conversations_ShowTheirLastMessage(DatabaseKind kind, string inputs, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root() with { Attributes = new() { ["mlflow.spanInputs"] = Value(JsonNode.Parse(inputs)) } };
        await server.ExportAsync(await server.CreateExperimentAsync(), root);
        Assert.Equal(expected, (string?)(await server.TraceInfoAsync(root.MlflowId))["request_preview"]);

        static object? Value(JsonNode? node) => node switch
        {
            null => null,
            JsonObject members => members.ToDictionary(member => member.Key, member => Value(member.Value)),
            JsonArray list => list.Select(Value).ToArray(),
            JsonValue value when value.TryGetValue<string>(out var text) => text,
            JsonValue value when value.TryGetValue<bool>(out var flag) => flag,
            JsonValue value when value.TryGetValue<long>(out var number) => number,
            JsonValue value => (double)value,
            _ => throw new InvalidOperationException(),
        };
    }

    [Theory, BothDatabases]
    public async Task Export_LongInputs_AreCutInThePreviewOnly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var text = string.Concat(Enumerable.Repeat("😀é", 50_000));
        var root = OtlpExport.Root() with { Attributes = new() { ["mlflow.spanInputs"] = text } };
        await server.ExportAsync(await server.CreateExperimentAsync(), root);
        var trace = Assert.Single(await server.BatchGetAsync(root.MlflowId))!;
        var preview = (string)trace["trace_info"]!["request_preview"]!;
        Assert.Equal((1000, true), (preview.EnumerateRunes().Count(), preview.EndsWith("...", StringComparison.Ordinal)));
        Assert.Equal(text, (string?)trace["spans"]![0]!["attributes"]!.AsArray().Single(attribute => (string)attribute!["key"]! == "mlflow.spanInputs")!["value"]!["string_value"]);
    }

    [Theory, BothDatabases]
    public async Task Export_TextThatNoDatabaseTakes_IsReplaced(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root(name: "a\0b") with { Attributes = new() { ["k\0"] = "v\0", ["mlflow.spanInputs"] = "{\"messages\": [{\"role\": \"user\", \"content\": \"x\\u0000y\"}]}" } };
        await server.ExportAsync(await server.CreateExperimentAsync(), root);
        Assert.Equal("a\uFFFDb", (string?)Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]![0]!["name"]);
    }

    [Theory, BothDatabases]
    public async Task Export_ExistingTrace_StaysInItsExperimentWhateverTheHeaderSays(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, other) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var root = OtlpExport.Root();
        await server.ExportAsync(experiment, root);
        await server.ExportAsync(other, OtlpExport.Child(root, "second"));
        await server.ExportAsync("999999999", OtlpExport.Child(root, "third"));
        await server.ExportAsync("no number", OtlpExport.Child(root, "fourth"));
        Assert.Equal([root.MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([experiment], "span.name = 'fourth'"))).Ids);
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search([other]))).Ids);
        Assert.Equal(4, Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray().Count);
    }

    [Theory]
    [BothDatabases("999999999")]
    [BothDatabases("abc")]
    public async Task Export_UnknownExperiment_KeepsTheSpansOfTracesThatAreThere(DatabaseKind kind, string unknown)
    {
        var server = await TestServer.SharedAsync(kind);
        var (known, lost) = (OtlpExport.Root(), OtlpExport.Root());
        await server.ExportAsync(await server.CreateExperimentAsync(), known);
        await RefusedAsync(await server.SendAsync(unknown, OtlpExport.Request(lost, OtlpExport.Child(known))), 422, lost.MlflowId, unknown);
        Assert.Equal(2, Assert.Single(await server.BatchGetAsync(known.MlflowId, lost.MlflowId))!["spans"]!.AsArray().Count);
    }

    [Theory, BothDatabases]
    public async Task Export_DeletedExperiment_StillTakesSpans(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        var root = OtlpExport.Root();
        await server.ExportAsync(experiment, root);
        Assert.Single(await server.BatchGetAsync(root.MlflowId));
    }

    [Theory]
    [BothDatabases("gzip")]
    [BothDatabases("deflate")]
    [BothDatabases("identity")]
    public async Task Export_Packed_IsUnpacked(DatabaseKind kind, string encoding)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root();
        using var response = await server.SendAsync(await server.CreateExperimentAsync(), Pack(OtlpExport.Request(root), encoding), encoding: encoding);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Single(await server.BatchGetAsync(root.MlflowId));
    }

    [Theory, BothDatabases]
    public async Task Export_Json_IsTheSameInHexDigits(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (traceId, root, child) = (OtlpExport.NewTraceId(), OtlpExport.NewSpanId(), OtlpExport.NewSpanId());
        var json = $$$$"""
            {"resourceSpans": [{"resource": {}, "unknown": 1, "scopeSpans": [{"scope": {"name": "x"}, "spans": [
                {"traceId": "{{{{traceId.ToUpperInvariant()}}}}", "spanId": "{{{{root}}}}", "name": "root", "kind": 2, "startTimeUnixNano": "1700000000000000000",
                 "endTimeUnixNano": 1700000000100000000, "status": {"code": 1},
                 "attributes": [{"key": "i", "value": {"intValue": "5"}}, {"key": "d", "value": {"doubleValue": 1}}, {"key": "b", "value": {"boolValue": true}},
                    {"key": "a", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}}, {"key": "m", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}},
                    {"key": "y", "value": {"bytesValue": "AQL/"}}, {"key": "n"}]},
                {"trace_id": "{{{{traceId}}}}", "span_id": "{{{{child}}}}", "parent_span_id": "{{{{root}}}}", "name": "child", "start_time_unix_nano": "1700000000000000000",
                 "events": [{"name": "e", "timeUnixNano": "1700000000000000001", "attributes": []}]}]}]}]}
            """;

        using (var response = await server.SendAsync(experiment, Encoding.UTF8.GetBytes(json), "application/json; charset=utf-8"))
        {
            Assert.Equal((HttpStatusCode.OK, "{}"), (response.StatusCode, await response.Content.ReadAsStringAsync()));
            Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
        }

        var spans = Assert.Single(await server.BatchGetAsync("tr-" + traceId))!["spans"]!.AsArray();
        Assert.Equal(["root", "child"], spans.Select(span => (string)span!["name"]!));
        Assert.Equal(
            """[{"int_value":5},{"double_value":1.0},{"bool_value":true},{"array_value":{"values":[{"string_value":"x"}]}},{"kvlist_value":{"values":[{"key":"k","value":{"string_value":"v"}}]}},{"string_value":"AQL/"},null]""",
            new JsonArray([.. spans[0]!["attributes"]!.AsArray().Skip(1).Select(attribute => attribute!["value"]?.DeepClone())]).ToJsonString());
    }

    [Theory, BothDatabases]
    public async Task Export_Malformed_IsRefusedAndNothingIsStored(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        var good = OtlpExport.Request(root);
        await RefusedAsync(await server.SendAsync(null, good), 422, "x-mlflow-experiment-id");
        await RefusedAsync(await server.SendAsync(experiment, good, "text/plain"), 400, "Content-Type");
        await RefusedAsync(await server.SendAsync(experiment, []), 400, "no spans");
        await RefusedAsync(await server.SendAsync(experiment, [0xFF, 0xFF, 0xFF]), 400, "protobuf");
        await RefusedAsync(await server.SendAsync(experiment, Encoding.ASCII.GetBytes("hello")), 400);
        for (var length = 1; length < good.Length; length += 7)
            await RefusedAsync(await server.SendAsync(experiment, good[..length]), 400);
        await RefusedAsync(await server.SendAsync(experiment, Encoding.ASCII.GetBytes("[1]"), "application/json"), 400, "object");
        await RefusedAsync(await server.SendAsync(experiment, Encoding.ASCII.GetBytes("{"), "application/json"), 400, "JSON");
        await RefusedAsync(await server.SendAsync(experiment, Encoding.ASCII.GetBytes("{}"), "application/json"), 400, "no spans");
        await RefusedAsync(await server.SendAsync(experiment, Encoding.ASCII.GetBytes("""{"resourceSpans": 5}"""), "application/json"), 400, "resourceSpans");
        await RefusedAsync(
            await server.SendAsync(experiment, Encoding.ASCII.GetBytes("""{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}"""), "application/json"), 400, "traceId");
        await RefusedAsync(await server.SendAsync(experiment, good, encoding: "br"), 400, "Content-Encoding");
        await RefusedAsync(await server.SendAsync(experiment, good, encoding: "gzip"), 400, "Content-Encoding");
        var packed = Pack(good, "gzip");
        await RefusedAsync(await server.SendAsync(experiment, packed[..(packed.Length / 2)], encoding: "gzip"), 400);

        // One span whose ids are of the wrong form takes all others along.
        foreach (var wrong in (ExportedSpan[])[
            root with { TraceId = "0123", SpanId = OtlpExport.NewSpanId() }, root with { SpanId = "01" }, root with { SpanId = "" },
            root with { TraceId = new string('0', 32) }, root with { SpanId = new string('0', 16) }, root with { ParentId = "0123" }])
        {
            await RefusedAsync(await server.SendAsync(experiment, OtlpExport.Request(root, wrong)), 422, "id");
        }

        var nested = OtlpExport.Field(1, [1]);
        for (var i = 0; i < 200; i++)
            nested = OtlpExport.Field(5, OtlpExport.Field(1, nested));
        var attribute = OtlpExport.Field(9, [.. OtlpExport.Field(1, Encoding.ASCII.GetBytes("k")), .. OtlpExport.Field(2, nested)]);
        await RefusedAsync(
            await server.SendAsync(experiment, OtlpExport.Field(1, OtlpExport.Field(2, OtlpExport.Field(2, [.. OtlpExport.Span(root), .. attribute])))), 400, "deep");
        Assert.Empty(await server.BatchGetAsync(root.MlflowId));
        await server.ExportAsync(experiment, root);
    }

    [Theory, BothDatabases]
    public async Task Export_Bomb_IsRefusedBeforeItIsUnpacked(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var bomb = Pack(new byte[80 * 1024 * 1024], "gzip");
        Assert.InRange(bomb.Length, 0, 1024 * 1024);
        await RefusedAsync(await server.SendAsync(experiment, bomb, encoding: "gzip"), 413, "67108864");
        await server.ExportAsync(experiment, OtlpExport.Root());
    }

    [Theory, BothDatabases]
    public async Task Export_OneSpanTooLarge_TakesTheOthersAndSaysSo(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root();
        var huge = OtlpExport.Child(root) with { Attributes = new() { ["k"] = new string('x', 17 * 1024 * 1024) } };
        using var response = await server.SendAsync(await server.CreateExperimentAsync(), OtlpExport.Request(root, huge));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var answer = await response.Content.ReadAsByteArrayAsync();
        // partial_success { rejected_spans: 1, error_message: … }
        Assert.Equal([0x0A, (byte)(answer.Length - 2), 0x08, 1, 0x12, (byte)(answer.Length - 6)], answer[..6]);
        Assert.Contains("16777216", Encoding.ASCII.GetString(answer), StringComparison.Ordinal);
        Assert.Single(Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray());
    }

    [Theory, BothDatabases]
    public async Task Export_SpansOfTooManyParts_AreLeftOutAndNamed(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root() with
        {
            Events = [.. Enumerable.Repeat(("", 0UL, new Dictionary<string, object?>()), 10_000)],
            Attributes = new() { ["list"] = new object?[99_999] },
        };
        var events = OtlpExport.Child(root) with { Events = [.. root.Events, root.Events[0]] };
        var values = OtlpExport.Child(root) with { Attributes = new() { ["list"] = new object?[100_000] } };
        var nested = OtlpExport.Child(root) with
        {
            Events = [("", 0, new() { ["k"] = new Dictionary<string, object?> { ["a"] = new object?[50_000], ["b"] = new object?[50_000] } })],
        };
        using var response = await server.SendAsync(experiment, OtlpExport.Request(root, events, values, nested));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var answer = await response.Content.ReadAsByteArrayAsync();
        Assert.Equal([0x0A, (byte)(answer.Length - 2), 0x08, 3, 0x12, (byte)(answer.Length - 6)], answer[..6]);
        Assert.Contains("10000 events or 100000 values", Encoding.ASCII.GetString(answer), StringComparison.Ordinal);
        Assert.Single(Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray());

        // What lies behind the last event that is taken is not read: this body is no protobuf there.
        var endless = OtlpExport.Field(2, [.. OtlpExport.Span(events), .. new byte[3 * 1024 * 1024]]);
        using var bomb = await server.SendAsync(experiment, Pack(OtlpExport.Field(1, OtlpExport.Field(2, endless)), "gzip"), encoding: "gzip");
        Assert.Equal((byte)1, (await bomb.Content.ReadAsByteArrayAsync())[3]);
    }

    [Theory]
    [BothDatabases("events", 10_000)]
    [BothDatabases("attributes", 100_000)]
    public async Task Export_JsonOfTooManyParts_IsLeftOutAndNamed(DatabaseKind kind, string field, int most)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        Assert.Equal("{}", await SendAsync(most));
        Assert.Contains("\"rejectedSpans\":1", await SendAsync(most + 1), StringComparison.Ordinal);

        async Task<string> SendAsync(int count)
        {
            var parts = string.Join(',', Enumerable.Repeat("{}", count));
            var span = $$"""{"traceId":"{{OtlpExport.NewTraceId()}}","spanId":"{{OtlpExport.NewSpanId()}}","{{field}}":[{{parts}}]}""";
            using var response = await server.SendAsync(
                experiment, Encoding.UTF8.GetBytes($$"""{"resourceSpans":[{"scopeSpans":[{"spans":[{{span}}]}]}]}"""), "application/json");
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            return (await response.Content.ReadAsStringAsync()).Replace(" ", "", StringComparison.Ordinal);
        }
    }

    [Theory, BothDatabases]
    public async Task Export_MoreThanIsTakenAtATime_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var span = OtlpExport.Field(2, OtlpExport.Span(OtlpExport.Root()));
        await RefusedAsync(await SendAsync(span, 100_001), 413, "100000 spans");
        // Each of these is 20 kB, and half a megabyte when it is stored.
        var wide = OtlpExport.Root() with { Events = [.. Enumerable.Repeat(("", 0UL, new Dictionary<string, object?>()), 10_000)] };
        await RefusedAsync(await SendAsync(OtlpExport.Field(2, OtlpExport.Span(wide)), 300), 413, "134217728 bytes");
        var tokens = Encoding.UTF8.GetBytes($$"""{"resourceSpans":[],"x":[{{string.Join(',', Enumerable.Repeat("1", 8_000_000))}}]}""");
        await RefusedAsync(await server.SendAsync(experiment, Pack(tokens, "gzip"), "application/json", "gzip"), 413, "8000000 JSON tokens");
        await server.ExportAsync(experiment, OtlpExport.Root());

        Task<HttpResponseMessage> SendAsync(byte[] span, int count)
        {
            var scope = new byte[span.Length * count];
            for (var i = 0; i < count; i++)
                span.CopyTo(scope, i * span.Length);
            return server.SendAsync(experiment, Pack(OtlpExport.Field(1, OtlpExport.Field(2, scope)), "gzip"), encoding: "gzip");
        }
    }

    [Theory, BothDatabases]
    public async Task Route_OtherMethodsAndNeighbours_AreNotFound(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var (method, route) in ((HttpMethod, string)[])[
            (HttpMethod.Get, "/v1/traces"), (HttpMethod.Put, "/v1/traces"), (HttpMethod.Post, "/v1/traces/"), (HttpMethod.Post, "/v1/metrics"), (HttpMethod.Post, "/v1/logs")])
        {
            using var response = await server.SendAsync(method, route);
            Assert.Equal((route, HttpStatusCode.NotFound, "text/html"), (route, response.StatusCode, response.Content.Headers.ContentType?.MediaType));
        }
    }

    [Theory, BothDatabases]
    public async Task Export_FromManyAtOnce_LosesNothing(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var roots = Enumerable.Range(0, 6).Select(i => OtlpExport.Root(startMs: 1_700_000_000_000 + i)).ToArray();
        await Task.WhenAll(Enumerable.Range(0, 12).Select(async client =>
        {
            for (var round = 0; round < 8; round++)
            {
                // Several traces in one export, in another order in each, and every trace from all clients.
                var spans = roots.Select(root => OtlpExport.Child(root, "call") with
                {
                    Attributes = new() { ["gen_ai.usage.input_tokens"] = 1L, ["gen_ai.usage.output_tokens"] = 1L },
                }).OrderBy(span => string.GetHashCode(span.SpanId, StringComparison.Ordinal)).ToArray();
                await server.ExportAsync(experiment, spans);
                if (round == client % 8)
                    await server.ExportAsync(experiment, roots);
            }
        }));
        foreach (var root in roots)
        {
            var trace = Assert.Single(await server.BatchGetAsync(root.MlflowId))!;
            Assert.Equal((97, "OK"), (trace["spans"]!.AsArray().Count, (string?)trace["trace_info"]!["state"]));
            Assert.Equal(
                """{"input_tokens": 96, "output_tokens": 96, "total_tokens": 192}""", (string?)trace["trace_info"]!["trace_metadata"]!["mlflow.trace.tokenUsage"]);
        }
    }

    private static (string?, string?, string?) State(JsonObject info) =>
        ((string?)info["state"], (string?)info["request_time"], (string?)info["execution_duration"]);

    private static byte[] Pack(byte[] body, string encoding)
    {
        if (encoding == "identity")
            return body;
        using var packed = new MemoryStream();
        using (Stream stream = encoding == "gzip" ? new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true) : new ZLibStream(packed, CompressionLevel.Optimal, leaveOpen: true))
            stream.Write(body);
        return packed.ToArray();
    }

    private static async Task RefusedAsync(HttpResponseMessage response, int status, params string[] parts)
    {
        using (response)
        {
            var body = await response.Content.ReadAsStringAsync();
            Assert.True(status == (int)response.StatusCode, $"expected {status}, got {(int)response.StatusCode}: {body}");
            Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
            var detail = (string?)JsonNode.Parse(body)!["detail"];
            Assert.False(string.IsNullOrEmpty(detail));
            foreach (var part in parts)
                Assert.Contains(part, detail, StringComparison.Ordinal);
        }
    }
}
