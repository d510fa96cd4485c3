namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// A span as OpenTelemetry's protocol has it, whichever encoding it came in. Values of attributes are texts, <c>long</c>, <c>double</c>,
/// <c>bool</c>, bytes, lists of values, lists of named values, or null when unset.
/// </summary>
internal sealed class OtlpSpan
{
    /// <summary>16 bytes.</summary>
    public byte[] TraceId { get; set; } = [];

    /// <summary>8 bytes.</summary>
    public byte[] SpanId { get; set; } = [];

    /// <summary>8 bytes, or none for a root.</summary>
    public byte[] ParentSpanId { get; set; } = [];

    /// <summary>Its name.</summary>
    public string Name { get; set; } = "";

    /// <summary>Start in nanoseconds since 1970.</summary>
    public ulong Start { get; set; }

    /// <summary>End in nanoseconds since 1970; 0 as long as it has not ended.</summary>
    public ulong End { get; set; }

    /// <summary>0 unset, 1 OK, 2 error.</summary>
    public int StatusCode { get; set; }

    /// <summary>What went wrong.</summary>
    public string StatusMessage { get; set; } = "";

    /// <summary>Its attributes, as sent.</summary>
    public List<KeyValuePair<string, object?>> Attributes { get; } = [];

    /// <summary>What happened during it.</summary>
    public List<OtlpEvent> Events { get; } = [];
}

/// <summary>Something that happened during a span.</summary>
internal sealed class OtlpEvent
{
    /// <summary>Nanoseconds since 1970.</summary>
    public ulong Time { get; set; }

    /// <summary>Its name.</summary>
    public string Name { get; set; } = "";

    /// <summary>Its attributes, as sent.</summary>
    public List<KeyValuePair<string, object?>> Attributes { get; } = [];
}

/// <summary>
/// Counts what a span consists of while it is read. In memory an empty event takes many times the bytes that it takes in a request, so no
/// span is read further than this.
/// </summary>
internal sealed class SpanLimits
{
    /// <summary>The largest span that is stored, in bytes, as it comes and as it is kept.</summary>
    public const int MaxBytes = 16 * 1024 * 1024;

    /// <summary>How many events a span may have.</summary>
    public const int MaxEvents = 10_000;

    /// <summary>How many attributes, entries of lists and members of maps a span may have, those of its events included.</summary>
    public const int MaxValues = 100_000;

    private int events;
    private int values;

    /// <summary>What a client is told that has exceeded them.</summary>
    public static string Message { get; } = FormattableString.Invariant($"{MaxBytes} bytes, {MaxEvents} events or {MaxValues} values");

    /// <summary>Counts an event.</summary>
    /// <exception cref="SpanTooLargeException">It is one too many.</exception>
    public void AddEvent()
    {
        if (++events > MaxEvents)
            throw new SpanTooLargeException();
    }

    /// <summary>Counts a value.</summary>
    /// <exception cref="SpanTooLargeException">It is one too many.</exception>
    public void AddValue()
    {
        if (++values > MaxValues)
            throw new SpanTooLargeException();
    }
}

/// <summary>
/// Reads an ExportTraceServiceRequest in protobuf (opentelemetry-proto, trace.proto and common.proto, version 1). What MLflow gives back
/// nowhere is passed over: resources, scopes, kinds, links.
/// </summary>
internal static class OtlpProtobuf
{
    /// <summary>How deep values may lie in values: as deep as protobuf's own readers go.</summary>
    private const int MaxDepth = 50;

    /// <summary>Reads the spans of a request, one after the other.</summary>
    /// <param name="request">The message.</param>
    /// <param name="take">Gets each span, or null for one that exceeds <see cref="SpanLimits"/>.</param>
    /// <returns>Whether there was anything at all in the request.</returns>
    /// <exception cref="OtlpFormatException">It is no such message.</exception>
    public static bool Read(ReadOnlySpan<byte> request, Action<OtlpSpan?> take)
    {
        var any = false;
        var reader = new ProtobufReader(request);
        while (reader.Next())
        {
            if (reader.Field != 1)
            {
                reader.Skip();
                continue;
            }

            any = true;
            var resource = new ProtobufReader(reader.Bytes());
            while (resource.Next())
            {
                if (resource.Field == 2)
                    ReadScope(resource.Bytes(), take);
                else
                    resource.Skip();
            }
        }

        return any;
    }

    private static void ReadScope(ReadOnlySpan<byte> message, Action<OtlpSpan?> take)
    {
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            if (reader.Field == 2)
                take(TryReadSpan(reader.Bytes()));
            else
                reader.Skip();
        }
    }

    private static OtlpSpan? TryReadSpan(ReadOnlySpan<byte> message)
    {
        try
        {
            return message.Length > SpanLimits.MaxBytes ? null : ReadSpan(message);
        }
        catch (SpanTooLargeException)
        {
            return null;
        }
    }

    private static OtlpSpan ReadSpan(ReadOnlySpan<byte> message)
    {
        var limits = new SpanLimits();
        var span = new OtlpSpan();
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    span.TraceId = reader.Bytes().ToArray();
                    break;
                case 2:
                    span.SpanId = reader.Bytes().ToArray();
                    break;
                case 4:
                    span.ParentSpanId = reader.Bytes().ToArray();
                    break;
                case 5:
                    span.Name = reader.Text();
                    break;
                case 7:
                    span.Start = reader.Fixed64();
                    break;
                case 8:
                    span.End = reader.Fixed64();
                    break;
                case 9:
                    span.Attributes.Add(ReadAttribute(reader.Bytes(), 0, limits));
                    break;
                case 11:
                    limits.AddEvent();
                    span.Events.Add(ReadEvent(reader.Bytes(), limits));
                    break;
                case 15:
                    ReadStatus(reader.Bytes(), span);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return span;
    }

    private static OtlpEvent ReadEvent(ReadOnlySpan<byte> message, SpanLimits limits)
    {
        var happened = new OtlpEvent();
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    happened.Time = reader.Fixed64();
                    break;
                case 2:
                    happened.Name = reader.Text();
                    break;
                case 3:
                    happened.Attributes.Add(ReadAttribute(reader.Bytes(), 0, limits));
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return happened;
    }

    private static void ReadStatus(ReadOnlySpan<byte> message, OtlpSpan span)
    {
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    span.StatusMessage = reader.Text();
                    break;
                case 3:
                    span.StatusCode = (int)reader.Integer();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    private static KeyValuePair<string, object?> ReadAttribute(ReadOnlySpan<byte> message, int depth, SpanLimits limits)
    {
        limits.AddValue();
        var key = "";
        object? value = null;
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    key = reader.Text();
                    break;
                case 2:
                    value = ReadValue(reader.Bytes(), depth, limits);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return new(key, value);
    }

    private static object? ReadValue(ReadOnlySpan<byte> message, int depth, SpanLimits limits)
    {
        if (depth == MaxDepth)
            throw new OtlpFormatException($"values of attributes lie more than {MaxDepth} deep in each other");
        object? value = null;
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    value = reader.Text();
                    break;
                case 2:
                    value = reader.Integer() != 0;
                    break;
                case 3:
                    value = (long)reader.Integer();
                    break;
                case 4:
                    value = BitConverter.UInt64BitsToDouble(reader.Fixed64());
                    break;
                case 5:
                    value = ReadList(reader.Bytes(), depth, limits);
                    break;
                case 6:
                    value = ReadMap(reader.Bytes(), depth, limits);
                    break;
                case 7:
                    value = reader.Bytes().ToArray();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return value;
    }

    private static List<object?> ReadList(ReadOnlySpan<byte> message, int depth, SpanLimits limits)
    {
        var values = new List<object?>();
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            if (reader.Field == 1)
            {
                limits.AddValue();
                values.Add(ReadValue(reader.Bytes(), depth + 1, limits));
            }
            else
            {
                reader.Skip();
            }
        }

        return values;
    }

    private static List<KeyValuePair<string, object?>> ReadMap(ReadOnlySpan<byte> message, int depth, SpanLimits limits)
    {
        var values = new List<KeyValuePair<string, object?>>();
        var reader = new ProtobufReader(message);
        while (reader.Next())
        {
            if (reader.Field == 1)
                values.Add(ReadAttribute(reader.Bytes(), depth + 1, limits));
            else
                reader.Skip();
        }

        return values;
    }
}
