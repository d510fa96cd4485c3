using MlflowCompat.Storage.PostgreSql;
using Npgsql;
using NpgsqlTypes;

namespace MlflowCompat.Bench.Seeding;

/// <summary>Seeds PostgreSQL by COPY.</summary>
internal sealed class PostgreSqlSeeder(PostgreSqlDatabase database) : BulkSeeder(database)
{
    private const string RunColumns =
        "run_id, run_uuid, experiment_id, run_name, run_fingerprint, status, user_id, artifact_uri, source_type, tags, start_time, end_time, "
        + "execution_duration_seconds";

    private readonly PostgreSqlDatabase database = database;

    /// <inheritdoc/>
    protected override Task WriteRunsAsync(long experimentId, int runs) => InTransactionAsync(async connection =>
    {
        var first = await ReserveKeysAsync(connection, runs).ConfigureAwait(false);
        await CopyAsync(connection, $"runs ({RunColumns})", async copy =>
        {
            for (var run = 0; run < runs; run++)
            {
                await WriteRunAsync(
                    copy, first + run, experimentId, SeededRuns.Name(run), SeededRuns.StartTime(run), SeededRuns.TagsOf(run)).ConfigureAwait(false);
            }
        }).ConfigureAwait(false);
        await CopyAsync(connection, "metrics (run_id, metric_name, metric_value, timestamp)", async copy =>
        {
            for (var run = 0; run < runs; run++)
            {
                foreach (var (key, value) in SeededRuns.MetricsOf(run, runs))
                {
                    await copy.StartRowAsync().ConfigureAwait(false);
                    await copy.WriteAsync(first + run, NpgsqlDbType.Bigint).ConfigureAwait(false);
                    await copy.WriteAsync(key, NpgsqlDbType.Varchar).ConfigureAwait(false);
                    await copy.WriteAsync(value, NpgsqlDbType.Double).ConfigureAwait(false);
                    await copy.WriteAsync(Time(SeededRuns.StartTime(run)), NpgsqlDbType.Timestamp).ConfigureAwait(false);
                }
            }
        }).ConfigureAwait(false);
        await CopyAsync(connection, "latest_metrics (run_id, metric_name, metric_value, metric_step, metric_timestamp_ms)", async copy =>
        {
            for (var run = 0; run < runs; run++)
            {
                foreach (var (key, value) in SeededRuns.MetricsOf(run, runs))
                    await WriteLatestAsync(copy, first + run, key, value, 0, SeededRuns.StartTime(run)).ConfigureAwait(false);
            }
        }).ConfigureAwait(false);
        await CopyAsync(connection, "hyperparameters (run_id, param_key, param_value)", async copy =>
        {
            for (var run = 0; run < runs; run++)
            {
                foreach (var (key, value) in SeededRuns.ParamsOf(run))
                {
                    await copy.StartRowAsync().ConfigureAwait(false);
                    await copy.WriteAsync(first + run, NpgsqlDbType.Bigint).ConfigureAwait(false);
                    await copy.WriteAsync(key, NpgsqlDbType.Varchar).ConfigureAwait(false);
                    await copy.WriteAsync(value, NpgsqlDbType.Text).ConfigureAwait(false);
                }
            }
        }).ConfigureAwait(false);
    });

    /// <inheritdoc/>
    protected override Task WriteHistoryAsync(long experimentId, string name, int points) => InTransactionAsync(async connection =>
    {
        var run = await ReserveKeysAsync(connection, 1).ConfigureAwait(false);
        await CopyAsync(
            connection,
            $"runs ({RunColumns})",
            copy => WriteRunAsync(copy, run, experimentId, name, SeededRuns.FirstStart, [])).ConfigureAwait(false);
        await CopyAsync(connection, "metrics (run_id, metric_name, metric_value, metric_step, timestamp)", async copy =>
        {
            for (var step = 0; step < points; step++)
            {
                await copy.StartRowAsync().ConfigureAwait(false);
                await copy.WriteAsync(run, NpgsqlDbType.Bigint).ConfigureAwait(false);
                await copy.WriteAsync(SeededRuns.HistoryMetric, NpgsqlDbType.Varchar).ConfigureAwait(false);
                await copy.WriteAsync(SeededRuns.HistoryValue(step), NpgsqlDbType.Double).ConfigureAwait(false);
                await copy.WriteAsync((long)step, NpgsqlDbType.Bigint).ConfigureAwait(false);
                await copy.WriteAsync(Time(SeededRuns.FirstStart + step), NpgsqlDbType.Timestamp).ConfigureAwait(false);
            }
        }).ConfigureAwait(false);
        var last = points - 1;
        await CopyAsync(
            connection,
            "latest_metrics (run_id, metric_name, metric_value, metric_step, metric_timestamp_ms)",
            copy => WriteLatestAsync(
                copy, run, SeededRuns.HistoryMetric, SeededRuns.HistoryValue(last), last, SeededRuns.FirstStart + last)).ConfigureAwait(false);
    });

    /// <inheritdoc/>
    protected override async Task AnalyzeAsync()
    {
        var connection = await database.ConnectAsync(CancellationToken.None).ConfigureAwait(false);
        await using var owned = connection.ConfigureAwait(false);
        // Autovacuum would do the same within a few minutes, in the midst of measuring.
        var command = new NpgsqlCommand(
            "VACUUM (ANALYZE) experiments, runs, metrics, latest_metrics, hyperparameters, registered_models, model_registry, registered_model_aliases",
            connection) { CommandTimeout = 0 };
        await using var ownedCommand = command.ConfigureAwait(false);
        await command.ExecuteNonQueryAsync().ConfigureAwait(false);
    }

    private async Task InTransactionAsync(Func<NpgsqlConnection, Task> write)
    {
        var connection = await database.ConnectAsync(CancellationToken.None).ConfigureAwait(false);
        await using var owned = connection.ConfigureAwait(false);
        var transaction = await connection.BeginTransactionAsync().ConfigureAwait(false);
        await using var ownedTransaction = transaction.ConfigureAwait(false);
        // Every row refers to what this transaction has made, so that a superuser may leave the checks of foreign keys out.
        var command = new NpgsqlCommand(
            "SELECT set_config('session_replication_role', 'replica', true) FROM pg_roles WHERE rolname = current_user AND rolsuper", connection);
        await using (command.ConfigureAwait(false))
            await command.ExecuteNonQueryAsync().ConfigureAwait(false);
        await write(connection).ConfigureAwait(false);
        await transaction.CommitAsync().ConfigureAwait(false);
    }

    private static async Task<long> ReserveKeysAsync(NpgsqlConnection connection, int count)
    {
        var command = new NpgsqlCommand(
            "SELECT setval(s, nextval(s) + $1 - 1) - $1 + 1 FROM (SELECT pg_get_serial_sequence('runs', 'run_id')::regclass AS s) sequence",
            connection) { Parameters = { new NpgsqlParameter<long> { TypedValue = count } } };
        await using var owned = command.ConfigureAwait(false);
        return (long)(await command.ExecuteScalarAsync().ConfigureAwait(false))!;
    }

    private static async Task CopyAsync(NpgsqlConnection connection, string target, Func<NpgsqlBinaryImporter, Task> write)
    {
        var copy = await connection.BeginBinaryImportAsync($"COPY {target} FROM STDIN (FORMAT BINARY)").ConfigureAwait(false);
        await using var owned = copy.ConfigureAwait(false);
        copy.Timeout = Timeout.InfiniteTimeSpan;
        await write(copy).ConfigureAwait(false);
        await copy.CompleteAsync().ConfigureAwait(false);
    }

    private static async Task WriteRunAsync(
        NpgsqlBinaryImporter copy, long key, long experimentId, string name, long start, IEnumerable<(string Key, string Value)> tags)
    {
        var id = Guid.NewGuid();
        await copy.StartRowAsync().ConfigureAwait(false);
        await copy.WriteAsync(key, NpgsqlDbType.Bigint).ConfigureAwait(false);
        await copy.WriteAsync(id, NpgsqlDbType.Uuid).ConfigureAwait(false);
        await copy.WriteAsync(experimentId, NpgsqlDbType.Bigint).ConfigureAwait(false);
        await copy.WriteAsync(name, NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync(RandomFingerprint(), NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync("completed", NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync("bench", NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync(ArtifactUri(experimentId, id), NpgsqlDbType.Text).ConfigureAwait(false);
        await copy.WriteAsync("api", NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync(TagsJson(name, tags), NpgsqlDbType.Jsonb).ConfigureAwait(false);
        await copy.WriteAsync(Time(start), NpgsqlDbType.Timestamp).ConfigureAwait(false);
        await copy.WriteAsync(Time(start + SeededRuns.Duration), NpgsqlDbType.Timestamp).ConfigureAwait(false);
        await copy.WriteAsync(SeededRuns.Duration / 1000m, NpgsqlDbType.Numeric).ConfigureAwait(false);
    }

    private static async Task WriteLatestAsync(NpgsqlBinaryImporter copy, long run, string key, double value, long step, long timestamp)
    {
        await copy.StartRowAsync().ConfigureAwait(false);
        await copy.WriteAsync(run, NpgsqlDbType.Bigint).ConfigureAwait(false);
        await copy.WriteAsync(key, NpgsqlDbType.Varchar).ConfigureAwait(false);
        await copy.WriteAsync(value, NpgsqlDbType.Double).ConfigureAwait(false);
        await copy.WriteAsync(step, NpgsqlDbType.Bigint).ConfigureAwait(false);
        await copy.WriteAsync(timestamp, NpgsqlDbType.Bigint).ConfigureAwait(false);
    }

    private static DateTime Time(long milliseconds) =>
        DateTime.SpecifyKind(DateTime.UnixEpoch.AddMilliseconds(milliseconds), DateTimeKind.Unspecified);
}
