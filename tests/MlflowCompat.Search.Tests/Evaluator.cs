namespace MlflowCompat.Search.Tests;

/// <summary>One searchable thing in memory. A value that is missing is absent from the dictionaries.</summary>
internal sealed record Item(string Id)
{
    public Dictionary<string, string> Texts { get; init; } = [];

    public Dictionary<string, long> Numbers { get; init; } = [];

    public Dictionary<string, double> Metrics { get; init; } = [];

    public Dictionary<string, string> Params { get; init; } = [];

    public Dictionary<string, string> Tags { get; init; } = [];

    public IReadOnlyList<Dictionary<string, string>> Datasets { get; init; } = [];
}

/// <summary>The meaning of filters and orderings, written as plainly as possible (contract: search §1, §2).</summary>
internal static class Evaluator
{
    public static string Filter(IEnumerable<Item> items, Filter filter) =>
        string.Join(' ', items.Where(item => filter.Clauses.All(clause => Holds(item, clause))).Select(item => item.Id));

    public static string Order(IEnumerable<Item> items, IReadOnlyList<OrderTerm> terms)
    {
        IOrderedEnumerable<Item> ordered = items.OrderBy(_ => 0);
        foreach (OrderTerm term in terms)
        {
            // 0: a number or text, 1: NaN, 2: missing - in both directions.
            ordered = ordered.ThenBy(item => Place(item, term));
            ordered = term.Ascending
                ? ordered.ThenBy(item => Number(item, term)).ThenBy(item => Text(item, term), StringComparer.Ordinal)
                : ordered.ThenByDescending(item => Number(item, term))
                    .ThenByDescending(item => Text(item, term), StringComparer.Ordinal);
        }

        return string.Join(
            ' ',
            ordered.ThenByDescending(item => item.Numbers["start_time"])
                .ThenBy(item => item.Texts["run_id"], StringComparer.Ordinal)
                .Select(item => item.Id));
    }

    private static int Place(Item item, OrderTerm term) => (Number(item, term), Text(item, term)) switch
    {
        (null, null) => 2,
        (double.NaN, _) => 1,
        _ => 0,
    };

    private static double? Number(Item item, OrderTerm term) => term.Entity switch
    {
        EntityKind.Metric => Find(item.Metrics, term.Key),
        EntityKind.Attribute => item.Numbers.TryGetValue(term.Key, out long number) ? number : null,
        _ => null,
    };

    private static string? Text(Item item, OrderTerm term) => term.Entity switch
    {
        EntityKind.Param => item.Params.GetValueOrDefault(term.Key),
        EntityKind.Tag => item.Tags.GetValueOrDefault(term.Key),
        EntityKind.Attribute => item.Texts.GetValueOrDefault(term.Key),
        _ => null,
    };

    private static bool Holds(Item item, Clause clause) => clause.Entity switch
    {
        EntityKind.Metric => Find(item.Metrics, clause.Key) is double metric
            && Compare(double.IsNaN(metric) ? 0 : metric, clause),
        EntityKind.Param => Compare(item.Params.GetValueOrDefault(clause.Key), clause),
        EntityKind.Tag => Compare(item.Tags.GetValueOrDefault(clause.Key), clause),
        EntityKind.Dataset => item.Datasets.Any(input => Compare(input.GetValueOrDefault(clause.Key), clause)),
        EntityKind.Attribute when clause.Value is NumberValue =>
            item.Numbers.TryGetValue(clause.Key, out long number) && Compare(number, clause),
        EntityKind.Attribute => Compare(item.Texts.GetValueOrDefault(clause.Key), clause),
        _ => throw new InvalidOperationException($"{clause.Entity} has no meaning here"),
    };

    private static double? Find(Dictionary<string, double> metrics, string key) =>
        metrics.TryGetValue(key, out double value) ? value : null;

    private static bool Compare(double actual, Clause clause)
    {
        double value = ((NumberValue)clause.Value).Value;
        return clause.Comparator switch
        {
            Comparator.Equal => actual == value,
            Comparator.NotEqual => actual != value,
            Comparator.Greater => actual > value,
            Comparator.GreaterOrEqual => actual >= value,
            Comparator.Less => actual < value,
            Comparator.LessOrEqual => actual <= value,
            _ => throw new InvalidOperationException($"{clause.Comparator} does not compare numbers"),
        };
    }

    private static bool Compare(string? actual, Clause clause) =>
        clause.Comparator == Comparator.IsNull ? actual is null
        : clause.Comparator == Comparator.IsNotNull ? actual is not null
        : actual is not null && (clause.Comparator, clause.Value) switch
    {
        (Comparator.Equal, TextValue value) => actual == value.Text,
        (Comparator.NotEqual, TextValue value) => actual != value.Text,
        (Comparator.Greater, TextValue value) => string.CompareOrdinal(actual, value.Text) > 0,
        (Comparator.GreaterOrEqual, TextValue value) => string.CompareOrdinal(actual, value.Text) >= 0,
        (Comparator.Less, TextValue value) => string.CompareOrdinal(actual, value.Text) < 0,
        (Comparator.LessOrEqual, TextValue value) => string.CompareOrdinal(actual, value.Text) <= 0,
        (Comparator.Like, TextValue value) => LikePattern.Matches(actual, value.Text, ignoreCase: false),
        (Comparator.ILike, TextValue value) => LikePattern.Matches(actual, value.Text, ignoreCase: true),
        (Comparator.In, TextListValue list) => list.Texts.Contains(actual),
        (Comparator.NotIn, TextListValue list) => !list.Texts.Contains(actual),
        _ => throw new InvalidOperationException($"{clause.Comparator} does not compare text with {clause.Value}"),
    };
}
