using System.Runtime.CompilerServices;
using Amazon.S3.Model;

namespace MlflowCompat.Artifacts.S3;

/// <summary>
/// Artifacts as objects of an S3 bucket, below a prefix. A file is an object whose key is the prefix and its path; folders are what keys
/// have in common, so they come and go with their files.
/// </summary>
/// <remarks>
/// S3 lets an object <c>a</c> and objects <c>a/…</c> be there at once. This store makes no file where a folder is, but others write to the
/// bucket too: where both are, reading and finding <c>a</c> means the file, listing <c>a</c> the folder, and deleting <c>a</c> both.
/// Objects whose key ends in <c>/</c>, which some programs make for folders, count as folders; objects with keys that no path can name
/// (<c>a//b</c>, <c>../c</c>) are not there, and are deleted with the folder that they are in.
/// </remarks>
internal sealed class S3ArtifactStore : ArtifactStore
{
    private const string Scheme = "s3://";

    /// <summary>Objects that one request may delete.</summary>
    private const int DeleteBatch = 1000;

    private readonly string prefix;

    /// <summary>Makes the store with a root.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotSupported"/>: the root is not <c>s3://bucket/prefix</c>.</exception>
    public S3ArtifactStore(S3Connection connection, string root)
    {
        var parts = root[Scheme.Length..].TrimEnd('/').Split('/');
        // The path of an address is made simpler on its way, and would then lead out of the prefix.
        if (parts.Any(part => part is "" or "." or ".."))
            throw new ArtifactStoreException(ArtifactFault.NotSupported, "The artifact root is not of the form s3://bucket/prefix");
        Connection = connection;
        Bucket = parts[0];
        prefix = string.Join('/', parts[1..]);
        Multipart = new S3MultipartUploads(this);
        Presigned = new S3PresignedAddresses(this);
    }

    /// <summary>Whether a root is one of this kind.</summary>
    public static bool IsRoot(string root) => root.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase);

    public override string StorageType => "s3";

    public override MultipartUploads Multipart { get; }

    public override PresignedAddresses Presigned { get; }

    public S3Connection Connection { get; }

    public string Bucket { get; }

    public override string LocationOf(ArtifactPath path) => $"{Scheme}{Bucket}/{KeyOf(path)}".TrimEnd('/');

    /// <summary>The key of a file.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>: with the prefix it is too long for S3.</exception>
    public string KeyOf(ArtifactPath path)
    {
        var key = path.IsRoot ? prefix : prefix.Length == 0 ? path.Value : $"{prefix}/{path.Value}";
        return System.Text.Encoding.UTF8.GetByteCount(key) <= ArtifactPath.MaxBytes ? key : throw ArtifactPath.Invalid();
    }

    /// <summary>What the keys of all files in a folder begin with.</summary>
    private string KeysOf(ArtifactPath folder) => KeyOf(folder) is { Length: > 0 } key ? key + "/" : "";

    public override async Task<ArtifactEntry?> FindAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        if (path.IsRoot)
            return Folder(path);
        return await FindFileAsync(path, cancellationToken).ConfigureAwait(false)
            ?? (await IsFolderAsync(path, cancellationToken).ConfigureAwait(false) ? Folder(path) : null);
    }

    public override async Task<IReadOnlyList<ArtifactEntry>> ListAsync(ArtifactPath folder, CancellationToken cancellationToken)
    {
        var entries = new List<ArtifactEntry>();
        await foreach (var page in PagesAsync(KeysOf(folder), "/", cancellationToken).ConfigureAwait(false))
        {
            entries.AddRange(Files(page));
            entries.AddRange((page.CommonPrefixes ?? []).Select(common => PathOf(common[..^1])).OfType<ArtifactPath>().Select(Folder));
        }

        entries.Sort((left, right) => CompareCodePoints(left.Path.Value, right.Path.Value));
        return entries;
    }

    public override async IAsyncEnumerable<ArtifactEntry> ListFilesAsync(
        ArtifactPath folder, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var page in PagesAsync(KeysOf(folder), null, cancellationToken).ConfigureAwait(false))
        {
            foreach (var entry in Files(page))
                yield return entry;
        }
    }

    public override async Task<ArtifactContent> OpenAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        if (path.IsRoot)
            throw NotAFile();
        var request = new GetObjectRequest { BucketName = Bucket, Key = KeyOf(path) };
        try
        {
            var response = await Connection.CallAsync((s3, token) => s3.GetObjectAsync(request, token), cancellationToken).ConfigureAwait(false);
            return new S3Content(this, File(path, response.ContentLength, response.LastModified, response.ETag), response);
        }
        catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
        {
            if (await IsFolderAsync(path, cancellationToken).ConfigureAwait(false))
                throw NotAFile();
            throw;
        }
    }

    public override Task<StagedArtifact> StageAsync(ArtifactPath path, Stream content, long? length, CancellationToken cancellationToken) =>
        S3Upload.StageAsync(this, path, content, length, cancellationToken);

    public override async Task<ArtifactEntry?> RecoverAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken)
    {
        await S3Upload.RecoverAsync(this, path, uploadId, cancellationToken).ConfigureAwait(false);
        return await FindFileAsync(path, cancellationToken).ConfigureAwait(false);
    }

    public override async Task DeleteAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        var keys = new List<KeyVersion>();
        if (!path.IsRoot)
            keys.Add(new KeyVersion { Key = KeyOf(path) });
        await foreach (var page in PagesAsync(KeysOf(path), null, cancellationToken).ConfigureAwait(false))
        {
            foreach (var found in page.S3Objects ?? [])
            {
                keys.Add(new KeyVersion { Key = found.Key });
                if (keys.Count < DeleteBatch)
                    continue;
                await DeleteAsync(keys, cancellationToken).ConfigureAwait(false);
                keys.Clear();
            }
        }

        await DeleteAsync(keys, cancellationToken).ConfigureAwait(false);
    }

    /// <remarks>MinIO lists uploads of one key only, so this finds none there; it removes them by itself after a day.</remarks>
    public override async Task SweepAsync(TimeSpan age, CancellationToken cancellationToken)
    {
        var before = DateTime.UtcNow - age;
        var request = new ListMultipartUploadsRequest { BucketName = Bucket, Prefix = KeysOf(ArtifactPath.Root) };
        ListMultipartUploadsResponse page;
        do
        {
            page = await Connection.CallAsync((s3, token) => s3.ListMultipartUploadsAsync(request, token), cancellationToken).ConfigureAwait(false);
            foreach (var upload in (page.MultipartUploads ?? []).Where(upload => upload.Initiated?.ToUniversalTime() < before))
                await AbortAsync(upload.Key, upload.UploadId, cancellationToken).ConfigureAwait(false);
            request.KeyMarker = page.NextKeyMarker;
            request.UploadIdMarker = page.NextUploadIdMarker;
        }
        while (page.IsTruncated == true && !string.IsNullOrEmpty(request.KeyMarker));
    }

    /// <summary>The file at a path, or null.</summary>
    public async Task<ArtifactEntry?> FindFileAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        var request = new GetObjectMetadataRequest { BucketName = Bucket, Key = KeyOf(path) };
        try
        {
            var found = await Connection.CallAsync((s3, token) => s3.GetObjectMetadataAsync(request, token), cancellationToken).ConfigureAwait(false);
            return File(path, found.ContentLength, found.LastModified, found.ETag);
        }
        catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
        {
            return null;
        }
    }

    /// <summary>Makes sure that a file may be at a path.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.NotAFile"/>: a folder is there.</exception>
    public async Task RefuseFolderAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        if (path.IsRoot || await IsFolderAsync(path, cancellationToken).ConfigureAwait(false))
            throw NotAFile();
    }

    /// <summary>Gives an upload in parts up; does nothing if there is none.</summary>
    public async Task AbortAsync(string key, string uploadId, CancellationToken cancellationToken)
    {
        var request = new AbortMultipartUploadRequest { BucketName = Bucket, Key = key, UploadId = uploadId };
        try
        {
            await Connection.CallAsync((s3, token) => s3.AbortMultipartUploadAsync(request, token), cancellationToken).ConfigureAwait(false);
        }
        catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
        {
            // Completed or given up by somebody else meanwhile.
        }
    }

    /// <summary>The headers that a new object gets.</summary>
    public Dictionary<string, string> UploadHeaders(ArtifactPath path) =>
        new(Connection.Options.UploadHeaders, StringComparer.OrdinalIgnoreCase)
        {
            ["Content-Type"] = Connection.Options.UploadHeaders.GetValueOrDefault("Content-Type") ?? ArtifactContentTypes.Guess(path.Name),
        };

    /// <summary>Describes a file as a response of S3 does.</summary>
    public static ArtifactEntry File(ArtifactPath path, long size, DateTime? lastModified, string? etag)
    {
        // Listings of some servers are more precise than what they say of a single object.
        var modified = new DateTimeOffset((lastModified ?? DateTime.UnixEpoch).ToUniversalTime());
        return new(path, false, size, DateTimeOffset.FromUnixTimeSeconds(modified.ToUnixTimeSeconds()), etag?.Trim('"') ?? "");
    }

    private static ArtifactEntry Folder(ArtifactPath path) => new(path, true, 0, DateTimeOffset.UnixEpoch, "");

    private static ArtifactStoreException NotAFile() => new(ArtifactFault.NotAFile, "The path names a folder");

    private static int CompareCodePoints(string left, string right) =>
        System.Text.Encoding.UTF8.GetBytes(left).AsSpan().SequenceCompareTo(System.Text.Encoding.UTF8.GetBytes(right));

    private IEnumerable<ArtifactEntry> Files(ListObjectsV2Response page) =>
        from found in page.S3Objects ?? []
        let path = PathOf(found.Key)
        where path is not null
        select File(path, found.Size ?? 0, found.LastModified, found.ETag);

    /// <summary>The path with a key, or null where no path below the root has it.</summary>
    private ArtifactPath? PathOf(string key)
    {
        var below = prefix.Length == 0 ? key : key[(prefix.Length + 1)..];
        try
        {
            var path = ArtifactPath.Parse(below);
            return path.Value == below && !path.IsRoot ? path : null;
        }
        catch (ArtifactStoreException)
        {
            return null;
        }
    }

    private async Task<bool> IsFolderAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        var request = new ListObjectsV2Request { BucketName = Bucket, Prefix = KeysOf(path), MaxKeys = 1 };
        var page = await Connection.CallAsync((s3, token) => s3.ListObjectsV2Async(request, token), cancellationToken).ConfigureAwait(false);
        return page.S3Objects is { Count: > 0 };
    }

    private async IAsyncEnumerable<ListObjectsV2Response> PagesAsync(
        string keys, string? delimiter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var request = new ListObjectsV2Request { BucketName = Bucket, Prefix = keys, Delimiter = delimiter };
        do
        {
            var page = await Connection.CallAsync((s3, token) => s3.ListObjectsV2Async(request, token), cancellationToken).ConfigureAwait(false);
            request.ContinuationToken = page.IsTruncated == true ? page.NextContinuationToken : null;
            yield return page;
        }
        while (request.ContinuationToken is not null);
    }

    private async Task DeleteAsync(List<KeyVersion> keys, CancellationToken cancellationToken)
    {
        if (keys.Count > 1)
        {
            try
            {
                await Connection.CallAsync(
                    (s3, token) => s3.DeleteObjectsAsync(new DeleteObjectsRequest { BucketName = Bucket, Objects = keys, Quiet = true }, token),
                    cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (ArtifactStoreException exception) when (exception.InnerException is Amazon.S3.AmazonS3Exception
            {
                ErrorCode: "MissingContentMD5" or "NotImplemented" or "InvalidRequest" or "MalformedXML",
            })
            {
                // Some servers have no deletion of many objects, or want the MD5 of the request, which the SDK no longer sends.
            }
        }

        await Parallel.ForEachAsync(
            keys,
            new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = cancellationToken },
            async (key, token) => await Connection.CallAsync(
                (s3, limited) => s3.DeleteObjectAsync(new DeleteObjectRequest { BucketName = Bucket, Key = key.Key }, limited),
                token).ConfigureAwait(false)).ConfigureAwait(false);
    }
}
