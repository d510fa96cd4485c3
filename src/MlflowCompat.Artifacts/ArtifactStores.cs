using MlflowCompat.Artifacts.S3;

namespace MlflowCompat.Artifacts;

/// <summary>What stores need to know besides their root.</summary>
public sealed record ArtifactStoreOptions
{
    /// <summary>How S3 is reached.</summary>
    public S3Options S3 { get; init; } = new();
}

/// <summary>Opens stores by the URI of their root: <c>file:</c> URIs and plain paths, <c>s3://bucket/prefix</c>.</summary>
/// <param name="options">What the kinds of stores need to know.</param>
public sealed class ArtifactStores(ArtifactStoreOptions options) : IDisposable
{
    /// <summary>What the kinds of stores need to know.</summary>
    public ArtifactStoreOptions Options { get; } = options;

    /// <summary>The store with this root; the same one each time, as it may hold connections.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotSupported"/>: no kind knows this scheme.</exception>
    public ArtifactStore Open(string root) => throw new NotImplementedException(root);

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
