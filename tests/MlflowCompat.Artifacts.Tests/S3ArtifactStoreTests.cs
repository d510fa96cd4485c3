using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MlflowCompat.Artifacts.S3;
using MlflowCompat.Testing;

namespace MlflowCompat.Artifacts.Tests;

public sealed class S3ArtifactStoreTests : IAsyncLifetime, IDisposable
{
    private const int MiB = 1 << 20;

    private FakeS3 s3 = null!;
    private ArtifactStores stores = null!;
    private ArtifactStore store = null!;

    public async Task InitializeAsync()
    {
        s3 = await FakeS3.StartAsync();
        Open(s3.Options);
    }

    public async Task DisposeAsync() => await s3.DisposeAsync();

    public void Dispose() => stores.Dispose();

    [Theory]
    [InlineData(10)]
    [InlineData(9 * MiB)]
    public async Task Upload_OfAnyLength_IsSignedWhollyAndHasTheHeadersOfAllUploads(int length)
    {
        Open(s3.Options with
        {
            ExpectedBucketOwner = "123456789012",
            UploadHeaders = new Dictionary<string, string> { ["x-amz-storage-class"] = "STANDARD_IA", ["x-amz-meta-team"] = "ml" },
        });
        var checksums = 0;
        s3.Intercept = context =>
        {
            Assert.Equal("123456789012", context.Request.Headers["x-amz-expected-bucket-owner"]);
            Assert.Contains("x-amz-expected-bucket-owner", context.Request.Headers.Authorization.ToString(), StringComparison.Ordinal);
            if (context.Request.Method == "PUT")
                Assert.Equal(64, context.Request.Headers["x-amz-content-sha256"].ToString().Length);
            checksums += context.Request.Headers.Keys.Count(name => name.StartsWith("x-amz-checksum", StringComparison.OrdinalIgnoreCase));
            return Task.FromResult(false);
        };
        await PutAsync("table.csv", new byte[length]);
        var stored = s3.Objects["a/table.csv"];
        Assert.Equal(("text/csv", "STANDARD_IA", "ml"), (stored.Headers["Content-Type"], stored.Headers["x-amz-storage-class"], stored.Headers["x-amz-meta-team"]));
        Assert.False(stored.Headers.ContainsKey("Content-Encoding"));
        Assert.Equal(0, checksums);
    }

    [Fact]
    public async Task Upload_InParts_KeepsTwoUnderWay()
    {
        var (now, most) = (0, 0);
        var second = new TaskCompletionSource();
        s3.Intercept = async context =>
        {
            if (context.Request.Method == "PUT")
            {
                most = Math.Max(most, Interlocked.Increment(ref now));
                if (now == 2)
                    second.TrySetResult();
                await second.Task;
                context.Response.OnCompleted(() => Task.FromResult(Interlocked.Decrement(ref now)));
            }

            return false;
        };
        await PutAsync("f", new byte[50 * MiB]);
        Assert.Equal(2, most);
        Assert.Equal(10, s3.Requests.Count(request => request.StartsWith("PUT", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Upload_WhosePartsFail_IsGivenUp()
    {
        s3.Intercept = async context =>
        {
            if (context.Request.Query["partNumber"] != "2")
                return false;
            await FakeS3.FailAsync(context, 403, "AccessDenied");
            return true;
        };
        Assert.Equal(ArtifactFault.Refused, await FaultAsync(() => PutAsync("f", new byte[40 * MiB])));
        Assert.Empty(s3.Uploads);
        Assert.Empty(s3.Objects);
    }

    [Fact]
    public async Task Upload_WhoseContentBreaks_IsGivenUp()
    {
        await Assert.ThrowsAsync<EndOfStreamException>(() => store.StageAsync(P("f"), new MemoryStream(new byte[20 * MiB]), 30 * MiB, default));
        Assert.Contains(s3.Requests, request => request.StartsWith("DELETE", StringComparison.Ordinal));
        Assert.Empty(s3.Uploads);
    }

    [Fact]
    public async Task Publishing_WhoseAnswerIsLost_IsFoundOut()
    {
        var lost = 0;
        s3.Intercept = context =>
        {
            if (context.Request.Method == "POST" && context.Request.Query.ContainsKey("uploadId") && lost++ == 0)
            {
                context.Response.OnStarting(() =>
                {
                    context.Response.StatusCode = 503;
                    return Task.CompletedTask;
                });
            }

            return Task.FromResult(false);
        };
        Assert.Equal(9 * MiB, (await PutAsync("f", new byte[9 * MiB])).Size);
        Assert.Equal(2, lost);
    }

    [Fact]
    public async Task Recovery_OfALargeUpload_FinishesIt()
    {
        var content = RandomNumberGenerator.GetBytes(40 * MiB);
        var staged = await store.StageAsync(P("f"), new MemoryStream(content), null, default);
        Assert.Null(await store.FindAsync(P("f"), default));
        Assert.Equal(content.Length, (await store.RecoverAsync(P("f"), staged.UploadId, default))?.Size);
        Assert.True(content.AsSpan().SequenceEqual(s3.Objects["a/f"].Content));
        // The process was not dead after all.
        Assert.Equal(content.Length, (await staged.PublishAsync()).Size);
        Assert.Equal(content.Length, (await store.RecoverAsync(P("f"), staged.UploadId, default))?.Size);
    }

    [Fact]
    public async Task Recovery_OfAnUploadThatLacksAPart_ForgetsIt()
    {
        await PutAsync("f", [1]);
        var staged = await store.StageAsync(P("f"), new MemoryStream(new byte[20 * MiB]), null, default);
        s3.Uploads.Values.Single().Parts.Remove(2);
        Assert.Equal(1, (await store.RecoverAsync(P("f"), staged.UploadId, default))?.Size);
        Assert.Empty(s3.Uploads);
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(staged.PublishAsync));
        Assert.Null(await store.RecoverAsync(P("g"), "put:0123", default));
    }

    [Fact]
    public async Task Sweeping_OfUploads_TakesOldOnesBelowTheRoot()
    {
        s3.Uploads["old"] = new FakeS3.Upload("a/f", DateTime.UtcNow.AddHours(-3), []);
        s3.Uploads["young"] = new FakeS3.Upload("a/f", DateTime.UtcNow.AddHours(-1), []);
        s3.Uploads["foreign"] = new FakeS3.Upload("ab/f", DateTime.UtcNow.AddHours(-3), []);
        await store.SweepAsync(TimeSpan.FromHours(2), default);
        Assert.Equal(["foreign", "young"], s3.Uploads.Keys.Order());
    }

    [Fact]
    public async Task Listing_OfABucketThatOthersUse_HasWhatPathsCanName()
    {
        foreach (var key in new[] { "a/", "a/f", "a/d/", "a/d//x", "a/../up", "a//g", "a/./h", "a/b%2fc", "a/e/f", "ab", "a/z\\y" })
            s3.Objects[key] = new([1], "\"e\"", DateTime.UtcNow, []);
        Assert.Equal(["d", "e", "f"], (await store.ListAsync(ArtifactPath.Root, default)).Select(entry => entry.Path.Value));
        Assert.Empty(await store.ListAsync(P("d"), default));
        var files = new List<string>();
        await foreach (var entry in store.ListFilesAsync(ArtifactPath.Root, default))
            files.Add(entry.Path.Value);
        Assert.Equal(["e/f", "f"], files);
        Assert.True((await store.FindAsync(P("d"), default))?.IsFolder);
        Assert.Null(await store.FindAsync(P("b"), default));
    }

    [Fact]
    public async Task FileAndFolder_OfOneName_AreReadListedAndDeleted()
    {
        await PutAsync("x", [1, 2]);
        s3.Objects["a/x/y"] = new([1], "\"e\"", DateTime.UtcNow, []);
        Assert.False((await store.FindAsync(P("x"), default))?.IsFolder);
        Assert.Equal([1, 2], await ReadAsync("x"));
        Assert.Equal("x/y", Assert.Single(await store.ListAsync(P("x"), default)).Path.Value);
        Assert.Equal([true, false], (await store.ListAsync(ArtifactPath.Root, default)).Select(entry => entry.IsFolder).OrderDescending());
        await store.DeleteAsync(P("x"), default);
        Assert.Empty(s3.Objects);
    }

    [Fact]
    public async Task ManyFiles_InOneFolder_AreListedAndDeletedInPages()
    {
        for (var number = 0; number < 2500; number++)
            s3.Objects[$"a/d/{number:d4}"] = new([1], "\"e\"", DateTime.UtcNow, []);
        s3.Objects["a/e"] = new([1], "\"e\"", DateTime.UtcNow, []);
        Assert.Equal(2500, (await store.ListAsync(P("d"), default)).Count);
        Assert.Equal(["d", "e"], (await store.ListAsync(ArtifactPath.Root, default)).Select(entry => entry.Path.Value));
        s3.Requests.Clear();
        await store.DeleteAsync(P("d"), default);
        Assert.Equal(["a/e"], s3.Objects.Keys);
        Assert.Equal(3, s3.Requests.Count(request => request.StartsWith("POST", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(501, "NotImplemented")]
    [InlineData(400, "MissingContentMD5")]
    public async Task Deletion_WhereManyCannotBeDeletedAtOnce_TakesOneByOne(int status, string code)
    {
        foreach (var name in new[] { "d/x", "d/y", "d/z/1" })
            await PutAsync(name, [1]);
        s3.Intercept = async context =>
        {
            if (context.Request.Method != "POST")
                return false;
            await FakeS3.FailAsync(context, status, code);
            return true;
        };
        await store.DeleteAsync(P("d"), default);
        Assert.Empty(s3.Objects);
    }

    [Theory]
    [InlineData(403, "AccessDenied", ArtifactFault.Refused)]
    [InlineData(403, "InvalidAccessKeyId", ArtifactFault.Refused)]
    [InlineData(403, "SignatureDoesNotMatch", ArtifactFault.Refused)]
    [InlineData(404, "NoSuchBucket", ArtifactFault.Refused)]
    [InlineData(400, "ExpiredToken", ArtifactFault.Refused)]
    [InlineData(301, "PermanentRedirect", ArtifactFault.Refused)]
    [InlineData(403, "QuotaExceeded", ArtifactFault.Full)]
    [InlineData(507, "XMinioStorageFull", ArtifactFault.Full)]
    [InlineData(503, "SlowDown", ArtifactFault.Unavailable)]
    [InlineData(500, "InternalError", ArtifactFault.Unavailable)]
    [InlineData(502, "", ArtifactFault.Unavailable)]
    public async Task Refusal_ByTheServer_IsToldApart(int status, string code, ArtifactFault fault)
    {
        s3.Intercept = async context =>
        {
            await FakeS3.FailAsync(context, status, code);
            return true;
        };
        s3.Requests.Clear();
        var exception = await Assert.ThrowsAsync<ArtifactStoreException>(() => store.OpenAsync(P("f"), default));
        Assert.Equal(fault, exception.Fault);
        Assert.DoesNotContain("hush", exception.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("AKIDTEST", exception.Message, StringComparison.Ordinal);
        Assert.InRange(s3.Requests.Count, 1, 3);
    }

    [Fact]
    public async Task Refusal_OfAnyCall_IsOneOfThisServer()
    {
        s3.Intercept = async context =>
        {
            await FakeS3.FailAsync(context, 403, "AccessDenied");
            return true;
        };
        foreach (var call in new Func<Task>[]
        {
            () => store.FindAsync(P("f"), default), () => store.ListAsync(P("f"), default), () => PutAsync("f", [1]),
            () => PutAsync("f", new byte[9 * MiB]), () => store.DeleteAsync(P("f"), default), () => store.SweepAsync(default, default),
            () => store.RecoverAsync(P("f"), "parts:1:1:id", default), () => store.Multipart!.CreateAsync(P("f"), 1, default),
            () => store.Presigned!.ForDownloadAsync(P("f"), TimeSpan.FromMinutes(1), default),
        })
            Assert.Equal(ArtifactFault.Refused, await FaultAsync(call));
    }

    [Fact]
    public async Task Bucket_ThatIsNotThere_IsRefused()
    {
        Open(s3.Options, "s3://other/a");
        Assert.Equal(ArtifactFault.Refused, await FaultAsync(() => store.OpenAsync(P("f"), default)));
        Assert.Equal(ArtifactFault.Refused, await FaultAsync(() => store.FindAsync(P("f"), default)));
    }

    [Fact]
    public async Task Server_ThatIsBusyForAMoment_IsAskedAgain()
    {
        var count = 0;
        s3.Intercept = async context =>
        {
            if (context.Request.Method != "PUT" || count++ >= 2)
                return false;
            await FakeS3.FailAsync(context, 503, "SlowDown");
            return true;
        };
        await PutAsync("f", [1, 2, 3]);
        Assert.Equal([1, 2, 3], s3.Objects["a/f"].Content);
    }

    [Fact]
    public async Task Server_ThatIsNotThere_IsUnavailable()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        listener.Stop();
        Open(s3.Options with { Endpoint = new Uri($"http://127.0.0.1:{port}") });
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(() => store.OpenAsync(P("f"), default)));
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(() => PutAsync("f", [1])));
    }

    [Fact]
    public async Task Server_ThatNeverAnswers_IsUnavailable()
    {
        Open(s3.Options with { CallLimit = TimeSpan.FromMilliseconds(300), IdleLimit = TimeSpan.FromMilliseconds(300) });
        var content = new byte[MiB];
        await PutAsync("f", content);
        var silent = false;
        s3.Intercept = async context =>
        {
            if (silent)
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return silent;
        };
        await using var open = await store.OpenAsync(P("f"), default);
        silent = true;
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(() => store.OpenAsync(P("f"), default)));
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(() => open.CopyToAsync(Stream.Null, 1, 10, default)));
    }

    [Fact]
    public async Task Server_WithACertificateOfItsOwn_IsBelievedWhenSaidSo()
    {
        using var key = ECDsa.Create();
        var request = new CertificateRequest("CN=tests", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        await using var tls = await FakeS3.StartAsync(certificate);
        var bundle = Path.Combine(TestFolder.Create(), "ca.pem");
        await File.WriteAllTextAsync(bundle, certificate.ExportCertificatePem());

        Open(tls.Options);
        Assert.Equal(ArtifactFault.Unavailable, await FaultAsync(() => store.OpenAsync(P("f"), default)));
        foreach (var options in new[] { tls.Options with { IgnoreTls = true }, tls.Options with { CaBundle = bundle } })
        {
            Open(options);
            foreach (var length in new[] { 3, 17 * MiB })
            {
                await PutAsync("f", new byte[length]);
                Assert.Equal(length, tls.Objects["a/f"].Content.Length);
                Assert.Equal(length, (await ReadAsync("f")).Length);
            }
        }

        Assert.Throws<ArgumentException>(() => Open(tls.Options with { CaBundle = Path.GetDirectoryName(bundle) }));
    }

    [Fact]
    public async Task Call_ThatIsCancelled_SaysSo()
    {
        s3.Intercept = async context =>
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return true;
        };
        using var cancellation = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => store.ListAsync(P("f"), cancellation.Token));
    }

    [Fact]
    public async Task Reading_OverConnectionsThatBreak_GoesOnWhereTheyBroke()
    {
        var content = RandomNumberGenerator.GetBytes(3 * MiB);
        await PutAsync("f", content);
        var breaks = 3;
        CutAfter(MiB / 2, () => breaks-- > 0);
        var read = await ReadAsync("f");
        Assert.True(content.AsSpan().SequenceEqual(read));
        Assert.Equal(4, s3.Requests.Count(request => request.StartsWith("GET /bucket/a/f", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Reading_OverConnectionsThatAlwaysBreak_Ends()
    {
        await PutAsync("f", new byte[3 * MiB]);
        CutAfter(100, () => true);
        await Assert.ThrowsAsync<IOException>(() => ReadAsync("f"));
    }

    [Fact]
    public async Task Reading_OfAFileThatIsReplaced_Fails()
    {
        await PutAsync("f", [1, 2, 3]);
        await using var open = await store.OpenAsync(P("f"), default);
        await PutAsync("f", [4, 5, 6]);
        await Assert.ThrowsAnyAsync<IOException>(() => open.CopyToAsync(Stream.Null, 1, 2, default));
    }

    [Fact]
    public async Task Multipart_ByClients_PublishesWhatTheySent()
    {
        var upload = await store.Multipart!.CreateAsync(P("d/model.json"), 2, default);
        using var http = new HttpClient();
        var parts = new List<UploadedPart>();
        foreach (var part in upload.Parts)
        {
            Assert.StartsWith("http://127.0.0.1:", part.Url, StringComparison.Ordinal);
            using var body = new ByteArrayContent([(byte)part.PartNumber]);
            using var answer = await http.PutAsync(part.Url, body);
            parts.Add(new(part.PartNumber, answer.Headers.ETag!.Tag));
        }

        foreach (var wrong in new[] { [], [.. parts, parts[0]], [.. parts, new(3, "no")], new[] { parts[0], new(2, "no") } })
        {
            Assert.Equal(
                ArtifactFault.NotFound,
                await FaultAsync(() => store.Multipart.CompleteAsync(P("d/model.json"), upload.UploadId, wrong, default)));
        }

        parts.Reverse();
        await using (var forgotten = await store.Multipart.CompleteAsync(P("d/model.json"), upload.UploadId, parts, default))
            Assert.Equal((2L, ""), (forgotten.Size, forgotten.Sha256));
        await using (var staged = await store.Multipart.CompleteAsync(P("d/model.json"), upload.UploadId, parts, default))
        {
            Assert.Empty(s3.Objects);
            Assert.Equal(2, (await staged.PublishAsync()).Size);
            Assert.Equal(2, (await store.RecoverAsync(P("d/model.json"), staged.UploadId, default))?.Size);
        }

        Assert.Equal([1, 2], s3.Objects["a/d/model.json"].Content);
        Assert.Equal("application/json", s3.Objects["a/d/model.json"].Headers["Content-Type"]);

        var other = await store.Multipart.CreateAsync(P("g"), 1, default);
        await store.Multipart.AbortAsync(P("g"), other.UploadId, default);
        await store.Multipart.AbortAsync(P("g"), other.UploadId, default);
        Assert.Empty(s3.Uploads);
        Assert.Equal(ArtifactFault.NotFound, await FaultAsync(() => store.Multipart.CompleteAsync(P("g"), other.UploadId, parts, default)));
        Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => store.Multipart.CreateAsync(P("d"), 1, default)));
    }

    [Fact]
    public async Task Presigned_AddressesAndHeaders_AreTakenTogetherOnly()
    {
        Open(s3.Options with { UploadHeaders = new Dictionary<string, string> { ["x-amz-meta-team"] = "ml" } });
        using var http = new HttpClient();

        var up = await store.Presigned!.ForUploadAsync(P("d e/é+.json"), TimeSpan.FromMinutes(1), default);
        Assert.Contains("X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-meta-team&", up.Url, StringComparison.Ordinal);
        Assert.Equal(["Content-Type=application/json", "x-amz-meta-team=ml"], up.Headers.Select(header => $"{header.Key}={header.Value}").Order());
        foreach (var headers in new[] { up.Headers, new Dictionary<string, string>() })
        {
            using var body = new ByteArrayContent([1, 2, 3]);
            foreach (var (name, value) in headers)
                body.Headers.Add(name, value);
            using var answer = await http.PutAsync(up.Url, body);
            Assert.Equal(headers.Count > 0 ? HttpStatusCode.OK : HttpStatusCode.Forbidden, answer.StatusCode);
        }

        var down = await store.Presigned.ForDownloadAsync(P("d e/é+.json"), TimeSpan.FromMinutes(1), default);
        Assert.Equal(3, down.Size);
        Assert.Empty(down.Headers);
        Assert.Equal([1, 2, 3], await http.GetByteArrayAsync(down.Url));

        Assert.Equal("ml", s3.Objects["a/d e/é+.json"].Headers["x-amz-meta-team"]);

        Open(s3.Options with { SecretAccessKey = "wrong" });
        Assert.Equal(ArtifactFault.Refused, await FaultAsync(() => store.OpenAsync(P("d e/é+.json"), default)));
    }

    [Fact]
    public async Task Presigned_OverTls_IsSo()
    {
        Open(s3.Options with { Endpoint = new Uri("https://storage.example:9000"), SessionToken = "token" });
        var url = await S3PresignedAddresses.SignAsync((S3ArtifactStore)store, P("f g"), new() { Verb = Amazon.S3.HttpVerb.GET }, TimeSpan.Zero);
        Assert.StartsWith("https://storage.example:9000/bucket/a/f%20g?", url, StringComparison.Ordinal);
        Assert.Contains("X-Amz-Expires=1&", url, StringComparison.Ordinal);
        Assert.Contains("X-Amz-Security-Token=token", url, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Presigned_WhereNoFileIs_SaysSo()
    {
        await PutAsync("d/f", [1]);
        var presigned = store.Presigned!;
        Assert.Equal(ArtifactFault.NotFound, await FaultAsync(() => presigned.ForDownloadAsync(P("g"), TimeSpan.FromMinutes(1), default)));
        Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => presigned.ForDownloadAsync(P("d"), TimeSpan.FromMinutes(1), default)));
        Assert.Equal(ArtifactFault.NotAFile, await FaultAsync(() => presigned.ForUploadAsync(P("d"), TimeSpan.FromMinutes(1), default)));
    }

    [Fact]
    public void Root_ThatIsNone_IsRefused()
    {
        foreach (var root in new[] { "s3://", "s3:///x", "s3://bucket/../x", "s3://bucket//x", "s3://bucket/./x" })
            Assert.Equal(ArtifactFault.NotSupported, Assert.Throws<ArtifactStoreException>(() => stores.Open(root)).Fault);
        Assert.Equal("s3://bucket/f", stores.Open("s3://bucket").LocationOf(P("f")));
        Assert.Equal("s3://bucket/a/b/d/f", stores.Open("s3://bucket/a/b/").LocationOf(P("d/f")));
        Assert.Equal("s3://bucket", stores.Open("s3://bucket/").LocationOf(ArtifactPath.Root));
    }

    [Theory]
    [InlineData(null)]
    [InlineData(5L << 40)]
    [InlineData((5L << 40) - 1)]
    [InlineData(100L << 30)]
    public void Parts_OfTheLargestFiles_AreEnough(long? length)
    {
        long size = 0;
        for (var number = 1; number <= MultipartUploads.MaxParts; number++)
            size += S3Upload.PartSize(number, length);
        Assert.True(size >= (length ?? 5L << 40));
    }

    [Fact]
    public async Task Part_TooLargeForMemory_WaitsInAFile()
    {
        var content = RandomNumberGenerator.GetBytes(5 * MiB);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var source = new MemoryStream(content);
        foreach (var expected in new[] { content[..(3 * MiB)], content[(3 * MiB)..], [] })
        {
            await using var part = await S3Upload.ReadLargePartAsync(source, 3 * MiB, hash, default);
            var read = new byte[part.Length];
            await part.ReadExactlyAsync(read);
            Assert.Equal(expected, read);
        }

        Assert.Equal(SHA256.HashData(content), hash.GetHashAndReset());
    }

    private static ArtifactPath P(string path) => ArtifactPath.Parse(path);

    private static async Task<ArtifactFault> FaultAsync(Func<Task> call) => (await Assert.ThrowsAsync<ArtifactStoreException>(call)).Fault;

    private void Open(S3Options options, string root = "s3://bucket/a")
    {
        stores?.Dispose();
        stores = new ArtifactStores(new ArtifactStoreOptions { S3 = options });
        store = stores.Open(root);
    }

    private async Task<ArtifactEntry> PutAsync(string path, byte[] content)
    {
        await using var staged = await store.StageAsync(P(path), new MemoryStream(content), content.Length, default);
        return await staged.PublishAsync();
    }

    private async Task<byte[]> ReadAsync(string path)
    {
        await using var open = await store.OpenAsync(P(path), default);
        var content = new MemoryStream();
        await open.CopyToAsync(content, 0, open.Entry.Size, default);
        return content.ToArray();
    }

    /// <summary>Cuts connections when so much of an object's content has been sent over them.</summary>
    private void CutAfter(int bytes, Func<bool> isToCut) => s3.Intercept = context =>
    {
        if (context.Request.Method == "GET" && context.Request.Path.Value!.Contains("/a/", StringComparison.Ordinal) && isToCut())
            context.Response.Body = new CutStream(context.Response.Body, bytes);
        return Task.FromResult(false);
    };

    private sealed class CutStream(Stream body, int left) : MemoryStream
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            // The server closes connections over which less was sent than announced.
            var sent = Math.Min(left, buffer.Length);
            left -= sent;
            await body.WriteAsync(buffer[..sent], cancellationToken);
        }
    }
}
