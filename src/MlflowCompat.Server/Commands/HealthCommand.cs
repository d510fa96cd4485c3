using System.CommandLine;
using System.Net;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Commands;

/// <summary>Asks a running server whether it is well: the health check of containers, which have no other tools.</summary>
internal sealed class HealthCommand : Command
{
    /// <summary>Where the server listens, for the default address.</summary>
    public const string HostVariable = "MLFLOW_HOST";

    /// <inheritdoc cref="HostVariable"/>
    public const string PortVariable = "MLFLOW_PORT";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    private readonly Func<string, string?> environment;

    /// <summary>Makes the command.</summary>
    /// <param name="environment">Looks an environment variable up.</param>
    public HealthCommand(Func<string, string?> environment)
        : base("health", "Exit code 0 when the server answers that it is well, else 1.")
    {
        this.environment = environment;
        var url = new Option<string>("--url")
        {
            HelpName = "url",
            Description = $"The server's address. Default: that of {HostVariable} and {PortVariable}.",
        };
        Add(url);
        SetAction((result, cancellationToken) => AskAsync(Address(result.GetValue(url)), result.InvocationConfiguration, cancellationToken));
    }

    /// <summary>The address to ask.</summary>
    /// <exception cref="UsageException">It is no HTTP address.</exception>
    internal Uri Address(string? url)
    {
        if (url is null)
        {
            var defaults = new ServerOptions();
            var host = environment(HostVariable) is { Length: > 0 } name ? name.Trim() : defaults.Host;
            var port = environment(PortVariable) is { Length: > 0 } number ? new Given(PortVariable, number).Integer(1, 65535) : defaults.Port;
            var isBareIPv6 = IPAddress.TryParse(host, out var ip) && ip.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6
                && !host.StartsWith('[');
            url = StartScreen.ClientAddress($"http://{(isBareIPv6 ? $"[{host}]" : host)}:{port}");
        }

        return Uri.TryCreate(url.TrimEnd('/') + "/health", UriKind.Absolute, out var address) && address.Scheme is "http" or "https"
            ? address
            : throw new UsageException($"--url '{url}': it must be an address such as http://127.0.0.1:5000.");
    }

    private static async Task<int> AskAsync(Uri address, InvocationConfiguration console, CancellationToken cancellationToken)
    {
        // A proxy or a redirect could answer in the server's place.
        using var handler = new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false };
        using var client = new HttpClient(handler) { Timeout = Patience };
        try
        {
            using var response = await client.GetAsync(address, cancellationToken).ConfigureAwait(false);
            if (response.StatusCode == HttpStatusCode.OK)
            {
                await console.Output.WriteLineAsync("OK").ConfigureAwait(false);
                return 0;
            }

            throw new CommandFailedException($"{address} answered {(int)response.StatusCode} {response.StatusCode}.");
        }
        catch (HttpRequestException exception)
        {
            throw new CommandFailedException($"{address}: {exception.Message}");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new CommandFailedException($"{address} did not answer within {Patience.TotalSeconds:0} seconds.");
        }
    }
}
