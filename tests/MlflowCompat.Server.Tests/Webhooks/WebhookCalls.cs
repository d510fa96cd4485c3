using System.Net;
using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>Calls about webhooks.</summary>
internal static class WebhookCalls
{
    /// <summary>The event that these tests mostly subscribe to.</summary>
    public static readonly object ModelCreated = new { entity = "REGISTERED_MODEL", action = "CREATED" };

    /// <summary>Options for receivers on the loopback interface that must not take long to give up.</summary>
    public static readonly WebhookOptions Loopback = new()
    {
        AllowedSchemes = ["http"],
        AllowPrivateIps = true,
        RetryPause = TimeSpan.FromMilliseconds(20),
    };

    /// <summary>Starts a server that sends to the loopback interface.</summary>
    public static Task<TestServer> StartServerAsync(DatabaseKind kind, Func<WebhookOptions, WebhookOptions>? configure = null) =>
        TestServer.StartAsync(kind, options => options with { Webhooks = configure?.Invoke(Loopback) ?? Loopback });

    /// <summary>Makes a webhook and returns it.</summary>
    public static async Task<JsonObject> CreateWebhookAsync(this ApiServer server, string url, string? secret = null, params object[] events) =>
        (await server.PostAsync(
            "webhooks", new { name = "hook", url, secret, events = events.Length == 0 ? [ModelCreated] : events }))["webhook"]!.AsObject();

    /// <summary>Reads a webhook.</summary>
    public static async Task<JsonObject> GetWebhookAsync(this ApiServer server, string id) => (await server.GetAsync($"webhooks/{id}"))["webhook"]!.AsObject();

    /// <summary>Changes a webhook and returns it.</summary>
    public static async Task<JsonObject> PatchWebhookAsync(this ApiServer server, string id, object change)
    {
        using var response = await server.SendAsync(HttpMethod.Patch, $"webhooks/{id}", ApiServer.Json(change));
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, body);
        return JsonNode.Parse(body)!["webhook"]!.AsObject();
    }

    /// <summary>Deletes a webhook.</summary>
    public static async Task DeleteWebhookAsync(this ApiServer server, string id)
    {
        using var response = await server.SendAsync(HttpMethod.Delete, $"webhooks/{id}");
        Assert.Equal("{}", await response.Content.ReadAsStringAsync());
    }

    /// <summary>Registers a model, which is an event.</summary>
    public static Task RegisterAsync(this ApiServer server, string name) => server.PostAsync("registered-models/create", new { name });

    /// <summary>Makes an event happen in a transaction of its own.</summary>
    public static Task HappenAsync(this TestServer server, params RegistryEvent[] events)
    {
        var outbox = server.Services.GetRequiredService<WebhookOutbox>();
        return server.Database.WriteAsync(
            async (session, token) =>
            {
                foreach (var happened in events)
                    await outbox.AddAsync(session, happened, token);
            },
            CancellationToken.None);
    }

    /// <summary>All deliveries, as status, attempts, response_status and error, in the order of their events.</summary>
    public static async Task<List<(string Status, int Attempts, int? ResponseStatus, string? Error)>> DeliveriesAsync(Database database)
    {
        await using var session = await database.OpenAsync(CancellationToken.None);
        return await session.ListAsync(
            database.Statement("SELECT status, attempts, response_status, error FROM webhook_deliveries ORDER BY delivery_number"),
            reader => (reader.GetString(0), reader.GetInt32(1), reader.IsDBNull(2) ? (int?)null : reader.GetInt32(2), reader.GetStringOrNull(3)),
            CancellationToken.None);
    }

    /// <summary>Waits until so many deliveries are finished, and returns all.</summary>
    public static async Task<List<(string Status, int Attempts, int? ResponseStatus, string? Error)>> UntilFinishedAsync(Database database, int count)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (true)
        {
            var deliveries = await DeliveriesAsync(database);
            if (deliveries.Count(delivery => delivery.Status != "pending") >= count)
                return deliveries;
            await Task.Delay(20, patience.Token);
        }
    }
}
