using MlflowCompat.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Artifacts;

/// <summary>
/// What requests do with files, and the rows that go with it. A row is written before its file is shown, and removed before its file is:
/// whatever happens in between is put right by <see cref="ArtifactUpkeep"/> or when the folder is listed.
/// </summary>
/// <param name="records">The rows.</param>
/// <param name="upkeep">What is done later.</param>
/// <param name="roots">The stores.</param>
public sealed class ArtifactFiles(ArtifactRecords records, ArtifactUpkeep upkeep, ArtifactRoots roots)
{
    /// <summary>Which stores there are.</summary>
    public ArtifactRoots Roots { get; } = roots;

    /// <summary>Where a run keeps its artifacts, as it was told when it was made.</summary>
    /// <exception cref="Http.MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<string> RunRootAsync(Guid runId, CancellationToken cancellationToken) => records.RunRootAsync(runId, cancellationToken);

    /// <summary>Takes a file in, replacing the one that is there.</summary>
    /// <param name="file">Where it goes.</param>
    /// <param name="content">Read to its end.</param>
    /// <param name="length">Bytes to come, if known.</param>
    /// <param name="cancellationToken">Gives up, and leaves nothing, until the content is complete.</param>
    /// <exception cref="ArtifactStoreException">See <see cref="ArtifactStore.StageAsync"/>; nothing has changed.</exception>
    public async Task UploadAsync(ArtifactLocation file, Stream content, long? length, CancellationToken cancellationToken)
    {
        RequireFile(file.Path);
        await ShowAsync(file, await file.Store.StageAsync(file.Path, content, length, cancellationToken).ConfigureAwait(false), cancellationToken)
            .ConfigureAwait(false);
    }

    /// <summary>Puts a file together whose parts a client has sent.</summary>
    /// <exception cref="ArtifactStoreException">See <see cref="MultipartUploads.CompleteAsync"/>.</exception>
    public async Task CompleteAsync(
        ArtifactLocation file, MultipartUploads multipart, string uploadId, IReadOnlyList<UploadedPart> parts, CancellationToken cancellationToken) =>
        await ShowAsync(file, await multipart.CompleteAsync(file.Path, uploadId, parts, cancellationToken).ConfigureAwait(false), cancellationToken)
            .ConfigureAwait(false);

    /// <summary>What is directly in a folder. Files that have no row get one, a little later.</summary>
    public async Task<IReadOnlyList<ArtifactEntry>> ListAsync(ArtifactLocation folder, CancellationToken cancellationToken)
    {
        var mark = upkeep.BeginListing();
        var entries = await folder.Store.ListAsync(folder.Path, cancellationToken).ConfigureAwait(false);
        upkeep.Listed(mark, folder.Store, entries);
        return entries;
    }

    /// <summary>What is directly in a folder below an artifact root, with paths relative to that root.</summary>
    /// <param name="rootUri">Where a run or another owner keeps its artifacts.</param>
    /// <param name="folder">The folder.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="Http.MlflowException">INVALID_PARAMETER_VALUE: the server does not serve that root.</exception>
    public async Task<ListArtifactsResponse> ListBelowAsync(string rootUri, ArtifactPath folder, CancellationToken cancellationToken)
    {
        var entries = await ListAsync(Roots.Resolve(rootUri).Append(folder), cancellationToken).ConfigureAwait(false);
        var listed = entries.Select(entry => FileInfo.Of(folder.IsRoot ? entry.Path.Name : $"{folder}/{entry.Path.Name}", entry)).ToList();
        return new ListArtifactsResponse(rootUri, listed.Count == 0 ? null : listed);
    }

    /// <summary>Removes a file, or a folder with all that it holds; does nothing if there is none.</summary>
    public async Task DeleteAsync(ArtifactLocation place, CancellationToken cancellationToken)
    {
        RequireFile(place.Path);
        using (await records.TakeTurnAsync(place.StoragePath, cancellationToken).ConfigureAwait(false))
        {
            upkeep.Deleting();
            try
            {
                // Rows first: a file without a row gets one when it is listed, but nothing looks for the file of a row. And once more, for uploads
                // into the folder that were recorded meanwhile and whose files went with it.
                await records.DeleteAsync(place, cancellationToken).ConfigureAwait(false);
                await place.Store.DeleteAsync(place.Path, cancellationToken).ConfigureAwait(false);
                await records.DeleteAsync(place, CancellationToken.None).ConfigureAwait(false);
            }
            finally
            {
                upkeep.Deleting();
            }
        }
    }

    /// <summary>Answers a request with a file, and counts it.</summary>
    /// <exception cref="Http.MlflowException">RESOURCE_DOES_NOT_EXIST: no such file; a folder is none.</exception>
    public async Task SendAsync(HttpContext context, ArtifactLocation file)
    {
        RequireFile(file.Path);
        if (await FileResponse.WriteAsync(context, file).ConfigureAwait(false))
            upkeep.Accessed(file.StoragePath);
    }

    /// <summary>Records an upload, and shows it.</summary>
    private async Task ShowAsync(ArtifactLocation file, StagedArtifact staged, CancellationToken cancellationToken)
    {
        await using (staged.ConfigureAwait(false))
        {
            var hash = staged.Sha256.Length == 0 ? null : staged.Sha256;
            var row = new ArtifactRow(file, staged.Size, hash, staged.UploadId, StoredTime.Now());
            using (await records.TakeTurnAsync(row.StoragePath, cancellationToken).ConfigureAwait(false))
            {
                upkeep.Begin(staged.UploadId);
                try
                {
                    await records.WriteAsync(row, cancellationToken).ConfigureAwait(false);
                    await staged.PublishAsync().ConfigureAwait(false);
                    upkeep.Published(staged.UploadId);
                }
                catch
                {
                    // It may be that the row is written all the same.
                    upkeep.Abandon(staged.UploadId);
                    throw;
                }
            }
        }
    }

    private static void RequireFile(ArtifactPath path)
    {
        if (path.IsRoot)
            throw ArtifactPath.Invalid();
    }
}
