namespace MlflowCompat.Storage.Tests;

public sealed class GroupCommitTests : IDisposable
{
    /// <summary>Groups that were written, each held until the test lets it go.</summary>
    private readonly List<int[]> groups = [];
    private readonly SemaphoreSlim begun = new(0);
    private readonly SemaphoreSlim release = new(0);

    public void Dispose()
    {
        begun.Dispose();
        release.Dispose();
    }

    [Fact]
    public async Task Items_ThatComeDuringAGroup_AreTheNextGroup()
    {
        await using var queue = Queue();
        var first = Write(queue, 1);
        await begun.WaitAsync();
        Task[] others = [Write(queue, 2), Write(queue, 3), Write(queue, 4)];
        Assert.False(first.IsCompleted);
        release.Release();
        await first;
        await begun.WaitAsync();
        Assert.All(others, other => Assert.False(other.IsCompleted));
        release.Release();
        await Task.WhenAll(others);
        Assert.Equal([[1], [2, 3, 4]], groups);
    }

    [Fact]
    public async Task Group_ThatIsFull_LeavesTheRestToTheNextOne()
    {
        await using var queue = Queue(maxGroupBytes: 10);
        Task[] writes = [Write(queue, 1), Write(queue, 2, 6), Write(queue, 3, 6), Write(queue, 4, 6)];
        release.Release(4);
        await Task.WhenAll(writes);
        Assert.Equal([1, 2, 3, 4], groups.SelectMany(group => group));
        Assert.All(groups, group => Assert.True(group.Length <= 3));
        Assert.Contains(4, groups[^1]);
    }

    [Fact]
    public async Task Items_OfOtherLanes_DoNotWait()
    {
        await using var queue = Queue(lanes: 2);
        var held = Write(queue, 1);
        await begun.WaitAsync();
        var other = queue.WriteAsync(1, 2, 1, CancellationToken.None);
        await begun.WaitAsync();
        release.Release(2);
        await Task.WhenAll(held, other);
        Assert.Equal(2, groups.Count);
    }

    [Fact]
    public async Task Outcomes_OfAGroup_ReachTheirOwnItems()
    {
        var refusal = new InvalidOperationException("no");
        await using var queue = Queue(outcome: item => item == 3 ? Task.FromException(refusal) : null);
        var first = Write(queue, 1);
        await begun.WaitAsync();
        var (good, bad, alsoGood) = (Write(queue, 2), Write(queue, 3), Write(queue, 4));
        release.Release(2);
        await Task.WhenAll(first, good, alsoGood);
        Assert.Same(refusal, await Assert.ThrowsAsync<InvalidOperationException>(() => bad));
    }

    [Fact]
    public async Task Group_ThatFails_FailsForAllOfItAndNotForTheNext()
    {
        await using var queue = Queue(outcome: item => item == 3 ? throw new TimeoutException() : null);
        var first = Write(queue, 1);
        await begun.WaitAsync();
        var (second, third) = (Write(queue, 2), Write(queue, 3));
        release.Release(2);
        await first;
        await Assert.ThrowsAsync<TimeoutException>(() => second);
        await Assert.ThrowsAsync<TimeoutException>(() => third);
        release.Release();
        await Write(queue, 4);
    }

    [Fact]
    public async Task Group_ThatFailsForOneItem_IsWrittenInPartsUntilThatIsAlone()
    {
        var refusal = new InvalidOperationException("no");
        await using var queue = Queue(outcome: item => item == 3 ? throw refusal : null);
        var first = Write(queue, 0);
        await begun.WaitAsync();
        Task[] good = [Write(queue, 1), Write(queue, 2)];
        var bad = Write(queue, 3);
        Task[] alsoGood = [Write(queue, 4), Write(queue, 5)];
        release.Release(10);
        await Task.WhenAll([first, .. good, .. alsoGood]);
        Assert.Same(refusal, await Assert.ThrowsAsync<InvalidOperationException>(() => bad));
        Assert.Equal([[0], [1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5]], groups);
    }

    [Fact]
    public async Task Outcome_ThatIsStillOpen_HoldsUpNobodyElse()
    {
        var open = new TaskCompletionSource();
        await using var queue = Queue(outcome: item => item == 2 ? open.Task : null);
        release.Release(3);
        var (first, second) = (Write(queue, 1), Write(queue, 2));
        await first;
        await Write(queue, 3);
        Assert.False(second.IsCompleted);
        Assert.Equal(1, queue.Count);
        open.SetException(new TimeoutException());
        await Assert.ThrowsAsync<TimeoutException>(() => second);
        Assert.Equal(0, queue.Count);
    }

    [Fact]
    public async Task Item_AfterTheEnd_IsRefused()
    {
        var queue = Queue();
        await queue.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Write(queue, 1));
    }

    [Fact]
    public async Task Item_CancelledWhileItWaits_IsNotWritten()
    {
        await using var queue = Queue();
        var first = Write(queue, 1);
        await begun.WaitAsync();
        using var cancellation = new CancellationTokenSource();
        var waiting = queue.WriteAsync(0, 2, 1, cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        release.Release(2);
        await first;
        await Write(queue, 3);
        Assert.Equal([[1], [3]], groups);
    }

    [Fact]
    public async Task Item_CancelledWhenItsGroupHasBegun_IsWrittenAndAnsweredSo()
    {
        await using var queue = Queue();
        using var cancellation = new CancellationTokenSource();
        var write = queue.WriteAsync(0, 1, 1, cancellation.Token);
        await begun.WaitAsync();
        await cancellation.CancelAsync();
        release.Release();
        await write;
        Assert.Equal([[1]], groups);
    }

    [Fact]
    public async Task Queue_AtItsBound_RefusesUntilThereIsRoom()
    {
        await using var queue = Queue(capacity: 10);
        var first = Write(queue, 1, 6);
        await begun.WaitAsync();
        var second = Write(queue, 2, 4);
        var full = await Assert.ThrowsAsync<WriteQueueFullException>(() => Write(queue, 3));
        Assert.Equal("The write queue is full: 10 of 10 bytes are waiting.", full.Message);
        // What was refused takes no room.
        Assert.Equal(2, queue.Count);
        await Assert.ThrowsAsync<WriteQueueFullException>(() => Write(queue, 3, 1000));
        release.Release(3);
        await Task.WhenAll(first, second);
        await Write(queue, 4, 10);
        Assert.Equal([[1], [2], [4]], groups);
    }

    [Fact]
    public async Task Item_LargerThanTheQueue_PassesWhenItComesAlone()
    {
        await using var queue = Queue(capacity: 10, maxGroupBytes: 5);
        release.Release();
        await Write(queue, 1, 1000);
        Assert.Equal([[1]], groups);
    }

    [Fact]
    public async Task Dispose_WhileItemsWait_ReturnsWhenTheyAreWritten()
    {
        var queue = Queue();
        var first = Write(queue, 1);
        await begun.WaitAsync();
        var second = Write(queue, 2);
        var disposal = queue.DisposeAsync().AsTask();
        Assert.False(disposal.IsCompleted);
        release.Release(2);
        await disposal;
        await Task.WhenAll(first, second);
        Assert.Equal([[1], [2]], groups);
    }

    private GroupCommit<int> Queue(int lanes = 1, long capacity = 1000, int maxGroupBytes = 100, Func<int, Task?>? outcome = null) => new(
        lanes,
        () => capacity,
        maxGroupBytes,
        async items =>
        {
            lock (groups)
                groups.Add([.. items]);
            begun.Release();
            await release.WaitAsync();
            return [.. items.Select(item => outcome?.Invoke(item) ?? Task.CompletedTask)];
        });

    private static Task Write(GroupCommit<int> queue, int item, int bytes = 1) => queue.WriteAsync(0, item, bytes, CancellationToken.None);
}
