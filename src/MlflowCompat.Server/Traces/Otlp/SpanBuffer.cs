using System.Buffers;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// What a span becomes while it is written. It refuses to grow beyond what is stored: escapes make a text up to seven times as long as it came.
/// </summary>
/// <param name="capacity">Bytes to begin with.</param>
internal sealed class SpanBuffer(int capacity)
{
    private readonly ArrayBufferWriter<byte> bytes = new(capacity);

    /// <summary>What is written.</summary>
    public ReadOnlySpan<byte> WrittenSpan => bytes.WrittenSpan;

    /// <summary>Adds bytes.</summary>
    /// <exception cref="SpanTooLargeException">They are too many.</exception>
    public void Write(ReadOnlySpan<byte> more)
    {
        Reserve(more.Length);
        bytes.Write(more);
    }

    /// <summary>Room for bytes, which count once <see cref="Advance"/> is told how many they are.</summary>
    /// <exception cref="SpanTooLargeException">They are too many.</exception>
    public Span<byte> GetSpan(int length)
    {
        Reserve(length);
        return bytes.GetSpan(length);
    }

    /// <summary>Adds what was written into the room.</summary>
    public void Advance(int length) => bytes.Advance(length);

    /// <summary>Begins anew.</summary>
    public void Reset() => bytes.ResetWrittenCount();

    private void Reserve(int length)
    {
        if (length > SpanLimits.MaxBytes - bytes.WrittenCount)
            throw new SpanTooLargeException();
    }
}
