using System.Globalization;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Traces.Otlp;

namespace MlflowCompat.Server.Assessments;

/// <summary>
/// Values of assessments: stored as the JSON text that filters compare, written as Python's json module writes it, numbers as doubles
/// because protobuf's Value knows no others (contract: endpoints §13, search §7). NaN is stored as the bare word that it is in Python, and
/// shown as the text <c>"NaN"</c> like every double that is none; infinities are the largest numbers, as in metrics.
/// </summary>
internal static class AssessmentValue
{
    /// <summary>The text of a value that came as JSON.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: a text in it has U+0000 or half a surrogate pair.</exception>
    public static string TextOf(JsonElement? value, string parameter) => value is { } given ? TextOf(given, parameter, numbersAreDoubles: true) : "null";

    /// <summary>The text of a value that came as JSON text, which may have Python's bare words; its integers stay integers.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is no JSON, or as in the other case.</exception>
    public static string TextOf(string json, string parameter)
    {
        using var document = TryParse(json) ?? throw MlflowException.InvalidValue(parameter, MlflowException.Quote(json), "it must be JSON.");
        return TextOf(document.RootElement, parameter, numbersAreDoubles: false);
    }

    /// <summary>A stored value as JSON; null for null.</summary>
    public static JsonElement? ToJson(string text)
    {
        using var document = TryParse(text) ?? throw new JsonException("The value of an assessment is not stored as JSON.");
        if (document.RootElement.ValueKind == JsonValueKind.Null)
            return null;
        // An integer of a value that came as text is a number like any other on its way out.
        using var shown = JsonDocument.Parse(SpanJson.ValueText(Read(document.RootElement, numbersAreDoubles: true), inText: false));
        return shown.RootElement.Clone();
    }

    /// <summary>Whether a stored value is a list or an object.</summary>
    public static bool IsStructured(string text) => text is ['{' or '[', ..];

    private static string TextOf(JsonElement element, string parameter, bool numbersAreDoubles)
    {
        object? value;
        try
        {
            value = Read(element, numbersAreDoubles);
        }
        catch (InvalidOperationException)
        {
            throw MlflowException.InvalidValue(parameter, element.GetRawText(), "its texts must be well-formed Unicode without U+0000.");
        }

        return Write(value, parameter);
    }

    /// <summary>The text of a value.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is far longer than any value may be.</exception>
    public static string Write(object? value, string parameter)
    {
        try
        {
            return SpanJson.ValueText(value);
        }
        catch (SpanTooLargeException)
        {
            throw MlflowException.InvalidParameter($"'{parameter}' exceeds the maximum length of {AssessmentRow.MaxTextLength} characters.");
        }
    }

    private static JsonDocument? TryParse(string json)
    {
        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException)
        {
            try
            {
                return BareNumbers.Quote(Encoding.UTF8.GetBytes(json)) is { } quoted ? JsonDocument.Parse(quoted) : null;
            }
            catch (JsonException)
            {
                return null;
            }
        }
    }

    /// <exception cref="InvalidOperationException">A text has U+0000 or half a surrogate pair.</exception>
    private static object? Read(JsonElement element, bool numbersAreDoubles) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject()
            .Select(member => new KeyValuePair<string, object?>(Checked(member.Name), Read(member.Value, numbersAreDoubles))).ToList(),
        JsonValueKind.Array => element.EnumerateArray().Select(item => Read(item, numbersAreDoubles)).ToList(),
        JsonValueKind.String => element.GetString() is [BareNumbers.Mark, .. var word] ? (object)Bare(word) : Checked(element.GetString()!),
        JsonValueKind.Number when !numbersAreDoubles && element.TryGetInt64(out var number) => number,
        JsonValueKind.Number => Double(element),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };

    /// <summary>What no double can hold is the largest one.</summary>
    private static double Double(JsonElement number) => Math.Clamp(
        number.TryGetDouble(out var value) ? value : double.Parse(number.GetRawText(), CultureInfo.InvariantCulture), double.MinValue, double.MaxValue);

    private static double Bare(string word) => word switch
    {
        "NaN" => double.NaN,
        "Infinity" => double.MaxValue,
        "-Infinity" => double.MinValue,
        _ => throw new InvalidOperationException("U+0000 stands in a text."),
    };

    private static string Checked(string text) =>
        text.Contains('\0', StringComparison.Ordinal) ? throw new InvalidOperationException("U+0000 stands in a text.") : text;
}
