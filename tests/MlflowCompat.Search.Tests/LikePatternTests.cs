using System.Text;

namespace MlflowCompat.Search.Tests;

public sealed class LikePatternTests
{
    [Theory]
    [InlineData("", "", true)]
    [InlineData("", "%", true)]
    [InlineData("", "%%%", true)]
    [InlineData("", "_", false)]
    [InlineData("a", "", false)]
    [InlineData("a", "_", true)]
    [InlineData("ab", "_", false)]
    [InlineData("ab", "a%", true)]
    [InlineData("ba", "a%", false)]
    [InlineData("ba", "%a", true)]
    [InlineData("abcabd", "%ab_", true)]
    [InlineData("abcabd", "%abd%", true)]
    [InlineData("abcabd", "%abe%", false)]
    [InlineData("a%b", "a\\%b", false)]
    [InlineData("a\\xb", "a\\%b", true)]
    [InlineData("a_b", "a_b", true)]
    [InlineData("A", "a", false)]
    [InlineData("😀", "_", true)]
    [InlineData("😀", "__", false)]
    [InlineData("x😀y", "x_y", true)]
    [InlineData("e\u0301", "_", false)]
    [InlineData("line\nbreak", "line_break", true)]
    [InlineData("*?[a]^", "*?[a]^", true)]
    public void Matches_CaseSensitive_IsAsLike(string text, string pattern, bool expected)
    {
        Assert.Equal(expected, LikePattern.Matches(text, pattern, ignoreCase: false));
        Assert.Equal(expected, GlobMatches(text, LikePattern.ToGlob(pattern)));
    }

    [Theory]
    [InlineData("A", "a", true)]
    [InlineData("ÄÖÜ", "%ö%", true)]
    [InlineData("ТОЧНОСТЬ", "точн%", true)]
    [InlineData("𐐀", "𐐨", true)]
    [InlineData("é", "e", false)]
    [InlineData("straße", "STRASSE", false)]
    [InlineData("a", "b", false)]
    [InlineData("[", "{", false)]
    public void Matches_IgnoringCase_IsAsILike(string text, string pattern, bool expected) =>
        Assert.Equal(expected, LikePattern.Matches(text, pattern, ignoreCase: true));

    [Theory]
    [InlineData("a%b_c", "a*b?c")]
    [InlineData("*?[]^-\\", "[*][?][[]]^-\\")]
    [InlineData("", "")]
    [InlineData("é😀", "é😀")]
    public void ToGlob_Pattern_IsTranslated(string pattern, string expected) =>
        Assert.Equal(expected, LikePattern.ToGlob(pattern));

    [Fact]
    public void Matches_ManyWildcards_DoesNotExplode()
    {
        string text = new('a', 5_000);
        Assert.False(LikePattern.Matches(text, string.Concat(Enumerable.Repeat("%a", 2_000)) + "%b", ignoreCase: true));
        Assert.True(LikePattern.Matches(text, string.Concat(Enumerable.Repeat("%a_", 1_000)) + "%a", ignoreCase: false));
    }

    [Fact]
    public void MatchesAndToGlob_OnRandomStrings_AgreeWithNaiveMatchers()
    {
        string[] alphabet =
            ["a", "A", "b", "é", "É", "😀", "𐐀", "𐐨", "\ud83d", "\ude00", "*", "?", "[", "]", "^", "-", "!", "\\"];
        string[] wild = ["%", "_", "%", "_", .. alphabet];
        Random random = new(5);
        int matching = 0;
        for (int i = 0; i < 60_000; i++)
        {
            // A small part of the alphabet makes matches likely.
            int letters = random.Next(2, alphabet.Length + 1);
            string text = Some(random, alphabet[..letters], 8);
            string pattern = Some(random, wild[..(4 + letters)], 6);
            bool like = NaiveMatches(CodePoints(text), CodePoints(pattern), ignoreCase: false);
            if (like != LikePattern.Matches(text, pattern, ignoreCase: false)
                || NaiveMatches(CodePoints(text), CodePoints(pattern), ignoreCase: true)
                    != LikePattern.Matches(text, pattern, ignoreCase: true)
                || like != GlobMatches(text, LikePattern.ToGlob(pattern)))
            {
                Assert.Fail($"'{text}' LIKE '{pattern}'");
            }

            matching += like ? 1 : 0;
        }

        Assert.InRange(matching, 5_000, 55_000);
    }

    private static string Some(Random random, string[] alphabet, int most)
    {
        StringBuilder text = new();
        for (int i = random.Next(most + 1); i > 0; i--)
        {
            text.Append(alphabet[random.Next(alphabet.Length)]);
        }

        return text.ToString();
    }

    private static int[] CodePoints(string text)
    {
        List<int> points = [];
        for (int i = 0; i < text.Length; i++)
        {
            if (Rune.TryGetRuneAt(text, i, out Rune rune))
            {
                points.Add(rune.Value);
                i += rune.Utf16SequenceLength - 1;
            }
            else
            {
                points.Add(text[i]);
            }
        }

        return [.. points];
    }

    private static bool NaiveMatches(ReadOnlySpan<int> text, ReadOnlySpan<int> pattern, bool ignoreCase)
    {
        if (pattern.IsEmpty)
        {
            return text.IsEmpty;
        }

        if (pattern[0] == '%')
        {
            return NaiveMatches(text, pattern[1..], ignoreCase)
                || (!text.IsEmpty && NaiveMatches(text[1..], pattern, ignoreCase));
        }

        return !text.IsEmpty
            && (pattern[0] == '_' || Fold(pattern[0]) == Fold(text[0]))
            && NaiveMatches(text[1..], pattern[1..], ignoreCase);

        int Fold(int point) =>
            ignoreCase && Rune.IsValid(point) ? Rune.ToLowerInvariant(new Rune(point)).Value : point;
    }

    /// <summary>GLOB as SQLite documents it, with character classes and ranges.</summary>
    private static bool GlobMatches(string text, string glob) => GlobMatches(CodePoints(text), CodePoints(glob));

    private static bool GlobMatches(ReadOnlySpan<int> text, ReadOnlySpan<int> glob)
    {
        if (glob.IsEmpty)
        {
            return text.IsEmpty;
        }

        if (glob[0] == '*')
        {
            return GlobMatches(text, glob[1..]) || (!text.IsEmpty && GlobMatches(text[1..], glob));
        }

        if (text.IsEmpty)
        {
            return false;
        }

        if (glob[0] != '[')
        {
            return (glob[0] == '?' || glob[0] == text[0]) && GlobMatches(text[1..], glob[1..]);
        }

        int i = 1;
        bool inverted = i < glob.Length && glob[i] == '^';
        i += inverted ? 1 : 0;
        bool found = false;
        bool first = true;
        while (i < glob.Length && (first || glob[i] != ']'))
        {
            bool range = i + 2 < glob.Length && glob[i + 1] == '-' && glob[i + 2] != ']';
            found |= range ? glob[i] <= text[0] && text[0] <= glob[i + 2] : glob[i] == text[0];
            i += range ? 3 : 1;
            first = false;
        }

        return i < glob.Length && found != inverted && GlobMatches(text[1..], glob[(i + 1)..]);
    }
}
