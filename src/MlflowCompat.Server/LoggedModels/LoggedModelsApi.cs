using System.Buffers;
using MlflowCompat.Artifacts;
using MlflowCompat.Search;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>Logged models (contract: endpoints §6, since-3.6 §1.5).</summary>
public static class LoggedModelsApi
{
    private const int MaxNameLength = 500;
    private const int MaxModelTypeLength = 500;
    private const int MaxSourceRunIdLength = 32;
    private const int MaxKeyLength = 255;

    private const int DefaultSearchResults = 50;
    private const int ZeroSearchResults = 100;

    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    private static readonly SearchValues<char> ForbiddenInNames = SearchValues.Create("/:.%\"'");

    /// <summary>Maps the endpoints.</summary>
    public static void MapLoggedModels(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<LoggedModelStore>();
        routes.Post<CreateLoggedModel, LoggedModelResponse>("logged-models", Create);
        routes.Get<GetLoggedModel, LoggedModelResponse>("logged-models/{id}", Get);
        routes.Patch<FinalizeLoggedModel, LoggedModelResponse>("logged-models/{id}", FinalizeModel);
        routes.Delete<LoggedModelRequest, Empty>("logged-models/{id}", Delete);
        routes.Patch<SetLoggedModelTags, Empty>("logged-models/{id}/tags", SetTags);
        routes.Delete<DeleteLoggedModelTag, Empty>("logged-models/{id}/tags/{key}", DeleteTag);
        routes.Post<LogLoggedModelParams, Empty>("logged-models/{id}/params", LogParams);
        routes.Post<SearchLoggedModels, SearchLoggedModelsResponse>("logged-models/search", Search);
        routes.Get<ListLoggedModelArtifacts, ListArtifactsResponse>("logged-models/{id}/artifacts/directories", ListFiles);

        endpoints.MapMethods("/ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files", ReadMethods, GetFile).WithMetadata(new TrackingEndpoint());
    }

    private static async Task<LoggedModelResponse> Create(CreateLoggedModel request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var experimentId = ExperimentId.Parse(FieldRules.Required(request.ExperimentId, "experiment_id"));
        var name = string.IsNullOrEmpty(request.Name) ? RunNames.Next() : CheckName(request.Name);
        var modelType = FieldRules.MaxLength(request.ModelType ?? "", MaxModelTypeLength, "model_type");
        var sourceRunId = FieldRules.MaxLength(request.SourceRunId ?? "", MaxSourceRunIdLength, "source_run_id");
        var parameters = CheckOnce(request.Params, "params");
        var tags = CheckOnce(request.Tags, "tags");
        return new LoggedModelResponse(
            await store.CreateAsync(experimentId, name, modelType, sourceRunId, parameters, tags, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<LoggedModelResponse> Get(GetLoggedModel request, LoggedModelStore store, CancellationToken cancellationToken) =>
        new(await store.GetAsync(ModelId.Parse(request.Id!), request.AllowDeleted == true, cancellationToken).ConfigureAwait(false));

    private static async Task<LoggedModelResponse> FinalizeModel(FinalizeLoggedModel request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var id = SameId(request, request.ModelId);
        var status = FieldRules.Required(request.Status, "status");
        return new LoggedModelResponse(await store.FinalizeAsync(id, status, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<Empty> Delete(LoggedModelRequest request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(ModelId.Parse(request.Id!), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> SetTags(SetLoggedModelTags request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var tags = Check(request.Tags, "tags");
        await store.SetTagsAsync(ModelId.Parse(request.Id!), tags, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(DeleteLoggedModelTag request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        await store.DeleteTagAsync(ModelId.Parse(request.Id!), request.Key!, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LogParams(LogLoggedModelParams request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var id = SameId(request, request.ModelId);
        var parameters = Check(request.Params, "params");
        await store.LogParamsAsync(id, parameters, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<SearchLoggedModelsResponse> Search(SearchLoggedModels request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var experiments = request.ExperimentIds ?? throw FieldRules.Missing("experiment_ids");
        var datasets = request.Datasets ?? [];
        for (var i = 0; i < datasets.Count; i++)
            FieldRules.Required(datasets[i].DatasetName, new FieldName("dataset_name", "datasets", i));
        // No upper bound (contract: semantics §11): the answer is as long as the client wants it.
        var maxResults = SearchLimits.MaxResults(request.MaxResults switch { null => DefaultSearchResults, 0 => ZeroSearchResults, var given => given.Value }, int.MaxValue);
        var query = new LoggedModelQuery(
            // An id that no experiment can have is like one that none has: it finds nothing.
            [.. experiments.Select(ExperimentId.TryParse).OfType<long>().Distinct()],
            FilterParser.Parse(request.Filter, Vocabularies.LoggedModels),
            datasets,
            ParseOrder(request.OrderBy));
        var bound = LoggedModelPageToken.For(request);
        var offset = bound.Offset(request.PageToken);
        var found = await store.SearchAsync(query, maxResults, offset, cancellationToken).ConfigureAwait(false);
        if (found.Count <= maxResults)
            return new SearchLoggedModelsResponse(found.Count == 0 ? null : found, null);
        found.RemoveAt(maxResults);
        return new SearchLoggedModelsResponse(found, bound.At(offset + maxResults));
    }

    private static List<(OrderTerm Term, DatasetFilter? Dataset)> ParseOrder(List<LoggedModelOrder>? order)
    {
        order ??= [];
        if (order.Count > OrderByParser.MaxTerms)
            throw MlflowException.InvalidParameter($"'order_by' has {order.Count} keys; at most {OrderByParser.MaxTerms} are allowed.");
        return [.. order.Select((key, i) => (
            OrderByParser.ParseField(
                FieldRules.Required(key.FieldName, new FieldName("field_name", "order_by", i)), key.Ascending ?? true, Vocabularies.LoggedModelOrders),
            string.IsNullOrEmpty(key.DatasetName) && string.IsNullOrEmpty(key.DatasetDigest)
                ? null
                : new DatasetFilter { DatasetName = key.DatasetName, DatasetDigest = key.DatasetDigest }))];
    }

    private static async Task<ListArtifactsResponse> ListFiles(ListLoggedModelArtifacts request, LoggedModelStore store, CancellationToken cancellationToken)
    {
        var path = ArtifactTarget.Folder(request.ArtifactDirectoryPath);
        var uri = await store.ArtifactRootAsync(ModelId.Parse(request.Id!), cancellationToken).ConfigureAwait(false);
        return await store.Files.ListBelowAsync(uri, path, cancellationToken).ConfigureAwait(false);
    }

    private static async Task GetFile(HttpContext context)
    {
        if ((string?)context.Request.Query["artifact_file_path"] is not { Length: > 0 } given)
            throw new MlflowException(ErrorCode.BadRequest, "Request must include the \"artifact_file_path\" query parameter.");
        var path = ArtifactPath.Parse(given);
        var store = context.RequestServices.GetRequiredService<LoggedModelStore>();
        var uri = await store.ArtifactRootAsync(ModelId.Parse((string)context.GetRouteValue("id")!), context.RequestAborted).ConfigureAwait(false);
        await store.Files.SendAsync(context, store.Files.Roots.Resolve(uri).Append(path)).ConfigureAwait(false);
    }

    /// <summary>The id of a request that names the model twice.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: the body has none, or another; RESOURCE_DOES_NOT_EXIST: no model has such an id.</exception>
    private static Guid SameId(LoggedModelRequest request, string? inBody)
    {
        if (FieldRules.Required(inBody, "model_id") != request.Id)
        {
            throw MlflowException.InvalidValue(
                "model_id", MlflowException.Quote(inBody!), $"the path names the model {MlflowException.Quote(request.Id!)}.");
        }

        return ModelId.Parse(request.Id!);
    }

    private static string CheckName(string name)
    {
        if (name.AsSpan().ContainsAny(ForbiddenInNames))
        {
            throw MlflowException.InvalidParameter(
                $"Invalid model name ({MlflowException.Quote(name)}) provided. A model name must not contain any of / : . % \" '");
        }

        return FieldRules.MaxLength(name, MaxNameLength, "name");
    }

    /// <summary>Params or tags; they are not held to the key rule (contract: semantics §4.3).</summary>
    private static List<KeyValue> Check(List<KeyValue>? list, string field)
    {
        list ??= [];
        for (var i = 0; i < list.Count; i++)
        {
            var key = new FieldName("key", field, i);
            FieldRules.MaxLength(FieldRules.Required(list[i].Key, key), MaxKeyLength, key);
            list[i].Value ??= "";
        }

        return list;
    }

    /// <summary>Those of a new model, each of which may be given once only.</summary>
    private static List<KeyValue> CheckOnce(List<KeyValue>? list, string field)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        var items = Check(list, field);
        return items.Find(item => !keys.Add(item.Key!)) is { } twice
            ? throw new MlflowException(ErrorCode.BadRequest, $"The key {MlflowException.Quote(twice.Key!)} is given twice in '{field}'.")
            : items;
    }
}
