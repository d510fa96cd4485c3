using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Metrics;

/// <summary>A metric of log-batch.</summary>
public class BatchMetric
{
    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>Required.</summary>
    public double? Value { get; set; }

    /// <summary>Required; milliseconds since 1970, not negative.</summary>
    public long? Timestamp { get; set; }

    /// <summary>0 when absent.</summary>
    public long? Step { get; set; }

    /// <summary>Logged model that the value is about.</summary>
    public string? ModelId { get; set; }

    /// <summary>Data set that the value was measured on.</summary>
    public string? DatasetName { get; set; }

    /// <summary>Digest of that data set.</summary>
    public string? DatasetDigest { get; set; }
}

/// <summary>runs/log-metric: the fields of a metric, and the run.</summary>
public sealed class LogMetric : BatchMetric, IRunRequest
{
    /// <inheritdoc/>
    public string? RunId { get; set; }

    /// <inheritdoc/>
    public string? RunUuid { get; set; }
}

/// <summary>runs/log-parameter.</summary>
public sealed class LogParameter : RunRequest
{
    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>"" when absent.</summary>
    public string? Value { get; set; }
}

/// <summary>runs/log-batch.</summary>
public sealed class LogBatch
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>At most 1000.</summary>
    public List<BatchMetric>? Metrics { get; set; }

    /// <summary>At most 100.</summary>
    public List<KeyValue>? Params { get; set; }

    /// <summary>At most 100.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>metrics/get-history.</summary>
public sealed class GetMetricHistory : RunRequest
{
    /// <summary>Required.</summary>
    public string? MetricKey { get; set; }

    /// <summary>Points per page; all of them when absent or not positive, as old clients expect.</summary>
    public int? MaxResults { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>metrics/get-history-bulk.</summary>
public sealed class GetMetricHistoryBulk
{
    /// <summary>1 to 100 runs.</summary>
    public List<string>? RunId { get; set; }

    /// <summary>Required.</summary>
    public string? MetricKey { get; set; }

    /// <summary>At most 25000 points over all runs.</summary>
    public long? MaxResults { get; set; }
}

/// <summary>metrics/get-history-bulk-interval.</summary>
public sealed class GetMetricHistoryBulkInterval
{
    /// <summary>1 to 100 runs.</summary>
    public List<string>? RunIds { get; set; }

    /// <summary>Required.</summary>
    public string? MetricKey { get; set; }

    /// <summary>First step; given together with <see cref="EndStep"/> or not at all.</summary>
    public int? StartStep { get; set; }

    /// <summary>Last step.</summary>
    public int? EndStep { get; set; }

    /// <summary>About how many steps to sample, 1 to 2500.</summary>
    public int? MaxResults { get; set; }
}

/// <summary>Answer to metrics/get-history; written by <see cref="MetricHistory"/>, row by row.</summary>
/// <param name="Metrics">Null when there are none.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record GetMetricHistoryResponse(List<Metric>? Metrics, string? NextPageToken);

/// <summary>Answer to metrics/get-history-bulk; written by <see cref="MetricHistory"/>, row by row.</summary>
/// <param name="Metrics">Empty when there are none.</param>
public sealed record GetMetricHistoryBulkResponse(List<MetricWithRunId> Metrics);

/// <summary>Answer to metrics/get-history-bulk-interval; written by <see cref="MetricHistory"/>, row by row.</summary>
/// <param name="Metrics">Null when there are none.</param>
public sealed record GetMetricHistoryBulkIntervalResponse(List<MetricWithRunId>? Metrics);

/// <summary>A point of a metric, with the run that it belongs to.</summary>
/// <param name="Key">Name of the metric.</param>
/// <param name="Value">Its value; NaN is printed "NaN".</param>
/// <param name="Timestamp">Milliseconds since 1970.</param>
/// <param name="Step">Training step; any int64.</param>
/// <param name="RunId">The run.</param>
public sealed record MetricWithRunId(string Key, double Value, long Timestamp, long Step, string RunId);

[JsonSerializable(typeof(GetMetricHistoryResponse))]
[JsonSerializable(typeof(GetMetricHistoryBulkResponse))]
[JsonSerializable(typeof(GetMetricHistoryBulkIntervalResponse))]
[JsonSerializable(typeof(LogMetric))]
[JsonSerializable(typeof(LogParameter))]
[JsonSerializable(typeof(LogBatch))]
[JsonSerializable(typeof(GetMetricHistory))]
[JsonSerializable(typeof(GetMetricHistoryBulk))]
[JsonSerializable(typeof(GetMetricHistoryBulkInterval))]
internal sealed partial class MetricsJson : JsonSerializerContext;
