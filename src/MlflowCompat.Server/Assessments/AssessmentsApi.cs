using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Assessments;

/// <summary>Assessments of traces (contract: endpoints §13; since-3.6 §4.1).</summary>
public static class AssessmentsApi
{
    /// <summary>Maps the endpoints.</summary>
    public static void MapAssessments(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<AssessmentStore>("3.0");
        routes.Post<CreateAssessment, AssessmentResponse>("traces/{trace_id}/assessments", Create);
        routes.Get<AssessmentRequest, AssessmentResponse>("traces/{trace_id}/assessments/{assessment_id}", Get);
        routes.Patch<UpdateAssessment, AssessmentResponse>("traces/{trace_id}/assessments/{assessment_id}", Update);
        routes.Delete<AssessmentRequest, Empty>("traces/{trace_id}/assessments/{assessment_id}", Delete);
    }

    private static async Task<AssessmentResponse> Create(CreateAssessment request, AssessmentStore store, CancellationToken cancellationToken)
    {
        var given = request.Assessment ?? throw FieldRules.Missing("assessment");
        var row = AssessmentRow.From(given, request.TraceId!, StoredTime.Now());
        await store.CreateAsync(row, cancellationToken).ConfigureAwait(false);
        return new AssessmentResponse(row.ToMessage());
    }

    private static async Task<AssessmentResponse> Get(AssessmentRequest request, AssessmentStore store, CancellationToken cancellationToken) =>
        new((await store.GetAsync(request.TraceId!, request.AssessmentId!, cancellationToken).ConfigureAwait(false)).ToMessage());

    private static async Task<AssessmentResponse> Update(UpdateAssessment request, AssessmentStore store, CancellationToken cancellationToken)
    {
        var given = request.Assessment ?? throw FieldRules.Missing("assessment");
        var fields = FieldRules.Required(request.UpdateMask, "update_mask")
            .Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).ToHashSet(StringComparer.Ordinal);
        var row = await store.UpdateAsync(request.TraceId!, request.AssessmentId!, given, fields, cancellationToken).ConfigureAwait(false);
        return new AssessmentResponse(row.ToMessage());
    }

    private static async Task<Empty> Delete(AssessmentRequest request, AssessmentStore store, CancellationToken cancellationToken)
    {
        await store.DeleteAsync(request.TraceId!, request.AssessmentId!, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }
}
