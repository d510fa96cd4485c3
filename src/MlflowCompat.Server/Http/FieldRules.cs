using System.Globalization;
using System.Text;

namespace MlflowCompat.Server.Http;

/// <summary>
/// The rules that fields of several messages share (contract: semantics §1.2, §4). Lengths are counted in Unicode code points, not in
/// UTF-16 units. Every refusal is INVALID_PARAMETER_VALUE and names the field.
/// </summary>
public static class FieldRules
{
    /// <summary>Longest key of a metric, a parameter or a tag.</summary>
    public const int MaxKeyLength = 250;

    /// <summary>A field that has to be given: absent, null and "" are refused.</summary>
    public static string Required(string? value, FieldName parameter) => string.IsNullOrEmpty(value) ? throw Missing(parameter) : value;

    /// <summary>A number that has to be given; 0 counts.</summary>
    public static T Required<T>(T? value, FieldName parameter)
        where T : struct => value ?? throw Missing(parameter);

    /// <summary>The error for a field that was not given.</summary>
    public static MlflowException Missing(FieldName parameter) => MlflowException.InvalidParameter(
        $"Missing value for required parameter '{parameter}'. See the API docs for more information about request parameters.");

    /// <summary>Number of Unicode code points; an unpaired surrogate counts as one.</summary>
    public static int CodePoints(string text)
    {
        var count = text.Length;
        for (var i = 1; i < text.Length; i++)
        {
            if (char.IsLowSurrogate(text[i]) && char.IsHighSurrogate(text[i - 1]))
                count--;
        }

        return count;
    }

    /// <summary>Refuses a text of more than <paramref name="limit"/> code points.</summary>
    /// <param name="value">The text.</param>
    /// <param name="limit">Largest number of code points.</param>
    /// <param name="what">How the message calls the field: <c>Metric name</c>, <c>key</c>, <c>tags[0].key</c> …</param>
    public static string MaxLength(string value, int limit, FieldName what)
    {
        // A text cannot have more code points than UTF-16 units, so most need no counting.
        if (value.Length > limit && CodePoints(value) > limit)
        {
            throw MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture,
                $"'{what}' exceeds the maximum length of {limit} characters: {MlflowException.Quote(value)} has {CodePoints(value)}"));
        }

        return value;
    }

    /// <summary>The first <paramref name="limit"/> code points.</summary>
    public static string Truncate(string value, int limit)
    {
        if (value.Length <= limit)
            return value;
        var index = 0;
        for (var points = 0; points < limit && index < value.Length; points++)
            index += char.IsHighSurrogate(value[index]) && index + 1 < value.Length && char.IsLowSurrogate(value[index + 1]) ? 2 : 1;
        return value[..index];
    }

    /// <summary>A key of a metric, a parameter or a tag: given, of allowed characters, a clean relative path, not too long (§4.3).</summary>
    /// <param name="key">What was sent.</param>
    /// <param name="parameter">Path of the field: <c>key</c>, <c>metrics[0].name</c> …</param>
    /// <param name="lengthName">How the message about its length calls it.</param>
    public static string Key(string? key, FieldName parameter, FieldName lengthName)
    {
        var given = Required(key, parameter);
        foreach (var rune in given.EnumerateRunes())
        {
            if (!IsKeyCharacter(rune))
            {
                throw MlflowException.InvalidValue(
                    parameter.ToString(),
                    MlflowException.Quote(given),
                    "names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colons (:) and slashes (/).");
            }
        }

        var normal = NormalPath(given);
        if (normal != given || normal == "." || normal.StartsWith('/') || normal.StartsWith("..", StringComparison.Ordinal))
        {
            throw MlflowException.InvalidValue(
                parameter.ToString(),
                MlflowException.Quote(given),
                $"names may be treated as files in certain cases, and must not resolve to other names when treated as such; this one would resolve to {MlflowException.Quote(normal)}.");
        }

        return MaxLength(given, MaxKeyLength, lengthName);
    }

    /// <summary>Python's <c>\w</c>: letters and numbers of any script, without combining marks, and the underscore.</summary>
    public static bool IsWordCharacter(Rune rune) =>
        rune.Value == '_'
        || (rune.IsAscii
            ? char.IsAsciiLetterOrDigit((char)rune.Value)
            : Rune.GetUnicodeCategory(rune)
                is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
                or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber);

    /// <summary>What words are made of, and the five characters that paths and names need.</summary>
    private static bool IsKeyCharacter(Rune rune) => rune.Value is '/' or '.' or '-' or ' ' or ':' || IsWordCharacter(rune);

    /// <summary>POSIX normal form: no empty and no <c>.</c> segments, <c>..</c> taken up as far as possible.</summary>
    private static string NormalPath(string path)
    {
        if (!path.Contains('/', StringComparison.Ordinal))
            return path.Length == 0 ? "." : path;
        var root = path.StartsWith("//", StringComparison.Ordinal) && !path.StartsWith("///", StringComparison.Ordinal) ? "//"
            : path[0] == '/' ? "/"
            : "";
        var segments = new List<string>();
        foreach (var segment in path.Split('/'))
        {
            if (segment is "" or ".")
                continue;
            if (segment != ".." || (root.Length == 0 && (segments.Count == 0 || segments[^1] == "..")))
                segments.Add(segment);
            else if (segments.Count > 0)
                segments.RemoveAt(segments.Count - 1);
        }

        var normal = root + string.Join('/', segments);
        return normal.Length == 0 ? "." : normal;
    }
}
