using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Measuring;

namespace MlflowCompat.Bench.Workloads;

/// <summary>Something that clients do, to be measured.</summary>
/// <param name="Name">What the command line calls it.</param>
/// <param name="Description">What one operation is.</param>
/// <param name="MetricRows">Points of metrics that an operation writes when it writes nothing else, for the comparison with bare inserts.</param>
/// <param name="Prepare">Makes or finds what it needs on a server and returns what each connection does.</param>
internal sealed record Workload(string Name, string Description, int MetricRows, Func<WorkloadContext, IReadOnlyList<Operation>> Prepare)
{
    /// <summary>Spans that an operation writes.</summary>
    public int Spans { get; init; }

    /// <summary>All workloads.</summary>
    public static IReadOnlyList<Workload> All { get; } =
    [
        new("log-metric", "one metric; every connection logs to a run of its own", 1, Writing.LogMetric),
        new("log-batch-10", "10 metrics: 10 keys, 1 step", 10, context => Writing.LogBatch(context, 1)),
        new("log-batch-100", "100 metrics: 10 keys, 10 steps", 100, context => Writing.LogBatch(context, 10)),
        new("log-batch-1000", "1,000 metrics: 10 keys, 100 steps", 1000, context => Writing.LogBatch(context, 100)),
        new("params-100", "100 new params in one batch", 0, Writing.LogParams),
        new("set-tag", "one tag of a run", 0, Writing.SetTag),
        new("create-run", "a run with three tags", 0, Writing.CreateRun),
        new("whole-run", "three requests: create, a batch of 20 metrics, 20 params and 5 tags, finish", 0, Writing.WholeRun),
        new("get-run", "a run with 50 metrics, 50 params and 20 tags", 0, Reading.GetRun),
        new("get-experiment", "an experiment with 5 tags", 0, Reading.GetExperiment),
        .. Searches(1_000),
        .. Searches(100_000),
        new("history-5000", "5,000 points of a metric in one answer", 0, context => Reading.History(context, 5_000)),
        new("history-1000000", "1,000,000 points in pages of 25,000, as MLflow's client asks for them", 0, context => Reading.History(context, 1_000_000)),
        new("history-1000000-whole", "1,000,000 points in one answer, as clients 1.x ask for them", 0, context => Reading.WholeHistory(context, 1_000_000)),
        .. RegistrySearchShape.All.Select(shape => new Workload(
            $"registry-{shape.Name}", shape.Description, 0, context => Reading.SearchRegistry(context, shape))),
        new("otlp-10", "an export of a trace of 10 spans of 1 KB", 0, context => Tracing.Export(context, 1)) { Spans = 10 },
        new("otlp-100", "an export of 10 traces of 10 spans of 1 KB", 0, context => Tracing.Export(context, 10)) { Spans = 100 },
        new("start-trace", "what a client knows of a trace, without spans", 0, Tracing.Start),
        new("assess-trace", "a feedback on a trace", 0, Tracing.Assess),
        new("whole-trace", "three requests: start, an export of 10 spans, a feedback", 0, Tracing.Whole) { Spans = 10 },
        new("get-trace", "a trace with its 10 spans", 0, Tracing.Get),
        .. TraceSearchShape.All.Select(shape => new Workload(
            $"traces-{shape.Name}", $"{shape.Description}, of {TraceSearchShape.Traces:N0} traces", 0, context => Tracing.Search(context, shape))),
        new("upload-4k", "a new file of 4 KiB through the proxy; every connection has a run of its own", 0, Files.Upload),
        new("download-4k", "a file of 4 KiB through the proxy", 0, Files.Download),
        new("list-artifacts", "a folder of 100 files through the proxy", 0, Files.List),
        new("health", "GET /health: what the generator itself can do", 0, Reading.Health),
    ];

    private static IEnumerable<Workload> Searches(int runs) => SearchShape.All.Select(shape => new Workload(
        $"search-{shape.Name}-{runs}", $"{shape.Description}, of {runs:N0} runs", 0, context => Reading.Search(context, shape, runs)));
}

/// <summary>What a workload is prepared with, for one server.</summary>
/// <param name="Client">Calls that are not measured.</param>
/// <param name="Connections">How many operations are needed.</param>
/// <param name="Runs">Over how many runs writes are spread; null for one per connection.</param>
internal sealed record WorkloadContext(MlflowClient Client, int Connections, int? Runs)
{
    private string? experimentId;

    /// <summary>The experiment that this program writes to: one per server and start.</summary>
    public string ExperimentId => experimentId ??= Client.CreateExperiment($"bench-{Guid.NewGuid():N}");

    /// <summary>The same operation for every connection.</summary>
    public IReadOnlyList<Operation> ForEach(Func<int, Operation> make) => [.. Enumerable.Range(0, Connections).Select(make)];

    /// <summary>The runs that a workload writes to, and for each connection the one of its own.</summary>
    public IReadOnlyList<Operation> ForEachRun(Func<WrittenRun, Operation> make)
    {
        var runs = Enumerable.Range(0, Math.Min(Runs ?? Connections, Connections))
            .Select(i => new WrittenRun(Client.CreateRun(ExperimentId, $"bench-{i}", Writing.Now())))
            .ToList();
        return ForEach(i => make(runs[i % runs.Count]));
    }
}

/// <summary>A run that is written to, by one connection or by several.</summary>
/// <param name="Id">Its id.</param>
internal sealed record WrittenRun(string Id)
{
    private long next;

    /// <summary>Takes <paramref name="count"/> numbers that nobody else has had and returns the first.</summary>
    public long Take(int count) => Interlocked.Add(ref next, count) - count;
}

/// <summary>Data that a workload reads is not on the server; the message says how to make it.</summary>
internal sealed class MissingDataException(string message) : Exception(message);
