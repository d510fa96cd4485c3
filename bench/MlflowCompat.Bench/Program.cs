using MlflowCompat.Bench.Commands;

return await BenchCommandLine.RunAsync(args);
