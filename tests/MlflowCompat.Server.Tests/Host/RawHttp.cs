using System.Net.Sockets;
using System.Text;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>Sends requests byte by byte as they are written, which an HTTP client would refuse to do.</summary>
internal static class RawHttp
{
    /// <summary>Sends a request and returns what comes back until the server is done or closes the connection.</summary>
    public static async Task<string> SendAsync(ApiServer server, string request)
    {
        using var client = await ConnectAsync(server);
        await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(request));
        return await ReadHeadAsync(client);
    }

    /// <summary>Opens a connection.</summary>
    public static async Task<TcpClient> ConnectAsync(ApiServer server)
    {
        var client = new TcpClient();
        await client.ConnectAsync(server.Client.BaseAddress!.Host, server.Client.BaseAddress.Port);
        return client;
    }

    /// <summary>Reads the status line and the headers of an answer, and whatever of the body comes with them.</summary>
    public static async Task<string> ReadHeadAsync(TcpClient client)
    {
        var text = new StringBuilder();
        var buffer = new byte[4096];
        while (!text.ToString().Contains("\r\n\r\n", StringComparison.Ordinal))
        {
            var count = await client.GetStream().ReadAsync(buffer);
            if (count == 0)
                break;
            text.Append(Encoding.Latin1.GetString(buffer, 0, count));
        }

        return text.ToString();
    }
}
