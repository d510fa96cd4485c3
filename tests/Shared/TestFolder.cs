using System.Globalization;

namespace MlflowCompat.Testing;

/// <summary>
/// Folders below the machine's temporary one that live as long as the test process. Their names carry its process id, so that what a
/// killed run could not remove is told apart from what a running one needs, and is removed by the next run.
/// </summary>
public static class TestFolder
{
    private const string Prefix = "mlflow-compat-test-";

    private static readonly List<string> Created = [];
    private static int count;

    static TestFolder()
    {
        foreach (var leftover in Directory.EnumerateDirectories(Path.GetTempPath(), Prefix + "*"))
        {
            var owner = Path.GetFileName(leftover)[Prefix.Length..].Split('-')[0];
            if (int.TryParse(owner, CultureInfo.InvariantCulture, out var process) && !IsRunning(process))
                Remove(leftover);
        }

        AppDomain.CurrentDomain.ProcessExit += (_, _) =>
        {
            lock (Created)
                Created.ForEach(Remove);
        };
    }

    /// <summary>A path for a folder that the caller makes and removes.</summary>
    public static string Reserve() => Path.Combine(
        Path.GetTempPath(),
        string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-{Interlocked.Increment(ref count)}"));

    /// <summary>Makes a folder, which is removed when the process ends.</summary>
    public static string Create()
    {
        var path = Reserve();
        Directory.CreateDirectory(path);
        lock (Created)
            Created.Add(path);
        return path;
    }

    /// <summary>Removes a folder as far as that is possible.</summary>
    public static void Remove(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Gone already, or of another user: nothing that a test could be blamed for.
        }
    }

    private static bool IsRunning(int process)
    {
        try
        {
            using var running = System.Diagnostics.Process.GetProcessById(process);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
