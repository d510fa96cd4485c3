using System.CommandLine;
using System.Data.Common;
using System.Net.Sockets;
using Amazon.Runtime;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Workloads;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Bench.Commands;

/// <summary>
/// The command line. Exit codes: 0 measured, and every answer was as expected; 1 there were errors, or it could not be done; 2 the command
/// line is wrong.
/// </summary>
internal static class BenchCommandLine
{
    /// <summary>Parses and runs.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        var root = new RootCommand("Measures MLflow tracking servers. bench/README.md says how.")
        {
            new LoadCommand(),
            new MixedCommand(),
            new ArtifactsCommand(),
            new SeedCommand(),
            new LimitCommand(),
            new TracesCommand(),
            new MemoryCommand(),
        };
        var result = root.Parse(args);
        if (result.Errors.Count > 0)
        {
            await result.InvokeAsync().ConfigureAwait(false);
            return 2;
        }

        try
        {
            return await result.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
        }
        catch (FormatException exception)
        {
            await Console.Error.WriteLineAsync($"error: {exception.Message}").ConfigureAwait(false);
            return 2;
        }
        catch (Exception exception) when (Flatten(exception)
            is AmazonClientException or UnexpectedAnswerException or MissingDataException or SocketException or IOException or DbException or SchemaRefusedException)
        {
            await Console.Error.WriteLineAsync($"error: {Flatten(exception).Message}").ConfigureAwait(false);
            return 1;
        }
    }

    /// <summary>An option with a default.</summary>
    public static Option<T> Option<T>(string name, T fallback, string description) => new(name)
    {
        Description = $"{description} Default: {fallback}.",
        DefaultValueFactory = _ => fallback,
    };

    private static Exception Flatten(Exception exception) =>
        exception is AggregateException { InnerExceptions: [var first, ..] } ? Flatten(first) : exception;
}
