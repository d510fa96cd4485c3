using System.Buffers;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>Ids of traces: <c>tr-</c> and 32 hex digits of OpenTelemetry's id, 32 hex digits for those of clients 2.x, up to 50 characters.</summary>
internal static class TraceId
{
    /// <summary>Longest id.</summary>
    public const int MaxLength = 50;

    /// <summary>What would make of the name of a folder a path, another name, or a query.</summary>
    private static readonly SearchValues<char> NotInNames =
        SearchValues.Create([.. "/\\?#%", .. Enumerable.Range(0, 32).Append(127).Select(code => (char)code)]);

    /// <summary>MLflow's id of a trace of OpenTelemetry.</summary>
    public static string Format(ReadOnlySpan<byte> id) => "tr-" + Convert.ToHexStringLower(id);

    /// <summary>
    /// An id that a client chose for a new trace. The folder of its files has that name, for the server and for clients, so it has to be a
    /// name and nothing else.
    /// </summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: none, too long, or not the name of a folder.</exception>
    public static string Parse(string? id, string parameter)
    {
        var given = FieldRules.MaxLength(FieldRules.Required(id, parameter), MaxLength, parameter);
        return IsName(given) ? given : throw MlflowException.InvalidValue(
            parameter, MlflowException.Quote(given), "it must be a name without slashes, '?', '#', '%' or control characters.");
    }

    /// <summary>Whether an id can be the name of a folder; those stored by an earlier version may not be.</summary>
    public static bool IsName(string id) => id is not ("" or "." or "..") && !id.AsSpan().ContainsAny(NotInNames);

    /// <summary>The error for an unknown trace; clients of 3.7 and later look for this sentence.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"Trace with ID '{id}' not found.");
}
