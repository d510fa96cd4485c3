using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Registry;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// Something that webhooks are told about (contract: endpoints §11, which says what each event carries). What happens to a prompt, which is
/// a registered model with a mark, has other names.
/// </summary>
public sealed class RegistryEvent
{
    /// <summary>A tag of clients that says whether a prompt is a text or a chat.</summary>
    private const string PromptType = "_mlflow_prompt_type";

    private static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private RegistryEvent(WebhookEntity entity, WebhookAction action, Action<Utf8JsonWriter> writeData)
    {
        Entity = entity;
        Action = action;
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("entity", Name(entity));
            writer.WriteString("action", Name(action));
            writer.WriteString("timestamp", DateTimeOffset.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffffzzz", CultureInfo.InvariantCulture));
            writer.WriteStartObject("data");
            writeData(writer);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }

        Payload = Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>What it happens to.</summary>
    public WebhookEntity Entity { get; }

    /// <summary>What happens.</summary>
    public WebhookAction Action { get; }

    /// <summary>The JSON that is sent, with the time at which this was made.</summary>
    public string Payload { get; }

    /// <summary>A model or a prompt is registered.</summary>
    public static RegistryEvent ModelCreated(bool isPrompt, string name, IReadOnlyList<KeyValue> tags, string? description) => new(
        isPrompt ? WebhookEntity.Prompt : WebhookEntity.RegisteredModel,
        WebhookAction.Created,
        data =>
        {
            data.WriteString("name", name);
            WriteTags(data, isPrompt ? tags.Where(tag => tag.Key is not (PromptTags.IsPrompt or PromptType)) : tags);
            data.WriteString("description", description ?? "");
        });

    /// <summary>A version of a model or a prompt is made.</summary>
    public static RegistryEvent VersionCreated(
        bool isPrompt, string name, string version, string source, string? runId, IReadOnlyList<KeyValue> tags, string? description) => new(
        isPrompt ? WebhookEntity.PromptVersion : WebhookEntity.ModelVersion,
        WebhookAction.Created,
        data =>
        {
            data.WriteString("name", name);
            data.WriteString("version", version);
            if (isPrompt)
            {
                data.WriteString("template", tags.LastOrDefault(tag => tag.Key == PromptTags.Text)?.Value);
                WriteTags(data, tags.Where(tag => tag.Key is not (PromptTags.IsPrompt or PromptTags.Text or PromptType)));
            }
            else
            {
                data.WriteString("source", source);
                data.WriteString("run_id", string.IsNullOrEmpty(runId) ? null : runId);
                WriteTags(data, tags);
            }

            data.WriteString("description", string.IsNullOrEmpty(description) ? null : description);
        });

    /// <summary>A prompt gets a tag; models have no such event.</summary>
    public static RegistryEvent PromptTagSet(string name, string key, string value) => new(
        WebhookEntity.PromptTag, WebhookAction.Set, data => Write(data, ("name", name), ("key", key), ("value", value)));

    /// <summary>A prompt loses a tag; models have no such event.</summary>
    public static RegistryEvent PromptTagDeleted(string name, string key) => new(
        WebhookEntity.PromptTag, WebhookAction.Deleted, data => Write(data, ("name", name), ("key", key)));

    /// <summary>A version gets a tag.</summary>
    public static RegistryEvent VersionTagSet(bool isPrompt, string name, string version, string key, string value) => new(
        isPrompt ? WebhookEntity.PromptVersionTag : WebhookEntity.ModelVersionTag,
        WebhookAction.Set,
        data => Write(data, ("name", name), ("version", version), ("key", key), ("value", value)));

    /// <summary>A version loses a tag, or would if it had it.</summary>
    public static RegistryEvent VersionTagDeleted(bool isPrompt, string name, string version, string key) => new(
        isPrompt ? WebhookEntity.PromptVersionTag : WebhookEntity.ModelVersionTag,
        WebhookAction.Deleted,
        data => Write(data, ("name", name), ("version", version), ("key", key)));

    /// <summary>An alias is made or moved.</summary>
    public static RegistryEvent AliasCreated(bool isPrompt, string name, string alias, string version) => new(
        isPrompt ? WebhookEntity.PromptAlias : WebhookEntity.ModelVersionAlias,
        WebhookAction.Created,
        data => Write(data, ("name", name), ("alias", alias), ("version", version)));

    /// <summary>An alias is deleted, or would be if it were there.</summary>
    public static RegistryEvent AliasDeleted(bool isPrompt, string name, string alias) => new(
        isPrompt ? WebhookEntity.PromptAlias : WebhookEntity.ModelVersionAlias,
        WebhookAction.Deleted,
        data => Write(data, ("name", name), ("alias", alias)));

    /// <summary>An event of a kind that did not happen, for tests of a webhook; the pair has to be valid.</summary>
    public static RegistryEvent Example(WebhookEntity entity, WebhookAction action)
    {
        var isPrompt = entity is WebhookEntity.Prompt or WebhookEntity.PromptVersion or WebhookEntity.PromptTag
            or WebhookEntity.PromptVersionTag or WebhookEntity.PromptAlias;
        var name = isPrompt ? "example_prompt" : "example_model";
        var (key, value) = ("example_key", "example_value");
        var tag = new KeyValue { Key = key, Value = value };
        return (entity, action) switch
        {
            (WebhookEntity.RegisteredModel or WebhookEntity.Prompt, _) =>
                ModelCreated(isPrompt, name, [tag], isPrompt ? "An example prompt" : "An example registered model"),
            (WebhookEntity.ModelVersion, _) =>
                VersionCreated(isPrompt, name, "1", "models:/123", "abcd1234abcd5678", [tag], "An example model version"),
            (WebhookEntity.PromptVersion, _) => VersionCreated(
                isPrompt, name, "1", "", null, [tag, new KeyValue { Key = PromptTags.Text, Value = "Hello {{name}}!" }], "An example prompt version"),
            (WebhookEntity.PromptTag, WebhookAction.Set) => PromptTagSet(name, key, value),
            (WebhookEntity.PromptTag, _) => PromptTagDeleted(name, key),
            (WebhookEntity.ModelVersionTag or WebhookEntity.PromptVersionTag, WebhookAction.Set) => VersionTagSet(isPrompt, name, "1", key, value),
            (WebhookEntity.ModelVersionTag or WebhookEntity.PromptVersionTag, _) => VersionTagDeleted(isPrompt, name, "1", key),
            (WebhookEntity.ModelVersionAlias or WebhookEntity.PromptAlias, WebhookAction.Created) => AliasCreated(isPrompt, name, "example_alias", "1"),
            (WebhookEntity.ModelVersionAlias or WebhookEntity.PromptAlias, _) => AliasDeleted(isPrompt, name, "example_alias"),
            _ => new RegistryEvent(entity, action, WriteExampleBudget),
        };
    }

    /// <summary>What a part of an event is called in deliveries and in the database: <c>model_version_tag</c>.</summary>
    internal static string Name<TEnum>(TEnum part)
        where TEnum : struct, Enum => JsonNamingPolicy.SnakeCaseLower.ConvertName(part.ToString());

    private static void WriteExampleBudget(Utf8JsonWriter data)
    {
        Write(data, ("budget_policy_id", "bp-example"), ("budget_unit", "USD"));
        data.WriteNumber("budget_amount", 100.0);
        data.WriteNumber("current_spend", 105.5);
        data.WriteString("duration_unit", "MONTHS");
        data.WriteNumber("duration_value", 1);
        Write(data, ("target_scope", "GLOBAL"), ("workspace", "default"));
        data.WriteNumber("window_start", 1_735_689_600_000);
    }

    private static void Write(Utf8JsonWriter data, params ReadOnlySpan<(string Name, string Value)> fields)
    {
        foreach (var (name, value) in fields)
            data.WriteString(name, value);
    }

    /// <summary>Of tags that are given twice the last one counts, as in the registry.</summary>
    private static void WriteTags(Utf8JsonWriter data, IEnumerable<KeyValue> tags)
    {
        data.WriteStartObject("tags");
        foreach (var tag in tags.Reverse().DistinctBy(tag => tag.Key).Reverse())
            data.WriteString(tag.Key!, tag.Value ?? "");
        data.WriteEndObject();
    }
}
