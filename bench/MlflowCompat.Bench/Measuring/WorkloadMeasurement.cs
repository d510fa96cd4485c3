using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Limits;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Measuring;

/// <summary>What is measured, on which servers and how.</summary>
/// <param name="Servers">One server or two.</param>
/// <param name="Shape">The load.</param>
/// <param name="Connections">Connections to a server.</param>
/// <param name="Rounds">Rounds on each server.</param>
/// <param name="Runs">Over how many runs writes are spread; null for one per connection.</param>
/// <param name="ProcessIds">Processes of the servers, in their order; as many as are known.</param>
internal sealed record LoadSettings(
    IReadOnlyList<ServerAddress> Servers, LoadShape Shape, int Connections, int Rounds, int? Runs, IReadOnlyList<int> ProcessIds);

/// <summary>The rounds of a workload on one server.</summary>
/// <param name="Url">The server.</param>
/// <param name="Rounds">The rounds in their order.</param>
/// <param name="Uses">What the server's process took in each round; empty when it is not known.</param>
internal sealed record ServerRounds(string Url, List<RoundResult> Rounds, List<ProcessUse> Uses)
{
    /// <summary>The median of something over the rounds.</summary>
    public double Median(Func<RoundResult, double> value) => WorkloadMeasurement.Median(Rounds.Select(value));
}

/// <summary>All rounds of a workload: on one server, or on two in turn, and on the bare database in between.</summary>
/// <param name="Workload">The workload.</param>
/// <param name="Servers">The rounds of each server.</param>
/// <param name="LimitRowsPerSecond">What the bare database did in each round; empty when that was not asked for or there is nothing to compare.</param>
internal sealed record WorkloadMeasurement(Workload Workload, IReadOnlyList<ServerRounds> Servers, List<double> LimitRowsPerSecond)
{
    /// <summary>Measures.</summary>
    /// <exception cref="MissingDataException">The workload reads data that is not there.</exception>
    public static WorkloadMeasurement Take(Workload workload, LoadSettings settings, DatabaseLimit? limit)
    {
        var measurement = new WorkloadMeasurement(
            workload, [.. settings.Servers.Select(server => new ServerRounds(server.Text, [], []))], []);
        var operations = settings.Servers.Select(server =>
        {
            using var client = new MlflowClient(server);
            return workload.Prepare(new WorkloadContext(client, settings.Connections, settings.Runs));
        }).ToList();

        for (var round = 0; round < settings.Rounds; round++)
        {
            for (var i = 0; i < settings.Servers.Count; i++)
            {
                using var sampler = i < settings.ProcessIds.Count ? new ProcessSampler(settings.ProcessIds[i]) : null;
                measurement.Servers[i].Rounds.Add(LoadRound.Run(settings.Servers[i], operations[i], settings.Shape));
                if (sampler is not null)
                    measurement.Servers[i].Uses.Add(sampler.Stop());
            }

            if (limit is not null && workload.MetricRows > 0)
                measurement.LimitRowsPerSecond.Add(limit.Measure(workload.MetricRows, settings.Shape.Seconds));
        }

        return measurement;
    }

    /// <summary>The median.</summary>
    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return sorted.Count == 0 ? 0
            : sorted.Count % 2 == 1 ? sorted[sorted.Count / 2]
            : (sorted[(sorted.Count / 2) - 1] + sorted[sorted.Count / 2]) / 2;
    }
}
