using System.Data.Common;
using System.Globalization;
using System.Text;
using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;
using Npgsql;

namespace MlflowCompat.Storage.Migrations;

/// <summary>
/// Brings a database's schema up or down. Everything that one call changes is one transaction under a lock, so several servers may start
/// at once on an empty database, and a step that fails leaves nothing behind.
/// </summary>
public sealed class SchemaMigrator
{
    /// <summary>The advisory lock of PostgreSQL under which schemas change: "mlflowco" in ASCII.</summary>
    private const long AdvisoryLock = 0x6d6c666c6f77636f;

    /// <summary>A migration may rebuild a large table: it is never cut short by the time limit of ordinary statements.</summary>
    private const int NoTimeout = 0;

    private const string CreateHistory = """
        CREATE TABLE schema_migrations (
            version INTEGER PRIMARY KEY,
            name VARCHAR(255) NOT NULL,
            checksum VARCHAR(64) NOT NULL,
            applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
        )
        """;

    private readonly Database database;
    private readonly IReadOnlyList<Migration> migrations;

    /// <summary>Migrates with the files that were built into this assembly.</summary>
    public SchemaMigrator(Database database)
        : this(database, Migration.Load(database.Kind))
    {
    }

    internal SchemaMigrator(Database database, IReadOnlyList<Migration> migrations)
    {
        this.database = database;
        this.migrations = migrations;
    }

    /// <summary>Compares the database with the build. Changes nothing, not even an empty file is created.</summary>
    public async Task<SchemaStatus> GetStatusAsync(CancellationToken cancellationToken)
    {
        if (database is SqliteDatabase sqlite && !File.Exists(sqlite.FilePath))
            return Compare([], []);
        var connection = await ConnectAsync(cancellationToken).ConfigureAwait(false);
        await using (connection.ConfigureAwait(false))
            return await ReadStatusAsync(connection, null, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Applies all pending migrations and returns them. When there are none, that took one query.</summary>
    /// <exception cref="SchemaRefusedException">The database is newer, was edited, or is not ours.</exception>
    public async Task<IReadOnlyList<MigrationStatus>> UpgradeAsync(CancellationToken cancellationToken)
    {
        var status = await GetStatusAsync(cancellationToken).ConfigureAwait(false);
        ThrowIfRefused(status);
        if (status.IsUpToDate)
            return [];
        return await ChangeAsync(
            (locked, run) => UpgradeAsync(locked, run, cancellationToken),
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Takes back the newest <paramref name="steps"/> applied migrations, all when null, and returns them, newest first.</summary>
    /// <exception cref="SchemaRefusedException">The database is newer, was edited, or is not ours.</exception>
    public async Task<IReadOnlyList<MigrationStatus>> DowngradeAsync(int? steps, CancellationToken cancellationToken)
    {
        ThrowIfRefused(await GetStatusAsync(cancellationToken).ConfigureAwait(false));
        return await ChangeAsync(
            async (locked, run) =>
            {
                var taken = locked.Migrations
                    .Where(migration => migration.State == MigrationState.Applied)
                    .Reverse()
                    .Take(steps ?? int.MaxValue)
                    .ToList();
                foreach (var status in taken)
                {
                    await run(Find(status.Version).Down).ConfigureAwait(false);
                    await run(ForgetStatement(status.Version)).ConfigureAwait(false);
                }

                if (taken.Count > 0 && taken.Count == locked.Migrations.Count(migration => migration.State == MigrationState.Applied))
                    await run("DROP TABLE schema_migrations").ConfigureAwait(false);
                return taken;
            },
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The SQL that <see cref="UpgradeAsync(CancellationToken)"/> or, downwards, <see cref="DowngradeAsync"/> would run on a whole schema.</summary>
    public string Script(bool down)
    {
        var script = new StringBuilder();
        script.Append(CultureInfo.InvariantCulture, $"-- MlflowCompat schema for {database.Kind}: {(down ? "down to nothing" : "all migrations")}\n");
        script.Append("BEGIN;\n");
        if (!down)
            script.Append(CreateHistory).Append(";\n");
        foreach (var migration in down ? migrations.Reverse() : migrations)
        {
            script.Append(CultureInfo.InvariantCulture, $"\n-- {migration.Version:D4} {migration.Name}\n");
            script.Append((down ? migration.Down : migration.Up).TrimEnd()).Append('\n');
            script.Append(down ? ForgetStatement(migration.Version) : RecordStatement(migration)).Append(";\n");
        }

        if (down)
            script.Append("\nDROP TABLE schema_migrations;\n");
        return script.Append("COMMIT;\n").ToString();
    }

    private async Task<IReadOnlyList<MigrationStatus>> UpgradeAsync(
        SchemaStatus locked, Func<string, Task> run, CancellationToken cancellationToken)
    {
        var pending = locked.Migrations.Where(migration => migration.State == MigrationState.Pending).ToList();
        if (pending.Count > 0 && pending.Count == locked.Migrations.Count)
            await run(CreateHistory).ConfigureAwait(false);
        foreach (var status in pending)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var migration = Find(status.Version);
            await run(migration.Up).ConfigureAwait(false);
            await run(RecordStatement(migration)).ConfigureAwait(false);
        }

        return pending;
    }

    /// <summary>Runs a change under the lock, on what the database holds once the lock is had.</summary>
    private async Task<IReadOnlyList<MigrationStatus>> ChangeAsync(
        Func<SchemaStatus, Func<string, Task>, Task<IReadOnlyList<MigrationStatus>>> change, CancellationToken cancellationToken)
    {
        var connection = await ConnectAsync(cancellationToken).ConfigureAwait(false);
        await using var owned = connection.ConfigureAwait(false);
        if (database.Kind == DatabaseKind.Sqlite)
        {
            // Dropping a table deletes its rows first, which foreign keys of later tables would refuse. Cannot be changed in a transaction.
            await RunAsync(connection, null, "PRAGMA foreign_keys = OFF", cancellationToken).ConfigureAwait(false);
        }

        // For SQLite this is BEGIN IMMEDIATE: the write lock is the lock.
        var transaction = await connection.BeginTransactionAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedTransaction = transaction.ConfigureAwait(false);
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            await RunAsync(connection, transaction, $"SELECT pg_advisory_xact_lock({AdvisoryLock})", cancellationToken).ConfigureAwait(false);
        }

        var locked = await ReadStatusAsync(connection, transaction, cancellationToken).ConfigureAwait(false);
        ThrowIfRefused(locked);
        var changed = await change(locked, sql => RunAsync(connection, transaction, sql, cancellationToken)).ConfigureAwait(false);
        await transaction.CommitAsync(CancellationToken.None).ConfigureAwait(false);
        return changed;
    }

    private async Task<SchemaStatus> ReadStatusAsync(DbConnection connection, DbTransaction? transaction, CancellationToken cancellationToken)
    {
        var applied = new List<(int Version, string Name, string Checksum, DateTime AppliedAt)>();
        if (transaction is null)
        {
            try
            {
                await ReadHistoryAsync().ConfigureAwait(false);
                return Compare(applied, []);
            }
            catch (DbException exception) when (IsMissingTable(exception))
            {
                // No history: either an empty database or somebody else's, which the list of tables tells.
            }
        }

        var tables = await ReadTablesAsync(connection, transaction, cancellationToken).ConfigureAwait(false);
        if (!tables.Contains("schema_migrations"))
            return Compare([], tables);
        await ReadHistoryAsync().ConfigureAwait(false);
        return Compare(applied, []);

        async Task ReadHistoryAsync()
        {
            var command = connection.CreateCommand();
            await using var ownedCommand = command.ConfigureAwait(false);
            command.Transaction = transaction;
            command.CommandText = "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version";
            var reader = await command.ExecuteReaderAsync(cancellationToken).ConfigureAwait(false);
            await using var ownedReader = reader.ConfigureAwait(false);
            while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
                applied.Add((reader.GetInt32(0), reader.GetString(1), reader.GetString(2), reader.GetDateTime(3)));
        }
    }

    private async Task<List<string>> ReadTablesAsync(DbConnection connection, DbTransaction? transaction, CancellationToken cancellationToken)
    {
        var command = connection.CreateCommand();
        await using var ownedCommand = command.ConfigureAwait(false);
        command.Transaction = transaction;
        command.CommandText = database.Choose(
            """
            SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
              AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
            ORDER BY c.relname
            """,
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name");
        var tables = new List<string>();
        var reader = await command.ExecuteReaderAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedReader = reader.ConfigureAwait(false);
        while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
            tables.Add(reader.GetString(0));
        return tables;
    }

    private SchemaStatus Compare(
        IReadOnlyList<(int Version, string Name, string Checksum, DateTime AppliedAt)> applied, IReadOnlyList<string> foreignTables)
    {
        var known = migrations.ToDictionary(migration => migration.Version);
        var rows = applied.Select(row => new MigrationStatus(
            row.Version,
            row.Name,
            !known.TryGetValue(row.Version, out var migration) ? MigrationState.Unknown
                : migration.Checksum != row.Checksum ? MigrationState.Edited
                : MigrationState.Applied,
            row.AppliedAt));
        var pending = migrations
            .Where(migration => applied.All(row => row.Version != migration.Version))
            .Select(migration => new MigrationStatus(migration.Version, migration.Name, MigrationState.Pending, null));
        return new SchemaStatus([.. rows.Concat(pending).OrderBy(row => row.Version)], foreignTables);
    }

    private async Task<DbConnection> ConnectAsync(CancellationToken cancellationToken) => database switch
    {
        PostgreSqlDatabase postgreSql => await postgreSql.ConnectAsync(cancellationToken).ConfigureAwait(false),
        SqliteDatabase sqlite => sqlite.Connect(),
        _ => throw new InvalidOperationException($"No migrations for {database.GetType()}."),
    };

    private static async Task RunAsync(
        DbConnection connection, DbTransaction? transaction, string sql, CancellationToken cancellationToken)
    {
        var command = connection.CreateCommand();
        await using var ownedCommand = command.ConfigureAwait(false);
        command.Transaction = transaction;
        command.CommandText = sql;
        command.CommandTimeout = NoTimeout;
        await command.ExecuteNonQueryAsync(cancellationToken).ConfigureAwait(false);
    }

    private static bool IsMissingTable(DbException exception) =>
        exception is PostgresException { SqlState: SqlStates.UndefinedTable }
        || (exception is Microsoft.Data.Sqlite.SqliteException && exception.Message.Contains("no such table", StringComparison.Ordinal));

    private Migration Find(int version) => migrations.First(migration => migration.Version == version);

    private static string RecordStatement(Migration migration) => string.Create(
        CultureInfo.InvariantCulture,
        $"INSERT INTO schema_migrations (version, name, checksum) VALUES ({migration.Version}, '{migration.Name}', '{migration.Checksum}')");

    private static string ForgetStatement(int version) => string.Create(
        CultureInfo.InvariantCulture, $"DELETE FROM schema_migrations WHERE version = {version}");

    private void ThrowIfRefused(SchemaStatus status)
    {
        if (status.Refusal is { } reason)
            throw new SchemaRefusedException($"The database ({database.Description}) cannot be used: {reason}");
    }
}
