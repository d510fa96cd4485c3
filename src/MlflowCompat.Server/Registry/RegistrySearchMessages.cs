using System.Text.Json.Serialization;

namespace MlflowCompat.Server.Registry;

/// <summary>registered-models/search.</summary>
public sealed class SearchRegisteredModels
{
    /// <summary>Filter language of contract: search §4. Prompts are found only when it asks for them.</summary>
    public string? Filter { get; set; }

    /// <summary>At most 1000; 100 when absent.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Order, one key per element; by name when absent.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer to registered-models/search.</summary>
/// <param name="RegisteredModels">Null when none was found.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchRegisteredModelsResponse(List<RegisteredModel>? RegisteredModels, string? NextPageToken);

/// <summary>model-versions/search.</summary>
public sealed class SearchModelVersions
{
    /// <summary>Filter language of contract: search §5. Versions of prompts are found only when it asks for them.</summary>
    public string? Filter { get; set; }

    /// <summary>1 to 200000; 200000 when absent.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Order, one key per element; the last changed come first when absent.</summary>
    public List<string>? OrderBy { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>Answer to model-versions/search.</summary>
/// <param name="ModelVersions">Without their aliases; null when none was found.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchModelVersionsResponse(List<ModelVersion>? ModelVersions, string? NextPageToken);

/// <summary>registered-models/get-latest-versions.</summary>
public sealed class GetLatestVersions
{
    /// <summary>Required: the registered model.</summary>
    public string? Name { get; set; }

    /// <summary>Stages in any case; all of them when absent or empty.</summary>
    public List<string>? Stages { get; set; }
}

/// <summary>Answer to registered-models/get-latest-versions.</summary>
/// <param name="ModelVersions">The newest version in each stage, newest first; null when there is none.</param>
public sealed record GetLatestVersionsResponse(List<ModelVersion>? ModelVersions);

[JsonSerializable(typeof(SearchRegisteredModels))]
[JsonSerializable(typeof(SearchRegisteredModelsResponse))]
[JsonSerializable(typeof(SearchModelVersions))]
[JsonSerializable(typeof(SearchModelVersionsResponse))]
[JsonSerializable(typeof(GetLatestVersions))]
[JsonSerializable(typeof(GetLatestVersionsResponse))]
internal sealed partial class RegistrySearchJson : JsonSerializerContext;
