using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>
/// Where the files of traces are: below the location of their experiment, whatever an id or a tag says (contract: security §2). What earlier
/// versions have stored is looked at again when it is used.
/// </summary>
public sealed class TraceFilesTests
{
    private const string Artifact = "/ajax-api/2.0/mlflow/get-trace-artifact?request_id=";
    private const string LocationTag = "mlflow.artifactLocation";
    private const string Stolen = """
        {"spans": [{"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": "AAAAAAAAAAE=", "parent_span_id": null, "name": "of others",
          "start_time_unix_nano": 5, "end_time_unix_nano": 6, "events": [], "status": {"code": "STATUS_CODE_OK", "message": ""}, "attributes": {}}]}
        """;

    [Theory]
    [BothDatabases("../1/x")]
    [BothDatabases("a/b")]
    [BothDatabases("/a")]
    [BothDatabases("a/")]
    [BothDatabases("..")]
    [BothDatabases(".")]
    [BothDatabases("a\\b")]
    [BothDatabases("..\\b")]
    [BothDatabases("a?b")]
    [BothDatabases("a#b")]
    [BothDatabases("a%2fb")]
    [BothDatabases("%2e%2e")]
    [BothDatabases("a\nb")]
    [BothDatabases("a\u007f")]
    [BothDatabases("")]
    [BothDatabases("123456789012345678901234567890123456789012345678901")]
    public async Task Start_WithAnIdThatIsNoName_IsRefused(DatabaseKind kind, string id)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostInvalidAsync(TraceCalls.Prefix + "traces", TraceCalls.Start(TraceCalls.Info(experiment, id)), "trace_id");
        Assert.Empty((await server.SearchTracesAsync(TraceCalls.Search([experiment]))).Ids);
    }

    [Theory]
    [BothDatabases("request-1.5_a")]
    [BothDatabases("...")]
    [BothDatabases("an id: of é😀 (1)")]
    public async Task Start_WithAnyOtherName_HasItsFilesThere(DatabaseKind kind, string stem)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = stem + Guid.NewGuid().ToString("N")[..12];
        await server.StartTraceAsync(TraceCalls.Info(experiment, id));
        Assert.Equal($"mlflow-artifacts:/{experiment}/traces/{id}/artifacts", (string?)(await server.TraceInfoAsync(Uri.EscapeDataString(id)))["tags"]![LocationTag]);
        await PutAsync(server, $"{experiment}/traces/{Uri.EscapeDataString(id)}/artifacts/traces.json", Stolen);
        Assert.Equal("of others", (string?)await SpanAsync(server, Uri.EscapeDataString(id)));
    }

    /// <summary>As the artifact_uri of a run, it is told to clients and not by them.</summary>
    [Theory, BothDatabases]
    public async Task LocationTag_IsTheServers(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var info = TraceCalls.Info(experiment);
        info["tags"] = new JsonObject { [LocationTag] = "mlflow-artifacts:/elsewhere", ["t"] = "1" };
        var id = await server.StartTraceAsync(info);
        var location = $"mlflow-artifacts:/{experiment}/traces/{id}/artifacts";
        Assert.Equal(location, await LocationAsync(id));
        await server.StartTraceAsync(info);
        Assert.Equal(location, await LocationAsync(id));

        foreach (var version in (string[])["2.0", "3.0"])
        {
            var route = $"/api/{version}/mlflow/traces/{id}/tags";
            await server.RefusedAsync(HttpMethod.Patch, route, new { key = LocationTag, value = "/etc" }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", LocationTag);
            await server.RefusedAsync(HttpMethod.Delete, route, new { key = LocationTag }, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", LocationTag);
        }

        // Clients 2.x end a trace with all the tags that they know.
        var tags = new[] { new { key = LocationTag, value = "mlflow-artifacts:/elsewhere" }, new { key = "t", value = "2" } };
        var started = (await server.PostAsync("traces", new { experiment_id = experiment, timestamp_ms = 1, tags }))["trace_info"]!;
        var old = (string)started["request_id"]!;
        await server.SendJsonAsync(HttpMethod.Patch, $"traces/{old}", new { timestamp_ms = 2, status = "OK", tags });
        Assert.Equal($"mlflow-artifacts:/{experiment}/traces/{old}/artifacts", await LocationAsync(old));
        Assert.Equal("2", (string?)(await server.TraceInfoAsync(old))["tags"]!["t"]);

        async Task<string?> LocationAsync(string trace) => (string?)(await server.TraceInfoAsync(trace))["tags"]![LocationTag];
    }

    /// <summary>Ids and tags that an earlier version has taken, on locations of both kinds.</summary>
    [Theory]
    [BothDatabases(true)]
    [BothDatabases(false)]
    public async Task StoredIdsAndTags_LeadingElsewhere_GiveNothingAway(DatabaseKind kind, bool isProxied)
    {
        var folder = TestFolder.Create();
        await using var server = await TestServer.StartAsync(kind, options => options with
        {
            ArtifactsDestination = folder, ServeArtifacts = isProxied, DefaultArtifactRoot = isProxied ? null : folder,
        });
        var (victim, experiment) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        var secret = await server.StartTraceAsync(victim);
        var attachment = Guid.NewGuid().ToString("D");
        var place = Path.Combine(folder, victim, "traces", secret, "artifacts");
        Directory.CreateDirectory(Path.Combine(place, "attachments"));
        await File.WriteAllTextAsync(Path.Combine(place, "traces.json"), Stolen);
        await File.WriteAllTextAsync(Path.Combine(place, "attachments", attachment), "of others");
        Assert.Equal("of others", (string?)await SpanAsync(server, secret));

        // By its tag.
        var tagged = await server.StartTraceAsync(experiment);
        var root = isProxied ? "mlflow-artifacts:" : folder;
        foreach (var location in (string[])[$"{root}/{victim}/traces/{secret}/artifacts", $"{root}/{experiment}/../{victim}/traces/{secret}/artifacts", place])
        {
            await ExecuteAsync(server.Database
                .Statement("UPDATE trace_info SET tags = $2 WHERE trace_id = $1").Add(tagged).AddJson(new JsonObject { [LocationTag] = location }.ToJsonString()));
            await AssertNothingAsync(tagged);
        }

        // By its id, which leads from the folder of one experiment to that of the other.
        foreach (var id in (string[])[$"../../{victim}/traces/{secret}"[..Math.Min(50, 16 + secret.Length)], "..", "x/../../..", "%2e%2e"])
        {
            await ExecuteAsync(server.Database
                .Statement("INSERT INTO trace_info (trace_id, experiment_id, timestamp_ms, status) VALUES ($1, $2, 1, 'OK')")
                .Add(id).Add(long.Parse(experiment, CultureInfo.InvariantCulture)));
            await AssertNothingAsync(Uri.EscapeDataString(id));
        }

        async Task AssertNothingAsync(string id)
        {
            Assert.Null(await SpanAsync(server, id));
            Assert.False((await server.GetAsync($"{TraceCalls.Prefix}traces/get?trace_id={id}"))["trace"]!.AsObject().ContainsKey("spans"));
            foreach (var query in (string[])["", $"&path={attachment}"])
            {
                using var answer = await server.SendAsync(HttpMethod.Get, Artifact + id + query);
                Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
            }
        }

        Task ExecuteAsync(Statement statement) =>
            server.Database.WriteAsync((session, token) => session.ExecuteAsync(statement, token), CancellationToken.None);
    }

    /// <summary>The name of the first span of a trace, as batchGet gives it.</summary>
    private static async Task<JsonNode?> SpanAsync(TestServer server, string escapedId) =>
        Assert.Single(await server.BatchGetAsync(escapedId))!["spans"]?[0]!["name"];

    private static async Task PutAsync(TestServer server, string path, string content)
    {
        using var body = new StringContent(content);
        using var response = await server.SendAsync(HttpMethod.Put, "/api/2.0/mlflow-artifacts/artifacts/" + path, body);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }
}
