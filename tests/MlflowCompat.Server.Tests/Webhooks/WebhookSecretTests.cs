using System.Net;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>The secrets of webhooks at rest (contract: security §4).</summary>
public sealed class WebhookSecretTests
{
    private const string Secret = "correct horse battery staple";

    /// <summary>As MLflow's users have them, made by Fernet.generate_key().</summary>
    private const string FernetKey = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

    [Theory, BothDatabases]
    public async Task Secret_IsInNoAnswerAndNotPlainInTheDatabase(DatabaseKind kind)
    {
        await using var server = await WebhookCalls.StartServerAsync(kind, options => options with { SecretEncryptionKey = WebhookOptions.ParseKey(FernetKey) });
        using var created = await server.SendAsync(HttpMethod.Post, "webhooks", ApiServer.Json(new
        {
            name = "a", url = "http://hooks.invalid/", secret = Secret, events = new[] { WebhookCalls.ModelCreated },
        }));
        using var listed = await server.SendAsync(HttpMethod.Get, "webhooks");
        foreach (var response in (HttpResponseMessage[])[created, listed])
        {
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.DoesNotContain("secret", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        var stored = await StoredSecretAsync(server);
        Assert.DoesNotContain(Secret, stored, StringComparison.Ordinal);
        Assert.DoesNotContain(Convert.ToBase64String(Encoding.UTF8.GetBytes(Secret))[..16], stored, StringComparison.Ordinal);
        var secrets = server.Services.GetRequiredService<WebhookSecrets>();
        var id = (string)(await server.GetAsync("webhooks"))["webhooks"]![0]!["webhook_id"]!;
        Assert.Equal(Secret, Encoding.UTF8.GetString(secrets.Decrypt(id, stored)));
        Assert.Throws<WebhookSecretException>(() => secrets.Decrypt(Guid.NewGuid().ToString(), stored));
        Assert.NotEqual(stored, secrets.Encrypt(id, Secret));
    }

    [Theory, BothDatabases]
    public async Task AnotherKey_FailsTheDeliveryAndSaysWhy(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var database = await TestDatabase.CreateAsync(kind);
        string id;
        await using (var before = await StartAsync(database, FernetKey))
            id = (string)(await before.CreateWebhookAsync(receiver.Url, Secret))["webhook_id"]!;

        await using var after = await StartAsync(database, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
        await after.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(after.Database, 1));
        Assert.Equal(("failed", 1), (delivery.Status, delivery.Attempts));
        Assert.Contains("another key", delivery.Error, StringComparison.Ordinal);
        var result = (await after.PostAsync($"webhooks/{id}/test", new { }))["result"]!;
        Assert.False((bool)result["success"]!);
        Assert.Contains("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", (string?)result["error_message"], StringComparison.Ordinal);
        Assert.Empty(receiver.Requests);

        await after.PatchWebhookAsync(id, new { secret = "new" });
        await after.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        var request = (await receiver.UntilAsync(1))[0];
        Assert.Equal(request.Signature("new"), request.Headers["X-MLflow-Signature"]);
    }

    [Theory, BothDatabases]
    public async Task KeyFile_IsMadeWithTheFirstSecretAndKept(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var database = await TestDatabase.CreateAsync(kind);
        string file;
        string made;
        await using (var before = await StartAsync(database, null))
        {
            file = before.Services.GetRequiredService<WebhookSecrets>().KeyFile;
            if (kind == DatabaseKind.Sqlite)
            {
                await before.CreateWebhookAsync("http://hooks.invalid/");
                Assert.False(File.Exists(file));
            }

            await before.CreateWebhookAsync(receiver.Url, Secret);
            made = await File.ReadAllTextAsync(file);
            Assert.Equal(32, WebhookOptions.ParseKey(made)!.Count);
            if (!OperatingSystem.IsWindows())
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        }

        await using (var after = await StartAsync(database, null))
        {
            await after.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
            var request = (await receiver.UntilAsync(1))[0];
            Assert.Equal(request.Signature(Secret), request.Headers["X-MLflow-Signature"]);
            Assert.Equal(made, await File.ReadAllTextAsync(file));
        }

        // What is in the file may be given as the setting.
        await using var given = await StartAsync(database, made);
        await given.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        var last = (await receiver.UntilAsync(2))[1];
        Assert.Equal(last.Signature(Secret), last.Headers["X-MLflow-Signature"]);
    }

    [Fact]
    public async Task KeyFile_MadeByManyAtOnce_IsOne()
    {
        var database = BackendStoreUri.Parse($"sqlite:///{TestFolder.Create()}/keys.db");
        await using var owned = database;
        var logger = Microsoft.Extensions.Logging.Abstractions.NullLogger<WebhookSecrets>.Instance;
        var encrypted = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(
            () => new WebhookSecrets(new WebhookOptions(), database, logger).Encrypt("id", Secret))));
        var reader = new WebhookSecrets(new WebhookOptions(), database, logger);
        Assert.All(encrypted, stored => Assert.Equal(Secret, Encoding.UTF8.GetString(reader.Decrypt("id", stored))));
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(reader.KeyFile)!));
    }

    [Fact]
    public async Task KeyFileThatCannotBeMade_RefusesSecretsOnly()
    {
        var folder = TestFolder.Create();
        await using var server = await TestServer.StartAsync($"sqlite:///{folder}/mlflow.db");
        Directory.CreateDirectory($"{folder}/mlflow.db.{WebhookSecrets.KeyFileSuffix}");
        await server.CreateWebhookAsync("https://hooks.invalid/");
        await server.PostRefusedAsync(
            "webhooks",
            new { name = "a", url = "https://hooks.invalid/", secret = Secret, events = new[] { WebhookCalls.ModelCreated } },
            HttpStatusCode.InternalServerError,
            "INVALID_STATE",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY");
    }

    [Theory]
    [InlineData(FernetKey, true)]
    [InlineData("cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=", true)]
    [InlineData(" " + FernetKey + "\n", true)]
    [InlineData("", false)]
    [InlineData("short", false)]
    [InlineData("c2hvcnQ=", false)]
    [InlineData("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEy", false)]
    public void ParseKey_TakesThirtyTwoBytesInBase64(string text, bool expected) => Assert.Equal(expected, WebhookOptions.ParseKey(text) is not null);

    private static Task<TestServer> StartAsync(TestDatabase database, string? key) => TestServer.StartAsync(database.Address, options => options with
    {
        Webhooks = WebhookCalls.Loopback with { SecretEncryptionKey = key is null ? null : WebhookOptions.ParseKey(key) },
    });

    private static async Task<string> StoredSecretAsync(TestServer server)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return (await session.FirstOrDefaultAsync(
            server.Database.Statement("SELECT secret FROM webhooks"), reader => reader.GetString(0), CancellationToken.None))!;
    }
}
