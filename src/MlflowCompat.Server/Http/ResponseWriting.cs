using System.Text;
using System.Text.Json;

namespace MlflowCompat.Server.Http;

/// <summary>Writes answers: messages as JSON, and the few plain pages that the reference server answers with.</summary>
public static class ResponseWriting
{
    /// <summary>MLflow's media type for messages: without a charset.</summary>
    public const string JsonMediaType = "application/json";

    /// <summary>Writes a message with status 200.</summary>
    public static Task WriteMessageAsync<T>(this HttpResponse response, T message, CancellationToken cancellationToken)
    {
        response.ContentType = JsonMediaType;
        return JsonSerializer.SerializeAsync(response.BodyWriter, message, MlflowJson.TypeInfo<T>(), cancellationToken);
    }

    /// <summary>Writes an error body with its status.</summary>
    public static Task WriteErrorAsync(this HttpResponse response, ErrorCode code, string message)
    {
        response.StatusCode = code.HttpStatus();
        response.ContentType = JsonMediaType;
        return JsonSerializer.SerializeAsync(
            response.BodyWriter, new ErrorBody(code.WireName(), message), MlflowJson.TypeInfo<ErrorBody>(), CancellationToken.None);
    }

    /// <summary>Writes a line of text as a page, as Flask does for everything that is no message.</summary>
    public static Task WritePageAsync(this HttpResponse response, string text)
    {
        response.ContentType = "text/html; charset=utf-8";
        return response.WriteAsync(text, Encoding.UTF8);
    }
}
