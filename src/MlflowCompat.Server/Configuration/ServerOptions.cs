using System.Text.RegularExpressions;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Configuration;

/// <summary>What the server was told to do; the command line and the environment of <c>mlflow server</c> fill it.</summary>
public sealed record ServerOptions
{
    /// <summary>Where tracking data lives (<c>--backend-store-uri</c>).</summary>
    public string BackendStoreUri { get; init; } = "sqlite:///mlflow-compat.db";

    /// <summary>Root of the artifacts of new experiments (<c>--default-artifact-root</c>); null for the default that fits the rest.</summary>
    public string? DefaultArtifactRoot { get; init; }

    /// <summary>Where the server keeps the artifacts that it serves (<c>--artifacts-destination</c>).</summary>
    public string ArtifactsDestination { get; init; } = "./mlartifacts";

    /// <summary>Whether clients send and fetch artifacts through this server (<c>--serve-artifacts</c>).</summary>
    public bool ServeArtifacts { get; init; } = true;

    /// <summary>Whether large files are uploaded in parts (<c>--multipart-uploads</c>).</summary>
    public MultipartUploadMode MultipartUploads { get; init; } = MultipartUploadMode.Auto;

    /// <summary>Whether this server serves artifacts and nothing else (<c>--artifacts-only</c>).</summary>
    public bool ArtifactsOnly { get; init; }

    /// <summary>Address to listen on (<c>--host</c>).</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>Port to listen on (<c>--port</c>); 0 takes a free one.</summary>
    public int Port { get; init; } = 5000;

    /// <summary>Prefix under which all routes are served besides their own (<c>--static-prefix</c>).</summary>
    public string? StaticPrefix { get; init; }

    /// <summary>Host headers to accept (<c>--allowed-hosts</c>); null for local and private addresses.</summary>
    public IReadOnlyList<string>? AllowedHosts { get; init; }

    /// <summary>Origins that may call from a browser besides local ones (<c>--cors-allowed-origins</c>).</summary>
    public IReadOnlyList<string> CorsAllowedOrigins { get; init; } = [];

    /// <summary>Value of X-Frame-Options (<c>--x-frame-options</c>); NONE leaves the header out.</summary>
    public string XFrameOptions { get; init; } = "SAMEORIGIN";

    /// <summary>Switches the checks of hosts, origins and frames off (<c>--disable-security-middleware</c>).</summary>
    public bool DisableSecurityMiddleware { get; init; }

    /// <summary>Whether the log is JSON, one object a line (<c>--log-format json</c>).</summary>
    public bool JsonLog { get; init; }

    /// <summary>Longest artifact location of an experiment (MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH).</summary>
    public int ArtifactLocationMaxLength { get; init; } = 2048;

    /// <summary>Whether too long param and tag values are cut instead of refused (MLFLOW_TRUNCATE_LONG_VALUES).</summary>
    public bool TruncateLongValues { get; init; } = true;

    /// <summary>How often the summary views are refreshed where something has changed (<c>--view-refresh-seconds</c>); zero for never.</summary>
    public TimeSpan ViewRefreshInterval { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How webhooks are delivered (MLFLOW_WEBHOOK_*).</summary>
    public WebhookOptions Webhooks { get; init; } = new();

    /// <summary>
    /// What the source of a model version has to contain a match of (MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX); null for anything.
    /// It has to have a time limit.
    /// </summary>
    public Regex? ModelVersionSourcePattern { get; init; }

    /// <summary>How long traces are kept after they began; null for ever.</summary>
    public TimeSpan? TraceRetention { get; init; }

    /// <summary>About how much memory requests may take that wait to be written, in bytes; those beyond are told to come back.</summary>
    public long MaxWaitingBytes { get; init; } = Database.DefaultMaxWaitingBytes;
}

/// <summary>Whether clients may upload large files in parts.</summary>
public enum MultipartUploadMode
{
    /// <summary>Where the store takes parts from the clients itself: S3.</summary>
    Auto,

    /// <summary>Also on the local disk, with parts that are sent to this server.</summary>
    On,

    /// <summary>Never: clients send files in one piece.</summary>
    Off,
}
