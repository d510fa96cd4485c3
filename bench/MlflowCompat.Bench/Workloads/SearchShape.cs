using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Workloads;

/// <summary>A search for a page of 100 of the <see cref="SeededRuns"/>.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Description">What it asks for.</param>
/// <param name="Filter">The filter, or null.</param>
/// <param name="OrderBy">The order, or null for the default.</param>
/// <param name="Meets">Whether a run meets the filter: its number, and how many runs there are.</param>
internal sealed record SearchShape(string Name, string Description, string? Filter, string? OrderBy, Func<int, int, bool> Meets)
{
    /// <summary>Runs per page, as the web interface asks for.</summary>
    public const int PageSize = 100;

    /// <summary>All shapes.</summary>
    public static IReadOnlyList<SearchShape> All { get; } =
    [
        new("newest", "the newest 100 runs", null, null, (_, _) => true),
        new("metric", "a metric above a bound, which a tenth meet", "metrics.m1 > 0.9", null,
            (run, runs) => SeededRuns.MetricsOf(run, runs).First().Value > 0.9),
        new("param", "a param, which a tenth have", "params.p1 = 'v3'", null, (run, _) => SeededRuns.ParamsOf(run).First().Value == "v3"),
        new("order-metric", "all, ordered by a metric", null, "metrics.m1 ASC", (_, _) => true),
        new("tag-like", "a tag, which a tenth have, and a part of the name", "tags.t = 't3' AND attributes.run_name LIKE '%7%'", null,
            (run, _) => SeededRuns.TagsOf(run).First().Value == "t3" && SeededRuns.Name(run).Contains('7', StringComparison.Ordinal)),
    ];

    /// <summary>How many runs the page has.</summary>
    public int Expected(int runs) => Enumerable.Range(0, runs).Where(run => Meets(run, runs)).Take(PageSize).Count();
}
