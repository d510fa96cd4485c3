using System.Data.Common;
using System.Diagnostics;
using System.Security.Cryptography;
using MlflowCompat.Storage.Migrations;
using Npgsql;

namespace MlflowCompat.Storage.Tests.Migrations;

public sealed class SchemaMigratorTests
{
    private static readonly Migration One = new(1, "one", "CREATE TABLE one (id BIGINT)", "DROP TABLE one");
    private static readonly Migration Two = new(2, "two", "CREATE TABLE two (id BIGINT); CREATE INDEX ix ON two(id);", "DROP TABLE two");
    private static readonly Migration Three = new(3, "three", "CREATE TABLE three (id BIGINT)", "DROP TABLE three");

    [Theory]
    [BothDatabases]
    public void Load_BuiltInMigrations_AreNumberedFromOneWithoutGaps(DatabaseKind kind)
    {
        var migrations = Migration.Load(kind);
        Assert.NotEmpty(migrations);
        Assert.Equal(Enumerable.Range(1, migrations.Count), migrations.Select(migration => migration.Version));
        Assert.All(migrations, migration => Assert.False(string.IsNullOrWhiteSpace(migration.Up + migration.Down)));
    }

    [Fact]
    public void Load_BothDatabases_HaveTheSameMigrations() =>
        Assert.Equal(
            Migration.Load(DatabaseKind.PostgreSql).Select(migration => (migration.Version, migration.Name)),
            Migration.Load(DatabaseKind.Sqlite).Select(migration => (migration.Version, migration.Name)));

    [Fact]
    public async Task Schema_OfBothDatabases_HasTheSameTablesAndColumns()
    {
        // SQLite has no schemas: tables of the shared ones carry their names, and there is nothing to tell workspaces apart by.
        var postgreSql = await ColumnsAsync(DatabaseKind.PostgreSql);
        Assert.True(postgreSql.Remove("audit_audit_logs.table_schema"));
        var sqlite = await ColumnsAsync(DatabaseKind.Sqlite);
        // SQLite has no GIN indexes: what they do for tags of traces, a table of rows does there, kept by triggers.
        Assert.Equal(5, sqlite.RemoveAll(column => column.StartsWith("trace_entries.", StringComparison.Ordinal)));
        Assert.Equal(postgreSql, sqlite);

        static async Task<List<string>> ColumnsAsync(DatabaseKind kind)
        {
            await using var test = await TestDatabase.CreateAsync(kind);
            await using var database = test.Open();
            await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None);
            await using var session = await database.OpenAsync(CancellationToken.None);
            return await session.ListAsync(
                database.Statement(
                    """
                    SELECT (CASE WHEN c.relnamespace = 'audit'::regnamespace THEN 'audit_' ELSE '' END || c.relname || '.' || a.attname) COLLATE "C"
                    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT a.attisdropped
                      AND c.relnamespace IN ('public'::regnamespace, 'audit'::regnamespace)
                      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
                    ORDER BY 1
                    """,
                    """
                    SELECT t.name || '.' || c.name FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c
                    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY 1
                    """),
                reader => reader.GetString(0),
                CancellationToken.None);
        }
    }

    [Theory]
    [BothDatabases]
    public async Task Upgrade_EmptyDatabase_AppliesEverythingAndThenNothing(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        var migrator = new SchemaMigrator(database);
        var before = DateTime.UtcNow;

        var applied = await migrator.UpgradeAsync(CancellationToken.None);

        Assert.Equal(Migration.Load(kind).Select(migration => migration.Version), applied.Select(migration => migration.Version));
        Assert.Empty(await migrator.UpgradeAsync(CancellationToken.None));
        var status = await migrator.GetStatusAsync(CancellationToken.None);
        Assert.True(status.IsUpToDate);
        Assert.Null(status.Refusal);
        Assert.All(status.Migrations, migration =>
        {
            Assert.Equal(MigrationState.Applied, migration.State);
            // SQLite's clock of whole seconds.
            Assert.InRange(migration.AppliedAt!.Value, before.AddHours(-1), before.AddHours(1));
        });
    }

    [Theory]
    [BothDatabases]
    public async Task Downgrade_StepsThenAll_TakesBackExactlyWhatUpMade(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        var migrator = new SchemaMigrator(database);
        var empty = await Catalogue.ReadAsync(test);
        await migrator.UpgradeAsync(CancellationToken.None);
        var full = await Catalogue.ReadAsync(test);
        var versions = Migration.Load(kind).Select(migration => migration.Version).ToList();

        var taken = await migrator.DowngradeAsync(2, CancellationToken.None);
        Assert.Equal(versions.AsEnumerable().Reverse().Take(2), taken.Select(migration => migration.Version));
        var status = await migrator.GetStatusAsync(CancellationToken.None);
        Assert.Equal(versions.TakeLast(2), status.Migrations.Where(m => m.State == MigrationState.Pending).Select(m => m.Version));
        Assert.False(status.IsUpToDate);

        Assert.Equal(versions.TakeLast(2), (await migrator.UpgradeAsync(CancellationToken.None)).Select(m => m.Version));
        Assert.Equal(full, await Catalogue.ReadAsync(test));

        Assert.Equal(versions.Count, (await migrator.DowngradeAsync(null, CancellationToken.None)).Count);
        Assert.Equal(empty, await Catalogue.ReadAsync(test));
        Assert.Empty(await migrator.DowngradeAsync(null, CancellationToken.None));

        Assert.Equal(versions.Count, (await migrator.UpgradeAsync(CancellationToken.None)).Count);
        Assert.Equal(full, await Catalogue.ReadAsync(test));
    }

    [Theory]
    [BothDatabases]
    public async Task Downgrade_StepByStep_EachStepCanBeMadeAgain(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        var migrator = new SchemaMigrator(database);
        await migrator.UpgradeAsync(CancellationToken.None);
        var full = await Catalogue.ReadAsync(test);
        for (var steps = 1; steps <= Migration.Load(kind).Count; steps++)
        {
            await migrator.DowngradeAsync(steps, CancellationToken.None);
            await migrator.UpgradeAsync(CancellationToken.None);
            Assert.Equal(full, await Catalogue.ReadAsync(test));
        }
    }

    [Theory]
    [BothDatabases]
    public async Task Upgrade_TenServersAtOnceOnAnEmptyDatabase_IsDoneOnce(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        var applied = await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => Task.Run(async () =>
        {
            await using var database = test.Open();
            return (await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None)).Count;
        })));
        Assert.Equal([Migration.Load(kind).Count], applied.Where(count => count > 0));

        await using var database = test.Open();
        Assert.True((await new SchemaMigrator(database).GetStatusAsync(CancellationToken.None)).IsUpToDate);
    }

    [Theory]
    [BothDatabases]
    public Task Upgrade_NewerDatabase_IsRefusedAndLeftAlone(DatabaseKind kind) =>
        AssertRefusedAsync(kind, [One, Two, Three], [One, Two], "newer", "3 (three)");

    [Theory]
    [BothDatabases]
    public Task Upgrade_NewerDatabaseWithGap_IsRefusedAndLeftAlone(DatabaseKind kind) =>
        AssertRefusedAsync(kind, [One, Three], [One, Two], "newer", "3 (three)");

    [Theory]
    [BothDatabases]
    public Task Upgrade_EditedMigration_IsRefusedAndLeftAlone(DatabaseKind kind) =>
        AssertRefusedAsync(kind, [One, Two], [One with { Up = One.Up + " " }, Two, Three], "1 (one)", "another text");

    [Theory]
    [BothDatabases]
    public async Task Upgrade_DatabaseOfMlflow_IsRefusedAndLeftAlone(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await ExecuteAsync(test, "CREATE TABLE alembic_version (version_num VARCHAR(32))", "CREATE TABLE experiments (experiment_id INTEGER)");
        await AssertRefusedAsync(test, Migration.Load(kind), "MLflow", "alembic_version", "empty database");
    }

    [Theory]
    [BothDatabases]
    public async Task Upgrade_DatabaseOfSomebodyElse_IsRefusedAndLeftAlone(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await ExecuteAsync(test, "CREATE TABLE invoices (id INTEGER)", "CREATE TABLE customers (id INTEGER)");
        await AssertRefusedAsync(test, Migration.Load(kind), "customers, invoices", "empty database");
    }

    [Fact]
    public async Task Upgrade_FileThatIsNoSqliteDatabase_FailsAndLeavesItAlone()
    {
        await using var test = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        var file = Catalogue.FileOf(test);
        await File.WriteAllTextAsync(file, new string('x', 5000));
        await using var database = test.Open();
        await Assert.ThrowsAnyAsync<DbException>(() => new SchemaMigrator(database).UpgradeAsync(CancellationToken.None));
        Assert.Equal(new string('x', 5000), await File.ReadAllTextAsync(file));
    }

    [Theory]
    [BothDatabases]
    public async Task Upgrade_MigrationThatFailsInTheMiddle_LeavesNothing(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        var empty = await Catalogue.ReadAsync(test);
        var failing = Three with { Up = "CREATE TABLE three (id BIGINT); CREATE TABLE one (id BIGINT);" };
        await Assert.ThrowsAnyAsync<DbException>(() =>
            new SchemaMigrator(database, [One, Two, failing]).UpgradeAsync(CancellationToken.None));
        Assert.Equal(empty, await Catalogue.ReadAsync(test));

        Assert.Equal(3, (await new SchemaMigrator(database, [One, Two, Three]).UpgradeAsync(CancellationToken.None)).Count);
    }

    [Theory]
    [BothDatabases]
    public async Task Downgrade_MigrationThatFailsInTheMiddle_LeavesEverything(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        await new SchemaMigrator(database, [One, Two, Three]).UpgradeAsync(CancellationToken.None);
        var full = await Catalogue.ReadAsync(test);
        var failing = new SchemaMigrator(database, [One with { Down = "DROP TABLE one; DROP TABLE no_such_table;" }, Two, Three]);
        await Assert.ThrowsAnyAsync<DbException>(() => failing.DowngradeAsync(null, CancellationToken.None));
        Assert.Equal(full, await Catalogue.ReadAsync(test));
        Assert.True((await failing.GetStatusAsync(CancellationToken.None)).IsUpToDate);
    }

    [Theory]
    [BothDatabases]
    public async Task Upgrade_DatabaseOfAnOlderVersion_AppliesWhatIsNew(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        await new SchemaMigrator(database, [One]).UpgradeAsync(CancellationToken.None);
        await ExecuteAsync(test, "INSERT INTO one VALUES (1)");
        var applied = await new SchemaMigrator(database, [One, Two, Three]).UpgradeAsync(CancellationToken.None);
        Assert.Equal([2, 3], applied.Select(migration => migration.Version));
        await using var session = await database.OpenAsync(CancellationToken.None);
        Assert.Equal(1, await session.ScalarAsync<long>(database.Statement("SELECT id FROM one"), CancellationToken.None));
    }

    [Theory]
    [BothDatabases]
    public async Task Downgrade_WithRowsThatReferToEachOther_Works(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        var migrator = new SchemaMigrator(database);
        await migrator.UpgradeAsync(CancellationToken.None);
        await ExecuteAsync(
            test,
            "INSERT INTO experiments (experiment_id, experiment_name, created_at, updated_at) VALUES (1, 'e', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
            "INSERT INTO runs (run_id, run_uuid, experiment_id, run_name) VALUES (1, '00000000-0000-4000-8000-000000000001', 1, 'parent')",
            "INSERT INTO runs (run_id, run_uuid, experiment_id, run_name, parent_run_id) VALUES (2, '00000000-0000-4000-8000-000000000002', 1, 'child', 1)",
            "INSERT INTO latest_metrics (run_id, metric_name, metric_value, metric_step, metric_timestamp_ms) VALUES (2, 'loss', 0.5, 1, 2)");
        Assert.Equal(Migration.Load(kind).Count, (await migrator.DowngradeAsync(null, CancellationToken.None)).Count);
    }

    [Theory]
    [BothDatabases]
    public async Task Status_EmptyDatabase_SaysAllPendingAndMakesNothing(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using (var database = test.Open())
        {
            var status = await new SchemaMigrator(database).GetStatusAsync(CancellationToken.None);
            Assert.All(status.Migrations, migration => Assert.Equal((MigrationState.Pending, null), (migration.State, migration.AppliedAt)));
            Assert.False(status.IsUpToDate);
            Assert.Null(status.Refusal);
        }

        if (kind == DatabaseKind.Sqlite)
            Assert.False(File.Exists(Catalogue.FileOf(test)));
        else
            Assert.DoesNotContain(await Catalogue.ReadAsync(test), line => line.Contains("schema_migrations", StringComparison.Ordinal));
    }

    [Theory]
    [BothDatabases]
    public async Task Status_DriftedDatabase_NamesEveryDifference(DatabaseKind kind)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using var database = test.Open();
        await new SchemaMigrator(database, [One, Three]).UpgradeAsync(CancellationToken.None);
        var status = await new SchemaMigrator(database, [One with { Up = "another text" }, Two]).GetStatusAsync(CancellationToken.None);
        Assert.Equal(
            [(1, "one", MigrationState.Edited), (2, "two", MigrationState.Pending), (3, "three", MigrationState.Unknown)],
            status.Migrations.Select(migration => (migration.Version, migration.Name, migration.State)));
        Assert.NotNull(status.Refusal);
    }

    [Fact]
    public async Task Script_RunInSqlite_MakesADatabaseThatIsUpToDateAndTakesItBack()
    {
        await using var test = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        await AssertScriptAsync(test, script => ExecuteAsync(test, script));
    }

    [PrivateClusterFact]
    public async Task Script_RunByPsql_MakesADatabaseThatIsUpToDateAndTakesItBack()
    {
        await using var test = await TestDatabase.CreateAsync(DatabaseKind.PostgreSql);
        await AssertScriptAsync(test, async script =>
        {
            var settings = new NpgsqlConnectionStringBuilder(test.Address);
            var file = Path.Combine(TestFolder.Create(), "script.sql");
            await File.WriteAllTextAsync(file, script);
            var start = new ProcessStartInfo(PostgreSqlServer.Program("psql"))
            {
                ArgumentList = { "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file", file },
                Environment =
                {
                    ["PGHOST"] = settings.Host,
                    ["PGPORT"] = settings.Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    ["PGUSER"] = settings.Username,
                    ["PGPASSWORD"] = settings.Password,
                    ["PGDATABASE"] = settings.Database,
                },
                RedirectStandardError = true,
            };
            using var psql = Process.Start(start)!;
            var complaints = await psql.StandardError.ReadToEndAsync();
            await psql.WaitForExitAsync();
            Assert.True(psql.ExitCode == 0, complaints);
        });
    }

    private static async Task AssertScriptAsync(TestDatabase test, Func<string, Task> run)
    {
        var empty = await Catalogue.ReadAsync(test);
        await using var database = test.Open();
        var migrator = new SchemaMigrator(database);
        await run(migrator.Script(down: false));
        Assert.True((await migrator.GetStatusAsync(CancellationToken.None)).IsUpToDate);
        Assert.Empty(await migrator.UpgradeAsync(CancellationToken.None));
        var scripted = await Catalogue.ReadAsync(test);

        await run(migrator.Script(down: true));
        Assert.Equal(empty, await Catalogue.ReadAsync(test));

        await migrator.UpgradeAsync(CancellationToken.None);
        Assert.Equal(scripted, await Catalogue.ReadAsync(test));
    }

    private static async Task AssertRefusedAsync(
        DatabaseKind kind, IReadOnlyList<Migration> made, IReadOnlyList<Migration> known, params string[] reasons)
    {
        await using var test = await TestDatabase.CreateAsync(kind);
        await using (var database = test.Open())
            await new SchemaMigrator(database, made).UpgradeAsync(CancellationToken.None);
        await AssertRefusedAsync(test, known, reasons);
    }

    private static async Task AssertRefusedAsync(TestDatabase test, IReadOnlyList<Migration> known, params string[] reasons)
    {
        var catalogue = await Catalogue.ReadAsync(test);
        var file = Fingerprint(test);
        await using (var database = test.Open())
        {
            var migrator = new SchemaMigrator(database, known);
            foreach (var change in new Func<Task>[]
                     {
                         () => migrator.UpgradeAsync(CancellationToken.None), () => migrator.DowngradeAsync(null, CancellationToken.None),
                     })
            {
                var refusal = await Assert.ThrowsAsync<SchemaRefusedException>(change);
                Assert.Contains(database.Description, refusal.Message, StringComparison.Ordinal);
                Assert.All(reasons, reason => Assert.Contains(reason, refusal.Message, StringComparison.Ordinal));
            }

            Assert.NotNull((await migrator.GetStatusAsync(CancellationToken.None)).Refusal);
        }

        Assert.Equal(catalogue, await Catalogue.ReadAsync(test));
        Assert.Equal(file, Fingerprint(test));
    }

    /// <summary>Of SQLite, the files of the database with their contents.</summary>
    private static string Fingerprint(TestDatabase test) => test.Kind == DatabaseKind.PostgreSql
        ? ""
        : string.Join('\n', Directory.GetFiles(Path.GetDirectoryName(Catalogue.FileOf(test))!)
            .Order(StringComparer.Ordinal)
            .Select(file => $"{file} {Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file)))}"));

    private static async Task ExecuteAsync(TestDatabase test, params string[] statements)
    {
        if (test.Kind == DatabaseKind.PostgreSql)
        {
            await PostgreSqlServer.ExecuteAsync(test.Address, statements);
            return;
        }

        await using var connection = new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={Catalogue.FileOf(test)};Pooling=false");
        await connection.OpenAsync();
        foreach (var statement in statements)
        {
            await using var command = connection.CreateCommand();
            command.CommandText = statement;
            await command.ExecuteNonQueryAsync();
        }
    }
}
