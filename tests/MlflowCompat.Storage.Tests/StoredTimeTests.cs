namespace MlflowCompat.Storage.Tests;

public sealed class StoredTimeTests
{
    /// <summary>Nanoseconds of today in a field of milliseconds, as some clients send them.</summary>
    private const long NanosecondsByMistake = 1_763_683_200_123_456_789;

    [Theory]
    [InlineData(StoredTime.CalendarMin, false)]
    [InlineData(StoredTime.CalendarMin + 1, true)]
    [InlineData(0, true)]
    [InlineData(StoredTime.CalendarMax - 1, true)]
    [InlineData(StoredTime.CalendarMax, false)]
    [InlineData(NanosecondsByMistake, false)]
    [InlineData(long.MinValue, false)]
    public void FitsCalendar_Bounds_AreOutside(long milliseconds, bool expected) =>
        Assert.Equal(expected, StoredTime.FitsCalendar(milliseconds));

    [Theory]
    [BothDatabases]
    public async Task TimeAndOverflow_AnyInt64_ComesBackExactly(DatabaseKind kind)
    {
        long[] times =
        [
            0, 1, -1, 999, -999, 1000, -1000, -1001, 1_763_683_200_123, -62_135_596_799_999, 253_402_300_799_998,
            StoredTime.CalendarMin, StoredTime.CalendarMin - 1, StoredTime.CalendarMin - 2, StoredTime.CalendarMin + 1,
            StoredTime.CalendarMax, StoredTime.CalendarMax - 1, StoredTime.CalendarMax + 1,
            NanosecondsByMistake, -NanosecondsByMistake, long.MaxValue, long.MinValue,
        ];
        await using var database = await TableAsync(kind);
        var random = new Random(1);
        foreach (var time in times.Concat(Enumerable.Range(0, 200).Select(_ => random.NextInt64(long.MinValue, long.MaxValue))))
        {
            await database.InsertAsync(statement => statement.AddTimeAndOverflow(time));
            Assert.Equal(time, (await database.ReadAsync(reader => reader.GetMillisecondsOrNull(0, 1)))[^1]);
        }
    }

    [Theory]
    [BothDatabases]
    public async Task TimeAndOverflow_Null_ComesBackAsNull(DatabaseKind kind)
    {
        await using var database = await TableAsync(kind);
        await database.InsertAsync(statement => statement.AddTimeAndOverflow(null));
        Assert.Equal([null], await database.ReadAsync(reader => reader.GetMillisecondsOrNull(0, 1)));
        Assert.Equal([null], await database.ReadAsync(reader => reader.GetMillisecondsOrNull(0)));
    }

    [Theory]
    [BothDatabases(0L)]
    [BothDatabases(-1L)]
    [BothDatabases(1_763_683_200_123L)]
    [BothDatabases(StoredTime.CalendarMin)]
    [BothDatabases(StoredTime.CalendarMax)]
    public async Task Time_WithinTheCalendar_ComesBackWithoutOverflowColumn(DatabaseKind kind, long time)
    {
        await using var database = await TableAsync(kind);
        await database.InsertAsync(statement => statement.AddTime(time).Add((long?)null));
        Assert.Equal([time], await database.ReadAsync(reader => reader.GetMilliseconds(0)));
        Assert.Equal([time], await database.ReadAsync(reader => reader.GetMilliseconds(0, 1)));
    }

    [Fact]
    public async Task PostgreSql_TimeBeyondTheCalendar_LeavesTheNearestBoundInTheTimestamp()
    {
        await using var database = await TableAsync(DatabaseKind.PostgreSql);
        await database.InsertAsync(statement => statement.AddTimeAndOverflow(long.MaxValue));
        await database.InsertAsync(statement => statement.AddTimeAndOverflow(long.MinValue));
        Assert.Equal([StoredTime.CalendarMax, StoredTime.CalendarMin], await database.ReadAsync(reader => reader.GetMilliseconds(0)));
        Assert.Equal(
            ["9999-12-31 23:59:59.999", "0001-01-01 00:00:00.001"],
            await database.ReadAsync(reader => reader.GetString(0), "SELECT at::text FROM times ORDER BY id"));
    }

    [Theory]
    [InlineData("2025-11-21 00:00:00.123999", 1_763_683_200_123)]
    [InlineData("1970-01-01 00:00:00.000999", 0)]
    [InlineData("1969-12-31 23:59:59.999001", -1)]
    [InlineData("1969-12-31 23:59:59.998999", -2)]
    [InlineData("1969-12-31 23:59:59.999000", -1)]
    public async Task PostgreSql_MicrosecondsOfOtherWriters_AreFloored(string timestamp, long expected)
    {
        await using var database = await TableAsync(DatabaseKind.PostgreSql);
        await database.WriteAsync($"INSERT INTO times (at) VALUES ('{timestamp}')");
        Assert.Equal([expected], await database.ReadAsync(reader => reader.GetMilliseconds(0)));
        Assert.Equal([expected], await database.ReadAsync(reader => reader.GetMillisecondsOrNull(0, 1)));
    }

    [Theory]
    [BothDatabases]
    public async Task TimesAndOverflows_AsColumnsOfManyRows_ComeBackExactly(DatabaseKind kind)
    {
        long[] times = [0, -1, 1_763_683_200_123, StoredTime.CalendarMax, NanosecondsByMistake, long.MinValue];
        await using var database = await TableAsync(kind);
        await using (var opened = database.Database.Open())
        {
            await opened.WriteAsync(
                (session, token) => session.ExecuteLastAsync(opened.Rows(new RowsInsert("times", "at, at_ms")).AddTimesAndOverflows(times), token),
                CancellationToken.None);
        }

        Assert.Equal(times, await database.ReadAsync(reader => reader.GetMilliseconds(0, 1)));
    }

    [Fact]
    public async Task PostgreSql_ServerInAnotherTimeZone_StoresUtc()
    {
        await using var database = await TableAsync(DatabaseKind.PostgreSql);
        await database.WriteAsync("""
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO %L', current_database(), 'Asia/Tokyo'); END $$
            """);
        var before = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        await database.WriteAsync("INSERT INTO times (at) VALUES (CURRENT_TIMESTAMP)");
        // The server's clock is this machine's, or one that is a little off: never by the nine hours that Tokyo is.
        Assert.InRange(
            (await database.ReadAsync(reader => reader.GetMilliseconds(0)))[0],
            before - TimeSpan.FromHours(1).TotalMilliseconds,
            before + TimeSpan.FromHours(1).TotalMilliseconds);
    }

    private static async Task<Table> TableAsync(DatabaseKind kind)
    {
        var table = new Table(await TestDatabase.CreateAsync(kind));
        await table.WriteAsync(kind == DatabaseKind.PostgreSql
            ? "CREATE TABLE times (id BIGSERIAL PRIMARY KEY, at TIMESTAMP, at_ms BIGINT)"
            : "CREATE TABLE times (id INTEGER PRIMARY KEY, at INTEGER, at_ms INTEGER)");
        return table;
    }

    private sealed record Table(TestDatabase Database) : IAsyncDisposable
    {
        private readonly Database opened = Database.Open();

        public async Task WriteAsync(string sql) =>
            await opened.WriteAsync((session, token) => session.ExecuteAsync(opened.Statement(sql), token), CancellationToken.None);

        public async Task InsertAsync(Func<Statement, Statement> add) =>
            await opened.WriteAsync(
                (session, token) => session.ExecuteAsync(add(opened.Statement("INSERT INTO times (at, at_ms) VALUES ($1, $2)")), token),
                CancellationToken.None);

        public async Task<List<T>> ReadAsync<T>(
            Func<System.Data.Common.DbDataReader, T> map, string sql = "SELECT at, at_ms FROM times ORDER BY id")
        {
            await using var session = await opened.OpenAsync(CancellationToken.None);
            return await session.ListAsync(opened.Statement(sql), map, CancellationToken.None);
        }

        public async ValueTask DisposeAsync()
        {
            await opened.DisposeAsync();
            await Database.DisposeAsync();
        }
    }
}
