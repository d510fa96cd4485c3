using System.Globalization;
using System.Runtime.CompilerServices;

namespace MlflowCompat.Storage;

/// <summary>What holds for groups, also for those that are written outside of a queue.</summary>
public static class GroupCommit
{
    /// <summary>
    /// Writes items together. Where that fails for a reason that may be that of one of them, which meets a rule of the database that no check
    /// knows of, they are written in halves, so that in the end it takes no other along.
    /// </summary>
    /// <param name="items">What to write.</param>
    /// <param name="write">Writes some of them in one transaction, and returns the outcome of each; when it throws, nothing of them is written.</param>
    /// <returns>The outcome of each.</returns>
    public static async Task<IReadOnlyList<Task>> WriteInPartsAsync<T>(
        IReadOnlyList<T> items, Func<IReadOnlyList<T>, Task<IReadOnlyList<Task>>> write)
    {
        try
        {
            return await write(items).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            if (items.Count == 1 || !MayBeOfOne(exception))
                return [.. items.Select(_ => Task.FromException(exception))];
        }

        var half = items.Count / 2;
        return
        [
            .. await WriteInPartsAsync([.. items.Take(half)], write).ConfigureAwait(false),
            .. await WriteInPartsAsync([.. items.Skip(half)], write).ConfigureAwait(false),
        ];
    }

    private static bool MayBeOfOne(Exception exception) =>
        DatabaseFaults.Classify(exception) is DatabaseFault.Other or DatabaseFault.Duplicate
        && exception is not (WriteQueueFullException or OperationCanceledException);
}

/// <summary>
/// The write queue, with group commit: what is waiting when the transaction before it ends is written by the next one together, and
/// everybody is answered after the commit. Nothing ever waits for others to come. There are a few lanes side by side; items of one lane
/// are begun in the order in which they came. A lane is a thread of its own: what it waits for, the disk or the database server, it waits
/// for itself, and needs no other thread to be free.
/// </summary>
/// <typeparam name="T">What is written.</typeparam>
public sealed class GroupCommit<T> : IAsyncDisposable
{
    private readonly Lane[] lanes;
    private readonly Func<long> capacity;
    private readonly long maxGroupBytes;
    private readonly Func<IReadOnlyList<T>, Task<IReadOnlyList<Task>>> writeGroup;
    private long bytes;
    private int count;
    private volatile bool closed;

    /// <summary>Makes an empty queue.</summary>
    /// <param name="lanes">How many groups may be written at the same time.</param>
    /// <param name="capacity">How many bytes may wait or be under way at once, over all lanes; what comes on top is refused.</param>
    /// <param name="maxGroupBytes">From so many bytes on a group takes no further item.</param>
    /// <param name="writeGroup">
    /// Writes the items of a group and returns the outcome of each: a task that has ended well when the item is committed, and failed when
    /// it is not. The lane goes on when this returns, also when some of the tasks have not ended. When it throws, nothing of the group is
    /// written, and it is tried in parts (<see cref="GroupCommit.WriteInPartsAsync"/>).
    /// </param>
    public GroupCommit(
        int lanes, Func<long> capacity, long maxGroupBytes, Func<IReadOnlyList<T>, Task<IReadOnlyList<Task>>> writeGroup)
    {
        this.lanes = [.. Enumerable.Range(0, lanes).Select(_ => new Lane(this))];
        this.capacity = capacity;
        this.maxGroupBytes = maxGroupBytes;
        this.writeGroup = writeGroup;
    }

    /// <summary>How many items wait or are under way.</summary>
    public int Count => Volatile.Read(ref count);

    /// <summary>Has an item written; returns when it is committed.</summary>
    /// <param name="lane">Number of the lane, from 0.</param>
    /// <param name="item">What to write.</param>
    /// <param name="itemBytes">About how much memory it takes while it waits.</param>
    /// <param name="cancellationToken">Takes the item out of the queue; when its group has begun, it has no effect.</param>
    /// <exception cref="WriteQueueFullException">Too much is waiting.</exception>
    /// <exception cref="OperationCanceledException">It was taken out, and is not written.</exception>
    /// <exception cref="ObjectDisposedException">The queue takes nothing any more.</exception>
    public async Task WriteAsync(int lane, T item, long itemBytes, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(closed, this);
        Reserve(itemBytes);
        try
        {
            var member = new Member(item, itemBytes);
            using var registration = cancellationToken.UnsafeRegister(
                static (withdrawn, token) => ((Member)withdrawn!).Withdraw(token), member);
            lanes[lane].Add(member);
            await member.Task.ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Add(ref bytes, -itemBytes);
            Interlocked.Decrement(ref count);
        }
    }

    /// <summary>Takes nothing more, and waits until all groups are written.</summary>
    public async ValueTask DisposeAsync()
    {
        closed = true;
        foreach (var lane in lanes)
            await lane.DrainAsync().ConfigureAwait(false);
    }

    private void Reserve(long itemBytes)
    {
        long before;
        do
        {
            before = Volatile.Read(ref bytes);
            // An item that is larger than the whole queue has to get through when it comes alone.
            if (before > 0 && before + itemBytes > capacity())
                throw new WriteQueueFullException(before, capacity());
        }
        while (Interlocked.CompareExchange(ref bytes, before + itemBytes, before) != before);
        Interlocked.Increment(ref count);
    }

    private sealed class Member(T item, long bytes) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        private T? item = item;
        private int decided;

        public long Bytes { get; } = bytes;

        /// <summary>Decides that the item is written, unless it was withdrawn before.</summary>
        public bool TryBegin(out T begun)
        {
            begun = item!;
            if (!TryDecide())
                return false;
            item = default;
            return true;
        }

        /// <summary>Decides that the item is not written, unless its group has begun.</summary>
        public void Withdraw(CancellationToken cancellationToken)
        {
            if (!TryDecide())
                return;
            // The member itself stays in its lane until its turn comes; what it would have written need not.
            item = default;
            TrySetCanceled(cancellationToken);
        }

        private bool TryDecide() => Interlocked.Exchange(ref decided, 1) == 0;
    }

    private sealed class Lane(GroupCommit<T> queue)
    {
        private readonly Queue<Member> members = new();
        private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private Thread? thread;

        public void Add(Member member)
        {
            lock (members)
            {
                members.Enqueue(member);
                if (thread is null)
                {
                    thread = new Thread(WriteAll) { IsBackground = true, Name = "write queue" };
                    thread.Start();
                }

                Monitor.Pulse(members);
            }
        }

        public Task DrainAsync()
        {
            lock (members)
            {
                Monitor.Pulse(members);
                return thread is null ? Task.CompletedTask : ended.Task;
            }
        }

        private void WriteAll()
        {
            var group = new List<Member>();
            while (WriteNext(group))
            {
            }

            ended.SetResult();
        }

        /// <summary>
        /// Writes what comes next; false when the queue is closed and empty. Never inlined: while the thread waits, perhaps for hours, it
        /// must not hold what it has written before, which may be large.
        /// </summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        private bool WriteNext(List<Member> group)
        {
            var items = TakeGroup(group);
            if (items.Count == 0)
                return false;
            var outcomes = GroupCommit.WriteInPartsAsync(items, queue.writeGroup).GetAwaiter().GetResult();
            for (var i = 0; i < group.Count; i++)
                Answer(group[i], outcomes[i]);
            return true;
        }

        /// <summary>Fills the group anew, as soon as there is something, and returns its items; none when the queue is closed and empty.</summary>
        private List<T> TakeGroup(List<Member> group)
        {
            group.Clear();
            var items = new List<T>();
            lock (members)
            {
                for (long total = 0; total < queue.maxGroupBytes;)
                {
                    if (!members.TryDequeue(out var next))
                    {
                        if (group.Count > 0 || queue.closed)
                            break;
                        Monitor.Wait(members);
                        continue;
                    }

                    if (!next.TryBegin(out var item))
                        continue;
                    group.Add(next);
                    items.Add(item);
                    total += next.Bytes;
                }
            }

            return items;
        }

        private static void Answer(Member member, Task outcome)
        {
            if (outcome.IsCompleted)
                member.TrySetFromTask(outcome);
            else
                _ = outcome.ContinueWith(
                    static (ended, waiting) => ((Member)waiting!).TrySetFromTask(ended),
                    member,
                    CancellationToken.None,
                    TaskContinuationOptions.ExecuteSynchronously,
                    TaskScheduler.Default);
        }
    }
}

/// <summary>More is waiting to be written than the server keeps in memory; nothing of this request was written, and it may be sent again.</summary>
public sealed class WriteQueueFullException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="waiting">How many bytes are waiting or under way.</param>
    /// <param name="capacity">How many may be.</param>
    public WriteQueueFullException(long waiting, long capacity)
        : base(string.Create(CultureInfo.InvariantCulture, $"The write queue is full: {waiting} of {capacity} bytes are waiting."))
    {
    }
}
