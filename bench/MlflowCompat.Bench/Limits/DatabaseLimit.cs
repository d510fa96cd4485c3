using System.Globalization;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;
using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;

namespace MlflowCompat.Bench.Limits;

/// <summary>
/// What the database itself can do on this machine: bare inserts into the table of metrics, with the same columns, indexes and foreign
/// keys as the server's, in a scratch place that is removed at the end. A server cannot log faster than this.
/// </summary>
internal abstract class DatabaseLimit : IAsyncDisposable
{
    /// <summary>Number of keys that the points are spread over, as in the workload log-batch.</summary>
    protected const int Keys = 10;

    /// <summary>Makes a scratch place beside the tables of a database.</summary>
    /// <param name="backendStoreUri">The database, in the words of <c>--backend-store-uri</c>.</param>
    /// <param name="connections">How many connections write at a time; one on SQLite, which has one writer.</param>
    /// <exception cref="FormatException">The address is of no known form.</exception>
    /// <exception cref="System.Data.Common.DbException">The database cannot be reached.</exception>
    public static async Task<DatabaseLimit> OpenAsync(string backendStoreUri, int connections)
    {
        var database = BackendStoreUri.Parse(backendStoreUri);
        await using var owned = database.ConfigureAwait(false);
        return database switch
        {
            PostgreSqlDatabase postgreSql => await PostgreSqlLimit.OpenAsync(postgreSql, connections).ConfigureAwait(false),
            SqliteDatabase sqlite => await SqliteLimit.OpenAsync(sqlite).ConfigureAwait(false),
            _ => throw new InvalidOperationException($"No limit for {database.GetType()}."),
        };
    }

    /// <summary>What is measured, for people.</summary>
    public abstract string Description { get; }

    /// <summary>Commits points for some time and returns the points per second.</summary>
    /// <param name="rowsPerCommit">Points in each commit.</param>
    /// <param name="seconds">How long.</param>
    public abstract double Measure(int rowsPerCommit, double seconds);

    /// <summary>Removes the scratch place.</summary>
    public abstract ValueTask DisposeAsync();

    /// <summary>Name of a scratch place.</summary>
    protected static string ScratchName() => string.Create(CultureInfo.InvariantCulture, $"bench_limit_{Environment.ProcessId}");

    /// <summary>Makes the tables and a run per connection.</summary>
    /// <returns>The keys of the runs.</returns>
    protected static async Task<IReadOnlyList<long>> MakeRunsAsync(Database database, int count)
    {
        await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None).ConfigureAwait(false);
        return await database.WriteAsync(
            async (session, token) =>
            {
                var experiment = await session.ScalarAsync<long>(
                    database.Statement("INSERT INTO experiments (experiment_name) VALUES ('limit') RETURNING experiment_id"), token)
                    .ConfigureAwait(false);
                var runs = new List<long>();
                for (var i = 0; i < count; i++)
                {
                    runs.Add((await session.ScalarAsync<long>(
                        database.Statement("INSERT INTO runs (run_uuid, experiment_id, run_name) VALUES ($1, $2, 'limit') RETURNING run_id")
                            .Add(Guid.NewGuid()).Add(experiment!.Value),
                        token).ConfigureAwait(false))!.Value);
                }

                return runs;
            },
            CancellationToken.None).ConfigureAwait(false);
    }
}
