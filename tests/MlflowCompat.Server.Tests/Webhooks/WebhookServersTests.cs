using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>Deliveries across the lives of servers, and with several of them on one database.</summary>
public sealed class WebhookServersTests
{
    private const string Secret = "s3cret";

    private static readonly Dictionary<string, string> Settings = new()
    {
        ["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] = "http",
        ["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] = "true",
        ["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    };

    [Theory, BothDatabases]
    public async Task EventOfAKilledServer_IsDeliveredByTheNextUnderTheSameId(DatabaseKind kind)
    {
        var dies = true;
        var never = new TaskCompletionSource();
        await using var receiver = await WebhookReceiver.StartAsync((_, _) => dies ? never.Task : Task.CompletedTask);
        await using var database = await TestDatabase.CreateAsync(kind);
        var names = Enumerable.Range(0, 5).Select(i => ApiServer.FreshName($"model{i}")).ToList();
        IReadOnlyList<WebhookReceiver.Received> before;
        await using (var killed = await ServerProcess.StartAsync(database.Address, Settings))
        {
            await killed.CreateWebhookAsync(receiver.Url, Secret);
            foreach (var name in names)
                await killed.RegisterAsync(name);
            // Sent, but neither answered nor recorded; the others wait behind it.
            before = await receiver.UntilAsync(1);
            await killed.KillAsync();
        }

        dies = false;
        await using var next = await ServerProcess.StartAsync(database.Address, Settings);
        var after = (await receiver.UntilAsync(before.Count + names.Count)).Skip(before.Count).ToList();
        Assert.Equal(names, after.Select(request => (string)request.Json["data"]!["name"]!));
        Assert.Equal(before[0].DeliveryId, after[0].DeliveryId);
        Assert.Equal(before[0].Body, after[0].Body);
        Assert.Equal(names.Count, after.Select(request => request.DeliveryId).Distinct().Count());
        Assert.All(after, request => Assert.Equal(request.Signature(Secret), request.Headers["X-MLflow-Signature"]));
        never.SetResult();
        await using var reading = database.Open();
        Assert.All(await WebhookCalls.UntilFinishedAsync(reading, names.Count), delivery => Assert.Equal(("delivered", 1), (delivery.Status, delivery.Attempts)));
    }

    [Theory, BothDatabases]
    public async Task ServerThatStops_EndsWhatIsUnderWay(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync((_, _) => Task.Delay(500));
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        await receiver.UntilAsync(1);
        await server.StopAsync();
        Assert.Equal(("delivered", 1, 200, null), Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database)));
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        Assert.Equal(0, await session.ScalarAsync<long>(server.Database.Statement("SELECT COUNT(*) FROM webhooks WHERE sender IS NOT NULL"), CancellationToken.None));
    }

    [Theory, BothDatabases]
    public async Task Log_SaysWhatFailedWithoutSecretsAndAddresses(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.AnsweringAsync(500);
        await using var database = await TestDatabase.CreateAsync(kind);
        await using var server = await ServerProcess.StartAsync(
            database.Address, new Dictionary<string, string>(Settings) { ["MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES"] = "0" });
        var id = (string)(await server.CreateWebhookAsync(receiver.Url + "/as-good-as-a-password", "the-secret"))["webhook_id"]!;
        await server.RegisterAsync("m");
        await receiver.UntilAsync(1);
        await using (var reading = database.Open())
            Assert.Equal("failed", Assert.Single(await WebhookCalls.UntilFinishedAsync(reading, 1)).Status);

        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var (_, output) = await server.StopAsync(patience.Token);
        Assert.Contains($"webhook {id}: delivery ", output, StringComparison.Ordinal);
        Assert.Contains("given up after 1 attempts: the receiver answered 500", output, StringComparison.Ordinal);
        Assert.DoesNotContain("as-good-as-a-password", output, StringComparison.Ordinal);
        Assert.DoesNotContain("the-secret", output, StringComparison.Ordinal);
        Assert.DoesNotContain(Settings["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"], output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task TwoServersOnOnePostgreSql_SendEachDeliveryOnce()
    {
        await using var receiver = await WebhookReceiver.StartAsync((_, _) => Task.Delay(2));
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        // Eager to take what the other one has.
        var options = WebhookCalls.Loopback with { PollInterval = TimeSpan.FromMilliseconds(5) };
        await using var one = await TestServer.StartAsync(database.Address, given => given with { Webhooks = options });
        await using var other = await TestServer.StartAsync(database.Address, given => given with { Webhooks = options });
        const int Webhooks = 4;
        const int Events = 50;
        for (var i = 0; i < Webhooks; i++)
            await one.CreateWebhookAsync($"{receiver.Url}/{i}");
        // Lets the other server hear of them, so that both compete from the beginning.
        await other.CreateWebhookAsync(receiver.Url, null, new { entity = "PROMPT", action = "CREATED" });
        await Task.WhenAll(Enumerable.Range(0, Events).Select(i => (i % 2 == 0 ? one : other).RegisterAsync($"m{i}")));

        var deliveries = await WebhookCalls.UntilFinishedAsync(one.Database, Webhooks * Events);
        Assert.All(deliveries, delivery => Assert.Equal(("delivered", 1, 200, null), delivery));
        Assert.Equal(Webhooks * Events, receiver.Requests.Count);
        Assert.Equal(Webhooks * Events, receiver.Requests.Select(request => request.DeliveryId).Distinct().Count());
    }

    [Fact]
    public async Task EventOnAnotherServer_IsDelivered()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        var options = WebhookCalls.Loopback with { PollInterval = TimeSpan.FromMilliseconds(50) };
        await using var one = await TestServer.StartAsync(database.Address, given => given with { Webhooks = options });
        await using var other = await TestServer.StartAsync(database.Address, given => given with { Webhooks = options });
        await one.CreateWebhookAsync(receiver.Url);
        // It does not know of the webhook, and does not have to.
        await other.RegisterAsync("m");
        Assert.Equal("m", (string?)(await receiver.UntilAsync(1))[0].Json["data"]!["name"]);
    }

    [Fact]
    public async Task SenderThatDied_IsReplacedWhenItsLeaseEnds()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(DatabaseKind.PostgreSql, options => options with { PollInterval = TimeSpan.FromMilliseconds(50) });
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteLastAsync(
                server.Database.Statement("UPDATE webhooks SET sender = gen_random_uuid(), sender_until = LOCALTIMESTAMP + INTERVAL '2 s' WHERE webhook_id = '" + id + "'"), token),
            CancellationToken.None);
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        await receiver.UntilAsync(1);
    }
}
