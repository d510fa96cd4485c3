using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>The program as it is started by people, scripts and containers.</summary>
public sealed partial class ProcessTests
{
    private const string StartOfScreen = "clients       export MLFLOW_TRACKING_URI=";

    [Theory]
    [BothDatabases]
    public async Task Server_StartsSaysWhereItIsAndStopsWhenTold(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);
        using var server = ServerProcess.StartProgram("server", "--port", "0", "--backend-store-uri", database.Address, "--workers", "4");
        var (screen, address) = await ReadScreenAsync(server);

        Assert.Contains($"database      {(kind == DatabaseKind.Sqlite ? "SQLite" : "PostgreSQL")}", screen, StringComparison.Ordinal);
        Assert.Contains("applied migration 1 ", screen, StringComparison.Ordinal);
        Assert.Contains("--workers", screen, StringComparison.Ordinal);
        using var client = new HttpClient();
        var experiment = JsonNode.Parse(await client.GetStringAsync($"{address}/api/2.0/mlflow/experiments/get?experiment_id=0"));
        Assert.Equal("Default", (string?)experiment!["experiment"]!["name"]);
        Assert.Equal((0, ""), await RunAsync("health", "--url", address));

        Assert.Equal(0, await TerminateAsync(server));
        var (exitCode, error) = await RunAsync("health", "--url", address);
        Assert.Equal(1, exitCode);
        Assert.StartsWith("error: ", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task JsonLog_IsAnObjectALine()
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        using var server = ServerProcess.StartProgram("--port", "0", "--backend-store-uri", database.Address, "--log-format", "json");
        JsonNode line;
        do
            line = JsonNode.Parse(await server.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("The server ended."))!;
        while (line["State"]!["TrackingUri"] is null);

        Assert.StartsWith("http://127.0.0.1:", (string?)line["State"]!["TrackingUri"], StringComparison.Ordinal);
        Assert.Equal(0, await TerminateAsync(server));
    }

    [Theory]
    [InlineData("localhost")]
    [InlineData("0.0.0.0")]
    [InlineData("[::1]")]
    [InlineData("::")]
    public async Task Server_ListensOnNamesAndAddresses(string host)
    {
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        using var server = ServerProcess.StartProgram("-h", host, "-p", "0", "--backend-store-uri", database.Address);
        var (_, address) = await ReadScreenAsync(server);

        Assert.Equal((0, ""), await RunAsync("health", "--url", address));
        Assert.Equal(0, await TerminateAsync(server));
    }

    [Fact]
    public async Task PortInUse_IsSaidInOneLine()
    {
        var other = await TestServer.SharedAsync(DatabaseKind.Sqlite);
        await using var database = await TestDatabase.CreateAsync(DatabaseKind.Sqlite);
        var port = other.Client.BaseAddress!.Port.ToString(CultureInfo.InvariantCulture);

        var (exitCode, error) = await RunAsync("--port", port, "--backend-store-uri", database.Address);

        Assert.Equal(1, exitCode);
        Assert.Equal($"error: port {port} on 127.0.0.1 is already in use; choose another with --port.", error);
    }

    [Theory]
    [InlineData("--bogus")]
    [InlineData("--port=abc")]
    [InlineData("--backend-store-uri=mysql://localhost/mlflow")]
    [InlineData("--backend-store-uri=mlflow.db")]
    [InlineData("--x-frame-options=MAYBE")]
    [InlineData("health", "--url", "nonsense")]
    public async Task WrongUse_IsExitCode2(params string[] args)
    {
        var (exitCode, error) = await RunAsync(args);

        Assert.Equal(2, exitCode);
        Assert.StartsWith("error: ", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("postgresql://nobody@127.0.0.1:1/nothing")]
    [InlineData("sqlite:////nonexistent/folder/mlflow.db")]
    public async Task UnreachableDatabase_IsSaidInOneLine(string address)
    {
        var (exitCode, error) = await RunAsync("--backend-store-uri", address);

        Assert.Equal(1, exitCode);
        Assert.StartsWith("error: the database (", error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error);
    }

    [Theory]
    [BothDatabases]
    public async Task DatabaseOfMlflow_IsRefusedAndLeftAlone(DatabaseKind kind)
    {
        await using var testDatabase = await TestDatabase.CreateAsync(kind);
        await using (var database = testDatabase.Open())
        {
            await database.WriteAsync(
                (session, token) => session.ExecuteAsync(database.Statement("CREATE TABLE alembic_version (version_num VARCHAR(32))"), token),
                CancellationToken.None);
        }

        var (exitCode, error) = await RunAsync("--port", "0", "--backend-store-uri", testDatabase.Address);
        var status = await RunAsync("db", "status", testDatabase.Address);

        Assert.Equal(1, exitCode);
        Assert.StartsWith("error: ", error, StringComparison.Ordinal);
        Assert.Contains("alembic_version", error, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error);
        Assert.Equal(1, status.ExitCode);
        Assert.Contains("alembic_version", status.Error, StringComparison.Ordinal);
    }

    [Theory]
    [BothDatabases]
    public async Task DatabaseCommands_GoUpAndDown(DatabaseKind kind)
    {
        await using var database = await TestDatabase.CreateAsync(kind);

        var (before, table) = await RunForOutputAsync("db", "status", database.Address);
        Assert.Equal(1, before);
        Assert.Matches(PendingRow(), table);

        Assert.Equal((0, ""), await RunAsync("db", "upgrade", database.Address));
        var (after, upgraded) = await RunForOutputAsync("db", "status", "--backend-store-uri", database.Address);
        Assert.Equal(0, after);
        Assert.Matches(AppliedRow(), upgraded);
        Assert.DoesNotMatch(PendingRow(), upgraded);

        Assert.Equal((0, ""), await RunAsync("db", "downgrade", database.Address));
        var (partly, lowered) = await RunForOutputAsync("db", "status", database.Address);
        Assert.Equal(1, partly);
        Assert.Single(PendingRow().Matches(lowered));

        Assert.Equal((0, ""), await RunAsync("db", "downgrade", "all", database.Address));
        var (nothing, empty) = await RunForOutputAsync("db", "status", database.Address);
        Assert.Equal(1, nothing);
        Assert.DoesNotMatch(AppliedRow(), empty);
        Assert.Equal((0, ""), await RunAsync("db", "upgrade", database.Address));
    }

    [Theory]
    [InlineData("CREATE TABLE", "db", "script", "postgresql://localhost/never-connected-to")]
    [InlineData("DROP TABLE", "db", "script", "--down")]
    public async Task Script_IsPrintedWithoutADatabase(string statement, params string[] args)
    {
        var (exitCode, script) = await RunForOutputAsync(args);

        Assert.Equal(0, exitCode);
        Assert.Contains(statement, script, StringComparison.Ordinal);
    }

    [Fact]
    public async Task VersionOption_NamesProductAndApiLevel()
    {
        var (exitCode, text) = await RunForOutputAsync("--version");

        Assert.Equal(0, exitCode);
        Assert.Matches(@"^mlflow-compat \d+\.\d+\.\d+ \(MLflow API 3\.6\.0\)\s*$", text);
    }

    [GeneratedRegex(@"^\d{4} +\w+ +pending$", RegexOptions.Multiline)]
    private static partial Regex PendingRow();

    [GeneratedRegex(@"^\d{4} +\w+ +applied  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", RegexOptions.Multiline)]
    private static partial Regex AppliedRow();

    private static async Task<(string Screen, string Address)> ReadScreenAsync(Process server)
    {
        var screen = "";
        while (true)
        {
            var line = await server.StandardOutput.ReadLineAsync()
                ?? throw new InvalidOperationException($"The server ended: {screen}{await server.StandardError.ReadToEndAsync()}");
            screen += line + "\n";
            if (line.Contains(StartOfScreen, StringComparison.Ordinal))
                return (screen, line[(line.IndexOf(StartOfScreen, StringComparison.Ordinal) + StartOfScreen.Length)..]);
        }
    }

    private static async Task<int> TerminateAsync(Process server)
    {
        await ServerProcess.TerminateAsync(server);
        // What is still printed has to go somewhere, or the server waits for its reader.
        await Task.WhenAll(server.StandardOutput.ReadToEndAsync(), server.StandardError.ReadToEndAsync());
        await server.WaitForExitAsync();
        return server.ExitCode;
    }

    private static async Task<(int ExitCode, string Error)> RunAsync(params string[] args)
    {
        using var process = ServerProcess.StartProgram(args);
        var output = process.StandardOutput.ReadToEndAsync();
        var error = await process.StandardError.ReadToEndAsync();
        await output;
        await process.WaitForExitAsync();
        return (process.ExitCode, error.TrimEnd());
    }

    private static async Task<(int ExitCode, string Output)> RunForOutputAsync(params string[] args)
    {
        using var process = ServerProcess.StartProgram(args);
        var error = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await error;
        await process.WaitForExitAsync();
        return (process.ExitCode, output);
    }
}
