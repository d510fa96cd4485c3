using System.Buffers;
using System.Collections.Concurrent;
using System.IO.Enumeration;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace MlflowCompat.Artifacts.Local;

/// <summary>
/// Keeps artifacts as files below a folder, which is made with the first of them. Works on Linux only.
/// </summary>
/// <remarks>
/// Uploads are staged in <c>.mlflow-compat/uploads</c> below the root, so that publishing is a rename. Links below the root are followed as
/// long as they stay in it; one that leads out is as good as absent, and nothing can be written through it.
/// </remarks>
public sealed class LocalArtifactStore : ArtifactStore
{
    internal const string Reserved = ".mlflow-compat";

    private const string Staging = Reserved + "/uploads";

    private const int BufferSize = 256 * 1024;

    /// <summary>
    /// Room that is set aside at once for a file; somebody who claims to send more gets the rest as it comes, so that claims alone do not
    /// fill the disk.
    /// </summary>
    private const long MaxAllocation = 16 * 1024 * 1024;

    /// <summary>Bytes after which the disk starts to write, so that it is not idle until the flush.</summary>
    private const int WriteBackSize = 8 * 1024 * 1024;

    /// <summary>Files in a folder beyond which looking at them takes long enough to be in the way of other requests.</summary>
    private const int LargeFolder = 1000;

    /// <summary>Attempts to publish into a folder that others remove, which they can do again and again only by chance.</summary>
    private const int MaxAttempts = 100;

    /// <summary>
    /// Large folders are looked at on threads of their own, a few at a time: on those of the pool a few such requests would keep all others
    /// waiting.
    /// </summary>
    private static readonly SemaphoreSlim LargeListings = new(Environment.ProcessorCount);

    /// <summary>By default names that begin with a point are left out.</summary>
    private static readonly EnumerationOptions EveryEntry = new() { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false };

    private readonly string folder;

    /// <summary>Folders with renames that a loss of power could undo.</summary>
    private readonly ConcurrentDictionary<ArtifactPath, bool> unflushed = new();

    internal LocalArtifactStore(string folder)
    {
        this.folder = folder;
        Multipart = new LocalMultipartUploads(this);
    }

    /// <inheritdoc/>
    public override string StorageType => "local";

    /// <inheritdoc/>
    public override MultipartUploads Multipart { get; }

    /// <summary>The folder that a root names, as an absolute path; null if it is not one of this machine.</summary>
    internal static string? FolderOf(string root)
    {
        if (root.StartsWith("file:", StringComparison.OrdinalIgnoreCase))
        {
            var path = root["file:".Length..];
            if (path.StartsWith("//", StringComparison.Ordinal))
            {
                var slash = path.IndexOf('/', 2);
                if (slash < 0 || path[2..slash] is not ("" or "localhost" or "127.0.0.1"))
                    return null;
                path = path[slash..];
            }

            return FullPath(Uri.UnescapeDataString(path));
        }

        var colon = root.IndexOf(':', StringComparison.Ordinal);
        var isUri = colon > 0 && char.IsAsciiLetter(root[0]) && !root.AsSpan(0, colon).ContainsAny('/', '.');
        return isUri ? null : FullPath(root);
    }

    /// <inheritdoc/>
    public override string LocationOf(ArtifactPath path)
    {
        var escaped = string.Join('/', folder.Split('/').Select(Uri.EscapeDataString));
        return path.IsRoot ? $"file://{escaped}" : $"file://{escaped}/{Escape(path)}";
    }

    /// <inheritdoc/>
    public override Task<ArtifactEntry?> FindAsync(ArtifactPath path, CancellationToken cancellationToken) => Task.FromResult(Find(path));

    /// <inheritdoc/>
    public override async Task<IReadOnlyList<ArtifactEntry>> ListAsync(ArtifactPath folder, CancellationToken cancellationToken)
    {
        using var place = Open(folder);
        if (place is null || !place.IsFolder)
            return [];
        var names = NamesIn(place);
        if (names.Count <= LargeFolder)
            return List();

        await LargeListings.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await Task.Factory.StartNew(List, cancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        finally
        {
            LargeListings.Release();
        }

        List<ArtifactEntry> List()
        {
            var entries = Entries(folder, place, names, cancellationToken).ConvertAll(listed => listed.Entry);
            entries.Sort((one, other) => ByCodePoints(one.Path.Name, other.Path.Name));
            return entries;
        }
    }

    /// <inheritdoc/>
    public override async IAsyncEnumerable<ArtifactEntry> ListFilesAsync(
        ArtifactPath folder, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.CompletedTask;
        var folders = new Stack<ArtifactPath>([folder]);
        while (folders.TryPop(out var next))
        {
            foreach (var (entry, isLink) in Entries(next, cancellationToken))
            {
                if (!entry.IsFolder)
                    yield return entry;
                else if (!isLink) // Else what it leads to would come twice, or for ever.
                    folders.Push(entry.Path);
            }
        }
    }

    /// <inheritdoc/>
    public override Task<ArtifactContent> OpenAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        using var place = Open(path) ?? throw Errno.ToFault(Errno.NoEntry);
        if (Entry(path, place.Status) is not { IsFolder: false } entry)
            throw Errno.ToFault(Errno.IsAFolder);
        var error = Linux.OpenToRead(place.Handle, out var file);
        return error == 0 ? Task.FromResult<ArtifactContent>(new LocalContent(entry, file!)) : throw Errno.ToFault(error);
    }

    /// <inheritdoc/>
    public override async Task<StagedArtifact> StageAsync(
        ArtifactPath path, Stream content, long? length, CancellationToken cancellationToken)
    {
        using var staging = OpenStagingFor(path);
        var uploadId = NewUploadId();
        var file = await WriteFileAsync(staging, uploadId, content.ReadAsync, length, isFinal: true, cancellationToken).ConfigureAwait(false);
        return new LocalStagedArtifact(this, path, uploadId, file.Status.Size, file.Sha256!, partsId: null);
    }

    /// <inheritdoc/>
    public override Task<ArtifactEntry?> RecoverAsync(ArtifactPath path, string uploadId, CancellationToken cancellationToken)
    {
        if (IsUploadId(uploadId))
        {
            try
            {
                CheckTarget(path);
                if (Publish(path, uploadId) is { } published)
                    return Task.FromResult<ArtifactEntry?>(published);
            }
            catch (ArtifactStoreException exception) when (exception.Fault is ArtifactFault.NotAFile or ArtifactFault.InvalidPath)
            {
                RemoveStaged(uploadId);
            }
        }

        return Task.FromResult(Find(path));
    }

    /// <inheritdoc/>
    public override Task FlushAsync(CancellationToken cancellationToken)
    {
        foreach (var path in unflushed.Keys)
        {
            cancellationToken.ThrowIfCancellationRequested();
            // Before the flush: what is published during it needs one more.
            if (!unflushed.TryRemove(path, out _))
                continue;
            try
            {
                Flush(path);
            }
            catch (ArtifactStoreException)
            {
                unflushed.TryAdd(path, true);
                throw;
            }
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override Task DeleteAsync(ArtifactPath path, CancellationToken cancellationToken)
    {
        CheckNotReserved(path);
        if (path.IsRoot)
        {
            using var whole = OpenRoot();
            foreach (var name in whole is null ? [] : NamesIn(whole))
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (!IsReserved(name))
                    Remove(whole!, name);
            }

            return Task.CompletedTask;
        }

        using (var parent = Open(path.Parent))
        {
            // Only what is in a folder may be removed; a link to a file is nothing that could be.
            if (parent is null || !parent.IsFolder)
                return Task.CompletedTask;
            Remove(parent, path.Name);
        }

        RemoveEmptyFolders(path.Parent);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override Task SweepAsync(TimeSpan age, CancellationToken cancellationToken)
    {
        using var staging = OpenStaging(create: false);
        var youngest = DateTimeOffset.UtcNow - age;
        foreach (var name in staging is null ? [] : NamesIn(staging))
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (LastWrite(staging!, name) is { } written && written < youngest)
                RemoveStaged(name);
        }

        return Task.CompletedTask;
    }

    /// <summary>Makes a new file, of which nothing is left if that fails.</summary>
    /// <param name="parent">The staging folder, or one in it.</param>
    /// <param name="name">Its name there.</param>
    /// <param name="read">Fills a part of the buffer and says how much; 0 at the end.</param>
    /// <param name="length">Bytes to come, if known.</param>
    /// <param name="isFinal">Whether it is to be published as it is: it is hashed and flushed to disk.</param>
    /// <param name="cancellationToken">Ends the upload.</param>
    internal static async Task<(FileStatus Status, string? Sha256)> WriteFileAsync(
        Place parent,
        string name,
        Func<Memory<byte>, CancellationToken, ValueTask<int>> read,
        long? length,
        bool isFinal,
        CancellationToken cancellationToken)
    {
        using var file = CreateFile(parent, name, length);
        try
        {
            using var hash = isFinal ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
            await WriteAsync(file, hash, read, length, cancellationToken).ConfigureAwait(false);
            if (isFinal)
                Try(() => RandomAccess.FlushToDisk(file));
            if (Linux.Stat(file, out var status) is var error and not 0)
                throw Errno.ToFault(error);
            return (status, hash is null ? null : Convert.ToHexStringLower(hash.GetHashAndReset()));
        }
        catch
        {
            Linux.RemoveFile(parent.Handle, name);
            throw;
        }
    }

    /// <summary>Puts a staged file in its place.</summary>
    /// <returns>What it is there; null if there is no such staged file, because it has been published or removed already.</returns>
    internal ArtifactEntry? Publish(ArtifactPath path, string uploadId)
    {
        using var root = OpenRoot();
        using var staging = root is null ? null : OpenStaging(root, create: false);
        if (staging is null)
            return null;

        for (var attempt = 1; ; attempt++)
        {
            if (Linux.Stat(staging.Handle, uploadId, out var status) is var missing and not 0)
                return missing == Errno.NoEntry ? null : throw Errno.ToFault(missing);

            var error = OpenOrMakeFolder(root!, path.Parent, out var parent);
            using (parent)
            {
                // If somebody is removing the folder since it was opened, the file goes with it: it came before that.
                if (error == 0)
                    error = Linux.Rename(staging.Handle, uploadId, parent!.Handle, path.Name);
            }

            if (error == 0)
            {
                unflushed.TryAdd(path.Parent, true);
                return Entry(path, status);
            }

            // A folder on the way was empty, and somebody removed it just now.
            if (error == Errno.NoEntry && attempt < MaxAttempts)
                continue;
            RemoveEmptyFolders(path.Parent);
            throw Errno.ToFault(error == Errno.NoEntry ? Errno.Busy : error);
        }
    }

    /// <summary>Removes what an upload has left in the staging folder; does nothing if there is nothing.</summary>
    internal void RemoveStaged(string uploadId)
    {
        using var staging = OpenStaging(create: false);
        if (staging is not null && Linux.RemoveFile(staging.Handle, uploadId) == Errno.IsAFolder)
            RemoveTree(staging, uploadId);
    }

    /// <summary>The staging folder; null if there is none and none is to be made.</summary>
    internal Place? OpenStaging(bool create)
    {
        using var root = OpenRoot(create);
        return root is null ? null : OpenStaging(root, create);
    }

    /// <summary>The staging folder for an upload, which is refused if it could not be published anyhow.</summary>
    internal Place OpenStagingFor(ArtifactPath path)
    {
        CheckName(path);
        using var root = OpenRoot(create: true)!;
        CheckTarget(root, path);
        return OpenStaging(root, create: true)!;
    }

    private static Place? OpenStaging(Place root, bool create)
    {
        var error = root.Open(Staging, out var staging);
        if (error == Errno.NoEntry && create)
        {
            Linux.MakeFolder(root.Handle, Reserved);
            Linux.MakeFolder(root.Handle, Staging);
            error = root.Open(Staging, out staging);
        }

        return error is 0 ? staging : error is Errno.NoEntry && !create ? null : throw Errno.ToFault(error);
    }

    internal static string NewUploadId() => RandomNumberGenerator.GetHexString(32, lowercase: true);

    /// <summary>Whether a text can be an upload id of this store; nothing else may be used as a name in the staging folder.</summary>
    internal static bool IsUploadId(string text) => text.Length == 32 && text.All(char.IsAsciiHexDigitLower);

    internal static string Escape(ArtifactPath path) => string.Join('/', path.Value.Split('/').Select(Uri.EscapeDataString));

    private static string FullPath(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));

    private static void CheckNotReserved(ArtifactPath path)
    {
        if (IsReserved(path.Value))
            throw ArtifactPath.Invalid();
    }

    /// <summary>Whether a path from the root is the folder that this store keeps for itself, or below it; some file systems ignore case.</summary>
    private static bool IsReserved(string path) =>
        path.StartsWith(Reserved, StringComparison.OrdinalIgnoreCase) && (path.Length == Reserved.Length || path[Reserved.Length] == '/');

    private static ArtifactEntry? Entry(ArtifactPath path, FileStatus status) => status.Kind switch
    {
        FileKind.Folder => new(path, IsFolder: true, 0, DateTimeOffset.UnixEpoch, ""),
        FileKind.File => new(path, IsFolder: false, status.Size, status.Modified, status.ETag),
        _ => null,
    };

    private Place? OpenRoot(bool create = false)
    {
        var error = Place.OpenAbsolute(folder, out var root);
        if (error == Errno.NoEntry && create)
        {
            Try(() => Directory.CreateDirectory(folder));
            error = Place.OpenAbsolute(folder, out root);
        }

        if (error is Errno.NoEntry && !create)
            return null;
        if (error != 0)
            throw Errno.ToFault(error);
        if (root!.IsFolder)
            return root;
        root.Dispose();
        throw new ArtifactStoreException(ArtifactFault.Refused, "The artifact root of this server is not a folder");
    }

    /// <summary>What is at a path, links followed; null if there is nothing, or it is not in the store.</summary>
    private Place? Open(ArtifactPath path)
    {
        CheckNotReserved(path);
        using var root = OpenRoot();
        if (root is null)
            return null;
        var error = OpenBelow(root, path, out var place);
        return error switch
        {
            0 => place,
            Errno.NoEntry or Errno.NotAFolder or Errno.TooManyLinks => null,
            _ => throw Errno.ToFault(error),
        };
    }

    /// <summary>
    /// Like <see cref="Place.Open(string, out Place?)"/>; what is in the staging folder, through a link or because it is being removed, is
    /// not there.
    /// </summary>
    private static int OpenBelow(Place root, ArtifactPath path, out Place? place)
    {
        var error = root.Open(path.Value, out place);
        if (error != 0 || !IsReserved(root.PathTo(place!)))
            return error;
        place!.Dispose();
        place = null;
        return Errno.NoEntry;
    }

    /// <summary>Opens a folder for writing into it, and makes what is missing of it.</summary>
    /// <returns>0 or the number of the error: <see cref="Errno.NoEntry"/> if what has been made was removed meanwhile.</returns>
    private int OpenOrMakeFolder(Place root, ArtifactPath path, out Place? place)
    {
        var error = OpenBelow(root, path, out place);
        if (error == Errno.NoEntry)
        {
            // From above, where somebody may be removing what was just made.
            error = OpenOrMakeFolder(root, path.Parent, out var parent);
            using (parent)
            {
                if (error == 0)
                    error = Linux.MakeFolder(parent!.Handle, path.Name);
                if (error == 0)
                    unflushed.TryAdd(path.Parent, true);
                if (error is 0 or Errno.Exists)
                    error = OpenBelow(root, path, out place);
                // What is there and is not is a link that leads nowhere.
                if (error == Errno.NoEntry && parent is not null
                    && Linux.Stat(parent.Handle, path.Name, out var status) == 0 && status.Kind == FileKind.Link)
                    error = Errno.TooManyLinks;
            }
        }

        if (error == 0 && !place!.IsFolder)
        {
            place.Dispose();
            place = null;
            return Errno.NotAFolder;
        }

        return error;
    }

    /// <summary>Refuses what could not be published anyhow before its content is taken in.</summary>
    internal void CheckTarget(ArtifactPath path)
    {
        CheckName(path);
        using var root = OpenRoot();
        if (root is not null)
            CheckTarget(root, path);
    }

    private static void CheckName(ArtifactPath path)
    {
        CheckNotReserved(path);
        if (path.IsRoot)
            throw Errno.ToFault(Errno.IsAFolder);
    }

    private static void CheckTarget(Place root, ArtifactPath path)
    {
        // A link to a file is replaced like a file; one to a folder is one.
        var error = OpenBelow(root, path, out var target);
        using (target)
        {
            if (error == 0 && target!.Status.Kind != FileKind.File)
                throw Errno.ToFault(Errno.IsAFolder);
        }

        if (error is not (Errno.NoEntry or Errno.TooManyLinks))
        {
            if (error != 0)
                throw Errno.ToFault(error);
            return;
        }

        // Also a link that leads nowhere is replaced, unless it would have to be followed.
        error = OpenBelow(root, path.Parent, out var parent);
        using (parent)
        {
            if (error is not (0 or Errno.NoEntry))
                throw Errno.ToFault(error);
        }
    }

    private void Flush(ArtifactPath path)
    {
        using var place = Open(path);
        if (place is null)
            return;
        if (Linux.OpenToRead(place.Handle, out var opened) is var error and not 0)
            throw Errno.ToFault(error);
        using (opened)
            Try(() => RandomAccess.FlushToDisk(opened!));
    }

    private ArtifactEntry? Find(ArtifactPath path)
    {
        using var place = Open(path);
        return place is null ? null : Entry(path, place.Status);
    }

    private List<(ArtifactEntry Entry, bool IsLink)> Entries(ArtifactPath path, CancellationToken cancellationToken)
    {
        using var place = Open(path);
        return place is { IsFolder: true } ? Entries(path, place, NamesIn(place), cancellationToken) : [];
    }

    private List<(ArtifactEntry Entry, bool IsLink)> Entries(
        ArtifactPath path, Place place, List<string> names, CancellationToken cancellationToken)
    {
        var entries = new List<(ArtifactEntry, bool)>(names.Count);
        foreach (var name in names)
        {
            cancellationToken.ThrowIfCancellationRequested();
            // Of what is not there any more nothing is said.
            if ((path.IsRoot && IsReserved(name)) || path.Below(name) is not { } below || Linux.Stat(place.Handle, name, out var status) != 0)
                continue;
            var isLink = status.Kind == FileKind.Link;
            if ((isLink ? Find(below) : Entry(below, status)) is { } entry)
                entries.Add((entry, isLink));
        }

        return entries;
    }

    internal static List<string> NamesIn(Place place) => Try(() => new FileSystemEnumerable<string>(
        Linux.PathOf(place.Handle), (ref FileSystemEntry entry) => entry.FileName.ToString(), EveryEntry).ToList());

    /// <summary>Order by code points, which is that of UTF-8; in UTF-16 surrogates come before U+E000.</summary>
    private static int ByCodePoints(string one, string other)
    {
        var common = one.AsSpan().CommonPrefixLength(other);
        return common == one.Length || common == other.Length
            ? one.Length.CompareTo(other.Length)
            : Rank(one[common]).CompareTo(Rank(other[common]));

        static int Rank(char unit) => char.IsSurrogate(unit) ? unit + 0x10000 : unit;
    }

    /// <summary>Removes a file, a link or a folder with all that it holds.</summary>
    private void Remove(Place parent, string name)
    {
        var error = Linux.RemoveFile(parent.Handle, name);
        if (error == Errno.IsAFolder)
        {
            // In one step, so that whatever is published there is in it or comes afterwards.
            using var staging = OpenStaging(create: true)!;
            var aside = NewUploadId();
            error = Linux.Rename(parent.Handle, name, staging.Handle, aside);
            if (error == 0)
                RemoveTree(staging, aside);
            else if (error != Errno.NoEntry)
            {
                // No room for the name, or another file system is mounted there.
                RemoveTree(parent, name);
                error = 0;
            }
        }

        if (error is not (0 or Errno.NoEntry))
            throw Errno.ToFault(error);
    }

    /// <summary>Removes a folder with all that it holds; links in it are removed, not followed.</summary>
    private static void RemoveTree(Place parent, string name)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                Try(() => Directory.Delete($"{Linux.PathOf(parent.Handle)}/{name}", recursive: true));
                return;
            }
            catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotFound)
            {
                return; // Somebody else was faster.
            }
            catch (ArtifactStoreException exception)
                when (exception.InnerException!.HResult == Errno.NotEmpty && attempt < MaxAttempts)
            {
                // Somebody has just published into it, who had opened it before it was taken away.
            }
        }
    }

    /// <summary>Removes a folder and those above it as far as they are empty; the root stays.</summary>
    private void RemoveEmptyFolders(ArtifactPath path)
    {
        for (; !path.IsRoot; path = path.Parent)
        {
            using var parent = Open(path.Parent);
            if (parent is not null && Linux.RemoveEmptyFolder(parent.Handle, path.Name) is not (0 or Errno.NoEntry))
                return;
        }
    }

    /// <summary>When a staged file, or one of the parts in a folder, was written last; null if it is gone.</summary>
    private static DateTimeOffset? LastWrite(Place staging, string name)
    {
        if (staging.Open(name, out var place) != 0)
            return null;
        using (place)
        {
            var last = place!.Status.Modified;
            foreach (var part in place.IsFolder ? NamesIn(place) : [])
            {
                if (Linux.Stat(place.Handle, part, out var status) == 0 && status.Modified > last)
                    last = status.Modified;
            }

            return last;
        }
    }

    private static SafeFileHandle CreateFile(Place parent, string name, long? length)
    {
        var error = Linux.CreateFile(parent.Handle, name, out var file);
        if (error != 0)
            throw Errno.ToFault(error);
        if (length is > MaxAllocation && Try(() => new DriveInfo(parent.RealPath).AvailableFreeSpace) < length)
            error = Errno.NoSpace;
        else if (length is > BufferSize)
            error = Linux.Allocate(file!, Math.Min(length.Value, MaxAllocation));
        if (error == 0)
            return file!;
        file!.Dispose();
        Linux.RemoveFile(parent.Handle, name);
        throw Errno.ToFault(error);
    }

    private static async Task WriteAsync(
        SafeFileHandle file,
        IncrementalHash? hash,
        Func<Memory<byte>, CancellationToken, ValueTask<int>> read,
        long? length,
        CancellationToken cancellationToken)
    {
        var size = 0L;
        var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        var writing = Array.Empty<byte>();
        var pending = Task.CompletedTask;
        try
        {
            while (true)
            {
                var filled = 0;
                int taken;
                do
                {
                    taken = await read(buffer.AsMemory(filled, BufferSize - filled), cancellationToken).ConfigureAwait(false);
                    filled += taken;
                }
                while (taken > 0 && filled < BufferSize);

                await pending.ConfigureAwait(false);
                var offset = size;
                size += filled;
                if (taken == 0)
                {
                    Append(buffer, filled, offset);
                    break;
                }

                // The next bytes come in while these are hashed and written.
                if (writing.Length == 0)
                    writing = ArrayPool<byte>.Shared.Rent(BufferSize);
                (buffer, writing) = (writing, buffer);
                var full = writing;
                pending = Task.Run(() => Append(full, BufferSize, offset), CancellationToken.None);
            }
        }
        finally
        {
            await pending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            ArrayPool<byte>.Shared.Return(buffer);
            if (writing.Length > 0)
                ArrayPool<byte>.Shared.Return(writing);
        }

        if (length is { } expected && size != expected)
            throw new EndOfStreamException($"{size} bytes came instead of {expected}");

        void Append(byte[] bytes, int count, long offset)
        {
            hash?.AppendData(bytes, 0, count);
            Try(() => RandomAccess.Write(file, bytes.AsSpan(0, count), offset));
            if ((offset + count) % WriteBackSize == 0)
                Linux.StartWriteBack(file, offset + count - WriteBackSize, WriteBackSize);
        }
    }

    internal static void Try(Action action) => Try<object?>(() =>
    {
        action();
        return null;
    });

    /// <summary>Calls what reports errors of the file system by exceptions of .NET.</summary>
    internal static T Try<T>(Func<T> function)
    {
        try
        {
            return function();
        }
        catch (UnauthorizedAccessException exception)
        {
            throw Errno.ToFault(Errno.Access, exception);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            throw Errno.ToFault(Errno.NoEntry, exception);
        }
        catch (PathTooLongException exception)
        {
            throw Errno.ToFault(Errno.NameTooLong, exception);
        }
        catch (IOException exception)
        {
            // On Linux it holds the number of the error as it is.
            throw Errno.ToFault(exception.HResult, exception);
        }
    }
}
