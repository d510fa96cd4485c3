namespace MlflowCompat.Artifacts.Local;

/// <summary>A file in the staging folder.</summary>
/// <param name="store">Where it is.</param>
/// <param name="path">Where it is going to be.</param>
/// <param name="uploadId">Its name in the staging folder.</param>
/// <param name="size">Bytes.</param>
/// <param name="sha256">As 64 hexadecimal digits.</param>
/// <param name="partsId">The upload in parts that it was made of, if it was, which ends when the file is published.</param>
internal sealed class LocalStagedArtifact(
    LocalArtifactStore store, ArtifactPath path, string uploadId, long size, string sha256, string? partsId) : StagedArtifact
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
        if (partsId is not null)
            store.RemoveStaged(partsId);
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
