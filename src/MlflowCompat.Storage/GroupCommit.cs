using System.Globalization;

namespace MlflowCompat.Storage;

/// <summary>
/// The write queue, with group commit: what is waiting when the transaction before it ends is written by the next one together, and everybody is answered after
/// the commit. Nothing ever waits for others to come. There are a few lanes side by side; items of one lane are written in the order in
/// which they came.
/// </summary>
/// <typeparam name="T">What is written.</typeparam>
public sealed class GroupCommit<T> : IAsyncDisposable
{
    private readonly Lane[] lanes;
    private readonly long capacity;
    private readonly int maxGroupWeight;
    private readonly Func<IReadOnlyList<T>, Task<IReadOnlyList<Exception?>>> writeGroup;
    private long waitingWeight;

    /// <summary>Makes an empty queue.</summary>
    /// <param name="lanes">How many groups may be written at the same time.</param>
    /// <param name="capacity">How much may wait or be under way at once, over all lanes; what comes on top is refused.</param>
    /// <param name="maxGroupWeight">From how much on a group takes no further item.</param>
    /// <param name="writeGroup">
    /// Writes the items of a group in one transaction and says what became of each: null for committed, or why it is not. When it throws,
    /// nothing of the group is written.
    /// </param>
    public GroupCommit(int lanes, long capacity, int maxGroupWeight, Func<IReadOnlyList<T>, Task<IReadOnlyList<Exception?>>> writeGroup)
    {
        this.lanes = [.. Enumerable.Range(0, lanes).Select(_ => new Lane(this))];
        this.capacity = capacity;
        this.maxGroupWeight = maxGroupWeight;
        this.writeGroup = writeGroup;
    }

    /// <summary>Has an item written; returns when it is committed.</summary>
    /// <param name="lane">Any number; items with the same one are written one after the other.</param>
    /// <param name="item">What to write.</param>
    /// <param name="weight">How much it is, in rows or whatever the capacity is counted in.</param>
    /// <param name="cancellationToken">Takes the item out of the queue; when its group has begun, it has no effect.</param>
    /// <exception cref="WriteQueueFullException">Too much is waiting.</exception>
    /// <exception cref="OperationCanceledException">It was taken out, and is not written.</exception>
    public async Task WriteAsync(int lane, T item, int weight, CancellationToken cancellationToken)
    {
        var before = Interlocked.Add(ref waitingWeight, weight) - weight;
        try
        {
            // An item that is larger than the whole queue has to get through when it comes alone.
            if (before > 0 && before + weight > capacity)
                throw new WriteQueueFullException(before, capacity);
            var waiting = new Waiting(item, weight);
            using var registration = cancellationToken.UnsafeRegister(
                static (member, token) => ((Waiting)member!).Withdraw(token), waiting);
            lanes[(uint)lane % (uint)lanes.Length].Add(waiting);
            await waiting.Task.ConfigureAwait(false);
        }
        finally
        {
            Interlocked.Add(ref waitingWeight, -weight);
        }
    }

    /// <summary>Waits until everything that is in the queue is written.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var lane in lanes)
            await lane.DrainAsync().ConfigureAwait(false);
    }

    private sealed class Waiting(T item, int weight) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        private int decided;

        public T Item { get; } = item;

        public int Weight { get; } = weight;

        /// <summary>Decides that the item is written, unless it was withdrawn before.</summary>
        public bool TryBegin() => Interlocked.Exchange(ref decided, 1) == 0;

        /// <summary>Decides that the item is not written, unless its group has begun.</summary>
        public void Withdraw(CancellationToken cancellationToken)
        {
            if (TryBegin())
                TrySetCanceled(cancellationToken);
        }
    }

    private sealed class Lane(GroupCommit<T> queue) : IThreadPoolWorkItem
    {
        private readonly Queue<Waiting> waiting = new();
        private Task writing = Task.CompletedTask;
        private bool active;

        public void Add(Waiting item)
        {
            lock (waiting)
            {
                waiting.Enqueue(item);
                if (active)
                    return;
                active = true;
            }

            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }

        public void Execute() => writing = WriteAllAsync();

        public async Task DrainAsync()
        {
            while (IsActive())
            {
                await writing.ConfigureAwait(false);
                await Task.Yield();
            }
        }

        private bool IsActive()
        {
            lock (waiting)
                return active;
        }

        private async Task WriteAllAsync()
        {
            while (TakeGroup() is { } group)
            {
                try
                {
                    var outcomes = await queue.writeGroup(group.ConvertAll(member => member.Item)).ConfigureAwait(false);
                    for (var i = 0; i < group.Count; i++)
                        Answer(group[i], outcomes[i]);
                }
                catch (Exception exception)
                {
                    // Whatever it was, those who wait have to hear of it, and the lane has to go on.
                    foreach (var member in group)
                        Answer(member, exception);
                }
            }
        }

        /// <summary>The next group, or null when there is none and the lane rests.</summary>
        private List<Waiting>? TakeGroup()
        {
            var group = new List<Waiting>();
            lock (waiting)
            {
                var weight = 0;
                while (weight < queue.maxGroupWeight && waiting.TryDequeue(out var next))
                {
                    if (!next.TryBegin())
                        continue;
                    group.Add(next);
                    weight += next.Weight;
                }

                active = group.Count > 0;
            }

            return group.Count > 0 ? group : null;
        }

        private static void Answer(Waiting member, Exception? outcome)
        {
            if (outcome is null)
                member.TrySetResult();
            else if (outcome is OperationCanceledException cancelled)
                member.TrySetCanceled(cancelled.CancellationToken);
            else
                member.TrySetException(outcome);
        }
    }
}

/// <summary>More is waiting to be written than the server keeps in memory; nothing of this request was written, and it may be sent again.</summary>
public sealed class WriteQueueFullException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="waiting">How much is waiting.</param>
    /// <param name="capacity">How much may.</param>
    public WriteQueueFullException(long waiting, long capacity)
        : base(string.Create(CultureInfo.InvariantCulture, $"The write queue is full: {waiting} of {capacity} rows are waiting."))
    {
    }
}
