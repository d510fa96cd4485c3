using System.IO.Compression;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>Exports that are broken, cut, too much or not what they say: clear errors, and not one row of them (contract: since-3.6 §3.3).</summary>
public sealed class OtlpInputTests
{
    private const string Json = "application/json";

    /// <summary>A member of gzip with nothing in it.</summary>
    private static readonly byte[] EmptyGzip = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    [Theory]
    [BothDatabases("gzip")]
    [BothDatabases("zlib")]
    [BothDatabases("raw")]
    public async Task Export_PackedBodyCutAnywhere_IsRefusedAndNothingIsStored(DatabaseKind kind, string format)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (first, second) = (OtlpExport.Request(OtlpExport.Root()), OtlpExport.Request(OtlpExport.Root()));
        // What stands before the flush is an export of its own.
        foreach (var body in (byte[][])[Pack(format, first, second), Pack(format, first, second, Noise(40_000))])
        {
            // All of the small one; of the large one the end, and what is around the ends of what an unpacker reads at a time.
            for (var length = 0; length < body.Length; length += body.Length < 2000 || body.Length - length < 30 || length % 8192 is < 4 or > 8187 ? 1 : Math.Min(97, body.Length - length - 29))
                await RefusedAsync(await SendAsync(server, experiment, body[..length], format), 400, "Content-Encoding");
        }

        Assert.Equal(0, await RowsAsync(server, experiment));
        using var whole = await SendAsync(server, experiment, Pack(format, first, second, Noise(40_000)), format);
        Assert.Equal(HttpStatusCode.OK, whole.StatusCode);
        Assert.Equal(4, await RowsAsync(server, experiment));
    }

    [Theory]
    [BothDatabases("gzip")]
    [BothDatabases("zlib")]
    [BothDatabases("raw")]
    public async Task Export_PackedBodyThatIsBrokenOrGoesOn_IsRefusedAndNothingIsStored(DatabaseKind kind, string format)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        foreach (var packed in (byte[][])[Pack(format, OtlpExport.Request(OtlpExport.Root())), Pack(format, OtlpExport.Request(OtlpExport.Root()), Noise(20_000))])
        {
            foreach (var more in (byte[][])[[0], [0xFF], [0x1F], [0x1F, 0x8B], [0, 0, 0, 0], packed[..^1], new byte[10_000], format == "gzip" ? [0x78, 0x9C] : packed])
                await RefusedAsync(await SendAsync(server, experiment, [.. packed, .. more], format), 400, "Content-Encoding");
            // Of the sums at the end; raw deflate has none.
            for (var i = 1; i <= (format == "gzip" ? 8 : format == "zlib" ? 4 : 0); i++)
            {
                var broken = packed.ToArray();
                broken[^i] ^= 0x40;
                await RefusedAsync(await SendAsync(server, experiment, broken, format), 400, "Content-Encoding");
            }
        }

        await RefusedAsync(await SendAsync(server, experiment, Pack("zlib", OtlpExport.Request(OtlpExport.Root())), "gzip"), 400, "Content-Encoding");
        await RefusedAsync(await SendAsync(server, experiment, Pack("gzip", OtlpExport.Request(OtlpExport.Root())), "raw"), 400, "Content-Encoding");
        Assert.Equal(0, await RowsAsync(server, experiment));
    }

    [Theory, BothDatabases]
    public async Task Export_SeveralMembersOfGzip_AreOneBody(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        // Members that end before, on and behind the end of what an unpacker reads at a time.
        for (var size = 8150; size < 8195; size++)
        {
            byte[] body = [.. OtlpExport.Field(100, Noise(size)), .. OtlpExport.Request(OtlpExport.Root())];
            byte[] packed = [.. Pack("gzip", body[..size]), .. EmptyGzip, .. Pack("gzip", body[size..])];
            using var response = await SendAsync(server, experiment, packed, "gzip");
            Assert.True(response.StatusCode == HttpStatusCode.OK, $"{size}: {(int)response.StatusCode}");
            if (size % 9 == 0)
                await RefusedAsync(await SendAsync(server, experiment, packed[..^3], "gzip"), 400, "Content-Encoding");
        }

        Assert.Equal(2 * 45, await RowsAsync(server, experiment));
    }

    [Theory]
    [BothDatabases("gzip")]
    [BothDatabases("zlib")]
    [BothDatabases("raw")]
    public async Task Export_Bombs_AreRefusedWhateverTheirPacking(DatabaseKind kind, string format)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var zeros = Pack(format, new byte[33 * 1024 * 1024]);
        var bomb = format == "gzip" ? [.. zeros, .. zeros] : Pack(format, new byte[66 * 1024 * 1024]);
        Assert.InRange(bomb.Length, 0, 1024 * 1024);
        await RefusedAsync(await SendAsync(server, experiment, bomb, format), 413, "67108864");
        Assert.Equal(0, await RowsAsync(server, experiment));
        await server.ExportAsync(experiment, OtlpExport.Root());
    }

    [Theory, BothDatabases]
    public async Task Export_AnythingBad_LeavesNoRowsAndAHealthyServer(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        var good = OtlpExport.Request(root);
        const string Protobuf = "application/x-protobuf";
        foreach (var (header, body, type, status, part) in ((string?, byte[], string, int, string)[])
        [
            (null, good, Protobuf, 422, "x-mlflow-experiment-id"),
            ("", good, Protobuf, 422, ""),
            ("abc", good, Protobuf, 422, root.MlflowId), ("1.5", good, Protobuf, 422, root.MlflowId), ("-1", good, Protobuf, 422, root.MlflowId),
            ("999999999", good, Protobuf, 422, root.MlflowId), (new string('9', 40), good, Protobuf, 422, root.MlflowId),
            (experiment, good, "text/plain", 400, "text/plain"), (experiment, good, "application/x-protobuffer", 400, "Content-Type"), (experiment, good, "", 400, "Content-Type"),
            (experiment, good, Json, 400, "UTF-8"), (experiment, Encoding.ASCII.GetBytes("{}"), Protobuf, 400, "protobuf"),
            // A good span before what is not: a tag of field 0, an unknown wire type, a length beyond the end, one that is negative.
            (experiment, [.. good, 0x02], Protobuf, 400, "protobuf"), (experiment, [.. good, 0x0F], Protobuf, 400, "protobuf"), (experiment, [.. good, 0x0A, 0x7F], Protobuf, 400, "protobuf"),
            (experiment, [.. good, 0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Protobuf, 400, "protobuf"),
            (experiment, OtlpExport.Request(root, root with { SpanId = "00" }), Protobuf, 422, "span id"),
            (experiment, OtlpExport.Request(root, root with { SpanId = new string('0', 16) }), Protobuf, 422, "span id"),
            (experiment, OtlpExport.Request(root, root with { TraceId = new string('0', 32) }), Protobuf, 422, "trace id"),
            (experiment, OtlpExport.Request(root, root with { TraceId = root.TraceId + "00" }), Protobuf, 422, "trace id"),
            (experiment, OtlpExport.Request(root, root with { ParentId = root.TraceId }), Protobuf, 422, "parent"),
            (experiment, JsonSpans($$"""{"traceId":"{{root.TraceId}}","spanId":"{{root.SpanId}}"}""", """{"traceId":"AAAAAAAAAAAAAAAAAAAAAQ==","spanId":"0000000000000001"}"""), Json, 400, "traceId"),
            (experiment, JsonSpans($$"""{"traceId":"{{root.TraceId}}","spanId":"{{root.SpanId}}"}""", $$"""{"traceId":"{{root.TraceId}}","spanId":""}"""), Json, 422, "span id"),
            (experiment, JsonSpans($$"""{"traceId":"{{root.TraceId}}","spanId":"{{root.SpanId}}"}""")[..^1], Json, 400, "JSON"),
        ])
        {
            await RefusedAsync(await server.SendAsync(header, body, type), status, part);
        }

        Assert.Equal(0, await RowsAsync(server, experiment));
        Assert.Empty(await server.BatchGetAsync(root.MlflowId));
        using (var health = await server.SendAsync(HttpMethod.Get, "/health"))
            Assert.Equal(HttpStatusCode.OK, health.StatusCode);
        await server.ExportAsync(experiment, root);
        Assert.Equal(2, await RowsAsync(server, experiment));
    }

    [Theory, BothDatabases]
    public async Task Export_SpansThatAreMoreWhenStoredThanTheyCame_AreLeftOut(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        // Seven bytes for each, as an attribute: an escape in the JSON of an escape.
        var text = new string('\u0001', 3 * 1024 * 1024);
        var spans = new Dictionary<string, object?>[]
        {
            new() { ["k"] = text }, new() { ["list"] = new object?[] { text } }, new() { ["map"] = new Dictionary<string, object?> { [text] = 1L } }, new() { [text] = 1L },
            new() { ["mlflow.llm.model"] = text }, new() { ["bytes"] = new byte[13 * 1024 * 1024] },
        }.Select(attributes => OtlpExport.Child(root) with { Attributes = attributes });
        var fits = OtlpExport.Child(root) with { Attributes = new() { ["k"] = new string('\u0001', 2 * 1024 * 1024) } };

        using var response = await server.SendAsync(experiment, OtlpExport.Request([root, .. spans, OtlpExport.Child(root) with { Name = new string('\u0001', 3 * 1024 * 1024) }, fits]));

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(7, (await response.Content.ReadAsByteArrayAsync())[3]);
        Assert.Equal(3, await RowsAsync(server, experiment));
    }

    [Theory]
    [BothDatabases(false)]
    [BothDatabases(true)]
    public async Task Export_ManySpansOfTooManyParts_IsGivenUp(DatabaseKind kind, bool asJson)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        using (var response = await SendAsync(100))
        {
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            var answer = await response.Content.ReadAsByteArrayAsync();
            Assert.Equal(100, asJson ? (int)JsonNode.Parse(answer)!["partialSuccess"]!["rejectedSpans"]! : answer[3]);
        }

        Assert.Equal(2, await RowsAsync(server, experiment));
        await RefusedAsync(await SendAsync(101), 413, "100 spans", "10000 events");
        Assert.Equal(2, await RowsAsync(server, experiment));

        Task<HttpResponseMessage> SendAsync(int count)
        {
            var root = OtlpExport.Root();
            if (asJson)
            {
                var events = string.Join(',', Enumerable.Repeat("{}", 10_001));
                return server.SendAsync(experiment, JsonSpans([
                    $$"""{"traceId":"{{root.TraceId}}","spanId":"{{root.SpanId}}"}""",
                    .. Enumerable.Repeat($$"""{"traceId":"{{root.TraceId}}","spanId":"{{root.SpanId}}","events":[{{events}}]}""", count)]), Json);
            }

            var wide = OtlpExport.Field(2, OtlpExport.Span(root with { Events = [.. Enumerable.Repeat(("", 0UL, new Dictionary<string, object?>()), 10_001)] }));
            var scope = new byte[wide.Length * count];
            for (var i = 0; i < count; i++)
                wide.CopyTo(scope, i * wide.Length);
            return server.SendAsync(experiment, [.. OtlpExport.Request(root), .. OtlpExport.Field(1, OtlpExport.Field(2, scope))]);
        }
    }

    [Theory, BothDatabases]
    public async Task Export_TextCutInACharacter_IsMended(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var root = OtlpExport.Root();
        const string Attributes = """
            [{"key": "k\ud83d", "value": {"stringValue": "v\uDE00", "\ud800": 1}}, {"key": "pair", "value": {"stringValue": "\ud83d\ude00 \\ud83d \ud83d\ud83d\ude00"}},
             {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "\udfff\ud800"}]}}}, {"key": "mlflow.spanInputs", "value": {"stringValue": "{\"q\": \"\\ud83d\"}"}},
             {"key": "session.id", "value": {"stringValue": "\ud83d"}}]
            """;
        var span = $$"""
            {"traceId": "{{root.TraceId}}", "spanId": "{{root.SpanId}}", "name": "cut \ud83d", "\ud800": "\udc00", "status": {"code": "STATUS_CODE_ERROR", "message": "\ud800"},
             "attributes": {{Attributes}}, "events": [{"name": "\udc00", "attributes": {{Attributes}}}]}
            """;
        using (var response = await server.SendAsync(experiment, JsonSpans(span), Json))
            Assert.Equal("{}", await response.Content.ReadAsStringAsync());

        var trace = Assert.Single(await server.BatchGetAsync(root.MlflowId))!;
        var stored = trace["spans"]![0]!;
        Assert.Equal(("cut \uFFFD", "\uFFFD", "\uFFFD"), ((string?)stored["name"], (string?)stored["status"]!["message"], (string?)stored["events"]![0]!["name"]));
        foreach (var owner in (JsonNode[])[stored, stored["events"]![0]!])
        {
            var values = owner["attributes"]!.AsArray().ToDictionary(attribute => (string)attribute!["key"]!, attribute => attribute!["value"]!);
            Assert.Equal("v\uFFFD", (string?)values["k\uFFFD"]["string_value"]);
            Assert.Equal("😀 \\ud83d \uFFFD😀", (string?)values["pair"]["string_value"]);
            Assert.Equal("\uFFFD\uFFFD", (string?)values["list"]["array_value"]!["values"]![0]!["string_value"]);
            Assert.Equal("{\"q\": \"\\ud83d\"}", (string?)values["mlflow.spanInputs"]["string_value"]);
        }

        // No text that may be anything: numbers and ids.
        foreach (var field in (string[])["\"startTimeUnixNano\": \"\\ud800\"", "\"spanId\": \"\\ud800\"", "\"attributes\": [{\"key\": \"k\", \"value\": {\"intValue\": \"\\ud800\"}}]"])
            await RefusedAsync(await server.SendAsync(experiment, JsonSpans($$"""{"traceId": "{{root.TraceId}}", {{field}} }"""), Json), 400, "of the wrong type");
        await RefusedAsync(await server.SendAsync(experiment, [.. "{\"resourceSpans\": [{\"a\": \""u8, 0xC3, .. "\"}]}"u8], Json), 400, "UTF-8");
    }

    private static byte[] JsonSpans(params string[] spans) =>
        Encoding.UTF8.GetBytes($$"""{"resourceSpans":[{"scopeSpans":[{"spans":[{{string.Join(',', spans)}}]}]}]}""");

    /// <summary>A field that nobody knows, of bytes that cannot be packed.</summary>
    private static byte[] Noise(int length)
    {
        var bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        return OtlpExport.Field(100, bytes);
    }

    /// <summary>Packs parts with a flush after each.</summary>
    private static byte[] Pack(string format, params byte[][] parts)
    {
        using var packed = new MemoryStream();
        using (Stream stream = format switch
        {
            "gzip" => new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true),
            "zlib" => new ZLibStream(packed, CompressionLevel.Optimal, leaveOpen: true),
            _ => new DeflateStream(packed, CompressionLevel.Optimal, leaveOpen: true),
        })
        {
            foreach (var part in parts)
            {
                stream.Write(part);
                stream.Flush();
            }
        }

        return packed.ToArray();
    }

    private static Task<HttpResponseMessage> SendAsync(TestServer server, string experiment, byte[] body, string format) =>
        server.SendAsync(experiment, body, encoding: format == "gzip" ? "gzip" : "deflate");

    /// <summary>How many rows an experiment has, of traces and of spans.</summary>
    private static async Task<long> RowsAsync(TestServer server, string experiment)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return (await session.ListAsync(
            server.Database.Statement("""
                SELECT (SELECT count(*) FROM trace_info WHERE experiment_id = $1) + (SELECT count(*) FROM spans WHERE experiment_id = $1)
                """).Add(long.Parse(experiment, System.Globalization.CultureInfo.InvariantCulture)),
            reader => reader.GetInt64(0),
            CancellationToken.None))[0];
    }

    private static async Task RefusedAsync(HttpResponseMessage response, int status, params string[] parts)
    {
        using (response)
        {
            var body = await response.Content.ReadAsStringAsync();
            Assert.True(status == (int)response.StatusCode, $"expected {status}, got {(int)response.StatusCode}: {body}");
            var detail = (string?)JsonNode.Parse(body)!["detail"];
            foreach (var part in parts)
                Assert.Contains(part, detail, StringComparison.Ordinal);
        }
    }
}
