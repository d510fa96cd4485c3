using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Host;

/// <summary>How the end of an answer is told: small ones carry their length, large ones are sent while they are made.</summary>
public sealed class AnswerLengthTests
{
    [Theory, BothDatabases]
    public async Task Answer_ThatIsSmall_CarriesItsLength(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        foreach (var route in (string[])[$"runs/get?run_id={id}", "runs/get?run_id=none", $"metrics/get-history?run_id={id}&metric_key=m"])
        {
            var (length, body) = await GetAsync(server, route);
            Assert.Equal(body.Length, length);
        }
    }

    [Theory, BothDatabases]
    public async Task Answer_OfEverySize_IsWhole(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var value = new string('x', 5000);
        for (var count = 1; count <= 100; count++)
        {
            await server.PostAsync("runs/set-tag", new { run_id = id, key = $"t{count}", value });
            if (count is not (1 or 9 or 10 or 11 or 12 or 13 or 20 or 24 or 25 or 50 or 100))
                continue;
            var (length, body) = await GetAsync(server, $"runs/get?run_id={id}");
            var tags = JsonNode.Parse(body)!["run"]!["data"]!["tags"]!.AsArray();
            Assert.Equal(count, tags.Count(tag => (string)tag!["value"]! == value));
            Assert.True(length is null || length == body.Length);
            if (count is <= 9 or >= 50)
                Assert.Equal(count >= 50, length is null);
        }
    }

    private static async Task<(long? Length, byte[] Body)> GetAsync(TestServer server, string route)
    {
        // With the headers only: HttpClient makes a length up for a body that it has read.
        using var response = await server.Client.GetAsync("/api/2.0/mlflow/" + route, HttpCompletionOption.ResponseHeadersRead);
        return (response.Content.Headers.ContentLength, await response.Content.ReadAsByteArrayAsync());
    }
}
