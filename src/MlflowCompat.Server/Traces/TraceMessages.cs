using System.Text.Json.Serialization;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>State of a trace.</summary>
[JsonConverter(typeof(ProtoEnumConverter<TraceState>))]
public enum TraceState
{
    /// <summary>Not said.</summary>
    StateUnspecified = 0,

    /// <summary>Ended well.</summary>
    Ok = 1,

    /// <summary>Ended with an error.</summary>
    Error = 2,

    /// <summary>Not ended.</summary>
    InProgress = 3,
}

/// <summary>State of a trace, in the words of version 2.</summary>
[JsonConverter(typeof(ProtoEnumConverter<TraceStatus>))]
public enum TraceStatus
{
    /// <summary>Not said.</summary>
    TraceStatusUnspecified = 0,

    /// <summary>Ended well.</summary>
    Ok = 1,

    /// <summary>Ended with an error.</summary>
    Error = 2,

    /// <summary>Not ended.</summary>
    InProgress = 3,
}

/// <summary>Kind of place that a trace is in.</summary>
[JsonConverter(typeof(ProtoEnumConverter<TraceLocationType>))]
public enum TraceLocationType
{
    /// <summary>Not said.</summary>
    TraceLocationTypeUnspecified = 0,

    /// <summary>An experiment.</summary>
    MlflowExperiment = 1,

    /// <summary>A table of Databricks; not of this server.</summary>
    InferenceTable = 2,
}

/// <summary>The experiment of a trace.</summary>
public sealed class TraceExperiment
{
    /// <summary>Decimal text.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }
}

/// <summary>Where a trace is.</summary>
public sealed class TraceLocation
{
    /// <summary>What kind of place.</summary>
    public TraceLocationType? Type { get; set; }

    /// <summary>The experiment, if it is one.</summary>
    public TraceExperiment? MlflowExperiment { get; set; }
}

/// <summary>What is known of a trace, as clients send it.</summary>
public sealed class TraceInfoGiven
{
    /// <summary>At most 50 characters.</summary>
    public string? TraceId { get; set; }

    /// <summary>An id of the client's own, at most 50 characters.</summary>
    public string? ClientRequestId { get; set; }

    /// <summary>Its experiment.</summary>
    public TraceLocation? TraceLocation { get; set; }

    /// <summary>Start, RFC 3339.</summary>
    public string? RequestTime { get; set; }

    /// <summary>Duration, as in <c>1.500s</c>.</summary>
    public string? ExecutionDuration { get; set; }

    /// <summary>State.</summary>
    public TraceState? State { get; set; }

    /// <summary>Metadata, which does not change afterwards.</summary>
    public Dictionary<string, string>? TraceMetadata { get; set; }

    /// <summary>Tags.</summary>
    public Dictionary<string, string>? Tags { get; set; }

    /// <summary>What listings show of the request, at most 1000 characters.</summary>
    public string? RequestPreview { get; set; }

    /// <summary>What listings show of the response, at most 1000 characters.</summary>
    public string? ResponsePreview { get; set; }

    /// <summary>Assessments that come with it.</summary>
    public List<AssessmentGiven>? Assessments { get; set; }
}

/// <summary>A trace, as clients send it; spans come by OTLP.</summary>
public sealed class TraceGiven
{
    /// <summary>Required.</summary>
    public TraceInfoGiven? TraceInfo { get; set; }
}

/// <summary>traces (POST, version 3).</summary>
public sealed class StartTraceV3
{
    /// <summary>Required.</summary>
    public TraceGiven? Trace { get; set; }
}

/// <summary>What is known of a trace.</summary>
/// <param name="TraceId">Its id.</param>
/// <param name="ClientRequestId">An id of the client's own.</param>
/// <param name="TraceLocation">Its experiment.</param>
/// <param name="RequestTime">Start, RFC 3339 with milliseconds.</param>
/// <param name="ExecutionDuration">Duration, as in <c>1.500s</c>; null as long as nothing has ended.</param>
/// <param name="State">State.</param>
/// <param name="TraceMetadata">Metadata; values are cut.</param>
/// <param name="Tags">Tags; values are cut.</param>
/// <param name="RequestPreview">Of the request.</param>
/// <param name="ResponsePreview">Of the response.</param>
/// <param name="Assessments">Assessments, in the order of their creation.</param>
public sealed record TraceInfoV3(
    string TraceId,
    string? ClientRequestId,
    TraceLocation TraceLocation,
    string RequestTime,
    string? ExecutionDuration,
    TraceState State,
    Dictionary<string, string>? TraceMetadata,
    Dictionary<string, string>? Tags,
    string? RequestPreview,
    string? ResponsePreview,
    List<Assessment>? Assessments);

/// <summary>A span: OpenTelemetry's message in protobuf's JSON form, ids in base64.</summary>
/// <param name="TraceId">16 bytes.</param>
/// <param name="SpanId">8 bytes.</param>
/// <param name="ParentSpanId">8 bytes; null for a root.</param>
/// <param name="Name">Its name.</param>
/// <param name="StartTimeUnixNano">Nanoseconds since 1970.</param>
/// <param name="EndTimeUnixNano">Nanoseconds since 1970; null as long as it has not ended.</param>
/// <param name="Attributes">Attributes, as AnyValue.</param>
/// <param name="Events">Events.</param>
/// <param name="Status">Code and message.</param>
public sealed record SpanMessage(
    string TraceId,
    string SpanId,
    string? ParentSpanId,
    string Name,
    long StartTimeUnixNano,
    long? EndTimeUnixNano,
    List<System.Text.Json.JsonElement>? Attributes,
    List<System.Text.Json.JsonElement>? Events,
    System.Text.Json.JsonElement Status);

/// <summary>A trace.</summary>
/// <param name="TraceInfo">What is known of it.</param>
/// <param name="Spans">Its spans, roots first, then by start; null where they are not asked for.</param>
public sealed record Trace(TraceInfoV3 TraceInfo, List<SpanMessage>? Spans = null);

/// <summary>Answer with one trace.</summary>
/// <param name="Trace">The trace.</param>
public sealed record TraceResponse(Trace Trace);

/// <summary>Answer to traces/batchGet.</summary>
/// <param name="Traces">In the order of the request; null when none was found.</param>
public sealed record TracesResponse(List<Trace>? Traces);

/// <summary>Answer to traces/batchGetInfos.</summary>
/// <param name="TraceInfos">In the order of the request; null when none was found.</param>
public sealed record TraceInfosResponse(List<TraceInfoV3>? TraceInfos);

/// <summary>traces/{trace_id}.</summary>
public sealed class TraceRequest
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? TraceId { get; set; }
}

/// <summary>traces/get.</summary>
public sealed class GetTrace
{
    /// <summary>Required.</summary>
    public string? TraceId { get; set; }

    /// <summary>Whether to answer although spans are still to come.</summary>
    public bool? AllowPartial { get; set; }
}

/// <summary>traces/batchGet and batchGetInfos.</summary>
public sealed class BatchGetTraces
{
    /// <summary>Required.</summary>
    public List<string>? TraceIds { get; set; }
}

/// <summary>traces/search.</summary>
public sealed class SearchTracesV3
{
    /// <summary>Required; only experiments are searched.</summary>
    public List<TraceLocation>? Locations { get; set; }

    /// <summary>Filter language of contract: search §7.</summary>
    public string? Filter { get; set; }

    /// <summary>1 to 500; 100 when absent.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer to traces/search.</summary>
/// <param name="Traces">Null when none was found.</param>
/// <param name="NextPageToken">Null when the page is not full.</param>
public sealed record SearchTracesV3Response(List<TraceInfoV3>? Traces, string? NextPageToken);

/// <summary>traces/{…}/tags: what both versions have.</summary>
public abstract class TraceTagFields
{
    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>"" when absent; cut at 8000 characters.</summary>
    public string? Value { get; set; }

    /// <summary>The trace.</summary>
    internal abstract string Trace { get; }
}

/// <summary>traces/{trace_id}/tags.</summary>
public sealed class TraceTagRequestV3 : TraceTagFields
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? TraceId { get; set; }

    internal override string Trace => TraceId!;
}

/// <summary>traces/{request_id}/tags.</summary>
public sealed class TraceTagRequest : TraceTagFields
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? RequestId { get; set; }

    internal override string Trace => RequestId!;
}

/// <summary>traces/delete-traces.</summary>
public sealed class DeleteTraces
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Traces that began then or before, in milliseconds since 1970.</summary>
    public long? MaxTimestampMillis { get; set; }

    /// <summary>At most so many, the oldest first; with <see cref="MaxTimestampMillis"/> only.</summary>
    public int? MaxTraces { get; set; }

    /// <summary>These traces.</summary>
    public List<string>? RequestIds { get; set; }
}

/// <summary>Answer to traces/delete-traces.</summary>
/// <param name="TracesDeleted">How many there were.</param>
public sealed record DeleteTracesResponse(long TracesDeleted);

/// <summary>traces/link-to-run.</summary>
public sealed class LinkTracesToRun
{
    /// <summary>Required, at most 100.</summary>
    public List<string>? TraceIds { get; set; }

    /// <summary>Required.</summary>
    public string? RunId { get; set; }
}

/// <summary>A version of a prompt.</summary>
public sealed class PromptVersion
{
    /// <summary>Name of the prompt.</summary>
    public string? Name { get; set; }

    /// <summary>Text of an integer.</summary>
    public string? Version { get; set; }
}

/// <summary>traces/link-prompts.</summary>
public sealed class LinkPrompts
{
    /// <summary>Required.</summary>
    public string? TraceId { get; set; }

    /// <summary>Required.</summary>
    public List<PromptVersion>? PromptVersions { get; set; }
}

/// <summary>traces/calculate-filter-correlation.</summary>
public sealed class CorrelateFilters
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Required.</summary>
    [JsonPropertyName("filter_string1")]
    public string? FilterString1 { get; set; }

    /// <summary>Required.</summary>
    [JsonPropertyName("filter_string2")]
    public string? FilterString2 { get; set; }

    /// <summary>What all traces that count have to meet.</summary>
    public string? BaseFilter { get; set; }
}

/// <summary>Answer to traces/calculate-filter-correlation.</summary>
/// <param name="Npmi">Normalized pointwise mutual information, −1 to 1; null when it is not defined.</param>
/// <param name="NpmiSmoothed">The same with half a trace added to each cell.</param>
/// <param name="Filter1Count">Traces that meet the first filter.</param>
/// <param name="Filter2Count">Traces that meet the second filter.</param>
/// <param name="JointCount">Traces that meet both.</param>
/// <param name="TotalCount">All traces that count.</param>
public sealed record FilterCorrelation(
    double? Npmi,
    double? NpmiSmoothed,
    [property: JsonPropertyName("filter1_count")] long Filter1Count,
    [property: JsonPropertyName("filter2_count")] long Filter2Count,
    long JointCount,
    long TotalCount);

/// <summary>traces (POST, version 2).</summary>
public sealed class StartTrace
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Start, milliseconds since 1970.</summary>
    public long? TimestampMs { get; set; }

    /// <summary>Metadata.</summary>
    public List<KeyValue>? RequestMetadata { get; set; }

    /// <summary>Tags.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>traces/{request_id} (PATCH, version 2).</summary>
public sealed class EndTrace
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? RequestId { get; set; }

    /// <summary>End, milliseconds since 1970.</summary>
    public long? TimestampMs { get; set; }

    /// <summary>Required.</summary>
    public TraceStatus? Status { get; set; }

    /// <summary>Metadata to set.</summary>
    public List<KeyValue>? RequestMetadata { get; set; }

    /// <summary>Tags to set.</summary>
    public List<KeyValue>? Tags { get; set; }
}

/// <summary>traces/{request_id}/info.</summary>
public sealed class GetTraceInfo
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? RequestId { get; set; }
}

/// <summary>What is known of a trace, in the form of version 2.</summary>
/// <param name="RequestId">Its id.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="TimestampMs">Start, milliseconds since 1970.</param>
/// <param name="ExecutionTimeMs">Duration; 0 as long as it has not ended.</param>
/// <param name="Status">State.</param>
/// <param name="RequestMetadata">Metadata; values are cut.</param>
/// <param name="Tags">Tags; values are cut.</param>
public sealed record TraceInfo(
    string RequestId,
    string ExperimentId,
    long TimestampMs,
    long ExecutionTimeMs,
    TraceStatus Status,
    List<KeyValue>? RequestMetadata,
    List<KeyValue>? Tags);

/// <summary>Answer with one trace in the form of version 2.</summary>
/// <param name="TraceInfo">The trace.</param>
public sealed record TraceInfoResponse(TraceInfo TraceInfo);

/// <summary>traces (GET, version 2).</summary>
public sealed class SearchTraces
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Filter language of contract: search §7.</summary>
    public string? Filter { get; set; }

    /// <summary>1 to 500; 100 when absent.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Order, one key per element.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer to the search of version 2.</summary>
/// <param name="Traces">Null when none was found.</param>
/// <param name="NextPageToken">Null when the page is not full.</param>
public sealed record SearchTracesResponse(List<TraceInfo>? Traces, string? NextPageToken);

[JsonSerializable(typeof(StartTraceV3))]
[JsonSerializable(typeof(TraceResponse))]
[JsonSerializable(typeof(TracesResponse))]
[JsonSerializable(typeof(TraceInfosResponse))]
[JsonSerializable(typeof(TraceRequest))]
[JsonSerializable(typeof(GetTrace))]
[JsonSerializable(typeof(BatchGetTraces))]
[JsonSerializable(typeof(SearchTracesV3))]
[JsonSerializable(typeof(SearchTracesV3Response))]
[JsonSerializable(typeof(TraceTagRequest))]
[JsonSerializable(typeof(TraceTagRequestV3))]
[JsonSerializable(typeof(DeleteTraces))]
[JsonSerializable(typeof(DeleteTracesResponse))]
[JsonSerializable(typeof(LinkTracesToRun))]
[JsonSerializable(typeof(LinkPrompts))]
[JsonSerializable(typeof(CorrelateFilters))]
[JsonSerializable(typeof(FilterCorrelation))]
[JsonSerializable(typeof(StartTrace))]
[JsonSerializable(typeof(EndTrace))]
[JsonSerializable(typeof(GetTraceInfo))]
[JsonSerializable(typeof(TraceInfoResponse))]
[JsonSerializable(typeof(SearchTraces))]
[JsonSerializable(typeof(SearchTracesResponse))]
internal sealed partial class TracesJson : JsonSerializerContext;
