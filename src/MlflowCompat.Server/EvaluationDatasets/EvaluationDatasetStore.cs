using System.Data.Common;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>
/// Evaluation data sets and what belongs to which experiment (mapping section 6). The row of a data set is its lock: whoever changes its
/// records, tags or experiments holds it first.
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class EvaluationDatasetStore(Database database)
{
    /// <summary>How much of records is written, or asked for, with one statement, in records and in bytes.</summary>
    private const int ChunkRecords = 1000;
    private const int ChunkBytes = 4 * 1024 * 1024;

    private const string UserTag = "mlflow.user";

    private const string Columns =
        "dataset_id, name, tags, schema, profile, digest, created_time, last_update_time, created_by, last_updated_by";

    private static readonly RowsInsert InsertLinks = new(
        "entity_associations",
        "association_id, source_type, source_id, destination_type, destination_id, created_time",
        "ON CONFLICT DO NOTHING");

    private static readonly RowsInsert InsertRecords = new("""
        INSERT INTO evaluation_dataset_records (dataset_record_id, dataset_id, inputs, outputs, expectations, tags, source, source_id,
            source_type, created_time, last_update_time, created_by, last_updated_by, input_hash)
        SELECT id, dataset_id, inputs::json, outputs::json, expectations::json, tags::json, source::json, source_id, source_type, time, time,
            created_by, last_updated_by, hash
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) AS given(id, dataset_id, inputs, outputs, expectations, tags,
            source, source_id, source_type, time, created_by, last_updated_by, hash)
        """)
    {
        Sqlite = """
            INSERT INTO evaluation_dataset_records (dataset_record_id, dataset_id, inputs, outputs, expectations, tags, source, source_id,
                source_type, created_time, last_update_time, created_by, last_updated_by, input_hash)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13)
            """,
    };

    private static readonly RowsInsert UpdateRecords = new("""
        UPDATE evaluation_dataset_records AS record
        SET outputs = CASE WHEN given.has_outputs THEN given.outputs::json ELSE record.outputs END, expectations = given.expectations::json,
            tags = given.tags::json, last_update_time = given.time, last_updated_by = COALESCE(given.last_updated_by, record.last_updated_by)
        FROM unnest($1, $2, $3, $4, $5, $6, $7) AS given(id, has_outputs, outputs, expectations, tags, time, last_updated_by)
        WHERE record.dataset_record_id = given.id
        """)
    {
        Sqlite = """
            UPDATE evaluation_dataset_records
            SET outputs = CASE WHEN ?2 THEN ?3 ELSE outputs END, expectations = ?4, tags = ?5, last_update_time = ?6,
                last_updated_by = COALESCE(?7, last_updated_by)
            WHERE dataset_record_id = ?1
            """,
    };

    /// <summary>Makes a data set.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="tags">Its tags.</param>
    /// <param name="experimentIds">The experiments that it belongs to; whether there are such is not asked.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    public Task<EvaluationDataset> CreateAsync(
        string name, List<KeyValue> tags, IReadOnlyList<string> experimentIds, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var now = StoredTime.Now();
            var user = tags.Find(tag => tag.Key == UserTag)?.Value;
            var created = new EvaluationDataset(
                $"d-{Guid.NewGuid():N}", name, Tags.ToJson(tags.OrderBy(tag => tag.Key, StringComparer.Ordinal)), null, null, Digest(name, now), now, now, user, user,
                experimentIds.Count == 0 ? null : [.. experimentIds]);
            await session.ExecuteLastAsync(
                database.Statement("""
                    INSERT INTO evaluation_datasets (dataset_id, name, tags, digest, created_time, last_update_time, created_by, last_updated_by)
                    VALUES ($1, $2, $3, $4, $5, $5, $6, $6)
                    """)
                    .Add(created.DatasetId).Add(name).AddJson(created.Tags).Add(created.Digest).AddTime(now).Add(user),
                token).ConfigureAwait(false);
            await session.ExecuteLastAsync(Links(created.DatasetId, experimentIds, now), token).ConfigureAwait(false);
            return created;
        },
        cancellationToken);

    /// <summary>A data set, or null.</summary>
    public async Task<EvaluationDataset?> FindAsync(string datasetId, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await FindAsync(session, datasetId, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Removes a data set with its records and links, if it is there.</summary>
    public Task DeleteAsync(string datasetId, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM evaluation_datasets WHERE dataset_id = $1").Add(datasetId), token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM entity_associations WHERE source_type = 'evaluation_dataset' AND source_id = $1").Add(datasetId),
                token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM entity_associations WHERE destination_type = 'evaluation_dataset' AND destination_id = $1").Add(datasetId),
                token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>A page of the data sets that meet a filter (contract: search §8, semantics §12).</summary>
    /// <param name="experimentIds">Those of any of these; all when empty.</param>
    /// <param name="filter">What they have to meet.</param>
    /// <param name="order">Their order; by time of creation, latest first, when empty.</param>
    /// <param name="maxResults">Rows per page.</param>
    /// <param name="offset">Rows to skip.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<SearchPage<EvaluationDataset>> SearchAsync(
        IReadOnlyList<string> experimentIds,
        Filter filter,
        IReadOnlyList<OrderTerm> order,
        int maxResults,
        long offset,
        CancellationToken cancellationToken)
    {
        var sql = new StatementBuilder(database);
        var conditions = filter.Clauses.Select(clause => Condition(sql, clause)).ToList();
        if (experimentIds.Count > 0)
        {
            var ids = sql.Add(experimentIds);
            conditions.Add($"""
                dataset_id IN (
                    SELECT source_id FROM entity_associations
                    WHERE destination_type = 'experiment' AND source_type = 'evaluation_dataset'
                    AND destination_id {database.Choose($"= ANY({ids})", $"IN (SELECT value FROM json_each({ids}))")})
                """);
        }

        sql.Append($"SELECT {Columns} FROM evaluation_datasets");
        if (conditions.Count > 0)
            sql.Append(" WHERE ").Append(string.Join(" AND ", conditions));
        sql.Append(" ORDER BY ").Append(OrderBy(order)).Append(Conditions.Limit(maxResults + 1, offset));

        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var rows = await session.ListAsync(sql.ToStatement(), Read, cancellationToken).ConfigureAwait(false);
            return SearchPage<EvaluationDataset>.From(rows, maxResults, offset);
        }
    }

    /// <summary>Sets tags.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task SetTagsAsync(string datasetId, List<KeyValue> tags, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE evaluation_datasets SET tags = ").Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(tags))))
                .Append($" WHERE dataset_id = {sql.Add(datasetId)}");
            if (await session.ExecuteAsync(sql.ToStatement(), token).ConfigureAwait(false) == 0)
                throw NotFound(datasetId);
        },
        cancellationToken);

    /// <summary>Removes a tag, if it is there.</summary>
    public Task DeleteTagAsync(string datasetId, string key, CancellationToken cancellationToken) => database.WriteAsync(
        (session, token) =>
        {
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE evaluation_datasets SET tags = ").Append(Tags.Without(sql, "tags", key))
                .Append($" WHERE dataset_id = {sql.Add(datasetId)} AND ").Append(Tags.Has(sql, "tags", key));
            return session.ExecuteLastAsync(sql.ToStatement(), token);
        },
        cancellationToken);

    /// <summary>The experiments that a data set belongs to, in the order in which it came to them; none when it is unknown.</summary>
    public async Task<List<string>> ListExperimentIdsAsync(string datasetId, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await ListExperimentIdsAsync(session, datasetId, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Adds a data set to experiments; those that it belongs to already are passed over.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: the data set, or one of the experiments; then it is added to none.</exception>
    public Task<EvaluationDataset> AddToExperimentsAsync(
        string datasetId, IReadOnlyList<string> experimentIds, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await LockAsync(session, datasetId, token).ConfigureAwait(false);
            var keys = experimentIds.Select(ExperimentId.Parse).ToList();
            var known = await session.ListAsync(
                database.Statement(
                    "SELECT experiment_id FROM experiments WHERE experiment_id = ANY($1)",
                    "SELECT experiment_id FROM experiments WHERE experiment_id IN (SELECT value FROM json_each($1))").Add(keys),
                reader => reader.GetInt64(0),
                token).ConfigureAwait(false);
            if (keys.Except(known).Select(key => (long?)key).FirstOrDefault() is { } unknown)
                throw ExperimentId.NotFound(unknown);
            var now = StoredTime.Now();
            await session.ExecuteAsync(Links(datasetId, [.. keys.Select(ExperimentId.Format).Distinct()], now), token).ConfigureAwait(false);
            return await TouchAsync(session, datasetId, now, token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Takes a data set out of experiments; those that it does not belong to are passed over.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<EvaluationDataset> RemoveFromExperimentsAsync(
        string datasetId, IReadOnlyList<string> experimentIds, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await LockAsync(session, datasetId, token).ConfigureAwait(false);
            await session.ExecuteAsync(
                database.Statement(
                    """
                    DELETE FROM entity_associations
                    WHERE source_type = 'evaluation_dataset' AND source_id = $1 AND destination_type = 'experiment' AND destination_id = ANY($2)
                    """,
                    """
                    DELETE FROM entity_associations
                    WHERE source_type = 'evaluation_dataset' AND source_id = $1 AND destination_type = 'experiment'
                    AND destination_id IN (SELECT value FROM json_each($2))
                    """).Add(datasetId).Add(experimentIds),
                token).ConfigureAwait(false);
            return await TouchAsync(session, datasetId, StoredTime.Now(), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>
    /// Adds records, or merges them into those of equal inputs, and brings schema, profile and digest up to date: all of it or nothing.
    /// Several requests for one data set take turns.
    /// </summary>
    /// <param name="datasetId">The data set.</param>
    /// <param name="records">The records.</param>
    /// <param name="updatedBy">Who sends them, where they do not say it themselves; null if that is not known.</param>
    /// <param name="bytes">About how much memory the records take.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <returns>How many were new.</returns>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    internal Task<int> UpsertRecordsAsync(
        string datasetId, UpsertedRecords records, string? updatedBy, long bytes, CancellationToken cancellationToken)
    {
        // In ascending order, so that records of one request, which have the same time, come back in the order in which they were sent.
        var ids = Enumerable.Range(0, records.Distinct.Count).Select(_ => $"dr-{Guid.NewGuid():N}").Order(StringComparer.Ordinal).ToArray();
        return database.WriteAsync(
            async (session, token) =>
            {
                var dataset = await LockAsync(session, datasetId, token).ConfigureAwait(false);
                var now = StoredTime.Now();
                var inserted = 0;
                for (var start = 0; start < ids.Length;)
                {
                    var end = EndOfChunk(records.Distinct, start);
                    inserted += await WriteChunkAsync(
                        session, datasetId, records.Distinct.GetRange(start, end - start), ids.AsMemory(start, end - start), now, token).ConfigureAwait(false);
                    start = end;
                }

                var total = await CountAsync(session, datasetId, token).ConfigureAwait(false);
                await session.ExecuteLastAsync(
                    database.Statement("""
                        UPDATE evaluation_datasets
                        SET schema = $2, profile = COALESCE($3, profile), digest = $4, last_update_time = $5, last_updated_by = COALESCE($6, last_updated_by)
                        WHERE dataset_id = $1
                        """)
                        .Add(datasetId).Add(records.Schema.AddTo(dataset.Schema)).Add(total == 0 ? null : Profile(total))
                        .Add(Digest(dataset.Name, now)).AddTime(now).Add(records.User ?? updatedBy),
                    token).ConfigureAwait(false);
                return inserted;
            },
            cancellationToken,
            bytes);
    }

    /// <summary>Deletes records and returns how many there were; schema and digest stay, as in MLflow.</summary>
    public Task<int> DeleteRecordsAsync(string datasetId, IReadOnlyList<string> recordIds, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            if (await FindLockedAsync(session, datasetId, token).ConfigureAwait(false) is null)
                return 0;
            var deleted = await session.ExecuteAsync(
                database.Statement(
                    "DELETE FROM evaluation_dataset_records WHERE dataset_id = $1 AND dataset_record_id = ANY($2)",
                    "DELETE FROM evaluation_dataset_records WHERE dataset_id = $1 AND dataset_record_id IN (SELECT value FROM json_each($2))")
                    .Add(datasetId).Add(recordIds),
                token).ConfigureAwait(false);
            if (deleted > 0)
            {
                var total = await CountAsync(session, datasetId, token).ConfigureAwait(false);
                await session.ExecuteLastAsync(
                    database.Statement("UPDATE evaluation_datasets SET profile = $2 WHERE dataset_id = $1")
                        .Add(datasetId).Add(total == 0 ? "null" : Profile(total)),
                    token).ConfigureAwait(false);
            }

            return deleted;
        },
        cancellationToken);

    /// <summary>The error for an unknown data set.</summary>
    internal static MlflowException NotFound(string datasetId) =>
        MlflowException.NotFound($"Evaluation dataset with id {MlflowException.Quote(datasetId)} not found");

    /// <summary>Adds or merges records with a statement for each of the two, and returns how many were added.</summary>
    private async Task<int> WriteChunkAsync(
        DatabaseSession session, string datasetId, List<UpsertedRecord> records, ReadOnlyMemory<string> ids, long now, CancellationToken cancellationToken)
    {
        var stored = (await session.ListAsync(
            database.Statement(
                "SELECT input_hash, dataset_record_id, expectations, tags FROM evaluation_dataset_records WHERE dataset_id = $1 AND input_hash = ANY($2)",
                """
                SELECT input_hash, dataset_record_id, expectations, tags FROM evaluation_dataset_records
                WHERE dataset_id = $1 AND input_hash IN (SELECT value FROM json_each($2))
                """).Add(datasetId).Add((IReadOnlyList<string>)[.. records.Select(record => record.Hash)]),
            reader => (Hash: reader.GetString(0), Id: reader.GetString(1), Expectations: reader.GetStringOrNull(2), Tags: reader.GetStringOrNull(3)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(row => row.Hash, StringComparer.Ordinal);

        var added = records.Index().Where(record => !stored.ContainsKey(record.Item.Hash)).ToArray();
        await session.ExecuteAsync(
            database.Rows(InsertRecords)
                .Add(Array.ConvertAll(added, record => ids.Span[record.Index])).Add(Same(datasetId, added.Length))
                .Add(Array.ConvertAll(added, record => Text(record.Item.Inputs)))
                .Add(Array.ConvertAll(added, record => record.Item.HasOutputs ? Text(record.Item.Outputs) : "{}"))
                .Add(Array.ConvertAll(added, record => Text(record.Item.Expectations)))
                .Add(Array.ConvertAll(added, record => Text(record.Item.Tags)))
                .Add(Array.ConvertAll(added, record => record.Item.Source?.Json))
                .Add(Array.ConvertAll(added, record => record.Item.Source?.Id))
                .Add(Array.ConvertAll(added, record => record.Item.Source?.Type))
                .AddTimes(Same(now, added.Length))
                .Add(Array.ConvertAll(added, record => record.Item.CreatedBy))
                .Add(Array.ConvertAll(added, record => record.Item.LastUpdatedBy))
                .Add(Array.ConvertAll(added, record => record.Item.Hash)),
            cancellationToken).ConfigureAwait(false);
        if (added.Length == records.Count)
            return added.Length;

        var merged = records.Where(record => stored.ContainsKey(record.Hash)).ToArray();
        await session.ExecuteAsync(
            database.Rows(UpdateRecords)
                .Add(Array.ConvertAll(merged, record => stored[record.Hash].Id))
                .Add(Array.ConvertAll(merged, record => record.HasOutputs))
                .Add(Array.ConvertAll(merged, record => Text(record.Outputs)))
                .Add(Array.ConvertAll(merged, record => Text(JsonMembers.Merge(Json(stored[record.Hash].Expectations), record.Expectations))))
                .Add(Array.ConvertAll(merged, record => Text(JsonMembers.Merge(Json(stored[record.Hash].Tags), record.Tags))))
                .AddTimes(Same(now, merged.Length))
                .Add(Array.ConvertAll(merged, record => record.LastUpdatedBy)),
            cancellationToken).ConfigureAwait(false);
        return added.Length;

        // Without its type the null would become an empty memory.
        static ReadOnlyMemory<byte>? Json(string? text) => text is null ? default(ReadOnlyMemory<byte>?) : Encoding.UTF8.GetBytes(text);
        static string? Text(ReadOnlyMemory<byte>? json) => json is { } given ? Encoding.UTF8.GetString(given.Span) : null;
        static T[] Same<T>(T value, int count)
        {
            var values = new T[count];
            Array.Fill(values, value);
            return values;
        }
    }

    private static int EndOfChunk(List<UpsertedRecord> records, int start)
    {
        var end = start;
        for (var bytes = 0L; end < records.Count && end - start < ChunkRecords && bytes < ChunkBytes; end++)
            bytes += records[end].Inputs.Length + (records[end].Outputs?.Length ?? 0) + (records[end].Expectations?.Length ?? 0) + (records[end].Tags?.Length ?? 0);
        return end;
    }

    private RowsStatement Links(string datasetId, IReadOnlyList<string> experimentIds, long now)
    {
        var rows = experimentIds.ToArray();
        return database.Rows(InsertLinks)
            .Add(Array.ConvertAll(rows, _ => Guid.NewGuid()))
            .Add(Array.ConvertAll(rows, _ => "evaluation_dataset")).Add(Array.ConvertAll(rows, _ => datasetId))
            .Add(Array.ConvertAll(rows, _ => "experiment")).Add(rows)
            .Add(Array.ConvertAll(rows, _ => now));
    }

    /// <summary>Sets the time of the last change and reads what has become of the data set.</summary>
    private async Task<EvaluationDataset> TouchAsync(DatabaseSession session, string datasetId, long now, CancellationToken cancellationToken)
    {
        await session.ExecuteAsync(
            database.Statement("UPDATE evaluation_datasets SET last_update_time = $2 WHERE dataset_id = $1").Add(datasetId).AddTime(now),
            cancellationToken).ConfigureAwait(false);
        var changed = await FindAsync(session, datasetId, cancellationToken).ConfigureAwait(false);
        var experiments = await ListExperimentIdsAsync(session, datasetId, cancellationToken).ConfigureAwait(false);
        return changed! with { ExperimentIds = experiments.Count == 0 ? null : experiments };
    }

    private async Task<LockedDataset> LockAsync(DatabaseSession session, string datasetId, CancellationToken cancellationToken) =>
        await FindLockedAsync(session, datasetId, cancellationToken).ConfigureAwait(false) ?? throw NotFound(datasetId);

    private Task<LockedDataset?> FindLockedAsync(DatabaseSession session, string datasetId, CancellationToken cancellationToken) =>
        session.FirstOrDefaultAsync(
            database.Statement(
                "SELECT name, schema FROM evaluation_datasets WHERE dataset_id = $1 FOR NO KEY UPDATE",
                "SELECT name, schema FROM evaluation_datasets WHERE dataset_id = $1").Add(datasetId),
            reader => new LockedDataset(reader.GetString(0), reader.GetStringOrNull(1)),
            cancellationToken);

    private Task<EvaluationDataset?> FindAsync(DatabaseSession session, string datasetId, CancellationToken cancellationToken) =>
        session.FirstOrDefaultAsync(
            database.Statement($"SELECT {Columns} FROM evaluation_datasets WHERE dataset_id = $1").Add(datasetId), Read, cancellationToken);

    private Task<List<string>> ListExperimentIdsAsync(DatabaseSession session, string datasetId, CancellationToken cancellationToken) =>
        session.ListAsync(
            database.Statement("""
                SELECT destination_id FROM entity_associations
                WHERE source_type = 'evaluation_dataset' AND source_id = $1 AND destination_type = 'experiment'
                ORDER BY created_time, destination_id
                """).Add(datasetId),
            reader => reader.GetString(0),
            cancellationToken);

    private async Task<long> CountAsync(DatabaseSession session, string datasetId, CancellationToken cancellationToken) =>
        (await session.ScalarAsync<long>(
            database.Statement("SELECT count(*) FROM evaluation_dataset_records WHERE dataset_id = $1").Add(datasetId),
            cancellationToken).ConfigureAwait(false))!.Value;

    private static string Condition(StatementBuilder sql, Clause clause) => clause switch
    {
        { Entity: EntityKind.Tag } => Conditions.Tag(sql, "tags", clause.Key, clause.Comparator, clause.Value),
        { Key: "name" or "created_by" or "last_updated_by" } => Conditions.Text(sql, clause.Key, clause.Comparator, clause.Value),
        { Key: "created_time" or "last_update_time" } => Conditions.Time(sql, clause.Key, null, clause.Comparator, clause.Value),
        _ => throw new InvalidOperationException($"The vocabulary let the key {clause.Key} through."),
    };

    private string OrderBy(IReadOnlyList<OrderTerm> order)
    {
        if (order.Count == 0)
            return "created_time DESC, dataset_id DESC";
        return string.Join(", ", order.Select(term => term.Key switch
        {
            "name" => Conditions.Ordinal(database, "name"),
            "created_time" or "last_update_time" => term.Key,
            _ => throw new InvalidOperationException($"The vocabulary let the order key {term.Key} through."),
        } + (term.Ascending ? " ASC" : " DESC")).Append("dataset_id DESC"));
    }

    private static EvaluationDataset Read(DbDataReader reader) => new(
        reader.GetString(0),
        reader.GetString(1),
        // One spelling on both databases.
        Tags.ToJson(Tags.Read(reader, 2) ?? []),
        reader.GetStringOrNull(3),
        reader.GetStringOrNull(4),
        reader.GetString(5),
        reader.GetMilliseconds(6),
        reader.GetMilliseconds(7),
        reader.GetStringOrNull(8),
        reader.GetStringOrNull(9),
        null);

    private static string Profile(long records) => string.Create(CultureInfo.InvariantCulture, $$"""{"num_records": {{records}}}""");

    private static string Digest(string name, long time) => Convert.ToHexStringLower(
        SHA256.HashData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{name}:{time}"))).AsSpan(0, 4));

    /// <summary>What is known of a data set that is held.</summary>
    private sealed record LockedDataset(string Name, string? Schema);
}
