using System.Text;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Workloads;

/// <summary>Workloads that read. What they find is counted in the text of the answer, which costs less than parsing it.</summary>
internal static class Reading
{
    /// <summary>Data sets of up to this size are made when they are missing; larger ones have to be seeded.</summary>
    private const int MadeOnDemand = 5_000;

    /// <summary>What MLflow's client asks for at a time.</summary>
    private const int HistoryPage = 25_000;

    private const int RunMetrics = 50;
    private const int RunParams = 50;
    private const int RunTags = 20;

    private static readonly byte[] KeyMember = "\"key\""u8.ToArray();
    private static readonly byte[] RunMember = "\"lifecycle_stage\""u8.ToArray();
    private static readonly byte[] StageMember = "\"current_stage\""u8.ToArray();
    private static readonly byte[] LatestVersionsMember = "\"latest_versions\""u8.ToArray();
    private static readonly byte[] PointMember = "\"timestamp\""u8.ToArray();

    /// <summary>runs/get.</summary>
    public static IReadOnlyList<Operation> GetRun(WorkloadContext context)
    {
        var runId = context.Client.CreateRun(context.ExperimentId, "get-run", Writing.Now());
        context.Client.LogBatch(
            runId,
            Enumerable.Range(0, RunMetrics).Select(i => ($"metric_{i}", 1 / (1.7 + i), 0L)),
            Enumerable.Range(0, RunParams).Select(i => ($"param_{i}", $"value {i}")),
            Enumerable.Range(0, RunTags).Select(i => ($"tag_{i}", $"value {i}")),
            Writing.Now());
        // The tag of the name is there as well.
        return Get(context, $"runs/get?run_id={runId}", KeyMember, RunMetrics + RunParams + RunTags + 1);
    }

    /// <summary>experiments/get.</summary>
    public static IReadOnlyList<Operation> GetExperiment(WorkloadContext context)
    {
        var id = context.Client.CreateExperiment($"bench-get-{Guid.NewGuid():N}", tags: 5);
        return Get(context, $"experiments/get?experiment_id={id}", KeyMember, 5);
    }

    /// <summary>runs/search.</summary>
    public static IReadOnlyList<Operation> Search(WorkloadContext context, SearchShape shape, int runs)
    {
        var client = context.Client;
        if (runs <= MadeOnDemand)
            new ApiSeeder(client.Server).SeedRuns(runs);
        var experimentId = client.FindExperiment(SeededRuns.Experiment(runs)) ?? throw Missing(client.Server.Text, $"--runs {runs}");
        var body = Encoding.UTF8.GetBytes(
            $"{{\"experiment_ids\":[\"{experimentId}\"],\"max_results\":{SearchShape.PageSize}"
            + (shape.Filter is null ? "" : $",\"filter\":\"{shape.Filter}\"")
            + (shape.OrderBy is null ? "" : $",\"order_by\":[\"{shape.OrderBy}\"]") + "}");
        var path = client.Server.ApiPath("runs/search");
        var expected = shape.Expected(runs);
        return context.ForEach(_ => connection =>
        {
            connection.Count(RunMember);
            connection.Request.Clear().Append(body);
            connection.Post(path);
            connection.Expect(expected, path);
        });
    }

    /// <summary>registered-models/search or model-versions/search.</summary>
    public static IReadOnlyList<Operation> SearchRegistry(WorkloadContext context, RegistrySearchShape shape)
    {
        if (!context.Client.HasRegisteredModel(SeededModels.Name(RegistrySearchShape.Models - 1)))
            throw Missing(context.Client.Server.Text, $"--models {RegistrySearchShape.Models}");
        return Get(context, shape.Route, shape.IsOfVersions ? StageMember : LatestVersionsMember, shape.Expected);
    }

    /// <summary>metrics/get-history, page by page.</summary>
    public static IReadOnlyList<Operation> History(WorkloadContext context, int points)
    {
        var server = context.Client.Server;
        var route = $"metrics/get-history?run_id={HistoryRun(context, points)}&metric_key={SeededRuns.HistoryMetric}&max_results={HistoryPage}";
        var path = server.ApiPath(route);
        return context.ForEach(_ => connection =>
        {
            connection.Count(PointMember);
            var found = 0;
            for (var page = path; page is not null;)
            {
                connection.Get(page);
                found += connection.Matches;
                var token = connection.FindTextMember("\"next_page_token\""u8);
                page = token.IsEmpty ? null : server.ApiPath($"{route}&page_token={Uri.EscapeDataString(Encoding.ASCII.GetString(token))}");
            }

            if (found != points)
                throw new Http.UnexpectedAnswerException($"the history has {found} points instead of {points}");
        });
    }

    /// <summary>metrics/get-history without a limit.</summary>
    public static IReadOnlyList<Operation> WholeHistory(WorkloadContext context, int points) => Get(
        context,
        $"metrics/get-history?run_id={HistoryRun(context, points)}&metric_key={SeededRuns.HistoryMetric}",
        PointMember,
        points);

    /// <summary>An answer that costs the server next to nothing.</summary>
    public static IReadOnlyList<Operation> Health(WorkloadContext context)
    {
        var path = context.Client.Server.Path("/health");
        return context.ForEach(_ => connection =>
        {
            connection.Count([]);
            connection.Get(path);
        });
    }

    private static IReadOnlyList<Operation> Get(WorkloadContext context, string route, byte[] member, int expected)
    {
        var path = context.Client.Server.ApiPath(route);
        return context.ForEach(_ => connection =>
        {
            connection.Count(member);
            connection.Get(path);
            connection.Expect(expected, path);
        });
    }

    private static string HistoryRun(WorkloadContext context, int points)
    {
        var client = context.Client;
        if (points <= MadeOnDemand)
            new ApiSeeder(client.Server).SeedHistory(points);
        var run = client.FindExperiment(SeededRuns.HistoryExperiment) is { } experiment
            ? client.FindRun(experiment, SeededRuns.HistoryRun(points))
            : null;
        return run ?? throw Missing(client.Server.Text, $"--points {points}");
    }

    private static MissingDataException Missing(string url, string options) =>
        new($"the data is not there; make it with: bench seed {options} {url} (or, faster, with the address of the server's database)");
}
