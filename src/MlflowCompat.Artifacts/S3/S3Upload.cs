using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using Amazon.S3.Model;

namespace MlflowCompat.Artifacts.S3;

/// <summary>
/// An upload through this server. What is small is kept in memory until it is published, with one request; what is larger is sent in parts
/// as it comes, and publishing puts them together.
/// </summary>
/// <remarks>
/// Two parts are on their way while the next one is read, so an upload needs the memory of three. Parts that would be too large for that,
/// because S3 takes no more than 10 000 of them, wait in temporary files: above 156 GiB, or 51 GiB if nobody knows how much is to come.
/// </remarks>
internal static class S3Upload
{
    private const int MiB = 1 << 20;

    /// <summary>What is smaller is not sent in parts; S3 takes no smaller ones.</summary>
    private const int SmallestPart = 5 * MiB;

    /// <summary>What is larger is not kept in memory.</summary>
    private const int LargestInMemory = 16 * MiB;

    private const int PartsUnderWay = 2;

    /// <summary>
    /// The parts of one upload at a time, over and over: garbage of this size would pile up until the next full collection. What more uploads
    /// at once need is made for them.
    /// </summary>
    private static readonly ArrayPool<byte> Buffers = ArrayPool<byte>.Create(LargestInMemory, maxArraysPerBucket: PartsUnderWay + 1);

    // Putting thousands of parts together takes S3 its time.
    private static readonly TimeSpan CompleteLimit = TimeSpan.FromMinutes(10);

    /// <summary>Bytes of a part: all the same when the length is known, which some servers insist on, growing when not.</summary>
    /// <param name="number">The part, counted from 1; the first one is read before anything is known.</param>
    /// <param name="length">Bytes of the whole, if known.</param>
    public static long PartSize(int number, long? length) => (number, length) switch
    {
        (1, _) => SmallestPart,
        (_, { } known) => Math.Max(SmallestPart, (known / (MultipartUploads.MaxParts - 1) + MiB) / MiB * MiB),
        (<= 1000, _) => SmallestPart,
        (<= 4000, _) => LargestInMemory,
        _ => 1024L * MiB,
    };

    /// <summary>Takes in the content; see <see cref="ArtifactStore.StageAsync"/>.</summary>
    public static async Task<StagedArtifact> StageAsync(
        S3ArtifactStore store, ArtifactPath path, Stream content, long? length, CancellationToken cancellationToken)
    {
        using var refused = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var start = ReadStartAsync(content, length, refused.Token);
        try
        {
            await store.RefuseFolderAsync(path, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            // Whoever sends slowly need not send it all to be told.
            await refused.CancelAsync().ConfigureAwait(false);
            await ((Task)start).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        var (buffer, read) = await start.ConfigureAwait(false);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(buffer, 0, read);
        if (read < SmallestPart)
        {
            ThrowUnlessWhole(read, length);
            return new Small(store, path, buffer, read, Hex(hash));
        }

        var uploadId = await BeginAsync(store, path, cancellationToken).ConfigureAwait(false);
        try
        {
            var (parts, size) = await SendPartsAsync(store, path, uploadId, buffer, content, length, hash, cancellationToken).ConfigureAwait(false);
            ThrowUnlessWhole(size, length);
            return new Large(store, path, uploadId, parts, size, Hex(hash));
        }
        catch
        {
            await ForgetAsync(store, path, uploadId).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Finishes or forgets an upload whose process died; see <see cref="ArtifactStore.RecoverAsync"/>.</summary>
    public static async Task RecoverAsync(S3ArtifactStore store, ArtifactPath path, string uploadId, CancellationToken cancellationToken)
    {
        // What was small was nowhere but in the memory of that process.
        if (!Large.TryReadId(uploadId, out var size, out var count, out var id))
            return;
        try
        {
            var parts = await ListPartsAsync(store, path, id, cancellationToken).ConfigureAwait(false);
            if (parts.Count == count && parts.Sum(part => part.Size ?? 0) == size)
            {
                var tags = parts.Select(part => new PartETag(part.PartNumber ?? 0, part.ETag)).ToList();
                await CompleteAsync(store, path, id, tags, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await store.AbortAsync(store.KeyOf(path), id, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
        {
            // Completed or given up, by that process or by another one just now.
        }
    }

    /// <summary>Takes the parts that clients have sent for an upload; see <see cref="MultipartUploads.CompleteAsync"/>.</summary>
    public static async Task<StagedArtifact> StagePartsAsync(
        S3ArtifactStore store, ArtifactPath path, string uploadId, IReadOnlyList<UploadedPart> parts, CancellationToken cancellationToken)
    {
        await store.RefuseFolderAsync(path, cancellationToken).ConfigureAwait(false);
        var listed = (await ListPartsAsync(store, path, uploadId, cancellationToken).ConfigureAwait(false))
            .ToDictionary(part => part.PartNumber ?? 0);
        var tags = new List<PartETag>(parts.Count);
        var size = 0L;
        foreach (var part in parts.OrderBy(part => part.PartNumber))
        {
            // Taken out, so that a part that is named twice is missing once.
            if (!listed.Remove(part.PartNumber, out var sent) || sent.ETag.Trim('"') != part.ETag.Trim('"'))
                throw MultipartUploads.NoSuchUpload();
            tags.Add(new PartETag(part.PartNumber, sent.ETag));
            size += sent.Size ?? 0;
        }

        return tags.Count > 0
            ? new Large(store, path, uploadId, tags, size, sha256: "") { IsOfClient = true }
            : throw MultipartUploads.NoSuchUpload();
    }

    /// <summary>Begins an upload in parts and returns its id.</summary>
    public static async Task<string> BeginAsync(S3ArtifactStore store, ArtifactPath path, CancellationToken cancellationToken)
    {
        var request = new InitiateMultipartUploadRequest { BucketName = store.Bucket, Key = store.KeyOf(path) };
        foreach (var (name, value) in store.UploadHeaders(path))
            request.Headers[name] = value;
        var begun = await store.Connection.CallAsync((s3, token) => s3.InitiateMultipartUploadAsync(request, token), cancellationToken)
            .ConfigureAwait(false);
        return begun.UploadId;
    }

    /// <summary>Puts the parts of an upload together.</summary>
    public static Task<CompleteMultipartUploadResponse> CompleteAsync(
        S3ArtifactStore store, ArtifactPath path, string uploadId, List<PartETag> parts, CancellationToken cancellationToken)
    {
        var request = new CompleteMultipartUploadRequest
        {
            BucketName = store.Bucket, Key = store.KeyOf(path), UploadId = uploadId, PartETags = parts,
        };
        return store.Connection.CallAsync((s3, token) => s3.CompleteMultipartUploadAsync(request, token), cancellationToken, CompleteLimit);
    }

    private static async Task<(byte[] Buffer, int Read)> ReadStartAsync(Stream content, long? length, CancellationToken cancellationToken)
    {
        // One byte more than announced, to see the end.
        var buffer = length switch
        {
            >= SmallestPart => Buffers.Rent(SmallestPart),
            { } known => new byte[known + 1],
            _ => new byte[64 << 10],
        };
        var read = 0;
        while (true)
        {
            var room = Math.Min(buffer.Length, SmallestPart) - read;
            var came = await content.ReadAtLeastAsync(buffer.AsMemory(read, room), room, throwOnEndOfStream: false, cancellationToken)
                .ConfigureAwait(false);
            read += came;
            if (came < room || read == SmallestPart)
                return (buffer, read);
            var larger = buffer.Length * 2 < SmallestPart ? new byte[buffer.Length * 2] : Buffers.Rent(SmallestPart);
            buffer.AsSpan(0, read).CopyTo(larger);
            buffer = larger;
        }
    }

    private static async Task<(List<PartETag> Parts, long Size)> SendPartsAsync(
        S3ArtifactStore store, ArtifactPath path, string uploadId, byte[] start, Stream content, long? length, IncrementalHash hash,
        CancellationToken cancellationToken)
    {
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var underWay = new List<Task<byte[]?>>();
        var tags = new List<PartETag>();
        Stream part = new MemoryStream(start, 0, SmallestPart, writable: true, publiclyVisible: true);
        try
        {
            long size = 0;
            for (var number = 1; part.Length > 0; number++)
            {
                if (number > MultipartUploads.MaxParts)
                    throw new ArtifactStoreException(ArtifactFault.Full, "The artifact is larger than S3 allows");
                if (underWay.Count == PartsUnderWay)
                    await EndOneAsync().ConfigureAwait(false);
                size += part.Length;
                var isLast = part.Length < PartSize(number, length);
                var (next, body) = (number, part);
                // Without TLS the SDK begins with a SHA-256 of its own, and with that on this thread.
                underWay.Add(Task.Run(() => SendPartAsync(next, body), CancellationToken.None));
                if (isLast)
                    break;
                part = await ReadPartAsync(PartSize(number + 1, length)).ConfigureAwait(false);
            }

            while (underWay.Count > 0)
                await EndOneAsync().ConfigureAwait(false);
            tags.Sort((left, right) => (left.PartNumber ?? 0).CompareTo(right.PartNumber ?? 0));
            return (tags, size);
        }
        catch
        {
            await failed.CancelAsync().ConfigureAwait(false);
            await ((Task)Task.WhenAll(underWay)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
        finally
        {
            await part.DisposeAsync().ConfigureAwait(false);
        }

        async Task EndOneAsync()
        {
            var ended = await Task.WhenAny(underWay).ConfigureAwait(false);
            underWay.Remove(ended);
            // Only of an answered request it is certain that nobody reads its buffer any more; others are left to the garbage collector.
            if (await ended.ConfigureAwait(false) is { } buffer)
                Buffers.Return(buffer);
        }

        async Task<byte[]?> SendPartAsync(int number, Stream body)
        {
            await using (body.ConfigureAwait(false))
            {
                var request = new UploadPartRequest
                {
                    BucketName = store.Bucket,
                    Key = store.KeyOf(path),
                    UploadId = uploadId,
                    PartNumber = number,
                    PartSize = body.Length,
                    InputStream = body,
                    UseChunkEncoding = false,
                    DisablePayloadSigning = store.Connection.IsTls,
                };
                var answer = await store.Connection.CallAsync(
                    (s3, token) => s3.UploadPartAsync(request, token), failed.Token, store.Connection.LimitFor(body.Length)).ConfigureAwait(false);
                lock (tags)
                    tags.Add(new PartETag(number, answer.ETag));
                return (body as MemoryStream)?.GetBuffer();
            }
        }

        async Task<Stream> ReadPartAsync(long partSize)
        {
            if (partSize > LargestInMemory)
                return await ReadLargePartAsync(content, partSize, hash, cancellationToken).ConfigureAwait(false);
            var buffer = Buffers.Rent((int)partSize);
            var read = await content.ReadAtLeastAsync(buffer.AsMemory(0, (int)partSize), (int)partSize, throwOnEndOfStream: false, cancellationToken)
                .ConfigureAwait(false);
            hash.AppendData(buffer, 0, read);
            if (read > 0)
                return new MemoryStream(buffer, 0, read, writable: true, publiclyVisible: true);
            Buffers.Return(buffer);
            return Stream.Null;
        }
    }

    /// <summary>Reads a part into a file that is gone when it is closed.</summary>
    public static async Task<Stream> ReadLargePartAsync(Stream content, long partSize, IncrementalHash hash, CancellationToken cancellationToken)
    {
        var file = new FileStream(
            Path.Combine(Path.GetTempPath(), "mlflow-compat-part-" + Path.GetRandomFileName()),
            new FileStreamOptions
            {
                Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, BufferSize = 0, Options = FileOptions.DeleteOnClose | FileOptions.Asynchronous,
            });
        try
        {
            var buffer = new byte[MiB];
            while (file.Length < partSize)
            {
                var wanted = (int)Math.Min(buffer.Length, partSize - file.Length);
                var read = await content.ReadAtLeastAsync(buffer.AsMemory(0, wanted), wanted, throwOnEndOfStream: false, cancellationToken)
                    .ConfigureAwait(false);
                hash.AppendData(buffer, 0, read);
                await file.WriteAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
                if (read < wanted)
                    break;
            }

            file.Position = 0;
            return file;
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static async Task<List<PartDetail>> ListPartsAsync(
        S3ArtifactStore store, ArtifactPath path, string uploadId, CancellationToken cancellationToken)
    {
        var parts = new List<PartDetail>();
        var request = new ListPartsRequest { BucketName = store.Bucket, Key = store.KeyOf(path), UploadId = uploadId };
        ListPartsResponse page;
        do
        {
            page = await store.Connection.CallAsync((s3, token) => s3.ListPartsAsync(request, token), cancellationToken).ConfigureAwait(false);
            parts.AddRange(page.Parts ?? []);
            request.PartNumberMarker = page.NextPartNumberMarker?.ToString(CultureInfo.InvariantCulture);
        }
        while (page.IsTruncated == true);
        return parts;
    }

    private static async Task ForgetAsync(S3ArtifactStore store, ArtifactPath path, string uploadId)
    {
        try
        {
            await store.AbortAsync(store.KeyOf(path), uploadId, CancellationToken.None).ConfigureAwait(false);
        }
        catch (ArtifactStoreException)
        {
            // SweepAsync finds it.
        }
    }

    private static void ThrowUnlessWhole(long size, long? length)
    {
        if (length is { } known && size != known)
            throw new EndOfStreamException($"{size} bytes came where {known} were announced.");
    }

    private static string Hex(IncrementalHash hash) => Convert.ToHexStringLower(hash.GetHashAndReset());

    private sealed class Small(S3ArtifactStore store, ArtifactPath path, byte[] content, int size, string sha256) : StagedArtifact
    {
        public override string UploadId { get; } = $"put:{Guid.NewGuid():N}";

        public override long Size => size;

        public override string Sha256 => sha256;

        public override async Task<ArtifactEntry> PublishAsync()
        {
            var request = new PutObjectRequest
            {
                BucketName = store.Bucket,
                Key = store.KeyOf(path),
                InputStream = new MemoryStream(content, 0, size, writable: false),
                UseChunkEncoding = false,
                DisablePayloadSigning = store.Connection.IsTls,
            };
            foreach (var (name, value) in store.UploadHeaders(path))
                request.Headers[name] = value;
            var answer = await store.Connection.CallAsync(
                (s3, token) => s3.PutObjectAsync(request, token), CancellationToken.None, store.Connection.LimitFor(size)).ConfigureAwait(false);
            // The answer has no time of its own; the next listing has S3's, which differs by the transfer.
            return S3ArtifactStore.File(path, size, DateTime.UtcNow, answer.ETag);
        }

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class Large(S3ArtifactStore store, ArtifactPath path, string uploadId, List<PartETag> parts, long size, string sha256)
        : StagedArtifact
    {
        private bool isPublished;

        /// <summary>Whether a client sends the parts; then only the client gives the upload up.</summary>
        public bool IsOfClient { get; init; }

        // With what RecoverAsync must see to believe that the upload is whole.
        public override string UploadId { get; } = string.Create(CultureInfo.InvariantCulture, $"parts:{size}:{parts.Count}:{uploadId}");

        public override long Size => size;

        public override string Sha256 => sha256;

        public static bool TryReadId(string text, out long size, out int parts, out string uploadId)
        {
            (size, parts, uploadId) = (0, 0, "");
            if (text.Split(':', 4) is not ["parts", var sizeText, var countText, var id])
                return false;
            uploadId = id;
            return long.TryParse(sizeText, CultureInfo.InvariantCulture, out size) && int.TryParse(countText, CultureInfo.InvariantCulture, out parts);
        }

        public override async Task<ArtifactEntry> PublishAsync()
        {
            try
            {
                await CompleteAsync(store, path, uploadId, parts, CancellationToken.None).ConfigureAwait(false);
            }
            catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
            {
                // The answer to a first attempt may have been lost, or somebody has recovered the upload: then it is there.
                if (await FindPublishedAsync().ConfigureAwait(false) is not { } published)
                    throw new ArtifactStoreException(ArtifactFault.Unavailable, "The upload was given up by somebody else", exception);
                isPublished = true;
                return published;
            }

            isPublished = true;
            return await FindPublishedAsync().ConfigureAwait(false) ?? S3ArtifactStore.File(path, size, DateTime.UtcNow, "");
        }

        public override async ValueTask DisposeAsync()
        {
            if (!isPublished && !IsOfClient)
                await ForgetAsync(store, path, uploadId).ConfigureAwait(false);
        }

        private async Task<ArtifactEntry?> FindPublishedAsync() =>
            await store.FindFileAsync(path, CancellationToken.None).ConfigureAwait(false) is { } found && found.Size == size
            && (!found.ETag.Contains('-', StringComparison.Ordinal) || found.ETag.EndsWith($"-{parts.Count}", StringComparison.Ordinal))
                ? found
                : null;
    }
}
