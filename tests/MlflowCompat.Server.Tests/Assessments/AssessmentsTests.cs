using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Tests.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Assessments;

/// <summary>Assessments of traces (contract: endpoints §13; since-3.6 §4.1).</summary>
public sealed class AssessmentsTests
{
    [Theory]
    [BothDatabases("true", "true")]
    [BothDatabases("false", "false")]
    [BothDatabases("1", "1.0")]
    [BothDatabases("-0.5", "-0.5")]
    [BothDatabases("1e-7", "1e-07")]
    [BothDatabases("\"text \\\"é😀\\n\"", "\"text \\\"é😀\\n\"")]
    [BothDatabases("\"\"", "\"\"")]
    [BothDatabases("[1,\"a\",null,[true]]", "[1.0,\"a\",null,[true]]")]
    [BothDatabases("{\"x\":{\"y\":1}}", "{\"x\":{\"y\":1.0}}")]
    [BothDatabases("[]", "[]")]
    [BothDatabases("{}", "{}")]
    public async Task Feedback_EveryValue_ComesBackWithNumbersAsDoubles(DatabaseKind kind, string value, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var made = await server.AssessAsync(trace, new { assessment_name = "n", feedback = new { value = JsonNode.Parse(value) } });
        Assert.Equal(expected, Plain(made["feedback"]!["value"]!));
        Assert.True(JsonNode.DeepEquals(made, await GetAsync(server, trace, (string)made["assessment_id"]!)));
        Assert.True(JsonNode.DeepEquals(made, (await server.TraceInfoAsync(trace))["assessments"]![0]));

        // Escapes may differ; what the text says may not.
        static string Plain(JsonNode node) => node.ToJsonString(new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping })
            .Replace("\\uD83D\\uDE00", "😀", StringComparison.Ordinal);
    }

    [Theory]
    [BothDatabases("\"v\"", null)]
    [BothDatabases("1", null)]
    [BothDatabases("true", null)]
    [BothDatabases("[1, 2]", "[1.0, 2.0]")]
    [BothDatabases("{\"a\": 1}", "{\"a\": 1.0}")]
    public async Task Expectation_Value_ComesBackSerializedWhenItIsStructured(DatabaseKind kind, string value, string? serialized)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var expectation = (await server.AssessAsync(trace, new { assessment_name = "n", expectation = new { value = JsonNode.Parse(value) } }))["expectation"]!;
        Assert.Equal(serialized is null, expectation["value"] is not null);
        Assert.Equal(serialized, (string?)expectation["serialized_value"]?["value"]);
        Assert.Equal(serialized is null ? null : "JSON_FORMAT", (string?)expectation["serialized_value"]?["serialization_format"]);
    }

    [Theory]
    [BothDatabases("{\"a\":[1,{\"b\":null}]}", "{\"a\": [1, {\"b\": null}]}")]
    [BothDatabases("[1, 2.5]", "[1, 2.5]")]
    [BothDatabases("5", null)]
    public async Task Expectation_Serialized_KeepsItsIntegers(DatabaseKind kind, string value, string? expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var expectation = (await server.AssessAsync(
            trace, new { assessment_name = "n", expectation = new { serialized_value = new { serialization_format = "JSON_FORMAT", value } } }))["expectation"]!;
        Assert.Equal(expected, (string?)expectation["serialized_value"]?["value"]);
        if (expected is null)
            Assert.Equal(5.0, (double)expectation["value"]!);
    }

    [Theory, BothDatabases]
    public async Task Create_AllFields_GivesThemBack(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var id = "a-" + Guid.NewGuid().ToString("N");
        var made = await server.AssessAsync(trace, JsonNode.Parse($$$"""
            {"assessment_id": "{{{id}}}", "assessment_name": "quality", "trace_id": "tr-other", "span_id": "0123456789abcdef",
             "source": {"source_type": "LLM_JUDGE", "source_id": "judge"}, "create_time": "2025-01-01T00:00:00.250Z", "last_update_time": "2025-01-02T00:00:00Z",
             "feedback": {"value": null, "error": {"error_code": "E1", "error_message": "failed", "stack_trace": "at x"}}, "rationale": "why",
             "metadata": {"k": "v", "mlflow.assessment.sourceRunId": "r1"}, "valid": false}
            """)!);
        var expected = JsonNode.Parse($$$"""
            {"assessment_id": "{{{id}}}", "assessment_name": "quality", "trace_id": "{{{trace}}}", "span_id": "0123456789abcdef",
             "source": {"source_type": "LLM_JUDGE", "source_id": "judge"}, "create_time": "2025-01-01T00:00:00.250Z", "last_update_time": "2025-01-02T00:00:00Z",
             "feedback": {"value": null, "error": {"error_code": "E1", "error_message": "failed", "stack_trace": "at x"}}, "rationale": "why",
             "metadata": {"k": "v", "mlflow.assessment.sourceRunId": "r1"}, "valid": true}
            """);
        Assert.True(JsonNode.DeepEquals(expected, made), made.ToJsonString());
        await server.RefusedAsync(
            HttpMethod.Post, $"{TraceCalls.Prefix}traces/{trace}/assessments", new { assessment = new { assessment_id = id, feedback = new { value = 1 } } },
            HttpStatusCode.BadRequest, "BAD_REQUEST", id);
    }

    [Theory, BothDatabases]
    public async Task Create_Issue_GivesItsNameBack(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var made = await server.AssessAsync(trace, new { assessment_name = "iss-1", issue = new { issue_name = "slow" } });
        Assert.Equal("slow", (string?)made["issue"]!["issue_name"]);
        var id = (string)made["assessment_id"]!;
        var changed = await PatchAsync(server, trace, id, new { issue = new { issue_name = "slower" } }, "issue");
        Assert.Equal("slower", (string?)changed["issue"]!["issue_name"]);
    }

    [Theory, BothDatabases]
    public async Task Override_Chain_LeavesTheLastOneValidUntilItIsDeleted(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var first = await Make("yes", null);
        var second = await Make("no", first);
        var third = await Make("maybe", second);
        Assert.Equal((false, false, true), (await Valid(first), await Valid(second), await Valid(third)));
        await DeleteAsync(server, trace, third);
        Assert.Equal((false, true), (await Valid(first), await Valid(second)));
        await DeleteAsync(server, trace, second);
        await DeleteAsync(server, trace, second);
        Assert.True(await Valid(first));
        await server.RefusedAsync(
            HttpMethod.Post, $"{TraceCalls.Prefix}traces/{trace}/assessments", new { assessment = new { feedback = new { value = 1 }, overrides = "a-unknown" } },
            HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "a-unknown");
        Assert.Single((await server.TraceInfoAsync(trace))["assessments"]!.AsArray());

        async Task<string> Make(string value, string? overrides) =>
            (string)(await server.AssessAsync(trace, new { assessment_name = "n", feedback = new { value }, overrides }))["assessment_id"]!;
        async Task<bool> Valid(string id) => (bool)(await GetAsync(server, trace, id))["valid"]!;
    }

    [Theory, BothDatabases]
    public async Task Update_FieldsOfTheMask_OnlyThoseChange(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var made = await server.AssessAsync(trace, new
        {
            assessment_name = "n", source = new { source_type = "HUMAN", source_id = "h" }, create_time = "2025-01-01T00:00:00Z",
            last_update_time = "2025-01-01T00:00:00Z",
            feedback = new { value = "old" }, rationale = "before", metadata = new { a = "1", b = "1" },
        });
        var id = (string)made["assessment_id"]!;
        var given = new { assessment_name = "renamed", feedback = new { value = "new" }, rationale = "after", metadata = new { b = "2" }, source = new { source_type = "CODE" } };

        var changed = await PatchAsync(server, trace, id, given, "feedback, metadata");
        Assert.Equal(("n", "new", "before"), ((string?)changed["assessment_name"], (string?)changed["feedback"]!["value"], (string?)changed["rationale"]));
        Assert.Equal(("1", "2"), ((string?)changed["metadata"]!["a"], (string?)changed["metadata"]!["b"]));
        Assert.Equal(("HUMAN", "2025-01-01T00:00:00Z"), ((string?)changed["source"]!["source_type"], (string?)changed["create_time"]));
        Assert.Equal("2025-01-01T00:00:00Z", (string?)made["last_update_time"]);
        Assert.NotEqual("2025-01-01T00:00:00Z", (string?)changed["last_update_time"]);
        changed = await PatchAsync(server, trace, id, given, "assessmentName,rationale,nonsense");
        Assert.Equal(("renamed", "after"), ((string?)changed["assessment_name"], (string?)changed["rationale"]));
        Assert.True(JsonNode.DeepEquals(changed, await GetAsync(server, trace, id)));

        var route = $"{TraceCalls.Prefix}traces/{trace}/assessments/{id}";
        await Refused(new { assessment = new { expectation = new { value = 1 } }, update_mask = "expectation" }, "expectation");
        await Refused(new { assessment = given }, "update_mask");
        await Refused(new { assessment = given, update_mask = "" }, "update_mask");
        await Refused(new { update_mask = "feedback" }, "assessment");
        await Refused(new { assessment = new { }, update_mask = "feedback" }, "feedback");
        await Refused(new { assessment = new { assessment_name = new string('x', 251) }, update_mask = "assessmentName" }, "250");
        await server.RefusedAsync(
            HttpMethod.Patch, $"{TraceCalls.Prefix}traces/{trace}/assessments/a-unknown", new { assessment = given, update_mask = "feedback" },
            HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "a-unknown");

        Task Refused(object message, string part) => server.RefusedAsync(HttpMethod.Patch, route, message, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", part);
    }

    [Theory, BothDatabases]
    public async Task Create_Wrong_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var route = $"{TraceCalls.Prefix}traces/{trace}/assessments";
        var feedback = new { value = 1 };
        await server.PostInvalidAsync(route, new { }, "'assessment'");
        await server.PostInvalidAsync(route, new { assessment = new { assessment_name = "n" } }, "feedback", "expectation");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { } } }, "value", "error");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { value = (string?)null } } }, "value", "error");
        await server.PostInvalidAsync(route, new { assessment = new { expectation = new { } } }, "expectation", "value");
        await server.PostInvalidAsync(route, new { assessment = new { expectation = new { value = (string?)null } } }, "expectation", "value");
        await server.PostInvalidAsync(
            route, new { assessment = new { expectation = new { serialized_value = new { serialization_format = "JSON_FORMAT", value = "null" } } } }, "expectation", "value");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, source = new { source_type = "AI_JUDGE" } } }, "source_type", "AI_JUDGE");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, assessment_name = new string('x', 251) } }, "assessment_name", "250");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, assessment_id = new string('x', 51) } }, "assessment_id", "50");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, span_id = new string('x', 51) } }, "span_id", "50");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, source = new { source_id = new string('x', 251) } } }, "source_id", "250");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, create_time = "never" } }, "create_time", "never");
        await server.PostInvalidAsync(route, new { assessment = new { feedback, metadata = new { k = 5 } } }, "metadata");
        await server.PostInvalidAsync(
            route, new { assessment = new { expectation = new { serialized_value = new { serialization_format = "XML", value = "1" } } } }, "serialization_format", "XML");
        await server.PostInvalidAsync(route, new { assessment = new { expectation = new { serialized_value = new { value = "{" } } } }, "serialized_value");
        await server.PostNotFoundAsync(TraceCalls.Prefix + "traces/tr-unknown/assessments", new { assessment = new { feedback } }, "tr-unknown");
        Assert.False((await server.TraceInfoAsync(trace)).ContainsKey("assessments"));

        var other = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var id = (string)(await server.AssessAsync(other, new { feedback }))["assessment_id"]!;
        await server.GetRefusedAsync($"{route}/{id}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id);
        await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/tr-unknown/assessments/{id}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id);
        await DeleteAsync(server, trace, id);
        await DeleteAsync(server, "tr-unknown", id);
        await GetAsync(server, other, id);
    }

    [Theory]
    [BothDatabases("""{"feedback": {"value": "\ud800"}}""", "assessment.feedback.value")]
    [BothDatabases("""{"feedback": {"value": "a\u0000"}}""", "assessment.feedback.value")]
    [BothDatabases("""{"feedback": {"value": "\u0000NaNs"}}""", "assessment.feedback.value")]
    [BothDatabases("""{"feedback": {"value": {"\udc00": 1}}}""", "assessment.feedback.value")]
    [BothDatabases("""{"feedback": {"value": [["\udbff\ud800"]]}}""", "assessment.feedback.value")]
    [BothDatabases("""{"feedback": {"error": {"error_message": "\ud800"}}}""", "error")]
    [BothDatabases("""{"expectation": {"value": ["\ud800"]}}""", "assessment.expectation.value")]
    [BothDatabases("""{"expectation": {"serialized_value": {"value": "\ud800"}}}""", "serialized_value.value")]
    [BothDatabases("""{"expectation": {"serialized_value": {"value": "[\"\\ud800\"]"}}}""", "serialized_value.value")]
    [BothDatabases("""{"expectation": {"serialized_value": {"value": "{\"\\u0000\": 1}"}}}""", "serialized_value.value")]
    [BothDatabases("""{"issue": {"issue_name": "\ud800"}}""", "issue_name")]
    [BothDatabases("""{"feedback": {"value": 1}, "assessment_name": "\ud800"}""", "assessment_name")]
    [BothDatabases("""{"feedback": {"value": 1}, "assessment_id": "\ud800"}""", "assessment_id")]
    [BothDatabases("""{"feedback": {"value": 1}, "rationale": "\ud800"}""", "rationale")]
    [BothDatabases("""{"feedback": {"value": 1}, "overrides": "\ud800"}""", "overrides")]
    [BothDatabases("""{"feedback": {"value": 1}, "source": {"source_id": "\ud800"}}""", "source_id")]
    [BothDatabases("""{"feedback": {"value": 1}, "metadata": {"k": "\ud800"}}""", "metadata")]
    [BothDatabases("""{"feedback": {"value": 1}, "metadata": {"\ud800": "v"}}""", "metadata")]
    [BothDatabases("""{"feedback": {"value": 1}, "metadata": {"k": null}}""", "metadata")]
    [BothDatabases("""{"feedback": {"value": 1}, "metadata": {"k": NaN}}""", "metadata")]
    [BothDatabases("""{"feedback": {"value": 1}, "expectation": {"value": 1}}""", "only one")]
    public async Task Text_ThatIsNone_IsRefusedNamingTheField(DatabaseKind kind, string assessment, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        var trace = await server.StartTraceAsync(info);
        await server.PostInvalidAsync($"{TraceCalls.Prefix}traces/{trace}/assessments", $$"""{"assessment": {{assessment}}}""", part);
        var id = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 } }))["assessment_id"]!;
        if (assessment.StartsWith("{\"feedback\": {\"value\": 1}", StringComparison.Ordinal))
            return;
        using var response = await server.SendAsync(
            HttpMethod.Post, TraceCalls.Prefix + "traces", ApiServer.JsonText(TraceCalls.Start(info).ToJsonString().Replace("\"state\"", $"\"assessments\":[{assessment}],\"state\"", StringComparison.Ordinal)));
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Equal(id, (string?)Assert.Single((await server.TraceInfoAsync(trace))["assessments"]!.AsArray())!["assessment_id"]);
    }

    [Theory]
    [BothDatabases("NaN", "\"NaN\"", "NaN")]
    [BothDatabases("\"NaN\"", "\"NaN\"", "\"NaN\"")]
    [BothDatabases("Infinity", "1.7976931348623157E+308", "1.7976931348623157e+308")]
    [BothDatabases("-Infinity", "-1.7976931348623157E+308", "-1.7976931348623157e+308")]
    [BothDatabases("1e400", "1.7976931348623157E+308", "1.7976931348623157e+308")]
    [BothDatabases("[NaN,{\"a\":NaN}]", "[\"NaN\",{\"a\":\"NaN\"}]", "[NaN, {\"a\": NaN}]")]
    public async Task Feedback_NumberThatJsonLacks_IsANumberAsInPython(DatabaseKind kind, string value, string shown, string stored)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var trace = await server.StartTraceAsync(experiment);
        using var response = await server.SendAsync(
            HttpMethod.Post, $"{TraceCalls.Prefix}traces/{trace}/assessments", ApiServer.JsonText("{\"assessment\": {\"assessment_name\": \"n\", \"feedback\": {\"value\": " + value + "}}}"));
        var answer = JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(shown), answer["assessment"]!["feedback"]!["value"]), answer.ToJsonString());
        Assert.True(JsonNode.DeepEquals(answer["assessment"], (await server.TraceInfoAsync(trace))["assessments"]![0]));
        Assert.Equal([trace], (await server.SearchTracesAsync(TraceCalls.Search([experiment], $"feedback.n = '{stored}'"))).Ids);
        // None of them is a measure.
        Assert.Empty(await server.PostAsync(TraceCalls.Prefix + "traces/metrics", new
        {
            experiment_ids = new[] { experiment }, view_type = "ASSESSMENTS", metric_name = "assessment_value", aggregations = new[] { new { aggregation_type = "AVG" } },
        }));
    }

    [Theory]
    [BothDatabases("[NaN, 1]", "[NaN, 1]")]
    [BothDatabases("{\"a\": [NaN, 1e999]}", "{\"a\": [NaN, 1.7976931348623157e+308]}")]
    public async Task Expectation_SerializedAsPythonDoes_KeepsItsBareWords(DatabaseKind kind, string value, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var expectation = (await server.AssessAsync(trace, new { assessment_name = "n", expectation = new { serialized_value = new { value } } }))["expectation"]!;
        Assert.Equal(expected, (string?)expectation["serialized_value"]!["value"]);
        var scalar = (await server.AssessAsync(trace, new { assessment_name = "m", expectation = new { serialized_value = new { value = "NaN" } } }))["expectation"]!;
        Assert.Equal("NaN", (string?)scalar["value"]);
    }

    [Theory, BothDatabases]
    public async Task Texts_TooLong_AreRefusedWhenMadeAndWhenChanged(DatabaseKind kind)
    {
        const int Most = 1_000_000;
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var route = $"{TraceCalls.Prefix}traces/{trace}/assessments";
        var full = new string('x', Most);
        // The value and the metadata count as they are stored, with what makes them JSON.
        var made = await server.AssessAsync(trace, new { feedback = new { value = full[2..] }, rationale = full, metadata = new Dictionary<string, string> { ["k"] = full[10..] } });
        Assert.Equal((Most - 2, Most), (((string)made["feedback"]!["value"]!).Length, ((string)made["rationale"]!).Length));
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { value = full } } }, "assessment.feedback.value", "1000000");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { value = new string('x', 17 * Most) } } }, "assessment.feedback.value", "1000000");
        await server.PostInvalidAsync(route, new { assessment = new { issue = new { issue_name = new string('x', 17 * Most) } } }, "assessment.issue.issue_name", "1000000");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { error = new { stack_trace = full } } } }, "assessment.feedback.error");
        await server.PostInvalidAsync(route, new { assessment = new { expectation = new { value = full } } }, "assessment.expectation.value");
        await server.PostInvalidAsync(
            route, new { assessment = new { expectation = new { serialized_value = new { value = $"\"{full}\"" } } } }, "assessment.expectation.serialized_value.value");
        await server.PostInvalidAsync(route, new { assessment = new { issue = new { issue_name = full } } }, "assessment.issue.issue_name");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { value = 1 }, rationale = full + "x" } }, "assessment.rationale");
        await server.PostInvalidAsync(route, new { assessment = new { feedback = new { value = 1 }, metadata = new { k = full } } }, "assessment.metadata");
        foreach (var (mask, assessment, part) in ((string, object, string)[])
            [("feedback", new { feedback = new { value = full } }, "feedback.value"), ("rationale", new { rationale = full + "x" }, "rationale"), ("metadata", new { metadata = new { l = "12" } }, "metadata")])
        {
            await server.RefusedAsync(
                HttpMethod.Patch, $"{route}/{made["assessment_id"]}", new { assessment, update_mask = mask }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", part);
        }

        Assert.True(JsonNode.DeepEquals(made, await GetAsync(server, trace, (string)made["assessment_id"]!)));
    }

    [Theory, BothDatabases]
    public async Task Override_OfOneByTwo_LeavesItInvalidUntilBothAreGone(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var first = await Make(null);
        var (second, third) = (await Make(first), await Make(first));
        Assert.Equal((false, true, true), (await Valid(first), await Valid(second), await Valid(third)));
        // What is changed stays as valid as it was.
        Assert.False((bool)(await PatchAsync(server, trace, first, new { feedback = new { value = 2 } }, "feedback"))["valid"]!);
        var changed = await PatchAsync(server, trace, second, new { rationale = "r", overrides = third }, "rationale,overrides");
        Assert.Equal((true, first), ((bool)changed["valid"]!, (string?)changed["overrides"]));
        await DeleteAsync(server, trace, second);
        Assert.False(await Valid(first));
        await DeleteAsync(server, trace, third);
        Assert.True(await Valid(first));

        async Task<string> Make(string? overrides) => (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 }, overrides }))["assessment_id"]!;
        async Task<bool> Valid(string id) => (bool)(await GetAsync(server, trace, id))["valid"]!;
    }

    [Theory, BothDatabases]
    public async Task Override_OfOneThatIsDeleted_IsValidAndKeepsItsName(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var first = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 } }))["assessment_id"]!;
        var second = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 }, overrides = first }))["assessment_id"]!;
        var third = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 }, overrides = second }))["assessment_id"]!;
        // In the middle of a chain: the beginning is overridden by nobody any more.
        await DeleteAsync(server, trace, second);
        Assert.True((bool)(await GetAsync(server, trace, first))["valid"]!);
        var last = await GetAsync(server, trace, third);
        Assert.Equal((true, second), ((bool)last["valid"]!, (string?)last["overrides"]));
        await DeleteAsync(server, trace, third);
        Assert.True((bool)(await GetAsync(server, trace, first))["valid"]!);

        // That of another trace is none that could be overridden.
        var other = await server.StartTraceAsync(await server.CreateExperimentAsync());
        await server.PostNotFoundAsync(
            $"{TraceCalls.Prefix}traces/{other}/assessments", new { assessment = new { feedback = new { value = 1 }, overrides = first } }, first);
        Assert.True((bool)(await GetAsync(server, trace, first))["valid"]!);
    }

    [Theory, BothDatabases]
    public async Task Override_ByManyAtOnce_EndsAsTheLastOneLeavesIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var first = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 } }))["assessment_id"]!;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            for (var i = 0; i < 5; i++)
            {
                var made = (string)(await server.AssessAsync(trace, new { feedback = new { value = 1 }, overrides = first }))["assessment_id"]!;
                Assert.False((bool)(await GetAsync(server, trace, first))["valid"]!);
                await DeleteAsync(server, trace, made);
            }
        }));
        Assert.True((bool)(await GetAsync(server, trace, first))["valid"]!);
    }

    [Theory, BothDatabases]
    public async Task Update_MaskInSnakeCase_LeavesTheNameAsMlflowDoes(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var trace = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var id = (string)(await server.AssessAsync(trace, new { assessment_name = "n", feedback = new { value = 1 } }))["assessment_id"]!;
        var given = new { assessment_name = "renamed", metadata = new { k = "v" } };
        var changed = await PatchAsync(server, trace, id, given, "metadata,assessment_name");
        Assert.Equal(("n", "v"), ((string?)changed["assessment_name"], (string?)changed["metadata"]!["k"]));
        Assert.Equal("renamed", (string?)(await PatchAsync(server, trace, id, given, "assessmentName"))["assessment_name"]);
    }

    private static async Task<JsonObject> GetAsync(TestServer server, string trace, string id) =>
        (await server.GetAsync($"{TraceCalls.Prefix}traces/{trace}/assessments/{id}"))["assessment"]!.AsObject();

    private static async Task<JsonObject> PatchAsync(TestServer server, string trace, string id, object assessment, string mask) =>
        (await server.SendJsonAsync(HttpMethod.Patch, $"{TraceCalls.Prefix}traces/{trace}/assessments/{id}", new { assessment, update_mask = mask }))["assessment"]!.AsObject();

    private static async Task DeleteAsync(TestServer server, string trace, string id)
    {
        using var response = await server.SendAsync(HttpMethod.Delete, $"{TraceCalls.Prefix}traces/{trace}/assessments/{id}");
        Assert.Equal((HttpStatusCode.OK, "{}"), (response.StatusCode, await response.Content.ReadAsStringAsync()));
    }
}
