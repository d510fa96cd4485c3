using System.Net;
using System.Net.Sockets;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// Where deliveries may go (contract: security §4): not into the network that the server stands in, unless that is allowed. Looked at when a
/// webhook is made, and again when a connection is opened, because names may lead elsewhere by then.
/// </summary>
/// <param name="options">Schemes and addresses that are allowed, and who resolves names.</param>
public sealed class WebhookAddress(WebhookOptions options)
{
    private const int MaxUrlLength = 500;

    /// <summary>Names in the DNS are no longer (RFC 1035).</summary>
    private const int MaxHostLength = 253;

    /// <summary>A name server that does not answer must not hold up a request for longer.</summary>
    private static readonly TimeSpan ResolvePatience = TimeSpan.FromSeconds(5);

    /// <summary>IPv4 networks without public hosts (IANA's registry of special-purpose addresses, and multicast).</summary>
    private static readonly IPNetwork[] SpecialV4 =
    [
        .. new[]
        {
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
            "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        }.Select(IPNetwork.Parse),
    ];

    /// <summary>
    /// All public IPv6 hosts are in here. Outside are, among others, loopback, IPv4-compatible addresses, NAT64, unique and link-local ones,
    /// and multicast.
    /// </summary>
    private static readonly IPNetwork GlobalV6 = IPNetwork.Parse("2000::/3");

    /// <summary>What is in there and public all the same not: Teredo and other protocols, documentation, 6to4.</summary>
    private static readonly IPNetwork[] SpecialV6 =
        [.. new[] { "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20" }.Select(IPNetwork.Parse)];

    /// <summary>Whether an address is one that anybody may have in the public network.</summary>
    public static bool IsPublic(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (address.IsIPv4MappedToIPv6)
            address = address.MapToIPv4();
        return address.AddressFamily == AddressFamily.InterNetwork
            ? !SpecialV4.Any(network => network.Contains(address))
            : address.ScopeId == 0 && GlobalV6.Contains(address) && !SpecialV6.Any(network => network.Contains(address));
    }

    /// <summary>Checks the address of a webhook that is being made or changed.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is none, or one that deliveries may not be sent to.</exception>
    public async Task<string> CheckAsync(string url, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(url);
        FieldRules.MaxLength(url, MaxUrlLength, "url");
        var uri = Parse(url);
        if (options.AllowPrivateIps)
            return url;

        var addresses = await TryResolveAsync(uri, cancellationToken).ConfigureAwait(false);
        if (Array.Find(addresses, address => !IsPublic(address)) is { } refused)
            throw Invalid(url, $"the webhook would be sent to {refused}, which is no public address; the server's setting MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS decides whether it may be.");
        return url;
    }

    /// <summary>The address as it is sent to.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is none, or its scheme is not allowed.</exception>
    public Uri Parse(string url)
    {
        // .NET would leave blanks at the ends out, others in.
        if (url.AsSpan().ContainsAny(" \t\r\n") || url.AsSpan().ContainsAnyInRange('\0', '\u001f') || !Uri.TryCreate(url, UriKind.Absolute, out var uri))
            throw Invalid(url, $"it must be an absolute URL. Allowed schemes are: {string.Join(", ", options.AllowedSchemes)}.");
        if (!options.AllowedSchemes.Contains(uri.Scheme, StringComparer.Ordinal))
        {
            throw MlflowException.InvalidParameter(
                $"Invalid webhook URL scheme: '{uri.Scheme}' in {MlflowException.Quote(url)}. Allowed schemes are: {string.Join(", ", options.AllowedSchemes)}.");
        }

        if (uri.IdnHost.Length is 0 or > MaxHostLength || uri.Port == 0)
            throw Invalid(url, $"it must name a host, of {MaxHostLength} characters at most, and no port 0.");
        if (uri.UserInfo.Length > 0)
            throw MlflowException.InvalidParameter("Invalid value for parameter 'url' supplied: a webhook URL must not contain a user name or a password.");
        return uri;
    }

    /// <summary>Opens a connection to a host: only to addresses that were looked at here.</summary>
    /// <exception cref="WebhookAddressException">The host has an address that deliveries may not be sent to.</exception>
    /// <exception cref="SocketException">The host is not known, or cannot be reached.</exception>
    public async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(context);
        var addresses = await ResolveAsync(context.DnsEndPoint.Host, cancellationToken).ConfigureAwait(false);
        if (!options.AllowPrivateIps && Array.Find(addresses, address => !IsPublic(address)) is { } refused)
            throw new WebhookAddressException($"{context.DnsEndPoint.Host} leads to {refused}, which is no public address");
        SocketException? failure = null;
        foreach (var address in addresses)
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(address, context.DnsEndPoint.Port, cancellationToken).ConfigureAwait(false);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (Exception exception)
            {
                socket.Dispose();
                if (exception is not SocketException unreachable)
                    throw;
                failure = unreachable;
            }
        }

        throw failure ?? new SocketException((int)SocketError.HostNotFound);
    }

    /// <summary>Addresses of the host of a URL; none when its name is not known here and now, which it may be when there is something to deliver.</summary>
    private async Task<IPAddress[]> TryResolveAsync(Uri uri, CancellationToken cancellationToken)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(ResolvePatience);
        try
        {
            return await ResolveAsync(uri.IdnHost, patience.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is SocketException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return [];
        }
    }

    private async Task<IPAddress[]> ResolveAsync(string host, CancellationToken cancellationToken)
    {
        // These names mean this machine, whoever answers for them.
        var name = host.TrimEnd('.');
        if (name.Equals("localhost", StringComparison.OrdinalIgnoreCase) || name.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase))
            return [IPAddress.Loopback];
        // Uri has turned 2130706433 and 0x7f.1 into 127.0.0.1, and left the brackets of IPv6.
        if (IPAddress.TryParse(name, out var literal))
            return [literal];
        return await options.ResolveAsync(host, cancellationToken).ConfigureAwait(false);
    }

    private static MlflowException Invalid(string url, string reason) => MlflowException.InvalidValue("url", MlflowException.Quote(url), reason);
}

/// <summary>A connection was refused by this server itself, because of where it leads.</summary>
/// <param name="message">Names the host and its address.</param>
public sealed class WebhookAddressException(string message) : IOException(message);
