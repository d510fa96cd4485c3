using System.Reflection;
using MlflowCompat.Artifacts.S3;
using MlflowCompat.Testing;
using Xunit.Sdk;

namespace MlflowCompat.Artifacts.Tests;

/// <summary>What keeps the artifacts of a test.</summary>
public enum StoreKind
{
    Local,
    FakeS3,
    S3rver,
}

/// <summary>Runs a theory once on each kind of store that there can be here; the <see cref="StoreKind"/> is its first argument.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class EachStoreAttribute : DataAttribute
{
    public override IEnumerable<object[]> GetData(MethodInfo testMethod) =>
        Enum.GetValues<StoreKind>().Where(kind => kind != StoreKind.S3rver || S3Server.Impossible is null).Select(kind => new object[] { kind });
}

/// <summary>An empty store of a kind.</summary>
internal sealed class TestStore : IAsyncDisposable
{
    private static int count;

    private readonly ArtifactStores stores;
    private readonly Func<ValueTask> remove;

    private TestStore(S3Options options, string root, Func<ValueTask> remove)
    {
        stores = new ArtifactStores(new ArtifactStoreOptions { S3 = options });
        Store = stores.Open(root);
        this.remove = remove;
    }

    public ArtifactStore Store { get; }

    public static async Task<TestStore> CreateAsync(StoreKind kind)
    {
        switch (kind)
        {
            case StoreKind.Local:
                var folder = TestFolder.Create();
                return new(new S3Options(), Path.Combine(folder, "root"), () =>
                {
                    TestFolder.Remove(folder);
                    return ValueTask.CompletedTask;
                });
            case StoreKind.FakeS3:
                var fake = await FakeS3.StartAsync();
                return new(fake.Options, "s3://bucket/a/prefix", fake.DisposeAsync);
            default:
                var server = await S3Server.SharedAsync();
                var options = new S3Options
                {
                    Endpoint = server.Endpoint, PathStyle = true, AccessKeyId = S3Server.AccessKey, SecretAccessKey = S3Server.AccessKey,
                };
                return new(options, $"s3://{S3Server.Bucket}/test{Interlocked.Increment(ref count)}", () => ValueTask.CompletedTask);
        }
    }

    public async ValueTask DisposeAsync()
    {
        stores.Dispose();
        await remove();
    }
}
