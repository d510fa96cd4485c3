using System.Text;
using MlflowCompat.Testing;

namespace MlflowCompat.Artifacts.Tests;

/// <summary>A store in a folder of its own, and short words for what tests do with it.</summary>
internal sealed class LocalStore : IDisposable
{
    private readonly ArtifactStores stores = new(new ArtifactStoreOptions());

    /// <param name="root">An existing or missing folder; one of its own if left out, not made yet.</param>
    public LocalStore(string? root = null)
    {
        Root = root ?? Path.Combine(Folder, "root");
        Store = stores.Open(Root);
    }

    /// <summary>Outside of the root.</summary>
    public string Folder { get; } = TestFolder.Create();

    public string Root { get; }

    public ArtifactStore Store { get; }

    /// <summary>What lies in the staging folder.</summary>
    public string[] Staged
    {
        get
        {
            var staging = Path.Combine(Root, ".mlflow-compat", "uploads");
            return Directory.Exists(staging) ? [.. Directory.EnumerateFileSystemEntries(staging)] : [];
        }
    }

    public static ArtifactPath P(string path) => ArtifactPath.Parse(path);

    /// <summary>The path on disk.</summary>
    public string On(string path) => Path.Combine(Root, path);

    public Task<StagedArtifact> StageAsync(string path, string content)
    {
        var bytes = Encoding.UTF8.GetBytes(content);
        return Store.StageAsync(P(path), new MemoryStream(bytes), bytes.Length, default);
    }

    public async Task<ArtifactEntry> UploadAsync(string path, string content)
    {
        await using var staged = await StageAsync(path, content);
        return await staged.PublishAsync();
    }

    public async Task<string> ReadAsync(string path)
    {
        await using var content = await Store.OpenAsync(P(path), default);
        return await ReadAsync(content);
    }

    public static async Task<string> ReadAsync(ArtifactContent content)
    {
        var bytes = new MemoryStream();
        await content.CopyToAsync(bytes, 0, content.Entry.Size, default);
        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    /// <summary>Paths in a folder, those of folders with a slash at their end.</summary>
    public async Task<string[]> ListAsync(string path = "") =>
        [.. (await Store.ListAsync(P(path), default)).Select(entry => entry.Path.Value + (entry.IsFolder ? "/" : ""))];

    public async Task<ArtifactEntry?> FindAsync(string path) => await Store.FindAsync(P(path), default);

    public static async Task FailsAsync(ArtifactFault fault, Func<Task> action)
    {
        var exception = await Assert.ThrowsAsync<ArtifactStoreException>(action);
        Assert.Equal(fault, exception.Fault);
        Assert.DoesNotContain("/", exception.Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        stores.Dispose();
        TestFolder.Remove(Folder);
    }
}
