using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Limits of what registered models and versions hold, in code points (contract: semantics §4).</summary>
internal static class RegistryRules
{
    /// <summary>Longest name of a registered model.</summary>
    public const int MaxNameLength = 256;

    /// <summary>Longest description.</summary>
    public const int MaxDescriptionLength = 5000;

    /// <summary>Longest value of a tag.</summary>
    public const int MaxTagValueLength = 100_000;

    /// <summary>
    /// A name for a registered model. Clients up to 3.10 take any text for one, slashes and colons included; what is refused here are names
    /// that no address <c>models:/NAME/VERSION</c> can lead to, and that newer clients refuse as well.
    /// </summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static string NewName(string? name, string parameter)
    {
        var given = FieldRules.Required(name, parameter);
        if (string.IsNullOrWhiteSpace(given))
            throw FieldRules.Missing(parameter);
        if (given is "." or "..")
            throw MlflowException.InvalidValue(parameter, MlflowException.Quote(given), "it would lead to another name when taken for a path.");
        return FieldRules.MaxLength(given, MaxNameLength, parameter);
    }

    /// <summary>A description, if one is given.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is too long.</exception>
    public static string? Description(string? description) =>
        description is null ? null : FieldRules.MaxLength(description, MaxDescriptionLength, "description");

    /// <summary>A tag to set on a registered model.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: key or value break their rules.</exception>
    public static (string Key, string Value) RegisteredModelTag(string? key, string? value) =>
        (FieldRules.Key(key, "key", "key"), FieldRules.MaxLength(value ?? "", MaxTagValueLength, "value"));

    /// <summary>A tag to set on a version; what a prompt says is one, and its limit is put so that its author understands it.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: key or value break their rules.</exception>
    public static (string Key, string Value) ModelVersionTag(string? key, string? value)
    {
        var valid = FieldRules.Key(key, "key", "key");
        if (valid == PromptTags.Text && FieldRules.CodePoints(value ?? "") > MaxTagValueLength)
            throw MlflowException.InvalidParameter($"The text of a prompt exceeds the maximum length of {MaxTagValueLength} characters.");
        return (valid, FieldRules.MaxLength(value ?? "", MaxTagValueLength, "value"));
    }

    /// <summary>The first tags of a registered model; of tags with the same key the last one counts.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: one of them breaks the rules.</exception>
    public static List<KeyValue> RegisteredModelTags(List<KeyValue>? tags) => Tags(tags, RegisteredModelTag);

    /// <summary>The first tags of a version; of tags with the same key the last one counts.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: one of them breaks the rules.</exception>
    public static List<KeyValue> ModelVersionTags(List<KeyValue>? tags) => Tags(tags, ModelVersionTag);

    private static List<KeyValue> Tags(List<KeyValue>? tags, Func<string?, string?, (string Key, string Value)> rule)
    {
        var last = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var tag in tags ?? [])
        {
            var (key, value) = rule(tag.Key, tag.Value);
            last[key] = value;
        }

        var checkedTags = last.Select(tag => new KeyValue { Key = tag.Key, Value = tag.Value }).ToList();
        checkedTags.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        return checkedTags;
    }
}
