using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace MlflowCompat.Server.Commands;

/// <summary>
/// The command line: <c>server</c>, which also runs when no command is named, <c>db</c>, <c>artifacts</c> and <c>health</c>. Exit codes: 0 done,
/// 1 it could not be done, 2 the command line or the environment is wrong.
/// </summary>
public static class CommandLine
{
    private const int Done = 0;
    private const int Failed = 1;
    private const int Misused = 2;

    /// <summary>Parses and runs.</summary>
    /// <param name="args">The arguments of the process.</param>
    /// <param name="environment">Looks an environment variable up; null when it is not set.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(IReadOnlyList<string> args, Func<string, string?> environment)
    {
        var result = Parse(args, environment);
        if (result.Action is ParseErrorAction)
        {
            foreach (var error in result.Errors)
                await Console.Error.WriteLineAsync($"error: {error.Message}").ConfigureAwait(false);
            await Console.Error.WriteLineAsync("Try 'mlflow-compat --help'.").ConfigureAwait(false);
            return Misused;
        }

        try
        {
            // The host handles the signals that end a server; the other commands may simply be ended by them.
            var invocation = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            return await result.InvokeAsync(invocation).ConfigureAwait(false);
        }
        catch (UsageException exception)
        {
            await Console.Error.WriteLineAsync($"error: {exception.Message}").ConfigureAwait(false);
            return Misused;
        }
        catch (CommandFailedException exception)
        {
            await Console.Error.WriteLineAsync($"error: {exception.Message}").ConfigureAwait(false);
            return Failed;
        }
    }

    /// <summary>Parses only.</summary>
    internal static ParseResult Parse(IReadOnlyList<string> args, Func<string, string?> environment)
    {
        var root = new RootCommand($"{MlflowApp.Product}: a tracking server for MLflow clients. Without a command it runs the server.");
        // -h is MLflow's short form of --host.
        root.Options.Clear();
        root.Add(new HelpOption("--help", []));
        root.Add(new VersionOption { Action = new PrintVersion() });

        var server = new ServerCommand(environment);
        foreach (var option in server.Options)
            root.Add(option);
        root.Action = server.Action;
        root.Add(server);
        root.Add(new DatabaseCommand(environment));
        root.Add(new ArtifactsCommand(environment));
        root.Add(new HealthCommand(environment));
        // An argument that starts with @ is one, not the name of a file with arguments.
        return root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
    }

    private sealed class PrintVersion : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine($"mlflow-compat {MlflowApp.ProductVersion} (MLflow API {MlflowApp.ApiVersion})");
            return Done;
        }
    }
}

/// <summary>The command line or the environment says something that makes no sense; the message names the option and the value.</summary>
public sealed class UsageException : Exception
{
    /// <summary>One line for the user.</summary>
    public UsageException(string message)
        : base(message)
    {
    }
}

/// <summary>A command cannot do its work, for a reason outside of this program.</summary>
public sealed class CommandFailedException : Exception
{
    /// <summary>One line for the user.</summary>
    public CommandFailedException(string message)
        : base(message)
    {
    }
}
