namespace MlflowCompat.Search.Tests;

/// <summary>What a vocabulary can say, beyond what runs and experiments need.</summary>
public sealed class VocabularyTests
{
    private static readonly Vocabulary Everything = new(
    [
        new(
            EntityKind.Attribute,
            [],
            [
                new("version", KeyType.Number, Comparators.Number) { Aliases = ["v"], EitherLiteral = true },
                new("state", KeyType.Text, Comparators.Text | Comparators.Lists) { EitherLiteral = true },
                new("run_id", KeyType.Text, Comparators.Text | Comparators.RLike | Comparators.In),
                new("id", KeyType.Number, Comparators.None) { Orderable = true },
                new("content", KeyType.Text, Comparators.Like | Comparators.ILike),
                new("trace.name", KeyType.Text, Comparators.Equal) { StandsFor = (EntityKind.Tag, "mlflow.traceName") },
            ]),
        new(
            EntityKind.Dataset,
            ["span"],
            [
                new("name", KeyType.Text, Comparators.Text),
                new("attributes.", KeyType.Text, Comparators.Like) { IsPrefix = true, Orderable = true },
            ]),
        new(EntityKind.Tag, ["tags"], [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: false)]),
    ]);

    [Theory]
    [InlineData("version > 1", 1d)]
    [InlineData("version > '1'", 1d)]
    [InlineData("v > \"1.5\"", 1.5)]
    [InlineData("version > '-1e2'", -100d)]
    public void NumberKey_ForEitherLiteral_TakesAQuotedNumber(string filter, double value)
    {
        Clause clause = Assert.Single(FilterParser.Parse(filter, Everything).Clauses);
        Assert.Equal("version", clause.Key);
        Assert.Equal(value, ((NumberValue)clause.Value).Value);
    }

    [Theory]
    [InlineData("state = 2", "2")]
    [InlineData("state = '2'", "2")]
    [InlineData("state = -0.10", "-0.10")]
    public void TextKey_ForEitherLiteral_TakesTheCharactersOfANumber(string filter, string value) =>
        Assert.Equal(
            [new(EntityKind.Attribute, "state", Comparator.Equal, new TextValue(value))],
            FilterParser.Parse(filter, Everything).Clauses);

    [Theory]
    [InlineData("run_id IN ('a')", Comparator.In)]
    [InlineData("run_id RLIKE 'a'", Comparator.RLike)]
    [InlineData("run_id rlike 'a'", Comparator.RLike)]
    public void Comparator_AllowedForTheKey_IsAccepted(string filter, Comparator comparator) =>
        Assert.Equal(comparator, Assert.Single(FilterParser.Parse(filter, Everything).Clauses).Comparator);

    [Fact]
    public void PrefixRule_KeyThatIsLonger_StaysAsWritten()
    {
        Assert.Equal(
            [new(EntityKind.Dataset, "attributes.llm.model", Comparator.Like, new TextValue("%gpt%"))],
            FilterParser.Parse("span.attributes.llm.model LIKE '%gpt%'", Everything).Clauses);
        Assert.Equal(
            [new(EntityKind.Dataset, "attributes.q", false)],
            OrderByParser.Parse(["span.attributes.q DESC"], Everything));
    }

    [Fact]
    public void Key_StandingForAnother_BecomesIt() =>
        Assert.Equal(
            [new(EntityKind.Tag, "mlflow.traceName", Comparator.Equal, new TextValue("x"))],
            FilterParser.Parse("`trace.name` = 'x'", Everything).Clauses);

    [Theory]
    [InlineData("version > 'x'", "expected an unquoted number for attribute 'version'")]
    [InlineData("version > ''", "expected an unquoted number")]
    [InlineData("version > '1 '", "expected an unquoted number")]
    [InlineData("version > '1", "the quote is not closed")]
    [InlineData("state = x", "expected a quoted text")]
    [InlineData("state IN (1)", "expected a list")]
    [InlineData(
        "run_id NOT IN ('a')",
        "Invalid comparator 'NOT IN' for attribute 'run_id'. Valid comparators: =, !=, LIKE, ILIKE, RLIKE, IN")]
    [InlineData("id = 1", "Invalid attribute key 'id' specified. Valid keys: version, state, run_id, content, trace.name")]
    [InlineData("content = 'x'", "Invalid comparator '='")]
    [InlineData("content RLIKE 'x'", "Invalid comparator 'RLIKE'")]
    [InlineData("span.attributes. LIKE 'x'", "Invalid dataset key 'attributes.' specified. Valid keys: name, attributes.<name>")]
    [InlineData("span.attributes LIKE 'x'", "Invalid dataset key 'attributes'")]
    [InlineData("attribute.version > 1", "Invalid entity type 'attribute'. Valid entity types: span, tags")]
    public void Filter_AgainstTheVocabulary_IsRefusedNamingTheReason(string filter, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Everything)).Message,
            StringComparison.Ordinal);

    [Theory]
    [InlineData("version", "Invalid attribute key 'version' specified. Valid keys: id")]
    [InlineData("tags.k", "Invalid tag key 'k' specified. None of its keys can be used here")]
    public void OrderBy_AgainstTheVocabulary_IsRefusedNamingTheReason(string element, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([element], Everything)).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Trees_WithTheSameClauses_AreEqualAndHashAlike()
    {
        const string Text = "run_id IN ('a','b') AND tags.k = 'v' AND version > 1";
        Filter one = FilterParser.Parse(Text, Everything);
        Filter two = FilterParser.Parse(Text, Everything);
        Assert.Equal(one, two);
        Assert.Equal(one.GetHashCode(), two.GetHashCode());
        Assert.NotEqual(one, FilterParser.Parse("run_id IN ('b','a') AND tags.k = 'v' AND version > 1", Everything));
        Assert.NotEqual(one, FilterParser.Parse("run_id IN ('a','b') AND tags.k = 'v'", Everything));
    }
}
