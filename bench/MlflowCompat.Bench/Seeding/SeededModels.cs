using System.Globalization;

namespace MlflowCompat.Bench.Seeding;

/// <summary>
/// The registered models that searches are measured on, a tenth of them prompts, with five versions each. As with <see cref="SeededRuns"/>,
/// every value is a function of its number.
/// </summary>
internal static class SeededModels
{
    /// <summary>Versions of each model.</summary>
    public const int Versions = 5;

    /// <summary>The tag that makes a prompt.</summary>
    public const string PromptTag = "mlflow.prompt.is_prompt";

    /// <summary>Its alias, which every other model has, on the version before the last.</summary>
    public const string Alias = "champion";

    /// <summary>The version that <see cref="Alias"/> names.</summary>
    public const int AliasedVersion = Versions - 1;

    private static readonly string Text = "Forecast {{horizon}} values of {{series}}. " + new string('x', 400);

    /// <summary>Whether model number <paramref name="model"/>, counted from 0, is a prompt.</summary>
    public static bool IsPrompt(int model) => model % 10 == 9;

    /// <summary>Whether it has an alias.</summary>
    public static bool HasAlias(int model) => model % 2 == 0;

    /// <summary>Its name. The numbers have no order that is that of the names.</summary>
    public static string Name(int model) => string.Create(CultureInfo.InvariantCulture, $"bench-{(IsPrompt(model) ? "prompt" : "model")}-{model}");

    /// <summary>Its tags; t has ten values.</summary>
    public static IEnumerable<(string Key, string Value)> TagsOf(int model)
    {
        yield return ("t", string.Create(CultureInfo.InvariantCulture, $"t{model / 10 % 10}"));
        yield return ("team", "forecasting");
        if (IsPrompt(model))
            yield return (PromptTag, "true");
    }

    /// <summary>Tags of its version number <paramref name="version"/>, counted from 1.</summary>
    public static IEnumerable<(string Key, string Value)> TagsOf(int model, int version)
    {
        yield return ("v", string.Create(CultureInfo.InvariantCulture, $"v{(model + version) % 10}"));
        if (!IsPrompt(model))
            yield break;
        yield return (PromptTag, "true");
        yield return ("mlflow.prompt.text", Text);
        yield return ("_mlflow_prompt_type", "text");
    }

    /// <summary>The run that a version comes from; prompts come from none.</summary>
    public static string Run(int model, int version) => IsPrompt(model) ? "" : string.Create(CultureInfo.InvariantCulture, $"{(model * Versions) + version:x32}");

    /// <summary>Where its files are.</summary>
    public static string Source(int model, int version) =>
        IsPrompt(model) ? "prompt-template" : $"mlflow-artifacts:/1/{Run(model, version)}/artifacts/model";

    /// <summary>When a version was made, and its model with the first; milliseconds since 1970.</summary>
    public static long Time(int model, int version) => SeededRuns.FirstStart + (((model * Versions) + version) * 1000L);

    /// <summary>Its stage: the versions of every fourth model have been through all of them.</summary>
    public static string Stage(int model, int version) => model % 4 > 0 || IsPrompt(model) ? "none" : version switch
    {
        Versions => "none",
        Versions - 1 => "staging",
        Versions - 2 => "production",
        _ => "archived",
    };
}
