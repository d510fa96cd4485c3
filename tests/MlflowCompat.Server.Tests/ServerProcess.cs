using System.Diagnostics;
using System.Globalization;

namespace MlflowCompat.Server.Tests;

/// <summary>The program in a process of its own, which can be killed and told to stop.</summary>
public sealed class ServerProcess : ApiServer, IAsyncDisposable
{
    private readonly Process process;
    private readonly Task<string[]> output;

    private ServerProcess(Process process, string address)
        : base(address)
    {
        this.process = process;
        // What is still printed has to go somewhere, or the server waits for its reader.
        output = Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
    }

    /// <summary>Starts a server on a free port and waits until it listens.</summary>
    /// <param name="backendStoreUri">Its database.</param>
    /// <param name="options">Further options.</param>
    public static Task<ServerProcess> StartAsync(string backendStoreUri, params string[] options) => StartAsync(backendStoreUri, new Dictionary<string, string>(), options);

    /// <summary>Starts a server on a free port and waits until it listens.</summary>
    /// <param name="backendStoreUri">Its database.</param>
    /// <param name="variables">Settings in its environment.</param>
    /// <param name="options">Further options.</param>
    public static async Task<ServerProcess> StartAsync(
        string backendStoreUri, Dictionary<string, string> variables, params string[] options)
    {
        const string Line = "MLFLOW_TRACKING_URI=";
        var process = StartProgram(["server", "--port", "0", "--backend-store-uri", backendStoreUri, .. options], variables);
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            if (line.IndexOf(Line, StringComparison.Ordinal) is >= 0 and var at)
                return new ServerProcess(process, line[(at + Line.Length)..]);
        }

        throw new InvalidOperationException($"The server ended before it said where it listens: {await process.StandardError.ReadToEndAsync()}");
    }

    /// <summary>Starts the program in an empty folder, in which it makes what it makes by default, and without settings from outside.</summary>
    public static Process StartProgram(params string[] arguments) => StartProgram(arguments, new Dictionary<string, string>());

    /// <summary>Starts the program in an empty folder, with no settings from outside but these.</summary>
    public static Process StartProgram(string[] arguments, Dictionary<string, string> variables)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            WorkingDirectory = TestFolder.Create(),
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "mlflow-compat.dll"));
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MLFLOW_", StringComparison.Ordinal)).ToList())
            start.Environment.Remove(name);
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        return Process.Start(start)!;
    }

    /// <summary>Tells a process to stop (SIGTERM).</summary>
    public static async Task TerminateAsync(Process process)
    {
        using var kill = Process.Start("kill", ["-TERM", process.Id.ToString(CultureInfo.InvariantCulture)]);
        await kill.WaitForExitAsync();
    }

    /// <summary>Kills the server (SIGKILL on Unix): it gets no chance to tidy up.</summary>
    public async Task KillAsync()
    {
        process.Kill();
        await process.WaitForExitAsync();
    }

    /// <summary>Tells the server to stop and returns its exit code and what it has printed.</summary>
    /// <exception cref="OperationCanceledException">It has not stopped before <paramref name="cancellationToken"/> was cancelled.</exception>
    public async Task<(int ExitCode, string Output)> StopAsync(CancellationToken cancellationToken)
    {
        await TerminateAsync(process);
        await process.WaitForExitAsync(cancellationToken);
        return (process.ExitCode, string.Concat(await output));
    }

    /// <summary>Kills the server if it is still there.</summary>
    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (!process.HasExited)
            await KillAsync();
        await output;
        process.Dispose();
    }
}
