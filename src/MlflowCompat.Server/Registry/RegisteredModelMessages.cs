using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>A registered model or prompt as clients see it. Times are milliseconds since 1970.</summary>
/// <param name="Name">Unique among models and prompts.</param>
/// <param name="CreationTimestamp">Of creation.</param>
/// <param name="LastUpdatedTimestamp">Of creation, update or renaming, or of the last change of which versions there are in which stage.</param>
/// <param name="Description">Null when it has none.</param>
/// <param name="LatestVersions">The newest version in each stage, newest first, without aliases; null when it has no versions.</param>
/// <param name="Tags">Null when it has none.</param>
/// <param name="Aliases">Null when it has none.</param>
public sealed record RegisteredModel(
    string Name,
    long CreationTimestamp,
    long LastUpdatedTimestamp,
    string? Description,
    List<ModelVersion>? LatestVersions,
    List<KeyValue>? Tags,
    List<RegisteredModelAlias>? Aliases);

/// <summary>A name that leads to one version of a registered model.</summary>
/// <param name="Alias">The name.</param>
/// <param name="Version">The version's number as text.</param>
public sealed record RegisteredModelAlias(string Alias, string Version);

/// <summary>registered-models/create.</summary>
public sealed class CreateRegisteredModel
{
    /// <summary>Required, at most 256 characters; not blank, <c>.</c> or <c>..</c>.</summary>
    public string? Name { get; set; }

    /// <summary>Its first tags; the tag <c>mlflow.prompt.is_prompt</c> with the value <c>true</c> makes it a prompt.</summary>
    public List<KeyValue>? Tags { get; set; }

    /// <summary>At most 5000 characters.</summary>
    public string? Description { get; set; }
}

/// <summary>registered-models/get and delete.</summary>
public sealed class RegisteredModelRequest
{
    /// <summary>Required.</summary>
    public string? Name { get; set; }
}

/// <summary>registered-models/update.</summary>
public sealed class UpdateRegisteredModel
{
    /// <summary>Required.</summary>
    public string? Name { get; set; }

    /// <summary>At most 5000 characters; clears the description when absent.</summary>
    public string? Description { get; set; }
}

/// <summary>registered-models/rename.</summary>
public sealed class RenameRegisteredModel
{
    /// <summary>Required.</summary>
    public string? Name { get; set; }

    /// <summary>Required; the same rules as at creation.</summary>
    public string? NewName { get; set; }
}

/// <summary>registered-models/set-tag and delete-tag.</summary>
public sealed class RegisteredModelTagRequest
{
    /// <summary>Required.</summary>
    public string? Name { get; set; }

    /// <summary>Required.</summary>
    public string? Key { get; set; }

    /// <summary>At most 100,000 characters; "" when absent.</summary>
    public string? Value { get; set; }
}

/// <summary>Answer to registered-models/create, get, update and rename.</summary>
/// <param name="RegisteredModel">The registered model after the request.</param>
public sealed record RegisteredModelResponse(RegisteredModel RegisteredModel);

/// <summary>Setting an alias.</summary>
public sealed class SetRegisteredModelAlias
{
    /// <summary>Required: the registered model.</summary>
    public string? Name { get; set; }

    /// <summary>Required: letters, digits, <c>_</c> and <c>-</c>, at most 255; neither <c>latest</c> nor <c>v</c> and a number.</summary>
    public string? Alias { get; set; }

    /// <summary>Required: the version's number, as text.</summary>
    public string? Version { get; set; }
}

/// <summary>Looking up or deleting an alias.</summary>
public sealed class RegisteredModelAliasRequest
{
    /// <summary>Required: the registered model.</summary>
    public string? Name { get; set; }

    /// <summary>Required. Looked up, <c>latest</c> in any case is the newest version.</summary>
    public string? Alias { get; set; }
}

[JsonSerializable(typeof(CreateRegisteredModel))]
[JsonSerializable(typeof(RegisteredModelRequest))]
[JsonSerializable(typeof(UpdateRegisteredModel))]
[JsonSerializable(typeof(RenameRegisteredModel))]
[JsonSerializable(typeof(RegisteredModelTagRequest))]
[JsonSerializable(typeof(RegisteredModelResponse))]
[JsonSerializable(typeof(SetRegisteredModelAlias))]
[JsonSerializable(typeof(RegisteredModelAliasRequest))]
internal sealed partial class RegisteredModelsJson : JsonSerializerContext;
