using System.Collections.Concurrent;
using System.Net;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>
/// Many clients that export spans and assess traces, one request after the other each, and that know what they were told: afterwards every
/// acknowledged export has to be there, every other one whole or not at all, and what traces show has to be what is stored of them.
/// </summary>
/// <param name="clients">Clients at work at the same time.</param>
internal sealed class ExportLoad(int clients)
{
    /// <summary>Traces to which all clients add.</summary>
    private const int SharedTraces = 6;

    private const int BatchedIds = 40;

    private readonly ExportedSpan[] shared = [.. Enumerable.Range(0, SharedTraces).Select(_ => OtlpExport.Root())];
    private readonly ConcurrentQueue<Export> exports = [];
    private readonly ConcurrentQueue<Assessed> assessments = [];
    private readonly ConcurrentQueue<string> refusals = [];
    private string experiment = "";
    private int acknowledged;

    /// <summary>How many requests were acknowledged so far.</summary>
    public int Acknowledged => Volatile.Read(ref acknowledged);

    /// <summary>How many answers said that the request may be tried again.</summary>
    public int Refused => refusals.Count;

    /// <summary>Makes the experiment.</summary>
    public async Task PrepareAsync(ApiServer server) => experiment = await server.CreateExperimentAsync();

    /// <summary>Lets the clients work until they are told to stop or lose their server.</summary>
    /// <param name="server">The server.</param>
    /// <param name="round">Makes this time different from others.</param>
    /// <param name="retrying">Clients send again what is refused with 503; otherwise nothing may be refused.</param>
    /// <param name="cancellationToken">Stops after the request at hand has succeeded.</param>
    public Task RunAsync(ApiServer server, int round, bool retrying, CancellationToken cancellationToken) =>
        Task.WhenAll(Enumerable.Range(0, clients).Select(client => Task.Run(
            async () =>
            {
                var random = new Random((round * 1000) + client);
                var own = new List<ExportedSpan>();
                try
                {
                    while (!cancellationToken.IsCancellationRequested)
                    {
                        await WorkAsync(server, random, own, retrying);
                        Interlocked.Increment(ref acknowledged);
                    }
                }
                catch (HttpRequestException)
                {
                    // The server is gone, and whether it has done this last request is not known.
                }
            },
            CancellationToken.None)));

    /// <summary>Sends every second export again that nobody has answered, as exporters do.</summary>
    public async Task SendAgainAsync(ApiServer server)
    {
        foreach (var export in exports.Where((export, index) => !export.Answered && index % 2 == 0))
        {
            await server.ExportAsync(experiment, export.Spans);
            export.Answered = true;
        }
    }

    /// <summary>Asserts that the server has what was acknowledged, nothing of it twice, and nothing torn.</summary>
    /// <remarks>What is found here of a request without an answer has to stay as it is.</remarks>
    public async Task AssertKeptAsync(ApiServer server)
    {
        var traces = new Dictionary<string, JsonObject>();
        foreach (var ids in exports.SelectMany(export => export.Spans).Select(span => span.MlflowId).Distinct().Chunk(BatchedIds))
        {
            foreach (var trace in await server.BatchGetAsync(ids))
                traces.Add((string)trace!["trace_info"]!["trace_id"]!, trace.AsObject());
        }

        var found = traces.ToDictionary(
            trace => trace.Key, trace => trace.Value["spans"]!.AsArray().Select(span => Hex((string)span!["span_id"]!)).ToList());
        Assert.All(found.Values, spans => Assert.Equal(spans.Count, spans.Distinct().Count()));
        var expected = new Dictionary<string, List<ExportedSpan>>();
        foreach (var export in exports)
        {
            var there = export.Spans.Count(span => found.TryGetValue(span.MlflowId, out var spans) && spans.Contains(span.SpanId));
            Assert.True(there == 0 || there == export.Spans.Length, $"{there} of {export.Spans.Length} spans of an export");
            Assert.Equal(export.Answered || export.IsThere == true || (export.IsThere is null && there > 0), there > 0);
            export.IsThere = there > 0;
            if (there == 0)
                continue;
            foreach (var span in export.Spans)
            {
                if (!expected.TryGetValue(span.MlflowId, out var spans))
                    expected.Add(span.MlflowId, spans = []);
                spans.Add(span);
            }
        }

        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), traces.Keys.Order(StringComparer.Ordinal));
        foreach (var (id, spans) in expected)
        {
            Assert.Equal(spans.Select(span => span.SpanId).Order(StringComparer.Ordinal), found[id].Order(StringComparer.Ordinal));
            var info = traces[id]["trace_info"]!;
            Assert.Equal(spans.Exists(span => span.ParentId is null) ? "OK" : "IN_PROGRESS", (string?)info["state"]);
            var input = spans.Sum(span => (long)span.Attributes["gen_ai.usage.input_tokens"]!);
            var usage = JsonNode.Parse((string)info["trace_metadata"]!["mlflow.trace.tokenUsage"]!)!;
            Assert.Equal((input, 2 * input, 3 * input), ((long)usage["input_tokens"]!, (long)usage["output_tokens"]!, (long)usage["total_tokens"]!));
        }

        AssertAssessments(traces);
    }

    private void AssertAssessments(Dictionary<string, JsonObject> traces)
    {
        var found = traces.Values.SelectMany(trace => trace["trace_info"]!["assessments"]?.AsArray() ?? [])
            .ToDictionary(assessment => (string)assessment!["assessment_id"]!, assessment => (string)assessment!["trace_id"]!);
        foreach (var assessed in assessments)
        {
            var isThere = found.Remove(assessed.Id, out var trace);
            Assert.Equal(isThere ? assessed.TraceId : null, trace);
            Assert.Equal(assessed.Answered || assessed.IsThere == true || (assessed.IsThere is null && isThere), isThere);
            assessed.IsThere = isThere;
        }

        Assert.Empty(found);
    }

    private async Task WorkAsync(ApiServer server, Random random, List<ExportedSpan> own, bool retrying)
    {
        var kind = random.Next(100);
        if (kind >= 85 && own.Count > 0)
        {
            var assessed = new Assessed($"a-{Guid.NewGuid():N}", own[random.Next(own.Count)].MlflowId);
            assessments.Enqueue(assessed);
            await SentAsync(
                () => server.SendAsync(HttpMethod.Post, $"{TraceCalls.Prefix}traces/{assessed.TraceId}/assessments", ApiServer.Json(assessed.Message())), retrying);
            assessed.Answered = true;
            return;
        }

        // Several traces in one export, new ones and such as this client or all of them have exported to.
        var spans = new List<ExportedSpan>();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            var root = OtlpExport.Root();
            spans.Add(Used(root, random));
            spans.AddRange(Enumerable.Range(0, random.Next(4)).Select(_ => Used(OtlpExport.Child(root), random)));
        }

        if (kind < 30 && own.Count > 0)
            spans.Add(Used(OtlpExport.Child(own[random.Next(own.Count)]), random));
        else if (kind < 60)
            spans.AddRange(Enumerable.Range(0, 3).Select(_ => Used(OtlpExport.Child(shared[random.Next(SharedTraces)]), random)));
        var export = new Export([.. spans]);
        random.Shuffle(export.Spans);
        exports.Enqueue(export);
        var body = OtlpExport.Request(export.Spans);
        await SentAsync(() => server.SendAsync(experiment, body), retrying);
        export.Answered = true;
        own.AddRange(export.Spans.Where(span => span.ParentId is null));
    }

    private async Task SentAsync(Func<Task<HttpResponseMessage>> send, bool retrying)
    {
        for (var isFirst = true; ; isFirst = false)
        {
            using var answer = await send();
            if (answer.StatusCode == HttpStatusCode.OK)
                return;
            var body = await answer.Content.ReadAsStringAsync();
            // Of what was refused, an assessment may have been committed in the last moment; then its id is taken.
            if (!isFirst && answer.StatusCode == HttpStatusCode.BadRequest && body.Contains("exists already", StringComparison.Ordinal))
                return;
            Assert.True(retrying && answer.StatusCode == HttpStatusCode.ServiceUnavailable, $"{(int)answer.StatusCode} {body}");
            Assert.NotNull(answer.Headers.RetryAfter);
            Assert.Equal("TEMPORARILY_UNAVAILABLE", (string?)JsonNode.Parse(body)!["error_code"]);
            refusals.Enqueue(body);
            await Task.Delay(20);
        }
    }

    private static ExportedSpan Used(ExportedSpan span, Random random)
    {
        var input = random.NextInt64(1, 100);
        return span with { Attributes = new() { ["gen_ai.usage.input_tokens"] = input, ["gen_ai.usage.output_tokens"] = 2 * input } };
    }

    private static string Hex(string base64) => Convert.ToHexStringLower(Convert.FromBase64String(base64));

    /// <summary>An export; no span is in two of them.</summary>
    private sealed class Export(ExportedSpan[] spans)
    {
        public ExportedSpan[] Spans { get; } = spans;

        public bool Answered { get; set; }

        /// <summary>Null as long as nobody has looked.</summary>
        public bool? IsThere { get; set; }
    }

    /// <summary>An assessment, with an id of the client's.</summary>
    private sealed class Assessed(string id, string traceId)
    {
        public string Id { get; } = id;

        public string TraceId { get; } = traceId;

        public bool Answered { get; set; }

        /// <summary>Null as long as nobody has looked.</summary>
        public bool? IsThere { get; set; }

        public object Message() => new { assessment = new { assessment_id = Id, assessment_name = "good", feedback = new { value = true } } };
    }
}
