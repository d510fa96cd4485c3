using MlflowCompat.Artifacts;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Artifacts;

/// <summary>The files of runs, for clients that name the run (contract: endpoints §4; since-3.6 §1.8).</summary>
public static class RunArtifactsApi
{
    /// <summary>The largest file that the web interface uploads, in bytes.</summary>
    private const long MaxUploadBytes = 10 * 1024 * 1024;

    private const long DefaultExpirationSeconds = 900;
    private const long MaxExpirationSeconds = 7 * 24 * 60 * 60;

    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>Maps the endpoints.</summary>
    public static void MapRunArtifacts(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<ArtifactFiles>();
        routes.Get<ListArtifacts, ListArtifactsResponse>("artifacts/list", List);
        routes.Post<CreatePresignedUpload, PresignedUploadResponse>("artifacts/presigned-upload-url", PresignUpload);

        endpoints.MapMethods("/get-artifact", ReadMethods, Get);
        endpoints.MapPost("/ajax-api/2.0/mlflow/upload-artifact", Upload).WithMetadata(new TrackingEndpoint());
    }

    private static async Task<ListArtifactsResponse> List(ListArtifacts request, ArtifactFiles files, CancellationToken cancellationToken)
    {
        var path = ArtifactTarget.Folder(request.Path);
        var uri = await files.RunRootAsync(RunId.Of(request), cancellationToken).ConfigureAwait(false);
        var root = files.Roots.Resolve(uri);
        var entries = await files.ListAsync(root.Append(path), cancellationToken).ConfigureAwait(false);
        var listed = entries.Select(entry => FileInfo.Of(path.IsRoot ? entry.Path.Name : $"{path}/{entry.Path.Name}", entry)).ToList();
        return new ListArtifactsResponse(uri, listed.Count == 0 ? null : listed);
    }

    private static async Task<PresignedUploadResponse> PresignUpload(
        CreatePresignedUpload request, ArtifactFiles files, CancellationToken cancellationToken)
    {
        var path = ArtifactPath.Parse(FieldRules.Required(request.Path, "path"));
        var uri = await files.RunRootAsync(RunId.Parse(FieldRules.Required(request.RunId, "run_id")), cancellationToken).ConfigureAwait(false);
        if (Configuration.ArtifactRoots.IsProxied(uri))
            throw MlflowException.InvalidParameter("The artifacts of this run go through the server, which gives out no addresses to upload to.");
        var file = files.Roots.Resolve(uri).Append(path);
        if (file.Store.Presigned is not { } presigned)
            throw new ArtifactStoreException(ArtifactFault.NotSupported, "Presigned upload is not supported for the current artifact repository");
        var seconds = Math.Clamp(request.Expiration ?? DefaultExpirationSeconds, 0, MaxExpirationSeconds);
        var address = await presigned.ForUploadAsync(file.Path, TimeSpan.FromSeconds(seconds), cancellationToken).ConfigureAwait(false);
        return new PresignedUploadResponse(address.Url, address.Headers);
    }

    private static async Task Get(HttpContext context)
    {
        if (await ArtifactTarget.QueriedAsync(context).ConfigureAwait(false) is not { } path)
            return;
        var query = context.Request.Query;
        var files = context.RequestServices.GetRequiredService<ArtifactFiles>();
        var id = (string?)query["run_id"] is { Length: > 0 } runId ? runId : (string?)query["run_uuid"] ?? "";
        var uri = await files.RunRootAsync(RunId.Parse(id), context.RequestAborted).ConfigureAwait(false);
        await files.SendAsync(context, files.Roots.Resolve(uri).Append(path)).ConfigureAwait(false);
    }

    private static async Task Upload(HttpContext context)
    {
        var query = context.Request.Query;
        var id = RunId.Parse(FieldRules.Required((string?)query["run_uuid"], "run_uuid"));
        var path = ArtifactPath.Parse(FieldRules.Required((string?)query["path"], "path"));
        var files = context.RequestServices.GetRequiredService<ArtifactFiles>();
        var uri = await files.RunRootAsync(id, context.RequestAborted).ConfigureAwait(false);
        var file = files.Roots.Resolve(uri).Append(path);
        var length = context.Request.ContentLength;
        // Before the limit is lowered: beyond it the connection would be cut, and the client never see the answer.
        if (length > MaxUploadBytes)
            throw WrongSize();
        var body = UploadBody.Of(context, MaxUploadBytes);
        if (await IsEmptyAsync(context.Request).ConfigureAwait(false))
            throw WrongSize();
        await files.UploadAsync(file, body, length, context.RequestAborted).ConfigureAwait(false);
        context.Response.ContentType = ResponseWriting.JsonMediaType;
    }

    private static MlflowException WrongSize() => MlflowException.InvalidParameter($"The file must have from 1 to {MaxUploadBytes} bytes.");

    /// <summary>Whether a body has no bytes, which its head does not always tell.</summary>
    private static async Task<bool> IsEmptyAsync(HttpRequest request)
    {
        var read = await request.BodyReader.ReadAsync(request.HttpContext.RequestAborted).ConfigureAwait(false);
        request.BodyReader.AdvanceTo(read.Buffer.Start);
        return read.IsCompleted && read.Buffer.IsEmpty;
    }
}
