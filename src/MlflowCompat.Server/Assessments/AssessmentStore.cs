using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Assessments;

/// <summary>
/// Assessments in the database (mapping section 6). One is valid as long as no other one of its trace overrides it; who changes that holds
/// the trace's row, so that nobody waits in a circle and none is missed.
/// </summary>
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
                    if (row.Overrides is not null && await InvalidateAsync(session, row.TraceId, row.Overrides, token).ConfigureAwait(false) == 0)
                        throw NotFound(row.TraceId, row.Overrides);
                    await session.ExecuteAsync(Insert(row, experiment, ""), token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw IdTaken(row.Id);
        }
    }

    /// <summary>
    /// Adds the assessments that come with a trace, whose row the session holds; one that is there already becomes as it is given now.
    /// Those that they override may be among them.
    /// </summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: none that one could override; BAD_REQUEST: an id is taken by another trace; INVALID_PARAMETER_VALUE: an id
    /// is given twice, or one would override itself in the end.
    /// </exception>
    internal async Task MergeAsync(
        DatabaseSession session, string traceId, long experimentId, IReadOnlyList<AssessmentRow> given, CancellationToken cancellationToken)
    {
        if (given.Count == 0)
            return;
        if (given.Select(row => row.Id).GroupBy(id => id, StringComparer.Ordinal).FirstOrDefault(same => same.Count() > 1)?.Key is { } twice)
            throw MlflowException.InvalidParameter($"The assessment ID '{twice}' is given twice.");
        foreach (var row in given)
        {
            if (await session.ExecuteAsync(Insert(row, experimentId, Replace), cancellationToken).ConfigureAwait(false) == 0)
                throw IdTaken(row.Id);
        }

        var overrides = (await session.ListAsync(
            database.Statement("SELECT assessment_id, overrides FROM assessments WHERE trace_id = $1").Add(traceId),
            reader => KeyValuePair.Create(reader.GetString(0), reader.GetStringOrNull(1)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(StringComparer.Ordinal);
        if (given.Select(row => row.Overrides).FirstOrDefault(id => id is not null && !overrides.ContainsKey(id)) is { } unknown)
            throw NotFound(traceId, unknown);
        if (FindCircle(overrides) is { } circular)
            throw MlflowException.InvalidParameter($"The assessment with the ID '{circular}' would override itself.");
        await session.ExecuteAsync(
            database.Statement("""
                UPDATE assessments SET valid = NOT valid
                WHERE trace_id = $1 AND valid = (assessment_id IN (
                    SELECT overrides FROM assessments WHERE trace_id = $1 AND overrides IS NOT NULL))
                """).Add(traceId),
            cancellationToken).ConfigureAwait(false);
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
                            assessment_metadata = $7, run_id = $8
                        WHERE assessment_id = $1
                        """)
                        .Add(id).Add(row.Name).Add(row.Value).Add(row.Error).Add(row.Updated).Add(row.Rationale)
                        .Add(row.Metadata).Add(row.RunId),
                    token).ConfigureAwait(false);
                return row;
            },
            cancellationToken);

    /// <summary>Removes an assessment, if it is there; the one that it overrode is valid again, unless yet another one overrides it.</summary>
    public Task DeleteAsync(string traceId, string id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            if (await HoldTraceAsync(session, traceId, token).ConfigureAwait(false) is null
                || await FindAsync(session, traceId, id, database.Choose("FOR UPDATE", ""), token).ConfigureAwait(false) is not { } row)
            {
                return;
            }

            if (row.Overrides is not null)
            {
                await session.ExecuteLastAsync(
                    database.Statement("""
                        UPDATE assessments SET valid = NOT EXISTS (
                            SELECT 1 FROM assessments other WHERE other.trace_id = $1 AND other.overrides = $2 AND other.assessment_id <> $3)
                        WHERE assessment_id = $2 AND trace_id = $1
                        """).Add(traceId).Add(row.Overrides).Add(id),
                    token).ConfigureAwait(false);
            }

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

    /// <summary>What becomes of an assessment of the same trace that is there already; of one of another trace nothing does.</summary>
    private const string Replace = """
        ON CONFLICT (assessment_id) DO UPDATE SET
            span_id = excluded.span_id, name = excluded.name, assessment_type = excluded.assessment_type, value = excluded.value,
            error = excluded.error, created_timestamp = excluded.created_timestamp, last_updated_timestamp = excluded.last_updated_timestamp,
            source_type = excluded.source_type, source_id = excluded.source_id, rationale = excluded.rationale, overrides = excluded.overrides,
            assessment_metadata = excluded.assessment_metadata, run_id = excluded.run_id, experiment_id = excluded.experiment_id
        WHERE a.trace_id = excluded.trace_id
        """;

    private Statement Insert(AssessmentRow row, long experimentId, string onConflict) => database.Statement($"""
        INSERT INTO assessments AS a ({AssessmentRow.Columns}, run_id, experiment_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        {onConflict}
        """)
        .Add(row.Id).Add(row.TraceId).Add(row.SpanId).Add(row.Name).Add(row.Type).Add(row.Value).Add(row.Error).Add(row.Created)
        .Add(row.Updated).Add(row.SourceType).Add(row.SourceId).Add(row.Rationale).Add(row.Overrides).Add(row.Valid).Add(row.Metadata)
        .Add(row.RunId).Add(experimentId);

    /// <summary>One that overrides itself in the end; null when there is none.</summary>
    private static string? FindCircle(Dictionary<string, string?> overrides)
    {
        var ending = new HashSet<string>(StringComparer.Ordinal);
        foreach (var start in overrides.Keys)
        {
            var path = new HashSet<string>(StringComparer.Ordinal);
            for (var at = start; at is not null && !ending.Contains(at); at = overrides.GetValueOrDefault(at))
            {
                if (!path.Add(at))
                    return at;
            }

            ending.UnionWith(path);
        }

        return null;
    }

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
                "SELECT experiment_id FROM trace_info WHERE trace_id = $1 FOR NO KEY UPDATE",
                "SELECT experiment_id FROM trace_info WHERE trace_id = $1").Add(traceId),
            cancellationToken);

    private Task<int> InvalidateAsync(DatabaseSession session, string traceId, string id, CancellationToken cancellationToken) =>
        session.ExecuteAsync(
            database.Statement("UPDATE assessments SET valid = $3 WHERE assessment_id = $1 AND trace_id = $2").Add(id).Add(traceId).Add(false),
            cancellationToken);

    private static MlflowException IdTaken(string id) => new(ErrorCode.BadRequest, $"An assessment with the ID '{id}' exists already.");

    private static MlflowException NotFound(string traceId, string id) =>
        MlflowException.NotFound($"Assessment with ID '{id}' not found for trace '{traceId}'.");
}
