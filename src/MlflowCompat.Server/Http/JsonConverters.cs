using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace MlflowCompat.Server.Http;

/// <summary>int64 as protobuf's JSON form reads it: a number, also <c>5.0</c>, or the number as text.</summary>
internal sealed class Int64Converter : JsonConverter<long>
{
    public override long Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Number)
        {
            if (reader.TryGetInt64(out var integer))
                return integer;
            // A double would round what lies just beyond the bounds onto them.
            if (reader.TryGetDecimal(out var number) && number == decimal.Truncate(number) && number is >= long.MinValue and <= long.MaxValue)
                return (long)number;
        }
        else if (reader.TokenType == JsonTokenType.String
            && long.TryParse(
                reader.GetString(),
                NumberStyles.AllowLeadingSign | NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite,
                CultureInfo.InvariantCulture,
                out var parsed))
        {
            return parsed;
        }

        throw new JsonException("it must be a 64-bit integer");
    }

    public override void Write(Utf8JsonWriter writer, long value, JsonSerializerOptions options) => writer.WriteNumberValue(value);
}

/// <summary>int32, in the same forms as <see cref="Int64Converter"/>.</summary>
internal sealed class Int32Converter : JsonConverter<int>
{
    private static readonly Int64Converter Wide = new();

    public override int Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var value = Wide.Read(ref reader, typeToConvert, options);
        return value is >= int.MinValue and <= int.MaxValue ? (int)value : throw new JsonException("it must be a 32-bit integer");
    }

    public override void Write(Utf8JsonWriter writer, int value, JsonSerializerOptions options) => writer.WriteNumberValue(value);
}

/// <summary>
/// double: a number, or text that holds one, <c>NaN</c> or an infinity in any usual spelling. Written with a decimal part or an exponent,
/// so that readers in languages that tell 1 from 1.0 see a float (contract: semantics §2).
/// </summary>
internal sealed class DoubleConverter : JsonConverter<double>
{
    public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.Number)
        {
            // TryGetDouble refuses what overflows; protobuf reads it as an infinity.
            if (reader.TryGetDouble(out var number))
                return number;
            var digits = reader.HasValueSequence ? reader.ValueSequence.ToArray() : reader.ValueSpan;
            if (double.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out number))
                return number;
        }
        else if (reader.TokenType == JsonTokenType.String && TryParse(reader.GetString()!, out var parsed))
        {
            return parsed;
        }

        throw new JsonException("it must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    }

    public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options) => Write(writer, value);

    public static void Write(Utf8JsonWriter writer, double value)
    {
        if (double.IsNaN(value))
        {
            writer.WriteStringValue("NaN"u8);
            return;
        }

        // JSON has no infinities; MLflow stores and answers the largest numbers for them.
        value = Math.Clamp(value, double.MinValue, double.MaxValue);
        Span<byte> text = stackalloc byte[40];
        Utf8Formatter.TryFormat(value, text, out var length);
        var digits = text[..length];
        if (!digits.ContainsAny((byte)'.', (byte)'E'))
        {
            ".0"u8.CopyTo(text[length..]);
            digits = text[..(length + 2)];
        }

        writer.WriteRawValue(digits, skipInputValidation: true);
    }

    private static bool TryParse(string text, out double value)
    {
        switch (text.TrimStart(BareNumbers.Mark).Trim().ToUpperInvariant())
        {
            case "NAN":
                value = double.NaN;
                return true;
            case "INFINITY" or "INF" or "+INFINITY" or "+INF":
                value = double.PositiveInfinity;
                return true;
            case "-INFINITY" or "-INF":
                value = double.NegativeInfinity;
                return true;
            default:
                return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value) && !double.IsNaN(value);
        }
    }
}

/// <summary>A string, nothing else; U+0000 is refused because PostgreSQL cannot store it (contract: semantics §4.2).</summary>
internal class StringConverter : JsonConverter<string>
{
    public override string? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.String)
            throw new JsonException("it must be a string");
        return Checked(ref reader);
    }

    public override void Write(Utf8JsonWriter writer, string value, JsonSerializerOptions options) => writer.WriteStringValue(value);

    // As the key of a map. What the base class does works only where something else has loaded the serializer's reflection, as tests do.
    public override string ReadAsPropertyName(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => Checked(ref reader);

    public override void WriteAsPropertyName(Utf8JsonWriter writer, string value, JsonSerializerOptions options) => writer.WritePropertyName(value);

    protected static string Checked(ref Utf8JsonReader reader)
    {
        string text;
        try
        {
            text = reader.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new JsonException("it must be well-formed Unicode text");
        }

        return text.Contains('\0', StringComparison.Ordinal) ? throw new JsonException("it must not contain U+0000") : text;
    }
}

/// <summary>An experiment id: text, or an integer that old clients send (contract: semantics §1.2).</summary>
internal sealed class ExperimentIdConverter : StringConverter
{
    public override string? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType switch
    {
        JsonTokenType.String => Checked(ref reader),
        JsonTokenType.Number when reader.TryGetInt64(out var number) => number.ToString(CultureInfo.InvariantCulture),
        _ => throw new JsonException("it must be a string"),
    };
}

/// <summary>A list of experiment ids, each as <see cref="ExperimentIdConverter"/> reads it.</summary>
internal sealed class ExperimentIdListConverter : JsonConverter<List<string>>
{
    private static readonly ExperimentIdConverter Element = new();

    public override List<string>? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
            throw new JsonException("it must be a list");
        var ids = new List<string>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            ids.Add(Element.Read(ref reader, typeof(string), options)!);
        return ids;
    }

    public override void Write(Utf8JsonWriter writer, List<string> value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var id in value)
            writer.WriteStringValue(id);
        writer.WriteEndArray();
    }
}

/// <summary>
/// An enum by its upper-case name, number, or number as text. Members are named in C# words: <c>ActiveOnly</c> is ACTIVE_ONLY on the wire.
/// An unknown value is refused wherever it comes (contract: semantics §1.2, enum).
/// </summary>
internal sealed class ProtoEnumConverter<TEnum> : JsonConverter<TEnum>
    where TEnum : struct, Enum
{
    private static readonly (TEnum Value, string Name, int Number)[] Members =
    [
        .. Enum.GetValues<TEnum>().Select(value => (
            value,
            JsonNamingPolicy.SnakeCaseUpper.ConvertName(value.ToString()),
            Convert.ToInt32(value, CultureInfo.InvariantCulture))),
    ];

    public override TEnum Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        TryRead(ref reader) ?? throw new JsonException($"it must be one of {string.Join(", ", Members.Select(member => member.Name))}");

    public override void Write(Utf8JsonWriter writer, TEnum value, JsonSerializerOptions options) => writer.WriteStringValue(NameOf(value));

    /// <summary>The value, or null when the token names none; nested tokens are skipped.</summary>
    public static TEnum? TryRead(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            var text = reader.GetString();
            foreach (var member in Members)
            {
                if (member.Name == text)
                    return member.Value;
            }

            if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed) && Find(parsed) is { } named)
                return named;
        }
        else if (reader.TokenType == JsonTokenType.Number && reader.TryGetInt32(out var number) && Find(number) is { } numbered)
        {
            return numbered;
        }

        reader.Skip();
        return null;
    }

    public static string NameOf(TEnum value)
    {
        foreach (var member in Members)
        {
            if (EqualityComparer<TEnum>.Default.Equals(member.Value, value))
                return member.Name;
        }

        throw new ArgumentOutOfRangeException(nameof(value), value, null);
    }

    private static TEnum? Find(int number)
    {
        foreach (var member in Members)
        {
            if (member.Number == number)
                return member.Value;
        }

        return null;
    }
}
