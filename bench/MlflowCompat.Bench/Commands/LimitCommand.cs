using System.CommandLine;
using System.Globalization;
using MlflowCompat.Bench.Limits;
using MlflowCompat.Bench.Measuring;

namespace MlflowCompat.Bench.Commands;

/// <summary>Measures the database alone.</summary>
internal sealed class LimitCommand : Command
{
    private readonly Argument<string> database = new("database") { Description = "Address of the database: postgresql://… or sqlite:///…" };
    private readonly Option<int> connections = BenchCommandLine.Option("--connections", 8, "Connections on PostgreSQL.");
    private readonly Option<double> seconds = BenchCommandLine.Option("--seconds", 5.0, "How long a round is.");
    private readonly Option<int> rounds = BenchCommandLine.Option("--rounds", 3, "Rounds of each size.");

    /// <summary>Makes the command.</summary>
    public LimitCommand()
        : base("limit", "Measures bare inserts of metrics, one and a thousand per commit, in a scratch schema or file that is removed again.")
    {
        Add(database);
        Add(connections);
        Add(seconds);
        Add(rounds);
        SetAction((result, _) => RunAsync(result));
    }

    private async Task RunAsync(ParseResult result)
    {
        var output = result.InvocationConfiguration.Output;
        var limit = await DatabaseLimit.OpenAsync(result.GetValue(database)!, result.GetValue(connections)).ConfigureAwait(false);
        await using var owned = limit.ConfigureAwait(false);
        output.WriteLine(limit.Description);
        var sizes = (int[])[1, 1000];
        var rates = sizes.ToDictionary(size => size, _ => new List<double>());
        for (var round = 0; round < result.GetValue(rounds); round++)
        {
            foreach (var size in sizes)
                rates[size].Add(limit.Measure(size, result.GetValue(seconds)));
        }

        foreach (var (size, measured) in rates)
        {
            var median = WorkloadMeasurement.Median(measured);
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"  {size,4} rows per commit: {median,10:0} rows/s, {median / size,8:0.0} commits/s"));
        }
    }
}
