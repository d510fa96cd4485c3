using System.Net;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Commands;

/// <summary>What the server says once it listens: where it is, where it keeps things, and how a client finds it.</summary>
internal static class StartScreen
{
    /// <summary>Prints it, or logs it when the log is JSON.</summary>
    /// <param name="app">The application, listening.</param>
    /// <param name="options">Its options.</param>
    /// <param name="database">Its database.</param>
    public static void Show(WebApplication app, ServerOptions options, Database database)
    {
        var addresses = string.Join(" ", app.Urls);
        var client = ClientAddress(app.Urls.First()) + options.StaticPrefix;
        var artifacts = app.Services.GetRequiredService<ArtifactRoots>().DefaultRoot;
        if (options.JsonLog)
        {
            app.Logger.Started(MlflowApp.Product, MlflowApp.ProductVersion, MlflowApp.ApiVersion, addresses, database.Description, artifacts, client);
            return;
        }

        Console.Out.WriteLine(
            $"""
            {MlflowApp.Product} {MlflowApp.ProductVersion}, MLflow API {MlflowApp.ApiVersion}
              listening on  {addresses}
              database      {database.Description}
              artifacts     {artifacts}
              clients       export MLFLOW_TRACKING_URI={client}
            """);
    }

    /// <summary>An address that a client on this machine can use; nobody can connect to "all addresses".</summary>
    internal static string ClientAddress(string address)
    {
        var uri = new UriBuilder(address);
        if (IPAddress.TryParse(uri.Host, out var ip) && (ip.Equals(IPAddress.Any) || ip.Equals(IPAddress.IPv6Any)))
            uri.Host = ip.Equals(IPAddress.Any) ? "127.0.0.1" : "[::1]";
        return uri.Uri.GetLeftPart(UriPartial.Authority);
    }
}
