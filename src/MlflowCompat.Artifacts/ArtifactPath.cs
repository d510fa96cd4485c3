using System.Buffers;
using System.Text;

namespace MlflowCompat.Artifacts;

/// <summary>
/// The path of a file or folder below an artifact root: segments joined by <c>/</c>, none of which is empty, <c>.</c> or <c>..</c>. It
/// cannot be made from a text that would lead elsewhere, so whoever has one need not look at it again (contract: security §2).
/// </summary>
public sealed record ArtifactPath
{
    /// <summary>Bytes of a segment in UTF-8: what file systems allow for a name.</summary>
    public const int MaxSegmentBytes = 255;

    /// <summary>Bytes of a path in UTF-8, as a client may send it: what S3 allows for a key.</summary>
    public const int MaxBytes = 1024;

    /// <summary>The root itself.</summary>
    public static readonly ArtifactPath Root = new("");

    private const int MaxDecodings = 10;

    private static readonly SearchValues<char> ControlCharacters =
        SearchValues.Create([.. Enumerable.Range(0, 32).Append(127).Select(code => (char)code)]);

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private ArtifactPath(string value) => Value = value;

    /// <summary>The segments joined by <c>/</c>; empty for the root.</summary>
    public string Value { get; }

    /// <summary>Whether this is the root itself.</summary>
    public bool IsRoot => Value.Length == 0;

    /// <summary>The last segment; empty for the root.</summary>
    public string Name => Value[(Value.LastIndexOf('/') + 1)..];

    /// <summary>The folder that this is in; the root for the root.</summary>
    public ArtifactPath Parent => Value.LastIndexOf('/') is var slash and > 0 ? new(Value[..slash]) : Root;

    /// <summary>
    /// Reads a path as a client sent it, after it was decoded once, as an address is; it may be percent-encoded up to 10 times more. Several
    /// slashes are one; an empty text is the root.
    /// </summary>
    /// <exception cref="ArtifactStoreException">
    /// <see cref="ArtifactFault.InvalidPath"/>: absolute (also for Windows), a URI, with a segment <c>.</c> or <c>..</c>, with <c>\</c>,
    /// <c>#</c> or a control character, with a slash at its end, not valid Unicode, or longer than <see cref="MaxBytes"/> or
    /// <see cref="MaxSegmentBytes"/>.
    /// </exception>
    public static ArtifactPath Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var decoded = Decode(text) ?? throw Invalid();
        if (decoded.Length == 0)
            return Root;
        if (decoded[0] == '/' || decoded[^1] == '/' || decoded.StartsWith("file:", StringComparison.OrdinalIgnoreCase))
            throw Invalid();

        var segments = decoded.Split('/', StringSplitOptions.RemoveEmptyEntries);
        // "http://h/x" and "C:/x"; a colon elsewhere is one like any other.
        if (segments[0][^1] == ':' || !Array.TrueForAll(segments, IsName))
            throw Invalid();
        var value = string.Join('/', segments);
        return Encoding.UTF8.GetByteCount(value) <= MaxBytes ? new(value) : throw Invalid();
    }

    /// <summary>The path of something below this one.</summary>
    public ArtifactPath Append(ArtifactPath below) =>
        IsRoot ? below : below.IsRoot ? this : new($"{Value}/{below.Value}");

    /// <inheritdoc/>
    public override string ToString() => Value;

    /// <summary>The failure that says that a path is not one.</summary>
    public static ArtifactStoreException Invalid() => new(ArtifactFault.InvalidPath, "Invalid path");

    /// <summary>
    /// The path of what a store holds in this folder under a name, or null if no client could ask for it: the name decodes to another, or
    /// is none that <see cref="Parse"/> takes. Somebody else has put it there then, past this server.
    /// </summary>
    internal ArtifactPath? Below(string name)
    {
        if (!IsName(name) || Decode(name) != name)
            return null;
        if (!IsRoot)
            return new($"{Value}/{name}");
        return name[^1] == ':' || name.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? null : new(name);
    }

    /// <summary>
    /// Decodes until nothing changes any more, as the reference does; null if that takes too long. Control characters stay encoded: clients
    /// send names like <c>loss%step%1%timestamp%1700000000000</c>, in which a percent sign is just one.
    /// </summary>
    private static string? Decode(string text)
    {
        for (var round = 0; round < MaxDecodings; round++)
        {
            // Leaves alone what is no UTF-8, so an overlong "." or "/" never becomes one.
            var decoded = Uri.UnescapeDataString(text);
            if (decoded.Length < text.Length && decoded.AsSpan().ContainsAny(ControlCharacters) && !text.AsSpan().ContainsAny(ControlCharacters))
                decoded = string.Concat(decoded.Select(character => ControlCharacters.Contains(character) ? $"%{(int)character:X2}" : character.ToString()));
            if (decoded == text)
                return text;
            text = decoded;
        }

        return null;
    }

    private static bool IsName(string segment)
    {
        if (segment is "" or "." or "..")
            return false;
        foreach (var character in segment)
        {
            if (character is '/' or '\\' or '#' or < ' ' or '\x7f')
                return false;
        }

        try
        {
            return StrictUtf8.GetByteCount(segment) <= MaxSegmentBytes;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }
}
