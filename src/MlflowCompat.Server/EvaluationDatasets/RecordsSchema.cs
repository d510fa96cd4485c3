using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>
/// What records hold: the names in inputs, outputs and expectations with the type that each had first (contract: endpoints §15). Outputs
/// that are no object have one type, and the first record with outputs decides which of the two it is.
/// </summary>
internal sealed class RecordsSchema
{
    private readonly OrderedDictionary<string, string> inputs = [];
    private readonly OrderedDictionary<string, string> outputs = [];
    private readonly OrderedDictionary<string, string> expectations = [];
    private string? outputsType;
    private bool outputsAreObjects;
    private bool any;

    /// <summary>Adds what a record has.</summary>
    /// <param name="record">The record.</param>
    public void Add(JsonElement record)
    {
        any = true;
        AddMembers(inputs, record, "inputs");
        AddMembers(expectations, record, "expectations");
        if (!record.TryGetProperty("outputs", out var given) || given.ValueKind == JsonValueKind.Null)
            return;
        if (given.ValueKind == JsonValueKind.Object)
        {
            AddMembers(outputs, record, "outputs");
            outputsAreObjects |= outputsType is null && outputs.Count > 0;
        }
        else
        {
            outputsType ??= TypeOf(given);
        }
    }

    /// <summary>The schema of the records before with these added, as JSON; null when there are none and were none.</summary>
    /// <param name="before">What was stored of it, or null.</param>
    public string? AddTo(string? before)
    {
        if (!any)
            return before;
        using var stored = JsonDocument.Parse(before ?? "{}");
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = MlflowJson.Options.Encoder }))
        {
            writer.WriteStartObject();
            WriteMembers(writer, "inputs", stored, inputs);
            var hasOutputs = stored.RootElement.TryGetProperty("outputs", out var storedOutputs);
            if (hasOutputs && storedOutputs.ValueKind != JsonValueKind.Object)
            {
                writer.WritePropertyName("outputs");
                storedOutputs.WriteTo(writer);
            }
            else if (outputsType is not null && !outputsAreObjects && !(hasOutputs && storedOutputs.EnumerateObject().Any()))
            {
                writer.WriteString("outputs", outputsType);
            }
            else
            {
                WriteMembers(writer, "outputs", stored, outputs);
            }

            WriteMembers(writer, "expectations", stored, expectations);
            writer.WriteString("version", "1.0");
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    private static void AddMembers(OrderedDictionary<string, string> types, JsonElement record, string part)
    {
        if (!record.TryGetProperty(part, out var members) || members.ValueKind != JsonValueKind.Object)
            return;
        foreach (var member in members.EnumerateObject())
            types.TryAdd(member.Name, TypeOf(member.Value));
    }

    private static void WriteMembers(Utf8JsonWriter writer, string part, JsonDocument stored, OrderedDictionary<string, string> added)
    {
        writer.WriteStartObject(part);
        var known = new HashSet<string>(StringComparer.Ordinal);
        if (stored.RootElement.TryGetProperty(part, out var members))
        {
            foreach (var member in members.EnumerateObject())
            {
                member.WriteTo(writer);
                known.Add(member.Name);
            }
        }

        foreach (var (name, type) in added)
        {
            if (!known.Contains(name))
                writer.WriteString(name, type);
        }

        writer.WriteEndObject();
    }

    private static string TypeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => "null",
        JsonValueKind.True or JsonValueKind.False => "boolean",
        JsonValueKind.Number => CanonicalJson.IsFloat(JsonMarshal.GetRawUtf8Value(value)) ? "float" : "integer",
        JsonValueKind.String => value.GetString()!.StartsWith(BareNumbers.Mark) ? "float" : "string",
        JsonValueKind.Array => "array",
        _ => "object",
    };
}
