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
        // The keys first: what belongs to a model is read for the page only.
        sql.Append(RegisteredModelReader.Select(database))
            .Append(" WHERE m.registered_model_name IN (SELECT r.registered_model_name FROM registered_models r WHERE ")
            .Append(Where(sql, filter)).Append(" ORDER BY ").Append(OrderBy("r", order)).Append(Conditions.Limit(maxResults + 1, offset))
            .Append(") ORDER BY ").Append(OrderBy("m", order));
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
            ? scope.Tag(sql, "r.tags", clause)
            : Conditions.Text(sql, "r.registered_model_name", clause.Comparator, clause.Value));
        return string.Join(" AND ", conditions.OfType<string>().Prepend(scope.Kind("r.is_prompt", isLookedUp)));
    }

    private string OrderBy(string table, IReadOnlyList<OrderTerm> order)
    {
        var terms = order.Any(term => term.Key == ByName.Key) ? order : order.Append(ByName);
        return string.Join(", ", terms.Select(term => term.Key switch
        {
            "name" => Conditions.Ordinal(database, $"{table}.registered_model_name"),
            "last_updated_timestamp" => $"{table}.updated_at",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + (term.Ascending ? " ASC" : " DESC")));
    }
}
