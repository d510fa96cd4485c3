using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Tests.Artifacts;

/// <summary>The calls about artifacts that many tests make, and what stands in the database and on the disk behind them.</summary>
internal static class ArtifactCalls
{
    public const string Api = "/api/2.0/mlflow-artifacts/";
    public const string Ajax = "/ajax-api/2.0/mlflow-artifacts/";
    public const string Proxy = Api + "artifacts/";

    /// <summary>Where the server keeps what it serves.</summary>
    public static string Folder(this TestServer server) => server.Services.GetRequiredService<ServerOptions>().ArtifactsDestination;

    /// <summary>Uploads a file through the proxy, without a content type, as old clients do.</summary>
    public static async Task UploadAsync(this ApiServer server, string path, byte[] content)
    {
        using var response = await server.SendAsync(HttpMethod.Put, Proxy + path, new ByteArrayContent(content));
        Assert.Equal("{}", await response.Content.ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    public static Task UploadAsync(this ApiServer server, string path, string content) => server.UploadAsync(path, Encoding.UTF8.GetBytes(content));

    /// <summary>Downloads a file through the proxy; null if there is none.</summary>
    public static async Task<byte[]?> DownloadAsync(this ApiServer server, string path)
    {
        using var response = await server.SendAsync(HttpMethod.Get, Proxy + path);
        if (response.StatusCode == HttpStatusCode.NotFound)
            return null;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return await response.Content.ReadAsByteArrayAsync();
    }

    public static async Task DeleteAsync(this ApiServer server, string path)
    {
        using var response = await server.SendAsync(HttpMethod.Delete, Proxy + path);
        Assert.Equal("{}", await response.Content.ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    /// <summary>The names in a folder, as the proxy lists them.</summary>
    public static async Task<List<string>> NamesAsync(this ApiServer server, string folder) =>
        Paths(await server.GetAsync($"{Api}artifacts?path={Uri.EscapeDataString(folder)}"));

    public static List<string> Paths(JsonObject listing) => [.. (listing["files"]?.AsArray() ?? []).Select(file => (string)file!["path"]!)];

    /// <summary>A run and where its artifacts are, from the root of the proxy.</summary>
    public static async Task<(string Id, string Root)> CreateRunWithRootAsync(this ApiServer server)
    {
        var run = await server.CreateWholeRunAsync();
        var uri = (string)run["info"]!["artifact_uri"]!;
        return ((string)run["info"]!["run_id"]!, uri["mlflow-artifacts:/".Length..]);
    }

    /// <summary>The rows of all files below a path of the proxy, with the columns that are asked for, by path.</summary>
    public static async Task<List<object?[]>> ArtifactRowsAsync(this TestServer server, string below, string columns)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        return await session.ListAsync(
            server.Database.Statement(
                $"SELECT {columns} FROM artifacts WHERE strpos(storage_path, $1) > 0 ORDER BY storage_path COLLATE \"C\"",
                $"SELECT {columns} FROM artifacts WHERE instr(storage_path, $1) > 0 ORDER BY storage_path").Add($"/{below}/"),
            reader => Enumerable.Range(0, reader.FieldCount).Select(i => reader.GetValue(i) switch
            {
                DBNull => null,
                int number => (long)number,
                var value => value,
            }).ToArray(),
            CancellationToken.None);
    }

    /// <summary>Waits for something that comes by itself; a test that waits in vain for so long has failed.</summary>
    public static async Task UntilAsync(Func<Task<bool>> reached)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (!await reached())
            await Task.Delay(50, patience.Token);
    }

    /// <summary>What does not agree between table and stores, files read.</summary>
    public static async Task<List<string>> VerifyAsync(this TestServer server, bool repair = false)
    {
        var problems = new List<string>();
        var verification = new ArtifactVerification(
            server.Services.GetRequiredService<ArtifactRecords>(), server.Services.GetRequiredService<ArtifactRoots>());
        await verification.RunAsync(
            readContent: true,
            repair,
            (problem, path) =>
            {
                problems.Add($"{problem} {path[(path.LastIndexOf('/') + 1)..]}");
                return Task.CompletedTask;
            },
            CancellationToken.None);
        problems.Sort(StringComparer.Ordinal);
        return problems;
    }
}
