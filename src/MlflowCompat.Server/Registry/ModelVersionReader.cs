using System.Data.Common;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Reads versions from rows of <c>model_registry</c>, which has to go by its own name: RETURNING on SQLite takes no other.</summary>
internal static class ModelVersionReader
{
    /// <summary>How many columns <see cref="Read"/> reads.</summary>
    public const int ColumnCount = 12;

    /// <summary>Which rows are versions: deleted ones only keep their number (mapping C-37).</summary>
    public const string IsThere = "model_registry.deleted_at IS NULL";

    private const string Columns = """
        model_registry.registered_model_name, model_registry.model_version, model_registry.created_at, model_registry.updated_at,
        model_registry.current_stage, model_registry.description, model_registry.source, model_registry.source_run_uuid,
        model_registry.version_status, model_registry.run_link, model_registry.tags
        """;

    /// <summary>The columns of a version without its aliases.</summary>
    public static string ColumnsWithoutAliases(Database database) => Columns + database.Choose(", NULL::json", ", NULL");

    /// <summary>The columns of a version with its aliases.</summary>
    public static string ColumnsWithAliases(Database database)
    {
        var aliases = database.Choose("json_agg(a.alias)", "json_group_array(a.alias)");
        return $"""
            {Columns},
            (SELECT {aliases} FROM registered_model_aliases a
                WHERE a.registered_model_name = model_registry.registered_model_name AND a.model_version = model_registry.model_version)
            """;
    }

    /// <summary>Reads one version.</summary>
    /// <param name="reader">A row that has the columns.</param>
    /// <param name="ordinal">Where they begin.</param>
    public static ModelVersion Read(DbDataReader reader, int ordinal = 0) => new(
        reader.GetString(ordinal),
        ModelVersionNumber.Format(reader.GetInt32(ordinal + 1)),
        reader.GetMilliseconds(ordinal + 2),
        reader.GetMilliseconds(ordinal + 3),
        ModelStage.Format(reader.GetString(ordinal + 4)),
        reader.GetStringOrNull(ordinal + 5),
        reader.GetStringOrNull(ordinal + 6) ?? "",
        reader.GetStringOrNull(ordinal + 7) ?? "",
        reader.GetString(ordinal + 8),
        reader.GetStringOrNull(ordinal + 9) ?? "",
        Tags.Read(reader, ordinal + 10),
        ReadAliases(reader, ordinal + 11));

    private static List<string>? ReadAliases(DbDataReader reader, int ordinal)
    {
        if (reader.IsDBNull(ordinal))
            return null;
        var aliases = JsonSerializer.Deserialize(reader.GetString(ordinal), MlflowJson.TypeInfo<List<string>>())!;
        aliases.Sort(StringComparer.Ordinal);
        return aliases.Count == 0 ? null : aliases;
    }
}
