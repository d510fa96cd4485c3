using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Registered models and their aliases (contract: endpoints §7, §9).</summary>
public static class RegisteredModelsApi
{
    /// <summary>Maps the endpoints.</summary>
    public static void MapRegisteredModels(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<RegisteredModelStore>();
        routes.Post<CreateRegisteredModel, RegisteredModelResponse>("registered-models/create", Create);
        routes.Get<RegisteredModelRequest, RegisteredModelResponse>("registered-models/get", Get);
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
}
