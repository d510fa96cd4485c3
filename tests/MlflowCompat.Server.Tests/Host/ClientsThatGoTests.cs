using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.IO.Compression;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using MlflowCompat.Server.Tests.Traces;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>Clients that cut their connection in the middle of a body: nothing has failed, and the log is not filled with it.</summary>
public sealed class ClientsThatGoTests
{
    [Theory]
    [BothDatabases(false)]
    [BothDatabases(true)]
    public async Task ConnectionCutInABody_IsNoFailure_AndStoresNothing(DatabaseKind kind, bool reset)
    {
        await using var server = await TestServer.StartAsync(kind);
        using var complaints = new Complaints();
        server.Services.GetRequiredService<ILoggerFactory>().AddProvider(complaints);
        var statuses = new ConcurrentQueue<int>();
        using var measured = new SemaphoreSlim(0);
        using var listener = Measure(server, status =>
        {
            statuses.Enqueue(status);
            measured.Release();
        });
        var run = (string)(await server.PostAsync("runs/create", new { experiment_id = "0" }))["run"]!["info"]!["run_id"]!;
        await measured.WaitAsync();
        statuses.Clear();
        var export = OtlpExport.Request([.. Enumerable.Range(0, 300).Select(_ => OtlpExport.Root())]);
        foreach (var (target, headers, body) in ((string, string, byte[])[])
        [
            ("POST /v1/traces", "Content-Type: application/x-protobuf\r\nx-mlflow-experiment-id: 0\r\n", export),
            ("POST /v1/traces", "Content-Type: application/x-protobuf\r\nContent-Encoding: gzip\r\nx-mlflow-experiment-id: 0\r\n", Pack(export)),
            ("POST /api/2.0/mlflow/runs/log-batch", "Content-Type: application/json\r\n", Encoding.ASCII.GetBytes($$"""{"run_id": "{{run}}", "tags": [{{string.Join(',', Enumerable.Repeat("""{"key": "k", "value": "v"}""", 1000))}}]}""")),
            ("PUT /api/2.0/mlflow-artifacts/artifacts/0/f.bin", "", new byte[200_000]),
            ($"POST /ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=f.bin", "Content-Type: application/octet-stream\r\n", new byte[200_000]),
        ])
        {
            using var client = await RawHttp.ConnectAsync(server);
            // The server says "100 Continue" when it begins to read the body.
            await client.GetStream().WriteAsync(Encoding.Latin1.GetBytes(string.Create(
                CultureInfo.InvariantCulture, $"{target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{headers}Content-Length: {body.Length}\r\n\r\n")));
            Assert.StartsWith("HTTP/1.1 100 ", await RawHttp.ReadHeadAsync(client), StringComparison.Ordinal);
            await client.GetStream().WriteAsync(body.AsMemory(0, body.Length / 2));
            if (reset)
            {
                // The client itself would say first that nothing more comes.
                client.LingerState = new LingerOption(true, 0);
                client.Client.Close();
            }

            client.Close();
            Assert.True(await measured.WaitAsync(TimeSpan.FromMinutes(1)), target);
            Assert.True(statuses.TryDequeue(out var status));
            Assert.True(status is 499 or 400, $"{target}: {status}");
            if (reset)
                Assert.Equal((target, 499), (target, status));
        }

        Assert.Equal("", string.Join("\n", complaints.Said));
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search(["0"]))).Ids);
        Assert.Null((await server.GetAsync($"runs/get?run_id={run}"))["run"]!["data"]!["tags"]?.AsArray().FirstOrDefault(tag => (string?)tag!["key"] == "k"));
        await server.ExportAsync("0", OtlpExport.Root());
    }

    private static byte[] Pack(byte[] body)
    {
        using var packed = new MemoryStream();
        using (var stream = new GZipStream(packed, CompressionLevel.NoCompression, leaveOpen: true))
            stream.Write(body);
        return packed.ToArray();
    }

    /// <summary>Tells the status of each request of a server when it has ended, answered or not.</summary>
    private static MeterListener Measure(TestServer server, Action<int> ended)
    {
        var meters = server.Services.GetRequiredService<IMeterFactory>();
        var listener = new MeterListener
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Name == "http.server.request.duration" && ReferenceEquals(instrument.Meter.Scope, meters))
                    listener.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<double>((_, _, tags, _) =>
        {
            foreach (var (name, value) in tags)
            {
                if (name == "http.response.status_code")
                    ended(Convert.ToInt32(value, CultureInfo.InvariantCulture));
            }
        });
        listener.Start();
        return listener;
    }

    /// <summary>What a server logs as going wrong.</summary>
    private sealed class Complaints : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> Said { get; } = new();

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
                Said.Enqueue($"{formatter(state, exception)} {exception}");
        }

        public void Dispose()
        {
        }
    }
}
