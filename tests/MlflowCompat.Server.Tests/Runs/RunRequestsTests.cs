using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>How each type of field is read, and that a request with one bad field does nothing (contract: semantics §1, §4).</summary>
public sealed class RunRequestsTests
{
    [Theory]
    [BothDatabases("5", 5)]
    [BothDatabases("5.0", 5)]
    [BothDatabases("\"5\"", 5)]
    [BothDatabases("\" 5\"", 5)]
    [BothDatabases("-5", -5)]
    [BothDatabases("\"-5\"", -5)]
    [BothDatabases("0", 0)]
    [BothDatabases("null", 0)]
    [BothDatabases("9007199254740993", 9007199254740993)]
    [BothDatabases("9223372036854775807", long.MaxValue)]
    [BothDatabases("\"9223372036854775807\"", long.MaxValue)]
    [BothDatabases("-9223372036854775808", long.MinValue)]
    public async Task Int64_InEverySpelling_IsRead(DatabaseKind kind, string text, long expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", JsonNode.Parse($$"""{"run_id": "{{id}}", "key": "m", "value": 1, "timestamp": 7, "step": {{text}}}""")!);
        Assert.Equal([new Point(1, 7, expected)], await server.HistoryAsync(id, "m"));
        Assert.Equal(new Point(1, 7, expected), (await server.GetRunAsync(id)).Metrics()["m"]);
    }

    [Theory]
    [BothDatabases("5.5")]
    [BothDatabases("\"5.0\"")]
    [BothDatabases("\"5.5\"")]
    [BothDatabases("\"1e3\"")]
    [BothDatabases("\"0x5\"")]
    [BothDatabases("\"abc\"")]
    [BothDatabases("\"\"")]
    [BothDatabases("true")]
    [BothDatabases("[]")]
    [BothDatabases("{}")]
    [BothDatabases("9223372036854775808")]
    [BothDatabases("\"9223372036854775808\"")]
    [BothDatabases("-9223372036854775809")]
    [BothDatabases("1e30")]
    public async Task Int64_OfNoSpelling_IsRefusedNamingTheField(DatabaseKind kind, string text)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        foreach (var field in new[] { "step", "timestamp" })
        {
            var other = field == "step" ? "timestamp" : "step";
            await server.PostInvalidAsync("runs/log-metric", $$"""{"run_id": "{{id}}", "key": "m", "value": 1, "{{other}}": 1, "{{field}}": {{text}}}""", field);
        }

        await server.PostInvalidAsync("runs/create", $$"""{"experiment_id": "{{experiment}}", "start_time": {{text}}}""", "start_time");
        await server.PostInvalidAsync("runs/update", $$"""{"run_id": "{{id}}", "status": "FAILED", "end_time": {{text}}}""", "end_time");
        await server.AssertEmptyAsync(id);
        Assert.Single(await server.SearchNamesAsync(experiment, "status = 'RUNNING'"));
    }

    [Theory]
    [BothDatabases("1", 1.0)]
    [BothDatabases("-1.25", -1.25)]
    [BothDatabases("\"1.25\"", 1.25)]
    [BothDatabases("\"1\"", 1.0)]
    [BothDatabases("1e-7", 1e-7)]
    [BothDatabases("\"NaN\"", double.NaN)]
    [BothDatabases("\"Infinity\"", double.MaxValue)]
    [BothDatabases("\"-Infinity\"", double.MinValue)]
    [BothDatabases("\"inf\"", double.MaxValue)]
    [BothDatabases("\"-inf\"", double.MinValue)]
    [BothDatabases("\"INFINITY\"", double.MaxValue)]
    [BothDatabases("\"1e400\"", double.MaxValue)]
    [BothDatabases("1e400", double.MaxValue)]
    [BothDatabases("123456789012345678901234567890", 123456789012345678901234567890.0)]
    public async Task Double_InEverySpelling_IsRead(DatabaseKind kind, string text, double expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", Raw($$"""{"run_id": "{{id}}", "key": "m", "value": {{text}}, "timestamp": 7}"""));
        await server.PostAsync("runs/log-batch", Raw($$"""{"run_id": "{{id}}", "metrics": [{"key": "b", "value": {{text}}, "timestamp": 7}]}"""));
        foreach (var key in new[] { "m", "b" })
        {
            Assert.Equal([new Point(expected, 7, 0)], await server.HistoryAsync(id, key));
            Assert.Equal(new Point(expected, 7, 0), (await server.GetRunAsync(id)).Metrics()[key]);
        }

        // A node of the text keeps the number as it is written.
        static JsonNode Raw(string json) => JsonNode.Parse(json)!;
    }

    [Theory]
    [BothDatabases("\"abc\"")]
    [BothDatabases("\"\"")]
    [BothDatabases("\"1,5\"")]
    [BothDatabases("true")]
    [BothDatabases("[1]")]
    [BothDatabases("{}")]
    [BothDatabases("null")]
    public async Task Double_OfNoSpelling_IsRefusedNamingTheField(DatabaseKind kind, string text)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-metric", $$"""{"run_id": "{{id}}", "key": "m", "value": {{text}}, "timestamp": 7}""", "value");
        await server.PostInvalidAsync(
            "runs/log-batch", $$"""{"run_id": "{{id}}", "metrics": [{"key": "m", "value": {{text}}, "timestamp": 7}]}""", "metrics[0].value");
        await server.AssertEmptyAsync(id);
    }

    [Theory]
    [BothDatabases("NaN", double.NaN)]
    [BothDatabases("Infinity", double.MaxValue)]
    [BothDatabases("-Infinity", double.MinValue)]
    public async Task Double_AsPythonWritesItWithoutQuotes_IsReadAsTheWord(DatabaseKind kind, string word, double expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        using var answer = await server.SendAsync(HttpMethod.Post, "runs/log-batch", TestServer.JsonText(
            $$"""{"run_id": "{{id}}", "metrics": [{"key": "{{word}}", "value": {{word}}, "timestamp": 7}], "tags": [{"key": "t", "value": "a \"NaN\", NaN"}]}"""));
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync());
        var run = await server.GetRunAsync(id);
        Assert.Equal(new Point(expected, 7, 0), run.Metrics()[word]);
        Assert.Equal("a \"NaN\", NaN", run.Tags()["t"]);
    }

    [Theory]
    [BothDatabases(".5")]
    [BothDatabases("01")]
    [BothDatabases("NaNa")]
    [BothDatabases("nan")]
    [BothDatabases("+1")]
    [BothDatabases("1.")]
    [BothDatabases("")]
    public async Task Double_ThatIsNoJson_IsNeverStoredAsZero(DatabaseKind kind, string text)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-metric", $$"""{"run_id": "{{id}}", "key": "m", "value": {{text}}, "timestamp": 7}""");
        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task Numbers_InAnswers_AreNumbersAndDoublesLookLikeOnes(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync(fields: new { start_time = 1_700_000_000_123 });
        foreach (var (number, value) in new object[] { 1, 0, -3, 1e22, 5e-324, "Infinity", 0.1, 1e-5 }.Index())
            await server.PostAsync("runs/log-metric", new { run_id = id, key = $"m{number}", value, timestamp = 2, step = 3 });
        foreach (var route in new[] { $"runs/get?run_id={id}", $"metrics/get-history?run_id={id}&metric_key=m0" })
        {
            using var response = await server.SendAsync(HttpMethod.Get, route);
            var text = await response.Content.ReadAsStringAsync();
            var values = System.Text.RegularExpressions.Regex.Matches(text, "\"value\": ?(-?[0-9][^,}\\s]*)");
            Assert.NotEmpty(values);
            Assert.All(values, value => Assert.Matches("[.eE]", value.Groups[1].Value));
            Assert.Matches("\"timestamp\": ?2[,}\\s]", text);
            Assert.Matches("\"step\": ?3[,}\\s]", text);
        }
    }

    [Theory]
    [BothDatabases("5", 5)]
    [BothDatabases("5.0", 5)]
    [BothDatabases("\"5\"", 5)]
    [BothDatabases("\" 5 \"", 5)]
    [BothDatabases("null", 7)]
    public async Task Int32_InEverySpelling_IsRead(DatabaseKind kind, string text, int expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        for (var i = 0; i < 7; i++)
            await server.CreateRunAsync(experiment);
        var found = await server.PostAsync("runs/search", JsonNode.Parse($$"""{"experiment_ids": [{{experiment}}], "max_results": {{text}}}""")!);
        Assert.Equal(expected, RunCalls.Ids(found).Count);
        found = await server.PostAsync("runs/search", JsonNode.Parse($$"""{"experimentIds": ["{{experiment}}"], "maxResults": {{text}}}""")!);
        Assert.Equal(expected, RunCalls.Ids(found).Count);
    }

    [Theory]
    [BothDatabases("0")]
    [BothDatabases("-1")]
    [BothDatabases("50001")]
    [BothDatabases("2147483648")]
    [BothDatabases("1.5")]
    [BothDatabases("\"x\"")]
    [BothDatabases("\"\"")]
    [BothDatabases("true")]
    [BothDatabases("[]")]
    public async Task MaxResults_OutOfBoundsOrOfNoSpelling_IsRefused(DatabaseKind kind, string text)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("runs/search", $$"""{"experiment_ids": ["0"], "max_results": {{text}}}""", "max_results");
    }

    [Theory]
    [BothDatabases("\"ALL\"", 2)]
    [BothDatabases("3", 2)]
    [BothDatabases("\"3\"", 2)]
    [BothDatabases("\"DELETED_ONLY\"", 1)]
    [BothDatabases("1", 1)]
    [BothDatabases("null", 1)]
    public async Task Enum_ByNameOrNumber_IsRead(DatabaseKind kind, string view, int expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.CreateRunAsync(experiment);
        await server.PostAsync("runs/delete", new { run_id = await server.CreateRunAsync(experiment) });
        var found = await server.PostAsync("runs/search", JsonNode.Parse($$"""{"experiment_ids": ["{{experiment}}"], "run_view_type": {{view}}}""")!);
        Assert.Equal(expected, RunCalls.Ids(found).Count);
    }

    /// <summary>Runs are what clients of all ages search for: a view that is none is as good as no view (contract: semantics §1.2).</summary>
    [Theory]
    [BothDatabases("\"EVERYTHING\"")]
    [BothDatabases("\"all\"")]
    [BothDatabases("99")]
    [BothDatabases("\"99\"")]
    public async Task ViewType_WithoutSuchAValue_IsNoViewType(DatabaseKind kind, string view)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var active = await server.CreateRunAsync(experiment);
        await server.PostAsync("runs/delete", new { run_id = await server.CreateRunAsync(experiment) });
        var found = await server.PostAsync("runs/search", JsonNode.Parse($$"""{"experiment_ids": ["{{experiment}}"], "run_view_type": {{view}}}""")!);
        Assert.Equal([active], RunCalls.Ids(found));
    }

    [Theory]
    [BothDatabases("user_id", "5")]
    [BothDatabases("user_id", "true")]
    [BothDatabases("user_id", "\"a\\u0000\"")]
    [BothDatabases("user_id", "\"\\ud800\"")]
    [BothDatabases("run_name", "5")]
    [BothDatabases("run_name", "{}")]
    [BothDatabases("run_name", "\"a\\u0000b\"")]
    [BothDatabases("run_name", "\"\\udfff\"")]
    [BothDatabases("tags", "{}")]
    [BothDatabases("tags", "\"x\"")]
    [BothDatabases("tags", "[5]")]
    [BothDatabases("tags", "[null]")]
    [BothDatabases("tags", "[{}]")]
    [BothDatabases("tags", "[{\"value\": \"v\"}]")]
    [BothDatabases("tags", "[{\"key\": \"\"}]")]
    [BothDatabases("tags", "[{\"key\": 5}]")]
    [BothDatabases("tags", "[{\"key\": \"k\", \"value\": 5}]")]
    [BothDatabases("tags", "[{\"key\": \"a\\u0000\", \"value\": \"v\"}]")]
    [BothDatabases("tags", "[{\"key\": \"k\", \"value\": \"\\ud800x\"}]")]
    public async Task Create_WithAFieldOfTheWrongType_NamesItAndMakesNothing(DatabaseKind kind, string field, string value)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync("runs/create", $$"""{"experiment_id": "{{experiment}}", "{{field}}": {{value}}}""", field);
        Assert.Empty(await server.SearchNamesAsync(experiment));
    }

    [Theory]
    [BothDatabases("true")]
    [BothDatabases("1.5")]
    [BothDatabases("[]")]
    [BothDatabases("{}")]
    public async Task ExperimentId_OfTheWrongType_IsRefusedNamingIt(DatabaseKind kind, string value)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("runs/create", $$"""{"experiment_id": {{value}}}""", "experiment_id");
        await server.PostInvalidAsync("runs/search", $$"""{"experiment_ids": [{{value}}]}""", "experiment_ids");
        await server.PostInvalidAsync("runs/search", """{"experiment_ids": "0"}""", "experiment_ids");
    }

    [Theory, BothDatabases]
    public async Task ExperimentId_AsANumber_IsRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var run = (await server.PostAsync("runs/create", JsonNode.Parse($$"""{"experiment_id": {{experiment}}}""")!))["run"]!;
        Assert.Equal(experiment, (string)run["info"]!["experiment_id"]!);
    }

    /// <summary>Every field that a search reads: filter, order, token, and their elements.</summary>
    [Theory]
    [BothDatabases("filter", "5")]
    [BothDatabases("filter", "[]")]
    [BothDatabases("filter", "\"tags.a = '\\u0000'\"")]
    [BothDatabases("filter", "\"tags.a = '\\ud800'\"")]
    [BothDatabases("order_by", "\"start_time\"")]
    [BothDatabases("order_by", "[5]")]
    [BothDatabases("order_by", "[null]")]
    [BothDatabases("order_by", "[\"start_time\\u0000\"]")]
    [BothDatabases("page_token", "5")]
    [BothDatabases("page_token", "\"garbage\"")]
    [BothDatabases("page_token", "\"\\u0000\"")]
    [BothDatabases("page_token", "\"bnVsbA==\"")]
    [BothDatabases("page_token", "\"e30=\"")]
    [BothDatabases("page_token", "\"eyJvZmZzZXQiOiAwfQ==\"")]
    [BothDatabases("page_token", "\"eyJvZmZzZXQiOiBudWxsfQ==\"")]
    [BothDatabases("page_token", "\"eyJvZmZzZXQiOiAieCJ9\"")]
    [BothDatabases("page_token", "\"eyJvZmZzZXQiOiAtMX0=\"")]
    [BothDatabases("page_token", "\"WzFd\"")]
    [BothDatabases("page_token", "\"eyJvZmZzZXQiOiAxfQ\"")]
    public async Task Search_WithABadField_NamesIt(DatabaseKind kind, string field, string value)
    {
        var server = await TestServer.SharedAsync(kind);
        var named = field == "page_token" && value.StartsWith('"') && !value.Contains('\\', StringComparison.Ordinal) ? "Invalid page token" : field;
        await server.PostInvalidAsync("runs/search", $$"""{"experiment_ids": ["0"], "{{field}}": {{value}}}""", named);
    }

    [Theory, BothDatabases]
    public async Task Body_WithTextThatIsNoUnicode_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var (before, after) in new[]
        {
            ("{\"run_id\": \"" + id + "\", \"key\": \"t\", \"value\": \"", "\"}"),
            ("{\"run_id\": \"" + id + "\", \"value\": \"v\", \"key\": \"", "\"}"),
            ("{\"run_id\": \"", "\", \"key\": \"t\", \"value\": \"v\"}"),
        })
        {
            foreach (var bytes in new byte[][] { [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80] })
            {
                var content = new ByteArrayContent([.. Encoding.UTF8.GetBytes(before), .. bytes, .. Encoding.UTF8.GetBytes(after)]);
                content.Headers.ContentType = new("application/json");
                using var response = await server.SendAsync(HttpMethod.Post, "runs/set-tag", content);
                await TestServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
            }
        }

        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task FieldName_ThatIsNoUnicode_DoesNoHarm(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        using var response = await server.SendAsync(
            HttpMethod.Post, "runs/set-tag", TestServer.JsonText($$"""{"\ud800": 1, "\u0000": 2, "run_id": "{{id}}", "key": "t", "value": "v"}"""));
        Assert.InRange((int)response.StatusCode, 200, 400);
        Assert.Equal("application/json", response.Content.Headers.ContentType?.ToString());
    }

    [Theory, BothDatabases]
    public async Task Nesting_DeeperThanAnyMessage_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var depth in new[] { 100, 100_000 })
        {
            var nested = new string('[', depth) + new string(']', depth);
            await server.PostInvalidAsync("runs/log-batch", $$"""{"run_id": "{{id}}", "metrics": {{nested}}}""");
            await server.PostInvalidAsync("runs/log-batch", $$"""{"run_id": "{{id}}", "tags": [{"key": "t", "unknown": {{nested}}}]}""");
        }

        await server.AssertEmptyAsync(id);
    }

    [Theory]
    [BothDatabases("runs/log-batch")]
    [BothDatabases("runs/log-inputs")]
    [BothDatabases("runs/create")]
    public async Task Body_ThatIsNoMessage_IsRefused(DatabaseKind kind, string route)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var body in new[] { "", " ", "null", "[]", "5", "true", "\"\"", "\"x\"", "{", "{}{}", "[{}]", "\ufeff", "{\"run_id\" \"x\"}", "\u0000" })
            await server.PostInvalidAsync(route, body);
    }

    [Theory, BothDatabases]
    public async Task Query_OfAGet_IsReadAsText(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (first, second) = (await server.CreateRunAsync(), await server.CreateRunAsync());
        foreach (var id in new[] { first, second })
        {
            for (var step = 0; step < 3; step++)
                await server.PostAsync("runs/log-metric", new { run_id = id, key = "m é/:1", value = 1, timestamp = step, step });
        }

        var run = (await server.GetAsync($"runs/get?run_id={first}&run_id={second}"))["run"]!;
        Assert.Equal(first, (string)run["info"]!["run_id"]!);
        var key = Uri.EscapeDataString("m é/:1");
        Assert.Equal(2, RunCalls.Points(await server.GetAsync($"metrics/get-history?run_id={first}&metric_key={key}&max_results=2")).Count);
        Assert.Equal(2, RunCalls.Points(await server.GetAsync($"metrics/get-history?run_id={first}&metric_key={key}&max_results=%202")).Count);
        Assert.Equal(6, RunCalls.Points(await server.GetAsync($"metrics/get-history-bulk-interval?run_ids={first}&run_ids={second}&metric_key={key}")).Count);
        await server.GetRefusedAsync("runs/get?run_id=%00", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "run_id");
        await server.GetRefusedAsync($"metrics/get-history?run_id={first}&metric_key=%00", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "metric_key");
        await server.GetRefusedAsync($"metrics/get-history?run_id={first}&metric_key=m&max_results=1e3", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "max_results");
    }

    [Theory, BothDatabases]
    public async Task Body_ThatNeverEnds_IsCutOff(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        using var client = new TcpClient();
        await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            "POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"));
        await WriteChunkAsync(Encoding.ASCII.GetBytes("{\"run_id\": \"" + id + "\", \"tags\": [{\"key\": \"t\", \"value\": \""));
        var answer = ReadStatusAsync();
        var megabyte = Enumerable.Repeat((byte)'x', 1 << 20).ToArray();
        var sent = 0;
        try
        {
            // Far beyond any limit that makes sense; a server that reads on would take all of it.
            for (; sent < 1024 && !answer.IsCompleted; sent++)
                await WriteChunkAsync(megabyte);
        }
        catch (IOException)
        {
            // The server has answered and closed.
        }

        Assert.InRange(sent, 1, 1023);
        Assert.Matches("^(HTTP/1.1 4[01][03] .*)?$", await answer);
        await server.AssertEmptyAsync(id);

        async Task WriteChunkAsync(byte[] bytes)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"{bytes.Length:x}\r\n"));
            await stream.WriteAsync(bytes);
            await stream.WriteAsync("\r\n"u8.ToArray());
        }

        async Task<string> ReadStatusAsync()
        {
            using var reader = new StreamReader(stream, leaveOpen: true);
            try
            {
                return await reader.ReadLineAsync() ?? "";
            }
            catch (IOException)
            {
                return "";
            }
        }
    }

    [Theory, BothDatabases]
    public async Task Body_OfAHugeAnnouncedLength_IsRefusedUnread(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        using var client = new TcpClient();
        await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            $"POST /api/2.0/mlflow/runs/set-tag HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {long.MaxValue}\r\n\r\n"));
        await stream.WriteAsync(Encoding.ASCII.GetBytes($$"""{"run_id": "{{id}}", "key": "t", "value": "v"}"""));
        using var reader = new StreamReader(stream);
        Assert.Matches("^HTTP/1.1 4[01][03] ", await reader.ReadLineAsync());
        await server.AssertEmptyAsync(id);
    }
}
