using System.Collections.Concurrent;
using MlflowCompat.Artifacts.Local;
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
    private readonly ConcurrentDictionary<string, ArtifactStore> stores = new(StringComparer.Ordinal);
    private readonly Lazy<S3Connection> s3 = new(() => new S3Connection(options.S3));

    /// <summary>What the kinds of stores need to know.</summary>
    public ArtifactStoreOptions Options { get; } = options;

    /// <summary>The store with this root; the same one each time, as it may hold connections.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotSupported"/>: no kind knows this scheme.</exception>
    public ArtifactStore Open(string root) => stores.GetOrAdd(root, Make);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (s3.IsValueCreated)
            s3.Value.Dispose();
    }

    private ArtifactStore Make(string root) =>
        S3ArtifactStore.IsRoot(root) ? new S3ArtifactStore(s3.Value, root)
        : LocalArtifactStore.FolderOf(root) is { } folder ? new LocalArtifactStore(folder)
        : throw new ArtifactStoreException(ArtifactFault.NotSupported, "Artifacts cannot be kept at a URI of this kind");
}
