using System.CommandLine;
using System.Globalization;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Limits;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Commands;

/// <summary>Measures workloads on one server, or on two in turn.</summary>
internal sealed class LoadCommand : Command
{
    private const string AllWorkloads = "all";

    private readonly Argument<string> workloads = new("workloads")
    {
        Description = $"Names of workloads with commas between them, where * stands for anything, or {AllWorkloads}: "
            + string.Join(", ", Workload.All.Select(workload => workload.Name)),
    };

    private readonly Argument<string[]> urls = new("url")
    {
        Arity = new ArgumentArity(1, 2),
        Description = "Address of the server; with a second one both are measured in turn, and the ratio of the first to the second is printed.",
    };

    private readonly Option<int> connections = BenchCommandLine.Option("--connections", 8, "Connections, each with one operation at a time.");
    private readonly Option<double> seconds = BenchCommandLine.Option("--seconds", 5.0, "How long a round is.");
    private readonly Option<double> warmUp = BenchCommandLine.Option("--warm-up", 1.0, "How long the load goes on before each round, in seconds.");
    private readonly Option<int> rounds = BenchCommandLine.Option("--rounds", 3, "Rounds on each server; their medians are compared.");

    private readonly Option<double?> rate = new("--rate")
    {
        Description = "Open loop: so many operations are due per second, and latencies begin when they were due. Closed loop without.",
    };

    private readonly Option<int?> runs = new("--runs")
    {
        Description = "Over how many runs log-metric, log-batch and set-tag are spread; 1: all write to the same run. Default: one per connection.",
    };

    private readonly Option<string?> limit = new("--limit")
    {
        Description = "Address of a database (postgresql://… or sqlite:///…): its own limit is measured in the same rounds, "
            + "where the workload writes metrics only.",
    };

    private readonly Option<int[]> pids = new("--pid")
    {
        Arity = new ArgumentArity(1, 2),
        AllowMultipleArgumentsPerToken = true,
        Description = "Process of the server, or of both: its memory and processor time are shown.",
    };

    private readonly Option<string?> json = new("--json") { Description = "File for the results as JSON." };

    /// <summary>Makes the command.</summary>
    public LoadCommand()
        : base("load", "Measures workloads on one server, or on two in turn.")
    {
        Add(workloads);
        Add(urls);
        foreach (var option in (Option[])[connections, seconds, warmUp, rounds, rate, runs, limit, pids, json])
            Add(option);
        SetAction((result, _) => RunAsync(result));
    }

    private async Task<int> RunAsync(ParseResult result)
    {
        var names = result.GetValue(workloads)!;
        var chosen = Choose(names);
        var shape = new LoadShape(result.GetValue(seconds), result.GetValue(warmUp), result.GetValue(rate));
        var servers = result.GetValue(urls)!.Select(url => new ServerAddress(url)).ToList();
        var settings = new LoadSettings(
            servers,
            shape,
            Positive(result.GetValue(connections), connections.Name),
            Positive(result.GetValue(rounds), rounds.Name),
            result.GetValue(runs) is { } given ? Positive(given, runs.Name) : null,
            result.GetValue(pids) ?? []);

        var output = result.InvocationConfiguration.Output;
        var limitAddress = result.GetValue(limit);
        var databaseLimit = limitAddress is null
            ? null
            : await DatabaseLimit.OpenAsync(limitAddress, settings.Connections).ConfigureAwait(false);
        var report = new LoadReport(settings, databaseLimit?.Description);
        try
        {
            report.PrintHead(output);
            foreach (var workload in chosen)
            {
                try
                {
                    var measured = WorkloadMeasurement.Take(workload, settings, databaseLimit);
                    report.Add(measured);
                    report.Print(output, measured);
                }
                catch (MissingDataException exception) when (chosen.Count > 1)
                {
                    report.Skip(workload.Name, exception.Message);
                    output.WriteLine($"{workload.Name}: skipped, {exception.Message}\n");
                }
            }
        }
        finally
        {
            if (databaseLimit is not null)
                await databaseLimit.DisposeAsync().ConfigureAwait(false);
        }

        if (result.GetValue(json) is { } file)
            await File.WriteAllTextAsync(file, report.ToJson()).ConfigureAwait(false);
        return report.Errors == 0 ? 0 : 1;
    }

    private static List<Workload> Choose(string names)
    {
        var chosen = new List<Workload>();
        foreach (var name in names.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var pattern = name == AllWorkloads ? "*" : name;
            var found = Workload.All
                .Where(workload => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(pattern, workload.Name, ignoreCase: false))
                .ToList();
            if (found.Count == 0)
                throw new FormatException($"there is no workload '{name}'; bench load --help lists them.");
            chosen.AddRange(found.Where(workload => !chosen.Contains(workload)));
        }

        return chosen;
    }

    private static int Positive(int value, string option) =>
        value > 0 ? value : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"{option} {value}: it must be 1 or more."));
}
