using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>An evaluation data set as clients see it. Times are milliseconds since 1970.</summary>
/// <param name="DatasetId"><c>d-</c> and 32 hex digits.</param>
/// <param name="Name">Its name, which others may have too.</param>
/// <param name="Tags">JSON object of strings, as text.</param>
/// <param name="Schema">Names and types of what its records hold, as JSON text; null while there were none.</param>
/// <param name="Profile">How many records it has, as JSON text; null while there were none.</param>
/// <param name="Digest">Eight hex digits that change with the records.</param>
/// <param name="CreatedTime">Of creation.</param>
/// <param name="LastUpdateTime">Of creation, or of the last change of records or experiments.</param>
/// <param name="CreatedBy">Who made it; null if that was not said.</param>
/// <param name="LastUpdatedBy">Who changed its records last; null if that was never said.</param>
/// <param name="ExperimentIds">The experiments that it belongs to; null where they are not told, or when there are none.</param>
public sealed record EvaluationDataset(
    string DatasetId,
    string Name,
    string Tags,
    string? Schema,
    string? Profile,
    string Digest,
    long CreatedTime,
    long LastUpdateTime,
    string? CreatedBy,
    string? LastUpdatedBy,
    List<string>? ExperimentIds);

/// <summary>datasets/create. What else older descriptions of it name (source, schema, profile) follows from the records.</summary>
public sealed class CreateEvaluationDataset
{
    /// <summary>Required, at most 255 characters.</summary>
    public string? Name { get; set; }

    /// <summary>The experiments that it belongs to.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>JSON object, as text; <c>mlflow.user</c> in it says who makes the data set.</summary>
    public string? Tags { get; set; }
}

/// <summary>GET and DELETE of datasets/{dataset_id} and what else takes nothing but the id.</summary>
public sealed class EvaluationDatasetRequest
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }
}

/// <summary>Answer to whatever returns one data set.</summary>
/// <param name="Dataset">The data set.</param>
public sealed record EvaluationDatasetResponse(EvaluationDataset Dataset);

/// <summary>datasets/search.</summary>
public sealed class SearchEvaluationDatasets
{
    /// <summary>Data sets of any of these are found; all data sets when empty.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Filter language of contract: search §8.</summary>
    public string? FilterString { get; set; }

    /// <summary>1 to 50000; 1000 when absent.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer to datasets/search.</summary>
/// <param name="Datasets">Null when none was found.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchEvaluationDatasetsResponse(List<EvaluationDataset>? Datasets, string? NextPageToken);

/// <summary>PATCH of datasets/{dataset_id}/tags.</summary>
public sealed class SetEvaluationDatasetTags
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>Required: JSON object, as text; members that are null are passed over.</summary>
    public string? Tags { get; set; }
}

/// <summary>DELETE of datasets/{dataset_id}/tags/{key}.</summary>
public sealed class DeleteEvaluationDatasetTag
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>The tag.</summary>
    [InPath]
    public string? Key { get; set; }
}

/// <summary>POST of datasets/{dataset_id}/records.</summary>
public sealed class UpsertDatasetRecords
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>Required: JSON array of records, as text.</summary>
    public EmbeddedJson? Records { get; set; }

    /// <summary>Who changes the records, where no tag <c>mlflow.user</c> of theirs says it.</summary>
    public string? UpdatedBy { get; set; }
}

/// <summary>Answer to an upsert of records.</summary>
/// <param name="InsertedCount">Records that were new.</param>
/// <param name="UpdatedCount">Records whose inputs were there before, also earlier in the same request.</param>
public sealed record UpsertDatasetRecordsResponse(long InsertedCount, long UpdatedCount);

/// <summary>GET of datasets/{dataset_id}/records.</summary>
public sealed class GetDatasetRecords
{
    /// <summary>The data set; an unknown one has no records.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>Records per page; 1000 when absent or 0.</summary>
    public int? MaxResults { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer with records.</summary>
/// <param name="Records">JSON array of records, as text.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record GetDatasetRecordsResponse(string Records, string? NextPageToken);

/// <summary>DELETE of datasets/{dataset_id}/records.</summary>
public sealed class DeleteDatasetRecords
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>The records; unknown ones are passed over.</summary>
    public List<string>? DatasetRecordIds { get; set; }
}

/// <summary>Answer to a deletion of records.</summary>
/// <param name="DeletedCount">How many there were.</param>
public sealed record DeleteDatasetRecordsResponse(long DeletedCount);

/// <summary>Answer to datasets/{dataset_id}/experiment-ids.</summary>
/// <param name="ExperimentIds">Null when there are none.</param>
public sealed record DatasetExperimentIdsResponse(List<string>? ExperimentIds);

/// <summary>datasets/{dataset_id}/add-experiments and remove-experiments.</summary>
public sealed class DatasetExperiments
{
    /// <summary>The data set.</summary>
    [InPath]
    public string? DatasetId { get; set; }

    /// <summary>The experiments.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }
}

[JsonSerializable(typeof(CreateEvaluationDataset))]
[JsonSerializable(typeof(EvaluationDatasetRequest))]
[JsonSerializable(typeof(EvaluationDatasetResponse))]
[JsonSerializable(typeof(SearchEvaluationDatasets))]
[JsonSerializable(typeof(SearchEvaluationDatasetsResponse))]
[JsonSerializable(typeof(SetEvaluationDatasetTags))]
[JsonSerializable(typeof(DeleteEvaluationDatasetTag))]
[JsonSerializable(typeof(UpsertDatasetRecords))]
[JsonSerializable(typeof(UpsertDatasetRecordsResponse))]
[JsonSerializable(typeof(GetDatasetRecords))]
[JsonSerializable(typeof(GetDatasetRecordsResponse))]
[JsonSerializable(typeof(DeleteDatasetRecords))]
[JsonSerializable(typeof(DeleteDatasetRecordsResponse))]
[JsonSerializable(typeof(DatasetExperimentIdsResponse))]
[JsonSerializable(typeof(DatasetExperiments))]
internal sealed partial class EvaluationDatasetsJson : JsonSerializerContext;
