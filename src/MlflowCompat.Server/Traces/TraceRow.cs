using System.Data.Common;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>A row of trace_info, and its two forms on the wire.</summary>
/// <param name="TraceId">Its id.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Timestamp">Start, milliseconds since 1970.</param>
/// <param name="Duration">Milliseconds; null as long as nothing has ended.</param>
/// <param name="Status">State.</param>
/// <param name="ClientRequestId">An id of the client's own.</param>
/// <param name="RequestPreview">Of the request.</param>
/// <param name="ResponsePreview">Of the response.</param>
/// <param name="Tags">Its tags; null when it has none.</param>
/// <param name="Metadata">Its metadata; null when it has none.</param>
internal sealed record TraceRow(
    string TraceId,
    long ExperimentId,
    long Timestamp,
    long? Duration,
    string Status,
    string? ClientRequestId,
    string? RequestPreview,
    string? ResponsePreview,
    List<KeyValue>? Tags,
    List<KeyValue>? Metadata)
{
    /// <summary>What <see cref="Read"/> reads.</summary>
    public const string Columns = """
        trace_id, experiment_id, timestamp_ms, execution_time_ms, status, client_request_id, request_preview, response_preview, tags, trace_metadata
        """;

    private const int MaxShownTagKey = 250;
    private const int MaxShownTagValue = 4096;
    private const int MaxShownMetadata = 250;

    /// <summary>A tag, or null.</summary>
    public string? Tag(string key) => Tags?.Find(tag => tag.Key == key)?.Value;

    /// <summary>An entry of the metadata, or null.</summary>
    public string? MetadataValue(string key) => Metadata?.Find(entry => entry.Key == key)?.Value;

    /// <summary>Reads a row.</summary>
    public static TraceRow Read(DbDataReader reader) => new(
        reader.GetString(0),
        reader.GetInt64(1),
        reader.GetInt64(2),
        reader.IsDBNull(3) ? null : reader.GetInt64(3),
        reader.GetString(4),
        reader.GetStringOrNull(5),
        reader.GetStringOrNull(6),
        reader.GetStringOrNull(7),
        Searching.Tags.Read(reader, 8),
        Searching.Tags.Read(reader, 9));

    /// <summary>The form of version 3.</summary>
    public TraceInfoV3 ToInfoV3(List<Assessment>? assessments) => new(
        TraceId,
        ClientRequestId,
        new TraceLocation
        {
            Type = TraceLocationType.MlflowExperiment,
            MlflowExperiment = new TraceExperiment { ExperimentId = Experiments.ExperimentId.Format(ExperimentId) },
        },
        TraceTimes.Format(Timestamp),
        Duration is { } duration ? TraceTimes.FormatDuration(duration) : null,
        Status switch { "OK" => TraceState.Ok, "ERROR" => TraceState.Error, "IN_PROGRESS" => TraceState.InProgress, _ => TraceState.StateUnspecified },
        Map(Metadata, MaxShownMetadata, MaxShownMetadata),
        Map(Tags, MaxShownTagKey, MaxShownTagValue),
        RequestPreview,
        ResponsePreview,
        assessments);

    /// <summary>The form of version 2.</summary>
    public TraceInfo ToInfo() => new(
        TraceId,
        Experiments.ExperimentId.Format(ExperimentId),
        Timestamp,
        Duration ?? 0,
        Status switch { "OK" => TraceStatus.Ok, "ERROR" => TraceStatus.Error, "IN_PROGRESS" => TraceStatus.InProgress, _ => TraceStatus.TraceStatusUnspecified },
        Cut(Metadata, MaxShownMetadata, MaxShownMetadata),
        Cut(Tags, MaxShownTagKey, MaxShownTagValue));

    private static List<KeyValue>? Cut(List<KeyValue>? entries, int key, int value) => entries?.ConvertAll(entry => new KeyValue
    {
        Key = FieldRules.Truncate(entry.Key ?? "", key),
        Value = FieldRules.Truncate(entry.Value ?? "", value),
    });

    private static Dictionary<string, string>? Map(List<KeyValue>? entries, int key, int value)
    {
        if (entries is null)
            return null;
        var map = new Dictionary<string, string>(entries.Count, StringComparer.Ordinal);
        foreach (var entry in entries)
            map[FieldRules.Truncate(entry.Key ?? "", key)] = FieldRules.Truncate(entry.Value ?? "", value);
        return map;
    }
}
