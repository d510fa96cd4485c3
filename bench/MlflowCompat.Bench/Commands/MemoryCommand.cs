using System.CommandLine;
using MlflowCompat.Bench.Measuring;

namespace MlflowCompat.Bench.Commands;

/// <summary>Watches the memory of a process.</summary>
internal sealed class MemoryCommand : Command
{
    private readonly Argument<int> pid = new("pid") { Description = "The process." };
    private readonly Option<double> seconds = BenchCommandLine.Option("--seconds", 10.0, "How long.");

    /// <summary>Makes the command.</summary>
    public MemoryCommand()
        : base("memory", "Watches the memory and processor time of a process.")
    {
        Add(pid);
        Add(seconds);
        SetAction((result, cancellationToken) => RunAsync(result, cancellationToken));
    }

    private async Task RunAsync(ParseResult result, CancellationToken cancellationToken)
    {
        using var sampler = new ProcessSampler(result.GetValue(pid));
        await Task.Delay(TimeSpan.FromSeconds(result.GetValue(seconds)), cancellationToken).ConfigureAwait(false);
        result.InvocationConfiguration.Output.WriteLine(ProcessUse.Describe([sampler.Stop()]));
    }
}
