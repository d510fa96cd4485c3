namespace MlflowCompat.Artifacts;

/// <summary>
/// Keeps the files below one root. Its kinds differ in where that is, a folder or a bucket with a prefix; a kind of its own is a subclass
/// and a line in <see cref="ArtifactStores"/>. All members may be called from several threads at once.
/// </summary>
/// <remarks>
/// Nothing that is being written is ever seen: an upload is first staged, then published in one step, replacing what was there. Between
/// the two its caller records it, with <see cref="StagedArtifact.UploadId"/>; if the process dies there,
/// <see cref="RecoverAsync"/> finishes or forgets the upload, so that record and store agree again.
/// </remarks>
public abstract class ArtifactStore
{
    /// <summary>The kind, as <c>artifacts.storage_type</c> has it: <c>local</c>, <c>s3</c>.</summary>
    public abstract string StorageType { get; }

    /// <summary>Where a path is kept, as <c>artifacts.storage_path</c> has it: a URI, for example <c>s3://bucket/prefix/path</c>.</summary>
    public abstract string LocationOf(ArtifactPath path);

    /// <summary>What is at a path, or null.</summary>
    public abstract Task<ArtifactEntry?> FindAsync(ArtifactPath path, CancellationToken cancellationToken);

    /// <summary>The files and folders directly in a folder, by path (code points); none if it is a file or does not exist.</summary>
    public abstract Task<IReadOnlyList<ArtifactEntry>> ListAsync(ArtifactPath folder, CancellationToken cancellationToken);

    /// <summary>All files below a folder, in no certain order, for checking the whole store.</summary>
    public abstract IAsyncEnumerable<ArtifactEntry> ListFilesAsync(ArtifactPath folder, CancellationToken cancellationToken);

    /// <summary>Opens a file for reading; what it says stays true of what it reads, also when the file is replaced meanwhile.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotFound"/>, <see cref="ArtifactFault.NotAFile"/>.</exception>
    public abstract Task<ArtifactContent> OpenAsync(ArtifactPath path, CancellationToken cancellationToken);

    /// <summary>
    /// Takes in the content of a file without showing it yet; on return it is as safe as the store can make it before publishing.
    /// </summary>
    /// <param name="path">Where it is going to be.</param>
    /// <param name="content">Read to its end, in bounded memory.</param>
    /// <param name="length">Bytes to come, if known; fewer are an error of the caller's connection, never a file.</param>
    /// <param name="cancellationToken">Ends the upload; nothing is left of it.</param>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotAFile"/> where a folder is; <see cref="ArtifactFault.Full"/>.</exception>
    public abstract Task<StagedArtifact> StageAsync(ArtifactPath path, Stream content, long? length, CancellationToken cancellationToken);

    /// <summary>
    /// Finishes what a process that died left between staging and publishing: publishes if that is still possible, else forgets it. Safe
    /// to call for an upload that is just being published by somebody else, and again and again.
    /// </summary>
    /// <param name="path">Where the upload was to go.</param>
    /// <param name="uploadId">What <see cref="StagedArtifact.UploadId"/> said.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <returns>What is at the path afterwards, or null.</returns>
    public abstract Task<ArtifactEntry?> RecoverAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken);

    /// <summary>
    /// Makes all that has been published so far survive a loss of power. Whoever records uploads calls it before the upload ids are
    /// forgotten: until then <see cref="RecoverAsync"/> can publish again what was undone.
    /// </summary>
    public virtual Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Removes a file, or a folder with all that it holds, and folders above it that are left empty; does nothing if there is none.</summary>
    public abstract Task DeleteAsync(ArtifactPath path, CancellationToken cancellationToken);

    /// <summary>Removes what broken uploads left that nobody has recorded and that is older than <paramref name="age"/>.</summary>
    public abstract Task SweepAsync(TimeSpan age, CancellationToken cancellationToken);

    /// <summary>Uploads in parts that clients send themselves, or null where the store has none.</summary>
    public virtual MultipartUploads? Multipart => null;

    /// <summary>Addresses under which clients reach files without this server, or null where the store has none.</summary>
    public virtual PresignedAddresses? Presigned => null;
}

/// <summary>A file or folder in a store.</summary>
/// <param name="Path">Where it is, from the root of the store.</param>
/// <param name="IsFolder">Whether it is a folder.</param>
/// <param name="Size">Bytes; 0 for a folder.</param>
/// <param name="LastModified">When the content was last replaced; the epoch for folders.</param>
/// <param name="ETag">A text without quotes that changes with the content; empty for folders.</param>
public sealed record ArtifactEntry(ArtifactPath Path, bool IsFolder, long Size, DateTimeOffset LastModified, string ETag);

/// <summary>A file that is open for reading.</summary>
/// <param name="entry">What it is.</param>
public abstract class ArtifactContent(ArtifactEntry entry) : IAsyncDisposable
{
    /// <summary>What the file is; it describes the content that is open here.</summary>
    public ArtifactEntry Entry { get; } = entry;

    /// <summary>Copies a part of the file, in bounded memory.</summary>
    /// <param name="destination">Where the bytes go.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes; offset + length is at most the size.</param>
    /// <param name="cancellationToken">Ends the copy.</param>
    /// <exception cref="IOException">The file has become shorter, or was replaced where the store cannot keep the old content.</exception>
    public abstract Task CopyToAsync(Stream destination, long offset, long length, CancellationToken cancellationToken);

    /// <inheritdoc/>
    public abstract ValueTask DisposeAsync();
}

/// <summary>An upload that is complete and flushed, but not to be seen yet. Disposing it without publishing removes it.</summary>
public abstract class StagedArtifact : IAsyncDisposable
{
    /// <summary>Names the upload for <see cref="ArtifactStore.RecoverAsync"/>.</summary>
    public abstract string UploadId { get; }

    /// <summary>Bytes of the content.</summary>
    public abstract long Size { get; }

    /// <summary>SHA-256 of the content, as 64 lower-case hexadecimal digits; empty if the content did not come through this server.</summary>
    public abstract string Sha256 { get; }

    /// <summary>
    /// Puts the file in its place in one step, replacing what was there. Not to be cancelled. A loss of power may undo it until
    /// <see cref="ArtifactStore.FlushAsync"/>, then <see cref="ArtifactStore.RecoverAsync"/> repeats it.
    /// </summary>
    /// <exception cref="ArtifactStoreException">It could not be; what was there before still is.</exception>
    public abstract Task<ArtifactEntry> PublishAsync();

    /// <inheritdoc/>
    public abstract ValueTask DisposeAsync();
}

/// <summary>Uploads whose parts clients send to addresses that the store gives out (contract: endpoints §5, mpu).</summary>
public abstract class MultipartUploads
{
    /// <summary>The number of the last part that an upload can have.</summary>
    public const int MaxParts = 10_000;

    /// <summary>
    /// Whether clients send the parts to this server, which hands them to <see cref="PutPartAsync"/>, instead of to the store. The
    /// addresses are then relative ones, <c>path?upload_id=…&amp;part_number=…</c>, for the server to put its route in front.
    /// </summary>
    public virtual bool PartsComeThroughServer => false;

    /// <summary>The failure that says that an upload is not there, or not all of it.</summary>
    internal static ArtifactStoreException NoSuchUpload(Exception? inner = null) => new(ArtifactFault.NotFound, "No such upload, or it lacks a part", inner);

    /// <summary>Begins an upload.</summary>
    /// <param name="path">Where the file is going to be.</param>
    /// <param name="parts">How many parts there will be, 1 to <see cref="MaxParts"/>.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public abstract Task<MultipartUpload> CreateAsync(ArtifactPath path, int parts, CancellationToken cancellationToken);

    /// <summary>Takes a part in, replacing one with the same number.</summary>
    /// <param name="path">Where the file is going to be.</param>
    /// <param name="uploadId">What <see cref="MultipartUpload.UploadId"/> said.</param>
    /// <param name="partNumber">Counted from 1.</param>
    /// <param name="content">Read to its end, in bounded memory.</param>
    /// <param name="length">Bytes to come, if known.</param>
    /// <param name="cancellationToken">Ends the call; nothing is left of the part.</param>
    /// <returns>The ETag of the part, without quotes.</returns>
    /// <exception cref="ArtifactStoreException">
    /// <see cref="ArtifactFault.NotFound"/>: no such upload, or no number of a part; <see cref="ArtifactFault.NotSupported"/>, unless
    /// <see cref="PartsComeThroughServer"/>.
    /// </exception>
    public virtual Task<string> PutPartAsync(
        ArtifactPath path, string uploadId, int partNumber, Stream content, long? length, CancellationToken cancellationToken) =>
        throw new ArtifactStoreException(ArtifactFault.NotSupported, "Parts go to the store itself");

    /// <summary>
    /// Puts the file together from its parts, to be recorded and published like any other. Without that the upload goes on: it can be
    /// completed again, or given up.
    /// </summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotFound"/>: no such upload or part.</exception>
    public abstract Task<StagedArtifact> CompleteAsync(
        ArtifactPath path, string uploadId, IReadOnlyList<UploadedPart> parts, CancellationToken cancellationToken);

    /// <summary>Gives the upload up and removes its parts; does nothing if there is none.</summary>
    public abstract Task AbortAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken);
}

/// <summary>An upload that has begun.</summary>
/// <param name="UploadId">Names it.</param>
/// <param name="Parts">Where each part goes, by number.</param>
public sealed record MultipartUpload(string UploadId, IReadOnlyList<PartAddress> Parts);

/// <summary>Where a client sends a part.</summary>
/// <param name="PartNumber">Counted from 1.</param>
/// <param name="Url">Takes a PUT.</param>
/// <param name="Headers">To be sent with it.</param>
public sealed record PartAddress(int PartNumber, string Url, IReadOnlyDictionary<string, string> Headers);

/// <summary>A part that a client has sent.</summary>
/// <param name="PartNumber">Counted from 1.</param>
/// <param name="ETag">As the answer to its PUT had it, with quotes or without.</param>
public sealed record UploadedPart(int PartNumber, string ETag);

/// <summary>Addresses under which clients read and write files by themselves, for a while.</summary>
public abstract class PresignedAddresses
{
    /// <summary>An address for reading.</summary>
    public abstract Task<PresignedAddress> ForDownloadAsync(ArtifactPath path, TimeSpan lifetime, CancellationToken cancellationToken);

    /// <summary>An address for writing, with one PUT.</summary>
    public abstract Task<PresignedAddress> ForUploadAsync(ArtifactPath path, TimeSpan lifetime, CancellationToken cancellationToken);
}

/// <summary>An address that may be used without credentials.</summary>
/// <param name="Url">The address.</param>
/// <param name="Headers">To be sent with the request.</param>
/// <param name="Size">Bytes of the file, for reading.</param>
public sealed record PresignedAddress(string Url, IReadOnlyDictionary<string, string> Headers, long? Size);
