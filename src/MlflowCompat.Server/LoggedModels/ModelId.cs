using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>Ids of logged models: a UUID in the database, <c>m-</c> and its 32 hex digits for clients (mapping C-1).</summary>
public static class ModelId
{
    private const string Prefix = "m-";

    /// <summary>What clients see.</summary>
    public static string Format(Guid id) => Prefix + id.ToString("N");

    /// <summary>Reads an id.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no model has such an id.</exception>
    public static Guid Parse(string id) => TryParse(id) ?? throw NotFound(id);

    /// <summary>Reads an id; null when no model can have it.</summary>
    public static Guid? TryParse(string id) => id.StartsWith(Prefix, StringComparison.Ordinal) ? RunId.TryParse(id[Prefix.Length..]) : null;

    /// <summary>The error for an unknown logged model.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"Logged model with ID {MlflowException.Quote(id)} not found.");

    /// <summary>The error for an unknown logged model.</summary>
    public static MlflowException NotFound(Guid id) => NotFound(Format(id));
}
