using System.Globalization;
using MlflowCompat.Artifacts;
using MlflowCompat.Search;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Assessments;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Traces, in versions 2 and 3 of the API (contract: endpoints §12; since-3.6 §3.1).</summary>
public static class TracesApi
{
    private const int MaxSearchResults = 500;
    private const int DefaultSearchResults = 100;
    private const int MaxLinkedTraces = 100;
    private const int MaxTagValueLength = 8000;
    private const int MaxMetadataValueLength = 8000;
    private const int MaxIdLength = 50;
    private const int MaxPreviewLength = 1000;

    private const string AttachmentFolder = "attachments";

    private static readonly string[] ReadMethods = [HttpMethods.Get, HttpMethods.Head];

    /// <summary>Maps the endpoints.</summary>
    public static void MapTraces(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<TraceStore>("3.0");
        routes.Post<StartTraceV3, TraceResponse>("traces", StartV3);
        routes.Get<TraceRequest, TraceResponse>("traces/{trace_id}", GetV3);
        routes.Post<SearchTracesV3, SearchTracesV3Response>("traces/search", SearchV3);
        routes.Post<BatchGetTraces, TraceInfosResponse>("traces/batchGetInfos", BatchGetInfos);
        routes.Patch<TraceTagRequestV3, Empty>("traces/{trace_id}/tags", SetTag);
        routes.Delete<TraceTagRequestV3, Empty>("traces/{trace_id}/tags", DeleteTag);
        routes.Post<DeleteTraces, DeleteTracesResponse>("traces/delete-traces", Delete);
        routes.Post<CorrelateFilters, FilterCorrelation>("traces/calculate-filter-correlation", Correlate);

        var spans = endpoints.MlflowRoutesFor<TraceSpans>("3.0");
        spans.GetStreamed<BatchGetTraces, TracesResponse>("traces/batchGet", BatchGet);
        spans.GetStreamed<GetTrace, TraceResponse>("traces/get", Get);

        var v2 = endpoints.MlflowRoutesFor<TraceStore>();
        v2.Post<StartTrace, TraceInfoResponse>("traces", StartV2);
        v2.Patch<EndTrace, TraceInfoResponse>("traces/{request_id}", EndV2);
        v2.Get<GetTraceInfo, TraceInfoResponse>("traces/{request_id}/info", GetV2);
        v2.Get<SearchTraces, SearchTracesResponse>("traces", SearchV2);
        v2.Patch<TraceTagRequest, Empty>("traces/{request_id}/tags", SetTag);
        v2.Delete<TraceTagRequest, Empty>("traces/{request_id}/tags", DeleteTag);
        v2.Post<DeleteTraces, DeleteTracesResponse>("traces/delete-traces", Delete);
        v2.Post<LinkTracesToRun, Empty>("traces/link-to-run", LinkToRun);
        v2.Post<LinkPrompts, Empty>("traces/link-prompts", LinkToPrompts);

        foreach (var version in (string[])["2.0", "3.0"])
            endpoints.MapMethods($"/ajax-api/{version}/mlflow/get-trace-artifact", ReadMethods, GetArtifact).WithMetadata(new TrackingEndpoint());
    }

    private static async Task<TraceResponse> StartV3(StartTraceV3 request, TraceStore store, CancellationToken cancellationToken)
    {
        const string Info = "trace.trace_info";
        var given = request.Trace?.TraceInfo ?? throw FieldRules.Missing(request.Trace is null ? "trace" : Info);
        var traceId = TraceId.Parse(given.TraceId, $"{Info}.trace_id");
        var now = StoredTime.Now();
        var trace = new NewTrace(
            traceId,
            ExperimentOf(given.TraceLocation),
            TraceTimes.Parse(given.RequestTime, $"{Info}.request_time"),
            ProtoEnumConverter<TraceState>.NameOf(given.State ?? TraceState.StateUnspecified),
            TagsOf(given.Tags?.Select(tag => (tag.Key, (string?)tag.Value)), $"{Info}.tags", store),
            MetadataOf(given.TraceMetadata?.Select(entry => (entry.Key, (string?)entry.Value)), $"{Info}.trace_metadata"))
        {
            Duration = TraceTimes.ParseDuration(given.ExecutionDuration, $"{Info}.execution_duration"),
            ClientRequestId = given.ClientRequestId is { } id ? FieldRules.MaxLength(id, MaxIdLength, $"{Info}.client_request_id") : null,
            RequestPreview = given.RequestPreview is { } input ? FieldRules.MaxLength(input, MaxPreviewLength, $"{Info}.request_preview") : null,
            ResponsePreview = given.ResponsePreview is { } output ? FieldRules.MaxLength(output, MaxPreviewLength, $"{Info}.response_preview") : null,
            HasSpans = true,
            Assessments = (given.Assessments ?? []).ConvertAll(assessment => AssessmentRow.From(assessment, traceId, now)),
        };
        return new TraceResponse(new Trace(await store.StartAsync(trace, cancellationToken).ConfigureAwait(false)));
    }

    private static async Task<TraceResponse> GetV3(TraceRequest request, TraceStore store, CancellationToken cancellationToken)
    {
        var found = await store.GetAsync([request.TraceId!], cancellationToken).ConfigureAwait(false);
        return found.Count == 0
            ? throw TraceId.NotFound(request.TraceId!)
            : new TraceResponse(new Trace(found[0].Row.ToInfoV3(found[0].Assessments)));
    }

    private static async Task<SearchTracesV3Response> SearchV3(SearchTracesV3 request, TraceStore store, CancellationToken cancellationToken)
    {
        var locations = request.Locations ?? throw FieldRules.Missing("locations");
        var experiments = locations.Select(location => location.MlflowExperiment?.ExperimentId).OfType<string>().ToList();
        var (rows, assessments, token) = await SearchAsync(
            store, experiments, "locations", request.Filter, request.OrderBy, request.MaxResults, request.PageToken, cancellationToken).ConfigureAwait(false);
        return new SearchTracesV3Response(
            rows.Count == 0 ? null : rows.ConvertAll(row => row.ToInfoV3(assessments.Contains(row.TraceId) ? [.. assessments[row.TraceId]] : null)), token);
    }

    private static async Task<SearchTracesResponse> SearchV2(SearchTraces request, TraceStore store, CancellationToken cancellationToken)
    {
        var experiments = request.ExperimentIds is { Count: > 0 } ids ? ids : throw FieldRules.Missing("experiment_ids");
        var (rows, _, token) = await SearchAsync(
            store, experiments, "experiment_ids", request.Filter, request.OrderBy, request.MaxResults, request.PageToken, cancellationToken).ConfigureAwait(false);
        return new SearchTracesResponse(rows.Count == 0 ? null : rows.ConvertAll(row => row.ToInfo()), token);
    }

    private static Task<(List<TraceRow> Rows, ILookup<string, Assessment> Assessments, string? NextPageToken)> SearchAsync(
        TraceStore store,
        IEnumerable<string> experiments,
        string parameter,
        string? filter,
        List<string>? orderBy,
        long? maxResults,
        string? pageToken,
        CancellationToken cancellationToken) =>
        store.SearchAsync(
            [.. experiments.Select(id => ExperimentNumber(id, parameter))],
            FilterParser.Parse(filter, Vocabularies.Traces),
            OrderByParser.Parse(orderBy, Vocabularies.Traces),
            SearchLimits.MaxResults(maxResults ?? DefaultSearchResults, MaxSearchResults),
            TracePageToken.Read(pageToken),
            cancellationToken);

    private static async Task<TraceInfosResponse> BatchGetInfos(BatchGetTraces request, TraceStore store, CancellationToken cancellationToken)
    {
        var ids = request.TraceIds ?? throw FieldRules.Missing("trace_ids");
        var found = await store.GetAsync(ids, cancellationToken).ConfigureAwait(false);
        return new TraceInfosResponse(found.Count == 0 ? null : found.ConvertAll(trace => trace.Row.ToInfoV3(trace.Assessments)));
    }

    private static Task BatchGet(BatchGetTraces request, TraceSpans spans, HttpResponse response, CancellationToken cancellationToken) =>
        spans.WriteAsync(request.TraceIds ?? throw FieldRules.Missing("trace_ids"), response, cancellationToken);

    private static Task Get(GetTrace request, TraceSpans spans, HttpResponse response, CancellationToken cancellationToken) =>
        spans.WriteAsync(FieldRules.Required(request.TraceId, "trace_id"), request.AllowPartial ?? false, response, cancellationToken);

    private static async Task<Empty> SetTag(TraceTagFields request, TraceStore store, CancellationToken cancellationToken)
    {
        var key = FieldRules.Key(request.Key, "key", "key");
        TraceTags.RequireChangeable(key);
        await store.SetTagAsync(request.Trace, key, TagValue(request.Value, "value", store), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> DeleteTag(TraceTagFields request, TraceStore store, CancellationToken cancellationToken)
    {
        var key = FieldRules.Required(request.Key, "key");
        TraceTags.RequireChangeable(key);
        await store.DeleteTagAsync(request.Trace, key, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<DeleteTracesResponse> Delete(DeleteTraces request, TraceStore store, CancellationToken cancellationToken)
    {
        var experiment = ExperimentNumber(FieldRules.Required(request.ExperimentId, "experiment_id"), "experiment_id");
        var hasIds = request.RequestIds is { Count: > 0 };
        if (request.MaxTimestampMillis is null == !hasIds)
            throw MlflowException.InvalidParameter("Either `max_timestamp_millis` or `request_ids` must be given, and not both.");
        if (hasIds && request.MaxTraces is not null)
            throw MlflowException.InvalidParameter("`max_traces` cannot be given together with `request_ids`.");
        if (request.MaxTraces is <= 0)
        {
            throw MlflowException.InvalidValue(
                "max_traces", request.MaxTraces.Value.ToString(CultureInfo.InvariantCulture), "it must be a positive integer.");
        }

        return new DeleteTracesResponse(request.MaxTimestampMillis is { } time
            ? await store.DeleteAsync(experiment, time, request.MaxTraces ?? long.MaxValue, cancellationToken).ConfigureAwait(false)
            : await store.DeleteAsync(experiment, request.RequestIds!, cancellationToken).ConfigureAwait(false));
    }

    private static async Task<Empty> LinkToRun(LinkTracesToRun request, TraceStore store, CancellationToken cancellationToken)
    {
        var ids = request.TraceIds ?? throw FieldRules.Missing("trace_ids");
        var run = FieldRules.Required(request.RunId, "run_id");
        if (ids.Count > MaxLinkedTraces)
        {
            throw MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture, $"Cannot link more than {MaxLinkedTraces} traces to a run in one request; there are {ids.Count}."));
        }

        foreach (var id in ids)
            FieldRules.MaxLength(id, MaxIdLength, "trace_ids");
        await store.LinkToRunAsync(ids, FieldRules.MaxLength(run, MaxIdLength, "run_id"), cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LinkToPrompts(LinkPrompts request, TraceStore store, CancellationToken cancellationToken)
    {
        var trace = FieldRules.MaxLength(FieldRules.Required(request.TraceId, "trace_id"), MaxIdLength, "trace_id");
        var given = request.PromptVersions ?? throw FieldRules.Missing("prompt_versions");
        var prompts = new List<string>(given.Count);
        for (var i = 0; i < given.Count; i++)
        {
            var name = FieldRules.MaxLength(FieldRules.Required(given[i].Name, $"prompt_versions[{i}].name"), 256, $"prompt_versions[{i}].name");
            var version = FieldRules.Required(given[i].Version, $"prompt_versions[{i}].version");
            if (!long.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                throw MlflowException.InvalidValue($"prompt_versions[{i}].version", MlflowException.Quote(version), "it must be the text of an integer.");
            prompts.Add(string.Create(CultureInfo.InvariantCulture, $"{name}/{number}"));
        }

        await store.LinkToPromptsAsync(trace, prompts, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<FilterCorrelation> Correlate(CorrelateFilters request, TraceStore store, CancellationToken cancellationToken)
    {
        var experiments = request.ExperimentIds ?? throw FieldRules.Missing("experiment_ids");
        var first = FilterParser.Parse(FieldRules.Required(request.FilterString1, "filter_string1"), Vocabularies.Traces);
        var second = FilterParser.Parse(FieldRules.Required(request.FilterString2, "filter_string2"), Vocabularies.Traces);
        var (total, one, two, joint) = await store.CorrelateAsync(
            [.. experiments.Select(id => ExperimentNumber(id, "experiment_ids"))],
            FilterParser.Parse(request.BaseFilter, Vocabularies.Traces),
            first,
            second,
            cancellationToken).ConfigureAwait(false);
        var isDefined = one > 0 && two > 0 && total > 0;
        return new FilterCorrelation(
            isDefined ? Npmi(joint, one - joint, two - joint, total - one - two + joint, 0) : null,
            isDefined ? Npmi(joint, one - joint, two - joint, total - one - two + joint, 0.5) : null,
            one,
            two,
            joint,
            total);
    }

    /// <summary>Normalized pointwise mutual information of a table of four cells.</summary>
    private static double Npmi(long both, long onlyFirst, long onlySecond, long neither, double smoothing)
    {
        if (onlyFirst == 0 && onlySecond == 0 && neither == 0)
            return 1;
        if (both == 0 && smoothing == 0)
            return -1;
        var (n11, n10, n01, n00) = (both + smoothing, onlyFirst + smoothing, onlySecond + smoothing, neither + smoothing);
        var all = n11 + n10 + n01 + n00;
        return Math.Clamp(Math.Log(n11 * all / ((n11 + n10) * (n11 + n01))) / -Math.Log(n11 / all), -1, 1);
    }

    private static async Task<TraceInfoResponse> StartV2(StartTrace request, TraceStore store, CancellationToken cancellationToken)
    {
        var trace = new NewTrace(
            Guid.NewGuid().ToString("N"),
            ExperimentNumber(FieldRules.Required(request.ExperimentId, "experiment_id"), "experiment_id"),
            TraceTimes.Checked(request.TimestampMs, "timestamp_ms"),
            "IN_PROGRESS",
            TagsOf(request.Tags?.Select(tag => (tag.Key ?? "", tag.Value)), "tags", store),
            MetadataOf(request.RequestMetadata?.Select(entry => (entry.Key ?? "", entry.Value)), "request_metadata"));
        return new TraceInfoResponse((await store.StartV2Async(trace, cancellationToken).ConfigureAwait(false)).ToInfo());
    }

    private static async Task<TraceInfoResponse> EndV2(EndTrace request, TraceStore store, CancellationToken cancellationToken)
    {
        var status = FieldRules.Required(request.Status, "status") switch
        {
            TraceStatus.TraceStatusUnspecified => "STATE_UNSPECIFIED",
            var given => ProtoEnumConverter<TraceStatus>.NameOf(given),
        };
        var row = await store.EndV2Async(
            request.RequestId!,
            TraceTimes.Checked(request.TimestampMs, "timestamp_ms"),
            status,
            MetadataOf(request.RequestMetadata?.Select(entry => (entry.Key ?? "", entry.Value)), "request_metadata"),
            // Clients 2.x send back what they were given, the tag of the server among it.
            TagsOf(request.Tags?.Select(tag => (tag.Key ?? "", tag.Value)), "tags", store).FindAll(tag => TraceTags.IsChangeable(tag.Key!)),
            cancellationToken).ConfigureAwait(false);
        return new TraceInfoResponse(row.ToInfo());
    }

    private static async Task<TraceInfoResponse> GetV2(GetTraceInfo request, TraceStore store, CancellationToken cancellationToken) =>
        new((await store.GetAsync(request.RequestId!, cancellationToken).ConfigureAwait(false)).ToInfo());

    /// <summary>The spans of a trace as a file, or a file that belongs to one of them.</summary>
    private static async Task GetArtifact(HttpContext context)
    {
        var query = context.Request.Query;
        if ((string?)query["request_id"] is not { Length: > 0 } traceId)
            throw new MlflowException(ErrorCode.BadRequest, "Request must include the \"request_id\" query parameter.");
        if (traceId.Contains('\0', StringComparison.Ordinal))
            throw Traces.TraceId.NotFound(traceId);
        var attachment = (string?)query["path"];
        if (attachment is { Length: > 0 } && !(Guid.TryParseExact(attachment, "D", out var id) && attachment == id.ToString("D")))
            throw MlflowException.InvalidValue("path", MlflowException.Quote(attachment), "it must be a UUID in lower case.");

        var services = context.RequestServices;
        var row = await services.GetRequiredService<TraceStore>().GetAsync(traceId, context.RequestAborted).ConfigureAwait(false);
        var spans = services.GetRequiredService<TraceSpans>();
        if (string.IsNullOrEmpty(attachment) && await spans.TryWriteFileAsync(traceId, context.Response, context.RequestAborted).ConfigureAwait(false))
            return;

        var folder = await spans.FindFolderAsync(row, context.RequestAborted).ConfigureAwait(false) ?? throw NoFile(traceId);
        var path = ArtifactPath.Parse(string.IsNullOrEmpty(attachment) ? TraceSpans.FileName : $"{AttachmentFolder}/{attachment}");
        try
        {
            await services.GetRequiredService<ArtifactFiles>().SendAsync(context, folder.Append(path)).ConfigureAwait(false);
        }
        catch (MlflowException exception) when (exception.Code == ErrorCode.ResourceDoesNotExist && string.IsNullOrEmpty(attachment))
        {
            throw NoFile(traceId);
        }
    }

    private static MlflowException NoFile(string traceId) => new(ErrorCode.NotFound, $"The trace with ID '{traceId}' has neither spans nor a file of them.");

    private static long ExperimentOf(TraceLocation? location)
    {
        const string Parameter = "trace.trace_info.trace_location";
        if (location is null)
            throw FieldRules.Missing(Parameter);
        if (location is not { Type: TraceLocationType.MlflowExperiment, MlflowExperiment: not null })
            throw MlflowException.InvalidParameter($"{Parameter} must be of type MLFLOW_EXPERIMENT and name an mlflow_experiment.");
        return ExperimentNumber(FieldRules.Required(location.MlflowExperiment.ExperimentId, $"{Parameter}.mlflow_experiment.experiment_id"), "experiment_id");
    }

    private static long ExperimentNumber(string id, string parameter) =>
        ExperimentId.TryParse(id) ?? throw MlflowException.InvalidValue(parameter, MlflowException.Quote(id), "experiment ids are integers.");

    private static List<KeyValue> TagsOf(IEnumerable<(string Key, string? Value)>? tags, string parameter, TraceStore store) =>
    [
        .. (tags ?? []).Select(tag => new KeyValue
        {
            Key = FieldRules.MaxLength(FieldRules.Required(tag.Key, $"{parameter}.key"), FieldRules.MaxKeyLength, $"{parameter}.key"),
            Value = TagValue(tag.Value, $"{parameter}.value", store),
        }),
    ];

    private static List<KeyValue> MetadataOf(IEnumerable<(string Key, string? Value)>? entries, string parameter) =>
    [
        .. (entries ?? []).Select(entry => new KeyValue
        {
            Key = FieldRules.MaxLength(FieldRules.Required(entry.Key, $"{parameter}.key"), FieldRules.MaxKeyLength, $"{parameter}.key"),
            Value = FieldRules.MaxLength(entry.Value ?? "", MaxMetadataValueLength, $"{parameter}.value"),
        }),
    ];

    private static string TagValue(string? value, FieldName parameter, TraceStore store) =>
        store.Options.TruncateLongValues
            ? FieldRules.Truncate(value ?? "", MaxTagValueLength)
            : FieldRules.MaxLength(value ?? "", MaxTagValueLength, parameter);
}
