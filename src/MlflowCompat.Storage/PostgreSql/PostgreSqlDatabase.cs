using System.Data.Common;
using Npgsql;

namespace MlflowCompat.Storage.PostgreSql;

/// <summary>Tracking data in PostgreSQL, over Npgsql's connection pool.</summary>
public sealed class PostgreSqlDatabase : Database
{
    /// <summary>How often a transaction is run that the server keeps giving up in favour of others.</summary>
    private const int MaxAttempts = 5;

    private const int MaxWriterConnections = 6;

    /// <summary>
    /// Searches contain a plan for the worst case, which hardly ever runs; in large databases PostgreSQL would compile it every time, for
    /// longer than the search takes. A setting of the session, because poolers refuse it among the start-up parameters.
    /// </summary>
    private const string JitOff = "SET jit = off";

    /// <summary>
    /// What the write queue reads, it reads by key. A plan that was made when a table was small, or that nobody has counted yet, would read
    /// all of it, and would be kept while it grows.
    /// </summary>
    private const string ByKeyOnly = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";

    private readonly NpgsqlDataSource dataSource;

    /// <summary>For the threads of the write queue, which must not have to wait for connections behind those that they serve.</summary>
    private readonly NpgsqlDataSource writerSource;

    private readonly int minPoolSize;

    /// <summary>Prepares the pool; connects only when the first session is opened.</summary>
    /// <param name="connectionString">Npgsql's form; see <see cref="BackendStoreUri"/> for the pool's defaults.</param>
    public PostgreSqlDatabase(string connectionString)
        : base(DatabaseKind.PostgreSql)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString)
        {
            // CURRENT_TIMESTAMP defaults of TIMESTAMP columns are cast in the zone of the connection (mapping section 1).
            Timezone = "UTC",
            // Sessions change no settings outside of transactions, so there is nothing to reset when one is given back.
            NoResetOnClose = true,
            MaxAutoPrepare = 200,
            AutoPrepareMinUsages = 2,
        };
        settings.ApplicationName ??= "mlflow-compat";
        Description = $"PostgreSQL {settings.Host}:{settings.Port}/{settings.Database}";
        minPoolSize = settings.MinPoolSize;
        dataSource = Source(settings, JitOff);
        settings.MinPoolSize = 0;
        settings.MaxPoolSize = MaxWriterConnections;
        writerSource = Source(settings, $"{JitOff}; {ByKeyOnly}");
    }

    /// <inheritdoc/>
    public override string Description { get; }

    /// <summary>The settings in force, without the password.</summary>
    internal string ConnectionString => dataSource.ConnectionString;

    /// <summary>A connection of its own for schema migration.</summary>
    internal async Task<NpgsqlConnection> ConnectAsync(CancellationToken cancellationToken) =>
        await dataSource.OpenConnectionAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    public override async ValueTask<DatabaseSession> OpenAsync(CancellationToken cancellationToken) =>
        new Session(await dataSource.OpenConnectionAsync(cancellationToken).ConfigureAwait(false), isBlocking: false);

    /// <inheritdoc/>
    public override async Task WarmUpAsync(CancellationToken cancellationToken)
    {
        // One for a lane of the write queue, and as many of the pool as it keeps; all at once, for a pool hands out the same one otherwise.
        var opening = Enumerable.Repeat(dataSource, minPoolSize).Append(writerSource)
            .Select(source => source.OpenConnectionAsync(cancellationToken).AsTask()).ToList();
        foreach (var connection in await Task.WhenAll(opening).ConfigureAwait(false))
            await connection.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override Task<T> WriteAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken, long bytes = OrdinaryWriteBytes) =>
        WriteAsync(work, isBlocking: false, cancellationToken);

    /// <inheritdoc/>
    public override T Write<T>(Func<DatabaseSession, CancellationToken, Task<T>> work, CancellationToken cancellationToken) =>
        WriteAsync(work, isBlocking: true, cancellationToken).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await writerSource.DisposeAsync().ConfigureAwait(false);
        await dataSource.DisposeAsync().ConfigureAwait(false);
    }

    private async Task<T> WriteAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, bool isBlocking, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await WriteOnceAsync(work, isBlocking, cancellationToken).ConfigureAwait(false);
            }
            catch (PostgresException exception)
                when (attempt < MaxAttempts && SqlStates.Classify(exception.SqlState) == DatabaseFault.Contention)
            {
                await Task.Delay(Random.Shared.Next(1, 10 * attempt), cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async Task<T> WriteOnceAsync<T>(
        Func<DatabaseSession, CancellationToken, Task<T>> work, bool isBlocking, CancellationToken cancellationToken)
    {
        var connection = isBlocking
            ? writerSource.OpenConnection()
            : await dataSource.OpenConnectionAsync(cancellationToken).ConfigureAwait(false);
        await using var session = new Session(connection, isBlocking);
        // Sent together with the first statement, and rolled back when it is disposed without having been committed.
        var transaction = await connection.BeginTransactionAsync(cancellationToken).ConfigureAwait(false);
        await using (transaction.ConfigureAwait(false))
        {
            session.Begin();
            var result = await work(session, cancellationToken).ConfigureAwait(false);
            await session.CommitAsync().ConfigureAwait(false);
            session.Committed();
            return result;
        }
    }

    /// <param name="settings">Where to connect, and how many connections to keep.</param>
    /// <param name="sessionSettings">SQL for each new connection.</param>
    private static NpgsqlDataSource Source(NpgsqlConnectionStringBuilder settings, string sessionSettings)
    {
        var builder = new NpgsqlDataSourceBuilder(settings.ConnectionString);
        builder.UsePhysicalConnectionInitializer(
            connection =>
            {
                using var command = new NpgsqlCommand(sessionSettings, connection);
                command.ExecuteNonQuery();
            },
            async connection =>
            {
                var command = new NpgsqlCommand(sessionSettings, connection);
                await using (command.ConfigureAwait(false))
                    await command.ExecuteNonQueryAsync().ConfigureAwait(false);
            });
        return builder.Build();
    }

    /// <summary>A connection in use.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="isBlocking">Whether the thread that asks also waits for the answer; then all its tasks have ended when it gets them.</param>
    private sealed class Session(NpgsqlConnection connection, bool isBlocking) : DatabaseSession
    {
        private readonly List<Action> afterCommit = [];
        private List<NpgsqlBatchCommand>? last;

        public override async Task<DbDataReader> QueryAsync(Statement statement, CancellationToken cancellationToken)
        {
            var command = Command(statement);
            await using (command.ConfigureAwait(false))
                return isBlocking ? command.ExecuteReader() : await command.ExecuteReaderAsync(cancellationToken).ConfigureAwait(false);
        }

        public override async Task<int> ExecuteAsync(Statement statement, CancellationToken cancellationToken)
        {
            var command = Command(statement);
            await using (command.ConfigureAwait(false))
                return isBlocking ? command.ExecuteNonQuery() : await command.ExecuteNonQueryAsync(cancellationToken).ConfigureAwait(false);
        }

        public override async Task ExecuteAsync(IReadOnlyList<Statement> statements, CancellationToken cancellationToken)
        {
            if (statements.Count == 0)
                return;
            var batch = new NpgsqlBatch(connection);
            await using (batch.ConfigureAwait(false))
            {
                foreach (var statement in statements)
                    batch.BatchCommands.Add(BatchCommand(statement));
                if (isBlocking)
                    batch.ExecuteNonQuery();
                else
                    await batch.ExecuteNonQueryAsync(cancellationToken).ConfigureAwait(false);
            }
        }

        public override async Task ExecuteAsync(RowsStatement statement, CancellationToken cancellationToken)
        {
            if (statement.RowCount == 0)
                return;
            var command = new NpgsqlCommand(statement.Sql, connection);
            await using (command.ConfigureAwait(false))
            {
                foreach (var parameter in statement.ToArrays())
                    command.Parameters.Add(parameter);
                if (isBlocking)
                    command.ExecuteNonQuery();
                else
                    await command.ExecuteNonQueryAsync(cancellationToken).ConfigureAwait(false);
            }
        }

        public override Task ExecuteLastAsync(Statement statement, CancellationToken cancellationToken) => AddLast(BatchCommand(statement));

        public override Task ExecuteLastAsync(RowsStatement statement, CancellationToken cancellationToken) =>
            statement.RowCount == 0 ? Task.CompletedTask : AddLast(BatchCommand(statement.Sql, statement.ToArrays()));

        public override async Task<T?> CommitWithAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
            where T : class
        {
            await AddLast(BatchCommand(statement)).ConfigureAwait(false);
            var rows = await CommitAsync(map).ConfigureAwait(false);
            return rows.Count == 0 ? null : rows[0];
        }

        public override async Task<List<T>> CommitWithAsync<T>(
            RowsStatement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
        {
            await AddLast(BatchCommand(statement.Sql, statement.ToArrays())).ConfigureAwait(false);
            return await CommitAsync(map).ConfigureAwait(false);
        }

        public override void AfterCommit(Action action)
        {
            if (last is null)
                throw new InvalidOperationException("The session is for reading, or has been committed.");
            afterCommit.Add(action);
        }

        /// <summary>Does what was to be done after the commit.</summary>
        public void Committed() => afterCommit.ForEach(action => action());

        /// <summary>Makes the session one that writes.</summary>
        public void Begin() => last = [];

        /// <summary>Commits, unless that was done together with a statement.</summary>
        public async Task CommitAsync()
        {
            if (last is not null)
                await CommitAsync(_ => 0).ConfigureAwait(false);
        }

        private async Task<List<T>> CommitAsync<T>(Func<DbDataReader, T> map)
        {
            await AddLast(new NpgsqlBatchCommand("COMMIT")).ConfigureAwait(false);
            var batch = new NpgsqlBatch(connection);
            await using (batch.ConfigureAwait(false))
            {
                foreach (var command in last!)
                    batch.BatchCommands.Add(command);
                last = null;
                var reader = isBlocking ? batch.ExecuteReader() : await batch.ExecuteReaderAsync(CancellationToken.None).ConfigureAwait(false);
                await using (reader.ConfigureAwait(false))
                {
                    var rows = new List<T>();
                    while (await reader.ReadAsync(CancellationToken.None).ConfigureAwait(false))
                        rows.Add(map(reader));
                    // Only the end of the results says that the commit has succeeded.
                    while (await reader.NextResultAsync(CancellationToken.None).ConfigureAwait(false))
                    {
                    }

                    // A connection remembers what it ran last, with all rows of it, until it is used again.
                    foreach (var command in batch.BatchCommands)
                        command.Parameters.Clear();
                    return rows;
                }
            }
        }

        public override ValueTask DisposeAsync() => connection.DisposeAsync();

        private static NpgsqlBatchCommand BatchCommand(Statement statement) => BatchCommand(statement.Sql, statement.Parameters.Cast<NpgsqlParameter>());

        private static NpgsqlBatchCommand BatchCommand(string sql, IEnumerable<NpgsqlParameter> parameters)
        {
            var command = new NpgsqlBatchCommand(sql);
            foreach (var parameter in parameters)
                command.Parameters.Add(parameter);
            return command;
        }

        private Task AddLast(NpgsqlBatchCommand command)
        {
            (last ?? throw new InvalidOperationException("The session is for reading.")).Add(command);
            return Task.CompletedTask;
        }

        private NpgsqlCommand Command(Statement statement)
        {
            var command = new NpgsqlCommand(statement.Sql, connection);
            foreach (var parameter in statement.Parameters)
                command.Parameters.Add((NpgsqlParameter)parameter);
            if (statement.HasNoTimeLimit)
                command.CommandTimeout = 0;
            return command;
        }
    }
}
