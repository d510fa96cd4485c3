using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using MlflowCompat.Bench.Http;

namespace MlflowCompat.Bench.Workloads;

/// <summary>A span of an export.</summary>
/// <param name="Trace">Number of its trace within the export, from 0.</param>
/// <param name="Number">Its number within the trace, from 0, which is the root; its parent is a span with a smaller one.</param>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type in MLflow's words.</param>
/// <param name="TextBytes">About how long its inputs and outputs are together, in bytes.</param>
internal sealed record ExportedSpan(int Trace, int Number, string Name, string Type, int TextBytes);

/// <summary>
/// An export of OpenTelemetry (ExportTraceServiceRequest, in protobuf) as MLflow's client makes them. It is put together once; what makes it
/// another one each time, the ids of its traces and the times, has a fixed length and is written over what stands there.
/// </summary>
internal sealed class SpanExport
{
    private const int TraceIdBytes = 16;
    private const int Children = 3;
    private const long NanosecondsPerSpan = 20_000;

    /// <summary>The byte before a field of bytes, of a text or of a message: number 1 or 2.</summary>
    private const byte First = 0x0A, Second = 0x12;

    /// <summary>Those before the other fields of a span, by opentelemetry-proto's trace.proto.</summary>
    private const byte ParentField = 0x22, NameField = 0x2A, KindField = 0x30, StartField = 0x39, EndField = 0x41, AttributeField = 0x4A,
        StatusField = 0x7A;

    private static readonly string[] Words =
        ["the", "answer", "of", "a", "model", "depends", "on", "what", "was", "found", "in", "documents", "that", "retrieval", "ranked", "first"];

    private readonly byte[] message;
    private readonly List<Place> places = [];

    /// <summary>Puts an export together.</summary>
    public SpanExport(IEnumerable<ExportedSpan> spans)
    {
        var body = new List<byte>();
        var random = new Random(1);
        foreach (var span in spans)
        {
            var content = Content(span, random, out var place);
            AppendHead(body, Second, content.Count);
            places.Add(place with { Offset = place.Offset + body.Count, Hex = place.Hex + body.Count, Start = place.Start + body.Count });
            body.AddRange(content);
        }

        // The spans of a scope, which is in a resource, which is in the request.
        var scope = new List<byte>();
        AppendHead(scope, Second, body.Count);
        List<byte> head = [];
        AppendHead(head, First, scope.Count + body.Count);
        head.AddRange(scope);
        places = places.ConvertAll(place => place with
        {
            Offset = place.Offset + head.Count, Hex = place.Hex + head.Count, Start = place.Start + head.Count,
        });
        message = [.. head, .. body];
    }

    /// <summary>How many spans it has.</summary>
    public int Spans => places.Count;

    /// <summary>Whole traces with spans of about 1 KB each, as an agent makes that calls tools and models.</summary>
    public static SpanExport OfTraces(int traces, int spans) => new(
        from trace in Enumerable.Range(0, traces)
        from number in Enumerable.Range(0, spans)
        select Typical(trace, number));

    /// <summary>Some of the spans of one such trace.</summary>
    public static SpanExport OfPart(int firstSpan, int spans) => new(Enumerable.Range(firstSpan, spans).Select(number => Typical(0, number)));

    /// <summary>Makes the ids of new traces.</summary>
    public static byte[][] NewTraceIds(int count)
    {
        var ids = new byte[count][];
        for (var i = 0; i < count; i++)
            ids[i] = RandomNumberGenerator.GetBytes(TraceIdBytes);
        return ids;
    }

    /// <summary>The id that MLflow gives a trace of that id.</summary>
    public static string MlflowId(byte[] traceId) => "tr-" + Convert.ToHexStringLower(traceId);

    /// <summary>The headers of an export.</summary>
    public static byte[] Headers(string experimentId) =>
        Encoding.ASCII.GetBytes($"Content-Type: application/x-protobuf\r\nx-mlflow-experiment-id: {experimentId}");

    /// <summary>Writes the request.</summary>
    /// <param name="request">Where to.</param>
    /// <param name="traceIds">The id of each trace.</param>
    /// <param name="start">When the trace of a number began, in nanoseconds since 1970.</param>
    public void Write(RequestBuffer request, byte[][] traceIds, Func<int, long> start)
    {
        request.Clear().Append(message);
        var body = request.Body;
        foreach (var place in places)
        {
            var id = traceIds[place.Trace];
            id.CopyTo(body[place.Offset..]);
            for (var i = 0; i < TraceIdBytes; i++)
                id[i].TryFormat(body[(place.Hex + (2 * i))..], out _, "x2", CultureInfo.InvariantCulture);
            var began = start(place.Trace) + (place.Number * NanosecondsPerSpan);
            BinaryPrimitives.WriteInt64LittleEndian(body[place.Start..], began);
            // The end follows, behind the byte that names its field.
            BinaryPrimitives.WriteInt64LittleEndian(body[(place.Start + sizeof(long) + 1)..], began + NanosecondsPerSpan - 1);
        }
    }

    private static ExportedSpan Typical(int trace, int number) => (number % 10) switch
    {
        0 => new(trace, number, "agent", "AGENT", 700),
        1 or 5 => new(trace, number, "retrieve", "RETRIEVER", 900),
        2 or 6 => new(trace, number, "rerank", "RERANKER", 600),
        3 or 7 or 9 => new(trace, number, "chat", "CHAT_MODEL", 800),
        _ => new(trace, number, "search-orders", "TOOL", 500),
    };

    private static List<byte> Content(ExportedSpan span, Random random, out Place place)
    {
        var content = new List<byte>(span.TextBytes + 400);
        AppendHead(content, First, TraceIdBytes);
        var offset = content.Count;
        content.AddRange(new byte[TraceIdBytes]);
        Append(content, Second, SpanId(span.Number));
        if (span.Number > 0)
            Append(content, ParentField, SpanId((span.Number - 1) / Children));
        Append(content, NameField, span.Name);
        content.AddRange([KindField, 1]);
        content.Add(StartField);
        var start = content.Count;
        content.AddRange(new byte[sizeof(long)]);
        content.Add(EndField);
        content.AddRange(new byte[sizeof(long)]);

        // The hexadecimal digits are those of the trace.
        AppendAttribute(content, "mlflow.traceRequestId", $"\"tr-{new string('0', 2 * TraceIdBytes)}\"");
        var hex = content.Count - (2 * TraceIdBytes);
        AppendAttribute(content, "mlflow.spanType", $"\"{span.Type}\"");
        AppendAttribute(content, "mlflow.spanFunctionName", $"\"{span.Name}\"");
        AppendAttribute(content, "mlflow.spanInputs", $"{{\"question\": \"{Text(span.TextBytes / 2, random)}\", \"top_k\": {random.Next(20)}}}");
        AppendAttribute(content, "mlflow.spanOutputs", $"[\"{Text(span.TextBytes / 2, random)}\"]");
        if (span.Type == "CHAT_MODEL")
            AppendAttribute(content, "mlflow.chat.tokenUsage", """{"input_tokens": 120, "output_tokens": 30, "total_tokens": 150}""");
        // code = 3: OK.
        content.AddRange([StatusField, 2, 0x18, 1]);
        place = new Place(span.Trace, span.Number, offset, hex, start);
        return content;
    }

    /// <summary>Spread over all ids, as the random ones of a client are.</summary>
    private static byte[] SpanId(int number)
    {
        var id = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(id, (ulong)(number + 1) * 0x9E3779B97F4A7C15);
        return id;
    }

    private static string Text(int length, Random random)
    {
        var text = new StringBuilder(length + 16);
        while (text.Length < length)
            text.Append(text.Length == 0 ? "" : " ").Append(Words[random.Next(Words.Length)]).Append(random.Next(10) == 0 ? "." : "");
        return text.ToString();
    }

    /// <summary>key = 1, value = 2, which is a text = 1.</summary>
    private static void AppendAttribute(List<byte> content, string key, [StringSyntax(StringSyntaxAttribute.Json)] string json)
    {
        using var document = JsonDocument.Parse(json);
        Append(content, AttributeField, [.. KeyValue(key, document.RootElement)]);
    }

    private static List<byte> KeyValue(string key, JsonElement value)
    {
        var pair = new List<byte>();
        Append(pair, First, key);
        Append(pair, Second, [.. AnyValue(value)]);
        return pair;
    }

    /// <summary>A value as MLflow's client sends it: lists and objects as such, by opentelemetry-proto's common.proto.</summary>
    private static List<byte> AnyValue(JsonElement value)
    {
        const byte integer = 0x18, list = 0x2A, pairs = 0x32;
        var any = new List<byte>();
        switch (value.ValueKind)
        {
            case JsonValueKind.Number:
                any.Add(integer);
                AppendNumber(any, value.GetInt32());
                break;
            case JsonValueKind.Array:
                var items = new List<byte>();
                foreach (var item in value.EnumerateArray())
                    Append(items, First, [.. AnyValue(item)]);
                Append(any, list, [.. items]);
                break;
            case JsonValueKind.Object:
                var members = new List<byte>();
                foreach (var member in value.EnumerateObject())
                    Append(members, First, [.. KeyValue(member.Name, member.Value)]);
                Append(any, pairs, [.. members]);
                break;
            default:
                Append(any, First, value.GetString()!);
                break;
        }

        return any;
    }

    private static void Append(List<byte> content, byte field, string text) => Append(content, field, Encoding.UTF8.GetBytes(text));

    private static void Append(List<byte> content, byte field, byte[] bytes)
    {
        AppendHead(content, field, bytes.Length);
        content.AddRange(bytes);
    }

    private static void AppendHead(List<byte> content, byte field, int length)
    {
        content.Add(field);
        AppendNumber(content, length);
    }

    /// <summary>Seven bits per byte; not for negative numbers.</summary>
    private static void AppendNumber(List<byte> content, int number)
    {
        for (; number > 0x7F; number >>= 7)
            content.Add((byte)(number | 0x80));
        content.Add((byte)number);
    }

    /// <summary>Where a span has what changes.</summary>
    /// <param name="Trace">Number of its trace.</param>
    /// <param name="Number">Its number.</param>
    /// <param name="Offset">Where the trace's id is.</param>
    /// <param name="Hex">Where it is in hexadecimal digits.</param>
    /// <param name="Start">Where its start is.</param>
    private sealed record Place(int Trace, int Number, int Offset, int Hex, int Start);
}
