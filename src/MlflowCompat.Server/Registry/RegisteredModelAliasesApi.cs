using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Aliases of registered models (contract: endpoints §9).</summary>
public static class RegisteredModelAliasesApi
{
    private const int MaxAliasLength = 255;

    /// <summary>Maps the endpoints.</summary>
    public static void MapRegisteredModelAliases(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<RegisteredModelAliasStore>();
        routes.Post<SetRegisteredModelAlias, Empty>("registered-models/alias", Set);
        routes.Delete<RegisteredModelAliasRequest, Empty>("registered-models/alias", Delete);
        routes.Get<RegisteredModelAliasRequest, ModelVersionResponse>("registered-models/alias", Get);
    }

    private static async Task<Empty> Set(SetRegisteredModelAlias request, RegisteredModelAliasStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var alias = NewAlias(request.Alias);
        var number = ModelVersionNumber.Parse(name, FieldRules.Required(request.Version, "version"));
        await store.SetAsync(name, alias, number, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> Delete(
        RegisteredModelAliasRequest request, RegisteredModelAliasStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        await store.DeleteAsync(name, FieldRules.Required(request.Alias, "alias"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<ModelVersionResponse> Get(
        RegisteredModelAliasRequest request, RegisteredModelAliasStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var alias = FieldRules.Required(request.Alias, "alias");
        // Clients tell an unknown alias from a wrong address by this code (contract: endpoints §9).
        return new ModelVersionResponse(IsLatest(alias)
            ? await store.FindLatestAsync(name, cancellationToken).ConfigureAwait(false)
                ?? throw MlflowException.NotFound($"Latest version not found for model {name}.")
            : await store.FindAsync(name, alias, cancellationToken).ConfigureAwait(false)
                ?? throw MlflowException.InvalidParameter($"Registered model alias {alias} not found."));
    }

    private static string NewAlias(string? alias)
    {
        var given = FieldRules.Required(alias, "alias");
        if (!given.EnumerateRunes().All(rune => rune.Value == '-' || FieldRules.IsWordCharacter(rune)))
        {
            throw MlflowException.InvalidParameter(
                $"Invalid alias name: {MlflowException.Quote(given)}. Names may only contain alphanumerics, underscores (_), and dashes (-).");
        }

        FieldRules.MaxLength(given, MaxAliasLength, "Registered model alias name");
        if (IsLatest(given) || (given.Length > 1 && given[0] is 'v' or 'V' && given.Skip(1).All(char.IsDigit)))
        {
            throw MlflowException.InvalidParameter(
                $"The alias name {MlflowException.Quote(given)} is reserved, as are 'latest' and 'v' with a number, in any case.");
        }

        return given;
    }

    private static bool IsLatest(string alias) => string.Equals(alias, "latest", StringComparison.OrdinalIgnoreCase);
}
