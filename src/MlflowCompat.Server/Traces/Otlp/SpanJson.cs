using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// The JSON of a span as MLflow keeps it, in files and here in <c>spans.content</c>: attributes are an object whose values are JSON texts,
/// written as Python's json module writes them, since clients get to see those (contract: endpoints §12.2, §14).
/// </summary>
internal static class SpanJson
{
    /// <summary>What a JSON text has to escape; everything else stands as it is, so that it is found by who looks for it.</summary>
    private static readonly SearchValues<byte> Escaped = SearchValues.Create(
        [.. Enumerable.Range(0, 0x20).Select(code => (byte)code), (byte)'"', (byte)'\\']);

    /// <summary>Writes a span.</summary>
    /// <param name="span">The span.</param>
    /// <param name="attributes">Its attributes, with those that were derived from them.</param>
    /// <exception cref="SpanTooLargeException">It is more than is stored.</exception>
    public static byte[] Write(OtlpSpan span, IEnumerable<KeyValuePair<string, object?>> attributes)
    {
        var content = new SpanBuffer(1024);
        var scratch = new SpanBuffer(256);
        content.Write("{\"trace_id\":\""u8);
        WriteBase64(content, span.TraceId);
        content.Write("\",\"span_id\":\""u8);
        WriteBase64(content, span.SpanId);
        content.Write("\",\"parent_span_id\":"u8);
        if (span.ParentSpanId.Length == 0)
        {
            content.Write("null"u8);
        }
        else
        {
            content.Write("\""u8);
            WriteBase64(content, span.ParentSpanId);
            content.Write("\""u8);
        }

        content.Write(",\"name\":"u8);
        WriteText(content, span.Name);
        content.Write(",\"start_time_unix_nano\":"u8);
        WriteNumber(content, span.Start);
        content.Write(",\"end_time_unix_nano\":"u8);
        if (span.End == 0)
            content.Write("null"u8);
        else
            WriteNumber(content, span.End);
        content.Write(",\"events\":["u8);
        for (var i = 0; i < span.Events.Count; i++)
        {
            var happened = span.Events[i];
            content.Write(i == 0 ? "{\"name\":"u8 : ",{\"name\":"u8);
            WriteText(content, happened.Name);
            content.Write(",\"time_unix_nano\":"u8);
            WriteNumber(content, happened.Time);
            content.Write(",\"attributes\":"u8);
            WriteValue(content, happened.Attributes, inText: false);
            content.Write("}"u8);
        }

        content.Write("],\"status\":{\"code\":\""u8);
        content.Write(span.StatusCode switch { 1 => "STATUS_CODE_OK"u8, 2 => "STATUS_CODE_ERROR"u8, _ => "STATUS_CODE_UNSET"u8 });
        content.Write("\",\"message\":"u8);
        WriteText(content, span.StatusMessage);
        content.Write("},\"attributes\":{"u8);
        var first = true;
        foreach (var (key, value) in attributes)
        {
            if (!first)
                content.Write(","u8);
            first = false;
            WriteText(content, key);
            content.Write(":"u8);
            scratch.Reset();
            WriteValue(scratch, value, inText: true);
            WriteText(content, scratch.WrittenSpan);
        }

        content.Write("}}"u8);
        return content.WrittenSpan.ToArray();
    }

    /// <summary>The JSON text of an attribute's value.</summary>
    /// <param name="value">The value.</param>
    /// <param name="inText">Whether NaN and infinities are bare words, as in Python; else they are strings, and the text is JSON.</param>
    /// <exception cref="SpanTooLargeException">It is more than is stored.</exception>
    public static string ValueText(object? value, bool inText = true)
    {
        var text = new SpanBuffer(256);
        WriteValue(text, value, inText);
        return Encoding.UTF8.GetString(text.WrittenSpan);
    }

    /// <summary>How the content of a span begins a member of this name: text that is nowhere in it names no attribute of the span.</summary>
    public static string MemberName(string name) => ValueText(name) + ":";

    /// <summary>Writes a stored span as the REST API gives it back: the protocol's message, field names as in its .proto file.</summary>
    /// <param name="content">What <see cref="Write"/> or a client wrote: an object of well-formed text, see <see cref="LoneSurrogates"/>.</param>
    /// <param name="writer">Where to.</param>
    /// <exception cref="JsonException">A client wrote something else.</exception>
    public static void WriteMessage(ReadOnlySpan<byte> content, Utf8JsonWriter writer)
    {
        var reader = new Utf8JsonReader(content);
        reader.Read();
        writer.WriteStartObject();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString();
            reader.Read();
            switch (name)
            {
                case "trace_id" or "span_id" or "parent_span_id" or "name" when reader.TokenType == JsonTokenType.String:
                    writer.WriteString(name, reader.GetString());
                    break;
                case "start_time_unix_nano" or "end_time_unix_nano" when reader.TokenType == JsonTokenType.Number:
                    writer.WritePropertyName(name);
                    writer.WriteRawValue(reader.ValueSpan, skipInputValidation: true);
                    break;
                case "status" when reader.TokenType == JsonTokenType.StartObject:
                    WriteStatus(ref reader, writer);
                    break;
                case "attributes" when reader.TokenType == JsonTokenType.StartObject:
                    WriteAttributes(ref reader, writer, inTexts: true);
                    break;
                case "events" when reader.TokenType == JsonTokenType.StartArray:
                    WriteEvents(ref reader, writer);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        writer.WriteEndObject();
    }

    private static void WriteStatus(ref Utf8JsonReader reader, Utf8JsonWriter writer)
    {
        writer.WriteStartObject("status"u8);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString();
            reader.Read();
            if (reader.TokenType == JsonTokenType.String && reader.GetString() is { Length: > 0 } text
                && (name == "message" || (name == "code" && text != "STATUS_CODE_UNSET")))
            {
                writer.WriteString(name, text);
            }
            else
            {
                reader.Skip();
            }
        }

        writer.WriteEndObject();
    }

    private static void WriteEvents(ref Utf8JsonReader reader, Utf8JsonWriter writer)
    {
        var any = false;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                reader.Skip();
                continue;
            }

            if (!any)
                writer.WriteStartArray("events"u8);
            any = true;
            writer.WriteStartObject();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString();
                reader.Read();
                if (name == "name" && reader.TokenType == JsonTokenType.String)
                {
                    writer.WriteString(name, reader.GetString());
                }
                else if (name == "time_unix_nano" && reader.TokenType == JsonTokenType.Number)
                {
                    writer.WritePropertyName(name);
                    writer.WriteRawValue(reader.ValueSpan, skipInputValidation: true);
                }
                else if (name == "attributes" && reader.TokenType == JsonTokenType.StartObject)
                {
                    WriteAttributes(ref reader, writer, inTexts: false);
                }
                else
                {
                    reader.Skip();
                }
            }

            writer.WriteEndObject();
        }

        if (any)
            writer.WriteEndArray();
    }

    /// <param name="reader">At the start of the object.</param>
    /// <param name="writer">Where to.</param>
    /// <param name="inTexts">Whether values are JSON texts, or JSON themselves.</param>
    private static void WriteAttributes(ref Utf8JsonReader reader, Utf8JsonWriter writer, bool inTexts)
    {
        var any = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (!any)
                writer.WriteStartArray("attributes"u8);
            any = true;
            writer.WriteStartObject();
            writer.WriteString("key"u8, reader.GetString());
            reader.Read();
            if (inTexts && reader.TokenType == JsonTokenType.String)
            {
                WriteValueOfText(ref reader, writer);
            }
            else if (reader.TokenType != JsonTokenType.Null)
            {
                writer.WritePropertyName("value"u8);
                WriteAny(ref reader, writer);
            }

            writer.WriteEndObject();
        }

        if (any)
            writer.WriteEndArray();
    }

    private static void WriteValueOfText(ref Utf8JsonReader reader, Utf8JsonWriter writer)
    {
        var rented = ArrayPool<byte>.Shared.Rent(reader.ValueSpan.Length);
        try
        {
            var json = rented.AsSpan(0, reader.CopyString(rented));
            LoneSurrogates.Replace(json);
            if (json.SequenceEqual("null"u8))
                return;
            writer.WritePropertyName("value"u8);
            if (IsJson(json))
            {
                Write(json, writer);
            }
            else if (BareNumbers.Quote(json) is { } quoted && IsJson(quoted))
            {
                Write(quoted, writer);
            }
            else
            {
                writer.WriteStartObject();
                writer.WriteString("string_value"u8, json);
                writer.WriteEndObject();
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }

        static void Write(ReadOnlySpan<byte> json, Utf8JsonWriter writer)
        {
            var value = new Utf8JsonReader(json);
            value.Read();
            WriteAny(ref value, writer);
        }
    }

    private static bool IsJson(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            reader.Read();
            reader.Skip();
            return !reader.Read();
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>Writes JSON as the protocol's AnyValue.</summary>
    private static void WriteAny(ref Utf8JsonReader reader, Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        switch (reader.TokenType)
        {
            case JsonTokenType.String when reader.ValueSpan.StartsWith("\\u0000"u8):
                writer.WriteString("double_value"u8, reader.GetString()![1..]);
                break;
            case JsonTokenType.String:
                writer.WriteString("string_value"u8, reader.GetString());
                break;
            case JsonTokenType.Number:
                writer.WritePropertyName(reader.TryGetInt64(out _) && !reader.ValueSpan.ContainsAny(".eE"u8) ? "int_value"u8 : "double_value"u8);
                writer.WriteRawValue(reader.ValueSpan, skipInputValidation: true);
                break;
            case JsonTokenType.True or JsonTokenType.False:
                writer.WriteBoolean("bool_value"u8, reader.GetBoolean());
                break;
            case JsonTokenType.StartArray:
                writer.WriteStartObject("array_value"u8);
                writer.WriteStartArray("values"u8);
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                    WriteAny(ref reader, writer);
                writer.WriteEndArray();
                writer.WriteEndObject();
                break;
            case JsonTokenType.StartObject:
                writer.WriteStartObject("kvlist_value"u8);
                writer.WriteStartArray("values"u8);
                while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
                {
                    writer.WriteStartObject();
                    writer.WriteString("key"u8, reader.GetString());
                    reader.Read();
                    writer.WritePropertyName("value"u8);
                    WriteAny(ref reader, writer);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
                writer.WriteEndObject();
                break;
        }

        writer.WriteEndObject();
    }

    /// <summary>Writes a value as Python's json module does: a blank after comma and colon, floats always with point or exponent.</summary>
    /// <param name="text">Where to.</param>
    /// <param name="value">The value.</param>
    /// <param name="inText">
    /// Whether it becomes a JSON text, where NaN and infinities are bare words, as in Python. Bare in the JSON of the span itself they would
    /// make that invalid as a whole, so there they are strings.
    /// </param>
    private static void WriteValue(SpanBuffer text, object? value, bool inText)
    {
        switch (value)
        {
            case null:
                text.Write("null"u8);
                break;
            case string characters:
                WriteText(text, characters);
                break;
            case bool flag:
                text.Write(flag ? "true"u8 : "false"u8);
                break;
            case long number:
                Utf8Formatter.TryFormat(number, text.GetSpan(20), out var length);
                text.Advance(length);
                break;
            case double number when !inText && !double.IsFinite(number):
                WriteText(text, PythonFloat(number));
                break;
            case double number:
                text.Write(Encoding.ASCII.GetBytes(PythonFloat(number)));
                break;
            case byte[] bytes:
                text.Write("\""u8);
                WriteBase64(text, bytes);
                text.Write("\""u8);
                break;
            case List<object?> list:
                text.Write("["u8);
                for (var i = 0; i < list.Count; i++)
                {
                    if (i > 0)
                        text.Write(", "u8);
                    WriteValue(text, list[i], inText);
                }

                text.Write("]"u8);
                break;
            case List<KeyValuePair<string, object?>> members:
                text.Write("{"u8);
                var written = 0;
                foreach (var (key, member) in Last(members))
                {
                    if (written++ > 0)
                        text.Write(", "u8);
                    WriteText(text, key);
                    text.Write(": "u8);
                    WriteValue(text, member, inText);
                }

                text.Write("}"u8);
                break;
            default:
                throw new InvalidOperationException($"No attribute has values of {value.GetType()}.");
        }
    }

    /// <summary>Of members with the same name the last one counts, in the place of the first.</summary>
    private static IEnumerable<KeyValuePair<string, object?>> Last(List<KeyValuePair<string, object?>> members)
    {
        if (members.Count < 2)
            return members;
        var last = new OrderedDictionary<string, object?>(members.Count, StringComparer.Ordinal);
        foreach (var (key, value) in members)
            last[key] = value;
        return last;
    }

    /// <summary>A float as Python's repr shows it.</summary>
    private static string PythonFloat(double value)
    {
        if (double.IsNaN(value))
            return "NaN";
        if (double.IsInfinity(value))
            return value > 0 ? "Infinity" : "-Infinity";
        if (Math.Abs(value) < 1e16 && Math.Floor(value) == value)
            return value.ToString("F1", CultureInfo.InvariantCulture);
        return value.ToString("R", CultureInfo.InvariantCulture).Replace('E', 'e');
    }

    private static void WriteNumber(SpanBuffer text, ulong number)
    {
        Utf8Formatter.TryFormat(number, text.GetSpan(20), out var length);
        text.Advance(length);
    }

    private static void WriteBase64(SpanBuffer text, byte[] bytes)
    {
        Base64.EncodeToUtf8(bytes, text.GetSpan(Base64.GetMaxEncodedToUtf8Length(bytes.Length)), out _, out var length);
        text.Advance(length);
    }

    private static void WriteText(SpanBuffer text, string characters)
    {
        var rented = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetByteCount(characters));
        try
        {
            WriteText(text, rented.AsSpan(0, Encoding.UTF8.GetBytes(characters, rented)));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private static void WriteText(SpanBuffer text, ReadOnlySpan<byte> characters)
    {
        text.Write("\""u8);
        while (characters.IndexOfAny(Escaped) is >= 0 and var next)
        {
            text.Write(characters[..next]);
            var code = characters[next];
            characters = characters[(next + 1)..];
            var escape = code switch
            {
                (byte)'"' => "\\\""u8,
                (byte)'\\' => "\\\\"u8,
                (byte)'\n' => "\\n"u8,
                (byte)'\r' => "\\r"u8,
                (byte)'\t' => "\\t"u8,
                (byte)'\b' => "\\b"u8,
                (byte)'\f' => "\\f"u8,
                _ => default,
            };
            if (escape.IsEmpty)
            {
                text.Write("\\u00"u8);
                Utf8Formatter.TryFormat(code, text.GetSpan(2), out var length, new StandardFormat('x', 2));
                text.Advance(length);
            }
            else
            {
                text.Write(escape);
            }
        }

        text.Write(characters);
        text.Write("\""u8);
    }
}
