using System.CommandLine;
using System.Data.Common;
using System.Globalization;
using MlflowCompat.Server.Searching;
using MlflowCompat.Server.Summaries;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Migrations;

namespace MlflowCompat.Server.Commands;

/// <summary>
/// Looks after the database's schema: <c>db upgrade</c>, <c>downgrade</c>, <c>status</c>, <c>script</c> and <c>refresh-views</c>. The database is named as for
/// the server, or as the argument, which is how <c>mlflow db upgrade</c> takes it.
/// </summary>
internal sealed class DatabaseCommand : Command
{
    private const string AllSteps = "all";

    private readonly Func<string, string?> environment;
    private readonly Setting backendStoreUri = BackendStoreUriSetting();

    /// <summary>Makes the command.</summary>
    /// <param name="environment">Looks an environment variable up.</param>
    public DatabaseCommand(Func<string, string?> environment)
        : base("db", "Looks after the database's schema.")
    {
        this.environment = environment;
        Add(Upgrade());
        Add(Downgrade());
        Add(Status());
        Add(Script());
        Add(RefreshViews());
    }

    /// <summary>Which database; the server takes it under the same name.</summary>
    public static Setting BackendStoreUriSetting() => new(
        "--backend-store-uri",
        "MLFLOW_BACKEND_STORE_URI",
        "uri",
        "Database of the tracking data: postgresql://user:password@host/database or sqlite:///file.db. Default: sqlite:///mlflow-compat.db.");

    /// <summary>The database that an address names; nothing is opened yet.</summary>
    /// <exception cref="UsageException">The address is of no known form.</exception>
    public static Database Open(string backendStoreUri)
    {
        try
        {
            return BackendStoreUri.Parse(backendStoreUri, Conditions.DefineSqliteFunctions);
        }
        catch (FormatException exception)
        {
            throw new UsageException(exception.Message);
        }
    }

    /// <summary>Does something with a database.</summary>
    /// <exception cref="CommandFailedException">It cannot be reached, refuses, or must not be used.</exception>
    public static async Task UseAsync(Database database, Func<Task> use)
    {
        try
        {
            await use().ConfigureAwait(false);
        }
        catch (SchemaRefusedException exception)
        {
            throw new CommandFailedException(exception.Message);
        }
        catch (Exception exception) when (exception is DbException || DatabaseFaults.Classify(exception) == DatabaseFault.Unavailable)
        {
            var reason = exception.Message.AsSpan();
            reason = reason[..(reason.IndexOf('\n') is var end and >= 0 ? end : reason.Length)].Trim();
            throw new CommandFailedException($"the database ({database.Description}) cannot be used: {reason}");
        }
    }

    private Command Upgrade()
    {
        var url = UrlArgument();
        var command = new Command("upgrade", "Applies all migrations that are missing.") { url, backendStoreUri.Option };
        command.SetAction(async (result, cancellationToken) =>
        {
            var database = Open(Address(result, result.GetValue(url)));
            await using var owned = database.ConfigureAwait(false);
            await UseAsync(database, async () =>
            {
                var applied = await new SchemaMigrator(database).UpgradeAsync(cancellationToken).ConfigureAwait(false);
                Print(result, database, "applied", applied);
            }).ConfigureAwait(false);
        });
        return command;
    }

    private Command Downgrade()
    {
        // One argument of two values, because each may be given without the other.
        var arguments = new Argument<string[]>("steps, url")
        {
            Arity = new ArgumentArity(0, 2),
            Description = $"How many migrations to take back: a number or '{AllSteps}', 1 unless given; and the database, if not given otherwise.",
        };
        var command = new Command("downgrade", "Takes the newest migrations back, with the data in what they made.")
        {
            arguments, backendStoreUri.Option,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            var (steps, url) = ReadSteps(result.GetValue(arguments) ?? []);
            var database = Open(Address(result, url));
            await using var owned = database.ConfigureAwait(false);
            await UseAsync(database, async () =>
            {
                var taken = await new SchemaMigrator(database).DowngradeAsync(steps, cancellationToken).ConfigureAwait(false);
                Print(result, database, "took back", taken);
            }).ConfigureAwait(false);
        });
        return command;
    }

    private Command Status()
    {
        var url = UrlArgument();
        var command = new Command("status", "Compares the database with this build; exit code 0 when it is up to date, else 1.")
        {
            url, backendStoreUri.Option,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            var database = Open(Address(result, result.GetValue(url)));
            await using var owned = database.ConfigureAwait(false);
            SchemaStatus? status = null;
            await UseAsync(
                database,
                async () => status = await new SchemaMigrator(database).GetStatusAsync(cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
            var output = result.InvocationConfiguration.Output;
            await output.WriteLineAsync(database.Description.AsMemory(), cancellationToken).ConfigureAwait(false);
            await output.WriteAsync(Table(status!).AsMemory(), cancellationToken).ConfigureAwait(false);
            if (status!.Refusal is { } refusal)
                throw new CommandFailedException(refusal);
            return status.IsUpToDate ? 0 : 1;
        });
        return command;
    }

    private Command Script()
    {
        var url = UrlArgument();
        var down = new Option<bool>("--down") { Arity = ArgumentArity.Zero, Description = "The SQL that takes everything back." };
        var command = new Command("script", "Prints the SQL of the whole schema for the kind of database that is named; connects to none.")
        {
            url, down, backendStoreUri.Option,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            var database = Open(Address(result, result.GetValue(url)));
            await using var owned = database.ConfigureAwait(false);
            var script = new SchemaMigrator(database).Script(result.GetValue(down));
            await result.InvocationConfiguration.Output.WriteAsync(script.AsMemory(), cancellationToken).ConfigureAwait(false);
        });
        return command;
    }

    private Command RefreshViews()
    {
        var url = UrlArgument();
        var command = new Command("refresh-views", "Refreshes the summary views, as the server does every few minutes.")
        {
            url, backendStoreUri.Option,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            var database = Open(Address(result, result.GetValue(url)));
            await using var owned = database.ConfigureAwait(false);
            var output = result.InvocationConfiguration.Output;
            await output.WriteLineAsync(database.Description.AsMemory(), cancellationToken).ConfigureAwait(false);
            if (database.Kind == DatabaseKind.Sqlite)
            {
                await output.WriteLineAsync("nothing to do: the views of SQLite are always current".AsMemory(), cancellationToken).ConfigureAwait(false);
                return;
            }

            foreach (var view in SummaryView.All)
            {
                await UseAsync(database, () => view.RefreshAsync(database, cancellationToken)).ConfigureAwait(false);
                await output.WriteLineAsync($"refreshed {view.Name}".AsMemory(), cancellationToken).ConfigureAwait(false);
            }
        });
        return command;
    }

    /// <summary>The lines of <c>db status</c>: version, name, state, when it was applied (UTC).</summary>
    internal static string Table(SchemaStatus status)
    {
        var nameWidth = Math.Max("name".Length, status.Migrations.Max(migration => (int?)migration.Name.Length) ?? 0);
        var rows = status.Migrations.Select(migration => Row(
            migration.Version.ToString("D4", CultureInfo.InvariantCulture),
            migration.Name,
            migration.State.ToString().ToLowerInvariant(),
            migration.AppliedAt?.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) ?? ""));
        return string.Concat(rows.Prepend(Row("version", "name", "state", "applied at")));

        string Row(string version, string name, string state, string appliedAt) =>
            $"{version,-7}  {name.PadRight(nameWidth)}  {state,-7}  {appliedAt}".TrimEnd() + "\n";
    }

    /// <summary>Tells a number of steps from an address.</summary>
    /// <exception cref="UsageException">Two of a kind.</exception>
    internal static (int? Steps, string? Url) ReadSteps(IReadOnlyList<string> arguments)
    {
        int? steps = 1;
        string? url = null;
        for (var i = 0; i < arguments.Count; i++)
        {
            if (i == 0 && arguments[i] == AllSteps)
                steps = null;
            else if (i == 0 && int.TryParse(arguments[i], CultureInfo.InvariantCulture, out _))
                steps = new Given("db downgrade", arguments[i]).Integer(1, int.MaxValue);
            else if (url is null)
                url = arguments[i];
            else
                throw new UsageException($"db downgrade '{arguments[0]}': it must be a number of migrations or '{AllSteps}'.");
        }

        return (steps, url);
    }

    private string Address(ParseResult result, string? argument) =>
        argument ?? backendStoreUri.Read(result, environment)?.Text ?? new Configuration.ServerOptions().BackendStoreUri;

    private static void Print(ParseResult result, Database database, string did, IReadOnlyList<MigrationStatus> migrations)
    {
        var output = result.InvocationConfiguration.Output;
        output.WriteLine(database.Description);
        foreach (var migration in migrations)
            output.WriteLine($"{did} {migration.Version:D4} {migration.Name}");
        if (migrations.Count == 0)
            output.WriteLine("nothing to do");
    }

    private static Argument<string?> UrlArgument() => new("url")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = "The database, if not given otherwise.",
    };
}
