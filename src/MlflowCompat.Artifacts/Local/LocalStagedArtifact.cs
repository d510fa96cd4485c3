namespace MlflowCompat.Artifacts.Local;

/// <summary>A file in the staging folder.</summary>
internal sealed class LocalStagedArtifact(LocalArtifactStore store, ArtifactPath path, string uploadId, long size, string sha256)
    : StagedArtifact
{
    private bool isPublished;

    /// <inheritdoc/>
    public override string UploadId => uploadId;

    /// <inheritdoc/>
    public override long Size => size;

    /// <inheritdoc/>
    public override string Sha256 => sha256;

    /// <inheritdoc/>
    public override async Task<ArtifactEntry> PublishAsync()
    {
        // Whoever recovers uploads may have published this one, and somebody else replaced or removed it since.
        var entry = store.Publish(path, uploadId)
            ?? await store.FindAsync(path, CancellationToken.None).ConfigureAwait(false)
            ?? throw Errno.ToFault(Errno.NoEntry);
        isPublished = true;
        return entry;
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        if (!isPublished)
            store.RemoveStaged(uploadId);
        return ValueTask.CompletedTask;
    }
}
