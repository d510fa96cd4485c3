using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>JSON objects that are merged member by member. Values keep the spelling that they were sent in.</summary>
internal static class JsonMembers
{
    private static readonly JsonDocumentOptions Deep = new() { MaxDepth = 1000 };

    /// <summary>The members of both, those of <paramref name="added"/> where both have one.</summary>
    /// <param name="members">An object, or null for none.</param>
    /// <param name="added">An object; an empty one or null changes nothing, not even none to an empty one.</param>
    public static ReadOnlyMemory<byte>? Merge(ReadOnlyMemory<byte>? members, ReadOnlyMemory<byte>? added)
    {
        if (added is not { } more)
            return members;
        using var newer = JsonDocument.Parse(more, Deep);
        if (!newer.RootElement.EnumerateObject().Any())
            return members;
        if (members is not { } before)
            return more;
        using var older = JsonDocument.Parse(before, Deep);
        if (older.RootElement.ValueKind != JsonValueKind.Object)
            return more;
        var merged = new OrderedDictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach (var member in older.RootElement.EnumerateObject().Concat(newer.RootElement.EnumerateObject()))
            merged[member.Name] = member.Value;

        var buffer = new ArrayBufferWriter<byte>(before.Length + more.Length);
        using (var writer = new Utf8JsonWriter(buffer, StreamedObject.WriterOptions))
        {
            writer.WriteStartObject();
            foreach (var (name, value) in merged)
            {
                writer.WritePropertyName(name);
                writer.WriteRawValue(JsonMarshal.GetRawUtf8Value(value), skipInputValidation: true);
            }

            writer.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }
}
