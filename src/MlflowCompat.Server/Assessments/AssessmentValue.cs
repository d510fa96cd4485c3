using System.Text.Json;
using MlflowCompat.Server.Traces.Otlp;

namespace MlflowCompat.Server.Assessments;

/// <summary>
/// Values of assessments: stored as the JSON text that filters compare, written as Python's json module writes it, numbers as doubles
/// because protobuf's Value knows no others (contract: endpoints §13, search §7).
/// </summary>
internal static class AssessmentValue
{
    /// <summary>The text of a value that came as JSON.</summary>
    public static string TextOf(JsonElement? value) => SpanJson.ValueText(value is { } given ? Read(given, numbersAreDoubles: true) : null);

    /// <summary>The text of a value that came as JSON text; its integers stay integers. Null when it is no JSON.</summary>
    public static string? TextOf(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return SpanJson.ValueText(Read(document.RootElement, numbersAreDoubles: false));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>A stored value as JSON; null for null.</summary>
    public static JsonElement? ToJson(string text)
    {
        using var document = JsonDocument.Parse(text);
        if (document.RootElement.ValueKind == JsonValueKind.Null)
            return null;
        // An integer of a value that came as text is a number like any other on its way out.
        using var shown = JsonDocument.Parse(SpanJson.ValueText(Read(document.RootElement, numbersAreDoubles: true)));
        return shown.RootElement.Clone();
    }

    /// <summary>Whether a stored value is a list or an object.</summary>
    public static bool IsStructured(string text) => text is ['{' or '[', ..];

    private static object? Read(JsonElement element, bool numbersAreDoubles) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject()
            .Select(member => new KeyValuePair<string, object?>(member.Name.Replace('\0', '\uFFFD'), Read(member.Value, numbersAreDoubles))).ToList(),
        JsonValueKind.Array => element.EnumerateArray().Select(item => Read(item, numbersAreDoubles)).ToList(),
        JsonValueKind.String => element.GetString()!.Replace('\0', '\uFFFD'),
        JsonValueKind.Number => !numbersAreDoubles && element.TryGetInt64(out var number) ? (object)number : Math.Clamp(element.GetDouble(), double.MinValue, double.MaxValue),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => null,
    };
}
