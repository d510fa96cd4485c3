namespace MlflowCompat.Server.Metrics;

/// <summary>A point of a metric as clients see it.</summary>
/// <param name="Key">Name of the metric.</param>
/// <param name="Value">Its value; NaN is printed "NaN".</param>
/// <param name="Timestamp">Milliseconds since 1970.</param>
/// <param name="Step">Training step; any int64.</param>
public sealed record Metric(string Key, double Value, long Timestamp, long Step);
