using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MlflowCompat.Storage;
using Npgsql;

namespace MlflowCompat.Testing;

/// <summary>
/// A PostgreSQL for tests. The shared one is what the environment variable <c>MLFLOW_COMPAT_TEST_POSTGRES</c> names (a URI or an Npgsql
/// connection string of a user who may create databases), otherwise a private cluster made from the machine's own programs; clusters
/// that a test stops and starts are always private. Every test takes databases of its own.
/// </summary>
public sealed class PostgreSqlServer : IAsyncDisposable
{
    private const string AddressVariable = "MLFLOW_COMPAT_TEST_POSTGRES";

    /// <summary>
    /// Runs beside the tests, as the user that owns the cluster. It obeys lines on its standard input; the end of that input is the end
    /// of the test process, however it came about, and then the cluster is stopped and its folder removed.
    /// </summary>
    /// <remarks>Durable as in production, and in a locale whose order of texts is not the order of code points.</remarks>
    private const string Keeper = """
        # The terminal's Ctrl+C reaches this shell too; it still has to clean up afterwards.
        trap '' INT HUP
        exec 2>/dev/null
        programs=$1 folder=$2 port=$3 server=
        stop() {
            if [ -n "$server" ]; then kill -"$1" "$server" && wait "$server"; server=; fi
        }
        umask 077
        mkdir "$folder" || exit 1
        locale=
        "$programs/initdb" --help | grep -q -e --icu-locale && locale='--locale-provider=icu --icu-locale=en-US'
        "$programs/initdb" -D "$folder/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 $locale --no-sync \
            >"$folder/log" 2>&1 || { cat "$folder/log"; rm -rf "$folder"; exit 1; }
        while read -r order; do
            case $order in
                start)
                    "$programs/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -k "$folder" \
                        -c max_connections=200 -c shared_buffers=64MB >>"$folder/log" 2>&1 &
                    server=$!
                    tries=0
                    until "$programs/pg_isready" -q -h 127.0.0.1 -p "$port"; do
                        tries=$((tries + 1))
                        if [ $tries -gt 600 ] || ! kill -0 "$server"; then tail -n 5 "$folder/log"; break; fi
                        sleep 0.1
                    done
                    ;;
                stop) stop INT ;;
                crash) stop QUIT ;;
            esac
            echo "done $order"
        done
        stop QUIT
        rm -rf "$folder"
        """;

    private static readonly Lazy<Task<PostgreSqlServer>> SharedServer = new(StartSharedAsync);

    private readonly string administration;
    private readonly Process? keeper;
    private readonly HashSet<string> databases = [];
    private int count;

    private PostgreSqlServer(string administration, Process? keeper)
    {
        this.administration = administration;
        this.keeper = keeper;
    }

    /// <summary>Why no private cluster can be started here, or null when one can.</summary>
    public static string? PrivateClusterImpossible { get; } = FindPrograms() is null
        ? "there are no PostgreSQL programs (initdb, postgres) on the PATH or in /usr/lib/postgresql/*/bin"
        : null;

    /// <summary>The path of one of PostgreSQL's programs, in the version that private clusters run.</summary>
    public static string Program(string name) => Path.Combine(FindPrograms()!, name);

    /// <summary>The server that all tests of the process share.</summary>
    public static Task<PostgreSqlServer> SharedAsync() => SharedServer.Value;

    /// <summary>Starts a cluster of one's own.</summary>
    /// <exception cref="InvalidOperationException">The machine has no PostgreSQL programs, or they failed.</exception>
    public static async Task<PostgreSqlServer> StartAsync()
    {
        var programs = FindPrograms() ?? throw new InvalidOperationException(
            $"No PostgreSQL for the tests: {PrivateClusterImpossible}. Install one (Debian: apt-get install postgresql), "
            + $"or name a running one in {AddressVariable}, as in postgresql://user:password@localhost:5432/postgres.");
        var port = FreePort();
        var start = new ProcessStartInfo
        {
            // PostgreSQL refuses to run as root; its packages make a user for it.
            FileName = Environment.UserName == "root" ? "runuser" : "sh",
            WorkingDirectory = "/",
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        string[] arguments = ["-c", Keeper, "sh", programs, TestFolder.Reserve(), port.ToString(CultureInfo.InvariantCulture)];
        foreach (var argument in Environment.UserName == "root" ? ["-u", "postgres", "--", "sh", .. arguments] : arguments)
            start.ArgumentList.Add(argument);

        var keeper = Process.Start(start)!;
        var settings = new NpgsqlConnectionStringBuilder
        {
            Host = "127.0.0.1", Port = port, Username = "postgres", Database = "postgres", SslMode = SslMode.Disable,
        };
        var server = new PostgreSqlServer(settings.ToString(), keeper);
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>Makes an empty database and returns its connection string.</summary>
    public async Task<string> CreateDatabaseAsync()
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"mlflow_compat_test_{Environment.ProcessId}_{Interlocked.Increment(ref count)}");
        lock (databases)
            databases.Add(name);
        // From template0, because nobody can be connected to it; with a name that a killed run on a lasting server may have used before.
        await ExecuteAsync(administration, $"DROP DATABASE IF EXISTS {name}", $"CREATE DATABASE {name} TEMPLATE template0");
        return new NpgsqlConnectionStringBuilder(administration) { Database = name, Pooling = true }.ToString();
    }

    /// <summary>Removes a database, also when somebody is connected to it.</summary>
    public async Task DropDatabaseAsync(string connectionString)
    {
        var name = new NpgsqlConnectionStringBuilder(connectionString).Database!;
        lock (databases)
            databases.Remove(name);
        await ExecuteAsync(administration, $"DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    }

    /// <summary>Runs statements on a connection of their own, each by itself.</summary>
    public static async Task ExecuteAsync(string connectionString, params string[] statements)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ToString());
        await connection.OpenAsync();
        foreach (var statement in statements)
        {
            await using var command = new NpgsqlCommand(statement, connection);
            await command.ExecuteNonQueryAsync();
        }
    }

    /// <summary>Waits until everybody else has left a database: their transactions have ended, and what they counted is counted.</summary>
    public static async Task UntilNobodyIsConnectedAsync(string connectionString)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ToString());
        await connection.OpenAsync();
        await using var others = new NpgsqlCommand(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            connection);
        while ((long)(await others.ExecuteScalarAsync())! > 0)
            await Task.Delay(10);
    }

    /// <summary>How many deadlocks there were in a database, of sessions that have ended at least.</summary>
    public static async Task<long> CountDeadlocksAsync(string connectionString)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ToString());
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", connection);
        return (long)(await command.ExecuteScalarAsync())!;
    }

    /// <summary>Stops a private cluster as an administrator would: connections are cut, everything is written out.</summary>
    public Task StopAsync() => OrderAsync("stop");

    /// <summary>Stops a private cluster without any farewell, as a crash would.</summary>
    public Task CrashAsync() => OrderAsync("crash");

    /// <summary>Starts a private cluster again, at the same address.</summary>
    public Task StartAgainAsync() => OrderAsync("start");

    /// <summary>Stops a private cluster for good and removes it; does nothing to a server that was only lent.</summary>
    public async ValueTask DisposeAsync()
    {
        if (keeper is null)
            return;
        keeper.StandardInput.Close();
        await keeper.WaitForExitAsync();
        keeper.Dispose();
    }

    private static async Task<PostgreSqlServer> StartSharedAsync()
    {
        if (Environment.GetEnvironmentVariable(AddressVariable) is not { Length: > 0 } address)
            return await StartAsync();
        var lent = new PostgreSqlServer(
            address.Contains("://", StringComparison.Ordinal) ? BackendStoreUri.PostgreSqlConnectionString(address) : address, null);
        // What the tests share is theirs until the end, and does not go away with the server.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => lent.DropRemainingDatabasesAsync().GetAwaiter().GetResult();
        return lent;
    }

    private async Task DropRemainingDatabasesAsync()
    {
        string[] statements;
        lock (databases)
            statements = [.. databases.Select(name => $"DROP DATABASE IF EXISTS {name} WITH (FORCE)")];
        try
        {
            await ExecuteAsync(administration, statements);
        }
        catch (Exception exception) when (exception is NpgsqlException or IOException)
        {
            // The end of the process is too late to fail a test.
        }
    }

    private async Task OrderAsync(string order)
    {
        if (keeper is null)
            throw new InvalidOperationException("Only a private cluster can be stopped and started.");
        await keeper.StandardInput.WriteLineAsync(order);
        await keeper.StandardInput.FlushAsync();
        var complaints = new List<string>();
        while (await keeper.StandardOutput.ReadLineAsync() is { } line && line != "done " + order)
            complaints.Add(line);
        if (complaints.Count > 0 || keeper.HasExited)
            throw new InvalidOperationException($"PostgreSQL: {order} failed: {string.Join('\n', complaints)}");
    }

    /// <summary>The folder with initdb and postgres: what the PATH leads to, else Debian's newest version.</summary>
    private static string? FindPrograms()
    {
        var path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => new FileInfo(Path.Combine(folder, "initdb")))
            .Where(program => program.Exists)
            .Select(program => Path.GetDirectoryName(program.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? program.FullName)!);
        const string Debian = "/usr/lib/postgresql";
        var versions = Directory.Exists(Debian) ? Directory.GetDirectories(Debian) : [];
        return path
            .Concat(versions
                .OrderByDescending(folder => int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out var version) ? version : 0)
                .Select(folder => Path.Combine(folder, "bin")))
            .FirstOrDefault(folder => new[] { "initdb", "postgres", "pg_isready" }.All(program => File.Exists(Path.Combine(folder, program))));
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
