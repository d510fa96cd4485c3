using System.Globalization;
using System.Text;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>
/// A page is the same whether a walk of any length finds it or the search as a whole does: generated filters, orders and pages against a
/// model in memory (contract: search §2). Values repeat, are NaN or are missing, so that pages end within ties and between the parts.
/// </summary>
public sealed class SearchWalkTests
{
    private const int RunCount = 90;

    /// <summary>Longer than what an index entry holds of a param, and different only behind that.</summary>
    private static readonly string[] Long = [new string('x', 200) + "b", new string('x', 200) + "a", new string('x', 128), new string('é', 200)];

    [Theory, BothDatabases]
    public async Task Page_OfAnyWalk_IsThatOfTheModel(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await ModelAsync(server);
        var random = new Random(31);
        var filled = 0;
        for (var i = 0; i < 700; i++)
        {
            var (filter, holds) = Filter(random);
            var (orderBy, compare) = Order(random);
            var view = random.Next(4) switch { 0 => ViewType.All, 1 => ViewType.DeletedOnly, _ => ViewType.ActiveOnly };
            var experiments = random.Next(3) switch { 0 => model.Experiments, 1 => [model.Experiments[0]], _ => [model.Experiments[1], 987654321, model.Experiments[1]] };
            var rows = random.Next(1, 12);
            var offset = random.Next(3) == 0 ? random.Next(40) : 0;
            var walk = random.Next(2, 40);
            var expected = model.Runs
                .Where(run => experiments.Contains(run.Experiment) && (view == ViewType.All || run.IsDeleted == (view == ViewType.DeletedOnly)) && holds(run))
                .Order(compare)
                .Skip(offset).Take(rows).Select(run => run.Id).ToList();
            Assert.True(
                expected.SequenceEqual(await SearchAsync(server, experiments, view, filter, orderBy, rows, offset, walk)),
                $"{filter} ordered by [{string.Join(" | ", orderBy)}], {view}, {experiments.Length} experiments, {rows} from {offset}, walk of {walk}");
            filled += expected.Count == rows ? 1 : 0;
        }

        Assert.InRange(filled, 250, 600);
    }

    [Theory]
    [BothDatabases("metrics.a", true)]
    [BothDatabases("metrics.a", false)]
    [BothDatabases("metrics.same", true)]
    [BothDatabases("metrics.none", false)]
    [BothDatabases("params.p", true)]
    [BothDatabases("params.p", false)]
    [BothDatabases("params.long", true)]
    [BothDatabases("params.long", false)]
    [BothDatabases("run_name", true)]
    [BothDatabases("run_name", false)]
    [BothDatabases("end_time", true)]
    [BothDatabases("end_time", false)]
    [BothDatabases("start_time", true)]
    [BothDatabases("start_time", false)]
    public async Task Pages_OfAnOrder_MakeUpTheWhole(DatabaseKind kind, string key, bool ascending)
    {
        var server = await TestServer.SharedAsync(kind);
        var model = await ModelAsync(server);
        string[] orderBy = [key + (ascending ? "" : " DESC")];
        var compare = Comparer(orderBy);
        foreach (var experiments in new[] { model.Experiments, [model.Experiments[0]] })
        {
            var expected = model.Runs.Where(run => experiments.Contains(run.Experiment) && !run.IsDeleted).Order(compare).Select(run => run.Id).ToList();
            foreach (var (rows, walk) in new[] { (1, 2), (3, 20), (7, 60), (5, 1000) })
            {
                var found = new List<string>();
                List<string> page;
                do
                    found.AddRange(page = await SearchAsync(server, experiments, ViewType.ActiveOnly, "", orderBy, rows, found.Count, walk));
                while (page.Count == rows);
                Assert.Equal(expected, found);
            }
        }
    }

    private static async Task<List<string>> SearchAsync(
        TestServer server, long[] experiments, ViewType view, string filter, string[] orderBy, int rows, long offset, int walk)
    {
        var search = RunSearch.Compile(
            server.Database, experiments, view, FilterParser.Parse(filter, Vocabularies.Runs), OrderByParser.Parse(orderBy, Vocabularies.Runs), rows, offset, walk);
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return (await RunReader.ListAsync(server.Database, session, search, CancellationToken.None)).ConvertAll(run => run.Info.RunId);
    }

    private static (string Filter, Func<ModelRun, bool> Holds) Filter(Random random)
    {
        var clauses = Enumerable.Range(0, random.Next(3)).Select(_ => Clause(random)).ToList();
        return (string.Join(" AND ", clauses.Select(clause => clause.Text)), run => clauses.TrueForAll(clause => clause.Holds(run)));
    }

    private static (string Text, Func<ModelRun, bool> Holds) Clause(Random random)
    {
        var number = random.Next(6);
        switch (random.Next(9))
        {
            case 0:
            case 1:
                var key = random.Next(3) == 0 ? "same" : "a";
                // NaN compares as 0.
                return random.Next(3) switch
                {
                    0 => ($"metrics.{key} > {number}", run => Value(run) > number),
                    1 => ($"metrics.{key} <= {number}", run => Value(run) <= number),
                    _ => ($"metrics.{key} != {number}", run => Value(run) is { } value && value != number),
                };
                double? Value(ModelRun run) => run.Metrics.TryGetValue(key, out var value) ? double.IsNaN(value) ? 0 : value : null;
            case 2:
                return ($"params.p = 'v{number}'", run => run.Params.GetValueOrDefault("p") == $"v{number}");
            case 3:
                return ($"params.p != 'v{number}'", run => run.Params.TryGetValue("p", out var value) && value != $"v{number}");
            case 4:
                var text = Long[random.Next(Long.Length)];
                return ($"params.long = '{text}'", run => run.Params.GetValueOrDefault("long") == text);
            case 5:
                return ($"tags.t = 't{number}'", run => run.Tag == $"t{number}");
            case 6:
                return random.Next(2) == 0
                    ? ("attributes.status LIKE 'F%'", run => run.Status is 3 or 4)
                    : ("attributes.status != 'FINISHED'", run => run.Status != 3);
            case 7:
                return ($"dataset.name = 'ds{number}'", run => run.Dataset == number);
            default:
                return ($"run_name LIKE '%{number}%'", run => run.Name.Contains(number.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal));
        }
    }

    private static (string[] OrderBy, Comparer<ModelRun> Compare) Order(Random random)
    {
        string[] keys = ["metrics.a", "metrics.same", "metrics.none", "params.p", "params.long", "run_name", "end_time", "start_time", "tags.t", "status", "run_id"];
        random.Shuffle(keys);
        var orderBy = keys.Take(random.Next(8) switch { 0 => 0, 1 or 2 => 2, _ => 1 }).Select(key => key + (random.Next(2) == 0 ? "" : " DESC")).ToArray();
        return (orderBy, Comparer(orderBy));
    }

    private static Comparer<ModelRun> Comparer(string[] orderBy) => Comparer<ModelRun>.Create((left, right) =>
    {
        foreach (var term in orderBy.Append("start_time DESC").Append("run_id"))
        {
            var key = term.Split(' ')[0];
            var order = Compare(key, left, right, term.EndsWith(" DESC", StringComparison.Ordinal) ? -1 : 1);
            if (order != 0)
                return order;
        }

        return 0;
    });

    private static int Compare(string key, ModelRun left, ModelRun right, int sign) => key switch
    {
        "start_time" => sign * left.Start.CompareTo(right.Start),
        "end_time" => Missing(left.End is null, right.End is null) ?? (sign * left.End!.Value.CompareTo(right.End!.Value)),
        "run_id" => sign * string.CompareOrdinal(left.Id, right.Id),
        "run_name" => sign * string.CompareOrdinal(left.Name, right.Name),
        "status" => sign * string.CompareOrdinal(StatusNames[left.Status], StatusNames[right.Status]),
        "tags.t" => Texts(left.Tag, right.Tag, sign),
        _ when key.StartsWith("params.", StringComparison.Ordinal) => Texts(left.Params.GetValueOrDefault(key[7..]), right.Params.GetValueOrDefault(key[7..]), sign),
        _ => Numbers(key[8..], left, right, sign),
    };

    private static int Texts(string? left, string? right, int sign) =>
        Missing(left is null, right is null) ?? (sign * Encoding.UTF8.GetBytes(left!).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(right!)));

    private static int Numbers(string key, ModelRun left, ModelRun right, int sign)
    {
        var (hasLeft, hasRight) = (left.Metrics.TryGetValue(key, out var a), right.Metrics.TryGetValue(key, out var b));
        return Missing(!hasLeft, !hasRight) ?? Missing(double.IsNaN(a), double.IsNaN(b)) ?? (sign * a.CompareTo(b));
    }

    /// <summary>What is missing comes last in both directions; null when neither is.</summary>
    private static int? Missing(bool left, bool right) => left || right ? left.CompareTo(right) : null;

    private static readonly string[] StatusNames = ["", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

    private static readonly Dictionary<TestServer, Task<Model>> Models = [];

    /// <summary>Made once for each server.</summary>
    private static Task<Model> ModelAsync(TestServer server)
    {
        lock (Models)
        {
            if (!Models.TryGetValue(server, out var model))
                Models.Add(server, model = MakeAsync(server));
            return model;
        }
    }

    private static async Task<Model> MakeAsync(TestServer server)
    {
        var random = new Random(32);
        string[] experiments = [await server.CreateExperimentAsync(), await server.CreateExperimentAsync()];
        var runs = new List<ModelRun>();
        for (var i = 0; i < RunCount; i++)
        {
            var experiment = experiments[i % 3 == 2 ? 1 : 0];
            // Many starts, ends, names and values are equal; some are hard to place.
            var start = random.Next(20) switch { 0 => long.MaxValue, 1 => long.MaxValue - 1, var other => 1000L + (other / 3) };
            var name = $"n{random.Next(12)}";
            var id = await server.CreateRunAsync(experiment, new { run_name = name, start_time = start });
            var metrics = new Dictionary<string, double>();
            if (random.Next(5) > 0)
                metrics["a"] = random.Next(6) == 0 ? double.NaN : random.Next(-2, 8);
            if (random.Next(10) > 0)
                metrics["same"] = 3;
            var parameters = new Dictionary<string, string>();
            if (random.Next(6) > 0)
                parameters["p"] = $"v{random.Next(5)}";
            if (random.Next(6) > 0)
                parameters["long"] = Long[random.Next(Long.Length)];
            var tag = random.Next(5) > 0 ? $"t{random.Next(5)}" : null;
            await server.PostAsync("runs/log-batch", new
            {
                run_id = id,
                metrics = metrics.Select(metric => new { key = metric.Key, value = double.IsNaN(metric.Value) ? (object)"NaN" : metric.Value, timestamp = 1 }),
                @params = parameters.Select(parameter => new { key = parameter.Key, value = parameter.Value }),
                tags = tag is null ? [] : new[] { new { key = "t", value = tag } },
            });
            var dataset = random.Next(9);
            await server.PostAsync("runs/log-inputs", new
            {
                run_id = id,
                datasets = new[] { new { dataset = new { name = $"ds{dataset}", digest = "d", source_type = "t", source = "s" } } },
            });
            var status = random.Next(1, 6);
            long? end = random.Next(3) == 0 ? null : random.Next(15) == 0 ? long.MaxValue - random.Next(2) : 2000 + random.Next(6);
            await server.PostAsync("runs/update", new { run_id = id, status, end_time = end ?? 0 });
            var isDeleted = random.Next(6) == 0;
            if (isDeleted)
                await server.PostAsync("runs/delete", new { run_id = id });
            runs.Add(new ModelRun(
                id, long.Parse(experiment, CultureInfo.InvariantCulture), name, start, end, status, metrics, parameters, tag, dataset, isDeleted));
        }

        return new Model([.. experiments.Select(id => long.Parse(id, CultureInfo.InvariantCulture))], runs);
    }

    private sealed record Model(long[] Experiments, List<ModelRun> Runs);

    private sealed record ModelRun(
        string Id,
        long Experiment,
        string Name,
        long Start,
        long? End,
        int Status,
        Dictionary<string, double> Metrics,
        Dictionary<string, string> Params,
        string? Tag,
        int Dataset,
        bool IsDeleted);
}
