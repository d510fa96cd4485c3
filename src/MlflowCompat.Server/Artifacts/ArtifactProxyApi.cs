using System.Globalization;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Artifacts;

/// <summary>The files below the artifacts destination, for clients that reach it through this server (contract: endpoints §5; since-3.6 §1.8).</summary>
public static class ArtifactProxyApi
{
    private const string File = $"{{{ArtifactTarget.First}}}/{{*{ArtifactTarget.Rest}}}";

    private const string PartsRoute = "mpu/parts/";

    /// <summary>How long an address for downloads is good for.</summary>
    private static readonly TimeSpan DownloadLifetime = TimeSpan.FromMinutes(5);

    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];
    private static readonly string[] PutMethods = [HttpMethods.Put];
    private static readonly string[] PostMethods = [HttpMethods.Post];
    private static readonly string[] DeleteMethods = [HttpMethods.Delete];

    /// <summary>Maps the endpoints.</summary>
    public static void MapArtifactProxy(this IEndpointRouteBuilder endpoints)
    {
        Map(ReadMethods, "artifacts", List);
        Map(ReadMethods, "artifacts/" + File, Download);
        Map(PutMethods, "artifacts/" + File, Upload);
        Map(DeleteMethods, "artifacts/" + File, Delete);
        Map(PostMethods, "mpu/create/" + File, CreateMultipart);
        Map(PutMethods, PartsRoute + File, UploadPart);
        Map(PostMethods, "mpu/complete/" + File, CompleteMultipart);
        Map(PostMethods, "mpu/abort/" + File, AbortMultipart);
        Map(ReadMethods, "presigned/" + File, PresignDownload);

        void Map(string[] methods, string route, Func<HttpContext, ArtifactFiles, Task> handler)
        {
            foreach (var prefix in ArtifactTarget.Prefixes)
            {
                endpoints.MapMethods(prefix + route, methods, Handle)
                    .WithMetadata(handler.Method, new ArtifactProxyEndpoint());
            }

            Task Handle(HttpContext context) => handler(context, context.RequestServices.GetRequiredService<ArtifactFiles>());
        }
    }

    private static async Task List(HttpContext context, ArtifactFiles files)
    {
        var folder = files.Roots.AtDestination(ArtifactTarget.Folder((string?)context.Request.Query["path"]));
        var entries = await files.ListAsync(folder, context.RequestAborted).ConfigureAwait(false);
        var listed = entries.Select(entry => FileInfo.Of(entry.Path.Name, entry)).ToList();
        await context.Response.WriteMessageAsync(new ListFilesResponse(listed.Count == 0 ? null : listed), context.RequestAborted).ConfigureAwait(false);
    }

    private static Task Download(HttpContext context, ArtifactFiles files) =>
        files.SendAsync(context, files.Roots.AtDestination(ArtifactTarget.Of(context)));

    private static async Task Upload(HttpContext context, ArtifactFiles files)
    {
        var file = files.Roots.AtDestination(ArtifactTarget.Of(context));
        await files.UploadAsync(file, UploadBody.Of(context), context.Request.ContentLength, context.RequestAborted).ConfigureAwait(false);
        await context.Response.WriteMessageAsync(Empty.Value, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task Delete(HttpContext context, ArtifactFiles files)
    {
        await files.DeleteAsync(files.Roots.AtDestination(ArtifactTarget.FileOrFolderOf(context)), context.RequestAborted).ConfigureAwait(false);
        await context.Response.WriteMessageAsync(Empty.Value, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task CreateMultipart(HttpContext context, ArtifactFiles files)
    {
        var folder = ArtifactTarget.Of(context);
        var multipart = Multipart(files);
        var request = await RequestBinding.ReadAsync<CreateMultipartUpload>(context).ConfigureAwait(false);
        var path = FileIn(folder, request.Path);
        var parts = request.NumParts ?? 1;
        if (parts is < 1 or > MultipartUploads.MaxParts)
        {
            throw MlflowException.InvalidValue(
                "num_parts", parts.ToString(CultureInfo.InvariantCulture), $"it must be from 1 to {MultipartUploads.MaxParts}.");
        }

        var upload = await multipart.CreateAsync(path, (int)parts, context.RequestAborted).ConfigureAwait(false);
        var here = context.Request;
        var route = multipart.PartsComeThroughServer ? $"{here.Scheme}://{here.Host}{here.PathBase}{ArtifactTarget.Prefixes[0]}{PartsRoute}" : "";
        var credentials = upload.Parts.Select(part => new MultipartCredential(route + part.Url, part.PartNumber, part.Headers)).ToList();
        await context.Response.WriteMessageAsync(new CreateMultipartUploadResponse(upload.UploadId, credentials), context.RequestAborted).ConfigureAwait(false);
    }

    private static async Task UploadPart(HttpContext context, ArtifactFiles files)
    {
        var path = ArtifactTarget.Of(context);
        var query = context.Request.Query;
        var uploadId = FieldRules.Required((string?)query["upload_id"], "upload_id");
        if (!int.TryParse((string?)query["part_number"], NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            throw FieldRules.Missing("part_number");
        var tag = await Multipart(files)
            .PutPartAsync(path, uploadId, number, UploadBody.Of(context), context.Request.ContentLength, context.RequestAborted)
            .ConfigureAwait(false);
        context.Response.Headers.ETag = $"\"{tag}\"";
        await context.Response.WriteMessageAsync(Empty.Value, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task CompleteMultipart(HttpContext context, ArtifactFiles files)
    {
        var folder = ArtifactTarget.Of(context);
        var multipart = Multipart(files);
        var request = await RequestBinding.ReadAsync<CompleteMultipartUpload>(context).ConfigureAwait(false);
        var path = FileIn(folder, request.Path);
        var uploadId = FieldRules.Required(request.UploadId, "upload_id");
        var parts = (request.Parts ?? []).ConvertAll(part => new UploadedPart(
            FieldRules.Required(part.PartNumber, "parts.part_number"), FieldRules.Required(part.Etag, "parts.etag")));
        if (parts.Count == 0)
            throw FieldRules.Missing("parts");
        await files.CompleteAsync(files.Roots.AtDestination(path), multipart, uploadId, parts, context.RequestAborted).ConfigureAwait(false);
        await context.Response.WriteMessageAsync(Empty.Value, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task AbortMultipart(HttpContext context, ArtifactFiles files)
    {
        var folder = ArtifactTarget.Of(context);
        var multipart = Multipart(files);
        var request = await RequestBinding.ReadAsync<AbortMultipartUpload>(context).ConfigureAwait(false);
        var path = FileIn(folder, request.Path);
        await multipart.AbortAsync(path, FieldRules.Required(request.UploadId, "upload_id"), context.RequestAborted).ConfigureAwait(false);
        await context.Response.WriteMessageAsync(Empty.Value, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task PresignDownload(HttpContext context, ArtifactFiles files)
    {
        var file = files.Roots.AtDestination(ArtifactTarget.Of(context));
        if (file.Store.Presigned is not { } presigned)
        {
            throw new ArtifactStoreException(
                ArtifactFault.NotSupported, "Multipart download is not supported for the current artifact repository");
        }

        var address = await FileResponse
            .FindAsync(file, () => presigned.ForDownloadAsync(file.Path, DownloadLifetime, context.RequestAborted)).ConfigureAwait(false);
        await context.Response
            .WriteMessageAsync(new PresignedDownloadResponse(address.Url, address.Headers, address.Size), context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>What takes uploads in parts; it is asked before the body is read, since clients without it go another way.</summary>
    private static MultipartUploads Multipart(ArtifactFiles files) =>
        files.Roots.Multipart ?? throw new ArtifactStoreException(
            ArtifactFault.NotSupported, "Multipart upload is not supported for the current artifact repository");

    /// <summary>The file of an upload in parts: clients send the whole local path, of which the name counts.</summary>
    private static ArtifactPath FileIn(ArtifactPath folder, string? path)
    {
        var name = FieldRules.Required(path, "path").Split('/', '\\')[^1];
        var file = ArtifactPath.Parse(name);
        return file.IsRoot || file.Name != file.Value ? throw ArtifactPath.Invalid() : folder.Append(file);
    }
}

/// <summary>The body of an upload: as large as a store takes it, and slower than other bodies may come.</summary>
internal static class UploadBody
{
    /// <summary>The largest object of S3, 5 TiB.</summary>
    private const long MaxBytes = 5L << 40;

    /// <summary>Kestrel's own least rate, but after some patience: clients make what they send while they send it.</summary>
    private static readonly MinDataRate Rate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(60));

    /// <summary>Lifts the limits of JSON bodies for this request.</summary>
    public static Stream Of(HttpContext context, long maxBytes = MaxBytes)
    {
        context.Features.GetRequiredFeature<IHttpMaxRequestBodySizeFeature>().MaxRequestBodySize = maxBytes;
        context.Features.GetRequiredFeature<IHttpMinRequestBodyDataRateFeature>().MinDataRate = Rate;
        return context.Request.Body;
    }
}
