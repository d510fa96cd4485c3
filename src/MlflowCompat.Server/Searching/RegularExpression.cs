using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Searching;

/// <summary>
/// A regular expression of a filter in the spellings of .NET, for SQLite, and of PostgreSQL. Taken is what means the same in both: literals,
/// sets, <c>.</c> (any character), <c>^</c> and <c>$</c> (beginning and end of the text), groups, alternatives, quantifiers,
/// <c>\d \w \s \D \W \S \t \n \r \f \v \b \B</c> and <c>(?i)</c> at the beginning. Which characters beyond ASCII <c>\d</c>, <c>\w</c>,
/// <c>\s</c> and <c>(?i)</c> know is up to PostgreSQL's locale; beyond U+FFFF a character is two for <c>.</c>, sets and quantifiers of .NET.
/// </summary>
internal sealed class RegularExpression
{
    /// <summary>The most repetitions that PostgreSQL counts to.</summary>
    private const int MaxRepetitions = 255;

    private const string IgnoreCase = "(?i)";

    private readonly string given;
    private readonly StringBuilder dotNet = new();
    private readonly StringBuilder postgreSql = new();

    private RegularExpression(string given)
    {
        this.given = given;
        for (var next = 0; next < given.Length;)
        {
            next = given[next] switch
            {
                '\\' => Escape(next),
                '[' => Set(next),
                '(' => Group(next),
                '{' => Bound(next),
                // .NET's $ would also match before a line feed at the end.
                '$' => Anchor(next + 1, @"\z", "$"),
                '^' => Anchor(next + 1, "^", "^"),
                _ => Same(next, 1),
            };
        }
    }

    /// <summary>For <see cref="RegexOptions.Singleline"/>.</summary>
    public string DotNet => dotNet.ToString();

    /// <summary>For the operator <c>~</c>.</summary>
    public string PostgreSql => postgreSql.ToString();

    /// <summary>Translates an expression; whether it is well-formed otherwise is for those to say who take it.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it has something that the two do not understand alike.</exception>
    public static RegularExpression Parse(string given) => new(given);

    private int Escape(int at)
    {
        if (at + 1 == given.Length)
            throw Refused("it ends in a backslash");
        return given[at + 1] switch
        {
            'b' => Anchor(at + 2, @"\b", @"\y"),
            'B' => Anchor(at + 2, @"\B", @"\Y"),
            'd' or 'w' or 's' or 'D' or 'W' or 'S' or 't' or 'n' or 'r' or 'f' or 'v' => Same(at, 2),
            var character when char.IsLetterOrDigit(character) => throw Refused($"\\{character} is not known"),
            _ => Same(at, 2),
        };
    }

    private int Set(int at)
    {
        var next = Same(at, at + 1 < given.Length && given[at + 1] == '^' ? 2 : 1);
        for (var first = next; next < given.Length; next = Same(next, given[next] == '\\' ? 2 : 1))
        {
            var rest = given.AsSpan(next);
            if (rest[0] == ']' && next > first)
                return Same(next, 1);
            if (rest.StartsWith("[:") || rest.StartsWith("[.") || rest.StartsWith("[=") || rest.StartsWith("-["))
                throw Refused($"{rest[..2]} is not known in a set");
            if (rest[0] == '\\' && (rest.Length == 1 || (char.IsLetterOrDigit(rest[1]) && rest[1] is not ('d' or 'w' or 's' or 'D' or 'W' or 'S' or 't' or 'n' or 'r' or 'f' or 'v'))))
                throw Refused($"{rest[..Math.Min(2, rest.Length)]} is not known in a set");
        }

        return next;
    }

    private int Group(int at)
    {
        var rest = given.AsSpan(at);
        if (at == 0 && rest.StartsWith(IgnoreCase))
            return Same(at, IgnoreCase.Length);
        return rest.StartsWith("(?") && !rest.StartsWith("(?:") ? throw Refused("of groups that begin with (? only (?: is known, and (?i) at the beginning") : Same(at, 1);
    }

    private int Anchor(int next, string forDotNet, string forPostgreSql) =>
        next < given.Length && (given[next] is '*' or '+' or '?' || (given[next] == '{' && next + 1 < given.Length && char.IsAsciiDigit(given[next + 1])))
            ? throw Refused("nothing that can be repeated stands before a quantifier")
            : Both(next, forDotNet, forPostgreSql);

    private int Bound(int at)
    {
        // Without a number it stands for itself, as in JSON.
        if (at + 1 == given.Length || !char.IsAsciiDigit(given[at + 1]))
            return Both(at + 1, @"\{", @"\{");
        var end = given.IndexOf('}', at);
        var bounds = given[(at + 1)..(end < 0 ? given.Length : end)].Split(',');
        if (end < 0 || bounds.Length > 2 || bounds.Any(bound => bound.Length > 0 && !IsRepetitions(bound)))
            throw Refused($"{{ before a number begins a number of repetitions, at most {MaxRepetitions}, or two of them, and }}");
        return Same(at, end + 1 - at);
    }

    private static bool IsRepetitions(string bound) =>
        int.TryParse(bound, NumberStyles.None, CultureInfo.InvariantCulture, out var times) && times <= MaxRepetitions;

    private int Same(int at, int length)
    {
        length = Math.Min(length, given.Length - at);
        return Both(at + length, given.Substring(at, length), given.Substring(at, length));
    }

    private int Both(int next, string forDotNet, string forPostgreSql)
    {
        dotNet.Append(forDotNet);
        postgreSql.Append(forPostgreSql);
        return next;
    }

    private MlflowException Refused(string reason) =>
        MlflowException.InvalidParameter($"Invalid regular expression {MlflowException.Quote(given)}: {reason}.");
}
