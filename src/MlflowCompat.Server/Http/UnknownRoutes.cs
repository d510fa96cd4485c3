using Microsoft.Extensions.Primitives;
using MlflowCompat.Server.Artifacts;

namespace MlflowCompat.Server.Http;

/// <summary>
/// Answers for requests that reach no endpoint. They are HTML pages, never JSON: clients take a 404 that is not JSON for
/// ENDPOINT_NOT_FOUND and fall back to older routes because of it (contract: endpoints §0.1).
/// </summary>
public static class UnknownRoutes
{
    /// <summary>Merges doubled slashes by a redirect, refuses trailing ones, answers OPTIONS, and dresses bare 404s and 405s.</summary>
    public static void UseUnknownRoutes(this WebApplication app)
    {
        app.Use(async (context, next) =>
        {
            var path = context.Request.Path.Value ?? "/";
            // Slashes in the path of an artifact are for the artifact's route to judge.
            if (context.Features.Get<ArtifactTarget>() is null)
            {
                if (path.Contains("//", StringComparison.Ordinal))
                {
                    Redirect(context, path);
                    return;
                }

                // ASP.NET's routing ignores a trailing slash, the reference does not.
                if (path.Length > 1 && path.EndsWith('/'))
                {
                    await NotFoundAsync(context).ConfigureAwait(false);
                    return;
                }
            }

            await next(context).ConfigureAwait(false);
            if (context.Response.HasStarted || context.Response.ContentLength is > 0 || context.Response.ContentType is not null)
                return;
            if (context.Response.StatusCode == StatusCodes.Status404NotFound)
                await NotFoundAsync(context).ConfigureAwait(false);
            else if (context.Response.StatusCode == StatusCodes.Status405MethodNotAllowed)
                await WrongMethodAsync(context).ConfigureAwait(false);
        });
    }

    /// <summary>The new address starts with a single slash whatever was asked for, so it cannot lead to another host.</summary>
    private static void Redirect(HttpContext context, string path)
    {
        while (path.Contains("//", StringComparison.Ordinal))
            path = path.Replace("//", "/", StringComparison.Ordinal);
        context.Response.StatusCode = StatusCodes.Status308PermanentRedirect;
        context.Response.Headers.Location = context.Request.PathBase + new PathString(path).ToUriComponent() + context.Request.QueryString;
    }

    private static Task NotFoundAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status404NotFound;
        return context.Response.WritePageAsync(
            "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>There is no endpoint at this address.</p>\n");
    }

    private static Task WrongMethodAsync(HttpContext context)
    {
        var allowed = context.Response.Headers.Allow;
        context.Response.Headers.Allow = StringValues.IsNullOrEmpty(allowed) ? HttpMethods.Options : $"{allowed}, {HttpMethods.Options}";
        if (HttpMethods.IsOptions(context.Request.Method))
        {
            var api = context.Request.Path.StartsWithSegments("/api", StringComparison.Ordinal);
            context.Response.StatusCode = api ? StatusCodes.Status204NoContent : StatusCodes.Status200OK;
            return Task.CompletedTask;
        }

        return context.Response.WritePageAsync(
            "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>\n"
            + "<p>This endpoint does not take this method; the Allow header names those that it takes.</p>\n");
    }
}
