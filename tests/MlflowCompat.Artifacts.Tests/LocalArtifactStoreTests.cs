using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Testing;

namespace MlflowCompat.Artifacts.Tests;

public sealed class LocalArtifactStoreTests : IDisposable
{
    private readonly string folder = TestFolder.Create();
    private readonly string root;
    private readonly ArtifactStores stores = new(new ArtifactStoreOptions());
    private readonly ArtifactStore store;

    public LocalArtifactStoreTests()
    {
        root = Path.Combine(folder, "root");
        store = stores.Open(root);
    }

    public void Dispose()
    {
        stores.Dispose();
        TestFolder.Remove(folder);
    }

    [Fact]
    public async Task Upload_OfFile_IsSeenOncePublished()
    {
        Assert.Empty(await ListAsync(""));
        Assert.Null(await store.FindAsync(P("a/b.txt"), default));

        await using var staged = await StageAsync("a/b.txt", "hello");
        Assert.Equal(5, staged.Size);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData("hello"u8)), staged.Sha256);
        Assert.Null(await store.FindAsync(P("a/b.txt"), default));
        Assert.Empty(await ListAsync(""));

        var entry = await staged.PublishAsync();
        Assert.Equal(entry, await store.FindAsync(P("a/b.txt"), default));
        Assert.Equal((P("a/b.txt"), false, 5L), (entry.Path, entry.IsFolder, entry.Size));
        Assert.NotEmpty(entry.ETag);
        Assert.Equal(["a/"], await ListAsync(""));
        Assert.Equal(["a/b.txt"], await ListAsync("a"));
        Assert.Equal("hello", await ReadAsync("a/b.txt"));
        await store.FlushAsync(default);
        Assert.Empty(Leftovers());
    }

    private static ArtifactPath P(string path) => ArtifactPath.Parse(path);

    private async Task<StagedArtifact> StageAsync(string path, string content) =>
        await store.StageAsync(P(path), new MemoryStream(Encoding.UTF8.GetBytes(content)), content.Length, default);

    private async Task<string> ReadAsync(string path)
    {
        await using var content = await store.OpenAsync(P(path), default);
        var bytes = new MemoryStream();
        await content.CopyToAsync(bytes, 0, content.Entry.Size, default);
        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    private async Task<string[]> ListAsync(string path) =>
        [.. (await store.ListAsync(P(path), default)).Select(entry => entry.Path.Value + (entry.IsFolder ? "/" : ""))];

    private string[] Leftovers()
    {
        var staging = Path.Combine(root, ".mlflow-compat", "uploads");
        return Directory.Exists(staging) ? [.. Directory.EnumerateFileSystemEntries(staging).Select(Path.GetFileName)!] : [];
    }
}
