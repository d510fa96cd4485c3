using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>A version of a registered model, or of a prompt. Times are milliseconds since 1970.</summary>
/// <param name="Name">Its registered model.</param>
/// <param name="Version">Its number as text.</param>
/// <param name="CreationTimestamp">Of creation.</param>
/// <param name="LastUpdatedTimestamp">Of creation, update or transition, or of the renaming of its registered model.</param>
/// <param name="CurrentStage"><c>None</c>, <c>Staging</c>, <c>Production</c> or <c>Archived</c>.</param>
/// <param name="Description">Null after it was cleared; "" when none was given.</param>
/// <param name="Source">Where its files came from, as the client said; of a prompt any text.</param>
/// <param name="RunId">The run that made it; "" when unknown. The run may live on another server.</param>
/// <param name="Status">Always <c>READY</c>.</param>
/// <param name="RunLink">A link to that run; "" when there is none.</param>
/// <param name="Tags">Null when it has none.</param>
/// <param name="Aliases">Null when it has none, or where they are not told.</param>
public sealed record ModelVersion(
    string Name,
    string Version,
    long CreationTimestamp,
    long LastUpdatedTimestamp,
    string CurrentStage,
    string? Description,
    string Source,
    string RunId,
    string Status,
    string RunLink,
    List<KeyValue>? Tags,
    List<string>? Aliases);

/// <summary>model-versions/create.</summary>
public sealed class CreateModelVersion
{
    /// <summary>Required: the registered model.</summary>
    public string? Name { get; set; }

    /// <summary>Required: where the files are, at most 500 characters.</summary>
    public string? Source { get; set; }

    /// <summary>The run that made it; it need not be known here.</summary>
    public string? RunId { get; set; }

    /// <summary>Its first tags.</summary>
    public List<KeyValue>? Tags { get; set; }

    /// <summary>A link to the run, at most 500 characters.</summary>
    public string? RunLink { get; set; }

    /// <summary>At most 5000 characters.</summary>
    public string? Description { get; set; }

    /// <summary>The logged model that it is.</summary>
    public string? ModelId { get; set; }
}

/// <summary>model-versions/get, delete, get-download-uri and get-approval.</summary>
public sealed class ModelVersionRequest : IModelVersionRequest
{
    /// <inheritdoc/>
    public string? Name { get; set; }

    /// <inheritdoc/>
    public string? Version { get; set; }
}

/// <summary>A request that names a version.</summary>
public interface IModelVersionRequest
{
    /// <summary>Required: the registered model.</summary>
    string? Name { get; }

    /// <summary>Required: the version's number, as text.</summary>
    string? Version { get; }
}

/// <summary>Answer to requests for one version.</summary>
/// <param name="ModelVersion">The version, after a write as it is then.</param>
public sealed record ModelVersionResponse(ModelVersion ModelVersion);

[JsonSerializable(typeof(CreateModelVersion))]
[JsonSerializable(typeof(ModelVersionRequest))]
[JsonSerializable(typeof(ModelVersionResponse))]
internal sealed partial class ModelVersionsJson : JsonSerializerContext;
