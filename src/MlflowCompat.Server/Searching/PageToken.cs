using System.Globalization;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Searching;

/// <summary>
/// The page tokens of all listings: base64 of a text that says where the page begins. That of MLflow's own is <c>{"offset": N}</c>; what
/// other listings put in besides is theirs (contract: semantics §11). Clients only hand tokens back, but some test suites make their own.
/// </summary>
public static class PageToken
{
    /// <summary>Rows to skip; none for an absent or empty token.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not one of our tokens.</exception>
    public static long Offset(string? token) => Read(
        token,
        content =>
        {
            using var document = JsonDocument.Parse(content);
            return OffsetOf(document.RootElement);
        }) ?? 0;

    /// <summary>The token for the page behind <paramref name="offset"/> rows.</summary>
    public static string For(long offset) => Write(string.Create(CultureInfo.InvariantCulture, $"{{\"offset\": {offset}}}"));

    /// <summary>The token that says this.</summary>
    internal static string Write(string content) => Convert.ToBase64String(Encoding.UTF8.GetBytes(content));

    /// <summary>Reads a token.</summary>
    /// <param name="token">What a client sent; absent and empty are none.</param>
    /// <param name="read">
    /// Reads what is inside, which anybody may have made; null, and an exception of JSON, when it is nothing that we write.
    /// </param>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not one of our tokens.</exception>
    internal static T? Read<T>(string? token, Func<byte[], T?> read)
        where T : struct
    {
        if (string.IsNullOrEmpty(token))
            return null;
        try
        {
            if (read(Convert.FromBase64String(token)) is { } content)
                return content;
        }
        catch (Exception exception) when (exception is FormatException or JsonException or InvalidOperationException)
        {
            // Not base64, not JSON, or half a surrogate pair in it.
        }

        throw MlflowException.InvalidParameter($"Invalid page token {MlflowException.Quote(token)}.");
    }

    /// <summary>The offset that a token's content has, at least 1; null without one.</summary>
    internal static long? OffsetOf(JsonElement content) =>
        content.ValueKind == JsonValueKind.Object && content.TryGetProperty("offset", out var offset) && Rows(offset) is > 0 and var rows ? rows : null;

    private static long? Rows(JsonElement offset) => offset.ValueKind switch
    {
        JsonValueKind.Number => offset.TryGetInt64(out var number) ? number
            : offset.TryGetDouble(out var real) && real == Math.Truncate(real) && real is > 0 and < long.MaxValue ? (long)real
            : null,
        JsonValueKind.String => long.TryParse(offset.GetString(), CultureInfo.InvariantCulture, out var parsed) ? parsed : null,
        _ => null,
    };
}
