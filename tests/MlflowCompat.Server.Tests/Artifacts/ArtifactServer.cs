using System.Reflection;
using MlflowCompat.Artifacts;
using MlflowCompat.Artifacts.S3;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage;
using Xunit.Sdk;

namespace MlflowCompat.Server.Tests.Artifacts;

/// <summary>What keeps the artifacts of a test.</summary>
public enum StoreKind
{
    Local,
    S3,
}

/// <summary>Runs a theory on each database with each kind of store, which are its first two arguments.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class EachStoreAttribute : DataAttribute
{
    public override IEnumerable<object[]> GetData(MethodInfo testMethod) =>
        from database in (DatabaseKind[])[DatabaseKind.Sqlite, DatabaseKind.PostgreSql]
        from store in Enum.GetValues<StoreKind>()
        select new object[] { database, store };
}

/// <summary>A server, and the store of its artifacts, which a test can reach past it.</summary>
internal sealed class ArtifactServer : IAsyncDisposable
{
    /// <summary>What all keys begin with.</summary>
    public const string Prefix = "a/prefix/";

    /// <summary>The artifacts destination on S3.</summary>
    public const string Destination = "s3://bucket/a/prefix";

    private static readonly Dictionary<DatabaseKind, Lazy<Task<ArtifactServer>>> OnS3 = new()
    {
        [DatabaseKind.Sqlite] = new(() => StartAsync(DatabaseKind.Sqlite, StoreKind.S3)),
        [DatabaseKind.PostgreSql] = new(() => StartAsync(DatabaseKind.PostgreSql, StoreKind.S3)),
    };

    private ArtifactServer(TestServer server, FakeS3? s3) => (Server, this.s3) = (server, s3);

    private readonly FakeS3? s3;

    public TestServer Server { get; }

    /// <summary>The store, of a server that has it there.</summary>
    public FakeS3 S3 => s3!;

    /// <summary>The server that all tests of the process share.</summary>
    public static async Task<TestServer> SharedAsync(DatabaseKind database, StoreKind store) =>
        store == StoreKind.S3 ? (await OnS3[database].Value).Server : await TestServer.SharedAsync(database);

    /// <summary>Starts a server on a fresh database, with an empty store.</summary>
    /// <param name="database">Which database.</param>
    /// <param name="store">Which store.</param>
    /// <param name="configure">Changes the options.</param>
    /// <param name="reach">Changes how S3 is reached.</param>
    public static async Task<ArtifactServer> StartAsync(
        DatabaseKind database, StoreKind store, Func<ServerOptions, ServerOptions>? configure = null, Func<S3Options, S3Options>? reach = null)
    {
        if (store == StoreKind.Local)
            return new(await TestServer.StartAsync(database, configure), null);
        var s3 = await FakeS3.StartAsync();
        return new(await TestServer.StartAsync(database, OnBucket(configure), Reaching(s3, reach)), s3);
    }

    /// <summary>What a server is told whose artifacts are on S3.</summary>
    public static Func<ServerOptions, ServerOptions> OnBucket(Func<ServerOptions, ServerOptions>? configure = null)
    {
        configure ??= options => options;
        return options => configure(options with { ArtifactsDestination = Destination });
    }

    /// <summary>How S3 is reached.</summary>
    public static ArtifactStoreOptions Reaching(FakeS3 s3, Func<S3Options, S3Options>? reach = null) =>
        new() { S3 = reach?.Invoke(s3.Options) ?? s3.Options };

    /// <summary>What the variables are that lead a server there.</summary>
    public static Dictionary<string, string> VariablesOf(FakeS3 s3) => new()
    {
        ["MLFLOW_S3_ENDPOINT_URL"] = s3.Endpoint.ToString(),
        ["AWS_ACCESS_KEY_ID"] = s3.Options.AccessKeyId!,
        ["AWS_SECRET_ACCESS_KEY"] = s3.Options.SecretAccessKey!,
        ["AWS_REGION"] = s3.Options.Region!,
    };

    /// <summary>Puts a file there without the server.</summary>
    public async Task WriteAsync(string path, string content)
    {
        if (s3 is not null)
        {
            s3.Write(Prefix + path, System.Text.Encoding.UTF8.GetBytes(content));
            return;
        }

        var file = Path.Combine(Server.Folder(), path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        await File.WriteAllTextAsync(file, content);
    }

    /// <summary>Takes a file away without the server.</summary>
    public void Remove(string path)
    {
        if (s3 is not null)
            s3.Remove(Prefix + path);
        else
            File.Delete(Path.Combine(Server.Folder(), path));
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        if (s3 is not null)
            await s3.DisposeAsync();
    }
}
