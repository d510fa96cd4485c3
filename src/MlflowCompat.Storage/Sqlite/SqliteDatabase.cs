using System.Collections.Concurrent;
using System.Data.Common;
using System.Diagnostics;
using Microsoft.Data.Sqlite;

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

    private static readonly object ProviderLock = new();
    private static bool providerReady;

    private readonly string connectionString;
    private readonly Action<SqliteConnection>? defineFunctions;
    private readonly ConcurrentBag<Session> idleReaders = [];
    private readonly SemaphoreSlim writerTurn = new(1, 1);
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
                SQLitePCL.Batteries_V2.Init();
                providerReady = true;
            }
        }

        FilePath = Path.GetFullPath(path);
        this.defineFunctions = defineFunctions;
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
        SQLitePCL.raw.SQLITE_BUSY or SQLitePCL.raw.SQLITE_LOCKED or SQLitePCL.raw.SQLITE_FULL or SQLitePCL.raw.SQLITE_IOERR
            or SQLitePCL.raw.SQLITE_CANTOPEN or SQLitePCL.raw.SQLITE_READONLY or SQLitePCL.raw.SQLITE_NOMEM => DatabaseFault.Unavailable,
        SQLitePCL.raw.SQLITE_CONSTRAINT when exception.SqliteExtendedErrorCode
            is SQLitePCL.raw.SQLITE_CONSTRAINT_UNIQUE or SQLitePCL.raw.SQLITE_CONSTRAINT_PRIMARYKEY => DatabaseFault.Duplicate,
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
        var asked = Stopwatch.GetTimestamp();
        await writerTurn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            writer ??= new Session(null, ConnectForUse());
            await writer.BeginWriteAsync(asked, cancellationToken).ConfigureAwait(false);
            try
            {
                var result = await work(writer, cancellationToken).ConfigureAwait(false);
                writer.End("COMMIT");
                return result;
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
        finally
        {
            writerTurn.Release();
        }
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await writerTurn.WaitAsync().ConfigureAwait(false);
        while (idleReaders.TryTake(out var reader))
            await reader.CloseAsync().ConfigureAwait(false);
        if (writer is not null)
            await writer.CloseAsync().ConfigureAwait(false);
        writerTurn.Dispose();
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

    private sealed class Session(SqliteDatabase? pool, SqliteConnection connection) : DatabaseSession
    {
        private readonly Dictionary<string, SqliteCommand> prepared = [];

        public void Begin(string sql) => Prepare(sql).ExecuteNonQuery();

        /// <summary>
        /// Takes the file's write lock. The patience with another process counts from when the write was asked for, so that many writes
        /// that wait for one turn after the other are all refused in time, and no thread waits with them.
        /// </summary>
        public async Task BeginWriteAsync(long asked, CancellationToken cancellationToken)
        {
            int result;
            while ((result = SQLitePCL.raw.sqlite3_exec(connection.Handle, "BEGIN IMMEDIATE")) == SQLitePCL.raw.SQLITE_BUSY
                && Stopwatch.GetElapsedTime(asked).TotalSeconds < BusyTimeoutSeconds)
            {
                await Task.Delay(LockRetryMilliseconds, cancellationToken).ConfigureAwait(false);
            }

            SqliteException.ThrowExceptionForRC(result, connection.Handle);
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

        private void Forget()
        {
            foreach (var command in prepared.Values)
                command.Dispose();
            prepared.Clear();
        }
    }
}
