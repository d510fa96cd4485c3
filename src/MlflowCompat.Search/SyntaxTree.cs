namespace MlflowCompat.Search;

/// <summary>What a key belongs to.</summary>
public enum EntityKind
{
    /// <summary>A column of the searched thing itself.</summary>
    Attribute,

    /// <summary>A metric; a clause looks at its latest value.</summary>
    Metric,

    /// <summary>A parameter.</summary>
    Param,

    /// <summary>A tag.</summary>
    Tag,

    /// <summary>A dataset that is an input of the run.</summary>
    Dataset,

    /// <summary>Metadata of a trace.</summary>
    Metadata,

    /// <summary>A span of a trace; a clause holds when some span meets it.</summary>
    Span,

    /// <summary>Feedback on a trace, by name; its value is compared as JSON text.</summary>
    Feedback,

    /// <summary>An expectation of a trace, by name; its value is compared as JSON text.</summary>
    Expectation,

    /// <summary>An assessment of a trace, of either kind.</summary>
    Assessment,
}

/// <summary>How a clause compares. Negative comparators match only what has the key (contract: search §1); IS NULL what has not.</summary>
public enum Comparator
{
    /// <summary><c>=</c>, exact and case-sensitive on text.</summary>
    Equal,

    /// <summary><c>!=</c></summary>
    NotEqual,

    /// <summary><c>&gt;</c></summary>
    Greater,

    /// <summary><c>&gt;=</c></summary>
    GreaterOrEqual,

    /// <summary><c>&lt;</c></summary>
    Less,

    /// <summary><c>&lt;=</c></summary>
    LessOrEqual,

    /// <summary><c>LIKE</c>, as <see cref="LikePattern"/> defines it.</summary>
    Like,

    /// <summary><c>ILIKE</c>: LIKE ignoring case.</summary>
    ILike,

    /// <summary><c>RLIKE</c>: the regular expression is found somewhere in the text.</summary>
    RLike,

    /// <summary><c>IN</c></summary>
    In,

    /// <summary><c>NOT IN</c></summary>
    NotIn,

    /// <summary><c>IS NULL</c>: there is no such key (contract: since-3.6 §1.4).</summary>
    IsNull,

    /// <summary><c>IS NOT NULL</c>: the key is there.</summary>
    IsNotNull,
}

/// <summary>The right side of a clause.</summary>
public abstract record FilterValue
{
    private protected FilterValue()
    {
    }
}

/// <summary>A quoted text.</summary>
/// <param name="Text">The characters between the quotes as they stand: there are no escapes.</param>
public sealed record TextValue(string Text) : FilterValue;

/// <summary>A number.</summary>
/// <param name="Value">The nearest double; infinite for literals beyond its range such as <c>1e400</c>, never NaN.</param>
/// <param name="WholeValue">The exact value of a literal without point and exponent that fits 64 bits, else null.</param>
public sealed record NumberValue(double Value, long? WholeValue) : FilterValue;

/// <summary>The list of IN and NOT IN.</summary>
/// <param name="Texts">At least one text; order and duplicates as written.</param>
public sealed record TextListValue(IReadOnlyList<string> Texts) : FilterValue
{
    /// <summary>Lists are equal when they hold the same texts in the same order.</summary>
    /// <param name="other">The list to compare with.</param>
    /// <returns>Whether the two are equal.</returns>
    public bool Equals(TextListValue? other) => other is not null && Texts.SequenceEqual(other.Texts);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (string text in Texts)
        {
            hash.Add(text);
        }

        return hash.ToHashCode();
    }
}

/// <summary>The right side of IS NULL and IS NOT NULL, where nothing is written.</summary>
public sealed record NoValue : FilterValue
{
    private NoValue()
    {
    }

    /// <summary>The only one.</summary>
    public static NoValue Instance { get; } = new();
}

/// <summary>One condition of a filter.</summary>
/// <param name="Entity">What the key belongs to, after resolving aliases.</param>
/// <param name="Key">
/// The canonical key: <c>start_time</c> where <c>created</c> was written; free keys (metrics, params, tags) as written.
/// </param>
/// <param name="Comparator">A comparator that the vocabulary allows for the key.</param>
/// <param name="Value">
/// <see cref="TextListValue"/> for IN and NOT IN, <see cref="NoValue"/> for IS NULL and IS NOT NULL, otherwise
/// <see cref="NumberValue"/> or <see cref="TextValue"/> by the type of the key.
/// </param>
public sealed record Clause(EntityKind Entity, string Key, Comparator Comparator, FilterValue Value);

/// <summary>A filter: what is searched must satisfy all clauses.</summary>
/// <param name="Clauses">In the order written; empty means no restriction.</param>
/// <remarks>
/// Every text in it is well-formed UTF-16 without U+0000, so that it can be passed to any database as a parameter.
/// </remarks>
public sealed record Filter(IReadOnlyList<Clause> Clauses)
{
    /// <summary>The filter that everything satisfies.</summary>
    public static Filter Empty { get; } = new([]);

    /// <summary>Filters are equal when they hold the same clauses in the same order.</summary>
    /// <param name="other">The filter to compare with.</param>
    /// <returns>Whether the two are equal.</returns>
    public bool Equals(Filter? other) => other is not null && Clauses.SequenceEqual(other.Clauses);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (Clause clause in Clauses)
        {
            hash.Add(clause);
        }

        return hash.ToHashCode();
    }
}

/// <summary>One key of an ordering.</summary>
/// <param name="Entity">What the key belongs to, after resolving aliases.</param>
/// <param name="Key">The canonical key, as in <see cref="Clause"/>.</param>
/// <param name="Ascending">False for DESC.</param>
public sealed record OrderTerm(EntityKind Entity, string Key, bool Ascending);
