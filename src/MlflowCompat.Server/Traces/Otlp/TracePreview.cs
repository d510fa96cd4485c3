using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>What listings show of the inputs and outputs of a trace (contract: endpoints §14).</summary>
internal static class TracePreview
{
    /// <summary>Most code points of a preview.</summary>
    public const int MaxLength = 1000;

    private const string Ellipsis = "...";

    /// <summary>
    /// The text of the last message of a role if the value is a conversation as chat models have them, else the JSON text as it is; cut when long.
    /// </summary>
    /// <param name="json">The JSON text of a span's inputs or outputs.</param>
    /// <param name="role"><c>user</c> or <c>assistant</c>.</param>
    public static string Of(string json, string role)
    {
        var text = LastMessage(json, role) is { Length: > 0 } message ? message.Replace('\0', '\uFFFD') : json;
        return FieldRules.CodePoints(text) <= MaxLength ? text : FieldRules.Truncate(text, MaxLength - Ellipsis.Length) + Ellipsis;
    }

    private static string? LastMessage(string json, string role)
    {
        if (json is not ['{', ..])
            return null;
        try
        {
            using var document = JsonDocument.Parse(json);
            if (Messages(document.RootElement) is not { Count: > 0 } messages)
                return null;
            var last = messages.FindLast(message => message.GetProperty("role") is { ValueKind: JsonValueKind.String } given && given.ValueEquals(role));
            return TextOf(last.ValueKind == JsonValueKind.Undefined ? messages[^1] : last);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // No JSON, or half a surrogate pair in it.
            return null;
        }
    }

    private static List<JsonElement>? Messages(JsonElement element)
    {
        while (element.ValueKind == JsonValueKind.Object)
        {
            if (element.TryGetProperty("messages", out var messages) && IsFilledList(messages))
                return Only(messages);
            if (element.TryGetProperty("choices", out var choices) && IsFilledList(choices)
                && choices[0].ValueKind == JsonValueKind.Object && choices[0].TryGetProperty("message", out var message) && IsMessage(message))
            {
                return [message];
            }

            if (element.TryGetProperty("input", out var input) && IsFilledList(input))
                return Only(input);
            if (element.TryGetProperty("output", out var output) && IsFilledList(output))
                return Only(output);
            if (!element.TryGetProperty("request", out element))
                return null;
        }

        return null;
    }

    private static bool IsFilledList(JsonElement element) => element.ValueKind == JsonValueKind.Array && element.GetArrayLength() > 0;

    private static List<JsonElement> Only(JsonElement messages) => [.. messages.EnumerateArray().Where(IsMessage)];

    private static bool IsMessage(JsonElement element) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty("role", out _) && element.TryGetProperty("content", out _);

    private static string? TextOf(JsonElement message)
    {
        var content = message.GetProperty("content");
        if (content.ValueKind == JsonValueKind.String)
            return content.GetString();
        if (content.ValueKind != JsonValueKind.Array)
            return null;
        foreach (var part in content.EnumerateArray())
        {
            if (part.ValueKind == JsonValueKind.String)
                return part.GetString();
            if (part.ValueKind == JsonValueKind.Object
                && part.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.GetString() is "text" or "output_text"
                && part.TryGetProperty("text", out var text) && text.ValueKind == JsonValueKind.String)
            {
                return text.GetString();
            }
        }

        return null;
    }
}
