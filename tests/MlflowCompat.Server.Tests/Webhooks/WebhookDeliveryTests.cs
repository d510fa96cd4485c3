using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>How events reach receivers (contract: security §4).</summary>
public sealed class WebhookDeliveryTests
{
    private const string Secret = "s3cret-ü";

    private static readonly RegistryEvent Happened = RegistryEvent.ModelCreated(
        false, "Größe \"1\"", [new KeyValue { Key = "a", Value = "b" }], "d");

    [Theory, BothDatabases]
    public async Task Delivery_HasTheHeadersAndTheSignature(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url + "/signed?x=1", Secret);
        await server.CreateWebhookAsync(receiver.Url + "/plain");
        await server.HappenAsync(Happened);

        var requests = await receiver.UntilAsync(2);
        var signed = requests.Single(request => request.Target == "/signed?x=1");
        var plain = requests.Single(request => request.Target == "/plain");
        Assert.Equal("POST", signed.Method);
        Assert.Equal("application/json", signed.Headers["Content-Type"]);
        Assert.True(Guid.TryParseExact(signed.DeliveryId, "D", out var id) && id.Version == 4);
        Assert.NotEqual(plain.DeliveryId, signed.DeliveryId);
        Assert.InRange(
            long.Parse(signed.Headers["X-MLflow-Timestamp"], CultureInfo.InvariantCulture), DateTimeOffset.UtcNow.AddMinutes(-5).ToUnixTimeSeconds(), DateTimeOffset.UtcNow.AddMinutes(5).ToUnixTimeSeconds());
        Assert.Equal(signed.Signature(Secret), signed.Headers["X-MLflow-Signature"]);
        Assert.False(plain.Headers.ContainsKey("X-MLflow-Signature"));
        Assert.False(signed.Headers.ContainsKey("traceparent"));

        Assert.Equal(Happened.Payload, Encoding.UTF8.GetString(signed.Body));
        var json = signed.Json;
        Assert.Equal("registered_model", (string?)json["entity"]);
        Assert.Equal("created", (string?)json["action"]);
        Assert.EndsWith("+00:00", (string?)json["timestamp"], StringComparison.Ordinal);
        Assert.InRange(
            DateTimeOffset.Parse((string)json["timestamp"]!, CultureInfo.InvariantCulture), DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow.AddMinutes(5));
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse("""{"name": "Größe \"1\"", "tags": {"a": "b"}, "description": "d"}"""), json["data"]));
        Assert.All(await WebhookCalls.UntilFinishedAsync(server.Database, 2), delivery => Assert.Equal(("delivered", 1, 200, null), delivery));
    }

    [Theory]
    [BothDatabases(429)]
    [BothDatabases(500)]
    [BothDatabases(502)]
    [BothDatabases(503)]
    [BothDatabases(504)]
    public async Task StatusThatMayPass_IsRetriedUnderTheSameId(DatabaseKind kind, int status)
    {
        await using var receiver = await WebhookReceiver.AnsweringAsync(status, status, status);
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url, Secret);
        await server.HappenAsync(Happened);

        var attempts = await receiver.UntilAsync(4);
        Assert.Single(attempts.Select(attempt => attempt.DeliveryId).Distinct());
        Assert.All(attempts, attempt => Assert.Equal(Happened.Payload, Encoding.UTF8.GetString(attempt.Body)));
        Assert.All(attempts, attempt => Assert.Equal(attempt.Signature(Secret), attempt.Headers["X-MLflow-Signature"]));
        Assert.Equal(("delivered", 4, 200, null), Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1)));
    }

    [Theory]
    [BothDatabases("\0\u00ff\r\n\r\n")]
    [BothDatabases("HTTP/1.1 200 \0\r\n\r\n")]
    [BothDatabases("HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n")]
    [BothDatabases("")]
    public async Task AnswerThatIsNone_IsRetriedAndGivenUp(DatabaseKind kind, string answer)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var connections = 0;
        var accepting = Task.Run(async () =>
        {
            while (true)
            {
                using var connection = await listener.AcceptSocketAsync();
                Interlocked.Increment(ref connections);
                if (answer.Length == 0)
                {
                    connection.LingerState = new LingerOption(true, 0);
                    continue;
                }

                await connection.ReceiveAsync(new byte[4096]);
                await connection.SendAsync(Encoding.Latin1.GetBytes(answer));
            }
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/");
        await server.HappenAsync(Happened);

        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
        Assert.NotNull(delivery.Error);
        Assert.DoesNotContain(delivery.Error, char.IsControl);
        Assert.Equal("failed", delivery.Status);
        Assert.InRange(connections, delivery.Attempts, 2 * delivery.Attempts);
        listener.Stop();
        await Assert.ThrowsAnyAsync<SocketException>(() => accepting);
    }

    [Theory, BothDatabases]
    public async Task ReceiverThatCannotBeReached_HoldsItsWebhookAsAWholeAndKeepsTheOrder(DatabaseKind kind)
    {
        var refused = new ConcurrentQueue<string>();
        await using var receiver = await WebhookReceiver.StartAsync((context, received) =>
        {
            if (refused.Count < 2)
            {
                refused.Enqueue((string)received.Json["data"]!["name"]!);
                context.Abort();
            }

            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync([.. new[] { "a", "b", "c" }.Select(name => RegistryEvent.ModelCreated(false, name, [], null))]);

        Assert.All(await WebhookCalls.UntilFinishedAsync(server.Database, 3), delivery => Assert.Equal("delivered", delivery.Status));
        Assert.Equal(["a", "a", "a", "b", "c"], receiver.Requests.Select(request => (string)request.Json["data"]!["name"]!));
    }

    [Theory, BothDatabases]
    public async Task Retries_AreGivenUpAfterTheLast(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.AnsweringAsync(500, 500, 500, 500);
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(Happened);

        Assert.Equal(
            ("failed", 4, 500, "the receiver answered 500"), Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1)));
        Assert.Equal(4, receiver.Requests.Count);
    }

    [Theory]
    [BothDatabases(400)]
    [BothDatabases(404)]
    [BothDatabases(410)]
    [BothDatabases(501)]
    public async Task StatusThatWillNotPass_IsNotRetried(DatabaseKind kind, int status)
    {
        await using var receiver = await WebhookReceiver.AnsweringAsync(status);
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(Happened);

        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
        Assert.Equal(("failed", 1, status), (delivery.Status, delivery.Attempts, delivery.ResponseStatus));
    }

    [Theory]
    [BothDatabases(301)]
    [BothDatabases(302)]
    [BothDatabases(307)]
    public async Task Redirect_IsAFailureAndNotFollowed(DatabaseKind kind, int status)
    {
        await using var target = await WebhookReceiver.StartAsync();
        await using var receiver = await WebhookReceiver.StartAsync((context, _) =>
        {
            context.Response.StatusCode = status;
            context.Response.Headers.Location = target.Url + "/secret";
            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        await server.HappenAsync(Happened);

        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
        Assert.Equal(("failed", 1, status), (delivery.Status, delivery.Attempts, delivery.ResponseStatus));
        Assert.Contains("not followed", delivery.Error, StringComparison.Ordinal);
        var result = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!;
        Assert.Equal((false, status), ((bool)result["success"]!, (int)result["response_status"]!));
        Assert.Empty(target.Requests);
    }

    [Theory, BothDatabases]
    public async Task RetryAfter_IsHonoured(DatabaseKind kind)
    {
        var times = new ConcurrentQueue<long>();
        await using var receiver = await WebhookReceiver.StartAsync((context, _) =>
        {
            times.Enqueue(Stopwatch.GetTimestamp());
            if (times.Count == 1)
            {
                context.Response.StatusCode = 503;
                context.Response.Headers.RetryAfter = "2";
            }

            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(Happened);
        await receiver.UntilAsync(2);

        // That it was not sent before is the receiver's wish, not a measure of speed.
        Assert.True(Stopwatch.GetElapsedTime(times.First(), times.Last()) >= TimeSpan.FromSeconds(1.9));
    }

    [Theory, BothDatabases]
    public async Task NobodyListening_IsRetriedAndGivenUp(DatabaseKind kind)
    {
        string url;
        await using (var gone = await WebhookReceiver.StartAsync())
            url = gone.Url;
        await using var server = await WebhookCalls.StartServerAsync(kind);
        var id = (string)(await server.CreateWebhookAsync(url, Secret))["webhook_id"]!;
        await server.HappenAsync(Happened);

        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
        Assert.Equal(("failed", 4, (int?)null), (delivery.Status, delivery.Attempts, delivery.ResponseStatus));
        Assert.False(string.IsNullOrEmpty(delivery.Error));
        var result = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!.AsObject();
        Assert.False((bool)result["success"]!);
        Assert.False(string.IsNullOrEmpty((string?)result["error_message"]));
        Assert.False(result.ContainsKey("response_status"));
    }

    [Theory, BothDatabases]
    public async Task SlowReceiver_IsGivenUpAndHoldsUpNobody(DatabaseKind kind)
    {
        var end = new TaskCompletionSource();
        await using var slow = await WebhookReceiver.StartAsync((_, _) => end.Task);
        await using var trickling = await WebhookReceiver.StartAsync(async (context, _) =>
        {
            // Never ends its headers in time, or would send for ever.
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.WriteAsync("x");
                await context.Response.Body.FlushAsync();
                await Task.Delay(50);
            }
        });
        await using var quick = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind, options => options with { RequestTimeout = TimeSpan.FromSeconds(1), MaxRetries = 0 });
        await server.CreateWebhookAsync(slow.Url);
        var id = (string)(await server.CreateWebhookAsync(trickling.Url))["webhook_id"]!;
        await server.CreateWebhookAsync(quick.Url);

        // The calls are answered although the receivers are not done.
        for (var i = 0; i < 3; i++)
            await server.RegisterAsync(ApiServer.FreshName("model"));
        await quick.UntilAsync(3);
        var test = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!;
        Assert.False((bool)test["success"]!);
        Assert.Contains("no answer within", (string?)test["error_message"], StringComparison.Ordinal);
        var deliveries = await WebhookCalls.UntilFinishedAsync(server.Database, 9);
        Assert.Equal(3, deliveries.Count(delivery => delivery.Error == "no answer within 1 s"));
        end.SetResult();
    }

    [Theory, BothDatabases]
    public async Task Deliveries_ComeInTheOrderOfTheirEventsOneAtATime(DatabaseKind kind)
    {
        var (atATime, most) = (0, 0);
        await using var receiver = await WebhookReceiver.StartAsync(async (_, _) =>
        {
            most = Math.Max(most, Interlocked.Increment(ref atATime));
            await Task.Delay(1);
            Interlocked.Decrement(ref atATime);
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        var names = Enumerable.Range(0, 60).Select(i => $"m{i}").ToList();
        foreach (var pair in names.Chunk(2))
            await server.HappenAsync([.. pair.Select(name => RegistryEvent.ModelCreated(false, name, [], null))]);

        var requests = await receiver.UntilAsync(names.Count);
        Assert.Equal(names, requests.Select(request => (string)request.Json["data"]!["name"]!));
        Assert.Equal(1, most);
    }

    [Theory, BothDatabases]
    public async Task FailedDelivery_DoesNotHoldUpThoseBehindIt(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync((context, received) =>
        {
            if ((string?)received.Json["data"]!["name"] == "first")
            {
                context.Response.StatusCode = 503;
                context.Response.Headers.RetryAfter = "3600";
            }

            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "first", [], null));
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "second", [], null));

        var deliveries = await WebhookCalls.UntilFinishedAsync(server.Database, 1);
        Assert.Equal(["pending", "delivered"], deliveries.Select(delivery => delivery.Status));
    }

    [Theory, BothDatabases]
    public async Task OnlyActiveSubscribers_AreTold(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url + "/other", null, new { entity = "PROMPT", action = "CREATED" });
        var disabled = (string)(await server.CreateWebhookAsync(receiver.Url + "/disabled"))["webhook_id"]!;
        await server.PatchWebhookAsync(disabled, new { status = "DISABLED" });
        var deleted = (string)(await server.CreateWebhookAsync(receiver.Url + "/deleted"))["webhook_id"]!;
        await server.DeleteWebhookAsync(deleted);
        await server.HappenAsync(Happened);
        Assert.Empty(await WebhookCalls.DeliveriesAsync(server.Database));

        await server.PatchWebhookAsync(disabled, new { status = "ACTIVE", url = receiver.Url + "/moved" });
        await server.HappenAsync(Happened);
        Assert.Equal("/moved", (await receiver.UntilAsync(1))[0].Target);
        Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
    }

    [Theory, BothDatabases]
    public async Task SwitchingOffAndDeleting_CallWhatWaitsBack(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync((context, _) =>
        {
            context.Response.StatusCode = 503;
            context.Response.Headers.RetryAfter = "3600";
            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        await server.HappenAsync(Happened);
        await receiver.UntilAsync(1);
        await server.PatchWebhookAsync(id, new { status = "DISABLED" });
        Assert.Equal("cancelled", Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database)).Status);
        await server.DeleteWebhookAsync(id);
        Assert.Empty(await WebhookCalls.DeliveriesAsync(server.Database));
    }

    /// <summary>An event whose transaction ends only when the webhook is off leaves a delivery behind that nobody has called back.</summary>
    [Theory, BothDatabases]
    public async Task SwitchingOnAgain_CallsBackWhatWasLeftBehind(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        await server.PatchWebhookAsync(id, new { status = "DISABLED" });
        await server.Database.WriteAsync((session, token) => session.ExecuteAsync(LeftBehind(server, id), token), CancellationToken.None);

        await server.PatchWebhookAsync(id, new { description = "still off" });
        Assert.Equal("pending", Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database)).Status);
        await server.PatchWebhookAsync(id, new { status = "ACTIVE" });
        await server.HappenAsync(Happened);
        Assert.Equal(Happened.Payload, Encoding.UTF8.GetString((await receiver.UntilAsync(1))[0].Body));
        Assert.Equal(["cancelled", "delivered"], (await WebhookCalls.UntilFinishedAsync(server.Database, 2)).Select(delivery => delivery.Status));
    }

    /// <summary>What waits of a webhook that is on is not called back by a PATCH that says so once more.</summary>
    [Theory, BothDatabases]
    public async Task SwitchingOnWhatIsOn_LeavesWhatWaits(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync((context, _) =>
        {
            context.Response.StatusCode = 503;
            context.Response.Headers.RetryAfter = "3600";
            return Task.CompletedTask;
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        await server.HappenAsync(Happened);
        await receiver.UntilAsync(1);
        await server.PatchWebhookAsync(id, new { status = "ACTIVE" });
        Assert.Equal("pending", Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database)).Status);
    }

    /// <summary>On PostgreSQL a webhook may be switched off while an event is being told to it: the switch waits, and calls it back.</summary>
    [Fact]
    public async Task SwitchingOff_WhileAnEventHappens_CallsItBack()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(DatabaseKind.PostgreSql);
        var id = (string)(await server.CreateWebhookAsync(receiver.Url))["webhook_id"]!;
        Task? switching = null;
        await server.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(LeftBehind(server, id), token);
                switching = server.PatchWebhookAsync(id, new { status = "DISABLED" });
                await Task.Delay(200, token);
            },
            CancellationToken.None);
        await switching!;
        Assert.Equal("cancelled", Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database)).Status);
    }

    /// <summary>What an event does in its transaction.</summary>
    private static Statement LeftBehind(TestServer server, string webhookId) => server.Database.Statement("""
        INSERT INTO webhook_deliveries (delivery_id, webhook_id, payload, created_at, next_attempt_at) VALUES ($1, $2, '{"left": "behind"}', $3, $3)
        """).Add(Guid.NewGuid()).Add(webhookId).AddTime(StoredTime.Now());

    [Theory, BothDatabases]
    public async Task EventThatIsNotCommitted_IsNotDelivered(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        var name = ApiServer.FreshName("model");
        await server.RegisterAsync(name);
        await server.PostRefusedAsync("registered-models/create", new { name }, System.Net.HttpStatusCode.BadRequest, "RESOURCE_ALREADY_EXISTS");
        await WebhookCalls.UntilFinishedAsync(server.Database, 1);
        Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database));
        Assert.Single(receiver.Requests);
    }

    [Theory, BothDatabases]
    public async Task Test_SendsAnExampleAndShowsTheAnswer(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync(async (context, _) =>
        {
            context.Response.StatusCode = context.Request.Path == "/bad" ? 418 : 202;
            await context.Response.WriteAsync(new string('é', 20_000));
        });
        await using var server = await WebhookCalls.StartServerAsync(kind);
        object[] events = [new { entity = "PROMPT_VERSION", action = "CREATED" }, WebhookCalls.ModelCreated];
        var id = (string)(await server.CreateWebhookAsync(receiver.Url + "/good", Secret, events))["webhook_id"]!;

        var first = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!.AsObject();
        Assert.Equal((true, 202), ((bool)first["success"]!, (int)first["response_status"]!));
        Assert.Equal(new string('é', 8192), (string?)first["response_body"]);
        Assert.False(first.ContainsKey("error_message"));
        var chosen = await server.PostAsync($"webhooks/{id}/test", new { @event = new { entity = "MODEL_VERSION_TAG", action = "SET" } });
        Assert.True((bool)chosen["result"]!["success"]!);
        var requests = await receiver.UntilAsync(2);
        Assert.Equal(["prompt_version", "model_version_tag"], requests.Select(request => (string)request.Json["entity"]!));
        Assert.Equal("Hello {{name}}!", (string?)requests[0].Json["data"]!["template"]);
        Assert.All(requests, request => Assert.Equal(request.Signature(Secret), request.Headers["X-MLflow-Signature"]));

        await server.PatchWebhookAsync(id, new { url = receiver.Url + "/bad", status = "DISABLED" });
        var bad = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!;
        Assert.Equal((false, 418), ((bool)bad["success"]!, (int)bad["response_status"]!));
        await server.PostInvalidAsync($"webhooks/{id}/test", new { @event = new { entity = "PROMPT", action = "SET" } }, "prompt.set");
        await server.PostInvalidAsync($"webhooks/{id}/test", new { @event = new { entity = "PROMPT" } }, "event.action");
        Assert.Empty(await WebhookCalls.DeliveriesAsync(server.Database));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Example_OfEveryEvent_NamesIt(string entity, string action)
    {
        var json = JsonNode.Parse(RegistryEvent.Example(Enum.Parse<WebhookEntity>(entity), Enum.Parse<WebhookAction>(action)).Payload)!;
        Assert.Equal(entity, ((string)json["entity"]!).Replace("_", "", StringComparison.Ordinal), ignoreCase: true);
        Assert.Equal(action, (string)json["action"]!, ignoreCase: true);
        Assert.NotEmpty(json["data"]!.AsObject());
    }

    public static TheoryData<string, string> Kinds() => new()
    {
        { "RegisteredModel", "Created" }, { "ModelVersion", "Created" }, { "ModelVersionTag", "Set" }, { "ModelVersionTag", "Deleted" },
        { "ModelVersionAlias", "Created" }, { "ModelVersionAlias", "Deleted" }, { "Prompt", "Created" }, { "PromptVersion", "Created" },
        { "PromptTag", "Set" }, { "PromptTag", "Deleted" }, { "PromptVersionTag", "Set" }, { "PromptVersionTag", "Deleted" },
        { "PromptAlias", "Created" }, { "PromptAlias", "Deleted" }, { "BudgetPolicy", "Exceeded" },
    };

    [Theory, BothDatabases]
    public async Task FinishedDeliveries_AreRemovedAfterAWhile(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url);
        await server.HappenAsync(Happened, Happened);
        await WebhookCalls.UntilFinishedAsync(server.Database, 2);
        var weekAgo = DateTimeOffset.UtcNow.AddDays(-8).ToUnixTimeMilliseconds();
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteLastAsync(
                server.Database.Statement("UPDATE webhook_deliveries SET finished_at = $1 WHERE delivery_number = (SELECT MIN(delivery_number) FROM webhook_deliveries)")
                    .AddTime(weekAgo),
                token),
            CancellationToken.None);
        await new WebhookDeliveries(server.Database, WebhookCalls.Loopback).PurgeAsync(CancellationToken.None);
        Assert.Single(await WebhookCalls.DeliveriesAsync(server.Database));
    }
}
