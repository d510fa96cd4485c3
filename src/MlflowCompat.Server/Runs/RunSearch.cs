using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>
/// The SQL of runs/search: a filter becomes semi-joins, so that no clause multiplies rows; an order key of metrics or params reads what
/// is unique per run (contract: search §2).
/// </summary>
internal static class RunSearch
{
    /// <summary>
    /// Up to this many clauses PostgreSQL may turn into joins and find the best order for. Every further one multiplies the orders that its
    /// planner compares, until planning takes longer than any search; OFFSET 0 makes it look each clause up by run instead.
    /// </summary>
    private const int MaxSemiJoins = 8;

    /// <summary>FROM, WHERE, ORDER BY and LIMIT over <c>runs r</c>.</summary>
    public static StatementBuilder Compile(
        Database database,
        IReadOnlyList<long> experimentIds,
        ViewType view,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int maxResults,
        long offset)
    {
        var sql = new StatementBuilder(database);
        sql.Append("FROM runs r");
        var terms = order.Select((term, number) => OrderBy(sql, term, number)).ToList();
        sql.Append(" WHERE ").Append(InExperiments(sql, experimentIds));
        if (view != ViewType.All)
            sql.Append(view == ViewType.ActiveOnly ? " AND r.lifecycle_stage = 'active'" : " AND r.lifecycle_stage = 'deleted'");
        var fence = database.Choose(filter.Clauses.Count > MaxSemiJoins ? " OFFSET 0" : "", "");
        foreach (var clause in filter.Clauses)
            sql.Append(" AND ").Append(Condition(sql, clause, fence));
        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "start_time" }))
            terms.Add(StartTime(database, "DESC"));
        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "run_id" }))
            terms.Add("r.run_uuid ASC");
        return sql.Append(" ORDER BY ").Append(string.Join(", ", terms)).Append(Conditions.Limit(maxResults, offset));
    }

    private static string InExperiments(StatementBuilder sql, IReadOnlyList<long> ids)
    {
        // Equality lets an index give the order as well.
        if (ids.Count == 1)
            return $"r.experiment_id = {sql.Add(ids[0])}";
        var list = sql.Add(ids);
        return sql.Database.Choose($"r.experiment_id = ANY({list})", $"r.experiment_id IN (SELECT value FROM json_each({list}))");
    }

    private static string Condition(StatementBuilder sql, Clause clause, string fence)
    {
        var (comparator, value) = (clause.Comparator, clause.Value);
        switch (clause.Entity)
        {
            case EntityKind.Metric:
                // NaN is stored as 0 there and compares so (contract: search §2).
                return $"EXISTS (SELECT 1 FROM latest_metrics m WHERE m.run_id = r.run_id AND m.metric_name = {sql.Add(clause.Key)} "
                    + $"AND {Conditions.Number(sql, "m.metric_value", comparator, value)}{fence})";
            case EntityKind.Param:
                return $"EXISTS (SELECT 1 FROM hyperparameters p WHERE p.run_id = r.run_id AND p.param_key = {sql.Add(clause.Key)} "
                    + $"AND {Conditions.Text(sql, "p.param_value", comparator, value)}{fence})";
            case EntityKind.Tag:
                return Conditions.Tag(sql, "r.tags", clause.Key, comparator, value);
            case EntityKind.Dataset:
                return Dataset(sql, clause, fence);
            default:
                return Attribute(sql, clause);
        }
    }

    private static string Attribute(StatementBuilder sql, Clause clause) => clause.Key switch
    {
        "run_id" => Id(sql, clause.Comparator, clause.Value),
        "run_name" => Conditions.Text(sql, "r.run_name", clause.Comparator, clause.Value),
        "status" => Conditions.Text(sql, "r.mlflow_status", clause.Comparator, clause.Value),
        "user_id" => Conditions.Text(sql, "COALESCE(r.user_id, '')", clause.Comparator, clause.Value),
        "artifact_uri" => Conditions.Text(sql, "r.artifact_uri", clause.Comparator, clause.Value),
        "start_time" => Conditions.Time(sql, "r.start_time", "r.start_time_ms", clause.Comparator, clause.Value),
        "end_time" => Conditions.Time(sql, "r.end_time", "r.end_time_ms", clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    /// <summary>Ids compare as UUIDs where that says the same, so that their index serves; as the text that clients know otherwise.</summary>
    private static string Id(StatementBuilder sql, Comparator comparator, FilterValue value)
    {
        IEnumerable<string>? texts = value switch
        {
            TextValue text when comparator is Comparator.Equal or Comparator.NotEqual => [text.Text],
            TextListValue list => list.Texts,
            _ => null,
        };
        if (texts is null)
            return Conditions.Text(sql, sql.Database.Choose("replace(r.run_uuid::text, '-', '')", "replace(r.run_uuid, '-', '')"), comparator, value);
        var ids = sql.Add([.. texts.Select(RunId.TryParse).OfType<Guid>()]);
        return comparator is Comparator.Equal or Comparator.In
            ? sql.Database.Choose($"r.run_uuid = ANY({ids})", $"r.run_uuid IN (SELECT value FROM json_each({ids}))")
            : sql.Database.Choose($"r.run_uuid <> ALL({ids})", $"r.run_uuid NOT IN (SELECT value FROM json_each({ids}))");
    }

    /// <summary>"Has an input with …": every clause may be met by another input.</summary>
    private static string Dataset(StatementBuilder sql, Clause clause, string fence)
    {
        var (join, condition) = clause.Key == "context"
            ? ("input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'", "t.value")
            : ("datasets d ON d.dataset_uuid = " + sql.Database.Choose("i.source_id::uuid", "i.source_id"),
                clause.Key == "name" ? "d.dataset_name" : "d.dataset_digest");
        return $"r.run_uuid IN (SELECT {sql.Database.Choose("i.destination_id::uuid", "i.destination_id")} FROM inputs i JOIN {join} "
            + $"WHERE i.destination_type = 'RUN' AND i.source_type = 'DATASET' "
            + $"AND {Conditions.Text(sql, condition, clause.Comparator, clause.Value)}{fence})";
    }

    /// <summary>One order key. Runs without the key come last in both directions, and NaN, which is stored as 0, just before them.</summary>
    private static string OrderBy(StatementBuilder sql, OrderTerm term, int number)
    {
        var database = sql.Database;
        var direction = term.Ascending ? "ASC" : "DESC";
        switch (term.Entity)
        {
            case EntityKind.Metric:
                // Stored values are finite, so that an infinity of the right sign comes after all of them.
                var afterNumbers = database.Choose("'Infinity'::float8", "9e999");
                var value = OfRun(sql, "latest_metrics", "metric_name", term.Key, $"o{number}", column =>
                    $"CASE WHEN {column}.is_nan THEN {(term.Ascending ? "" : "-")}{afterNumbers} ELSE {column}.metric_value END");
                return $"{value} {direction} NULLS LAST";
            case EntityKind.Param:
                var param = OfRun(sql, "hyperparameters", "param_key", term.Key, $"o{number}", column => $"{column}.param_value");
                return $"{Conditions.Ordinal(database, param)} {direction} NULLS LAST";
            case EntityKind.Tag:
                var key = sql.Add(term.Key);
                var tag = database.Choose(
                    $"(r.tags ->> {key})", $"(SELECT tag.value FROM json_each(r.tags) AS tag WHERE tag.key = {key})");
                return $"{Conditions.Ordinal(database, tag)} {direction} NULLS LAST";
            default:
                return term.Key switch
                {
                    "run_id" => $"r.run_uuid {direction}",
                    "run_name" => $"{Conditions.Ordinal(database, "r.run_name")} {direction}",
                    "status" => $"{Conditions.Ordinal(database, "r.mlflow_status")} {direction}",
                    "user_id" => $"{Conditions.Ordinal(database, "r.user_id")} {direction} NULLS LAST",
                    "artifact_uri" => $"{Conditions.Ordinal(database, "r.artifact_uri")} {direction} NULLS LAST",
                    "start_time" => StartTime(database, direction),
                    "end_time" => $"r.end_time {direction} NULLS LAST" + database.Choose($", r.end_time_ms {direction}", ""),
                    _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
                };
        }
    }

    /// <summary>
    /// A value that a run has once at most: from a join on PostgreSQL, which can hash it, and looked up by run on SQLite, which knows no
    /// other way, takes 64 tables in a join, and (3.35) crashes when a join is ordered by that many terms.
    /// </summary>
    private static string OfRun(
        StatementBuilder sql, string table, string nameColumn, string name, string alias, Func<string, string> expression)
    {
        var isKey = $"{alias}.run_id = r.run_id AND {alias}.{nameColumn} = {sql.Add(name)}";
        if (sql.Database.Kind == DatabaseKind.Sqlite)
            return $"(SELECT {expression(alias)} FROM {table} {alias} WHERE {isKey})";
        sql.Append($" LEFT JOIN {table} {alias} ON {isKey}");
        return expression(alias);
    }

    /// <summary>Times beyond the calendar share a TIMESTAMP and differ in the overflow column only (mapping C-2).</summary>
    private static string StartTime(Database database, string direction) =>
        database.Choose($"r.start_time {direction}, r.start_time_ms {direction}", $"r.start_time {direction}");
}
