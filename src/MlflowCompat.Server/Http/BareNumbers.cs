using System.Buffers;

namespace MlflowCompat.Server.Http;

/// <summary>
/// <c>NaN</c>, <c>Infinity</c> and <c>-Infinity</c> as Python's json module writes them: bare, which is no JSON. Scripts without an MLflow
/// client send them, and what they mean is plain (contract: semantics §1.2, double).
/// </summary>
internal static class BareNumbers
{
    /// <summary>Stands before a word in its quotes. No text may contain it, so that the word is read as a number or not at all.</summary>
    public const char Mark = '\0';

    /// <summary>The text with such words marked and in quotes; null when there are none.</summary>
    public static byte[]? Quote(ReadOnlySpan<byte> json)
    {
        ArrayBufferWriter<byte>? quoted = null;
        var copied = 0;
        for (var i = 0; i < json.Length; i++)
        {
            if (json[i] == '"')
            {
                // To the end of the string; an escaped character never ends it.
                for (i++; i < json.Length && json[i] != '"'; i++)
                {
                    if (json[i] == '\\')
                        i++;
                }

                continue;
            }

            var rest = json[i..];
            var length = rest.StartsWith("NaN"u8) ? 3 : rest.StartsWith("Infinity"u8) ? 8 : rest.StartsWith("-Infinity"u8) ? 9 : 0;
            if (length == 0)
                continue;
            quoted ??= new ArrayBufferWriter<byte>(json.Length + 16);
            quoted.Write(json[copied..i]);
            quoted.Write("\"\\u0000"u8);
            quoted.Write(rest[..length]);
            quoted.Write("\""u8);
            copied = i + length;
            i = copied - 1;
        }

        quoted?.Write(json[copied..]);
        return quoted?.WrittenSpan.ToArray();
    }

    /// <summary>The text with marked words bare again; null when there are none.</summary>
    public static byte[]? Unquote(ReadOnlySpan<byte> json)
    {
        var opening = "\"\\u0000"u8;
        var next = json.IndexOf(opening);
        if (next < 0)
            return null;
        var bare = new ArrayBufferWriter<byte>(json.Length);
        for (; next >= 0; next = json.IndexOf(opening))
        {
            bare.Write(json[..next]);
            json = json[(next + opening.Length)..];
            var end = json.IndexOf((byte)'"');
            bare.Write(json[..end]);
            json = json[(end + 1)..];
        }

        bare.Write(json);
        return bare.WrittenSpan.ToArray();
    }
}
