using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Artifacts;

/// <summary>
/// The artifacts table: a row per stored file (mapping 2.11). Uploads that come at the same time are committed together: on SQLite the
/// database does so with all writes, on PostgreSQL they are grouped here.
/// </summary>
public sealed class ArtifactRecords : IAsyncDisposable
{
    /// <summary>How many rows or paths go into one statement.</summary>
    public const int BatchSize = 500;

    private const int OnlyLane = 0;
    private const int MaxGroupBytes = BatchSize * ArtifactRow.EstimatedBytes;

    /// <summary>What PostgreSQL keeps of a path in idx_artifacts_storage_path.</summary>
    private const int IndexedLength = 500;

    private const string Columns = """
        artifact_uuid, run_id, model_id, experiment_id, artifact_name, artifact_type, artifact_path, file_size_bytes, file_format, mime_type,
        file_hash, storage_type, storage_path, upload_id, created_at, updated_at
        """;

    /// <summary>
    /// $1 uuid, $2 run, $3 root of the run or model, $4 model, $5 experiment, then the columns as they are. An owner that does not exist, or has its
    /// artifacts elsewhere, is none.
    /// </summary>
    private const string PostgreSqlInsert = $"""
        INSERT INTO artifacts ({Columns})
        SELECT uuid, run_key, model_key,
            CASE WHEN run_key IS NULL AND model_key IS NULL THEN (SELECT experiment_id FROM experiments WHERE experiment_id = owned.experiment) END,
            name, type, path, size, format, mime, hash, storage, location, upload, time, time
        FROM (
            SELECT u.*,
                (SELECT run_id FROM runs WHERE run_uuid = u.run::uuid AND right(artifact_uri, length(u.root)) = u.root) AS run_key,
                (SELECT model_id FROM models WHERE model_uuid = u.model::uuid AND right(model_file_path, length(u.root)) = u.root) AS model_key
            FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
                AS u(uuid, run, root, model, experiment, name, type, path, size, format, mime, hash, storage, location, upload, time)) AS owned
        ON CONFLICT (md5(storage_path)) DO UPDATE SET
        """;

    private const string SqliteInsert = $"""
        INSERT INTO artifacts ({Columns})
        SELECT ?1, run_key, model_key,
            CASE WHEN run_key IS NULL AND model_key IS NULL THEN (SELECT experiment_id FROM experiments WHERE experiment_id = ?5) END,
            ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16
        FROM (SELECT
            (SELECT run_id FROM runs WHERE run_uuid = ?2 AND substr(artifact_uri, -length(?3)) = ?3) AS run_key,
            (SELECT model_id FROM models WHERE model_uuid = ?4 AND substr(model_file_path, -length(?3)) = ?3) AS model_key)
        WHERE true
        ON CONFLICT (storage_path) DO UPDATE SET
        """;

    private const string ReplaceAll = """
        run_id = excluded.run_id, model_id = excluded.model_id, experiment_id = excluded.experiment_id, artifact_name = excluded.artifact_name,
        artifact_type = excluded.artifact_type, artifact_path = excluded.artifact_path, file_size_bytes = excluded.file_size_bytes,
        file_format = excluded.file_format, mime_type = excluded.mime_type, file_hash = excluded.file_hash,
        storage_type = excluded.storage_type, upload_id = excluded.upload_id, updated_at = excluded.updated_at
        """;

    /// <summary>
    /// A row that has just changed knows better than a listing that was made before; a moment's difference between the clocks of two
    /// servers must not matter.
    /// </summary>
    private const string ReplaceOld = """
        file_size_bytes = excluded.file_size_bytes, file_hash = excluded.file_hash, updated_at = excluded.updated_at
        WHERE artifacts.upload_id IS NULL AND artifacts.updated_at < excluded.updated_at
        """;

    private static readonly RowsInsert Upload = new($"{PostgreSqlInsert} {ReplaceAll}") { Sqlite = $"{SqliteInsert} {ReplaceAll}" };

    private static readonly RowsInsert Found = new($"{PostgreSqlInsert} {ReplaceOld} - interval '5 seconds'")
    {
        Sqlite = $"{SqliteInsert} {ReplaceOld} - 5000",
    };

    private static readonly RowsInsert Accessed = new(
        """
        UPDATE artifacts a SET access_count = COALESCE(access_count, 0) + u.count, last_accessed_at = GREATEST(last_accessed_at, u.time)
        FROM unnest($1, $2, $3) AS u(location, count, time) WHERE md5(a.storage_path) = md5(u.location)
        """)
    {
        Sqlite = """
            UPDATE artifacts SET access_count = COALESCE(access_count, 0) + ?2, last_accessed_at = MAX(COALESCE(last_accessed_at, 0), ?3)
            WHERE storage_path = ?1
            """,
    };

    private readonly Database database;
    private readonly GroupCommit<ArtifactRow>? queue;
    private readonly SemaphoreSlim[] turns = [.. Enumerable.Range(0, 1024).Select(_ => new SemaphoreSlim(1))];

    /// <summary>Works on a database; there is one per database.</summary>
    public ArtifactRecords(Database database)
    {
        this.database = database;
        if (database.Kind == DatabaseKind.PostgreSql)
            queue = new GroupCommit<ArtifactRow>(lanes: 1, () => database.MaxWaitingBytes, MaxGroupBytes, WriteGroupAsync);
    }

    /// <summary>The root of a run's artifacts.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public async Task<string> RunRootAsync(Guid runId, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.FirstOrDefaultAsync(
                database.Statement("SELECT artifact_uri FROM runs WHERE run_uuid = $1").Add(runId),
                reader => reader.GetStringOrNull(0) ?? "",
                cancellationToken).ConfigureAwait(false) ?? throw RunId.NotFound(RunId.Format(runId));
        }
    }

    /// <summary>
    /// Waits until nobody else is between row and file of a path, so that both are of the same upload; a few other paths, by a hash, wait
    /// as well.
    /// </summary>
    /// <returns>To be disposed when row and file agree.</returns>
    internal async Task<IDisposable> TakeTurnAsync(string storagePath, CancellationToken cancellationToken)
    {
        var turn = turns[(uint)storagePath.GetHashCode(StringComparison.Ordinal) % turns.Length];
        await turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        return new Turn(turn);
    }

    /// <summary>Writes the row of an upload, over the one that is there; for whoever has the turn.</summary>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    internal Task WriteAsync(ArtifactRow row, CancellationToken cancellationToken) => queue is null
        ? database.WriteAsync(() => Rows(Upload, [row]), cancellationToken)
        : queue.WriteAsync(OnlyLane, row, ArtifactRow.EstimatedBytes, cancellationToken);

    /// <summary>Writes rows for files that are there: new ones where there are none, and over older ones that say something else.</summary>
    internal Task WriteFoundAsync(IReadOnlyList<ArtifactRow> rows, CancellationToken cancellationToken) =>
        database.WriteAsync(() => Rows(Found, rows), cancellationToken);

    /// <summary>The rows of some files, by their storage paths.</summary>
    internal async Task<Dictionary<string, StoredRow>> FindAsync(IReadOnlyList<string> storagePaths, CancellationToken cancellationToken)
    {
        var statement = database.Statement(
            $"{StoredRow.Select} WHERE md5(storage_path) IN (SELECT md5(path) FROM unnest($1) AS path)",
            $"{StoredRow.Select} WHERE storage_path IN (SELECT value FROM json_each($1))").Add(storagePaths);
        var rows = await ListAsync(statement, cancellationToken).ConfigureAwait(false);
        return rows.ToDictionary(row => row.StoragePath, StringComparer.Ordinal);
    }

    /// <summary>Rows in the order of their keys.</summary>
    /// <param name="after">Key of the last one that was read.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal Task<List<StoredRow>> PageAsync(long after, CancellationToken cancellationToken) =>
        ListAsync(
            database.Statement($"{StoredRow.Select} WHERE artifact_id > $1 ORDER BY artifact_id LIMIT {BatchSize}").Add(after), cancellationToken);

    /// <summary>The rows of uploads that were not finished, or only just.</summary>
    internal Task<List<StoredRow>> UploadsAsync(CancellationToken cancellationToken) =>
        ListAsync(database.Statement($"{StoredRow.Select} WHERE upload_id IS NOT NULL"), cancellationToken);

    /// <summary>Removes the rows of a file, or of all files in a folder.</summary>
    internal Task DeleteAsync(ArtifactLocation place, CancellationToken cancellationToken)
    {
        var path = place.StoragePath;
        var below = path + "/";
        // What begins with "x/" lies between "x/" and "x0", the next character; an index over the beginning of a path knows no more of a long one.
        var first = FieldRules.Truncate(below, IndexedLength);
        var end = first.Length == below.Length ? path + "0" : first + "\u0001";
        return database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                [
                    database.Statement(
                        "DELETE FROM artifacts WHERE md5(storage_path) = md5($1) AND storage_path = $1",
                        "DELETE FROM artifacts WHERE storage_path = $1").Add(path),
                    database.Kind == DatabaseKind.PostgreSql
                        ? database.Statement($"""
                            DELETE FROM artifacts WHERE left(storage_path, {IndexedLength}) COLLATE "C" >= $1 AND left(storage_path, {IndexedLength}) COLLATE "C" < $2
                                AND starts_with(storage_path, $3)
                            """).Add(first).Add(end).Add(below)
                        : database.Statement("DELETE FROM artifacts WHERE storage_path >= $1 AND storage_path < $2").Add(below).Add(path + "0"),
                ],
                token),
            cancellationToken);
    }

    /// <summary>Removes rows whose files are not there, unless an upload of them has begun meanwhile.</summary>
    internal Task DeleteMissingAsync(IReadOnlyList<long> keys, CancellationToken cancellationToken) =>
        database.WriteAsync(
            () => database.Statement(
                "DELETE FROM artifacts WHERE artifact_id = ANY($1) AND upload_id IS NULL",
                "DELETE FROM artifacts WHERE artifact_id IN (SELECT value FROM json_each($1)) AND upload_id IS NULL").Add(keys),
            cancellationToken);

    /// <summary>Remembers that files are in their places.</summary>
    internal Task ClearUploadsAsync(IReadOnlyList<string> uploadIds, CancellationToken cancellationToken) =>
        database.WriteAsync(
            () => database.Statement(
                "UPDATE artifacts SET upload_id = NULL WHERE upload_id = ANY($1)",
                "UPDATE artifacts SET upload_id = NULL WHERE upload_id IN (SELECT value FROM json_each($1))").Add(uploadIds),
            cancellationToken);

    /// <summary>Puts the row of an unfinished upload right: what is there now, or nothing. A newer upload's row is left alone.</summary>
    /// <param name="uploadId">The upload.</param>
    /// <param name="content">Size and hash of the file that is there, or null.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal Task EndUploadAsync(string uploadId, (long Size, string Sha256)? content, CancellationToken cancellationToken) =>
        database.WriteAsync(
            () => content is { } there
                ? database.Statement("UPDATE artifacts SET upload_id = NULL, file_size_bytes = $2, file_hash = $3 WHERE upload_id = $1")
                    .Add(uploadId).Add(there.Size).Add(there.Sha256)
                : database.Statement("DELETE FROM artifacts WHERE upload_id = $1").Add(uploadId),
            cancellationToken);

    /// <summary>Adds to the counters of files.</summary>
    internal Task CountAsync(IReadOnlyList<(string StoragePath, long Count, long Time)> accesses, CancellationToken cancellationToken) =>
        database.WriteAsync(
            () => database.Rows(Accessed)
                .Add([.. accesses.Select(access => (string?)access.StoragePath)])
                .Add([.. accesses.Select(access => access.Count)])
                .AddTimes([.. accesses.Select(access => access.Time)]),
            cancellationToken);

    /// <summary>Writes what is under way.</summary>
    public ValueTask DisposeAsync() => queue?.DisposeAsync() ?? default;

    private sealed class Turn(SemaphoreSlim turn) : IDisposable
    {
        public void Dispose() => turn.Release();
    }

    private async Task<List<StoredRow>> ListAsync(Statement statement, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await session.ListAsync(statement, StoredRow.Read, cancellationToken).ConfigureAwait(false);
    }

    private Task<IReadOnlyList<Task>> WriteGroupAsync(IReadOnlyList<ArtifactRow> group)
    {
        database.Write(
            async (session, token) =>
            {
                await session.ExecuteLastAsync(Rows(Upload, group), token).ConfigureAwait(false);
                return true;
            },
            CancellationToken.None);
        return Task.FromResult<IReadOnlyList<Task>>([.. group.Select(_ => Task.CompletedTask)]);
    }

    private RowsStatement Rows(RowsInsert insert, IReadOnlyList<ArtifactRow> rows)
    {
        return database.Rows(insert)
            .Add([.. rows.Select(_ => Guid.NewGuid())])
            .Add(Texts(row => row.Owner.Run?.ToString("D")))
            .Add(Texts(row => row.Owner.Root))
            .Add(Texts(row => row.Owner.Model?.ToString("D")))
            .Add([.. rows.Select(row => row.Owner.Experiment)])
            .Add(Texts(row => row.Name))
            .Add(Texts(row => row.Type))
            .Add(Texts(row => row.Owner.Path))
            .Add([.. rows.Select(row => row.Size)])
            .Add(Texts(row => row.Format))
            .Add(Texts(row => row.MediaType))
            .Add(Texts(row => row.Sha256))
            .Add(Texts(row => row.File.Store.StorageType))
            .Add(Texts(row => row.StoragePath))
            .Add(Texts(row => row.UploadId))
            .AddTimes([.. rows.Select(row => row.Time)]);

        string?[] Texts(Func<ArtifactRow, string?> value) => [.. rows.Select(value)];
    }
}

/// <summary>A row as it is stored: what is needed to compare it with its file.</summary>
/// <param name="Key">Its key.</param>
/// <param name="StoragePath">Where the file is.</param>
/// <param name="Size">Bytes; null in rows that others wrote.</param>
/// <param name="Sha256">Hash of the content, if known.</param>
/// <param name="UploadId">Set while it is not sure that the file is in its place.</param>
/// <param name="Time">When the row was written, in milliseconds since 1970.</param>
internal sealed record StoredRow(long Key, string StoragePath, long? Size, string? Sha256, string? UploadId, long Time)
{
    /// <summary>Reads rows for <see cref="Read"/>.</summary>
    public const string Select = "SELECT artifact_id, storage_path, file_size_bytes, file_hash, upload_id, updated_at FROM artifacts";

    /// <summary>Reads a row.</summary>
    public static StoredRow Read(DbDataReader reader) => new(
        reader.GetInt64(0),
        reader.GetString(1),
        reader.IsDBNull(2) ? null : reader.GetInt64(2),
        reader.GetStringOrNull(3),
        reader.GetStringOrNull(4),
        reader.GetMilliseconds(5));
}
