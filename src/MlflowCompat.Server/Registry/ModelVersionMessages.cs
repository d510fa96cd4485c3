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

/// <summary>model-versions/update.</summary>
public sealed class UpdateModelVersion : IModelVersionRequest
{
    /// <inheritdoc/>
    public string? Name { get; set; }

    /// <inheritdoc/>
    public string? Version { get; set; }

    /// <summary>At most 5000 characters; clears the description when absent.</summary>
    public string? Description { get; set; }
}

/// <summary>model-versions/transition-stage.</summary>
public sealed class TransitionModelVersionStage : IModelVersionRequest
{
    /// <inheritdoc/>
    public string? Name { get; set; }

    /// <inheritdoc/>
    public string? Version { get; set; }

    /// <summary>Required: <c>None</c>, <c>Staging</c>, <c>Production</c> or <c>Archived</c>, in any case.</summary>
    public string? Stage { get; set; }

    /// <summary>Whether the other versions in that stage are archived; only for <c>Staging</c> and <c>Production</c>.</summary>
    public bool? ArchiveExistingVersions { get; set; }
}

/// <summary>model-versions/set-tag and delete-tag.</summary>
public sealed class ModelVersionTagRequest : IModelVersionRequest
{
    /// <inheritdoc/>
    public string? Name { get; set; }

    /// <inheritdoc/>
    public string? Version { get; set; }

    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>At most 100,000 characters; "" when absent.</summary>
    public string? Value { get; set; }
}

/// <summary>Answer to model-versions/get-download-uri.</summary>
/// <param name="ArtifactUri">Where the files are; of a prompt, which has none, the text that was given as its source.</param>
public sealed record ModelVersionDownloadUri(string ArtifactUri);

/// <summary>model-versions/set-approval, which only this server has. What is absent stays as it is.</summary>
public sealed class SetModelVersionApproval : IModelVersionRequest
{
    /// <inheritdoc/>
    public string? Name { get; set; }

    /// <inheritdoc/>
    public string? Version { get; set; }

    /// <summary>Who approves the version, at most 255 characters; the time is the server's. "" takes the approval back.</summary>
    public string? ApprovedBy { get; set; }

    /// <summary>At most 5000 characters; "" clears them.</summary>
    public string? ApprovalNotes { get; set; }

    /// <summary>Where it is, or is to be, deployed, at most 100 characters; "" clears it.</summary>
    public string? DeploymentTarget { get; set; }

    /// <summary>What was measured in production, by name; takes the place of what was given before.</summary>
    public Dictionary<string, double>? ProductionMetrics { get; set; }
}

/// <summary>What is known of a version's way to production. Times are milliseconds since 1970.</summary>
/// <param name="Name">Its registered model.</param>
/// <param name="Version">Its number as text.</param>
/// <param name="CurrentStage">Its stage.</param>
/// <param name="PreviousStage">The stage before; null when it has always been in this one.</param>
/// <param name="StageTransitionAt">Time of the last transition, or null.</param>
/// <param name="ApprovedBy">Who approved it, or null.</param>
/// <param name="ApprovedAt">When that was, or null.</param>
/// <param name="ApprovalNotes">Notes on it, or null.</param>
/// <param name="DeployedAt">Time of the first transition to production, or null.</param>
/// <param name="DeploymentTarget">Where it is deployed, or null.</param>
/// <param name="ProductionMetrics">What was measured in production, or null.</param>
public sealed record ModelVersionApproval(
    string Name,
    string Version,
    string CurrentStage,
    string? PreviousStage,
    long? StageTransitionAt,
    string? ApprovedBy,
    long? ApprovedAt,
    string? ApprovalNotes,
    long? DeployedAt,
    string? DeploymentTarget,
    Dictionary<string, double>? ProductionMetrics);

/// <summary>Answer to model-versions/set-approval and get-approval.</summary>
/// <param name="Approval">The approval, after a write as it is then.</param>
public sealed record ModelVersionApprovalResponse(ModelVersionApproval Approval);

/// <summary>Answer to requests for one version.</summary>
/// <param name="ModelVersion">The version, after a write as it is then.</param>
public sealed record ModelVersionResponse(ModelVersion ModelVersion);

[JsonSerializable(typeof(CreateModelVersion))]
[JsonSerializable(typeof(ModelVersionRequest))]
[JsonSerializable(typeof(ModelVersionResponse))]
[JsonSerializable(typeof(UpdateModelVersion))]
[JsonSerializable(typeof(TransitionModelVersionStage))]
[JsonSerializable(typeof(ModelVersionTagRequest))]
[JsonSerializable(typeof(ModelVersionDownloadUri))]
[JsonSerializable(typeof(SetModelVersionApproval))]
[JsonSerializable(typeof(ModelVersionApprovalResponse))]
internal sealed partial class ModelVersionsJson : JsonSerializerContext;
