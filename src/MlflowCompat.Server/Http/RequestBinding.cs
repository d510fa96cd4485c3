using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Text.Unicode;
using Microsoft.Extensions.Primitives;

namespace MlflowCompat.Server.Http;

/// <summary>
/// Turns a request into its message, from the JSON body or from the query string, by the rules of contract: semantics §1. Handlers see
/// messages only.
/// </summary>
public static class RequestBinding
{
    /// <summary>
    /// The largest JSON body that is read, in bytes: the largest valid one is a log-inputs with several data sets whose profiles may have
    /// 16 million characters each.
    /// </summary>
    public const int MaxBodyBytes = 128 * 1024 * 1024;

    /// <summary>Bytes above which a body is no longer held by the connection until it is complete.</summary>
    private const int LargeBodyBytes = 512 * 1024;

    /// <summary>Bytes above which the memory that a body needed is given back to the system as soon as it is answered.</summary>
    private const int HugeBodyBytes = 8 * 1024 * 1024;

    private static readonly TimeSpan StackPatience = TimeSpan.FromMilliseconds(50);

    private static bool isGivingBackSoon;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads the message of a request.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: wrong content type, malformed JSON, a field of the wrong type.</exception>
    public static async ValueTask<T> ReadAsync<T>(HttpContext context)
        where T : class, new()
    {
        var request = context.Request;
        var type = MlflowJson.TypeInfo<T>();
        if (HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method))
        {
            if (request.Query.Count > 0)
                return Parse(QueryAsJson(request.Query, type), type);
        }
        else if (HttpMethods.IsPost(request.Method) || HttpMethods.IsPut(request.Method))
        {
            RequireJson(request.ContentType);
        }

        return await ReadBodyAsync(context, type).ConfigureAwait(false);
    }

    private static async ValueTask<T> ReadBodyAsync<T>(HttpContext context, JsonTypeInfo<T> type)
        where T : class, new()
    {
        var request = context.Request;
        var cancellationToken = context.RequestAborted;
        if (request.ContentLength > MaxBodyBytes)
            throw TooLarge();
        var reader = request.BodyReader;
        var large = Array.Empty<byte>();
        var taken = 0;
        while (true)
        {
            ReadResult read;
            try
            {
                read = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (BadHttpRequestException exception) when (exception.StatusCode == StatusCodes.Status408RequestTimeout)
            {
                // There may be nothing wrong with it: a client on a busy machine has to know that it should try again.
                throw new MlflowException(ErrorCode.TemporarilyUnavailable, "The request body came too slowly; try again.");
            }
            catch (BadHttpRequestException exception)
            {
                throw MlflowException.InvalidParameter($"The request body could not be read: {exception.Message}");
            }

            if (taken + read.Buffer.Length > MaxBodyBytes)
                throw TooLarge();
            if (taken > 0 || read.Buffer.Length > LargeBodyBytes)
            {
                // Taken out of the connection as it comes: neither its pool of buffers nor the pool of arrays has to grow to this size.
                large = Append(large, taken, read.Buffer, request.ContentLength ?? MaxBodyBytes);
                taken += (int)read.Buffer.Length;
                reader.AdvanceTo(read.Buffer.End);
                if (!read.IsCompleted)
                    continue;
                if (taken > HugeBodyBytes)
                    context.Response.OnCompleted(GiveMemoryBackSoonAsync);
                return Parse(large.AsMemory(0, taken), type);
            }

            if (!read.IsCompleted)
            {
                reader.AdvanceTo(read.Buffer.Start, read.Buffer.End);
                continue;
            }

            if (read.Buffer.IsSingleSegment)
            {
                try
                {
                    return Parse(read.Buffer.First, type);
                }
                finally
                {
                    // Also when the body is refused: Kestrel cuts the connection of a request whose body is still being read.
                    reader.AdvanceTo(read.Buffer.End);
                }
            }

            var length = (int)read.Buffer.Length;
            var rented = ArrayPool<byte>.Shared.Rent(length);
            try
            {
                read.Buffer.CopyTo(rented);
                reader.AdvanceTo(read.Buffer.End);
                return Parse(rented.AsMemory(0, length), type);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(rented);
            }
        }
    }

    /// <summary>Grows with what has arrived: a length that is only announced costs nothing.</summary>
    private static byte[] Append(byte[] body, int length, in ReadOnlySequence<byte> more, long announced)
    {
        var needed = length + (int)more.Length;
        if (needed > body.Length)
        {
            var grown = GC.AllocateUninitializedArray<byte>((int)Math.Max(needed, Math.Min(announced, needed * 4L)));
            body.AsSpan(0, length).CopyTo(grown);
            body = grown;
        }

        more.CopyTo(body.AsSpan(length));
        return body;
    }

    /// <summary>
    /// What a huge request leaves behind, several times its size, would otherwise stay until the next full collection, which a quiet
    /// server never comes to.
    /// </summary>
    internal static void GiveMemoryBack() =>
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);

    /// <summary>
    /// As <see cref="GiveMemoryBack"/>, for the end of a request, where the methods that have awaited each other are still on the stack with all
    /// that they were given. Requests that end at about the same time share one collection.
    /// </summary>
    internal static Task GiveMemoryBackSoonAsync()
    {
        if (Interlocked.Exchange(ref isGivingBackSoon, true))
            return Task.CompletedTask;
        _ = Task.Delay(StackPatience).ContinueWith(
            static _ =>
            {
                Volatile.Write(ref isGivingBackSoon, false);
                GiveMemoryBack();
            },
            TaskScheduler.Default);
        return Task.CompletedTask;
    }

    private static T Parse<T>(ReadOnlyMemory<byte> body, JsonTypeInfo<T> type, bool decoded = false)
        where T : class, new()
    {
        if (body.Span.StartsWith(ByteOrderMark))
            body = body[ByteOrderMark.Length..];
        var span = body.Span.TrimStart(" \t\r\n"u8);
        if (span.IsEmpty)
            return new T();
        try
        {
            // Very old clients encode the body twice: a JSON string that holds JSON.
            if (span[0] == '"' && !decoded)
                return Parse(Encoding.UTF8.GetBytes(JsonSerializer.Deserialize(span, MlflowJson.TypeInfo<string>())!), type, decoded: true);
            return JsonSerializer.Deserialize(span, type) ?? new T();
        }
        catch (JsonException exception)
        {
            if (BareNumbers.Quote(body.Span) is { } quoted)
                return Parse(quoted, type, decoded);
            throw Describe(exception, body);
        }
    }

    /// <summary>
    /// The query string as the JSON that a body would have been: repeated keys for lists, text for everything else, which the converters
    /// of numbers and enums read as well. Of a scalar given twice the first one counts. Names are the .proto file's only: the lowerCamelCase
    /// ones, which can be set but not read, are names of JSON.
    /// </summary>
    private static byte[] QueryAsJson(IQueryCollection query, JsonTypeInfo type)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            foreach (var property in type.Properties)
            {
                if (property.Get is null || property.Set is null || !query.TryGetValue(property.Name, out StringValues values) || values.Count == 0)
                    continue;
                var propertyType = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
                if (propertyType == typeof(List<string>))
                {
                    writer.WriteStartArray(property.Name);
                    foreach (var value in values)
                        writer.WriteStringValue(value);
                    writer.WriteEndArray();
                }
                else if (propertyType == typeof(bool) && bool.TryParse(values[0], out var flag))
                {
                    writer.WriteBoolean(property.Name, flag);
                }
                else
                {
                    writer.WriteString(property.Name, values[0]);
                }
            }

            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static void RequireJson(string? contentType)
    {
        var mediaType = contentType.AsSpan();
        var parameters = mediaType.IndexOf(';');
        if (parameters >= 0)
            mediaType = mediaType[..parameters].TrimEnd();
        if (!mediaType.SequenceEqual("application/json"))
        {
            throw MlflowException.InvalidParameter(
                $"Bad Request. Content-Type must be application/json, not {MlflowException.Quote(contentType ?? "")}.");
        }
    }

    /// <summary>Says which field is at fault and shows its value, which is looked up only now that something is wrong.</summary>
    private static MlflowException Describe(JsonException exception, ReadOnlyMemory<byte> body)
    {
        if (!Utf8.IsValid(body.Span))
            return MlflowException.InvalidParameter("The request body is not valid UTF-8.");
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = MlflowJson.Options.MaxDepth });
        }
        catch (JsonException malformed)
        {
            return MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture,
                $"The request body is not valid JSON (line {malformed.LineNumber + 1}, byte {malformed.BytePositionInLine + 1}): {Reason(malformed)}"));
        }

        using (document)
        {
            var path = (exception.Path ?? "$").TrimStart('$').TrimStart('.');
            if (path.Length == 0)
                return MlflowException.InvalidParameter($"The request body must be a JSON object, not {document.RootElement.ValueKind}.");
            var value = Find(document.RootElement, path);
            return MlflowException.InvalidValue(
                path, value?.GetRawText() ?? "", exception.InnerException is null && !exception.Message.StartsWith("The JSON value", StringComparison.Ordinal)
                    ? exception.Message
                    : "it is of the wrong type");
        }
    }

    private static string Reason(JsonException malformed)
    {
        var text = malformed.Message;
        var position = text.IndexOf(" LineNumber:", StringComparison.Ordinal);
        return position < 0 ? text : text[..position];
    }

    private static JsonElement? Find(JsonElement element, string path)
    {
        foreach (var step in path.Split('.', '[', ']'))
        {
            if (step.Length == 0)
                continue;
            if (element.ValueKind == JsonValueKind.Array && int.TryParse(step, CultureInfo.InvariantCulture, out var index) && index < element.GetArrayLength())
                element = element[index];
            else if (element.ValueKind == JsonValueKind.Object && element.TryGetProperty(step, out var member))
                element = member;
            else
                return null;
        }

        return element;
    }

    private static MlflowException TooLarge() =>
        MlflowException.InvalidParameter($"The request body is larger than {MaxBodyBytes} bytes.");
}
