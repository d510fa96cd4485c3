using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Limits;
using MlflowCompat.Bench.Measuring;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Commands;

/// <summary>Measures one large file, up and down through the proxy, and what the place where it is kept can do by itself.</summary>
internal sealed class ArtifactsCommand : Command
{
    private const int InputBytes = 256 * 1024;

    private readonly Argument<string> url = new("url") { Description = "Address of the server." };
    private readonly Option<int> megabytes = BenchCommandLine.Option("--megabytes", 2048, "Size of the file in MiB.");
    private readonly Option<int> rounds = BenchCommandLine.Option("--rounds", 3, "Uploads and downloads; their medians are printed.");
    private readonly Option<string> scratch = BenchCommandLine.Option("--scratch", Path.GetTempPath(), "Folder for the file that is sent.");

    private readonly Option<int?> pid = new("--pid") { Description = "Process of the server: how much its memory grows is shown." };

    private readonly Option<string?> destination = new("--destination")
    {
        Description = "The server's artifacts destination, a folder or s3://bucket/prefix: in the same rounds the file is copied there with fsync, "
            + "or sent and fetched with the AWS SDK.",
    };

    /// <summary>Makes the command.</summary>
    public ArtifactsCommand()
        : base("artifacts", "Measures the upload and download of one large file through the proxy, and checks its content.")
    {
        Add(url);
        foreach (var option in (Option[])[megabytes, rounds, scratch, pid, destination])
            Add(option);
        SetAction((result, _) => RunAsync(result));
    }

    private async Task RunAsync(ParseResult result)
    {
        var output = result.InvocationConfiguration.Output;
        var server = new ServerAddress(result.GetValue(url)!);
        using var limit = result.GetValue(destination) is { } place ? StorageLimit.Open(place) : null;
        using var client = new MlflowClient(server);
        var experiment = client.CreateExperiment($"bench-{Guid.NewGuid():N}");
        var run = client.CreateRun(experiment, "artifacts", Writing.Now());
        var path = server.ArtifactPath($"{experiment}/{run}/artifacts/large.bin");
        var size = (long)result.GetValue(megabytes) << 20;
        var file = Path.Combine(result.GetValue(scratch)!, $"bench_file_{Environment.ProcessId}");
        try
        {
            var hash = Make(file, size);
            var measured = new Dictionary<string, List<double>> { ["upload"] = [], ["download"] = [], ["limit up"] = [], ["limit down"] = [] };
            var uses = new List<ProcessUse>();
            for (var round = 0; round < result.GetValue(rounds); round++)
            {
                using (var sampler = result.GetValue(pid) is { } process ? new ProcessSampler(process) : null)
                {
                    using var connection = new HttpConnection(server, InputBytes);
                    measured["upload"].Add(Time(() => connection.PutFile(path, file)));
                    measured["download"].Add(Time(() => Download(connection, path, size)));
                    if (sampler is not null)
                        uses.Add(sampler.Stop());
                }

                if (limit is null)
                    continue;
                measured["limit up"].Add(await TimeAsync(() => limit.WriteAsync(file)).ConfigureAwait(false));
                measured["limit down"].Add(await TimeAsync(limit.ReadAsync).ConfigureAwait(false));
            }

            CheckContent(server, path, hash);
            Print(output, size, measured, limit, uses);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static void Print(
        TextWriter output, long size, Dictionary<string, List<double>> measured, StorageLimit? limit, List<ProcessUse> uses)
    {
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{size >> 20} MiB, in 10^6 bytes per second, medians and (rounds)"));
        foreach (var (name, seconds) in measured.Where(each => each.Value.Count > 0))
        {
            var rates = seconds.ConvertAll(each => size / each / 1e6);
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {name,-10} {WorkloadMeasurement.Median(rates),8:0} ({string.Join(' ', rates.Select(rate => rate.ToString("0", CultureInfo.InvariantCulture)))})"));
        }

        if (limit is not null)
        {
            var up = WorkloadMeasurement.Median(measured["limit up"]) / WorkloadMeasurement.Median(measured["upload"]);
            var down = WorkloadMeasurement.Median(measured["limit down"]) / WorkloadMeasurement.Median(measured["download"]);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  of the limit: {up:0.00} up, {down:0.00} down ({limit.Description})"));
        }

        if (uses.Count > 0)
        {
            var first = uses[0].FirstRssMegabytes;
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  server: {first:0} MB resident before, grown by {uses.Max(use => use.MaxRssMegabytes) - first:0} MB at most; ")
                + ProcessUse.Describe(uses));
        }
    }

    /// <summary>Writes a file that nothing could make smaller, and returns its hash.</summary>
    private static string Make(string file, long size)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var stream = new FileStream(file, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
        var buffer = new byte[1 << 20];
        var random = new Random(1);
        for (var written = 0L; written < size; written += buffer.Length)
        {
            random.NextBytes(buffer);
            hash.AppendData(buffer);
            stream.Write(buffer);
        }

        stream.Flush(flushToDisk: true);
        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static void Download(HttpConnection connection, byte[] path, long size)
    {
        var received = 0L;
        connection.Receiver = piece => received += piece.Length;
        connection.Get(path);
        connection.Receiver = null;
        if (received != size)
            throw new UnexpectedAnswerException($"the file has {received} bytes instead of {size}");
    }

    /// <summary>Downloads once more, not measured, because the hash takes a processor from the server.</summary>
    private static void CheckContent(ServerAddress server, byte[] path, string expected)
    {
        using var connection = new HttpConnection(server, InputBytes);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        connection.Receiver = piece => hash.AppendData(piece);
        connection.Get(path);
        if (Convert.ToHexString(hash.GetHashAndReset()) != expected)
            throw new UnexpectedAnswerException("the file that was downloaded is not the one that was uploaded");
    }

    private static double Time(Action action)
    {
        var start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private static async Task<double> TimeAsync(Func<Task> action)
    {
        var start = Stopwatch.GetTimestamp();
        await action().ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }
}
