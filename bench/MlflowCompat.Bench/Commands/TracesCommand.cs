using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Commands;

/// <summary>Measures one trace of many spans, stored in one request and in many, read and deleted, and the deletion of many traces.</summary>
internal sealed class TracesCommand : Command
{
    /// <summary>Spans of an export where a trace is sent in many.</summary>
    private const int SpansPerExport = 500;

    private const int SpansOfSmallTrace = 10;
    private const int TracesPerExport = 100;

    /// <summary>As many as MLflow's client deletes with one request.</summary>
    private const int TracesPerDeletion = 100;

    private readonly Argument<string> url = new("url") { Description = "Address of the server." };
    private readonly Option<int> spans = BenchCommandLine.Option("--spans", 30_000, "Spans of the large trace.");
    private readonly Option<int> traces = BenchCommandLine.Option("--traces", 1_000, "Traces of 10 spans that are made and deleted.");
    private readonly Option<int> rounds = BenchCommandLine.Option("--rounds", 3, "How often all of it is done; medians are printed.");
    private readonly Option<int?> pid = new("--pid") { Description = "Process of the server: how much its memory grows is shown." };

    /// <summary>Makes the command.</summary>
    public TracesCommand()
        : base("traces", "Measures a trace of many spans, stored, read and deleted, and the deletion of many traces.")
    {
        Add(url);
        foreach (var option in (Option[])[spans, traces, rounds, pid])
            Add(option);
        SetAction(Run);
    }

    private void Run(ParseResult result)
    {
        var server = new ServerAddress(result.GetValue(url)!);
        using var client = new MlflowClient(server);
        var experimentId = client.CreateExperiment($"bench-{Guid.NewGuid():N}");
        var count = result.GetValue(spans);
        var whole = SpanExport.OfTraces(1, count);
        var parts = Enumerable.Range(0, (count + SpansPerExport - 1) / SpansPerExport)
            .Select(part => SpanExport.OfPart(part * SpansPerExport, Math.Min(SpansPerExport, count - (part * SpansPerExport)))).ToList();
        var small = SpanExport.OfTraces(TracesPerExport, SpansOfSmallTrace);
        var phases = new List<Phase>();
        using var watched = result.GetValue(pid) is { } process ? new ProcessSampler(process) : null;
        for (var round = 0; round < result.GetValue(rounds); round++)
        {
            var (first, second) = (SpanExport.NewTraceIds(1), SpanExport.NewTraceIds(1));
            Measure("store in one request", () => client.Export(whole, experimentId, first, _ => Start()));
            Measure("read", () => Expect(client.CountSpans(first[0]), count));
            Measure("delete", () => client.DeleteTraces(experimentId, [SpanExport.MlflowId(first[0])]));
            Measure($"store in {parts.Count} requests", () => parts.ForEach(part => client.Export(part, experimentId, second, _ => Start())));
            Measure("read", () => Expect(client.CountSpans(second[0]), count));
            Measure("delete", () => client.DeleteTraces(experimentId, [SpanExport.MlflowId(second[0])]));

            var ids = Enumerable.Range(0, result.GetValue(traces) / TracesPerExport).Select(_ => SpanExport.NewTraceIds(TracesPerExport)).ToList();
            ids.ForEach(hundred => client.Export(small, experimentId, hundred, _ => Start()));
            Measure(
                string.Create(CultureInfo.InvariantCulture, $"delete {ids.Count * TracesPerExport} traces"),
                () => ids.SelectMany(hundred => hundred).Chunk(TracesPerDeletion).ToList()
                    .ForEach(chunk => client.DeleteTraces(experimentId, chunk.Select(SpanExport.MlflowId))));
        }

        var output = result.InvocationConfiguration.Output;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"a trace of {count} spans, medians of {result.GetValue(rounds)} rounds"));
        output.WriteLine("                                  s    MB at most");
        foreach (var phase in phases.GroupBy(phase => phase.Name))
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {phase.Key,-24}{WorkloadMeasurement.Median(phase.Select(one => one.Seconds)),10:0.000}")
                + (watched is null ? "" : string.Create(CultureInfo.InvariantCulture, $"{phase.Max(one => one.MaxMegabytes),12:0}")));
        }

        if (watched?.Stop() is { } use)
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  server: {use.FirstRssMegabytes:0} MB resident before, grown by {use.MaxRssMegabytes - use.FirstRssMegabytes:0} MB at most; ")
                + ProcessUse.Describe([use]));
        }

        void Measure(string name, Action action)
        {
            using var sampler = result.GetValue(pid) is { } process ? new ProcessSampler(process) : null;
            var started = Stopwatch.GetTimestamp();
            action();
            phases.Add(new Phase(name, Stopwatch.GetElapsedTime(started).TotalSeconds, sampler?.Stop().MaxRssMegabytes ?? 0));
        }
    }

    private static long Start() => Writing.Now() * 1_000_000;

    private static void Expect(int found, int expected)
    {
        if (found != expected)
            throw new UnexpectedAnswerException(string.Create(CultureInfo.InvariantCulture, $"the trace has {found} spans instead of {expected}"));
    }

    private sealed record Phase(string Name, double Seconds, double MaxMegabytes);
}
