using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>What is measured.</summary>
[JsonConverter(typeof(ProtoEnumConverter<MetricViewType>))]
public enum MetricViewType
{
    /// <summary>Traces.</summary>
    Traces = 1,

    /// <summary>Spans.</summary>
    Spans = 2,

    /// <summary>Assessments.</summary>
    Assessments = 3,
}

/// <summary>How values are put together.</summary>
[JsonConverter(typeof(ProtoEnumConverter<AggregationType>))]
public enum AggregationType
{
    /// <summary>How many there are.</summary>
    Count = 1,

    /// <summary>Their sum.</summary>
    Sum = 2,

    /// <summary>Their mean.</summary>
    Avg = 3,

    /// <summary>A percentile, interpolated.</summary>
    Percentile = 4,

    /// <summary>The least; of no metric.</summary>
    Min = 5,

    /// <summary>The greatest; of no metric.</summary>
    Max = 6,
}

/// <summary>One way to put values together.</summary>
public sealed class MetricAggregation
{
    /// <summary>Required.</summary>
    public AggregationType? AggregationType { get; set; }

    /// <summary>Required for a percentile: 0 to 100.</summary>
    public double? PercentileValue { get; set; }
}

/// <summary>traces/metrics.</summary>
public sealed class QueryTraceMetrics
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Required.</summary>
    public MetricViewType? ViewType { get; set; }

    /// <summary>Required.</summary>
    public string? MetricName { get; set; }

    /// <summary>Required.</summary>
    public List<MetricAggregation>? Aggregations { get; set; }

    /// <summary>A data point for each combination of their values.</summary>
    public List<string>? Dimensions { get; set; }

    /// <summary>What has to be met, one clause each.</summary>
    public List<string>? Filters { get; set; }

    /// <summary>A data point for each such stretch of time; needs both ends.</summary>
    public long? TimeIntervalSeconds { get; set; }

    /// <summary>Traces that began then or later, milliseconds since 1970.</summary>
    public long? StartTimeMs { get; set; }

    /// <summary>Traces that began then or before, milliseconds since 1970.</summary>
    public long? EndTimeMs { get; set; }

    /// <summary>Most data points, 1000 when absent.</summary>
    public int? MaxResults { get; set; }

    /// <summary>Without effect.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Values of one combination of dimensions.</summary>
/// <param name="MetricName">The metric.</param>
/// <param name="Dimensions">Null when there are none.</param>
/// <param name="Values">By aggregation: <c>COUNT</c>, <c>SUM</c>, <c>AVG</c>, <c>P50.0</c>.</param>
public sealed record MetricDataPoint(string MetricName, Dictionary<string, string>? Dimensions, Dictionary<string, double> Values);

/// <summary>Answer to traces/metrics.</summary>
/// <param name="DataPoints">By time, then by the dimensions; null when there are none.</param>
public sealed record TraceMetricsResponse(List<MetricDataPoint>? DataPoints);

[JsonSerializable(typeof(QueryTraceMetrics))]
[JsonSerializable(typeof(TraceMetricsResponse))]
internal sealed partial class TraceMetricsJson : JsonSerializerContext;
