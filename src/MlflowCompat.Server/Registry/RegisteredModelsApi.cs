using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Registered models (contract: endpoints §7).</summary>
public static class RegisteredModelsApi
{
    /// <summary>Maps the endpoints.</summary>
    public static void MapRegisteredModels(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<RegisteredModelStore>();
        routes.Post<CreateRegisteredModel, RegisteredModelResponse>("registered-models/create", Create);
        routes.Get<RegisteredModelRequest, RegisteredModelResponse>("registered-models/get", Get);
        routes.Patch<UpdateRegisteredModel, RegisteredModelResponse>("registered-models/update", Update);
        routes.Post<RenameRegisteredModel, RegisteredModelResponse>("registered-models/rename", Rename);
        routes.Delete<RegisteredModelRequest, Empty>("registered-models/delete", Delete);
        routes.Post<RegisteredModelTagRequest, Empty>("registered-models/set-tag", SetTag);
        routes.Delete<RegisteredModelTagRequest, Empty>("registered-models/delete-tag", DeleteTag);
    }

    private static async Task<RegisteredModelResponse> Create(
        CreateRegisteredModel request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = RegistryRules.NewName(request.Name, "name");
        var description = RegistryRules.Description(request.Description);
        var tags = RegistryRules.RegisteredModelTags(request.Tags);
        return new RegisteredModelResponse(await store.CreateAsync(name, description, tags, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<RegisteredModelResponse> Get(
        RegisteredModelRequest request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        return new RegisteredModelResponse(
            await store.FindAsync(name, cancellationToken).ConfigureAwait(false) ?? throw HeldRegisteredModel.NotFound(name));
    }

    private static async Task<RegisteredModelResponse> Update(
        UpdateRegisteredModel request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var description = RegistryRules.Description(request.Description);
        return new RegisteredModelResponse(await store.UpdateAsync(name, description, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<RegisteredModelResponse> Rename(
        RenameRegisteredModel request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var newName = RegistryRules.NewName(request.NewName, "new_name");
        return new RegisteredModelResponse(await store.RenameAsync(name, newName, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<Empty> Delete(RegisteredModelRequest request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(FieldRules.Required(request.Name, "name"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> SetTag(RegisteredModelTagRequest request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var (key, value) = RegistryRules.RegisteredModelTag(request.Key, request.Value);
        await store.SetTagAsync(name, key, value, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(RegisteredModelTagRequest request, RegisteredModelStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        await store.DeleteTagAsync(name, FieldRules.Required(request.Key, "key"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }
}
