using System.Text.Json;
using System.Text.Json.Serialization;

namespace MlflowCompat.Server.Http;

/// <summary>
/// JSON that travels as the text of a field, kept as the UTF-8 that it will be parsed from: there is no need for megabytes of it as a
/// string besides. What it says is not checked yet.
/// </summary>
/// <param name="Utf8">The text.</param>
[JsonConverter(typeof(EmbeddedJsonConverter))]
public sealed record EmbeddedJson(ReadOnlyMemory<byte> Utf8);

/// <summary>Takes the escapes of the outer JSON away; what is inside keeps its own.</summary>
internal sealed class EmbeddedJsonConverter : JsonConverter<EmbeddedJson>
{
    public override EmbeddedJson? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.String)
            throw new JsonException("it must be a string that holds JSON");
        var text = new byte[reader.HasValueSequence ? reader.ValueSequence.Length : reader.ValueSpan.Length];
        try
        {
            return new EmbeddedJson(text.AsMemory(0, reader.CopyString(text)));
        }
        catch (InvalidOperationException)
        {
            throw new JsonException("it must be well-formed Unicode text");
        }
    }

    public override void Write(Utf8JsonWriter writer, EmbeddedJson value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value.Utf8.Span);
}
