using System.Buffers;
using System.Data.Common;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Searching;

/// <summary>
/// Tags as they are stored: one JSON object per experiment or run, all its members strings (mapping C-3). SQLite merges such objects by
/// comparing member names byte by byte, so every text has to come from here: one encoder, one spelling of a name.
/// </summary>
public static class Tags
{
    private static readonly JsonWriterOptions WriterOptions = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>An object without members.</summary>
    public const string None = "{}";

    /// <summary>An object with one member.</summary>
    public static string ToJson(string key, string? value) => ToJson([new KeyValue { Key = key, Value = value }]);

    /// <summary>An object with these members; of members with the same name the last one counts.</summary>
    public static string ToJson(IEnumerable<KeyValue> tags)
    {
        var last = new Dictionary<string, string?>(StringComparer.Ordinal);
        foreach (var tag in tags)
            last[tag.Key ?? ""] = tag.Value;
        return Write(last.Select(tag => (tag.Key, (string?)(tag.Value ?? ""))));
    }

    /// <summary>Reads a tags column; NULL, which other writers may have left, is no tags.</summary>
    public static List<KeyValue>? Read(DbDataReader reader, int ordinal)
    {
        if (reader.IsDBNull(ordinal))
            return null;
        var json = Encoding.UTF8.GetBytes(reader.GetString(ordinal));
        var tags = new List<KeyValue>();
        var tokens = new Utf8JsonReader(json);
        while (tokens.Read())
        {
            if (tokens.TokenType != JsonTokenType.PropertyName)
                continue;
            var key = tokens.GetString();
            tokens.Read();
            if (tokens.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                // Written by someone else: shown as the JSON that it is.
                var start = (int)tokens.TokenStartIndex;
                tokens.Skip();
                tags.Add(new KeyValue { Key = key, Value = Encoding.UTF8.GetString(json, start, (int)tokens.BytesConsumed - start) });
            }
            else if (tokens.TokenType != JsonTokenType.Null)
            {
                tags.Add(new KeyValue
                {
                    Key = key,
                    Value = tokens.TokenType == JsonTokenType.String ? tokens.GetString() : Encoding.UTF8.GetString(tokens.ValueSpan),
                });
            }
        }

        if (tags.Count == 0)
            return null;
        tags.Sort((left, right) => string.CompareOrdinal(left.Key, right.Key));
        return tags;
    }

    /// <summary>The expression that sets members: <paramref name="members"/> is the placeholder of an object from <see cref="ToJson(IEnumerable{KeyValue})"/>.</summary>
    public static string Merge(Database database, string column, string members) =>
        database.Choose($"COALESCE({column}, '{{}}') || {members}", $"json_patch(COALESCE({column}, '{{}}'), {members})");

    /// <summary>The expression that takes one member away, with the parameter that it needs.</summary>
    public static string Without(StatementBuilder sql, string column, string key) =>
        sql.Database.Kind == DatabaseKind.PostgreSql
            ? $"{column} - {sql.Add(key)}"
            : $"json_patch({column}, {sql.AddJson(Write([(key, null)]))})";

    /// <summary>The condition that a member is there.</summary>
    public static string Has(StatementBuilder sql, string column, string key)
    {
        var name = sql.Add(key);
        return sql.Database.Choose(
            $"jsonb_exists({column}, {name})",
            $"EXISTS (SELECT 1 FROM json_each({column}) AS tag WHERE tag.key = {name})");
    }

    private static string Write(IEnumerable<(string Key, string? Value)> members)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, WriterOptions))
        {
            writer.WriteStartObject();
            foreach (var (key, value) in members)
                writer.WriteString(key, value);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }
}
