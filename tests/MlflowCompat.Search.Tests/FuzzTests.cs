using System.Globalization;
using System.Text;

namespace MlflowCompat.Search.Tests;

/// <summary>Generated input. The seeds are fixed, so that a failure can be repeated.</summary>
public sealed class FuzzTests
{
    private static readonly string[] Tokens =
    [
        "metrics.acc", "metric.", "params.lr", "parameters.", "tags.t", "tag.", "attributes.", "run.", "dataset.name",
        "datasets.context", "run_id", "status", "start_time", "created", "end_time", "`run name`", "name", "creation_time",
        "version_number", "source_path", "last_updated_timestamp", "timestamp", "tags._k",
        "`a b`", "\"a`b\"", "'k'", "`metrics`.", "..", ".", "k.d", "é", "𝒜", "\u0301",
        "=", "!=", ">", ">=", "<", "<=", "==", "<>", "LIKE", "like", "ILIKE", "RLIKE", "IN", "NOT IN", "not", "in", "IS", "NULL",
        "AND", "and", "OR", "NOT", "BETWEEN", "(", ")", ",", ";", "--", "/*", "*/", "-", "+", "#",
        "1", "-1", "0.5", ".5", "1.", "1e400", "-1e400", "1e", "5e-1", "0x1", "1_0", "123456789012345678901234567890", "NaN",
        "'v'", "\"v\"", "'it''s'", "'it\\'s'", "'C:\\'", "'a\"b'", "\"it's\"", "''", "'%_'", "('a', 'b',)", "('a')", "()",
        "'", "\"", "`", "\\", " ", "\t", "\u00a0", "\0", "\ud83d", "\ude00", "😀", "\ufffd",
    ];

    /// <summary>What agrees with each other: keys, comparators and values.</summary>
    private static readonly (string[] Keys, string[] Comparators, string[] Values)[] Parts =
    [
        (
            ["metrics.acc", "metric.`a b`", "`metrics`.x", "created", "run.end_time", "start_time", "creation_time", "version_number", "timestamp"],
            ["=", " != ", ">", " >= ", "< ", "<="],
            ["1", "-1.5", ".5", "00.5", "1.", "1e400", "-1e-400", "5e-1", "9223372036854775808", "-9223372036854775808"]),
        (
            ["params.lr", "parameter.\"a`b\"", "tags.'k'", "tag.k.d", "status", "attr.run_id", "`run name`", "name", "tags._k", "source_path"],
            ["=", " != ", " LIKE ", " ilike "],
            ["'v'", "\"v\"", "'it''s'", "'it\\'s'", "'C:\\'", "\"it's\"", "'a\"b'", "'a\"\\'b'", "\"''\"\"\"", "'😀'", "''"]),
        (
            ["run_id", "run.run_id", "dataset.name", "datasets.context"],
            [" IN ", " NOT IN ", " not  in"],
            ["('a')", "( 'a' , \"it's\",'C:\\',)", "('a''b', 'a\"\\'b')"]),
    ];

    /// <summary>By the number of the comparator.</summary>
    private static readonly string[] ComparatorSpellings =
        ["=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "RLIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"];

    private static readonly string[] Joints = [" AND ", " and ", " ", "\nAND AND\t"];

    [Fact]
    public void Filter_OfRandomTokens_IsParsedOrRefused()
    {
        Random random = new(1);
        int accepted = Run(80_000, () =>
        {
            StringBuilder text = new();
            for (int i = random.Next(1, 12); i > 0; i--)
            {
                text.Append(Pick(random, Tokens)).Append(random.Next(3) > 0 ? " " : "");
            }

            return text.ToString();
        });
        Assert.InRange(accepted, 100, 79_000);
    }

    [Fact]
    public void Filter_OfRandomCharacters_IsParsedOrRefused()
    {
        Random random = new(2);
        Run(40_000, () => string.Create(random.Next(40), random, static (span, random) =>
        {
            foreach (ref char c in span)
            {
                c = (char)(random.Next(4) > 0 ? random.Next(0x20, 0x7f) : random.Next(0x10000));
            }
        }));
    }

    [Fact]
    public void Filter_AlmostValid_IsParsedOrRefused()
    {
        Random random = new(3);
        int accepted = Run(100_000, () =>
        {
            StringBuilder text = new();
            for (int i = random.Next(1, 4); i > 0; i--)
            {
                (string[] keys, string[] comparators, string[] values) = Parts[random.Next(Parts.Length)];
                text.Append(Pick(random, keys)).Append(Pick(random, comparators)).Append(Pick(random, values));
                text.Append(i > 1 ? Pick(random, Joints) : "");
            }

            // Half of them with one character removed, doubled or replaced.
            int at = random.Next(text.Length);
            return random.Next(6) switch
            {
                0 => text.Remove(at, 1).ToString(),
                1 => text.Insert(at, text[at]).ToString(),
                2 => text.Remove(at, 1).Insert(at, Pick(random, Tokens)).ToString(),
                _ => text.ToString(),
            };
        });
        Assert.InRange(accepted, 20_000, 90_000);
    }

    [Fact]
    public void OrderBy_OfRandomTokens_IsParsedOrRefused()
    {
        Random random = new(4);
        int accepted = 0;
        for (int i = 0; i < 45_000; i++)
        {
            string[] orderBy = new string[random.Next(1, 3)];
            for (int j = 0; j < orderBy.Length; j++)
            {
                orderBy[j] = Pick(random, random.Next(4) > 0 ? Parts[random.Next(Parts.Length)].Keys : Tokens)
                    + Pick(random, ["", "", " ASC", " desc", " "])
                    + (random.Next(4) == 0 ? Pick(random, Tokens) : "");
            }

            Vocabulary vocabulary = VocabularyOf(i);
            IReadOnlyList<OrderTerm> terms;
            try
            {
                terms = OrderByParser.Parse(orderBy, vocabulary);
            }
            catch (SearchSyntaxException)
            {
                continue;
            }

            accepted++;
            string[] printed =
            [
                .. terms.Select(term =>
                    $"{(vocabulary.RefusesQuotedOrderKeys ? term.Key : PrintKey(term.Entity, term.Key))} {(term.Ascending ? "ASC" : "DESC")}"),
            ];
            Assert.Equal(terms, OrderByParser.Parse(printed, vocabulary));
        }

        Assert.InRange(accepted, 5_000, 29_000);
    }

    /// <summary>Returns how often an input was accepted; for each accepted one printing and parsing gives the same tree.</summary>
    private static int Run(int inputs, Func<string> generate)
    {
        int accepted = 0;
        for (int i = 0; i < inputs; i++)
        {
            string text = generate();
            Vocabulary vocabulary = VocabularyOf(i);
            Filter filter;
            try
            {
                filter = FilterParser.Parse(text, vocabulary);
            }
            catch (SearchSyntaxException error)
            {
                Assert.InRange(error.Message.Length, 10, 500);
                continue;
            }

            accepted++;
            string printed = string.Join(" AND ", filter.Clauses.Select(Print));
            if (!filter.Equals(FilterParser.Parse(printed, vocabulary)))
            {
                Assert.Fail($"{text} was printed as {printed}, which is another filter");
            }
        }

        return accepted;
    }

    private static Vocabulary VocabularyOf(int input) => (input % 8) switch
    {
        0 => Vocabularies.Experiments,
        2 => Vocabularies.RegisteredModels,
        4 => Vocabularies.ModelVersions,
        _ => Vocabularies.Runs,
    };

    private static string Pick(Random random, string[] from) => from[random.Next(from.Length)];

    private static string Print(Clause clause)
    {
        string value = clause.Value switch
        {
            TextValue text => PrintText(text.Text),
            TextListValue list => $"({string.Join(", ", list.Texts.Select(PrintText))})",
            NumberValue { WholeValue: long whole } => whole.ToString(CultureInfo.InvariantCulture),
            NumberValue { Value: double.PositiveInfinity } => "1e999",
            NumberValue { Value: double.NegativeInfinity } => "-1e999",
            NumberValue number =>
                number.Value.ToString("E16", CultureInfo.InvariantCulture).Replace("+", "", StringComparison.Ordinal),
            NoValue => "",
            _ => throw new InvalidOperationException(),
        };
        return $"{PrintKey(clause.Entity, clause.Key)} {ComparatorSpellings[(int)clause.Comparator]} {value}";
    }

    private static string PrintKey(EntityKind entity, string key)
    {
        string prefix = entity switch
        {
            EntityKind.Attribute => "",
            EntityKind.Metric => "metrics.",
            EntityKind.Param => "params.",
            EntityKind.Tag => "tags.",
            _ => "datasets.",
        };
        if (key.Length == 0)
        {
            return prefix;
        }

        char quote = !key.Contains('`', StringComparison.Ordinal) ? '`'
            : !key.Contains('"', StringComparison.Ordinal) ? '"'
            : '\'';
        return $"{prefix}{quote}{key}{quote}";
    }

    private static string PrintText(string text)
    {
        if (!text.Contains('\'', StringComparison.Ordinal))
        {
            return $"'{text}'";
        }

        if (!text.Contains('"', StringComparison.Ordinal))
        {
            return $"\"{text}\"";
        }

        // Both quotes inside: those of one kind are all doubled or after a backslash, as no other text could be written.
        string inDouble = text.Replace("\"\"", "", StringComparison.Ordinal).Replace("\\\"", "", StringComparison.Ordinal);
        return inDouble.Contains('"', StringComparison.Ordinal) ? $"'{text}'" : $"\"{text}\"";
    }
}
