using MlflowCompat.Search;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Finds versions of registered models or of prompts (contract: search §5).</summary>
/// <param name="database">The workspace's database.</param>
public sealed class ModelVersionSearch(Database database)
{
    private static readonly OrderTerm ByLastUpdate = new(EntityKind.Attribute, "last_updated_timestamp", Ascending: false);

    private static readonly OrderTerm[] TieBreaks =
        [new(EntityKind.Attribute, "name", Ascending: true), new(EntityKind.Attribute, "version_number", Ascending: false)];

    /// <summary>A page of the versions that meet a filter, without their aliases.</summary>
    public async Task<SearchPage<ModelVersion>> FindAsync(
        Filter filter, IReadOnlyList<OrderTerm> order, int maxResults, long offset, CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        sql.Append($"SELECT {ModelVersionReader.ColumnsWithoutAliases(database)} FROM model_registry WHERE ").Append(Where(sql, filter))
            .Append(" ORDER BY ").Append(OrderBy(order)).Append(Conditions.Limit(maxResults + 1, offset));
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await session.ListAsync(sql.ToStatement(), reader => ModelVersionReader.Read(reader), cancellationToken).ConfigureAwait(false);
            return SearchPage<ModelVersion>.From(rows, maxResults, offset);
        }
    }

    /// <summary>The newest version in each of some stages, newest first, with their aliases.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: there is no such registered model.</exception>
    public async Task<List<ModelVersion>> FindLatestAsync(string name, IReadOnlyList<string> stages, CancellationToken cancellationToken)
    {
        var each = string.Join(", ", stages.Select(stage => $"""
            (SELECT l.registry_id FROM model_registry l
                WHERE l.registered_model_name = $1 AND l.current_stage = '{stage}' AND l.deleted_at IS NULL
                ORDER BY l.model_version DESC LIMIT 1)
            """));
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var versions = await session.ListAsync(
                database.Statement($"""
                    SELECT {ModelVersionReader.ColumnsWithAliases(database)} FROM model_registry
                    WHERE model_registry.registry_id IN ({each}) ORDER BY model_registry.model_version DESC
                    """).Add(name),
                reader => ModelVersionReader.Read(reader),
                cancellationToken).ConfigureAwait(false);
            if (versions.Count == 0 && await session.ScalarAsync<long>(
                database.Statement("SELECT CAST(count(*) AS BIGINT) FROM registered_models WHERE registered_model_name = $1").Add(name), cancellationToken)
                .ConfigureAwait(false) == 0)
            {
                throw HeldRegisteredModel.NotFound(name);
            }

            return versions;
        }
    }

    private string Where(StatementBuilder sql, Filter filter)
    {
        var scope = new PromptScope(database, filter);
        var isLookedUp = filter.Clauses.Any(clause =>
            clause is { Entity: EntityKind.Attribute, Key: "name" or "run_id", Comparator: Comparator.Equal or Comparator.In });
        var conditions = filter.Clauses.Select(clause => clause.Entity == EntityKind.Tag
            ? scope.Tag(sql, "model_registry.tags", clause)
            : Attribute(sql, clause));
        // Deleted versions are of neither kind.
        return string.Join(" AND ", conditions.OfType<string>().Prepend(scope.Kind("model_registry.is_prompt", isLookedUp)));
    }

    private static string Attribute(StatementBuilder sql, Clause clause) => clause.Key switch
    {
        // To fold the case of a name takes longer than to look it up, and models are fewer than their versions.
        "name" when clause.Comparator == Comparator.ILike && sql.Database.Kind == DatabaseKind.PostgreSql =>
            "model_registry.registered_model_name IN (SELECT n.registered_model_name FROM registered_models n "
            + $"WHERE {Conditions.Text(sql, "n.registered_model_name", clause.Comparator, clause.Value)})",
        "name" => Conditions.Text(sql, "model_registry.registered_model_name", clause.Comparator, clause.Value),
        "source_path" => Conditions.Text(sql, "model_registry.source", clause.Comparator, clause.Value),
        "run_id" => Conditions.Text(
            sql, NamesRuns(clause) ? "model_registry.source_run_uuid" : "COALESCE(model_registry.source_run_uuid, '')", clause.Comparator, clause.Value),
        "version_number" => Conditions.WholeNumber(sql, "model_registry.model_version", clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    /// <summary>Whether versions without a run, for which <c>''</c> stands, are none of those that are meant: only then the index serves.</summary>
    private static bool NamesRuns(Clause clause) => clause switch
    {
        { Comparator: Comparator.Equal, Value: TextValue { Text.Length: > 0 } } => true,
        { Comparator: Comparator.In, Value: TextListValue { Texts: var texts } } => !texts.Contains(""),
        _ => false,
    };

    private string OrderBy(IReadOnlyList<OrderTerm> order)
    {
        IReadOnlyList<OrderTerm> given = order.Count == 0 ? [ByLastUpdate] : order;
        var terms = given.Concat(TieBreaks.Where(last => !given.Any(term => term.Key == last.Key)));
        return string.Join(", ", terms.Select(term => term.Key switch
        {
            "name" => Conditions.Ordinal(database, "model_registry.registered_model_name"),
            "version_number" => "model_registry.model_version",
            "creation_timestamp" => "model_registry.created_at",
            "last_updated_timestamp" => "model_registry.updated_at",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + (term.Ascending ? " ASC" : " DESC")));
    }
}
