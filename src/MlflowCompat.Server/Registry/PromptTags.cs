using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>
/// Prompts are registered models whose tag says so, and their texts are tags of their versions (contract: endpoints §10; mapping C-39).
/// </summary>
public static class PromptTags
{
    /// <summary>The tag that makes a registered model a prompt, with the value <c>true</c>.</summary>
    public const string IsPrompt = "mlflow.prompt.is_prompt";

    /// <summary>The tag of a version that holds the prompt's text.</summary>
    public const string Text = "mlflow.prompt.text";

    /// <summary>Whether tags say that this is a prompt.</summary>
    public static bool SayPrompt(IEnumerable<KeyValue>? tags) =>
        tags?.LastOrDefault(tag => tag.Key == IsPrompt) is { } tag && IsTrue(tag.Value);

    /// <summary>Whether a value of <see cref="IsPrompt"/> says yes.</summary>
    public static bool IsTrue(string? value) => string.Equals(value, "true", StringComparison.OrdinalIgnoreCase);

    /// <summary>The expression for the value of <see cref="IsPrompt"/> in a column of tags; NULL without the tag.</summary>
    public static string Value(Database database, string column) =>
        database.Choose($"{column} ->> '{IsPrompt}'", $"json_extract({column}, '$.\"{IsPrompt}\"')");
}
