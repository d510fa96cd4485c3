using Microsoft.Win32.SafeHandles;

namespace MlflowCompat.Artifacts.Local;

/// <summary>A file or folder that is open as a place and has been proven to be below the artifact root.</summary>
/// <param name="handle">Where it is.</param>
/// <param name="status">What it is.</param>
/// <param name="realPath">Its path, free of links, at the time of the proof.</param>
internal sealed class Place(SafeFileHandle handle, FileStatus status, string realPath) : IDisposable
{
    public SafeFileHandle Handle { get; } = handle;

    public FileStatus Status { get; } = status;

    public string RealPath { get; } = realPath;

    public bool IsFolder => Status.Kind == FileKind.Folder;

    /// <summary>Opens a path from this folder, following links, unless it leads out of it.</summary>
    /// <param name="path">Relative; empty for this folder itself.</param>
    /// <param name="place">What was opened, if 0 is returned.</param>
    /// <returns>0 or the number of the error; <see cref="Errno.TooManyLinks"/> where the path leads out.</returns>
    public int Open(string path, out Place? place)
    {
        place = null;
        var error = Open(Handle, path.Length == 0 ? "." : path, out var opened);
        if (error != 0)
            return error;
        if (!Contains(opened!.RealPath))
        {
            opened.Dispose();
            return Errno.TooManyLinks;
        }

        place = opened;
        return 0;
    }

    /// <summary>Opens a folder by its absolute path.</summary>
    public static int OpenAbsolute(string path, out Place? place) => Open(null, path, out place);

    /// <summary>The path from this folder to a place that was opened from it, free of links; empty for itself.</summary>
    public string PathTo(Place place) => place.RealPath.Length == RealPath.Length ? "" : place.RealPath[Prefix.Length..];

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private string Prefix => RealPath is "/" ? "/" : RealPath + "/";

    private bool Contains(string realPath) => realPath == RealPath || realPath.StartsWith(Prefix, StringComparison.Ordinal);

    private static int Open(SafeFileHandle? folder, string path, out Place? place)
    {
        place = null;
        var error = Linux.OpenPlace(folder, path, out var handle);
        if (error != 0)
            return error;
        error = Linux.Stat(handle!, out var status);
        if (error == 0)
            place = new Place(handle!, status, Linux.RealPathOf(handle!));
        else
            handle!.Dispose();
        return error;
    }
}
