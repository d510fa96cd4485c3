using System.Buffers.Binary;
using System.Net;
using System.Text;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>A span that a test exports.</summary>
/// <param name="TraceId">32 hex digits.</param>
/// <param name="SpanId">16 hex digits.</param>
/// <param name="ParentId">16 hex digits, or null for a root.</param>
/// <param name="Name">Its name.</param>
/// <param name="Start">Nanoseconds since 1970.</param>
/// <param name="End">Nanoseconds since 1970; 0 for a span that has not ended.</param>
internal sealed record ExportedSpan(string TraceId, string SpanId, string? ParentId, string Name, ulong Start, ulong End)
{
    public int Status { get; init; }

    public string Message { get; init; } = "";

    /// <summary>Values: text, long, double, bool, bytes, lists, dictionaries, null.</summary>
    public Dictionary<string, object?> Attributes { get; init; } = [];

    public (string Name, ulong Time, Dictionary<string, object?> Attributes)[] Events { get; init; } = [];

    /// <summary>MLflow's id of the trace.</summary>
    public string MlflowId => "tr-" + TraceId;
}

/// <summary>Writes OpenTelemetry's export request in protobuf, by itself, so that the server's reader is not tested against its own mirror.</summary>
internal static class OtlpExport
{
    public static string NewTraceId() => Guid.NewGuid().ToString("N");

    public static string NewSpanId() => Guid.NewGuid().ToString("N")[..16];

    /// <summary>A root that began at a time in milliseconds.</summary>
    public static ExportedSpan Root(string? traceId = null, string name = "root", long startMs = 1_700_000_000_000, long durationMs = 100) => new(
        traceId ?? NewTraceId(), NewSpanId(), null, name, (ulong)startMs * 1_000_000, (ulong)(startMs + durationMs) * 1_000_000);

    /// <summary>A child of a span.</summary>
    public static ExportedSpan Child(ExportedSpan parent, string name = "child") =>
        parent with { SpanId = NewSpanId(), ParentId = parent.SpanId, Name = name, Attributes = [], Events = [], Status = 0, Message = "" };

    public static byte[] Request(params ExportedSpan[] spans) =>
        Field(1, [.. Field(1, Field(1, KeyValue("service.name", "shop"))), .. Field(2, [.. Field(1, Text(1, "scope")), .. spans.SelectMany(span => Field(2, Span(span)))])]);

    /// <summary>Sends an export to the server.</summary>
    public static async Task<HttpResponseMessage> SendAsync(
        this ApiServer server, string? experimentId, byte[] body, string contentType = "application/x-protobuf", string? encoding = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/traces") { Content = new ByteArrayContent(body) };
        request.Content.Headers.TryAddWithoutValidation("Content-Type", contentType);
        if (encoding is not null)
            request.Content.Headers.ContentEncoding.Add(encoding);
        if (experimentId is not null)
            request.Headers.Add("x-mlflow-experiment-id", experimentId);
        return await server.Client.SendAsync(request);
    }

    /// <summary>Sends spans, which have to be taken.</summary>
    public static async Task ExportAsync(this ApiServer server, string experimentId, params ExportedSpan[] spans)
    {
        using var response = await server.SendAsync(experimentId, Request(spans));
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
    }

    public static byte[] Span(ExportedSpan span) =>
    [
        .. Field(1, Convert.FromHexString(span.TraceId)),
        .. Field(2, Convert.FromHexString(span.SpanId)),
        .. span.ParentId is null ? [] : Field(4, Convert.FromHexString(span.ParentId)),
        .. Text(5, span.Name),
        .. Fixed64(7, span.Start),
        .. Fixed64(8, span.End),
        .. span.Attributes.SelectMany(attribute => Field(9, KeyValue(attribute.Key, attribute.Value))),
        .. span.Events.SelectMany(happened => Field(11,
            [.. Fixed64(1, happened.Time), .. Text(2, happened.Name), .. happened.Attributes.SelectMany(attribute => Field(3, KeyValue(attribute.Key, attribute.Value)))])),
        .. Field(15, [.. Text(2, span.Message), .. Varint(3 << 3), .. Varint((ulong)span.Status)]),
    ];

    private static byte[] KeyValue(string key, object? value) => [.. Text(1, key), .. Field(2, Any(value))];

    private static byte[] Any(object? value) => value switch
    {
        null => [],
        string text => Field(1, Encoding.UTF8.GetBytes(text)),
        bool flag => [.. Varint(2 << 3), flag ? (byte)1 : (byte)0],
        int number => [.. Varint(3 << 3), .. Varint((ulong)(long)number)],
        long number => [.. Varint(3 << 3), .. Varint((ulong)number)],
        double number => Fixed64(4, BitConverter.DoubleToUInt64Bits(number)),
        byte[] bytes => Field(7, bytes),
        Dictionary<string, object?> members => Field(6, [.. members.SelectMany(member => Field(1, KeyValue(member.Key, member.Value)))]),
        IEnumerable<object?> list => Field(5, [.. list.SelectMany(item => Field(1, Any(item)))]),
        _ => throw new ArgumentException($"no attribute: {value}"),
    };

    public static byte[] Field(int number, byte[] content) => [.. Varint((ulong)(number << 3 | 2)), .. Varint((ulong)content.Length), .. content];

    private static byte[] Text(int number, string text) => text.Length == 0 ? [] : Field(number, Encoding.UTF8.GetBytes(text));

    private static byte[] Fixed64(int number, ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return [.. Varint((ulong)(number << 3 | 1)), .. bytes];
    }

    private static byte[] Varint(ulong value)
    {
        var bytes = new List<byte>();
        for (; value > 127; value >>= 7)
            bytes.Add((byte)(value & 127 | 128));
        bytes.Add((byte)value);
        return [.. bytes];
    }
}
