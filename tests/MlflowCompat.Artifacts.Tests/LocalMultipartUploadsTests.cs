using System.Security.Cryptography;
using System.Text;
using static MlflowCompat.Artifacts.Tests.LocalStore;

namespace MlflowCompat.Artifacts.Tests;

public sealed class LocalMultipartUploadsTests : IDisposable
{
    private readonly LocalStore local = new();

    private MultipartUploads Uploads => local.Store.Multipart!;

    public void Dispose() => local.Dispose();

    [Fact]
    public async Task Create_Upload_GivesAnAddressForEachPart()
    {
        var upload = await Uploads.CreateAsync(P("a/é b"), 3, default);
        Assert.True(Uploads.PartsComeThroughServer);
        Assert.Equal([1, 2, 3], upload.Parts.Select(part => part.PartNumber));
        Assert.Equal($"a/%C3%A9%20b?upload_id={upload.UploadId}&part_number=2", upload.Parts[1].Url);
        Assert.Empty(await local.ListAsync());
        Assert.NotEqual(upload.UploadId, (await Uploads.CreateAsync(P("a/é b"), 3, default)).UploadId);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(10_001)]
    public async Task Create_WithTooFewOrManyParts_IsAMistakeOfTheCaller(int parts) =>
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => Uploads.CreateAsync(P("a"), parts, default));

    [Fact]
    public async Task Create_WhereAFolderIs_IsRefused()
    {
        await local.UploadAsync("a/b", "x");
        await FailsAsync(ArtifactFault.NotAFile, () => Uploads.CreateAsync(P("a"), 1, default));
    }

    [Fact]
    public async Task Complete_WithAllParts_MakesTheFileInTheirOrder()
    {
        var bytes = new byte[2_500_000];
        new Random(1).NextBytes(bytes);
        var (path, uploadId) = await BeginAsync("a/f", 4);
        var parts = new List<UploadedPart>();
        foreach (var number in new[] { 4, 2, 1, 3 })
        {
            // The fourth is empty.
            var part = bytes.Skip((number - 1) * 1_000_000).Take(1_000_000).ToArray();
            parts.Add(new(number, $"\"{await Uploads.PutPartAsync(path, uploadId, number, new MemoryStream(part), part.Length, default)}\""));
        }

        await using (var staged = await Uploads.CompleteAsync(path, uploadId, parts, default))
        {
            Assert.Equal(bytes.Length, staged.Size);
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(bytes)), staged.Sha256);
            Assert.Empty(await local.ListAsync());
            await staged.PublishAsync();
        }

        Assert.Equal(bytes, await File.ReadAllBytesAsync(local.On("a/f")));
        Assert.Empty(local.Staged);
        await FailsAsync(ArtifactFault.NotFound, () => Uploads.CompleteAsync(path, uploadId, parts, default));
    }

    [Fact]
    public async Task Complete_WithoutPublishing_CanBeRepeated()
    {
        var (path, uploadId) = await BeginAsync("f", 1);
        var part = await PutAsync(path, uploadId, 1, "x");
        await (await Uploads.CompleteAsync(path, uploadId, [part], default)).DisposeAsync();
        Assert.Single(local.Staged);
        await using var staged = await Uploads.CompleteAsync(path, uploadId, [part], default);
        await staged.PublishAsync();
        Assert.Equal("x", await local.ReadAsync("f"));
    }

    [Fact]
    public async Task Complete_AfterTheProcessDied_IsRecovered()
    {
        var (path, uploadId) = await BeginAsync("f", 1);
        var staged = await Uploads.CompleteAsync(path, uploadId, [await PutAsync(path, uploadId, 1, "x")], default);
        Assert.Equal(1, (await local.Store.RecoverAsync(path, staged.UploadId, default))!.Size);
        // The parts are swept in time.
        Assert.Single(local.Staged);
        await local.Store.SweepAsync(TimeSpan.FromHours(-1), default);
        Assert.Empty(local.Staged);
        Assert.Equal("x", await local.ReadAsync("f"));
    }

    [Fact]
    public async Task Complete_WithWrongParts_IsNotFound()
    {
        var (path, uploadId) = await BeginAsync("f", 2);
        var one = await PutAsync(path, uploadId, 1, "one");
        var two = await PutAsync(path, uploadId, 2, "two");
        var again = await PutAsync(path, uploadId, 2, "TWO");
        Assert.NotEqual(two, again);
        foreach (var parts in new UploadedPart[][]
            {
                [], [one, two], [one, again, new(3, "x")], [one, one], [new(1, "")], [new(0, one.ETag)], [new(-1, one.ETag)],
            })
            await FailsAsync(ArtifactFault.NotFound, () => Uploads.CompleteAsync(path, uploadId, parts, default));
        Assert.Single(local.Staged);
        await using var staged = await Uploads.CompleteAsync(path, uploadId, [again, one], default);
        await staged.PublishAsync();
        Assert.Equal("oneTWO", await local.ReadAsync("f"));
    }

    [Fact]
    public async Task Part_OfTheWrongLengthOrNumber_LeavesNothing()
    {
        var (path, uploadId) = await BeginAsync("f", 2);
        await Assert.ThrowsAsync<EndOfStreamException>(() => Uploads.PutPartAsync(path, uploadId, 1, new MemoryStream(new byte[9]), 10, default));
        foreach (var number in new[] { 0, -1, 10_001 })
            await FailsAsync(ArtifactFault.NotFound, () => Uploads.PutPartAsync(path, uploadId, number, Stream.Null, 0, default));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Assert.Single(local.Staged)));
    }

    [Fact]
    public async Task UploadId_ThatIsNone_IsNotFound()
    {
        var (path, uploadId) = await BeginAsync("f", 1);
        var part = await PutAsync(path, uploadId, 1, "x");
        var staged = await local.StageAsync("g", "x");
        foreach (var other in new[] { "", "..", "../..", ".", uploadId[..32], uploadId + "0", uploadId.ToUpperInvariant(), staged.UploadId, "/" + uploadId[1..] })
        {
            await FailsAsync(ArtifactFault.NotFound, () => Uploads.PutPartAsync(path, other, 1, Stream.Null, 0, default));
            await FailsAsync(ArtifactFault.NotFound, () => Uploads.CompleteAsync(path, other, [part], default));
            await Uploads.AbortAsync(path, other, default);
        }

        // An upload is one to its path only.
        await FailsAsync(ArtifactFault.NotFound, () => Uploads.CompleteAsync(P("h"), uploadId, [part], default));
        await Uploads.AbortAsync(P("h"), uploadId, default);
        Assert.Equal(2, local.Staged.Length);
    }

    [Fact]
    public async Task Abort_OfUpload_RemovesItsParts()
    {
        var (path, uploadId) = await BeginAsync("f", 2);
        var part = await PutAsync(path, uploadId, 1, "x");
        await Uploads.AbortAsync(path, uploadId, default);
        await Uploads.AbortAsync(path, uploadId, default);
        Assert.Empty(local.Staged);
        await FailsAsync(ArtifactFault.NotFound, () => PutAsync(path, uploadId, 2, "x"));
        await FailsAsync(ArtifactFault.NotFound, () => Uploads.CompleteAsync(path, uploadId, [part], default));
    }

    [Fact]
    public async Task Abort_WhileAPartComes_FailsThatPart()
    {
        var (path, uploadId) = await BeginAsync("f", 1);
        await FailsAsync(
            ArtifactFault.NotFound,
            () => Uploads.PutPartAsync(path, uploadId, 1, new Interrupted(() => Uploads.AbortAsync(path, uploadId, default)), null, default));
        Assert.Empty(local.Staged);
    }

    [Fact]
    public async Task Sweep_OfUploads_SparesThoseThatStillGetParts()
    {
        var (path, active) = await BeginAsync("f", 2);
        var (_, idle) = await BeginAsync("f", 2);
        await PutAsync(path, active, 1, "x");
        foreach (var upload in new[] { active, idle })
            Directory.SetLastWriteTimeUtc(local.On(".mlflow-compat/uploads/" + upload), DateTime.UtcNow.AddDays(-2));
        await local.Store.SweepAsync(TimeSpan.FromDays(1), default);
        Assert.Equal(active, Path.GetFileName(Assert.Single(local.Staged)));
    }

    private async Task<(ArtifactPath Path, string UploadId)> BeginAsync(string path, int parts) =>
        (P(path), (await Uploads.CreateAsync(P(path), parts, default)).UploadId);

    private async Task<UploadedPart> PutAsync(ArtifactPath path, string uploadId, int number, string content) =>
        new(number, await Uploads.PutPartAsync(path, uploadId, number, new MemoryStream(Encoding.UTF8.GetBytes(content)), null, default));

    /// <summary>One byte, after something has happened.</summary>
    private sealed class Interrupted(Func<Task> interruption) : MemoryStream([1])
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (Position == 0)
                await interruption();
            return await base.ReadAsync(buffer, cancellationToken);
        }
    }
}
