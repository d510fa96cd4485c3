using System.IO.Pipelines;
using System.Text;
using System.Text.Json;

namespace MlflowCompat.Server.Http;

/// <summary>Writes answers: messages as JSON, and the few plain pages that the reference server answers with.</summary>
public static class ResponseWriting
{
    /// <summary>MLflow's media type for messages: without a charset.</summary>
    public const string JsonMediaType = "application/json";

    /// <summary>Bytes up to which an answer is held in memory as a whole; a run with all that a page shows of it has less.</summary>
    private const int MaxWholeBytes = 64 * 1024;

    /// <summary>Writes a message with status 200.</summary>
    public static Task WriteMessageAsync<T>(this HttpResponse response, T message, CancellationToken cancellationToken) =>
        WriteJsonAsync(response, message, cancellationToken);

    /// <summary>Writes an error body with its status.</summary>
    public static Task WriteErrorAsync(this HttpResponse response, ErrorCode code, string message)
    {
        response.StatusCode = code.HttpStatus();
        return WriteJsonAsync(response, new ErrorBody(code.WireName(), message), CancellationToken.None);
    }

    /// <summary>Writes a line of text as a page, as Flask does for everything that is no message.</summary>
    public static Task WritePageAsync(this HttpResponse response, string text)
    {
        response.ContentType = "text/html; charset=utf-8";
        return response.WriteAsync(text, Encoding.UTF8);
    }

    /// <summary>A small answer is sent in one piece with its length, which is cheaper for both sides, a large one as it is made.</summary>
    private static async Task WriteJsonAsync<T>(HttpResponse response, T message, CancellationToken cancellationToken)
    {
        response.ContentType = JsonMediaType;
        var writer = new AnswerWriter(response.BodyWriter);
        await JsonSerializer.SerializeAsync(writer, message, MlflowJson.TypeInfo<T>(), cancellationToken).ConfigureAwait(false);
        if (writer.IsWhole)
            response.ContentLength = writer.Length;
        await response.BodyWriter.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Holds back what is written until it is too much for an answer in one piece.</summary>
    private sealed class AnswerWriter(PipeWriter body) : PipeWriter
    {
        /// <summary>Whether nothing was sent yet.</summary>
        public bool IsWhole { get; private set; } = true;

        /// <summary>Bytes written so far.</summary>
        public long Length { get; private set; }

        public override bool CanGetUnflushedBytes => true;

        /// <summary>
        /// None as long as they are held back: the serializer stops and asks for a flush when there are many, and would stop again at once.
        /// </summary>
        public override long UnflushedBytes => IsHeldBack ? 0 : body.UnflushedBytes;

        private bool IsHeldBack => IsWhole && Length < MaxWholeBytes;

        public override void Advance(int bytes)
        {
            Length += bytes;
            body.Advance(bytes);
        }

        public override Memory<byte> GetMemory(int sizeHint = 0) => body.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => body.GetSpan(sizeHint);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            if (IsHeldBack)
                return default;
            IsWhole = false;
            return body.FlushAsync(cancellationToken);
        }

        public override void CancelPendingFlush() => body.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => body.Complete(exception);
    }
}
