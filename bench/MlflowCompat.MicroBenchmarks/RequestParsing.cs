using System.Globalization;
using System.Text;
using BenchmarkDotNet.Attributes;
using Microsoft.AspNetCore.Http;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Metrics;

namespace MlflowCompat.MicroBenchmarks;

/// <summary>From the bytes of a request to its message.</summary>
[MemoryDiagnoser]
public class RequestParsing
{
    private const string RunId = "4ae48a3bb1d34b0aa1c2d3e4f5a6b7c8";

    private readonly byte[] logMetric = Encoding.UTF8.GetBytes(
        $$"""{"run_id":"{{RunId}}","key":"loss","value":0.5882352941176471,"timestamp":1767225600000,"step":7}""");

    private readonly byte[] logBatch = Encoding.UTF8.GetBytes(
        $$"""{"run_id":"{{RunId}}","metrics":[""" + string.Join(',', Enumerable.Range(0, 1000).Select(i => string.Create(
            CultureInfo.InvariantCulture,
            $$"""{"key":"metric_{{i % 10}}","value":{{1 / (1.7 + i)}},"timestamp":{{1767225600000 + i}},"step":{{i / 10}}}"""))) + "]}");

    /// <summary>A single metric.</summary>
    [Benchmark]
    public ValueTask<LogMetric> LogMetric() => RequestBinding.ReadAsync<LogMetric>(Post(logMetric));

    /// <summary>A thousand metrics.</summary>
    [Benchmark]
    public ValueTask<LogBatch> LogBatchOf1000() => RequestBinding.ReadAsync<LogBatch>(Post(logBatch));

    /// <summary>A request as the web server hands it over; making it is a small part of what is measured.</summary>
    private static DefaultHttpContext Post(byte[] body)
    {
        var context = new DefaultHttpContext();
        context.Request.Method = HttpMethods.Post;
        context.Request.ContentType = "application/json";
        context.Request.ContentLength = body.Length;
        context.Request.Body = new MemoryStream(body);
        return context;
    }
}
