using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Search;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>Runs in the database (mapping 2.2).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="options">The server's options.</param>
public sealed class RunStore(Database database, ServerOptions options)
{
    /// <summary>NUMERIC(12,3) holds durations below this many milliseconds (mapping C-14).</summary>
    private const long MaxDurationMilliseconds = 1_000_000_000_000;

    /// <summary>The server's options.</summary>
    public ServerOptions Options { get; } = options;

    /// <summary>Makes a run in an active experiment.</summary>
    /// <param name="experimentId">Its experiment.</param>
    /// <param name="userId">Who runs it, as sent.</param>
    /// <param name="name">Its name.</param>
    /// <param name="startTime">Milliseconds since 1970.</param>
    /// <param name="tags">Its tags, that of its name included.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such experiment; INVALID_PARAMETER_VALUE: it is deleted; RESOURCE_ALREADY_EXISTS: a live run of the
    /// experiment has the fingerprint that the tags name.
    /// </exception>
    public async Task<Run> CreateAsync(
        long experimentId, string userId, string name, long startTime, List<KeyValue> tags, CancellationToken cancellationToken)
    {
        var id = RunId.New();
        var fingerprint = tags.Find(tag => tag.Key == RunTags.Fingerprint)?.Value is { Length: > 0 } given
            ? FieldRules.MaxLength(given, RunTags.MaxFingerprintLength, RunTags.Fingerprint)
            : RunFingerprints.Random();
        try
        {
            while (true)
            {
                var artifactUri = await database.WriteAsync(
                    (session, token) => session.CommitWithAsync(
                        Insert(id, experimentId, userId, name, fingerprint, startTime, tags), reader => reader.GetString(0), token),
                    cancellationToken).ConfigureAwait(false);
                if (artifactUri is not null)
                {
                    var info = new RunInfo(
                        RunId.Format(id), RunId.Format(id), name, ExperimentId.Format(experimentId), userId, "RUNNING", startTime, null, artifactUri, "active");
                    return new Run(info, new RunData(null, null, tags), new RunInputs(null, null), null);
                }

                // There is no such experiment, or it is deleted; if it was restored by now, the run is made after all.
                await database.WriteAsync(
                    (session, token) => ExperimentStore.RequireActiveAsync(database, session, experimentId, token), cancellationToken).ConfigureAwait(false);
            }
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw new MlflowException(
                ErrorCode.ResourceAlreadyExists,
                $"A run with {RunTags.Fingerprint}={MlflowException.Quote(fingerprint)} already exists in experiment {ExperimentId.Format(experimentId)}.");
        }
    }

    /// <summary>A run, deleted or not, or null.</summary>
    public async Task<Run?> FindAsync(Guid id, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await RunReader.FindAsync(database, session, id, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A page of the runs that meet a filter. The next page's token is given whenever this page is full.</summary>
    public async Task<SearchPage<Run>> SearchAsync(
        IReadOnlyList<long> experimentIds,
        ViewType view,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int maxResults,
        long offset,
        CancellationToken cancellationToken)
    {
        if (experimentIds.Count == 0)
            return new SearchPage<Run>(null, null);
        var search = RunSearch.Compile(database, experimentIds, view, filter, order, maxResults, offset);
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var runs = await RunReader.ListAsync(database, session, search, cancellationToken).ConfigureAwait(false);
            return new SearchPage<Run>(
                runs.Count == 0 ? null : runs, runs.Count == maxResults ? PageToken.For(offset + maxResults) : null);
        }
    }

    /// <summary>Changes what is given of a run's status, end and name.</summary>
    /// <param name="id">The run.</param>
    /// <param name="status">New status, or null.</param>
    /// <param name="endTime">Milliseconds since 1970; 0 clears it; null leaves it.</param>
    /// <param name="name">New name, or null.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when it is deleted.</exception>
    public async Task<RunInfo> UpdateAsync(Guid id, RunStatus? status, long? endTime, string? name, CancellationToken cancellationToken)
    {
        while (true)
        {
            var updated = await database.WriteAsync(
                (session, token) => session.CommitWithAsync(Update(id, status, endTime, name), RunReader.ReadInfo, token), cancellationToken)
                .ConfigureAwait(false);
            if (updated is not null)
                return updated;
            // It is not there, or deleted; if it is neither any more by now, it is updated after all.
            await database.WriteAsync((session, token) => ActiveRun.LockAsync(database, session, id, token), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Deletes a run softly; nothing happens when it is deleted already.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task DeleteAsync(Guid id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await HeldRun.LockAsync(database, session, id, token).ConfigureAwait(false);
            if (!run.IsActive)
                return;
            await session.ExecuteLastAsync(
                database.Statement("UPDATE runs SET lifecycle_stage = 'deleted', deleted_at = $2, updated_at = $2 WHERE run_id = $1")
                    .Add(run.Key).AddTime(StoredTime.Now()),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Restores a run, also one of a deleted experiment; nothing happens when it is active.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task RestoreAsync(Guid id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            // One after the other, and no run is made meanwhile: whether a fingerprint is taken must not change before the commit.
            await session.ExecuteAsync(
                database.Statement(
                    "SELECT 1 FROM experiments WHERE experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = $1) FOR NO KEY UPDATE",
                    "SELECT 1").Add(id),
                token).ConfigureAwait(false);
            var run = await HeldRun.LockAsync(database, session, id, token).ConfigureAwait(false);
            if (run.IsActive)
                return;
            await session.ExecuteLastAsync(
                RunFingerprints.GiveUpTaken(database, "run_id = $1", "other.deleted_at IS NULL").Add(run.Key), token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("UPDATE runs SET lifecycle_stage = 'active', deleted_at = NULL, updated_at = $2 WHERE run_id = $1")
                    .Add(run.Key).AddTime(StoredTime.Now()),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Deletes a tag.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such run or tag; INVALID_PARAMETER_VALUE when the run is deleted.
    /// </exception>
    public Task DeleteTagAsync(Guid id, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await ActiveRun.LockAsync(database, session, id, token).ConfigureAwait(false);
            if (await session.ExecuteAsync(RunTags.Delete(database, run.Key, key), token).ConfigureAwait(false) == 0)
                throw MlflowException.NotFound($"No tag with name: {key} in run with id {RunId.Format(id)}");
        },
        cancellationToken);

    /// <summary>Appends a model to the run's history of logged models, a tag that holds a JSON array.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the run is deleted.</exception>
    public Task LogModelAsync(Guid id, JsonObject model, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await ActiveRun.LockAsync(database, session, id, token).ConfigureAwait(false);
            var tags = await session.FirstOrDefaultAsync(
                database.Statement("SELECT tags FROM runs WHERE run_id = $1").Add(run.Key),
                reader => Tags.Read(reader, 0) ?? [],
                token).ConfigureAwait(false);
            var history = ReadHistory(tags!.Find(tag => tag.Key == RunTags.LoggedModelHistory)?.Value);
            history.Add((JsonNode)model.DeepClone());
            await session.ExecuteLastAsync(
                RunTags.Set(database, run.Key, [new KeyValue { Key = RunTags.LoggedModelHistory, Value = history.ToJsonString() }]),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    private static JsonArray ReadHistory(string? tag)
    {
        if (string.IsNullOrEmpty(tag))
            return [];
        try
        {
            if (JsonNode.Parse(tag) is JsonArray history)
                return history;
        }
        catch (JsonException)
        {
            // A client has set the tag to something else: said below.
        }

        throw MlflowException.InvalidValue(RunTags.LoggedModelHistory, MlflowException.Quote(tag), "the run's tag is no JSON array any more.");
    }

    /// <summary>Makes no row unless the experiment is active; returns the artifact root.</summary>
    private Statement Insert(
        Guid id, long experimentId, string userId, string name, string fingerprint, long startTime, List<KeyValue> tags)
    {
        var sql = new StatementBuilder(database);
        var (names, expressions) = RunTags.Columns(sql, tags);
        var (startColumn, startOverflow) = sql.AddTimeAndOverflow(startTime);
        var artifactUri = ArtifactRoots.ForRun(database, "COALESCE(e.artifact_location, '')", sql.Add(RunId.Format(id)));
        // The experiment is held until the run is there: deleting it waits for the run, and takes it along.
        return sql
            .Append($"INSERT INTO runs (run_uuid, experiment_id, run_name, run_fingerprint, user_id, artifact_uri, tags, start_time, start_time_ms{names}) ")
            .Append($"SELECT {sql.Add(id)}, e.experiment_id, {sql.Add(name)}, {sql.Add(fingerprint)}, {sql.Add(userId)}, {artifactUri}, ")
            .Append($"{sql.AddJson(Tags.ToJson(tags))}, {startColumn}, {startOverflow}{expressions} FROM experiments e ")
            .Append($"WHERE e.experiment_id = {sql.Add(experimentId)} AND e.lifecycle_stage = 'active'{database.Choose(" FOR SHARE OF e", "")} ")
            .Append("RETURNING artifact_uri")
            .ToStatement();
    }

    private Statement Update(Guid id, RunStatus? status, long? endTime, string? name)
    {
        var sql = new StatementBuilder(database);
        sql.Append($"UPDATE runs SET updated_at = {sql.AddTime(StoredTime.Now())}");
        if (status is { } newStatus)
            sql.Append($", status = {sql.Add(StoredStatus(newStatus))}");
        if (endTime is { } end)
        {
            var (column, overflow) = sql.AddTimeAndOverflow(end == 0 ? null : end);
            sql.Append($", end_time = {column}, end_time_ms = {overflow}, execution_duration_seconds = {Duration(sql, end)}");
        }

        if (name is not null)
        {
            sql.Append($", run_name = {sql.Add(name)}, tags = ")
                .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(RunTags.RunName, name))));
        }

        return sql.Append($" WHERE run_uuid = {sql.Add(id)} AND lifecycle_stage = 'active' RETURNING {RunReader.InfoColumns}").ToStatement();
    }

    /// <summary>Seconds from the stored start to the end; NULL where there is no true answer (mapping C-14).</summary>
    private static string Duration(StatementBuilder sql, long end)
    {
        if (end <= 0)
            return "NULL";
        var start = sql.Database.Choose("COALESCE(start_time_ms, (extract(epoch FROM start_time) * 1000)::bigint)", "start_time");
        var milliseconds = sql.Database.Choose($"({sql.Add(end)}::numeric - {start})", $"({sql.Add(end)} - {start})");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"CASE WHEN {start} > 0 AND {milliseconds} >= 0 AND {milliseconds} < {MaxDurationMilliseconds} THEN {milliseconds} / 1000.0 END");
    }

    private static string StoredStatus(RunStatus status) => status switch
    {
        RunStatus.Running => "running",
        RunStatus.Scheduled => "scheduled",
        RunStatus.Finished => "completed",
        RunStatus.Failed => "failed",
        RunStatus.Killed => "killed",
        _ => throw new ArgumentOutOfRangeException(nameof(status), status, null),
    };
}
