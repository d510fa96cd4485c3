using MlflowCompat.Search;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Finds registered models or prompts (contract: search §4).</summary>
/// <param name="database">The workspace's database.</param>
public sealed class RegisteredModelSearch(Database database)
{
    private static readonly OrderTerm ByName = new(EntityKind.Attribute, "name", Ascending: true);

    /// <summary>A page of the registered models that meet a filter, with aliases and latest versions.</summary>
    public async Task<SearchPage<RegisteredModel>> FindAsync(
        Filter filter, IReadOnlyList<OrderTerm> order, int maxResults, long offset, CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        var page = $"(SELECT {RegisteredModelReader.Columns} FROM registered_models m WHERE {Where(sql, filter)} ORDER BY {OrderBy(order)}"
            + $"{Conditions.Limit(maxResults + 1, offset)})";
        sql.Append(RegisteredModelReader.Select(database, page)).Append(" ORDER BY ").Append(OrderBy(order));
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await RegisteredModelReader.ReadAsync(session, sql.ToStatement(), cancellationToken).ConfigureAwait(false);
            return SearchPage<RegisteredModel>.From(rows, maxResults, offset);
        }
    }

    private string Where(StatementBuilder sql, Filter filter)
    {
        var scope = new PromptScope(database, filter);
        var isLookedUp = filter.Clauses.Any(clause => clause is { Entity: EntityKind.Attribute, Comparator: Comparator.Equal });
        var conditions = filter.Clauses.Select(clause => clause.Entity == EntityKind.Tag
            ? scope.Tag(sql, "m.tags", clause)
            : Conditions.Text(sql, "m.registered_model_name", clause.Comparator, clause.Value));
        return string.Join(" AND ", conditions.OfType<string>().Prepend(scope.Kind("m.is_prompt", isLookedUp)));
    }

    private string OrderBy(IReadOnlyList<OrderTerm> order)
    {
        var terms = order.Any(term => term.Key == ByName.Key) ? order : order.Append(ByName);
        return string.Join(", ", terms.Select(term => term.Key switch
        {
            "name" => Conditions.Ordinal(database, "m.registered_model_name"),
            "last_updated_timestamp" => "m.updated_at",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + (term.Ascending ? " ASC" : " DESC")));
    }
}
