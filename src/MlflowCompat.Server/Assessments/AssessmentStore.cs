using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Assessments;

/// <summary>Assessments in the database (mapping section 6).</summary>
/// <param name="database">The workspace's database.</param>
public sealed class AssessmentStore(Database database)
{
    /// <summary>Adds an assessment; the one that it overrides is no longer valid.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such trace, or none that it could override; BAD_REQUEST: the id is taken.
    /// </exception>
    internal async Task CreateAsync(AssessmentRow row, CancellationToken cancellationToken)
    {
        try
        {
            await database.WriteAsync(
                async (session, token) =>
                {
                    var experiment = await HoldTraceAsync(session, row.TraceId, token).ConfigureAwait(false) ?? throw TraceId.NotFound(row.TraceId);
                    if (row.Overrides is not null && await SetValidAsync(session, row.TraceId, row.Overrides, false, token).ConfigureAwait(false) == 0)
                        throw NotFound(row.TraceId, row.Overrides);
                    await session.ExecuteAsync(Insert(database, row, experiment), token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw new MlflowException(ErrorCode.BadRequest, $"An assessment with the ID '{row.Id}' exists already.");
        }
    }

    /// <summary>One assessment.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    internal async Task<AssessmentRow> GetAsync(string traceId, string id, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await FindAsync(session, traceId, id, "", cancellationToken).ConfigureAwait(false) ?? throw NotFound(traceId, id);
    }

    /// <summary>Changes fields of an assessment.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; see <see cref="AssessmentRow.With"/>.</exception>
    internal Task<AssessmentRow> UpdateAsync(
        string traceId, string id, AssessmentGiven given, IReadOnlyCollection<string> fields, CancellationToken cancellationToken) =>
        database.WriteAsync(
            async (session, token) =>
            {
                await HoldTraceAsync(session, traceId, token).ConfigureAwait(false);
                var held = await FindAsync(session, traceId, id, database.Choose("FOR UPDATE", ""), token).ConfigureAwait(false) ?? throw NotFound(traceId, id);
                var row = held.With(given, fields, StoredTime.Now());
                await session.ExecuteLastAsync(
                    database.Statement("""
                        UPDATE assessments SET name = $2, value = $3, error = $4, last_updated_timestamp = $5, rationale = $6,
                            assessment_metadata = $7, run_id = $8, valid = $9
                        WHERE assessment_id = $1
                        """)
                        .Add(id).Add(row.Name).Add(row.Value).Add(row.Error).Add(row.Updated).Add(row.Rationale)
                        .Add(row.Metadata).Add(row.RunId).Add(row.Valid),
                    token).ConfigureAwait(false);
                return row;
            },
            cancellationToken);

    /// <summary>Removes an assessment, if it is there; the one that it overrode is valid again.</summary>
    public Task DeleteAsync(string traceId, string id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await HoldTraceAsync(session, traceId, token).ConfigureAwait(false);
            var row = await FindAsync(session, traceId, id, database.Choose("FOR UPDATE", ""), token).ConfigureAwait(false);
            if (row is null)
                return;
            if (row.Overrides is not null)
                await SetValidAsync(session, traceId, row.Overrides, true, token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM assessments WHERE assessment_id = $1").Add(id), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Of each trace its assessments, in the order of their creation.</summary>
    internal static async Task<ILookup<string, Assessment>> OfTracesAsync(
        Database database, DatabaseSession session, IReadOnlyList<string> traceIds, CancellationToken cancellationToken)
    {
        var rows = traceIds.Count == 0 ? [] : await session.ListAsync(
            database.Statement(
                $"SELECT {AssessmentRow.Columns} FROM assessments WHERE trace_id = ANY($1) ORDER BY created_timestamp, assessment_id",
                $"""
                SELECT {AssessmentRow.Columns} FROM assessments WHERE trace_id IN (SELECT value FROM json_each($1))
                ORDER BY created_timestamp, assessment_id
                """).Add(traceIds),
            AssessmentRow.Read,
            cancellationToken).ConfigureAwait(false);
        return rows.ToLookup(row => row.TraceId, row => row.ToMessage(), StringComparer.Ordinal);
    }

    /// <summary>The statement that adds a row.</summary>
    internal static Statement Insert(Database database, AssessmentRow row, long experimentId) => database.Statement($"""
        INSERT INTO assessments ({AssessmentRow.Columns}, run_id, experiment_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        """)
        .Add(row.Id).Add(row.TraceId).Add(row.SpanId).Add(row.Name).Add(row.Type).Add(row.Value).Add(row.Error).Add(row.Created)
        .Add(row.Updated).Add(row.SourceType).Add(row.SourceId).Add(row.Rationale).Add(row.Overrides).Add(row.Valid).Add(row.Metadata)
        .Add(row.RunId).Add(experimentId);

    private Task<AssessmentRow?> FindAsync(DatabaseSession session, string traceId, string id, string hold, CancellationToken cancellationToken) =>
        session.FirstOrDefaultAsync(
            database.Statement($"SELECT {AssessmentRow.Columns} FROM assessments WHERE assessment_id = $1 AND trace_id = $2 {hold}").Add(id).Add(traceId),
            AssessmentRow.Read,
            cancellationToken);

    /// <summary>
    /// The trace's experiment, or null. It is not deleted until the transaction ends: who changes assessments holds it first, as who deletes it
    /// does, which takes them in an order of its own.
    /// </summary>
    private Task<long?> HoldTraceAsync(DatabaseSession session, string traceId, CancellationToken cancellationToken) =>
        session.ScalarAsync<long>(
            database.Statement(
                "SELECT experiment_id FROM trace_info WHERE trace_id = $1 FOR KEY SHARE",
                "SELECT experiment_id FROM trace_info WHERE trace_id = $1").Add(traceId),
            cancellationToken);

    private Task<int> SetValidAsync(DatabaseSession session, string traceId, string id, bool valid, CancellationToken cancellationToken) =>
        session.ExecuteAsync(
            database.Statement("UPDATE assessments SET valid = $3 WHERE assessment_id = $1 AND trace_id = $2").Add(id).Add(traceId).Add(valid),
            cancellationToken);

    private static MlflowException NotFound(string traceId, string id) =>
        MlflowException.NotFound($"Assessment with ID '{id}' not found for trace '{traceId}'.");
}
