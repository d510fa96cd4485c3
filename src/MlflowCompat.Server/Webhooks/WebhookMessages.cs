using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Webhooks;

/// <summary>Whether events are delivered to a webhook.</summary>
[JsonConverter(typeof(ProtoEnumConverter<WebhookStatus>))]
public enum WebhookStatus
{
    /// <summary>They are.</summary>
    Active = 1,

    /// <summary>They are not, and those that happen meanwhile are not delivered later.</summary>
    Disabled = 2,
}

/// <summary>What something happens to.</summary>
[JsonConverter(typeof(ProtoEnumConverter<WebhookEntity>))]
public enum WebhookEntity
{
    /// <summary>A registered model.</summary>
    RegisteredModel = 1,

    /// <summary>A version of a model.</summary>
    ModelVersion = 2,

    /// <summary>A tag of a version.</summary>
    ModelVersionTag = 3,

    /// <summary>An alias of a version.</summary>
    ModelVersionAlias = 4,

    /// <summary>A prompt.</summary>
    Prompt = 5,

    /// <summary>A version of a prompt.</summary>
    PromptVersion = 6,

    /// <summary>A tag of a prompt.</summary>
    PromptTag = 7,

    /// <summary>A tag of a version of a prompt.</summary>
    PromptVersionTag = 8,

    /// <summary>An alias of a version of a prompt.</summary>
    PromptAlias = 9,

    /// <summary>A budget of MLflow's gateway; this server has none, so nothing happens to it (contract: since-3.6 §1.7).</summary>
    BudgetPolicy = 10,
}

/// <summary>What happens.</summary>
[JsonConverter(typeof(ProtoEnumConverter<WebhookAction>))]
public enum WebhookAction
{
    /// <summary>It is made.</summary>
    Created = 1,

    /// <summary>It is changed; no entity has this event.</summary>
    Updated = 2,

    /// <summary>It is deleted.</summary>
    Deleted = 3,

    /// <summary>A tag gets a value.</summary>
    Set = 4,

    /// <summary>A budget is used up.</summary>
    Exceeded = 5,
}

/// <summary>A kind of event.</summary>
public sealed class WebhookEvent
{
    /// <summary>Required.</summary>
    public WebhookEntity? Entity { get; set; }

    /// <summary>Required; it has to be one that the entity has.</summary>
    public WebhookAction? Action { get; set; }
}

/// <summary>A webhook as clients see it: without its secret. Times are milliseconds since 1970.</summary>
/// <param name="WebhookId">A UUID with hyphens.</param>
/// <param name="Name">Need not be unique.</param>
/// <param name="Description">Null when it has none.</param>
/// <param name="Url">Where deliveries are sent.</param>
/// <param name="Events">What it subscribes to.</param>
/// <param name="Status">Whether events are delivered.</param>
/// <param name="CreationTimestamp">Of creation.</param>
/// <param name="LastUpdatedTimestamp">Of the last change.</param>
public sealed record Webhook(
    string WebhookId,
    string Name,
    string? Description,
    string Url,
    List<WebhookEvent> Events,
    WebhookStatus Status,
    long CreationTimestamp,
    long LastUpdatedTimestamp);

/// <summary>Creates a webhook.</summary>
public sealed class CreateWebhook
{
    /// <summary>Required: at most 63 letters, digits, dots, underscores and hyphens, the first and the last one a letter or a digit.</summary>
    public string? Name { get; set; }

    /// <summary>At most 1000 characters.</summary>
    public string? Description { get; set; }

    /// <summary>Required: a public https address of at most 500 characters, unless the server allows others.</summary>
    public string? Url { get; set; }

    /// <summary>Required: at least one, each once.</summary>
    public List<WebhookEvent>? Events { get; set; }

    /// <summary>What deliveries are signed with, at most 1000 characters; it is never shown again.</summary>
    public string? Secret { get; set; }

    /// <summary>Active when absent.</summary>
    public WebhookStatus? Status { get; set; }
}

/// <summary>Lists webhooks, the newest first.</summary>
public sealed class ListWebhooks
{
    /// <summary>1 to 1000; 100 when absent or 0.</summary>
    public long? MaxResults { get; set; }

    /// <summary>Token of the page before.</summary>
    public string? PageToken { get; set; }
}

/// <summary>A page of webhooks.</summary>
/// <param name="Webhooks">Null when there are none.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record ListWebhooksResponse(List<Webhook>? Webhooks, string? NextPageToken);

/// <summary>Names a webhook.</summary>
public sealed class WebhookRequest
{
    /// <summary>Its id.</summary>
    [InPath]
    public string? WebhookId { get; set; }
}

/// <summary>Changes a webhook; what is absent or empty stays as it is.</summary>
public sealed class UpdateWebhook
{
    /// <summary>Its id.</summary>
    [InPath]
    public string? WebhookId { get; set; }

    /// <inheritdoc cref="CreateWebhook.Name"/>
    public string? Name { get; set; }

    /// <inheritdoc cref="CreateWebhook.Description"/>
    public string? Description { get; set; }

    /// <inheritdoc cref="CreateWebhook.Url"/>
    public string? Url { get; set; }

    /// <summary>All that it subscribes to from now on, each once.</summary>
    public List<WebhookEvent>? Events { get; set; }

    /// <inheritdoc cref="CreateWebhook.Secret"/>
    public string? Secret { get; set; }

    /// <summary>Whether events are delivered.</summary>
    public WebhookStatus? Status { get; set; }
}

/// <summary>The webhook that was asked for, made or changed.</summary>
/// <param name="Webhook">The webhook.</param>
public sealed record WebhookResponse(Webhook Webhook);

/// <summary>Sends an event that did not happen, to see whether it arrives.</summary>
public sealed class TestWebhook
{
    /// <summary>The webhook's id.</summary>
    [InPath]
    public string? WebhookId { get; set; }

    /// <summary>The first one that the webhook subscribes to when absent.</summary>
    public WebhookEvent? Event { get; set; }
}

/// <summary>Answer to a test.</summary>
/// <param name="Result">What came of it.</param>
public sealed record TestWebhookResponse(WebhookTestResult Result);

/// <summary>What came of sending a test event.</summary>
/// <param name="Success">Whether the receiver has taken it, with a status from 200 to 299.</param>
/// <param name="ResponseStatus">Its status; null when there was no answer.</param>
/// <param name="ResponseBody">The beginning of its answer.</param>
/// <param name="ErrorMessage">Why there was no answer.</param>
public sealed record WebhookTestResult(bool Success, int? ResponseStatus, string? ResponseBody, string? ErrorMessage);

[JsonSerializable(typeof(CreateWebhook))]
[JsonSerializable(typeof(ListWebhooks))]
[JsonSerializable(typeof(ListWebhooksResponse))]
[JsonSerializable(typeof(WebhookRequest))]
[JsonSerializable(typeof(UpdateWebhook))]
[JsonSerializable(typeof(WebhookResponse))]
[JsonSerializable(typeof(TestWebhook))]
[JsonSerializable(typeof(TestWebhookResponse))]
internal sealed partial class WebhooksJson : JsonSerializerContext;
