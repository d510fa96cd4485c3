using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Runs;

/// <summary>Run ids: a UUID in the database, its 32 hex digits without hyphens for clients (mapping C-1).</summary>
public static class RunId
{
    /// <summary>A new id.</summary>
    public static Guid New() => Guid.NewGuid();

    /// <summary>What clients see.</summary>
    public static string Format(Guid id) => id.ToString("N");

    /// <summary>Reads the id of a request that may give it under either of its names.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not given; RESOURCE_DOES_NOT_EXIST: no run has such an id.</exception>
    public static Guid Of(IRunRequest request) =>
        Parse(FieldRules.Required(string.IsNullOrEmpty(request.RunId) ? request.RunUuid : request.RunId, "run_id"));

    /// <summary>Reads an id.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no run has such an id.</exception>
    public static Guid Parse(string id) => TryParse(id) ?? throw NotFound(id);

    /// <summary>Reads an id; null when no run can have it.</summary>
    public static Guid? TryParse(string id) =>
        Guid.TryParseExact(id, "N", out var guid) && !id.AsSpan().ContainsAnyInRange('A', 'F') ? guid : null;

    /// <summary>
    /// Looks at the form of an id before anything else is looked at, as log-batch and log-inputs do: a malformed one is
    /// INVALID_PARAMETER_VALUE there (<c>^[a-zA-Z0-9][\w\-]{0,255}$</c>; contract: semantics §4.4, §6).
    /// </summary>
    public static string RequireForm(string? id)
    {
        var given = FieldRules.Required(id, "run_id");
        var wellFormed = given.Length <= 256 && char.IsAsciiLetterOrDigit(given[0])
            && given.All(character => char.IsLetterOrDigit(character) || character is '_' or '-');
        return wellFormed ? given : throw MlflowException.InvalidValue("run_id", MlflowException.Quote(given), "it is no run id.");
    }

    /// <summary>The error for an unknown run.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"Run with id={id} not found");
}
