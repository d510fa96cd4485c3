using System.Data.Common;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Assessments;

/// <summary>A row of assessments.</summary>
/// <param name="Id">Its id.</param>
/// <param name="TraceId">The trace.</param>
/// <param name="SpanId">The span, or null.</param>
/// <param name="Name">Its name.</param>
/// <param name="Type"><c>feedback</c>, <c>expectation</c> or <c>issue</c>.</param>
/// <param name="Value">JSON text.</param>
/// <param name="Error">JSON text, or null.</param>
/// <param name="Created">Milliseconds since 1970.</param>
/// <param name="Updated">Milliseconds since 1970.</param>
/// <param name="SourceType">Kind of its author.</param>
/// <param name="SourceId">Its author, or null.</param>
/// <param name="Rationale">Why, or null.</param>
/// <param name="Overrides">The assessment that it replaces, or null.</param>
/// <param name="Valid">False when another one replaces it.</param>
/// <param name="Metadata">JSON text, or null.</param>
internal sealed record AssessmentRow(
    string Id,
    string TraceId,
    string? SpanId,
    string Name,
    string Type,
    string Value,
    string? Error,
    long Created,
    long Updated,
    string SourceType,
    string? SourceId,
    string? Rationale,
    string? Overrides,
    bool Valid,
    string? Metadata)
{
    /// <summary>What <see cref="Read"/> reads.</summary>
    public const string Columns = """
        assessment_id, trace_id, span_id, name, assessment_type, value, error, created_timestamp, last_updated_timestamp, source_type, source_id,
        rationale, overrides, valid, assessment_metadata
        """;

    /// <summary>Type of feedback.</summary>
    public const string FeedbackType = "feedback";

    /// <summary>Type of expectations.</summary>
    public const string ExpectationType = "expectation";

    /// <summary>Type of references to issues.</summary>
    public const string IssueType = "issue";

    private const string SourceRunKey = "mlflow.assessment.sourceRunId";
    private const string JsonFormat = "JSON_FORMAT";
    private const string IssueName = "assessment.issue.issue_name";
    private const string FeedbackValue = "assessment.feedback.value";
    private const int MaxIdLength = 50;
    private const int MaxNameLength = 250;
    private const int MaxRunIdLength = 32;

    /// <summary>Longest value, error, rationale and metadata, as they are stored: a page of a search carries those of 500 traces.</summary>
    public const int MaxTextLength = 1_000_000;

    /// <summary>The run that made it, if its metadata names one.</summary>
    public string? RunId =>
        MetadataMap()?.GetValueOrDefault(SourceRunKey) is { Length: > 0 and <= MaxRunIdLength } runId ? runId : null;

    /// <summary>Reads a row.</summary>
    public static AssessmentRow Read(DbDataReader reader) => new(
        reader.GetString(0),
        reader.GetString(1),
        reader.GetStringOrNull(2),
        reader.GetString(3),
        reader.GetString(4),
        reader.GetString(5),
        reader.GetStringOrNull(6),
        reader.GetInt64(7),
        reader.GetInt64(8),
        reader.GetString(9),
        reader.GetStringOrNull(10),
        reader.GetStringOrNull(11),
        reader.GetStringOrNull(12),
        reader.GetBoolean(13),
        reader.GetStringOrNull(14));

    /// <summary>Checks what a client sent.</summary>
    /// <param name="given">What was sent.</param>
    /// <param name="traceId">The trace.</param>
    /// <param name="now">Milliseconds since 1970.</param>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static AssessmentRow From(AssessmentGiven given, string traceId, long now)
    {
        if (new object?[] { given.Feedback, given.Expectation, given.Issue }.Count(kind => kind is not null) > 1)
            throw MlflowException.InvalidParameter("The assessment must have only one of feedback, expectation and issue.");
        var (type, value, error) =
            given.Feedback is not null ? (FeedbackType, ValueOf(given.Feedback), ErrorOf(given.Feedback))
            : given.Expectation is not null ? (ExpectationType, RequiredValueOf(given.Expectation), null)
            : given.Issue is not null ? (IssueType, ValueOf(given.Issue), null)
            : throw MlflowException.InvalidParameter("The assessment must have a feedback or an expectation.");
        return new AssessmentRow(
            FieldRules.MaxLength(string.IsNullOrEmpty(given.AssessmentId) ? $"a-{Guid.NewGuid():N}" : given.AssessmentId, MaxIdLength, "assessment.assessment_id"),
            traceId,
            string.IsNullOrEmpty(given.SpanId) ? null : FieldRules.MaxLength(given.SpanId, MaxIdLength, "assessment.span_id"),
            FieldRules.MaxLength(given.AssessmentName ?? "", MaxNameLength, "assessment.assessment_name"),
            type,
            value,
            error,
            string.IsNullOrEmpty(given.CreateTime) ? now : TraceTimes.Parse(given.CreateTime, "assessment.create_time"),
            string.IsNullOrEmpty(given.LastUpdateTime) ? now : TraceTimes.Parse(given.LastUpdateTime, "assessment.last_update_time"),
            ProtoEnumConverter<AssessmentSourceType>.NameOf(given.Source?.SourceType ?? AssessmentSourceType.SourceTypeUnspecified),
            given.Source?.SourceId is { Length: > 0 } sourceId ? FieldRules.MaxLength(sourceId, MaxNameLength, "assessment.source.source_id") : null,
            string.IsNullOrEmpty(given.Rationale) ? null : RationaleOf(given.Rationale),
            string.IsNullOrEmpty(given.Overrides) ? null : given.Overrides,
            Valid: true,
            given.Metadata is { Count: > 0 } metadata ? ToJson(metadata) : null);
    }

    /// <summary>The row with some of its fields changed.</summary>
    /// <param name="given">The new values.</param>
    /// <param name="fields">
    /// Which to take of them, in lowerCamelCase; names that mean nothing have no effect. <c>assessment_name</c> is one of those: MLflow's
    /// masks are those of protobuf, which have no underscores.
    /// </param>
    /// <param name="now">Milliseconds since 1970.</param>
    /// <exception cref="MlflowException">
    /// INVALID_PARAMETER_VALUE: a feedback would become an expectation, or the reverse; <c>valid</c>, which the server decides.
    /// </exception>
    public AssessmentRow With(AssessmentGiven given, IReadOnlyCollection<string> fields, long now)
    {
        var row = this with { Updated = now };
        if (fields.Contains("assessmentName"))
            row = row with { Name = FieldRules.MaxLength(given.AssessmentName ?? "", MaxNameLength, "assessment.assessment_name") };
        if (fields.Contains("feedback"))
        {
            RequireType(FeedbackType);
            var feedback = given.Feedback ?? throw FieldRules.Missing("assessment.feedback");
            row = row with { Value = ValueOf(feedback), Error = ErrorOf(feedback) };
        }

        if (fields.Contains("expectation"))
        {
            RequireType(ExpectationType);
            row = row with { Value = RequiredValueOf(given.Expectation ?? throw FieldRules.Missing("assessment.expectation")) };
        }

        if (fields.Contains("issue"))
        {
            RequireType(IssueType);
            row = row with { Value = ValueOf(given.Issue ?? throw FieldRules.Missing("assessment.issue")) };
        }

        if (fields.Contains("rationale"))
            row = row with { Rationale = given.Rationale is null ? null : RationaleOf(given.Rationale) };
        if (fields.Contains("valid"))
            throw MlflowException.InvalidValue("update_mask", "valid", "an assessment is valid as long as no other one overrides it.");
        if (fields.Contains("metadata") && given.Metadata is { Count: > 0 } metadata)
        {
            var merged = MetadataMap() ?? [];
            foreach (var (key, value) in metadata)
                merged[key] = value;
            row = row with { Metadata = ToJson(merged) };
        }

        return row;
    }

    /// <summary>What clients see.</summary>
    public Assessment ToMessage() => new(
        Id,
        Name,
        TraceId,
        SpanId,
        new AssessmentSource { SourceType = SourceTypeOf(SourceType), SourceId = SourceId },
        TraceTimes.Format(Created),
        TraceTimes.Format(Updated),
        Type == FeedbackType
            ? new Feedback(AssessmentValue.ToJson(Value), Error is null ? null : JsonSerializer.Deserialize(Error, Json<AssessmentError>()))
            : null,
        Type != ExpectationType ? null
        : AssessmentValue.IsStructured(Value)
            ? new Expectation(null, new SerializedValue { SerializationFormat = JsonFormat, Value = Value })
            : new Expectation(AssessmentValue.ToJson(Value), null),
        Type == IssueType ? new IssueReference { IssueName = AssessmentValue.ToJson(Value)?.GetString() } : null,
        Rationale,
        MetadataMap(),
        Overrides,
        Valid);

    private Dictionary<string, string>? MetadataMap() =>
        Metadata is null ? null : JsonSerializer.Deserialize(Metadata, Json<Dictionary<string, string>>());

    private void RequireType(string type)
    {
        if (Type != type)
            throw MlflowException.InvalidParameter($"The assessment {Id} is of type '{Type}'; it cannot be given the value of one of type '{type}'.");
    }

    /// <summary>Clients cannot read an expectation without a value, nor the trace that has it.</summary>
    private static string RequiredValueOf(ExpectationGiven expectation) => ValueOf(expectation) is not "null" and var value
        ? value
        : throw MlflowException.InvalidParameter("The expectation of an assessment must have a value.");

    private static string ValueOf(FeedbackGiven feedback) =>
        feedback.Value is null && feedback.Error is null
            ? throw MlflowException.InvalidParameter("The feedback of an assessment must have a value or an error.")
            : Bounded(AssessmentValue.TextOf(feedback.Value, FeedbackValue), FeedbackValue);

    private static string? ErrorOf(FeedbackGiven feedback) =>
        feedback.Error is null ? null : Bounded(JsonSerializer.Serialize(feedback.Error, Json<AssessmentError>()), "assessment.feedback.error");

    private static string RationaleOf(string rationale) => Bounded(rationale, "assessment.rationale");

    private static string ValueOf(ExpectationGiven expectation)
    {
        const string Value = "assessment.expectation.value";
        const string Serialized = "assessment.expectation.serialized_value.value";
        if (expectation.SerializedValue is not { } serialized)
            return Bounded(AssessmentValue.TextOf(expectation.Value, Value), Value);
        if (serialized.SerializationFormat is not (null or "" or JsonFormat))
        {
            throw MlflowException.InvalidValue(
                "assessment.expectation.serialized_value.serialization_format", MlflowException.Quote(serialized.SerializationFormat), $"it must be {JsonFormat}.");
        }

        return Bounded(AssessmentValue.TextOf(serialized.Value ?? "", Serialized), Serialized);
    }

    private static string ValueOf(IssueReference issue) => Bounded(AssessmentValue.Write(issue.IssueName ?? "", IssueName), IssueName);

    private static AssessmentSourceType SourceTypeOf(string name) => name switch
    {
        "HUMAN" => AssessmentSourceType.Human,
        "LLM_JUDGE" => AssessmentSourceType.LlmJudge,
        "CODE" => AssessmentSourceType.Code,
        _ => AssessmentSourceType.SourceTypeUnspecified,
    };

    private static string ToJson(Dictionary<string, string> map) =>
        Bounded(JsonSerializer.Serialize(map, Json<Dictionary<string, string>>()), "assessment.metadata");

    private static string Bounded(string text, string parameter) => FieldRules.MaxLength(text, MaxTextLength, parameter);

    private static JsonTypeInfo<T> Json<T>() => MlflowJson.TypeInfo<T>();
}
