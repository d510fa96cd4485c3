using System.Diagnostics;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// Sends what is in the outbox, beside the requests. A webhook's deliveries are sent one after the other, in the order of their events; one
/// that has to be repeated does not hold up those behind it. Several webhooks are served at a time. What a server does not come to finish
/// is sent by the next one, under the same id.
/// </summary>
/// <param name="deliveries">The outbox.</param>
/// <param name="outbox">Wakes it.</param>
/// <param name="sender">Sends.</param>
/// <param name="database">Whether other servers may leave something.</param>
/// <param name="options">How often, how many, how long.</param>
/// <param name="logger">Where failures are told.</param>
public sealed class WebhookDelivery(
    WebhookDeliveries deliveries, WebhookOutbox outbox, WebhookSender sender, Database database, WebhookOptions options, ILogger<WebhookDelivery> logger)
    : BackgroundService
{
    /// <summary>After so many deliveries of one webhook others get a turn.</summary>
    private const int MaxTurn = 20;

    private static readonly TimeSpan MaxBackOff = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MaxRetryAfter = TimeSpan.FromHours(1);

    /// <summary>How long attempts may go on after the server was told to stop.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(4);

    /// <summary>How long a server that knows no webhooks takes to hear of those that were made elsewhere.</summary>
    private static readonly TimeSpan QuietPollInterval = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan PauseAfterFailure = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan PurgeInterval = TimeSpan.FromHours(1);

    private readonly List<Task> workers = [];
    private readonly CancellationTokenSource giveUp = new();
    private long? renewed;
    private long? purged;

    /// <inheritdoc/>
    public override void Dispose()
    {
        giveUp.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var isReady = false;
        try
        {
            while (!stoppingToken.IsCancellationRequested)
            {
                TimeSpan pause;
                try
                {
                    if (!isReady)
                        await deliveries.ReleaseAbandonedAsync(stoppingToken).ConfigureAwait(false);
                    isReady = true;
                    pause = await WorkAsync(stoppingToken).ConfigureAwait(false);
                }
                catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
                {
                    logger.WebhookDeliveryPutOff(exception.Message);
                    pause = PauseAfterFailure;
                }

                await outbox.WaitAsync(pause, stoppingToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Told to stop.
        }

        giveUp.CancelAfter(StopPatience);
        await Task.WhenAll(workers).ConfigureAwait(false);
    }

    /// <summary>Has whatever is due be sent, and returns how long there is nothing to do.</summary>
    private async Task<TimeSpan> WorkAsync(CancellationToken cancellationToken)
    {
        workers.RemoveAll(worker => worker.IsCompleted);
        var heartbeat = options.Lease / 3;
        if (workers.Count > 0 && IsTime(ref renewed, heartbeat))
            await deliveries.RenewAsync(cancellationToken).ConfigureAwait(false);

        var changes = outbox.Changes;
        var (webhooks, dueIn) = await deliveries.LookAsync(cancellationToken).ConfigureAwait(false);
        outbox.WebhooksSeen(webhooks > 0, changes);
        if (webhooks > 0 && IsTime(ref purged, PurgeInterval))
            await deliveries.PurgeAsync(cancellationToken).ConfigureAwait(false);

        var free = options.MaxWorkers - workers.Count;
        if (dueIn <= 0 && free > 0)
        {
            var taken = await deliveries.TakeAsync(free, cancellationToken).ConfigureAwait(false);
            if (workers.Count == 0)
                renewed = Stopwatch.GetTimestamp();
            foreach (var webhookId in taken)
            {
                var worker = Task.Run(() => DeliverAsync(webhookId, cancellationToken), CancellationToken.None);
                workers.Add(worker);
                _ = worker.ContinueWith(
                    _ => outbox.Wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }

            // Something else may be due sooner than what was just taken.
            return TimeSpan.FromMilliseconds(taken.Count > 0 ? 0 : 50);
        }

        // Only this server writes to an SQLite file, and it is woken when it does.
        var pause = database.Kind == DatabaseKind.Sqlite ? Timeout.InfiniteTimeSpan : webhooks > 0 ? options.PollInterval : QuietPollInterval;
        if (workers.Count > 0)
            pause = Sooner(pause, heartbeat);
        if (webhooks > 0)
            pause = Sooner(pause, PurgeInterval);
        return dueIn is > 0 and var milliseconds ? Sooner(pause, TimeSpan.FromMilliseconds(Math.Min(milliseconds, int.MaxValue))) : pause;
    }

    private async Task DeliverAsync(string webhookId, CancellationToken stoppingToken)
    {
        try
        {
            for (var turn = 0; turn < MaxTurn && !stoppingToken.IsCancellationRequested; turn++)
            {
                if (await deliveries.NextAsync(webhookId, stoppingToken).ConfigureAwait(false) is not { } due)
                    break;
                var outcome = await sender.SendAsync(due, readsBody: false, giveUp.Token).ConfigureAwait(false);
                var pause = Pause(due, outcome);
                if (!outcome.IsDelivered)
                    Report(due, outcome, pause);
                await deliveries.RecordAsync(due, outcome, pause, CancellationToken.None).ConfigureAwait(false);
                // Others get their turn before this receiver takes its time once more.
                if (!outcome.IsDelivered)
                    break;
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The next server sends it.
        }
        catch (Exception exception)
        {
            logger.WebhookDeliveryPutOff(exception.Message);
            // What came of the attempt is not recorded, so it is still due: it must not be sent over and over.
            await Task.Delay(PauseAfterFailure, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        try
        {
            await deliveries.ReleaseAsync(webhookId, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Its lease ends by itself.
            logger.WebhookDeliveryPutOff(exception.Message);
        }
    }

    /// <summary>How long to wait before sending again; null when that was the last attempt, or the one that arrived.</summary>
    private TimeSpan? Pause(WebhookDue due, WebhookOutcome outcome)
    {
        if (outcome.IsDelivered || !outcome.MayPass || due.Attempts >= options.MaxRetries)
            return null;
        if (outcome.RetryAfter is { } wish)
            return TimeSpan.FromTicks(Math.Clamp(wish.Ticks, 0, MaxRetryAfter.Ticks));
        var backOff = options.RetryPause * (Math.Pow(2, Math.Min(due.Attempts, 16)) + Random.Shared.NextDouble());
        return backOff < MaxBackOff ? backOff : MaxBackOff;
    }

    private void Report(WebhookDue due, WebhookOutcome outcome, TimeSpan? pause)
    {
        // The rest of the address may be as good as a password.
        var host = Uri.TryCreate(due.Url, UriKind.Absolute, out var uri) ? uri.Authority : "";
        if (pause is { } wait)
            logger.WebhookDeliveryFailed(due.WebhookId, due.DeliveryId, host, due.Attempts + 1, outcome.Error!, wait.TotalSeconds);
        else
            logger.WebhookDeliveryGivenUp(due.WebhookId, due.DeliveryId, host, due.Attempts + 1, outcome.Error!);
    }

    private static TimeSpan Sooner(TimeSpan pause, TimeSpan other) => pause == Timeout.InfiniteTimeSpan || other < pause ? other : pause;

    /// <summary>Whether so much time has passed since this was so last; for the first time at once.</summary>
    private static bool IsTime(ref long? last, TimeSpan interval)
    {
        if (last is { } then && Stopwatch.GetElapsedTime(then) < interval)
            return false;
        last = Stopwatch.GetTimestamp();
        return true;
    }
}
