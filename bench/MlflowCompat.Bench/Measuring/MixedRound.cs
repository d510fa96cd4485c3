using System.Diagnostics;
using System.Net.Sockets;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Measuring;

/// <summary>What one kind of request has shown. Times are milliseconds.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="PerSecond">Rate over all connections.</param>
/// <param name="P50">Median latency.</param>
/// <param name="P95">95th percentile.</param>
/// <param name="P99">99th percentile.</param>
/// <param name="Max">The longest latency.</param>
/// <param name="Count">Requests that were measured.</param>
/// <param name="Errors">Requests that failed, those of the warm-up included.</param>
/// <param name="FirstError">What went wrong first.</param>
internal sealed record KindResult(
    string Kind, double PerSecond, double P50, double P95, double P99, double Max, long Count, long Errors, string? FirstError);

/// <summary>One round of trainers and readers together, each as fast as the server lets it.</summary>
internal sealed class MixedRound
{
    private readonly ServerAddress server;
    private readonly long measureFrom;
    private readonly long end;

    private MixedRound(ServerAddress server, double seconds, double warmUpSeconds)
    {
        this.server = server;
        measureFrom = Stopwatch.GetTimestamp() + (long)(warmUpSeconds * Stopwatch.Frequency);
        end = measureFrom + (long)(seconds * Stopwatch.Frequency);
    }

    /// <summary>Runs a round.</summary>
    /// <param name="server">The server.</param>
    /// <param name="training">What trainers and readers do.</param>
    /// <param name="trainers">Connections that train.</param>
    /// <param name="readers">Connections that read.</param>
    /// <param name="seconds">How long is measured.</param>
    /// <param name="warmUpSeconds">How long the same goes on before that.</param>
    public static IReadOnlyList<KindResult> Run(
        ServerAddress server, Training training, int trainers, int readers, double seconds, double warmUpSeconds)
    {
        var round = new MixedRound(server, seconds, warmUpSeconds);
        var scripts = Enumerable.Range(0, trainers).Select(_ => training.Trainer())
            .Concat(Enumerable.Range(0, readers).Select(training.Reader));
        var lanes = scripts.Select(script => (Script: script, Kinds: Training.Kinds.ToDictionary(kind => kind, _ => new Tally()))).ToList();
        var threads = lanes.ConvertAll(lane => new Thread(() => round.Follow(lane.Script, lane.Kinds)));
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        var measured = Stopwatch.GetElapsedTime(round.measureFrom).TotalSeconds;
        return [.. Training.Kinds.Select(kind => Sum(kind, lanes.ConvertAll(lane => lane.Kinds[kind]), measured))];
    }

    private static KindResult Sum(string kind, List<Tally> tallies, double seconds)
    {
        var latencies = new LatencyHistogram();
        tallies.ForEach(tally => latencies.Add(tally.Latencies));
        return new KindResult(
            kind,
            latencies.Count / seconds,
            latencies.Milliseconds(0.50),
            latencies.Milliseconds(0.95),
            latencies.Milliseconds(0.99),
            latencies.Max / 1e6,
            latencies.Count,
            tallies.Sum(tally => tally.Errors),
            tallies.Find(tally => tally.FirstError is not null)?.FirstError);
    }

    private void Follow(IEnumerable<(string Kind, Action<HttpConnection> Send)> script, Dictionary<string, Tally> kinds)
    {
        using var connection = new HttpConnection(server);
        foreach (var (kind, send) in script)
        {
            var started = Stopwatch.GetTimestamp();
            if (started >= end)
                return;
            var tally = kinds[kind];
            try
            {
                send(connection);
                if (started >= measureFrom)
                    tally.Latencies.Add(Stopwatch.GetTimestamp() - started);
            }
            catch (Exception exception) when (exception is UnexpectedAnswerException or SocketException)
            {
                tally.Errors++;
                tally.FirstError ??= exception.Message;
                // A server that is away for a while is asked again, but not a million times.
                Thread.Sleep(10);
            }
        }
    }

    private sealed class Tally
    {
        public LatencyHistogram Latencies { get; } = new();

        public long Errors { get; set; }

        public string? FirstError { get; set; }
    }
}
