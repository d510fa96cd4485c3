using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Server.Tests;

/// <summary>
/// The real application on a loopback port of this process, on a migrated database of its own. Tests share one server per kind of
/// database and use names that nobody else uses (<see cref="ApiServer.FreshName"/>); a test that needs other options, or needs to be alone, starts
/// its own.
/// </summary>
public sealed class TestServer : ApiServer, IAsyncDisposable
{
    private static readonly Dictionary<DatabaseKind, Lazy<Task<TestServer>>> Shared = new()
    {
        [DatabaseKind.Sqlite] = new(() => StartAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => StartAsync(DatabaseKind.PostgreSql)),
    };

    private readonly WebApplication app;
    private readonly TestDatabase? ownDatabase;

    private TestServer(WebApplication app, Database database, TestDatabase? ownDatabase)
        : base(app.Urls.First())
    {
        this.app = app;
        this.ownDatabase = ownDatabase;
        Database = database;
    }

    /// <summary>What the server stores in.</summary>
    public Database Database { get; }

    /// <summary>The server that all tests of the process share.</summary>
    public static Task<TestServer> SharedAsync(DatabaseKind kind) => Shared[kind].Value;

    /// <summary>Starts a server on a fresh database.</summary>
    /// <param name="kind">Which database.</param>
    /// <param name="configure">Changes the options; the address of the database and the port are given.</param>
    /// <param name="artifacts">How stores of artifacts are reached.</param>
    public static async Task<TestServer> StartAsync(
        DatabaseKind kind, Func<ServerOptions, ServerOptions>? configure = null, ArtifactStoreOptions? artifacts = null)
    {
        var database = await TestDatabase.CreateAsync(kind);
        return await StartAsync(database.Address, configure, artifacts, database);
    }

    /// <summary>Starts a server on a database that may be in use by others.</summary>
    public static Task<TestServer> StartAsync(
        string backendStoreUri, Func<ServerOptions, ServerOptions>? configure = null, ArtifactStoreOptions? artifacts = null) =>
        StartAsync(backendStoreUri, configure, artifacts, null);

    /// <summary>What the server is made of.</summary>
    public IServiceProvider Services => app.Services;

    /// <summary>Stops the server as a signal would: it takes no new requests and ends those that it has.</summary>
    public Task StopAsync() => app.StopAsync();

    /// <summary>Stops the server and removes its database.</summary>
    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await app.DisposeAsync();
        await Database.DisposeAsync();
        if (ownDatabase is not null)
            await ownDatabase.DisposeAsync();
    }

    private static async Task<TestServer> StartAsync(
        string backendStoreUri, Func<ServerOptions, ServerOptions>? configure, ArtifactStoreOptions? artifacts, TestDatabase? ownDatabase)
    {
        var options = new ServerOptions
        {
            BackendStoreUri = backendStoreUri,
            ArtifactsDestination = Path.Combine(TestFolder.Create(), "artifacts"),
            Port = 0,
        };
        options = configure?.Invoke(options) ?? options;
        var database = BackendStoreUri.Parse(options.BackendStoreUri, Conditions.DefineSqliteFunctions);
        await new SchemaMigrator(database).UpgradeAsync(CancellationToken.None);
        var app = MlflowApp.Build(options, database, artifacts);
        using (var scope = app.Services.CreateScope())
            await scope.ServiceProvider.GetRequiredService<ExperimentStore>().EnsureDefaultAsync(CancellationToken.None);
        await app.StartAsync();
        return new TestServer(app, database, ownDatabase);
    }
}
