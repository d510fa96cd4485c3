using System.Buffers;
using System.Text;
using System.Text.Json;

namespace MlflowCompat.Bench.Http;

/// <summary>The calls with which data for a workload is made and found; not measured. One thread uses it.</summary>
internal sealed class MlflowClient(ServerAddress server) : IDisposable
{
    private readonly HttpConnection connection = new(server);

    /// <summary>The server.</summary>
    public ServerAddress Server { get; } = server;

    /// <summary>Makes an experiment and returns its id.</summary>
    public string CreateExperiment(string name, int tags = 0)
    {
        Post("experiments/create", json =>
        {
            json.WriteString("name", name);
            WriteKeyValues(json, "tags", Enumerable.Range(0, tags).Select(i => ($"tag{i}", $"value {i}")));
        });
        return connection.TextMember("\"experiment_id\""u8);
    }

    /// <summary>The id of an experiment, or null when there is none of that name.</summary>
    public string? FindExperiment(string name)
    {
        var path = Server.ApiPath($"experiments/get-by-name?experiment_name={Uri.EscapeDataString(name)}");
        return connection.TryGet(path) switch
        {
            200 => connection.TextMember("\"experiment_id\""u8),
            404 => null,
            var status => throw new UnexpectedAnswerException($"{Encoding.UTF8.GetString(path)}: status {status}"),
        };
    }

    /// <summary>The id of a run of an experiment, or null when there is none of that name.</summary>
    public string? FindRun(string experimentId, string name)
    {
        Post("runs/search", json =>
        {
            json.WriteStartArray("experiment_ids");
            json.WriteStringValue(experimentId);
            json.WriteEndArray();
            json.WriteString("filter", $"attributes.run_name = '{name}'");
            json.WriteNumber("max_results", 1);
        });
        var id = connection.FindTextMember("\"run_id\""u8);
        return id.IsEmpty ? null : Encoding.UTF8.GetString(id);
    }

    /// <summary>Makes a run and returns its id.</summary>
    public string CreateRun(string experimentId, string name, long startTime, IEnumerable<(string Key, string Value)>? tags = null)
    {
        Post("runs/create", json =>
        {
            json.WriteString("experiment_id", experimentId);
            json.WriteString("user_id", "bench");
            json.WriteString("run_name", name);
            json.WriteNumber("start_time", startTime);
            WriteKeyValues(json, "tags", tags ?? []);
        });
        return connection.TextMember("\"run_id\""u8);
    }

    /// <summary>Logs to a run.</summary>
    public void LogBatch(
        string runId,
        IEnumerable<(string Key, double Value, long Step)> metrics,
        IEnumerable<(string Key, string Value)> parameters,
        IEnumerable<(string Key, string Value)> tags,
        long timestamp) =>
        Post("runs/log-batch", json =>
        {
            json.WriteString("run_id", runId);
            json.WriteStartArray("metrics");
            foreach (var (key, value, step) in metrics)
            {
                json.WriteStartObject();
                json.WriteString("key", key);
                json.WriteNumber("value", value);
                json.WriteNumber("timestamp", timestamp + step);
                json.WriteNumber("step", step);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            WriteKeyValues(json, "params", parameters);
            WriteKeyValues(json, "tags", tags);
        });

    /// <summary>Ends a run well.</summary>
    public void Finish(string runId, long endTime) =>
        Post("runs/update", json =>
        {
            json.WriteString("run_id", runId);
            json.WriteString("status", "FINISHED");
            json.WriteNumber("end_time", endTime);
        });

    /// <summary>Whether there is a registered model of that name.</summary>
    public bool HasRegisteredModel(string name)
    {
        var path = Server.ApiPath($"registered-models/get?name={Uri.EscapeDataString(name)}");
        return connection.TryGet(path) switch
        {
            200 => true,
            404 => false,
            var status => throw new UnexpectedAnswerException($"{Encoding.UTF8.GetString(path)}: status {status}"),
        };
    }

    /// <summary>Makes a registered model.</summary>
    public void CreateRegisteredModel(string name, IEnumerable<(string Key, string Value)> tags) =>
        Post("registered-models/create", json =>
        {
            json.WriteString("name", name);
            WriteKeyValues(json, "tags", tags);
        });

    /// <summary>Makes the next version of a registered model.</summary>
    public void CreateModelVersion(string name, string source, string runId, IEnumerable<(string Key, string Value)> tags) =>
        Post("model-versions/create", json =>
        {
            json.WriteString("name", name);
            json.WriteString("source", source);
            json.WriteString("run_id", runId);
            WriteKeyValues(json, "tags", tags);
        });

    /// <summary>Moves a version to a stage.</summary>
    public void TransitionStage(string name, int version, string stage) =>
        Post("model-versions/transition-stage", json =>
        {
            json.WriteString("name", name);
            json.WriteString("version", version.ToString(System.Globalization.CultureInfo.InvariantCulture));
            json.WriteString("stage", stage);
        });

    /// <summary>Lets an alias name a version.</summary>
    public void SetAlias(string name, string alias, int version) =>
        Post("registered-models/alias", json =>
        {
            json.WriteString("name", name);
            json.WriteString("alias", alias);
            json.WriteString("version", version.ToString(System.Globalization.CultureInfo.InvariantCulture));
        });

    /// <summary>Makes a trace without spans.</summary>
    /// <param name="traceId">Its id in MLflow's form.</param>
    /// <param name="experimentId">Where.</param>
    /// <param name="start">Milliseconds since 1970.</param>
    /// <param name="duration">Milliseconds.</param>
    /// <param name="state">OK or ERROR.</param>
    /// <param name="tags">Its tags.</param>
    public void StartTrace(string traceId, string experimentId, long start, long duration, string state, IEnumerable<(string Key, string Value)> tags) =>
        Post(Server.TraceApiPath("traces"), json =>
        {
            json.WriteStartObject("trace");
            json.WriteStartObject("trace_info");
            json.WriteString("trace_id", traceId);
            json.WriteStartObject("trace_location");
            json.WriteString("type", "MLFLOW_EXPERIMENT");
            json.WriteStartObject("mlflow_experiment");
            json.WriteString("experiment_id", experimentId);
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteString(
                "request_time",
                DateTime.UnixEpoch.AddMilliseconds(start).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", System.Globalization.CultureInfo.InvariantCulture));
            json.WriteString("execution_duration", string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{duration / 1000}.{duration % 1000:000}s"));
            json.WriteString("state", state);
            json.WriteString("request_preview", "What is the answer?");
            json.WriteString("response_preview", "42");
            json.WriteStartObject("trace_metadata");
            json.WriteString("mlflow.user", "bench");
            json.WriteString("mlflow.trace_schema.version", "3");
            json.WriteEndObject();
            json.WriteStartObject("tags");
            foreach (var (key, value) in tags)
                json.WriteString(key, value);
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndObject();
        });

    /// <summary>Gives feedback on a trace.</summary>
    public void GiveFeedback(string traceId, string name, bool value) =>
        Post(Server.TraceApiPath($"traces/{traceId}/assessments"), json =>
        {
            json.WriteStartObject("assessment");
            json.WriteString("assessment_name", name);
            json.WriteStartObject("source");
            json.WriteString("source_type", "HUMAN");
            json.WriteString("source_id", "bench");
            json.WriteEndObject();
            json.WriteStartObject("feedback");
            json.WriteBoolean("value", value);
            json.WriteEndObject();
            json.WriteEndObject();
        });

    /// <summary>Deletes traces.</summary>
    public void DeleteTraces(string experimentId, IEnumerable<string> traceIds) =>
        Post(Server.TraceApiPath("traces/delete-traces"), json =>
        {
            json.WriteString("experiment_id", experimentId);
            json.WriteStartArray("request_ids");
            foreach (var id in traceIds)
                json.WriteStringValue(id);
            json.WriteEndArray();
        });

    /// <summary>Sends spans.</summary>
    /// <param name="export">The spans.</param>
    /// <param name="experimentId">Where new traces go.</param>
    /// <param name="traceIds">The id of each trace.</param>
    /// <param name="start">When the trace of a number began, in nanoseconds since 1970.</param>
    public void Export(Workloads.SpanExport export, string experimentId, byte[][] traceIds, Func<int, long> start)
    {
        export.Write(connection.Request, traceIds, start);
        connection.Post(Workloads.Tracing.ExportPath(Server), Workloads.SpanExport.Headers(experimentId));
    }

    /// <summary>Reads a trace and returns how many spans it has.</summary>
    public int CountSpans(byte[] traceId)
    {
        connection.Count("\"span_id\""u8.ToArray());
        connection.Get(Workloads.Tracing.BatchGetPath(Server, traceId));
        connection.Count([]);
        return connection.Matches;
    }

    /// <inheritdoc/>
    public void Dispose() => connection.Dispose();

    private void Post(string route, Action<Utf8JsonWriter> write) => Post(Server.ApiPath(route), write);

    private void Post(byte[] path, Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        connection.Request.Clear().Append(buffer.WrittenSpan);
        connection.Post(path);
    }

    private static void WriteKeyValues(Utf8JsonWriter json, string name, IEnumerable<(string Key, string Value)> items)
    {
        json.WriteStartArray(name);
        foreach (var (key, value) in items)
        {
            json.WriteStartObject();
            json.WriteString("key", key);
            json.WriteString("value", value);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
