using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Http;

/// <summary>Where the server listens, and how much of a request it takes.</summary>
internal static class Listening
{
    /// <summary>
    /// Room for a request line or for the headers, in bytes: the web interface asks for the histories of a hundred runs in one query.
    /// </summary>
    private const int MaxHeadBytes = 64 * 1024;

    /// <summary>
    /// How slowly a body may come at least, in bytes per second, after some patience: machines that train are busy, and a client may be
    /// held up between two packets.
    /// </summary>
    private static readonly MinDataRate BodyRate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(30));

    /// <summary>Listens on the address or name of the options; a name on the addresses that it stands for, and on no others.</summary>
    /// <exception cref="System.Net.Sockets.SocketException">The name is not known.</exception>
    public static void Listen(this IWebHostBuilder host, ServerOptions options)
    {
        var addresses = IPAddress.TryParse(options.Host.Trim('[', ']'), out var address) ? [address] : Dns.GetHostAddresses(options.Host);
        host.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = RequestBinding.MaxBodyBytes;
            kestrel.Limits.MinRequestBodyDataRate = BodyRate;
            kestrel.Limits.MaxRequestLineSize = MaxHeadBytes;
            kestrel.Limits.MaxRequestHeadersTotalSize = MaxHeadBytes;
            // Kestrel knows that the machine may have only one of the two loopback addresses; it cannot find one free port for both.
            if (options.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase) && options.Port != 0)
                kestrel.ListenLocalhost(options.Port);
            else
                Array.ForEach(addresses, each => kestrel.Listen(each, options.Port));
        });
    }
}
