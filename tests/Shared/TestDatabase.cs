using MlflowCompat.Storage;

namespace MlflowCompat.Testing;

/// <summary>A database of one's own, empty at first and removed at the end.</summary>
public sealed class TestDatabase : IAsyncDisposable
{
    private static readonly Dictionary<DatabaseKind, Lazy<Task<TestDatabase>>> Shared = new()
    {
        [DatabaseKind.Sqlite] = new(() => CreateAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => CreateAsync(DatabaseKind.PostgreSql)),
    };

    private readonly Func<Task> remove;

    private TestDatabase(DatabaseKind kind, string address, Func<Task> remove)
    {
        Kind = kind;
        Address = address;
        this.remove = remove;
    }

    /// <summary>Which database it is.</summary>
    public DatabaseKind Kind { get; }

    /// <summary>What <see cref="BackendStoreUri.Parse"/> takes.</summary>
    public string Address { get; }

    /// <summary>Makes one; the SQLite file is not there yet.</summary>
    public static async Task<TestDatabase> CreateAsync(DatabaseKind kind)
    {
        if (kind == DatabaseKind.Sqlite)
        {
            var folder = TestFolder.Create();
            return new TestDatabase(kind, $"sqlite:///{folder}/test.db", () =>
            {
                TestFolder.Remove(folder);
                return Task.CompletedTask;
            });
        }

        var server = await PostgreSqlServer.SharedAsync();
        var address = await server.CreateDatabaseAsync();
        return new TestDatabase(kind, address, () => server.DropDatabaseAsync(address));
    }

    /// <summary>One for all tests of the process that get along with each other's tables; nobody removes it.</summary>
    public static Task<TestDatabase> SharedAsync(DatabaseKind kind) => Shared[kind].Value;

    /// <summary>Opens it, as often as needed; whoever opens it closes it.</summary>
    public Database Open() => BackendStoreUri.Parse(Address);

    public async ValueTask DisposeAsync() => await remove();
}
