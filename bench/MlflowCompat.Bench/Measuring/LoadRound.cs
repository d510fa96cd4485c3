using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using MlflowCompat.Bench.Http;

namespace MlflowCompat.Bench.Measuring;

/// <summary>One operation of a workload: one request or a few that belong together, checked. Always called by the same thread.</summary>
/// <exception cref="UnexpectedAnswerException">The server answered something else.</exception>
/// <exception cref="SocketException">The connection broke.</exception>
internal delegate void Operation(HttpConnection connection);

/// <summary>How load is put on a server.</summary>
/// <param name="Seconds">How long is measured.</param>
/// <param name="WarmUpSeconds">How long the same load goes on before that.</param>
/// <param name="Rate">
/// Open loop: so many operations are due per second over all connections, whether the server keeps up or not. Closed loop when null: each
/// connection starts its next operation when the one before has ended.
/// </param>
internal sealed record LoadShape(double Seconds, double WarmUpSeconds, double? Rate);

/// <summary>What one round of load has shown.</summary>
/// <param name="Operations">Operations that were measured and answered as expected.</param>
/// <param name="OperationsPerSecond">Their rate.</param>
/// <param name="P50">Median latency in milliseconds. In an open loop a latency begins when the operation was due.</param>
/// <param name="P95">95th percentile in milliseconds.</param>
/// <param name="P99">99th percentile in milliseconds.</param>
/// <param name="Max">The longest latency in milliseconds.</param>
/// <param name="Errors">Operations that failed, those of the warm-up included.</param>
/// <param name="NeverSent">Open loop: operations that were due and could not be sent, because the server was too far behind.</param>
/// <param name="FirstError">What went wrong first.</param>
/// <param name="GeneratorCpu">Processor time of this program in processors: 0.5 is half of one.</param>
/// <param name="MegabytesPerSecond">Bodies of answers, in 10^6 bytes per second.</param>
internal sealed record RoundResult(
    long Operations,
    double OperationsPerSecond,
    double P50,
    double P95,
    double P99,
    double Max,
    long Errors,
    long NeverSent,
    string? FirstError,
    double GeneratorCpu,
    double MegabytesPerSecond);

/// <summary>One round of load: every operation on a connection and a thread of its own.</summary>
internal sealed class LoadRound : IDisposable
{
    /// <summary>A thread does little more than fill a buffer; a thousand of them should fit.</summary>
    private const int StackBytes = 256 * 1024;

    /// <summary>So many errors without a good answer between them, and a connection gives up.</summary>
    private const int ErrorsToGiveUp = 100;

    private readonly LoadShape shape;
    private readonly double nanosecondsPerOperation;
    private readonly ManualResetEventSlim go = new();
    private long start;
    private long measureFrom;
    private long end;
    private long nextNumber = -1;
    private string? firstError;

    private LoadRound(LoadShape shape)
    {
        this.shape = shape;
        nanosecondsPerOperation = 1e9 / (shape.Rate ?? 1);
    }

    /// <summary>Runs a round.</summary>
    /// <param name="server">The server.</param>
    /// <param name="operations">What each connection does.</param>
    /// <param name="shape">How.</param>
    public static RoundResult Run(ServerAddress server, IReadOnlyList<Operation> operations, LoadShape shape)
    {
        using var round = new LoadRound(shape);
        var connections = operations.Select(operation => new Lane(round, new HttpConnection(server), operation)).ToList();
        using var ready = new CountdownEvent(connections.Count);
        var threads = connections.ConvertAll(lane => new Thread(() => lane.Run(ready), StackBytes));
        threads.ForEach(thread => thread.Start());
        ready.Wait();
        round.start = Stopwatch.GetTimestamp();
        round.measureFrom = round.start + Ticks(shape.WarmUpSeconds);
        round.end = round.measureFrom + Ticks(shape.Seconds);
        var cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        round.go.Set();
        threads.ForEach(thread => thread.Join());
        var elapsed = Stopwatch.GetElapsedTime(round.start).TotalSeconds;
        var cpu = (Process.GetCurrentProcess().TotalProcessorTime - cpuBefore).TotalSeconds / elapsed;

        var latencies = new LatencyHistogram();
        connections.ForEach(lane => latencies.Add(lane.Latencies));
        return new RoundResult(
            latencies.Count,
            round.Rate(connections, latencies.Count),
            latencies.Milliseconds(0.50),
            latencies.Milliseconds(0.95),
            latencies.Milliseconds(0.99),
            latencies.Max / 1e6,
            connections.Sum(lane => lane.Errors),
            connections.Sum(lane => lane.NeverSent),
            round.firstError,
            cpu,
            connections.Sum(lane => lane.Bytes) / elapsed / 1e6);
    }

    /// <inheritdoc/>
    public void Dispose() => go.Dispose();

    /// <summary>
    /// In a closed loop the last operation of a connection ends after the time is up; each connection therefore counts with the time that
    /// its own operations took, so that slow operations are not rounded away.
    /// </summary>
    private double Rate(List<Lane> lanes, long operations)
    {
        if (operations == 0)
            return 0;
        return shape.Rate is null
            ? lanes.Where(lane => lane.Latencies.Count > 0).Sum(lane => lane.Latencies.Count * 1e9 / (lane.LastEnd - lane.FirstStart))
            : operations * 1e9 / (Math.Max(end, lanes.Max(lane => lane.LastEnd)) - measureFrom);
    }

    // Stopwatch counts nanoseconds on Linux.
    private static long Ticks(double seconds) => (long)(seconds * Stopwatch.Frequency);

    /// <summary>A connection with its thread.</summary>
    private sealed class Lane(LoadRound round, HttpConnection connection, Operation operation)
    {
        private int errorsInRow;

        public LatencyHistogram Latencies { get; } = new();

        public long Errors { get; private set; }

        public long NeverSent { get; private set; }

        public long Bytes { get; private set; }

        public long FirstStart { get; private set; }

        public long LastEnd { get; private set; }

        public void Run(CountdownEvent ready)
        {
            using (connection)
            {
                try
                {
                    connection.Open();
                }
                catch (SocketException exception)
                {
                    Fail(exception);
                }

                ready.Signal();
                round.go.Wait();
                if (round.shape.Rate is null)
                    RunClosed();
                else
                    RunOpen();
                Bytes = connection.BytesReceived;
            }
        }

        private void RunClosed()
        {
            while (errorsInRow < ErrorsToGiveUp)
            {
                var started = Stopwatch.GetTimestamp();
                // One that began in the warm-up and took longer than the round is followed by one that is measured.
                if (started >= round.end && (Latencies.Count > 0 || Errors > 0))
                    return;
                Do(started, started);
            }
        }

        private void RunOpen()
        {
            // What is due but not sent when the measured time is over may still be sent for as long again.
            var patience = round.end + Ticks(round.shape.Seconds);
            while (true)
            {
                var due = round.start + (long)(Interlocked.Increment(ref round.nextNumber) * round.nanosecondsPerOperation);
                if (due >= round.end)
                    return;
                var now = Stopwatch.GetTimestamp();
                if (now > patience || errorsInRow >= ErrorsToGiveUp)
                {
                    NeverSent++;
                    continue;
                }

                if (now < due)
                    PreciseSleep.Until(due, now);
                Do(due, Stopwatch.GetTimestamp());
            }
        }

        /// <param name="due">When the latency begins.</param>
        /// <param name="started">When the operation began.</param>
        private void Do(long due, long started)
        {
            try
            {
                operation(connection);
            }
            catch (Exception exception) when (exception is UnexpectedAnswerException or SocketException)
            {
                Fail(exception);
                return;
            }

            errorsInRow = 0;
            if (due < round.measureFrom)
                return;
            if (FirstStart == 0)
                FirstStart = started;
            LastEnd = Stopwatch.GetTimestamp();
            Latencies.Add(LastEnd - due);
        }

        private void Fail(Exception exception)
        {
            Errors++;
            errorsInRow++;
            Interlocked.CompareExchange(ref round.firstError, exception.Message, null);
        }
    }
}

/// <summary>Waits without a processor and, unlike <see cref="Thread.Sleep(int)"/>, not in whole milliseconds.</summary>
internal static class PreciseSleep
{
    /// <summary>Sleeps from <paramref name="now"/> to <paramref name="due"/>, both in nanoseconds.</summary>
    public static void Until(long due, long now)
    {
        var time = new TimeSpec { Seconds = (due - now) / 1_000_000_000, Nanoseconds = (due - now) % 1_000_000_000 };
        _ = NanoSleep(in time, 0);
    }

    [DllImport("libc", EntryPoint = "nanosleep")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.System32)]
    private static extern int NanoSleep(in TimeSpec requested, nint remaining);

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
