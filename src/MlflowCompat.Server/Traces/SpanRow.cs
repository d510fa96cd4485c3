using MlflowCompat.Server.Traces.Otlp;

namespace MlflowCompat.Server.Traces;

/// <summary>A span in the form in which it is stored.</summary>
/// <param name="TraceId">MLflow's id of its trace.</param>
/// <param name="SpanId">16 hex digits.</param>
/// <param name="ParentSpanId">16 hex digits, or null for a root.</param>
/// <param name="Name">Its name.</param>
/// <param name="Type">MLflow's type, or null.</param>
/// <param name="Status"><c>OK</c>, <c>ERROR</c> or <c>UNSET</c>.</param>
/// <param name="Start">Nanoseconds since 1970.</param>
/// <param name="End">Nanoseconds since 1970; null as long as it has not ended.</param>
/// <param name="Usage">JSON of tokens, cost, model and provider, or null.</param>
/// <param name="Content">JSON of the whole span, in UTF-8.</param>
internal sealed record SpanRow(
    string TraceId,
    string SpanId,
    string? ParentSpanId,
    string Name,
    string? Type,
    string Status,
    long Start,
    long? End,
    string? Usage,
    byte[] Content)
{
    private const int MaxTypeLength = 500;
    private const int TraceIdBytes = 16;
    private const int SpanIdBytes = 8;

    /// <summary>Preview of what went into a root, or null.</summary>
    public string? RequestPreview { get; private init; }

    /// <summary>Preview of what came out of a root, or null.</summary>
    public string? ResponsePreview { get; private init; }

    /// <summary>About how much memory it takes while it waits.</summary>
    public int EstimateBytes() => Content.Length + 400;

    /// <summary>Translates a span.</summary>
    /// <param name="span">The span.</param>
    /// <param name="previous">The one before it in the same export, with which it shares the texts that are the same in both; or null.</param>
    /// <exception cref="SpanFormatException">Its ids are of the wrong form.</exception>
    /// <exception cref="SpanTooLargeException">It is more than is stored.</exception>
    public static SpanRow From(OtlpSpan span, SpanRow? previous)
    {
        if (span.TraceId.Length != TraceIdBytes || !span.TraceId.AsSpan().ContainsAnyExcept((byte)0))
            throw new SpanFormatException($"a trace id must have {TraceIdBytes} bytes that are not all zero");
        if (span.SpanId.Length != SpanIdBytes || !span.SpanId.AsSpan().ContainsAnyExcept((byte)0))
            throw new SpanFormatException($"a span id must have {SpanIdBytes} bytes that are not all zero");
        if (span.ParentSpanId.Length is not (0 or SpanIdBytes))
            throw new SpanFormatException($"the id of a parent must have {SpanIdBytes} bytes, or none");
        // Some exporters have eight zero bytes for "no parent".
        if (!span.ParentSpanId.AsSpan().ContainsAnyExcept((byte)0))
            span.ParentSpanId = [];

        var traceId = Shared(previous?.TraceId, Traces.TraceId.Format(span.TraceId));
        var attributes = new SpanAttributes(traceId, span.Attributes);
        var isRoot = span.ParentSpanId.Length == 0;
        return new SpanRow(
            traceId,
            Convert.ToHexStringLower(span.SpanId),
            isRoot ? null : Shared(previous?.ParentSpanId, Convert.ToHexStringLower(span.ParentSpanId)),
            Shared(previous?.Name, span.Name),
            attributes.SpanType is { } type ? Shared(previous?.Type, Http.FieldRules.Truncate(type, MaxTypeLength)) : null,
            span.StatusCode switch { 1 => "OK", 2 => "ERROR", _ => "UNSET" },
            ToNanoseconds(span.Start),
            span.End == 0 ? null : ToNanoseconds(span.End),
            attributes.Usage(),
            SpanJson.Write(span, attributes.All))
        {
            RequestPreview = isRoot && attributes.InputText is { } inputs ? TracePreview.Of(inputs, "user") : null,
            ResponsePreview = isRoot && attributes.OutputText is { } outputs ? TracePreview.Of(outputs, "assistant") : null,
        };
    }

    /// <summary>Tens of thousands of spans that wait together mostly say the same.</summary>
    private static string Shared(string? previous, string text) => text == previous ? previous : text;

    /// <summary>What a BIGINT holds ends in the year 2262.</summary>
    private static long ToNanoseconds(ulong time) => (long)Math.Min(time, long.MaxValue);
}
