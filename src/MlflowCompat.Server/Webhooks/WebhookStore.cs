using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Webhooks;

/// <summary>Webhooks in the database (mapping 6).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="secrets">Encrypts what is stored.</param>
/// <param name="outbox">Is told of changes.</param>
/// <param name="address">Decides about URLs.</param>
/// <param name="sender">Sends tests.</param>
public sealed class WebhookStore(Database database, WebhookSecrets secrets, WebhookOutbox outbox, WebhookAddress address, WebhookSender sender)
{
    private const string Columns = """
        w.webhook_id, w.name, w.description, w.url, w.status, w.created_at, w.updated_at,
        (SELECT string_agg(e.entity || '.' || e.action, ',') FROM webhook_events e WHERE e.webhook_id = w.webhook_id)
        """;

    private readonly string columns = database.Choose(Columns, Columns.Replace("string_agg", "group_concat", StringComparison.Ordinal));

    /// <summary>Decides which URLs webhooks may have.</summary>
    public WebhookAddress Address { get; } = address;

    /// <summary>Makes a webhook.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="description">Its description, or null.</param>
    /// <param name="url">Where it is sent to.</param>
    /// <param name="events">What it subscribes to.</param>
    /// <param name="secret">What it is signed with, or null.</param>
    /// <param name="status">Whether it is sent.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">INVALID_STATE: the secret cannot be encrypted.</exception>
    public async Task<Webhook> CreateAsync(
        string name, string? description, string url, List<WebhookEvent> events, string? secret, WebhookStatus status, CancellationToken cancellationToken)
    {
        var id = Guid.NewGuid().ToString("D");
        var encrypted = Encrypt(id, secret);
        var created = await database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(
                    [
                        database.Statement("""
                            INSERT INTO webhooks (webhook_id, name, description, url, status, secret, created_at, updated_at)
                            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
                            """)
                            .Add(id).Add(name).Add(description).Add(url).Add(ProtoEnumConverter<WebhookStatus>.NameOf(status)).Add(encrypted)
                            .AddTime(StoredTime.Now()),
                        .. Subscriptions(id, events),
                    ],
                    token).ConfigureAwait(false);
                return (await FindAsync(session, id, token).ConfigureAwait(false))!;
            },
            cancellationToken).ConfigureAwait(false);
        outbox.WebhooksChanged();
        return created;
    }

    /// <summary>A page of the webhooks, the newest first.</summary>
    public async Task<SearchPage<Webhook>> ListAsync(int maxResults, long offset, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await session.ListAsync(
                database.Statement($"SELECT {columns} FROM webhooks w WHERE w.deleted_at IS NULL ORDER BY w.number DESC LIMIT $1 OFFSET $2")
                    .Add(maxResults + 1L).Add(offset),
                Read,
                cancellationToken).ConfigureAwait(false);
            return SearchPage<Webhook>.From(rows, maxResults, offset);
        }
    }

    /// <summary>A webhook.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public async Task<Webhook> GetAsync(string id, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await FindAsync(session, id, cancellationToken).ConfigureAwait(false) ?? throw NotFound(id);
    }

    /// <summary>Changes a webhook; what is null stays as it is.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_STATE: the secret cannot be encrypted.</exception>
    public async Task<Webhook> UpdateAsync(
        string id,
        string? name,
        string? description,
        string? url,
        List<WebhookEvent>? events,
        string? secret,
        WebhookStatus? status,
        CancellationToken cancellationToken)
    {
        var encrypted = Encrypt(id, secret);
        var updated = await database.WriteAsync(
            async (session, token) =>
            {
                // Waits for events that are being told to it, so that below they are seen.
                var before = await session.FirstOrDefaultAsync(
                    database.Statement(
                        "SELECT status FROM webhooks WHERE webhook_id = $1 AND deleted_at IS NULL FOR UPDATE",
                        "SELECT status FROM webhooks WHERE webhook_id = $1 AND deleted_at IS NULL").Add(id),
                    reader => reader.GetString(0),
                    token).ConfigureAwait(false) ?? throw NotFound(id);
                var statements = new List<Statement>
                {
                    database.Statement("""
                        UPDATE webhooks SET name = COALESCE($2, name), description = COALESCE($3, description), url = COALESCE($4, url),
                            secret = COALESCE($5, secret), status = COALESCE($6, status), updated_at = $7
                        WHERE webhook_id = $1
                        """)
                        .Add(id).Add(name).Add(description).Add(url).Add(encrypted)
                        .Add(status is { } given ? ProtoEnumConverter<WebhookStatus>.NameOf(given) : null).AddTime(StoredTime.Now()),
                };
                if (events is not null)
                {
                    statements.Add(database.Statement("DELETE FROM webhook_events WHERE webhook_id = $1").Add(id));
                    statements.AddRange(Subscriptions(id, events));
                }

                // Whoever switches a webhook off wants to hear no more, also of what happened before: nor when it is switched on again, of an
                // event that had found it active and came to its end only when it was off.
                if (status == WebhookStatus.Disabled || (status == WebhookStatus.Active && before != "ACTIVE"))
                {
                    statements.Add(database.Statement("""
                        UPDATE webhook_deliveries SET status = 'cancelled', finished_at = $2 WHERE webhook_id = $1 AND status = 'pending'
                        """).Add(id).AddTime(StoredTime.Now()));
                }

                await session.ExecuteAsync(statements, token).ConfigureAwait(false);
                return (await FindAsync(session, id, token).ConfigureAwait(false))!;
            },
            cancellationToken).ConfigureAwait(false);
        outbox.WebhooksChanged();
        return updated;
    }

    /// <summary>Deletes a webhook, softly; its secret, subscriptions and deliveries are gone for good.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown, or deleted already.</exception>
    public Task DeleteAsync(string id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var changed = await session.ExecuteAsync(
                database.Statement("UPDATE webhooks SET deleted_at = $2, updated_at = $2, secret = NULL WHERE webhook_id = $1 AND deleted_at IS NULL")
                    .Add(id).AddTime(StoredTime.Now()),
                token).ConfigureAwait(false);
            if (changed == 0)
                throw NotFound(id);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM webhook_events WHERE webhook_id = $1").Add(id), token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM webhook_deliveries WHERE webhook_id = $1").Add(id), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Sends an event that did not happen, once, and tells what came of it.</summary>
    /// <param name="id">The webhook, which may be switched off.</param>
    /// <param name="event">The event; null for the first one that it subscribes to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public async Task<WebhookTestResult> TestAsync(string id, WebhookEvent? @event, CancellationToken cancellationToken)
    {
        Webhook webhook;
        string? secret;
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            (webhook, secret) = await session.FirstOrDefaultAsync(
                database.Statement($"SELECT {columns}, w.secret FROM webhooks w WHERE w.webhook_id = $1 AND w.deleted_at IS NULL").Add(id),
                reader => Tuple.Create(Read(reader), reader.GetStringOrNull(8)),
                cancellationToken).ConfigureAwait(false) ?? throw NotFound(id);
        }

        var tested = @event ?? webhook.Events[0];
        var example = RegistryEvent.Example(tested.Entity!.Value, tested.Action!.Value);
        var outcome = await sender.SendAsync(
            new WebhookDispatch(id, webhook.Url, secret, Guid.NewGuid(), example.Payload), readsBody: true, cancellationToken).ConfigureAwait(false);
        return new WebhookTestResult(outcome.IsDelivered, outcome.Status, outcome.Body, outcome.Status is null ? outcome.Error : null);
    }

    private static MlflowException NotFound(string id) => MlflowException.NotFound($"Webhook with ID {id} not found.");

    private string? Encrypt(string id, string? secret)
    {
        try
        {
            return secret is null ? null : secrets.Encrypt(id, secret);
        }
        catch (WebhookSecretException exception)
        {
            throw new MlflowException(ErrorCode.InvalidState, $"The secret was not stored: {exception.Message}.");
        }
    }

    private IEnumerable<Statement> Subscriptions(string id, List<WebhookEvent> events) => events.Select(subscription =>
        database.Statement("INSERT INTO webhook_events (webhook_id, entity, action) VALUES ($1, $2, $3)")
            .Add(id).Add(RegistryEvent.Name(subscription.Entity!.Value)).Add(RegistryEvent.Name(subscription.Action!.Value)));

    private Task<Webhook?> FindAsync(DatabaseSession session, string id, CancellationToken cancellationToken) => session.FirstOrDefaultAsync(
        database.Statement($"SELECT {columns} FROM webhooks w WHERE w.webhook_id = $1 AND w.deleted_at IS NULL").Add(id), Read, cancellationToken);

    private static Webhook Read(DbDataReader reader) => new(
        reader.GetString(0),
        reader.GetString(1),
        reader.GetStringOrNull(2),
        reader.GetString(3),
        [.. reader.GetString(7).Split(',').Order(StringComparer.Ordinal).Select(ReadEvent)],
        reader.GetString(4) == "ACTIVE" ? WebhookStatus.Active : WebhookStatus.Disabled,
        reader.GetMilliseconds(5),
        reader.GetMilliseconds(6));

    private static WebhookEvent ReadEvent(string name)
    {
        var parts = name.Split('.');
        return new WebhookEvent { Entity = Part<WebhookEntity>(parts[0]), Action = Part<WebhookAction>(parts[1]) };
    }

    private static TEnum Part<TEnum>(string name)
        where TEnum : struct, Enum => Enum.GetValues<TEnum>().First(part => RegistryEvent.Name(part) == name);
}
