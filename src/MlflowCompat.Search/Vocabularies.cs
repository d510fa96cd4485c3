namespace MlflowCompat.Search;

/// <summary>The vocabularies of the searches that the server offers (contract: search §2 to §8).</summary>
public static class Vocabularies
{
    private const Comparators Patterns = Comparators.Text | Comparators.RLike;

    private const Comparators Contains = Comparators.Like | Comparators.ILike;

    /// <summary>
    /// runs/search (contract: search §2), without the IS NULL of 3.11, which 3.6 refuses. The spellings <c>run name</c>, <c>Run name</c> and <c>Run Name</c> read the
    /// tag mlflow.runName, whereas <c>run_name</c> is the attribute.
    /// </summary>
    public static Vocabulary Runs { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attributes", "attribute", "attr", "run"],
            [
                new("run_id", KeyType.Text, Comparators.Text | Comparators.Lists) { Orderable = true },
                new("run_name", KeyType.Text, Comparators.Text) { Orderable = true },
                new("run name", KeyType.Text, Comparators.Text)
                {
                    Aliases = ["Run name", "Run Name"],
                    StandsFor = (EntityKind.Tag, "mlflow.runName"),
                },
                new("status", KeyType.Text, Comparators.Text) { Orderable = true },
                new("user_id", KeyType.Text, Comparators.Text) { Orderable = true },
                new("artifact_uri", KeyType.Text, Comparators.Text) { Orderable = true },
                new("start_time", KeyType.Number, Comparators.Number)
                {
                    Aliases = ["created", "Created"],
                    Orderable = true,
                },
                new("end_time", KeyType.Number, Comparators.Number) { Orderable = true },
            ]),
        new(
            EntityKind.Metric,
            ["metrics", "metric"],
            [KeyRule.AnyKey(KeyType.Number, Comparators.Number, orderable: true)]),
        new(
            EntityKind.Param,
            ["params", "param", "parameters", "parameter"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: true)]),
        new(
            EntityKind.Tag,
            ["tags", "tag"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: true)]),
        new(
            EntityKind.Dataset,
            ["datasets", "dataset"],
            [
                new("name", KeyType.Text, Comparators.Text | Comparators.Lists),
                new("digest", KeyType.Text, Comparators.Text | Comparators.Lists),
                new("context", KeyType.Text, Comparators.Text | Comparators.Lists),
            ]),
    ]);

    /// <summary>experiments/search (contract: search §3, IS NULL: since-3.6 §1.4).</summary>
    public static Vocabulary Experiments { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attribute"],
            [
                new("name", KeyType.Text, Comparators.Text) { Orderable = true },
                new("creation_time", KeyType.Number, Comparators.Number) { Orderable = true },
                new("last_update_time", KeyType.Number, Comparators.Number) { Orderable = true },
                new("experiment_id", KeyType.Number, Comparators.None) { Orderable = true },
            ]),
        new(
            EntityKind.Tag,
            ["tags", "tag"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text | Comparators.Presence, orderable: false)]),
    ])
    {
        IgnoresRepeatedOrderKeys = true,
    };

    /// <summary>
    /// The filters of logged-models/search (contract: search §6). A metric clause looks at all values, not only at the latest one; any text
    /// may be written as a number.
    /// </summary>
    public static Vocabulary LoggedModels { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attributes"],
            [
                LoggedModelText("name"),
                LoggedModelText("model_id"),
                LoggedModelText("model_type"),
                LoggedModelText("source_run_id"),
                LoggedModelText("experiment_id"),
                LoggedModelText("artifact_location"),
                LoggedModelText("lifecycle_stage"),
                LoggedModelText("status"),
                new("creation_timestamp", KeyType.Number, Comparators.Number) { Aliases = ["creation_time", "creation_timestamp_ms"] },
                new("last_updated_timestamp", KeyType.Number, Comparators.Number) { Aliases = ["last_updated_timestamp_ms"] },
            ]),
        new(
            EntityKind.Metric,
            ["metrics"],
            [KeyRule.AnyKey(KeyType.Number, Comparators.Number, orderable: false)]),
        new(EntityKind.Param, ["params"], [LoggedModelText("") with { IsPrefix = true }]),
        new(EntityKind.Tag, ["tags"], [LoggedModelText("") with { IsPrefix = true }]),
    ]);

    /// <summary>The order of logged-models/search, whose attributes take no prefix (contract: search §6).</summary>
    public static Vocabulary LoggedModelOrders { get; } = new(
    [
        new(
            EntityKind.Attribute,
            [],
            [.. LoggedModels.Entities[0].Keys.Select(key => key with { Comparators = Comparators.None, Orderable = true })]),
        new(
            EntityKind.Metric,
            ["metrics"],
            [KeyRule.AnyKey(KeyType.Number, Comparators.None, orderable: true)]),
    ]);

    /// <summary>registered-models/search (contract: search §4).</summary>
    public static Vocabulary RegisteredModels { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attribute"],
            [
                new("name", KeyType.Text, Comparators.Text) { Orderable = true },
                new("last_updated_timestamp", KeyType.Number, Comparators.None) { Aliases = ["timestamp"], Orderable = true },
            ]),
        new(
            EntityKind.Tag,
            ["tags", "tag"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: false)]),
    ])
    {
        RefusesQuotedOrderKeys = true,
    };

    /// <summary>model-versions/search (contract: search §5).</summary>
    public static Vocabulary ModelVersions { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attribute"],
            [
                new("name", KeyType.Text, Comparators.Text) { Orderable = true },
                new("source_path", KeyType.Text, Comparators.Text),
                new("run_id", KeyType.Text, Comparators.Text | Comparators.In),
                new("version_number", KeyType.Number, Comparators.Number) { EitherLiteral = true, Orderable = true },
                new("creation_timestamp", KeyType.Number, Comparators.None) { Orderable = true },
                new("last_updated_timestamp", KeyType.Number, Comparators.None) { Orderable = true },
            ]),
        new(
            EntityKind.Tag,
            ["tags", "tag"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: false)]),
    ]);

    /// <summary>datasets/search of evaluation data sets (contract: search §8). Its attributes have no prefix.</summary>
    public static Vocabulary EvaluationDatasets { get; } = new(
    [
        new(
            EntityKind.Attribute,
            [],
            [
                new("name", KeyType.Text, Comparators.Text | Comparators.Number) { Orderable = true },
                new("created_by", KeyType.Text, Comparators.Text | Comparators.Number),
                new("last_updated_by", KeyType.Text, Comparators.Text | Comparators.Number),
                new("created_time", KeyType.Number, Comparators.Number) { Orderable = true },
                new("last_update_time", KeyType.Number, Comparators.Number) { Orderable = true },
            ]),
        new(
            EntityKind.Tag,
            ["tags"],
            [KeyRule.AnyKey(KeyType.Text, Comparators.Text, orderable: false)]),
    ])
    {
        IgnoresRepeatedOrderKeys = true,
    };

    /// <summary>Searches for traces of versions 2 and 3, and correlations (contract: search §7, IS NULL: since-3.6 §1.4).</summary>
    public static Vocabulary Traces { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["attributes", "attribute", "trace"],
            [
                new("request_id", KeyType.Text, Patterns | Comparators.Lists) { Orderable = true },
                new("client_request_id", KeyType.Text, Patterns | Comparators.Lists),
                new("status", KeyType.Text, Patterns | Comparators.Lists) { Orderable = true },
                new("name", KeyType.Text, Patterns | Comparators.Presence) { StandsFor = (EntityKind.Tag, "mlflow.traceName"), Orderable = true },
                new("run_id", KeyType.Text, Patterns | Comparators.Presence) { StandsFor = (EntityKind.Metadata, "mlflow.sourceRun"), Orderable = true },
                new("timestamp_ms", KeyType.Number, Comparators.Number)
                {
                    Aliases = ["timestamp"],
                    Orderable = true,
                    WholeWithoutEntity = true,
                },
                new("execution_time_ms", KeyType.Number, Comparators.Number) { Aliases = ["execution_time"], Orderable = true },
                new("end_time_ms", KeyType.Number, Comparators.Number) { Aliases = ["end_time"], Orderable = true },
                new("text", KeyType.Text, Contains) { StandsFor = (EntityKind.Span, "content"), NeedsEntity = true },
                new("experiment_id", KeyType.Number, Comparators.None) { Orderable = true },
            ]),
        new(EntityKind.Tag, ["tags", "tag"], [KeyRule.AnyKey(KeyType.Text, Patterns | Comparators.Presence, orderable: true)]),
        new(EntityKind.Metadata, ["metadata", "request_metadata"], [KeyRule.AnyKey(KeyType.Text, Patterns | Comparators.Presence, orderable: true)]),
        new(
            EntityKind.Span,
            ["span"],
            [
                new("name", KeyType.Text, Patterns | Comparators.Lists),
                new("type", KeyType.Text, Patterns | Comparators.Lists),
                new("status", KeyType.Text, Patterns | Comparators.Lists),
                new("content", KeyType.Text, Contains),
                new("attributes.", KeyType.Text, Patterns | Comparators.Lists) { IsPrefix = true },
            ]),
        Assessments(EntityKind.Feedback, "feedback"),
        Assessments(EntityKind.Expectation, "expectation"),
    ]);

    /// <summary>The filters of trace metrics, of one clause each (contract: since-3.6 §3.4).</summary>
    public static Vocabulary TraceMetrics { get; } = new(
    [
        new(
            EntityKind.Attribute,
            ["trace"],
            [
                new("status", KeyType.Text, Comparators.Equal) { NeedsEntity = true },
                new("tag.", KeyType.Text, Comparators.Equal) { IsPrefix = true, NeedsEntity = true },
                new("metadata.", KeyType.Text, Comparators.Equal) { IsPrefix = true, NeedsEntity = true },
            ]),
        new(
            EntityKind.Span,
            ["span"],
            [
                new("name", KeyType.Text, Comparators.Equal),
                new("status", KeyType.Text, Comparators.Equal),
                new("type", KeyType.Text, Comparators.Equal),
            ]),
        new(
            EntityKind.Assessment,
            ["assessment"],
            [
                new("name", KeyType.Text, Comparators.Equal),
                new("type", KeyType.Text, Comparators.Equal),
            ]),
    ]);

    private static EntityRule Assessments(EntityKind kind, string prefix) =>
        new(kind, [prefix], [KeyRule.AnyKey(KeyType.Text, Patterns | Comparators.Lists | Comparators.Presence, orderable: false) with { NeedsName = true }]);

    private static KeyRule LoggedModelText(string name) =>
        new(name, KeyType.Text, Comparators.Text | Comparators.Lists) { EitherLiteral = true };
}
