using MlflowCompat.Search;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Registry;

/// <summary>The searches for registered models and their versions (contract: endpoints §7, §8).</summary>
public static class RegistrySearchApi
{
    private const int MaxModels = 1000;
    private const int DefaultModels = 100;
    private const int MaxVersions = 200_000;

    /// <summary>Maps the endpoints.</summary>
    public static void MapRegistrySearch(this IEndpointRouteBuilder endpoints)
    {
        endpoints.MlflowRoutesFor<RegisteredModelSearch>()
            .Get<SearchRegisteredModels, SearchRegisteredModelsResponse>("registered-models/search", SearchModels);
        var versions = endpoints.MlflowRoutesFor<ModelVersionSearch>();
        versions.Get<SearchModelVersions, SearchModelVersionsResponse>("model-versions/search", SearchVersions);
        versions.Post<GetLatestVersions, GetLatestVersionsResponse>("registered-models/get-latest-versions", GetLatest);
        versions.Get<GetLatestVersions, GetLatestVersionsResponse>("registered-models/get-latest-versions", GetLatest);
    }

    private static async Task<SearchRegisteredModelsResponse> SearchModels(
        SearchRegisteredModels request, RegisteredModelSearch search, CancellationToken cancellationToken)
    {
        var wanted = request.MaxResults ?? DefaultModels;
        // MLflow takes any number here: whoever asks for none gets none, and a token that does not lead on.
        var maxResults = wanted < 1 ? 0 : SearchLimits.MaxResults(wanted, MaxModels);
        var offset = PageToken.Offset(request.PageToken);
        var filter = FilterParser.Parse(request.Filter, Vocabularies.RegisteredModels);
        var order = OrderByParser.Parse(request.OrderBy, Vocabularies.RegisteredModels);
        if (maxResults == 0)
            return new SearchRegisteredModelsResponse(null, PageToken.For(offset));
        var found = await search.FindAsync(filter, order, maxResults, offset, cancellationToken).ConfigureAwait(false);
        return new SearchRegisteredModelsResponse(found.Items, found.NextPageToken);
    }

    private static async Task<SearchModelVersionsResponse> SearchVersions(
        SearchModelVersions request, ModelVersionSearch search, CancellationToken cancellationToken)
    {
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? MaxVersions, MaxVersions);
        var offset = PageToken.Offset(request.PageToken);
        var filter = FilterParser.Parse(request.Filter, Vocabularies.ModelVersions);
        var order = OrderByParser.Parse(request.OrderBy, Vocabularies.ModelVersions);
        var found = await search.FindAsync(filter, order, maxResults, offset, cancellationToken).ConfigureAwait(false);
        return new SearchModelVersionsResponse(found.Items, found.NextPageToken);
    }

    private static async Task<GetLatestVersionsResponse> GetLatest(
        GetLatestVersions request, ModelVersionSearch search, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.Name, "name");
        var stages = request.Stages is { Count: > 0 } given ? given.Select(ModelStage.Parse).Distinct().ToList() : ModelStage.All;
        var latest = await search.FindLatestAsync(name, stages, cancellationToken).ConfigureAwait(false);
        return new GetLatestVersionsResponse(latest.Count == 0 ? null : latest);
    }
}
