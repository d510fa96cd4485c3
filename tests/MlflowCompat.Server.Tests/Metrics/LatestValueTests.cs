using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>Which point of a metric is its latest one (contract: semantics §7): whatever order the points arrive in, and in whatever batches.</summary>
public sealed class LatestValueTests
{
    private const double NaN = double.NaN;

    /// <summary>Where the winner does not depend on the order of arrival.</summary>
    private static readonly (string Name, Point Latest, Point[] Points)[] Examples =
    [
        ("the greater step, not the later time or the greater value", new(1, 1, 5), [new(1, 1, 5), new(9, 9, 0)]),
        ("at one step the later time", new(1, 9, 3), [new(1, 9, 3), new(5, 8, 3), new(7, 99, 2)]),
        ("at one time the greater value", new(7, 2, 3), [new(7, 2, 3), new(5, 2, 3), new(-8, 2, 3)]),
        ("NaN over what is below 0", new(NaN, 1, 1), [new(-1, 1, 1), new(NaN, 1, 1)]),
        ("a positive value over NaN", new(1e-300, 1, 1), [new(NaN, 1, 1), new(1e-300, 1, 1)]),
        ("negative steps", new(4, 1, -1), [new(4, 1, -1), new(5, 9, -2), new(6, 9, -3)]),
        ("the ends of int64", new(1, 0, long.MaxValue), [new(1, 0, long.MaxValue), new(2, 5, long.MinValue), new(3, 5, 0)]),
        ("times in nanoseconds", new(1, long.MaxValue, 0), [new(1, long.MaxValue, 0), new(2, 1_700_000_000_123_456_789, 0), new(3, 253_402_300_799_999, 0)]),
        ("infinities", new(double.MaxValue, 1, 1), [new(double.MaxValue, 1, 1), new(double.MinValue, 1, 1), new(1, 1, 1), new(NaN, 1, 1)]),
        ("neighbouring doubles", new(0.30000000000000004, 1, 1), [new(0.30000000000000004, 1, 1), new(0.3, 1, 1), new(0.29999999999999998, 1, 0)]),
        ("denormals", new(double.Epsilon, 1, 1), [new(double.Epsilon, 1, 1), new(-double.Epsilon, 1, 1), new(0, 1, 1)]),
    ];

    [Theory, BothDatabases]
    public async Task Latest_IsTheGreatestInEveryOrderOfArrival(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var expected = new Dictionary<string, (Point Latest, Point[] Points, string Name)>();
        var batches = new List<object>();
        foreach (var (name, latest, points) in Examples)
        {
            foreach (var order in Permutations(points))
            {
                var single = $"single{expected.Count}";
                expected.Add(single, (latest, points, name));
                foreach (var point in order)
                    await server.PostAsync("runs/log-metric", Metric(point, single, id));
                var batch = $"batch{expected.Count}";
                expected.Add(batch, (latest, points, name));
                batches.AddRange(order.Select(point => Metric(point, batch, null)));
            }
        }

        foreach (var batch in batches.Chunk(1000))
            await server.PostAsync("runs/log-batch", new { run_id = id, metrics = batch });

        var metrics = (await server.GetRunAsync(id)).Metrics();
        Assert.Equal(expected.Count, metrics.Count);
        foreach (var (key, (latest, points, name)) in expected)
        {
            Assert.True(latest == metrics[key], $"{name} ({key}): {metrics[key]} instead of {latest}");
            Assert.Equal(Sorted(points), await server.HistoryAsync(id, key));
        }
    }

    /// <summary>Of points that compare equal the first one stays: NaN, 0 and −0 at one step and time.</summary>
    [Theory]
    [BothDatabases(NaN, 0.0, NaN)]
    [BothDatabases(0.0, NaN, 0.0)]
    [BothDatabases(-0.0, 0.0, 0.0)]
    [BothDatabases(0.0, -0.0, 0.0)]
    [BothDatabases(NaN, -0.0, NaN)]
    [BothDatabases(-1.0, NaN, NaN)]
    public async Task Latest_OfEqualPoints_IsTheFirst(DatabaseKind kind, double first, double second, double expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var value in new[] { first, second })
            await server.PostAsync("runs/log-metric", Metric(new(value, 1, 1), "single", id));
        await server.PostAsync(
            "runs/log-batch", new { run_id = id, metrics = new[] { first, second }.Select(value => Metric(new(value, 1, 1), "batch", null)) });
        var metrics = (await server.GetRunAsync(id)).Metrics();
        Assert.Equal(new Point(expected, 1, 1), metrics["single"]);
        Assert.Equal(new Point(expected, 1, 1), metrics["batch"]);
    }

    [Theory, BothDatabases]
    public async Task Latest_OfGeneratedPoints_IsThatOfTheRule(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var random = new Random(7);
        double[] values = [NaN, 0.0, -0.0, 1, -1, double.PositiveInfinity, double.NegativeInfinity, double.MaxValue, double.Epsilon, 1e-7];
        long[] times = [0, 1, 1_700_000_000_000, 1_700_000_000_123_456_789, long.MaxValue];
        long[] steps = [0, 1, -1, long.MinValue, long.MaxValue];
        var latest = new Dictionary<string, Point>();
        var histories = new Dictionary<string, HashSet<Point>>();
        for (var round = 0; round < 60; round++)
        {
            var batch = new List<object>();
            for (var i = random.Next(1, 40); i > 0; i--)
            {
                var key = $"m{random.Next(6)}";
                var sent = new Point(values[random.Next(values.Length)], times[random.Next(times.Length)], steps[random.Next(steps.Length)]);
                batch.Add(Metric(sent, key, null));
                var stored = sent with { Value = double.IsPositiveInfinity(sent.Value) ? double.MaxValue : double.IsNegativeInfinity(sent.Value) ? double.MinValue : sent.Value };
                if (!latest.TryGetValue(key, out var known) || Compare(stored, known) > 0)
                    latest[key] = stored;
                if (!histories.TryGetValue(key, out var history))
                    histories.Add(key, history = []);
                history.Add(stored);
            }

            if (batch.Count == 1 || round % 5 == 0)
            {
                foreach (var metric in batch)
                    await server.PostAsync("runs/log-batch", new { run_id = id, metrics = new[] { metric } });
            }
            else
            {
                await server.PostAsync("runs/log-batch", new { run_id = id, metrics = batch });
            }

            Assert.Equal(latest, (await server.GetRunAsync(id)).Metrics());
        }

        foreach (var (key, points) in histories)
            Assert.Equal(Sorted(points), await server.HistoryAsync(id, key));
    }

    /// <summary>The order of the rule: step, then time, then value with NaN as 0.</summary>
    private static int Compare(Point left, Point right) =>
        (left.Step, left.Timestamp, Zero(left.Value)).CompareTo((right.Step, right.Timestamp, Zero(right.Value)));

    /// <summary>The order of histories: time, then step, then value with NaN as 0, and numbers before a NaN that equals them.</summary>
    private static List<Point> Sorted(IEnumerable<Point> points) =>
        [.. points.OrderBy(point => point.Timestamp).ThenBy(point => point.Step).ThenBy(point => Zero(point.Value)).ThenBy(point => double.IsNaN(point.Value))];

    private static double Zero(double value) => double.IsNaN(value) ? 0 : value;

    private static object Metric(Point point, string key, string? run) => new
    {
        run_id = run,
        key,
        value = double.IsFinite(point.Value) ? (object)point.Value : point.Value.ToString(System.Globalization.CultureInfo.InvariantCulture),
        timestamp = point.Timestamp,
        step = point.Step,
    };

    private static IEnumerable<Point[]> Permutations(Point[] points) =>
        points.Length == 1
            ? [points]
            : points.SelectMany((first, index) => Permutations([.. points.Where((_, i) => i != index)]).Select(rest => (Point[])[first, .. rest]));
}
