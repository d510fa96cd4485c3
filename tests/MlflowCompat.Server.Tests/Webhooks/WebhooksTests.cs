using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>The routes of webhooks (contract: endpoints §11, since-3.6 §1.7).</summary>
public sealed class WebhooksTests
{
    private const string Url = "https://hooks.invalid/x";
    private const string NoWebhook = "00000000-0000-0000-0000-000000000000";

    [Theory, BothDatabases]
    public async Task Create_ReturnsWhatWasGivenAndNotTheSecret(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var webhook = (await server.PostAsync("webhooks", new
        {
            name = "A.b_c-1",
            description = "über",
            url = Url,
            secret = "s3cret",
            status = "DISABLED",
            events = new object[] { new { entity = 3, action = "SET" }, new { entity = "MODEL_VERSION", action = 1 } },
        }))["webhook"]!.AsObject();

        Assert.True(Guid.TryParseExact((string?)webhook["webhook_id"], "D", out _));
        Assert.Equal("A.b_c-1", (string?)webhook["name"]);
        Assert.Equal("über", (string?)webhook["description"]);
        Assert.Equal(Url, (string?)webhook["url"]);
        Assert.Equal("DISABLED", (string?)webhook["status"]);
        Assert.Equal(["MODEL_VERSION.CREATED", "MODEL_VERSION_TAG.SET"], Events(webhook));
        Assert.Equal((long)webhook["creation_timestamp"]!, (long)webhook["last_updated_timestamp"]!);
        Assert.InRange((long)webhook["creation_timestamp"]!, DateTimeOffset.UtcNow.AddHours(-1).ToUnixTimeMilliseconds(), long.MaxValue);
        Assert.False(webhook.ContainsKey("secret"));
        Assert.True(JsonNode.DeepEquals(webhook, await server.GetWebhookAsync(Id(webhook))));
    }

    [Theory, BothDatabases]
    public async Task Create_WithoutStatusAndDescription_IsActive(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var webhook = await server.CreateWebhookAsync(Url);
        Assert.Equal("ACTIVE", (string?)webhook["status"]);
        Assert.False(webhook.ContainsKey("description"));
        await server.DeleteWebhookAsync(Id(webhook));
    }

    [Theory, BothDatabases]
    public async Task Events_ThatAreValidPairs_AreAccepted(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        string[] pairs =
        [
            "BUDGET_POLICY.EXCEEDED", "MODEL_VERSION.CREATED", "MODEL_VERSION_ALIAS.CREATED", "MODEL_VERSION_ALIAS.DELETED",
            "MODEL_VERSION_TAG.DELETED", "MODEL_VERSION_TAG.SET", "PROMPT.CREATED", "PROMPT_ALIAS.CREATED", "PROMPT_ALIAS.DELETED",
            "PROMPT_TAG.DELETED", "PROMPT_TAG.SET", "PROMPT_VERSION.CREATED", "PROMPT_VERSION_TAG.DELETED", "PROMPT_VERSION_TAG.SET",
            "REGISTERED_MODEL.CREATED",
        ];
        var webhook = await server.CreateWebhookAsync(Url, null, [.. pairs.Select(pair => new { entity = pair.Split('.')[0], action = pair.Split('.')[1] })]);
        Assert.Equal(pairs, Events(webhook).Order(StringComparer.Ordinal));
        await server.DeleteWebhookAsync(Id(webhook));
    }

    [Theory]
    [BothDatabases("{}", "name")]
    [BothDatabases("""{"name": null}""", "name")]
    [BothDatabases("""{"name": ""}""", "name")]
    [BothDatabases("""{"name": 5}""", "name")]
    [BothDatabases("""{"name": " "}""", "name")]
    [BothDatabases("""{"name": "a "}""", "name")]
    [BothDatabases("""{"name": "a\n"}""", "name")]
    [BothDatabases("""{"name": "-a"}""", "name")]
    [BothDatabases("""{"name": "a."}""", "name")]
    [BothDatabases("""{"name": "é"}""", "name")]
    [BothDatabases("""{"name": "a/b"}""", "name")]
    [BothDatabases("""{"name": "a"}""", "url")]
    [BothDatabases("""{"name": "a", "url": null}""", "url")]
    [BothDatabases("""{"name": "a", "url": "", "events": [{"entity": 1, "action": 1}]}""", "url")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/"}""", "events")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": null}""", "events")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": []}""", "events")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": {}}""", "events")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [null]}""", "events")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{}]}""", "events[0].entity")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": "PROMPT"}]}""", "events[0].action")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": "prompt", "action": "CREATED"}]}""", "events[0].entity", "prompt")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 11, "action": "CREATED"}]}""", "events[0].entity", "11")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": "PROMPT", "action": "created"}]}""", "events[0].action")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": "PROMPT", "action": "SET"}]}""", "events[0]", "prompt.set")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": "PROMPT_TAG", "action": "UPDATED"}]}""", "events[0]", "set, deleted")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 5, "action": 1}, {"entity": "PROMPT", "action": "CREATED"}]}""", "events[1]", "twice")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 5, "action": 1}], "status": "OFF"}""", "status", "OFF")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 5, "action": 1}], "status": 3}""", "status")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 5, "action": 1}], "secret": 3}""", "secret")]
    [BothDatabases("""{"name": "a", "url": "https://hooks.invalid/", "events": [{"entity": 5, "action": 1}], "description": {}}""", "description")]
    public async Task Create_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string field, string value = "")
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync("webhooks", message, field, value);
    }

    [Theory, BothDatabases]
    public async Task Limits_AreThoseOfTheContract(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var longest = new
        {
            name = new string('n', 63),
            description = string.Concat(Enumerable.Repeat("😀", 1000)),
            url = "https://hooks.invalid/".PadRight(500, 'u'),
            secret = string.Concat(Enumerable.Repeat("😀", 1000)),
            events = new[] { WebhookCalls.ModelCreated },
        };
        var webhook = (await server.PostAsync("webhooks", longest))["webhook"]!.AsObject();
        Assert.Equal(longest.name, (string?)webhook["name"]);
        Assert.Equal(longest.description, (string?)webhook["description"]);
        Assert.Equal(longest.url, (string?)webhook["url"]);
        await server.PostInvalidAsync("webhooks", new { name = longest.name + "n", url = Url, events = longest.events }, "name");
        await server.PostInvalidAsync("webhooks", new { name = "a", url = longest.url + "u", events = longest.events }, "url", "500");
        await server.PostInvalidAsync("webhooks", new { name = "a", url = Url, description = longest.description + "d", events = longest.events }, "description", "1000");
        await server.PostInvalidAsync("webhooks", new { name = "a", url = Url, secret = longest.secret + "s", events = longest.events }, "secret", "1000");
        await server.DeleteWebhookAsync(Id(webhook));
    }

    [Theory, BothDatabases]
    public async Task List_IsPagedNewestFirst(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        Assert.Equal("{}", (await server.GetAsync("webhooks")).ToJsonString());
        var ids = new List<string>();
        for (var i = 0; i < 5; i++)
            ids.Insert(0, Id(await server.CreateWebhookAsync(Url)));

        var first = await server.GetAsync("webhooks?max_results=2");
        Assert.Equal(ids[..2], Ids(first));
        var second = await server.GetAsync($"webhooks?max_results=2&page_token={Uri.EscapeDataString((string)first["next_page_token"]!)}");
        Assert.Equal(ids[2..4], Ids(second));
        var last = await server.GetAsync($"webhooks?max_results=2&page_token={Uri.EscapeDataString((string)second["next_page_token"]!)}");
        Assert.Equal(ids[4..], Ids(last));
        Assert.False(last.ContainsKey("next_page_token"));
        Assert.Equal(ids, Ids(await server.GetAsync("webhooks?max_results=0")));
        Assert.Equal(ids, Ids(await server.GetAsync("/ajax-api/2.0/mlflow/webhooks?max_results=1000&page_token=")));

        await server.DeleteWebhookAsync(ids[0]);
        Assert.Equal(ids[1..], Ids(await server.GetAsync("webhooks")));
    }

    [Theory]
    [BothDatabases("max_results=-1", "max_results")]
    [BothDatabases("max_results=1001", "max_results")]
    [BothDatabases("max_results=a", "max_results")]
    [BothDatabases("page_token=garbage", "page token")]
    public async Task List_WithSomethingWrong_IsRefused(DatabaseKind kind, string query, string field)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync($"webhooks?{query}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", field);
    }

    [Theory, BothDatabases]
    public async Task Update_ChangesWhatIsGivenAndNothingElse(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var webhook = (await server.PostAsync("webhooks", new
        {
            name = "before", description = "d", url = Url, status = "DISABLED", events = new[] { WebhookCalls.ModelCreated },
        }))["webhook"]!.AsObject();
        var id = Id(webhook);

        foreach (var nothing in (string[])["{}", """{"name": "", "description": "", "url": "", "secret": "", "events": []}""", """{"name": null, "webhook_id": "x"}"""])
        {
            using var response = await server.SendAsync(HttpMethod.Patch, $"webhooks/{id}", new StringContent(nothing));
            var unchanged = JsonNode.Parse(await response.Content.ReadAsStringAsync())!["webhook"]!.AsObject();
            Assert.True(JsonNode.DeepEquals(Without(webhook), Without(unchanged)), unchanged.ToJsonString());
        }

        Assert.Equal("after", (string?)(await server.PatchWebhookAsync(id, new { name = "after" }))["name"]);
        Assert.Equal("e", (string?)(await server.PatchWebhookAsync(id, new { description = "e" }))["description"]);
        Assert.Equal(Url + "/2", (string?)(await server.PatchWebhookAsync(id, new { url = Url + "/2" }))["url"]);
        await server.PatchWebhookAsync(id, new { secret = "other" });
        Assert.Equal(["PROMPT.CREATED", "REGISTERED_MODEL.CREATED"], Events(await server.PatchWebhookAsync(
            id, new { events = new[] { WebhookCalls.ModelCreated, new { entity = "PROMPT", action = "CREATED" } } })));
        var active = await server.PatchWebhookAsync(id, new { status = 1 });
        Assert.Equal(("after", "e", Url + "/2", "ACTIVE"), ((string?)active["name"], (string?)active["description"], (string?)active["url"], (string?)active["status"]));
        Assert.Equal((long)webhook["creation_timestamp"]!, (long)active["creation_timestamp"]!);
        Assert.True((long)active["last_updated_timestamp"]! >= (long)webhook["last_updated_timestamp"]!);
        await server.DeleteWebhookAsync(id);
    }

    [Theory]
    [BothDatabases("""{"name": "a/b"}""", "name")]
    [BothDatabases("""{"url": "http://hooks.invalid/"}""", "scheme")]
    [BothDatabases("""{"url": "https://127.0.0.1/"}""", "127.0.0.1")]
    [BothDatabases("""{"url": "https://8.8.8.8:0/"}""", "port 0")]
    [BothDatabases("""{"url": "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaa.com/"}""", "host")]
    [BothDatabases("""{"events": [{"entity": "PROMPT", "action": "SET"}]}""", "events[0]")]
    [BothDatabases("""{"events": [{"entity": 5, "action": 1}, {"entity": 5, "action": 1}]}""", "events[1]")]
    [BothDatabases("""{"status": "X"}""", "status")]
    public async Task Update_WithSomethingWrong_IsRefusedAndChangesNothing(DatabaseKind kind, string change, string field)
    {
        var server = await TestServer.SharedAsync(kind);
        var webhook = await server.CreateWebhookAsync(Url);
        using (var response = await server.SendAsync(HttpMethod.Patch, $"webhooks/{Id(webhook)}", ApiServer.JsonText(change)))
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", field);
        Assert.True(JsonNode.DeepEquals(webhook, await server.GetWebhookAsync(Id(webhook))));
        await server.DeleteWebhookAsync(Id(webhook));
    }

    [Theory]
    [BothDatabases(NoWebhook)]
    [BothDatabases("nothing")]
    public async Task UnknownWebhook_IsNotFound(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        foreach (var (method, route, body) in new[]
        {
            (HttpMethod.Get, "", null), (HttpMethod.Patch, "", """{"name": "x"}"""), (HttpMethod.Delete, "", null), (HttpMethod.Post, "/test", "{}"),
        })
        {
            using var response = await server.SendAsync(method, $"webhooks/{id}{route}", body is null ? null : ApiServer.JsonText(body));
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", $"Webhook with ID {id} not found");
        }
    }

    [Theory, BothDatabases]
    public async Task Delete_IsForGoodButKeepsTheRow(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = Id(await server.CreateWebhookAsync(Url, "secret"));
        await server.DeleteWebhookAsync(id);

        foreach (var method in (HttpMethod[])[HttpMethod.Get, HttpMethod.Delete, HttpMethod.Patch])
        {
            using var response = await server.SendAsync(method, $"webhooks/{id}");
            await ApiServer.AssertErrorAsync(response, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", id);
        }

        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        var kept = await session.FirstOrDefaultAsync(
            server.Database.Statement("SELECT deleted_at IS NOT NULL AND secret IS NULL FROM webhooks WHERE webhook_id = $1").Add(id),
            reader => reader.GetValue(0).ToString()!,
            CancellationToken.None);
        Assert.Contains(kept, new[] { "True", "1" });
    }

    private static string Id(JsonObject webhook) => (string)webhook["webhook_id"]!;

    private static IEnumerable<string> Ids(JsonObject page) => page["webhooks"]!.AsArray().Select(webhook => Id(webhook!.AsObject()));

    private static IEnumerable<string> Events(JsonObject webhook) =>
        webhook["events"]!.AsArray().Select(subscription => $"{subscription!["entity"]}.{subscription["action"]}");

    private static JsonObject Without(JsonObject webhook)
    {
        var copy = webhook.DeepClone().AsObject();
        copy.Remove("last_updated_timestamp");
        return copy;
    }
}
