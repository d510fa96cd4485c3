using Microsoft.Data.Sqlite;
using MlflowCompat.Storage.Sqlite;

namespace MlflowCompat.Bench.Seeding;

/// <summary>Seeds a SQLite file with prepared statements, some thousand runs in a commit.</summary>
internal sealed class SqliteSeeder(SqliteDatabase database) : BulkSeeder(database)
{
    private const int RunsPerCommit = 10_000;

    private readonly SqliteDatabase database = database;

    /// <inheritdoc/>
    protected override Task WriteRunsAsync(long experimentId, int runs)
    {
        using var connection = Connect();
        using var writer = new Writer(connection);
        for (var run = 0; run < runs; run++)
        {
            if (run % RunsPerCommit == 0)
                Execute(connection, run == 0 ? "BEGIN IMMEDIATE" : "COMMIT; BEGIN IMMEDIATE");
            var start = SeededRuns.StartTime(run);
            var key = writer.Run(experimentId, SeededRuns.Name(run), start, SeededRuns.TagsOf(run));
            foreach (var (name, value) in SeededRuns.MetricsOf(run, runs))
            {
                writer.Point(key, name, value, 0, start);
                writer.Latest(key, name, value, 0, start);
            }

            foreach (var (name, value) in SeededRuns.ParamsOf(run))
                writer.Param(key, name, value);
        }

        Execute(connection, "COMMIT");
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    protected override Task WriteHistoryAsync(long experimentId, string name, int points)
    {
        using var connection = Connect();
        using var writer = new Writer(connection);
        Execute(connection, "BEGIN IMMEDIATE");
        var key = writer.Run(experimentId, name, SeededRuns.FirstStart, []);
        for (var step = 0; step < points; step++)
            writer.Point(key, SeededRuns.HistoryMetric, SeededRuns.HistoryValue(step), step, SeededRuns.FirstStart + step);
        writer.Latest(key, SeededRuns.HistoryMetric, SeededRuns.HistoryValue(points - 1), points - 1, SeededRuns.FirstStart + points - 1);
        Execute(connection, "COMMIT");
        return Task.CompletedTask;
    }

    /// <summary>Nothing: the server's databases have no statistics, and its searches are written for that.</summary>
    protected override Task AnalyzeAsync() => Task.CompletedTask;

    /// <summary>The rows refer to what was made just before, and a machine that stops only means to seed again.</summary>
    private SqliteConnection Connect()
    {
        var connection = database.Connect();
        Execute(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -256000;");
        return connection;
    }

    private static void Execute(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.CommandTimeout = 0;
        command.ExecuteNonQuery();
    }

    private sealed class Writer(SqliteConnection connection) : IDisposable
    {
        private readonly SqliteCommand run = Prepare(
            connection,
            """
            INSERT INTO runs (run_uuid, experiment_id, run_name, run_fingerprint, status, user_id, artifact_uri, source_type, tags, start_time,
                end_time, execution_duration_seconds)
            VALUES ($1, $2, $3, $4, 'completed', 'bench', $5, 'api', $6, $7, $8, $9) RETURNING run_id
            """,
            9);

        private readonly SqliteCommand point = Prepare(
            connection, "INSERT INTO metrics (run_id, metric_name, metric_value, metric_step, timestamp) VALUES ($1, $2, $3, $4, $5)", 5);

        private readonly SqliteCommand latest = Prepare(
            connection,
            "INSERT INTO latest_metrics (run_id, metric_name, metric_value, metric_step, metric_timestamp_ms) VALUES ($1, $2, $3, $4, $5)",
            5);

        private readonly SqliteCommand param = Prepare(
            connection, "INSERT INTO hyperparameters (run_id, param_key, param_value) VALUES ($1, $2, $3)", 3);

        public long Run(long experimentId, string name, long start, IEnumerable<(string Key, string Value)> tags)
        {
            var id = Guid.NewGuid();
            Set(
                run,
                id.ToString("D"),
                experimentId,
                name,
                RandomFingerprint(),
                ArtifactUri(experimentId, id),
                TagsJson(name, tags),
                start,
                start + SeededRuns.Duration,
                SeededRuns.Duration / 1000.0);
            return (long)run.ExecuteScalar()!;
        }

        public void Point(long key, string name, double value, long step, long timestamp)
        {
            Set(point, key, name, value, step, timestamp);
            point.ExecuteNonQuery();
        }

        public void Latest(long key, string name, double value, long step, long timestamp)
        {
            Set(latest, key, name, value, step, timestamp);
            latest.ExecuteNonQuery();
        }

        public void Param(long key, string name, string value)
        {
            Set(param, key, name, value);
            param.ExecuteNonQuery();
        }

        public void Dispose()
        {
            foreach (var command in (SqliteCommand[])[run, point, latest, param])
                command.Dispose();
        }

        private static SqliteCommand Prepare(SqliteConnection connection, string sql, int parameters)
        {
            var command = connection.CreateCommand();
            command.CommandText = sql;
            for (var i = 1; i <= parameters; i++)
                command.Parameters.Add(new SqliteParameter { ParameterName = $"${i}" });
            return command;
        }

        private static void Set(SqliteCommand command, params ReadOnlySpan<object> values)
        {
            for (var i = 0; i < values.Length; i++)
                command.Parameters[i].Value = values[i];
        }
    }
}
