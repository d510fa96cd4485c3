using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>get-history, get-history-bulk and get-history-bulk-interval (contract: endpoints §3).</summary>
public sealed class MetricHistoryTests
{
    private const string Bulk = "/ajax-api/2.0/mlflow/metrics/get-history-bulk";
    private const string Interval = "metrics/get-history-bulk-interval";

    [Theory, BothDatabases]
    public async Task History_InPagesOfEverySize_IsTheWhole(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        // Ties in time, in time and step, and points that differ in their value alone.
        var sent = Enumerable.Range(0, 24).Select(i => new Point(i % 2, i / 8, i / 4 % 2 == 0 ? -i / 4 : i / 4)).ToList();
        await LogAsync(server, id, "m", sent.Shuffle(3));
        var whole = Sorted(sent.Distinct());
        Assert.Equal(whole, await server.HistoryAsync(id, "m"));
        Assert.Equal(whole, RunCalls.Points(await server.GetAsync($"metrics/get-history?run_id={id}&metric_key=m&max_results=0")));

        for (var size = 1; size <= whole.Count + 1; size++)
        {
            var pages = await PagesAsync(server, $"metrics/get-history?run_id={id}&metric_key=m&max_results={size}");
            Assert.Equal(whole, pages.SelectMany(page => page));
            // A token is given only where another point follows.
            Assert.Equal((whole.Count + size - 1) / size, pages.Count);
        }
    }

    [Theory, BothDatabases]
    public async Task History_OfManyThousandPoints_IsReadWholeAndInPages(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        const int Count = 25_500;
        var points = Enumerable.Range(0, Count).Select(i => new Point(i / 3.0, 1_700_000_000_000 + i, i)).ToList();
        await LogAsync(server, id, "m", points);
        Assert.Equal(points, await server.HistoryAsync(id, "m"));

        var pages = await PagesAsync(server, $"metrics/get-history?run_id={id}&metric_key=m&max_results=25000");
        Assert.Equal([25_000, 500], pages.Select(page => page.Count));
        Assert.Equal(points, pages.SelectMany(page => page));
        pages = await PagesAsync(server, $"metrics/get-history?run_id={id}&metric_key=m&max_results=8500");
        Assert.Equal([8500, 8500, 8500], pages.Select(page => page.Count));
        Assert.Equal(points, pages.SelectMany(page => page));

        Assert.Equal(points[..25_000], RunCalls.Points(await server.GetAsync($"{Bulk}?run_id={id}&metric_key=m")));
        Assert.Equal(points[..25_000], RunCalls.Points(await server.GetAsync($"{Bulk}?run_id={id}&metric_key=m&max_results=100000")));
        var sampled = RunCalls.Points(await server.GetAsync($"{Interval}?run_ids={id}&metric_key=m&max_results=100"));
        Assert.Equal([.. Enumerable.Range(0, 100).Select(i => points[i * 255]), points[^1]], sampled);
    }

    /// <summary>Chunks end in the middle of ties in time, in step, and in value (NaN, which counts as 0, and the time that has no calendar date).</summary>
    [Theory, BothDatabases]
    public async Task History_OfTiesOverChunks_IsWholeAndInOrder(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        long[] times = [5, 253_402_300_799_999, long.MaxValue];
        var points = (
            from time in times
            from step in Enumerable.Range(-2, 4)
            from value in Enumerable.Range(-500, 1000).Select(i => i / 4.0).Append(double.NaN)
            select new Point(value, time, step)).ToList();
        await LogAsync(server, id, "m", points.Shuffle(5));
        var whole = points
            .OrderBy(point => point.Timestamp).ThenBy(point => point.Step)
            .ThenBy(point => double.IsNaN(point.Value) ? 0 : point.Value).ThenBy(point => double.IsNaN(point.Value)).ToList();
        Assert.Equal(whole, await server.HistoryAsync(id, "m"));
        foreach (var size in (int[])[999, 1000, 1001, 4003, 10_999, 11_000, 11_001, whole.Count])
        {
            var pages = await PagesAsync(server, $"metrics/get-history?run_id={id}&metric_key=m&max_results={size}");
            Assert.Equal(whole, pages.SelectMany(page => page));
            Assert.Equal((whole.Count + size - 1) / size, pages.Count);
        }
    }

    /// <summary>More readers than there are connections go away in the middle of long answers; none of them keeps its connection.</summary>
    [Theory, BothDatabases]
    public async Task History_OfReadersThatGoAway_LeavesTheConnections(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        const int Count = 12_000;
        await LogAsync(server, id, "m", Enumerable.Range(0, Count).Select(i => new Point(i, i, i)));
        for (var round = 0; round < 3; round++)
        {
            var readers = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => server.Client.GetAsync(
                $"/api/2.0/mlflow/metrics/get-history?run_id={id}&metric_key=m", HttpCompletionOption.ResponseHeadersRead)));
            // All of them wait for their reader now; others are served nevertheless.
            Assert.Equal(Count, (await server.HistoryAsync(id, "m")).Count);
            foreach (var reader in readers)
                reader.Dispose();
        }

        Assert.Equal(Count, (await server.HistoryAsync(id, "m")).Count);
    }

    [Theory, BothDatabases]
    public async Task History_OfWhatIsNotThere_IsEmpty(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await LogAsync(server, id, "m", [new Point(1, 1, 1)]);
        foreach (var query in new[] { $"run_id={id}&metric_key=M", "run_id=0123456789abcdef0123456789abcdef&metric_key=m", "run_id=x&metric_key=m" })
        {
            Assert.Equal("{}", (await server.GetAsync($"metrics/get-history?{query}")).ToJsonString());
            Assert.Equal("""{"metrics":[]}""", (await server.GetAsync($"{Bulk}?{query}")).ToJsonString());
            Assert.Equal("{}", (await server.GetAsync($"{Interval}?{query.Replace("run_id", "run_ids", StringComparison.Ordinal)}")).ToJsonString());
        }

        // A page behind the end.
        var token = Uri.EscapeDataString(Convert.ToBase64String("{\"offset\": 1}"u8));
        Assert.Equal("{}", (await server.GetAsync($"metrics/get-history?run_id={id}&metric_key=m&max_results=5&page_token={token}")).ToJsonString());
        token = Uri.EscapeDataString(Convert.ToBase64String("{\"offset\": 9223372036854775807}"u8));
        Assert.Equal("{}", (await server.GetAsync($"metrics/get-history?run_id={id}&metric_key=m&max_results=5&page_token={token}")).ToJsonString());
    }

    [Theory]
    [BothDatabases("metrics/get-history?metric_key=m", "run_id")]
    [BothDatabases("metrics/get-history?run_id=&metric_key=m", "run_id")]
    [BothDatabases("metrics/get-history?run_id=0", "metric_key")]
    [BothDatabases("metrics/get-history?run_id=0&metric_key=m&page_token=garbage", "page token")]
    [BothDatabases("metrics/get-history?run_id=0&metric_key=m&page_token=eyJvZmZzZXQiOiAwfQ%3D%3D", "page token")]
    [BothDatabases("metrics/get-history?run_id=0&metric_key=m&max_results=x", "max_results")]
    [BothDatabases(Bulk + "?metric_key=m", "run_id")]
    [BothDatabases(Bulk + "?run_id=0", "metric_key")]
    [BothDatabases(Bulk + "?run_id=0&metric_key=m&max_results=x", "max_results")]
    [BothDatabases(Interval + "?metric_key=m", "run_ids")]
    [BothDatabases(Interval + "?run_ids=0", "metric_key")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&max_results=0", "max_results")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&max_results=2501", "max_results")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&max_results=-1", "max_results")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&start_step=1", "end_step")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&end_step=1", "start_step")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&start_step=2&end_step=1", "end_step")]
    [BothDatabases(Interval + "?run_ids=0&metric_key=m&start_step=x&end_step=1", "start_step")]
    public async Task Request_WithABadField_NamesIt(DatabaseKind kind, string route, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(route, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", named);
    }

    [Theory, BothDatabases]
    public async Task Bulk_OfMoreThanAHundredRuns_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var ids = Enumerable.Range(0, 101).Select(i => i.ToString("x32", System.Globalization.CultureInfo.InvariantCulture)).ToList();
        foreach (var (route, name) in new[] { (Bulk, "run_id"), (Interval, "run_ids") })
        {
            var query = string.Join('&', ids.Select(id => $"{name}={id}"));
            await server.GetRefusedAsync($"{route}?metric_key=m&{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", name, "100", "101");
            await server.GetAsync($"{route}?metric_key=m&{query[(query.IndexOf('&', StringComparison.Ordinal) + 1)..]}");
        }
    }

    [Theory, BothDatabases]
    public async Task BulkRoutes_AreServedWhereTheContractSays(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        using var api = await server.SendAsync(HttpMethod.Get, "/api/2.0/mlflow/metrics/get-history-bulk?run_id=0&metric_key=m");
        Assert.Equal(HttpStatusCode.NotFound, api.StatusCode);
        Assert.StartsWith("text/html", api.Content.Headers.ContentType?.ToString(), StringComparison.Ordinal);
        await server.GetAsync($"/api/2.0/mlflow/{Interval}?run_ids=0&metric_key=m");
        await server.GetAsync($"/ajax-api/2.0/mlflow/{Interval}?run_ids=0&metric_key=m");
    }

    [Theory, BothDatabases]
    public async Task Bulk_OfSeveralRuns_IsInTheirOrderAndCutOverAll(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var random = new Random(5);
        var points = new Dictionary<string, List<Point>>();
        for (var i = 0; i < 5; i++)
        {
            var id = await server.CreateRunAsync();
            points.Add(id, i == 4 ? [] : Generate(random, 30));
            await LogAsync(server, id, "m", points[id]);
            await LogAsync(server, id, "other", [new Point(9, 9, 9)]);
        }

        var expected = points.OrderBy(run => run.Key, StringComparer.Ordinal)
            .SelectMany(run => Sorted(run.Value.Distinct()).Select(point => (run.Key, point))).ToList();
        var query = string.Join('&', points.Keys.Reverse().Append("0123456789abcdef0123456789abcdef").Append(points.Keys.First()).Select(id => $"run_id={id}"));
        foreach (var (limit, count) in new[] { ("", expected.Count), ("&max_results=0", 0), ("&max_results=1", 1), ("&max_results=37", 37), ("&max_results=25001", expected.Count) })
        {
            var answer = await server.GetAsync($"{Bulk}?{query}&metric_key=m{limit}");
            Assert.Equal(expected[..count], WithRuns(answer));
            Assert.Equal(["metrics"], answer.Select(field => field.Key));
        }
    }

    [Theory, BothDatabases]
    public async Task Interval_OfGeneratedRuns_IsThatOfTheRule(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var random = new Random(13);
        var points = new Dictionary<string, List<Point>>();
        foreach (var count in new[] { 0, 1, 2, 40, 90, 150 })
        {
            var id = await server.CreateRunAsync();
            points.Add(id, [.. Generate(random, count).Distinct()]);
            await LogAsync(server, id, "m", points[id]);
        }

        for (var round = 0; round < 150; round++)
        {
            var runs = points.Keys.ToList().Shuffle(random.Next()).Take(random.Next(1, points.Count + 1)).ToList();
            var max = random.Next(3) switch { 0 => random.Next(1, 8), 1 => random.Next(1, 150), _ => random.Next(1, 2501) };
            (int Start, int End)? window = null;
            if (random.Next(2) == 0)
            {
                var (one, other) = (random.Next(-60, 260), random.Next(-60, 260));
                window = (Math.Min(one, other), Math.Max(one, other));
            }

            var query = string.Join('&', runs.Select(id => $"run_ids={id}")) + $"&metric_key=m&max_results={max}"
                + (window is { } steps ? $"&start_step={steps.Start}&end_step={steps.End}" : "");
            var answer = WithRuns(await server.GetAsync($"{Interval}?{query}"));
            var expected = Sample([.. runs.Select(id => (id, points[id]))], window, max);
            Assert.True(expected.SequenceEqual(answer), $"{query}\n{string.Join('\n', answer)}\ninstead of\n{string.Join('\n', expected)}");
        }
    }

    /// <summary>The rule of the contract, in its own words.</summary>
    private static List<(string Run, Point Point)> Sample(List<(string Run, List<Point> Points)> runs, (int Start, int End)? window, int max)
    {
        var steps = runs.SelectMany(run => run.Points).Select(point => point.Step).Distinct().Order().ToList();
        var (start, end) = window is { } given ? (given.Start, given.End) : (0, steps.LastOrDefault());
        var inWindow = steps.Where(step => step >= start && step <= end).ToList();
        var chosen = new HashSet<long>(inWindow);
        if (inWindow.Count > max)
        {
            chosen = [inWindow[^1]];
            for (var i = 0; i < max; i++)
                chosen.Add(inWindow[(int)Math.Floor(i * (decimal)inWindow.Count / max)]);
        }

        foreach (var (_, points) in runs.Where(run => run.Points.Count > 0))
        {
            foreach (var own in new[] { points.Min(point => point.Step), points.Max(point => point.Step) })
            {
                if (own >= start && own <= end)
                    chosen.Add(own);
            }
        }

        return
        [
            .. runs.SelectMany(run => run.Points.Where(point => chosen.Contains(point.Step))
                .OrderBy(point => point.Step).ThenBy(point => point.Timestamp).ThenBy(point => Zero(point.Value)).ThenBy(point => double.IsNaN(point.Value))
                .Select(point => (run.Run, point))),
        ];
    }

    /// <summary>Steps with gaps, below 0 too, some of them several times at equal and different times.</summary>
    private static List<Point> Generate(Random random, int count)
    {
        double[] values = [double.NaN, 0, 1, -1, 0.5, double.MaxValue];
        return [.. Enumerable.Range(0, count).Select(_ =>
            new Point(values[random.Next(values.Length)], 1_700_000_000_000 + random.Next(4), random.Next(-50, 250)))];
    }

    private static async Task LogAsync(TestServer server, string run, string key, IEnumerable<Point> points)
    {
        foreach (var batch in points.Chunk(1000))
        {
            var metrics = batch.Select(point => new
            {
                key,
                value = double.IsNaN(point.Value) ? (object)"NaN" : point.Value,
                timestamp = point.Timestamp,
                step = point.Step,
            });
            await server.PostAsync("runs/log-batch", new { run_id = run, metrics });
        }
    }

    private static async Task<List<List<Point>>> PagesAsync(TestServer server, string route)
    {
        var pages = new List<List<Point>>();
        string? token = null;
        do
        {
            var answer = await server.GetAsync(token is null ? route : $"{route}&page_token={Uri.EscapeDataString(token)}");
            pages.Add(RunCalls.Points(answer));
            token = (string?)answer["next_page_token"];
        }
        while (token is not null);
        return pages;
    }

    private static List<(string Run, Point Point)> WithRuns(JsonObject answer) =>
        [.. (answer["metrics"]?.AsArray() ?? []).Select(metric =>
        {
            Assert.Equal("m", (string)metric!["key"]!);
            return ((string)metric["run_id"]!, Point.Of(metric));
        })];

    private static List<Point> Sorted(IEnumerable<Point> points) =>
        [.. points.OrderBy(point => point.Timestamp).ThenBy(point => point.Step).ThenBy(point => Zero(point.Value)).ThenBy(point => double.IsNaN(point.Value))];

    private static double Zero(double value) => double.IsNaN(value) ? 0 : value;
}

/// <summary>Orders that are always the same.</summary>
internal static class Shuffling
{
    /// <summary>The items in the order that a seed gives.</summary>
    public static List<T> Shuffle<T>(this List<T> items, int seed)
    {
        var shuffled = items.ToArray();
        new Random(seed).Shuffle(shuffled);
        return [.. shuffled];
    }
}
