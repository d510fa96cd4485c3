using System.Globalization;
using BenchmarkDotNet.Attributes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Metrics;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.MicroBenchmarks;

/// <summary>From a message to the bytes of the answer.</summary>
[MemoryDiagnoser]
public class ResponseWriting
{
    private readonly SearchRunsResponse page = new([.. Enumerable.Range(0, 100).Select(MakeRun)], "eyJvZmZzZXQiOiAxMDB9");

    /// <summary>A page of 100 runs, each with 10 metrics, 10 params and 6 tags.</summary>
    [Benchmark]
    public Task SearchPageOf100() => WriteAsync(page);

    /// <summary>The answer to nearly all writes.</summary>
    [Benchmark]
    public Task EmptyMessage() => WriteAsync(Empty.Value);

    private static Task WriteAsync<T>(T message)
    {
        var context = new DefaultHttpContext();
        context.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(Stream.Null));
        return context.Response.WriteMessageAsync(message, CancellationToken.None);
    }

    private static Run MakeRun(int number)
    {
        var id = number.ToString("x32", CultureInfo.InvariantCulture);
        var name = $"run-{number}";
        return new Run(
            new RunInfo(id, id, name, "1", "bench", "FINISHED", 1_767_225_600_000, 1_767_225_660_000, $"mlflow-artifacts:/1/{id}/artifacts", "active"),
            new RunData(
                [.. Enumerable.Range(1, 10).Select(i => new Metric($"m{i}", 1 / (1.7 + i), 1_767_225_600_000, 0))],
                [.. Enumerable.Range(1, 10).Select(i => new KeyValue { Key = $"p{i}", Value = $"v{i}" })],
                [
                    .. Enumerable.Range(1, 5).Select(i => new KeyValue { Key = $"t{i}", Value = $"t{i}" }),
                    new KeyValue { Key = "mlflow.runName", Value = name },
                ]),
            new RunInputs(null, null),
            new RunOutputs(null));
    }
}
