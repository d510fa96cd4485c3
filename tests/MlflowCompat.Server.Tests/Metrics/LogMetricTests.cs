using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>log-metric: what is stored, what is refused, what readers of the specified schema find (contract: semantics §7, mapping 2.3).</summary>
public sealed class LogMetricTests
{
    private const string DatasetColumns = """
        SELECT m.metric_name, m.dataset_type, m.dataset_name, m.dataset_digest, d.dataset_name
        FROM metrics m LEFT JOIN datasets d ON d.dataset_id = m.dataset_id
        WHERE m.run_id = (SELECT run_id FROM runs WHERE run_uuid = $1)
        """;

    [Theory]
    [BothDatabases(0.1)]
    [BothDatabases(-0.0)]
    [BothDatabases(double.Epsilon)]
    [BothDatabases(-double.Epsilon)]
    [BothDatabases(2.2250738585072009e-308)]
    [BothDatabases(double.MaxValue)]
    [BothDatabases(double.MinValue)]
    [BothDatabases(0.30000000000000004)]
    [BothDatabases(1.7976931348623155e308)]
    [BothDatabases(9007199254740993.0)]
    [BothDatabases(1e22)]
    [BothDatabases(123456789.12345679)]
    [BothDatabases(5e-310)]
    public async Task Value_OfAnyDouble_ComesBackExactly(DatabaseKind kind, double value)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m", value, timestamp = 1 });
        await server.PostAsync("runs/log-batch", new { run_id = id, metrics = new[] { new { key = "b", value, timestamp = 1 } } });
        foreach (var key in new[] { "m", "b" })
        {
            Assert.Equal(value, (await server.GetRunAsync(id)).Metrics()[key].Value);
            Assert.Equal(value, Assert.Single(await server.HistoryAsync(id, key)).Value);
        }
    }

    [Theory, BothDatabases]
    public async Task Values_OfRandomBits_ComeBackExactly(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var random = new Random(11);
        var values = Enumerable.Range(0, 1000).Select(_ => BitConverter.Int64BitsToDouble(random.NextInt64(long.MinValue, long.MaxValue)))
            .Select(value => double.IsFinite(value) ? value : 1).ToList();
        await server.PostAsync("runs/log-batch", new { run_id = id, metrics = values.Select((value, step) => new { key = "m", value, timestamp = 1, step }) });
        Assert.Equal(values, (await server.HistoryAsync(id, "m")).ConvertAll(point => point.Value));
    }

    [Theory]
    [BothDatabases(0L)]
    [BothDatabases(1_700_000_000_123L)]
    [BothDatabases(253_402_300_799_998L)]
    [BothDatabases(253_402_300_799_999L)]
    [BothDatabases(253_402_300_800_000L)]
    [BothDatabases(1_700_000_000_123_456_789L)]
    [BothDatabases(long.MaxValue)]
    public async Task Timestamp_OfAnyInt64_ComesBackAsSent(DatabaseKind kind, long timestamp)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m", value = 1, timestamp });
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m", value = 1, timestamp });
        Assert.Equal([new Point(1, timestamp, 0)], await server.HistoryAsync(id, "m"));
        Assert.Equal(new Point(1, timestamp, 0), (await server.GetRunAsync(id)).Metrics()["m"]);
        var bulk = await server.GetAsync($"/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={id}&metric_key=m");
        Assert.Equal([new Point(1, timestamp, 0)], RunCalls.Points(bulk));
        var interval = await server.GetAsync($"metrics/get-history-bulk-interval?run_ids={id}&metric_key=m");
        Assert.Equal([new Point(1, timestamp, 0)], RunCalls.Points(interval));
    }

    [Theory, BothDatabases]
    public async Task Points_SentAgain_AreThereOnce(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        object[] values = [1.5, "NaN", "NaN", "Infinity", double.MaxValue, "-Infinity", double.MinValue, 0.0, -0.0];
        var metrics = Enumerable.Range(0, 110)
            .SelectMany(key => values.Select(value => new { key = $"m{key}", value, timestamp = 5, step = 1 }))
            .ToList();
        for (var round = 0; round < 3; round++)
            await server.PostAsync("runs/log-batch", new { run_id = id, metrics });
        foreach (var value in values)
            await server.PostAsync("runs/log-metric", new { run_id = id, key = "m0", value, timestamp = 5, step = 1 });
        // The other rows: another time, another step, another value.
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m0", value = 1.5, timestamp = 6, step = 1 });
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m0", value = 1.5, timestamp = 5, step = 2 });
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m0", value = 1.5000000000000002, timestamp = 5, step = 1 });

        Assert.Equal(
            [
                new(double.MinValue, 5, 1), new(0, 5, 1), new(double.NaN, 5, 1), new(1.5, 5, 1), new(1.5000000000000002, 5, 1),
                new(double.MaxValue, 5, 1), new(1.5, 5, 2), new(1.5, 6, 1),
            ],
            await server.HistoryAsync(id, "m0"));
        Assert.Equal(
            [(110 * 5) + 3L], await server.RowAsync(id, "SELECT count(*) FROM metrics WHERE run_id = (SELECT run_id FROM runs WHERE run_uuid = $1)"));
    }

    [Theory]
    [BothDatabases(2.5, 0L)]
    [BothDatabases(double.NaN, 1L)]
    [BothDatabases(double.PositiveInfinity, 0L)]
    [BothDatabases(double.NegativeInfinity, 0L)]
    public async Task Value_IsKeptAsTheSchemaSays(DatabaseKind kind, double value, long isNan)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        object sent = double.IsFinite(value) ? value : value.ToString(System.Globalization.CultureInfo.InvariantCulture);
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "m", value = sent, timestamp = 7, step = -3 });
        var finite = double.IsPositiveInfinity(value) ? double.MaxValue : double.IsNegativeInfinity(value) ? double.MinValue : value;
        var ofRun = "WHERE run_id = (SELECT run_id FROM runs WHERE run_uuid = $1)";
        // SQLite would turn NaN into NULL (mapping C-21); the latest value is 0 with a flag on both, as MLflow compares it.
        Assert.Equal(
            [kind == DatabaseKind.Sqlite && isNan == 1 ? 0.0 : finite, isNan, -3L, 7L, null],
            await server.RowAsync(id, $"SELECT metric_value, is_nan, metric_step, timestamp, timestamp_ms FROM metrics {ofRun}"));
        Assert.Equal(
            [isNan == 1 ? 0.0 : finite, isNan, -3L, 7L],
            await server.RowAsync(id, $"SELECT metric_value, is_nan, metric_step, metric_timestamp_ms FROM latest_metrics {ofRun}"));
    }

    [Theory]
    [BothDatabases("loss", "validation")]
    [BothDatabases("train_loss", "train")]
    [BothDatabases("train/loss", "train")]
    [BothDatabases("training_loss", "train")]
    [BothDatabases("training/loss", "train")]
    [BothDatabases("val_loss", "validation")]
    [BothDatabases("valid/loss", "validation")]
    [BothDatabases("validation_loss", "validation")]
    [BothDatabases("test_loss", "test")]
    [BothDatabases("test/loss", "test")]
    [BothDatabases("testing_loss", "validation")]
    [BothDatabases("trainloss", "validation")]
    [BothDatabases("my_test_loss", "validation")]
    public async Task DatasetType_WithoutADataset_FollowsTheName(DatabaseKind kind, string key, string type)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", new { run_id = id, key, value = 1, timestamp = 1 });
        await server.PostAsync("runs/log-batch", new { run_id = id, metrics = new[] { new { key, value = 2, timestamp = 1 } } });
        Assert.All(await server.RowsAsync(id, DatasetColumns), row => Assert.Equal([key, type, null, null, null], row));
    }

    [Theory]
    [BothDatabases("training", "train")]
    [BothDatabases("train", "train")]
    [BothDatabases("validation", "validation")]
    [BothDatabases("eval", "validation")]
    [BothDatabases("test", "test")]
    [BothDatabases("testing", "test")]
    [BothDatabases("something else", "train")]
    [BothDatabases(null, "train")]
    public async Task DatasetType_WithADatasetOfTheRun_FollowsItsContext(DatabaseKind kind, string? context, string type)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            datasets = new[]
            {
                new
                {
                    dataset = new { name = "ds", digest = "d1", source_type = "local", source = "{}" },
                    tags = context is null ? null : new[] { new { key = "mlflow.data.context", value = context } },
                },
            },
        });
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "train_loss", value = 1, timestamp = 1, dataset_name = "ds", dataset_digest = "d1" });
        Assert.Equal(["train_loss", type, "ds", "d1", "ds"], await server.RowAsync(id, DatasetColumns));
    }

    [Theory, BothDatabases]
    public async Task Dataset_ThatIsNotStored_IsKeptByName(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-metric", new { run_id = id, key = "test_loss", value = 1, timestamp = 1, dataset_name = "unknown", dataset_digest = "d" });
        Assert.Equal(["test_loss", "test", "unknown", "d", null], await server.RowAsync(id, DatasetColumns));
        await server.PostInvalidAsync("runs/log-metric", new { run_id = id, key = "m", value = 1, timestamp = 1, dataset_name = new string('n', 501) }, "dataset_name");
        await server.PostInvalidAsync("runs/log-metric", new { run_id = id, key = "m", value = 1, timestamp = 1, dataset_digest = new string('d', 37) }, "dataset_digest");
    }

    [Theory]
    [BothDatabases("""{"key": "m", "timestamp": 1}""", "Missing value for required parameter 'value'")]
    [BothDatabases("""{"key": "m", "value": 1}""", "Missing value for required parameter 'timestamp'")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": null}""", "timestamp")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": -1}""", "timestamp")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": -9223372036854775808}""", "timestamp")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": []}""", "timestamp")]
    [BothDatabases("""{"key": ["m"], "value": 1, "timestamp": 1}""", "key")]
    [BothDatabases("""{"key": "m\u0000", "value": 1, "timestamp": 1}""", "key")]
    [BothDatabases("""{"key": "m\ud800", "value": 1, "timestamp": 1}""", "key")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": 1, "model_id": 5}""", "model_id")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": 1, "dataset_name": 5}""", "dataset_name")]
    [BothDatabases("""{"key": "m", "value": 1, "timestamp": 1, "dataset_digest": {}}""", "dataset_digest")]
    public async Task LogMetric_WithABadField_NamesItAndStoresNothing(DatabaseKind kind, string fields, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-metric", fields.Replace("{\"key\"", $"{{\"run_id\": \"{id}\", \"key\"", StringComparison.Ordinal), named);
        await server.AssertEmptyAsync(id);
    }
}
