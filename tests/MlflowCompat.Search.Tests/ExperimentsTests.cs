namespace MlflowCompat.Search.Tests;

/// <summary>The verdicts of contract search §3, by the numbers that they have there.</summary>
public sealed class ExperimentsTests
{
    private static readonly Item[] Experiments =
    [
        Experiment("alpha", new() { ["k"] = "v", ["Team"] = "A" }),
        Experiment("Beta", new() { ["k"] = "V" }),
        Experiment("gamma_x", new() { ["k.d"] = "1", ["a/b"] = "2" }),
        Experiment("gammaYx", []),
    ];

    [Theory]
    [InlineData(83, "name = 'alpha'", "alpha")]
    [InlineData(83, "name = 'ALPHA'", "")]
    [InlineData(84, "name != 'alpha'", "Beta gamma_x gammaYx")]
    [InlineData(85, "name LIKE '%gamma_x'", "gamma_x gammaYx")]
    [InlineData(86, "name ILIKE '%ALPHA'", "alpha")]
    [InlineData(87, "name like '%alpha'", "alpha")]
    [InlineData(88, "attribute.name = 'alpha'", "alpha")]
    [InlineData(89, "tags.k = 'v'", "alpha")]
    [InlineData(89, "tag.k = 'v'", "alpha")]
    [InlineData(89, "tags.`k` = 'v'", "alpha")]
    [InlineData(89, "tags.\"k\" = 'v'", "alpha")]
    [InlineData(90, "tags.k != 'v'", "Beta")]
    [InlineData(91, "tags.k.d = '1'", "gamma_x")]
    [InlineData(91, "tags.`a/b` = '2'", "gamma_x")]
    [InlineData(93, "tags.k = 'v' AND tags.Team = 'A'", "alpha")]
    [InlineData(2, "tags.k IS NULL", "gamma_x gammaYx")]
    [InlineData(3, "tag.`k` is not null", "alpha Beta")]
    [InlineData(4, "tags.Team IS NULL AND tags.k = 'V'", "Beta")]
    [InlineData(96, "creation_time > 0", "alpha Beta gamma_x gammaYx")]
    [InlineData(97, "last_update_time != 0", "alpha Beta gamma_x gammaYx")]
    [InlineData(100, "creation_time > 0.5", "alpha Beta gamma_x gammaYx")]
    public void Filter_ValidRow_MatchesTheExperimentsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal(
            (row, expected),
            (row, Evaluator.Filter(Experiments, FilterParser.Parse(filter, Vocabularies.Experiments))));

    [Theory]
    [InlineData(6, "name IS NULL", "Invalid comparator 'IS NULL' for attribute 'name'")]
    [InlineData(88, "attributes.name = 'alpha'", "Invalid entity type 'attributes'. Valid entity types: attribute, tags, tag")]
    [InlineData(88, "attr.name = 'alpha'", "Invalid entity type 'attr'")]
    [InlineData(92, "tags.a/b = '2'", "Invalid clause(s) in filter string")]
    [InlineData(94, "tags.k = 'v' OR tags.Team = 'A'", "Invalid clause(s) in filter string")]
    [InlineData(94, "NOT tags.k = 'v'", "Invalid clause(s) in filter string")]
    [InlineData(94, "(tags.k = 'v')", "Invalid clause(s) in filter string")]
    [InlineData(95, "tags.k IN ('v')", "Invalid comparator 'IN'")]
    [InlineData(95, "name IN ('a')", "Invalid comparator 'IN'")]
    [InlineData(95, "name > 'a'", "Invalid comparator '>'")]
    [InlineData(96, "creation_time >= '5'", "expected an unquoted number")]
    [InlineData(96, "creation_time LIKE '1'", "Invalid comparator 'LIKE'")]
    [InlineData(98, "experiment_id = '1'", "Invalid attribute key 'experiment_id' specified. Valid keys: name, creation_time, last_update_time")]
    [InlineData(98, "lifecycle_stage = 'active'", "Invalid attribute key")]
    [InlineData(98, "metrics.a > 1", "Invalid entity type 'metrics'")]
    [InlineData(98, "params.a = '1'", "Invalid entity type 'params'")]
    [InlineData(99, "name = alpha", "expected a quoted text")]
    public void Filter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message)
    {
        SearchSyntaxException error =
            Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.Experiments));
        Assert.True(error.Message.Contains(message, StringComparison.Ordinal), $"row {row}: {error.Message}");
    }

    [Theory]
    [InlineData("name", "name", true)]
    [InlineData("attribute.name DESC", "name", false)]
    [InlineData("experiment_id asc", "experiment_id", true)]
    [InlineData("attribute.experiment_id", "experiment_id", true)]
    [InlineData("creation_time DESC", "creation_time", false)]
    [InlineData("last_update_time", "last_update_time", true)]
    public void OrderBy_OrderableKey_IsAccepted(string element, string key, bool ascending) =>
        Assert.Equal(
            [new(EntityKind.Attribute, key, ascending)],
            OrderByParser.Parse([element], Vocabularies.Experiments));

    [Theory]
    [InlineData("tags.k")]
    [InlineData("attributes.name")]
    [InlineData("lifecycle_stage")]
    public void OrderBy_OtherKey_IsRefused(string element) =>
        Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([element], Vocabularies.Experiments));

    private static Item Experiment(string name, Dictionary<string, string> tags) => new(name)
    {
        Texts = new() { ["name"] = name },
        Numbers = new() { ["creation_time"] = 1_700_000_000_000, ["last_update_time"] = 1_700_000_000_001 },
        Tags = tags,
    };
}
