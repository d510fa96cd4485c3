using System.Reflection;
using Microsoft.AspNetCore.Connections;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Datasets;
using MlflowCompat.Server.EvaluationDatasets;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.LoggedModels;
using MlflowCompat.Server.Metrics;
using MlflowCompat.Server.Registry;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Scorers;
using MlflowCompat.Server.Summaries;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Server.Traces;
using MlflowCompat.Server.Traces.Otlp;
using MlflowCompat.Storage;

namespace MlflowCompat.Server;

/// <summary>The web application: its services, the order in which a request passes through it, and one line per capability.</summary>
public static class MlflowApp
{
    /// <summary>The API level that clients are told (contract: endpoints §17).</summary>
    public const string ApiVersion = "3.6.0";

    /// <summary>What this server is called.</summary>
    public const string Product = "MlflowCompat";

    /// <summary>The version of this build.</summary>
    public static string ProductVersion { get; } =
        typeof(MlflowApp).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    /// <summary>How long requests may go on after the server was told to stop; container engines kill what is still there after 10 s.</summary>
    private static readonly TimeSpan ShutdownPatience = TimeSpan.FromSeconds(8);

    /// <summary>Puts the application together; it does not listen yet.</summary>
    /// <param name="options">The server's options.</param>
    /// <param name="database">The database; it has to be upgraded before the application starts.</param>
    /// <param name="artifacts">What artifact stores need to know besides their roots.</param>
    /// <exception cref="System.Net.Sockets.SocketException">The name to listen on is not known.</exception>
    public static WebApplication Build(ServerOptions options, Database database, ArtifactStoreOptions? artifacts = null)
    {
        // Nothing is read from files or variables that belong to ASP.NET: the options say all there is to say.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.WriteToConsole(options.JsonLog);
        builder.Services.AddRoutingCore();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownPatience);
        builder.WebHost.UseKestrelCore();
        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, ConnectionBlocks>();
        builder.WebHost.Listen(options);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(_ => new ArtifactStores(artifacts ?? new ArtifactStoreOptions()));
        builder.Services.AddSingleton<ArtifactRoots>();
        database.MaxWaitingBytes = options.MaxWaitingBytes;
        builder.Services.AddSingleton(database);
        builder.Services.AddScoped<ExperimentStore>();
        builder.Services.AddScoped<RunStore>();
        builder.Services.AddSingleton<RunLogStore>();
        builder.Services.AddScoped<MetricHistory>();
        builder.Services.AddScoped<DatasetStore>();
        builder.Services.AddScoped<LoggedModelStore>();
        builder.Services.AddScoped<RegisteredModelStore>();
        builder.Services.AddScoped<RegisteredModelAliasStore>();
        builder.Services.AddScoped<ModelVersionStore>();
        builder.Services.AddScoped<RegisteredModelSearch>();
        builder.Services.AddScoped<ModelVersionSearch>();
        builder.Services.AddScoped<EvaluationDatasetStore>();
        builder.Services.AddScoped<DatasetRecordReader>();
        builder.Services.AddScoped<ScorerStore>();
        builder.Services.AddScoped<TraceStore>();
        builder.Services.AddScoped<TraceSpans>();
        builder.Services.AddScoped<TraceMetrics>();
        builder.Services.AddSingleton<SpanStore>();
        builder.Services.AddSingleton<SpanTextIndexing>();
        builder.Services.AddSingleton<TraceRetention>();
        builder.Services.AddHostedService(services => services.GetRequiredService<TraceRetention>());
        builder.Services.AddScoped<AssessmentStore>();
        builder.Services.AddSingleton<ArtifactRecords>();
        builder.Services.AddSingleton<ArtifactFiles>();
        builder.Services.AddSingleton<ArtifactUpkeep>();
        builder.Services.AddHostedService(services => services.GetRequiredService<ArtifactUpkeep>());
        builder.Services.AddHostedService<SummaryRefresh>();
        builder.Services.AddSingleton(options.Webhooks);
        builder.Services.AddSingleton<WebhookSecrets>();
        builder.Services.AddSingleton<WebhookAddress>();
        builder.Services.AddSingleton<WebhookSender>();
        builder.Services.AddSingleton<WebhookOutbox>();
        builder.Services.AddSingleton<WebhookDeliveries>();
        builder.Services.AddScoped<WebhookStore>();
        if (!options.ArtifactsOnly)
        {
            builder.Services.AddHostedService<WebhookDelivery>();
            builder.Services.AddHostedService(services => services.GetRequiredService<SpanTextIndexing>());
        }

        var app = builder.Build();
        app.UsePathBase(options.StaticPrefix);
        ArtifactTarget.UseRawPaths(app);
        app.UseNetworkProtection(options);
        app.UseUnknownRoutes();
        app.UseMlflowErrors();
        app.UseRouting();
        app.UseStartMode(options);
        app.MapInfrastructure();
        app.MapApiDescription();
        app.MapExperiments();
        app.MapRuns();
        app.MapMetrics();
        app.MapDatasets();
        app.MapLoggedModels();
        app.MapWebhooks();
        app.MapRegisteredModels();
        app.MapRegisteredModelAliases();
        app.MapModelVersions();
        app.MapRegistrySearch();
        app.MapEvaluationDatasets();
        app.MapScorers();
        app.MapTraces();
        TraceMetrics.Map(app);
        app.MapOtlp();
        app.MapAssessments();
        app.MapArtifactProxy();
        app.MapRunArtifacts();
        return app;
    }
}
