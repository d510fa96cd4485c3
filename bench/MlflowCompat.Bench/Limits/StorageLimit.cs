using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Amazon.S3.Transfer;

namespace MlflowCompat.Bench.Limits;

/// <summary>What the place where a server keeps its artifacts can do with one large file, without the server.</summary>
internal abstract class StorageLimit : IDisposable
{
    private const string S3Scheme = "s3://";

    /// <summary>Opens a place for a scratch file that is removed at the end.</summary>
    /// <param name="destination">A folder, or <c>s3://bucket/prefix</c>, which is reached with the variables that the server has.</param>
    public static StorageLimit Open(string destination) => destination.StartsWith(S3Scheme, StringComparison.Ordinal)
        ? new S3Limit(destination[S3Scheme.Length..].TrimEnd('/'))
        : new DiskLimit(destination);

    /// <summary>What is done, for people.</summary>
    public abstract string Description { get; }

    /// <summary>Stores a file.</summary>
    public abstract Task WriteAsync(string file);

    /// <summary>Reads what was stored, and drops it.</summary>
    public abstract Task ReadAsync();

    /// <summary>Removes the scratch file.</summary>
    public abstract void Dispose();

    /// <summary>Reads a stream to its end.</summary>
    private static async Task DrainAsync(Stream stream, int bufferBytes)
    {
        var buffer = new byte[bufferBytes];
        while (await stream.ReadAsync(buffer).ConfigureAwait(false) > 0)
        {
        }
    }

    /// <summary>A copy with fsync on the same disk.</summary>
    private sealed class DiskLimit(string folder) : StorageLimit
    {
        private const int BufferBytes = 1 << 20;

        private readonly string scratch = Path.Combine(folder, $"bench_limit_{Environment.ProcessId}");

        public override string Description => $"copying with fsync in {folder}";

        public override async Task WriteAsync(string file)
        {
            // An upload in place of an older file gives its room back, too.
            File.Delete(scratch);
            using var from = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            using var to = new FileStream(scratch, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
            from.CopyTo(to, BufferBytes);
            to.Flush(flushToDisk: true);
            await Task.CompletedTask.ConfigureAwait(false);
        }

        public override async Task ReadAsync()
        {
            using var from = new FileStream(scratch, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            await DrainAsync(from, BufferBytes).ConfigureAwait(false);
        }

        public override void Dispose() => File.Delete(scratch);
    }

    /// <summary>S3's client as AWS makes it.</summary>
    private sealed class S3Limit : StorageLimit
    {
        private const int BufferBytes = 128 << 10;

        private readonly AmazonS3Client client;
        private readonly string bucket;
        private readonly string key;

        public S3Limit(string place)
        {
            var slash = place.IndexOf('/', StringComparison.Ordinal);
            bucket = slash < 0 ? place : place[..slash];
            key = (slash < 0 ? "" : place[(slash + 1)..] + "/") + $"bench_limit_{Environment.ProcessId}";
            var config = new AmazonS3Config
            {
                RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
                ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
            };
            if (Environment.GetEnvironmentVariable("MLFLOW_S3_ENDPOINT_URL") is { Length: > 0 } endpoint)
            {
                config.ServiceURL = endpoint;
                config.ForcePathStyle = true;
                config.AuthenticationRegion = "us-east-1";
            }

            client = new AmazonS3Client(config);
        }

        public override string Description => $"TransferUtility and GetObject of the AWS SDK, {bucket}";

        public override async Task WriteAsync(string file)
        {
            using var transfer = new TransferUtility(client);
            await transfer.UploadAsync(file, bucket, key).ConfigureAwait(false);
        }

        public override async Task ReadAsync()
        {
            using var response = await client.GetObjectAsync(new GetObjectRequest { BucketName = bucket, Key = key }).ConfigureAwait(false);
            await DrainAsync(response.ResponseStream, BufferBytes).ConfigureAwait(false);
        }

        public override void Dispose()
        {
            client.DeleteObjectAsync(bucket, key).GetAwaiter().GetResult();
            client.Dispose();
        }
    }
}
