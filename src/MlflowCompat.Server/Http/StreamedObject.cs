using System.Text.Json;

namespace MlflowCompat.Server.Http;

/// <summary>
/// An answer that is too large to be held in memory: a JSON object that goes to the connection in pieces, as it is made. One that turns out
/// short has a Content-Length all the same.
/// </summary>
internal sealed class StreamedObject : IAsyncDisposable
{
    /// <summary>Bytes of answer after which what is written is handed to the connection.</summary>
    private const int FlushThreshold = 32 * 1024;

    private readonly HttpResponse response;

    /// <summary>Begins the object.</summary>
    /// <param name="response">Where to; nothing of it was sent yet.</param>
    /// <param name="contentType">Its media type.</param>
    public StreamedObject(HttpResponse response, string contentType = ResponseWriting.JsonMediaType)
    {
        this.response = response;
        response.ContentType = contentType;
        Writer = new Utf8JsonWriter(response.BodyWriter, WriterOptions);
        Writer.WriteStartObject();
    }

    /// <summary>How answers spell JSON, for whoever writes a part of one.</summary>
    public static JsonWriterOptions WriterOptions => new() { Encoder = MlflowJson.Options.Encoder, SkipValidation = true };

    /// <summary>Writes the members.</summary>
    public Utf8JsonWriter Writer { get; }

    /// <summary>Hands on what is written once it is enough for a piece: the writer itself fills a buffer, from which nothing reaches the connection.</summary>
    public Task FlushIfDueAsync(CancellationToken cancellationToken) =>
        Writer.BytesPending + response.BodyWriter.UnflushedBytes < FlushThreshold ? Task.CompletedTask : FlushAsync(cancellationToken);

    /// <summary>Hands on what is written, before more of it takes its time to come.</summary>
    public async Task FlushAsync(CancellationToken cancellationToken)
    {
        await Writer.FlushAsync(cancellationToken).ConfigureAwait(false);
        await response.BodyWriter.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Ends the object, and with it the answer.</summary>
    public async Task EndAsync(CancellationToken cancellationToken)
    {
        Writer.WriteEndObject();
        await Writer.FlushAsync(cancellationToken).ConfigureAwait(false);
        if (!response.HasStarted)
            response.ContentLength = Writer.BytesCommitted;
        await response.BodyWriter.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Writer.DisposeAsync();
}
