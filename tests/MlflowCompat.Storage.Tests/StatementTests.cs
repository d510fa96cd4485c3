using System.Data.Common;

namespace MlflowCompat.Storage.Tests;

public sealed class StatementTests
{
    private static readonly Guid Uuid = new("0123abcd-4567-89ef-0123-456789abcdef");

    [Theory]
    [BothDatabases(0L)]
    [BothDatabases(long.MinValue)]
    [BothDatabases(long.MaxValue)]
    public Task Long_AnyValue_ComesBack(DatabaseKind kind, long value) =>
        AssertRoundTripAsync(kind, "BIGINT", statement => statement.Add(value), value, reader => reader.GetInt64(0));

    [Theory]
    [BothDatabases]
    public async Task Null_OfEveryKind_ComesBackAsNull(DatabaseKind kind)
    {
        await AssertNullAsync(kind, "BIGINT", statement => statement.Add((long?)null));
        await AssertNullAsync(kind, "TEXT", statement => statement.Add((string?)null));
        await AssertNullAsync(kind, "JSONB", statement => statement.AddJson(null));
    }

    [Theory]
    [BothDatabases(0.0)]
    [BothDatabases(-0.0)]
    [BothDatabases(0.1)]
    [BothDatabases(double.MaxValue)]
    [BothDatabases(double.Epsilon)]
    [BothDatabases(-1.7976931348623157e308)]
    [BothDatabases(double.PositiveInfinity)]
    public Task Double_AnyNumber_ComesBackBitForBit(DatabaseKind kind, double value) =>
        AssertRoundTripAsync(
            kind,
            "DOUBLE PRECISION",
            statement => statement.Add(value),
            // SQLite keeps whole numbers as integers in a column of reals, and integers have no negative zero.
            BitConverter.DoubleToInt64Bits(kind == DatabaseKind.Sqlite && value == 0 ? 0.0 : value),
            reader => BitConverter.DoubleToInt64Bits(reader.GetDouble(0)));

    [Theory]
    [BothDatabases(true)]
    [BothDatabases(false)]
    public Task Bool_EitherValue_ComesBack(DatabaseKind kind, bool value) =>
        AssertRoundTripAsync(kind, "BOOLEAN", statement => statement.Add(value), value, reader => reader.GetBoolean(0));

    [Theory]
    [BothDatabases("")]
    [BothDatabases("it's \"quoted\" \\ $1 -- ; {0} @p :p ?")]
    [BothDatabases("Größe 数 😀 \t\r\n")]
    public Task Text_AnyCharacters_ComesBack(DatabaseKind kind, string value) =>
        AssertRoundTripAsync(kind, "TEXT", statement => statement.Add(value), value, reader => reader.GetString(0));

    [Theory]
    [BothDatabases]
    public Task Guid_AnyValue_ComesBack(DatabaseKind kind) =>
        AssertRoundTripAsync(kind, "UUID", statement => statement.Add(Uuid), Uuid, reader => reader.GetGuid(0));

    [Theory]
    [BothDatabases]
    public Task Json_Object_ComesBackAndIsQueriedAsJson(DatabaseKind kind) =>
        AssertRoundTripAsync(
            kind,
            "JSONB",
            statement => statement.AddJson("""{"a": "ä\"'"}"""),
            "ä\"'",
            reader => reader.GetString(1),
            kind == DatabaseKind.PostgreSql ? "value ->> 'a'" : "json_extract(value, '$.a')");

    [Theory]
    [BothDatabases]
    public async Task LongArray_UsedAsList_SelectsItsElements(DatabaseKind kind)
    {
        await AssertElementsAsync(kind, statement => statement.Add([long.MinValue, 0, long.MaxValue]), [.. new[] { long.MinValue, 0, long.MaxValue }], reader => reader.GetInt64(0));
        await AssertElementsAsync(kind, statement => statement.Add(Array.Empty<long>()), [], reader => reader.GetInt64(0));
    }

    [Theory]
    [BothDatabases]
    public async Task TextArray_UsedAsList_SelectsItsElements(DatabaseKind kind)
    {
        string[] texts = ["", "a", "it's", "\"", "\\", "{1,2}", "NULL", "ä😀", "\u001f", "<&>"];
        await AssertElementsAsync(kind, statement => statement.Add(texts), [.. texts], reader => reader.GetString(0));
        await AssertElementsAsync(kind, statement => statement.Add(Array.Empty<string>()), [], reader => reader.GetString(0));
    }

    [Theory]
    [BothDatabases]
    public Task GuidArray_UsedAsList_SelectsItsElements(DatabaseKind kind) =>
        AssertElementsAsync(kind, statement => statement.Add([Uuid, Guid.Empty]), [.. new[] { Uuid, Guid.Empty }], reader => reader.GetGuid(0));

    [Theory]
    [BothDatabases]
    public async Task Builder_FortyValuesInAnyPlace_EachReachItsPlaceholder(DatabaseKind kind)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        var sql = new StatementBuilder(database);
        var values = Enumerable.Range(0, 40).Select(i => $"value {i}").ToList();
        var placeholders = values.Select(value => sql.Add(value)).ToList();
        placeholders.Reverse();
        sql.Append("SELECT ").Append(string.Join(", ", placeholders.Select(placeholder => $"CAST({placeholder} AS TEXT)")));

        await using var session = await database.OpenAsync(CancellationToken.None);
        var row = await session.ListAsync(
            sql.ToStatement(), reader => Enumerable.Range(0, 40).Select(reader.GetString).ToList(), CancellationToken.None);
        values.Reverse();
        Assert.Equal(values, Assert.Single(row));
    }

    [Theory]
    [BothDatabases]
    public async Task Session_SameTextManyTimes_TakesTheParametersOfEachTime(DatabaseKind kind)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        await using var session = await database.OpenAsync(CancellationToken.None);
        for (var i = 0L; i < 10; i++)
            Assert.Equal(i, await session.ScalarAsync<long>(database.Statement("SELECT CAST($1 AS BIGINT)").Add(i), CancellationToken.None));
    }

    [Theory]
    [BothDatabases]
    public async Task Session_MoreTextsThanAreKeptPrepared_AllWork(DatabaseKind kind)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        await using var session = await database.OpenAsync(CancellationToken.None);
        for (var round = 0; round < 3; round++)
        {
            for (var i = 0L; i < 300; i++)
                Assert.Equal(i + 1, await session.ScalarAsync<long>(database.Statement($"SELECT CAST($1 AS BIGINT) + {i}").Add(1), CancellationToken.None));
        }
    }

    private static async Task AssertRoundTripAsync<T>(
        DatabaseKind kind, string type, Func<Statement, Statement> add, T expected, Func<DbDataReader, T> read, string? expression = null)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        var table = $"kept_{Guid.NewGuid():N}";
        await database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                [database.Statement($"CREATE TABLE {table} (value {type})"), add(database.Statement($"INSERT INTO {table} VALUES ($1)"))],
                token),
            CancellationToken.None);
        await using var reading = await database.OpenAsync(CancellationToken.None);
        var rows = await reading.ListAsync(
            database.Statement($"SELECT value, {expression ?? "value"} FROM {table}"), read, CancellationToken.None);
        Assert.Equal([expected], rows);
    }

    private static Task AssertNullAsync(DatabaseKind kind, string type, Func<Statement, Statement> add) =>
        AssertRoundTripAsync(kind, type, add, true, reader => reader.IsDBNull(0));

    private static async Task AssertElementsAsync<T>(
        DatabaseKind kind, Func<Statement, Statement> add, List<T> expected, Func<DbDataReader, T> read)
    {
        var test = await TestDatabase.SharedAsync(kind);
        await using var database = test.Open();
        await using var session = await database.OpenAsync(CancellationToken.None);
        var elements = await session.ListAsync(
            add(database.Statement("SELECT unnest($1)", "SELECT value FROM json_each($1)")), read, CancellationToken.None);
        Assert.Equal(expected, elements);
    }
}
