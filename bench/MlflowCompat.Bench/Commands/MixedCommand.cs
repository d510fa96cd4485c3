using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Commands;

/// <summary>Trainers and readers together, on one server or on two in turn.</summary>
internal sealed class MixedCommand : Command
{
    private readonly Argument<string[]> urls = new("url")
    {
        Arity = new ArgumentArity(1, 2),
        Description = "Address of the server; with a second one both are measured in turn, and the ratio of the first to the second is printed.",
    };

    private readonly Option<int> trainers = BenchCommandLine.Option("--trainers", 8, "Connections that make runs, log to them and finish them.");
    private readonly Option<int> readers = BenchCommandLine.Option("--readers", 2, "Connections that search, open runs and read histories.");
    private readonly Option<double> seconds = BenchCommandLine.Option("--seconds", 10.0, "How long a round is.");
    private readonly Option<double> warmUp = BenchCommandLine.Option("--warm-up", 1.0, "How long the load goes on before each round, in seconds.");
    private readonly Option<int> rounds = BenchCommandLine.Option("--rounds", 1, "Rounds on each server; their medians are compared.");

    private readonly Option<int[]> pids = new("--pid")
    {
        Arity = new ArgumentArity(1, 2),
        AllowMultipleArgumentsPerToken = true,
        Description = "Process of the server, or of both: its memory and processor time are shown.",
    };

    private readonly Option<string?> json = new("--json") { Description = "File for the results as JSON." };

    /// <summary>Makes the command.</summary>
    public MixedCommand()
        : base("mixed", "Measures trainers and readers together, on one server or on two in turn.")
    {
        Add(urls);
        foreach (var option in (Option[])[trainers, readers, seconds, warmUp, rounds, pids, json])
            Add(option);
        SetAction((result, _) => RunAsync(result));
    }

    private async Task<int> RunAsync(ParseResult result)
    {
        var output = result.InvocationConfiguration.Output;
        var servers = result.GetValue(urls)!.Select(url => new ServerAddress(url)).ToList();
        var trainings = servers.ConvertAll(server =>
        {
            using var client = new MlflowClient(server);
            return new Training(server, client.CreateExperiment($"bench-{Guid.NewGuid():N}"));
        });
        var measured = servers.ConvertAll(server => new MixedServer(server.Text, [], []));
        var processes = result.GetValue(pids) ?? [];
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{result.GetValue(trainers)} trainers and {result.GetValue(readers)} readers, {result.GetValue(rounds)} rounds of "
            + $"{result.GetValue(seconds):0.#} s after {result.GetValue(warmUp):0.#} s of warm-up"));

        for (var round = 0; round < result.GetValue(rounds); round++)
        {
            for (var i = 0; i < servers.Count; i++)
            {
                using var sampler = i < processes.Length ? new ProcessSampler(processes[i]) : null;
                measured[i].Rounds.Add(MixedRound.Run(
                    servers[i],
                    trainings[i],
                    result.GetValue(trainers),
                    result.GetValue(readers),
                    result.GetValue(seconds),
                    result.GetValue(warmUp)));
                if (sampler is not null)
                    measured[i].Process.Add(sampler.Stop());
            }
        }

        foreach (var server in measured)
            Print(output, server);
        if (measured.Count == 2)
            PrintRatio(output, measured[0], measured[1]);
        if (result.GetValue(json) is { } file)
        {
            var document = new MixedDocument(
                Machine.Now(), result.GetValue(trainers), result.GetValue(readers), result.GetValue(seconds), measured);
            await File.WriteAllTextAsync(file, JsonSerializer.Serialize(document, ReportJson.Default.MixedDocument) + "\n").ConfigureAwait(false);
        }

        return measured.TrueForAll(server => server.Rounds.TrueForAll(round => round.All(kind => kind.Errors == 0))) ? 0 : 1;
    }

    private static void Print(TextWriter output, MixedServer server)
    {
        output.WriteLine($"\n{server.Url}");
        output.WriteLine("                  per s    p50 ms    p95 ms    p99 ms    max ms   errors");
        for (var i = 0; i < Training.Kinds.Count; i++)
        {
            var errors = server.Rounds.Sum(round => round[i].Errors);
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {Training.Kinds[i],-14}{Median(kind => kind.PerSecond),7:0.0}{Median(kind => kind.P50),10:0.00}"
                + $"{Median(kind => kind.P95),10:0.00}{Median(kind => kind.P99),10:0.00}{server.Rounds.Max(round => round[i].Max),10:0.0}{errors,9}"));
            if (server.Rounds.Select(round => round[i].FirstError).FirstOrDefault(error => error is not null) is { } error)
                output.WriteLine($"    first error: {error}");

            double Median(Func<KindResult, double> value) => server.Median(i, value);
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {"all",-14}{server.AllPerSecond(),7:0.0}"));
        if (server.Process.Count > 0)
            output.WriteLine($"  {ProcessUse.Describe(server.Process)}");
    }

    private static void PrintRatio(TextWriter output, MixedServer first, MixedServer second)
    {
        output.WriteLine("\nfirst/second");
        for (var i = 0; i < Training.Kinds.Count; i++)
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {Training.Kinds[i],-14}{Ratio(kind => kind.PerSecond),7:0.00}{Ratio(kind => kind.P50),10:0.00}"
                + $"{Ratio(kind => kind.P95),10:0.00}{Ratio(kind => kind.P99),10:0.00}"));

            double Ratio(Func<KindResult, double> value) => first.Median(i, value) / second.Median(i, value);
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {"all",-14}{first.AllPerSecond() / second.AllPerSecond(),7:0.00}"));
    }
}

/// <summary>The JSON file of <c>bench mixed</c>.</summary>
internal sealed record MixedDocument(Machine Machine, int Trainers, int Readers, double Seconds, List<MixedServer> Servers);

/// <summary>All rounds on one server; a round has one result per kind, in the order of <see cref="Training.Kinds"/>.</summary>
internal sealed record MixedServer(string Url, List<IReadOnlyList<KindResult>> Rounds, List<ProcessUse> Process)
{
    /// <summary>The median of something about a kind over the rounds.</summary>
    public double Median(int kind, Func<KindResult, double> value) => WorkloadMeasurement.Median(Rounds.Select(round => value(round[kind])));

    /// <summary>Requests of all kinds per second.</summary>
    public double AllPerSecond() => WorkloadMeasurement.Median(Rounds.Select(round => round.Sum(kind => kind.PerSecond)));
}
