using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests;

/// <summary>A point of a metric as clients read it; all NaN are equal, and so are both zeros.</summary>
public sealed record Point(double Value, long Timestamp, long Step)
{
    /// <summary>Reads the point of an answer.</summary>
    public static Point Of(JsonNode metric) => new(
        metric["value"] is JsonValue value && value.GetValueKind() == JsonValueKind.String
            ? (string)value! == "NaN" ? double.NaN : throw new FormatException($"value is the text {value}")
            : (double)metric["value"]!,
        (long)metric["timestamp"]!,
        (long)metric["step"]!);
}

/// <summary>The calls about runs that many tests make, and what stands in the database behind them.</summary>
internal static class RunCalls
{
    /// <summary>Makes a run and returns its id.</summary>
    public static async Task<string> CreateRunAsync(this ApiServer server, string? experimentId = null, object? fields = null) =>
        (string)(await server.CreateWholeRunAsync(experimentId, fields))["info"]!["run_id"]!;

    /// <summary>Makes a run and returns it.</summary>
    public static async Task<JsonObject> CreateWholeRunAsync(this ApiServer server, string? experimentId = null, object? fields = null)
    {
        var message = fields is null ? [] : JsonSerializer.SerializeToNode(fields)!.AsObject();
        message["experiment_id"] = experimentId ?? await server.CreateExperimentAsync();
        return (await server.PostAsync("runs/create", message))["run"]!.AsObject();
    }

    public static async Task<JsonObject> GetRunAsync(this ApiServer server, string runId) =>
        (await server.GetAsync($"runs/get?run_id={runId}"))["run"]!.AsObject();

    /// <summary>The latest point of each metric of a run.</summary>
    public static Dictionary<string, Point> Metrics(this JsonObject run) =>
        run["data"]!["metrics"]?.AsArray().ToDictionary(metric => (string)metric!["key"]!, metric => Point.Of(metric!)) ?? [];

    public static Dictionary<string, string> Params(this JsonObject run) => KeyValues(run["data"]!["params"]);

    public static Dictionary<string, string> Tags(this JsonObject run) => KeyValues(run["data"]!["tags"]);

    /// <summary>The texts of a list of keys and values; both are there, whatever they hold.</summary>
    public static Dictionary<string, string> KeyValues(JsonNode? list) =>
        list?.AsArray().ToDictionary(item => (string)item!["key"]!, item => (string)item!["value"]!) ?? [];

    /// <summary>The whole history of a metric, in one page.</summary>
    public static async Task<List<Point>> HistoryAsync(this ApiServer server, string runId, string key) =>
        Points(await server.GetAsync($"metrics/get-history?run_id={runId}&metric_key={Uri.EscapeDataString(key)}"));

    /// <summary>The points of an answer of one of the history calls.</summary>
    public static List<Point> Points(JsonObject answer) => [.. (answer["metrics"]?.AsArray() ?? []).Select(metric => Point.Of(metric!))];

    /// <summary>The names of the runs that a search finds, in its order.</summary>
    public static async Task<List<string>> SearchNamesAsync(
        this ApiServer server, string experimentId, string? filter = null, params string[] orderBy) =>
        Names(await server.PostAsync("runs/search", new { experiment_ids = new[] { experimentId }, filter, order_by = orderBy }));

    public static List<string> Names(JsonObject answer) =>
        [.. (answer["runs"]?.AsArray() ?? []).Select(run => (string)run!["info"]!["run_name"]!)];

    public static List<string> Ids(JsonObject answer) =>
        [.. (answer["runs"]?.AsArray() ?? []).Select(run => (string)run!["info"]!["run_id"]!)];

    /// <summary>Asserts that a run holds nothing but its name.</summary>
    public static async Task AssertEmptyAsync(this ApiServer server, string runId)
    {
        var run = await server.GetRunAsync(runId);
        Assert.Empty(run.Metrics());
        Assert.Empty(run.Params());
        Assert.Equal(["mlflow.runName"], run.Tags().Keys);
        Assert.Equal("{}", run["inputs"]!.ToJsonString());
        Assert.Equal("{}", run["outputs"]!.ToJsonString());
    }

    /// <summary>
    /// The first row of a query about one run (parameter $1), its values in the same types on both databases: whole numbers and truth
    /// values as long, times as milliseconds, UUIDs as text with hyphens.
    /// </summary>
    public static async Task<object?[]> RowAsync(this TestServer server, string runId, string sql) =>
        Assert.Single(await server.RowsAsync(runId, sql));

    /// <summary>As <see cref="RowAsync"/>, all rows.</summary>
    public static async Task<List<object?[]>> RowsAsync(this TestServer server, string runId, string sql)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return await session.ListAsync(server.Database.Statement(sql).Add(Guid.ParseExact(runId, "N")), Values, CancellationToken.None);
    }

    private static object?[] Values(DbDataReader reader) => [.. Enumerable.Range(0, reader.FieldCount).Select(i => reader.GetValue(i) switch
    {
        DBNull => (object?)null,
        DateTime time => (time.Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond,
        Guid id => id.ToString("D"),
        bool truth => truth ? 1L : 0L,
        string text => text,
        float or double or decimal => Convert.ToDouble(reader.GetValue(i), CultureInfo.InvariantCulture),
        var number => Convert.ToInt64(number, CultureInfo.InvariantCulture),
    })];
}
