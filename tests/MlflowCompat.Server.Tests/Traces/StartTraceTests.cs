using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Traces of version 3 without their spans (contract: endpoints §12.2).</summary>
public sealed class StartTraceTests
{
    [Theory, BothDatabases]
    public async Task Start_AllFields_GivesThemBackWithTheServersTags(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var info = TraceCalls.Info(experiment, startMs: 1_700_000_000_123);
        info["client_request_id"] = "crid-é";
        info["execution_duration"] = "61.5s";
        info["state"] = "ERROR";
        info["trace_metadata"] = new JsonObject { ["m"] = "1", ["mlflow.trace.session"] = "s 1" };
        info["tags"] = new JsonObject { ["t"] = "😀", ["empty"] = "", ["bad$ //key"] = "kept" };
        info["request_preview"] = "q";
        info["response_preview"] = "";

        var answer = (await server.PostAsync("/ajax-api/3.0/mlflow/traces", TraceCalls.Start(info)))["trace"]!["trace_info"]!.AsObject();

        var id = (string)info["trace_id"]!;
        var expected = info.DeepClone().AsObject();
        expected["request_time"] = "2023-11-14T22:13:20.123Z";
        expected["execution_duration"] = "61.500s";
        expected["tags"]!["mlflow.trace.spansLocation"] = "TRACKING_STORE";
        expected["tags"]!["mlflow.artifactLocation"] = $"mlflow-artifacts:/{experiment}/traces/{id}/artifacts";
        Assert.True(JsonNode.DeepEquals(expected, answer), answer.ToJsonString());
        Assert.True(JsonNode.DeepEquals(answer, await server.TraceInfoAsync(id)));
        var infos = await server.PostAsync("/api/3.0/mlflow/traces/batchGetInfos", new { trace_ids = new[] { "tr-unknown", id } });
        Assert.True(JsonNode.DeepEquals(answer, Assert.Single(infos["trace_infos"]!.AsArray())));
    }

    [Theory]
    [BothDatabases("0s", "0s")]
    [BothDatabases("1.5s", "1.500s")]
    [BothDatabases("-0.25s", "-0.250s")]
    [BothDatabases("3600s", "3600s")]
    public async Task Start_Durations_ComeBackInMilliseconds(DatabaseKind kind, string sent, string expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        info["execution_duration"] = sent;
        Assert.Equal(expected, (string?)(await server.TraceInfoAsync(await server.StartTraceAsync(info)))["execution_duration"]);
    }

    [Theory, BothDatabases]
    public async Task Start_NothingOptional_IsUnspecifiedSince1970(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var full = TraceCalls.Info(await server.CreateExperimentAsync());
        var info = new JsonObject { ["trace_id"] = full["trace_id"]!.DeepClone(), ["trace_location"] = full["trace_location"]!.DeepClone() };
        var answer = await server.TraceInfoAsync(await server.StartTraceAsync(info));
        Assert.Equal(("STATE_UNSPECIFIED", "1970-01-01T00:00:00Z"), ((string?)answer["state"], (string?)answer["request_time"]));
        Assert.DoesNotContain("execution_duration", answer.Select(field => field.Key));
        Assert.DoesNotContain("trace_metadata", answer.Select(field => field.Key));
    }

    [Theory, BothDatabases]
    public async Task Start_SameIdAgain_NewValuesCountAndOthersStay(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        info["tags"] = new JsonObject { ["a"] = "1", ["b"] = "1" };
        info["trace_metadata"] = new JsonObject { ["m"] = "1", ["n"] = "1" };
        info["request_preview"] = "first";
        await server.StartTraceAsync(info);
        info["tags"] = new JsonObject { ["b"] = "2" };
        info["trace_metadata"] = new JsonObject { ["n"] = "2" };
        info["state"] = "ERROR";
        info.Remove("request_preview");

        var answer = await server.TraceInfoAsync(await server.StartTraceAsync(info));

        Assert.Equal(("1", "2"), ((string?)answer["tags"]!["a"], (string?)answer["tags"]!["b"]));
        Assert.Equal(("1", "2"), ((string?)answer["trace_metadata"]!["m"], (string?)answer["trace_metadata"]!["n"]));
        Assert.Equal(("ERROR", "first"), ((string?)answer["state"], (string?)answer["request_preview"]));
    }

    [Theory, BothDatabases]
    public async Task Start_AfterItsSpans_KeepsThemAndMovesThemToItsExperiment(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (first, second) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var span = OtlpExport.Root();
        await server.ExportAsync(first, span);
        await server.StartTraceAsync(TraceCalls.Info(second, span.MlflowId));
        Assert.Single(Assert.Single(await server.BatchGetAsync(span.MlflowId))!["spans"]!.AsArray());
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search([first], "span.name = 'root'"))).Ids);
        Assert.Equal([span.MlflowId], (await server.SearchTracesAsync(TraceCalls.Search([second], "span.name = 'root'"))).Ids);
    }

    [Theory, BothDatabases]
    public async Task Start_WithAssessments_StoresThem(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        info["assessments"] = new JsonArray(new JsonObject
        {
            ["assessment_name"] = "good", ["source"] = new JsonObject { ["source_type"] = "HUMAN" }, ["feedback"] = new JsonObject { ["value"] = true },
        });
        var assessment = Assert.Single((await server.TraceInfoAsync(await server.StartTraceAsync(info)))["assessments"]!.AsArray())!;
        Assert.Equal(("good", true, (string?)info["trace_id"]), ((string?)assessment["assessment_name"], (bool)assessment["feedback"]!["value"]!, (string?)assessment["trace_id"]));
    }

    [Theory, BothDatabases]
    public async Task Start_AgainWithAssessments_ReplacesThoseAndKeepsTheOthers(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        var id = NewId();
        info["assessments"] = new JsonArray(Feedback(id, true, rationale: "first", metadata: "a"));
        var first = (await server.PostAsync(TraceCalls.Prefix + "traces", TraceCalls.Start(info)))["trace"]!["trace_info"]!;
        // A client that had no answer sends the same once more.
        var again = (await server.PostAsync(TraceCalls.Prefix + "traces", TraceCalls.Start(info)))["trace"]!["trace_info"]!;
        Assert.True(JsonNode.DeepEquals(first, again), again.ToJsonString());

        var other = (string)(await server.AssessAsync((string)info["trace_id"]!, new { feedback = new { value = "other" }, create_time = "2030-01-01T00:00:00Z" }))["assessment_id"]!;
        info["assessments"] = new JsonArray(Feedback(id, false, rationale: null, metadata: "b"));
        var assessments = (await server.TraceInfoAsync(await server.StartTraceAsync(info)))["assessments"]!.AsArray();
        Assert.Equal([id, other], assessments.Select(assessment => (string)assessment!["assessment_id"]!));
        Assert.Equal((false, "b"), ((bool)assessments[0]!["feedback"]!["value"]!, (string?)assessments[0]!["metadata"]!["k"]));
        Assert.Null(assessments[0]!["rationale"]);
    }

    [Theory, BothDatabases]
    public async Task Start_WithAssessmentsThatOverride_DoesAsThoseThatComeAlone(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        var (a, b, c) = (NewId(), NewId(), NewId());
        // The order does not matter, nor what is said of their validity.
        info["assessments"] = new JsonArray(Feedback(b, 2, overrides: a), Feedback(a, 1), Feedback(c, 3, valid: false));
        var trace = await server.StartTraceAsync(info);
        Assert.Equal("b c", await ValidAsync());
        // Now it is another one that it overrides.
        info["assessments"] = new JsonArray(Feedback(b, 2, overrides: c));
        await server.StartTraceAsync(info);
        Assert.Equal("a b", await ValidAsync());
        info["assessments"] = new JsonArray(Feedback(b, 2));
        await server.StartTraceAsync(info);
        Assert.Equal("a b c", await ValidAsync());

        async Task<string> ValidAsync() => string.Join(' ', (await server.TraceInfoAsync(trace))["assessments"]!.AsArray()
            .Where(assessment => (bool)assessment!["valid"]!)
            .Select(assessment => (string)assessment!["assessment_id"]! is var id && id == a ? "a" : id == b ? "b" : "c").Order(StringComparer.Ordinal));
    }

    [Theory, BothDatabases]
    public async Task Start_WithAssessmentsThatCannotBe_LeavesNothingBehind(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (a, b, taken) = (NewId(), NewId(), NewId());
        var foreign = TraceCalls.Info(experiment);
        foreign["assessments"] = new JsonArray(Feedback(taken, "kept"));
        await server.StartTraceAsync(foreign);

        await Refused(HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "a-none", Feedback(a, 1, overrides: "a-none"));
        await Refused(HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", taken, Feedback(a, 1, overrides: taken));
        await Refused(HttpStatusCode.BadRequest, "BAD_REQUEST", taken, Feedback(a, 1), Feedback(taken, 1));
        await Refused(HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", a, Feedback(a, 1), Feedback(a, 2));
        await Refused(HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", a, Feedback(a, 1, overrides: a));
        await Refused(HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "override itself", Feedback(a, 1, overrides: b), Feedback(b, 1, overrides: a));
        await Refused(HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "value", new JsonObject { ["feedback"] = new JsonObject() });
        var kept = Assert.Single((await server.TraceInfoAsync((string)foreign["trace_id"]!))["assessments"]!.AsArray())!;
        Assert.Equal(("kept", true), ((string?)kept["feedback"]!["value"], (bool)kept["valid"]!));

        // Nor can one that is stored come to override itself.
        foreign["assessments"] = new JsonArray(Feedback(b, 1, overrides: taken));
        await server.StartTraceAsync(foreign);
        foreign["assessments"] = new JsonArray(Feedback(taken, "changed", overrides: b));
        await server.PostInvalidAsync(TraceCalls.Prefix + "traces", TraceCalls.Start(foreign), "override itself");
        Assert.Contains("kept", (await server.TraceInfoAsync((string)foreign["trace_id"]!))["assessments"]!.ToJsonString(), StringComparison.Ordinal);

        async Task Refused(HttpStatusCode status, string code, string part, params JsonObject[] assessments)
        {
            var info = TraceCalls.Info(experiment);
            info["assessments"] = new JsonArray([.. assessments]);
            await server.PostRefusedAsync(TraceCalls.Prefix + "traces", TraceCalls.Start(info), status, code, part);
            await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/{info["trace_id"]}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        }
    }

    private static string NewId() => "a-" + Guid.NewGuid().ToString("N");

    private static JsonObject Feedback(string id, object value, string? overrides = null, string? rationale = null, string? metadata = null, bool valid = true) => new()
    {
        ["assessment_id"] = id,
        ["assessment_name"] = "n",
        ["create_time"] = "2025-01-01T00:00:00Z",
        ["last_update_time"] = "2025-01-01T00:00:00Z",
        ["feedback"] = new JsonObject { ["value"] = System.Text.Json.JsonSerializer.SerializeToNode(value) },
        ["overrides"] = overrides,
        ["rationale"] = rationale,
        ["metadata"] = metadata is null ? null : new JsonObject { ["k"] = metadata },
        ["valid"] = valid,
    };

    [Theory, BothDatabases]
    public async Task Start_LongValues_AreCutInAnswers(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        info["tags"] = new JsonObject { ["t"] = new string('v', 9000) };
        info["trace_metadata"] = new JsonObject { ["m"] = new string('w', 8000) };
        info["request_preview"] = string.Concat(Enumerable.Repeat("😀", 1000));
        var id = await server.StartTraceAsync(info);
        var answer = await server.TraceInfoAsync(id);
        Assert.Equal((4096, 250), (((string)answer["tags"]!["t"]!).Length, ((string)answer["trace_metadata"]!["m"]!).Length));
        Assert.Equal((string?)info["request_preview"], (string?)answer["request_preview"]);
        var v2 = (await server.GetAsync($"traces/{id}/info"))["trace_info"]!;
        Assert.Equal(250, ((string)Assert.Single(v2["request_metadata"]!.AsArray())!["value"]!).Length);
    }

    [Theory, BothDatabases]
    public async Task Start_Wrong_IsRefusedNamingTheField(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        const string Route = TraceCalls.Prefix + "traces";
        await server.PostInvalidAsync(Route, new { }, "'trace'");
        await server.PostInvalidAsync(Route, new { trace = new { } }, "trace.trace_info");
        await Refused(info => info.Remove("trace_id"), "trace_id");
        await Refused(info => info["trace_id"] = new string('x', 51), "trace_id", "50");
        await Refused(info => info.Remove("trace_location"), "trace_location");
        await Refused(info => info["trace_location"]!.AsObject().Remove("mlflow_experiment"), "mlflow_experiment");
        await Refused(info => info["trace_location"]!["type"] = "INFERENCE_TABLE", "MLFLOW_EXPERIMENT");
        await Refused(info => info["trace_location"]!["type"] = "TRACE_LOCATION_TYPE_UNSPECIFIED", "MLFLOW_EXPERIMENT");
        await Refused(info => info["trace_location"]!.AsObject().Remove("type"), "MLFLOW_EXPERIMENT");
        await Refused(info => info["trace_location"]!["type"] = "NOPE", "type");
        await Refused(info => info["trace_location"]!["mlflow_experiment"]!["experiment_id"] = "abc", "abc");
        await Refused(info => info["state"] = "NOPE", "state", "NOPE");
        await Refused(info => info["request_time"] = "yesterday", "request_time", "yesterday");
        await Refused(info => info["execution_duration"] = "long", "execution_duration", "long");
        await Refused(info => info["client_request_id"] = new string('x', 51), "client_request_id");
        await Refused(info => info["request_preview"] = new string('x', 1001), "request_preview", "1000");
        await Refused(info => info["response_preview"] = new string('x', 1001), "response_preview", "1000");
        await Refused(info => info["tags"] = new JsonObject { [new string('k', 251)] = "" }, "tags", "250");
        await Refused(info => info["tags"] = new JsonObject { ["k"] = 5 }, "tags");
        await Refused(info => info["tags"] = new JsonObject { ["k"] = null }, "tags");
        await Refused(info => info["trace_metadata"] = new JsonObject { ["k"] = null }, "trace_metadata");
        await Refused(info => info["request_time"] = "0000-12-31T23:59:59Z", "request_time");
        await Refused(info => info["request_time"] = "10000-01-01T00:00:00Z", "request_time");
        await Refused(info => info["request_time"] = "0001-01-01T00:00:00+14:00", "request_time");
        await Refused(info => info["execution_duration"] = "9223372036854775.807s", "execution_duration");
        await Refused(info => info["execution_duration"] = "-9223372036854775.809s", "execution_duration");
        await Refused(info => info["execution_duration"] = new string('9', 400) + "s", "execution_duration");
        await Refused(info => info["trace_metadata"] = new JsonObject { ["k"] = new string('v', 8001) }, "trace_metadata", "8000");
        await Refused(info => info["trace_metadata"] = new JsonObject { ["k\0"] = "v" }, "U+0000");
        var unknown = TraceCalls.Info("999999999");
        await server.PostNotFoundAsync(Route, TraceCalls.Start(unknown), "999999999");
        await server.PostAsync("experiments/delete", new { experiment_id = experiment });
        await Refused(_ => { }, "deleted");

        async Task Refused(Action<JsonObject> change, params string[] parts)
        {
            var info = TraceCalls.Info(experiment);
            change(info);
            await server.PostInvalidAsync(Route, TraceCalls.Start(info), parts);
        }
    }

    [Theory, BothDatabases]
    public async Task Get_Unknown_SaysSoInTheWordsThatClientsLookFor(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(TraceCalls.Prefix + "traces/tr-unknown", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "Trace with ID 'tr-unknown' not found");
        await server.GetRefusedAsync("traces/tr-unknown/info", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "tr-unknown");
        await server.PostInvalidAsync(TraceCalls.Prefix + "traces/batchGetInfos", new { }, "trace_ids");
        Assert.Empty(await server.PostAsync(TraceCalls.Prefix + "traces/batchGetInfos", new { trace_ids = Array.Empty<string>() }));
    }

    [Theory, BothDatabases]
    public async Task UnknownRoutes_AnswerWithPages(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var (method, route, status) in ((HttpMethod, string, HttpStatusCode)[])
            [(HttpMethod.Get, "/api/3.0/mlflow/traces/a/info", HttpStatusCode.NotFound), (HttpMethod.Post, "/api/3.0/mlflow/traces/link-to-run", HttpStatusCode.MethodNotAllowed),
                (HttpMethod.Post, "/api/2.0/mlflow/traces/x/assessments", HttpStatusCode.NotFound), (HttpMethod.Get, "/api/2.0/mlflow/get-trace-artifact", HttpStatusCode.NotFound)])
        {
            using var response = await server.SendAsync(method, route, method == HttpMethod.Get ? null : ApiServer.Json(new { }));
            Assert.Equal((route, status, "text/html"), (route, response.StatusCode, response.Content.Headers.ContentType?.MediaType));
        }
    }

    [Theory]
    [BothDatabases("2.0")]
    [BothDatabases("3.0")]
    public async Task Tags_SetAndDeleted_InBothVersions(DatabaseKind kind, string version)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.StartTraceAsync(await server.CreateExperimentAsync());
        var route = $"/api/{version}/mlflow/traces/{id}/tags";
        Assert.Empty(await server.SendJsonAsync(HttpMethod.Patch, route, new { key = "k", value = "v" }));
        await server.SendJsonAsync(HttpMethod.Patch, route, new { key = "k", value = "w" });
        await server.SendJsonAsync(HttpMethod.Patch, route, new { key = "none" });
        var tags = (await server.TraceInfoAsync(id))["tags"]!;
        Assert.Equal(("w", ""), ((string?)tags["k"], (string?)tags["none"]));
        Assert.Empty(await server.SendJsonAsync(HttpMethod.Delete, route, new { key = "k" }));
        Assert.Null((await server.TraceInfoAsync(id))["tags"]!["k"]);
        await server.RefusedAsync(HttpMethod.Delete, route, new { key = "k" }, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "No", "tag with key 'k'");
        await server.RefusedAsync(HttpMethod.Delete, route + "?key=none", new { }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "key");
        await server.RefusedAsync(HttpMethod.Patch, route, new { value = "v" }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "key");
        await server.RefusedAsync(HttpMethod.Patch, route, new { key = "a//b", value = "v" }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "a//b");
        await server.RefusedAsync(HttpMethod.Patch, route, new { key = new string('k', 251) }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "250");
        await server.RefusedAsync(
            HttpMethod.Patch, $"/api/{version}/mlflow/traces/tr-unknown/tags", new { key = "k" }, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "tr-unknown");
    }
}
