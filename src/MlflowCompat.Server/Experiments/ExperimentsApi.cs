using System.Globalization;
using MlflowCompat.Search;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Experiments;

/// <summary>Experiments (contract: endpoints §1).</summary>
public static class ExperimentsApi
{
    private const int MaxNameLength = 500;
    private const int MaxTagValueLength = 5000;
    private const int MaxSearchResults = 50_000;

    /// <summary>Maps the endpoints.</summary>
    public static void MapExperiments(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<ExperimentStore>();
        routes.Post<CreateExperiment, CreateExperimentResponse>("experiments/create", Create);
        routes.Get<ExperimentRequest, GetExperimentResponse>("experiments/get", Get);
        routes.Get<GetExperimentByName, GetExperimentResponse>("experiments/get-by-name", GetByName);
        routes.Get<SearchExperiments, SearchExperimentsResponse>("experiments/search", Search);
        routes.Post<SearchExperiments, SearchExperimentsResponse>("experiments/search", Search);
        routes.Post<UpdateExperiment, Empty>("experiments/update", Update);
        routes.Post<ExperimentRequest, Empty>("experiments/delete", Delete);
        routes.Post<ExperimentRequest, Empty>("experiments/restore", Restore);
        routes.Post<ExperimentTagRequest, Empty>("experiments/set-experiment-tag", SetTag);
        routes.Post<ExperimentTagRequest, Empty>("experiments/delete-experiment-tag", DeleteTag);
    }

    private static async Task<CreateExperimentResponse> Create(
        CreateExperiment request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.MaxLength(FieldRules.Required(request.Name, "name"), MaxNameLength, "name");
        var tags = request.Tags ?? [];
        CheckTags(tags);
        var location = string.IsNullOrEmpty(request.ArtifactLocation) ? null : store.ArtifactRoots.ResolveLocation(request.ArtifactLocation);
        var id = await store.CreateAsync(name, location, tags, cancellationToken).ConfigureAwait(false);
        return new CreateExperimentResponse(id.ToString(CultureInfo.InvariantCulture));
    }

    private static async Task<GetExperimentResponse> Get(ExperimentRequest request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        return new GetExperimentResponse(
            await store.FindAsync(ExperimentId.Parse(id), cancellationToken).ConfigureAwait(false) ?? throw ExperimentId.NotFound(id));
    }

    private static async Task<GetExperimentResponse> GetByName(
        GetExperimentByName request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.Required(request.ExperimentName, "experiment_name");
        return new GetExperimentResponse(
            await store.FindByNameAsync(name, cancellationToken).ConfigureAwait(false)
            ?? throw MlflowException.NotFound($"Could not find experiment with name {MlflowException.Quote(name)}"));
    }

    private static async Task<SearchExperimentsResponse> Search(
        SearchExperiments request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? 0, MaxSearchResults);
        var offset = PageToken.Offset(request.PageToken);
        var filter = FilterParser.Parse(request.Filter, Vocabularies.Experiments);
        var order = OrderByParser.Parse(request.OrderBy, Vocabularies.Experiments);
        var found = await store
            .SearchAsync(filter, order, request.ViewType ?? ViewType.ActiveOnly, maxResults, offset, cancellationToken)
            .ConfigureAwait(false);
        return new SearchExperimentsResponse(found.Items, found.NextPageToken);
    }

    private static async Task<Empty> Update(UpdateExperiment request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        var name = FieldRules.MaxLength(FieldRules.Required(request.NewName, "new_name"), MaxNameLength, "new_name");
        await store.RenameAsync(ExperimentId.Parse(id), name, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> Delete(ExperimentRequest request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        await store.DeleteAsync(ExperimentId.Parse(id), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> Restore(ExperimentRequest request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        await store.RestoreAsync(ExperimentId.Parse(id), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> SetTag(ExperimentTagRequest request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        var key = FieldRules.Key(request.Key, "key", "key");
        var value = FieldRules.MaxLength(request.Value ?? "", MaxTagValueLength, "value");
        await store.SetTagAsync(ExperimentId.Parse(id), key, value, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(ExperimentTagRequest request, ExperimentStore store, CancellationToken cancellationToken)
    {
        var id = FieldRules.Required(request.ExperimentId, "experiment_id");
        var key = FieldRules.Required(request.Key, "key");
        await store.DeleteTagAsync(ExperimentId.Parse(id), key, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    /// <summary>Tags given at creation are not held to the key rule (contract: semantics §4.3), but each may be given once only.</summary>
    private static void CheckTags(List<KeyValue> tags)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < tags.Count; i++)
        {
            var key = FieldRules.MaxLength(FieldRules.Required(tags[i].Key, $"tags[{i}].key"), FieldRules.MaxKeyLength, $"tags[{i}].key");
            FieldRules.MaxLength(tags[i].Value ?? "", MaxTagValueLength, $"tags[{i}].value");
            if (!keys.Add(key))
                throw MlflowException.InvalidValue($"tags[{i}].key", MlflowException.Quote(key), "the tag is given twice");
        }
    }
}
