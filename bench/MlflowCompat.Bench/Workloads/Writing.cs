using MlflowCompat.Bench.Measuring;

namespace MlflowCompat.Bench.Workloads;

/// <summary>Workloads that write.</summary>
internal static class Writing
{
    /// <summary>Keys of the metrics in a batch.</summary>
    public const int MetricKeys = 10;

    private const int BatchParams = 100;

    /// <summary>Runs per connection that params go to in turn: a param cannot be changed, and a run should not get too many.</summary>
    private const int ParamRuns = 16;

    /// <summary>Milliseconds since 1970.</summary>
    public static long Now() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    /// <summary>runs/log-metric, steps ascending.</summary>
    public static IReadOnlyList<Operation> LogMetric(WorkloadContext context)
    {
        var path = context.Client.Server.ApiPath("runs/log-metric");
        var start = Now();
        return context.ForEachRun(run => connection =>
        {
            WriteMetric(connection, run.Id, start, run.Take(1));
            connection.Post(path);
        });
    }

    /// <summary>runs/log-batch with ten metrics over a number of steps.</summary>
    public static IReadOnlyList<Operation> LogBatch(WorkloadContext context, int steps)
    {
        var path = context.Client.Server.ApiPath("runs/log-batch");
        var start = Now();
        return context.ForEachRun(run => connection =>
        {
            WriteSteps(connection, run.Id, start, run.Take(steps), steps);
            connection.Post(path);
        });
    }

    /// <summary>runs/log-batch with params that the run does not have yet.</summary>
    public static IReadOnlyList<Operation> LogParams(WorkloadContext context)
    {
        var path = context.Client.Server.ApiPath("runs/log-batch");
        return context.ForEach(_ =>
        {
            var runs = Enumerable.Range(0, ParamRuns).Select(i => context.Client.CreateRun(context.ExperimentId, $"params-{i}", Now())).ToList();
            var batch = 0;
            return connection =>
            {
                var request = connection.Request.Clear().Append("{\"run_id\":\""u8).Append(runs[batch % ParamRuns]).Append("\",\"params\":["u8);
                for (var i = 0; i < BatchParams; i++)
                {
                    request.Append(i == 0 ? "{\"key\":\"param_"u8 : ",{\"key\":\"param_"u8).Append((batch * BatchParams) + i)
                        .Append("\",\"value\":\""u8).Append(0.001 * i).Append("\"}"u8);
                }

                request.Append("]}"u8);
                batch++;
                connection.Post(path);
            };
        });
    }

    /// <summary>runs/set-tag, ten keys in turn.</summary>
    public static IReadOnlyList<Operation> SetTag(WorkloadContext context)
    {
        var path = context.Client.Server.ApiPath("runs/set-tag");
        return context.ForEachRun(run => connection =>
        {
            var number = run.Take(1);
            connection.Request.Clear()
                .Append("{\"run_id\":\""u8).Append(run.Id)
                .Append("\",\"key\":\"tag_"u8).Append(number % 10)
                .Append("\",\"value\":\"value "u8).Append(number).Append("\"}"u8);
            connection.Post(path);
        });
    }

    /// <summary>runs/create, with the tags that a client sends along.</summary>
    public static IReadOnlyList<Operation> CreateRun(WorkloadContext context)
    {
        var path = context.Client.Server.ApiPath("runs/create");
        var experimentId = context.ExperimentId;
        return context.ForEach(_ => connection =>
        {
            WriteCreate(connection, experimentId);
            connection.Post(path);
            connection.TextMember("\"run_id\""u8);
        });
    }

    /// <summary>A run from its start to its end.</summary>
    public static IReadOnlyList<Operation> WholeRun(WorkloadContext context)
    {
        var server = context.Client.Server;
        var (create, log, update) = (server.ApiPath("runs/create"), server.ApiPath("runs/log-batch"), server.ApiPath("runs/update"));
        var experimentId = context.ExperimentId;
        return context.ForEach(_ => connection =>
        {
            WriteCreate(connection, experimentId);
            connection.Post(create);
            var runId = connection.TextMember("\"run_id\""u8);
            WriteBatch(connection, runId, metrics: 20, parameters: 20, tags: 5);
            connection.Post(log);
            WriteFinish(connection, runId);
            connection.Post(update);
        });
    }

    /// <summary>Writes the request of runs/create as a client makes it.</summary>
    public static void WriteCreate(Http.HttpConnection connection, string experimentId) =>
        connection.Request.Clear()
            .Append("{\"experiment_id\":\""u8).Append(experimentId)
            .Append("\",\"user_id\":\"bench\",\"run_name\":\"brave-lark-1\",\"start_time\":"u8).Append(Now())
            .Append(",\"tags\":[{\"key\":\"mlflow.user\",\"value\":\"bench\"},{\"key\":\"mlflow.source.name\",\"value\":\"train.py\"},"u8)
            .Append("{\"key\":\"mlflow.source.type\",\"value\":\"LOCAL\"}]}"u8);

    /// <summary>Writes the request of runs/log-batch for a run that has nothing yet; every metric has one point.</summary>
    public static void WriteBatch(Http.HttpConnection connection, string runId, int metrics, int parameters, int tags)
    {
        var now = Now();
        var request = connection.Request.Clear().Append("{\"run_id\":\""u8).Append(runId).Append("\",\"metrics\":["u8);
        for (var i = 0; i < metrics; i++)
        {
            request.Append(i == 0 ? "{\"key\":\"metric_"u8 : ",{\"key\":\"metric_"u8).Append(i)
                .Append("\",\"value\":"u8).Append(Value(i)).Append(",\"timestamp\":"u8).Append(now).Append(",\"step\":0}"u8);
        }

        request.Append("],\"params\":["u8);
        for (var i = 0; i < parameters; i++)
        {
            request.Append(i == 0 ? "{\"key\":\"param_"u8 : ",{\"key\":\"param_"u8).Append(i)
                .Append("\",\"value\":\""u8).Append(0.001 * i).Append("\"}"u8);
        }

        request.Append("],\"tags\":["u8);
        for (var i = 0; i < tags; i++)
        {
            request.Append(i == 0 ? "{\"key\":\"tag_"u8 : ",{\"key\":\"tag_"u8).Append(i)
                .Append("\",\"value\":\"value "u8).Append(i).Append("\"}"u8);
        }

        request.Append("]}"u8);
    }

    /// <summary>Writes the request of runs/log-metric; a point of the same step and start is the same point.</summary>
    public static void WriteMetric(Http.HttpConnection connection, string runId, long start, long step) =>
        connection.Request.Clear()
            .Append("{\"run_id\":\""u8).Append(runId)
            .Append("\",\"key\":\"loss\",\"value\":"u8).Append(Value(step))
            .Append(",\"timestamp\":"u8).Append(start + step)
            .Append(",\"step\":"u8).Append(step).Append("}"u8);

    /// <summary>Writes the request of runs/log-batch for some steps of ten metrics.</summary>
    public static void WriteSteps(Http.HttpConnection connection, string runId, long start, long firstStep, int steps)
    {
        var request = connection.Request.Clear().Append("{\"run_id\":\""u8).Append(runId).Append("\",\"metrics\":["u8);
        for (var step = firstStep; step < firstStep + steps; step++)
        {
            for (var key = 0; key < MetricKeys; key++)
            {
                request.Append(step == firstStep && key == 0 ? "{\"key\":\"metric_"u8 : ",{\"key\":\"metric_"u8).Append(key)
                    .Append("\",\"value\":"u8).Append(Value(step + key))
                    .Append(",\"timestamp\":"u8).Append(start + step)
                    .Append(",\"step\":"u8).Append(step).Append("}"u8);
            }
        }

        request.Append("]}"u8);
    }

    /// <summary>Writes the request of runs/update that ends a run.</summary>
    public static void WriteFinish(Http.HttpConnection connection, string runId) =>
        connection.Request.Clear()
            .Append("{\"run_id\":\""u8).Append(runId).Append("\",\"status\":\"FINISHED\",\"end_time\":"u8).Append(Now()).Append("}"u8);

    /// <summary>A value with as many digits as real ones have.</summary>
    private static double Value(long number) => 1 / (1.7 + number);
}
