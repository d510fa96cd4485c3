using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Experiments;

/// <summary>How requests are read, tried on experiments (contract: semantics §1); the same code reads all others.</summary>
public sealed class ExperimentRequestsTests
{
    private static readonly JsonSerializerOptions Short = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    [Theory]
    [BothDatabases("")]
    [BothDatabases("null")]
    [BothDatabases("{}")]
    [BothDatabases("[]")]
    [BothDatabases("5")]
    [BothDatabases("true")]
    [BothDatabases("\"text\"")]
    [BothDatabases("{")]
    [BothDatabases("{\"name\": \"x\"")]
    [BothDatabases("{\"name\": \"x\",}")]
    [BothDatabases("{'name': 'x'}")]
    [BothDatabases("{\"name\": nan}")]
    [BothDatabases("{\"name\": Nothing}")]
    [BothDatabases("{\"name\": \"x\"} {}")]
    [BothDatabases("name=x")]
    [BothDatabases("[{\"name\": \"x\"}]")]
    [BothDatabases("{\"name\": \"a\tb\"}")]
    public async Task Body_ThatHoldsNoMessage_IsRefused(DatabaseKind kind, string body)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/create", body);
    }

    [Theory, BothDatabases]
    public async Task Body_OfBytesThatAreNotUtf8_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        using var response = await server.SendAsync(
            HttpMethod.Post, "experiments/create", Bytes([.. "{\"name\": \""u8, 0xFF, 0xFE, 0x80, .. "\"}"u8]));
        await TestServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
    }

    [Theory, BothDatabases]
    public async Task Body_InTheSpellingsOfOldAndOtherClients_IsRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("spelling");
        await AssertReadAsync($$"""{"name": "{{name}}1"}""", name + "1");
        await AssertReadAsync("\ufeff" + $$"""{"name": "{{name}}2"}""", name + "2");
        await AssertReadAsync(JsonSerializer.Serialize($$"""{"name": "{{name}}3"}"""), name + "3");
        await AssertReadAsync($$"""{"name": "first", "name": "{{name}}4"}""", name + "4");
        await AssertReadAsync($$"""{"name": "{{name}}5", "tags": null, "artifact_location": null}""", name + "5");
        await AssertReadAsync($$"""{"name": "{{name}}6", "unknown": {"a": [1, {"b": null}]}, "tags": [], "artifact_location": ""}""", name + "6");
        await AssertReadAsync(" \r\n\t{ \"name\" : \"" + name + "7\\u00e9\\ud83d\\ude00\" }\n", name + "7é😀");

        async Task AssertReadAsync(string body, string expected)
        {
            using var response = await server.SendAsync(HttpMethod.Post, "experiments/create", TestServer.JsonText(body));
            Assert.True(response.IsSuccessStatusCode, $"{body}: {await response.Content.ReadAsStringAsync()}");
            await server.GetAsync($"experiments/get-by-name?experiment_name={Uri.EscapeDataString(expected)}");
        }
    }

    [Theory, BothDatabases]
    public async Task Fields_InLowerCamelCase_AreRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = (string)(await server.PostAsync(
            "experiments/create", new { name = TestServer.FreshName("camel"), artifactLocation = "s3://camel/case" }))["experiment_id"]!;
        using var response = await server.SendAsync(HttpMethod.Get, "experiments/get", TestServer.Json(new { experimentId = id }));
        var experiment = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["experiment"]!;
        Assert.Equal("s3://camel/case", (string?)experiment["artifact_location"]);
        Assert.Single((await server.PostAsync("experiments/search", new { maxResults = 1, viewType = "ALL" }))["experiments"]!.AsArray());
    }

    [Theory]
    [BothDatabases("name", "5")]
    [BothDatabases("name", "true")]
    [BothDatabases("name", "[\"x\"]")]
    [BothDatabases("name", "{}")]
    [BothDatabases("artifact_location", "5")]
    [BothDatabases("tags", "{}")]
    [BothDatabases("tags", "[5]")]
    [BothDatabases("tags", "[[]]")]
    [BothDatabases("tags", "true")]
    public async Task Field_OfTheWrongType_IsRefusedNamingItAndItsValue(DatabaseKind kind, string field, string value)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("type");
        var body = field == "name" ? $$"""{"name": {{value}}}""" : $$"""{"name": "{{name}}", "{{field}}": {{value}}}""";
        await server.PostInvalidAsync("experiments/create", body, "Invalid value", field);
        await server.GetRefusedAsync($"experiments/get-by-name?experiment_name={name}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
    }

    [Theory]
    [BothDatabases("true")]
    [BothDatabases("1.5")]
    [BothDatabases("1e3")]
    [BothDatabases("[]")]
    [BothDatabases("{}")]
    [BothDatabases("99999999999999999999")]
    public async Task ExperimentId_ThatIsNeitherTextNorInteger_IsRefusedNamingIt(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/delete", $$"""{"experiment_id": {{id}}}""", "experiment_id");
    }

    [Theory]
    [BothDatabases("""{"name": "a\u0000b"}""", "name")]
    [BothDatabases("""{"name": "x", "artifact_location": "s3://a\u0000b"}""", "artifact_location")]
    [BothDatabases("""{"name": "x", "tags": [{"key": "a\u0000b", "value": "v"}]}""", "tags[0].key")]
    [BothDatabases("""{"name": "x", "tags": [{"key": "a", "value": "\u0000"}]}""", "tags[0].value")]
    [BothDatabases("""{"name": "a\ud800b"}""", "name")]
    [BothDatabases("""{"name": "a\udc00"}""", "name")]
    public async Task Text_ThatNoDatabaseCanKeep_IsRefusedNamingTheField(DatabaseKind kind, string body, string field)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/create", body, field);
    }

    [Theory, BothDatabases]
    public async Task Text_ThatNoDatabaseCanKeep_IsRefusedInSearchesAndQueriesToo(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/search", """{"max_results": 5, "filter": "name = 'a\u0000b'"}""", "filter");
        await server.PostInvalidAsync("experiments/search", """{"max_results": 5, "order_by": ["na\u0000me"]}""", "order_by");
        await server.PostInvalidAsync("experiments/search", """{"max_results": 5, "page_token": "\u0000"}""", "page_token");
        await server.GetRefusedAsync("experiments/get-by-name?experiment_name=a%00b", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "experiment_name");
        await server.GetRefusedAsync("experiments/search?max_results=5&filter=name%20=%20'%00'", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "filter");
        await server.GetRefusedAsync("experiments/get?experiment_id=%00", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "experiment_id");
    }

    [Theory, BothDatabases]
    public async Task DeepNesting_InAnyField_IsRefusedAndTheServerStaysHealthy(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var depth in new[] { 100, 100_000 })
        {
            var nested = new string('[', depth) + new string(']', depth);
            await server.PostInvalidAsync("experiments/create", $$"""{"name": "x", "unknown": {{nested}}}""");
            await server.PostInvalidAsync("experiments/create", $$"""{"name": {{nested}}}""");
            await server.PostInvalidAsync("experiments/create", nested);
            await server.PostInvalidAsync("experiments/create", string.Concat(Enumerable.Repeat("{\"tags\":", depth)));
        }

        await server.CreateExperimentAsync();
    }

    [Theory, BothDatabases]
    public async Task Body_EncodedMoreThanTwice_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var body = $$"""{"name": "{{TestServer.FreshName("encoded")}}"}""";
        body = JsonSerializer.Serialize(JsonSerializer.Serialize(body, Short), Short);
        await server.PostInvalidAsync("experiments/create", body);
    }

    [Theory, BothDatabases]
    public async Task Body_OfSeveralMegabytes_IsRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var answer = await server.PostAsync("experiments/create", new { unknown = new string('x', 5_000_000), name = TestServer.FreshName("large") });
        Assert.NotNull((string?)answer["experiment_id"]);
    }

    [Theory, BothDatabases]
    public async Task Connection_OfARefusedRequest_IsStillGood(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        using var client = new TcpClient();
        await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
        using var reader = new StreamReader(client.GetStream());
        foreach (var body in new[] { "{", "[]", "{\"name\": 5}", "{}", "\"x\"" })
        {
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(
                $"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}"));
            Assert.Equal("HTTP/1.1 400 Bad Request", await reader.ReadLineAsync());
            var length = 0;
            while (await reader.ReadLineAsync() is { Length: > 0 } header)
            {
                if (header.StartsWith("Content-Length: ", StringComparison.Ordinal))
                    length = int.Parse(header["Content-Length: ".Length..], CultureInfo.InvariantCulture);
            }

            Assert.NotEqual(0, length);
            Assert.Equal(length, await reader.ReadBlockAsync(new char[length], 0, length));
        }
    }

    [Theory]
    [BothDatabases("text/plain")]
    [BothDatabases("application/x-www-form-urlencoded")]
    [BothDatabases("Application/JSON")]
    [BothDatabases("application/jsonx")]
    [BothDatabases(null)]
    public async Task ContentType_OtherThanJson_IsRefused(DatabaseKind kind, string? contentType)
    {
        var server = await TestServer.SharedAsync(kind);
        using var response = await server.SendAsync(HttpMethod.Post, "experiments/create", Bytes("{\"name\": \"x\"}"u8.ToArray(), contentType));
        await TestServer.AssertErrorAsync(
            response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Bad Request. Content-Type", "application/json");
    }

    [Theory]
    [BothDatabases("application/json; charset=utf-8")]
    [BothDatabases("application/json ;charset=UTF-8")]
    public async Task ContentType_JsonWithParameters_IsAccepted(DatabaseKind kind, string contentType)
    {
        var server = await TestServer.SharedAsync(kind);
        using var response = await server.SendAsync(
            HttpMethod.Post,
            "experiments/create",
            Bytes(Encoding.UTF8.GetBytes($$"""{"name": "{{TestServer.FreshName("parameters")}}"}"""), contentType));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory, BothDatabases]
    public async Task Post_ParametersInTheQuery_AreIgnored(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("experiments/create?name=query", new { }, "'name'");
    }

    [Theory, BothDatabases]
    public async Task Get_Query_WinsOverTheBodyAndItsFirstValueCounts(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("query");
        var id = await server.CreateExperimentAsync(name);
        Assert.Equal(name, await NameAsync($"experiments/get?experiment_id={id}&experiment_id=0&unknown=1", new { experiment_id = "0" }));
        Assert.Equal(name, await NameAsync("experiments/get", new { experiment_id = id }));
        await server.GetRefusedAsync($"experiments/get?experimentId={id}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "'experiment_id'");

        async Task<string?> NameAsync(string route, object body)
        {
            using var response = await server.SendAsync(HttpMethod.Get, route, TestServer.Json(body));
            return (string?)JsonNode.Parse(await response.Content.ReadAsStringAsync())!["experiment"]!["name"];
        }
    }

    [Theory, BothDatabases]
    public async Task Head_WhereGetWorks_AnswersWithoutBody(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        using var found = await server.SendAsync(HttpMethod.Head, "experiments/get?experiment_id=0");
        Assert.Equal(HttpStatusCode.OK, found.StatusCode);
        Assert.Empty(await found.Content.ReadAsByteArrayAsync());
        using var missing = await server.SendAsync(HttpMethod.Head, "experiments/get?experiment_id=abc");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
    }

    [Theory, BothDatabases]
    public async Task Body_AnnouncedLargerThanAllowed_IsRefusedWithoutBeingRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        using var client = new TcpClient();
        await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            $"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {1L << 40}\r\n\r\n{{"));
        using var reader = new StreamReader(stream);
        var status = await reader.ReadLineAsync();
        Assert.Matches("^HTTP/1.1 4[01][03] ", status);
        await server.CreateExperimentAsync();
    }

    [Theory, BothDatabases]
    public async Task Client_ThatGoesAwayInTheMiddle_LeavesNothingAndTheServerHealthy(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = TestServer.FreshName("half");
        for (var i = 0; i < 5; i++)
        {
            using var client = new TcpClient();
            await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
            var body = $$"""{"name": "{{name}}"}""";
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(
                $"POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {body.Length + 1}\r\n\r\n{body}"));
        }

        await server.CreateExperimentAsync();
        await server.GetRefusedAsync($"experiments/get-by-name?experiment_name={name}", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
    }

    private static ByteArrayContent Bytes(byte[] bytes, string? contentType = "application/json")
    {
        var content = new ByteArrayContent(bytes);
        if (contentType is not null)
            content.Headers.TryAddWithoutValidation("Content-Type", contentType);
        return content;
    }
}
