using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Datasets;

/// <summary>runs/log-inputs.</summary>
public sealed class LogInputs
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>Data sets that went into the run.</summary>
    public List<DatasetInput>? Datasets { get; set; }

    /// <summary>Logged models that went into the run.</summary>
    public List<ModelInput>? Models { get; set; }
}

/// <summary>runs/outputs.</summary>
public sealed class LogOutputs
{
    /// <summary>Required.</summary>
    public string? RunId { get; set; }

    /// <summary>Required; may be empty.</summary>
    public List<ModelOutput>? Models { get; set; }
}

/// <summary>experiments/search-datasets.</summary>
public sealed class SearchDatasets
{
    /// <summary>1 to 20 experiments.</summary>
    [JsonConverter(typeof(ExperimentIdListConverter))]
    public List<string>? ExperimentIds { get; set; }
}

/// <summary>Answer to experiments/search-datasets.</summary>
/// <param name="DatasetSummaries">Null when there are none.</param>
public sealed record SearchDatasetsResponse(List<DatasetSummary>? DatasetSummaries);

/// <summary>A data set and one use of it.</summary>
/// <param name="ExperimentId">Its experiment.</param>
/// <param name="Name">Its name.</param>
/// <param name="Digest">Its digest.</param>
/// <param name="Context">What some run used it for; null when the run did not say.</param>
public sealed record DatasetSummary(string ExperimentId, string Name, string Digest, string? Context);

[JsonSerializable(typeof(LogInputs))]
[JsonSerializable(typeof(LogOutputs))]
[JsonSerializable(typeof(SearchDatasets))]
[JsonSerializable(typeof(SearchDatasetsResponse))]
internal sealed partial class DatasetsJson : JsonSerializerContext;
