using System.Globalization;

namespace MlflowCompat.Bench.Seeding;

/// <summary>
/// The runs that searches are measured on. Every value is a function of the number of the run, so that what a search must find is known,
/// and is the same on every server, however the runs got there.
/// </summary>
internal static class SeededRuns
{
    /// <summary>Metrics of a run, named m1 to m10, each with one point.</summary>
    public const int Metrics = 10;

    /// <summary>Params of a run, named p1 to p10.</summary>
    public const int Params = 10;

    /// <summary>Tags of a run beside that of its name: t, u, v, w, x.</summary>
    public const int Tags = 5;

    /// <summary>Start of the first run: 2026-01-01. Each further one starts a second later.</summary>
    public const long FirstStart = 1_767_225_600_000;

    /// <summary>How long each run went on, in milliseconds.</summary>
    public const long Duration = 60_000;

    /// <summary>Name of the metric of a run with a long history.</summary>
    public const string HistoryMetric = "loss";

    /// <summary>Name of the experiment with the runs with long histories.</summary>
    public const string HistoryExperiment = "bench-history";

    private static readonly string[] TagKeys = ["t", "u", "v", "w", "x"];

    /// <summary>Name of the experiment with so many runs.</summary>
    public static string Experiment(int runs) => string.Create(CultureInfo.InvariantCulture, $"bench-runs-{runs}");

    /// <summary>Name of the run with so many points.</summary>
    public static string HistoryRun(int points) => string.Create(CultureInfo.InvariantCulture, $"history-{points}");

    /// <summary>Name of run number <paramref name="run"/>, counted from 0.</summary>
    public static string Name(int run) => string.Create(CultureInfo.InvariantCulture, $"run-{run}");

    /// <summary>When it started.</summary>
    public static long StartTime(int run) => FirstStart + (run * 1000L);

    /// <summary>
    /// Its metrics. Each is spread evenly over 0 to 1 in an order of its own; the factor is a prime, so that no two runs have the same m1.
    /// </summary>
    public static IEnumerable<(string Key, double Value)> MetricsOf(int run, int runs)
    {
        for (var i = 1; i <= Metrics; i++)
            yield return (string.Create(CultureInfo.InvariantCulture, $"m{i}"), ((run * 7919L * i % runs) + 0.5) / runs);
    }

    /// <summary>Its params; each has ten values.</summary>
    public static IEnumerable<(string Key, string Value)> ParamsOf(int run)
    {
        for (var i = 1; i <= Params; i++)
            yield return (string.Create(CultureInfo.InvariantCulture, $"p{i}"), string.Create(CultureInfo.InvariantCulture, $"v{(run / i) % 10}"));
    }

    /// <summary>Its tags; each has ten values.</summary>
    public static IEnumerable<(string Key, string Value)> TagsOf(int run)
    {
        for (var i = 0; i < Tags; i++)
            yield return (TagKeys[i], string.Create(CultureInfo.InvariantCulture, $"t{run / (i + 1) % 10}"));
    }

    /// <summary>Value of a point of a long history.</summary>
    public static double HistoryValue(int step) => 1 / (1 + (step / 1000.0));
}
