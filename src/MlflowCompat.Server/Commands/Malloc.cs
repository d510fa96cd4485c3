using System.Runtime.InteropServices;

namespace MlflowCompat.Server.Commands;

/// <summary>The C library's memory, from which the runtime's compiler and SQLite take theirs.</summary>
internal static class Malloc
{
    private const int MmapThreshold = -3;

    /// <summary>The compiler takes as much at a time.</summary>
    private const int CompilerBlockBytes = 64 * 1024;

    /// <summary>
    /// Has glibc map blocks of 64 KiB and more by themselves, so that they go back to the system when they are freed. It would do so from
    /// 128 KiB on only, and later from 32 MiB on: ten megabytes of the compiler's blocks would stay with the process for good.
    /// </summary>
    public static void ReturnLargeBlocks()
    {
        if (!OperatingSystem.IsLinux())
            return;
        try
        {
            _ = mallopt(MmapThreshold, CompilerBlockBytes);
        }
        catch (Exception exception) when (exception is EntryPointNotFoundException or DllNotFoundException)
        {
            // Another C library: musl has no such setting.
        }
    }

    [DllImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.System32)]
    private static extern int mallopt(int parameter, int value);
}
