using System.Text;

namespace MlflowCompat.Search;

/// <summary>
/// The patterns of LIKE and ILIKE (contract: search §1): <c>%</c> stands for any sequence of characters, <c>_</c> for any
/// one, everything else for itself; there is no escape. A character is a Unicode code point. The whole text must match.
/// </summary>
public static class LikePattern
{
    /// <summary>Whether a text matches a pattern.</summary>
    /// <param name="text">The text.</param>
    /// <param name="pattern">The pattern.</param>
    /// <param name="ignoreCase">
    /// True for ILIKE: characters are equal when their simple lower-case forms are, whatever the culture.
    /// </param>
    /// <returns>Whether the whole text matches.</returns>
    /// <remarks>
    /// Time is at most the length of the text times the length of the longest stretch without <c>%</c>: a stretch that
    /// was found never needs to be looked for again further right.
    /// </remarks>
    public static bool Matches(string text, string pattern, bool ignoreCase)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(pattern);
        int t = 0;
        int p = 0;
        int stretch = -1;
        int stretchStart = 0;
        while (t < text.Length)
        {
            if (p < pattern.Length && pattern[p] == '%')
            {
                stretch = ++p;
                stretchStart = t;
                continue;
            }

            int textLength = LengthAt(text, t);
            if (p < pattern.Length)
            {
                int patternLength = LengthAt(pattern, p);
                if (pattern[p] == '_' || AreEqual(text, t, textLength, pattern, p, patternLength, ignoreCase))
                {
                    t += textLength;
                    p += patternLength;
                    continue;
                }
            }

            if (stretch < 0)
            {
                return false;
            }

            stretchStart += LengthAt(text, stretchStart);
            t = stretchStart;
            p = stretch;
        }

        return pattern.AsSpan(p).TrimStart('%').IsEmpty;
    }

    /// <summary>Translates a LIKE pattern into a pattern of SQLite's GLOB that matches the same texts.</summary>
    /// <param name="pattern">The LIKE pattern.</param>
    /// <returns>The GLOB pattern.</returns>
    /// <remarks>
    /// SQLite's own LIKE ignores the case of ASCII letters, GLOB does not. A character that is special in GLOB stands for
    /// itself in brackets; <c>]</c> is special only after an opening one.
    /// </remarks>
    public static string ToGlob(string pattern)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        StringBuilder glob = new(pattern.Length + 16);
        foreach (char c in pattern)
        {
            _ = c switch
            {
                '%' => glob.Append('*'),
                '_' => glob.Append('?'),
                '*' or '?' or '[' => glob.Append('[').Append(c).Append(']'),
                _ => glob.Append(c),
            };
        }

        return glob.ToString();
    }

    private static int LengthAt(string text, int index) =>
        char.IsHighSurrogate(text[index]) && index + 1 < text.Length && char.IsLowSurrogate(text[index + 1]) ? 2 : 1;

    private static bool AreEqual(
        string text, int t, int textLength, string pattern, int p, int patternLength, bool ignoreCase)
    {
        if (textLength == patternLength && text.AsSpan(t, textLength).SequenceEqual(pattern.AsSpan(p, textLength)))
        {
            return true;
        }

        // Half a surrogate pair is no rune and has no case.
        return ignoreCase
            && Rune.TryGetRuneAt(text, t, out Rune a)
            && Rune.TryGetRuneAt(pattern, p, out Rune b)
            && Rune.ToLowerInvariant(a) == Rune.ToLowerInvariant(b);
    }
}
