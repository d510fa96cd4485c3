using System.Diagnostics;
using System.Security.Cryptography;
using MlflowCompat.Testing;
using static MlflowCompat.Artifacts.Tests.LocalStore;

namespace MlflowCompat.Artifacts.Tests;

public sealed class LocalArtifactStoreTests : IDisposable
{
    private readonly LocalStore local = new();

    public void Dispose() => local.Dispose();

    [Theory]
    [InlineData("/a/b", "/a/b")]
    [InlineData("/a/b/", "/a/b")]
    [InlineData("/a/../b", "/b")]
    [InlineData("file:///a%20b", "/a b")]
    [InlineData("file:/a", "/a")]
    [InlineData("file://localhost/a", "/a")]
    [InlineData("/a:b", "/a:b")]
    public void FolderOf_LocalRoot_IsItsPath(string root, string folder) => Assert.Equal(folder, Local.LocalArtifactStore.FolderOf(root));

    [Theory]
    [InlineData("s3://bucket/prefix")]
    [InlineData("file://other-host/a")]
    [InlineData("file://localhost")]
    [InlineData("mlflow-artifacts:/a")]
    public void FolderOf_OtherRoot_IsNone(string root) => Assert.Null(Local.LocalArtifactStore.FolderOf(root));

    [Fact]
    public void FolderOf_RelativePath_IsBelowTheWorkingFolder() =>
        Assert.Equal(Path.Combine(Environment.CurrentDirectory, "mlartifacts"), Local.LocalArtifactStore.FolderOf("./mlartifacts"));

    [Fact]
    public void Open_SameRoot_IsTheSameStore()
    {
        using var stores = new ArtifactStores(new ArtifactStoreOptions());
        Assert.Same(stores.Open("/a"), stores.Open("/a"));
        Assert.Equal("local", stores.Open("/a").StorageType);
        Assert.Equal("file:///a/b%20c/d/e%3Ff", stores.Open("/a/b c").LocationOf(P("d/e%3ff")));
        var exception = Assert.Throws<ArtifactStoreException>(() => stores.Open("gopher://a"));
        Assert.Equal(ArtifactFault.NotSupported, exception.Fault);
    }

    [Fact]
    public async Task Upload_OfFile_IsSeenOncePublished()
    {
        Assert.Empty(await local.ListAsync());
        Assert.Null(await local.FindAsync("a/b.txt"));
        Assert.False(Directory.Exists(local.Root));

        await using var staged = await local.StageAsync("a/b.txt", "hello");
        Assert.Equal(5, staged.Size);
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData("hello"u8)), staged.Sha256);
        Assert.Null(await local.FindAsync("a/b.txt"));
        Assert.Empty(await local.ListAsync());

        var entry = await staged.PublishAsync();
        Assert.Equal(entry, await local.FindAsync("a/b.txt"));
        Assert.Equal((P("a/b.txt"), false, 5L), (entry.Path, entry.IsFolder, entry.Size));
        Assert.Equal(["a/"], await local.ListAsync());
        Assert.Equal(["a/b.txt"], await local.ListAsync("a"));
        Assert.Equal("hello", await local.ReadAsync("a/b.txt"));
        await local.Store.FlushAsync(default);
        Assert.Empty(local.Staged);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(256 * 1024 - 1)]
    [InlineData(256 * 1024)]
    [InlineData(256 * 1024 + 1)]
    [InlineData(3 * 256 * 1024)]
    [InlineData(5_000_001)]
    public async Task Upload_OfAnySize_ComesBackAsItWas(int size)
    {
        var bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        foreach (var length in new long?[] { size, null })
        {
            await using var staged = await local.Store.StageAsync(P("f"), new Dribble(bytes), length, default);
            Assert.Equal(size, staged.Size);
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(bytes)), staged.Sha256);
            await staged.PublishAsync();
            Assert.Equal(bytes, await File.ReadAllBytesAsync(local.On("f")));
        }

        await using var content = await local.Store.OpenAsync(P("f"), default);
        var part = new MemoryStream();
        await content.CopyToAsync(part, size / 3, size / 2, default);
        Assert.Equal(bytes[(size / 3)..(size / 3 + size / 2)], part.ToArray());
    }

    [Theory]
    [InlineData(99)]
    [InlineData(101)]
    [InlineData(5_000_000)]
    public async Task Upload_OfOtherLengthThanSaid_LeavesNothing(long length)
    {
        await Assert.ThrowsAsync<EndOfStreamException>(() => local.Store.StageAsync(P("a/f"), new MemoryStream(new byte[100]), length, default));
        Assert.Empty(local.Staged);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Upload_WhoseConnectionBreaks_LeavesNothing()
    {
        await Assert.ThrowsAsync<IOException>(() => local.Store.StageAsync(P("a/f"), new Dribble(new byte[1_000_000], breaks: true), null, default));
        using var canceled = new CancellationTokenSource();
        await canceled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => local.Store.StageAsync(P("a/f"), new MemoryStream(new byte[100]), null, canceled.Token));
        Assert.Empty(local.Staged);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task StagedArtifact_DisposedUnpublished_IsGone()
    {
        await (await local.StageAsync("a/f", "x")).DisposeAsync();
        Assert.Empty(local.Staged);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Upload_OntoFile_ReplacesItAndItsETag()
    {
        var old = await local.UploadAsync("f", "old");
        await using var content = await local.Store.OpenAsync(P("f"), default);
        var replaced = await local.UploadAsync("f", "new");
        Assert.NotEqual(old.ETag, replaced.ETag);
        Assert.Equal("new", await local.ReadAsync("f"));
        Assert.Equal("old", await ReadAsync(content));
        Assert.Equal(old, content.Entry);
    }

    [Fact]
    public async Task Upload_WhereAFolderIs_IsRefused()
    {
        await local.UploadAsync("a/b/c", "x");
        await FailsAsync(ArtifactFault.NotAFile, () => local.StageAsync("a/b", "y"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.StageAsync("a/b/c/d", "y"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.StageAsync("a/b/c/d/e", "y"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.Store.StageAsync(ArtifactPath.Root, Stream.Null, 0, default));
        Assert.Equal("x", await local.ReadAsync("a/b/c"));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task Publish_WhereAFolderHasComeMeanwhile_IsRefused()
    {
        await using (var staged = await local.StageAsync("a/b", "y"))
        {
            await using var through = await local.StageAsync("a/b/c/d/e", "y");
            await local.UploadAsync("a/b/c", "x");
            await FailsAsync(ArtifactFault.NotAFile, staged.PublishAsync);
            await FailsAsync(ArtifactFault.NotAFile, through.PublishAsync);
        }

        Assert.Equal("x", await local.ReadAsync("a/b/c"));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task Read_OfWhatIsNoFile_SaysSo()
    {
        await local.UploadAsync("a/f", "x");
        await FailsAsync(ArtifactFault.NotAFile, () => local.Store.OpenAsync(P("a"), default));
        await FailsAsync(ArtifactFault.NotFound, () => local.Store.OpenAsync(P("b"), default));
        await FailsAsync(ArtifactFault.NotFound, () => local.Store.OpenAsync(P("a/f/g"), default));
        Assert.Null(await local.FindAsync("a/f/g"));
        Assert.Empty(await local.ListAsync("a/f"));
        Assert.Empty(await local.ListAsync("b"));
        Assert.Equal(new ArtifactEntry(P("a"), true, 0, DateTimeOffset.UnixEpoch, ""), await local.FindAsync("a"));
    }

    [Fact]
    public async Task List_OfFolder_IsInOrderOfCodePoints()
    {
        string[] names = [".hidden", "B", "a", "a b", "ab", "a\u0301", "\ue000", "\uffee", "\U0001f600"];
        foreach (var name in names.Reverse())
            await local.UploadAsync("f/" + name, name);
        Assert.Equal(names.Select(name => "f/" + name), await local.ListAsync("f"));
        // Nothing that clients could ask for under that name.
        await File.WriteAllTextAsync(local.On("f/back\\slash"), "");
        await File.WriteAllTextAsync(local.On("f/per%63ent"), "");
        Assert.Equal(names.Length, (await local.ListAsync("f")).Length);
    }

    [Fact]
    public async Task ListFiles_BelowFolder_AreAll()
    {
        foreach (var path in new[] { "a", "b/c", "b/d/e", "b/d/f", "g/h/i" })
            await local.UploadAsync(path, path);
        File.CreateSymbolicLink(local.On("b/loop"), local.Root);
        await using var staged = await local.StageAsync("j", "");

        Assert.Equal(["a", "b/c", "b/d/e", "b/d/f", "g/h/i"], await FilesAsync(""));
        Assert.Equal(["b/c", "b/d/e", "b/d/f"], await FilesAsync("b"));
        Assert.Empty(await FilesAsync("a"));

        async Task<List<string>> FilesAsync(string folder)
        {
            var files = new List<string>();
            await foreach (var entry in local.Store.ListFilesAsync(P(folder), default))
                files.Add(entry.Path.Value);
            files.Sort(StringComparer.Ordinal);
            return files;
        }
    }

    [Fact]
    public async Task List_OfAHundredThousandNames_IsWhole()
    {
        Directory.CreateDirectory(local.On("many"));
        for (var number = 0; number < 100_000; number++)
            await File.Create(local.On($"many/{number:d6}")).DisposeAsync();
        var entries = await local.Store.ListAsync(P("many"), default);
        Assert.Equal(Enumerable.Range(0, 100_000).Select(number => $"many/{number:d6}"), entries.Select(entry => entry.Path.Value));
        await local.Store.DeleteAsync(P("many"), default);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Delete_OfFile_RemovesEmptyFoldersAboveIt()
    {
        await local.UploadAsync("a/b/c/d", "x");
        await local.UploadAsync("a/e", "x");
        await local.Store.DeleteAsync(P("a/b/c/d"), default);
        Assert.Equal(["a/e"], await local.ListAsync("a"));
        await local.Store.DeleteAsync(P("a/e"), default);
        Assert.Empty(await local.ListAsync());
        Assert.True(Directory.Exists(local.Root));
    }

    [Fact]
    public async Task Delete_OfFolder_RemovesAllInIt()
    {
        await local.UploadAsync("a/b/c/d", "x");
        await local.UploadAsync("a/b/e", "x");
        await local.UploadAsync("f", "x");
        await local.Store.DeleteAsync(P("a/b"), default);
        Assert.Equal(["f"], await local.ListAsync());
        Assert.Empty(local.Staged);
        await local.UploadAsync("a/b", "x");
        await local.Store.DeleteAsync(ArtifactPath.Root, default);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Delete_OfNothing_DoesNothing()
    {
        await local.Store.DeleteAsync(P("a/b"), default);
        await local.Store.DeleteAsync(ArtifactPath.Root, default);
        await local.UploadAsync("a", "x");
        await local.Store.DeleteAsync(P("a/b"), default);
        await local.Store.DeleteAsync(P("b/c"), default);
        Assert.Equal(["a"], await local.ListAsync());
    }

    [Fact]
    public async Task StagingArea_UnderItsPath_IsNotReached()
    {
        await using var staged = await local.StageAsync("a", "x");
        File.CreateSymbolicLink(Path.Combine(local.Root, "link"), local.On(".mlflow-compat"));
        foreach (var path in new[] { ".mlflow-compat", ".mlflow-compat/uploads", ".mlflow-compat/uploads/" + staged.UploadId, ".MLflow-compat/x" })
        {
            await FailsAsync(ArtifactFault.InvalidPath, () => local.FindAsync(path));
            await FailsAsync(ArtifactFault.InvalidPath, () => local.ListAsync(path));
            await FailsAsync(ArtifactFault.InvalidPath, () => local.ReadAsync(path));
            await FailsAsync(ArtifactFault.InvalidPath, () => local.StageAsync(path, "x"));
            await FailsAsync(ArtifactFault.InvalidPath, () => local.Store.DeleteAsync(P(path), default));
        }

        Assert.Null(await local.FindAsync("link/uploads/" + staged.UploadId));
        await FailsAsync(ArtifactFault.InvalidPath, () => local.UploadAsync("link/x", "x"));
        await local.Store.DeleteAsync(P("link/uploads"), default);
        Assert.Empty(await local.ListAsync());
        Assert.Equal("a", (await staged.PublishAsync()).Path.Value);
        // A name like any other further down.
        await local.UploadAsync("b/.mlflow-compat", "x");
        Assert.Equal(["b/.mlflow-compat"], await local.ListAsync("b"));
    }

    [Fact]
    public async Task Link_OutOfTheRoot_LeadsNowhere()
    {
        var outside = Path.Combine(local.Folder, "outside");
        Directory.CreateDirectory(outside);
        await File.WriteAllTextAsync(Path.Combine(outside, "secret"), "s");
        // Its name begins like that of the root.
        Directory.CreateDirectory(local.Root + "-2");
        await local.UploadAsync("f", "x");
        File.CreateSymbolicLink(local.On("folder"), outside);
        File.CreateSymbolicLink(local.On("file"), "../outside/secret");
        File.CreateSymbolicLink(local.On("sibling"), local.Root + "-2");
        File.CreateSymbolicLink(local.On("hop"), local.On("folder"));
        File.CreateSymbolicLink(local.On("nowhere"), local.On("missing"));
        File.CreateSymbolicLink(local.On("circle"), local.On("circle"));

        Assert.Equal(["f"], await local.ListAsync());
        foreach (var path in new[] { "folder", "folder/secret", "file", "sibling", "hop/secret", "nowhere", "nowhere/a", "circle", "circle/a" })
        {
            Assert.Null(await local.FindAsync(path));
            Assert.Empty(await local.ListAsync(path));
            await FailsAsync(ArtifactFault.NotFound, () => local.ReadAsync(path));
        }

        foreach (var path in new[] { "folder/new", "folder/deep/new", "sibling/new", "hop/new", "hop/deep/er/new", "nowhere/a", "circle/a" })
        {
            // What is missing can still come, so it is only found out when the file is to be put there.
            await FailsAsync(ArtifactFault.InvalidPath, () => local.UploadAsync(path, "x"));
            await local.Store.DeleteAsync(P(path), default);
        }

        await local.Store.DeleteAsync(P("folder/secret"), default);
        Assert.Equal([Path.Combine(outside, "secret")], Directory.EnumerateFileSystemEntries(outside));
        Assert.Empty(local.Staged);

        // The links themselves are replaced and removed, not what they lead to.
        await local.UploadAsync("file", "mine");
        Assert.Equal("mine", await local.ReadAsync("file"));
        await local.Store.DeleteAsync(P("folder"), default);
        Assert.False(File.Exists(local.On("folder")));
        Assert.Equal("s", await File.ReadAllTextAsync(Path.Combine(outside, "secret")));
    }

    [Fact]
    public async Task Link_WithinTheRoot_IsFollowed()
    {
        await local.UploadAsync("real/f", "x");
        File.CreateSymbolicLink(local.On("folder"), "real");
        File.CreateSymbolicLink(local.On("file"), local.On("real/f"));
        Assert.Equal(["file", "folder/", "real/"], await local.ListAsync());
        Assert.Equal("x", await local.ReadAsync("folder/f"));
        Assert.Equal("x", await local.ReadAsync("file"));
        await local.UploadAsync("folder/deep/g", "y");
        Assert.Equal("y", await local.ReadAsync("real/deep/g"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.StageAsync("folder", "x"));

        // With the folder goes the link in it, not what it leads to.
        File.CreateSymbolicLink(local.On("real/deep/up"), local.On("real"));
        await local.Store.DeleteAsync(P("real/deep"), default);
        Assert.Equal(["real/f"], await local.ListAsync("real"));
    }

    [Fact]
    public async Task Root_ThatIsALink_IsFollowed()
    {
        var real = Path.Combine(local.Folder, "real");
        Directory.CreateDirectory(real);
        File.CreateSymbolicLink(local.Root, real);
        await local.UploadAsync("a/b", "x");
        Assert.Equal("x", await File.ReadAllTextAsync(Path.Combine(real, "a/b")));
        Assert.Equal("x", await local.ReadAsync("a/b"));
        await local.Store.DeleteAsync(P("a"), default);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Root_ThatIsAFile_IsRefused()
    {
        await File.WriteAllTextAsync(local.Root, "");
        await FailsAsync(ArtifactFault.Refused, () => local.StageAsync("a", "x"));
        await FailsAsync(ArtifactFault.Refused, () => local.ListAsync());
    }

    [Fact]
    public async Task SpecialFiles_DoNotHang()
    {
        await local.UploadAsync("f", "x");
        using (var mkfifo = Process.Start("mkfifo", [local.On("pipe")]))
            await mkfifo.WaitForExitAsync();
        File.CreateSymbolicLink(local.On("device"), "/dev/zero");

        Assert.Equal(["f"], await local.ListAsync());
        Assert.Null(await local.FindAsync("pipe"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.ReadAsync("pipe"));
        await FailsAsync(ArtifactFault.NotAFile, () => local.StageAsync("pipe", "x"));
        await FailsAsync(ArtifactFault.NotFound, () => local.ReadAsync("device"));
        await local.Store.DeleteAsync(P("pipe"), default);
        Assert.False(File.Exists(local.On("pipe")));
    }

    [Fact]
    public async Task Upload_ToALongPath_IsTakenOrInvalid()
    {
        var longest = string.Join('/', Enumerable.Repeat(new string('n', 255), 4));
        await local.UploadAsync(longest, "x");
        Assert.Equal("x", await local.ReadAsync(longest));

        var tooLong = Enumerable.Repeat(P(longest), 5).Aggregate((above, below) => above.Append(below));
        await FailsAsync(ArtifactFault.InvalidPath, () => local.Store.StageAsync(tooLong, Stream.Null, 0, default));
        await FailsAsync(ArtifactFault.InvalidPath, () => local.Store.FindAsync(tooLong, default));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task DeepPath_UploadedAndDeleted_LeavesNothing()
    {
        var deep = string.Join('/', Enumerable.Repeat("d", 512));
        await local.UploadAsync(deep, "x");
        Assert.Equal("x", await local.ReadAsync(deep));
        await local.Store.DeleteAsync(P(deep), default);
        Assert.Empty(await local.ListAsync());
    }

    [Fact]
    public async Task Recover_StagedButNotPublished_Publishes()
    {
        // As if the process had died: nobody disposes it.
        var staged = await local.StageAsync("a/f", "x");
        var entry = await local.Store.RecoverAsync(P("a/f"), staged.UploadId, default);
        Assert.Equal("x", await local.ReadAsync("a/f"));
        Assert.Equal(entry, await local.FindAsync("a/f"));
        Assert.Equal(entry, await local.Store.RecoverAsync(P("a/f"), staged.UploadId, default));
        // Whoever was at it at the same time finds it done.
        Assert.Equal(entry, await staged.PublishAsync());
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task Recover_PublishedButStillRecorded_LeavesItAsItIs()
    {
        string uploadId;
        await using (var staged = await local.StageAsync("f", "x"))
        {
            uploadId = staged.UploadId;
            await staged.PublishAsync();
        }

        var newer = await local.UploadAsync("f", "newer");
        Assert.Equal(newer, await local.Store.RecoverAsync(P("f"), uploadId, default));
        await local.Store.DeleteAsync(P("f"), default);
        Assert.Null(await local.Store.RecoverAsync(P("f"), uploadId, default));
    }

    [Fact]
    public async Task Recover_WhereAFolderHasCome_ForgetsTheUpload()
    {
        var staged = await local.StageAsync("a", "x");
        await local.UploadAsync("a/b", "y");
        Assert.True((await local.Store.RecoverAsync(P("a"), staged.UploadId, default))!.IsFolder);
        Assert.Empty(local.Staged);
    }

    [Theory]
    [InlineData("")]
    [InlineData("../../f")]
    [InlineData("00000000000000000000000000000000")]
    [InlineData("0000000000000000/../000000000000")]
    public async Task Recover_OfUnknownUpload_SaysWhatIsThere(string uploadId)
    {
        Assert.Null(await local.Store.RecoverAsync(P("g"), uploadId, default));
        await local.UploadAsync("f", "x");
        Assert.Null(await local.Store.RecoverAsync(P("g"), uploadId, default));
        Assert.Equal(1, (await local.Store.RecoverAsync(P("f"), uploadId, default))!.Size);
    }

    [Fact]
    public async Task Sweep_OfStagingArea_RemovesWhatIsOld()
    {
        await local.Store.SweepAsync(TimeSpan.Zero, default);
        var old = await local.StageAsync("a", "x");
        await using var young = await local.StageAsync("b", "x");
        File.SetLastWriteTimeUtc(local.On(".mlflow-compat/uploads/" + old.UploadId), DateTime.UtcNow.AddDays(-2));
        // Half of a folder that was being removed.
        Directory.CreateDirectory(local.On(".mlflow-compat/uploads/half/way"));
        Directory.SetLastWriteTimeUtc(local.On(".mlflow-compat/uploads/half/way"), DateTime.UtcNow.AddDays(-2));
        Directory.SetLastWriteTimeUtc(local.On(".mlflow-compat/uploads/half"), DateTime.UtcNow.AddDays(-2));

        await local.Store.SweepAsync(TimeSpan.FromDays(1), default);
        Assert.Equal(young.UploadId, Path.GetFileName(Assert.Single(local.Staged)));
        await FailsAsync(ArtifactFault.NotFound, old.PublishAsync);
        await young.PublishAsync();
        Assert.Equal(["b"], await local.ListAsync());
    }

    [SmallFileSystemFact]
    public async Task FullDisk_IsReportedAndLeavesNothing()
    {
        using var small = new SmallFileSystem();
        using var store = new LocalStore(Path.Combine(small.Folder, "root"));
        await store.UploadAsync("a/f", "x");
        foreach (var length in new long?[] { null, 3_000_000 })
            await FailsAsync(ArtifactFault.Full, () => store.Store.StageAsync(P("a/g"), new MemoryStream(new byte[3_000_000]), length, default));
        Assert.Empty(store.Staged);
        Assert.Equal(["a/f"], await store.ListAsync("a"));

        // What frees room works without any.
        await using (var filler = File.Create(store.On("filler")))
            await Assert.ThrowsAsync<IOException>(() => filler.WriteAsync(new byte[3_000_000]).AsTask());
        await store.Store.DeleteAsync(P("a"), default);
        await store.Store.DeleteAsync(P("filler"), default);
        await store.UploadAsync("a/g", "x");
    }

    [SmallFileSystemFact]
    public async Task ReadOnlyRoot_IsRefused()
    {
        using var small = new SmallFileSystem();
        using var store = new LocalStore(small.Folder);
        using var missing = new LocalStore(Path.Combine(small.Folder, "root"));
        await store.UploadAsync("a/f", "x");
        small.MakeReadOnly();
        await FailsAsync(ArtifactFault.Refused, () => store.StageAsync("a/g", "x"));
        await FailsAsync(ArtifactFault.Refused, () => store.Store.DeleteAsync(P("a/f"), default));
        await FailsAsync(ArtifactFault.Refused, () => store.Store.DeleteAsync(P("a"), default));
        await FailsAsync(ArtifactFault.Refused, () => missing.StageAsync("a", "x"));
        Assert.Equal("x", await store.ReadAsync("a/f"));
    }

    [SmallFileSystemFact]
    public async Task MountBelowTheRoot_IsReadButNotWritten()
    {
        Directory.CreateDirectory(local.On("mount"));
        using var small = new SmallFileSystem(local.On("mount"));
        Directory.CreateDirectory(local.On("mount/a/b"));
        await File.WriteAllTextAsync(local.On("mount/a/f"), "x");
        Assert.Equal("x", await local.ReadAsync("mount/a/f"));
        await FailsAsync(ArtifactFault.Refused, () => local.UploadAsync("mount/a/g", "x"));
        await local.Store.DeleteAsync(P("mount/a"), default);
        Assert.Empty(await local.ListAsync("mount"));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task Readers_DuringReplacement_SeeOldOrNewAsAWhole()
    {
        string Version(int number) => new((char)('a' + number % 26), 200_000 + number % 7);
        await local.UploadAsync("f", Version(0));
        using var done = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 3).Select(_ => Task.Run(async () =>
        {
            var read = 0;
            for (; !done.IsCancellationRequested || read == 0; read++)
            {
                var text = await local.ReadAsync("f");
                Assert.Equal(-1, text.AsSpan().IndexOfAnyExcept(text[0]));
                Assert.InRange(text.Length, 200_000, 200_006);
            }

            return read;
        })).ToArray();
        for (var number = 1; number <= 100; number++)
            await local.UploadAsync("f", Version(number));
        await done.CancelAsync();
        Assert.DoesNotContain(0, await Task.WhenAll(readers));
    }

    [Fact]
    public async Task UploadsAndDeletes_AtOnce_NeitherFailNorLeaveJunk()
    {
        const int rounds = 150;
        var uploads = Enumerable.Range(0, 4).Select(number => Task.Run(async () =>
        {
            for (var round = 0; round < rounds; round++)
                await local.UploadAsync($"a/b/c/{number}", "x");
        }));
        var deletes = Enumerable.Range(0, 4).Select(number => Task.Run(async () =>
        {
            for (var round = 0; round < rounds * 2; round++)
            {
                await local.Store.DeleteAsync(P(number == 0 ? "a/b" : $"a/b/c/{number}"), default);
                await local.ListAsync("a/b/c");
            }
        }));
        await Task.WhenAll(uploads.Concat(deletes));
        for (var number = 0; number < 4; number++)
            await local.Store.DeleteAsync(P($"a/b/c/{number}"), default);
        Assert.Equal([local.On(".mlflow-compat")], Directory.EnumerateFileSystemEntries(local.Root));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task FolderDelete_DuringUploads_TakesOnlyWhatWasThere()
    {
        for (var round = 0; round < 300; round++)
        {
            await local.UploadAsync("a/b/old", "x");
            await using var staged = await local.StageAsync("a/b/new", "x");
            await Task.WhenAll(Task.Run(staged.PublishAsync), Task.Run(() => local.Store.DeleteAsync(P("a"), default)));
            Assert.Null(await local.FindAsync("a/b/old"));
            // Whole, either way.
            if (await local.FindAsync("a") is not null)
                Assert.Equal("x", await local.ReadAsync("a/b/new"));
            Assert.Empty(local.Staged);
        }
    }

    /// <summary>A stream that gives a few bytes at a time, like a slow connection.</summary>
    private sealed class Dribble(byte[] bytes, bool breaks = false) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            breaks && Position > Length / 2
                ? throw new IOException("The connection is broken")
                : base.ReadAsync(buffer[..Math.Min(buffer.Length, 70_000)], cancellationToken);
    }
}
