namespace MlflowCompat.Search.Tests;

/// <summary>
/// The verdicts of contract search §6, by the numbers that they have there. Statuses and data sets mean something to the server only, and
/// are tested there.
/// </summary>
public sealed class LoggedModelsTests
{
    private static readonly Item[] Models =
    [
        Model("A", "agent", new() { ["acc"] = 0.9 }, new() { ["lr"] = "0.1" }, new() { ["t"] = "x" }),
        Model("B", "LLM", new() { ["acc"] = 0.95 }, new() { ["lr"] = "0.2" }, new() { ["t"] = "X", ["k.d"] = "1" }),
        Model("C", "", [], [], []),
    ];

    [Theory]
    [InlineData(127, "name = 'A'", "A")]
    [InlineData(127, "attributes.name = 'A'", "A")]
    [InlineData(127, "name LIKE 'A%'", "A")]
    [InlineData(127, "name ILIKE 'a'", "A")]
    [InlineData(127, "name = \"A\"", "A")]
    [InlineData(128, "name IN ('A','B')", "A B")]
    [InlineData(128, "name NOT IN ('A')", "B C")]
    [InlineData(129, "name in ('A')", "A")]
    [InlineData(129, "name like 'A'", "A")]
    [InlineData(130, "model_type != 'agent'", "B C")]
    [InlineData(131, "status = 2", "A")]
    [InlineData(131, "status = '2'", "A")]
    [InlineData(132, "metrics.acc > 0.93", "B")]
    [InlineData(132, "metrics.`acc` > 0.93", "B")]
    [InlineData(135, "params.lr = '0.1'", "A")]
    [InlineData(135, "params.lr = 0.1", "A")]
    [InlineData(135, "params.lr IN ('0.1','0.2')", "A B")]
    [InlineData(136, "tags.t ILIKE 'x'", "A B")]
    [InlineData(136, "tags.k.d = '1'", "B")]
    [InlineData(136, "tags.t = 5", "")]
    [InlineData(137, "name = 'A' AND tags.t = 'x'", "A")]
    [InlineData(138, "source_run_id = 'R'", "A B C")]
    [InlineData(138, "creation_time > 0", "A B C")]
    [InlineData(138, "creation_timestamp > 0.5 AND creation_timestamp_ms < 2000", "A B C")]
    [InlineData(138, "last_updated_timestamp >= 5 AND last_updated_timestamp_ms != 6", "A B C")]
    public void Filter_ValidRow_MatchesTheModelsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal((row, expected), (row, Evaluator.Filter(Models, FilterParser.Parse(filter, Vocabularies.LoggedModels))));

    [Theory]
    [InlineData(129, "attribute.name = 'A'", "Invalid entity type 'attribute'. Valid entity types: attributes, metrics, params, tags")]
    [InlineData(129, "metric.acc > 0", "Invalid entity type 'metric'")]
    [InlineData(129, "param.lr = '0.1'", "Invalid entity type 'param'")]
    [InlineData(129, "tag.t = 'x'", "Invalid entity type 'tag'")]
    [InlineData(134, "metrics.acc > 'x'", "expected an unquoted number")]
    [InlineData(134, "creation_timestamp > '0'", "expected an unquoted number")]
    [InlineData(134, "foo = 'x'", "Invalid attribute key 'foo'")]
    [InlineData(137, "name = 'A' OR tags.t = 'x'", "Invalid clause(s) in filter string")]
    [InlineData(137, "(name = 'A')", "Invalid clause(s) in filter string")]
    [InlineData(137, "name = 'A';", "Invalid clause(s) in filter string")]
    [InlineData(137, "name IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData(139, "last_updated_time > 0", "Invalid attribute key 'last_updated_time'")]
    [InlineData(139, "params.lr > '0'", "Invalid comparator '>'")]
    [InlineData(139, "dataset.name = 'x'", "Invalid entity type 'dataset'")]
    [InlineData(139, "name > 'A'", "Invalid comparator '>' for attribute 'name'. Valid comparators: =, !=, LIKE, ILIKE, IN, NOT IN")]
    [InlineData(139, "metrics.acc LIKE '1'", "Invalid comparator 'LIKE'")]
    [InlineData(139, "name RLIKE 'A'", "Invalid comparator 'RLIKE'")]
    [InlineData(139, "name = A", "expected a quoted text")]
    public void Filter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message)
    {
        SearchSyntaxException error = Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.LoggedModels));
        Assert.True(error.Message.Contains(message, StringComparison.Ordinal), $"row {row}: {error.Message}");
    }

    [Theory]
    [InlineData("name", EntityKind.Attribute, "name")]
    [InlineData("model_id", EntityKind.Attribute, "model_id")]
    [InlineData("creation_time", EntityKind.Attribute, "creation_timestamp")]
    [InlineData("creation_timestamp_ms", EntityKind.Attribute, "creation_timestamp")]
    [InlineData("last_updated_timestamp", EntityKind.Attribute, "last_updated_timestamp")]
    [InlineData("metrics.acc", EntityKind.Metric, "acc")]
    [InlineData("metrics.val/acc at 5:1", EntityKind.Metric, "val/acc at 5:1")]
    [InlineData("metrics.a.b", EntityKind.Metric, "a.b")]
    [InlineData("metrics.`a b`", EntityKind.Metric, "a b")]
    [InlineData("metrics.`", EntityKind.Metric, "`")]
    public void OrderBy_OrderableField_IsAccepted(string field, EntityKind entity, string key)
    {
        Assert.Equal(new(entity, key, true), OrderByParser.ParseField(field, ascending: true, Vocabularies.LoggedModelOrders));
        Assert.Equal(new(entity, key, false), OrderByParser.ParseField(field, ascending: false, Vocabularies.LoggedModelOrders));
    }

    [Theory]
    [InlineData("params.lr", "Invalid entity type 'params'")]
    [InlineData("tags.t", "Invalid entity type 'tags'")]
    [InlineData("attributes.name", "Invalid entity type 'attributes'")]
    [InlineData("foo", "Invalid attribute key 'foo'")]
    [InlineData("name DESC", "Invalid attribute key 'name DESC'")]
    [InlineData("", "names no key")]
    [InlineData("metrics.", "names no key")]
    [InlineData(".x", "Invalid entity type ''")]
    [InlineData("metrics.\0", "U+0000")]
    public void OrderBy_OtherField_IsRefusedNamingTheReason(string field, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<SearchSyntaxException>(() => OrderByParser.ParseField(field, ascending: true, Vocabularies.LoggedModelOrders)).Message,
            StringComparison.Ordinal);

    private static Item Model(
        string name, string type, Dictionary<string, double> metrics, Dictionary<string, string> parameters, Dictionary<string, string> tags) => new(name)
    {
        Texts = new() { ["name"] = name, ["model_type"] = type, ["source_run_id"] = "R", ["status"] = name == "A" ? "2" : "1" },
        Numbers = new() { ["creation_timestamp"] = 1000, ["last_updated_timestamp"] = 1000 },
        Metrics = metrics,
        Params = parameters,
        Tags = tags,
    };
}
