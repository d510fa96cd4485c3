using System.IO.Compression;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// A packed body as its unpacker reads it, which can tell afterwards whether it was one whole packed content and nothing else. .NET's
/// unpackers check what they see, but take a body that was cut for a complete one and pass over what follows. So the last bytes are handed
/// out one by one: an unpacker that has taken them all and asks for no more has come to the end exactly there.
/// </summary>
internal sealed class PackedBody : Stream
{
    /// <summary>
    /// Stands behind gzip, whose unpacker asks for another member wherever one has ended. None can begin with this byte, nor end with it: the
    /// last byte of a member is the highest one of its length, so it would have 4 GB.
    /// </summary>
    private const byte AfterGzip = 0xFF;

    private readonly Stream body;
    private readonly bool isGzip;
    private readonly int maxBytes;

    /// <summary>The last bytes that have come; they are handed out when others have, or when the body has ended.</summary>
    private readonly byte[] held = new byte[2];

    private long taken;
    private bool hasEnded;
    private ReadOnlyMemory<byte> tail;
    private bool wantsMore;

    private PackedBody(Stream body, bool isGzip, int maxBytes)
    {
        this.body = body;
        this.isGzip = isGzip;
        this.maxBytes = maxBytes;
    }

    /// <summary>Whether what was unpacked is all of the body, from its first byte to its last; to be asked when the unpacker has ended.</summary>
    public bool IsWhole => hasEnded && tail.IsEmpty && !wantsMore;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Begins to read a body.</summary>
    /// <param name="body">The body.</param>
    /// <param name="isGzip">Whether it is gzip, of one or several members; else it is deflate, with the head and sum of zlib or without.</param>
    /// <param name="maxBytes">How long it may be as it is.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="OtlpFormatException">It is too short to be either.</exception>
    public static async Task<PackedBody> OpenAsync(Stream body, bool isGzip, int maxBytes, CancellationToken cancellationToken)
    {
        var packed = new PackedBody(body, isGzip, maxBytes);
        return await body.ReadAtLeastAsync(packed.held, packed.held.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false)
            == packed.held.Length ? packed : throw NotWhole();
    }

    /// <summary>The error of a body that is not <see cref="IsWhole"/>, or broken.</summary>
    public static OtlpFormatException NotWhole() => new("its body is not what its Content-Encoding says, not all of it, or more than that");

    /// <summary>What is packed in it.</summary>
    public Stream Unpack() => isGzip ? new GZipStream(this, CompressionMode.Decompress)
        : HasZlibHead ? new ZLibStream(this, CompressionMode.Decompress)
        : new DeflateStream(this, CompressionMode.Decompress);

    /// <summary>
    /// RFC 1950: the method is 8, the window 32 KiB at most, and the two bytes are a multiple of 31. As raw deflate they would be a block of
    /// stored bytes with bits set where encoders leave them out.
    /// </summary>
    private bool HasZlibHead => (held[0] & 0x0F) == 8 && held[0] >> 4 <= 7 && (held[0] << 8 | held[1]) % 31 == 0;

    /// <inheritdoc/>
    /// <exception cref="OtlpTooLargeException">It is longer than it may be.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!hasEnded)
        {
            held.CopyTo(buffer);
            var read = await body.ReadAsync(buffer[held.Length..], cancellationToken).ConfigureAwait(false);
            taken += read;
            if (taken > maxBytes - held.Length)
                throw new OtlpTooLargeException($"{maxBytes} bytes");
            if (read > 0)
            {
                buffer.Slice(read, held.Length).CopyTo(held);
                return read;
            }

            hasEnded = true;
            tail = isGzip ? (byte[])[.. held, AfterGzip] : held;
        }

        if (tail.IsEmpty)
        {
            wantsMore = true;
            return 0;
        }

        buffer.Span[0] = tail.Span[0];
        tail = tail[1..];
        return 1;
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Flush() => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
