using System.Text.Json.Serialization;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Http;

/// <summary>Routes about the server itself (contract: endpoints §17; since-3.6 §1.1, §1.2).</summary>
public static class InfrastructureApi
{
    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>Maps the endpoints.</summary>
    public static void MapInfrastructure(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MapMethods("/", ReadMethods, Welcome);
        endpoints.MapMethods("/health", ReadMethods, Health);
        endpoints.MapMethods("/version", ReadMethods, Version);
        foreach (var prefix in (string[])["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"])
            endpoints.MapMethods(prefix + "/server-info", ReadMethods, GetServerInfo);
        endpoints.MapMethods("/ajax-api/3.0/mlflow/ui-telemetry", ReadMethods, GetTelemetry);
        endpoints.MapPost("/ajax-api/3.0/mlflow/ui-telemetry", PostTelemetry);
    }

    /// <summary>Answers for endpoints that an option has put out of service (contract: endpoints §17). Goes behind the routing.</summary>
    public static void UseStartMode(this WebApplication app, ServerOptions options)
    {
        if (options.ServeArtifacts && !options.ArtifactsOnly)
            return;
        app.Use((context, next) =>
        {
            if (context.GetEndpoint() is not RouteEndpoint endpoint)
                return next(context);
            var isTracking = endpoint.Metadata.GetMetadata<MlflowOperation>() is not null || endpoint.Metadata.GetMetadata<TrackingEndpoint>() is not null;
            var isProxy = endpoint.Metadata.GetMetadata<ArtifactProxyEndpoint>() is not null;
            var (option, remedy) =
                isTracking && options.ArtifactsOnly ? ("--artifacts-only", "without that option")
                : isProxy && !options.ServeArtifacts ? ("--no-serve-artifacts", "with --serve-artifacts")
                : ("", "");
            if (option.Length == 0)
                return next(context);
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
            return context.Response.WritePageAsync(
                $"Endpoint {endpoint.RoutePattern.RawText} is not served because the server runs with {option}; start it {remedy} to use it.");
        });
    }

    private static Task Health(HttpContext context) => context.Response.WritePageAsync("OK");

    private static Task Version(HttpContext context)
    {
        context.Response.Headers["X-MlflowCompat-Version"] = MlflowApp.ProductVersion;
        return context.Response.WritePageAsync(MlflowApp.ApiVersion);
    }

    private static Task Welcome(HttpContext context)
    {
        var root = context.Request.PathBase.ToUriComponent();
        return context.Response.WritePageAsync(
            $"""
            <!doctype html>
            <html lang=en>
            <title>{MlflowApp.Product}</title>
            <h1>{MlflowApp.Product} {MlflowApp.ProductVersion}</h1>
            <p>A tracking server for MLflow clients (API level {MlflowApp.ApiVersion}). It has no pages to look at yet; point a client at this
            address, for example with the environment variable <code>MLFLOW_TRACKING_URI</code>.</p>
            <ul>
            <li><a href="{root}/openapi/v1.json">Description of the API</a> (OpenAPI)
            <li><a href="{root}/health">Health</a>
            <li><a href="{root}/version">Version</a>
            </ul>

            """);
    }

    private static Task GetServerInfo(HttpContext context) =>
        context.Response.WriteMessageAsync(new ServerInfo("SqlStore", WorkspacesEnabled: false), context.RequestAborted);

    /// <summary>This server collects nothing about its users, and tells the web interface not to either.</summary>
    private static Task GetTelemetry(HttpContext context) =>
        context.Response.WriteMessageAsync(new TelemetrySettings(DisableUiTelemetry: true, [], 0), context.RequestAborted);

    private static Task PostTelemetry(HttpContext context) =>
        context.Response.WriteMessageAsync(new TelemetryReceipt("disabled"), context.RequestAborted);
}

/// <summary>What clients since 3.10 ask before they use workspaces.</summary>
/// <param name="StoreType">Kind of the back end: <c>SqlStore</c> or <c>FileStore</c>.</param>
/// <param name="WorkspacesEnabled">Whether requests may name a workspace.</param>
public sealed record ServerInfo(string StoreType, bool WorkspacesEnabled);

/// <summary>What the web interface may report to its makers.</summary>
/// <param name="DisableUiTelemetry">Nothing, if true.</param>
/// <param name="DisableUiEvents">Events not to report.</param>
/// <param name="UiRolloutPercentage">Share of users that report, 0 to 100.</param>
public sealed record TelemetrySettings(bool DisableUiTelemetry, IReadOnlyList<string> DisableUiEvents, int UiRolloutPercentage);

/// <summary>Answer to records of the web interface.</summary>
/// <param name="Status">What became of them.</param>
public sealed record TelemetryReceipt(string Status);

/// <summary>Marks endpoints of the tracking API that speak no messages: <c>--artifacts-only</c> puts them out of service, as all others.</summary>
public sealed class TrackingEndpoint;

/// <summary>Marks endpoints that <c>--no-serve-artifacts</c> puts out of service.</summary>
public sealed class ArtifactProxyEndpoint;

[JsonSerializable(typeof(ServerInfo))]
[JsonSerializable(typeof(TelemetrySettings))]
[JsonSerializable(typeof(TelemetryReceipt))]
internal sealed partial class InfrastructureJson : JsonSerializerContext;
