using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace MlflowCompat.Server.Http;

/// <summary>
/// The memory that connections receive into and send from, in larger blocks than Kestrel's own of 4 KiB: it receives one block with each
/// system call, and a file of gigabytes is half a million of those. A connection that waits for a request has no block.
/// </summary>
internal sealed class ConnectionBlocks : IMemoryPoolFactory<byte>
{
    private const int BlockBytes = 32 * 1024;

    /// <summary>How many unused blocks a pool keeps; one upload has 1 MiB on its way at most.</summary>
    private const int KeptBlocks = 64;

    /// <inheritdoc/>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => new Pool();

    private sealed class Pool : MemoryPool<byte>
    {
        private readonly ConcurrentQueue<Block> unused = new();

        public override int MaxBufferSize => BlockBytes;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
            return unused.TryDequeue(out var block) ? block : new Block(this);
        }

        public void Return(Block block)
        {
            if (unused.Count < KeptBlocks)
                unused.Enqueue(block);
        }

        protected override void Dispose(bool disposing) => unused.Clear();
    }

    /// <summary>Pinned for good, because the system calls would have to pin it each time.</summary>
    private sealed class Block(Pool pool) : IMemoryOwner<byte>
    {
        public Memory<byte> Memory { get; } =
            MemoryMarshal.CreateFromPinnedArray(GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true), 0, BlockBytes);

        public void Dispose() => pool.Return(this);
    }
}
