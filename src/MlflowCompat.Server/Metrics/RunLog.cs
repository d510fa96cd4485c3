using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Metrics;

/// <summary>What one request logs to a run, checked: all of it is written, or nothing.</summary>
/// <param name="Metrics">Points of metrics.</param>
/// <param name="Params">Params, each key once.</param>
/// <param name="Tags">Tags; of equal keys the last one counts.</param>
public sealed record RunLog(IReadOnlyList<MetricPoint> Metrics, IReadOnlyList<KeyValue> Params, IReadOnlyList<KeyValue> Tags)
{
    /// <summary>Whether these are nothing but points that refer to nothing but their run.</summary>
    public bool IsPlain => Params.Count == 0 && Tags.Count == 0 && Metrics.All(point => point is { Model: null, DatasetName: null });

    /// <summary>About how much memory it takes while it waits to be written.</summary>
    public long EstimateBytes()
    {
        const int Row = 200;
        long bytes = Row * (1L + Metrics.Count + Params.Count + Tags.Count);
        foreach (var item in Params.Concat(Tags))
            bytes += sizeof(char) * (item.Key!.Length + (item.Value?.Length ?? 0));
        return bytes;
    }
}

/// <summary>
/// A point of a metric in the form in which it is stored and compared (contract: semantics §7, mapping C-21): NaN is 0 with a flag, the
/// infinities are the largest finite numbers.
/// </summary>
/// <param name="Key">Name of the metric.</param>
/// <param name="Value">Finite; 0 when <paramref name="IsNan"/>.</param>
/// <param name="IsNan">Whether the value is NaN.</param>
/// <param name="Timestamp">Milliseconds since 1970.</param>
/// <param name="Step">Training step.</param>
/// <param name="Model">The logged model that it is about, and where it is about one, on which data set it was measured.</param>
/// <param name="DatasetName">Name of that data set.</param>
/// <param name="DatasetDigest">Its digest.</param>
public sealed record MetricPoint(
    string Key, double Value, bool IsNan, long Timestamp, long Step, Guid? Model, string? DatasetName, string? DatasetDigest)
{
    /// <summary>Brings a value as sent into the stored form.</summary>
    public static (double Value, bool IsNan) Normalize(double value) => value switch
    {
        double.NaN => (0, true),
        double.PositiveInfinity => (double.MaxValue, false),
        double.NegativeInfinity => (double.MinValue, false),
        _ => (value, false),
    };

    /// <summary>Whether this point replaces <paramref name="other"/> as the latest one: by step, then timestamp, then value.</summary>
    public bool IsLaterThan(MetricPoint other) =>
        (Step, Timestamp, Value).CompareTo((other.Step, other.Timestamp, other.Value)) > 0;
}
