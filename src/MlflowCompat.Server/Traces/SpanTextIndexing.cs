using System.Threading.Channels;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Makes the segments of the <see cref="SpanTextIndex"/> beside the requests, and takes apart those of which little is left.</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="logger">Where it says what it could not do.</param>
public sealed class SpanTextIndexing(Database database, ILogger<SpanTextIndexing> logger) : BackgroundService
{
    private static readonly TimeSpan TidyInterval = TimeSpan.FromHours(1);

    /// <summary>How long it waits after the database refused.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly SpanTextIndex index = new(database);
    private readonly Channel<long> due = Channel.CreateUnbounded<long>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Lock counting = new();
    private readonly Dictionary<long, int> counts = [];

    /// <summary>Says that traces of an experiment have become pending; enough of them become a segment.</summary>
    public void Noted(long experimentId, int traces)
    {
        lock (counting)
        {
            counts[experimentId] = counts.GetValueOrDefault(experimentId) + traces;
            if (counts[experimentId] < SpanTextIndex.SegmentTraces)
                return;
            counts.Remove(experimentId);
        }

        due.Writer.TryWrite(experimentId);
    }

    /// <inheritdoc/>
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(IndexAsync(stoppingToken), TidyAsync(stoppingToken));

    private async Task IndexAsync(CancellationToken cancellationToken)
    {
        await foreach (var experimentId in due.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
        {
            await TryAsync(
                async () =>
                {
                    while (await index.IndexAsync(experimentId, cancellationToken).ConfigureAwait(false))
                    {
                    }
                },
                cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task TidyAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(TidyInterval);
        do
        {
            // What a server before this one has left, what was put off, and what came here from another experiment or from a segment.
            await TryAsync(
                async () =>
                {
                    foreach (var experimentId in await index.ReadPendingAsync(cancellationToken).ConfigureAwait(false))
                        due.Writer.TryWrite(experimentId);
                },
                cancellationToken).ConfigureAwait(false);
            await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false);
            await TryAsync(() => index.TidyAsync(cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        while (true);
    }

    /// <summary>The searches are right without all this, so what fails waits for the next occasion, an hour at most.</summary>
    private async Task TryAsync(Func<Task> work, CancellationToken cancellationToken)
    {
        try
        {
            await work().ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            logger.SpanTextIndexingFailed(exception.Message);
            await Task.Delay(Patience, cancellationToken).ConfigureAwait(false);
        }
    }
}
