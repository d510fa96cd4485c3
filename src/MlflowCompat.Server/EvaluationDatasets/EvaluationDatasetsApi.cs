using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using MlflowCompat.Search;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>Evaluation data sets (contract: endpoints §15, since-3.6 §4).</summary>
public static class EvaluationDatasetsApi
{
    private const int MaxNameLength = 255;
    private const int MaxTagKeyLength = 255;
    private const int MaxTagValueLength = 5000;
    private const int MaxExperimentIdLength = 50;
    private const int MaxUserLength = 255;
    private const int MaxSearchResults = 50_000;
    private const int DefaultPageSize = 1000;

    /// <summary>Maps the endpoints.</summary>
    public static void MapEvaluationDatasets(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<EvaluationDatasetStore>("3.0");
        routes.Post<CreateEvaluationDataset, EvaluationDatasetResponse>("datasets/create", Create);
        routes.Post<SearchEvaluationDatasets, SearchEvaluationDatasetsResponse>("datasets/search", Search);
        routes.Get<SearchEvaluationDatasets, SearchEvaluationDatasetsResponse>("datasets/search", Search);
        routes.Get<EvaluationDatasetRequest, EvaluationDatasetResponse>("datasets/{dataset_id}", Get);
        routes.Delete<EvaluationDatasetRequest, Empty>("datasets/{dataset_id}", Delete);
        routes.Patch<SetEvaluationDatasetTags, Empty>("datasets/{dataset_id}/tags", SetTags);
        routes.Delete<DeleteEvaluationDatasetTag, Empty>("datasets/{dataset_id}/tags/{key}", DeleteTag);
        routes.Post<UpsertDatasetRecords, UpsertDatasetRecordsResponse>("datasets/{dataset_id}/records", UpsertRecords);
        routes.Delete<DeleteDatasetRecords, DeleteDatasetRecordsResponse>("datasets/{dataset_id}/records", DeleteRecords);
        routes.Get<EvaluationDatasetRequest, DatasetExperimentIdsResponse>("datasets/{dataset_id}/experiment-ids", GetExperimentIds);
        routes.Post<DatasetExperiments, EvaluationDatasetResponse>("datasets/{dataset_id}/add-experiments", AddExperiments);
        routes.Post<DatasetExperiments, EvaluationDatasetResponse>("datasets/{dataset_id}/remove-experiments", RemoveExperiments);
        endpoints.MlflowRoutesFor<DatasetRecordReader>("3.0")
            .GetStreamed<GetDatasetRecords, GetDatasetRecordsResponse>("datasets/{dataset_id}/records", GetRecords);
    }

    private static async Task<EvaluationDatasetResponse> Create(
        CreateEvaluationDataset request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        var name = FieldRules.MaxLength(FieldRules.Required(request.Name, "name"), MaxNameLength, "name");
        var tags = string.IsNullOrEmpty(request.Tags) ? [] : ReadTags(request.Tags, mayBeNull: true);
        var experiments = CheckIds(request.ExperimentIds);
        return new EvaluationDatasetResponse(await store.CreateAsync(name, tags, experiments, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<EvaluationDatasetResponse> Get(
        EvaluationDatasetRequest request, EvaluationDatasetStore store, CancellationToken cancellationToken) => new(
        await store.FindAsync(request.DatasetId!, cancellationToken).ConfigureAwait(false) ?? throw EvaluationDatasetStore.NotFound(request.DatasetId!));

    private static async Task<Empty> Delete(EvaluationDatasetRequest request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(request.DatasetId!, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<SearchEvaluationDatasetsResponse> Search(
        SearchEvaluationDatasets request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        var maxResults = SearchLimits.MaxResults(request.MaxResults ?? DefaultPageSize, MaxSearchResults);
        var offset = PageToken.Offset(request.PageToken);
        var filter = FilterParser.Parse(request.FilterString, Vocabularies.EvaluationDatasets);
        var order = OrderByParser.Parse(request.OrderBy, Vocabularies.EvaluationDatasets);
        var found = await store
            .SearchAsync(request.ExperimentIds ?? [], filter, order, maxResults, offset, cancellationToken)
            .ConfigureAwait(false);
        return new SearchEvaluationDatasetsResponse(found.Items, found.NextPageToken);
    }

    private static async Task<Empty> SetTags(SetEvaluationDatasetTags request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        var tags = ReadTags(FieldRules.Required(request.Tags, "tags"), mayBeNull: false);
        await store.SetTagsAsync(request.DatasetId!, tags, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(DeleteEvaluationDatasetTag request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        await store.DeleteTagAsync(request.DatasetId!, request.Key!, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<UpsertDatasetRecordsResponse> UpsertRecords(
        UpsertDatasetRecords request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        if (request.Records is not { Utf8.Length: > 0 } given)
            throw FieldRules.Missing("records");
        var user = FieldRules.MaxLength(request.UpdatedBy ?? "", MaxUserLength, "updated_by");
        var records = UpsertedRecords.Parse(given);
        var inserted = await store
            .UpsertRecordsAsync(request.DatasetId!, records, user.Length == 0 ? null : user, given.Utf8.Length, cancellationToken)
            .ConfigureAwait(false);
        return new UpsertDatasetRecordsResponse(inserted, records.Given - inserted);
    }

    private static Task GetRecords(GetDatasetRecords request, DatasetRecordReader records, HttpResponse response, CancellationToken cancellationToken)
    {
        var maxResults = request.MaxResults switch
        {
            null or 0 => DefaultPageSize,
            < 0 and { } negative => throw MlflowException.InvalidValue(
                "max_results", negative.ToString(CultureInfo.InvariantCulture), "it must not be negative"),
            { } positive => positive,
        };
        return records.WriteAsync(request.DatasetId!, maxResults, RecordPosition.FromToken(request.PageToken), response, cancellationToken);
    }

    private static async Task<DeleteDatasetRecordsResponse> DeleteRecords(
        DeleteDatasetRecords request, EvaluationDatasetStore store, CancellationToken cancellationToken) => new(
        await store.DeleteRecordsAsync(request.DatasetId!, request.DatasetRecordIds ?? [], cancellationToken).ConfigureAwait(false));

    private static async Task<DatasetExperimentIdsResponse> GetExperimentIds(
        EvaluationDatasetRequest request, EvaluationDatasetStore store, CancellationToken cancellationToken)
    {
        var ids = await store.ListExperimentIdsAsync(request.DatasetId!, cancellationToken).ConfigureAwait(false);
        return new DatasetExperimentIdsResponse(ids.Count == 0 ? null : ids);
    }

    private static async Task<EvaluationDatasetResponse> AddExperiments(
        DatasetExperiments request, EvaluationDatasetStore store, CancellationToken cancellationToken) => new(
        await store.AddToExperimentsAsync(request.DatasetId!, CheckIds(request.ExperimentIds), cancellationToken).ConfigureAwait(false));

    private static async Task<EvaluationDatasetResponse> RemoveExperiments(
        DatasetExperiments request, EvaluationDatasetStore store, CancellationToken cancellationToken) => new(
        await store.RemoveFromExperimentsAsync(request.DatasetId!, CheckIds(request.ExperimentIds), cancellationToken).ConfigureAwait(false));

    private static List<string> CheckIds(List<string>? ids)
    {
        foreach (var (index, id) in (ids ?? []).Index())
            FieldRules.MaxLength(id, MaxExperimentIdLength, string.Create(CultureInfo.InvariantCulture, $"experiment_ids[{index}]"));
        return [.. (ids ?? []).Distinct()];
    }

    /// <summary>Tags are an object of texts. Other values are stored as MLflow stores them, in Python's spelling; null ones are passed over.</summary>
    private static List<KeyValue> ReadTags(string json, bool mayBeNull)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json);
        }
        catch (JsonException)
        {
            throw Invalid();
        }

        using (document)
        {
            if (mayBeNull && document.RootElement.ValueKind == JsonValueKind.Null)
                return [];
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw Invalid();
            var tags = new List<KeyValue>();
            foreach (var member in document.RootElement.EnumerateObject())
            {
                if (member.Value.ValueKind == JsonValueKind.Null)
                    continue;
                var (key, value) = ReadTag(member);
                FieldRules.MaxLength(FieldRules.Required(key, "tags.key"), MaxTagKeyLength, "tags.key");
                FieldRules.MaxLength(value, MaxTagValueLength, "tags.value");
                tags.Add(new KeyValue { Key = key, Value = value });
            }

            return tags;
        }

        MlflowException Invalid() => MlflowException.InvalidValue("tags", MlflowException.Quote(json), "it must be a JSON object of strings, as text");
    }

    private static (string Key, string Value) ReadTag(JsonProperty member)
    {
        try
        {
            var value = member.Value.ValueKind switch
            {
                JsonValueKind.String => member.Value.GetString()!,
                JsonValueKind.True => "True",
                JsonValueKind.False => "False",
                JsonValueKind.Number => CanonicalJson.Number(JsonMarshal.GetRawUtf8Value(member.Value)),
                _ => member.Value.GetRawText(),
            };
            return (member.Name + value).Contains('\0', StringComparison.Ordinal)
                ? throw MlflowException.InvalidParameter("Invalid value for parameter 'tags' supplied: it must not contain U+0000")
                : (member.Name, value);
        }
        catch (InvalidOperationException)
        {
            throw MlflowException.InvalidParameter("Invalid value for parameter 'tags' supplied: it must be well-formed Unicode text");
        }
    }
}
