using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;

namespace MlflowCompat.Server.Commands;

/// <summary>
/// One option of <c>mlflow server</c> and the environment variable behind it. The command line beats the environment, the environment
/// beats the default; an empty variable counts as not set. An option that is given twice counts as given last.
/// </summary>
internal sealed class Setting
{
    private readonly string? variable;
    private readonly Option<string[]> option;

    /// <summary>Describes a setting that takes a value.</summary>
    /// <param name="name">Name of the option, with its dashes.</param>
    /// <param name="variable">The environment variable, if there is one.</param>
    /// <param name="valueName">What the help calls the value.</param>
    /// <param name="description">One line for the help.</param>
    /// <param name="aliases">Short forms.</param>
    public Setting(string name, string? variable, string valueName, string description, params string[] aliases)
    {
        this.variable = variable;
        option = new Option<string[]>(name, aliases)
        {
            Arity = ArgumentArity.OneOrMore,
            HelpName = valueName,
            Description = variable is null ? description : $"{description} [{variable}]",
        };
    }

    /// <summary>The option, to be added to a command.</summary>
    public Option Option => option;

    /// <summary>What was said, or null.</summary>
    public Given? Read(ParseResult result, Func<string, string?> environment)
    {
        if (result.GetResult(option) is { Implicit: false })
            return new Given(option.Name, result.GetValue(option)![^1]);
        return variable is not null && environment(variable) is { Length: > 0 } text ? new Given(variable, text) : null;
    }
}

/// <summary>A setting with a pair of options that switch it on and off, or with one that switches it on.</summary>
internal sealed class Switch
{
    private readonly string? variable;

    /// <summary>Describes a switch.</summary>
    /// <param name="on">Name of the option that switches it on.</param>
    /// <param name="off">Name of the option that switches it off, if there is one.</param>
    /// <param name="variable">The environment variable, if there is one.</param>
    /// <param name="description">One line for the help.</param>
    public Switch(string on, string? off, string? variable, string description)
    {
        this.variable = variable;
        On = Flag(on, variable is null ? description : $"{description} [{variable}]");
        Off = off is null ? null : Flag(off, $"The opposite of {on}.");
    }

    /// <summary>The option that switches it on.</summary>
    public Option<bool> On { get; }

    /// <summary>The option that switches it off.</summary>
    public Option<bool>? Off { get; }

    /// <summary>What was said; null when nothing was.</summary>
    /// <exception cref="UsageException">The environment variable is neither true nor false.</exception>
    public bool? Read(ParseResult result, Func<string, string?> environment)
    {
        // Of several the last one counts, so that a wrapper can overrule what stands before it.
        var last = result.Tokens.LastOrDefault(token => token.Value == On.Name || token.Value == Off?.Name);
        if (last is not null)
            return last.Value == On.Name;
        return variable is not null && environment(variable) is { Length: > 0 } text ? new Given(variable, text).Flag() : null;
    }

    private static Option<bool> Flag(string name, string description) =>
        new(name) { Arity = ArgumentArity.Zero, Description = description };
}

/// <summary>A value and where it came from.</summary>
/// <param name="Source">The option or the environment variable.</param>
/// <param name="Text">The value as it was given.</param>
internal sealed record Given(string Source, string Text)
{
    /// <summary>An integer in a range.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    public int Integer(int least, int greatest) =>
        int.TryParse(Text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= greatest
            ? number
            : throw Wrong($"it must be a whole number from {least} to {greatest}");

    /// <summary>A comma-separated list; null when nothing stands between the commas.</summary>
    public IReadOnlyList<string>? List()
    {
        var items = Text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        return items.Length == 0 ? null : items;
    }

    /// <summary>A boolean in the spellings that MLflow takes.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    public bool Flag() => Text.Trim().ToUpperInvariant() switch
    {
        "TRUE" or "1" or "T" or "YES" or "Y" or "ON" => true,
        "FALSE" or "0" or "F" or "NO" or "N" or "OFF" => false,
        _ => throw Wrong("it must be true or false"),
    };

    /// <summary>A regular expression; a text for which it takes longer than a second to decide counts as not matching.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    public Regex Pattern()
    {
        try
        {
            return new Regex(Text, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));
        }
        catch (ArgumentException exception)
        {
            throw Wrong($"it is no regular expression: {exception.Message}");
        }
    }

    /// <summary>The error for this value.</summary>
    public UsageException Wrong(string reason) => new($"{Source} '{Text}': {reason}.");
}
