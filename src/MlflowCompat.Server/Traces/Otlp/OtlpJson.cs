using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Unicode;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// Reads an ExportTraceServiceRequest in OTLP's JSON encoding: protobuf's JSON form, but ids in hex digits and enums by number
/// (opentelemetry-proto, docs/specification.md). Unknown fields are passed over.
/// </summary>
internal static class OtlpJson
{
    /// <summary>Values in values take three levels each.</summary>
    private const int MaxDepth = 160;

    /// <summary>How many tokens a request may have: a parsed document takes twelve bytes for each.</summary>
    private const int MaxTokens = 8_000_000;

    /// <summary>Reads the spans of a request.</summary>
    /// <param name="request">The message; what is no text in its strings is replaced in it.</param>
    /// <param name="take">Gets each span, or null for one that exceeds <see cref="SpanLimits"/>.</param>
    /// <returns>Whether there was anything at all in the request.</returns>
    /// <exception cref="OtlpFormatException">It is no such message.</exception>
    /// <exception cref="OtlpTooLargeException">It has too many tokens.</exception>
    public static bool Read(Memory<byte> request, Action<OtlpSpan?> take)
    {
        if (!Utf8.IsValid(request.Span))
            throw new OtlpFormatException("it is no valid UTF-8");
        LoneSurrogates.Replace(request.Span);
        JsonDocument document;
        try
        {
            CheckTokens(request.Span);
            document = JsonDocument.Parse(request, new JsonDocumentOptions { MaxDepth = MaxDepth });
        }
        catch (JsonException)
        {
            throw new OtlpFormatException("it is no valid JSON");
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new OtlpFormatException("it is no JSON object");
            var any = false;
            foreach (var resource in List(document.RootElement, "resourceSpans"))
            {
                any = true;
                foreach (var scope in List(resource, "scopeSpans"))
                {
                    foreach (var span in List(scope, "spans"))
                        take(TryReadSpan(span));
                }
            }

            return any;
        }
    }

    private static void CheckTokens(ReadOnlySpan<byte> request)
    {
        if (request.Length <= MaxTokens)
            return;
        var reader = new Utf8JsonReader(request, new JsonReaderOptions { MaxDepth = MaxDepth });
        for (var tokens = 0; reader.Read(); tokens++)
        {
            if (tokens == MaxTokens)
                throw new OtlpTooLargeException($"{MaxTokens} JSON tokens");
        }
    }

    private static OtlpSpan? TryReadSpan(JsonElement element)
    {
        try
        {
            return JsonMarshal.GetRawUtf8Value(element).Length > SpanLimits.MaxBytes ? null : ReadSpan(element);
        }
        catch (SpanTooLargeException)
        {
            return null;
        }
    }

    private static OtlpSpan ReadSpan(JsonElement element)
    {
        var limits = new SpanLimits();
        var span = new OtlpSpan
        {
            TraceId = Id(element, "traceId"),
            SpanId = Id(element, "spanId"),
            ParentSpanId = Id(element, "parentSpanId"),
            Name = Text(element, "name"),
            Start = Time(element, "startTimeUnixNano"),
            End = Time(element, "endTimeUnixNano"),
        };
        if (Member(element, "status") is { ValueKind: JsonValueKind.Object } status)
        {
            span.StatusMessage = Text(status, "message");
            span.StatusCode = Member(status, "code") is { } code ? StatusCode(code) : 0;
        }

        ReadAttributes(element, span.Attributes, limits);
        foreach (var happened in List(element, "events"))
        {
            limits.AddEvent();
            var read = new OtlpEvent { Name = Text(happened, "name"), Time = Time(happened, "timeUnixNano") };
            ReadAttributes(happened, read.Attributes, limits);
            span.Events.Add(read);
        }

        return span;
    }

    private static void ReadAttributes(JsonElement element, List<KeyValuePair<string, object?>> attributes, SpanLimits limits)
    {
        foreach (var attribute in List(element, "attributes"))
            attributes.Add(ReadEntry(attribute, limits));
    }

    private static KeyValuePair<string, object?> ReadEntry(JsonElement entry, SpanLimits limits)
    {
        limits.AddValue();
        return new(Text(entry, "key"), Member(entry, "value") is { } value ? ReadValue(value, limits) : null);
    }

    private static object? ReadValue(JsonElement value, SpanLimits limits)
    {
        if (value.ValueKind != JsonValueKind.Object)
            throw Wrong("value");
        foreach (var kind in value.EnumerateObject())
        {
            switch (kind.Name)
            {
                case "stringValue" or "string_value":
                    return Text(value, "stringValue");
                case "boolValue" or "bool_value":
                    return kind.Value.ValueKind is JsonValueKind.True or JsonValueKind.False ? kind.Value.GetBoolean() : throw Wrong(kind.Name);
                case "intValue" or "int_value":
                    return Parse<long>(kind);
                case "doubleValue" or "double_value":
                    return Parse<double>(kind);
                case "bytesValue" or "bytes_value":
                    return kind.Value.ValueKind == JsonValueKind.String && kind.Value.TryGetBytesFromBase64(out var bytes) ? bytes : throw Wrong(kind.Name);
                case "arrayValue" or "array_value":
                    return List(kind.Value, "values").Select(entry => ReadElement(entry, limits)).ToList();
                case "kvlistValue" or "kvlist_value":
                    return List(kind.Value, "values").Select(entry => ReadEntry(entry, limits)).ToList();
            }
        }

        return null;
    }

    private static object? ReadElement(JsonElement element, SpanLimits limits)
    {
        limits.AddValue();
        return ReadValue(element, limits);
    }

    private static T Parse<T>(JsonProperty number)
        where T : struct, IParsable<T>
    {
        var text = number.Value.ValueKind switch
        {
            JsonValueKind.Number => number.Value.GetRawText(),
            JsonValueKind.String => number.Value.GetString(),
            _ => null,
        };
        return T.TryParse(text, CultureInfo.InvariantCulture, out var parsed) ? parsed : throw Wrong(number.Name);
    }

    private static byte[] Id(JsonElement element, string name)
    {
        try
        {
            return Convert.FromHexString(Text(element, name));
        }
        catch (FormatException)
        {
            throw Wrong(name);
        }
    }

    private static ulong Time(JsonElement element, string name)
    {
        if (Member(element, name) is not { } time)
            return 0;
        var text = time.ValueKind switch
        {
            JsonValueKind.Number => time.GetRawText(),
            JsonValueKind.String => time.GetString(),
            _ => null,
        };
        return ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var parsed) ? parsed : throw Wrong(name);
    }

    private static int StatusCode(JsonElement code) => code.ValueKind switch
    {
        JsonValueKind.Number when code.TryGetInt32(out var number) => number,
        JsonValueKind.String => code.GetString() switch
        {
            "STATUS_CODE_OK" => 1,
            "STATUS_CODE_ERROR" => 2,
            _ => 0,
        },
        _ => throw Wrong("code"),
    };

    private static string Text(JsonElement element, string name) =>
        Member(element, name) is not { } text ? ""
        : text.ValueKind == JsonValueKind.String ? text.GetString()!.Replace('\0', '\uFFFD')
        : throw Wrong(name);

    private static JsonElement.ArrayEnumerator List(JsonElement element, string name)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw Wrong(name);
        return Member(element, name) is not { } list ? default
            : list.ValueKind == JsonValueKind.Array ? list.EnumerateArray()
            : throw Wrong(name);
    }

    /// <summary>A field by its lowerCamelCase name, or by that of the .proto file, which protobuf's readers take as well.</summary>
    private static JsonElement? Member(JsonElement element, string name)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw Wrong(name);
        return (element.TryGetProperty(name, out var member) || element.TryGetProperty(JsonNamingPolicy.SnakeCaseLower.ConvertName(name), out member))
            && member.ValueKind != JsonValueKind.Null ? member : null;
    }

    private static OtlpFormatException Wrong(string name) => new($"the field {name} is of the wrong type");
}
