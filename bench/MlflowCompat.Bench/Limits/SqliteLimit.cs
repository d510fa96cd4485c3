using System.Diagnostics;
using Microsoft.Data.Sqlite;
using MlflowCompat.Storage.Sqlite;

namespace MlflowCompat.Bench.Limits;

/// <summary>
/// SQLite's limit: one connection, write-ahead log, <c>synchronous=FULL</c>, prepared statements, one commit after the other. The scratch
/// file lies beside the given one, on the same disk.
/// </summary>
internal sealed class SqliteLimit : DatabaseLimit
{
    private readonly SqliteDatabase scratch;
    private readonly SqliteConnection connection;
    private readonly long run;
    private long step;

    private SqliteLimit(SqliteDatabase scratch, long run)
    {
        this.scratch = scratch;
        this.run = run;
        connection = scratch.Connect();
        Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000;");
    }

    /// <inheritdoc/>
    public override string Description => $"SQLite in {Path.GetDirectoryName(scratch.FilePath)}, one connection";

    /// <summary>Makes a file with all migrations.</summary>
    public static async Task<SqliteLimit> OpenAsync(SqliteDatabase database)
    {
        var scratch = new SqliteDatabase($"{database.FilePath}.{ScratchName()}");
        var runs = await MakeRunsAsync(scratch, 1).ConfigureAwait(false);
        var limit = new SqliteLimit(scratch, runs[0]);
        limit.FillLog();
        return limit;
    }

    /// <inheritdoc/>
    public override double Measure(int rowsPerCommit, double seconds)
    {
        using var begin = Command("BEGIN IMMEDIATE");
        using var commit = Command("COMMIT");
        using var insert = Command(
            "INSERT INTO metrics (run_id, metric_name, metric_value, metric_step, timestamp) VALUES ($1, $2, $3, $4, $5)");
        for (var i = 1; i <= 5; i++)
            insert.Parameters.Add(new SqliteParameter { ParameterName = $"${i}" });
        insert.Parameters[0].Value = run;
        long rows = 0;
        var started = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(started).TotalSeconds < seconds)
        {
            begin.ExecuteNonQuery();
            for (var i = 0; i < rowsPerCommit; i++, step++)
            {
                insert.Parameters[1].Value = rowsPerCommit == 1 ? "loss" : $"metric_{step % Keys}";
                insert.Parameters[2].Value = 1 / (1.7 + step);
                insert.Parameters[3].Value = step;
                insert.Parameters[4].Value = Seeding.SeededRuns.FirstStart + step;
                insert.ExecuteNonQuery();
            }

            commit.ExecuteNonQuery();
            rows += rowsPerCommit;
        }

        return rows / Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await connection.DisposeAsync().ConfigureAwait(false);
        await scratch.DisposeAsync().ConfigureAwait(false);
        foreach (var suffix in (string[])["", "-wal", "-shm"])
            File.Delete(scratch.FilePath + suffix);
    }

    /// <summary>
    /// Gives the write-ahead log its length first. SQLite writes over it from its start every thousand pages; until then each commit makes
    /// the file longer, which costs the file system more than the commit itself, and which no server does for long.
    /// </summary>
    private void FillLog()
    {
        Execute("PRAGMA wal_autocheckpoint = 0");
        Measure(10_000, 0.5);
        Execute("PRAGMA wal_checkpoint(RESTART); PRAGMA wal_autocheckpoint = 1000;");
    }

    private void Execute(string sql)
    {
        using var command = Command(sql);
        command.ExecuteNonQuery();
    }

    private SqliteCommand Command(string sql)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        return command;
    }
}
