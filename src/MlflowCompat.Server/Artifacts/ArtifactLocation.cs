using MlflowCompat.Artifacts;

namespace MlflowCompat.Server.Artifacts;

/// <summary>A file or folder in one of the stores that this server reads and writes.</summary>
/// <param name="Store">The store.</param>
/// <param name="Path">The path below its root.</param>
public sealed record ArtifactLocation(ArtifactStore Store, ArtifactPath Path)
{
    /// <summary>Where it is, as <c>artifacts.storage_path</c> has it.</summary>
    public string StoragePath => Store.LocationOf(Path);

    /// <summary>Something below it.</summary>
    public ArtifactLocation Append(ArtifactPath below) => this with { Path = Path.Append(below) };
}
