using System.Text.Json;
using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>
/// The page tokens of logged-models/search: base64 of the request that they continue and of the offset, in MLflow's own form. Another
/// request cannot be continued with them (contract: semantics §11).
/// </summary>
internal sealed class LoggedModelPageToken
{
    /// <summary>Where the search looks.</summary>
    public List<string>? ExperimentIds { get; set; }

    /// <summary>Its filter; null for none.</summary>
    public string? FilterString { get; set; }

    /// <summary>Its order; null for none.</summary>
    public List<OrderKey>? OrderBy { get; set; }

    /// <summary>Models before the page.</summary>
    [JsonPropertyName("offset")]
    public long Skipped { get; set; }

    /// <summary>What the tokens of a request are made of.</summary>
    public static LoggedModelPageToken For(SearchLoggedModels request) => new()
    {
        ExperimentIds = request.ExperimentIds,
        FilterString = NullIfEmpty(request.Filter),
        OrderBy = request.OrderBy is { Count: > 0 } order
            ? order.ConvertAll(key => new OrderKey(key.FieldName!, key.Ascending ?? true, NullIfEmpty(key.DatasetName), NullIfEmpty(key.DatasetDigest)))
            : null,
    };

    /// <summary>The token for the page behind <paramref name="offset"/> models.</summary>
    public string At(long offset)
    {
        Skipped = offset;
        return PageToken.Write(JsonSerializer.Serialize(this, LoggedModelTokenJson.Default.LoggedModelPageToken));
    }

    /// <summary>Models to skip; none for an absent or empty token.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not one of our tokens, or one of another request.</exception>
    public long Offset(string? token)
    {
        return PageToken.Read(token, ReadOffset) ?? 0;

        long? ReadOffset(byte[] content)
        {
            if (JsonSerializer.Deserialize(content, LoggedModelTokenJson.Default.LoggedModelPageToken) is not { Skipped: > 0 } given)
                return null;
            Require("Experiment IDs", "experiment_ids", Same(given.ExperimentIds, ExperimentIds));
            Require("Filter string", "filter", given.FilterString == FilterString);
            Require("Order by", "order_by", Same(given.OrderBy, OrderBy));
            return given.Skipped;
        }

        static bool Same<T>(List<T>? left, List<T>? right) => (left ?? []).SequenceEqual(right ?? []);

        static void Require(string what, string field, bool holds)
        {
            if (!holds)
                throw MlflowException.InvalidParameter($"{what} in the page token do not match those of the request ('{field}'): a token continues the search that it came from.");
        }
    }

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    /// <summary>A key of the order.</summary>
    internal sealed record OrderKey(string FieldName, bool Ascending, string? DatasetName, string? DatasetDigest);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(LoggedModelPageToken))]
internal sealed partial class LoggedModelTokenJson : JsonSerializerContext;
