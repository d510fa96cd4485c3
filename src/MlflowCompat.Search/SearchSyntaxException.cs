namespace MlflowCompat.Search;

/// <summary>
/// A filter or an order_by that does not follow its language. The server answers it with INVALID_PARAMETER_VALUE.
/// It is the only exception that <see cref="FilterParser"/> and <see cref="OrderByParser"/> let out for any input.
/// </summary>
/// <remarks>The message names the offending text, cut when long, and is always well-formed UTF-16.</remarks>
public sealed class SearchSyntaxException : Exception
{
    private const int LongestQuotation = 100;

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is wrong, naming the offending text.</param>
    public SearchSyntaxException(string message)
        : base(message)
    {
    }

    /// <summary>The text between single quotes, shortened so that a message stays readable whatever a client sent.</summary>
    internal static string Quote(ReadOnlySpan<char> text)
    {
        if (text.Length <= LongestQuotation)
        {
            return $"'{text}'";
        }

        // Half of a surrogate pair could not be written into the JSON error body.
        int end = char.IsHighSurrogate(text[LongestQuotation - 1]) ? LongestQuotation - 1 : LongestQuotation;
        return $"'{text[..end]}…'";
    }
}
