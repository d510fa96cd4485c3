using Amazon.S3;
using Amazon.S3.Model;

namespace MlflowCompat.Artifacts.S3;

/// <summary>Uploads whose parts clients send to S3 themselves.</summary>
internal sealed class S3MultipartUploads(S3ArtifactStore store) : MultipartUploads
{
    // There is no way for a client to have them renewed, and the upload may be large.
    private static readonly TimeSpan Lifetime = TimeSpan.FromDays(1);

    public override async Task<MultipartUpload> CreateAsync(ArtifactPath path, int parts, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(parts);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(parts, MaxParts);
        await store.RefuseFolderAsync(path, cancellationToken).ConfigureAwait(false);
        var uploadId = await S3Upload.BeginAsync(store, path, cancellationToken).ConfigureAwait(false);
        var addresses = new List<PartAddress>(parts);
        for (var number = 1; number <= parts; number++)
        {
            // Thousands of signatures take a second, and none of it waits for anything.
            cancellationToken.ThrowIfCancellationRequested();
            var request = new GetPreSignedUrlRequest { Verb = HttpVerb.PUT, UploadId = uploadId, PartNumber = number };
            addresses.Add(new(number, await S3PresignedAddresses.SignAsync(store, path, request, Lifetime).ConfigureAwait(false), NoHeaders));
        }

        return new(uploadId, addresses);
    }

    public override Task<StagedArtifact> CompleteAsync(
        ArtifactPath path, string uploadId, IReadOnlyList<UploadedPart> parts, CancellationToken cancellationToken) =>
        S3Upload.StagePartsAsync(store, path, uploadId, parts, cancellationToken);

    public override Task AbortAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken) =>
        store.AbortAsync(store.KeyOf(path), uploadId, cancellationToken);

    private static readonly Dictionary<string, string> NoHeaders = [];
}

/// <summary>Addresses of objects, signed by this server.</summary>
internal sealed class S3PresignedAddresses(S3ArtifactStore store) : PresignedAddresses
{
    private static readonly TimeSpan Longest = TimeSpan.FromDays(7);

    public override async Task<PresignedAddress> ForDownloadAsync(ArtifactPath path, TimeSpan lifetime, CancellationToken cancellationToken)
    {
        var entry = await store.FindAsync(path, cancellationToken).ConfigureAwait(false);
        if (entry is null or { IsFolder: true })
        {
            throw new ArtifactStoreException(
                entry is null ? ArtifactFault.NotFound : ArtifactFault.NotAFile, entry is null ? "No such artifact" : "The path names a folder");
        }

        var url = await SignAsync(store, path, new GetPreSignedUrlRequest { Verb = HttpVerb.GET }, lifetime).ConfigureAwait(false);
        return new(url, new Dictionary<string, string>(), entry.Size);
    }

    public override async Task<PresignedAddress> ForUploadAsync(ArtifactPath path, TimeSpan lifetime, CancellationToken cancellationToken)
    {
        await store.RefuseFolderAsync(path, cancellationToken).ConfigureAwait(false);
        var headers = store.UploadHeaders(path);
        var request = new GetPreSignedUrlRequest { Verb = HttpVerb.PUT };
        foreach (var (name, value) in headers)
            request.Headers[name] = value;
        return new(await SignAsync(store, path, request, lifetime).ConfigureAwait(false), headers, null);
    }

    /// <summary>Signs a request for the object at a path; a lifetime that S3 does not allow becomes the nearest one that it does.</summary>
    public static async Task<string> SignAsync(S3ArtifactStore store, ArtifactPath path, GetPreSignedUrlRequest request, TimeSpan lifetime)
    {
        request.BucketName = store.Bucket;
        request.Key = store.KeyOf(path);
        request.Protocol = store.Connection.IsTls ? Protocol.HTTPS : Protocol.HTTP;
        request.Expires = DateTime.UtcNow + (lifetime < TimeSpan.FromSeconds(1) ? TimeSpan.FromSeconds(1) : lifetime > Longest ? Longest : lifetime);
        try
        {
            return await store.Connection.Client.GetPreSignedURLAsync(request).ConfigureAwait(false);
        }
        catch (Exception exception) when (S3Connection.Meaning(exception) is { } fault)
        {
            throw fault;
        }
    }
}
