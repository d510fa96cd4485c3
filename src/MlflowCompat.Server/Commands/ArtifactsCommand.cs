using System.CommandLine;
using System.Globalization;
using MlflowCompat.Artifacts;
using MlflowCompat.Artifacts.S3;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Server.Commands;

/// <summary>
/// Looks after the artifacts: <c>artifacts verify</c> compares the table with the stores. Database and stores are named as for the server.
/// </summary>
internal sealed class ArtifactsCommand : Command
{
    private readonly Func<string, string?> environment;
    private readonly Setting backendStoreUri = DatabaseCommand.BackendStoreUriSetting();
    private readonly Setting artifactsDestination = ServerCommand.ArtifactsDestinationSetting();
    private readonly Setting defaultArtifactRoot = ServerCommand.DefaultArtifactRootSetting();

    /// <summary>Makes the command.</summary>
    /// <param name="environment">Looks an environment variable up.</param>
    public ArtifactsCommand(Func<string, string?> environment)
        : base("artifacts", "Looks after the artifacts.")
    {
        this.environment = environment;
        Add(Verify());
    }

    /// <summary>How stores are reached, from the variables that MLflow's clients take.</summary>
    /// <exception cref="UsageException">A variable has a value that it cannot have.</exception>
    public static ArtifactStoreOptions ReadStoreOptions(Func<string, string?> environment)
    {
        try
        {
            return new ArtifactStoreOptions { S3 = S3Options.Read(environment) };
        }
        catch (ArgumentException exception)
        {
            throw new UsageException(exception.Message);
        }
    }

    private Command Verify()
    {
        var hash = new Option<bool>("--hash") { Arity = ArgumentArity.Zero, Description = "Reads every file and compares its content too." };
        var repair = new Option<bool>("--repair") { Arity = ArgumentArity.Zero, Description = "Puts the table right; files are never touched." };
        var command = new Command(
            "verify", "Compares the table of artifacts with the files; exit code 0 when they agree, or were made to, else 1.")
        {
            hash, repair, backendStoreUri.Option, artifactsDestination.Option, defaultArtifactRoot.Option,
        };
        command.SetAction((result, cancellationToken) => VerifyAsync(result, result.GetValue(hash), result.GetValue(repair), cancellationToken));
        return command;
    }

    private async Task<int> VerifyAsync(ParseResult result, bool hash, bool repair, CancellationToken cancellationToken)
    {
        var defaults = new ServerOptions();
        var options = defaults with
        {
            BackendStoreUri = backendStoreUri.Read(result, environment)?.Text ?? defaults.BackendStoreUri,
            ArtifactsDestination = artifactsDestination.Read(result, environment)?.Text ?? defaults.ArtifactsDestination,
            DefaultArtifactRoot = defaultArtifactRoot.Read(result, environment)?.Text,
        };
        var output = result.InvocationConfiguration.Output;
        var database = DatabaseCommand.Open(options.BackendStoreUri);
        await using var ownedDatabase = database.ConfigureAwait(false);
        var records = new ArtifactRecords(database);
        await using var ownedRecords = records.ConfigureAwait(false);
        using var stores = new ArtifactStores(ReadStoreOptions(environment));
        var verification = new ArtifactVerification(records, new ArtifactRoots(options, stores));
        var counts = new Dictionary<ArtifactProblem, long>();
        try
        {
            await DatabaseCommand.UseAsync(database, async () =>
            {
                if (!(await new SchemaMigrator(database).GetStatusAsync(cancellationToken).ConfigureAwait(false)).IsUpToDate)
                    throw new CommandFailedException("the database's schema is not that of this build; see 'mlflow-compat db status'.");
                await verification.RunAsync(hash, repair, ReportAsync, cancellationToken).ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
        catch (ArtifactStoreException exception)
        {
            throw new CommandFailedException($"the artifacts cannot be read: {exception.Message}{(exception.InnerException is { } inner ? $" ({inner.Message})" : "")}.");
        }

        await output.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"{verification.Files} files, {verification.Rows} rows: {Count(ArtifactProblem.Missing)} missing, {Count(ArtifactProblem.Orphaned)} orphaned, "
            + $"{Count(ArtifactProblem.WrongSize)} of wrong size, {Count(ArtifactProblem.WrongHash)} of wrong hash, {verification.Elsewhere} elsewhere")
            .AsMemory(), cancellationToken).ConfigureAwait(false);
        return repair || counts.Count == 0 ? 0 : 1;

        long Count(ArtifactProblem problem) => counts.GetValueOrDefault(problem);

        Task ReportAsync(ArtifactProblem problem, string storagePath)
        {
            counts[problem] = Count(problem) + 1;
            return output.WriteLineAsync($"{Word(problem),-10}  {storagePath}".AsMemory(), cancellationToken);
        }
    }

    private static string Word(ArtifactProblem problem) => problem switch
    {
        ArtifactProblem.Missing => "missing",
        ArtifactProblem.Orphaned => "orphaned",
        ArtifactProblem.WrongSize => "wrong size",
        _ => "wrong hash",
    };
}
