using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

namespace MlflowCompat.MicroBenchmarks;

/// <summary>Runs all benchmarks, or those that BenchmarkDotNet's own arguments choose.</summary>
internal static class Benchmarks
{
    private static readonly string[] Everything = ["--filter", "*"];

    /// <summary>Runs them.</summary>
    public static void Main(string[] args)
    {
        // In this process: a project that is generated would be built by the rules of this repository, for which it is not written.
        var config = DefaultConfig.Instance
            .AddJob(Job.Default.WithToolchain(InProcessEmitToolchain.Instance).WithWarmupCount(5).WithIterationCount(10))
            .WithArtifactsPath(Path.Combine(Path.GetTempPath(), "mlflow-compat-micro-benchmarks"));
        BenchmarkSwitcher.FromAssembly(typeof(Benchmarks).Assembly).Run(args.Length == 0 ? Everything : args, config);
    }
}
