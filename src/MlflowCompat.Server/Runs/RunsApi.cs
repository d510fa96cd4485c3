using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Metrics;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Runs;

/// <summary>Runs (contract: endpoints §2, semantics §5).</summary>
public static class RunsApi
{
    private const int DefaultSearchResults = 1000;
    private const int MaxSearchResults = 50_000;
    private const int MaxUserIdLength = 256;

    private static readonly string[] ModelFields = ["artifact_path", "flavors", "utc_time_created", "run_id"];

    /// <summary>Maps the endpoints.</summary>
    public static void MapRuns(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<RunStore>();
        routes.Post<CreateRun, RunResponse>("runs/create", Create);
        routes.Get<RunRequest, RunResponse>("runs/get", Get);
        routes.Post<UpdateRun, UpdateRunResponse>("runs/update", Update);
        routes.Post<RunLifecycleRequest, Empty>("runs/delete", Delete);
        routes.Post<RunLifecycleRequest, Empty>("runs/restore", Restore);
        routes.Post<SearchRuns, SearchRunsResponse>("runs/search", Search);
        routes.Post<DeleteRunTag, Empty>("runs/delete-tag", DeleteTag);
        routes.Post<LogModel, Empty>("runs/log-model", LogModel);

        endpoints.MlflowRoutesFor<RunLogStore>().Post<SetRunTag, Empty>("runs/set-tag", SetTag);
    }

    private static async Task<RunResponse> Create(CreateRun request, RunStore store, CancellationToken cancellationToken)
    {
        var experimentId = ExperimentId.Parse(FieldRules.Required(request.ExperimentId, "experiment_id"));
        var userId = FieldRules.MaxLength(request.UserId ?? "", MaxUserIdLength, "user_id");
        var tags = CheckTags(store, request.Tags ?? []);
        var name = ChooseName(request.RunName, tags);
        return new RunResponse(
            await store.CreateAsync(experimentId, userId, name, request.StartTime ?? 0, tags, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<RunResponse> Get(RunRequest request, RunStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Of(request);
        return new RunResponse(
            await store.FindAsync(id, cancellationToken).ConfigureAwait(false) ?? throw RunId.NotFound(RunId.Format(id)));
    }

    private static async Task<UpdateRunResponse> Update(UpdateRun request, RunStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Of(request);
        var name = string.IsNullOrEmpty(request.RunName)
            ? null
            : FieldRules.MaxLength(request.RunName, RunTags.MaxRunNameLength, "run_name");
        return new UpdateRunResponse(
            await store.UpdateAsync(id, request.Status, request.EndTime, name, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<Empty> Delete(RunLifecycleRequest request, RunStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(RunId.Parse(FieldRules.Required(request.RunId, "run_id")), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> Restore(RunLifecycleRequest request, RunStore store, CancellationToken cancellationToken)
    {
        await store.RestoreAsync(RunId.Parse(FieldRules.Required(request.RunId, "run_id")), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<SearchRunsResponse> Search(SearchRuns request, RunStore store, CancellationToken cancellationToken)
    {
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? DefaultSearchResults, MaxSearchResults);
        var offset = PageToken.Offset(request.PageToken);
        var filter = FilterParser.Parse(request.Filter, Vocabularies.Runs);
        var order = OrderByParser.Parse(request.OrderBy, Vocabularies.Runs);
        // An id that no experiment can have is like one that none has: it finds nothing.
        var experiments = (request.ExperimentIds ?? []).Select(ExperimentId.TryParse).OfType<long>().Distinct().ToList();
        var page = await store
            .SearchAsync(experiments, request.RunViewType ?? ViewType.ActiveOnly, filter, order, maxResults, offset, cancellationToken)
            .ConfigureAwait(false);
        return new SearchRunsResponse(page.Items, page.NextPageToken);
    }

    private static async Task<Empty> SetTag(SetRunTag request, RunLogStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Of(request);
        var key = FieldRules.Key(request.Key, "key", "key");
        var tag = new KeyValue { Key = key, Value = RunTags.Value(store.Options, request.Value, "value") };
        await store.LogAsync(id, new RunLog([], [], [tag]), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(DeleteRunTag request, RunStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Parse(FieldRules.Required(request.RunId, "run_id"));
        await store.DeleteTagAsync(id, FieldRules.Required(request.Key, "key"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LogModel(LogModel request, RunStore store, CancellationToken cancellationToken)
    {
        var id = RunId.Parse(FieldRules.Required(request.RunId, "run_id"));
        var model = ParseModel(FieldRules.Required(request.ModelJson, "model_json"));
        await store.LogModelAsync(id, model, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    /// <summary>Tags given at creation are not held to the key rule (contract: semantics §4.3), but each may be given once only.</summary>
    private static List<KeyValue> CheckTags(RunStore store, List<KeyValue> tags)
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < tags.Count; i++)
        {
            var tag = tags[i];
            FieldRules.MaxLength(FieldRules.Required(tag.Key, $"tags[{i}].key"), FieldRules.MaxKeyLength, $"tags[{i}].key");
            tag.Value = RunTags.Value(store.Options, tag.Value, $"tags[{i}].value");
            if (!keys.Add(tag.Key!))
                throw new MlflowException(ErrorCode.BadRequest, $"Tag {MlflowException.Quote(tag.Key!)} is given twice in 'tags'.");
        }

        return tags;
    }

    /// <summary>
    /// The name of a new run: the field, else the tag, else a made-up one; the tag always ends up with it (contract: semantics §5).
    /// </summary>
    private static string ChooseName(string? given, List<KeyValue> tags)
    {
        var tag = tags.Find(candidate => candidate.Key == RunTags.RunName);
        if (!string.IsNullOrEmpty(given) && !string.IsNullOrEmpty(tag?.Value) && given != tag.Value)
        {
            throw MlflowException.InvalidParameter(
                $"Both 'run_name' ({MlflowException.Quote(given)}) and the tag '{RunTags.RunName}' ({MlflowException.Quote(tag.Value)}) are given, and they differ.");
        }

        var name = !string.IsNullOrEmpty(given) ? given
            : !string.IsNullOrEmpty(tag?.Value) ? tag.Value
            : RunNames.Next();
        FieldRules.MaxLength(name, RunTags.MaxRunNameLength, "run_name");
        if (tag is null)
            tags.Add(new KeyValue { Key = RunTags.RunName, Value = name });
        else
            tag.Value = name;
        return name;
    }

    /// <summary>What the history keeps of an MLmodel file: who, when, where and its flavors without their configuration.</summary>
    private static JsonObject ParseModel(string json)
    {
        JsonNode? parsed = null;
        try
        {
            parsed = JsonNode.Parse(json, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
        }
        catch (JsonException)
        {
            // Said below, together with JSON of another kind.
        }

        if (parsed is not JsonObject model)
            throw MlflowException.InvalidParameter($"Malformed model info: 'model_json' {MlflowException.Quote(json)} is not a JSON object.");
        var missing = ModelFields.Where(field => !model.ContainsKey(field)).ToList();
        if (missing.Count > 0)
            throw MlflowException.InvalidParameter($"Model json is missing mandatory fields: {string.Join(", ", missing)}");
        if (model["flavors"] is not JsonObject flavors)
            throw MlflowException.InvalidValue("model_json.flavors", model["flavors"]?.ToJsonString() ?? "null", "it must be an object.");

        var entry = new JsonObject();
        foreach (var field in (string[])["run_id", "utc_time_created", "artifact_path", "model_uuid"])
        {
            if (model.TryGetPropertyValue(field, out var value))
                entry[field] = value?.DeepClone();
        }

        var kept = new JsonObject();
        foreach (var (flavor, configuration) in flavors)
        {
            var copy = configuration?.DeepClone();
            (copy as JsonObject)?.Remove("config");
            kept[flavor] = copy;
        }

        entry["flavors"] = kept;
        return entry;
    }
}
