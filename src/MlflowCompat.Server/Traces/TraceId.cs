using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>Ids of traces: <c>tr-</c> and 32 hex digits of OpenTelemetry's id, 32 hex digits for those of clients 2.x, up to 50 characters.</summary>
internal static class TraceId
{
    /// <summary>Longest id.</summary>
    public const int MaxLength = 50;

    /// <summary>MLflow's id of a trace of OpenTelemetry.</summary>
    public static string Format(ReadOnlySpan<byte> id) => "tr-" + Convert.ToHexStringLower(id);

    /// <summary>The error for an unknown trace; clients of 3.7 and later look for this sentence.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"Trace with ID '{id}' not found.");
}
