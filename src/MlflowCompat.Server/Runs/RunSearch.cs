using System.Globalization;
using System.Text;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>
/// The SQL of runs/search: a filter becomes semi-joins, so that no clause multiplies rows; an order key of metrics or params reads what
/// is unique per run (contract: search §2).
/// </summary>
/// <remarks>
/// Most pages are found by a walk: an index that has the order of the answer, or of its first key, is read from its beginning, at most a
/// few thousand entries of it, and every clause is looked up by run. What the walk has covered comes before all that it has not, so a page
/// that it fills is the page. Only when it does not is the search done as a whole, within the same statement: by the sets of runs that meet
/// the clauses, which is quick when they are small, as they are then.
/// </remarks>
internal sealed class RunSearch
{
    /// <summary>How many entries of an index a walk reads.</summary>
    public const int DefaultWalk = 5000;

    /// <summary>
    /// Up to this many clauses PostgreSQL may turn into joins and find the best order for. Every further one multiplies the orders that its
    /// planner compares, until planning takes longer than any search; OFFSET 0 makes it look each clause up by run instead.
    /// </summary>
    private const int MaxSemiJoins = 8;

    /// <summary>Up to this many parts SQLite merges in the order of their indexes; more are sorted.</summary>
    private const int MaxMerged = 16;

    /// <summary>How much of a param's value PostgreSQL keeps in idx_params_key_value.</summary>
    private const int IndexedParamLength = 128;

    /// <summary>MLflow's words and those of the column status.</summary>
    private static readonly (string Name, string Stored)[] Statuses =
    [
        ("RUNNING", "running"), ("SCHEDULED", "scheduled"), ("FINISHED", "completed"), ("FAILED", "failed"), ("KILLED", "killed"),
    ];

    private readonly Database database;
    private readonly StatementBuilder sql;
    private readonly IReadOnlyList<long> experiments;
    private readonly string[] stages;
    private readonly string experimentList;
    private readonly IReadOnlyList<Clause> clauses;
    private readonly IReadOnlyList<OrderTerm> order;
    private readonly int rows;
    private readonly long offset;
    private readonly int walk;

    private RunSearch(
        Database database, IReadOnlyList<long> experimentIds, ViewType view, Filter filter, IReadOnlyList<OrderTerm> order, int rows, long offset, int walk)
    {
        this.database = database;
        sql = new StatementBuilder(database);
        experiments = [.. experimentIds.Distinct()];
        stages = view switch
        {
            ViewType.ActiveOnly => ["active"],
            ViewType.DeletedOnly => ["deleted"],
            _ => ["active", "deleted"],
        };
        experimentList = experiments.Count == 1 ? sql.Add(experiments[0]) : sql.Add(experiments);
        clauses = filter.Clauses;
        this.order = order;
        this.rows = rows;
        this.offset = offset;
        this.walk = walk;
    }

    /// <summary>How many runs have to be found to fill the page.</summary>
    private long Needed => offset > long.MaxValue - rows ? long.MaxValue : offset + rows;

    /// <summary>A query for the keys (<c>run_id</c>) of a page of runs, in the order of the page.</summary>
    /// <param name="database">The database.</param>
    /// <param name="experimentIds">Whose runs are searched; one at least.</param>
    /// <param name="view">Active runs, deleted ones, or both.</param>
    /// <param name="filter">What they have to meet.</param>
    /// <param name="order">The keys of the order; the start and the run id always follow.</param>
    /// <param name="rows">Length of the page.</param>
    /// <param name="offset">Runs before the page.</param>
    /// <param name="walk">How many entries of an index are read before the search is done as a whole: the answer does not depend on it.</param>
    public static StatementBuilder Compile(
        Database database,
        IReadOnlyList<long> experimentIds,
        ViewType view,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int rows,
        long offset,
        int walk = DefaultWalk)
    {
        var search = new RunSearch(database, experimentIds, view, filter, order, rows, offset, walk);
        return search.sql.Append(search.Query());
    }

    private string Query()
    {
        var lead = order.Count == 0 ? new OrderTerm(EntityKind.Attribute, "start_time", Ascending: false) : order[0];
        // Without clauses the walk finds all, and an index that has the whole order needs no bound.
        if (clauses.Count == 0 && order.Count <= 1 && lead is { Entity: EntityKind.Attribute, Key: "start_time" or "run_name" })
            return $"SELECT run_id FROM ({Listing("r.run_id", Keys(), "", rows, offset)}) listing";
        if (clauses.Count > MaxSemiJoins || order.Count > MaxSemiJoins || Needed > walk / 2)
            return Whole();
        return lead switch
        {
            { Entity: EntityKind.Attribute, Key: "start_time" or "run_name" or "end_time" } => WalkRuns(lead),
            { Entity: EntityKind.Metric or EntityKind.Param } => WalkValues(lead),
            _ => Whole(),
        };
    }

    /// <summary>All runs that meet the filter, sorted.</summary>
    /// <param name="gate">When this condition fails, nothing is read.</param>
    private string Whole(string gate = "")
    {
        var isLong = clauses.Count > MaxSemiJoins || order.Count > MaxSemiJoins;
        var keys = Keys();
        var conditions = string.Concat(clauses.Select(clause => $" AND {Condition(clause, isLong ? Plan.ByRun : Plan.BySet)}"));
        // SQLite would make the lists of its conditions before it looked at a condition that stands beside them.
        var from = gate.Length == 0 ? "runs r" : database.Choose("runs r", $"(SELECT 1 WHERE {gate}) gate CROSS JOIN runs r");
        var isOpen = gate.Length == 0 ? "" : database.Choose($"{gate} AND ", "");
        var runs = $"FROM {from}{keys.Joins} WHERE {isOpen}{InExperiments()} AND {InStages()}{conditions}";
        return order.Count > MaxSemiJoins
            ? $"SELECT r.run_id {runs} ORDER BY {keys.OrderByExpressions}{Conditions.Limit(rows, offset)}"
            // Behind the fence the index is chosen for the filter: that the order's index meets enough runs soon, a walk has disproved.
            : $"SELECT run_id FROM (SELECT r.run_id{keys.Columns} {runs}{database.Choose(" OFFSET 0", " LIMIT -1")}) whole "
                + $"ORDER BY {keys.OrderBy}{Conditions.Limit(rows, offset)}";
    }

    /// <summary>Walks an index of the runs themselves.</summary>
    private string WalkRuns(OrderTerm lead)
    {
        var column = RunColumn(lead.Key);
        var isSet = lead.Key == "end_time" ? " AND r.end_time IS NOT NULL" : "";
        var keys = Keys();
        var conditions = string.Concat(clauses.Select(clause => $" AND {Condition(clause, Plan.ByRun)}"));
        // Small experiments are covered by the walk, all but what has no end.
        var covered = isSet.Length == 0 ? $" OR (SELECT found FROM reach) < {walk}" : "";
        var found = Listing("r.run_id", keys, $"{isSet} AND {column} {(lead.Ascending ? "<=" : ">=")} (SELECT bound FROM reach){conditions}", rows, offset);
        return $"WITH reach AS MATERIALIZED ({Reach(lead, isSet)}), "
            + $"walk AS MATERIALIZED (SELECT run_id FROM ({found}) found) "
            + WalkOrWhole($"(SELECT count(*) FROM walk) = {rows}{covered}");
    }

    /// <summary>
    /// Walks the values of a metric or param. Runs of equal value come in the order of a listing, which the index does not have. So the walk
    /// takes the values before the last one that it has met, all runs of each, and follows them with the runs of that value in a walk
    /// through the listing: the one or the other is short, whether values are all different or all the same.
    /// </summary>
    private string WalkValues(OrderTerm lead)
    {
        var isMetric = lead.Entity == EntityKind.Metric;
        var postgreSql = database.Kind == DatabaseKind.PostgreSql;
        var before = lead.Ascending ? "<" : ">";
        var direction = lead.Ascending ? "ASC" : "DESC";
        var name = sql.Add(lead.Key);
        var (table, hasValue) = isMetric
            ? ("latest_metrics", $"v.metric_name = {name} AND {database.Choose("NOT v.is_nan", "v.is_nan = 0")}")
            : ("hyperparameters", $"v.param_key = {name}");
        var value = isMetric ? "v.metric_value" : Conditions.Ordinal(database, "v.param_value");
        var indexed = isMetric || !postgreSql ? value : IndexedParam("v.param_value");
        // Clauses on the key of the order narrow the walk itself.
        var ofKey = clauses.Where(clause => clause.Entity == lead.Entity && clause.Key == lead.Key).ToList();
        foreach (var clause in ofKey)
            hasValue += $" AND {ValueCondition("v", clause)}";

        var keys = Keys(value);
        var others = string.Concat(clauses.Except(ofKey).Select(clause => $" AND {Condition(clause, Plan.ByRun)}"));
        var isLarge = $"(SELECT found FROM reach) = {walk}";
        var ctes = new List<string>
        {
            $"reach AS MATERIALIZED ({Reach(new OrderTerm(EntityKind.Attribute, "start_time", Ascending: false), "")})",
            $"last AS MATERIALIZED (SELECT {(lead.Ascending ? "max" : "min")}(met.value) AS value FROM (SELECT {indexed} AS value FROM {table} v "
                + $"WHERE {hasValue} AND {isLarge} ORDER BY 1 {direction}{Conditions.Limit(walk, 0)}) met)",
            $"before AS MATERIALIZED (SELECT r.run_id{keys.Columns} FROM {table} v CROSS JOIN runs r{keys.Joins} WHERE {hasValue} "
                + $"AND {indexed} {before} (SELECT value FROM last) AND r.run_id = v.run_id AND {InExperiments()} AND {InStages()}{others} "
                + $"ORDER BY {keys.OrderBy}{Conditions.Limit(Needed, 0)})",
        };
        var parts = "SELECT * FROM before";
        if (order.Count == 1)
        {
            var tied = Keys("(SELECT value FROM last)") with { Constant = 1 };
            var hasLast = $"EXISTS (SELECT 1 FROM {table} v WHERE v.run_id = r.run_id AND {hasValue} AND {value} = (SELECT value FROM last){ByRunFence})";
            // A shortened value may stand for several.
            var isWhole = isMetric || !postgreSql ? "" : $" AND (SELECT length(value) FROM last) < {IndexedParamLength}";
            var conditions = $" AND r.start_time >= (SELECT bound FROM reach) AND {isLarge} AND (SELECT count(*) FROM before) < {Needed}{isWhole} AND {hasLast}{others}";
            ctes.Add($"tied AS MATERIALIZED ({Listing("r.run_id", tied, conditions, Needed, 0)})");
            parts += " UNION ALL SELECT * FROM tied";
        }

        ctes.Add($"walk AS MATERIALIZED (SELECT run_id FROM ({parts}) parts ORDER BY {keys.OrderBy}{Conditions.Limit(rows, offset)})");
        return $"WITH {string.Join(", ", ctes)} " + WalkOrWhole($"(SELECT count(*) FROM walk) = {rows}");
    }

    private string WalkOrWhole(string isFilled) =>
        $"SELECT run_id FROM walk WHERE {isFilled} UNION ALL SELECT run_id FROM ({Whole($"NOT ({isFilled})")}) whole_page";

    /// <summary>How far a walk through runs may go: the value of the last run within its bound, and how many there are.</summary>
    private string Reach(OrderTerm lead, string condition)
    {
        var key = new OrderKeys("", [new OrderKey(RunColumn(lead.Key), lead.Ascending ? "ASC" : "DESC")]);
        return $"SELECT {(lead.Ascending ? "max" : "min")}(met.k0) AS bound, count(*) AS found FROM ({Listing("r.run_id", key, condition, walk, 0)}) met";
    }

    /// <summary>
    /// The first runs in the order of an index that begins with the experiment and the stage: several of them are walked side by side.
    /// </summary>
    private string Listing(string columns, OrderKeys keys, string conditions, long limit, long skip)
    {
        var page = $" ORDER BY {keys.OrderBy}{Conditions.Limit(limit, skip)}";
        if (experiments.Count == 1 && stages.Length == 1)
            return $"SELECT {columns}{keys.Columns} FROM runs r{keys.Joins} WHERE r.experiment_id = {experimentList} AND {InStages()}{conditions}{page}";
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            var depth = limit > long.MaxValue - skip ? long.MaxValue : limit + skip;
            return $"SELECT part.* FROM unnest({(experiments.Count == 1 ? $"ARRAY[{experimentList}]" : experimentList)}) AS e(experiment_id) "
                + $"CROSS JOIN unnest(ARRAY[{StageList}]) AS s(stage) CROSS JOIN LATERAL (SELECT {columns}{keys.Columns} FROM runs r{keys.Joins} "
                + $"WHERE r.experiment_id = e.experiment_id AND r.lifecycle_stage = s.stage{conditions} "
                + $"ORDER BY {keys.OrderBy}{Conditions.Limit(depth, 0)}) part{page}";
        }

        var each = experiments.Count * stages.Length <= MaxMerged
            ? experiments.SelectMany(experiment => stages.Select(stage =>
                string.Create(CultureInfo.InvariantCulture, $"r.experiment_id = {experiment} AND r.lifecycle_stage = '{stage}'")))
            : [$"{InExperiments()} AND {InStages()}"];
        return string.Join(" UNION ALL ", each.Select(part => $"SELECT {columns}{keys.Columns} FROM runs r{keys.Joins} WHERE {part}{conditions}")) + page;
    }

    private string ByRunFence => database.Choose(" OFFSET 0", "");

    private string StageList => string.Join(", ", stages.Select(stage => $"'{stage}'"));

    private string InStages() => stages.Length == 1 ? $"r.lifecycle_stage = '{stages[0]}'" : $"r.lifecycle_stage IN ({StageList})";

    private string InExperiments() => experiments.Count == 1
        ? $"r.experiment_id = {experimentList}"
        : database.Choose($"r.experiment_id = ANY({experimentList})", $"r.experiment_id IN (SELECT value FROM json_each({experimentList}))");

    private string Condition(Clause clause, Plan plan)
    {
        var fence = plan == Plan.ByRun ? ByRunFence : "";
        // SQLite knows no semi-joins; it can begin with a list of keys, but has to make it first.
        var isList = plan == Plan.BySet && database.Kind == DatabaseKind.Sqlite && clause.Comparator != Comparator.NotEqual;
        switch (clause.Entity)
        {
            case EntityKind.Metric:
                // NaN is stored as 0 there and compares so (contract: search §2); to name both is_nan lets the index serve.
                var isNan = database.Choose("m.is_nan IN (FALSE, TRUE)", "m.is_nan IN (0, 1)");
                var hasMetric = $"m.metric_name = {sql.Add(clause.Key)} AND {(plan == Plan.ByRun ? "" : isNan + " AND ")}{ValueCondition("m", clause)}";
                return isList
                    ? $"r.run_id IN (SELECT m.run_id FROM latest_metrics m WHERE {hasMetric})"
                    : $"EXISTS (SELECT 1 FROM latest_metrics m WHERE m.run_id = r.run_id AND {hasMetric}{fence})";
            case EntityKind.Param:
                var hasParam = $"p.param_key = {sql.Add(clause.Key)} AND {ValueCondition("p", clause)}";
                return isList
                    ? $"r.run_id IN (SELECT p.run_id FROM hyperparameters p WHERE {hasParam})"
                    : $"EXISTS (SELECT 1 FROM hyperparameters p WHERE p.run_id = r.run_id AND {hasParam}{fence})";
            case EntityKind.Tag:
                return Conditions.Tag(sql, "r.tags", clause.Key, clause.Comparator, clause.Value);
            case EntityKind.Dataset:
                return Dataset(clause, plan);
            default:
                return Attribute(clause);
        }
    }

    /// <summary>What a clause on a metric or param asks of its row.</summary>
    private string ValueCondition(string alias, Clause clause)
    {
        if (clause.Entity == EntityKind.Metric)
            return Conditions.Number(sql, $"{alias}.metric_value", clause.Comparator, clause.Value);
        var value = $"{alias}.param_value";
        if (database.Kind != DatabaseKind.PostgreSql || clause is not { Comparator: Comparator.Equal, Value: TextValue { Text: var text } })
            return Conditions.Text(sql, value, clause.Comparator, clause.Value);
        // What is shorter than the index's part is equal when that is; asked for both, the planner takes them for independent and expects far fewer runs.
        return $"{IndexedParam(value)} = {IndexedParam(sql.Add(text))}"
            + (FieldRules.CodePoints(text) < IndexedParamLength ? "" : $" AND {value} = {sql.Add(text)}");
    }

    private static string IndexedParam(string value) =>
        string.Create(CultureInfo.InvariantCulture, $"left({value}, {IndexedParamLength}) COLLATE \"C\"");

    private string Attribute(Clause clause) => clause.Key switch
    {
        "run_id" => Id(clause.Comparator, clause.Value),
        "run_name" => Conditions.Text(sql, "r.run_name", clause.Comparator, clause.Value),
        "status" => Status(clause),
        "user_id" => Conditions.Text(sql, "COALESCE(r.user_id, '')", clause.Comparator, clause.Value),
        "artifact_uri" => Conditions.Text(sql, "r.artifact_uri", clause.Comparator, clause.Value),
        "start_time" => Conditions.Time(sql, "r.start_time", "r.start_time_ms", clause.Comparator, clause.Value),
        "end_time" => Conditions.Time(sql, "r.end_time", "r.end_time_ms", clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    /// <summary>There are five statuses, so the clause is answered here and their index finds the runs.</summary>
    private static string Status(Clause clause)
    {
        var text = ((TextValue)clause.Value).Text;
        var stored = Statuses
            .Where(status => clause.Comparator switch
            {
                Comparator.Equal => status.Name == text,
                Comparator.NotEqual => status.Name != text,
                Comparator.Like => LikePattern.Matches(status.Name, text, ignoreCase: false),
                _ => LikePattern.Matches(status.Name, text, ignoreCase: true),
            })
            .Select(status => $"'{status.Stored}'")
            .ToList();
        return stored.Count == 0 ? "1 = 0" : $"r.status IN ({string.Join(", ", stored)})";
    }

    /// <summary>Ids compare as UUIDs where that says the same, so that their index serves; as the text that clients know otherwise.</summary>
    private string Id(Comparator comparator, FilterValue value)
    {
        IEnumerable<string>? texts = value switch
        {
            TextValue text when comparator is Comparator.Equal or Comparator.NotEqual => [text.Text],
            TextListValue list => list.Texts,
            _ => null,
        };
        if (texts is null)
            return Conditions.Text(sql, database.Choose("replace(r.run_uuid::text, '-', '')", "replace(r.run_uuid, '-', '')"), comparator, value);
        var ids = sql.Add([.. texts.Select(RunId.TryParse).OfType<Guid>()]);
        return comparator is Comparator.Equal or Comparator.In
            ? database.Choose($"r.run_uuid = ANY({ids})", $"r.run_uuid IN (SELECT value FROM json_each({ids}))")
            : database.Choose($"r.run_uuid <> ALL({ids})", $"r.run_uuid NOT IN (SELECT value FROM json_each({ids}))");
    }

    /// <summary>"Has an input with …": every clause may be met by another input.</summary>
    private string Dataset(Clause clause, Plan plan) => database.Kind == DatabaseKind.PostgreSql
        ? PostgreSqlDataset(clause, plan)
        : SqliteDataset(clause, plan);

    /// <remarks>
    /// Each OFFSET 0 is a look-up by key, and a set is made once: what inputs name are texts, of which the planner knows nothing, and in a
    /// database without statistics it would join them in a nested loop.
    /// </remarks>
    private string PostgreSqlDataset(Clause clause, Plan plan)
    {
        const string Links = "i.source_type = 'DATASET' AND i.destination_type = 'RUN'";
        string Context() => "CROSS JOIN LATERAL (SELECT 1 FROM input_tags t WHERE t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' "
            + $"AND {Conditions.Text(sql, "t.value", clause.Comparator, clause.Value)} OFFSET 0) t";
        string OfDataset() => Conditions.Text(sql, clause.Key == "name" ? "d.dataset_name" : "d.dataset_digest", clause.Comparator, clause.Value);
        if (plan == Plan.ByRun)
        {
            var isMet = clause.Key == "context"
                ? Context()
                : $"CROSS JOIN LATERAL (SELECT 1 FROM datasets d WHERE d.dataset_uuid = i.source_id::uuid AND {OfDataset()} OFFSET 0) d";
            return $"EXISTS (SELECT 1 FROM inputs i {isMet} WHERE {Links} AND i.destination_id = r.run_uuid::text OFFSET 0)";
        }

        // A run's data sets are those of its experiment.
        var ofExperiments = experiments.Count == 1 ? $"d.experiment_id = {experimentList}" : $"d.experiment_id = ANY({experimentList})";
        var inputs = "FROM datasets d CROSS JOIN LATERAL (SELECT i.input_uuid, i.destination_id FROM inputs i "
            + $"WHERE {Links} AND i.source_id = d.dataset_uuid::text OFFSET 0) i";
        return $"r.run_uuid IN (WITH met AS MATERIALIZED (SELECT i.destination_id::uuid AS run_uuid {inputs} "
            + (clause.Key == "context" ? $"{Context()} WHERE {ofExperiments}" : $"WHERE {ofExperiments} AND {OfDataset()}")
            + ") SELECT run_uuid FROM met)";
    }

    private string SqliteDataset(Clause clause, Plan plan)
    {
        var (join, column) = clause.Key == "context"
            ? ("input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'", "t.value")
            : ("datasets d ON d.dataset_uuid = i.source_id", clause.Key == "name" ? "d.dataset_name" : "d.dataset_digest");
        // A + keeps SQLite, which has no statistics, from taking the key of inputs for every run: it begins with the source.
        var links = $"FROM inputs i JOIN {join} WHERE {(plan == Plan.ByRun ? "i.destination_id = r.run_uuid AND " : "")}i.destination_type = 'RUN' "
            + $"AND {(plan == Plan.ByRun ? "+" : "")}i.source_type = 'DATASET' AND {Conditions.Text(sql, column, clause.Comparator, clause.Value)}";
        return plan == Plan.ByRun ? $"EXISTS (SELECT 1 {links})" : $"r.run_uuid IN (SELECT i.destination_id {links})";
    }

    /// <summary>
    /// The whole order. Runs without a key come last in both directions, and NaN, which is stored as 0, just before them.
    /// </summary>
    /// <param name="leadValue">The value of the first key, where that is at hand and never missing; looked up by run otherwise.</param>
    private OrderKeys Keys(string? leadValue = null)
    {
        var joins = new StringBuilder();
        var keys = new List<OrderKey>();
        foreach (var (number, term) in order.Index())
        {
            var direction = term.Ascending ? "ASC" : "DESC";
            if (number == 0 && leadValue is not null)
                keys.Add(new OrderKey(leadValue, direction));
            else
                keys.AddRange(KeysOf(term, direction, $"o{number}", joins));
        }

        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "start_time" }))
            keys.AddRange(StartTime("DESC"));
        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "run_id" }))
            keys.Add(new OrderKey("r.run_uuid", "ASC"));
        return new OrderKeys(joins.ToString(), keys);
    }

    private OrderKey[] KeysOf(OrderTerm term, string direction, string alias, StringBuilder joins)
    {
        var missingLast = $"{direction} NULLS LAST";
        switch (term.Entity)
        {
            case EntityKind.Metric:
                // Stored values are finite, so that an infinity of the right sign comes after all of them.
                var afterNumbers = database.Choose("'Infinity'::float8", "9e999");
                var value = OfRun(joins, "latest_metrics", "metric_name", term.Key, alias,
                    $"CASE WHEN {alias}.is_nan THEN {(term.Ascending ? "" : "-")}{afterNumbers} ELSE {alias}.metric_value END");
                return [new OrderKey(value, missingLast)];
            case EntityKind.Param:
                var param = OfRun(joins, "hyperparameters", "param_key", term.Key, alias, $"{alias}.param_value");
                return [new OrderKey(Conditions.Ordinal(database, param), missingLast)];
            case EntityKind.Tag:
                var key = sql.Add(term.Key);
                var tag = database.Choose(
                    $"(r.tags ->> {key})", $"(SELECT tag.value FROM json_each(r.tags) AS tag WHERE tag.key = {key})");
                return [new OrderKey(Conditions.Ordinal(database, tag), missingLast)];
            default:
                return term.Key switch
                {
                    "run_id" => [new OrderKey("r.run_uuid", direction)],
                    "run_name" or "status" => [new OrderKey(RunColumn(term.Key), direction)],
                    "user_id" or "artifact_uri" => [new OrderKey(RunColumn(term.Key), missingLast)],
                    "start_time" => StartTime(direction),
                    "end_time" when database.Kind == DatabaseKind.PostgreSql =>
                        [new OrderKey("r.end_time", missingLast), new OrderKey("r.end_time_ms", direction)],
                    "end_time" => [new OrderKey("r.end_time", missingLast)],
                    _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
                };
        }
    }

    private string RunColumn(string key) => key switch
    {
        "run_name" => Conditions.Ordinal(database, "r.run_name"),
        "status" => Conditions.Ordinal(database, "r.mlflow_status"),
        "user_id" => Conditions.Ordinal(database, "r.user_id"),
        "artifact_uri" => Conditions.Ordinal(database, "r.artifact_uri"),
        _ => $"r.{key}",
    };

    /// <summary>
    /// A value that a run has once at most: from a join on PostgreSQL, which can hash it, and looked up by run on SQLite, which knows no
    /// other way, takes 64 tables in a join, and (3.35) crashes when a join is ordered by that many terms.
    /// </summary>
    private string OfRun(StringBuilder joins, string table, string nameColumn, string name, string alias, string expression)
    {
        var isKey = $"{alias}.run_id = r.run_id AND {alias}.{nameColumn} = {sql.Add(name)}";
        if (database.Kind == DatabaseKind.Sqlite)
            return $"(SELECT {expression} FROM {table} {alias} WHERE {isKey})";
        joins.Append(CultureInfo.InvariantCulture, $" LEFT JOIN {table} {alias} ON {isKey}");
        return expression;
    }

    /// <summary>Times beyond the calendar share a TIMESTAMP and differ in the overflow column only (mapping C-2).</summary>
    private OrderKey[] StartTime(string direction) => database.Kind == DatabaseKind.PostgreSql
        ? [new OrderKey("r.start_time", direction), new OrderKey("r.start_time_ms", direction)]
        : [new OrderKey("r.start_time", direction)];

    /// <summary>How a clause is looked up.</summary>
    private enum Plan
    {
        /// <summary>For one run after the other.</summary>
        ByRun,

        /// <summary>In whatever order is best.</summary>
        BySet,
    }

    private sealed record OrderKey(string Expression, string Direction);

    /// <summary>The keys of an order, as columns k0, k1 … of a query.</summary>
    /// <param name="Joins">What their expressions need beside <c>runs r</c>.</param>
    /// <param name="List">The keys.</param>
    private sealed record OrderKeys(string Joins, IReadOnlyList<OrderKey> List)
    {
        /// <summary>How many of the first keys are the same in all rows.</summary>
        public int Constant { get; init; }

        public string Columns => string.Concat(List.Select((key, number) => $", {key.Expression} AS k{number}"));

        public string OrderBy => string.Join(", ", List.Select((key, number) => $"k{number} {key.Direction}").Skip(Constant));

        public string OrderByExpressions => string.Join(", ", List.Select(key => $"{key.Expression} {key.Direction}"));
    }
}
