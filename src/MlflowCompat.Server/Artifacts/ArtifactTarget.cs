using Microsoft.AspNetCore.Http.Features;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Artifacts;

/// <summary>
/// The artifact path in a request's address, as the client sent it. The web server takes <c>..</c> up and decodes before anybody sees the
/// path, so that <c>artifacts/../x</c> would be another route; here it has to reach <see cref="ArtifactPath.Parse"/>, which refuses it.
/// </summary>
/// <param name="Path">What follows the route, still encoded.</param>
internal sealed record ArtifactTarget(string Path)
{
    /// <summary>What routing calls the first segment of a path.</summary>
    public const string First = "first";

    /// <summary>What routing calls what follows it.</summary>
    public const string Rest = "rest";

    /// <summary>Where the proxy's routes are.</summary>
    public static readonly string[] Prefixes = ["/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"];

    /// <summary>The routes that a path follows.</summary>
    public static readonly string[] Routes = ["artifacts/", "mpu/create/", "mpu/complete/", "mpu/abort/", "mpu/parts/", "presigned/"];

    /// <summary>The path that a request of such a route is about.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public static ArtifactPath Of(HttpContext context) => ArtifactPath.Parse(TextOf(context));

    /// <summary>The same where it may be a folder; clients end that of a whole run with a slash when they remove it.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public static ArtifactPath FileOrFolderOf(HttpContext context) => Folder(TextOf(context));

    /// <summary>A folder as a client names it; it may end with a slash.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public static ArtifactPath Folder(string? path) => ArtifactPath.Parse(path?.TrimEnd('/') is { Length: > 0 } folder ? folder : path ?? "");

    /// <summary>The path that the query names; null, and answered, when it names none.</summary>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public static async Task<ArtifactPath?> QueriedAsync(HttpContext context)
    {
        if ((string?)context.Request.Query["path"] is { } given)
            return ArtifactPath.Parse(given);
        context.Response.StatusCode = StatusCodes.Status400BadRequest;
        await context.Response.WritePageAsync(
            "<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n<p>The query has to name a path.</p>\n").ConfigureAwait(false);
        return null;
    }

    /// <summary>Looks at the raw address of every request before anybody else does.</summary>
    public static void UseRawPaths(WebApplication app) => app.Use((context, next) =>
    {
        var raw = PathOf(context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget);
        var below = context.Request.PathBase.Value ?? "";
        if (!raw.StartsWith(below, StringComparison.OrdinalIgnoreCase))
            return next(context);
        raw = raw[below.Length..];
        foreach (var prefix in Prefixes)
        {
            if (!raw.StartsWith(prefix, StringComparison.OrdinalIgnoreCase))
                continue;
            var route = Array.Find(Routes, each => raw.AsSpan(prefix.Length).StartsWith(each, StringComparison.OrdinalIgnoreCase));
            var path = route is null ? "" : raw[(prefix.Length + route.Length)..];
            if (path.Length == 0)
                break;
            context.Features.Set(new ArtifactTarget(path));
            // For routing, and for the log; what it finds after the route does not matter.
            context.Request.Path = new PathString(prefix + route + (path.TrimStart('/') is { Length: > 0 } rest ? rest : "-"));
            break;
        }

        return next(context);
    });

    private static string TextOf(HttpContext context) =>
        context.Features.Get<ArtifactTarget>() is { } target
            ? Uri.UnescapeDataString(target.Path)
            : $"{context.GetRouteValue(First)}/{context.GetRouteValue(Rest)}".TrimEnd('/');

    /// <summary>The path of a request's target, which may be a whole URI.</summary>
    private static string PathOf(string target)
    {
        var end = target.IndexOf('?', StringComparison.Ordinal);
        if (end >= 0)
            target = target[..end];
        if (target.StartsWith('/'))
            return target;
        var authority = target.IndexOf("://", StringComparison.Ordinal);
        var path = authority < 0 ? -1 : target.IndexOf('/', authority + 3);
        return path < 0 ? "" : target[path..];
    }
}
