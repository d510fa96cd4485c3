namespace MlflowCompat.Search.Tests;

/// <summary>The languages of searches for traces and of trace metrics (contract: search §7, since-3.6 §3.4).</summary>
public sealed class TracesTests
{
    [Theory]
    [InlineData("status = 'OK'", EntityKind.Attribute, "status")]
    [InlineData("trace.status = 'OK'", EntityKind.Attribute, "status")]
    [InlineData("attributes.status = 'OK'", EntityKind.Attribute, "status")]
    [InlineData("timestamp > 1500", EntityKind.Attribute, "timestamp_ms")]
    [InlineData("trace.timestamp > 1500.5", EntityKind.Attribute, "timestamp_ms")]
    [InlineData("execution_time > 1500.5", EntityKind.Attribute, "execution_time_ms")]
    [InlineData("end_time_ms <= 1", EntityKind.Attribute, "end_time_ms")]
    [InlineData("name RLIKE 'a'", EntityKind.Tag, "mlflow.traceName")]
    [InlineData("run_id = 'r'", EntityKind.Metadata, "mlflow.sourceRun")]
    [InlineData("request_id IN ('a')", EntityKind.Attribute, "request_id")]
    [InlineData("client_request_id NOT IN ('a')", EntityKind.Attribute, "client_request_id")]
    [InlineData("tag.`a b` LIKE 'x'", EntityKind.Tag, "a b")]
    [InlineData("request_metadata.a.b != 'x'", EntityKind.Metadata, "a.b")]
    [InlineData("span.name = 'x'", EntityKind.Span, "name")]
    [InlineData("span.attributes.a.b LIKE 'x'", EntityKind.Span, "attributes.a.b")]
    [InlineData("span.attributes.`a b` LIKE 'x'", EntityKind.Span, "attributes.a b")]
    [InlineData("span.content ILIKE 'x'", EntityKind.Span, "content")]
    [InlineData("trace.text LIKE 'x'", EntityKind.Span, "content")]
    [InlineData("feedback.good = 'true'", EntityKind.Feedback, "good")]
    [InlineData("expectation.`a b` RLIKE 'x'", EntityKind.Expectation, "a b")]
    public void Filter_Traces_MeansWhatItSays(string filter, EntityKind entity, string key)
    {
        Clause clause = Assert.Single(FilterParser.Parse(filter, Vocabularies.Traces).Clauses);
        Assert.Equal((entity, key), (clause.Entity, clause.Key));
    }

    [Theory]
    [InlineData("tags.t IS NULL", EntityKind.Tag, "t", Comparator.IsNull)]
    [InlineData("tag.`k.d` is not null", EntityKind.Tag, "k.d", Comparator.IsNotNull)]
    [InlineData("metadata.m Is  Null", EntityKind.Metadata, "m", Comparator.IsNull)]
    [InlineData("name IS\tNOT NULL", EntityKind.Tag, "mlflow.traceName", Comparator.IsNotNull)]
    [InlineData("trace.run_id IS NULL", EntityKind.Metadata, "mlflow.sourceRun", Comparator.IsNull)]
    [InlineData("feedback.good IS NOT NULL", EntityKind.Feedback, "good", Comparator.IsNotNull)]
    [InlineData("expectation.`a b` IS NULL AND", EntityKind.Expectation, "a b", Comparator.IsNull)]
    public void Filter_OfPresence_HasNoValue(string filter, EntityKind entity, string key, Comparator comparator) =>
        Assert.Equal(new Clause(entity, key, comparator, NoValue.Instance), Assert.Single(FilterParser.Parse(filter, Vocabularies.Traces).Clauses));

    [Theory]
    [InlineData("attr.status = 'OK'", "Invalid entity type 'attr'")]
    [InlineData("tags.t IS", "Invalid comparator 'IS'")]
    [InlineData("tags.t NOT NULL", "Invalid comparator 'NOT NULL'")]
    [InlineData("tags.t IS 'x'", "Invalid comparator 'IS'")]
    [InlineData("tags.t IS NOT 'x'", "Invalid comparator 'IS NOT'")]
    [InlineData("tags.t is  not  null", "Invalid comparator")]
    [InlineData("tags.t IS NOT\tNULL", "Invalid comparator")]
    [InlineData("tags.t IS NULL 'x'", "Invalid clause(s)")]
    [InlineData("tags.t IS NULLS", "Invalid comparator 'IS NULLS'")]
    [InlineData("status IS NULL", "Invalid comparator 'IS NULL' for attribute 'status'")]
    [InlineData("request_id IS NOT NULL", "Invalid comparator 'IS NOT NULL'")]
    [InlineData("client_request_id IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData("timestamp IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData("span.name IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData("span.attributes.a IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData("trace.text IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData("state = 'OK'", "Invalid attribute key 'state'")]
    [InlineData("timestamp >= 1500.5", "a whole number")]
    [InlineData("timestamp_ms = 1e3", "a whole number")]
    [InlineData("timestamp > '1500'", "an unquoted number")]
    [InlineData("name IN ('alpha')", "Invalid comparator 'IN'")]
    [InlineData("tags.t IN ('one')", "Invalid comparator 'IN'")]
    [InlineData("text LIKE '%a%'", "Invalid attribute key 'text'")]
    [InlineData("trace.text = 'a'", "Invalid comparator '='")]
    [InlineData("span.attributes. = 'x'", "Invalid span key 'attributes.'")]
    [InlineData("span.attributes.`` = 'x'", "Invalid clause(s)")]
    [InlineData("spans.name = 'x'", "Invalid entity type 'spans'")]
    [InlineData("feedback. = 'x'", "Invalid feedback key ''")]
    [InlineData("expectation. IN ('x')", "Invalid expectation key ''")]
    [InlineData("feedback.score = 1", "a quoted text")]
    [InlineData("feedback.score > '1'", "Invalid comparator '>'")]
    [InlineData("experiment_id = 1", "Invalid attribute key 'experiment_id'")]
    [InlineData("tags.t RLIKE 5", "a quoted text")]
    public void Filter_OfTracesThatIsNone_IsRefusedNamingTheReason(string filter, string message)
    {
        SearchSyntaxException error = Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.Traces));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("timestamp DESC", EntityKind.Attribute, "timestamp_ms")]
    [InlineData("name", EntityKind.Tag, "mlflow.traceName")]
    [InlineData("run_id", EntityKind.Metadata, "mlflow.sourceRun")]
    [InlineData("metadata.m", EntityKind.Metadata, "m")]
    [InlineData("experiment_id ASC", EntityKind.Attribute, "experiment_id")]
    public void OrderBy_Traces_MeansWhatItSays(string element, EntityKind entity, string key)
    {
        OrderTerm term = Assert.Single(OrderByParser.Parse([element], Vocabularies.Traces));
        Assert.Equal((entity, key), (term.Entity, term.Key));
    }

    [Theory]
    [InlineData("client_request_id")]
    [InlineData("text")]
    [InlineData("span.name")]
    [InlineData("feedback.good")]
    [InlineData("timestamp", "timestamp_ms")]
    public void OrderBy_OfTracesThatIsNone_IsRefused(params string[] elements) =>
        Assert.Throws<SearchSyntaxException>(() => OrderByParser.Parse(elements, Vocabularies.Traces));

    [Theory]
    [InlineData("trace.status = 'OK'", EntityKind.Attribute, "status")]
    [InlineData("trace.tag.a.b = 'x'", EntityKind.Attribute, "tag.a.b")]
    [InlineData("trace.metadata.`a b` = 'x'", EntityKind.Attribute, "metadata.a b")]
    [InlineData("span.type = 'LLM'", EntityKind.Span, "type")]
    [InlineData("assessment.name = 'x'", EntityKind.Assessment, "name")]
    public void Filter_TraceMetrics_MeansWhatItSays(string filter, EntityKind entity, string key)
    {
        Clause clause = Assert.Single(FilterParser.Parse(filter, Vocabularies.TraceMetrics).Clauses);
        Assert.Equal((entity, key), (clause.Entity, clause.Key));
    }

    [Theory]
    [InlineData("status = 'OK'")]
    [InlineData("trace.status != 'OK'")]
    [InlineData("trace.status LIKE 'OK'")]
    [InlineData("trace.tag. = 'x'")]
    [InlineData("span.content = 'x'")]
    public void Filter_OfTraceMetricsThatIsNone_IsRefused(string filter) =>
        Assert.Throws<SearchSyntaxException>(() => FilterParser.Parse(filter, Vocabularies.TraceMetrics));
}
