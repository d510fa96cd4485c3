using System.Text.Json;
using System.Text.Json.Serialization;
using MlflowCompat.Server.Datasets;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Metrics;

namespace MlflowCompat.Server.Runs;

/// <summary>State of a run.</summary>
[JsonConverter(typeof(ProtoEnumConverter<RunStatus>))]
public enum RunStatus
{
    /// <summary>Going on; every run starts so.</summary>
    Running = 1,

    /// <summary>Waiting for its start.</summary>
    Scheduled = 2,

    /// <summary>Ended well; <c>completed</c> in the specified schema (mapping C-13).</summary>
    Finished = 3,

    /// <summary>Ended with an error.</summary>
    Failed = 4,

    /// <summary>Ended from outside.</summary>
    Killed = 5,
}

/// <summary>What identifies and describes a run. Times are milliseconds since 1970.</summary>
/// <param name="RunUuid">Same as <paramref name="RunId"/>, for old clients.</param>
/// <param name="RunId">32 hex digits.</param>
/// <param name="RunName">Its name, also in the tag <c>mlflow.runName</c>.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="UserId">As the creator sent it; "" when it did not.</param>
/// <param name="Status">MLflow's name of the status.</param>
/// <param name="StartTime">0 when the creator sent none.</param>
/// <param name="EndTime">Null while it has not ended.</param>
/// <param name="ArtifactUri">Root of its artifacts.</param>
/// <param name="LifecycleStage"><c>active</c> or <c>deleted</c>.</param>
public sealed record RunInfo(
    string RunUuid,
    string RunId,
    string RunName,
    string ExperimentId,
    string UserId,
    string Status,
    long StartTime,
    long? EndTime,
    string ArtifactUri,
    string LifecycleStage);

/// <summary>What was logged to a run; each list is null when it is empty.</summary>
/// <param name="Metrics">The latest point of each metric.</param>
/// <param name="Params">Parameters.</param>
/// <param name="Tags">Tags.</param>
public sealed record RunData(List<Metric>? Metrics, List<KeyValue>? Params, List<KeyValue>? Tags);

/// <summary>What went into a run; each list is null when it is empty.</summary>
/// <param name="DatasetInputs">Data sets.</param>
/// <param name="ModelInputs">Logged models.</param>
public sealed record RunInputs(List<DatasetInput>? DatasetInputs, List<ModelInput>? ModelInputs);

/// <summary>What came out of a run.</summary>
/// <param name="ModelOutputs">Logged models; null when there are none.</param>
public sealed record RunOutputs(List<ModelOutput>? ModelOutputs);

/// <summary>A run.</summary>
/// <param name="Info">What identifies it.</param>
/// <param name="Data">What was logged.</param>
/// <param name="Inputs">What went in; printed even when empty.</param>
/// <param name="Outputs">What came out; null in the answer to runs/create only.</param>
public sealed record Run(RunInfo Info, RunData Data, RunInputs Inputs, RunOutputs? Outputs);

/// <summary>runs/create.</summary>
public sealed class CreateRun
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Who runs it.</summary>
    public string? UserId { get; set; }

    /// <summary>Its name; made up when neither this nor the tag <c>mlflow.runName</c> is given.</summary>
    public string? RunName { get; set; }

    /// <summary>Milliseconds since 1970.</summary>
    public long? StartTime { get; set; }

    /// <summary>Its first tags.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>Answer to runs/create and runs/get.</summary>
/// <param name="Run">The run.</param>
public sealed record RunResponse(Run Run);

/// <summary>A request that names a run, by either of the names that MLflow has for that field.</summary>
public interface IRunRequest
{
    /// <summary>Required.</summary>
    string? RunId { get; }

    /// <summary>The older name of <see cref="RunId"/>, taken where that is absent.</summary>
    string? RunUuid { get; }
}

/// <summary>runs/get, and other calls that name a run only.</summary>
public class RunRequest : IRunRequest
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>The older name of <see cref="RunId"/>, taken where that is absent.</summary>
    public string? RunUuid { get; set; }
}

/// <summary>runs/delete and runs/restore, which never knew <c>run_uuid</c>.</summary>
public sealed class RunLifecycleRequest
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }
}

/// <summary>runs/update.</summary>
public sealed class UpdateRun : RunRequest
{
    /// <summary>The new status.</summary>
    public RunStatus? Status { get; set; }

    /// <summary>Milliseconds since 1970; 0 clears it.</summary>
    public long? EndTime { get; set; }

    /// <summary>The new name; "" leaves the old one.</summary>
    public string? RunName { get; set; }
}

/// <summary>Answer to runs/update.</summary>
/// <param name="RunInfo">The run as it is now.</param>
public sealed record UpdateRunResponse(RunInfo RunInfo);

/// <summary>runs/search.</summary>
public sealed class SearchRuns
{
    /// <summary>Where to look; nothing is found without.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Filter language of contract: search §2.</summary>
    public string? Filter { get; set; }

    /// <summary>Active ones when absent.</summary>
    [JsonConverter(typeof(LenientViewTypeConverter))]
    public ViewType? RunViewType { get; set; }

    /// <summary>1 to 50000; 1000 when absent.</summary>
    public int? MaxResults { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Of all enums, clients may get this one wrong: runs/search takes an unknown view for none (contract: semantics §1.2).</summary>
internal sealed class LenientViewTypeConverter : JsonConverter<ViewType>
{
    public override ViewType Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        ProtoEnumConverter<ViewType>.TryRead(ref reader) ?? ViewType.ActiveOnly;

    public override void Write(Utf8JsonWriter writer, ViewType value, JsonSerializerOptions options) =>
        writer.WriteStringValue(ProtoEnumConverter<ViewType>.NameOf(value));
}

/// <summary>Answer to runs/search.</summary>
/// <param name="Runs">Null when none was found.</param>
/// <param name="NextPageToken">Given whenever the page is full.</param>
public sealed record SearchRunsResponse(List<Run>? Runs, string? NextPageToken);

/// <summary>runs/set-tag.</summary>
public sealed class SetRunTag : RunRequest
{
    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>"" when absent.</summary>
    public string? Value { get; set; }
}

/// <summary>runs/delete-tag.</summary>
public sealed class DeleteRunTag
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>Required.</summary>
    public string? Key { get; set; }
}

/// <summary>runs/log-model: a model that a 1.x or 2.x client has put among the run's artifacts.</summary>
public sealed class LogModel
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>The MLmodel file as JSON; required.</summary>
    public string? ModelJson { get; set; }
}

[JsonSerializable(typeof(CreateRun))]
[JsonSerializable(typeof(RunResponse))]
[JsonSerializable(typeof(RunRequest))]
[JsonSerializable(typeof(RunLifecycleRequest))]
[JsonSerializable(typeof(UpdateRun))]
[JsonSerializable(typeof(UpdateRunResponse))]
[JsonSerializable(typeof(SearchRuns))]
[JsonSerializable(typeof(SearchRunsResponse))]
[JsonSerializable(typeof(SetRunTag))]
[JsonSerializable(typeof(DeleteRunTag))]
[JsonSerializable(typeof(LogModel))]
[JsonSerializable(typeof(List<DatasetInput>))]
[JsonSerializable(typeof(List<ModelInput>))]
[JsonSerializable(typeof(List<ModelOutput>))]
internal sealed partial class RunsJson : JsonSerializerContext;
