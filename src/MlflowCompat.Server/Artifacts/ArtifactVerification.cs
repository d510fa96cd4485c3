using MlflowCompat.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Artifacts;

/// <summary>What does not agree between the artifacts table and the stores.</summary>
internal enum ArtifactProblem
{
    /// <summary>There is a row, and no file.</summary>
    Missing,

    /// <summary>There is a file, and no row.</summary>
    Orphaned,

    /// <summary>The file has another size than its row says.</summary>
    WrongSize,

    /// <summary>The file has another content than its row says.</summary>
    WrongHash,
}

/// <summary>
/// Compares the artifacts table with the stores, in both directions, and puts the table right if asked to; files are never touched. A
/// server may be at work meanwhile: what is just being uploaded or removed is left out. Memory is one batch, and a bit per row.
/// </summary>
/// <param name="records">The table.</param>
/// <param name="roots">The stores.</param>
internal sealed class ArtifactVerification(ArtifactRecords records, ArtifactRoots roots)
{
    /// <summary>Which rows have their file, a bit each, in blocks for the keys that there are.</summary>
    private readonly Dictionary<long, ulong[]> seen = [];

    /// <summary>How many files there are.</summary>
    public long Files { get; private set; }

    /// <summary>How many rows there are.</summary>
    public long Rows { get; private set; }

    /// <summary>Rows of files that are in none of the stores, and cannot be looked at.</summary>
    public long Elsewhere { get; private set; }

    /// <summary>Compares everything.</summary>
    /// <param name="readContent">Whether files are read to compare their hashes.</param>
    /// <param name="repair">Whether the table is put right.</param>
    /// <param name="report">Told of everything that does not agree: what, and the storage path.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task RunAsync(
        bool readContent, bool repair, Func<ArtifactProblem, string, Task> report, CancellationToken cancellationToken)
    {
        foreach (var store in roots.Stores)
        {
            var batch = new List<ArtifactEntry>(ArtifactRecords.BatchSize);
            await foreach (var entry in store.ListFilesAsync(ArtifactPath.Root, cancellationToken).ConfigureAwait(false))
            {
                batch.Add(entry);
                if (batch.Count == ArtifactRecords.BatchSize)
                    await CompareAsync(store, batch, readContent, repair, report, cancellationToken).ConfigureAwait(false);
            }

            await CompareAsync(store, batch, readContent, repair, report, cancellationToken).ConfigureAwait(false);
        }

        await FindMissingAsync(repair, report, cancellationToken).ConfigureAwait(false);
    }

    private async Task CompareAsync(
        ArtifactStore store,
        List<ArtifactEntry> entries,
        bool readContent,
        bool repair,
        Func<ArtifactProblem, string, Task> report,
        CancellationToken cancellationToken)
    {
        Files += entries.Count;
        var files = entries.ConvertAll(entry => (Entry: entry, File: new ArtifactLocation(store, entry.Path)));
        entries.Clear();
        var rows = await records.FindAsync(files.ConvertAll(file => file.File.StoragePath), cancellationToken).ConfigureAwait(false);
        foreach (var (entry, file) in files)
        {
            var row = rows.GetValueOrDefault(file.StoragePath);
            if (row is not null)
                MarkSeen(row.Key);
            if (row?.UploadId is not null)
                continue;
            var problem = row is null ? ArtifactProblem.Orphaned : row.Size != entry.Size ? ArtifactProblem.WrongSize : (ArtifactProblem?)null;
            (long Size, string Sha256)? content = null;
            if (readContent)
            {
                content = await ArtifactUpkeep.ReadHashAsync(file, cancellationToken).ConfigureAwait(false);
                if (content is not { } there)
                    continue;
                // A row without a hash, of a file that nobody has read yet, is not wrong; but it can be completed now.
                if (problem is null && row!.Sha256 is null && repair)
                    await WriteAsync(file, there.Size, there.Sha256, cancellationToken).ConfigureAwait(false);
                else if (problem is null && row!.Sha256 is { } known && known != there.Sha256)
                    problem = ArtifactProblem.WrongHash;
            }

            if (problem is not { } found || await HasChangedAsync(file, entry, row, cancellationToken).ConfigureAwait(false))
                continue;
            await report(found, file.StoragePath).ConfigureAwait(false);
            if (repair)
                await WriteAsync(file, content?.Size ?? entry.Size, content?.Sha256, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Whether file or row are others than before, so that nothing can be said of them.</summary>
    private async Task<bool> HasChangedAsync(ArtifactLocation file, ArtifactEntry entry, StoredRow? row, CancellationToken cancellationToken)
    {
        var rows = await records.FindAsync([file.StoragePath], cancellationToken).ConfigureAwait(false);
        return rows.GetValueOrDefault(file.StoragePath) != row
            || await file.Store.FindAsync(file.Path, cancellationToken).ConfigureAwait(false) is not { } now
            || now.ETag != entry.ETag;
    }

    private Task WriteAsync(ArtifactLocation file, long size, string? sha256, CancellationToken cancellationToken) =>
        records.WriteAsync(new ArtifactRow(file, size, sha256, null, StoredTime.Now()), cancellationToken);

    private async Task FindMissingAsync(bool repair, Func<ArtifactProblem, string, Task> report, CancellationToken cancellationToken)
    {
        var after = 0L;
        while (await records.PageAsync(after, cancellationToken).ConfigureAwait(false) is { Count: > 0 } rows)
        {
            after = rows[^1].Key;
            Rows += rows.Count;
            var missing = new List<long>();
            foreach (var row in rows.Where(row => !IsSeen(row.Key) && row.UploadId is null))
            {
                if (roots.Find(row.StoragePath) is not { } file)
                {
                    Elsewhere++;
                }
                else if (await file.Store.FindAsync(file.Path, cancellationToken).ConfigureAwait(false) is null or { IsFolder: true })
                {
                    missing.Add(row.Key);
                    await report(ArtifactProblem.Missing, row.StoragePath).ConfigureAwait(false);
                }
            }

            if (repair && missing.Count > 0)
                await records.DeleteMissingAsync(missing, cancellationToken).ConfigureAwait(false);
        }
    }

    private void MarkSeen(long key)
    {
        if (!seen.TryGetValue(key >> 16, out var block))
            seen.Add(key >> 16, block = new ulong[1024]);
        block[(key & 0xFFFF) >> 6] |= 1UL << (int)(key & 63);
    }

    private bool IsSeen(long key) =>
        seen.TryGetValue(key >> 16, out var block) && (block[(key & 0xFFFF) >> 6] & (1UL << (int)(key & 63))) != 0;
}
