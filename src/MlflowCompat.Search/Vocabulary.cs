using System.Collections.Immutable;

namespace MlflowCompat.Search;

/// <summary>A set of <see cref="Comparator"/>s: the bit of a comparator is 1 shifted left by its number.</summary>
[Flags]
public enum Comparators
{
    /// <summary>No comparator: the key cannot be filtered on, only ordered by.</summary>
    None = 0,

    /// <summary>See <see cref="Comparator.Equal"/>.</summary>
    Equal = 1 << Comparator.Equal,

    /// <summary>See <see cref="Comparator.NotEqual"/>.</summary>
    NotEqual = 1 << Comparator.NotEqual,

    /// <summary>See <see cref="Comparator.Greater"/>.</summary>
    Greater = 1 << Comparator.Greater,

    /// <summary>See <see cref="Comparator.GreaterOrEqual"/>.</summary>
    GreaterOrEqual = 1 << Comparator.GreaterOrEqual,

    /// <summary>See <see cref="Comparator.Less"/>.</summary>
    Less = 1 << Comparator.Less,

    /// <summary>See <see cref="Comparator.LessOrEqual"/>.</summary>
    LessOrEqual = 1 << Comparator.LessOrEqual,

    /// <summary>See <see cref="Comparator.Like"/>.</summary>
    Like = 1 << Comparator.Like,

    /// <summary>See <see cref="Comparator.ILike"/>.</summary>
    ILike = 1 << Comparator.ILike,

    /// <summary>See <see cref="Comparator.RLike"/>.</summary>
    RLike = 1 << Comparator.RLike,

    /// <summary>See <see cref="Comparator.In"/>.</summary>
    In = 1 << Comparator.In,

    /// <summary>See <see cref="Comparator.NotIn"/>.</summary>
    NotIn = 1 << Comparator.NotIn,

    /// <summary>See <see cref="Comparator.IsNull"/>.</summary>
    IsNull = 1 << Comparator.IsNull,

    /// <summary>See <see cref="Comparator.IsNotNull"/>.</summary>
    IsNotNull = 1 << Comparator.IsNotNull,

    /// <summary><c>= != LIKE ILIKE</c></summary>
    Text = Equal | NotEqual | Like | ILike,

    /// <summary><c>= != &gt; &gt;= &lt; &lt;=</c></summary>
    Number = Equal | NotEqual | Greater | GreaterOrEqual | Less | LessOrEqual,

    /// <summary><c>IN</c> and <c>NOT IN</c></summary>
    Lists = In | NotIn,

    /// <summary><c>IS NULL</c> and <c>IS NOT NULL</c></summary>
    Presence = IsNull | IsNotNull,
}

/// <summary>What the values of a key are.</summary>
public enum KeyType
{
    /// <summary>Text: literals are quoted.</summary>
    Text,

    /// <summary>A number: literals are not quoted.</summary>
    Number,
}

/// <summary>A key, or a family of keys, of an entity.</summary>
/// <param name="Name">The canonical key; with <see cref="IsPrefix"/> what the keys begin with.</param>
/// <param name="Type">What its values are.</param>
/// <param name="Comparators">What it can be compared by; none for a key that only orders.</param>
public sealed record KeyRule(string Name, KeyType Type, Comparators Comparators)
{
    /// <summary>Other spellings; those with a blank can only be written in quotes.</summary>
    public ImmutableArray<string> Aliases { get; init; } = [];

    /// <summary>Whether order_by takes it.</summary>
    public bool Orderable { get; init; }

    /// <summary>
    /// Whether the rule is for all longer keys that begin with <see cref="Name"/>. The empty name makes all keys of the
    /// entity free, as those of tags are. The key then stays as it was written.
    /// </summary>
    public bool IsPrefix { get; init; }

    /// <summary>Whether a rule for all keys of an entity leaves out the empty one.</summary>
    public bool NeedsName { get; init; }

    /// <summary>
    /// Whether a literal of the other kind is taken too: a quoted number for a number, an unquoted number (its
    /// characters) for a text.
    /// </summary>
    public bool EitherLiteral { get; init; }

    /// <summary>Whether it can only be written with the name of its entity before it.</summary>
    public bool NeedsEntity { get; init; }

    /// <summary>Whether a number must be whole where the key stands without the name of its entity.</summary>
    public bool WholeWithoutEntity { get; init; }

    /// <summary>The key of another entity that this one is only another way to write.</summary>
    public (EntityKind Entity, string Key)? StandsFor { get; init; }

    /// <summary>A rule for all keys of an entity.</summary>
    /// <param name="type">What their values are.</param>
    /// <param name="comparators">What they can be compared by.</param>
    /// <param name="orderable">Whether order_by takes them.</param>
    /// <returns>The rule.</returns>
    public static KeyRule AnyKey(KeyType type, Comparators comparators, bool orderable) =>
        new("", type, comparators) { IsPrefix = true, Orderable = orderable };

    internal bool Covers(ReadOnlySpan<char> key)
    {
        if (IsPrefix)
        {
            return key.StartsWith(Name) && (key.Length > Name.Length || (Name.Length == 0 && !NeedsName));
        }

        if (key.SequenceEqual(Name))
        {
            return true;
        }

        foreach (string alias in Aliases)
        {
            if (key.SequenceEqual(alias))
            {
                return true;
            }
        }

        return false;
    }
}

/// <summary>An entity: what may stand before the first dot of an identifier, and the keys after it.</summary>
/// <param name="Entity">The entity.</param>
/// <param name="Prefixes">Its names, case-sensitive; may be empty for the entity of keys without prefix.</param>
/// <param name="Keys">Its keys; the first rule that covers a key decides.</param>
public sealed record EntityRule(EntityKind Entity, ImmutableArray<string> Prefixes, ImmutableArray<KeyRule> Keys);

/// <summary>
/// The words of the filter and order_by languages for one searchable thing. Pure data: the grammar is the same for all
/// (contract: search §1), the words are not (§9).
/// </summary>
/// <param name="Entities">The entities; keys without a prefix belong to the first.</param>
public sealed record Vocabulary(ImmutableArray<EntityRule> Entities)
{
    /// <summary>Whether order_by may name a key twice, the later one without effect; refused otherwise (§9).</summary>
    public bool IgnoresRepeatedOrderKeys { get; init; }

    /// <summary>Whether order_by takes no keys in quotes (§4).</summary>
    public bool RefusesQuotedOrderKeys { get; init; }

    /// <summary>How errors name an entity.</summary>
    internal static string Describe(EntityKind entity) => entity.ToString().ToLowerInvariant();

    internal KeyRule ResolveForFilter(Identifier identifier, out EntityKind entity, out string key) =>
        Resolve(identifier, static rule => rule.Comparators != Comparators.None, out entity, out key);

    internal KeyRule ResolveForOrder(Identifier identifier, out EntityKind entity, out string key)
    {
        if (RefusesQuotedOrderKeys && identifier.IsQuoted)
        {
            throw new SearchSyntaxException(
                $"Invalid order_by clause: the key {SearchSyntaxException.Quote(identifier.Key)} must stand without quotes");
        }

        return Resolve(identifier, static rule => rule.Orderable, out entity, out key);
    }

    private KeyRule Resolve(Identifier identifier, Predicate<KeyRule> serves, out EntityKind entity, out string key)
    {
        EntityRule owner = identifier.HasEntity ? FindEntity(identifier.Entity) : Entities[0];
        foreach (KeyRule rule in owner.Keys)
        {
            if (serves(rule) && rule.Covers(identifier.Key) && (identifier.HasEntity || !rule.NeedsEntity))
            {
                (entity, key) = rule.StandsFor
                    ?? (owner.Entity, rule.IsPrefix ? identifier.Key.ToString() : rule.Name);
                return rule;
            }
        }

        throw InvalidKey(identifier.Key, owner, serves);
    }

    private EntityRule FindEntity(ReadOnlySpan<char> name)
    {
        foreach (EntityRule rule in Entities)
        {
            foreach (string prefix in rule.Prefixes)
            {
                if (name.SequenceEqual(prefix))
                {
                    return rule;
                }
            }
        }

        throw new SearchSyntaxException(
            $"Invalid entity type {SearchSyntaxException.Quote(name)}. "
            + $"Valid entity types: {string.Join(", ", Entities.SelectMany(rule => rule.Prefixes))}");
    }

    private static SearchSyntaxException InvalidKey(ReadOnlySpan<char> key, EntityRule owner, Predicate<KeyRule> serves)
    {
        IEnumerable<string> valid = owner.Keys
            .Where(rule => serves(rule))
            .Select(rule => rule.IsPrefix ? rule.Name + "<name>" : rule.Name);
        return new(
            $"Invalid {Describe(owner.Entity)} key {SearchSyntaxException.Quote(key)} specified. "
            + (valid.Any() ? $"Valid keys: {string.Join(", ", valid)}" : "None of its keys can be used here"));
    }
}
