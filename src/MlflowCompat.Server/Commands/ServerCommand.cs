using System.CommandLine;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Server.Commands;

/// <summary>Runs the server; takes the options and the environment of <c>mlflow server</c>.</summary>
internal sealed class ServerCommand : Command
{
    /// <summary>A week.</summary>
    private const int MaxViewRefreshSeconds = 7 * 24 * 60 * 60;

    private readonly Func<string, string?> environment;

    private readonly Setting backendStoreUri = DatabaseCommand.BackendStoreUriSetting();

    private readonly Setting defaultArtifactRoot = DefaultArtifactRootSetting();
    private readonly Setting artifactsDestination = ArtifactsDestinationSetting();

    private readonly Setting traceRetention = new(
        "--trace-retention-days", "MLFLOW_COMPAT_TRACE_RETENTION_DAYS", "days", "Deletes traces that began so many days ago. Default: never.");

    private readonly Setting multipartUploads = new(
        "--multipart-uploads", "MLFLOW_COMPAT_MULTIPART_UPLOADS", "mode", "Whether clients may upload large files in parts: auto (on S3), on or off. Default: auto.");

    private readonly Setting viewRefreshSeconds = new(
        "--view-refresh-seconds",
        "MLFLOW_COMPAT_VIEW_REFRESH_SECONDS",
        "number",
        "How often the summary views of PostgreSQL are refreshed if something has changed; 0 for never. Default: 300.");

    private readonly Setting registryStoreUri = new(
        "--registry-store-uri", "MLFLOW_REGISTRY_STORE_URI", "uri", "Models live beside the runs: leave it out, or repeat --backend-store-uri.");

    private readonly Setting host = new("--host", HealthCommand.HostVariable, "address", "Address or name to listen on. Default: 127.0.0.1.", "-h");
    private readonly Setting port = new("--port", HealthCommand.PortVariable, "number", "Port to listen on; 0 takes a free one. Default: 5000.", "-p");

    private readonly Setting staticPrefix = new(
        "--static-prefix", "MLFLOW_STATIC_PREFIX", "path", "Serves every route under this prefix too, for a proxy that keeps it.");

    private readonly Setting allowedHosts = new(
        "--allowed-hosts", "MLFLOW_SERVER_ALLOWED_HOSTS", "list", "Host headers to accept, with * as wildcard. Default: local and private addresses.");

    private readonly Setting corsAllowedOrigins = new(
        "--cors-allowed-origins", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "list", "Web pages that may call this server, with * as wildcard. Default: local ones.");

    private readonly Setting xFrameOptions = new(
        "--x-frame-options", "MLFLOW_SERVER_X_FRAME_OPTIONS", "value", "SAMEORIGIN, DENY or NONE. Default: SAMEORIGIN.");

    private readonly Setting logFormat = new("--log-format", null, "format", "text or json. Default: text.");

    private readonly Switch serveArtifacts = new(
        "--serve-artifacts", "--no-serve-artifacts", "MLFLOW_SERVE_ARTIFACTS", "Clients send and fetch artifacts through this server. The default.");

    private readonly Switch artifactsOnly = new(
        "--artifacts-only", null, "MLFLOW_ARTIFACTS_ONLY", "Serves artifacts and nothing else.");

    private readonly Switch disableSecurityMiddleware = new(
        "--disable-security-middleware", null, "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "Switches the checks of hosts, origins and frames off.");

    /// <summary>Options that only make sense for a Python process; those who set them should learn that nothing comes of it.</summary>
    private readonly Setting[] ignored =
    [
        new("--workers", "MLFLOW_WORKERS", "number", IgnoredDescription, "-w"),
        new("--gunicorn-opts", "MLFLOW_GUNICORN_OPTS", "options", IgnoredDescription),
        new("--uvicorn-opts", "MLFLOW_UVICORN_OPTS", "options", IgnoredDescription),
        new("--waitress-opts", null, "options", IgnoredDescription),
        new("--expose-prometheus", "MLFLOW_EXPOSE_PROMETHEUS", "folder", IgnoredDescription),
    ];

    private readonly Switch dev = new("--dev", null, null, IgnoredDescription);

    private const string IgnoredDescription = "For MLflow's Python server; has no effect here.";

    /// <summary>Makes the command.</summary>
    /// <param name="environment">Looks an environment variable up.</param>
    public ServerCommand(Func<string, string?> environment)
        : base("server", "Runs the server. This is the default command.")
    {
        this.environment = environment;
        Setting[] settings =
        [
            backendStoreUri, registryStoreUri, defaultArtifactRoot, artifactsDestination, multipartUploads, viewRefreshSeconds, traceRetention, host,
            port,
            staticPrefix, allowedHosts, corsAllowedOrigins, xFrameOptions, logFormat, .. ignored,
        ];
        foreach (var setting in settings)
            Add(setting.Option);
        foreach (var toggle in (Switch[])[serveArtifacts, artifactsOnly, disableSecurityMiddleware, dev])
        {
            Add(toggle.On);
            if (toggle.Off is not null)
                Add(toggle.Off);
        }

        SetAction((result, cancellationToken) => RunAsync(ReadOptions(result), ReadIgnored(result), cancellationToken));
    }

    /// <summary>Where new experiments keep their artifacts; <c>artifacts</c> takes it under the same name.</summary>
    public static Setting DefaultArtifactRootSetting() =>
        new("--default-artifact-root", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "uri", "Root of the artifacts of new experiments.");

    /// <summary>Where the artifacts that the server serves are; <c>artifacts</c> takes it under the same name.</summary>
    public static Setting ArtifactsDestinationSetting() => new(
        "--artifacts-destination",
        "MLFLOW_ARTIFACTS_DESTINATION",
        "uri",
        "Where the server keeps the artifacts that it serves: a folder or s3://bucket/prefix. Default: ./mlartifacts.");

    /// <summary>What the command line and the environment ask for.</summary>
    /// <exception cref="UsageException">A value makes no sense.</exception>
    internal ServerOptions ReadOptions(ParseResult result)
    {
        var defaults = new ServerOptions();
        var backend = Read(backendStoreUri)?.Text ?? defaults.BackendStoreUri;
        if (Read(registryStoreUri) is { } registry && registry.Text.Trim() != backend.Trim())
        {
            // Without the value, which may have a password in it.
            throw new UsageException(
                $"{registry.Source}: models are kept in the database of the runs; leave this out, or give the same address as --backend-store-uri.");
        }

        return defaults with
        {
            BackendStoreUri = backend,
            DefaultArtifactRoot = Read(defaultArtifactRoot)?.Text,
            ArtifactsDestination = Read(artifactsDestination)?.Text ?? defaults.ArtifactsDestination,
            MultipartUploads = Read(multipartUploads) is { } mode ? Multipart(mode) : defaults.MultipartUploads,
            ViewRefreshInterval =
                Read(viewRefreshSeconds) is { } seconds ? TimeSpan.FromSeconds(seconds.Integer(0, MaxViewRefreshSeconds)) : defaults.ViewRefreshInterval,
            TraceRetention = Read(traceRetention) is { } days ? TimeSpan.FromDays(days.Integer(1, 36_500)) : defaults.TraceRetention,
            ServeArtifacts = serveArtifacts.Read(result, environment) ?? defaults.ServeArtifacts,
            ArtifactsOnly = artifactsOnly.Read(result, environment) ?? defaults.ArtifactsOnly,
            Host = Read(host)?.Text.Trim() ?? defaults.Host,
            Port = Read(port)?.Integer(0, 65535) ?? defaults.Port,
            StaticPrefix = Read(staticPrefix) is { } prefix ? Prefix(prefix) : null,
            AllowedHosts = Read(allowedHosts)?.List(),
            CorsAllowedOrigins = Read(corsAllowedOrigins)?.List() ?? defaults.CorsAllowedOrigins,
            XFrameOptions = Read(xFrameOptions) is { } frames ? FrameOptions(frames) : defaults.XFrameOptions,
            DisableSecurityMiddleware = disableSecurityMiddleware.Read(result, environment) ?? defaults.DisableSecurityMiddleware,
            JsonLog = Read(logFormat) is { } format && IsJson(format),
            ArtifactLocationMaxLength =
                Variable("MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH")?.Integer(1, int.MaxValue) ?? defaults.ArtifactLocationMaxLength,
            TruncateLongValues = Variable("MLFLOW_TRUNCATE_LONG_VALUES")?.Flag() ?? defaults.TruncateLongValues,
            ModelVersionSourcePattern = Variable("MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX")?.Pattern(),
            Webhooks = ReadWebhookOptions(),
        };

        Given? Read(Setting setting) => setting.Read(result, environment);
    }

    /// <summary>Names of the options and variables that were given and have no effect.</summary>
    internal IReadOnlyList<string> ReadIgnored(ParseResult result)
    {
        var names = ignored.Select(setting => setting.Read(result, environment)?.Source).OfType<string>();
        return [.. dev.Read(result, environment) is true ? names.Append(dev.On.Name) : names];
    }

    private async Task<int> RunAsync(ServerOptions options, IReadOnlyList<string> ignoredOptions, CancellationToken cancellationToken)
    {
        Malloc.ReturnLargeBlocks();
        var database = DatabaseCommand.Open(options.BackendStoreUri);
        await using var ownedDatabase = database.ConfigureAwait(false);
        var app = Build(options, database, ArtifactsCommand.ReadStoreOptions(environment));
        await using var ownedApp = app.ConfigureAwait(false);

        foreach (var name in ignoredOptions)
            app.Logger.OptionIgnored(name);
        if (options.DisableSecurityMiddleware)
            app.Logger.SecurityDisabled();

        await DatabaseCommand.UseAsync(database, async () =>
        {
            foreach (var migration in await new SchemaMigrator(database).UpgradeAsync(cancellationToken).ConfigureAwait(false))
                app.Logger.MigrationApplied(migration.Version, migration.Name);
            var scope = app.Services.CreateAsyncScope();
            await using (scope.ConfigureAwait(false))
                await scope.ServiceProvider.GetRequiredService<ExperimentStore>().EnsureDefaultAsync(cancellationToken).ConfigureAwait(false);
            await database.WarmUpAsync(cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);

        await ListenAsync(app, options, cancellationToken).ConfigureAwait(false);
        StartScreen.Show(app, options, database);
        await app.WaitForShutdownAsync(cancellationToken).ConfigureAwait(false);
        return 0;
    }

    private static WebApplication Build(ServerOptions options, Database database, ArtifactStoreOptions artifacts)
    {
        try
        {
            return MlflowApp.Build(options, database, artifacts);
        }
        catch (SocketException exception)
        {
            throw new CommandFailedException($"cannot listen on '{options.Host}': {exception.Message}.");
        }
    }

    private static async Task ListenAsync(WebApplication app, ServerOptions options, CancellationToken cancellationToken)
    {
        try
        {
            await app.StartAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException)
        {
            throw new CommandFailedException(exception.InnerException is AddressInUseException
                ? $"port {options.Port} on {options.Host} is already in use; choose another with --port."
                : $"cannot listen on port {options.Port} of {options.Host}: {(exception.InnerException ?? exception).Message}.");
        }
    }

    private WebhookOptions ReadWebhookOptions()
    {
        var defaults = new WebhookOptions();
        return defaults with
        {
            AllowedSchemes = Variable("MLFLOW_WEBHOOK_ALLOWED_SCHEMES") is { } schemes ? Schemes(schemes) : defaults.AllowedSchemes,
            AllowPrivateIps = Variable("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS")?.Flag() ?? defaults.AllowPrivateIps,
            SecretEncryptionKey = Variable("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY") is { } key ? Key(key) : null,
            MaxWorkers = Variable("MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS")?.Integer(1, 1000) ?? defaults.MaxWorkers,
            RequestTimeout = Variable("MLFLOW_WEBHOOK_REQUEST_TIMEOUT") is { } seconds
                ? TimeSpan.FromSeconds(seconds.Integer(1, 3600))
                : defaults.RequestTimeout,
            MaxRetries = Variable("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES")?.Integer(0, 100) ?? defaults.MaxRetries,
        };
    }

    private Given? Variable(string name) => environment(name) is { Length: > 0 } text ? new Given(name, text) : null;

    private static string Prefix(Given prefix) =>
        !prefix.Text.StartsWith('/') ? throw prefix.Wrong("it must begin with '/'")
        : prefix.Text.EndsWith('/') ? throw prefix.Wrong("it must not end with '/'")
        : prefix.Text;

    private static List<string> Schemes(Given schemes)
    {
        var list = schemes.List()?.Select(scheme => scheme.ToLowerInvariant()).ToList();
        return list is not null && list.TrueForAll(scheme => scheme is "http" or "https") ? list : throw schemes.Wrong("it must be a list of http and https");
    }

    /// <summary>Without the value in the error, because it is a secret.</summary>
    private static IReadOnlyList<byte> Key(Given key) =>
        WebhookOptions.ParseKey(key.Text) ?? throw new UsageException($"{key.Source}: it must be 32 bytes in URL-safe base64, as MLflow's keys are.");

    private static string FrameOptions(Given frames) => frames.Text.Trim().ToUpperInvariant() switch
    {
        var value and ("SAMEORIGIN" or "DENY" or "NONE") => value,
        _ => throw frames.Wrong("it must be SAMEORIGIN, DENY or NONE"),
    };

    private static MultipartUploadMode Multipart(Given mode) => mode.Text.Trim().ToUpperInvariant() switch
    {
        "AUTO" => MultipartUploadMode.Auto,
        "ON" => MultipartUploadMode.On,
        "OFF" => MultipartUploadMode.Off,
        _ => throw mode.Wrong("it must be auto, on or off"),
    };

    private static bool IsJson(Given format) => format.Text switch
    {
        "json" => true,
        "text" => false,
        _ => throw format.Wrong("it must be text or json"),
    };
}
