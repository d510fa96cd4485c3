using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Commands;

/// <summary>Makes the data that reading is measured on.</summary>
internal sealed class SeedCommand : Command
{
    private readonly Argument<string> target = new("target")
    {
        Description = "A server (http://…), which is filled through its API, or a database of this server (postgresql://…, sqlite:///…), "
            + "which is filled in bulk.",
    };

    private readonly Option<int[]> runs = new("--runs")
    {
        AllowMultipleArgumentsPerToken = true,
        Description = "An experiment with so many runs; for the searches: 1000 100000.",
    };

    private readonly Option<int[]> points = new("--points")
    {
        AllowMultipleArgumentsPerToken = true,
        Description = "A run with so many points of one metric; for the histories: 5000 1000000.",
    };

    private readonly Option<int?> models = new("--models")
    {
        Description = "So many registered models with five versions each; for the registry's searches: 10000.",
    };

    private readonly Option<int?> traces = new("--traces")
    {
        Description = "An experiment with so many traces of three spans each, through the API only; for the searches: 100000.",
    };

    /// <summary>Makes the command.</summary>
    public SeedCommand()
        : base("seed", "Makes the data that reading is measured on; what is there already is left alone.")
    {
        Add(target);
        Add(runs);
        Add(points);
        Add(models);
        Add(traces);
        SetAction((result, _) => RunAsync(result));
    }

    private async Task RunAsync(ParseResult result)
    {
        var address = result.GetValue(target)!;
        if (address.StartsWith("http://", StringComparison.Ordinal))
        {
            var api = new ApiSeeder(new ServerAddress(address));
            await SeedAsync(result, Made(api.SeedRuns), Made(api.SeedHistory), Made(api.SeedModels), Made(api.SeedTraces)).ConfigureAwait(false);
            return;
        }

        if (result.GetValue(traces) is not null)
            throw new FormatException("--traces: traces are made through the API; give the address of a server, not of a database.");

        var bulk = await BulkSeeder.OpenAsync(address).ConfigureAwait(false);
        await using (bulk.ConfigureAwait(false))
            await SeedAsync(result, bulk.SeedRunsAsync, bulk.SeedHistoryAsync, bulk.SeedModelsAsync, null).ConfigureAwait(false);
    }

    private static Func<int, Task<bool>> Made(Func<int, bool> seed) => count => Task.FromResult(seed(count));

    private async Task SeedAsync(
        ParseResult result,
        Func<int, Task<bool>> seedRuns,
        Func<int, Task<bool>> seedHistory,
        Func<int, Task<bool>> seedModels,
        Func<int, Task<bool>>? seedTraces)
    {
        foreach (var count in result.GetValue(runs) ?? [])
            await SeedOneAsync("runs", count, seedRuns).ConfigureAwait(false);
        foreach (var count in result.GetValue(points) ?? [])
            await SeedOneAsync("points", count, seedHistory).ConfigureAwait(false);
        if (result.GetValue(models) is { } registered)
            await SeedOneAsync("registered models", registered, seedModels).ConfigureAwait(false);
        if (result.GetValue(traces) is { } traced && seedTraces is not null)
            await SeedOneAsync("traces", traced, seedTraces).ConfigureAwait(false);

        async Task SeedOneAsync(string what, int count, Func<int, Task<bool>> seed)
        {
            var started = Stopwatch.GetTimestamp();
            var made = await seed(count).ConfigureAwait(false);
            var outcome = made ? string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(started).TotalSeconds:0.0} s") : "there already";
            await result.InvocationConfiguration.Output.WriteLineAsync($"{count} {what}: {outcome}").ConfigureAwait(false);
        }
    }
}
