using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// What is to be delivered, as servers take it from the database. A server takes a webhook, not a delivery: it has it until it gives it back
/// or has not prolonged its lease, so that nobody else sends meanwhile and the order is kept. Times are those of the database, which all
/// servers share.
/// </summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">How long leases and finished deliveries last.</param>
public sealed class WebhookDeliveries(Database database, WebhookOptions options)
{
    /// <summary>The time, in milliseconds since 1970.</summary>
    internal const string SqliteNow = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

    private const string Active = "w.status = 'ACTIVE' AND w.deleted_at IS NULL";
    private const int MaxErrorLength = 500;
    private const int PurgeBatch = 1000;

    /// <summary>What this process is called in the column of senders.</summary>
    private readonly Guid self = Guid.NewGuid();

    private readonly string now = database.Choose("LOCALTIMESTAMP", SqliteNow);

    /// <summary>How many active webhooks there are, and in how many milliseconds something is due that no server is at; null for nothing.</summary>
    public async Task<(long Webhooks, long? DueInMilliseconds)> LookAsync(CancellationToken cancellationToken)
    {
        const string When = "MIN(CASE WHEN sender_until > due THEN sender_until ELSE due END)";
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var state = await session.FirstOrDefaultAsync(
                database.Statement($"""
                    SELECT COUNT(*), {database.Choose($"CAST(CEIL(EXTRACT(EPOCH FROM {When} - {now}) * 1000) AS BIGINT)", $"{When} - {now}")}
                    FROM (SELECT w.sender_until, (SELECT MIN(d.next_attempt_at) FROM webhook_deliveries d
                                                  WHERE d.webhook_id = w.webhook_id AND d.status = 'pending') AS due
                          FROM webhooks w WHERE {Active}) AS waiting
                    """),
                reader => Tuple.Create(reader.GetInt64(0), reader.IsDBNull(1) ? (long?)null : reader.GetInt64(1)),
                cancellationToken).ConfigureAwait(false);
            return (state!.Item1, state.Item2);
        }
    }

    /// <summary>Takes webhooks of which something is due, those that wait longest first.</summary>
    /// <returns>Their ids.</returns>
    public Task<List<string>> TakeAsync(int limit, CancellationToken cancellationToken) => database.WriteAsync(
        (session, token) => session.ListAsync(
            // A server that waits here for another one finds the condition of the lease broken afterwards.
            database.Statement($"""
                UPDATE webhooks SET sender = $1, sender_until = {Later("$2")}
                WHERE webhook_id IN (
                    SELECT w.webhook_id FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.webhook_id AND d.status = 'pending'
                    WHERE {Active} AND d.next_attempt_at <= {now} AND (w.sender_until IS NULL OR w.sender_until <= {now})
                    GROUP BY w.webhook_id ORDER BY MIN(d.next_attempt_at) LIMIT $3)
                  AND (sender_until IS NULL OR sender_until <= {now})
                RETURNING webhook_id
                """).Add(self).Add((long)options.Lease.TotalMilliseconds).Add((long)limit),
            reader => reader.GetString(0),
            token),
        cancellationToken);

    /// <summary>The next delivery of a webhook that this server has; null when nothing is due, or when it has it no more.</summary>
    public async Task<WebhookDue?> NextAsync(string webhookId, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement($"""
                    SELECT d.delivery_number, d.attempts, d.delivery_id, d.payload, w.url, w.secret
                    FROM webhook_deliveries d JOIN webhooks w ON w.webhook_id = d.webhook_id
                    WHERE d.webhook_id = $1 AND d.status = 'pending' AND d.next_attempt_at <= {now} AND w.sender = $2 AND {Active}
                    ORDER BY d.next_attempt_at, d.delivery_number LIMIT 1
                    """).Add(webhookId).Add(self),
                reader => new WebhookDue(
                    reader.GetInt64(0),
                    reader.GetInt32(1),
                    webhookId,
                    reader.GetString(4),
                    reader.GetStringOrNull(5),
                    reader.GetGuid(2),
                    reader.GetString(3)),
                cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Keeps what came of an attempt. What another server has meanwhile taken over remains with that one, unless it has arrived.
    /// </summary>
    /// <param name="due">The delivery.</param>
    /// <param name="outcome">What came of it.</param>
    /// <param name="pause">How long to wait before it is sent again; null when it is not.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    public Task RecordAsync(WebhookDue due, WebhookOutcome outcome, TimeSpan? pause, CancellationToken cancellationToken)
    {
        var status = outcome.IsDelivered ? "delivered" : pause is null ? "failed" : "pending";
        return database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteLastAsync(
                    database.Statement($"""
                        UPDATE webhook_deliveries SET attempts = attempts + 1, status = $2, response_status = $3, error = $4,
                            next_attempt_at = {Later("$5")}, finished_at = CASE WHEN $2 <> 'pending' THEN {now} END
                        WHERE delivery_number = $1 AND status = 'pending'
                          AND ($2 = 'delivered' OR EXISTS (
                              SELECT 1 FROM webhooks w WHERE w.webhook_id = webhook_deliveries.webhook_id AND w.sender = $6))
                        """)
                        .Add(due.Number).Add(status).Add(outcome.Status)
                        .Add(outcome.Error is null ? null : FieldRules.Truncate(outcome.Error, MaxErrorLength))
                        .Add((long)(pause?.TotalMilliseconds ?? 0)).Add(self),
                    token).ConfigureAwait(false);
                // A receiver that cannot be reached cannot be for what is behind this delivery either.
                if (outcome.Status is null && pause is not null)
                {
                    await session.ExecuteLastAsync(
                        database.Statement("""
                            UPDATE webhook_deliveries
                            SET next_attempt_at = (SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.delivery_number = $2)
                            WHERE webhook_id = $1 AND status = 'pending' AND delivery_number > $2
                              AND next_attempt_at < (SELECT d.next_attempt_at FROM webhook_deliveries d WHERE d.delivery_number = $2)
                            """).Add(due.WebhookId).Add(due.Number),
                        token).ConfigureAwait(false);
                }
            },
            cancellationToken);
    }

    /// <summary>Prolongs the leases of all webhooks that this server has.</summary>
    public Task RenewAsync(CancellationToken cancellationToken) => database.WriteAsync(
        (session, token) => session.ExecuteLastAsync(
            database.Statement($"UPDATE webhooks SET sender_until = {Later("$2")} WHERE sender = $1")
                .Add(self).Add((long)options.Lease.TotalMilliseconds),
            token),
        cancellationToken);

    /// <summary>Gives a webhook back.</summary>
    public Task ReleaseAsync(string webhookId, CancellationToken cancellationToken) => database.WriteAsync(
        (session, token) => session.ExecuteLastAsync(
            database.Statement("UPDATE webhooks SET sender = NULL, sender_until = NULL WHERE webhook_id = $1 AND sender = $2").Add(webhookId).Add(self),
            token),
        cancellationToken);

    /// <summary>Takes what a process before this one did not come to give back: an SQLite file belongs to one server.</summary>
    public Task ReleaseAbandonedAsync(CancellationToken cancellationToken) => database.Kind != DatabaseKind.Sqlite
        ? Task.CompletedTask
        : database.WriteAsync(
            (session, token) => session.ExecuteLastAsync(
                database.Statement("UPDATE webhooks SET sender = NULL, sender_until = NULL WHERE sender IS NOT NULL"), token),
            cancellationToken);

    /// <summary>Removes deliveries that were finished long ago, and what was written while its webhook was being deleted.</summary>
    public async Task PurgeAsync(CancellationToken cancellationToken)
    {
        int removed;
        do
        {
            removed = await database.WriteAsync(
                (session, token) => session.ExecuteAsync(
                    database.Statement($"""
                        DELETE FROM webhook_deliveries WHERE delivery_number IN (
                            SELECT delivery_number FROM webhook_deliveries
                            WHERE finished_at < {Later("$1")}
                               OR (status = 'pending' AND webhook_id IN (SELECT webhook_id FROM webhooks WHERE deleted_at IS NOT NULL))
                            LIMIT $2)
                        """).Add(-(long)options.Retention.TotalMilliseconds).Add((long)PurgeBatch),
                    token),
                cancellationToken).ConfigureAwait(false);
        }
        while (removed == PurgeBatch);
    }

    /// <summary>A time so many milliseconds from now.</summary>
    private string Later(string milliseconds) => database.Choose($"{now} + {milliseconds} * INTERVAL '1 millisecond'", $"{now} + {milliseconds}");
}

/// <summary>A delivery whose time has come.</summary>
/// <param name="Number">Its key.</param>
/// <param name="Attempts">How often it was sent before.</param>
/// <param name="WebhookId">The webhook.</param>
/// <param name="Url">Where to.</param>
/// <param name="Secret">What it is signed with, encrypted; null when it is not.</param>
/// <param name="DeliveryId">What it is known by.</param>
/// <param name="Payload">The JSON.</param>
public sealed record WebhookDue(long Number, int Attempts, string WebhookId, string Url, string? Secret, Guid DeliveryId, string Payload)
    : WebhookDispatch(WebhookId, Url, Secret, DeliveryId, Payload);
