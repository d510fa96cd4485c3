using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Versions of registered models (contract: endpoints §8).</summary>
public static class ModelVersionsApi
{
    private const int MaxRunIdLength = 32;
    private const int MaxRunLinkLength = 500;

    /// <summary>Maps the endpoints.</summary>
    public static void MapModelVersions(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<ModelVersionStore>();
        routes.Post<CreateModelVersion, ModelVersionResponse>("model-versions/create", Create);
        routes.Get<ModelVersionRequest, ModelVersionResponse>("model-versions/get", Get);
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
}
