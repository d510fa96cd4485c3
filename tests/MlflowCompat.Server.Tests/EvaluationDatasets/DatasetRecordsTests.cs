using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Server.EvaluationDatasets;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;
using static MlflowCompat.Server.Tests.EvaluationDatasets.DatasetCalls;

namespace MlflowCompat.Server.Tests.EvaluationDatasets;

/// <summary>Records of data sets: upsert by inputs, merging, schema and profile, pages, deletion (contract: endpoints §15).</summary>
public sealed class DatasetRecordsTests
{
    /// <summary>Expected values are those of Python: <c>sha256(json.dumps(json.loads(text), sort_keys=True))</c>.</summary>
    [Theory]
    [InlineData("{}", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")]
    [InlineData("""{"q": "a"}""", "a4bc9dd8ac9abf3f5f4d884c10315b92e9e923d5baa3a5f73b19d3bfd67bd0c9")]
    [InlineData("""{"q":"\u0061"}""", "a4bc9dd8ac9abf3f5f4d884c10315b92e9e923d5baa3a5f73b19d3bfd67bd0c9")]
    [InlineData("""{"b": 1, "a": {"d": [], "c": {}}}""", "b3a52f188b84bcc3e087e0e10ece3818903b7856a7435bdbb3d303b6c7b1e12f")]
    [InlineData("""{"a": 1, "a": 2}""", "e5a9d5b0300e0f50d372e5a9ddfa24208aac9a940ce9a36f247387221ae205fe")]
    [InlineData("""{"x": NaN, "y": [Infinity, -Infinity]}""", "8856a5940ab0e98864fe88aa693878b7b4a396077d63f52e1d5d24e4787a577b")]
    [InlineData(
        """{"n": [0, -0, 1.0, 1e2, -0.0, 1.5e-7, 0.0001, 0.00001, 1e15, 1e16, 123456789012345678901234567890, 1e22, 5e-324, 1.7976931348623157e308, 0.1, 100.25, 1E400, -1e400]}""",
        "202a6a6f34a7b38905ab18a809000f2b1bc00c1b0ef68097b2d4cee31e8b74c6")]
    [InlineData(
        """{"t": "\u00e9\ud83d\ude00\n\t\"\\/\u007f\b\f\r", "\uffff": 1, "\ud83d\ude00": 2, "z": 3}""",
        "8676fe7155005512101e744cd3a234bbb401d5511ad6a4549337f621be579c5f")]
    public void Hash_OfInputs_IsMlflows(string inputs, string hash) =>
        Assert.Equal(hash, UpsertedRecords.Parse(new EmbeddedJson(Encoding.UTF8.GetBytes($$"""[{"inputs": {{inputs}}}]"""))).Distinct.Single().Hash);

    [Fact]
    public void Records_OfOneRequest_AreBounded()
    {
        var records = Encoding.UTF8.GetBytes($"[{string.Join(',', Enumerable.Repeat("{}", UpsertedRecords.MaxRecords + 1))}]");
        Assert.Equal(UpsertedRecords.MaxRecords, UpsertedRecords.Parse(new EmbeddedJson((byte[])[.. records.AsSpan(0, records.Length - 4), (byte)']'])).Given);
        var refused = Assert.Throws<MlflowException>(() => UpsertedRecords.Parse(new EmbeddedJson(records)));
        Assert.Equal(ErrorCode.InvalidParameterValue, refused.Code);
        Assert.Contains("'records'", refused.Message, StringComparison.Ordinal);
    }

    [Theory, BothDatabases]
    public async Task Upsert_NewRecords_ComeBackAsTheyWereSent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        const string Sent = """
            [{"inputs": {"q": "ü😀", "n": 1, "f": 1.0, "e": 1e2, "big": 123456789012345678901234567890, "o": {"b": [null, true], "a": {}}},
              "outputs": ["x", {"y": 1.50}], "expectations": {"z": 0.10, "a": null}, "tags": {"mlflow.user": "me", "n": 5},
              "source": {"source_type": "trace", "source_data": {"trace_id": "tr-1", "x": [1]}}, "unknown": 1},
             {"inputs": {"q": 2}, "outputs": null, "expectations": null, "tags": null, "source": null},
             {"inputs": {"q": 3}, "expectations": {}, "tags": {}, "source": {"source_type": "DOCUMENT", "source_data": {"source_id": "doc"}}},
             {"source": {"source_type": "Code"}},
             {"inputs": {"q": 4}, "outputs": "text", "source": {}},
             {"inputs": {"q": 5}, "outputs": 0, "source": {"source_type": "HUMAN", "source_data": null}}]
            """;
        AssertJson("""{"inserted_count": 6, "updated_count": 0}""", await server.UpsertAsync(id, Sent));

        var page = await server.GetAsync($"{Route}{id}/records");
        Assert.Equal(["records"], page.Select(field => field.Key));
        // Numbers keep the spelling that tells integers from floats.
        foreach (var text in new[] { "\"n\": 1,", "\"f\": 1.0,", "\"e\": 1e2,", "123456789012345678901234567890", "1.50", "\"z\": 0.10" })
            Assert.Contains(text, (string)page["records"]!, StringComparison.Ordinal);
        var records = await server.RecordsAsync(id);
        var time = (long)records[0]["created_time"]!;
        Assert.All(records, record => Assert.Equal((id, time, time), ((string)record["dataset_id"]!, (long)record["created_time"]!, (long)record["last_update_time"]!)));
        Assert.All(records, record => Assert.Matches("^dr-[0-9a-f]{32}$", (string)record["dataset_record_id"]!));
        Assert.Equal(6, records.Select(record => (string)record["dataset_record_id"]!).Distinct().Count());
        AssertJson(
            """
            [{"inputs": {"q": "ü😀", "n": 1, "f": 1.0, "e": 1e2, "big": 123456789012345678901234567890, "o": {"b": [null, true], "a": {}}},
              "outputs": ["x", {"y": 1.50}], "expectations": {"z": 0.10, "a": null}, "tags": {"mlflow.user": "me", "n": 5},
              "source": {"source_type": "TRACE", "source_data": {"trace_id": "tr-1", "x": [1]}}, "source_id": "tr-1", "source_type": "TRACE",
              "created_by": "me", "last_updated_by": "me"},
             {"inputs": {"q": 2}, "tags": {}},
             {"inputs": {"q": 3}, "outputs": {}, "expectations": {}, "tags": {},
              "source": {"source_type": "DOCUMENT", "source_data": {"source_id": "doc"}}, "source_id": "doc", "source_type": "DOCUMENT"},
             {"inputs": {}, "outputs": {}, "tags": {}, "source": {"source_type": "CODE", "source_data": {}}, "source_type": "CODE"},
             {"inputs": {"q": 4}, "outputs": "text", "tags": {}},
             {"inputs": {"q": 5}, "outputs": 0, "tags": {}, "source": {"source_type": "HUMAN", "source_data": {}}, "source_type": "HUMAN"}]
            """,
            new JsonArray([.. records.Select(record => Without(record, "dataset_record_id", "dataset_id", "created_time", "last_update_time"))]));
    }

    [Theory, BothDatabases]
    public async Task Upsert_OfEqualInputs_Merges(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.UpsertAsync(id, """
            [{"inputs": {"a": 1, "b": {"x": 1.0, "y": 2}}, "outputs": "old", "expectations": {"e": 1, "f": 1}, "tags": {"t": "1", "mlflow.user": "first"},
              "source": {"source_type": "HUMAN"}}, {"inputs": {"a": 2}}]
            """);
        var before = await server.RecordsAsync(id);

        // The same inputs in another order and spelling; 1 and 1.0 are different, 1.0 and 10e-1 are not.
        AssertJson(
            """{"inserted_count": 2, "updated_count": 1}""",
            await server.UpsertAsync(id, """
                [{"inputs": {"b": {"y": 2, "x": 10e-1}, "\u0061": 1}, "expectations": {"f": 2.0, "g": [1]}, "tags": {"t": "2", "u": null, "mlflow.user": "second"},
                  "source": {"source_type": "CODE"}},
                 {"inputs": {"a": 1, "b": {"x": 1, "y": 2}}}, {"inputs": {"a": 1.0, "b": {"x": 1.0, "y": 2}}}]
                """));
        var merged = (await server.RecordsAsync(id))[0];
        AssertJson(
            """
            {"inputs": {"a": 1, "b": {"x": 1.0, "y": 2}}, "outputs": "old", "expectations": {"e": 1, "f": 2.0, "g": [1]},
             "tags": {"t": "2", "mlflow.user": "second", "u": null}, "source": {"source_type": "HUMAN", "source_data": {}}, "source_type": "HUMAN",
             "created_by": "first", "last_updated_by": "second"}
            """,
            Without(merged, "dataset_record_id", "dataset_id", "created_time", "last_update_time"));
        Assert.Equal((string)before[0]["dataset_record_id"]!, (string)merged["dataset_record_id"]!);
        Assert.Equal((long)before[0]["created_time"]!, (long)merged["created_time"]!);
        Assert.True((long)merged["last_update_time"]! >= (long)before[0]["last_update_time"]!);

        // What is empty or absent changes nothing, but outputs that are given do, also null.
        await server.UpsertAsync(id, """[{"inputs": {"a": 1, "b": {"x": 1.0, "y": 2}}, "expectations": {}, "tags": null}]""");
        var same = (await server.RecordsAsync(id))[0];
        Assert.Equal(Without(merged, "last_update_time").ToJsonString(), Without(same, "last_update_time").ToJsonString());
        await server.UpsertAsync(id, """[{"inputs": {"a": 1, "b": {"x": 1.0, "y": 2}}, "outputs": {"new": 1}}]""");
        AssertJson("""{"new": 1}""", (await server.RecordsAsync(id))[0]["outputs"]);
        await server.UpsertAsync(id, """[{"inputs": {"a": 1, "b": {"x": 1.0, "y": 2}}, "outputs": null}, {"inputs": {"a": 2}, "expectations": {"n": 1}, "tags": {"t": "x"}}]""");
        var last = await server.RecordsAsync(id);
        Assert.False(last[0].ContainsKey("outputs"));
        AssertJson("""{"n": 1}""", last[1]["expectations"]);
        AssertJson("""{"t": "x"}""", last[1]["tags"]);
        Assert.Equal(4, last.Count);
    }

    [Theory, BothDatabases]
    public async Task Upsert_InputsRepeatedWithinOneCall_CountAsOneInsertAndUpdates(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        const string Records = """
            [{"inputs": {"q": 1}, "expectations": {"a": 1, "b": 1}, "tags": {"mlflow.user": "first"}}, {"inputs": {"q": 2}},
             {"inputs": {"q": 1}, "outputs": "o", "expectations": {"b": 2}, "tags": {"mlflow.user": "second"}, "source": {"source_type": "CODE"}}, {"inputs": {"q": 1}}]
            """;
        AssertJson("""{"inserted_count": 2, "updated_count": 2}""", await server.UpsertAsync(id, Records));
        AssertJson("""{"inserted_count": 0, "updated_count": 4}""", await server.UpsertAsync(id, Records));
        var records = await server.RecordsAsync(id);
        AssertJson(
            """
            [{"inputs": {"q": 1}, "outputs": "o", "expectations": {"a": 1, "b": 2}, "tags": {"mlflow.user": "second"}, "created_by": "first", "last_updated_by": "second"},
             {"inputs": {"q": 2}, "outputs": {}, "tags": {}}]
            """,
            new JsonArray([.. records.Select(record => Without(record, "dataset_record_id", "dataset_id", "created_time", "last_update_time"))]));
    }

    [Theory, BothDatabases]
    public async Task SchemaProfileAndDigest_FollowTheRecords(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var created = await server.CreateDatasetAsync(null, new Dictionary<string, string> { ["mlflow.user"] = "maker" });
        var id = (string)created["dataset_id"]!;
        AssertJson("""{"inserted_count": 0, "updated_count": 0}""", await server.UpsertAsync(id, "[]"));
        var empty = await server.GetDatasetAsync(id);
        Assert.False(empty.ContainsKey("schema"));
        Assert.False(empty.ContainsKey("profile"));

        await Task.Delay(2);
        await server.UpsertAsync(id, """
            [{"inputs": {"s": "", "i": 1, "f": 1.0, "e": 1e2, "b": true, "n": null, "l": [], "o": {}, "x": NaN}, "expectations": {"k": "v"}},
             {"inputs": {"s": 5}, "outputs": {}}]
            """);
        var first = await server.GetDatasetAsync(id);
        AssertJson(
            """
            {"inputs": {"s": "string", "i": "integer", "f": "float", "e": "float", "b": "boolean", "n": "null", "l": "array", "o": "object", "x": "float"},
             "outputs": {}, "expectations": {"k": "string"}, "version": "1.0"}
            """,
            JsonNode.Parse((string)first["schema"]!));
        AssertJson("""{"num_records": 2}""", JsonNode.Parse((string)first["profile"]!));
        Assert.NotEqual((string)created["digest"]!, (string)first["digest"]!);
        Assert.Matches("^[0-9a-f]{8}$", (string)first["digest"]!);
        Assert.True((long)first["last_update_time"]! > (long)created["last_update_time"]!);
        Assert.Equal((long)created["created_time"]!, (long)first["created_time"]!);
        Assert.Equal("maker", (string)first["last_updated_by"]!);

        await server.UpsertAsync(id, """[{"inputs": {"new": 1}, "outputs": {"a": 1}, "tags": {"mlflow.user": "other"}}, {"inputs": {"s": 5}, "outputs": "text"}]""");
        var second = await server.GetDatasetAsync(id);
        AssertJson("""{"a": "integer"}""", JsonNode.Parse((string)second["schema"]!)!["outputs"]);
        Assert.Equal("integer", (string)JsonNode.Parse((string)second["schema"]!)!["inputs"]!["new"]!);
        AssertJson("""{"num_records": 3}""", JsonNode.Parse((string)second["profile"]!));
        Assert.Equal(("maker", "other"), ((string)second["created_by"]!, (string)second["last_updated_by"]!));

        await server.PostAsync($"{Route}{id}/records", new { records = """[{"inputs": {"new": 1}}]""", updated_by = "sender" });
        Assert.Equal("sender", (string)(await server.GetDatasetAsync(id))["last_updated_by"]!);
    }

    [Theory]
    [BothDatabases("""[{"outputs": "t"}, {"inputs": {"q": 1}, "outputs": {"a": 1}}]""", "\"string\"")]
    [BothDatabases("""[{"outputs": {"a": "t"}}, {"inputs": {"q": 1}, "outputs": 5}]""", """{"a":"string"}""")]
    [BothDatabases("""[{"outputs": {}}, {"inputs": {"q": 1}, "outputs": 5}]""", "\"integer\"")]
    [BothDatabases("""[{"outputs": null}, {"inputs": {"q": 1}, "outputs": [1]}]""", "\"array\"")]
    public async Task Schema_OfMixedOutputs_IsThatOfTheFirst(DatabaseKind kind, string records, string outputs)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        for (var round = 0; round < 2; round++)
        {
            await server.UpsertAsync(id, records);
            Assert.Equal(outputs, JsonNode.Parse((string)(await server.GetDatasetAsync(id))["schema"]!)!["outputs"]!.ToJsonString());
        }

        // One by one it comes to the same.
        var other = await server.CreateDatasetIdAsync();
        foreach (var record in JsonNode.Parse(records)!.AsArray())
            await server.UpsertAsync(other, $"[{record!.ToJsonString()}]");
        Assert.Equal(outputs, JsonNode.Parse((string)(await server.GetDatasetAsync(other))["schema"]!)!["outputs"]!.ToJsonString());
    }

    /// <summary>Python's clients write what is missing in a data frame so, and read it.</summary>
    [Theory, BothDatabases]
    public async Task BareNaN_ComesBackBare(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.UpsertAsync(id, """[{"inputs": {"x": NaN, "t": "NaN"}, "outputs": Infinity, "expectations": {"a": [-Infinity]}, "tags": {"t": NaN}}]""");
        AssertJson(
            """{"inserted_count": 0, "updated_count": 1}""",
            await server.UpsertAsync(id, """[{"inputs": {"t": "NaN", "x": NaN}, "expectations": {"b": NaN}}]"""));
        AssertJson("""{"inserted_count": 1, "updated_count": 0}""", await server.UpsertAsync(id, """[{"inputs": {"t": "NaN", "x": "NaN"}}]"""));
        var text = (string)(await server.GetAsync($"{Route}{id}/records"))["records"]!;
        foreach (var part in new[] { "\"x\": NaN", "\"t\": \"NaN\"", "\"outputs\":Infinity", "[-Infinity]", "\"b\":NaN", "\"tags\":{\"t\": NaN}", "\"x\": \"NaN\"" })
            Assert.Contains(part, text, StringComparison.Ordinal);
    }

    [Theory]
    [BothDatabases("{}", "Missing value for required parameter 'records'")]
    [BothDatabases("""{"records": ""}""", "Missing value for required parameter 'records'")]
    [BothDatabases("""{"records": null}""", "Missing value for required parameter 'records'")]
    [BothDatabases("""{"records": []}""", "records")]
    [BothDatabases("""{"records": [{"inputs": {}}]}""", "records")]
    [BothDatabases("""{"records": 5}""", "records")]
    [BothDatabases("""{"records": "\ud83d"}""", "records")]
    [BothDatabases("""{"records": "nonsense"}""", "records")]
    [BothDatabases("""{"records": "[{}"}""", "records")]
    [BothDatabases("""{"records": "[{}] x"}""", "records")]
    [BothDatabases("""{"records": "{}"}""", "records")]
    [BothDatabases("""{"records": "null"}""", "records")]
    [BothDatabases("""{"records": "[{}, 5]"}""", "records[1]")]
    [BothDatabases("""{"records": "[null]"}""", "records[0]")]
    [BothDatabases("""{"records": "[{}, {\"inputs\": null}]"}""", "records[1].inputs")]
    [BothDatabases("""{"records": "[{\"inputs\": \"x\"}]"}""", "records[0].inputs")]
    [BothDatabases("""{"records": "[{\"inputs\": [1]}]"}""", "records[0].inputs")]
    [BothDatabases("""{"records": "[{\"expectations\": [1]}]"}""", "records[0].expectations")]
    [BothDatabases("""{"records": "[{\"expectations\": NaN}]"}""", "records[0].expectations")]
    [BothDatabases("""{"records": "[{\"tags\": \"x\"}]"}""", "records[0].tags")]
    [BothDatabases("""{"records": "[{\"source\": \"x\"}]"}""", "records[0].source")]
    [BothDatabases("""{"records": "[{\"source\": {\"source_data\": {}}}]"}""", "records[0].source.source_type")]
    [BothDatabases("""{"records": "[{\"source\": {\"source_type\": \"MARS\"}}]"}""", "records[0].source.source_type", "MARS", "TRACE, HUMAN, DOCUMENT, CODE")]
    [BothDatabases("""{"records": "[{\"source\": {\"source_type\": 1}}]"}""", "records[0].source.source_type")]
    [BothDatabases("""{"records": "[{\"source\": {\"source_type\": \"CODE\", \"source_data\": \"x\"}}]"}""", "records[0].source.source_data")]
    [BothDatabases("""{"records": "[{\"source\": {\"source_type\": \"CODE\", \"other\": 1}}]"}""", "other")]
    [BothDatabases("""{"records": "[{\"inputs\": {\"a\": \"\\u0000\"}}]"}""", "records[0]", "U+0000")]
    [BothDatabases("""{"records": "[{\"inputs\": {\"a\\u0000\": NaN}}]"}""", "records[0]", "U+0000")]
    [BothDatabases("""{"records": "[{\"outputs\": [\"\\ud83d\"]}]"}""", "records[0]", "Unicode")]
    public async Task Upsert_WithSomethingWrong_IsRefusedAndWritesNothing(DatabaseKind kind, string message, params string[] parts)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        var before = await server.GetDatasetAsync(id);
        await server.SendInvalidAsync(HttpMethod.Post, $"{Route}{id}/records", message, parts);
        Assert.Equal(before.ToJsonString(), (await server.GetDatasetAsync(id)).ToJsonString());
        Assert.Empty(await server.RecordsAsync(id));
    }

    [Theory, BothDatabases]
    public async Task Upsert_BeyondALimit_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.UpsertAsync(id, "[{\"inputs\": {\"deep\": " + Nested(120) + "}}]");
        await server.SendInvalidAsync(
            HttpMethod.Post, $"{Route}{id}/records", JsonSerializer.Serialize(new { records = "[{\"inputs\": {\"deep\": " + Nested(130) + "}}]" }), "records", "deeper");
        Assert.Single(await server.RecordsAsync(id));
        var source = new { source_type = "TRACE", source_data = new { trace_id = new string('t', 256) } };
        await server.PostInvalidAsync($"{Route}{id}/records", new { records = JsonSerializer.Serialize(new[] { new { source } }) }, "source_data", "exceeds");
        await server.PostInvalidAsync($"{Route}{id}/records", new { records = "[]", updated_by = new string('u', 256) }, "'updated_by' exceeds");

        static string Nested(int depth) => new string('[', depth) + new string(']', depth);
    }

    [Theory]
    [BothDatabases(1)]
    [BothDatabases(3)]
    [BothDatabases(7)]
    [BothDatabases(8)]
    [BothDatabases(0)]
    public async Task Pages_GiveEveryRecordOnceInTheOrderOfCreation(DatabaseKind kind, int pageSize)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.UpsertAsync(id, Enumerable.Range(0, 4).Select(i => new { inputs = new { i } }));
        await Task.Delay(2);
        await server.UpsertAsync(id, Enumerable.Range(2, 6).Select(i => new { inputs = new { i }, outputs = "later" }));
        Assert.Equal(8, JsonNode.Parse((string)(await server.GetAsync($"{Route}{id}/records?max_results=0"))["records"]!)!.AsArray().Count);
        Assert.Equal(Enumerable.Range(0, 8), (await server.RecordsAsync(id, pageSize == 0 ? null : pageSize)).Select(record => (int)record["inputs"]!["i"]!));
    }

    [Theory, BothDatabases]
    public async Task ManyRecords_InOneCall_ComeBackInPagesOfAnySize(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        const int Count = 10_000;
        var text = new string('x', 200);
        AssertJson(
            $$"""{"inserted_count": {{Count}}, "updated_count": 0}""",
            await server.UpsertAsync(id, Enumerable.Range(0, Count).Select(i => new { inputs = new { i, text }, expectations = new { answer = i } })));
        AssertJson($$"""{"num_records": {{Count}}}""", JsonNode.Parse((string)(await server.GetDatasetAsync(id))["profile"]!));
        AssertJson(
            $$"""{"inserted_count": 1, "updated_count": {{Count - 1}}}""",
            await server.UpsertAsync(id, Enumerable.Range(1, Count).Select(i => new { inputs = new { text, i }, expectations = new { answer = -i } })));
        foreach (var pageSize in new int?[] { null, 4000, 1_000_000 })
        {
            var records = await server.RecordsAsync(id, pageSize);
            Assert.Equal(Enumerable.Range(0, Count + 1), records.Select(record => (int)record["inputs"]!["i"]!));
            Assert.Equal(Enumerable.Range(0, Count + 1).Select(i => -i), records.Select(record => (int)record["expectations"]!["answer"]!));
        }
    }

    [Theory, BothDatabases]
    public async Task LargeRecords_PassInPieces(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        var text = string.Concat(Enumerable.Repeat("ü😀\"\\", 200_000));
        await server.UpsertAsync(id, Enumerable.Range(0, 6).Select(i => new { inputs = new { i, text } }));
        foreach (var pageSize in new int?[] { null, 2 })
            Assert.Equal(Enumerable.Range(0, 6).Select(i => (i, text)), (await server.RecordsAsync(id, pageSize)).Select(record => ((int)record["inputs"]!["i"]!, (string)record["inputs"]!["text"]!)));
    }

    [Theory]
    [BothDatabases("max_results=-1", "max_results")]
    [BothDatabases("max_results=x", "max_results")]
    [BothDatabases("page_token=x", "Invalid page token")]
    [BothDatabases("page_token=MTIz", "Invalid page token")]
    [BothDatabases("page_token=eDp5", "Invalid page token")]
    [BothDatabases("page_token=MTIzOgA%3D", "Invalid page token")]
    [BothDatabases("page_token=eyJvZmZzZXQiOiAxfQ%3D%3D", "Invalid page token")]
    public async Task GetRecords_WithSomethingWrong_IsRefused(DatabaseKind kind, string query, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        await server.GetRefusedAsync($"{Route}{id}/records?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", part);
    }

    [Theory, BothDatabases]
    public async Task DeleteRecords_CountsAndKeepsSchemaAndDigest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateDatasetIdAsync();
        var other = await server.CreateDatasetIdAsync();
        await server.UpsertAsync(id, Enumerable.Range(0, 3).Select(i => new { inputs = new { i } }));
        await server.UpsertAsync(other, """[{"inputs": {"i": 0}}]""");
        var before = await server.GetDatasetAsync(id);
        var ids = (await server.RecordsAsync(id)).ConvertAll(record => (string)record["dataset_record_id"]!);
        var foreign = (string)(await server.RecordsAsync(other))[0]["dataset_record_id"]!;

        AssertJson("""{"deleted_count": 0}""", await DeleteAsync(null));
        AssertJson("""{"deleted_count": 0}""", await DeleteAsync(new { }));
        AssertJson("""{"deleted_count": 0}""", await DeleteAsync(new { dataset_record_ids = new[] { foreign, "dr-unknown" } }));
        Assert.Equal(before.ToJsonString(), (await server.GetDatasetAsync(id)).ToJsonString());
        AssertJson("""{"deleted_count": 1}""", await DeleteAsync(new { dataset_record_ids = new[] { ids[1], ids[1], foreign } }));
        AssertJson("""{"num_records": 2}""", JsonNode.Parse((string)(await server.GetDatasetAsync(id))["profile"]!));
        Assert.Equal([0, 2], (await server.RecordsAsync(id)).Select(record => (int)record["inputs"]!["i"]!));
        AssertJson("""{"deleted_count": 2}""", await DeleteAsync(new { dataset_record_ids = ids }));
        var after = await server.GetDatasetAsync(id);
        Assert.Equal("null", (string)after["profile"]!);
        Assert.Equal(Without(before, "profile").ToJsonString(), Without(after, "profile").ToJsonString());
        Assert.Single(await server.RecordsAsync(other));

        // What was deleted is new again.
        AssertJson("""{"inserted_count": 1, "updated_count": 0}""", await server.UpsertAsync(id, """[{"inputs": {"i": 1}}]"""));
        AssertJson("""{"num_records": 1}""", JsonNode.Parse((string)(await server.GetDatasetAsync(id))["profile"]!));
        await server.SendInvalidAsync(HttpMethod.Delete, $"{Route}{id}/records", """{"dataset_record_ids": "x"}""", "dataset_record_ids");

        Task<JsonObject> DeleteAsync(object? message) => server.CallAsync(HttpMethod.Delete, $"{Route}{id}/records", message);
    }

    /// <summary>Many clients with the same records in different orders: none fails, none is written twice, nothing is lost.</summary>
    [Theory, BothDatabases]
    public async Task ConcurrentUpserts_OfTheSameRecords_NeitherFailNorDuplicate(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        string[] ids = [await server.CreateDatasetIdAsync(), await server.CreateDatasetIdAsync()];
        const int Clients = 12;
        const int Records = 60;
        var counts = await Task.WhenAll(Enumerable.Range(0, Clients).Select(async client =>
        {
            var random = new Random(client);
            var (inserted, updated) = (0, 0);
            for (var call = 0; call < 6; call++)
            {
                var chosen = Enumerable.Range(0, Records).ToArray();
                random.Shuffle(chosen);
                var records = chosen.Take(Records / 2).Select(i => new
                {
                    inputs = new { i },
                    expectations = new Dictionary<string, int> { [$"c{client}"] = call },
                    tags = new Dictionary<string, string> { ["mlflow.user"] = $"c{client}" },
                });
                var answer = await server.UpsertAsync(ids[call % 2], records);
                inserted += (int)answer["inserted_count"]!;
                updated += (int)answer["updated_count"]!;
            }

            return (inserted, updated);
        }));

        Assert.Equal(Clients * 6 * Records / 2, counts.Sum(count => count.inserted + count.updated));
        var stored = 0;
        foreach (var id in ids)
        {
            var records = await server.RecordsAsync(id);
            stored += records.Count;
            Assert.Equal(records.Count, records.Select(record => (int)record["inputs"]!["i"]!).Distinct().Count());
            AssertJson($$"""{"num_records": {{records.Count}}}""", JsonNode.Parse((string)(await server.GetDatasetAsync(id))["profile"]!));
            // Whoever came to a record has left its mark.
            Assert.Equal(
                Clients,
                records.SelectMany(record => record["expectations"]!.AsObject().Select(member => member.Key)).Distinct().Count());
        }

        Assert.Equal(counts.Sum(count => count.inserted), stored);
    }
}
