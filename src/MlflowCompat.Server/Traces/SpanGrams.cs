using MlflowCompat.Search;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// What the index over the text of spans knows of a text: its sequences of three UTF-16 units, ASCII letters in lower case, each hashed to
/// one of <see cref="Count"/> numbers. A text that contains another one has all of its grams, so a text without them need not be read; one
/// that has them still has to be. The numbers are stored: another hash would need another migration.
/// </summary>
internal static class SpanGrams
{
    /// <summary>How many grams there are.</summary>
    public const int Count = 1 << 16;

    /// <summary>Length of a gram.</summary>
    public const int Length = 3;

    /// <summary>More grams of one search hardly exclude more traces.</summary>
    private const int MaxAsked = 16;

    private const int BitsPerWord = 64;

    private const ulong OddNumber = 0x9E3779B97F4A7C15;

    /// <summary>Adds the grams of a text to a set of bits.</summary>
    public static void AddTo(ulong[] set, ReadOnlySpan<char> text)
    {
        ulong gram = 0;
        for (var i = 0; i < text.Length; i++)
        {
            gram = ((gram << 16) | Fold(text[i])) & 0xFFFF_FFFF_FFFF;
            if (i < Length - 1)
                continue;
            var number = Number(gram);
            set[number / BitsPerWord] |= 1UL << (number % BitsPerWord);
        }
    }

    /// <summary>The grams that the spans of a trace must have to meet a filter; empty when that cannot be said.</summary>
    public static IReadOnlyCollection<int> Required(Filter filter)
    {
        var grams = new HashSet<int>();
        foreach (var clause in filter.Clauses.Where(clause => clause.Entity == EntityKind.Span))
        {
            if (clause.Key == "content")
            {
                AddPattern(grams, clause, isEscaped: false);
            }
            else if (clause.Key.StartsWith(SpanAttributePrefix, StringComparison.Ordinal))
            {
                AddText(grams, Otlp.SpanJson.MemberName(clause.Key[SpanAttributePrefix.Length..]));
                AddPattern(grams, clause, isEscaped: true);
            }
        }

        // Spread over the texts, since neighbours say much the same.
        var all = grams.ToList();
        return all.Count <= MaxAsked ? all : [.. Enumerable.Range(0, MaxAsked).Select(i => all[i * all.Count / MaxAsked])];
    }

    private const string SpanAttributePrefix = "attributes.";

    /// <summary>Adds what stands in a pattern between its wildcards.</summary>
    /// <param name="grams">Where to.</param>
    /// <param name="clause">Whose value the pattern is; no other comparator than LIKE and ILIKE asks for a text within the content.</param>
    /// <param name="isEscaped">Whether quotes, backslashes and control characters stand otherwise in the content than in what is compared.</param>
    private static void AddPattern(HashSet<int> grams, Clause clause, bool isEscaped)
    {
        if (clause is not { Comparator: Comparator.Like or Comparator.ILike, Value: TextValue { Text: var pattern } })
            return;
        // Which letters beyond ASCII are the same in another case, and which of them are those of ASCII, the databases do not agree about.
        if (clause.Comparator == Comparator.ILike && !System.Text.Ascii.IsValid(pattern))
            return;
        var start = 0;
        for (var i = 0; i <= pattern.Length; i++)
        {
            if (i < pattern.Length && pattern[i] is not ('%' or '_') && !(isEscaped && pattern[i] is '"' or '\\' or < ' '))
                continue;
            AddText(grams, pattern.AsSpan(start, i - start));
            start = i + 1;
        }
    }

    private static void AddText(HashSet<int> grams, ReadOnlySpan<char> text)
    {
        for (var i = 0; i + Length <= text.Length; i++)
            grams.Add(Number(((ulong)Fold(text[i]) << 32) | ((ulong)Fold(text[i + 1]) << 16) | Fold(text[i + 2])));
    }

    private static char Fold(char c) => char.IsAsciiLetterUpper(c) ? (char)(c | 0x20) : c;

    private static int Number(ulong gram) => (int)((gram * OddNumber) >> 48);
}
