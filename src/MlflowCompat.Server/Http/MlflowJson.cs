using System.Collections;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace MlflowCompat.Server.Http;

/// <summary>
/// The JSON of the REST surface: protobuf's JSON form with MLflow's settings (contract: semantics §1.2, §2). Every capability brings the
/// source-generated descriptions of its messages.
/// </summary>
public static class MlflowJson
{
    /// <summary>Reads and writes all messages of the server.</summary>
    public static JsonSerializerOptions Options { get; } = Create();

    /// <summary>The description of a message.</summary>
    public static JsonTypeInfo<T> TypeInfo<T>() => (JsonTypeInfo<T>)Options.GetTypeInfo(typeof(T));

    private static JsonSerializerOptions Create()
    {
        var options = new JsonSerializerOptions
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
            Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
            MaxDepth = 32,
            TypeInfoResolver = JsonTypeInfoResolver
                .Combine(
                    HttpJson.Default,
                    InfrastructureJson.Default,
                    Experiments.ExperimentsJson.Default,
                    Runs.RunsJson.Default,
                    Metrics.MetricsJson.Default,
                    Datasets.DatasetsJson.Default,
                    Artifacts.ArtifactsJson.Default,
                    LoggedModels.LoggedModelsJson.Default,
                    Webhooks.WebhooksJson.Default,
                    Registry.RegisteredModelsJson.Default,
                    Registry.ModelVersionsJson.Default,
                    Registry.RegistrySearchJson.Default,
                    EvaluationDatasets.EvaluationDatasetsJson.Default,
                    Scorers.ScorersJson.Default,
                    Traces.TracesJson.Default,
                    Traces.TraceMetricsJson.Default,
                    Traces.Otlp.OtlpAnswersJson.Default,
                    Assessments.AssessmentsJson.Default)
                .WithAddedModifier(AcceptCamelCase)
                .WithAddedModifier(RefuseNullElements),
        };
        options.Converters.Add(new Int64Converter());
        options.Converters.Add(new Int32Converter());
        options.Converters.Add(new DoubleConverter());
        options.Converters.Add(new StringConverter());
        options.MakeReadOnly();
        return options;
    }

    /// <summary>Protobuf's parsers take the lowerCamelCase name of each field beside the one in the .proto file.</summary>
    private static void AcceptCamelCase(JsonTypeInfo type)
    {
        // Answers are records, made by their constructors; requests are made empty and filled.
        if (type.Kind != JsonTypeInfoKind.Object || type.CreateObject is null)
            return;
        foreach (var property in type.Properties.ToArray())
        {
            var camelCase = ToCamelCase(property.Name);
            if (property.Set is null || camelCase == property.Name)
                continue;
            var alias = type.CreateJsonPropertyInfo(property.PropertyType, camelCase);
            alias.Set = property.Set;
            alias.CustomConverter = property.CustomConverter;
            type.Properties.Add(alias);
        }
    }

    /// <summary>A list may be null, which is an absent list; its elements may not, nor may the values of a map.</summary>
    private static void RefuseNullElements(JsonTypeInfo type)
    {
        foreach (var property in type.Properties)
        {
            var isMap = typeof(IDictionary).IsAssignableFrom(property.PropertyType);
            if (property.Set is not { } set || !(isMap || typeof(IList).IsAssignableFrom(property.PropertyType)))
                continue;
            property.Set = (message, value) =>
            {
                if (value is IList list && list.Contains(null))
                    throw new JsonException("its elements must not be null");
                if (value is IDictionary map && map.Values.Cast<object?>().Contains(null))
                    throw new JsonException("its values must not be null");
                set(message, value);
            };
        }
    }

    private static string ToCamelCase(string snakeCase)
    {
        var words = snakeCase.Split('_');
        return words[0] + string.Concat(words.Skip(1).Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
    }
}

[JsonSerializable(typeof(Empty))]
[JsonSerializable(typeof(ErrorBody))]
[JsonSerializable(typeof(KeyValue))]
internal sealed partial class HttpJson : JsonSerializerContext;
