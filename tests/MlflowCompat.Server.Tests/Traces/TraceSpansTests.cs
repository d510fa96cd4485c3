using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Traces with their spans: batchGet, get, get-trace-artifact (contract: endpoints §12; since-3.6 §3.1).</summary>
public sealed class TraceSpansTests
{
    [Theory, BothDatabases]
    public async Task BatchGet_SeveralTraces_KeepsTheOrderOfTheRequestAndLeavesUnknownOnesOut(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (first, second) = (OtlpExport.Root(name: "first"), OtlpExport.Root(name: "second"));
        var early = OtlpExport.Child(first, "early") with { Start = first.Start - 5 };
        var late = OtlpExport.Child(first, "late") with { Start = first.Start + 5 };
        await server.ExportAsync(experiment, late, early, first, second);
        var traces = await server.BatchGetAsync(second.MlflowId, "tr-unknown", first.MlflowId, second.MlflowId);
        Assert.Equal([second.MlflowId, first.MlflowId], traces.Select(trace => (string)trace!["trace_info"]!["trace_id"]!));
        Assert.Equal(["first", "early", "late"], traces[1]!["spans"]!.AsArray().Select(span => (string)span!["name"]!));
        Assert.Empty(await server.BatchGetAsync("tr-unknown"));
        await server.GetRefusedAsync(TraceCalls.Prefix + "traces/batchGet", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "trace_ids");
    }

    [Theory, BothDatabases]
    public async Task BatchGet_SpansStillToCome_LeavesTheTraceOut(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        await server.ExportAsync(experiment, root);
        var info = TraceCalls.Info(experiment, root.MlflowId);
        info["trace_metadata"] = new JsonObject { ["mlflow.trace.sizeStats"] = "{\"num_spans\": 2}" };
        await server.StartTraceAsync(info);
        Assert.Empty(await server.BatchGetAsync(root.MlflowId));
        var partial = (await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={root.MlflowId}&allow_partial=true"))["trace"]!;
        Assert.Single(partial["spans"]!.AsArray());
        var waiting = server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={root.MlflowId}");
        await server.ExportAsync(experiment, OtlpExport.Child(root));
        Assert.Equal(2, (await waiting)["trace"]!["spans"]!.AsArray().Count);
        Assert.Single(await server.BatchGetAsync(root.MlflowId));
    }

    [Theory, BothDatabases]
    public async Task Get_SpansThatNeverCome_SaysSoAfterAWhile(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var info = TraceCalls.Info(await server.CreateExperimentAsync());
        info["trace_metadata"] = new JsonObject { ["mlflow.trace.sizeStats"] = "{\"num_spans\": 1}" };
        var id = await server.StartTraceAsync(info);
        await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/get?trace_id={id}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "not fully exported");
        await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/get?trace_id=tr-unknown", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "tr-unknown");
        await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/get", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "trace_id");
        await server.GetRefusedAsync($"{TraceCalls.Prefix}traces/get?trace_id={id}&allow_partial=1", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "allow_partial");
        info["trace_metadata"]!["mlflow.trace.sizeStats"] = "no JSON";
        await server.StartTraceAsync(info);
        Assert.False((await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={id}"))["trace"]!.AsObject().ContainsKey("spans"));
    }

    [Theory, BothDatabases]
    public async Task BatchGet_MoreSpansThanAreReadAtATime_GivesAllInOrder(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        var children = Enumerable.Range(0, 1000).Select(i => OtlpExport.Child(root, $"step {i}") with { Start = root.Start + (ulong)i }).ToArray();
        await server.ExportAsync(experiment, [.. children.Reverse(), root]);
        var spans = Assert.Single(await server.BatchGetAsync(root.MlflowId))!["spans"]!.AsArray();
        Assert.Equal(children.Select(child => child.Name).Prepend("root"), spans.Select(span => (string)span!["name"]!));
    }

    [Theory]
    [BothDatabases("2.0")]
    [BothDatabases("3.0")]
    public async Task Artifact_StoredSpans_IsTheFileThatClientsWouldHaveWritten(DatabaseKind kind, string version)
    {
        var server = await TestServer.SharedAsync(kind);
        var root = OtlpExport.Root() with
        {
            Status = 1,
            Attributes = new() { ["n"] = 5L, ["s"] = "x", ["m"] = new Dictionary<string, object?> { ["k"] = "v" }, ["u"] = null },
        };
        await server.ExportAsync(await server.CreateExperimentAsync(), root, OtlpExport.Child(root));
        using var response = await server.SendAsync(HttpMethod.Get, $"/ajax-api/{version}/mlflow/get-trace-artifact?request_id={root.MlflowId}");
        Assert.Equal((HttpStatusCode.OK, "text/plain"), (response.StatusCode, response.Content.Headers.ContentType?.ToString()));
        Assert.Equal("attachment; filename=traces.json", response.Content.Headers.ContentDisposition?.ToString());
        var spans = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["spans"]!.AsArray();
        Assert.Equal(2, spans.Count);
        var attributes = spans[0]!["attributes"]!;
        Assert.Equal(("5", "\"x\"", "{\"k\": \"v\"}", "null"), ((string?)attributes["n"], (string?)attributes["s"], (string?)attributes["m"], (string?)attributes["u"]));
        Assert.Equal((null, "STATUS_CODE_OK", ""), ((string?)spans[0]!["parent_span_id"], (string?)spans[0]!["status"]!["code"], (string?)spans[0]!["status"]!["message"]));
        Assert.Equal(Convert.ToBase64String(Convert.FromHexString(root.SpanId)), (string?)spans[1]!["parent_span_id"]);
    }

    [Theory, BothDatabases]
    public async Task Artifact_FilesOfTheTrace_AreServed(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.StartTraceAsync(experiment);
        const string Route = "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=";
        await server.GetRefusedAsync(Route + id, HttpStatusCode.NotFound, "NOT_FOUND", id);
        await server.GetRefusedAsync(Route, HttpStatusCode.BadRequest, "BAD_REQUEST", "request_id");
        await server.GetRefusedAsync(Route + "tr-unknown", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "tr-unknown");

        var attachment = Guid.NewGuid().ToString("D");
        await PutAsync("traces.json", """{"spans": []}""");
        await PutAsync($"attachments/{attachment}", "picture");
        using (var file = await server.SendAsync(HttpMethod.Get, Route + id))
            Assert.Equal("""{"spans": []}""", await file.Content.ReadAsStringAsync());
        // The file of a client that sends no spans is given back as stored ones are.
        await PutAsync("traces.json", """
            {"spans": [{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAE=", "parent_span_id": null, "name": "from a file", "start_time_unix_nano": 5,
              "end_time_unix_nano": 6, "events": [], "status": {"code": "STATUS_CODE_OK", "message": ""}, "attributes": {"mlflow.spanInputs": "{\"q\": 1}"}},
              {"name": "of version 2", "context": {}}]}
            """);
        var span = Assert.Single(Assert.Single(await server.BatchGetAsync(id))!["spans"]!.AsArray())!;
        Assert.Equal(("from a file", "STATUS_CODE_OK"), ((string?)span["name"], (string?)span["status"]!["code"]));
        Assert.Equal("""{"kvlist_value":{"values":[{"key":"q","value":{"int_value":1}}]}}""", span["attributes"]![0]!["value"]!.ToJsonString());
        Assert.Single((await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={id}"))["trace"]!["spans"]!.AsArray());
        await PutAsync("traces.json", "no JSON");
        Assert.False(Assert.Single(await server.BatchGetAsync(id))!.AsObject().ContainsKey("spans"));
        using (var file = await server.SendAsync(HttpMethod.Get, $"{Route}{id}&path={attachment}"))
            Assert.Equal("picture", await file.Content.ReadAsStringAsync());
        await server.GetRefusedAsync($"{Route}{id}&path={Guid.NewGuid():D}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        foreach (var path in (string[])["..%2Ftraces.json", attachment.ToUpperInvariant(), "x"])
            await server.GetRefusedAsync($"{Route}{id}&path={path}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "path");

        async Task PutAsync(string path, string content)
        {
            using var body = new StringContent(content);
            using var response = await server.SendAsync(HttpMethod.Put, $"/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{id}/artifacts/{path}", body);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Theory, BothDatabases]
    public async Task BatchGet_FilesOfAnyContent_TakeNoOtherTraceAlong(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        const string Span = """{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAE=", "name": "n", "attributes": {"a": "1"}}""";
        var good = Encoding.UTF8.GetBytes($$"""{"spans": [{{Span}}]}""");
        (byte[] File, int Spans)[] files =
        [
            (good, 1), (File("""{"spans": [""", Span), 0), (good[..^1], 0), ([.. good, 0x7D], 0), ([], 0), (File("no JSON"), 0), (File("[]"), 0), (File("5"), 0), (File("null"), 0),
            (File("""{"spans": {}}"""), 0), (File("""{"spans": null}"""), 0), (File("""{"spans": [5, [], null, {}, "x"]}"""), 0), (File("""{"other": [1], "spans": [""", Span, ""","x"]}"""), 1),
            (Encoding.Unicode.GetBytes("""{"spans": []}"""), 0), ([.. "{\"spans\": [{\"span_id\": \""u8, 0xFF, .. "\", \"trace_id\": \"\"}]}"u8], 0),
            (File("""{"spans": """, new string('[', 1000), new string(']', 1000), "}"), 0), (File("{\"spans\": [", string.Join(',', Enumerable.Repeat("0", 3_000_000)), ",", Span, "]}"), 1),
            (Odd("\"n\"", """ "\ud800" """), 1), (Odd("\"1\"", """ "\"\\ud800\"" """), 1), (Odd("\"a\"", """ "\ud800" """), 1), (Odd("\"name\"", """ "\ud800" """), 1),
            (Odd("\"1\"", """ {"x": [1, {"y": "\ud800"}]} """), 1), (Odd("\"1\"", """ "{bad" """), 1), (Odd("\"1\"", $"\"{new string('[', 200)}{new string(']', 200)}\""), 1),
            (Odd("\"n\"", "5"), 1), (Odd("\"n\"", "NaN"), 0), (Odd("{\"a\": \"1\"}", "[]"), 1),
            (Odd("\"n\"", """ "n", "events": [5, {"name": 5, "attributes": {"\ud800": "\udc00"}}, []] """), 1),
            (Odd("\"n\"", """ "n", "events": {}, "status": 5, "start_time_unix_nano": "x", "end_time_unix_nano": 1e999 """), 1),
        ];
        var ids = new List<string>();
        foreach (var (file, _) in files)
        {
            var info = TraceCalls.Info(experiment);
            info["trace_metadata"] = new JsonObject { ["mlflow.trace.sizeStats"] = """{"\ud800": 5}""" };
            ids.Add(await server.StartTraceAsync(info));
            using var body = new ByteArrayContent(file);
            using var response = await server.SendAsync(HttpMethod.Put, $"/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{ids[^1]}/artifacts/traces.json", body);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }

        var stored = OtlpExport.Root();
        await server.ExportAsync(experiment, stored);
        var traces = await server.BatchGetAsync([.. ids, stored.MlflowId]);
        Assert.Equal([.. ids, stored.MlflowId], traces.Select(trace => (string)trace!["trace_info"]!["trace_id"]!));
        for (var i = 0; i < files.Length; i++)
        {
            Assert.True(files[i].Spans == (traces[i]!["spans"]?.AsArray().Count ?? 0), $"{i}: {traces[i]!.ToJsonString()}");
            Assert.NotNull((await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={ids[i]}"))["trace"]);
        }

        Assert.Single(traces[^1]!["spans"]!.AsArray());
        var cut = files.ToList().FindIndex(file => file.File.AsSpan().IndexOf(@"\ud800"u8) >= 0);
        Assert.Equal("\uFFFD", (string?)traces[cut]!["spans"]![0]!["name"]);
        Assert.Equal("\uFFFD", (string?)traces[cut + 1]!["spans"]![0]!["attributes"]![0]!["value"]!["string_value"]);

        static byte[] File(params string[] parts) => Encoding.UTF8.GetBytes(string.Concat(parts));
        static byte[] Odd(string part, string other) => File("{\"spans\": [", Span.Replace(part, other, StringComparison.Ordinal), "]}");
    }

    [Theory, BothDatabases]
    public async Task BatchGet_FileThatIsTooLarge_IsOfATraceWithoutSpans(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (id, stored) = (await server.StartTraceAsync(experiment), OtlpExport.Root());
        await server.ExportAsync(experiment, stored);
        var file = new byte[64 * 1024 * 1024 + 1];
        Array.Fill(file, (byte)' ');
        """{"spans": [{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAE="}]}"""u8.CopyTo(file);
        using var body = new ByteArrayContent(file);
        using var response = await server.SendAsync(HttpMethod.Put, $"/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{id}/artifacts/traces.json", body);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var traces = await server.BatchGetAsync(id, stored.MlflowId);
        Assert.False(traces[0]!.AsObject().ContainsKey("spans"));
        Assert.Single(traces[1]!["spans"]!.AsArray());
    }
}
