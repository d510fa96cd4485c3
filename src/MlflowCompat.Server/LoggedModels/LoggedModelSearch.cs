using MlflowCompat.Search;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>What logged-models/search is asked for.</summary>
/// <param name="ExperimentIds">Whose models are searched.</param>
/// <param name="Filter">What they have to meet.</param>
/// <param name="Datasets">The data sets whose metrics the filter looks at; all when empty.</param>
/// <param name="Order">The keys of the order, those of metrics with the data set that they were measured on, if that matters.</param>
public sealed record LoggedModelQuery(
    IReadOnlyList<long> ExperimentIds,
    Filter Filter,
    IReadOnlyList<DatasetFilter> Datasets,
    IReadOnlyList<(OrderTerm Term, DatasetFilter? Dataset)> Order);

/// <summary>
/// The SQL of logged-models/search (contract: search §6). Every clause, and every key of the order, is looked up model by model through
/// idx_metrics_model: the models of an experiment are thousands at most, and so no plan depends on what the database knows of its tables.
/// </summary>
internal sealed class LoggedModelSearch
{
    /// <summary>The statuses of the specified schema by the number and the names that filters may have for them (mapping C-32).</summary>
    private static readonly (string[] Spellings, string Stored)[] Statuses =
    [
        (["1", "LOGGED_MODEL_PENDING", "PENDING"], "'training'"),
        (["2", "LOGGED_MODEL_READY", "READY"], "'trained', 'evaluating', 'evaluated', 'deployed', 'archived'"),
        (["3", "LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED", "FAILED"], "'failed'"),
    ];

    private readonly Database database;
    private readonly StatementBuilder sql;
    private readonly LoggedModelQuery query;

    /// <summary>The condition that a point <c>m</c> was measured on one of the data sets; null when any will do.</summary>
    private readonly string? onDatasets;

    private LoggedModelSearch(Database database, LoggedModelQuery query)
    {
        this.database = database;
        this.query = query;
        sql = new StatementBuilder(database);
        if (query.Datasets.Count == 0)
            return;
        // As lists, however many they are. Without a digest the data set is meant that was logged without one, as in MLflow; "" stands for that.
        var names = sql.Add([.. query.Datasets.Select(dataset => dataset.DatasetName!)]);
        var digests = sql.Add([.. query.Datasets.Select(dataset => dataset.DatasetDigest ?? "")]);
        onDatasets = database.Choose(
            $"EXISTS (SELECT 1 FROM unnest({names}, {digests}) AS d(name, digest) WHERE d.name = m.dataset_name AND d.digest = COALESCE(m.dataset_digest, ''))",
            $"EXISTS (SELECT 1 FROM json_each({names}) AS d WHERE d.value = m.dataset_name AND json_extract({digests}, '$[' || d.key || ']') = COALESCE(m.dataset_digest, ''))");
    }

    /// <summary>A query for the keys (<c>model_id</c>) of a page of models, in the order of the page.</summary>
    /// <param name="database">The database.</param>
    /// <param name="query">What is searched for, in one experiment at least.</param>
    /// <param name="rows">Length of the page.</param>
    /// <param name="offset">Models before the page.</param>
    public static StatementBuilder Compile(Database database, LoggedModelQuery query, long rows, long offset)
    {
        var search = new LoggedModelSearch(database, query);
        return search.sql.Append(search.Query(rows, offset));
    }

    private string Query(long rows, long offset)
    {
        var experiments = query.ExperimentIds.Count == 1
            ? $"lm.experiment_id = {sql.Add(query.ExperimentIds[0])}"
            : sql.Add(query.ExperimentIds) is var ids && database.Kind == DatabaseKind.PostgreSql
                ? $"lm.experiment_id = ANY({ids})"
                : $"lm.experiment_id IN (SELECT value FROM json_each({ids}))";
        var conditions = query.Filter.Clauses.Select(Condition).ToList();
        if (onDatasets is not null && !query.Filter.Clauses.Any(clause => clause.Entity == EntityKind.Metric))
            conditions.Add(HasMetric(onDatasets));
        var order = query.Order.Select(key => OrderKey(key.Term, key.Dataset)).ToList();
        if (!query.Order.Any(key => key.Term is { Entity: EntityKind.Attribute, Key: "creation_timestamp" }))
            order.Add("lm.created_at DESC");
        order.Add("lm.model_id DESC");
        return $"SELECT lm.model_id FROM models lm WHERE {experiments} AND lm.lifecycle_stage = 'active'"
            + string.Concat(conditions.Select(condition => $" AND {condition}"))
            + $" ORDER BY {string.Join(", ", order)}{Conditions.Limit(rows, offset)}";
    }

    private string Condition(Clause clause) => clause.Entity switch
    {
        EntityKind.Metric => HasMetric($"m.metric_name = {sql.Add(clause.Key)} AND {Conditions.Number(sql, Value("m"), clause.Comparator, clause.Value)}"
            + (onDatasets is null ? "" : $" AND {onDatasets}")),
        EntityKind.Param => Conditions.Tag(sql, "lm.hyperparameters", clause.Key, clause.Comparator, clause.Value),
        EntityKind.Tag => Conditions.Tag(sql, "lm.tags", clause.Key, clause.Comparator, clause.Value),
        _ => Attribute(clause),
    };

    /// <summary>"Has a point with …": every clause may be met by another one.</summary>
    private string HasMetric(string condition) =>
        $"EXISTS (SELECT 1 FROM metrics m WHERE m.model_id = lm.model_id AND {condition}{database.Choose(" OFFSET 0", "")})";

    private string OnDataset(DatasetFilter dataset)
    {
        var conditions = new List<string>();
        if (!string.IsNullOrEmpty(dataset.DatasetName))
            conditions.Add($"m.dataset_name = {sql.Add(dataset.DatasetName)}");
        if (!string.IsNullOrEmpty(dataset.DatasetDigest))
            conditions.Add($"m.dataset_digest = {sql.Add(dataset.DatasetDigest)}");
        return string.Join(" AND ", conditions);
    }

    /// <summary>NaN compares as 0, which is how SQLite stores it and how MLflow knows it (contract: search §10).</summary>
    private string Value(string alias) => database.Choose($"(CASE WHEN {alias}.is_nan THEN 0 ELSE {alias}.metric_value END)", $"{alias}.metric_value");

    private string Attribute(Clause clause) => clause.Key switch
    {
        "name" => Conditions.Text(sql, "lm.model_name", clause.Comparator, clause.Value),
        "model_id" => Id(clause),
        "model_type" => Conditions.Text(sql, "lm.model_type", clause.Comparator, clause.Value),
        "source_run_id" => Conditions.Text(sql, "COALESCE(lm.source_run_uuid, '')", clause.Comparator, clause.Value),
        "experiment_id" => Conditions.Text(sql, database.Choose("lm.experiment_id::text", "CAST(lm.experiment_id AS TEXT)"), clause.Comparator, clause.Value),
        "artifact_location" => Conditions.Text(sql, "lm.model_file_path", clause.Comparator, clause.Value),
        "lifecycle_stage" => Conditions.Text(sql, "lm.lifecycle_stage", clause.Comparator, clause.Value),
        "status" => Status(clause),
        "creation_timestamp" => Conditions.Time(sql, "lm.created_at", null, clause.Comparator, clause.Value),
        "last_updated_timestamp" => Conditions.Time(sql, "lm.updated_at", null, clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    /// <summary>There are three statuses, each with a number and names, so the clause is answered here.</summary>
    private static string Status(Clause clause)
    {
        var stored = Statuses.Where(status => Meets(status.Spellings)).Select(status => status.Stored).ToList();
        return stored.Count == 0 ? "1 = 0" : $"lm.status IN ({string.Join(", ", stored)})";

        bool Meets(string[] spellings) => (clause.Comparator, clause.Value) switch
        {
            (Comparator.Equal, TextValue value) => spellings.Contains(value.Text),
            (Comparator.NotEqual, TextValue value) => !spellings.Contains(value.Text),
            (Comparator.In, TextListValue list) => spellings.Intersect(list.Texts).Any(),
            (Comparator.NotIn, TextListValue list) => !spellings.Intersect(list.Texts).Any(),
            (var comparator, TextValue value) => spellings.Any(text => LikePattern.Matches(text, value.Text, ignoreCase: comparator == Comparator.ILike)),
            _ => throw new InvalidOperationException($"The vocabulary let the comparator {clause.Comparator} through."),
        };
    }

    /// <summary>Ids compare as UUIDs where that says the same, so that their index serves; as the text that clients know otherwise.</summary>
    private string Id(Clause clause)
    {
        IEnumerable<string>? texts = clause.Value switch
        {
            TextValue text when clause.Comparator is Comparator.Equal or Comparator.NotEqual => [text.Text],
            TextListValue list => list.Texts,
            _ => null,
        };
        if (texts is null)
            return Conditions.Text(sql, database.Choose("('m-' || replace(lm.model_uuid::text, '-', ''))", "('m-' || replace(lm.model_uuid, '-', ''))"), clause.Comparator, clause.Value);
        var ids = sql.Add([.. texts.Select(ModelId.TryParse).OfType<Guid>()]);
        return clause.Comparator is Comparator.Equal or Comparator.In
            ? database.Choose($"lm.model_uuid = ANY({ids})", $"lm.model_uuid IN (SELECT value FROM json_each({ids}))")
            : database.Choose($"lm.model_uuid <> ALL({ids})", $"lm.model_uuid NOT IN (SELECT value FROM json_each({ids}))");
    }

    /// <summary>Models without a value come last in both directions.</summary>
    private string OrderKey(OrderTerm term, DatasetFilter? dataset)
    {
        var direction = term.Ascending ? "ASC" : "DESC";
        if (term.Entity == EntityKind.Metric)
            return $"{LatestValue(term, dataset)} {direction} NULLS LAST";
        return term.Key switch
        {
            "name" => Conditions.Ordinal(database, "lm.model_name"),
            "model_id" => "lm.model_uuid",
            "model_type" => Conditions.Ordinal(database, "lm.model_type"),
            "source_run_id" => Conditions.Ordinal(database, "COALESCE(lm.source_run_uuid, '')"),
            "experiment_id" => "lm.experiment_id",
            "artifact_location" => Conditions.Ordinal(database, "lm.model_file_path"),
            "lifecycle_stage" => Conditions.Ordinal(database, "lm.lifecycle_stage"),
            "status" => "(CASE lm.status WHEN 'training' THEN 1 WHEN 'failed' THEN 3 ELSE 2 END)",
            "creation_timestamp" => "lm.created_at",
            "last_updated_timestamp" => "lm.updated_at",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + $" {direction}";
    }

    /// <summary>The value at the latest (timestamp, step); of several that one that was logged last.</summary>
    private string LatestValue(OrderTerm term, DatasetFilter? dataset)
    {
        var onDataset = dataset is null ? "" : $" AND {OnDataset(dataset)}";
        return $"(SELECT {Value("m")} FROM metrics m "
            + $"WHERE m.model_id = lm.model_id AND m.metric_name = {sql.Add(term.Key)}{onDataset} "
            + $"ORDER BY m.timestamp DESC, {database.Choose("COALESCE(m.timestamp_ms, -1) DESC, ", "")}m.metric_step DESC, m.metric_id DESC LIMIT 1)";
    }
}
