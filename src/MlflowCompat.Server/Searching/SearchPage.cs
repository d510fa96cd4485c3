using System.Globalization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Searching;

/// <summary>A page of a listing.</summary>
/// <typeparam name="T">What is listed.</typeparam>
/// <param name="Items">Null when there are none: an empty list is not printed.</param>
/// <param name="NextPageToken">Null when nothing follows.</param>
public sealed record SearchPage<T>(List<T>? Items, string? NextPageToken)
{
    /// <summary>Makes a page of rows of which one more than asked for was read, to see whether more follow.</summary>
    public static SearchPage<T> From(List<T> rows, long maxResults, long offset)
    {
        var more = rows.Count > maxResults;
        if (more)
            rows.RemoveRange((int)maxResults, rows.Count - (int)maxResults);
        return new SearchPage<T>(rows.Count == 0 ? null : rows, more ? PageToken.For(offset + maxResults) : null);
    }
}

/// <summary>Bounds of page sizes.</summary>
public static class SearchLimits
{
    /// <summary>Checks a page size.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is not within 1 and <paramref name="limit"/>.</exception>
    public static int MaxResults(long given, int limit) =>
        given >= 1 && given <= limit
            ? (int)given
            : throw MlflowException.InvalidValue(
                "max_results",
                given.ToString(CultureInfo.InvariantCulture),
                string.Create(CultureInfo.InvariantCulture, $"max_results must be between 1 and {limit}."));
}
