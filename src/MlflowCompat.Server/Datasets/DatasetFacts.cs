using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Datasets;

/// <summary>A column of a data set.</summary>
/// <param name="Name">Its name.</param>
/// <param name="FeatureType">numeric, categorical, datetime, text or boolean.</param>
/// <param name="DataType">MLflow's name of its type.</param>
public sealed record DatasetFeature(string Name, string FeatureType, string DataType);

/// <summary>
/// What the specified columns of a data set can be told from what MLflow clients send: texts that hold JSON of several forms, or anything
/// else. The texts are stored as they came; this is a reading of them for SQL users, and what cannot be read is left out (mapping C-41 to
/// C-43).
/// </summary>
public sealed record DatasetFacts
{
    private const int MaxFeatureNameLength = 255;
    private const int MaxDataTypeLength = 50;

    /// <summary>Clients put a schema of up to a million characters here; features beyond this number stay in the text only.</summary>
    private const int MaxFeatures = 10_000;

    /// <summary>Of a member given twice nobody knows which one is meant.</summary>
    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false };

    private static readonly string[] PathMembers = ["uri", "path", "url", "table", "table_name", "delta_table_name"];

    /// <summary>What the data set was used for: raw when the client did not say.</summary>
    public required string DatasetType { get; init; }

    /// <summary>Where the data lies.</summary>
    public required string FilePath { get; init; }

    /// <summary>By the extension of the path; <c>other</c> for tables, hubs and code.</summary>
    public required string FileFormat { get; init; }

    /// <summary>Number of rows, if the profile tells.</summary>
    public long? NumRows { get; init; }

    /// <summary>Number of columns, if the schema tells.</summary>
    public long? NumColumns { get; init; }

    /// <summary>The schema, if it is JSON.</summary>
    public string? SchemaDefinition { get; init; }

    /// <summary>Object of column names and types.</summary>
    public string? ColumnTypes { get; init; }

    /// <summary>The columns.</summary>
    public IReadOnlyList<DatasetFeature> Features { get; init; } = [];

    /// <summary>Reads a data set and the tags of its use.</summary>
    public static DatasetFacts Of(DatasetInput input)
    {
        var dataset = input.Dataset!;
        var path = PathOf(dataset.Source!);
        var schema = Parse(dataset.Schema);
        var features = FeaturesOf(schema);
        return new DatasetFacts
        {
            DatasetType = input.Tags?.FindLast(tag => tag.Key == "mlflow.data.context")?.Value switch
            {
                "training" or "train" => "training",
                "validation" or "eval" => "validation",
                "test" or "testing" => "test",
                _ => "raw",
            },
            FilePath = path,
            FileFormat = Path.GetExtension(path.Split('?')[0]).ToUpperInvariant() switch
            {
                ".CSV" => "csv",
                ".PARQUET" => "parquet",
                ".JSON" or ".JSONL" => "json",
                ".FEATHER" => "feather",
                _ => "other",
            },
            NumRows = RowsOf(Parse(dataset.Profile) as JsonObject),
            NumColumns = features.Count == 0 ? null : features.Count,
            SchemaDefinition = schema is null ? null : dataset.Schema,
            ColumnTypes = features.Count == 0 ? null : ToJson(features),
            Features = features,
        };
    }

    private static string PathOf(string source)
    {
        if (Parse(source) is JsonObject members)
        {
            foreach (var name in PathMembers)
            {
                if (Text(members[name]) is { Length: > 0 } path)
                    return path;
            }
        }

        return source;
    }

    private static long? RowsOf(JsonObject? profile)
    {
        var rows = profile?["num_rows"] as JsonValue;
        if (rows is null && profile?["features_shape"] is JsonArray { Count: > 0 } shape)
            rows = shape[0] as JsonValue;
        return rows is not null && rows.TryGetValue<long>(out var number) && number is >= 0 and <= int.MaxValue ? number : null;
    }

    /// <summary>
    /// <c>mlflow_colspec</c> is a list of columns; <c>mlflow_tensorspec</c> has lists of tensors under <c>features</c> and <c>targets</c>,
    /// each a list or the text of one.
    /// </summary>
    private static List<DatasetFeature> FeaturesOf(JsonNode? schema)
    {
        var columns = new List<JsonObject>();
        if (schema is JsonObject specification)
        {
            Add(specification["mlflow_colspec"]);
            if (specification["mlflow_tensorspec"] is JsonObject tensors)
            {
                Add(tensors["features"]);
                Add(tensors["targets"]);
            }
        }
        else
        {
            Add(schema);
        }

        var features = new Dictionary<string, DatasetFeature>(StringComparer.Ordinal);
        foreach (var column in columns)
        {
            if (Text(column["name"]) is not { Length: > 0 } name || FieldRules.CodePoints(name) > MaxFeatureNameLength)
                continue;
            var type = column["tensor-spec"] is JsonObject tensor ? Text(tensor["dtype"]) : Text(column["type"]);
            type = FieldRules.Truncate(type ?? "unknown", MaxDataTypeLength);
            features.TryAdd(name, new DatasetFeature(name, FeatureType(type), type));
        }

        return [.. features.Values];

        void Add(JsonNode? node)
        {
            var list = node as JsonArray ?? Parse(Text(node)) as JsonArray;
            columns.AddRange((list ?? []).OfType<JsonObject>().Take(MaxFeatures - columns.Count));
        }
    }

    private static string FeatureType(string type) => type switch
    {
        "boolean" or "bool" => "boolean",
        "datetime" => "datetime",
        "string" or "str" or "object" or "binary" or "array" or "map" or "any" or "unknown" => "text",
        _ when type.StartsWith("datetime", StringComparison.Ordinal) => "datetime",
        _ when type is "long" or "integer" or "double" or "float"
            || type.StartsWith("int", StringComparison.Ordinal)
            || type.StartsWith("uint", StringComparison.Ordinal)
            || type.StartsWith("float", StringComparison.Ordinal) => "numeric",
        _ when type.StartsWith("categor", StringComparison.Ordinal) => "categorical",
        _ => "text",
    };

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    /// <summary>U+0000 may be spelt as an escape within these texts, and PostgreSQL's JSON cannot hold it.</summary>
    private static JsonNode? Parse(string? json)
    {
        if (string.IsNullOrWhiteSpace(json) || json.Contains("\\u0000", StringComparison.Ordinal))
            return null;
        try
        {
            return JsonNode.Parse(json, documentOptions: Strict);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static string ToJson(List<DatasetFeature> features)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            foreach (var feature in features)
                writer.WriteString(feature.Name, feature.DataType);
            writer.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(buffer.ToArray());
    }
}
