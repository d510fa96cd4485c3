using System.Globalization;
using System.Text;

namespace MlflowCompat.Search.Tests;

/// <summary>The grammar that all vocabularies share (contract: search §1).</summary>
public sealed class GrammarTests
{
    /// <summary>Not as attributes, whose texts are UTF-8 and cannot hold half a surrogate pair.</summary>
    public static TheoryData<string> Unstorable { get; } =
    [
        "tags.t = '\0'",
        "\0",
        " \0 ",
        "tags.`😀\0` = 'x'",
        "tags.t = '\ud800'",
        "tags.t = '\udc00\ud800'",
        "tags.t = '😀\ud83d'",
    ];

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData(" \t\r\n\u00a0")]
    [InlineData("AND and And")]
    public void Filter_WithoutClauses_IsEmpty(string? filter) => Assert.Empty(Parse(filter).Clauses);

    [Theory]
    [InlineData("created >= 5", EntityKind.Attribute, "start_time", Comparator.GreaterOrEqual)]
    [InlineData("attr.`Created`>=5", EntityKind.Attribute, "start_time", Comparator.GreaterOrEqual)]
    [InlineData("`created` < 5", EntityKind.Attribute, "start_time", Comparator.Less)]
    [InlineData("metric.acc = 5", EntityKind.Metric, "acc", Comparator.Equal)]
    [InlineData("`metrics`.acc != 5", EntityKind.Metric, "acc", Comparator.NotEqual)]
    [InlineData("`metrics`.`a b` > 5", EntityKind.Metric, "a b", Comparator.Greater)]
    [InlineData("metrics..acc <= 5", EntityKind.Metric, ".acc", Comparator.LessOrEqual)]
    [InlineData("metrics.a.b.c = 5", EntityKind.Metric, "a.b.c", Comparator.Equal)]
    [InlineData("metrics.'m 1'=5", EntityKind.Metric, "m 1", Comparator.Equal)]
    [InlineData("metrics._x9 = 5", EntityKind.Metric, "_x9", Comparator.Equal)]
    [InlineData("metrics.точность = 5", EntityKind.Metric, "точность", Comparator.Equal)]
    [InlineData("metrics.𝒜cc = 5", EntityKind.Metric, "𝒜cc", Comparator.Equal)]
    [InlineData("metrics.`😀` = 5", EntityKind.Metric, "😀", Comparator.Equal)]
    [InlineData("metrics.`a\"'b` = 5", EntityKind.Metric, "a\"'b", Comparator.Equal)]
    [InlineData("metrics.and = 5", EntityKind.Metric, "and", Comparator.Equal)]
    [InlineData("metrics.in = 5", EntityKind.Metric, "in", Comparator.Equal)]
    [InlineData("metrics.not = 5", EntityKind.Metric, "not", Comparator.Equal)]
    public void Clause_OnANumber_HasCanonicalEntityAndKey(
        string filter, EntityKind entity, string key, Comparator comparator) =>
        Assert.Equal([new(entity, key, comparator, new NumberValue(5, 5))], Parse(filter).Clauses);

    [Theory]
    [InlineData("parameters.lr = 'x'", EntityKind.Param, "lr", Comparator.Equal)]
    [InlineData("tag.\"a`b\" != 'x'", EntityKind.Tag, "a`b", Comparator.NotEqual)]
    [InlineData("tag.`a`LIKE'x'", EntityKind.Tag, "a", Comparator.Like)]
    [InlineData("run.status like 'x'", EntityKind.Attribute, "status", Comparator.Like)]
    [InlineData("tags.like iLiKe 'x'", EntityKind.Tag, "like", Comparator.ILike)]
    [InlineData("datasets.digest = \"x\"", EntityKind.Dataset, "digest", Comparator.Equal)]
    [InlineData("`run name` = 'x'", EntityKind.Tag, "mlflow.runName", Comparator.Equal)]
    [InlineData("run.\"Run Name\" LIKE 'x'", EntityKind.Tag, "mlflow.runName", Comparator.Like)]
    [InlineData("attributes.run_name = 'x'", EntityKind.Attribute, "run_name", Comparator.Equal)]
    public void Clause_OnText_HasCanonicalEntityAndKey(
        string filter, EntityKind entity, string key, Comparator comparator) =>
        Assert.Equal([new(entity, key, comparator, new TextValue("x"))], Parse(filter).Clauses);

    [Theory]
    [InlineData("''", "")]
    [InlineData("\"\"", "")]
    [InlineData("' a '", " a ")]
    [InlineData("'it''s'", "it''s")]
    [InlineData("'it\\'s'", "it\\'s")]
    [InlineData("\"a\\\"b\"", "a\\\"b")]
    [InlineData("\"a\"\"b\"", "a\"\"b")]
    [InlineData("''''", "''")]
    [InlineData("'a'''", "a''")]
    [InlineData("'a\\\\'", "a\\\\")]
    [InlineData("'C:\\runs\\'", "C:\\runs\\")]
    [InlineData("'C:\\runs\\' ", "C:\\runs\\")]
    [InlineData("'\\'", "\\")]
    [InlineData("'line\nbreak'", "line\nbreak")]
    [InlineData("'; -- OR (SELECT)'", "; -- OR (SELECT)")]
    [InlineData("'ünï😀'", "ünï😀")]
    public void TextLiteral_IsTakenAsItStands(string literal, string expected) =>
        Assert.Equal([new(EntityKind.Param, "p", Comparator.Equal, new TextValue(expected))], Parse($"params.p = {literal}").Clauses);

    [Fact]
    public void TextLiteral_EndingInBackslashBeforeAnd_Ends() =>
        Assert.Equal(
            [
                new(EntityKind.Param, "p", Comparator.Equal, new TextValue("C:\\")),
                new(EntityKind.Param, "q", Comparator.Equal, new TextValue("D:\\")),
            ],
            Parse("params.p = 'C:\\' and params.q = 'D:\\'").Clauses);

    [Fact]
    public void TextLiteral_EndingInBackslashInAList_Ends() =>
        Assert.Equal(
            [new(EntityKind.Dataset, "name", Comparator.In, new TextListValue(["a\\", "b\\"]))],
            Parse("dataset.name IN ('a\\', 'b\\')").Clauses);

    [Theory]
    [InlineData("-1", -1d, -1L)]
    [InlineData("0", 0d, 0L)]
    [InlineData("-0", 0d, 0L)]
    [InlineData("007", 7d, 7L)]
    [InlineData("9007199254740993", 9007199254740992d, 9007199254740993L)]
    [InlineData("9223372036854775807", 9223372036854775807d, long.MaxValue)]
    [InlineData("-9223372036854775808", -9223372036854775808d, long.MinValue)]
    [InlineData("9223372036854775808", 9223372036854775808d, null)]
    [InlineData("1.5", 1.5, null)]
    [InlineData(".5", .5, null)]
    [InlineData("-.5", -.5, null)]
    [InlineData("1.", 1d, null)]
    [InlineData("1.0", 1d, null)]
    [InlineData("00.5", .5, null)]
    [InlineData("5e-1", .5, null)]
    [InlineData("1E-3", .001, null)]
    [InlineData("-1.25e2", -125d, null)]
    [InlineData("1e400", double.PositiveInfinity, null)]
    [InlineData("-1e400", double.NegativeInfinity, null)]
    [InlineData("1e99999999999999999999", double.PositiveInfinity, null)]
    [InlineData("1e-99999999999999999999", 0d, null)]
    [InlineData("0e99999999999999999999", 0d, null)]
    public void NumberLiteral_IsExact(string literal, double value, long? whole) =>
        Assert.Equal(
            [new(EntityKind.Metric, "m", Comparator.Equal, new NumberValue(value, whole))],
            Parse($"metrics.m = {literal}").Clauses);

    [Theory]
    [InlineData("+1")]
    [InlineData("- 1")]
    [InlineData("--1")]
    [InlineData("-")]
    [InlineData(".")]
    [InlineData("-.")]
    [InlineData(".5e0")]
    [InlineData("1.e5")]
    [InlineData("1e")]
    [InlineData("1e-")]
    [InlineData("1e+5")]
    [InlineData("1e5.5")]
    [InlineData("1.2.3")]
    [InlineData("0x1")]
    [InlineData("1_0")]
    [InlineData("1AND")]
    [InlineData("1é")]
    [InlineData("١")]
    [InlineData("NaN")]
    [InlineData("Infinity")]
    [InlineData("1,5")]
    [InlineData("")]
    public void NumberLiteral_OfAnotherForm_IsRefused(string literal) =>
        Assert.Throws<SearchSyntaxException>(() => Parse($"metrics.m = {literal}"));

    [Fact]
    public void Parse_UnderACultureWithOtherNumbers_IsTheSame()
    {
        CultureInfo before = CultureInfo.CurrentCulture;
        CultureInfo foreign = (CultureInfo)CultureInfo.InvariantCulture.Clone();
        foreign.NumberFormat.NumberDecimalSeparator = ",";
        foreign.NumberFormat.NegativeSign = "−";
        try
        {
            CultureInfo.CurrentCulture = foreign;
            Assert.Equal(
                [
                    new(EntityKind.Metric, "m", Comparator.Equal, new NumberValue(-1.5, null)),
                    new(EntityKind.Metric, "n", Comparator.Less, new NumberValue(-2, -2)),
                ],
                Parse("metrics.m = -1.5 AND metrics.n < -2").Clauses);
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }

    [Theory]
    [InlineData("('a')", "a")]
    [InlineData("( 'a' , \"b\" )", "a,b")]
    [InlineData("('a','b',)", "a,b")]
    [InlineData("('a','a','')", "a,a,")]
    [InlineData("('456', 'ABC')", "456,ABC")]
    public void List_OfTexts_IsTakenAsItStands(string list, string expected) =>
        Assert.Equal(
            [new(EntityKind.Dataset, "digest", Comparator.NotIn, new TextListValue(expected.Split(',')))],
            Parse($"dataset.digest not  in {list}").Clauses);

    [Theory]
    [InlineData("()")]
    [InlineData("(,)")]
    [InlineData("(,'a')")]
    [InlineData("('a',,'b')")]
    [InlineData("('a',,)")]
    [InlineData("('a' 'b')")]
    [InlineData("('a'")]
    [InlineData("('a',")]
    [InlineData("(a)")]
    [InlineData("(1)")]
    [InlineData("('a', 1)")]
    [InlineData("(('a'))")]
    [InlineData("'a'")]
    [InlineData("(`a`)")]
    [InlineData("")]
    public void List_OfAnotherForm_IsRefused(string list) =>
        Assert.Throws<SearchSyntaxException>(() => Parse($"run_id IN {list}"));

    [Theory]
    [InlineData("metrics.a > 1 AND metrics.b < 2")]
    [InlineData("AND metrics.a > 1 AND metrics.b < 2")]
    [InlineData("metrics.a > 1 and and metrics.b < 2 AND ")]
    [InlineData("metrics.a > 1 metrics.b < 2")]
    [InlineData("  metrics.a>1\n\tAnD\u00a0metrics.b<2  ")]
    public void Clauses_JoinedInATolerableWay_AreAll(string filter) =>
        Assert.Equal(Parse("metrics.a > 1 AND metrics.b < 2"), Parse(filter));

    [Theory]
    [InlineData("'run_name' = 'x'")]
    [InlineData("`attributes.run_name` = 'x'")]
    [InlineData("\"attributes.run_name\" = 'x'")]
    [InlineData("\"tags\".`t` = 'x'")]
    [InlineData("'tags'.t = 'x'")]
    [InlineData("tags.`` = 'x'")]
    [InlineData("``.a = 'x'")]
    [InlineData(".a = 'x'")]
    [InlineData("tags . a = 'x'")]
    [InlineData("tags.a`b` = 'x'")]
    [InlineData("tags.`a`b = 'x'")]
    [InlineData("tags.`a``b` = 'x'")]
    [InlineData("tags.`a`.`b` = 'x'")]
    [InlineData("tags.a = 'x' 'y'")]
    [InlineData("tags.a = 'x', tags.b = 'y'")]
    [InlineData("tags.a = 'x' && tags.b = 'y'")]
    [InlineData("tags.a = tags.b")]
    [InlineData("tags.a = ('x')")]
    [InlineData("tags.a = = 'x'")]
    [InlineData("tags.a ! = 'x'")]
    [InlineData("tags.a =! 'x'")]
    [InlineData("tags.a RLIKE 'x'")]
    [InlineData("tags.a LIKE")]
    [InlineData("tags.a NOT")]
    [InlineData("tags.a NOT 'x'")]
    [InlineData("tags.a REGEXP 'x'")]
    [InlineData("tags.a LI\u212AE 'x'")]
    [InlineData("tags.a = 'x' # comment")]
    [InlineData("tags.e\u0301 = 'x'")]
    [InlineData("* = 'x'")]
    [InlineData("tags.a = ?")]
    [InlineData("tags.a = :p")]
    public void Filter_OutsideTheGrammar_IsRefused(string filter) =>
        Assert.Throws<SearchSyntaxException>(() => Parse(filter));

    [Theory]
    [MemberData(nameof(Unstorable), DisableDiscoveryEnumeration = true)]
    public void Filter_WithACharacterNoDatabaseTakes_IsRefusedInWellFormedWords(string filter)
    {
        SearchSyntaxException error = Assert.Throws<SearchSyntaxException>(() => Parse(filter));
        Assert.Contains("is not allowed", error.Message, StringComparison.Ordinal);
        AssertWellFormed(error.Message);
        AssertWellFormed(Assert.Throws<SearchSyntaxException>(
            () => OrderByParser.Parse([filter], Vocabularies.Runs)).Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Error_NamingALongText_IsShortAndWellFormed(int shift)
    {
        string filter = new string('a', shift) + string.Concat(Enumerable.Repeat("😀", 5_000));
        SearchSyntaxException error = Assert.Throws<SearchSyntaxException>(() => Parse($"`{filter}` = 'x'"));
        Assert.InRange(error.Message.Length, 100, 400);
        AssertWellFormed(error.Message);
    }

    [Fact]
    public void Filter_OfTheGreatestLength_IsAcceptedAndOneMoreIsNot()
    {
        string Filter(int length) => "params.p = '" + new string('x', length - 13) + "'";
        Assert.Equal(FilterParser.MaxLength - 13, ((TextValue)Parse(Filter(FilterParser.MaxLength)).Clauses[0].Value).Text.Length);
        Assert.Throws<SearchSyntaxException>(() => Parse(Filter(FilterParser.MaxLength + 1)));
        Assert.Throws<SearchSyntaxException>(() => Parse(new string(' ', FilterParser.MaxLength + 1)));
    }

    [Fact]
    public void Filter_OfTheGreatestNumberOfClauses_IsAcceptedAndOneMoreIsNot()
    {
        string Filter(int clauses) => string.Join(" AND ", Enumerable.Repeat("metrics.m > 1", clauses));
        Assert.Equal(FilterParser.MaxClauses, Parse(Filter(FilterParser.MaxClauses)).Clauses.Count);
        Assert.Contains(
            "at most 500 clauses",
            Assert.Throws<SearchSyntaxException>(() => Parse(Filter(FilterParser.MaxClauses + 1))).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("LIKE")]
    [InlineData("ILIKE")]
    public void Pattern_OfTheGreatestLength_IsAcceptedAndOneMoreIsNot(string comparator)
    {
        string Filter(int length) => $"tags.t {comparator} '{new string('%', length)}'";
        Assert.Single(Parse(Filter(FilterParser.MaxPatternLength)).Clauses);
        Assert.Throws<SearchSyntaxException>(() => Parse(Filter(FilterParser.MaxPatternLength + 1)));
    }

    [Theory]
    [InlineData("metrics.a > 1 AND ", 100_000)]
    [InlineData("(", 1_000_000)]
    [InlineData("'", 1_000_000)]
    [InlineData("\\'", 49_000)]
    [InlineData("run_id IN ('\\' ", 6_000)]
    [InlineData("a", 100_000)]
    [InlineData("`", 99_999)]
    [InlineData("NOT ", 25_000)]
    [InlineData("1", 100_000)]
    public void Filter_OfOneThingRepeated_IsRefused(string part, int times) =>
        Assert.Throws<SearchSyntaxException>(() => Parse(string.Concat(Enumerable.Repeat(part, times))));

    [Fact]
    public void Filter_OfAndsOnly_IsEmptyAtAnyLength() =>
        Assert.Empty(Parse(string.Concat(Enumerable.Repeat("AND ", 25_000))).Clauses);

    [Fact]
    public void OrderBy_WithoutElements_IsEmpty()
    {
        Assert.Empty(OrderByParser.Parse(null, Vocabularies.Runs));
        Assert.Empty(OrderByParser.Parse([], Vocabularies.Runs));
    }

    [Theory]
    [InlineData("metrics.acc", EntityKind.Metric, "acc", true)]
    [InlineData("metric.acc \t aSc", EntityKind.Metric, "acc", true)]
    [InlineData("param.lr\ndesc", EntityKind.Param, "lr", false)]
    [InlineData("tags.desc DESC", EntityKind.Tag, "desc", false)]
    [InlineData("metrics.`a desc` asc", EntityKind.Metric, "a desc", true)]
    [InlineData("metrics.`a`DESC", EntityKind.Metric, "a", false)]
    [InlineData("Created DESC", EntityKind.Attribute, "start_time", false)]
    [InlineData("run.end_time", EntityKind.Attribute, "end_time", true)]
    public void OrderBy_Element_HasCanonicalEntityAndKey(string element, EntityKind entity, string key, bool ascending) =>
        Assert.Equal([new(entity, key, ascending)], OrderByParser.Parse([element], Vocabularies.Runs));

    [Theory]
    [InlineData("metrics.acc", "metrics.acc DESC")]
    [InlineData("metrics.acc", "metric.`acc`")]
    [InlineData("start_time DESC", "created")]
    public void OrderBy_RunKeyGivenAgain_IsRefused(string first, string second) =>
        Assert.Contains(
            "given more than once",
            Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([first, second], Vocabularies.Runs)).Message,
            StringComparison.Ordinal);

    [Fact]
    public void OrderBy_SameKeyOfOtherEntities_IsAccepted() =>
        Assert.Equal(3, OrderByParser.Parse(["metrics.acc", "params.acc", "tags.acc"], Vocabularies.Runs).Count);

    [Fact]
    public void OrderBy_ExperimentKeyGivenAgain_IsIgnored() =>
        Assert.Equal(
            [new(EntityKind.Attribute, "name", true), new(EntityKind.Attribute, "creation_time", false)],
            OrderByParser.Parse(["name", "creation_time DESC", "attribute.name DESC"], Vocabularies.Experiments));

    [Theory]
    [InlineData(" metrics.acc")]
    [InlineData("metrics.acc ")]
    [InlineData("metrics.acc DESC ")]
    [InlineData("  metrics.acc   DESC  ")]
    public void OrderBy_BlanksAroundAnElement_AreRefused(string element) =>
        Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse([element], Vocabularies.Runs));

    [Fact]
    public void Filter_BareKeyThatIsEmpty_IsAccepted() =>
        Assert.Equal(
            new Clause(EntityKind.Metric, "", Comparator.Greater, new NumberValue(1, 1)),
            Assert.Single(FilterParser.Parse("metrics. > 1", Vocabularies.Runs).Clauses));

    [Fact]
    public void OrderBy_OfTheGreatestSize_IsAcceptedAndOneMoreIsNot()
    {
        string[] Keys(int count) => [.. Enumerable.Range(0, count).Select(i => $"metrics.m{i}")];
        Assert.Equal(OrderByParser.MaxTerms, OrderByParser.Parse(Keys(OrderByParser.MaxTerms), Vocabularies.Runs).Count);
        Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse(Keys(OrderByParser.MaxTerms + 1), Vocabularies.Runs));

        string Element(int length) => "tags." + new string('k', length - 5);
        Assert.Single(OrderByParser.Parse([Element(OrderByParser.MaxTermLength)], Vocabularies.Runs));
        Assert.Throws<SearchSyntaxException>(
            () => OrderByParser.Parse([Element(OrderByParser.MaxTermLength + 1)], Vocabularies.Runs));
    }

    private static Filter Parse(string? filter) => FilterParser.Parse(filter, Vocabularies.Runs);

    private static void AssertWellFormed(string text)
    {
        foreach (Rune rune in text.EnumerateRunes())
        {
            Assert.NotEqual(Rune.ReplacementChar, rune);
        }
    }
}
