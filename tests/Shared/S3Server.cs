using System.Diagnostics;

namespace MlflowCompat.Testing;

/// <summary>
/// An S3 server for tests: s3rver, a small one from npm, which the first run on a machine installs into
/// <c>$XDG_CACHE_HOME/mlflow-compat</c>. All tests of the process share it and one bucket; each takes a prefix of its own.
/// </summary>
/// <remarks>
/// It stores and serves objects as S3 does. It does not know conditions (If-Match), unfinished uploads (listing them or their parts, giving
/// them up), signatures (of version 4), and the SHA-256 of what is sent.
/// </remarks>
public sealed class S3Server
{
    /// <summary>The bucket that is there.</summary>
    public const string Bucket = "mlflow";

    /// <summary>The only access key that it knows, and its secret.</summary>
    public const string AccessKey = "S3RVER";

    private const string Package = "s3rver@3.7.1";

    /// <summary>The end of its input is the end of the test process, however it came about.</summary>
    private const string Program = """
        const S3rver = require(process.argv[1]);
        new S3rver({
            address: '127.0.0.1', port: 0, directory: process.argv[2], silent: true, vhostBuckets: false,
            configureBuckets: [{ name: process.argv[3], configs: [] }],
        }).run().then(({ port }) => console.log(port));
        process.stdin.on('end', () => process.exit()).resume();
        """;

    private static readonly Lazy<string> Installation = new(Install);
    private static readonly Lazy<Task<S3Server>> SharedServer = new(StartAsync);

    private S3Server(string port) => Endpoint = new Uri($"http://127.0.0.1:{port}");

    /// <summary>Why there can be none here, or null when there can.</summary>
    public static string? Impossible
    {
        get
        {
            try
            {
                _ = Installation.Value;
                return null;
            }
            catch (InvalidOperationException exception)
            {
                return exception.Message;
            }
        }
    }

    /// <summary>Where it listens.</summary>
    public Uri Endpoint { get; }

    /// <summary>The server that all tests of the process share.</summary>
    public static Task<S3Server> SharedAsync() => SharedServer.Value;

    private static async Task<S3Server> StartAsync()
    {
        var start = new ProcessStartInfo("node") { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (var argument in new[] { "-e", Program, Installation.Value, TestFolder.Create(), Bucket })
            start.ArgumentList.Add(argument);
        var process = Process.Start(start)!;
        var port = await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("s3rver did not start");
        // The handler is also what keeps the process, and with it the input, from being collected.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => process.StandardInput.Close();
        return new S3Server(port);
    }

    /// <summary>The folder of the package, installed if it is not yet.</summary>
    private static string Install()
    {
        var caches = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } set
            ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        var cache = Path.Combine(caches, "mlflow-compat", Package);
        var package = Path.Combine(cache, "node_modules", "s3rver");
        if (Directory.Exists(package))
        {
            Run("node", "--version");
            return package;
        }

        // Several test processes may be at it: each makes its own, and the first one to be ready is everybody's.
        var made = TestFolder.Create();
        Run("npm", "install", "--prefix", made, "--no-audit", "--no-fund", "--loglevel=error", Package);
        Directory.CreateDirectory(Path.GetDirectoryName(cache)!);
        Run("cp", "-r", made, cache + Environment.ProcessId);
        try
        {
            Directory.Move(cache + Environment.ProcessId, cache);
        }
        catch (IOException)
        {
            TestFolder.Remove(cache + Environment.ProcessId);
        }

        return package;
    }

    private static void Run(string program, params string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (var argument in arguments)
                start.ArgumentList.Add(argument);
            using var process = Process.Start(start)!;
            var complaints = process.StandardError.ReadToEndAsync();
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            if (process.ExitCode != 0)
                throw new InvalidOperationException($"{program} {arguments[0]} of {Package} failed: {complaints.Result.Trim().Split('\n')[0]}");
        }
        catch (System.ComponentModel.Win32Exception)
        {
            throw new InvalidOperationException($"there is no {program}, which {Package} needs");
        }
    }
}

/// <summary>A fact about a real S3 server; skipped, with the reason, where there can be none.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class S3FactAttribute : Xunit.FactAttribute
{
    public S3FactAttribute() => Skip = S3Server.Impossible;
}
