using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MlflowCompat.Artifacts.Local;

/// <summary>
/// Uploads whose parts come through this server and wait in the staging folder, in a folder for each upload. Parts are not flushed: one that
/// a loss of power has damaged has another ETag, and the file made of them is flushed as a whole.
/// </summary>
internal sealed class LocalMultipartUploads(LocalArtifactStore store) : MultipartUploads
{
    private static readonly Dictionary<string, string> NoHeaders = [];

    /// <inheritdoc/>
    public override bool PartsComeThroughServer => true;

    /// <inheritdoc/>
    public override Task<MultipartUpload> CreateAsync(ArtifactPath path, int parts, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(parts, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parts, MaxParts);
        using var staging = store.OpenStagingFor(path);
        var uploadId = LocalArtifactStore.NewUploadId() + Mark(path);
        if (Linux.MakeFolder(staging.Handle, uploadId) is var error and not 0)
            throw Errno.ToFault(error);

        var address = string.Create(CultureInfo.InvariantCulture, $"{LocalArtifactStore.Escape(path)}?upload_id={uploadId}&part_number=");
        return Task.FromResult(new MultipartUpload(
            uploadId,
            [.. Enumerable.Range(1, parts).Select(number => new PartAddress(number, address + NameOf(number), NoHeaders))]));
    }

    /// <inheritdoc/>
    public override async Task<string> PutPartAsync(
        ArtifactPath path, string uploadId, int partNumber, Stream content, long? length, CancellationToken cancellationToken)
    {
        using var folder = Open(path, uploadId);
        if (partNumber is < 1 or > MaxParts)
            throw NoSuchUpload();

        var aside = LocalArtifactStore.NewUploadId();
        var (status, _) = await LocalArtifactStore.WriteFileAsync(
            folder, aside, content.ReadAsync, length, isFinal: false, cancellationToken).ConfigureAwait(false);
        return Linux.Rename(folder.Handle, aside, folder.Handle, NameOf(partNumber)) switch
        {
            0 => status.ETag,
            Errno.NoEntry => throw NoSuchUpload(), // The upload has been given up meanwhile.
            var error => throw Errno.ToFault(error),
        };
    }

    /// <inheritdoc/>
    public override async Task<StagedArtifact> CompleteAsync(
        ArtifactPath path, string uploadId, IReadOnlyList<UploadedPart> parts, CancellationToken cancellationToken)
    {
        store.CheckTarget(path);
        using var folder = Open(path, uploadId);
        var ordered = parts.OrderBy(part => part.PartNumber).ToArray();
        if (ordered.Length == 0 || ordered.DistinctBy(part => part.PartNumber).Count() < ordered.Length)
            throw NoSuchUpload();
        // All are looked at before the first is copied; what is missing is mostly missing from the beginning.
        var length = 0L;
        foreach (var part in ordered)
        {
            using var file = OpenPart(folder, part, out var size);
            length += size;
        }

        using var staging = store.OpenStaging(create: true)!;
        var stagedId = LocalArtifactStore.NewUploadId();
        using var content = new Parts(folder, ordered);
        var staged = await LocalArtifactStore.WriteFileAsync(
            staging, stagedId, content.ReadAsync, length, isFinal: true, cancellationToken).ConfigureAwait(false);
        return new LocalStagedArtifact(store, path, stagedId, staged.Status.Size, staged.Sha256!, uploadId);
    }

    /// <inheritdoc/>
    public override Task AbortAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken)
    {
        if (IsUploadId(path, uploadId))
            store.RemoveStaged(uploadId);
        return Task.CompletedTask;
    }

    /// <summary>Ties an upload to its path, without a record of it.</summary>
    private static string Mark(ArtifactPath path) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(path.Value)))[..32];

    private static bool IsUploadId(ArtifactPath path, string text) =>
        text.Length == 64 && LocalArtifactStore.IsUploadId(text[..32]) && text[32..] == Mark(path);

    private static string NameOf(int partNumber) => partNumber.ToString(CultureInfo.InvariantCulture);

    private Place Open(ArtifactPath path, string uploadId)
    {
        if (!IsUploadId(path, uploadId))
            throw NoSuchUpload();
        using var staging = store.OpenStaging(create: false) ?? throw NoSuchUpload();
        return staging.Open(uploadId, out var folder) switch
        {
            0 => folder!,
            Errno.NoEntry => throw NoSuchUpload(),
            var error => throw Errno.ToFault(error),
        };
    }

    private static SafeFileHandle OpenPart(Place folder, UploadedPart part, out long size)
    {
        var error = folder.Open(NameOf(part.PartNumber), out var place);
        using (place)
        {
            if (error == Errno.NoEntry || (error == 0 && part.ETag.Trim('"') != place!.Status.ETag))
                throw NoSuchUpload();
            SafeFileHandle? file = null;
            if (error == 0)
                error = Linux.OpenToRead(place!.Handle, out file);
            if (error != 0)
                throw Errno.ToFault(error);
            size = place!.Status.Size;
            return file!;
        }
    }

    /// <summary>The parts one after the other, one open at a time.</summary>
    private sealed class Parts(Place folder, UploadedPart[] parts) : IDisposable
    {
        private SafeFileHandle? file;
        private int opened;
        private long offset;

        public ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            while (true)
            {
                var read = file is null ? 0 : LocalArtifactStore.Try(() => RandomAccess.Read(file, buffer.Span, offset));
                offset += read;
                if (read > 0 || opened == parts.Length)
                    return ValueTask.FromResult(read);
                file?.Dispose();
                file = OpenPart(folder, parts[opened++], out _);
                offset = 0;
            }
        }

        public void Dispose() => file?.Dispose();
    }
}
