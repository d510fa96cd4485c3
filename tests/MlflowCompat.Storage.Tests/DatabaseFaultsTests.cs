using System.Data.Common;
using System.Net.Sockets;
using Npgsql;

namespace MlflowCompat.Storage.Tests;

public sealed class DatabaseFaultsTests
{
    [Theory]
    [BothDatabases("INSERT INTO kept (id, name) VALUES (1, 'other')", DatabaseFault.Duplicate)]
    [BothDatabases("INSERT INTO kept (id, name) VALUES (2, 'one')", DatabaseFault.Duplicate)]
    [BothDatabases("UPDATE kept SET name = 'one' WHERE id = 3", DatabaseFault.Duplicate)]
    [BothDatabases("INSERT INTO kept (id, name) VALUES (4, NULL)", DatabaseFault.Other)]
    [BothDatabases("INSERT INTO kept (id, name) VALUES (-1, 'negative')", DatabaseFault.Other)]
    [BothDatabases("INSERT INTO parts (kept_id) VALUES (99)", DatabaseFault.Other)]
    [BothDatabases("SELECT * FROM no_such_table", DatabaseFault.Other)]
    [BothDatabases("no SQL", DatabaseFault.Other)]
    public async Task Classify_RefusedStatement_TellsDuplicatesFromDefects(DatabaseKind kind, string sql, DatabaseFault expected)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        var failure = await Assert.ThrowsAnyAsync<DbException>(() => WriteAsync(
            database,
            "CREATE TABLE kept (id BIGINT NOT NULL PRIMARY KEY CHECK (id > 0), name TEXT NOT NULL)",
            "CREATE UNIQUE INDEX uq_kept_name ON kept(name)",
            "CREATE TABLE parts (kept_id BIGINT REFERENCES kept(id))",
            "INSERT INTO kept (id, name) VALUES (1, 'one'), (3, 'three')",
            sql));
        Assert.Equal(expected, DatabaseFaults.Classify(failure));
    }

    [Theory]
    [InlineData("40001", DatabaseFault.Contention)]
    [InlineData("40P01", DatabaseFault.Contention)]
    [InlineData("55P03", DatabaseFault.Unavailable)]
    [InlineData("57014", DatabaseFault.Unavailable)]
    [InlineData("57P01", DatabaseFault.Unavailable)]
    [InlineData("53100", DatabaseFault.Unavailable)]
    [InlineData("53300", DatabaseFault.Unavailable)]
    [InlineData("58030", DatabaseFault.Unavailable)]
    [InlineData("25006", DatabaseFault.Unavailable)]
    [InlineData("08006", DatabaseFault.Unavailable)]
    [InlineData("23505", DatabaseFault.Duplicate)]
    [InlineData("23514", DatabaseFault.Other)]
    [InlineData("22003", DatabaseFault.Other)]
    [InlineData("XX000", DatabaseFault.Other)]
    public async Task Classify_SqlStateOfPostgreSql_TellsWhetherTryingAgainHelps(string sqlState, DatabaseFault expected)
    {
        var test = await TestDatabase.SharedAsync(DatabaseKind.PostgreSql);
        await using var database = test.Open();
        var failure = await Assert.ThrowsAsync<PostgresException>(() => WriteAsync(
            database, $"DO $$ BEGIN RAISE EXCEPTION 'raised by the test' USING ERRCODE = '{sqlState}'; END $$"));
        Assert.Equal(expected, DatabaseFaults.Classify(failure));
    }

    [Fact]
    public async Task Classify_SqliteFileLockedByAnotherProcess_IsUnavailable()
    {
        await using var test = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        await using var database = test.Open();
        await using var other = test.Open();
        await WriteAsync(database, "CREATE TABLE kept (id BIGINT)");
        await other.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(other.Statement("INSERT INTO kept VALUES (1)"), token);
                var failure = await Assert.ThrowsAnyAsync<DbException>(() => WriteAsync(database, "INSERT INTO kept VALUES (2)"));
                Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));
            },
            CancellationToken.None);
        await WriteAsync(database, "INSERT INTO kept VALUES (3)");
    }

    [Fact]
    public async Task Classify_SqliteFileInAFolderThatIsNotThere_IsUnavailable()
    {
        await using var database = BackendStoreUri.Parse($"sqlite:///{TestFolder.Create()}/missing/mlflow.db");
        var failure = await Assert.ThrowsAnyAsync<DbException>(() => WriteAsync(database, "CREATE TABLE kept (id BIGINT)"));
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));
    }

    [Fact]
    public async Task Classify_PostgreSqlWhereNobodyListens_IsUnavailable()
    {
        await using var database = BackendStoreUri.Parse("postgresql://nobody@127.0.0.1:1/mlflow?connect_timeout=5");
        var failure = await Assert.ThrowsAnyAsync<DbException>(async () => await database.OpenAsync(CancellationToken.None));
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));
    }

    [PrivateClusterFact]
    public async Task Classify_PostgreSqlStoppedAndStarted_IsUnavailableUntilItIsBack()
    {
        await using var server = await PostgreSqlServer.StartAsync();
        await using var database = BackendStoreUri.Parse(await server.CreateDatabaseAsync());
        await WriteAsync(database, "CREATE TABLE kept (id BIGINT)");

        await server.StopAsync();
        for (var i = 0; i < 5; i++)
        {
            var failure = await Assert.ThrowsAnyAsync<Exception>(() => WriteAsync(database, "INSERT INTO kept VALUES (1)"));
            Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));
        }

        await server.StartAgainAsync();
        await WriteAsync(database, "INSERT INTO kept VALUES (2)");
        await using var session = await database.OpenAsync(CancellationToken.None);
        Assert.Equal([2], await session.ListAsync(
            database.Statement("SELECT id FROM kept"), reader => reader.GetInt64(0), CancellationToken.None));
    }

    [PrivateClusterFact]
    public async Task Classify_PostgreSqlCrashingInTheMiddleOfAWrite_IsUnavailable()
    {
        await using var server = await PostgreSqlServer.StartAsync();
        await using var database = BackendStoreUri.Parse(await server.CreateDatabaseAsync());
        await WriteAsync(database, "CREATE TABLE kept (id BIGINT)");
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(database.Statement("INSERT INTO kept VALUES (1)"), token);
                await server.CrashAsync();
                await session.ExecuteAsync(database.Statement("INSERT INTO kept VALUES (2)"), token);
            },
            CancellationToken.None));
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));
    }

    [Fact]
    public void Classify_OtherExceptions_AreTakenForWhatTheyAre()
    {
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(new SocketException()));
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(new TimeoutException()));
        Assert.Equal(DatabaseFault.Other, DatabaseFaults.Classify(new InvalidOperationException()));
        Assert.Equal(DatabaseFault.Other, DatabaseFaults.Classify(new OperationCanceledException()));
    }

    private static Task WriteAsync(Database database, params string[] statements) =>
        database.WriteAsync(
            (session, token) => session.ExecuteAsync([.. statements.Select(database.Statement)], token), CancellationToken.None);
}
