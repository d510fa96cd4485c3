using System.Globalization;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Searching;

/// <summary>
/// The page tokens of MLflow's listings: base64 of <c>{"offset": N}</c> (contract: semantics §11). Clients only hand them back, but some
/// test suites make their own.
/// </summary>
public static class PageToken
{
    /// <summary>Rows to skip; none for an absent or empty token.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not one of our tokens.</exception>
    public static long Offset(string? token)
    {
        if (string.IsNullOrEmpty(token))
            return 0;
        try
        {
            using var document = JsonDocument.Parse(Convert.FromBase64String(token));
            if (document.RootElement.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("offset", out var offset)
                && Read(offset) is > 0 and var rows)
            {
                return rows;
            }
        }
        catch (Exception exception) when (exception is FormatException or JsonException)
        {
            // Not base64, or not JSON: the same answer as for a token without an offset.
        }

        throw MlflowException.InvalidParameter($"Invalid page token {MlflowException.Quote(token)}.");
    }

    /// <summary>The token for the page behind <paramref name="offset"/> rows.</summary>
    public static string For(long offset) =>
        Convert.ToBase64String(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{{\"offset\": {offset}}}")));

    private static long? Read(JsonElement offset) => offset.ValueKind switch
    {
        JsonValueKind.Number => offset.TryGetInt64(out var number) ? number
            : offset.GetDouble() is var real && real == Math.Truncate(real) && real is > 0 and < long.MaxValue ? (long)real
            : null,
        JsonValueKind.String => long.TryParse(offset.GetString(), CultureInfo.InvariantCulture, out var parsed) ? parsed : null,
        _ => null,
    };
}
