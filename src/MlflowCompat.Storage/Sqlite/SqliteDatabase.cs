using System.Collections.Concurrent;
using System.Data.Common;
using System.Diagnostics;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace MlflowCompat.Storage.Sqlite;

/// <summary>
/// Tracking data in a SQLite file: any number of readers beside one writer (write-ahead log), every commit flushed to the disk
/// (<c>synchronous=FULL</c>). Connections keep their prepared statements.
/// </summary>
public sealed class SqliteDatabase : Database
{
    /// <summary>How long another process may hold the file's write lock before a write is refused.</summary>
    private const int BusyTimeoutSeconds = 5;

    /// <summary>Pause between two attempts to get that lock.</summary>
    private const int LockRetryMilliseconds = 20;

    /// <summary>How many writes may wait.</summary>
    private const int MaxWaitingWrites = 10_000;

    /// <summary>How many writes one transaction takes: those behind them should not wait for too many.</summary>
    private const int MaxGroupedWrites = 256;

    private const int OnlyLane = 0;

    private static readonly object ProviderLock = new();
    private static bool providerReady;

    private readonly string connectionString;
    private readonly Action<SqliteConnection>? defineFunctions;
    private readonly ConcurrentBag<Session> idleReaders = [];
    private readonly GroupCommit<PendingWrite> writes;
    private Session? writer;

    /// <summary>Names the file; it is opened, and created, by the first session.</summary>
    /// <param name="path">Path of the database file.</param>
    /// <param name="defineFunctions">Adds SQL functions to each new connection.</param>
    public SqliteDatabase(string path, Action<SqliteConnection>? defineFunctions = null)
        : base(DatabaseKind.Sqlite)
    {
        lock (ProviderLock)
        {
            if (!providerReady)
            {
                Batteries_V2.Init();
                providerReady = true;
            }
        }

        FilePath = Path.GetFullPath(path);
        this.defineFunctions = defineFunctions;
        writes = new GroupCommit<PendingWrite>(lanes: 1, MaxWaitingWrites, MaxGroupedWrites, WriteGroupAsync);
        // Sessions are kept here together with their prepared statements; a second pool below would only lose those.
        connectionString = new SqliteConnectionStringBuilder
        {
            DataSource = FilePath,
            Pooling = false,
            DefaultTimeout = BusyTimeoutSeconds,
        }.ToString();
    }

    /// <summary>The database file.</summary>
    public string FilePath { get; }

    /// <inheritdoc/>
    public override string Description => $"SQLite {FilePath}";

    /// <summary>Tells SQLite's result codes apart.</summary>
    internal static DatabaseFault Classify(SqliteException exception) => exception.SqliteErrorCode switch
    {
        raw.SQLITE_BUSY or raw.SQLITE_LOCKED or raw.SQLITE_FULL or raw.SQLITE_IOERR
            or raw.SQLITE_CANTOPEN or raw.SQLITE_READONLY or raw.SQLITE_NOMEM => DatabaseFault.Unavailable,
        raw.SQLITE_CONSTRAINT when exception.SqliteExtendedErrorCode
            is raw.SQLITE_CONSTRAINT_UNIQUE or raw.SQLITE_CONSTRAINT_PRIMARYKEY => DatabaseFault.Duplicate,
        _ => DatabaseFault.Other,
    };

    /// <summary>A plain connection, with none of the settings that would be stored in the file.</summary>
    internal SqliteConnection Connect()
    {
        var connection = new SqliteConnection(connectionString);
        connection.Open();
        return connection;
    }

    /// <inheritdoc/>
    public override ValueTask<DatabaseSession> OpenAsync(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (!idleReaders.TryTake(out var session))
            session = new Session(this, ConnectForUse());
        session.Begin("BEGIN");
        return ValueTask.FromResult<DatabaseSession>(session);
    }

    /// <inheritdoc/>
    public override async Task<T> WriteAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        T result = default!;
        var write = new PendingWrite(
            async session => result = await work(session, cancellationToken).ConfigureAwait(false), Stopwatch.GetTimestamp());
        await writes.WriteAsync(OnlyLane, write, 1, cancellationToken).ConfigureAwait(false);
        return result;
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await writes.DisposeAsync().ConfigureAwait(false);
        while (idleReaders.TryTake(out var reader))
            await reader.CloseAsync().ConfigureAwait(false);
        if (writer is not null)
            await writer.CloseAsync().ConfigureAwait(false);
    }

    /// <summary>Writes a group in one transaction, each member within a savepoint, so that one that fails takes no other along.</summary>
    private async Task<IReadOnlyList<Exception?>> WriteGroupAsync(IReadOnlyList<PendingWrite> group)
    {
        writer ??= new Session(null, ConnectForUse());
        try
        {
            await writer.BeginWriteAsync(group[0].Asked).ConfigureAwait(false);
            var outcomes = new Exception?[group.Count];
            for (var i = 0; i < outcomes.Length; i++)
                outcomes[i] = await writer.TryAsync(group[i].Work).ConfigureAwait(false);
            writer.End("COMMIT");
            return outcomes;
        }
        catch
        {
            if (!writer.TryRollback())
            {
                await writer.CloseAsync().ConfigureAwait(false);
                writer = null;
            }

            throw;
        }
    }

    private SqliteConnection ConnectForUse()
    {
        var connection = Connect();
        using var settings = connection.CreateCommand();
        settings.CommandText = """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            PRAGMA foreign_keys = ON;
            PRAGMA cache_size = -8000;
            """;
        settings.ExecuteNonQuery();
        defineFunctions?.Invoke(connection);
        return connection;
    }

    /// <summary>A write that waits for its turn.</summary>
    /// <param name="Work">What it does.</param>
    /// <param name="Asked">When it was asked for, as a timestamp of <see cref="Stopwatch"/>.</param>
    private sealed record PendingWrite(Func<Session, Task> Work, long Asked);

    private sealed class Session(SqliteDatabase? pool, SqliteConnection connection) : DatabaseSession
    {
        private readonly Dictionary<string, SqliteCommand> prepared = [];
        private readonly Dictionary<string, sqlite3_stmt> preparedRows = [];

        public void Begin(string sql) => Prepare(sql).ExecuteNonQuery();

        /// <summary>
        /// Takes the file's write lock. The patience with another process counts from when the write was asked for, so that many writes
        /// that wait for one turn after the other are all refused in time, and no thread waits with them.
        /// </summary>
        public async Task BeginWriteAsync(long asked)
        {
            int result;
            while ((result = raw.sqlite3_exec(connection.Handle, "BEGIN IMMEDIATE")) == raw.SQLITE_BUSY
                && Stopwatch.GetElapsedTime(asked).TotalSeconds < BusyTimeoutSeconds)
            {
                await Task.Delay(LockRetryMilliseconds).ConfigureAwait(false);
            }

            SqliteException.ThrowExceptionForRC(result, connection.Handle);
        }

        /// <summary>Runs a member of a group; when it fails, what it wrote is taken back and the reason returned.</summary>
        /// <exception cref="Exception">SQLite gave the whole transaction up (disk full, I/O error).</exception>
        public async Task<Exception?> TryAsync(Func<Session, Task> work)
        {
            Begin("SAVEPOINT member");
            try
            {
                await work(this).ConfigureAwait(false);
                End("RELEASE member");
                return null;
            }
            catch (Exception exception)
            {
                if (raw.sqlite3_get_autocommit(connection.Handle) != 0)
                    throw;
                End("ROLLBACK TO member");
                End("RELEASE member");
                return exception;
            }
        }

        public void End(string sql) => Prepare(sql).ExecuteNonQuery();

        public bool TryRollback()
        {
            try
            {
                End("ROLLBACK");
                return true;
            }
            catch (SqliteException)
            {
                // SQLite has rolled back by itself (disk full, I/O error): the connection's state is not worth guessing at.
                return false;
            }
        }

        public override Task<DbDataReader> QueryAsync(Statement statement, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return Task.FromResult<DbDataReader>(Prepare(statement).ExecuteReader());
        }

        public override Task<int> ExecuteAsync(Statement statement, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return Task.FromResult(Prepare(statement).ExecuteNonQuery());
        }

        public override Task ExecuteAsync(IReadOnlyList<Statement> statements, CancellationToken cancellationToken)
        {
            foreach (var statement in statements)
            {
                cancellationToken.ThrowIfCancellationRequested();
                Prepare(statement).ExecuteNonQuery();
            }

            return Task.CompletedTask;
        }

        public override Task ExecuteLastAsync(Statement statement, CancellationToken cancellationToken) =>
            ExecuteAsync(statement, cancellationToken);

        public override Task ExecuteLastAsync(RowsStatement statement, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var insert = PrepareRows(statement.Sql);
            for (var row = 0; row < statement.RowCount; row++)
            {
                statement.Bind(insert, row);
                var result = raw.sqlite3_step(insert);
                raw.sqlite3_reset(insert);
                if (result != raw.SQLITE_DONE)
                    SqliteException.ThrowExceptionForRC(result, connection.Handle);
            }

            raw.sqlite3_clear_bindings(insert);
            return Task.CompletedTask;
        }

        public override ValueTask DisposeAsync()
        {
            if (pool is null || !TryRollback())
                return CloseAsync();
            pool.idleReaders.Add(this);
            return ValueTask.CompletedTask;
        }

        public async ValueTask CloseAsync()
        {
            foreach (var command in prepared.Values)
                await command.DisposeAsync().ConfigureAwait(false);
            foreach (var insert in preparedRows.Values)
                insert.Dispose();
            await connection.DisposeAsync().ConfigureAwait(false);
        }

        private SqliteCommand Prepare(Statement statement)
        {
            var command = Prepare(statement.Sql);
            command.Parameters.Clear();
            foreach (var parameter in statement.Parameters)
                command.Parameters.Add((SqliteParameter)parameter);
            return command;
        }

        private SqliteCommand Prepare(string sql)
        {
            if (!prepared.TryGetValue(sql, out var command))
            {
                // Filters make new texts for ever; the statements of the code itself are far fewer than this.
                if (prepared.Count >= 256)
                    Forget();
                command = connection.CreateCommand();
                command.CommandText = sql;
                prepared.Add(sql, command);
            }

            return command;
        }

        private sqlite3_stmt PrepareRows(string sql)
        {
            if (!preparedRows.TryGetValue(sql, out var insert))
            {
                SqliteException.ThrowExceptionForRC(raw.sqlite3_prepare_v2(connection.Handle, sql, out insert), connection.Handle);
                preparedRows.Add(sql, insert);
            }

            return insert;
        }

        private void Forget()
        {
            foreach (var command in prepared.Values)
                command.Dispose();
            prepared.Clear();
        }
    }
}
