using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace MlflowCompat.Artifacts.Local;

/// <summary>An open file; it stays what it is when another takes its name.</summary>
internal sealed class LocalContent(ArtifactEntry entry, SafeFileHandle file) : ArtifactContent(entry)
{
    private const int BufferSize = 128 * 1024;

    /// <inheritdoc/>
    public override async Task CopyToAsync(Stream destination, long offset, long length, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(length, BufferSize));
        try
        {
            while (length > 0)
            {
                // Not asynchronous, which for files means no more than on another thread.
                var read = RandomAccess.Read(file, buffer.AsSpan(0, (int)Math.Min(length, buffer.Length)), offset);
                if (read == 0)
                    throw new IOException("The file has become shorter");
                await destination.WriteAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
                offset += read;
                length -= read;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        file.Dispose();
        return ValueTask.CompletedTask;
    }
}
