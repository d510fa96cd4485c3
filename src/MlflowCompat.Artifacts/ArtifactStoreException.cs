namespace MlflowCompat.Artifacts;

/// <summary>Why an artifact store could not do what it was asked for.</summary>
public enum ArtifactFault
{
    /// <summary>The path is not one below the root. The message is exactly <c>Invalid path</c>, which clients look for.</summary>
    InvalidPath,

    /// <summary>There is no such file.</summary>
    NotFound,

    /// <summary>The path names a folder where a file is needed, or leads through a file.</summary>
    NotAFile,

    /// <summary>The store has no room left, or the quota is used up.</summary>
    Full,

    /// <summary>The store does not answer, or not in time; it may later.</summary>
    Unavailable,

    /// <summary>The store refuses this server: wrong credentials, no permission, no such bucket, a root that cannot be written.</summary>
    Refused,

    /// <summary>The store cannot do this at all (multipart uploads, presigned addresses).</summary>
    NotSupported,
}

/// <summary>A failure of an artifact store. The message is meant for clients: it names no folder of this machine and no credentials.</summary>
/// <param name="fault">What kind of failure it is.</param>
/// <param name="message">What went wrong, for the client.</param>
/// <param name="inner">What the store said, for the log.</param>
public sealed class ArtifactStoreException(ArtifactFault fault, string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>What kind of failure it is.</summary>
    public ArtifactFault Fault { get; } = fault;
}
