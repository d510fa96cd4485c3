using System.Security.Cryptography;
using System.Text.Json;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;
using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;

namespace MlflowCompat.Bench.Seeding;

/// <summary>
/// Makes the data that is read straight in a database of this server, with the values that its API would have written. What is there
/// already is left as it is.
/// </summary>
internal abstract class BulkSeeder : IAsyncDisposable
{
    private static readonly RowsInsert Models = new("""
        INSERT INTO registered_models (registered_model_name, tags, created_at, updated_at)
        SELECT name, tags::jsonb, created, updated FROM unnest($1, $2, $3, $4) AS model(name, tags, created, updated)
        """)
    {
        Sqlite = "INSERT INTO registered_models (registered_model_name, tags, created_at, updated_at) VALUES (?1, ?2, ?3, ?4)",
    };

    private static readonly RowsInsert ModelVersions = new("""
        INSERT INTO model_registry (registered_model_name, model_version, current_stage, source, storage_location, source_run_uuid, tags, description,
            run_link, created_at, updated_at)
        SELECT name, version, stage, source, source, run, tags::jsonb, '', '', made, made
        FROM unnest($1, $2, $3, $4, $5, $6, $7) AS one(name, version, stage, source, run, tags, made)
        """)
    {
        Sqlite = """
            INSERT INTO model_registry (registered_model_name, model_version, current_stage, source, storage_location, source_run_uuid, tags, description,
                run_link, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, '', '', ?7, ?7)
            """,
    };

    private static readonly RowsInsert Aliases = new("registered_model_aliases", "registered_model_name, alias, model_version");

    private readonly Database database;

    /// <summary>Seeds a database.</summary>
    protected BulkSeeder(Database database) => this.database = database;

    /// <summary>Opens a database and brings its schema up.</summary>
    /// <exception cref="FormatException">The address is of no known form.</exception>
    /// <exception cref="System.Data.Common.DbException">The database cannot be reached.</exception>
    /// <exception cref="SchemaRefusedException">It is not one of this server's.</exception>
    public static async Task<BulkSeeder> OpenAsync(string backendStoreUri)
    {
        var database = BackendStoreUri.Parse(backendStoreUri);
        await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None).ConfigureAwait(false);
        return database switch
        {
            PostgreSqlDatabase postgreSql => new PostgreSqlSeeder(postgreSql),
            SqliteDatabase sqlite => new SqliteSeeder(sqlite),
            _ => throw new InvalidOperationException($"No seeder for {database.GetType()}."),
        };
    }

    /// <summary>Makes an experiment with so many of the <see cref="SeededRuns"/>.</summary>
    /// <returns>Whether it had to be made.</returns>
    public async Task<bool> SeedRunsAsync(int runs)
    {
        if (await FindExperimentAsync(SeededRuns.Experiment(runs)).ConfigureAwait(false) is not null)
            return false;
        var experimentId = await MakeExperimentAsync(SeededRuns.Experiment(runs)).ConfigureAwait(false);
        await WriteRunsAsync(experimentId, runs).ConfigureAwait(false);
        await AnalyzeAsync().ConfigureAwait(false);
        return true;
    }

    /// <summary>Makes a run with so many points of one metric.</summary>
    /// <inheritdoc cref="SeedRunsAsync"/>
    public async Task<bool> SeedHistoryAsync(int points)
    {
        var experimentId = await FindExperimentAsync(SeededRuns.HistoryExperiment).ConfigureAwait(false)
            ?? await MakeExperimentAsync(SeededRuns.HistoryExperiment).ConfigureAwait(false);
        var name = SeededRuns.HistoryRun(points);
        if (await FindAsync(
            database.Statement("SELECT run_id FROM runs WHERE experiment_id = $1 AND run_name = $2").Add(experimentId).Add(name))
            .ConfigureAwait(false) is not null)
        {
            return false;
        }

        await WriteHistoryAsync(experimentId, name, points).ConfigureAwait(false);
        await AnalyzeAsync().ConfigureAwait(false);
        return true;
    }

    /// <summary>Makes so many of the <see cref="SeededModels"/>.</summary>
    /// <inheritdoc cref="SeedRunsAsync"/>
    public async Task<bool> SeedModelsAsync(int models)
    {
        if (await FindAsync(database.Statement("SELECT 1 FROM registered_models WHERE registered_model_name = $1").Add(SeededModels.Name(models - 1)))
            .ConfigureAwait(false) is not null)
        {
            return false;
        }

        var versions = Enumerable.Range(0, models).SelectMany(model => Enumerable.Range(1, SeededModels.Versions).Select(version => (model, version))).ToArray();
        var aliased = Enumerable.Range(0, models).Where(SeededModels.HasAlias).ToArray();
        await database.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteLastAsync(
                    database.Rows(Models)
                        .Add([.. Enumerable.Range(0, models).Select(SeededModels.Name)])
                        .Add([.. Enumerable.Range(0, models).Select(model => ToJson(SeededModels.TagsOf(model)))])
                        .AddTimes([.. Enumerable.Range(0, models).Select(model => SeededModels.Time(model, 1))])
                        .AddTimes([.. Enumerable.Range(0, models).Select(model => SeededModels.Time(model, SeededModels.Versions))]),
                    token).ConfigureAwait(false);
                await session.ExecuteLastAsync(
                    database.Rows(ModelVersions)
                        .Add([.. versions.Select(one => SeededModels.Name(one.model))])
                        .Add([.. versions.Select(one => (long)one.version)])
                        .Add([.. versions.Select(one => SeededModels.Stage(one.model, one.version))])
                        .Add([.. versions.Select(one => SeededModels.Source(one.model, one.version))])
                        .Add([.. versions.Select(one => SeededModels.Run(one.model, one.version))])
                        .Add([.. versions.Select(one => ToJson(SeededModels.TagsOf(one.model, one.version)))])
                        .AddTimes([.. versions.Select(one => SeededModels.Time(one.model, one.version))]),
                    token).ConfigureAwait(false);
                await session.ExecuteLastAsync(
                    database.Rows(Aliases)
                        .Add([.. aliased.Select(SeededModels.Name)])
                        .Add([.. aliased.Select(_ => SeededModels.Alias)])
                        .Add([.. aliased.Select(_ => (long)SeededModels.AliasedVersion)]),
                    token).ConfigureAwait(false);
            },
            CancellationToken.None).ConfigureAwait(false);
        await AnalyzeAsync().ConfigureAwait(false);
        return true;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => database.DisposeAsync();

    /// <summary>Writes the runs of an experiment.</summary>
    protected abstract Task WriteRunsAsync(long experimentId, int runs);

    /// <summary>Writes a run with a history.</summary>
    protected abstract Task WriteHistoryAsync(long experimentId, string name, int points);

    /// <summary>Tells the planner what is there now.</summary>
    protected abstract Task AnalyzeAsync();

    /// <summary>As the server makes them for runs that bring none.</summary>
    protected static string RandomFingerprint() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    /// <summary>As the server makes it for an experiment without a location of its own.</summary>
    protected static string ArtifactUri(long experimentId, Guid run) => $"mlflow-artifacts:/{experimentId}/{run:N}/artifacts";

    /// <summary>The column of tags, that of the name included.</summary>
    protected static string TagsJson(string name, IEnumerable<(string Key, string Value)> tags) => ToJson(tags.Append(("mlflow.runName", name)));

    private static string ToJson(IEnumerable<(string Key, string Value)> tags)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            foreach (var (key, value) in tags)
                json.WriteString(key, value);
            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length);
    }

    private Task<long?> FindExperimentAsync(string name) =>
        FindAsync(database.Statement("SELECT experiment_id FROM experiments WHERE experiment_name = $1").Add(name));

    private async Task<long?> FindAsync(Statement statement)
    {
        var session = await database.OpenAsync(CancellationToken.None).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await session.ScalarAsync<long>(statement, CancellationToken.None).ConfigureAwait(false);
    }

    private Task<long> MakeExperimentAsync(string name) => database.WriteAsync(
        async (session, token) =>
        {
            // The number 0 belongs to Default, which the server makes only in a database without experiments.
            await session.ExecuteAsync(
                database.Statement("""
                    INSERT INTO experiments (experiment_id, experiment_name, artifact_location)
                    SELECT 0, 'Default', 'mlflow-artifacts:/0' WHERE NOT EXISTS (SELECT 1 FROM experiments)
                    """),
                token).ConfigureAwait(false);
            var id = await session.ScalarAsync<long>(
                database.Statement("INSERT INTO experiments (experiment_name, tags) VALUES ($1, $2) RETURNING experiment_id")
                    .Add(name).AddJson("{}"),
                token).ConfigureAwait(false);
            await session.ExecuteAsync(
                database.Statement("UPDATE experiments SET artifact_location = $2 WHERE experiment_id = $1")
                    .Add(id!.Value).Add($"mlflow-artifacts:/{id}"),
                token).ConfigureAwait(false);
            return id.Value;
        },
        CancellationToken.None);
}
