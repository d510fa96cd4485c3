using System.Buffers.Text;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// Halves of surrogate pairs in JSON, such as <c>"\ud83d"</c>: what is left where an exporter cuts a text in the middle of a character. They
/// are valid JSON and no text; readers fail on them, and no database takes them. In what traces are made of they become U+FFFD, as bytes that
/// are no UTF-8 do in protobuf, instead of taking a whole export along.
/// </summary>
internal static class LoneSurrogates
{
    private const int EscapeLength = 6;

    /// <summary>Replaces them; the JSON stays as long as it is.</summary>
    public static void Replace(Span<byte> json)
    {
        while (json.IndexOf((byte)'\\') is >= 0 and var next)
        {
            json = json[next..];
            var unit = Unit(json);
            if (unit < 0)
            {
                // The second byte may be another backslash, which escapes nothing.
                json = json[Math.Min(2, json.Length)..];
                continue;
            }

            var isPair = char.IsHighSurrogate((char)unit) && Unit(json[EscapeLength..]) is >= 0 and var second && char.IsLowSurrogate((char)second);
            if (!isPair && char.IsSurrogate((char)unit))
                "\\uFFFD"u8.CopyTo(json);
            json = json[(isPair ? 2 * EscapeLength : EscapeLength)..];
        }
    }

    /// <summary>The UTF-16 unit that an escape stands for, or -1 when there is none at this place.</summary>
    private static int Unit(ReadOnlySpan<byte> json) =>
        json.Length >= EscapeLength && json.StartsWith("\\u"u8)
        && Utf8Parser.TryParse(json[2..EscapeLength], out ushort unit, out var digits, 'x') && digits == EscapeLength - 2 ? unit : -1;
}
