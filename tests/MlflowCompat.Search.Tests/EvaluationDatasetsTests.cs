namespace MlflowCompat.Search.Tests;

/// <summary>The verdicts of contract search §8, by the numbers that they have there.</summary>
public sealed class EvaluationDatasetsTests
{
    private static readonly Item[] Datasets =
    [
        Dataset("x", "me", 1000, new() { ["n"] = "5" }),
        Dataset("xy", "ME", 2000, new() { ["n"] = "55", ["a/b"] = "1" }),
        Dataset("zzz", null, 3000, []),
    ];

    [Theory]
    [InlineData(0, "", "x xy zzz")]
    [InlineData(174, "name = 'x'", "x")]
    [InlineData(174, "name LIKE 'x%'", "x xy")]
    [InlineData(174, "name LIKE 'X%'", "")]
    [InlineData(174, "name ILIKE 'X%'", "x xy")]
    [InlineData(174, "created_by = 'me'", "x")]
    [InlineData(174, "created_by != 'me'", "xy")]
    [InlineData(174, "last_updated_by ILIKE 'Me'", "x xy")]
    [InlineData(174, "tags.n = '5'", "x")]
    [InlineData(174, "tags.n LIKE '5%'", "x xy")]
    [InlineData(174, "tags.n != '5'", "xy")]
    [InlineData(174, "name != 'zzz'", "x xy")]
    [InlineData(175, "tags.`n` = '5'", "x")]
    [InlineData(175, "tags.\"n\" = '5'", "x")]
    [InlineData(175, "tags.`a/b` = '1'", "xy")]
    [InlineData(177, "name like 'x%'", "x xy")]
    [InlineData(177, "tags.n ilike '5_'", "xy")]
    [InlineData(0, "name > 'x'", "xy zzz")]
    [InlineData(0, "name >= 'x' AND name < 'z'", "x xy")]
    [InlineData(0, "created_time = 1000", "x")]
    [InlineData(0, "created_time != 1000", "xy zzz")]
    [InlineData(0, "created_time > 1000", "xy zzz")]
    [InlineData(0, "created_time >= 1000.5", "xy zzz")]
    [InlineData(0, "last_update_time < 3001", "x xy")]
    [InlineData(0, "last_update_time <= 3001", "x xy zzz")]
    public void Filter_ValidRow_MatchesTheDatasetsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal(
            (row, expected),
            (row, Evaluator.Filter(Datasets, FilterParser.Parse(filter, Vocabularies.EvaluationDatasets))));

    [Theory]
    [InlineData(176, "tag.n = '5'", "Invalid entity type 'tag'. Valid entity types: tags")]
    [InlineData(176, "attribute.name = 'x'", "Invalid entity type 'attribute'")]
    [InlineData(176, "digest = 'x'", "Invalid attribute key 'digest' specified. Valid keys: name, created_by, last_updated_by, created_time, last_update_time")]
    [InlineData(176, "dataset_id = 'x'", "Invalid attribute key 'dataset_id'")]
    [InlineData(176, "name IN ('x')", "Invalid comparator 'IN'")]
    [InlineData(176, "a OR b", "")]
    [InlineData(176, "created_time > '0'", "expected an unquoted number")]
    [InlineData(0, "name = 5", "expected a quoted text")]
    [InlineData(0, "created_time LIKE '1'", "Invalid comparator 'LIKE'")]
    [InlineData(0, "tags.n > '5'", "Invalid comparator '>'")]
    [InlineData(0, "tags.n IN ('5')", "Invalid comparator 'IN'")]
    [InlineData(0, "name RLIKE 'x'", "Invalid comparator 'RLIKE'")]
    [InlineData(0, "name IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData(0, "metrics.a > 1", "Invalid entity type 'metrics'")]
    public void Filter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message)
    {
        SearchSyntaxException error =
            Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.EvaluationDatasets));
        Assert.True(error.Message.Contains(message, StringComparison.Ordinal), $"row {row}: {error.Message}");
    }

    [Theory]
    [InlineData("name", "name", true)]
    [InlineData("name DESC", "name", false)]
    [InlineData("created_time asc", "created_time", true)]
    [InlineData("last_update_time DESC", "last_update_time", false)]
    public void OrderBy_OrderableKey_IsAccepted(string element, string key, bool ascending) =>
        Assert.Equal(
            [new(EntityKind.Attribute, key, ascending)],
            OrderByParser.Parse([element], Vocabularies.EvaluationDatasets));

    [Fact]
    public void OrderBy_SameKeyTwice_TakesTheFirst() =>
        Assert.Equal(
            [new(EntityKind.Attribute, "name", true)],
            OrderByParser.Parse(["name", "name DESC"], Vocabularies.EvaluationDatasets));

    [Theory]
    [InlineData("digest")]
    [InlineData("tags.a")]
    [InlineData("name foo")]
    [InlineData("dataset_id")]
    [InlineData("created_by")]
    [InlineData("attribute.name")]
    public void OrderBy_OtherKey_IsRefused(string element) =>
        Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([element], Vocabularies.EvaluationDatasets));

    private static Item Dataset(string name, string? user, long created, Dictionary<string, string> tags)
    {
        Item item = new(name)
        {
            Texts = new() { ["name"] = name },
            Numbers = new() { ["created_time"] = created, ["last_update_time"] = created + 1 },
            Tags = tags,
        };
        if (user is not null)
        {
            item.Texts["created_by"] = user;
            item.Texts["last_updated_by"] = user;
        }

        return item;
    }
}
