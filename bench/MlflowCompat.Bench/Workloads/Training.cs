using System.Collections.Concurrent;
using System.Text;
using MlflowCompat.Bench.Http;

namespace MlflowCompat.Bench.Workloads;

/// <summary>
/// What trainings and the people who watch them do at the same time: trainers make runs, log to them in batches and point by point and
/// finish them; readers search, open runs and draw curves. Every trainer and every reader is one connection.
/// </summary>
/// <param name="server">The server.</param>
/// <param name="experimentId">Where the runs go.</param>
internal sealed class Training(ServerAddress server, string experimentId)
{
    private const int Epochs = 10;
    private const int RunParams = 20;
    private const int RunTags = 3;

    /// <summary>Ten metrics of the batches and the loss, the params, the tags, those of the client, and that of the name.</summary>
    private const int RunKeys = Writing.MetricKeys + 1 + RunParams + RunTags + 3 + 1;

    private static readonly byte[] KeyMember = "\"key\""u8.ToArray();
    private static readonly byte[] RunMember = "\"lifecycle_stage\""u8.ToArray();
    private static readonly byte[] PointMember = "\"timestamp\""u8.ToArray();

    private readonly byte[] create = server.ApiPath("runs/create");
    private readonly byte[] logBatch = server.ApiPath("runs/log-batch");
    private readonly byte[] logMetric = server.ApiPath("runs/log-metric");
    private readonly byte[] update = server.ApiPath("runs/update");
    private readonly byte[] search = server.ApiPath("runs/search");

    private readonly ConcurrentQueue<string> finished = new();
    private volatile string[] known = [];

    /// <summary>The kinds of requests, in the order in which they are shown.</summary>
    public static IReadOnlyList<string> Kinds { get; } =
        ["create-run", "log-params", "log-batch", "log-metric", "finish-run", "search", "search-metric", "get-run", "history"];

    /// <summary>What a trainer does, request after request, without an end. Each step names its kind.</summary>
    public IEnumerable<(string Kind, Action<HttpConnection> Send)> Trainer()
    {
        while (true)
        {
            var runId = "";
            var start = Writing.Now();
            yield return ("create-run", connection =>
            {
                Writing.WriteCreate(connection, experimentId);
                connection.Post(create);
                runId = connection.TextMember("\"run_id\""u8);
            });
            // A run that could not be made is not logged to.
            if (runId.Length == 0)
                continue;
            yield return ("log-params", connection =>
            {
                Writing.WriteBatch(connection, runId, metrics: 0, parameters: RunParams, tags: RunTags);
                connection.Post(logBatch);
            });
            for (var epoch = 0; epoch < Epochs; epoch++)
            {
                var step = epoch;
                yield return ("log-batch", connection =>
                {
                    Writing.WriteSteps(connection, runId, start, step, 1);
                    connection.Post(logBatch);
                });
                yield return ("log-metric", connection =>
                {
                    Writing.WriteMetric(connection, runId, start, step);
                    connection.Post(logMetric);
                });
            }

            yield return ("finish-run", connection =>
            {
                Writing.WriteFinish(connection, runId);
                connection.Post(update);
                finished.Enqueue(runId);
            });
        }
    }

    /// <summary>What a reader does, request after request, without an end. Finished runs are read only: they must be complete.</summary>
    public IEnumerable<(string Kind, Action<HttpConnection> Send)> Reader(int seed)
    {
        var random = new Random(seed);
        while (true)
        {
            yield return ("search", connection => Search(connection, ""));
            yield return ("search-metric", connection => Search(connection, ",\"filter\":\"metrics.loss < 1\",\"order_by\":[\"metrics.loss ASC\"]"));
            if (known.Length < finished.Count)
                known = [.. finished];
            if (known is not { Length: > 0 } runs)
                continue;
            for (var i = 0; i < 3; i++)
            {
                var runId = runs[random.Next(runs.Length)];
                yield return ("get-run", connection => Get(connection, $"runs/get?run_id={runId}", KeyMember, RunKeys));
                yield return ("history", connection => Get(
                    connection, $"metrics/get-history?run_id={runId}&metric_key=loss&max_results=25000", PointMember, Epochs));
            }
        }
    }

    private void Search(HttpConnection connection, string conditions)
    {
        var least = Math.Min(SearchShape.PageSize, finished.Count);
        connection.Count(RunMember);
        connection.Request.Clear()
            .Append("{\"experiment_ids\":[\""u8).Append(experimentId).Append("\"],\"max_results\":"u8).Append(SearchShape.PageSize)
            .Append(conditions).Append("}"u8);
        connection.Post(search);
        if (connection.Matches < least || connection.Matches > SearchShape.PageSize)
            throw new UnexpectedAnswerException($"{Encoding.UTF8.GetString(search)}: {connection.Matches} runs, where {least} were finished");
    }

    private void Get(HttpConnection connection, string route, byte[] member, int expected)
    {
        var path = server.ApiPath(route);
        connection.Count(member);
        connection.Get(path);
        connection.Expect(expected, path);
    }
}
