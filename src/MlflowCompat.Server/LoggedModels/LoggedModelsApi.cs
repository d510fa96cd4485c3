using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>
/// What clients 3.x ask about logged models before they list the artifacts of a run (contract: endpoints §6). Models cannot be logged here
/// yet, so there are none to be found.
/// </summary>
public static class LoggedModelsApi
{
    /// <summary>Maps the endpoints.</summary>
    public static void MapLoggedModels(this IEndpointRouteBuilder endpoints) =>
        endpoints.MlflowRoutesFor<Database>().Post<SearchLoggedModels, SearchLoggedModelsResponse>("logged-models/search", Search);

    private static Task<SearchLoggedModelsResponse> Search(SearchLoggedModels request, Database database, CancellationToken cancellationToken) =>
        request.ExperimentIds is null ? throw FieldRules.Missing("experiment_ids") : Task.FromResult(new SearchLoggedModelsResponse());
}

/// <summary>logged-models/search.</summary>
public sealed class SearchLoggedModels
{
    /// <summary>Whose models are searched; none for an empty list.</summary>
    public List<string>? ExperimentIds { get; set; }
}

/// <summary>Answer to logged-models/search.</summary>
public sealed record SearchLoggedModelsResponse;

[JsonSerializable(typeof(SearchLoggedModels))]
[JsonSerializable(typeof(SearchLoggedModelsResponse))]
internal sealed partial class LoggedModelsJson : JsonSerializerContext;
