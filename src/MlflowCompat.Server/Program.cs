using MlflowCompat.Server.Commands;

return await CommandLine.RunAsync(args, Environment.GetEnvironmentVariable);
