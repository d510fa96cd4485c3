using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MlflowCompat.Artifacts.Local;

/// <summary>
/// The calls of Linux that work from an open folder instead of a path, so that nothing above it can be exchanged between a check and what
/// follows; .NET has only paths. Each returns 0 or the number of the error, see <see cref="Errno"/>.
/// </summary>
internal static partial class Linux
{
    private const int AtRemoveFolder = 0x200;
    private const int AtSymlinkNoFollow = 0x100;
    private const int AtEmptyPath = 0x1000;

    private const int CloseOnExec = 0x80000;
    private const int PathOnly = 0x200000;
    private const int WriteOnly = 1;
    private const int CreateExclusively = 0x40 | 0x80;

    private const int StatxBasicStats = 0x7ff;

    /// <summary>A file or folder as a place, following links: nothing is read, so that a pipe does not block and a device does nothing.</summary>
    public static int OpenPlace(SafeFileHandle? folder, string path, out SafeFileHandle? handle) =>
        Open(folder, path, PathOnly, out handle);

    /// <summary>What was opened as a place, for reading or, a folder, for flushing.</summary>
    public static int OpenToRead(SafeFileHandle place, out SafeFileHandle? handle) => Open(null, PathOf(place), 0, out handle);

    /// <summary>A new file for writing; links are not followed.</summary>
    public static int CreateFile(SafeFileHandle folder, string name, out SafeFileHandle? handle) =>
        Open(folder, name, WriteOnly | CreateExclusively, out handle);

    /// <summary>Where an open file or folder is now, free of links; ends in " (deleted)" if it is nowhere.</summary>
    public static string RealPathOf(SafeFileHandle handle)
    {
        const int longestPath = 4096;
        Span<byte> path = stackalloc byte[longestPath];
        var length = (int)readlink(PathOf(handle), path, longestPath);
        return length is > 0 and < longestPath
            ? Encoding.UTF8.GetString(path[..length])
            : throw Errno.ToFault(length < 0 ? Marshal.GetLastPInvokeError() : Errno.NameTooLong);
    }

    /// <summary>A path that leads to an open file or folder, wherever it is now.</summary>
    public static string PathOf(SafeFileHandle handle) =>
        string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{handle.DangerousGetHandle()}");

    /// <summary>What an open file or folder is.</summary>
    public static int Stat(SafeFileHandle handle, out FileStatus status) => Stat(handle, "", AtEmptyPath, out status);

    /// <summary>What a name in a folder is; a link is a link.</summary>
    public static int Stat(SafeFileHandle folder, string name, out FileStatus status) =>
        Stat(folder, name, AtSymlinkNoFollow, out status);

    public static int MakeFolder(SafeFileHandle folder, string name) => Result(mkdirat(folder, name, 0b111_111_111));

    /// <summary>Replaces what is under the new name, unless it is a folder, in one step.</summary>
    public static int Rename(SafeFileHandle from, string name, SafeFileHandle to, string newName) =>
        Result(renameat(from, name, to, newName));

    public static int RemoveFile(SafeFileHandle folder, string name) => Result(unlinkat(folder, name, 0));

    public static int RemoveEmptyFolder(SafeFileHandle folder, string name) => Result(unlinkat(folder, name, AtRemoveFolder));

    /// <summary>Sets room aside, without making the file longer; does nothing where the file system cannot.</summary>
    public static int Allocate(SafeFileHandle file, long length)
    {
        const int keepSize = 1;
        var error = Result(fallocate(file, keepSize, 0, length));
        return error is Errno.NoSpace or Errno.Quota ? error : 0;
    }

    /// <summary>Lets the disk begin with a part of a file without waiting for it; no matter if it does not.</summary>
    public static void StartWriteBack(SafeFileHandle file, long offset, long length)
    {
        const uint write = 2;
        _ = sync_file_range(file, offset, length, write);
    }

    private static int Open(SafeFileHandle? folder, string path, int flags, out SafeFileHandle? handle)
    {
        int descriptor;
        do
        {
            descriptor = folder is null
                ? open(path, flags | CloseOnExec, 0b110_110_110)
                : openat(folder, path, flags | CloseOnExec, 0b110_110_110);
        }
        while (descriptor < 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted);
        handle = descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);
        return Result(descriptor);
    }

    private static int Stat(SafeFileHandle folder, string name, int flags, out FileStatus status)
    {
        var error = Result(statx(folder, name, flags, StatxBasicStats, out var found));
        status = new FileStatus(
            (FileKind)(found.Mode & 0xf000), (long)found.Size, found.Inode, found.ModifiedSeconds, found.ModifiedNanoseconds);
        return error;
    }

    private static int Result(int value) => value < 0 ? Marshal.GetLastPInvokeError() : 0;

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags, int mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int openat(SafeFileHandle folder, string path, int flags, int mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int mkdirat(SafeFileHandle folder, string name, int mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int renameat(SafeFileHandle folder, string name, SafeFileHandle newFolder, string newName);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int unlinkat(SafeFileHandle folder, string name, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fallocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint readlink(string path, Span<byte> target, nint size);

    [LibraryImport("libc")]
    private static partial int sync_file_range(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int statx(SafeFileHandle folder, string name, int flags, uint mask, out Statx found);

    /// <summary>The kernel's structure, which is the same on all processors, unlike <c>struct stat</c>.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Statx
    {
        [FieldOffset(28)]
        public ushort Mode;

        [FieldOffset(32)]
        public ulong Inode;

        [FieldOffset(40)]
        public ulong Size;

        [FieldOffset(112)]
        public long ModifiedSeconds;

        [FieldOffset(120)]
        public uint ModifiedNanoseconds;
    }
}

/// <summary>Kinds of directory entries, by the bits of <c>st_mode</c>.</summary>
internal enum FileKind
{
    Folder = 0x4000,
    File = 0x8000,
    Link = 0xa000,
}

/// <summary>What the file system says of a file.</summary>
internal readonly record struct FileStatus(FileKind Kind, long Size, ulong Inode, long ModifiedSeconds, uint ModifiedNanoseconds)
{
    public DateTimeOffset Modified =>
        DateTimeOffset.FromUnixTimeSeconds(ModifiedSeconds).AddTicks(ModifiedNanoseconds / TimeSpan.NanosecondsPerTick);

    /// <summary>The inode makes two files differ that were written within one tick of the file system's clock.</summary>
    public string ETag => string.Create(CultureInfo.InvariantCulture, $"{ModifiedSeconds:x}{ModifiedNanoseconds:x8}-{Size:x}-{Inode:x}");
}

/// <summary>The errors of Linux that are told apart here.</summary>
internal static class Errno
{
    public const int NotPermitted = 1;
    public const int NoEntry = 2;
    public const int Interrupted = 4;
    public const int Access = 13;
    public const int Busy = 16;
    public const int Exists = 17;
    public const int OtherDevice = 18;
    public const int NotAFolder = 20;
    public const int IsAFolder = 21;
    public const int Invalid = 22;
    public const int FileTooBig = 27;
    public const int NoSpace = 28;
    public const int ReadOnly = 30;
    public const int NameTooLong = 36;
    public const int NotEmpty = 39;
    public const int TooManyLinks = 40;
    public const int Quota = 122;

    /// <summary>What a failed call means to whoever asked for it.</summary>
    /// <param name="error">Number of the error.</param>
    /// <param name="inner">The exception that carried it, if one did.</param>
    public static ArtifactStoreException ToFault(int error, Exception? inner = null)
    {
        inner ??= new IOException(Marshal.GetPInvokeErrorMessage(error), error);
        return error switch
        {
            NoEntry => new(ArtifactFault.NotFound, "No such artifact", inner),
            NotAFolder or IsAFolder or Exists or NotEmpty =>
                new(ArtifactFault.NotAFile, "The path names a folder, or leads through a file", inner),
            NameTooLong or TooManyLinks or Invalid => new(ArtifactFault.InvalidPath, "Invalid path", inner),
            NoSpace or Quota or FileTooBig => new(ArtifactFault.Full, "The artifact store has no room left", inner),
            Access or NotPermitted or ReadOnly => new(
                ArtifactFault.Refused,
                "This server lacks the permission to use its artifact root; see who owns the folder and whether it is mounted read-only",
                inner),
            OtherDevice => new(ArtifactFault.Refused, "The artifact root has to be one file system; see what is mounted below it", inner),
            _ => new(ArtifactFault.Unavailable, "The artifact store failed; the log of the server says more", inner),
        };
    }
}
