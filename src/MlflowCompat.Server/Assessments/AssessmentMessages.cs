using System.Text.Json;
using System.Text.Json.Serialization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Assessments;

/// <summary>Who made an assessment.</summary>
[JsonConverter(typeof(ProtoEnumConverter<AssessmentSourceType>))]
public enum AssessmentSourceType
{
    /// <summary>Not said.</summary>
    SourceTypeUnspecified = 0,

    /// <summary>A person.</summary>
    Human = 1,

    /// <summary>A model.</summary>
    LlmJudge = 2,

    /// <summary>A program.</summary>
    Code = 3,
}

/// <summary>Who made an assessment.</summary>
public sealed class AssessmentSource
{
    /// <summary>What kind of author.</summary>
    public AssessmentSourceType? SourceType { get; set; }

    /// <summary>Which one, at most 250 characters.</summary>
    public string? SourceId { get; set; }
}

/// <summary>Why feedback could not be given.</summary>
public sealed class AssessmentError
{
    /// <summary>Short code.</summary>
    public string? ErrorCode { get; set; }

    /// <summary>For people.</summary>
    public string? ErrorMessage { get; set; }

    /// <summary>Where it happened.</summary>
    public string? StackTrace { get; set; }
}

/// <summary>Feedback, as clients send it.</summary>
public sealed class FeedbackGiven
{
    /// <summary>Any JSON; required without <see cref="Error"/>.</summary>
    public JsonElement? Value { get; set; }

    /// <summary>Why there is none.</summary>
    public AssessmentError? Error { get; set; }
}

/// <summary>A value as text.</summary>
public sealed class SerializedValue
{
    /// <summary><c>JSON_FORMAT</c>.</summary>
    public string? SerializationFormat { get; set; }

    /// <summary>JSON text.</summary>
    public string? Value { get; set; }
}

/// <summary>What was expected, as clients send it.</summary>
public sealed class ExpectationGiven
{
    /// <summary>Any JSON.</summary>
    public JsonElement? Value { get; set; }

    /// <summary>The value as text: lists and objects.</summary>
    public SerializedValue? SerializedValue { get; set; }
}

/// <summary>Reference to an issue.</summary>
public sealed class IssueReference
{
    /// <summary>Name of the issue.</summary>
    public string? IssueName { get; set; }
}

/// <summary>An assessment, as clients send it.</summary>
public sealed class AssessmentGiven
{
    /// <summary>Its id, at most 50 characters; made by the server when absent.</summary>
    public string? AssessmentId { get; set; }

    /// <summary>At most 250 characters.</summary>
    public string? AssessmentName { get; set; }

    /// <summary>The trace; that of the path counts.</summary>
    public string? TraceId { get; set; }

    /// <summary>The span that it is about, at most 50 characters.</summary>
    public string? SpanId { get; set; }

    /// <summary>Who made it.</summary>
    public AssessmentSource? Source { get; set; }

    /// <summary>RFC 3339; now when absent.</summary>
    public string? CreateTime { get; set; }

    /// <summary>RFC 3339; now when absent.</summary>
    public string? LastUpdateTime { get; set; }

    /// <summary>Feedback.</summary>
    public FeedbackGiven? Feedback { get; set; }

    /// <summary>An expectation.</summary>
    public ExpectationGiven? Expectation { get; set; }

    /// <summary>A reference to an issue.</summary>
    public IssueReference? Issue { get; set; }

    /// <summary>Why.</summary>
    public string? Rationale { get; set; }

    /// <summary>Whatever else.</summary>
    public Dictionary<string, string>? Metadata { get; set; }

    /// <summary>The assessment that it replaces.</summary>
    public string? Overrides { get; set; }

    /// <summary>False when another one replaces it; decided by the server.</summary>
    public bool? Valid { get; set; }
}

/// <summary>Feedback.</summary>
/// <param name="Value">Any JSON; null with an error.</param>
/// <param name="Error">Why there is none.</param>
public sealed record Feedback([property: JsonIgnore(Condition = JsonIgnoreCondition.Never)] JsonElement? Value, AssessmentError? Error);

/// <summary>What was expected.</summary>
/// <param name="Value">A text, number or bool.</param>
/// <param name="SerializedValue">A list or object.</param>
public sealed record Expectation(JsonElement? Value, SerializedValue? SerializedValue);

/// <summary>Feedback on a trace, or an expectation of it.</summary>
/// <param name="AssessmentId">Its id.</param>
/// <param name="AssessmentName">Its name.</param>
/// <param name="TraceId">The trace.</param>
/// <param name="SpanId">The span that it is about.</param>
/// <param name="Source">Who made it.</param>
/// <param name="CreateTime">RFC 3339.</param>
/// <param name="LastUpdateTime">RFC 3339.</param>
/// <param name="Feedback">Feedback, or</param>
/// <param name="Expectation">an expectation, or</param>
/// <param name="Issue">a reference to an issue.</param>
/// <param name="Rationale">Why.</param>
/// <param name="Metadata">Whatever else.</param>
/// <param name="Overrides">The assessment that it replaces.</param>
/// <param name="Valid">False when another one replaces it.</param>
public sealed record Assessment(
    string AssessmentId,
    string AssessmentName,
    string TraceId,
    string? SpanId,
    AssessmentSource Source,
    string CreateTime,
    string LastUpdateTime,
    Feedback? Feedback,
    Expectation? Expectation,
    IssueReference? Issue,
    string? Rationale,
    Dictionary<string, string>? Metadata,
    string? Overrides,
    bool Valid);

/// <summary>traces/{trace_id}/assessments.</summary>
public sealed class CreateAssessment
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? TraceId { get; set; }

    /// <summary>Required.</summary>
    public AssessmentGiven? Assessment { get; set; }
}

/// <summary>traces/{trace_id}/assessments/{assessment_id} (GET, DELETE).</summary>
public sealed class AssessmentRequest
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? TraceId { get; set; }

    /// <summary>The assessment.</summary>
    [InPath]
    public string? AssessmentId { get; set; }
}

/// <summary>traces/{trace_id}/assessments/{assessment_id} (PATCH).</summary>
public sealed class UpdateAssessment
{
    /// <summary>The trace.</summary>
    [InPath]
    public string? TraceId { get; set; }

    /// <summary>The assessment.</summary>
    [InPath]
    public string? AssessmentId { get; set; }

    /// <summary>Required.</summary>
    public AssessmentGiven? Assessment { get; set; }

    /// <summary>Required: which fields to change, lowerCamelCase names with commas between.</summary>
    public string? UpdateMask { get; set; }
}

/// <summary>Answer with one assessment.</summary>
/// <param name="Assessment">The assessment.</param>
public sealed record AssessmentResponse(Assessment Assessment);

[JsonSerializable(typeof(CreateAssessment))]
[JsonSerializable(typeof(AssessmentRequest))]
[JsonSerializable(typeof(UpdateAssessment))]
[JsonSerializable(typeof(AssessmentResponse))]
[JsonSerializable(typeof(AssessmentError))]
[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class AssessmentsJson : JsonSerializerContext;
