using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Experiments;

/// <summary>Which stages of life a search covers.</summary>
[JsonConverter(typeof(ProtoEnumConverter<ViewType>))]
public enum ViewType
{
    /// <summary>Only what is not deleted.</summary>
    ActiveOnly = 1,

    /// <summary>Only what is deleted.</summary>
    DeletedOnly = 2,

    /// <summary>Both.</summary>
    All = 3,
}

/// <summary>An experiment as clients see it. Times are milliseconds since 1970.</summary>
/// <param name="ExperimentId">Decimal text.</param>
/// <param name="Name">Unique, also among deleted experiments.</param>
/// <param name="ArtifactLocation">Root of the artifacts of its runs.</param>
/// <param name="LifecycleStage"><c>active</c> or <c>deleted</c>.</param>
/// <param name="LastUpdateTime">Of creation, renaming, deletion or restoration.</param>
/// <param name="CreationTime">Of creation.</param>
/// <param name="Tags">Null when it has none.</param>
public sealed record Experiment(
    string ExperimentId,
    string Name,
    string ArtifactLocation,
    string LifecycleStage,
    long LastUpdateTime,
    long CreationTime,
    List<KeyValue>? Tags);

/// <summary>experiments/create.</summary>
public sealed class CreateExperiment
{
    /// <summary>Required, at most 500 characters.</summary>
    public string? Name { get; set; }

    /// <summary>Root of its artifacts; empty for the server's own.</summary>
    public string? ArtifactLocation { get; set; }

    /// <summary>Its first tags.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>Answer to experiments/create.</summary>
/// <param name="ExperimentId">Id of the new experiment.</param>
public sealed record CreateExperimentResponse(string ExperimentId);

/// <summary>experiments/get, delete and restore.</summary>
public sealed class ExperimentRequest
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }
}

/// <summary>experiments/get-by-name.</summary>
public sealed class GetExperimentByName
{
    /// <summary>Required.</summary>
    public string? ExperimentName { get; set; }
}

/// <summary>Answer to experiments/get and get-by-name.</summary>
/// <param name="Experiment">The experiment, which may be a deleted one.</param>
public sealed record GetExperimentResponse(Experiment Experiment);

/// <summary>experiments/search.</summary>
public sealed class SearchExperiments
{
    /// <summary>Required, 1 to 50000.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }

    /// <summary>Filter language of contract: search §3.</summary>
    public string? Filter { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Active ones when absent.</summary>
    public ViewType? ViewType { get; set; }
}

/// <summary>Answer to experiments/search.</summary>
/// <param name="Experiments">Null when none was found.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchExperimentsResponse(List<Experiment>? Experiments, string? NextPageToken);

/// <summary>experiments/update.</summary>
public sealed class UpdateExperiment
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required, at most 500 characters.</summary>
    public string? NewName { get; set; }
}

/// <summary>experiments/set-experiment-tag and delete-experiment-tag.</summary>
public sealed class ExperimentTagRequest
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>At most 5000 characters; "" when absent.</summary>
    public string? Value { get; set; }
}

[JsonSerializable(typeof(CreateExperiment))]
[JsonSerializable(typeof(CreateExperimentResponse))]
[JsonSerializable(typeof(ExperimentRequest))]
[JsonSerializable(typeof(GetExperimentByName))]
[JsonSerializable(typeof(GetExperimentResponse))]
[JsonSerializable(typeof(SearchExperiments))]
[JsonSerializable(typeof(SearchExperimentsResponse))]
[JsonSerializable(typeof(UpdateExperiment))]
[JsonSerializable(typeof(ExperimentTagRequest))]
internal sealed partial class ExperimentsJson : JsonSerializerContext;
