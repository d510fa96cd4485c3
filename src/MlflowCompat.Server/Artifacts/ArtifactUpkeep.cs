using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Threading.Channels;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Artifacts;

/// <summary>
/// Keeps the artifacts table true beside the requests: it finishes uploads that a server did not come to finish, and writes in batches
/// what no request has to wait for, that uploads are published, that files were read, and which files were found that have no row.
/// None of it is lost for good when the process dies, except counts of the last second.
/// </summary>
/// <param name="records">The rows.</param>
/// <param name="roots">The stores.</param>
/// <param name="logger">Where it says what it could not do.</param>
public sealed class ArtifactUpkeep(ArtifactRecords records, ArtifactRoots roots, ILogger<ArtifactUpkeep> logger) : BackgroundService
{
    /// <summary>How many uploads may wait to be cleared; those beyond are left to the recovery.</summary>
    private const int MaxPublished = 100_000;

    /// <summary>How many files may have counts that are not written yet; those beyond are not counted.</summary>
    private const int MaxAccessed = 10_000;

    /// <summary>How many listings may wait to be compared with the table; others are, when they are asked for again.</summary>
    private const int MaxListings = 16;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RecoveryInterval = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan SweepInterval = TimeSpan.FromHours(6);

    /// <summary>What is older and was never recorded is no upload under way.</summary>
    private static readonly TimeSpan SweepAge = TimeSpan.FromDays(1);

    private readonly ConcurrentDictionary<string, bool> underWay = new(StringComparer.Ordinal);
    private readonly ConcurrentQueue<string> published = [];
    private readonly ConcurrentDictionary<string, (long Count, long Time)> accessed = new(StringComparer.Ordinal);
    private readonly Channel<Listing> listings = Channel.CreateBounded<Listing>(
        new BoundedChannelOptions(MaxListings) { FullMode = BoundedChannelFullMode.DropWrite });

    private long deletions;

    /// <summary>An upload of this server is going to be recorded: nobody else has to finish it.</summary>
    internal void Begin(string uploadId) => underWay[uploadId] = true;

    /// <summary>The file of an upload is in its place.</summary>
    internal void Published(string uploadId)
    {
        if (published.Count < MaxPublished)
            published.Enqueue(uploadId);
        else
            Abandon(uploadId);
    }

    /// <summary>An upload has failed, or is left to the recovery.</summary>
    internal void Abandon(string uploadId) => underWay.TryRemove(uploadId, out _);

    /// <summary>A file was read.</summary>
    internal void Accessed(string storagePath)
    {
        if (accessed.Count < MaxAccessed)
            accessed.AddOrUpdate(storagePath, static (_, now) => (1, now), static (_, counted, now) => (counted.Count + 1, now), StoredTime.Now());
    }

    /// <summary>Files are about to be removed, or just were.</summary>
    internal void Deleting() => Interlocked.Increment(ref deletions);

    /// <summary>To be called before a folder is listed.</summary>
    internal (long Deletions, long Time) BeginListing() => (Interlocked.Read(ref deletions), StoredTime.Now());

    /// <summary>A folder was listed: its files should have rows.</summary>
    internal void Listed((long Deletions, long Time) mark, ArtifactStore store, IReadOnlyList<ArtifactEntry> entries)
    {
        if (entries.Count > 0)
            listings.Writer.TryWrite(new Listing(mark.Deletions, mark.Time, store, entries));
    }

    /// <summary>Writes what waits.</summary>
    internal async Task FlushAsync(CancellationToken cancellationToken)
    {
        await TryAsync("clearing of uploads", ClearUploadsAsync, cancellationToken).ConfigureAwait(false);
        await TryAsync("counting of accesses", CountAsync, cancellationToken).ConfigureAwait(false);
        while (listings.Reader.TryRead(out var listing))
            await TryAsync("adding of files that were found", token => AddFoundAsync(listing, token), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Finishes or forgets uploads that are recorded as unfinished and that nobody is at.</summary>
    /// <param name="atStart">Whether the server has just started: what is unfinished on a local disk was this server's, and nobody is at it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal async Task RecoverAsync(bool atStart, CancellationToken cancellationToken)
    {
        var count = 0;
        foreach (var row in await records.UploadsAsync(cancellationToken).ConfigureAwait(false))
        {
            if (underWay.ContainsKey(row.UploadId!) || roots.Find(row.StoragePath) is not { } file)
                continue;
            if (StoredTime.Now() - row.Time < RecoveryInterval.TotalMilliseconds && !(atStart && file.Store.StorageType == "local"))
                continue;
            await TryAsync($"recovery of an upload to {row.StoragePath}", token => RecoverAsync(file, row.UploadId!, token), cancellationToken)
                .ConfigureAwait(false);
            count++;
        }

        if (count > 0)
            logger.UploadsRecovered(count);
    }

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken).ConfigureAwait(false);
        await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await TryAsync("recovery of uploads", token => RecoverAsync(atStart: true, token), stoppingToken).ConfigureAwait(false);
        await TryAsync("sweeping", SweepAsync, stoppingToken).ConfigureAwait(false);
        var (recovered, swept) = (Stopwatch.GetTimestamp(), Stopwatch.GetTimestamp());
        using var timer = new PeriodicTimer(Interval);
        while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false))
        {
            await FlushAsync(stoppingToken).ConfigureAwait(false);
            if (Stopwatch.GetElapsedTime(recovered) >= RecoveryInterval)
            {
                recovered = Stopwatch.GetTimestamp();
                await TryAsync("recovery of uploads", token => RecoverAsync(atStart: false, token), stoppingToken).ConfigureAwait(false);
            }

            if (Stopwatch.GetElapsedTime(swept) >= SweepInterval)
            {
                swept = Stopwatch.GetTimestamp();
                await TryAsync("sweeping", SweepAsync, stoppingToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Reads a file and returns its size and its SHA-256 as 64 lower-case hexadecimal digits; null if there is none.</summary>
    internal static async Task<(long Size, string Sha256)?> ReadHashAsync(ArtifactLocation file, CancellationToken cancellationToken)
    {
        try
        {
            var content = await file.Store.OpenAsync(file.Path, cancellationToken).ConfigureAwait(false);
            await using (content.ConfigureAwait(false))
            {
                using var hash = SHA256.Create();
                var into = new CryptoStream(Stream.Null, hash, CryptoStreamMode.Write);
                await using (into.ConfigureAwait(false))
                {
                    await content.CopyToAsync(into, 0, content.Entry.Size, cancellationToken).ConfigureAwait(false);
                    await into.FlushFinalBlockAsync(cancellationToken).ConfigureAwait(false);
                }

                return (content.Entry.Size, Convert.ToHexStringLower(hash.Hash!));
            }
        }
        catch (ArtifactStoreException exception) when (exception.Fault is ArtifactFault.NotFound or ArtifactFault.NotAFile)
        {
            return null;
        }
    }

    private async Task RecoverAsync(ArtifactLocation file, string uploadId, CancellationToken cancellationToken)
    {
        using (await records.TakeTurnAsync(file.StoragePath, cancellationToken).ConfigureAwait(false))
        {
            // A newer upload has taken its place: it must not be replaced by the older one.
            var rows = await records.FindAsync([file.StoragePath], cancellationToken).ConfigureAwait(false);
            if (rows.GetValueOrDefault(file.StoragePath)?.UploadId != uploadId)
                return;
            await file.Store.RecoverAsync(file.Path, uploadId, cancellationToken).ConfigureAwait(false);
        }

        // What is there may be the upload or what was there before; only its content tells.
        var content = await ReadHashAsync(file, cancellationToken).ConfigureAwait(false);
        await records.EndUploadAsync(uploadId, content, cancellationToken).ConfigureAwait(false);
    }

    private async Task SweepAsync(CancellationToken cancellationToken)
    {
        foreach (var store in roots.Stores)
            await store.SweepAsync(SweepAge, cancellationToken).ConfigureAwait(false);
    }

    private async Task ClearUploadsAsync(CancellationToken cancellationToken)
    {
        var batch = new List<string>();
        while (!published.IsEmpty)
        {
            batch.Clear();
            while (batch.Count < ArtifactRecords.BatchSize && published.TryDequeue(out var uploadId))
                batch.Add(uploadId);
            try
            {
                // Until an id is forgotten, what a loss of power undoes can be done again.
                foreach (var store in roots.Stores)
                    await store.FlushAsync(cancellationToken).ConfigureAwait(false);
                await records.ClearUploadsAsync(batch, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                batch.ForEach(published.Enqueue);
                throw;
            }

            batch.ForEach(Abandon);
        }
    }

    private async Task CountAsync(CancellationToken cancellationToken)
    {
        foreach (var batch in accessed.Keys.Chunk(ArtifactRecords.BatchSize))
        {
            var counts = new List<(string, long, long)>(batch.Length);
            foreach (var path in batch)
            {
                if (accessed.TryRemove(path, out var counted))
                    counts.Add((path, counted.Count, counted.Time));
            }

            await records.CountAsync(counts, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task AddFoundAsync(Listing listing, CancellationToken cancellationToken)
    {
        foreach (var files in listing.Entries.Where(entry => !entry.IsFolder).Chunk(ArtifactRecords.BatchSize))
        {
            if (Interlocked.Read(ref deletions) != listing.Deletions)
                return;
            var rows = files.Select(file => new ArtifactRow(new ArtifactLocation(listing.Store, file.Path), file.Size, null, null, listing.Time)).ToList();
            var known = await records.FindAsync(rows.ConvertAll(row => row.StoragePath), cancellationToken).ConfigureAwait(false);
            rows.RemoveAll(row => known.TryGetValue(row.StoragePath, out var stored) && stored.Size == row.Size);
            if (rows.Count == 0)
                continue;
            await records.WriteFoundAsync(rows, cancellationToken).ConfigureAwait(false);
            if (Interlocked.Read(ref deletions) != listing.Deletions)
                await RemoveDeletedAsync(rows, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Takes rows back whose files were removed while they were written.</summary>
    private async Task RemoveDeletedAsync(List<ArtifactRow> rows, CancellationToken cancellationToken)
    {
        var missing = new List<string>();
        foreach (var row in rows)
        {
            if (await row.File.Store.FindAsync(row.File.Path, cancellationToken).ConfigureAwait(false) is null)
                missing.Add(row.StoragePath);
        }

        var stored = await records.FindAsync(missing, cancellationToken).ConfigureAwait(false);
        await records.DeleteMissingAsync([.. stored.Values.Select(row => row.Key)], cancellationToken).ConfigureAwait(false);
    }

    private async Task TryAsync(string task, Func<CancellationToken, Task> run, CancellationToken cancellationToken)
    {
        try
        {
            await run(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            logger.ArtifactUpkeepFailed(task, exception.Message);
        }
    }

    /// <summary>A listing whose files are to be compared with the table.</summary>
    private sealed record Listing(long Deletions, long Time, ArtifactStore Store, IReadOnlyList<ArtifactEntry> Entries);
}
