namespace MlflowCompat.Storage;

/// <summary>The databases that hold tracking data.</summary>
public enum DatabaseKind
{
    /// <summary>PostgreSQL 14 or later.</summary>
    PostgreSql,

    /// <summary>SQLite, the embedded default.</summary>
    Sqlite,
}

/// <summary>
/// One database with the tables of one workspace. Stores get it through the request, ask it for statements in its own dialect,
/// and run them in sessions. It holds no state of its own besides its connections, so several may live side by side.
/// </summary>
public abstract class Database : IAsyncDisposable
{
    private protected Database(DatabaseKind kind) => Kind = kind;

    /// <summary>What <see cref="MaxWaitingBytes"/> is unless it is set.</summary>
    public const long DefaultMaxWaitingBytes = 32 * 1024 * 1024;

    /// <summary>What a write counts for that does not say how large it is.</summary>
    private protected const long OrdinaryWriteBytes = 1000;

    /// <summary>Which dialect statements have to be written in.</summary>
    public DatabaseKind Kind { get; }

    /// <summary>Where the database is, for people: never with a password.</summary>
    public abstract string Description { get; }

    /// <summary>About how much memory writes may take that wait for their turn, in bytes; those beyond are refused.</summary>
    public long MaxWaitingBytes { get; set; } = DefaultMaxWaitingBytes;

    /// <summary>How many writes wait for their turn or are under way; always 0 where each has a transaction of its own.</summary>
    public virtual int WaitingWrites => 0;

    /// <summary>A statement that both databases understand, with positional parameters <c>$1</c>, <c>$2</c> …</summary>
    public Statement Statement(string sql) => new(Kind, sql);

    /// <summary>A statement that has to be said differently to each database.</summary>
    public Statement Statement(string postgreSql, string sqlite) => new(Kind, Choose(postgreSql, sqlite));

    /// <summary>An INSERT whose rows are then given column by column.</summary>
    public RowsStatement Rows(RowsInsert insert) => new(Kind, insert);

    /// <summary>The text for this database: a fragment of SQL where only that differs.</summary>
    public string Choose(string postgreSql, string sqlite) => Kind == DatabaseKind.PostgreSql ? postgreSql : sqlite;

    /// <summary>Opens a session for reading; what it reads in several statements is one snapshot on SQLite only.</summary>
    /// <exception cref="System.Data.Common.DbException">The database cannot be reached; see <see cref="DatabaseFaults"/>.</exception>
    public abstract ValueTask<DatabaseSession> OpenAsync(CancellationToken cancellationToken);

    /// <summary>Opens the connections that are always kept, so that the first requests need not wait for them.</summary>
    /// <exception cref="System.Data.Common.DbException">The database cannot be reached; see <see cref="DatabaseFaults"/>.</exception>
    public abstract Task WarmUpAsync(CancellationToken cancellationToken);

    /// <summary>
    /// Runs <paramref name="work"/> in a transaction and commits it; on SQLite together with whatever else waits to be written. When
    /// <paramref name="work"/> throws, nothing of it is written. It is run again when the database gave the transaction up in favour of
    /// another one, or when another one in the same transaction failed, so it must not change anything outside the database; and it has to let the exception of a failed statement out, since
    /// PostgreSQL commits nothing after one. Once the commit has begun it is not cancelled any more.
    /// </summary>
    /// <param name="work">Reads and writes.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <param name="bytes">About how much memory it takes while it waits.</param>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    /// <exception cref="System.Data.Common.DbException">See <see cref="DatabaseFaults"/>.</exception>
    public abstract Task<T> WriteAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken, long bytes = OrdinaryWriteBytes);

    /// <inheritdoc cref="WriteAsync{T}"/>
    public Task WriteAsync(Func<DatabaseSession, CancellationToken, Task> work, CancellationToken cancellationToken) =>
        WriteAsync(
            async (session, token) =>
            {
                await work(session, token).ConfigureAwait(false);
                return true;
            },
            cancellationToken);

    /// <summary>Runs one statement as a transaction of its own, on a database server in one round trip.</summary>
    /// <param name="statement">Makes it, anew each time that the transaction is run.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="WriteQueueFullException">Too much waits to be written.</exception>
    /// <exception cref="System.Data.Common.DbException">See <see cref="DatabaseFaults"/>.</exception>
    public Task WriteAsync(Func<Statement> statement, CancellationToken cancellationToken) =>
        WriteAsync((session, token) => session.ExecuteLastAsync(statement(), token), cancellationToken);

    /// <inheritdoc cref="WriteAsync(Func{Statement}, CancellationToken)"/>
    public Task WriteAsync(Func<RowsStatement> statement, CancellationToken cancellationToken) =>
        WriteAsync((session, token) => session.ExecuteLastAsync(statement(), token), cancellationToken);

    /// <summary>
    /// As <see cref="WriteAsync{T}"/>, for a thread that has nothing else to do: it waits for the database itself, which saves handing each
    /// answer from thread to thread.
    /// </summary>
    public abstract T Write<T>(Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken);

    /// <summary>Closes all connections.</summary>
    public abstract ValueTask DisposeAsync();
}
