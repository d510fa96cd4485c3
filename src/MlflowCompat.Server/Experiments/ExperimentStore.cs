using System.Data.Common;
using System.Globalization;
using MlflowCompat.Search;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Experiments;

/// <summary>Experiments in the database (mapping 2.1).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="artifactRoots">Where artifacts go unless an experiment says otherwise.</param>
public sealed class ExperimentStore(Database database, ArtifactRoots artifactRoots)
{
    /// <summary>The experiment that clients log to when they name none (mapping C-8).</summary>
    private const long DefaultExperimentId = 0;

    private const string NoteTag = "mlflow.note.content";
    private const string UserTag = "mlflow.user";
    private const string TypeTag = "experiment_type";

    private const int MaxCreatedByLength = 255;

    private const string Columns = "experiment_id, experiment_name, artifact_location, lifecycle_stage, updated_at, created_at, tags";

    /// <summary>The server's artifact roots.</summary>
    public ArtifactRoots ArtifactRoots { get; } = artifactRoots;

    /// <summary>Makes experiment 0, "Default", in a database without experiments.</summary>
    public Task EnsureDefaultAsync(CancellationToken cancellationToken) => database.WriteAsync(
        (session, token) => session.ExecuteAsync(
            database.Statement("""
                INSERT INTO experiments (experiment_id, experiment_name, artifact_location, created_at, updated_at)
                SELECT $1, 'Default', $2, $3, $3 WHERE NOT EXISTS (SELECT 1 FROM experiments)
                ON CONFLICT DO NOTHING
                """)
                .Add(DefaultExperimentId).Add(ArtifactRoots.ForExperiment(DefaultExperimentId)).AddTime(StoredTime.Now()),
            token),
        cancellationToken);

    /// <summary>Makes an experiment and returns its id.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="location">Its artifact location, or null for one under the server's root.</param>
    /// <param name="tags">Its tags.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">RESOURCE_ALREADY_EXISTS: the name is taken, if only by a deleted experiment.</exception>
    public async Task<long> CreateAsync(string name, string? location, List<KeyValue> tags, CancellationToken cancellationToken)
    {
        try
        {
            return await database.WriteAsync(
                async (session, token) =>
                {
                    var now = StoredTime.Now();
                    var id = await session.ScalarAsync<long>(
                        database.Statement("""
                            INSERT INTO experiments (experiment_name, experiment_description, experiment_type, created_by, created_at,
                                updated_at, tags, artifact_location)
                            VALUES ($1, $2, $3, $4, $5, $5, $6, $7)
                            RETURNING experiment_id
                            """)
                            .Add(name).Add(Value(tags, NoteTag)).Add(ExperimentType(Value(tags, TypeTag))).Add(IfFits(Value(tags, UserTag)))
                            .AddTime(now).AddJson(Tags.ToJson(tags)).Add(location),
                        token).ConfigureAwait(false);
                    if (location is null)
                    {
                        await session.ExecuteAsync(
                            database.Statement("UPDATE experiments SET artifact_location = $2 WHERE experiment_id = $1")
                                .Add(id!.Value).Add(ArtifactRoots.ForExperiment(id.Value)),
                            token).ConfigureAwait(false);
                    }

                    return id!.Value;
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw NameTaken(ErrorCode.ResourceAlreadyExists, name);
        }
    }

    /// <summary>An experiment, also a deleted one, or null.</summary>
    public async Task<Experiment?> FindAsync(long id, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement($"SELECT {Columns} FROM experiments WHERE experiment_id = $1").Add(id), Read, cancellationToken)
                .ConfigureAwait(false);
        }
    }

    /// <summary>An experiment, also a deleted one, or null.</summary>
    public async Task<Experiment?> FindByNameAsync(string name, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement($"SELECT {Columns} FROM experiments WHERE experiment_name = $1").Add(name), Read, cancellationToken)
                .ConfigureAwait(false);
        }
    }

    /// <summary>A page of the experiments that meet a filter (contract: search §3, semantics §12).</summary>
    public async Task<SearchPage<Experiment>> SearchAsync(
        Filter filter, IReadOnlyList<OrderTerm> order, ViewType view, int maxResults, long offset, CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        var conditions = filter.Clauses.Select(clause => Condition(sql, clause)).Append(Stage(view)).Where(text => text.Length > 0);
        sql.Append($"SELECT {Columns} FROM experiments");
        var where = string.Join(" AND ", conditions);
        if (where.Length > 0)
            sql.Append(" WHERE ").Append(where);
        sql.Append(" ORDER BY ").Append(OrderBy(order)).Append(Conditions.Limit(maxResults + 1, offset));

        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await session.ListAsync(sql.ToStatement(), Read, cancellationToken).ConfigureAwait(false);
            return SearchPage<Experiment>.From(rows, maxResults, offset);
        }
    }

    /// <summary>Renames an active experiment.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST; INVALID_STATE when it is deleted; BAD_REQUEST when the name is taken.
    /// </exception>
    public async Task RenameAsync(long id, string name, CancellationToken cancellationToken)
    {
        try
        {
            await database.WriteAsync(
                async (session, token) =>
                {
                    if (!await IsActiveAsync(database, session, id, token).ConfigureAwait(false))
                    {
                        throw new MlflowException(ErrorCode.InvalidState, string.Create(
                            CultureInfo.InvariantCulture, $"Cannot rename the deleted experiment {id}; restore it first."));
                    }

                    await session.ExecuteAsync(
                        database.Statement("UPDATE experiments SET experiment_name = $2, updated_at = $3 WHERE experiment_id = $1")
                            .Add(id).Add(name).AddTime(StoredTime.Now()),
                        token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw NameTaken(ErrorCode.BadRequest, name);
        }
    }

    /// <summary>Deletes an active experiment and all its runs, softly.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown, or deleted already.</exception>
    public Task DeleteAsync(long id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var now = StoredTime.Now();
            var changed = await session.ExecuteAsync(
                database.Statement("""
                    UPDATE experiments SET lifecycle_stage = 'deleted', status = 'deleted', deleted_at = $2, updated_at = $2
                    WHERE experiment_id = $1 AND lifecycle_stage = 'active'
                    """).Add(id).AddTime(now),
                token).ConfigureAwait(false);
            if (changed == 0)
                throw ExperimentId.NotFound(id);
            await HeldRun.LockExperimentAsync(database, session, id, "active", token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("""
                    UPDATE runs SET lifecycle_stage = 'deleted', deleted_at = $2, updated_at = $2
                    WHERE experiment_id = $1 AND lifecycle_stage = 'active'
                    """).Add(id).AddTime(now),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Restores a deleted experiment and all its runs, also those that were deleted one by one before.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: unknown, or active.</exception>
    public Task RestoreAsync(long id, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var now = StoredTime.Now();
            var changed = await session.ExecuteAsync(
                database.Statement("""
                    UPDATE experiments SET lifecycle_stage = 'active', status = 'active', deleted_at = NULL, updated_at = $2
                    WHERE experiment_id = $1 AND lifecycle_stage <> 'active'
                    """).Add(id).AddTime(now),
                token).ConfigureAwait(false);
            if (changed == 0)
                throw ExperimentId.NotFound(id);
            await HeldRun.LockExperimentAsync(database, session, id, "deleted", token).ConfigureAwait(false);
            // A fingerprint that lives already, or that several deleted runs share, stays with one of them only (mapping C-12).
            await session.ExecuteLastAsync(
                RunFingerprints.GiveUpTaken(
                    database,
                    "experiment_id = $1 AND lifecycle_stage = 'deleted'",
                    "other.run_id <> runs.run_id AND (other.deleted_at IS NULL OR other.run_id < runs.run_id)").Add(id),
                token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("""
                    UPDATE runs SET lifecycle_stage = 'active', deleted_at = NULL, updated_at = $2
                    WHERE experiment_id = $1 AND lifecycle_stage = 'deleted'
                    """).Add(id).AddTime(now),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Sets a tag.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public Task SetTagAsync(long id, string key, string value, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await RequireActiveAsync(database, session, id, token).ConfigureAwait(false);
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE experiments SET tags = ")
                .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(key, value))))
                .Append(DerivedColumn(sql, key, value))
                .Append($" WHERE experiment_id = {sql.Add(id)}");
            await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Deletes a tag.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST: no such experiment or tag; INVALID_PARAMETER_VALUE when the experiment is deleted.
    /// </exception>
    public Task DeleteTagAsync(long id, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await RequireActiveAsync(database, session, id, token).ConfigureAwait(false);
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE experiments SET tags = ").Append(Tags.Without(sql, "tags", key))
                .Append(DerivedColumn(sql, key, null))
                .Append($" WHERE experiment_id = {sql.Add(id)} AND ").Append(Tags.Has(sql, "tags", key));
            if (await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false) == 0)
                throw MlflowException.NotFound($"No tag with name: {key} in experiment {id}");
        },
        cancellationToken);

    /// <summary>Refuses to go on with an experiment that is unknown or deleted; holds it as it is until the transaction ends.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when it is deleted.</exception>
    internal static async Task RequireActiveAsync(Database database, DatabaseSession session, long id, CancellationToken cancellationToken)
    {
        if (!await IsActiveAsync(database, session, id, cancellationToken).ConfigureAwait(false))
            throw ExperimentId.NotActive(id);
    }

    /// <summary>Refuses to read from an experiment that is unknown or deleted; nothing is held.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when it is deleted.</exception>
    internal static async Task CheckActiveAsync(Database database, DatabaseSession session, long id, CancellationToken cancellationToken)
    {
        if (!await IsActiveAsync(database, session, id, cancellationToken, holding: false).ConfigureAwait(false))
            throw ExperimentId.NotActive(id);
    }

    private static async Task<bool> IsActiveAsync(
        Database database, DatabaseSession session, long id, CancellationToken cancellationToken, bool holding = true)
    {
        const string Select = "SELECT lifecycle_stage FROM experiments WHERE experiment_id = $1";
        var stage = await session.FirstOrDefaultAsync(
            (holding ? database.Statement(Select + " FOR NO KEY UPDATE", Select) : database.Statement(Select)).Add(id),
            reader => reader.GetString(0),
            cancellationToken).ConfigureAwait(false) ?? throw ExperimentId.NotFound(id);
        return stage == "active";
    }

    /// <summary>Columns that repeat a tag for readers of the specified schema (mapping 2.1, C-11).</summary>
    private static string DerivedColumn(StatementBuilder sql, string key, string? value) => key switch
    {
        NoteTag => value is null ? ", experiment_description = NULL" : $", experiment_description = {sql.Add(value)}",
        TypeTag => $", experiment_type = {sql.Add(ExperimentType(value))}",
        _ => "",
    };

    private static string ExperimentType(string? tag) =>
        tag is "training" or "testing" or "production" or "development" ? tag : "training";

    private static string Condition(StatementBuilder sql, Clause clause) => clause switch
    {
        { Entity: EntityKind.Tag } => Conditions.Tag(sql, "tags", clause.Key, clause.Comparator, clause.Value),
        { Key: "name" } => Conditions.Text(sql, "experiment_name", clause.Comparator, clause.Value),
        { Key: "creation_time" } => Conditions.Time(sql, "created_at", null, clause.Comparator, clause.Value),
        { Key: "last_update_time" } => Conditions.Time(sql, "updated_at", null, clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    /// <summary>Archived experiments are shown as deleted (mapping C-9).</summary>
    private static string Stage(ViewType view) => view switch
    {
        ViewType.ActiveOnly => "lifecycle_stage = 'active'",
        ViewType.DeletedOnly => "lifecycle_stage <> 'active'",
        _ => "",
    };

    private string OrderBy(IReadOnlyList<OrderTerm> order)
    {
        if (order.Count == 0)
            return "created_at DESC, experiment_id ASC";
        var terms = order.Select(term => term.Key switch
        {
            "name" => Conditions.Ordinal(database, "experiment_name"),
            "experiment_id" => "experiment_id",
            "creation_time" => "created_at",
            "last_update_time" => "updated_at",
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + (term.Ascending ? " ASC" : " DESC"));
        return string.Join(", ", order.Any(term => term.Key == "experiment_id") ? terms : terms.Append("experiment_id DESC"));
    }

    private static Experiment Read(DbDataReader reader) => new(
        reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
        reader.GetString(1),
        reader.GetStringOrNull(2) ?? "",
        reader.GetString(3) == "active" ? "active" : "deleted",
        reader.GetMilliseconds(4),
        reader.GetMilliseconds(5),
        Tags.Read(reader, 6));

    private static string? IfFits(string? user) => user is null || FieldRules.CodePoints(user) <= MaxCreatedByLength ? user : null;

    private static string? Value(List<KeyValue> tags, string key) => tags.Find(tag => tag.Key == key)?.Value;

    private static MlflowException NameTaken(ErrorCode code, string name) => new(
        code, $"Experiment(name={name}) already exists. A deleted experiment keeps its name; restore or rename that one, or choose another.");
}
