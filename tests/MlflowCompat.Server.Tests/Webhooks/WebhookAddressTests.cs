using System.Net;
using System.Net.Sockets;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>Where deliveries may go (contract: security §4, since-3.6 §1.7).</summary>
public sealed class WebhookAddressTests
{
    [Theory]
    [InlineData("8.8.8.8", true)]
    [InlineData("172.15.0.1", true)]
    [InlineData("172.32.0.1", true)]
    [InlineData("100.63.0.1", true)]
    [InlineData("2606:4700:4700::1111", true)]
    [InlineData("::ffff:8.8.8.8", true)]
    [InlineData("0.0.0.0", false)]
    [InlineData("10.0.0.1", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("127.0.0.1", false)]
    [InlineData("127.255.255.254", false)]
    [InlineData("169.254.169.254", false)]
    [InlineData("172.16.0.1", false)]
    [InlineData("172.31.255.255", false)]
    [InlineData("192.0.0.170", false)]
    [InlineData("192.0.2.1", false)]
    [InlineData("192.88.99.1", false)]
    [InlineData("192.168.1.1", false)]
    [InlineData("198.18.0.1", false)]
    [InlineData("198.51.100.1", false)]
    [InlineData("203.0.113.1", false)]
    [InlineData("224.0.0.1", false)]
    [InlineData("240.0.0.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("::", false)]
    [InlineData("::1", false)]
    [InlineData("::7f00:1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    [InlineData("::ffff:169.254.169.254", false)]
    [InlineData("64:ff9b::7f00:1", false)]
    [InlineData("64:ff9b:1::1", false)]
    [InlineData("100::1", false)]
    [InlineData("2001::1", false)]
    [InlineData("2001:2::1", false)]
    [InlineData("2001:db8::1", false)]
    [InlineData("2002:7f00:1::", false)]
    [InlineData("3fff::1", false)]
    [InlineData("fc00::1", false)]
    [InlineData("fd00:ec2::254", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fec0::1", false)]
    [InlineData("ff02::1", false)]
    public void IsPublic_IsSoForPublicHostsOnly(string address, bool expected) =>
        Assert.Equal(expected, WebhookAddress.IsPublic(IPAddress.Parse(address)));

    [Theory]
    [BothDatabases("https://127.0.0.1/", "127.0.0.1")]
    [BothDatabases("https://2130706433/", "127.0.0.1")]
    [BothDatabases("https://0x7f.1/", "127.0.0.1")]
    [BothDatabases("https://0177.0.0.1/", "127.0.0.1")]
    [BothDatabases("https://127.1:8443/", "127.0.0.1")]
    [BothDatabases("https://[::1]/", "::1")]
    [BothDatabases("https://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1")]
    [BothDatabases("https://[64:ff9b::7f00:1]/", "64:ff9b::")]
    [BothDatabases("https://[fe80::1%25eth0]/", "fe80::1")]
    [BothDatabases("https://localhost/", "127.0.0.1")]
    [BothDatabases("https://LOCALHOST./", "127.0.0.1")]
    [BothDatabases("https://a.localhost/", "127.0.0.1")]
    [BothDatabases("https://169.254.169.254/latest/meta-data", "169.254.169.254")]
    [BothDatabases("https://inside.test/", "10.1.2.3")]
    [BothDatabases("https://both.test/", "fd00::1")]
    [BothDatabases("http://hooks.test/", "Allowed schemes are: https")]
    [BothDatabases("ftp://hooks.test/", "Allowed schemes are: https")]
    [BothDatabases("file:///etc/passwd", "Allowed schemes are: https")]
    [BothDatabases("not a url", "Allowed schemes are: https")]
    [BothDatabases(" ", "url")]
    [BothDatabases(" https://hooks.test/", "url")]
    [BothDatabases("https://hooks.test/a b", "url")]
    [BothDatabases("https://", "url")]
    [BothDatabases("https:///path", "url")]
    [BothDatabases("//hooks.test/", "Allowed schemes are: https")]
    [BothDatabases("https://user:word@hooks.test/", "password")]
    [BothDatabases("https://user@hooks.test/", "user name")]
    public async Task Create_WithAnAddressThatMayNotBe_IsRefused(DatabaseKind kind, string url, string reason)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { Webhooks = Resolving(Names) });
        await server.PostInvalidAsync("webhooks", new { name = "a", url, events = new[] { WebhookCalls.ModelCreated } }, reason);
    }

    [Theory]
    [BothDatabases("https://hooks.test/x?y=z")]
    [BothDatabases("HTTPS://Hooks.Test:8443")]
    [BothDatabases("https://8.8.8.8/")]
    [BothDatabases("https://[2606:4700:4700::1111]/")]
    [BothDatabases("https://nowhere.test/")]
    public async Task Create_WithAPublicOrUnknownHost_KeepsTheUrlAsItWasSent(DatabaseKind kind, string url)
    {
        await using var server = await TestServer.StartAsync(kind, options => options with { Webhooks = Resolving(Names) });
        Assert.Equal(url, (string?)(await server.CreateWebhookAsync(url))["url"]);
    }

    [Theory, BothDatabases]
    public async Task NameThatLeadsElsewhereLater_IsNotSentTo(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        var address = IPAddress.Parse("8.8.8.8");
        await using var server = await TestServer.StartAsync(kind, options => options with
        {
            Webhooks = Resolving(_ => [address]) with { AllowedSchemes = ["http"] },
        });
        var url = $"http://rebound.test:{new Uri(receiver.Url).Port}/";
        var id = (string)(await server.CreateWebhookAsync(url))["webhook_id"]!;

        address = IPAddress.Loopback;
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        var delivery = Assert.Single(await WebhookCalls.UntilFinishedAsync(server.Database, 1));
        Assert.Equal(("failed", 1), (delivery.Status, delivery.Attempts));
        Assert.Contains("127.0.0.1, which is no public address", delivery.Error, StringComparison.Ordinal);

        var result = (await server.PostAsync($"webhooks/{id}/test", new { }))["result"]!;
        Assert.False((bool)result["success"]!);
        Assert.Contains("no public address", (string?)result["error_message"], StringComparison.Ordinal);
        Assert.Empty(receiver.Requests);
    }

    [Theory, BothDatabases]
    public async Task NameWithSeveralAddresses_IsSentToOneThatAnswers(DatabaseKind kind)
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var server = await WebhookCalls.StartServerAsync(kind, options => options with
        {
            // Nobody listens on the first one.
            ResolveAsync = (_, _) => Task.FromResult<IPAddress[]>([IPAddress.Parse("127.0.0.3"), IPAddress.Loopback]),
        });
        await server.CreateWebhookAsync($"http://several.test:{new Uri(receiver.Url).Port}/");
        await server.HappenAsync(RegistryEvent.ModelCreated(false, "m", [], null));
        await receiver.UntilAsync(1);
    }

    private static WebhookOptions Resolving(Func<string, IPAddress[]> names) => new()
    {
        ResolveAsync = (host, _) => Task.FromResult(names(host)),
        RetryPause = TimeSpan.FromMilliseconds(20),
    };

    private static IPAddress[] Names(string host) => host switch
    {
        "hooks.test" => [IPAddress.Parse("8.8.8.8")],
        "inside.test" => [IPAddress.Parse("10.1.2.3")],
        "both.test" => [IPAddress.Parse("8.8.8.8"), IPAddress.Parse("fd00::1")],
        _ => throw new SocketException((int)SocketError.HostNotFound),
    };
}
