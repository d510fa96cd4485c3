using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Testing;

namespace MlflowCompat.Artifacts.Tests;

/// <summary>What every store does, whatever it keeps its files in.</summary>
public sealed class ArtifactStoreContractTests
{
    private const int Large = (25 << 20) + 17;

    [S3Fact]
    public async Task S3rver_CanBeHad() => Assert.NotNull(await S3Server.SharedAsync());

    [Theory, EachStore]
    public async Task Upload_BeforeAndAfterPublishing_IsUnseenThenSeen(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await using var staged = await StageAsync(test, "a/b.txt", "hello"u8.ToArray());
        Assert.Equal(5, staged.Size);
        Assert.Equal(Sha256("hello"u8.ToArray()), staged.Sha256);
        Assert.Null(await test.Store.FindAsync(P("a/b.txt"), default));
        Assert.Empty(await test.Store.ListAsync(ArtifactPath.Root, default));

        var entry = await staged.PublishAsync();
        var found = await test.Store.FindAsync(P("a/b.txt"), default);
        Assert.NotNull(found);
        Assert.Equal((entry.Path, entry.IsFolder, entry.Size, entry.ETag), (found.Path, found.IsFolder, found.Size, found.ETag));
        Assert.NotEmpty(entry.ETag);
        Assert.Equal(found, Assert.Single(await test.Store.ListAsync(P("a"), default)));
        Assert.Equal("hello", await TextAsync(test, "a/b.txt"));
        Assert.Equal((true, 0L), await test.Store.FindAsync(P("a"), default) is { } folder ? (folder.IsFolder, folder.Size) : default);
    }

    [Theory, EachStore]
    public async Task Upload_OfAnyLength_ComesBackAsItWas(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        foreach (var length in new[] { 0, 1, 100_000, 5 << 20, (5 << 20) + 1, 10 << 20, Large })
        {
            var content = RandomNumberGenerator.GetBytes(length);
            foreach (var announced in new long?[] { length, null })
            {
                await using var staged = await test.Store.StageAsync(P("f"), new Trickle(content), announced, default);
                Assert.Equal((length, Sha256(content)), (staged.Size, staged.Sha256));
                Assert.Equal(length, (await staged.PublishAsync()).Size);
                var found = await ReadAsync(test, "f");
                Assert.True(content.AsSpan().SequenceEqual(found));
            }
        }
    }

    [Theory, EachStore]
    public async Task Upload_ThatIsNotPublished_LeavesWhatWasThere(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await PutAsync(test, "f", "old"u8.ToArray());
        await using (await StageAsync(test, "f", "new"u8.ToArray()))
        {
        }

        Assert.Equal("old", await TextAsync(test, "f"));
    }

    [Theory, EachStore]
    public async Task Upload_ThatBreaksOff_IsRefused(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        foreach (var length in new[] { 10, 10 << 20 })
        {
            await Assert.ThrowsAnyAsync<IOException>(
                () => test.Store.StageAsync(P("f"), new MemoryStream(new byte[length - 1]), length, default));
        }

        Assert.Null(await test.Store.FindAsync(P("f"), default));
    }

    [Theory, EachStore]
    public async Task Upload_WhereAFolderIs_IsNotAFile(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await PutAsync(test, "a/b/c", "x"u8.ToArray());
        foreach (var path in new[] { "", "a", "a/b" })
            Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => StageAsync(test, path, "y"u8.ToArray())));
    }

    [Theory, EachStore]
    public async Task Listing_OfFilesAndFolders_IsInTheOrderOfCodePoints(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        foreach (var path in new[] { "d/x", "d-/y", "D", "a b+c", "100%25", "é", "\uffe6", "😀", "d/e/f" })
            await PutAsync(test, path, "x"u8.ToArray());
        Assert.Equal(["100%", "D", "a b+c", "d", "d-", "é", "\uffe6", "😀"], await NamesAsync(test, ""));
        Assert.Equal(["d/e", "d/x"], await NamesAsync(test, "d"));
        Assert.Empty(await NamesAsync(test, "D"));
        Assert.Empty(await NamesAsync(test, "nothing"));
        Assert.Equal("x", await TextAsync(test, "a b+c"));
        Assert.Equal("x", await TextAsync(test, "😀"));

        var all = new List<string>();
        await foreach (var entry in test.Store.ListFilesAsync(ArtifactPath.Root, default))
            all.Add(entry.Path.Value);
        Assert.Equal(9, all.Count);
        Assert.Contains("d/e/f", all);
    }

    [Theory, EachStore]
    public async Task Reading_OfParts_GivesTheseParts(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        var content = RandomNumberGenerator.GetBytes(1 << 20);
        await PutAsync(test, "f", content);
        await using var file = await test.Store.OpenAsync(P("f"), default);
        foreach (var (offset, length) in new[] { (0, 10), (5, 100_000), ((1 << 20) - 1, 1), (7, 0), (0, 1 << 20) })
        {
            var part = new MemoryStream();
            await file.CopyToAsync(part, offset, length, default);
            Assert.True(content.AsSpan(offset, length).SequenceEqual(part.ToArray()));
        }
    }

    [Theory, EachStore]
    public async Task Reading_OfWhatIsNoFile_SaysWhy(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await PutAsync(test, "a/b", "x"u8.ToArray());
        Assert.Equal(ArtifactFault.NotFound, await FaultAsync(() => test.Store.OpenAsync(P("c"), default)));
        Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => test.Store.OpenAsync(P("a"), default)));
        Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => test.Store.OpenAsync(ArtifactPath.Root, default)));
    }

    [Theory, EachStore]
    public async Task Deletion_OfFilesAndFolders_LeavesNothingOfThem(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        foreach (var path in new[] { "a/b/c", "a/b/d", "a/e", "ab", "g" })
            await PutAsync(test, path, "x"u8.ToArray());
        await test.Store.DeleteAsync(P("nothing"), default);
        await test.Store.DeleteAsync(P("a/b"), default);
        Assert.Equal(["a", "ab", "g"], await NamesAsync(test, ""));
        await test.Store.DeleteAsync(P("a/e"), default);
        Assert.Equal(["ab", "g"], await NamesAsync(test, ""));
        await test.Store.DeleteAsync(P("g"), default);
        Assert.Equal(["ab"], await NamesAsync(test, ""));
    }

    [Theory, EachStore]
    public async Task Recovery_OfAPublishedUpload_FindsIt(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await using var staged = await StageAsync(test, "f", new byte[3]);
        await staged.PublishAsync();
        Assert.Equal(3, (await test.Store.RecoverAsync(P("f"), staged.UploadId, default))?.Size);
        Assert.Equal(3, (await test.Store.RecoverAsync(P("f"), staged.UploadId, default))?.Size);
    }

    [Theory, EachStore]
    public async Task ManyUploads_AtOnce_AllArrive(StoreKind kind)
    {
        await using var test = await TestStore.CreateAsync(kind);
        await Parallel.ForAsync(0, 50, async (number, _) => await PutAsync(test, $"d{number % 5}/f{number}", Encoding.UTF8.GetBytes($"{number}")));
        for (var number = 0; number < 50; number++)
            Assert.Equal($"{number}", await TextAsync(test, $"d{number % 5}/f{number}"));
    }

    private static ArtifactPath P(string path) => ArtifactPath.Parse(path);

    private static string Sha256(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));

    private static Task<StagedArtifact> StageAsync(TestStore test, string path, byte[] content) =>
        test.Store.StageAsync(P(path), new MemoryStream(content), content.Length, default);

    private static async Task PutAsync(TestStore test, string path, byte[] content)
    {
        await using var staged = await StageAsync(test, path, content);
        await staged.PublishAsync();
    }

    private static async Task<byte[]> ReadAsync(TestStore test, string path)
    {
        await using var content = await test.Store.OpenAsync(P(path), default);
        var bytes = new MemoryStream();
        await content.CopyToAsync(bytes, 0, content.Entry.Size, default);
        return bytes.ToArray();
    }

    private static async Task<string> TextAsync(TestStore test, string path) => Encoding.UTF8.GetString(await ReadAsync(test, path));

    private static async Task<string[]> NamesAsync(TestStore test, string folder) =>
        [.. (await test.Store.ListAsync(P(folder), default)).Select(entry => entry.Path.Value)];

    private static async Task<ArtifactFault> FaultAsync(Func<Task> call) => (await Assert.ThrowsAsync<ArtifactStoreException>(call)).Fault;

    /// <summary>Gives its bytes in pieces of odd lengths, as networks do.</summary>
    private sealed class Trickle(byte[] content) : MemoryStream(content)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, 61_441)], cancellationToken);
    }
}
