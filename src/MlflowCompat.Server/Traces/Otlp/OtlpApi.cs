using System.Text;
using System.Text.Json.Serialization;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>OpenTelemetry's way in: OTLP over HTTP (contract: endpoints §14; since-3.6 §3.3). Its errors have a form of their own.</summary>
public static class OtlpApi
{
    private const string Route = "/v1/traces";
    private const string ExperimentHeader = "x-mlflow-experiment-id";
    private const string Protobuf = "application/x-protobuf";
    private const string Json = "application/json";

    /// <summary>The largest export, in bytes, as it comes and after it is unpacked.</summary>
    private const int MaxBytes = 64 * 1024 * 1024;

    /// <summary>How many spans an export may have.</summary>
    private const int MaxSpans = 100_000;

    /// <summary>How much the spans of an export may be when they are stored, in bytes: names and escapes make them longer than they came.</summary>
    private const long MaxContentBytes = 128 * 1024 * 1024;

    /// <summary>
    /// How many spans beyond <see cref="SpanLimits"/> an export may have: the work on them is lost, and a request of little bytes may have many.
    /// </summary>
    private const int MaxTooLarge = 100;

    /// <summary>Bytes above which the memory that an export needed is given back to the system as soon as it is answered.</summary>
    private const int HugeBytes = 8 * 1024 * 1024;

    /// <summary>Bytes above which the memory of the body is given back even before its spans are stored.</summary>
    private const int EnormousBytes = 16 * 1024 * 1024;

    private const int MaxNamedTraces = 20;

    private static readonly string[] OtherMethods =
        [HttpMethods.Get, HttpMethods.Head, HttpMethods.Put, HttpMethods.Patch, HttpMethods.Delete];

    /// <summary>Maps the endpoint.</summary>
    public static void MapOtlp(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapPost(Route, Export).WithMetadata(new TrackingEndpoint());
        endpoints.MapMethods(Route, OtherMethods, context =>
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        });
    }

    private static async Task Export(HttpContext context)
    {
        var request = context.Request;
        if (request.Headers[ExperimentHeader] is not [{ Length: > 0 } experiment, ..])
        {
            await RefuseAsync(context, StatusCodes.Status422UnprocessableEntity, $"The header {ExperimentHeader} has to name an experiment.").ConfigureAwait(false);
            return;
        }

        var contentType = request.ContentType ?? "";
        var mediaType = contentType.Split(';')[0].Trim();
        if (mediaType is not (Protobuf or Json))
        {
            await RefuseAsync(context, StatusCodes.Status400BadRequest, $"Invalid Content-Type: {contentType}. Expected: {Protobuf} or {Json}").ConfigureAwait(false);
            return;
        }

        var isJson = mediaType == Json;
        var spans = new List<SpanRow>();
        var tooLarge = 0;
        var contentBytes = 0L;
        try
        {
            using var body = await ReadAsync(context).ConfigureAwait(false);
            if (!(isJson ? OtlpJson.Read(body.Written, Take) : OtlpProtobuf.Read(body.Written.Span, Take)))
                throw new OtlpFormatException("it has no spans");
        }
        catch (OtlpFormatException exception)
        {
            await RefuseAsync(context, StatusCodes.Status400BadRequest, $"Invalid OpenTelemetry export request: {exception.Message}.").ConfigureAwait(false);
            return;
        }
        catch (SpanFormatException exception)
        {
            await RefuseAsync(context, StatusCodes.Status422UnprocessableEntity, $"Cannot convert an OpenTelemetry span: {exception.Message}.").ConfigureAwait(false);
            return;
        }
        catch (OtlpTooLargeException exception)
        {
            await RefuseAsync(context, StatusCodes.Status413PayloadTooLarge, exception.Message).ConfigureAwait(false);
            return;
        }

        // The body is of no use any more; it was about as large as what has been made of it, and that is going to be copied once more.
        if (contentBytes > EnormousBytes)
            RequestBinding.GiveMemoryBack();
        if (spans.Count > 0)
        {
            var refused = await context.RequestServices.GetRequiredService<SpanStore>()
                .StoreAsync(ExperimentId.TryParse(experiment), spans, context.RequestAborted).ConfigureAwait(false);
            if (refused.Count > 0)
            {
                var named = string.Join(", ", refused.Take(MaxNamedTraces)) + (refused.Count > MaxNamedTraces ? ", …" : "");
                await RefuseAsync(
                    context,
                    StatusCodes.Status422UnprocessableEntity,
                    $"Failed to log OpenTelemetry spans: there is no experiment {MlflowException.Quote(experiment)} for {named}.").ConfigureAwait(false);
                return;
            }
        }

        await AnswerAsync(context, isJson, tooLarge).ConfigureAwait(false);

        void Take(OtlpSpan? span)
        {
            if (span is null || TryConvert(span, spans.Count > 0 ? spans[^1] : null) is not { } row)
            {
                if (++tooLarge > MaxTooLarge)
                    throw new OtlpTooLargeException($"{MaxTooLarge} spans of more than {SpanLimits.Message}");
                return;
            }

            if (spans.Count == MaxSpans)
                throw new OtlpTooLargeException($"{MaxSpans} spans");
            contentBytes += row.Content.Length;
            if (contentBytes > MaxContentBytes)
                throw new OtlpTooLargeException($"{MaxContentBytes} bytes when it is stored");
            spans.Add(row);
        }
    }

    /// <summary>The span as it is stored; null when it exceeds <see cref="SpanLimits"/> in that form.</summary>
    private static SpanRow? TryConvert(OtlpSpan span, SpanRow? previous)
    {
        try
        {
            return SpanRow.From(span, previous);
        }
        catch (SpanTooLargeException)
        {
            return null;
        }
    }

    /// <summary>An empty message, or what of the export was not taken.</summary>
    private static async Task AnswerAsync(HttpContext context, bool isJson, int tooLarge)
    {
        var response = context.Response;
        var reason = tooLarge == 0 ? "" : $"{tooLarge} spans have more than {SpanLimits.Message}";
        if (isJson)
        {
            await response.WriteMessageAsync(
                new ExportAnswer(tooLarge == 0 ? null : new PartialSuccess(tooLarge, reason)), context.RequestAborted).ConfigureAwait(false);
            return;
        }

        response.ContentType = Protobuf;
        byte[] message = [];
        if (tooLarge > 0)
        {
            // partial_success = 1 { rejected_spans = 1, error_message = 2 }; nothing of it is as long as 128.
            var text = Encoding.ASCII.GetBytes(reason);
            byte[] inner = [0x08, (byte)tooLarge, 0x12, (byte)text.Length, .. text];
            message = [0x0A, (byte)inner.Length, .. inner];
        }

        response.ContentLength = message.Length;
        await response.Body.WriteAsync(message, context.RequestAborted).ConfigureAwait(false);
    }

    private static Task RefuseAsync(HttpContext context, int status, string detail)
    {
        context.Response.StatusCode = status;
        return context.Response.WriteMessageAsync(new OtlpError(detail), context.RequestAborted);
    }

    /// <summary>The body, unpacked; never more than what is allowed, however small it was packed.</summary>
    private static async Task<BodyBuffer> ReadAsync(HttpContext context)
    {
        var request = context.Request;
        if (request.ContentLength > MaxBytes)
            throw new OtlpTooLargeException($"{MaxBytes} bytes");
        var encoding = request.Headers.ContentEncoding.ToString().Trim().ToUpperInvariant();
        switch (encoding)
        {
            case "" or "IDENTITY":
                return await ReadToEndAsync(context, request.Body, request.ContentLength).ConfigureAwait(false);
            case not ("GZIP" or "X-GZIP" or "DEFLATE"):
                throw new OtlpFormatException("its Content-Encoding is neither gzip nor deflate");
        }

        var packed = await PackedBody.OpenAsync(request.Body, encoding != "DEFLATE", MaxBytes, context.RequestAborted).ConfigureAwait(false);
        var unpacked = packed.Unpack();
        await using (unpacked.ConfigureAwait(false))
        {
            try
            {
                var body = await ReadToEndAsync(context, unpacked, announced: null).ConfigureAwait(false);
                return packed.IsWhole ? body : throw PackedBody.NotWhole();
            }
            catch (InvalidDataException)
            {
                throw PackedBody.NotWhole();
            }
        }
    }

    private static async Task<BodyBuffer> ReadToEndAsync(HttpContext context, Stream source, long? announced)
    {
        var body = new BodyBuffer(announced);
        int read;
        while ((read = await source.ReadAsync(body.GetMemory(), context.RequestAborted).ConfigureAwait(false)) > 0)
        {
            body.Advance(read);
            if (body.WrittenCount > MaxBytes)
                throw new OtlpTooLargeException($"{MaxBytes} bytes");
        }

        if (body.WrittenCount > HugeBytes)
            context.Response.OnCompleted(RequestBinding.GiveMemoryBackSoonAsync);
        return body;
    }
}

/// <summary>The body of an error of this endpoint.</summary>
/// <param name="Detail">What is wrong.</param>
public sealed record OtlpError(string Detail);

/// <summary>Answer to an export in JSON.</summary>
/// <param name="PartialSuccess">What was not taken; null when everything was.</param>
public sealed record ExportAnswer([property: JsonPropertyName("partialSuccess")] PartialSuccess? PartialSuccess);

/// <summary>What of an export was not taken.</summary>
/// <param name="RejectedSpans">How many spans.</param>
/// <param name="ErrorMessage">Why.</param>
public sealed record PartialSuccess(
    [property: JsonPropertyName("rejectedSpans")] long RejectedSpans, [property: JsonPropertyName("errorMessage")] string ErrorMessage);

[JsonSerializable(typeof(OtlpError))]
[JsonSerializable(typeof(ExportAnswer))]
internal sealed partial class OtlpAnswersJson : JsonSerializerContext;
