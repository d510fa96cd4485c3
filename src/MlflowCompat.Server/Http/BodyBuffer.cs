using System.Buffers;

namespace MlflowCompat.Server.Http;

/// <summary>
/// A body that has to lie in one piece. It grows with what has arrived, so that a length that is only announced costs nothing, and from a
/// megabyte on to that length at once: what it has grown out of would lie about meanwhile. Up to a megabyte it is memory that is used again: the garbage collector takes arrays of that size for old ones and
/// would leave dozens of them lying.
/// </summary>
/// <param name="announced">How long the client says it is, in bytes; null if it does not.</param>
internal sealed class BodyBuffer(long? announced) : IDisposable
{
    private const int SmallestBytes = 4096;
    private const int LargestPooled = 1024 * 1024;

    private byte[] bytes = [];
    private bool isPooled;

    /// <summary>How much has been written.</summary>
    public int WrittenCount { get; private set; }

    /// <summary>What has been written; valid until this is disposed of.</summary>
    public Memory<byte> Written => bytes.AsMemory(0, WrittenCount);

    /// <summary>Room for more, a kilobyte at least.</summary>
    public Memory<byte> GetMemory()
    {
        const int least = 1024;
        if (bytes.Length - WrittenCount < least)
            Grow(WrittenCount + least);
        return bytes.AsMemory(WrittenCount);
    }

    /// <summary>Takes what was written into <see cref="GetMemory"/>.</summary>
    public void Advance(int count) => WrittenCount += count;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (isPooled)
            ArrayPool<byte>.Shared.Return(bytes);
        isPooled = false;
        bytes = [];
        WrittenCount = 0;
    }

    private void Grow(int needed)
    {
        // With the room in which the end is looked for.
        var whole = (announced ?? 0) + SmallestBytes;
        var capacity = needed > whole ? Math.Max(needed, bytes.Length * 2L)
            : needed > LargestPooled ? whole
            : Math.Max(needed, Math.Min(whole, Math.Max(SmallestBytes, bytes.Length * 4L)));
        var (old, count) = (isPooled ? bytes : null, WrittenCount);
        var grown = capacity <= LargestPooled
            ? ArrayPool<byte>.Shared.Rent((int)capacity)
            : GC.AllocateUninitializedArray<byte>((int)capacity);
        bytes.AsSpan(0, count).CopyTo(grown);
        bytes = grown;
        isPooled = capacity <= LargestPooled;
        if (old is not null)
            ArrayPool<byte>.Shared.Return(old);
    }
}
