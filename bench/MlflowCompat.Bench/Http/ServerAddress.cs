using System.Text;

namespace MlflowCompat.Bench.Http;

/// <summary>Where a server listens: plain HTTP, with or without a prefix in front of its routes.</summary>
internal sealed class ServerAddress
{
    /// <summary>Where MLflow's API begins.</summary>
    private const string Api = "/api/2.0/mlflow/";

    /// <summary>Where that of traces begins.</summary>
    private const string TraceApi = "/api/3.0/mlflow/";

    /// <summary>Where the proxy's files are.</summary>
    private const string Artifacts = "/api/2.0/mlflow-artifacts/artifacts";

    /// <summary>Takes an address apart.</summary>
    /// <exception cref="FormatException">It is no HTTP address.</exception>
    public ServerAddress(string url)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Scheme != Uri.UriSchemeHttp)
            throw new FormatException($"'{url}' is not the address of a server; it has the form http://host:port.");
        Text = url.TrimEnd('/');
        Host = uri.DnsSafeHost;
        Port = uri.Port;
        Prefix = uri.AbsolutePath.TrimEnd('/');
        HostHeader = Encoding.ASCII.GetBytes(uri.Authority);
    }

    /// <summary>The address as it was given.</summary>
    public string Text { get; }

    /// <summary>Name or address of the machine.</summary>
    public string Host { get; }

    /// <summary>Its port.</summary>
    public int Port { get; }

    /// <summary>What stands in front of every route, without a slash at the end.</summary>
    public string Prefix { get; }

    /// <summary>Value of the Host header.</summary>
    public byte[] HostHeader { get; }

    /// <summary>The path of a route of MLflow's API, such as <c>runs/log-metric</c>, with its query.</summary>
    public byte[] ApiPath(string route) => Encoding.UTF8.GetBytes(Prefix + Api + route);

    /// <summary>The path of a route of MLflow's API of traces, such as <c>traces/search</c>, with its query.</summary>
    public byte[] TraceApiPath(string route) => Path(TraceApi + route);

    /// <summary>The path of a file below the artifacts destination, for the proxy.</summary>
    /// <param name="path">From the destination, without characters that need an escape.</param>
    public byte[] ArtifactPath(string path) => Path(Artifacts + "/" + path);

    /// <summary>The path of the listing of a folder below the artifacts destination.</summary>
    /// <param name="path">From the destination, without characters that need an escape.</param>
    public byte[] ArtifactListPath(string path) => Path($"{Artifacts}?path={path}");

    /// <summary>The path of a route outside of the API, such as <c>/health</c>.</summary>
    public byte[] Path(string route) => Encoding.UTF8.GetBytes(Prefix + route);
}
