using System.Diagnostics;
using System.Globalization;

namespace MlflowCompat.Bench.Measuring;

/// <summary>What a process has taken while it was watched.</summary>
/// <param name="MaxRssMegabytes">Largest resident memory seen, in 10^6 bytes.</param>
/// <param name="LastRssMegabytes">Resident memory at the end.</param>
/// <param name="PeakRssMegabytes">The kernel's own mark of the largest resident memory since the process started.</param>
/// <param name="Cpu">Processor time in processors: 0.5 is half of one.</param>
/// <param name="FirstRssMegabytes">Resident memory at the beginning.</param>
internal sealed record ProcessUse(
    double MaxRssMegabytes, double LastRssMegabytes, double PeakRssMegabytes, double Cpu, double FirstRssMegabytes)
{
    /// <summary>One line about several rounds: the most of all of them, the end of the last one, the median of the processor time.</summary>
    public static string Describe(IReadOnlyList<ProcessUse> uses) => string.Create(
        CultureInfo.InvariantCulture,
        $"{uses.Max(use => use.MaxRssMegabytes):0} MB resident at most, {uses[^1].LastRssMegabytes:0} MB at the end, "
        + $"{uses[^1].PeakRssMegabytes:0} MB since its start; {WorkloadMeasurement.Median(uses.Select(use => use.Cpu)):0.00} processors");
}

/// <summary>Watches the memory and processor time of a process in /proc, ten times a second, until it is stopped.</summary>
internal sealed class ProcessSampler : IDisposable
{
    private const int PauseMilliseconds = 100;

    /// <summary>Clock ticks per second in /proc, the same on every Linux.</summary>
    private const double TicksPerSecond = 100;

    private readonly int processId;
    private readonly Thread thread;
    private readonly ManualResetEventSlim stopping = new();
    private readonly long startedAt = Stopwatch.GetTimestamp();
    private readonly double cpuBefore;
    private readonly double first;
    private double max;

    /// <summary>Starts to watch.</summary>
    /// <exception cref="IOException">There is no such process.</exception>
    public ProcessSampler(int processId)
    {
        this.processId = processId;
        cpuBefore = CpuSeconds();
        max = first = Megabytes("VmRSS:");
        thread = new Thread(Sample) { IsBackground = true };
        thread.Start();
    }

    /// <summary>Stops and tells what was seen.</summary>
    /// <exception cref="IOException">The process has ended.</exception>
    public ProcessUse Stop()
    {
        stopping.Set();
        thread.Join();
        var last = Megabytes("VmRSS:");
        var seconds = Stopwatch.GetElapsedTime(startedAt).TotalSeconds;
        return new ProcessUse(Math.Max(max, last), last, Megabytes("VmHWM:"), (CpuSeconds() - cpuBefore) / seconds, first);
    }

    /// <summary>Stops watching.</summary>
    public void Dispose()
    {
        stopping.Set();
        thread.Join();
        stopping.Dispose();
    }

    private void Sample()
    {
        try
        {
            while (!stopping.Wait(PauseMilliseconds))
                max = Math.Max(max, Megabytes("VmRSS:"));
        }
        catch (IOException)
        {
            // The process has ended, which Stop will notice too.
        }
    }

    private double Megabytes(string name)
    {
        var line = File.ReadLines($"/proc/{processId}/status").FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal));
        var kibibytes = line?.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2].Split('\t')[^1];
        return double.Parse(kibibytes ?? "0", CultureInfo.InvariantCulture) * 1024 / 1e6;
    }

    private double CpuSeconds()
    {
        var line = File.ReadAllText($"/proc/{processId}/stat");
        // The name of the program, which may hold anything, stands in parentheses before the numbers.
        var fields = line[(line.LastIndexOf(')') + 2)..].Split(' ');
        return (double.Parse(fields[11], CultureInfo.InvariantCulture) + double.Parse(fields[12], CultureInfo.InvariantCulture)) / TicksPerSecond;
    }
}
