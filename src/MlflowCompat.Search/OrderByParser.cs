namespace MlflowCompat.Search;

/// <summary>
/// Parses order_by: one key per element, then optionally ASC or DESC in any case, and no blanks around them (contract: search §1).
/// </summary>
public static class OrderByParser
{
    /// <summary>The most elements that an order_by may have.</summary>
    public const int MaxTerms = 100;

    /// <summary>The most UTF-16 units that an element may have.</summary>
    public const int MaxTermLength = 10_000;

    /// <summary>Parses an order_by.</summary>
    /// <param name="orderBy">The elements, the most significant first; null means none.</param>
    /// <param name="vocabulary">The entities and keys of what is searched.</param>
    /// <returns>The terms with canonical entities and keys, no key twice; empty for the default order.</returns>
    /// <exception cref="SearchSyntaxException">
    /// An element does not follow the language, is longer than <see cref="MaxTermLength"/> or contains U+0000 or half a
    /// surrogate pair, or there are more than <see cref="MaxTerms"/>, or one key comes twice where that is refused.
    /// </exception>
    public static IReadOnlyList<OrderTerm> Parse(IReadOnlyList<string?>? orderBy, Vocabulary vocabulary)
    {
        ArgumentNullException.ThrowIfNull(vocabulary);
        if (orderBy is null || orderBy.Count == 0)
        {
            return [];
        }

        if (orderBy.Count > MaxTerms)
        {
            throw new SearchSyntaxException(
                $"Invalid order_by clause: {orderBy.Count} keys are given, at most {MaxTerms} are allowed");
        }

        List<OrderTerm> terms = new(orderBy.Count);
        foreach (string? element in orderBy)
        {
            OrderTerm term = ParseTerm(element, vocabulary);
            if (!terms.Exists(earlier => earlier.Entity == term.Entity && earlier.Key == term.Key))
            {
                terms.Add(term);
            }
            else if (!vocabulary.IgnoresRepeatedOrderKeys)
            {
                throw new SearchSyntaxException(
                    $"Invalid order_by clause: the key {SearchSyntaxException.Quote(term.Key)} is given more than once");
            }
        }

        return [.. terms];
    }

    /// <summary>
    /// Reads the key of an order whose direction is said apart. It needs no quotes: what follows the entity is taken as it stands, without
    /// backticks around it.
    /// </summary>
    /// <param name="field">An attribute, or an entity and a key with a dot between them.</param>
    /// <param name="ascending">The direction.</param>
    /// <param name="vocabulary">The entities and keys of what is searched.</param>
    /// <returns>The term with canonical entity and key.</returns>
    /// <exception cref="SearchSyntaxException">
    /// There is no such key, or it is longer than <see cref="MaxTermLength"/> or contains U+0000 or half a surrogate pair.
    /// </exception>
    public static OrderTerm ParseField(string field, bool ascending, Vocabulary vocabulary)
    {
        ArgumentNullException.ThrowIfNull(field);
        ArgumentNullException.ThrowIfNull(vocabulary);
        // For what it refuses.
        _ = new Lexer(field, "Invalid order_by clause", MaxTermLength);
        int dot = field.IndexOf('.', StringComparison.Ordinal);
        ReadOnlySpan<char> name = dot < 0 ? field : field.AsSpan(dot + 1);
        if (name.Length > 2 && name[0] == '`' && name[^1] == '`')
        {
            name = name[1..^1];
        }

        if (name.IsEmpty)
        {
            throw new SearchSyntaxException($"Invalid order_by clause: {SearchSyntaxException.Quote(field)} names no key");
        }

        vocabulary.ResolveForOrder(dot < 0 ? new(name) : new(field.AsSpan(0, dot), name), out EntityKind entity, out string key);
        return new(entity, key, ascending);
    }

    private static OrderTerm ParseTerm(string? element, Vocabulary vocabulary)
    {
        Lexer lexer = new(element, "Invalid order_by clause", MaxTermLength);
        Identifier identifier = lexer.TakeIdentifier();
        int keyEnd = lexer.Position;
        lexer.SkipBlanks();
        ReadOnlySpan<char> direction = lexer.TakeWord();
        bool descending = Lexer.IsKeyword(direction, "DESC");
        bool trailingBlanks = direction.IsEmpty && lexer.Position > keyEnd;
        if (!lexer.AtEnd || trailingBlanks || identifier.Key.IsEmpty || !(direction.IsEmpty || descending || Lexer.IsKeyword(direction, "ASC")))
        {
            throw lexer.Error(0, "expected one key, then at most ASC or DESC; other keys than of letters, digits, _ and . need quotes");
        }

        vocabulary.ResolveForOrder(identifier, out EntityKind entity, out string key);
        return new(entity, key, !descending);
    }
}
