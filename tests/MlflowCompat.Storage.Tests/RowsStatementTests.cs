namespace MlflowCompat.Storage.Tests;

public sealed class RowsStatementTests
{
    [Theory]
    [BothDatabases]
    public async Task Rows_OfEveryKindOfColumn_ComeBackAsTheyWere(DatabaseKind kind)
    {
        await using var table = await Table.CreateAsync(kind);
        await table.WriteAsync(rows => rows
            .Add([1L, 2L, 3L, 4L])
            .Add([5L, (long?)null, null, long.MinValue])
            .Add([0.0, -0.0, double.MaxValue, 0.1])
            .Add([true, true, false, false])
            .Add(["ä€😀", null, "", ""]));
        Assert.Equal(
            [
                (1L, 5L, "0", true, "ä€😀"),
                // SQLite knows no negative zero.
                (2L, null, kind == DatabaseKind.PostgreSql ? "-0" : "0", true, null),
                (3L, null, "1.7976931348623157E+308", false, ""),
                (4L, long.MinValue, "0.1", false, ""),
            ],
            await table.ReadAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Rows_OfRepeatedStatements_HaveNothingLeftFromTheOneBefore(DatabaseKind kind)
    {
        await using var table = await Table.CreateAsync(kind);
        await table.WriteAsync(rows => rows.Add([1L]).Add([(long?)1]).Add([1.0]).Add([true]).Add(["first"]));
        await table.WriteAsync(rows => rows.Add([2L]).Add([(long?)null]).Add([0.0]).Add([false]).Add([(string?)null]));
        Assert.Equal([(1L, 1L, "1", true, "first"), (2L, null, "0", false, null)], await table.ReadAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Rows_None_ChangeNothing(DatabaseKind kind)
    {
        await using var table = await Table.CreateAsync(kind);
        await table.WriteAsync(rows => rows.Add(Array.Empty<long>()).Add(Array.Empty<long?>()).Add(Array.Empty<double>()).Add(Array.Empty<bool>()).Add(Array.Empty<string?>()));
        Assert.Empty(await table.ReadAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Rows_OneThatIsThereAlready_FailTogether(DatabaseKind kind)
    {
        await using var table = await Table.CreateAsync(kind);
        await table.WriteAsync(rows => rows.Add([2L]).Add([(long?)null]).Add([0.0]).Add([false]).Add([(string?)null]));
        var failure = await Assert.ThrowsAnyAsync<System.Data.Common.DbException>(() => table.WriteAsync(
            rows => rows.Add([1L, 2L, 3L]).Add(new long?[3]).Add(new double[3]).Add(new bool[3]).Add(new string?[3])));
        Assert.Equal(DatabaseFault.Duplicate, DatabaseFaults.Classify(failure));
        Assert.Equal([2L], (await table.ReadAsync()).Select(row => row.Item1));
        // The prepared statement that failed is still good.
        await table.WriteAsync(rows => rows.Add([1L]).Add([(long?)null]).Add([0.0]).Add([false]).Add([(string?)null]));
        Assert.Equal([1L, 2L], (await table.ReadAsync()).Select(row => row.Item1));
    }

    [Fact]
    public async Task Columns_OfDifferentLengths_AreRefused()
    {
        var test = await TestDatabase.SharedAsync(DatabaseKind.Sqlite);
        await using var database = test.Open();
        Assert.Throws<ArgumentException>(() => database.Rows(new RowsInsert("t", "a, b")).Add([1L, 2L]).Add([1.0]));
    }

    [Theory]
    [BothDatabases]
    public async Task LastStatements_OfASessionForReading_AreRefused(DatabaseKind kind)
    {
        await using var table = await Table.CreateAsync(kind);
        await using (var session = await table.Database.OpenAsync(CancellationToken.None))
        {
            var insert = table.Database.Rows(new RowsInsert("kept", "a")).Add([1L]);
            await Assert.ThrowsAsync<InvalidOperationException>(() => session.ExecuteLastAsync(insert, CancellationToken.None));
            var statement = table.Database.Statement("INSERT INTO kept (a) VALUES (2)");
            await Assert.ThrowsAsync<InvalidOperationException>(() => session.ExecuteLastAsync(statement, CancellationToken.None));
        }

        Assert.Empty(await table.ReadAsync());
    }

    private sealed class Table(Database database, TestDatabase test) : IAsyncDisposable
    {
        public Database Database { get; } = database;

        public static async Task<Table> CreateAsync(DatabaseKind kind)
        {
            var test = await TestDatabase.CreateAsync(kind);
            var database = test.Open();
            await database.WriteAsync(
                (session, token) => session.ExecuteAsync(
                    database.Statement("CREATE TABLE kept (a BIGINT PRIMARY KEY, b BIGINT, c DOUBLE PRECISION, d BOOLEAN, e TEXT)"), token),
                CancellationToken.None);
            return new Table(database, test);
        }

        public Task WriteAsync(Func<RowsStatement, RowsStatement> fill) => Database.WriteAsync(
            (session, token) => session.ExecuteLastAsync(fill(Database.Rows(new RowsInsert("kept", "a, b, c, d, e"))), token), CancellationToken.None);

        public async Task<List<(long, long?, string, bool, string?)>> ReadAsync()
        {
            await using var session = await Database.OpenAsync(CancellationToken.None);
            return await session.ListAsync(
                Database.Statement("SELECT a, b, c, d, e FROM kept ORDER BY a"),
                reader => (
                    reader.GetInt64(0),
                    reader.IsDBNull(1) ? (long?)null : reader.GetInt64(1),
                    reader.GetDouble(2).ToString("R", System.Globalization.CultureInfo.InvariantCulture),
                    reader.GetBoolean(3),
                    reader.GetStringOrNull(4)),
                CancellationToken.None);
        }

        public async ValueTask DisposeAsync()
        {
            await Database.DisposeAsync();
            await test.DisposeAsync();
        }
    }
}
