using System.Buffers;
using Microsoft.AspNetCore.Http.Headers;
using Microsoft.Net.Http.Headers;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Artifacts;

/// <summary>
/// Answers with a file, always as a download (contract: endpoints §4), with what MLflow has not: conditional requests and parts of files
/// (RFC 9110 §13, §14), so that downloads can be resumed. Of several ranges in one request the whole file is the answer.
/// </summary>
internal static class FileResponse
{
    private const string TokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~";

    private static readonly SearchValues<char> Token = SearchValues.Create(TokenCharacters);

    /// <summary>Answers GET or HEAD; returns whether content was sent from its beginning.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such file; a folder is none.</exception>
    public static async Task<bool> WriteAsync(HttpContext context, ArtifactLocation file)
    {
        if (HttpMethods.IsHead(context.Request.Method))
        {
            var entry = await file.Store.FindAsync(file.Path, context.RequestAborted).ConfigureAwait(false);
            Begin(context, entry is { IsFolder: false } ? entry : throw NotFound(file));
            return false;
        }

        var content = await FindAsync(file, () => file.Store.OpenAsync(file.Path, context.RequestAborted)).ConfigureAwait(false);
        await using (content.ConfigureAwait(false))
        {
            var (offset, length) = Begin(context, content.Entry);
            if (length > 0)
                await content.CopyToAsync(context.Response.Body, offset, length, context.RequestAborted).ConfigureAwait(false);
            return offset == 0 && context.Response.StatusCode is StatusCodes.Status200OK or StatusCodes.Status206PartialContent;
        }
    }

    /// <summary>The error for a file that is not there.</summary>
    public static MlflowException NotFound(ArtifactLocation file) => MlflowException.NotFound($"No such artifact: '{file.Path}'");

    /// <summary>What a store says of a file that a client wants to read.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such file; a folder is none.</exception>
    public static async Task<T> FindAsync<T>(ArtifactLocation file, Func<Task<T>> find)
    {
        try
        {
            return await find().ConfigureAwait(false);
        }
        catch (ArtifactStoreException exception) when (exception.Fault is ArtifactFault.NotFound or ArtifactFault.NotAFile)
        {
            throw NotFound(file);
        }
    }

    /// <summary>Decides on the status, writes the head, and returns which part of the file follows it.</summary>
    private static (long Offset, long Length) Begin(HttpContext context, ArtifactEntry file)
    {
        var response = context.Response;
        var headers = response.GetTypedHeaders();
        var tag = new EntityTagHeaderValue($"\"{file.ETag}\"");
        // A date of the header has whole seconds.
        var modified = DateTimeOffset.FromUnixTimeSeconds(file.LastModified.ToUnixTimeSeconds());
        headers.ETag = tag;
        headers.LastModified = modified;
        response.Headers.CacheControl = "no-cache";
        response.Headers.AcceptRanges = "bytes";
        response.Headers.XContentTypeOptions = "nosniff";

        var request = context.Request.GetTypedHeaders();
        if (FailedCondition(request, tag, modified) is { } status)
        {
            response.StatusCode = status;
            return default;
        }

        var (offset, length) = (0L, file.Size);
        if (HttpMethods.IsGet(context.Request.Method) && RequestedRange(request, tag, modified) is { } range)
        {
            if (Resolve(range, file.Size) is not { } part)
            {
                response.StatusCode = StatusCodes.Status416RangeNotSatisfiable;
                headers.ContentRange = new ContentRangeHeaderValue(file.Size);
                return default;
            }

            (offset, length) = part;
            response.StatusCode = StatusCodes.Status206PartialContent;
            headers.ContentRange = new ContentRangeHeaderValue(offset, offset + length - 1, file.Size);
        }

        var mediaType = ArtifactContentTypes.Of(file.Path.Name);
        response.ContentType = mediaType.StartsWith("text/", StringComparison.Ordinal) ? mediaType + "; charset=utf-8" : mediaType;
        response.Headers.ContentDisposition = Disposition(file.Path.Name);
        response.ContentLength = length;
        return (offset, length);
    }

    /// <summary>The status of a request whose condition is not met, in the order of RFC 9110 §13.2.2, or null.</summary>
    private static int? FailedCondition(RequestHeaders request, EntityTagHeaderValue tag, DateTimeOffset modified)
    {
        if (request.IfMatch is { Count: > 0 } wanted)
        {
            if (!wanted.Any(each => Matches(each, tag, useStrongComparison: true)))
                return StatusCodes.Status412PreconditionFailed;
        }
        else if (modified > request.IfUnmodifiedSince)
        {
            return StatusCodes.Status412PreconditionFailed;
        }

        if (request.IfNoneMatch is { Count: > 0 } known)
            return known.Any(each => Matches(each, tag, useStrongComparison: false)) ? StatusCodes.Status304NotModified : null;
        return modified <= request.IfModifiedSince ? StatusCodes.Status304NotModified : null;
    }

    private static bool Matches(EntityTagHeaderValue given, EntityTagHeaderValue tag, bool useStrongComparison) =>
        given.Equals(EntityTagHeaderValue.Any) || given.Compare(tag, useStrongComparison);

    /// <summary>The one range that is asked for, unless it was meant for another content.</summary>
    private static RangeItemHeaderValue? RequestedRange(RequestHeaders request, EntityTagHeaderValue tag, DateTimeOffset modified)
    {
        if (request.Range is not { Unit.Value: "bytes", Ranges.Count: 1 } ranges)
            return null;
        var meant = request.IfRange is not { } condition
            || (condition.EntityTag is { } given ? given.Compare(tag, useStrongComparison: true) : condition.LastModified == modified);
        return meant ? ranges.Ranges.First() : null;
    }

    /// <summary>Which bytes a range stands for; null if the file has none of them.</summary>
    private static (long Offset, long Length)? Resolve(RangeItemHeaderValue range, long size)
    {
        if (range.From is not { } from)
            return Math.Min(range.To ?? 0, size) is > 0 and var last ? (size - last, last) : null;
        return from < size ? (from, Math.Min(range.To ?? long.MaxValue, size - 1) - from + 1) : null;
    }

    /// <summary>The name in ASCII for old clients, and as it is (RFC 6266, RFC 8187) if that is not the same.</summary>
    private static string Disposition(string name)
    {
        if (!name.AsSpan().ContainsAnyExcept(Token))
            return $"attachment; filename={name}";
        var ascii = string.Create(name.Length, name, static (text, source) =>
        {
            for (var i = 0; i < text.Length; i++)
                text[i] = source[i] is < ' ' or > '~' or '"' or '\\' or '%' ? '_' : source[i];
        });
        return $"attachment; filename=\"{ascii}\"; filename*=UTF-8''{Uri.EscapeDataString(name)}";
    }
}
