using System.Globalization;

namespace MlflowCompat.Search;

/// <summary>
/// Parses filters (contract: search §1). Beyond the grammar it tolerates what the reference tolerates: AND at the start,
/// at the end, doubled or missing between clauses. A filter of blanks is empty.
/// </summary>
public static class FilterParser
{
    /// <summary>The most UTF-16 units that a filter may have.</summary>
    public const int MaxLength = 100_000;

    /// <summary>
    /// The most clauses that a filter may have. SQLite refuses expressions nested deeper than 1,000, and a chain of ANDs
    /// is one level per clause.
    /// </summary>
    public const int MaxClauses = 500;

    /// <summary>
    /// The most UTF-16 units that the pattern of LIKE, ILIKE or RLIKE may have. SQLite refuses patterns of more than
    /// 50,000 bytes, and a unit becomes at most three, also through <see cref="LikePattern.ToGlob"/>.
    /// </summary>
    public const int MaxPatternLength = 10_000;

    /// <summary>How comparators are written, by the number of the <see cref="Comparator"/>.</summary>
    private static readonly string[] Spellings =
        ["=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "RLIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"];

    /// <summary>Parses a filter.</summary>
    /// <param name="filter">The text; null, empty and blank mean no restriction.</param>
    /// <param name="vocabulary">The entities and keys of what is searched.</param>
    /// <returns>The clauses with canonical entities and keys.</returns>
    /// <exception cref="SearchSyntaxException">
    /// The text does not follow the language, or exceeds <see cref="MaxLength"/>, <see cref="MaxClauses"/> or
    /// <see cref="MaxPatternLength"/>, or contains U+0000 or half a surrogate pair.
    /// </exception>
    public static Filter Parse(string? filter, Vocabulary vocabulary)
    {
        ArgumentNullException.ThrowIfNull(vocabulary);
        Lexer lexer = new(filter, "Invalid clause(s) in filter string", MaxLength);
        List<Clause>? clauses = null;
        while (true)
        {
            lexer.SkipBlanks();
            if (lexer.AtEnd)
            {
                return clauses is null ? Filter.Empty : new([.. clauses]);
            }

            int start = lexer.Position;
            Identifier identifier = lexer.TakeIdentifier();
            ReadOnlySpan<char> written = lexer.Since(start);
            if (Lexer.IsKeyword(written, "AND"))
            {
                continue;
            }

            if (Lexer.IsKeyword(written, "OR") || Lexer.IsKeyword(written, "NOT"))
            {
                throw lexer.Error(start, "clauses can only be joined by AND");
            }

            clauses ??= [];
            if (clauses.Count == MaxClauses)
            {
                throw lexer.Error(start, $"at most {MaxClauses} clauses are allowed");
            }

            clauses.Add(TakeComparison(ref lexer, start, identifier, vocabulary));
        }
    }

    private static Clause TakeComparison(ref Lexer lexer, int start, Identifier identifier, Vocabulary vocabulary)
    {
        Comparator comparator = TakeComparator(ref lexer, start);
        KeyRule rule = vocabulary.ResolveForFilter(identifier, out EntityKind entity, out string key);
        if (!Allows(rule.Comparators, comparator))
        {
            throw InvalidComparator(comparator, rule.Comparators, entity, key);
        }

        lexer.SkipBlanks();
        FilterValue? value = comparator switch
        {
            Comparator.In or Comparator.NotIn => TakeList(ref lexer),
            Comparator.IsNull or Comparator.IsNotNull => NoValue.Instance,
            _ when rule.Type == KeyType.Number => TakeNumber(ref lexer, rule.EitherLiteral),
            _ => TakeText(ref lexer, rule.EitherLiteral),
        };
        if (value is null)
        {
            string expected = comparator is Comparator.In or Comparator.NotIn
                ? "a list of quoted texts, as in ('a', 'b')"
                : rule.Type == KeyType.Number ? "an unquoted number" : "a quoted text";
            throw lexer.Error(
                start,
                $"expected {expected} for {Vocabulary.Describe(entity)} {SearchSyntaxException.Quote(key)}");
        }

        if (rule.WholeWithoutEntity && !identifier.HasEntity && value is NumberValue { WholeValue: null })
        {
            throw lexer.Error(start, $"expected a whole number for {SearchSyntaxException.Quote(key)}");
        }

        if (comparator is Comparator.Like or Comparator.ILike or Comparator.RLike
            && value is TextValue { Text.Length: > MaxPatternLength })
        {
            throw lexer.Error(start, $"a pattern may have at most {MaxPatternLength} characters");
        }

        return new(entity, key, comparator, value);
    }

    private static SearchSyntaxException InvalidComparator(
        Comparator comparator, Comparators allowed, EntityKind entity, string key)
    {
        IEnumerable<string> valid = Spellings.Where((_, i) => Allows(allowed, (Comparator)i));
        return new(
            $"Invalid comparator '{Spellings[(int)comparator]}' for {Vocabulary.Describe(entity)} "
            + $"{SearchSyntaxException.Quote(key)}. Valid comparators: {string.Join(", ", valid)}");
    }

    private static bool Allows(Comparators comparators, Comparator comparator) =>
        ((int)comparators & (1 << (int)comparator)) != 0;

    private static Comparator TakeComparator(ref Lexer lexer, int clause)
    {
        lexer.SkipBlanks();
        int start = lexer.Position;
        ReadOnlySpan<char> written = lexer.TakeSymbols();
        if (written.IsEmpty)
        {
            written = lexer.TakeWord();
            if (Lexer.IsKeyword(written, "NOT"))
            {
                lexer.SkipBlanks();
                if (Lexer.IsKeyword(lexer.TakeWord(), "IN"))
                {
                    return Comparator.NotIn;
                }

                written = lexer.Since(start);
            }
            else if (Lexer.IsKeyword(written, "IS"))
            {
                lexer.SkipBlanks();
                int word = lexer.Position;
                _ = lexer.TakeWord();
                // Between these two there is one blank and no other (contract: since-3.6 §1.4).
                if (Lexer.IsKeyword(lexer.Since(word), "NOT") && lexer.TryTake(' '))
                {
                    _ = lexer.TakeWord();
                }

                if (Lexer.IsKeyword(lexer.Since(word), "NULL"))
                {
                    return Comparator.IsNull;
                }

                if (Lexer.IsKeyword(lexer.Since(word), "NOT NULL"))
                {
                    return Comparator.IsNotNull;
                }

                written = lexer.Since(start).TrimEnd();
            }
        }

        for (int i = 0; i < Spellings.Length; i++)
        {
            if (Lexer.IsKeyword(written, Spellings[i]))
            {
                return (Comparator)i;
            }
        }

        // A word with dots or digits is more likely the rest of a key that needed quotes.
        if (written.IsEmpty || written.Contains('.') || written.ContainsAnyInRange('0', '9'))
        {
            throw lexer.Error(
                clause,
                "expected a comparator after the key; keys with other than letters, digits, _ and . need quotes");
        }

        throw new SearchSyntaxException(
            $"Invalid comparator {SearchSyntaxException.Quote(written)}. "
            + $"Comparators are {string.Join(", ", Spellings)}");
    }

    private static TextValue? TakeText(ref Lexer lexer, bool numberToo) =>
        lexer.TryTakeText(out ReadOnlySpan<char> text) || (numberToo && lexer.TryTakeNumber(out text))
            ? new(text.ToString())
            : null;

    private static NumberValue? TakeNumber(ref Lexer lexer, bool quotedToo)
    {
        bool isNumber = lexer.TryTakeNumber(out ReadOnlySpan<char> number)
            || (quotedToo
                && lexer.TryTakeText(out number)
                && !number.IsEmpty
                && Lexer.NumberLength(number) == number.Length);
        if (!isNumber)
        {
            return null;
        }

        const NumberStyles Decimal =
            NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        return new(
            double.Parse(number, Decimal, CultureInfo.InvariantCulture),
            long.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long whole)
                ? whole
                : null);
    }

    private static TextListValue? TakeList(ref Lexer lexer)
    {
        if (!lexer.TryTake('('))
        {
            return null;
        }

        List<string> texts = [];
        do
        {
            lexer.SkipBlanks();
            if (!lexer.TryTakeText(out ReadOnlySpan<char> text))
            {
                // What follows a comma may also be the end: a trailing comma is allowed.
                break;
            }

            texts.Add(text.ToString());
            lexer.SkipBlanks();
        }
        while (lexer.TryTake(','));

        return texts.Count > 0 && lexer.TryTake(')') ? new([.. texts]) : null;
    }
}
