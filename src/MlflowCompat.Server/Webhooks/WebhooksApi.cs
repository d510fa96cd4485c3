using System.Text.RegularExpressions;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Webhooks;

/// <summary>Webhooks (contract: endpoints §11).</summary>
public static partial class WebhooksApi
{
    private const int MaxDescriptionLength = 1000;
    private const int MaxSecretLength = 1000;
    private const int DefaultResults = 100;
    private const int MaxResults = 1000;

    private static readonly Dictionary<WebhookEntity, WebhookAction[]> ValidActions = new()
    {
        [WebhookEntity.RegisteredModel] = [WebhookAction.Created],
        [WebhookEntity.ModelVersion] = [WebhookAction.Created],
        [WebhookEntity.ModelVersionTag] = [WebhookAction.Set, WebhookAction.Deleted],
        [WebhookEntity.ModelVersionAlias] = [WebhookAction.Created, WebhookAction.Deleted],
        [WebhookEntity.Prompt] = [WebhookAction.Created],
        [WebhookEntity.PromptVersion] = [WebhookAction.Created],
        [WebhookEntity.PromptTag] = [WebhookAction.Set, WebhookAction.Deleted],
        [WebhookEntity.PromptVersionTag] = [WebhookAction.Set, WebhookAction.Deleted],
        [WebhookEntity.PromptAlias] = [WebhookAction.Created, WebhookAction.Deleted],
        [WebhookEntity.BudgetPolicy] = [WebhookAction.Exceeded],
    };

    /// <summary>Maps the endpoints.</summary>
    public static void MapWebhooks(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<WebhookStore>();
        routes.Post<CreateWebhook, WebhookResponse>("webhooks", Create);
        routes.Get<ListWebhooks, ListWebhooksResponse>("webhooks", List);
        routes.Get<WebhookRequest, WebhookResponse>("webhooks/{webhook_id}", Get);
        routes.Patch<UpdateWebhook, WebhookResponse>("webhooks/{webhook_id}", Update);
        routes.Delete<WebhookRequest, Empty>("webhooks/{webhook_id}", Delete);
        routes.Post<TestWebhook, TestWebhookResponse>("webhooks/{webhook_id}/test", Test);
    }

    private static async Task<WebhookResponse> Create(CreateWebhook request, WebhookStore store, CancellationToken cancellationToken)
    {
        var name = CheckName(FieldRules.Required(request.Name, "name"));
        var url = FieldRules.Required(request.Url, "url");
        var events = CheckEvents(request.Events ?? throw FieldRules.Missing("events"));
        var description = IfGiven(request.Description, MaxDescriptionLength, "description");
        var secret = IfGiven(request.Secret, MaxSecretLength, "secret");
        await store.Address.CheckAsync(url, cancellationToken).ConfigureAwait(false);
        return new WebhookResponse(await store
            .CreateAsync(name, description, url, events, secret, request.Status ?? WebhookStatus.Active, cancellationToken)
            .ConfigureAwait(false));
    }

    private static async Task<ListWebhooksResponse> List(ListWebhooks request, WebhookStore store, CancellationToken cancellationToken)
    {
        var maxResults = SearchLimits.MaxResults(request.MaxResults is { } given and not 0 ? given : DefaultResults, MaxResults);
        var page = await store.ListAsync(maxResults, PageToken.Offset(request.PageToken), cancellationToken).ConfigureAwait(false);
        return new ListWebhooksResponse(page.Items, page.NextPageToken);
    }

    private static async Task<WebhookResponse> Get(WebhookRequest request, WebhookStore store, CancellationToken cancellationToken) =>
        new(await store.GetAsync(request.WebhookId!, cancellationToken).ConfigureAwait(false));

    private static async Task<WebhookResponse> Update(UpdateWebhook request, WebhookStore store, CancellationToken cancellationToken)
    {
        var name = string.IsNullOrEmpty(request.Name) ? null : CheckName(request.Name);
        var description = IfGiven(request.Description, MaxDescriptionLength, "description");
        var secret = IfGiven(request.Secret, MaxSecretLength, "secret");
        var events = request.Events is { Count: > 0 } given ? CheckEvents(given) : null;
        var url = string.IsNullOrEmpty(request.Url) ? null : request.Url;
        if (url is not null)
            await store.Address.CheckAsync(url, cancellationToken).ConfigureAwait(false);
        return new WebhookResponse(await store
            .UpdateAsync(request.WebhookId!, name, description, url, events, secret, request.Status, cancellationToken)
            .ConfigureAwait(false));
    }

    private static async Task<Empty> Delete(WebhookRequest request, WebhookStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(request.WebhookId!, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<TestWebhookResponse> Test(TestWebhook request, WebhookStore store, CancellationToken cancellationToken)
    {
        if (request.Event is not null)
            CheckEvent(request.Event, "event");
        return new TestWebhookResponse(await store.TestAsync(request.WebhookId!, request.Event, cancellationToken).ConfigureAwait(false));
    }

    private static string CheckName(string name) => NameRule().IsMatch(name)
        ? name
        : throw MlflowException.InvalidValue(
            "name",
            MlflowException.Quote(name),
            "it must have at most 63 letters, digits, dots (.), underscores (_) and hyphens (-), and begin and end with a letter or a digit.");

    private static List<WebhookEvent> CheckEvents(List<WebhookEvent> events)
    {
        if (events.Count == 0)
            throw MlflowException.InvalidValue("events", "[]", "a webhook has to subscribe to at least one event.");
        var seen = new HashSet<(WebhookEntity?, WebhookAction?)>();
        for (var i = 0; i < events.Count; i++)
        {
            CheckEvent(events[i], $"events[{i}]");
            if (!seen.Add((events[i].Entity, events[i].Action)))
                throw MlflowException.InvalidValue($"events[{i}]", Describe(events[i]), "the event is given twice.");
        }

        return events;
    }

    private static void CheckEvent(WebhookEvent @event, string parameter)
    {
        var entity = FieldRules.Required(@event.Entity, $"{parameter}.entity");
        var action = FieldRules.Required(@event.Action, $"{parameter}.action");
        if (!ValidActions[entity].Contains(action))
        {
            throw MlflowException.InvalidValue(
                parameter,
                Describe(@event),
                $"valid actions of {RegistryEvent.Name(entity)} are: {string.Join(", ", ValidActions[entity].Select(RegistryEvent.Name))}.");
        }
    }

    private static string Describe(WebhookEvent @event) => $"{RegistryEvent.Name(@event.Entity!.Value)}.{RegistryEvent.Name(@event.Action!.Value)}";

    private static string? IfGiven(string? text, int maxLength, string parameter)
    {
        if (string.IsNullOrEmpty(text))
            return null;
        // Without the text itself, which may be a secret.
        return FieldRules.CodePoints(text) <= maxLength
            ? text
            : throw MlflowException.InvalidParameter($"'{parameter}' exceeds the maximum length of {maxLength} characters: it has {FieldRules.CodePoints(text)}");
    }

    [GeneratedRegex(@"\A[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?\z", RegexOptions.CultureInvariant)]
    private static partial Regex NameRule();
}
