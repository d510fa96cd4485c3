using System.Globalization;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// Counts, sums, means and percentiles of traces, spans and assessments, by dimension and time, computed in the database (contract:
/// since-3.6 §3.4).
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class TraceMetrics(Database database)
{
    private const int DefaultMaxResults = 1000;
    private const int MaxMaxResults = 50_000;

    /// <summary>How many filters, aggregations or dimensions a request may have: each makes the statement longer.</summary>
    private const int MaxTerms = 100;

    private const int MaxIntervalSeconds = 1_000_000_000;

    private const string TimeBucket = "time_bucket";
    private const string Latency = "latency";

    private static readonly AggregationType[] CountOnly = [AggregationType.Count];
    private static readonly AggregationType[] MeanAndPercentile = [AggregationType.Avg, AggregationType.Percentile];
    private static readonly AggregationType[] Amounts = [AggregationType.Sum, AggregationType.Avg, AggregationType.Percentile];

    private static readonly string[] ModelDimensions = ["span_model_name", "span_model_provider"];

    private static readonly (MetricViewType View, string Name, AggregationType[] Aggregations, string[] Dimensions)[] Metrics =
    [
        (MetricViewType.Traces, "trace_count", CountOnly, ["trace_name", "trace_status"]),
        (MetricViewType.Traces, Latency, MeanAndPercentile, ["trace_name"]),
        (MetricViewType.Traces, "input_tokens", Amounts, ["trace_name"]),
        (MetricViewType.Traces, "output_tokens", Amounts, ["trace_name"]),
        (MetricViewType.Traces, "total_tokens", Amounts, ["trace_name"]),
        (MetricViewType.Traces, "cache_read_input_tokens", Amounts, ["trace_name"]),
        (MetricViewType.Traces, "cache_creation_input_tokens", Amounts, ["trace_name"]),
        (MetricViewType.Spans, "span_count", CountOnly, ["span_name", "span_type", "span_status", .. ModelDimensions]),
        (MetricViewType.Spans, Latency, MeanAndPercentile, ["span_name", "span_status"]),
        (MetricViewType.Spans, "input_cost", Amounts, ModelDimensions),
        (MetricViewType.Spans, "output_cost", Amounts, ModelDimensions),
        (MetricViewType.Spans, "total_cost", Amounts, ModelDimensions),
        (MetricViewType.Assessments, "assessment_count", CountOnly, ["assessment_name", "assessment_value"]),
        (MetricViewType.Assessments, "assessment_value", MeanAndPercentile, ["assessment_name"]),
    ];

    /// <summary>Maps the endpoint.</summary>
    public static void Map(IEndpointRouteBuilder endpoints) =>
        endpoints.MlflowRoutesFor<TraceMetrics>("3.0").Post<QueryTraceMetrics, TraceMetricsResponse>("traces/metrics", Query);

    private static async Task<TraceMetricsResponse> Query(QueryTraceMetrics request, TraceMetrics metrics, CancellationToken cancellationToken)
    {
        var points = await metrics.QueryAsync(request, cancellationToken).ConfigureAwait(false);
        return new TraceMetricsResponse(points.Count == 0 ? null : points);
    }

    private async Task<List<MetricDataPoint>> QueryAsync(QueryTraceMetrics request, CancellationToken cancellationToken)
    {
        var experiments = request.ExperimentIds is { Count: > 0 } ids
            ? ids.ConvertAll(id => ExperimentId.TryParse(id)
                ?? throw MlflowException.InvalidValue("experiment_ids", MlflowException.Quote(id), "experiment ids are integers."))
            : throw FieldRules.Missing("experiment_ids");
        var view = FieldRules.Required(request.ViewType, "view_type");
        var name = FieldRules.Required(request.MetricName, "metric_name");
        var known = Metrics.Where(metric => metric.View == view).ToList();
        var metric = known.Find(metric => metric.Name == name);
        if (metric.Name is null)
        {
            throw MlflowException.InvalidValue(
                "metric_name", MlflowException.Quote(name), $"for this view_type it must be one of {string.Join(", ", known.Select(each => each.Name))}.");
        }

        CheckCount(request.Filters, "filters");
        CheckCount(request.Aggregations, "aggregations");
        CheckCount(request.Dimensions, "dimensions");
        var aggregations = Aggregations(request.Aggregations, metric.Name, metric.Aggregations);
        List<string> dimensions = [.. (request.Dimensions ?? []).Distinct()];
        if (dimensions.Find(dimension => !metric.Dimensions.Contains(dimension)) is { } unknown)
        {
            throw MlflowException.InvalidValue(
                "dimensions", MlflowException.Quote(unknown), $"for {name} they must be among {string.Join(", ", metric.Dimensions)}.");
        }

        var interval = Interval(request);
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? DefaultMaxResults, MaxMaxResults);
        var statement = Statement(experiments, view, name, aggregations, dimensions, Clauses(request.Filters, view), interval, request, maxResults);
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        var points = await session.ListAsync(
            statement,
            reader =>
            {
                var column = 0;
                var named = new Dictionary<string, string>(StringComparer.Ordinal);
                if (interval is not null)
                    named.Add(TimeBucket, TraceTimes.ToDate(reader.GetInt64(column++)).ToString("yyyy-MM-dd'T'HH:mm:sszzz", CultureInfo.InvariantCulture));
                foreach (var dimension in dimensions)
                    named[dimension] = reader.GetString(column++);
                var values = new Dictionary<string, double>(StringComparer.Ordinal);
                foreach (var (label, _) in aggregations)
                {
                    if (!reader.IsDBNull(column))
                        values[label] = Convert.ToDouble(reader.GetValue(column), CultureInfo.InvariantCulture);
                    column++;
                }

                return new MetricDataPoint(name, named.Count == 0 ? null : named, values);
            },
            cancellationToken).ConfigureAwait(false);
        points.RemoveAll(point => point.Values.Count == 0);
        return points;
    }

    private static void CheckCount<T>(List<T>? given, string field)
    {
        if (given?.Count > MaxTerms)
            throw MlflowException.InvalidParameter($"'{field}' has {given.Count} entries; at most {MaxTerms} are allowed.");
    }

    /// <summary>What is to be computed, once each: the answer has a value per label.</summary>
    private static List<(string Label, MetricAggregation Aggregation)> Aggregations(
        List<MetricAggregation>? given, string metric, AggregationType[] allowed)
    {
        if (given is not { Count: > 0 })
            throw FieldRules.Missing("aggregations");
        var labelled = new List<(string, MetricAggregation)>();
        foreach (var aggregation in given)
        {
            var type = FieldRules.Required(aggregation.AggregationType, "aggregations.aggregation_type");
            if (!allowed.Contains(type))
            {
                throw MlflowException.InvalidValue(
                    "aggregations",
                    ProtoEnumConverter<AggregationType>.NameOf(type),
                    $"for {metric} they must be among {string.Join(", ", allowed.Select(ProtoEnumConverter<AggregationType>.NameOf))}.");
            }

            if (type != AggregationType.Percentile)
            {
                labelled.Add((ProtoEnumConverter<AggregationType>.NameOf(type), aggregation));
                continue;
            }

            if (aggregation.PercentileValue is not (>= 0 and <= 100 and var percentile))
                throw MlflowException.InvalidParameter("'aggregations.percentile_value' must be between 0 and 100.");
            labelled.Add(("P" + Otlp.SpanJson.ValueText(percentile), aggregation));
        }

        return [.. labelled.DistinctBy(each => each.Item1)];
    }

    private static List<Clause> Clauses(List<string>? filters, MetricViewType view)
    {
        var clauses = new List<Clause>();
        foreach (var filter in filters ?? [])
        {
            var parsed = FilterParser.Parse(filter, Vocabularies.TraceMetrics);
            if (parsed.Clauses is not [var clause])
                throw MlflowException.InvalidValue("filters", MlflowException.Quote(filter), "each must be a single clause.");
            var fits = clause.Entity switch
            {
                EntityKind.Span => view == MetricViewType.Spans,
                EntityKind.Assessment => view == MetricViewType.Assessments,
                _ => true,
            };
            clauses.Add(fits ? clause : throw MlflowException.InvalidValue("filters", MlflowException.Quote(filter), "it does not go with this view_type."));
        }

        return clauses;
    }

    /// <summary>Milliseconds of a bucket, or null.</summary>
    private static long? Interval(QueryTraceMetrics request)
    {
        if (request.TimeIntervalSeconds is not { } seconds)
            return null;
        if (seconds is <= 0 or > MaxIntervalSeconds)
        {
            throw MlflowException.InvalidValue(
                "time_interval_seconds", seconds.ToString(CultureInfo.InvariantCulture), $"it must be positive, and at most {MaxIntervalSeconds}.");
        }

        if (request.StartTimeMs is null || request.EndTimeMs is null)
            throw MlflowException.InvalidParameter("start_time_ms and end_time_ms are required if time_interval_seconds is given.");
        return seconds * 1000;
    }

    private Statement Statement(
        List<long> experiments,
        MetricViewType view,
        string name,
        List<(string Label, MetricAggregation Aggregation)> aggregations,
        List<string> dimensions,
        List<Clause> clauses,
        long? interval,
        QueryTraceMetrics request,
        int maxResults)
    {
        var sql = new StatementBuilder(database);
        var list = sql.Add(experiments);
        var from = view switch
        {
            MetricViewType.Traces => "trace_info t",
            MetricViewType.Spans => "trace_info t JOIN spans s ON s.trace_id = t.trace_id",
            _ => "trace_info t JOIN assessments a ON a.trace_id = t.trace_id",
        };
        var conditions = database.Choose($"t.experiment_id = ANY({list})", $"t.experiment_id IN (SELECT value FROM json_each({list}))");
        if (request.StartTimeMs is { } start)
            conditions += $" AND t.timestamp_ms >= {sql.Add(start)}";
        if (request.EndTimeMs is { } end)
            conditions += $" AND t.timestamp_ms <= {sql.Add(end)}";
        foreach (var clause in clauses)
            conditions += $" AND {Condition(sql, clause)}";

        var groups = new List<string>();
        var columns = $"{Value(view, name)} AS value";
        if (interval is { } bucket)
        {
            var time = view switch
            {
                MetricViewType.Traces => "t.timestamp_ms",
                MetricViewType.Spans => "s.start_time_unix_nano / 1000000",
                _ => "a.created_timestamp",
            };
            // Before 1970, too, a bucket begins before what is in it; the remainder has the sign of the time.
            columns += string.Create(CultureInfo.InvariantCulture, $", {time} - (({time}) % {bucket} + {bucket}) % {bucket} AS bucket");
            groups.Add("bucket");
        }

        for (var i = 0; i < dimensions.Count; i++)
        {
            columns += string.Create(CultureInfo.InvariantCulture, $", {Dimension(dimensions[i])} AS d{i}");
            groups.Add(string.Create(CultureInfo.InvariantCulture, $"d{i}"));
        }

        var present = string.Concat(groups.Prepend("value").Select((column, index) => $"{(index == 0 ? "" : " AND ")}{column} IS NOT NULL"));
        var by = string.Join(", ", groups);
        var rows = $"SELECT * FROM (SELECT {columns} FROM {from} WHERE {conditions}) measured WHERE {present}";
        var hasPercentile = aggregations.Any(aggregation => aggregation.Aggregation.AggregationType == AggregationType.Percentile);
        if (database.Kind == DatabaseKind.Sqlite && hasPercentile)
        {
            var partition = groups.Count == 0 ? "" : $"PARTITION BY {by}";
            rows = $"SELECT *, row_number() OVER ({partition} ORDER BY value) - 1 AS place, count(*) OVER ({partition}) - 1 AS last FROM ({rows}) ranked";
        }

        var results = aggregations.Select(aggregation => Result(sql, aggregation.Aggregation));
        sql.Append($"SELECT {string.Join(", ", groups.Concat(results))} FROM ({rows}) AS r");
        if (groups.Count > 0)
            sql.Append($" GROUP BY {by} ORDER BY {string.Join(", ", groups.Select(group => group == "bucket" ? group : Conditions.Ordinal(database, group)))}");
        return sql.Append(Conditions.Limit(maxResults, 0)).ToStatement();
    }

    private string Result(StatementBuilder sql, MetricAggregation aggregation)
    {
        switch (aggregation.AggregationType)
        {
            case AggregationType.Count:
                return "count(*)";
            case AggregationType.Sum:
                return "sum(value)";
            case AggregationType.Avg:
                return "avg(value)";
            default:
                var share = sql.Add(aggregation.PercentileValue!.Value / 100);
                if (database.Kind == DatabaseKind.PostgreSql)
                    return $"percentile_cont({share}) WITHIN GROUP (ORDER BY value)";
                // Between the two values that lie around the place, as far as the place is between theirs.
                var place = $"({share} * last)";
                var before = $"CAST({place} AS INTEGER)";
                return $"sum(CASE place WHEN {before} THEN value * (1 - ({place} - {before})) WHEN {before} + 1 THEN value * ({place} - {before}) ELSE 0 END)";
        }
    }

    private string Value(MetricViewType view, string name)
    {
        // What PostgreSQL is to cast has to be a number that float8 can hold; SQLite tells numbers by itself.
        const string Number = "'^-?[0-9]{1,50}(\\.[0-9]{1,50})?([eE][+-]?[0-9]{1,2})?$'";
        var usage = $"(t.trace_metadata ->> '{TraceTags.TokenUsage}')";
        var sqliteUsage = $"json_extract(t.trace_metadata, '$.\"{TraceTags.TokenUsage}\"')";
        return name switch
        {
            "trace_count" or "span_count" or "assessment_count" => "1",
            Latency when view == MetricViewType.Traces => database.Choose("t.execution_time_ms::float8", "CAST(t.execution_time_ms AS REAL)"),
            Latency => "s.duration_ns / 1000000.0",
            "assessment_value" => "CASE WHEN a.value IN ('true', '\"yes\"') THEN 1.0 WHEN a.value IN ('false', '\"no\"') THEN 0.0 WHEN "
                + database.Choose(
                    $"a.value ~ {Number} THEN {Measure("a.value::float8")} END",
                    $"json_valid(a.value) THEN CASE WHEN json_type(a.value) IN ('integer', 'real') THEN {Measure("CAST(a.value AS REAL)")} END END"),
            "input_cost" or "output_cost" or "total_cost" => database.Choose($"(s.usage ->> '{name}')::float8", $"CAST(json_extract(s.usage, '$.{name}') AS REAL)"),
            // Metadata is what clients wrote, which need not be JSON.
            _ => database.Choose(
                Tokens($"substring({usage} FROM '\"{name}\": *([0-9]{{1,16}})(?![0-9.eE])')::float8"),
                $"CASE WHEN json_valid({sqliteUsage}) THEN CASE WHEN json_type({sqliteUsage}, '$.{name}') = 'integer' "
                    + $"THEN {Tokens($"CAST(json_extract({sqliteUsage}, '$.{name}') AS REAL)")} END END"),
        };

        // A number whose square is none that a double can hold, which avg sums, would fail the whole query; it is no measure of anything.
        static string Measure(string number) => $"CASE WHEN abs({number}) BETWEEN 1e-90 AND 1e90 OR {number} = 0 THEN {number} END";

        static string Tokens(string number) => $"CASE WHEN {number} BETWEEN 0 AND {SpanStore.MaxTokens} THEN {number} END";
    }

    private string Dimension(string name) => name switch
    {
        "trace_name" => database.Choose($"t.tags ->> '{TraceTags.Name}'", $"json_extract(t.tags, '$.\"{TraceTags.Name}\"')"),
        "trace_status" => "t.status",
        "span_name" => "s.name",
        "span_type" => "s.type",
        "span_status" => "s.status",
        "span_model_name" => database.Choose("s.usage ->> 'model'", "json_extract(s.usage, '$.model')"),
        "span_model_provider" => database.Choose("s.usage ->> 'provider'", "json_extract(s.usage, '$.provider')"),
        "assessment_name" => "a.name",
        "assessment_value" => "a.value",
        _ => throw new InvalidOperationException($"The table of metrics let the dimension {name} through."),
    };

    private static string Condition(StatementBuilder sql, Clause clause)
    {
        const string TagPrefix = "tag.";
        const string MetadataPrefix = "metadata.";
        return clause switch
        {
            { Entity: EntityKind.Span } => Conditions.Text(sql, $"s.{clause.Key}", clause.Comparator, clause.Value),
            { Entity: EntityKind.Assessment, Key: "name" } => Conditions.Text(sql, "a.name", clause.Comparator, clause.Value),
            { Entity: EntityKind.Assessment } => Conditions.Text(sql, "a.assessment_type", clause.Comparator, clause.Value),
            { Key: "status" } => Conditions.Text(sql, "t.status", clause.Comparator, clause.Value),
            _ when clause.Key.StartsWith(TagPrefix, StringComparison.Ordinal) =>
                Conditions.Tag(sql, "t.tags", clause.Key[TagPrefix.Length..], clause.Comparator, clause.Value),
            _ => Conditions.Tag(sql, "t.trace_metadata", clause.Key[MetadataPrefix.Length..], clause.Comparator, clause.Value),
        };
    }
}
