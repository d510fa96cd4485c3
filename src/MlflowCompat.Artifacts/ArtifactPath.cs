namespace MlflowCompat.Artifacts;

/// <summary>
/// The path of a file or folder below an artifact root: segments joined by <c>/</c>, none of which is empty, <c>.</c> or <c>..</c>. It
/// cannot be made from a text that would lead elsewhere, so whoever has one need not look at it again (contract: security §2).
/// </summary>
public sealed record ArtifactPath
{
    /// <summary>The root itself.</summary>
    public static readonly ArtifactPath Root = new("");

    private ArtifactPath(string value) => Value = value;

    /// <summary>The segments joined by <c>/</c>; empty for the root.</summary>
    public string Value { get; }

    /// <summary>Whether this is the root itself.</summary>
    public bool IsRoot => Value.Length == 0;

    /// <summary>The last segment; empty for the root.</summary>
    public string Name => Value[(Value.LastIndexOf('/') + 1)..];

    /// <summary>Reads a path as a client sent it.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public static ArtifactPath Parse(string text) => throw new NotImplementedException();

    /// <summary>The path of something below this one.</summary>
    public ArtifactPath Append(ArtifactPath below) =>
        IsRoot ? below : below.IsRoot ? this : new($"{Value}/{below.Value}");

    /// <inheritdoc/>
    public override string ToString() => Value;
}
