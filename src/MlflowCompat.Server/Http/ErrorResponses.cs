using Microsoft.AspNetCore.Connections;
using MlflowCompat.Artifacts;
using MlflowCompat.Search;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Http;

/// <summary>
/// The one place where a failure becomes an answer. Messages of <see cref="MlflowException"/>, of the search languages and of artifact
/// stores are meant for clients; whatever else goes wrong is logged, and the client is told no details of this machine.
/// </summary>
public static class ErrorResponses
{
    /// <summary>How long a client should wait before it tries an unavailable or overloaded database again, in seconds.</summary>
    private const string RetryAfterSeconds = "1";

    /// <summary>Answers the failures of everything behind it.</summary>
    public static void UseMlflowErrors(this WebApplication app) => app.Use(async (context, next) =>
    {
        try
        {
            await next(context).ConfigureAwait(false);
        }
        catch (Exception exception) when (!context.Response.HasStarted)
        {
            await AnswerAsync(context, exception, app.Logger).ConfigureAwait(false);
        }
    });

    private static Task AnswerAsync(HttpContext context, Exception exception, ILogger logger)
    {
        context.Response.Clear();
        var method = context.Request.Method;
        var path = context.Request.Path.Value ?? "";
        if (IsOfClientThatHasGone(context, exception))
        {
            // Nobody is there to read an answer, of which a part may lie written already; the status is for the log. Kestrel would go on reading
            // the body, and log that it failed.
            logger.ClientHasGone(method, path);
            context.Response.StatusCode = StatusCodes.Status499ClientClosedRequest;
            context.Abort();
            return Task.CompletedTask;
        }

        switch (exception)
        {
            case MlflowException known:
                return context.Response.WriteErrorAsync(known.Code, known.Message);

            case SearchSyntaxException syntax:
                return context.Response.WriteErrorAsync(ErrorCode.InvalidParameterValue, syntax.Message);

            case WriteQueueFullException full:
                context.Response.Headers.RetryAfter = RetryAfterSeconds;
                return context.Response.WriteErrorAsync(ErrorCode.RequestLimitExceeded, $"{full.Message} Nothing was written; try again.");

            case BadHttpRequestException bad:
                return context.Response.WriteErrorAsync(ErrorCode.InvalidParameterValue, $"Bad request: {bad.Message}");
        }

        if (exception is ArtifactStoreException store)
        {
            var code = Code(store.Fault);
            if (code is ErrorCode.TemporarilyUnavailable)
                context.Response.Headers.RetryAfter = RetryAfterSeconds;
            if (code.HttpStatus() >= StatusCodes.Status500InternalServerError && code != ErrorCode.NotImplemented)
                logger.ArtifactStoreFailed(method, path, store.Fault, store.Message, store.InnerException?.Message);
            return context.Response.WriteErrorAsync(code, store.Message);
        }

        switch (DatabaseFaults.Classify(exception))
        {
            case DatabaseFault.Unavailable or DatabaseFault.Contention:
                logger.DatabaseUnavailable(method, path, exception.Message);
                context.Response.Headers.RetryAfter = RetryAfterSeconds;
                return context.Response.WriteErrorAsync(
                    ErrorCode.TemporarilyUnavailable, "The tracking database is not available at the moment; try again.");

            default:
                logger.RequestFailed(exception, method, path);
                return context.Response.WriteErrorAsync(
                    ErrorCode.InternalError, $"Internal error while handling {method} {path}; the server's log has the details.");
        }
    }

    /// <summary>
    /// Whether a request ended because its client did: given up, or cut off in the middle of a body, which whoever was reading it may have
    /// taken for a failure of what it was reading for.
    /// </summary>
    private static bool IsOfClientThatHasGone(HttpContext context, Exception exception)
    {
        if (exception is OperationCanceledException && context.RequestAborted.IsCancellationRequested)
            return true;
        for (var cause = exception; cause is not null; cause = cause.InnerException)
        {
            if (cause is ConnectionResetException or ConnectionAbortedException)
                return true;
        }

        return false;
    }

    private static ErrorCode Code(ArtifactFault fault) => fault switch
    {
        ArtifactFault.InvalidPath or ArtifactFault.NotAFile => ErrorCode.InvalidParameterValue,
        ArtifactFault.NotFound => ErrorCode.ResourceDoesNotExist,
        ArtifactFault.NotSupported => ErrorCode.NotImplemented,
        ArtifactFault.Full => ErrorCode.StorageFull,
        ArtifactFault.Unavailable => ErrorCode.TemporarilyUnavailable,
        _ => ErrorCode.InternalError,
    };
}
