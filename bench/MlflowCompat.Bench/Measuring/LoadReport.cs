using MlflowCompat.Bench.Commands;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace MlflowCompat.Bench.Measuring;

/// <summary>Prints measurements as tables and collects them for the JSON file.</summary>
internal sealed class LoadReport
{
    private readonly LoadSettings settings;
    private readonly LoadDocument document;

    /// <summary>Starts a report.</summary>
    public LoadReport(LoadSettings settings, string? limitDescription)
    {
        this.settings = settings;
        document = new LoadDocument(
            Machine.Now(),
            settings.Connections,
            settings.Shape.Seconds,
            settings.Shape.WarmUpSeconds,
            settings.Shape.Rate,
            settings.Runs,
            limitDescription,
            [],
            []);
    }

    /// <summary>Operations that failed or were never sent, in all rounds.</summary>
    public long Errors => document.Workloads.Sum(workload => workload.Servers.Sum(server => server.Rounds.Sum(round => round.Errors + round.NeverSent)));

    /// <summary>Prints what is measured.</summary>
    public void PrintHead(TextWriter output)
    {
        foreach (var (server, name) in settings.Servers.Zip("AB"))
            output.WriteLine($"{name}: {server.Text}");
        if (document.Limit is not null)
            output.WriteLine($"limit: {document.Limit}");
        var loop = settings.Shape.Rate is { } rate ? Text($"open loop, {rate:0.#} operations/s") : "closed loop";
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{settings.Connections} connections, {loop}, {settings.Rounds} rounds of {settings.Shape.Seconds:0.#} s "
            + $"after {settings.Shape.WarmUpSeconds:0.#} s of warm-up; medians of the rounds"));
        output.WriteLine(Text($"{document.Machine.Processors} processors, {document.Machine.ProcessorName}, {document.Machine.Date}\n"));
    }

    /// <summary>Adds a measurement.</summary>
    public void Add(WorkloadMeasurement measured)
    {
        var limit = measured.LimitRowsPerSecond.Count == 0 ? (double?)null : WorkloadMeasurement.Median(measured.LimitRowsPerSecond);
        var servers = measured.Servers.Select(server => new ServerDocument(
            server.Url,
            server.Median(round => round.OperationsPerSecond),
            server.Median(round => round.P50),
            server.Median(round => round.P95),
            server.Median(round => round.P99),
            server.Rounds.Sum(round => round.Errors + round.NeverSent),
            limit is null ? null : server.Median(round => round.OperationsPerSecond) * measured.Workload.MetricRows / limit,
            server.Rounds,
            server.Uses)).ToList();
        var ratio = servers.Count < 2 ? null : new RatioDocument(
            servers[0].OperationsPerSecond / servers[1].OperationsPerSecond,
            servers[0].P50 / servers[1].P50,
            servers[0].P95 / servers[1].P95,
            servers[0].P99 / servers[1].P99);
        document.Workloads.Add(new WorkloadDocument(
            measured.Workload.Name, measured.Workload.Description, measured.Workload.MetricRows, servers, ratio, limit, measured.LimitRowsPerSecond));
    }

    /// <summary>Notes a workload that could not be measured.</summary>
    public void Skip(string workload, string reason) => document.Skipped.Add(new SkippedDocument(workload, reason));

    /// <summary>Prints the measurement that was added last.</summary>
    public void Print(TextWriter output, WorkloadMeasurement measured)
    {
        var workload = document.Workloads[^1];
        output.WriteLine($"{workload.Name} ({workload.Description})");
        output.WriteLine("             ops/s    p50 ms    p95 ms    p99 ms   errors");
        foreach (var (server, name) in workload.Servers.Zip("AB"))
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {name,-5}{Rate(server.OperationsPerSecond),11}{server.P50,10:0.00}{server.P95,10:0.00}{server.P99,10:0.00}"
                + $"{server.Errors,9}{Rest(server, workload, measured.Workload.Spans)}"));
        }

        if (workload.Ratio is { } ratio)
            output.WriteLine(Text($"  {"A/B",-5}{ratio.OperationsPerSecond,11:0.00}{ratio.P50,10:0.00}{ratio.P95,10:0.00}{ratio.P99,10:0.00}"));
        if (workload.LimitRowsPerSecond is { } limit)
            output.WriteLine(Text($"  limit{limit,11:0.0} rows/s, {workload.MetricRows} per commit"));
        foreach (var (server, name) in measured.Servers.Zip("AB"))
        {
            if (server.Uses.Count > 0)
                output.WriteLine($"  {name}: {ProcessUse.Describe(server.Uses)}");
            if (server.Rounds.Find(round => round.FirstError is not null)?.FirstError is { } error)
                output.WriteLine($"  {name}: first error: {error}");
            if (server.Rounds.Sum(round => round.NeverSent) is > 0 and var unsent)
                output.WriteLine(Text($"  {name}: {unsent} operations were due and could not be sent in time"));
        }

        var generator = WorkloadMeasurement.Median(measured.Servers.SelectMany(server => server.Rounds).Select(round => round.GeneratorCpu));
        output.WriteLine(Text($"  generator: {generator:0.00} processors\n"));
    }

    /// <summary>Everything as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(document, ReportJson.Default.LoadDocument) + "\n";

    private static string Rest(ServerDocument server, WorkloadDocument workload, int spans)
    {
        var rest = workload.MetricRows > 1 ? Text($"   {server.OperationsPerSecond * workload.MetricRows:0} points/s")
            : spans > 0 ? Text($"   {server.OperationsPerSecond * spans:0} spans/s") : "";
        return server.RatioToLimit is { } ratio ? rest + Text($"   {ratio:0.00} of the limit") : rest;
    }

    /// <summary>A rate with three digits at least: a million points take seconds.</summary>
    private static string Rate(double perSecond) => perSecond.ToString(perSecond < 10 ? "0.000" : "0.0", CultureInfo.InvariantCulture);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Where and when it was measured.</summary>
/// <param name="Date">Date and time, UTC.</param>
/// <param name="Processors">Number of processors.</param>
/// <param name="ProcessorName">What they are.</param>
/// <param name="MemoryGibibytes">Memory of the machine.</param>
internal sealed record Machine(string Date, int Processors, string ProcessorName, double MemoryGibibytes)
{
    /// <summary>This machine, now.</summary>
    public static Machine Now()
    {
        var name = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim();
        var memory = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (double)(1L << 30);
        return new Machine(
            DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture),
            Environment.ProcessorCount,
            name ?? "unknown processor",
            Math.Round(memory, 1));
    }
}

/// <summary>The JSON file of <c>bench load</c>. Times are milliseconds, unless the name says otherwise.</summary>
internal sealed record LoadDocument(
    Machine Machine,
    int Connections,
    double Seconds,
    double WarmUpSeconds,
    double? Rate,
    int? Runs,
    string? Limit,
    List<WorkloadDocument> Workloads,
    List<SkippedDocument> Skipped);

/// <summary>A workload: medians of its rounds, and the rounds.</summary>
internal sealed record WorkloadDocument(
    string Name,
    string Description,
    int MetricRows,
    List<ServerDocument> Servers,
    RatioDocument? Ratio,
    double? LimitRowsPerSecond,
    List<double> LimitRounds);

/// <summary>A workload on one server.</summary>
internal sealed record ServerDocument(
    string Url,
    double OperationsPerSecond,
    double P50,
    double P95,
    double P99,
    long Errors,
    double? RatioToLimit,
    List<RoundResult> Rounds,
    List<ProcessUse> Process);

/// <summary>The medians of the first server, divided by those of the second.</summary>
internal sealed record RatioDocument(double OperationsPerSecond, double P50, double P95, double P99);

/// <summary>A workload that could not be measured.</summary>
internal sealed record SkippedDocument(string Name, string Reason);

[JsonSourceGenerationOptions(
    WriteIndented = true,
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(LoadDocument))]
[JsonSerializable(typeof(MixedDocument))]
internal sealed partial class ReportJson : JsonSerializerContext;
