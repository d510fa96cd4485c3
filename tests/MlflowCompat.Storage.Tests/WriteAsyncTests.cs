using System.Data.Common;
using Npgsql;

namespace MlflowCompat.Storage.Tests;

public sealed class WriteAsyncTests
{
    [Theory]
    [BothDatabases]
    public async Task Write_ThatReturns_IsCommittedAndItsResultHandedOn(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        Assert.Equal(7, await notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(1), token);
                await session.ExecuteAsync([notes.Insert(2), notes.Insert(3)], token);
                return 7;
            },
            CancellationToken.None));
        Assert.Equal([1, 2, 3], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task AfterCommit_RunsOnceWhatIsWrittenCanBeSeen(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await using var reading = await notes.Database.OpenAsync(CancellationToken.None);
        Assert.Throws<InvalidOperationException>(() => reading.AfterCommit(() => { }));
        foreach (var last in (bool[])[false, true])
        {
            var runs = 0;
            await notes.Database.WriteAsync(
                async (session, token) =>
                {
                    session.AfterCommit(() => runs++);
                    if (last)
                        await session.CommitWithAsync(notes.Insert(2), _ => "", token);
                    else
                        await session.ExecuteAsync(notes.Insert(1), token);
                },
                CancellationToken.None);
            Assert.Equal(1, runs);
        }

        Assert.Equal([1, 2], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task AfterCommit_OfAWriteThatFails_NeverRuns(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        var (failed, done) = (0, 0);
        // At the same time, so that on SQLite they share a transaction, with and without savepoints.
        var writes = Enumerable.Range(0, 40).Select(i => notes.Database.WriteAsync(
            async (session, token) =>
            {
                var fails = i % 4 > 1;
                session.AfterCommit(() => Interlocked.Increment(ref fails ? ref failed : ref done));
                if (i % 4 != 2)
                    await session.ExecuteAsync(notes.Insert(i), token);
                if (fails)
                    throw new InvalidOperationException();
            },
            CancellationToken.None)).ToList();
        foreach (var write in writes)
            await Record.ExceptionAsync(() => write);
        await notes.WriteAsync(1000);
        Assert.Equal((0, 20), (failed, done));
        Assert.Equal(21, (await notes.IdsAsync()).Count);
    }

    [Theory]
    [BothDatabases]
    public async Task Write_ThatThrows_LeavesNothingAndTheNextOneWorks(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        var thrown = await Assert.ThrowsAsync<InvalidOperationException>(() => notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(1), token);
                throw new InvalidOperationException("the work's own");
            },
            CancellationToken.None));
        Assert.Equal("the work's own", thrown.Message);
        await notes.WriteAsync(2);
        Assert.Equal([2], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases("INSERT INTO notes (id) VALUES (1)")]
    [BothDatabases("INSERT INTO notes (id) VALUES (NULL), ('x')")]
    [BothDatabases("SELECT no_such_column FROM notes")]
    [BothDatabases("no SQL")]
    public async Task Write_WithAFailingStatement_LeavesNothingAndTheNextOneWorks(DatabaseKind kind, string failing)
    {
        await using var notes = await Notes.CreateAsync(kind);
        for (var round = 0; round < 3; round++)
        {
            await Assert.ThrowsAnyAsync<DbException>(() => notes.Database.WriteAsync(
                async (session, token) =>
                {
                    await session.ExecuteAsync(notes.Insert(1), token);
                    await session.ExecuteAsync(notes.Database.Statement(failing), token);
                },
                CancellationToken.None));
            Assert.Empty(await notes.IdsAsync());
        }

        await notes.WriteAsync(2);
        Assert.Equal([2], await notes.IdsAsync());
    }

    [Fact]
    public async Task SqliteWrite_WhoseTransactionTheDatabaseRolledBackItself_LeavesNothingAndTheNextOneWorks()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.Sqlite);
        await notes.WriteAsync(1);
        await Assert.ThrowsAnyAsync<DbException>(() => notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(2), token);
                await session.ExecuteAsync(notes.Database.Statement("INSERT OR ROLLBACK INTO notes (id) VALUES (1)"), token);
            },
            CancellationToken.None));
        await notes.WriteAsync(3);
        Assert.Equal([1, 3], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Write_CancelledWhileItWorks_LeavesNothing(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        using var cancellation = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(1), token);
                await cancellation.CancelAsync();
                await session.ExecuteAsync(notes.Insert(2), token);
            },
            cancellation.Token));
        Assert.Empty(await notes.IdsAsync());
        await notes.WriteAsync(3);
        Assert.Equal([3], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Write_CancelledBeforeItBegins_DoesNotRun(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => notes.Database.WriteAsync(
            (session, _) => throw new InvalidOperationException("it ran"), new CancellationToken(canceled: true)));
    }

    [Theory]
    [BothDatabases]
    public async Task Write_CancelledWhenItsWorkIsDone_IsCommitted(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        using var cancellation = new CancellationTokenSource();
        await notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(1), token);
                await cancellation.CancelAsync();
            },
            cancellation.Token);
        Assert.Equal([1], await notes.IdsAsync());
    }

    [Theory]
    [BothDatabases]
    public async Task Write_WaitingForItsTurn_CanBeCancelled(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await notes.WriteAsync(1);
        var locked = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var holder = notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Touch(1), token);
                locked.SetResult();
                await release.Task;
            },
            CancellationToken.None);
        await locked.Task;
        using var cancellation = new CancellationTokenSource();
        var waiting = notes.Database.WriteAsync((session, token) => session.ExecuteAsync(notes.Touch(1), token), cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        release.SetResult();
        await holder;
        Assert.Equal(1, await notes.TouchedAsync(1));
    }

    [Theory]
    [BothDatabases]
    public async Task Writes_ManyAtOnce_AreAllThere(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await notes.WriteAsync(1);
        await Task.WhenAll(Enumerable.Range(0, 40).Select(_ =>
            notes.Database.WriteAsync((session, token) => session.ExecuteAsync(notes.Touch(1), token), CancellationToken.None)));
        Assert.Equal(40, await notes.TouchedAsync(1));
    }

    [Theory]
    [BothDatabases]
    public async Task Writes_ThatFailBesideOthers_LeaveNothingAndTheOthersAreDoneOnce(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await notes.WriteAsync(1);
        var begun = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var first = notes.Database.WriteAsync(
            async (_, _) =>
            {
                begun.SetResult();
                await release.Task;
            },
            CancellationToken.None);
        await begun.Task;

        // What comes while the first one is under way is one group on SQLite.
        var good = Enumerable.Range(0, 9).Select(_ =>
            notes.Database.WriteAsync((session, token) => session.ExecuteAsync(notes.Touch(1), token), CancellationToken.None)).ToList();
        var failing = Enumerable.Range(0, 9).Select(number => notes.Database.WriteAsync(
            async (session, token) =>
            {
                if (number % 3 > 0)
                    await session.ExecuteAsync(notes.Insert(10 + number), token);
                if (number % 3 > 1)
                    await session.ExecuteAsync(notes.Insert(1), token);
                throw new InvalidOperationException("the work's own");
            },
            CancellationToken.None)).ToList();
        var last = Enumerable.Range(0, 9).Select(_ =>
            notes.Database.WriteAsync((session, token) => session.ExecuteAsync(notes.Touch(1), token), CancellationToken.None)).ToList();
        release.SetResult();

        await first;
        await Task.WhenAll([.. good, .. last]);
        foreach (var (number, write) in failing.Index())
        {
            if (number % 3 > 1)
                await Assert.ThrowsAnyAsync<DbException>(() => write);
            else
                await Assert.ThrowsAsync<InvalidOperationException>(() => write);
        }

        Assert.Equal([1], await notes.IdsAsync());
        Assert.Equal(18, await notes.TouchedAsync(1));
    }

    [Theory]
    [BothDatabases]
    public async Task Reading_WhileAWriteIsUnderWay_SeesWhatIsCommitted(DatabaseKind kind)
    {
        await using var notes = await Notes.CreateAsync(kind);
        await notes.WriteAsync(1);
        await notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Insert(2), token);
                Assert.Equal([1], await notes.IdsAsync());
            },
            CancellationToken.None);
        Assert.Equal([1, 2], await notes.IdsAsync());
    }

    [Fact]
    public async Task SqliteReading_InSeveralStatements_IsOneSnapshot()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.Sqlite);
        await notes.WriteAsync(1);
        await using var session = await notes.Database.OpenAsync(CancellationToken.None);
        var count = notes.Database.Statement("SELECT count(*) FROM notes");
        Assert.Equal(1, await session.ScalarAsync<long>(count, CancellationToken.None));
        await notes.WriteAsync(2);
        Assert.Equal(1, await session.ScalarAsync<long>(count, CancellationToken.None));
    }

    [Fact]
    public async Task SqliteFile_InUse_KeepsAWriteAheadLogThatIsFlushedAtEveryCommit()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.Sqlite);
        await notes.Database.WriteAsync(
            async (session, token) =>
            {
                const long Full = 2;
                Assert.Equal(Full, await session.ScalarAsync<long>(notes.Database.Statement("PRAGMA synchronous"), token));
                Assert.Equal(1, await session.ScalarAsync<long>(notes.Database.Statement("PRAGMA foreign_keys"), token));
                Assert.Equal("wal", await session.FirstOrDefaultAsync(
                    notes.Database.Statement("PRAGMA journal_mode"), reader => reader.GetString(0), token));
            },
            CancellationToken.None);
    }

    [Fact]
    public async Task PostgreSqlWrites_InADeadlock_AreBothDoneInTheEnd()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.PostgreSql);
        await notes.WriteAsync(1);
        await notes.WriteAsync(2);
        var attempts = 0;
        using var bothHoldTheirFirstRow = new CountdownEvent(2);

        Task TouchAsync(long first, long second) => notes.Database.WriteAsync(
            async (session, token) =>
            {
                Interlocked.Increment(ref attempts);
                await session.ExecuteAsync(notes.Touch(first), token);
                if (!bothHoldTheirFirstRow.IsSet)
                {
                    bothHoldTheirFirstRow.Signal();
                    await Task.Run(() => bothHoldTheirFirstRow.Wait(token), token);
                }

                await session.ExecuteAsync(notes.Touch(second), token);
            },
            CancellationToken.None);

        await Task.WhenAll(TouchAsync(1, 2), TouchAsync(2, 1));
        Assert.Equal(3, attempts);
        Assert.Equal((2, 2), (await notes.TouchedAsync(1), await notes.TouchedAsync(2)));
    }

    [Fact]
    public async Task PostgreSqlWrite_ThatCannotBeSerialized_IsRunAgainOnTheNewState()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.PostgreSql);
        await notes.WriteAsync(1);
        var seen = new List<long>();
        await notes.Database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(notes.Database.Statement("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), token);
                seen.Add((await session.ScalarAsync<long>(notes.Database.Statement("SELECT touched FROM notes WHERE id = 1"), token))!.Value);
                if (seen.Count == 1)
                {
                    await notes.Database.WriteAsync(
                        (other, otherToken) => other.ExecuteAsync(notes.Touch(1), otherToken), token);
                }

                await session.ExecuteAsync(notes.Touch(1), token);
            },
            CancellationToken.None);
        Assert.Equal([0, 1], seen);
        Assert.Equal(2, await notes.TouchedAsync(1));
    }

    [Theory]
    [InlineData("40001")]
    [InlineData("40P01")]
    public async Task PostgreSqlWrite_ThatIsAlwaysGivenUp_FailsWithThatErrorAfterSomeAttempts(string sqlState)
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.PostgreSql);
        var attempts = 0;
        var failure = await Assert.ThrowsAsync<PostgresException>(() => notes.Database.WriteAsync(
            (session, token) =>
            {
                attempts++;
                return session.ExecuteAsync(
                    notes.Database.Statement($"DO $$ BEGIN RAISE EXCEPTION 'given up' USING ERRCODE = '{sqlState}'; END $$"), token);
            },
            CancellationToken.None));
        Assert.Equal(sqlState, failure.SqlState);
        Assert.Equal(DatabaseFault.Contention, DatabaseFaults.Classify(failure));
        Assert.InRange(attempts, 2, 20);
    }

    [Fact]
    public async Task PostgreSqlWrite_ThatFailsOtherwise_IsNotRunAgain()
    {
        await using var notes = await Notes.CreateAsync(DatabaseKind.PostgreSql);
        await notes.WriteAsync(1);
        var attempts = 0;
        await Assert.ThrowsAsync<PostgresException>(() => notes.Database.WriteAsync(
            (session, token) =>
            {
                attempts++;
                return session.ExecuteAsync(notes.Insert(1), token);
            },
            CancellationToken.None));
        Assert.Equal(1, attempts);
    }

    [PrivateClusterFact]
    public async Task PostgreSqlWrites_AcknowledgedBeforeACrash_AreThereAfterIt()
    {
        await using var server = await PostgreSqlServer.StartAsync();
        await using var database = BackendStoreUri.Parse(await server.CreateDatabaseAsync());
        await using var notes = await Notes.CreateAsync(database);
        var acknowledged = new List<long>();
        using var enough = new SemaphoreSlim(0);
        var writing = Task.Run(async () =>
        {
            for (var id = 1L; ; id++)
            {
                await notes.WriteAsync(id);
                acknowledged.Add(id);
                enough.Release();
            }
        });
        for (var i = 0; i < 50; i++)
            await enough.WaitAsync();
        await server.CrashAsync();
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => writing);
        Assert.Equal(DatabaseFault.Unavailable, DatabaseFaults.Classify(failure));

        await server.StartAgainAsync();
        // Connections of the pool that the crash cut may fail once each; then the database is usable again without anybody's help.
        var ids = await RetryAsync(notes.IdsAsync);
        Assert.Equal(acknowledged, ids.Take(acknowledged.Count));
        await RetryAsync(async () =>
        {
            await notes.WriteAsync(1_000_000);
            return true;
        });
    }

    private static async Task<T> RetryAsync<T>(Func<Task<T>> work)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await work();
            }
            catch (DbException exception) when (attempt < 30 && DatabaseFaults.Classify(exception) == DatabaseFault.Unavailable)
            {
            }
        }
    }

    /// <summary>A database with one table.</summary>
    private sealed class Notes(Database database, TestDatabase? test) : IAsyncDisposable
    {
        public Database Database { get; } = database;

        public static async Task<Notes> CreateAsync(DatabaseKind kind)
        {
            var test = await TestDatabase.CreateAsync(kind);
            return await CreateAsync(test.Open(), test);
        }

        public static Task<Notes> CreateAsync(Database database) => CreateAsync(database, null);

        public Statement Insert(long id) => Database.Statement("INSERT INTO notes (id) VALUES ($1)").Add(id);

        public Statement Touch(long id) => Database.Statement("UPDATE notes SET touched = touched + 1 WHERE id = $1").Add(id);

        public async Task WriteAsync(long id) =>
            await Database.WriteAsync((session, token) => session.ExecuteAsync(Insert(id), token), CancellationToken.None);

        public async Task<List<long>> IdsAsync()
        {
            await using var session = await Database.OpenAsync(CancellationToken.None);
            return await session.ListAsync(
                Database.Statement("SELECT id FROM notes ORDER BY id"), reader => reader.GetInt64(0), CancellationToken.None);
        }

        public async Task<long> TouchedAsync(long id)
        {
            await using var session = await Database.OpenAsync(CancellationToken.None);
            return (await session.ScalarAsync<long>(
                Database.Statement("SELECT touched FROM notes WHERE id = $1").Add(id), CancellationToken.None))!.Value;
        }

        public async ValueTask DisposeAsync()
        {
            await Database.DisposeAsync();
            if (test is not null)
                await test.DisposeAsync();
        }

        private static async Task<Notes> CreateAsync(Database database, TestDatabase? test)
        {
            await database.WriteAsync(
                (session, token) => session.ExecuteAsync(
                    database.Statement("CREATE TABLE notes (id BIGINT NOT NULL PRIMARY KEY, touched BIGINT NOT NULL DEFAULT 0)"), token),
                CancellationToken.None);
            return new Notes(database, test);
        }
    }
}
