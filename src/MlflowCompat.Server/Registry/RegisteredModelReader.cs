using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>
/// Reads registered models with their aliases and the newest version in each stage, any number of them in one statement: a row for each
/// model and stage.
/// </summary>
internal static class RegisteredModelReader
{
    private const int VersionOrdinal = 6;

    /// <summary>
    /// The rows of the registered models that <c>registered_models m</c> is to be restricted to, by a WHERE clause or a join that the
    /// caller appends. The rows of one model have to come one after the other: an order by <c>m.registered_model_name</c> does it.
    /// </summary>
    public static string Select(Database database)
    {
        var aliases = database.Choose(
            "json_agg(json_build_object('alias', a.alias, 'version', a.model_version::text))",
            "json_group_array(json_object('alias', a.alias, 'version', CAST(a.model_version AS TEXT)))");
        var stages = string.Join(" UNION ALL ", ModelStage.All.Select(stage => $"SELECT '{stage}' AS stage"));
        return $"""
            SELECT m.registered_model_name, m.created_at, m.updated_at, m.description, m.tags,
                (SELECT {aliases} FROM registered_model_aliases a WHERE a.registered_model_name = m.registered_model_name),
                {ModelVersionReader.ColumnsWithoutAliases(database)}
            FROM registered_models m
            CROSS JOIN ({stages}) s
            LEFT JOIN model_registry ON model_registry.registry_id = (
                SELECT l.registry_id FROM model_registry l
                WHERE l.registered_model_name = m.registered_model_name AND l.current_stage = s.stage AND l.deleted_at IS NULL
                ORDER BY l.model_version DESC LIMIT 1)
            """;
    }

    /// <summary>One registered model, or null.</summary>
    public static async Task<RegisteredModel?> FindAsync(
        Database database, DatabaseSession session, string name, CancellationToken cancellationToken)
    {
        var models = await ReadAsync(
            session,
            database.Statement($"{Select(database)} WHERE m.registered_model_name = $1").Add(name),
            cancellationToken).ConfigureAwait(false);
        return models.Count == 0 ? null : models[0];
    }

    /// <summary>The registered models of a statement that begins with <see cref="Select"/>, in its order.</summary>
    public static async Task<List<RegisteredModel>> ReadAsync(
        DatabaseSession session, Statement statement, CancellationToken cancellationToken)
    {
        var rows = await session.ListAsync(statement, Read, cancellationToken).ConfigureAwait(false);
        var models = new List<RegisteredModel>();
        foreach (var row in rows)
        {
            if (models.Count == 0 || models[^1].Name != row.Name)
                models.Add(row);
            else if (row.LatestVersions is { } latest)
                models[^1] = models[^1] with { LatestVersions = [.. models[^1].LatestVersions ?? [], .. latest] };
        }

        foreach (var model in models)
            model.LatestVersions?.Sort((left, right) => Number(right).CompareTo(Number(left)));
        return models;

        static int Number(ModelVersion version) => int.Parse(version.Version, CultureInfo.InvariantCulture);
    }

    private static RegisteredModel Read(DbDataReader reader) => new(
        reader.GetString(0),
        reader.GetMilliseconds(1),
        reader.GetMilliseconds(2),
        reader.GetStringOrNull(3) is { Length: > 0 } description ? description : null,
        reader.IsDBNull(VersionOrdinal) ? null : [ModelVersionReader.Read(reader, VersionOrdinal)],
        Tags.Read(reader, 4),
        ReadAliases(reader, 5));

    private static List<RegisteredModelAlias>? ReadAliases(DbDataReader reader, int ordinal)
    {
        if (reader.IsDBNull(ordinal))
            return null;
        var aliases = JsonSerializer.Deserialize(reader.GetString(ordinal), MlflowJson.TypeInfo<List<RegisteredModelAlias>>())!;
        aliases.Sort((left, right) => string.CompareOrdinal(left.Alias, right.Alias));
        return aliases.Count == 0 ? null : aliases;
    }
}
