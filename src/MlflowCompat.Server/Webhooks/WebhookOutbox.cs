using MlflowCompat.Storage;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// Where the registry puts what webhooks are to be told: into the database, in the transaction of the event, so that nothing is announced
/// that did not happen and nothing that happened is forgotten. <see cref="WebhookDelivery"/> takes it from there.
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class WebhookOutbox(Database database) : IDisposable
{
    /// <summary>A UUID of version 4; PostgreSQL has a default for it.</summary>
    private const string SqliteUuid = """
        lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
            || substr('89ab', 1 + (random() & 3), 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)))
        """;

    private readonly SemaphoreSlim signal = new(0, 1);
    private readonly Lock stateLock = new();
    private bool hasWebhooks = true;
    private long changes;

    /// <summary>How often webhooks were made or changed by this process.</summary>
    internal long Changes
    {
        get
        {
            lock (stateLock)
                return changes;
        }
    }

    /// <summary>
    /// Writes a delivery for each active webhook that subscribes to an event, as one of the last statements of the transaction, and has them
    /// sent once it is committed. Without such webhooks nothing is written.
    /// </summary>
    /// <param name="session">The transaction in which the event happens.</param>
    /// <param name="happened">The event.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    public async Task AddAsync(DatabaseSession session, RegistryEvent happened, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(happened);
        // By the clock, not by the beginning of the transaction, which is the same for all that it brings about.
        await session.ExecuteLastAsync(
            database.Statement(
                """
                INSERT INTO webhook_deliveries (webhook_id, payload, created_at, next_attempt_at)
                SELECT w.webhook_id, $3, clock_timestamp() AT TIME ZONE 'UTC', clock_timestamp() AT TIME ZONE 'UTC'
                FROM webhook_events e JOIN webhooks w ON w.webhook_id = e.webhook_id
                WHERE e.entity = $1 AND e.action = $2 AND w.status = 'ACTIVE' AND w.deleted_at IS NULL
                """,
                $"""
                INSERT INTO webhook_deliveries (delivery_id, webhook_id, payload, created_at, next_attempt_at)
                SELECT {SqliteUuid}, w.webhook_id, $3, {WebhookDeliveries.SqliteNow}, {WebhookDeliveries.SqliteNow}
                FROM webhook_events e JOIN webhooks w ON w.webhook_id = e.webhook_id
                WHERE e.entity = $1 AND e.action = $2 AND w.status = 'ACTIVE' AND w.deleted_at IS NULL
                """)
                .Add(RegistryEvent.Name(happened.Entity)).Add(RegistryEvent.Name(happened.Action)).Add(happened.Payload),
            cancellationToken).ConfigureAwait(false);
        session.AfterCommit(() =>
        {
            if (HasWebhooks())
                Wake();
        });
    }

    /// <inheritdoc/>
    public void Dispose() => signal.Dispose();

    /// <summary>Has <see cref="WebhookDelivery"/> look at once.</summary>
    internal void Wake()
    {
        try
        {
            signal.Release();
        }
        catch (SemaphoreFullException)
        {
            // It is about to look anyhow.
        }
    }

    /// <summary>A webhook was made or changed, and that is committed.</summary>
    internal void WebhooksChanged()
    {
        lock (stateLock)
        {
            changes++;
            hasWebhooks = true;
        }

        Wake();
    }

    /// <summary>
    /// What <see cref="WebhookDelivery"/> has seen. It is believed that there are none only if none was made since it began to look: an event
    /// that does not wake it then has nobody to tell.
    /// </summary>
    /// <param name="any">Whether there are active webhooks.</param>
    /// <param name="changesBefore">What <see cref="Changes"/> was before it looked.</param>
    internal void WebhooksSeen(bool any, long changesBefore)
    {
        lock (stateLock)
            hasWebhooks = any || changes != changesBefore;
    }

    /// <summary>Waits until there may be something to do.</summary>
    internal Task WaitAsync(TimeSpan patience, CancellationToken cancellationToken) => signal.WaitAsync(patience, cancellationToken);

    private bool HasWebhooks()
    {
        lock (stateLock)
            return hasWebhooks;
    }
}
