using MlflowCompat.Search;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>
/// Which of the two that share the registry a search is for: models, unless a clause on <see cref="PromptTags.IsPrompt"/> asks for prompts
/// (contract: search §4). What lacks the tag is no prompt, so it counts as <c>false</c> there.
/// </summary>
/// <param name="database">The database.</param>
/// <param name="filter">What is searched for.</param>
internal sealed class PromptScope(Database database, Filter filter)
{
    private readonly bool isForPrompts = filter.Clauses.Any(AsksForPrompts);

    /// <summary>The condition for the kind.</summary>
    /// <param name="column">The column <c>is_prompt</c>, with which the indexes of the orders begin.</param>
    /// <param name="isLookedUp">
    /// Whether the filter names what it wants. SQLite, which has no statistics, would walk the index of the order nevertheless.
    /// </param>
    public string Kind(string column, bool isLookedUp) => database.Choose(
        isForPrompts ? column : $"NOT {column}",
        $"{(isLookedUp ? "+" : "")}{column} = {(isForPrompts ? 1 : 0)}");

    /// <summary>The condition of a clause on a tag; null when <see cref="Kind"/> says the same.</summary>
    /// <param name="sql">Statement under construction.</param>
    /// <param name="column">The column of tags.</param>
    /// <param name="clause">The clause.</param>
    public string? Tag(StatementBuilder sql, string column, Clause clause)
    {
        if (clause.Key != PromptTags.IsPrompt)
            return Conditions.Tag(sql, column, clause.Key, clause.Comparator, clause.Value);
        return (isForPrompts ? AsksForPrompts(clause) : AsksForModels(clause))
            ? null
            : Conditions.Text(sql, $"COALESCE({PromptTags.Value(database, column)}, 'false')", clause.Comparator, clause.Value);
    }

    private static bool AsksForPrompts(Clause clause) => Says(clause, "true", "false");

    private static bool AsksForModels(Clause clause) => Says(clause, "false", "true");

    private static bool Says(Clause clause, string value, string opposite) =>
        clause is { Entity: EntityKind.Tag, Key: PromptTags.IsPrompt, Value: TextValue { Text: var text } }
        && ((clause.Comparator == Comparator.Equal && text == value) || (clause.Comparator == Comparator.NotEqual && text == opposite));
}
