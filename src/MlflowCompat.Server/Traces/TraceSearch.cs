using System.Globalization;
using MlflowCompat.Search;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Where a page of traces begins: behind so many, or behind a trace of the page before.</summary>
/// <param name="Offset">Traces before the page.</param>
/// <param name="Timestamp">Start of the last trace of the page before; null where the order does not allow it.</param>
/// <param name="TraceId">Its id.</param>
internal readonly record struct TracePosition(long Offset, long? Timestamp = null, string? TraceId = null);

/// <summary>
/// The SQL of searches for traces: a filter becomes semi-joins on tags, spans and assessments, so that no clause multiplies rows, each
/// within the experiments that are searched (contract: search §7).
/// </summary>
/// <remarks>
/// As in runs/search, most pages are found by a walk: the index of the listing is read from where the window of time begins, at most a few
/// thousand entries of it, and every clause is looked up by trace. What it has covered comes before all that it has not, so a page that it
/// fills is the page. Only otherwise the search is done as a whole, in the same statement. Where <see cref="SpanTextIndex"/> knows which
/// traces can meet the clauses on texts, the whole is those.
/// </remarks>
internal sealed class TraceSearch
{
    /// <summary>How many entries of the listing a walk reads.</summary>
    public const int DefaultWalk = 3000;

    /// <summary>
    /// Up to this many clauses PostgreSQL may turn into joins and find the best order for, as in runs/search. Every further one multiplies
    /// the orders that its planner compares, so it is looked up by trace.
    /// </summary>
    private const int MaxSemiJoins = 8;

    /// <summary>Up to this many experiments SQLite merges in the order of their entries; more are sorted, as in runs/search.</summary>
    private const int MaxMerged = 16;

    /// <summary>How much of a span's name or an assessment's value PostgreSQL keeps in the index.</summary>
    private const int IndexedLength = 128;

    /// <summary>Longest value that SQLite keeps in trace_entries.</summary>
    private const int MaxEntryLength = 250;

    /// <summary>What SQLite does not keep in trace_entries; the same list stands in the migration.</summary>
    private static readonly HashSet<string> UnindexedEntries = new(StringComparer.Ordinal)
    {
        TraceTags.ArtifactLocation, TraceTags.SpansLocation, "mlflow.traceInputs", "mlflow.traceOutputs", TraceTags.SizeStats,
        "mlflow.trace.sizeBytes", TraceTags.TokenUsage, "mlflow.trace_schema.version",
    };

    private readonly Database database;
    private readonly StatementBuilder sql;
    private readonly IReadOnlyList<long> experiments;
    private readonly string experimentList;
    private readonly IReadOnlyCollection<string>? candidates;

    private TraceSearch(Database database, IReadOnlyList<long> experimentIds, IReadOnlyCollection<string>? candidates = null)
    {
        this.database = database;
        this.candidates = candidates;
        sql = new StatementBuilder(database);
        experiments = [.. experimentIds.Distinct()];
        experimentList = experiments.Count == 1 ? sql.Add(experiments[0]) : sql.Add(experiments);
    }

    private bool IsPostgreSql => database.Kind == DatabaseKind.PostgreSql;

    /// <summary>Keeps PostgreSQL from turning a look-up by trace into a join.</summary>
    private string ByTraceFence => database.Choose(" OFFSET 0", "");

    /// <summary>Whether pages of this order can begin behind a trace: the order is that of the index.</summary>
    public static bool IsKeyset(IReadOnlyList<OrderTerm> order) =>
        order.Count == 0 || (order.Count == 1 && order[0] is { Entity: EntityKind.Attribute, Key: "timestamp_ms" });

    /// <summary>A query for a page of traces, in its order; see <see cref="TraceRow.Columns"/>.</summary>
    /// <param name="database">The database.</param>
    /// <param name="experimentIds">Whose traces are searched; one at least.</param>
    /// <param name="filter">What they have to meet.</param>
    /// <param name="order">The keys of the order; the start and the id always follow.</param>
    /// <param name="rows">Length of the page.</param>
    /// <param name="position">Where it begins.</param>
    /// <param name="candidates">All traces that can meet the filter, and others; null if nobody knows them.</param>
    /// <param name="walk">How many entries of the listing are read before the search is done as a whole: the answer does not depend on it.</param>
    public static Statement Page(
        Database database,
        IReadOnlyList<long> experimentIds,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int rows,
        TracePosition position,
        IReadOnlyCollection<string>? candidates = null,
        int walk = DefaultWalk)
    {
        var search = new TraceSearch(database, experimentIds, candidates);
        return search.sql.Append(search.PageQuery(filter, order, rows, position, walk)).ToStatement();
    }

    /// <summary>A query that counts traces: those that meet the base filter; the first one; the second one; both.</summary>
    public static Statement Correlation(
        Database database, IReadOnlyList<long> experimentIds, Filter baseFilter, Filter first, Filter second)
    {
        var search = new TraceSearch(database, experimentIds);
        var all = search.Conditions(baseFilter.Clauses, byTrace: true);
        var (one, two) = (search.Met(first), search.Met(second));
        return search.sql.Append($"""
            SELECT count(*), COALESCE(sum(c.one), 0), COALESCE(sum(c.two), 0), COALESCE(sum(c.one * c.two), 0) FROM (
                SELECT CASE WHEN {one} THEN 1 ELSE 0 END AS one, CASE WHEN {two} THEN 1 ELSE 0 END AS two
                FROM trace_info t WHERE {search.InExperiments("t")}{all}{search.ByTraceFence}) c
            """).ToStatement();
    }

    private string Met(Filter filter) => filter.Clauses.Count == 0 ? "1 = 1" : string.Join(" AND ", filter.Clauses.Select(clause => Condition(clause, byTrace: true)));

    private string PageQuery(Filter filter, IReadOnlyList<OrderTerm> order, int rows, TracePosition position, int walk)
    {
        var keys = Keys(order);
        var behind = Behind(order, position);
        var offset = behind.Length > 0 ? 0 : position.Offset;
        string page;
        if (filter.Clauses.All(IsTime) && IsKeyset(order))
            page = Listing(keys, Conditions(filter.Clauses, byTrace: true) + behind, rows, offset);
        else if (IsKeyset(order) && offset + rows <= walk / 2 && !(candidates?.Count <= walk))
            page = WalkOrWhole(filter, order, keys, behind, rows, offset, walk);
        else
            page = Whole(keys, Conditions(filter.Clauses, byTrace: candidates is not null) + behind, "", rows, offset);
        return $"SELECT {TraceColumns} FROM ({page}) page {database.Choose("JOIN", "CROSS JOIN")} trace_info t ON t.trace_id = page.id ORDER BY {keys.OrderBy}";
    }

    private static string TraceColumns { get; } = string.Join(", ", TraceRow.Columns.Split(',').Select(column => "t." + column.Trim()));

    /// <summary>Ids and keys of the order of all that meets the conditions, sorted.</summary>
    /// <param name="keys">The order.</param>
    /// <param name="conditions">What the traces have to meet.</param>
    /// <param name="gate">When this condition fails, nothing is read.</param>
    /// <param name="rows">How many.</param>
    /// <param name="offset">How many before them.</param>
    private string Whole(OrderKeys keys, string conditions, string gate, int rows, long offset)
    {
        var from = "trace_info t";
        if (candidates is not null)
        {
            var ids = sql.Add([.. candidates]);
            // SQLite, which has no statistics, would rather walk through the experiment.
            from = database.Choose(from, $"json_each({ids}) AS candidate CROSS JOIN {from} ON t.trace_id = candidate.value");
            conditions = database.Choose($" AND t.trace_id = ANY({ids})", "") + conditions;
        }

        // SQLite would make the lists of its conditions before it looked at a condition that stands beside them.
        if (gate.Length > 0)
            from = database.Choose(from, $"(SELECT 1 WHERE {gate}) gate CROSS JOIN {from}");
        var isOpen = gate.Length == 0 ? "" : database.Choose($"{gate} AND ", "");
        // Behind the fence PostgreSQL chooses the index for the filter: that the listing meets enough traces soon, a walk has disproved.
        return $"SELECT * FROM (SELECT t.trace_id AS id{keys.Columns} FROM {from} WHERE {isOpen}{InExperiments("t")}{conditions}"
            + $"{database.Choose(" OFFSET 0", "")}) whole ORDER BY {keys.OrderBy}{Searching.Conditions.Limit(rows, offset)}";
    }

    /// <summary>Ids and keys of the first traces in the order of the listing; those of several experiments are walked side by side.</summary>
    private string Listing(OrderKeys keys, string conditions, int rows, long offset)
    {
        var page = $" ORDER BY {keys.OrderBy}{Searching.Conditions.Limit(rows, offset)}";
        string OfExperiment(string isExperiment) => $"SELECT t.trace_id AS id{keys.Columns} FROM trace_info t WHERE {isExperiment}{conditions}";
        if (experiments.Count > 1 && IsPostgreSql)
        {
            var depth = offset > long.MaxValue - rows ? long.MaxValue : offset + rows;
            return $"SELECT part.* FROM unnest({experimentList}) AS e(experiment_id) CROSS JOIN LATERAL ("
                + $"{OfExperiment("t.experiment_id = e.experiment_id")} ORDER BY {keys.OrderBy}{Searching.Conditions.Limit(depth, 0)}) part{page}";
        }

        return experiments.Count is 1 or > MaxMerged
            ? OfExperiment(InExperiments("t")) + page
            : string.Join(" UNION ALL ", experiments.Select(id => OfExperiment(string.Create(CultureInfo.InvariantCulture, $"t.experiment_id = {id}")))) + page;
    }

    private string WalkOrWhole(Filter filter, IReadOnlyList<OrderTerm> order, OrderKeys keys, string behind, int rows, long offset, int walk)
    {
        var ascending = order.Count > 0 && order[0].Ascending;
        var window = Conditions([.. filter.Clauses.Where(IsTime)], byTrace: true) + behind;
        var others = Conditions([.. filter.Clauses.Where(clause => !IsTime(clause))], byTrace: true);
        var time = new OrderKeys([("t.timestamp_ms", ascending ? "ASC" : "DESC")]);
        var reach = $"SELECT {(ascending ? "max" : "min")}(met.k0) AS bound, count(*) AS found FROM ({Listing(time, window, walk, 0)}) met";
        var walked = Listing(keys, $"{window} AND t.timestamp_ms {(ascending ? "<=" : ">=")} (SELECT bound FROM reach){others}", rows, offset);
        var isFilled = $"((SELECT count(*) FROM walk) = {rows} OR (SELECT found FROM reach) < {walk})";
        var whole = Whole(keys, Conditions(filter.Clauses, byTrace: candidates is not null) + behind, $"NOT {isFilled}", rows, offset);
        return $"WITH reach AS MATERIALIZED ({reach}), walk AS MATERIALIZED (SELECT * FROM ({walked}) walked) "
            + $"SELECT * FROM walk WHERE {isFilled} UNION ALL SELECT * FROM ({whole}) whole_page";
    }

    /// <summary>The condition that a trace comes behind the one at which the page before ended.</summary>
    private string Behind(IReadOnlyList<OrderTerm> order, TracePosition position)
    {
        if (position is not { Timestamp: { } timestamp, TraceId: { } id } || !IsKeyset(order))
            return "";
        var ascending = order.Count > 0 && order[0].Ascending;
        var (at, last) = (sql.Add(timestamp), sql.Add(id));
        return $" AND t.timestamp_ms {(ascending ? ">=" : "<=")} {at} AND (t.timestamp_ms {(ascending ? ">" : "<")} {at} OR t.trace_id > {last})";
    }

    private static bool IsTime(Clause clause) => clause is { Entity: EntityKind.Attribute, Key: "timestamp_ms" };

    private string InExperiments(string alias) => experiments.Count == 1
        ? $"{alias}.experiment_id = {experimentList}"
        : database.Choose($"{alias}.experiment_id = ANY({experimentList})", $"{alias}.experiment_id IN (SELECT value FROM json_each({experimentList}))");

    private string Conditions(IReadOnlyList<Clause> clauses, bool byTrace) =>
        string.Concat(clauses.Select((clause, index) => $" AND {Condition(clause, byTrace || (IsPostgreSql && index >= MaxSemiJoins))}"));

    /// <param name="clause">The clause.</param>
    /// <param name="byTrace">Whether it is looked up for one trace after the other, or in whatever order is best.</param>
    private string Condition(Clause clause, bool byTrace) => clause.Entity switch
    {
        EntityKind.Tag => Entry("t.tags", "tag", clause, byTrace),
        EntityKind.Metadata when clause is { Key: TraceTags.SourceRun, Comparator: Comparator.Equal } => OfRun(clause, byTrace),
        EntityKind.Metadata => Entry("t.trace_metadata", "metadata", clause, byTrace),
        EntityKind.Span => Span(clause, byTrace),
        EntityKind.Feedback => Assessment("feedback", clause, byTrace),
        EntityKind.Expectation => Assessment("expectation", clause, byTrace),
        _ => Attribute(clause),
    };

    private string Attribute(Clause clause) => clause.Key switch
    {
        "request_id" => Text("t.trace_id", clause),
        "client_request_id" => Text("t.client_request_id", clause),
        "status" => Text("t.status", clause),
        "timestamp_ms" => Searching.Conditions.Whole(sql, "t.timestamp_ms", clause.Comparator, clause.Value),
        "execution_time_ms" => Searching.Conditions.Whole(sql, "t.execution_time_ms", clause.Comparator, clause.Value),
        "end_time_ms" => Searching.Conditions.Whole(sql, EndTime, clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    private const string EndTime = "(t.timestamp_ms + COALESCE(t.execution_time_ms, 0))";

    private string Text(string column, Clause clause) => Searching.Conditions.Text(sql, column, clause.Comparator, clause.Value);

    /// <summary>A tag or an entry of the metadata.</summary>
    private string Entry(string column, string kind, Clause clause, bool byTrace)
    {
        if (!IsPostgreSql && Entries(kind, clause) is { } entries)
        {
            return byTrace
                ? $"EXISTS (SELECT 1 FROM {entries} AND x.experiment_id = t.experiment_id AND x.trace_id = t.trace_id)"
                : $"t.trace_id IN (SELECT x.trace_id FROM {entries} AND {InExperiments("x")})";
        }

        // As a function it is nothing that an index answers: a walk would read all traces that have the tag, scattered over the table.
        return IsPostgreSql && byTrace && clause is { Comparator: Comparator.Equal, Value: TextValue { Text: var value } }
            ? $"jsonb_contains({column}, {sql.AddJson(Searching.Tags.ToJson(clause.Key, value))})"
            : Searching.Conditions.Tag(sql, column, clause.Key, clause.Comparator, clause.Value);
    }

    private static bool IsIndexedSpan(Clause clause) =>
        clause is { Key: "name", Comparator: Comparator.Equal } or { Key: "status", Comparator: Comparator.Equal, Value: TextValue { Text: "ERROR" } };

    private static bool IsEntry(Clause clause) =>
        clause is { Comparator: Comparator.Equal, Value: TextValue { Text: var text } }
        && !UnindexedEntries.Contains(clause.Key) && Http.FieldRules.CodePoints(text) <= MaxEntryLength;

    /// <summary>The rows of trace_entries that meet a clause; null where that table does not have them all.</summary>
    private string? Entries(string kind, Clause clause) =>
        IsEntry(clause)
            ? $"trace_entries x WHERE x.kind = '{kind}' AND x.key = {sql.Add(clause.Key)} AND x.value = {sql.Add(((TextValue)clause.Value).Text)}"
            : null;

    /// <summary>Traces that were made in a run, or linked to it.</summary>
    private string OfRun(Clause clause, bool byTrace)
    {
        var made = Entry("t.trace_metadata", "metadata", clause, byTrace);
        var run = sql.Add(((TextValue)clause.Value).Text);
        var links = $"FROM entity_associations a WHERE a.source_type = 'trace' AND a.destination_type = 'run' AND a.destination_id = {run}";
        return byTrace
            ? $"({made} OR EXISTS (SELECT 1 {links} AND a.source_id = t.trace_id{ByTraceFence}))"
            : $"({made} OR t.trace_id {database.Choose($"= ANY(ARRAY(SELECT a.source_id {links}))", $"IN (SELECT a.source_id {links})")})";
    }

    private string Assessment(string type, Clause clause, bool byTrace)
    {
        var name = sql.Add(clause.Key);
        var hasName = $"{Searching.Conditions.Ordinal(database, "a.name")} = {name} AND a.assessment_type = '{type}'";
        if (clause.Comparator == Comparator.IsNull)
            return $"NOT EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.trace_id AND {hasName}{ByTraceFence})";
        var value = Indexed("a.value", clause);
        return byTrace
            ? $"EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.trace_id AND {hasName} AND {value}{ByTraceFence})"
            : $"t.trace_id IN (SELECT a.trace_id FROM assessments a WHERE {InExperiments("a")} AND {hasName} AND {value})";
    }

    private string Span(Clause clause, bool byTrace)
    {
        var condition = clause.Key switch
        {
            "name" => Indexed("s.name", clause),
            "type" => Text("s.type", clause),
            "status" => StatusOf(clause),
            "content" => Text("s.content", clause),
            _ => SpanAttribute(clause),
        };
        return byTrace || !IsIndexedSpan(clause)
            ? $"EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND {condition}{ByTraceFence})"
            : $"t.trace_id IN (SELECT s.trace_id FROM spans s WHERE {InExperiments("s")} AND {condition})";
    }

    /// <summary>A partial index serves only where the text of the statement says so.</summary>
    private string StatusOf(Clause clause) =>
        clause is { Comparator: Comparator.Equal, Value: TextValue { Text: "ERROR" } } ? "s.status = 'ERROR'" : Text("s.status", clause);

    /// <summary>
    /// An attribute of a span. Patterns compare with its JSON text, and need not go to its end; a regular expression with the text that the
    /// JSON is of. Spans without the attribute's name in their content are passed over before that is taken apart.
    /// </summary>
    private string SpanAttribute(Clause clause)
    {
        var key = clause.Key["attributes.".Length..];
        var name = sql.Add(key);
        var given = clause.Value is TextValue { Text: var text } && clause.Comparator is Comparator.Like or Comparator.ILike
            ? clause with { Value = new TextValue(text.EndsWith('%') ? text : text + "%") }
            : clause;
        var json = database.Choose($"(s.content::jsonb -> 'attributes' ->> {name})", "attribute.value");
        var value = given.Comparator != Comparator.RLike
            ? json
            : $"CASE WHEN {json} {database.Choose("LIKE '\"%\"' ESCAPE ''", "GLOB '\"*\"'")} THEN substr({json}, 2, length({json}) - 2) ELSE {json} END";
        var member = sql.Add(Otlp.SpanJson.MemberName(key));
        var mentions = database.Choose($"strpos(s.content, {member}) > 0", $"instr(s.content, {member}) > 0");
        var condition = Text($"({value})", given);
        return IsPostgreSql
            ? $"CASE WHEN {mentions} THEN {condition} ELSE false END"
            : $"{mentions} AND EXISTS (SELECT 1 FROM json_each(s.content, '$.attributes') AS attribute WHERE attribute.key = {name} AND {condition})";
    }

    /// <summary>A text whose beginning PostgreSQL has in an index; asked for both, its planner takes them for independent.</summary>
    private string Indexed(string column, Clause clause)
    {
        if (!IsPostgreSql || clause is not { Comparator: Comparator.Equal, Value: TextValue { Text: var text } })
            return Text(column, clause);
        var isLong = Http.FieldRules.CodePoints(text) >= IndexedLength;
        return string.Create(CultureInfo.InvariantCulture, $"left({column}, {IndexedLength}) COLLATE \"C\" = left({sql.Add(text)}, {IndexedLength}) COLLATE \"C\"")
            + (isLong ? $" AND {column} = {sql.Add(text)}" : "");
    }

    /// <summary>The whole order: what a trace does not have comes last in both directions.</summary>
    private OrderKeys Keys(IReadOnlyList<OrderTerm> order)
    {
        var keys = order.Select(term => (Key(term), $"{(term.Ascending ? "ASC" : "DESC")}{(IsMissable(term) ? " NULLS LAST" : "")}")).ToList();
        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "timestamp_ms" }))
            keys.Add(("t.timestamp_ms", "DESC"));
        if (!order.Any(term => term is { Entity: EntityKind.Attribute, Key: "request_id" }))
            keys.Add(("t.trace_id", "ASC"));
        return new OrderKeys(keys);
    }

    private static bool IsMissable(OrderTerm term) => term.Entity != EntityKind.Attribute || term.Key == "execution_time_ms";

    private string Key(OrderTerm term)
    {
        if (term.Entity != EntityKind.Attribute)
        {
            var (column, key) = (term.Entity == EntityKind.Tag ? "t.tags" : "t.trace_metadata", sql.Add(term.Key));
            return Searching.Conditions.Ordinal(
                database, database.Choose($"({column} ->> {key})", $"(SELECT entry.value FROM json_each({column}) AS entry WHERE entry.key = {key})"));
        }

        return term.Key switch
        {
            "request_id" => "t.trace_id",
            "end_time_ms" => EndTime,
            "timestamp_ms" or "execution_time_ms" or "status" or "experiment_id" => $"t.{term.Key}",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        };
    }

    /// <summary>The keys of an order, as columns k0, k1 … of a query.</summary>
    private sealed record OrderKeys(IReadOnlyList<(string Expression, string Direction)> List)
    {
        public string Columns { get; } = string.Concat(List.Select((key, number) => $", {key.Expression} AS k{number}"));

        public string OrderBy { get; } = string.Join(", ", List.Select((key, number) => $"k{number} {key.Direction}"));
    }
}
