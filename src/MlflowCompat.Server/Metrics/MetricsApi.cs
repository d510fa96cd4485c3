using System.Globalization;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.LoggedModels;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Metrics;

/// <summary>What runs log while they go on, and the history of metrics (contract: endpoints §2, §3; semantics §6, §7).</summary>
public static class MetricsApi
{
    private const int MaxParamValueLength = 6000;
    private const int MaxDatasetNameLength = 500;
    private const int MaxDatasetDigestLength = 36;

    private const int MaxBatchMetrics = 1000;
    private const int MaxBatchParams = 100;
    private const int MaxBatchTags = 100;
    private const int MaxBatchTotal = 1000;

    private const int MaxBulkRuns = 100;
    private const int MaxBulkResults = 25_000;
    private const int MaxIntervalResults = 2500;

    /// <summary>Maps the endpoints.</summary>
    public static void MapMetrics(this IEndpointRouteBuilder endpoints)
    {
        var logs = endpoints.MlflowRoutesFor<RunLogStore>();
        logs.Post<LogMetric, Empty>("runs/log-metric", LogMetric);
        logs.Post<LogParameter, Empty>("runs/log-parameter", LogParameter);
        logs.Post<LogBatch, Empty>("runs/log-batch", LogBatch);

        var history = endpoints.MlflowRoutesFor<MetricHistory>();
        history.GetStreamed<GetMetricHistory, GetMetricHistoryResponse>("metrics/get-history", GetHistory);
        history.AjaxGetStreamed<GetMetricHistoryBulk, GetMetricHistoryBulkResponse>("metrics/get-history-bulk", GetHistoryBulk);
        history.GetStreamed<GetMetricHistoryBulkInterval, GetMetricHistoryBulkIntervalResponse>("metrics/get-history-bulk-interval", GetHistoryBulkInterval);
    }

    private static async Task<Empty> LogMetric(LogMetric request, RunLogStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Of(request);
        // The single call knows its fields by other names than the batch; only what is missing is called by the field's own (§4.3).
        FieldRules.Required(request.Key, "key");
        var point = CheckMetric(request, "name", "Metric name", "value", "timestamp");
        await store.LogAsync(id, new RunLog([point], [], []), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LogParameter(LogParameter request, RunLogStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Of(request);
        var parameter = CheckParam(store, new KeyValue { Key = request.Key, Value = request.Value }, "key", "Param key", "value");
        await store.LogAsync(id, new RunLog([], [parameter], []), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LogBatch(LogBatch request, RunLogStore store, CancellationToken cancellationToken)
    {
        var id = RunId.RequireForm(request.RunId);
        var metrics = request.Metrics ?? [];
        var parameters = request.Params ?? [];
        var tags = request.Tags ?? [];

        var points = new MetricPoint[metrics.Count];
        for (var i = 0; i < points.Length; i++)
        {
            var name = Field("metrics", i, "name");
            points[i] = CheckMetric(metrics[i], name, name, Field("metrics", i, "value"), Field("metrics", i, "timestamp"));
        }

        for (var i = 0; i < parameters.Count; i++)
        {
            var key = Field("params", i, "key");
            CheckParam(store, parameters[i], key, key, Field("params", i, "value"));
        }

        for (var i = 0; i < tags.Count; i++)
        {
            var key = Field("tags", i, "key");
            FieldRules.Key(tags[i].Key, key, key);
            tags[i].Value = RunTags.Value(store.Options, tags[i].Value, Field("tags", i, "value"));
        }

        CheckLimits(metrics.Count, parameters.Count, tags.Count);
        CheckDuplicates(parameters);
        await store.LogAsync(RunId.Parse(id), new RunLog(points, parameters, tags), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static Task GetHistory(GetMetricHistory request, MetricHistory history, HttpResponse response, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(string.IsNullOrEmpty(request.RunId) ? request.RunUuid : request.RunId, "run_id");
        var key = FieldRules.Required(request.MetricKey, "metric_key");
        var offset = PageToken.Offset(request.PageToken);
        var maxResults = request.MaxResults > 0 ? request.MaxResults : null;
        return history.WriteAsync(RunId.TryParse(id), key, maxResults, offset, response, cancellationToken);
    }

    private static Task GetHistoryBulk(
        GetMetricHistoryBulk request, MetricHistory history, HttpResponse response, CancellationToken cancellationToken)
    {
        const string Request = "GetMetricHistoryBulk request";
        var ids = CheckRuns(
            request.RunId,
            $"Missing value for required parameter 'run_id': a {Request} must specify at least one run_id.",
            $"Too many values for parameter 'run_id': a {Request} cannot specify more than");
        if (request.MetricKey is not { Length: > 0 } key)
            throw MlflowException.InvalidParameter($"Missing value for required parameter 'metric_key': a {Request} must specify a metric_key.");
        var asked = request.MaxResults ?? MaxBulkResults;
        var maxResults = asked is < 0 or > MaxBulkResults ? MaxBulkResults : asked;
        return history.WriteBulkAsync(ids, key, maxResults, response, cancellationToken);
    }

    private static Task GetHistoryBulkInterval(
        GetMetricHistoryBulkInterval request, MetricHistory history, HttpResponse response, CancellationToken cancellationToken)
    {
        var ids = CheckRuns(
            request.RunIds,
            "Missing value for required parameter 'run_ids'. A GetMetricHistoryBulkInterval request needs at least one of them.",
            "Too many values for parameter 'run_ids': a GetMetricHistoryBulkInterval request must specify at most");
        var key = FieldRules.Required(request.MetricKey, "metric_key");
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? MaxIntervalResults, MaxIntervalResults);
        if (request.StartStep is null != request.EndStep is null)
        {
            throw MlflowException.InvalidParameter(
                $"'{(request.EndStep is null ? "end_step" : "start_step")}' is missing. If either start step or end step are specified, both must be specified.");
        }

        if (request.StartStep > request.EndStep)
        {
            throw MlflowException.InvalidValue(
                "end_step",
                $"{request.EndStep}",
                string.Create(CultureInfo.InvariantCulture, $"end_step must be greater than start_step. They may also be equal; start_step is {request.StartStep}."));
        }

        return history.WriteIntervalAsync(
            ids, key, request.StartStep ?? 0, request.EndStep ?? long.MaxValue, maxResults, response, cancellationToken);
    }

    private static MetricPoint CheckMetric(BatchMetric metric, FieldName keyField, FieldName keyName, FieldName valueField, FieldName timestampField)
    {
        var key = FieldRules.Key(metric.Key, keyField, keyName);
        var (value, isNan) = MetricPoint.Normalize(FieldRules.Required(metric.Value, valueField));
        var timestamp = FieldRules.Required(metric.Timestamp, timestampField);
        if (timestamp < 0)
        {
            throw MlflowException.InvalidValue(
                timestampField.ToString(), timestamp.ToString(CultureInfo.InvariantCulture), "it must not be negative (milliseconds since 1970).");
        }

        return new MetricPoint(
            key,
            value,
            isNan,
            timestamp,
            metric.Step ?? 0,
            string.IsNullOrEmpty(metric.ModelId) ? null : ModelId.Parse(metric.ModelId),
            string.IsNullOrEmpty(metric.DatasetName) ? null : FieldRules.MaxLength(metric.DatasetName, MaxDatasetNameLength, "dataset_name"),
            string.IsNullOrEmpty(metric.DatasetDigest) ? null : FieldRules.MaxLength(metric.DatasetDigest, MaxDatasetDigestLength, "dataset_digest"));
    }

    private static KeyValue CheckParam(RunLogStore store, KeyValue parameter, FieldName keyField, FieldName keyName, FieldName valueField)
    {
        FieldRules.Key(parameter.Key, keyField, keyName);
        parameter.Value = store.Options.TruncateLongValues
            ? FieldRules.Truncate(parameter.Value ?? "", MaxParamValueLength)
            : FieldRules.MaxLength(parameter.Value ?? "", MaxParamValueLength, valueField);
        return parameter;
    }

    private static void CheckLimits(int metrics, int parameters, int tags)
    {
        Check(metrics, MaxBatchMetrics, "metrics");
        Check(parameters, MaxBatchParams, "params");
        Check(tags, MaxBatchTags, "tags");
        Check(metrics + parameters + tags, MaxBatchTotal, "metrics, params and tags together");

        static void Check(int count, int limit, string what)
        {
            if (count > limit)
            {
                throw MlflowException.InvalidParameter(string.Create(
                    CultureInfo.InvariantCulture, $"A batch logging request can contain at most {limit} {what}. Got {count}. Please split up the request and try again."));
            }
        }
    }

    /// <summary>A param given twice is refused, also with equal values (contract: semantics §6).</summary>
    private static void CheckDuplicates(List<KeyValue> parameters)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        var duplicates = parameters.Where(parameter => !keys.Add(parameter.Key!)).Select(parameter => parameter.Key).Distinct().ToList();
        if (duplicates.Count > 0)
            throw MlflowException.InvalidParameter($"Duplicate parameter keys have been submitted: {string.Join(", ", duplicates.Select(key => MlflowException.Quote(key!)))}. Each key may be given once in 'params'.");
    }

    private static List<Guid> CheckRuns(List<string>? ids, string missing, string tooMany)
    {
        if (ids is null || ids.Count == 0)
            throw MlflowException.InvalidParameter(missing);
        if (ids.Count > MaxBulkRuns)
        {
            throw MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture, $"{tooMany} {MaxBulkRuns} run_ids. It has {ids.Count}."));
        }

        return [.. ids.Select(RunId.TryParse).OfType<Guid>().Distinct()];
    }

    private static FieldName Field(string list, int index, string name) => new(name, list, index);
}
