using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Scorers;

/// <summary>A version of a scorer as clients see it.</summary>
/// <param name="ExperimentId">The experiment; a number here, whereas it is text everywhere else.</param>
/// <param name="ScorerName">Name of the scorer.</param>
/// <param name="ScorerVersion">Number of the version, from 1.</param>
/// <param name="SerializedScorer">What it was registered as.</param>
/// <param name="CreationTime">When, in milliseconds since 1970.</param>
/// <param name="ScorerId">UUID of the scorer, the same for all versions.</param>
public sealed record Scorer(
    long ExperimentId, string ScorerName, int ScorerVersion, string SerializedScorer, long CreationTime, string ScorerId);

/// <summary>scorers/register.</summary>
public sealed class RegisterScorer
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required, at most 256 characters, not only blanks.</summary>
    public string? Name { get; set; }

    /// <summary>Required; any text.</summary>
    public string? SerializedScorer { get; set; }
}

/// <summary>Answer to scorers/register.</summary>
/// <param name="Version">Number of the new version.</param>
/// <param name="ScorerId">UUID of the scorer.</param>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Name">Its name.</param>
/// <param name="SerializedScorer">What was registered.</param>
/// <param name="CreationTime">When, in milliseconds since 1970.</param>
public sealed record RegisterScorerResponse(
    int Version, string ScorerId, string ExperimentId, string Name, string SerializedScorer, long CreationTime);

/// <summary>scorers/list.</summary>
public sealed class ListScorers
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }
}

/// <summary>scorers/versions.</summary>
public sealed class ListScorerVersions
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required.</summary>
    public string? Name { get; set; }
}

/// <summary>Answer to scorers/list and scorers/versions.</summary>
/// <param name="Scorers">Null when there are none.</param>
public sealed record ListScorersResponse(List<Scorer>? Scorers);

/// <summary>scorers/get and scorers/delete.</summary>
public sealed class ScorerRequest
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required.</summary>
    public string? Name { get; set; }

    /// <summary>The version; absent, the latest one is read, and all are deleted.</summary>
    public int? Version { get; set; }
}

/// <summary>Answer to scorers/get.</summary>
/// <param name="Scorer">The version.</param>
public sealed record GetScorerResponse(Scorer Scorer);

/// <summary>scorers/online-configs.</summary>
public sealed class GetOnlineScoringConfigs
{
    /// <summary>Required: ids of scorers.</summary>
    public List<string>? ScorerIds { get; set; }
}

/// <summary>Answer to scorers/online-configs.</summary>
/// <param name="Configs">By which of them the server scores traces as they come in: none.</param>
public sealed record OnlineScoringConfigsResponse(List<Empty> Configs);

/// <summary>scorers/online-config.</summary>
public sealed class SetOnlineScoringConfig
{
    /// <summary>Required.</summary>
    [JsonConverter(typeof(ExperimentIdConverter))]
    public string? ExperimentId { get; set; }

    /// <summary>Required: the scorer.</summary>
    public string? Name { get; set; }

    /// <summary>Required: the part of the traces, from 0 to 1.</summary>
    public double? SampleRate { get; set; }

    /// <summary>Which traces, as a search of traces has it.</summary>
    public string? FilterString { get; set; }
}

/// <summary>How a scorer scores traces as they come in.</summary>
/// <param name="OnlineScoringConfigId">32 hex digits, others each time that it is set.</param>
/// <param name="ScorerId">UUID of the scorer.</param>
/// <param name="SampleRate">The part of the traces.</param>
/// <param name="ExperimentId">Whose traces.</param>
/// <param name="FilterString">Which traces; null for all.</param>
public sealed record OnlineScoringConfig(
    string OnlineScoringConfigId,
    string ScorerId,
    double SampleRate,
    string ExperimentId,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] string? FilterString);

/// <summary>Answer to scorers/online-config.</summary>
/// <param name="Config">What was set.</param>
public sealed record OnlineScoringConfigResponse(OnlineScoringConfig Config);

[JsonSerializable(typeof(SetOnlineScoringConfig))]
[JsonSerializable(typeof(OnlineScoringConfigResponse))]
[JsonSerializable(typeof(GetOnlineScoringConfigs))]
[JsonSerializable(typeof(OnlineScoringConfigsResponse))]
[JsonSerializable(typeof(RegisterScorer))]
[JsonSerializable(typeof(RegisterScorerResponse))]
[JsonSerializable(typeof(ListScorers))]
[JsonSerializable(typeof(ListScorerVersions))]
[JsonSerializable(typeof(ListScorersResponse))]
[JsonSerializable(typeof(ScorerRequest))]
[JsonSerializable(typeof(GetScorerResponse))]
internal sealed partial class ScorersJson : JsonSerializerContext;
