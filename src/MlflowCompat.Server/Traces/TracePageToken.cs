using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// The page tokens of searches for traces: those of all searches, and where the order allows it with the trace at which the page ended, so
/// that deep pages are as cheap as the first one.
/// </summary>
internal static class TracePageToken
{
    /// <summary>Where a page begins.</summary>
    /// <exception cref="Http.MlflowException">INVALID_PARAMETER_VALUE: not one of our tokens.</exception>
    public static TracePosition Read(string? token) => PageToken.Read(
        token,
        content =>
        {
            using var document = JsonDocument.Parse(content);
            return PageToken.OffsetOf(document.RootElement) is { } offset ? Position(document.RootElement, offset) : (TracePosition?)null;
        }) ?? new TracePosition(0);

    /// <summary>The token for the page behind another one.</summary>
    /// <param name="offset">Traces before the new page.</param>
    /// <param name="last">The trace at which the page ended, where the order allows to go on from there.</param>
    public static string For(long offset, TraceRow? last)
    {
        if (last is null)
            return PageToken.For(offset);
        var id = JsonEncodedText.Encode(last.TraceId);
        return PageToken.Write(string.Create(
            CultureInfo.InvariantCulture, $"{{\"offset\": {offset}, \"timestamp_ms\": {last.Timestamp}, \"trace_id\": \"{id}\"}}"));
    }

    private static TracePosition Position(JsonElement content, long offset) =>
        content.TryGetProperty("timestamp_ms", out var time) && time.ValueKind == JsonValueKind.Number && time.TryGetInt64(out var timestamp)
            && content.TryGetProperty("trace_id", out var id) && id.ValueKind == JsonValueKind.String && !id.GetString()!.Contains('\0', StringComparison.Ordinal)
            ? new TracePosition(offset, timestamp, id.GetString())
            : new TracePosition(offset);
}
