using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>The four stages of a version: lower case in the database, capitalized on the wire (mapping C-36).</summary>
public static class ModelStage
{
    /// <summary>No stage, as a new version.</summary>
    public const string None = "none";

    /// <summary>In use.</summary>
    public const string Production = "production";

    /// <summary>No longer in use.</summary>
    public const string Archived = "archived";

    private const string Staging = "staging";

    /// <summary>All of them, as the database has them.</summary>
    public static IReadOnlyList<string> All { get; } = [None, Staging, Production, Archived];

    /// <summary>Reads a stage in any case.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: there is no such stage.</exception>
    public static string Parse(string stage) =>
        All.FirstOrDefault(known => string.Equals(known, stage, StringComparison.OrdinalIgnoreCase))
        ?? throw MlflowException.InvalidParameter(
            $"Invalid Model Version stage: {MlflowException.Quote(stage)}. Value must be one of {string.Join(", ", All.Select(Format))}.");

    /// <summary>What clients see.</summary>
    public static string Format(string stage) => char.ToUpperInvariant(stage[0]) + stage[1..];

    /// <summary>Whether a version of it is in use or about to be: a transition to it may archive the others that are in it.</summary>
    public static bool IsInUse(string stage) => stage is Staging or Production;
}
