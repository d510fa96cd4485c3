using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Registry;

/// <summary>Versions of registered models (contract: endpoints §8).</summary>
public static class ModelVersionsApi
{
    private const int MaxRunIdLength = 32;
    private const int MaxRunLinkLength = 500;
    private const int MaxApproverLength = 255;
    private const int MaxDeploymentTargetLength = 100;

    private const string RunsScheme = "runs:";

    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>Maps the endpoints.</summary>
    public static void MapModelVersions(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<ModelVersionStore>();
        routes.Post<CreateModelVersion, ModelVersionResponse>("model-versions/create", Create);
        routes.Get<ModelVersionRequest, ModelVersionResponse>("model-versions/get", Get);
        routes.Patch<UpdateModelVersion, ModelVersionResponse>("model-versions/update", Update);
        routes.Post<TransitionModelVersionStage, ModelVersionResponse>("model-versions/transition-stage", Transition);
        routes.Delete<ModelVersionRequest, Empty>("model-versions/delete", Delete);
        routes.Get<ModelVersionRequest, ModelVersionDownloadUri>("model-versions/get-download-uri", GetDownloadUri);
        routes.Post<ModelVersionTagRequest, Empty>("model-versions/set-tag", SetTag);
        routes.Delete<ModelVersionTagRequest, Empty>("model-versions/delete-tag", DeleteTag);
        routes.Post<SetModelVersionApproval, ModelVersionApprovalResponse>("model-versions/set-approval", SetApproval);
        routes.Get<ModelVersionRequest, ModelVersionApprovalResponse>("model-versions/get-approval", GetApproval);

        endpoints.MapMethods("/model-versions/get-artifact", ReadMethods, GetArtifact).WithMetadata(new TrackingEndpoint());
    }

    private static async Task<ModelVersionResponse> Create(CreateModelVersion request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var source = FieldRules.MaxLength(FieldRules.Required(request.Source, "source"), ModelVersionSource.MaxLength, "source");
        ModelVersionSource.CheckPattern(source, store.Options.ModelVersionSourcePattern);
        var version = new NewModelVersion(
            name,
            source,
            IfGiven(request.RunId, MaxRunIdLength, "run_id"),
            IfGiven(request.RunLink, MaxRunLinkLength, "run_link"),
            RegistryRules.Description(request.Description) ?? "",
            string.IsNullOrEmpty(request.ModelId) ? null : request.ModelId,
            RegistryRules.ModelVersionTags(request.Tags));
        return new ModelVersionResponse(await store.CreateAsync(version, cancellationToken).ConfigureAwait(false));

        static string? IfGiven(string? text, int limit, string parameter) =>
            string.IsNullOrEmpty(text) ? null : FieldRules.MaxLength(text, limit, parameter);
    }

    private static async Task<ModelVersionResponse> Get(ModelVersionRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        return new ModelVersionResponse(
            await store.FindAsync(name, number, cancellationToken).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number));
    }

    private static async Task<ModelVersionResponse> Update(UpdateModelVersion request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        var description = RegistryRules.Description(request.Description);
        return new ModelVersionResponse(await store.UpdateAsync(name, number, description, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<ModelVersionResponse> Transition(
        TransitionModelVersionStage request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        var stage = ModelStage.Parse(FieldRules.Required(request.Stage, "stage"));
        var archiveOthers = request.ArchiveExistingVersions ?? false;
        if (archiveOthers && !ModelStage.IsInUse(stage))
        {
            throw MlflowException.InvalidValue(
                "archive_existing_versions", "true", $"versions in the stage {ModelStage.Format(stage)} cannot be archived, only those in Staging and Production.");
        }

        return new ModelVersionResponse(
            await store.TransitionAsync(name, number, stage, archiveOthers, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<Empty> Delete(ModelVersionRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        await store.DeleteAsync(name, number, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<ModelVersionDownloadUri> GetDownloadUri(
        ModelVersionRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        return new ModelVersionDownloadUri(
            await store.FindDownloadUriAsync(name, number, cancellationToken).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number));
    }

    private static async Task<Empty> SetTag(ModelVersionTagRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        var (key, value) = RegistryRules.ModelVersionTag(request.Key, request.Value);
        await store.SetTagAsync(name, number, key, value, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(ModelVersionTagRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        await store.DeleteTagAsync(name, number, FieldRules.Required(request.Key, "key"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<ModelVersionApprovalResponse> SetApproval(
        SetModelVersionApproval request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        FieldRules.MaxLength(request.ApprovedBy ?? "", MaxApproverLength, "approved_by");
        FieldRules.MaxLength(request.ApprovalNotes ?? "", RegistryRules.MaxDescriptionLength, "approval_notes");
        FieldRules.MaxLength(request.DeploymentTarget ?? "", MaxDeploymentTargetLength, "deployment_target");
        return new ModelVersionApprovalResponse(
            await store.SetApprovalAsync(name, number, request, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<ModelVersionApprovalResponse> GetApproval(
        ModelVersionRequest request, ModelVersionStore store, CancellationToken cancellationToken)
    {
        var (name, number) = ModelVersionNumber.Of(request);
        return new ModelVersionApprovalResponse(
            await store.FindApprovalAsync(name, number, cancellationToken).ConfigureAwait(false) ?? throw ModelVersionNumber.NotFound(name, number));
    }

    /// <summary>
    /// A file of a version. Where it is was checked when the version was made, and is checked again here: what the database says is no reason
    /// to read anything but the server's own artifacts.
    /// </summary>
    private static async Task GetArtifact(HttpContext context)
    {
        if (await ArtifactTarget.QueriedAsync(context).ConfigureAwait(false) is not { } path)
            return;
        var (name, number) = ModelVersionNumber.Of(await RequestBinding.ReadAsync<ModelVersionRequest>(context).ConfigureAwait(false));
        var store = context.RequestServices.GetRequiredService<ModelVersionStore>();
        var location = await store.GetStorageLocationAsync(name, number, context.RequestAborted).ConfigureAwait(false);
        ModelVersionSource.Check(location, location);

        var files = context.RequestServices.GetRequiredService<ArtifactFiles>();
        var root = location.StartsWith(RunsScheme, StringComparison.OrdinalIgnoreCase)
            ? await RunFolderAsync(location, files, context.RequestAborted).ConfigureAwait(false)
            : files.Roots.Resolve(location);
        await files.SendAsync(context, root.Append(path)).ConfigureAwait(false);
    }

    /// <summary>The folder that <c>runs:/ID/PATH</c> names.</summary>
    private static async Task<ArtifactLocation> RunFolderAsync(string location, ArtifactFiles files, CancellationToken cancellationToken)
    {
        var parts = location[RunsScheme.Length..].Trim('/').Split('/', 2);
        var root = files.Roots.Resolve(await files.RunRootAsync(RunId.Parse(parts[0]), cancellationToken).ConfigureAwait(false));
        return parts.Length == 1 ? root : root.Append(ArtifactTarget.Folder(parts[1]));
    }
}
