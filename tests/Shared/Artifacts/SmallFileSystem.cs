using System.Diagnostics;

namespace MlflowCompat.Testing;

/// <summary>A small file system in memory, for what happens when it is full or read-only.</summary>
internal sealed class SmallFileSystem : IDisposable
{
    /// <summary>Why there can be none on this machine, or null.</summary>
    public static readonly string? Impossible = Try();

    /// <param name="folder">An empty one; one of its own if left out.</param>
    /// <param name="size">Its size in MiB.</param>
    public SmallFileSystem(string? folder = null, int size = 1)
    {
        Folder = folder ?? TestFolder.Create();
        Run("mount", "-t", "tmpfs", "-o", $"size={size}m", "tmpfs", Folder);
    }

    public string Folder { get; }

    public void MakeReadOnly() => Run("mount", "-o", "remount,ro", Folder);

    public void Dispose()
    {
        Run("umount", Folder);
        TestFolder.Remove(Folder);
    }

    private static string? Try()
    {
        try
        {
            new SmallFileSystem().Dispose();
            return null;
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return $"No file system can be mounted here: {exception.Message}";
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException(error.Trim());
    }
}

/// <summary>A fact about a full or read-only file system; skipped, with the reason, where none can be mounted.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class SmallFileSystemFactAttribute : Xunit.FactAttribute
{
    public SmallFileSystemFactAttribute() => Skip = SmallFileSystem.Impossible;
}
