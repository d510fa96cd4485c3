using System.Buffers;
using System.Net;
using Amazon.S3;
using Amazon.S3.Model;

namespace MlflowCompat.Artifacts.S3;

/// <summary>
/// An object that is open for reading. The first answer brings its content along, so reading it all is one request; a part, or what is
/// left when a connection breaks, is asked for again, under the condition that the object is still the same.
/// </summary>
internal sealed class S3Content(S3ArtifactStore store, ArtifactEntry entry, GetObjectResponse whole) : ArtifactContent(entry)
{
    /// <summary>How often a broken connection is replaced in one copy.</summary>
    private const int Resumptions = 4;

    private const int BufferSize = 128 << 10;

    private GetObjectResponse? unread = whole;

    public override async Task CopyToAsync(Stream destination, long offset, long length, CancellationToken cancellationToken)
    {
        if (length == 0)
            return;
        var response = Interlocked.Exchange(ref unread, null);
        if (response is not null && (offset != 0 || length != Entry.Size))
        {
            response.Dispose();
            response = null;
        }

        var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
        var limited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            var failures = 0;
            for (var end = offset + length; offset < end;)
            {
                int read;
                try
                {
                    response ??= await OpenAgainAsync(offset, end, cancellationToken).ConfigureAwait(false);
                    limited.CancelAfter(store.Connection.Options.IdleLimit);
                    read = await response.ResponseStream.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, end - offset)), limited.Token)
                        .ConfigureAwait(false);
                    if (read == 0)
                        throw new EndOfStreamException();
                }
                catch (Exception exception) when (IsBroken(exception) && !cancellationToken.IsCancellationRequested)
                {
                    response?.Dispose();
                    response = null;
                    if (++failures > Resumptions)
                        throw new IOException("The artifact store breaks its connections", exception);
                    limited.Dispose();
                    limited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
                    continue;
                }

                // Whoever takes the bytes may take its time.
                limited.CancelAfter(Timeout.Infinite);
                await destination.WriteAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
                offset += read;
            }
        }
        finally
        {
            limited.Dispose();
            response?.Dispose();
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    public override ValueTask DisposeAsync()
    {
        Interlocked.Exchange(ref unread, null)?.Dispose();
        return ValueTask.CompletedTask;
    }

    private static bool IsBroken(Exception exception) =>
        exception is (IOException and not ReplacedException) or HttpRequestException or OperationCanceledException;

    private async Task<GetObjectResponse> OpenAgainAsync(long offset, long end, CancellationToken cancellationToken)
    {
        var request = new GetObjectRequest
        {
            BucketName = store.Bucket,
            Key = store.KeyOf(Entry.Path),
            ByteRange = new ByteRange(offset, end - 1),
            EtagToMatch = $"\"{Entry.ETag}\"",
        };
        try
        {
            var response = await store.Connection.CallAsync((s3, token) => s3.GetObjectAsync(request, token), cancellationToken).ConfigureAwait(false);
            // Not every server knows the condition, or ranges.
            if (response.ETag?.Trim('"') == Entry.ETag && response.ContentLength == end - offset)
                return response;
            response.Dispose();
            throw new ReplacedException(null);
        }
        catch (ArtifactStoreException exception) when (exception.InnerException is AmazonS3Exception
        {
            StatusCode: HttpStatusCode.PreconditionFailed or HttpStatusCode.NotFound or HttpStatusCode.RequestedRangeNotSatisfiable,
        })
        {
            throw new ReplacedException(exception);
        }
    }

    private sealed class ReplacedException(Exception? inner) : IOException("The artifact was replaced while it was read", inner);
}
