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

    /// <summary>From so many bytes on a transaction takes no further write: those behind it should not wait for too much.</summary>
    private const int MaxGroupBytes = 1024 * 1024;

    /// <summary>Of its own pages the writer keeps so many; it comes back to the same ones.</summary>
    private const int WriterCacheKilobytes = 8000;

    /// <summary>There are as many readers as requests at a time, and the system keeps the file's pages for all of them.</summary>
    private const int ReaderCacheKilobytes = 500;

    private const int OnlyLane = 0;

    private static readonly object ProviderLock = new();
    private static bool providerReady;

    private readonly string connectionString;
    private readonly Action<SqliteConnection>? defineFunctions;
    private readonly ConcurrentBag<Session> idleReaders = [];
    private readonly GroupCommit<Func<Session, Task>> writes;
    private readonly CancellationTokenSource closing = new();
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
                // A connection is used by one thread at a time here, so SQLite need not see to that on every call.
                SqliteException.ThrowExceptionForRC(raw.sqlite3_config(raw.SQLITE_CONFIG_MULTITHREAD), null);
                // Nobody asks how much memory it uses, and keeping count takes a lock at every allocation.
                SqliteException.ThrowExceptionForRC(raw.sqlite3_config(raw.SQLITE_CONFIG_MEMSTATUS, 0), null);
                providerReady = true;
            }
        }

        FilePath = Path.GetFullPath(path);
        this.defineFunctions = defineFunctions;
        writes = new GroupCommit<Func<Session, Task>>(lanes: 1, () => MaxWaitingBytes, MaxGroupBytes, WriteGroupAsync);
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
    public override int WaitingWrites => writes.Count;

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
            session = new Session(this, ConnectForUse(ReaderCacheKilobytes));
        session.Run("BEGIN");
        return ValueTask.FromResult<DatabaseSession>(session);
    }

    /// <inheritdoc/>
    public override Task WarmUpAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public override async Task<T> WriteAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken, long bytes = OrdinaryWriteBytes)
    {
        T result = default!;
        await writes.WriteAsync(
            OnlyLane,
            async session => result = await work(session, cancellationToken).ConfigureAwait(false),
            bytes,
            cancellationToken).ConfigureAwait(false);
        return result;
    }

    /// <inheritdoc/>
    public override T Write<T>(Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken) =>
        WriteAsync(work, cancellationToken).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await closing.CancelAsync().ConfigureAwait(false);
        await writes.DisposeAsync().ConfigureAwait(false);
        while (idleReaders.TryTake(out var reader))
            await reader.CloseAsync().ConfigureAwait(false);
        await CloseWriterAsync().ConfigureAwait(false);
        closing.Dispose();
    }

    /// <summary>
    /// Writes a group in one transaction. A member that fails takes no other along: hardly any has written something by then, and if one has,
    /// nothing of the group is written, which is then written in parts.
    /// </summary>
    private async Task<IReadOnlyList<Task>> WriteGroupAsync(IReadOnlyList<Func<Session, Task>> group)
    {
        writer ??= new Session(null, ConnectForUse(WriterCacheKilobytes));
        try
        {
            await writer.BeginWriteAsync(closing.Token).ConfigureAwait(false);
            var outcomes = new Task[group.Count];
            for (var i = 0; i < outcomes.Length; i++)
            {
                var (changes, actions) = (writer.TotalChanges, writer.ActionCount);
                outcomes[i] = RunAsync(group[i]);
                await outcomes[i].ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                writer.RequireTransaction(outcomes[i]);
                if (outcomes[i].IsCompletedSuccessfully)
                    continue;
                writer.ForgetActions(actions);
                if (writer.TotalChanges == changes)
                    continue;
                writer.Run("ROLLBACK");
                return outcomes.Length == 1 ? outcomes : throw new HalfWrittenException();
            }

            writer.Run("COMMIT");
            writer.Committed();
            return outcomes;
        }
        catch (Exception exception) when (exception is not HalfWrittenException)
        {
            if (!writer.TryRollback())
                await CloseWriterAsync().ConfigureAwait(false);
            throw;
        }

        // What a member throws before its first await is its outcome too.
        async Task RunAsync(Func<Session, Task> work) => await work(writer).ConfigureAwait(false);
    }

    /// <summary>A member of a group has failed and left something behind.</summary>
    private sealed class HalfWrittenException : Exception;

    private async ValueTask CloseWriterAsync()
    {
        var session = writer;
        writer = null;
        if (session is not null)
            await session.CloseAsync().ConfigureAwait(false);
    }

    private SqliteConnection ConnectForUse(int cacheKilobytes)
    {
        var connection = Connect();
        try
        {
            using var settings = connection.CreateCommand();
            // A log of 32 MB until it is carried over: what a run writes is spread over many pages, and the same ones come again. Pages as
            // they were before a statement that may fail half-way go to a temporary file unless that is kept in memory.
            settings.CommandText = """
                PRAGMA journal_mode = WAL;
                PRAGMA synchronous = FULL;
                PRAGMA wal_autocheckpoint = 8000;
                PRAGMA temp_store = MEMORY;
                PRAGMA foreign_keys = ON;
                """ + $"PRAGMA cache_size = -{cacheKilobytes}";
            settings.ExecuteNonQuery();
            defineFunctions?.Invoke(connection);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    private sealed class Session(SqliteDatabase? pool, SqliteConnection connection) : DatabaseSession
    {
        private readonly Dictionary<string, SqliteCommand> prepared = [];

        /// <summary>One for each <see cref="RowsInsert"/>, of which the code has a few.</summary>
        private readonly Dictionary<string, sqlite3_stmt> preparedRows = [];

        private readonly List<Action> afterCommit = [];

        private bool HasTransaction => raw.sqlite3_get_autocommit(connection.Handle) == 0;

        public void Run(string sql) => Prepare(sql).ExecuteNonQuery();

        /// <summary>Takes the file's write lock, for which another process may make it wait, and no thread waits with it.</summary>
        public async Task BeginWriteAsync(CancellationToken closing)
        {
            var begun = Stopwatch.GetTimestamp();
            int result;
            while ((result = raw.sqlite3_exec(connection.Handle, "BEGIN IMMEDIATE")) == raw.SQLITE_BUSY
                && Stopwatch.GetElapsedTime(begun).TotalSeconds < BusyTimeoutSeconds && !closing.IsCancellationRequested)
            {
                await Task.Delay(LockRetryMilliseconds, CancellationToken.None).ConfigureAwait(false);
            }

            SqliteException.ThrowExceptionForRC(result, connection.Handle);
            afterCommit.Clear();
        }

        public override void AfterCommit(Action action)
        {
            RequireWriter();
            afterCommit.Add(action);
        }

        /// <summary>How much is to be done after the commit.</summary>
        public int ActionCount => afterCommit.Count;

        /// <summary>Leaves out what a member wanted done that has failed.</summary>
        public void ForgetActions(int kept) => afterCommit.RemoveRange(kept, afterCommit.Count - kept);

        /// <summary>Does what was to be done after the commit.</summary>
        public void Committed() => afterCommit.ForEach(action => action());

        /// <summary>Rows changed since the connection was opened.</summary>
        public int TotalChanges => raw.sqlite3_total_changes(connection.Handle);

        /// <summary>Makes sure that a member that failed has not taken the transaction along: SQLite ends it by itself when the disk is full.</summary>
        public void RequireTransaction(Task member)
        {
            if (!HasTransaction)
                throw member.Exception?.InnerException ?? new InvalidOperationException("A write has ended the transaction that it shares with others.");
        }

        public bool TryRollback()
        {
            try
            {
                Run("ROLLBACK");
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

        public override Task ExecuteLastAsync(Statement statement, CancellationToken cancellationToken)
        {
            RequireWriter();
            return ExecuteAsync(statement, cancellationToken);
        }

        public override Task ExecuteLastAsync(RowsStatement statement, CancellationToken cancellationToken)
        {
            RequireWriter();
            return ExecuteAsync(statement, cancellationToken);
        }

        public override Task ExecuteAsync(RowsStatement statement, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var insert = PrepareRows(statement.Sql);
            for (var row = 0; row < statement.RowCount; row++)
            {
                var result = statement.Bind(insert, row);
                if (result == raw.SQLITE_OK)
                    result = raw.sqlite3_step(insert);
                raw.sqlite3_reset(insert);
                if (result != raw.SQLITE_DONE)
                    SqliteException.ThrowExceptionForRC(result, connection.Handle);
            }

            raw.sqlite3_clear_bindings(insert);
            return Task.CompletedTask;
        }

        public override Task<T?> CommitWithAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
            where T : class
        {
            RequireWriter();
            return FirstOrDefaultAsync(statement, map, cancellationToken);
        }

        public override Task<List<T>> CommitWithAsync<T>(RowsStatement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken) =>
            throw new NotSupportedException("SQLite runs a statement row by row.");

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

        private void RequireWriter()
        {
            if (pool is not null)
                throw new InvalidOperationException("The session is for reading.");
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
