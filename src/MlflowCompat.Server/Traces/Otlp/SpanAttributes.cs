using System.Globalization;
using System.Text.Json;

namespace MlflowCompat.Server.Traces.Otlp;

/// <summary>
/// The attributes of a span, and what MLflow derives from those of other conventions when its own are missing: inputs, outputs, tokens and
/// type (contract: endpoints §14). The first convention that has it wins: OpenInference, GenAI, Traceloop.
/// </summary>
internal sealed class SpanAttributes
{
    private const string RequestId = "mlflow.traceRequestId";
    private const string Inputs = "mlflow.spanInputs";
    private const string Outputs = "mlflow.spanOutputs";
    private const string Type = "mlflow.spanType";
    private const string TokenUsage = "mlflow.chat.tokenUsage";
    private const string Cost = "mlflow.llm.cost";

    /// <summary>The most that a cost, in USD, may be to count as one, in either direction.</summary>
    private const double MaxCost = 1e15;

    private static readonly string[] InputKeys = ["input.value", "gen_ai.input.messages", "traceloop.entity.input"];
    private static readonly string[] OutputKeys = ["output.value", "gen_ai.output.messages", "traceloop.entity.output"];

    private static readonly (string Input, string Output, string Total)[] TokenKeys =
    [
        ("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total"),
        ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", ""),
        ("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "llm.usage.total_tokens"),
    ];

    private static readonly (string Count, string Key)[] CacheKeys =
    [
        ("cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
        ("cache_creation_input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    ];

    private static readonly string[] TokenCounts =
        ["input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

    private static readonly string[] Costs = ["input_cost", "output_cost", "total_cost"];

    private static readonly string[] ModelKeys = ["mlflow.llm.model", "llm.model_name", "gen_ai.response.model", "gen_ai.request.model"];
    private static readonly string[] ProviderKeys = ["mlflow.llm.provider", "llm.provider", "gen_ai.provider.name", "gen_ai.system"];

    private static readonly Dictionary<string, string> Types = new(StringComparer.Ordinal)
    {
        ["workflow"] = "WORKFLOW",
        ["task"] = "TASK",
        ["agent"] = "AGENT",
        ["tool"] = "TOOL",
        ["unknown"] = "UNKNOWN",
    };

    private static readonly string[] OpenInferenceTypes =
        ["TOOL", "CHAIN", "LLM", "RETRIEVER", "EMBEDDING", "AGENT", "RERANKER", "UNKNOWN", "GUARDRAIL", "EVALUATOR"];

    private readonly OrderedDictionary<string, object?> values = new(StringComparer.Ordinal);

    /// <summary>Takes over what was sent, and adds what is missing.</summary>
    public SpanAttributes(string traceId, List<KeyValuePair<string, object?>> sent)
    {
        values[RequestId] = traceId;
        foreach (var (key, value) in sent)
            values[key] = value;
        AddFirst(Inputs, InputKeys);
        AddFirst(Outputs, OutputKeys);
        AddTokenUsage();
        AddType();
    }

    /// <summary>All of them, in order.</summary>
    public IEnumerable<KeyValuePair<string, object?>> All => values;

    /// <summary>The type of the span, or null.</summary>
    public string? SpanType => Text(Type);

    /// <summary>The JSON text of what went in, or null.</summary>
    public string? InputText => values.TryGetValue(Inputs, out var value) ? SpanJson.ValueText(value) : null;

    /// <summary>The JSON text of what came out, or null.</summary>
    public string? OutputText => values.TryGetValue(Outputs, out var value) ? SpanJson.ValueText(value) : null;

    /// <summary>What the column <c>usage</c> keeps: tokens, cost, model, provider, each where it can be one; null when there is none of them.</summary>
    public string? Usage()
    {
        var usage = new List<KeyValuePair<string, object?>>();
        if (Members(TokenUsage) is { } tokens)
        {
            foreach (var count in TokenCounts)
            {
                if (Count(Find(tokens, count)) is { } number)
                    usage.Add(new(count, number));
            }
        }

        if (Members(Cost) is { } cost)
        {
            foreach (var part in Costs)
            {
                if (Amount(Find(cost, part)) is { } amount)
                    usage.Add(new(part, amount));
            }
        }

        if (ModelKeys.Select(Text).FirstOrDefault(name => !string.IsNullOrEmpty(name)) is { } model)
            usage.Add(new("model", model));
        if (ProviderKeys.Select(Text).FirstOrDefault(name => !string.IsNullOrEmpty(name)) is { } provider)
            usage.Add(new("provider", provider));
        return usage.Count == 0 ? null : SpanJson.ValueText(usage);
    }

    private void AddFirst(string key, string[] others)
    {
        if (values.ContainsKey(key))
            return;
        foreach (var other in others)
        {
            if (values.TryGetValue(other, out var value))
            {
                values[key] = value;
                return;
            }
        }
    }

    private void AddTokenUsage()
    {
        if (values.ContainsKey(TokenUsage))
            return;
        foreach (var keys in TokenKeys)
        {
            if (Count(keys.Input) is not (> 0 and var input) || Count(keys.Output) is not (> 0 and var output))
                continue;
            var usage = new List<KeyValuePair<string, object?>>
            {
                new("input_tokens", input), new("output_tokens", output), new("total_tokens", Count(keys.Total) ?? input + output),
            };
            foreach (var (count, key) in CacheKeys)
            {
                if (Count(key) is { } cached)
                    usage.Add(new(count, cached));
            }

            values[TokenUsage] = usage;
            return;
        }
    }

    private void AddType()
    {
        if (values.ContainsKey(Type))
            return;
        var type = Text("openinference.span.kind") is { } kind && OpenInferenceTypes.Contains(kind) ? kind
            : Text("traceloop.span.kind") is { } traceloop ? Types.GetValueOrDefault(traceloop)
            : null;
        if (type is not null)
            values[Type] = type;
    }

    /// <summary>A text; some exporters send it as the JSON of one.</summary>
    private string? Text(string key)
    {
        if (!values.TryGetValue(key, out var value) || value is not string text)
            return null;
        return text is ['"', .., '"'] && text.Length > 2 && Parse(text) is string inner ? inner : text;
    }

    /// <summary>An object; MLflow's own older exporters send it as a JSON text.</summary>
    private List<KeyValuePair<string, object?>>? Members(string key) => values.GetValueOrDefault(key) switch
    {
        List<KeyValuePair<string, object?>> members => members,
        string text => Parse(text) as List<KeyValuePair<string, object?>>,
        _ => null,
    };

    private long? Count(string key) => Count(values.GetValueOrDefault(key));

    /// <summary>How many tokens, or null: what cannot be a number of them is no usage, but no reason to refuse the span either.</summary>
    private static long? Count(object? value)
    {
        long? count = value switch
        {
            long number => number,
            double number when Math.Floor(number) == number && Math.Abs(number) <= SpanStore.MaxTokens => (long)number,
            string text when long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) => number,
            _ => null,
        };
        return count is >= 0 and <= SpanStore.MaxTokens ? count : null;
    }

    /// <summary>A cost, or null; negative ones are credits.</summary>
    private static double? Amount(object? value)
    {
        double? amount = value switch
        {
            long number => number,
            double number => number,
            _ => null,
        };
        return amount is >= -MaxCost and <= MaxCost ? amount : null;
    }

    private static object? Find(List<KeyValuePair<string, object?>> members, string name) => members.Find(member => member.Key == name).Value;

    private static object? Parse(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return Value(document.RootElement);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // No JSON, or half a surrogate pair in it.
            return null;
        }

        static object? Value(JsonElement element) => element.ValueKind switch
        {
            JsonValueKind.Object => element.EnumerateObject().Select(member => new KeyValuePair<string, object?>(member.Name, Value(member.Value))).ToList(),
            JsonValueKind.String => element.GetString()!.Replace('\0', '\uFFFD'),
            JsonValueKind.Number => element.TryGetInt64(out var number) ? number : element.TryGetDouble(out var real) ? real : (object?)null,
            _ => null,
        };
    }
}
