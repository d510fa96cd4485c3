using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>
/// One spelling for each JSON value: that of Python's <c>json.dumps(value, sort_keys=True)</c>, which MLflow hashes, so that data that was
/// written by either is known again. Keys are sorted by code points and the last of equal ones counts; 1 and 1.0 differ, 1.0 and 1e0 do not.
/// </summary>
internal static class CanonicalJson
{
    /// <summary>SHA-256 of the spelling, in hex digits.</summary>
    /// <param name="value">The value; words like NaN are marked as <see cref="BareNumbers"/> does.</param>
    public static string Hash(JsonElement value)
    {
        var spelling = new ArrayBufferWriter<byte>();
        Write(spelling, value);
        return Convert.ToHexStringLower(SHA256.HashData(spelling.WrittenSpan));
    }

    /// <summary>A number as Python writes it: integers as they are, all others as the shortest text of the nearest double.</summary>
    /// <param name="number">A number of JSON.</param>
    public static string Number(ReadOnlySpan<byte> number)
    {
        if (!IsFloat(number))
            return number.SequenceEqual("-0"u8) ? "0" : Encoding.ASCII.GetString(number);
        var value = double.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture);
        if (double.IsInfinity(value))
            return value > 0 ? "Infinity" : "-Infinity";

        // 123.45, 1E+16 or 1.5E-07: the digits, and how many of them stand before the point.
        var text = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        var end = text.IndexOf('E', StringComparison.Ordinal);
        var mantissa = end < 0 ? text : text[..end];
        var point = mantissa.IndexOf('.', StringComparison.Ordinal);
        var before = (point < 0 ? mantissa.Length : point) + (end < 0 ? 0 : int.Parse(text.AsSpan(end + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture));
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        before -= digits.Length - digits.TrimStart('0').Length;
        digits = digits.Trim('0');
        var sign = double.IsNegative(value) ? "-" : "";
        if (digits.Length == 0)
            return sign + "0.0";
        if (before is > -4 and <= 16)
        {
            return sign + (before <= 0 ? $"0.{new string('0', -before)}{digits}"
                : before >= digits.Length ? $"{digits.PadRight(before, '0')}.0"
                : $"{digits[..before]}.{digits[before..]}");
        }

        return string.Create(
            CultureInfo.InvariantCulture,
            $"{sign}{digits[0]}{(digits.Length > 1 ? "." : "")}{digits[1..]}e{(before > 0 ? '+' : '-')}{Math.Abs(before - 1):00}");
    }

    /// <summary>Whether a number of JSON is a float to Python: it has a point or an exponent.</summary>
    public static bool IsFloat(ReadOnlySpan<byte> number) => number.ContainsAny((byte)'.', (byte)'e', (byte)'E');

    private static void Write(ArrayBufferWriter<byte> to, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                var members = new SortedDictionary<string, JsonElement>(CodePointOrder.Instance);
                foreach (var member in value.EnumerateObject())
                    members[member.Name] = member.Value;
                var nextMember = "{"u8;
                foreach (var (name, member) in members)
                {
                    to.Write(nextMember);
                    Write(to, name);
                    to.Write(": "u8);
                    Write(to, member);
                    nextMember = ", "u8;
                }

                to.Write(members.Count == 0 ? "{}"u8 : "}"u8);
                break;
            case JsonValueKind.Array:
                var nextElement = "["u8;
                foreach (var element in value.EnumerateArray())
                {
                    to.Write(nextElement);
                    Write(to, element);
                    nextElement = ", "u8;
                }

                to.Write(value.GetArrayLength() == 0 ? "[]"u8 : "]"u8);
                break;
            case JsonValueKind.String:
                Write(to, value.GetString()!);
                break;
            case JsonValueKind.Number:
                to.Write(Encoding.ASCII.GetBytes(Number(JsonMarshal.GetRawUtf8Value(value))));
                break;
            default:
                to.Write(JsonMarshal.GetRawUtf8Value(value));
                break;
        }
    }

    private static void Write(ArrayBufferWriter<byte> to, string text)
    {
        if (text.StartsWith(BareNumbers.Mark))
        {
            to.Write(Encoding.ASCII.GetBytes(text, 1, text.Length - 1));
            return;
        }

        var spelling = new StringBuilder(text.Length + 2).Append('"');
        foreach (var unit in text)
        {
            _ = unit switch
            {
                '"' => spelling.Append("\\\""),
                '\\' => spelling.Append("\\\\"),
                '\n' => spelling.Append("\\n"),
                '\r' => spelling.Append("\\r"),
                '\t' => spelling.Append("\\t"),
                '\f' => spelling.Append("\\f"),
                '\b' => spelling.Append("\\b"),
                >= ' ' and <= '~' => spelling.Append(unit),
                _ => spelling.Append(CultureInfo.InvariantCulture, $"\\u{(int)unit:x4}"),
            };
        }

        to.Write(Encoding.ASCII.GetBytes(spelling.Append('"').ToString()));
    }

    /// <summary>Text by code points, as Python and SQLite have it: surrogates stand for what lies behind all other units.</summary>
    private sealed class CodePointOrder : IComparer<string>
    {
        public static readonly CodePointOrder Instance = new();

        public int Compare(string? x, string? y)
        {
            var length = x.AsSpan().CommonPrefixLength(y);
            if (length == x!.Length || length == y!.Length)
                return x.Length - y!.Length;
            var (left, right) = (x[length], y[length]);
            return char.IsSurrogate(left) == char.IsSurrogate(right) ? left - right : char.IsSurrogate(left) ? 1 : -1;
        }
    }
}
