using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>State of a logged model; the specified schema tells more of them apart (mapping C-32).</summary>
[JsonConverter(typeof(ProtoEnumConverter<LoggedModelStatus>))]
public enum LoggedModelStatus
{
    /// <summary>Being made; every model starts so.</summary>
    LoggedModelPending = 1,

    /// <summary>Complete.</summary>
    LoggedModelReady = 2,

    /// <summary>Its files could not be stored.</summary>
    LoggedModelUploadFailed = 3,
}

/// <summary>A logged model.</summary>
/// <param name="Info">What identifies and describes it.</param>
/// <param name="Data">What was logged about it; printed even when empty.</param>
public sealed record LoggedModel(LoggedModelInfo Info, LoggedModelData Data);

/// <summary>What identifies and describes a logged model. Times are milliseconds since 1970.</summary>
/// <param name="ModelId"><c>m-</c> and 32 hex digits.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Name">Its name, which others may have too.</param>
/// <param name="CreationTimestampMs">Of creation.</param>
/// <param name="LastUpdatedTimestampMs">Of creation, finalization or deletion.</param>
/// <param name="ArtifactUri">Root of its files.</param>
/// <param name="Status">MLflow's name of the status.</param>
/// <param name="ModelType">Kind of model; "" when the creator named none.</param>
/// <param name="SourceRunId">The run that made it, as the creator sent it; "" when none.</param>
/// <param name="StatusMessage">More about the status; null when there is nothing to say.</param>
/// <param name="Tags">Null when it has none.</param>
public sealed record LoggedModelInfo(
    string ModelId,
    string ExperimentId,
    string Name,
    long CreationTimestampMs,
    long LastUpdatedTimestampMs,
    string ArtifactUri,
    string Status,
    string ModelType,
    string SourceRunId,
    string? StatusMessage,
    List<KeyValue>? Tags);

/// <summary>What was logged about a model; each list is null when it is empty.</summary>
/// <param name="Params">Parameters.</param>
/// <param name="Metrics">All points of its metrics, of whatever run.</param>
public sealed record LoggedModelData(List<KeyValue>? Params, List<LoggedModelMetric>? Metrics);

/// <summary>A point of a metric of a logged model.</summary>
/// <param name="Key">Name of the metric.</param>
/// <param name="Value">Its value; 0 for NaN, as in MLflow.</param>
/// <param name="Timestamp">Milliseconds since 1970.</param>
/// <param name="Step">Training step; any int64.</param>
/// <param name="DatasetName">The data set that it was measured on; null when that was not said.</param>
/// <param name="DatasetDigest">Digest of that data set.</param>
/// <param name="ModelId">The model.</param>
/// <param name="RunId">The run that logged it.</param>
public sealed record LoggedModelMetric(
    string Key, double Value, long Timestamp, long Step, string? DatasetName, string? DatasetDigest, string ModelId, string RunId);

/// <summary>logged-models: makes a model.</summary>
public sealed class CreateLoggedModel
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>At most 500 characters, none of <c>/ : . % " '</c>; made up when not given.</summary>
    public string? Name { get; set; }

    /// <summary>Kind of model, at most 500 characters.</summary>
    public string? ModelType { get; set; }

    /// <summary>The run that makes it, at most 32 characters; whether there is such a run is not asked.</summary>
    public string? SourceRunId { get; set; }

    /// <summary>Its first parameters.</summary>
    public List<KeyValue>? Params { get; set; }

    /// <summary>Its first tags.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>Answer with a logged model.</summary>
/// <param name="Model">The model.</param>
public sealed record LoggedModelResponse(LoggedModel Model);

/// <summary>A request that names a logged model only.</summary>
public class LoggedModelRequest
{
    /// <summary>The model.</summary>
    [InPath]
    public string? Id { get; set; }
}

/// <summary>Reads a logged model.</summary>
public sealed class GetLoggedModel : LoggedModelRequest
{
    /// <summary>Whether a deleted one is found as well.</summary>
    public bool? AllowDeleted { get; set; }
}

/// <summary>Ends the making of a logged model.</summary>
public sealed class FinalizeLoggedModel : LoggedModelRequest
{
    /// <summary>Required, and the same as in the path.</summary>
    public string? ModelId { get; set; }

    /// <summary>Required.</summary>
    public LoggedModelStatus? Status { get; set; }
}

/// <summary>Sets tags of a logged model.</summary>
public sealed class SetLoggedModelTags : LoggedModelRequest
{
    /// <summary>The tags; of equal keys the last one counts.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>Deletes a tag of a logged model.</summary>
public sealed class DeleteLoggedModelTag : LoggedModelRequest
{
    /// <summary>Name of the tag.</summary>
    [InPath]
    public string? Key { get; set; }
}

/// <summary>Adds parameters to a logged model.</summary>
public sealed class LogLoggedModelParams : LoggedModelRequest
{
    /// <summary>Required, and the same as in the path.</summary>
    public string? ModelId { get; set; }

    /// <summary>The parameters; one that is there keeps its value.</summary>
    public List<KeyValue>? Params { get; set; }
}

/// <summary>Lists the files of a logged model.</summary>
public sealed class ListLoggedModelArtifacts : LoggedModelRequest
{
    /// <summary>A folder below the model's root.</summary>
    public string? ArtifactDirectoryPath { get; set; }

    /// <summary>Taken and ignored: all files are listed.</summary>
    public string? PageToken { get; set; }
}

/// <summary>logged-models/search.</summary>
public sealed class SearchLoggedModels
{
    /// <summary>Required; nothing is found in none.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Filter language of contract: search §6.</summary>
    public string? Filter { get; set; }

    /// <summary>The data sets whose metrics the filter looks at; all when there are none.</summary>
    public List<DatasetFilter>? Datasets { get; set; }

    /// <summary>50 when absent, 100 when 0.</summary>
    public int? MaxResults { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<LoggedModelOrder>? OrderBy { get; set; }

    /// <summary>Token of the page before; the rest of the request has to be the same.</summary>
    public string? PageToken { get; set; }
}

/// <summary>A data set by which a search of logged models is restricted.</summary>
public sealed class DatasetFilter
{
    /// <summary>Required.</summary>
    public string? DatasetName { get; set; }

    /// <summary>Any when absent.</summary>
    public string? DatasetDigest { get; set; }
}

/// <summary>A key of the order of logged models.</summary>
public sealed class LoggedModelOrder
{
    /// <summary>Required: an attribute, or <c>metrics.</c> and the name of a metric.</summary>
    public string? FieldName { get; set; }

    /// <summary>True when absent.</summary>
    public bool? Ascending { get; set; }

    /// <summary>The data set on which the metric was measured; any when absent.</summary>
    public string? DatasetName { get; set; }

    /// <summary>Digest of that data set; any when absent.</summary>
    public string? DatasetDigest { get; set; }
}

/// <summary>Answer to logged-models/search.</summary>
/// <param name="Models">Null when none was found.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchLoggedModelsResponse(List<LoggedModel>? Models, string? NextPageToken);

[JsonSerializable(typeof(CreateLoggedModel))]
[JsonSerializable(typeof(LoggedModelResponse))]
[JsonSerializable(typeof(LoggedModelRequest))]
[JsonSerializable(typeof(GetLoggedModel))]
[JsonSerializable(typeof(FinalizeLoggedModel))]
[JsonSerializable(typeof(SetLoggedModelTags))]
[JsonSerializable(typeof(DeleteLoggedModelTag))]
[JsonSerializable(typeof(LogLoggedModelParams))]
[JsonSerializable(typeof(ListLoggedModelArtifacts))]
[JsonSerializable(typeof(SearchLoggedModels))]
[JsonSerializable(typeof(SearchLoggedModelsResponse))]
internal sealed partial class LoggedModelsJson : JsonSerializerContext;
