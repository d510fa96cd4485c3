using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Workloads;

/// <summary>A search for a page of 100 of the <see cref="SeededTraces"/>.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Description">What it asks for.</param>
/// <param name="Filter">The filter, or null.</param>
/// <param name="OrderBy">The order, or null for the default, the newest first.</param>
internal sealed record TraceSearchShape(string Name, string Description, string? Filter = null, string? OrderBy = null)
{
    /// <summary>How many traces there have to be.</summary>
    public const int Traces = 100_000;

    /// <summary>Traces per page, as MLflow's client asks for; each filter is met by more.</summary>
    public const int PageSize = 100;

    /// <summary>All shapes.</summary>
    public static IReadOnlyList<TraceSearchShape> All { get; } =
    [
        new("newest", "the newest 100"),
        new("tag-1", "a tag that 1 % have", "tags.t = 't7'"),
        new("tag-50", "a tag that half have", "tags.half = 'h1'"),
        new("time", "a window of a thousand in the middle",
            FormattableString.Invariant($"attributes.timestamp_ms >= {SeededTraces.Start(50_000)} AND attributes.timestamp_ms < {SeededTraces.Start(51_000)}")),
        new("feedback", "a feedback that 1 % have", $"feedback.{SeededTraces.Feedback} = 'false'"),
        new("span-name", "a span's name that 1 % have", "span.name = 'tool-7'"),
        new("tag-feedback", "a tag that half have, and a feedback that 9 % have", $"tags.half = 'h1' AND feedback.{SeededTraces.Feedback} = 'true'"),
        new("duration", "ordered by execution time", null, "execution_time_ms DESC"),
        new("tag-50-duration", "a tag that half have, ordered by execution time", "tags.half = 'h1'", "execution_time_ms DESC"),
    ];
}
