using System.Diagnostics;
using MlflowCompat.Storage.Migrations;
using MlflowCompat.Storage.PostgreSql;
using Npgsql;
using NpgsqlTypes;

namespace MlflowCompat.Bench.Limits;

/// <summary>PostgreSQL's limit: connections in parallel, each with a prepared statement and a commit per statement.</summary>
internal sealed class PostgreSqlLimit : DatabaseLimit
{
    private readonly string schema;
    private readonly string connectionString;
    private readonly PostgreSqlDatabase scratch;
    private readonly IReadOnlyList<long> runs;
    private long step;

    private PostgreSqlLimit(string schema, string connectionString, PostgreSqlDatabase scratch, IReadOnlyList<long> runs)
    {
        this.schema = schema;
        this.connectionString = connectionString;
        this.scratch = scratch;
        this.runs = runs;
    }

    /// <inheritdoc/>
    public override string Description => $"{scratch.Description}, {runs.Count} connections";

    /// <summary>Makes a schema of its own with all migrations.</summary>
    public static async Task<PostgreSqlLimit> OpenAsync(PostgreSqlDatabase database, int connections)
    {
        var schema = ScratchName();
        await ExecuteAsync(database, $"CREATE SCHEMA {schema}").ConfigureAwait(false);
        var settings = new NpgsqlConnectionStringBuilder(database.ConnectionString)
        {
            // Nothing else: the tables of the server may be in public, and must be neither measured nor migrated.
            SearchPath = schema,
            MaxPoolSize = Math.Max(connections + 2, 10),
        };
        var scratch = new PostgreSqlDatabase(settings.ToString());
        try
        {
            return new PostgreSqlLimit(
                schema, settings.ToString(), scratch, await MakeRunsAsync(scratch, connections).ConfigureAwait(false));
        }
        catch
        {
            await RemoveAsync(scratch, schema).ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public override double Measure(int rowsPerCommit, double seconds)
    {
        using var ready = new CountdownEvent(runs.Count);
        using var go = new ManualResetEventSlim();
        long rows = 0;
        var threads = runs.Select(run => new Thread(() =>
        {
            using var connection = new NpgsqlConnection(connectionString);
            connection.Open();
            using var command = rowsPerCommit == 1 ? OneRow(connection, run) : ManyRows(connection, run, rowsPerCommit);
            command.Prepare();
            ready.Signal();
            go.Wait();
            var started = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(started).TotalSeconds < seconds)
            {
                Fill(command, Interlocked.Add(ref step, rowsPerCommit) - rowsPerCommit, rowsPerCommit);
                command.ExecuteNonQuery();
                Interlocked.Add(ref rows, rowsPerCommit);
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        ready.Wait();
        var start = Stopwatch.GetTimestamp();
        go.Set();
        threads.ForEach(thread => thread.Join());
        return rows / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => RemoveAsync(scratch, schema);

    private static async ValueTask RemoveAsync(PostgreSqlDatabase scratch, string schema)
    {
        // What the migrations share with other schemas is only theirs to take back.
        await new SchemaMigrator(scratch).DowngradeAsync(null, CancellationToken.None).ConfigureAwait(false);
        await ExecuteAsync(scratch, $"DROP SCHEMA {schema} CASCADE").ConfigureAwait(false);
        await scratch.DisposeAsync().ConfigureAwait(false);
    }

    private static NpgsqlCommand OneRow(NpgsqlConnection connection, long run) =>
        new("INSERT INTO metrics (run_id, metric_name, metric_value, metric_step, timestamp) VALUES ($1, $2, $3, $4, $5)", connection)
        {
            Parameters =
            {
                new NpgsqlParameter<long> { TypedValue = run },
                new NpgsqlParameter<string>(),
                new NpgsqlParameter<double>(),
                new NpgsqlParameter<long>(),
                new NpgsqlParameter<DateTime> { NpgsqlDbType = NpgsqlDbType.Timestamp },
            },
        };

    private static NpgsqlCommand ManyRows(NpgsqlConnection connection, long run, int rows) =>
        new(
            """
            INSERT INTO metrics (run_id, metric_name, metric_value, metric_step, timestamp)
            SELECT $1, * FROM unnest($2, $3, $4, $5)
            """,
            connection)
        {
            Parameters =
            {
                new NpgsqlParameter<long> { TypedValue = run },
                new NpgsqlParameter<string[]> { TypedValue = new string[rows] },
                new NpgsqlParameter<double[]> { TypedValue = new double[rows] },
                new NpgsqlParameter<long[]> { TypedValue = new long[rows] },
                new NpgsqlParameter<DateTime[]> { TypedValue = new DateTime[rows], NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Timestamp },
            },
        };

    private static void Fill(NpgsqlCommand command, long first, int rows)
    {
        if (rows == 1)
        {
            ((NpgsqlParameter<string>)command.Parameters[1]).TypedValue = "loss";
            ((NpgsqlParameter<double>)command.Parameters[2]).TypedValue = 1 / (1.7 + first);
            ((NpgsqlParameter<long>)command.Parameters[3]).TypedValue = first;
            ((NpgsqlParameter<DateTime>)command.Parameters[4]).TypedValue = Time(first);
            return;
        }

        var names = ((NpgsqlParameter<string[]>)command.Parameters[1]).TypedValue!;
        var values = ((NpgsqlParameter<double[]>)command.Parameters[2]).TypedValue!;
        var steps = ((NpgsqlParameter<long[]>)command.Parameters[3]).TypedValue!;
        var times = ((NpgsqlParameter<DateTime[]>)command.Parameters[4]).TypedValue!;
        for (var i = 0; i < rows; i++)
        {
            names[i] = $"metric_{i % Keys}";
            steps[i] = (first + i) / Keys;
            values[i] = 1 / (1.7 + first + i);
            times[i] = Time(steps[i]);
        }
    }

    private static DateTime Time(long step) =>
        DateTime.SpecifyKind(DateTime.UnixEpoch.AddMilliseconds(Seeding.SeededRuns.FirstStart + step), DateTimeKind.Unspecified);

    private static async Task ExecuteAsync(PostgreSqlDatabase database, string sql)
    {
        var connection = await database.ConnectAsync(CancellationToken.None).ConfigureAwait(false);
        await using var owned = connection.ConfigureAwait(false);
        var command = new NpgsqlCommand(sql, connection);
        await using var ownedCommand = command.ConfigureAwait(false);
        await command.ExecuteNonQueryAsync().ConfigureAwait(false);
    }
}
