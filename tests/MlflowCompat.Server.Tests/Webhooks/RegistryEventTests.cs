using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>Which calls of the registry are events, and what these carry (contract: endpoints §11).</summary>
public sealed class RegistryEventTests
{
    private static readonly object[] AllEvents =
    [
        .. new[]
        {
            "REGISTERED_MODEL.CREATED", "MODEL_VERSION.CREATED", "MODEL_VERSION_TAG.SET", "MODEL_VERSION_TAG.DELETED", "MODEL_VERSION_ALIAS.CREATED",
            "MODEL_VERSION_ALIAS.DELETED", "PROMPT.CREATED", "PROMPT_VERSION.CREATED", "PROMPT_TAG.SET", "PROMPT_TAG.DELETED",
            "PROMPT_VERSION_TAG.SET", "PROMPT_VERSION_TAG.DELETED", "PROMPT_ALIAS.CREATED", "PROMPT_ALIAS.DELETED",
        }.Select(pair => new { entity = pair.Split('.')[0], action = pair.Split('.')[1] }),
    ];

    [Theory, BothDatabases]
    public async Task CallsAboutModels_AreEventsOfModels(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url, null, AllEvents);

        await server.PostAsync("registered-models/create", new { name = "m", description = "d", tags = new[] { new { key = "a", value = "b" } } });
        await server.PostAsync("registered-models/create", new { name = "bare" });
        await server.PostAsync("model-versions/create", new
        {
            name = "m", source = "s3://bucket/m", run_id = "0123456789abcdef0123456789abcdef", description = "v", tags = new[] { new { key = "c", value = "d" } },
        });
        await server.PostAsync("model-versions/create", new { name = "m", source = "s3://bucket/n" });
        await server.PostAsync("model-versions/set-tag", new { name = "m", version = "1", key = "k", value = "w" });
        await SendAsync(server, HttpMethod.Delete, "model-versions/delete-tag", new { name = "m", version = "1", key = "k" });
        await server.PostAsync("registered-models/alias", new { name = "m", alias = "best", version = "2" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/alias", new { name = "m", alias = "best" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/alias", new { name = "m", alias = "best" });

        // None of these is an event.
        await server.PostAsync("registered-models/set-tag", new { name = "m", key = "k", value = "w" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/delete-tag", new { name = "m", key = "k" });
        await SendAsync(server, HttpMethod.Patch, "registered-models/update", new { name = "m", description = "e" });
        await SendAsync(server, HttpMethod.Patch, "model-versions/update", new { name = "m", version = "1", description = "e" });
        await server.PostAsync("model-versions/transition-stage", new { name = "m", version = "1", stage = "Staging", archive_existing_versions = false });
        await server.PostAsync("registered-models/rename", new { name = "m", new_name = "n" });
        await SendAsync(server, HttpMethod.Delete, "model-versions/delete", new { name = "n", version = "1" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/delete", new { name = "n" });
        // Nor what is refused.
        await server.PostNotFoundAsync("registered-models/alias", new { name = "bare", alias = "best", version = "7" });
        await server.PostNotFoundAsync("model-versions/set-tag", new { name = "bare", version = "7", key = "k", value = "w" });
        await server.PostNotFoundAsync("model-versions/create", new { name = "n", source = "s3://bucket/n" });

        await AssertEventsAsync(
            server,
            receiver,
            """registered_model.created {"name":"m","tags":{"a":"b"},"description":"d"}""",
            """registered_model.created {"name":"bare","tags":{},"description":""}""",
            """model_version.created {"name":"m","version":"1","source":"s3://bucket/m","run_id":"0123456789abcdef0123456789abcdef","tags":{"c":"d"},"description":"v"}""",
            """model_version.created {"name":"m","version":"2","source":"s3://bucket/n","run_id":null,"tags":{},"description":null}""",
            """model_version_tag.set {"name":"m","version":"1","key":"k","value":"w"}""",
            """model_version_tag.deleted {"name":"m","version":"1","key":"k"}""",
            """model_version_alias.created {"name":"m","alias":"best","version":"2"}""",
            """model_version_alias.deleted {"name":"m","alias":"best"}""",
            """model_version_alias.deleted {"name":"m","alias":"best"}""");
    }

    [Theory, BothDatabases]
    public async Task CallsAboutPrompts_AreEventsOfPrompts(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind);
        await server.CreateWebhookAsync(receiver.Url, null, AllEvents);
        var mark = new { key = "mlflow.prompt.is_prompt", value = "true" };

        await server.PostAsync("registered-models/create", new { name = "p", description = "d", tags = new[] { mark, new { key = "a", value = "b" } } });
        await server.PostAsync("model-versions/create", new
        {
            name = "p",
            source = "prompt-template",
            description = "first",
            tags = new[] { mark, new { key = "mlflow.prompt.text", value = "Hi {{you}}" }, new { key = "_mlflow_prompt_type", value = "text" }, new { key = "c", value = "d" } },
        });
        await server.PostAsync("registered-models/set-tag", new { name = "p", key = "k", value = "w" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/delete-tag", new { name = "p", key = "k" });
        await server.PostAsync("model-versions/set-tag", new { name = "p", version = "1", key = "k", value = "w" });
        await SendAsync(server, HttpMethod.Delete, "model-versions/delete-tag", new { name = "p", version = "1", key = "k" });
        await server.PostAsync("registered-models/alias", new { name = "p", alias = "best", version = "1" });
        await SendAsync(server, HttpMethod.Delete, "registered-models/alias", new { name = "p", alias = "best" });

        await AssertEventsAsync(
            server,
            receiver,
            """prompt.created {"name":"p","tags":{"a":"b"},"description":"d"}""",
            """prompt_version.created {"name":"p","version":"1","template":"Hi {{you}}","tags":{"c":"d"},"description":"first"}""",
            """prompt_tag.set {"name":"p","key":"k","value":"w"}""",
            """prompt_tag.deleted {"name":"p","key":"k"}""",
            """prompt_version_tag.set {"name":"p","version":"1","key":"k","value":"w"}""",
            """prompt_version_tag.deleted {"name":"p","version":"1","key":"k"}""",
            """prompt_alias.created {"name":"p","alias":"best","version":"1"}""",
            """prompt_alias.deleted {"name":"p","alias":"best"}""");
    }

    private static async Task AssertEventsAsync(TestServer server, WebhookReceiver receiver, params string[] expected)
    {
        await WebhookCalls.UntilFinishedAsync(server.Database, expected.Length);
        Assert.Equal(
            expected.Select(Normal),
            receiver.Requests.Select(request => Normal($"{request.Json["entity"]}.{request.Json["action"]} {request.Json["data"]!.ToJsonString()}")));
        Assert.Equal(expected.Length, (await WebhookCalls.DeliveriesAsync(server.Database)).Count);

        static string Normal(string text)
        {
            var space = text.IndexOf(' ', StringComparison.Ordinal);
            return text[..space] + JsonNode.Parse(text[space..])!.ToJsonString();
        }
    }

    private static async Task SendAsync(TestServer server, HttpMethod method, string route, object message)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync());
    }
}
