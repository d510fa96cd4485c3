using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Scorers;

/// <summary>Scorers and their versions (contract: endpoints §15).</summary>
public sealed class ScorersTests
{
    private const string Scorers = "/api/3.0/mlflow/scorers/";

    [Theory, BothDatabases]
    public async Task Register_NumbersVersionsUnderOneId(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var before = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        var first = await RegisterAsync(server, experiment, "length", """{"v": 1}""");
        var second = await RegisterAsync(server, experiment, "length", "any text, ü😀");
        var other = await RegisterAsync(server, experiment, "Tone", "x");

        Assert.Equal(["version", "scorer_id", "experiment_id", "name", "serialized_scorer", "creation_time"], first.Select(field => field.Key));
        Assert.Equal(
            (1, experiment, "length", """{"v": 1}"""),
            ((int)first["version"]!, (string)first["experiment_id"]!, (string)first["name"]!, (string)first["serialized_scorer"]!));
        Assert.True(Guid.TryParseExact((string)first["scorer_id"]!, "D", out _));
        Assert.InRange((long)first["creation_time"]!, before, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        Assert.Equal((2, (string)first["scorer_id"]!), ((int)second["version"]!, (string)second["scorer_id"]!));
        Assert.Equal(1, (int)other["version"]!);
        Assert.NotEqual((string)first["scorer_id"]!, (string)other["scorer_id"]!);

        // By name, code point by code point; the id of the experiment is a number here.
        var listed = await server.GetAsync($"{Scorers}list?experiment_id={experiment}");
        Assert.Equal(["scorers"], listed.Select(field => field.Key));
        Assert.Equal([Of(other), Of(second)], Texts(listed));
        Assert.Equal([Of(first), Of(second)], Texts(await server.GetAsync($"{Scorers}versions?experiment_id={experiment}&name=length")));
        Assert.Equal(Of(second), (await server.GetAsync($"{Scorers}get?experiment_id={experiment}&name=length"))["scorer"]!.ToJsonString());
        Assert.Equal(Of(first), (await server.GetAsync($"{Scorers}get?experiment_id={experiment}&name=length&version=1"))["scorer"]!.ToJsonString());
        Assert.Equal(listed.ToJsonString(), (await server.GetAsync($"/ajax-api/3.0/mlflow/scorers/list?experiment_id={experiment}")).ToJsonString());
        Assert.Empty(await server.GetAsync($"{Scorers}list?experiment_id={await server.CreateExperimentAsync()}"));
        Assert.Equal("""{"configs":[]}""", (await server.GetAsync($"{Scorers}online-configs?scorer_ids={(string)first["scorer_id"]!}&scorer_ids=x")).ToJsonString());
    }

    [Theory, BothDatabases]
    public async Task Delete_OfAVersionOrAll_LeavesTheRest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var first = await RegisterAsync(server, experiment, "s", "1");
        for (var i = 2; i <= 4; i++)
            await RegisterAsync(server, experiment, "s", $"{i}");
        await RegisterAsync(server, experiment, "other", "x");

        // The query of a DELETE does not count.
        Assert.Empty(await DeleteAsync(new { experiment_id = experiment, name = "s", version = 2 }, "?version=3"));
        Assert.Equal([1, 3, 4], await VersionsAsync());
        await RefusedAsync(new { experiment_id = experiment, name = "s", version = 2 }, "\"s\" and version 2 not found");
        await server.GetRefusedAsync($"{Scorers}get?experiment_id={experiment}&name=s&version=2", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "version 2 not found");

        // A number that was deleted at the end is given again, under the same id.
        Assert.Empty(await DeleteAsync(new { experiment_id = int.Parse(experiment, null), name = "s", version = "4" }));
        var again = await RegisterAsync(server, experiment, "s", "4 again");
        Assert.Equal((4, (string)first["scorer_id"]!), ((int)again["version"]!, (string)again["scorer_id"]!));

        Assert.Empty(await DeleteAsync(new { experiment_id = experiment, name = "s" }));
        await RefusedAsync(new { experiment_id = experiment, name = "s" }, "\"s\" not found");
        foreach (var route in new[] { "get", "versions" })
            await server.GetRefusedAsync($"{Scorers}{route}?experiment_id={experiment}&name=s", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "\"s\" not found");
        Assert.Equal(["other"], (await server.GetAsync($"{Scorers}list?experiment_id={experiment}"))["scorers"]!.AsArray().Select(scorer => (string)scorer!["scorer_name"]!));
        var anew = await RegisterAsync(server, experiment, "s", "new");
        Assert.Equal(1, (int)anew["version"]!);
        Assert.NotEqual((string)first["scorer_id"]!, (string)anew["scorer_id"]!);

        // Without its last version a scorer counts as none.
        Assert.Empty(await DeleteAsync(new { experiment_id = experiment, name = "s", version = 1 }));
        await RefusedAsync(new { experiment_id = experiment, name = "s" }, "\"s\" not found");
        Assert.Single((await server.GetAsync($"{Scorers}list?experiment_id={experiment}"))["scorers"]!.AsArray());

        Task<JsonObject> DeleteAsync(object message, string query = "") => SendAsync(server, HttpMethod.Delete, "delete" + query, message);
        async Task<List<int>> VersionsAsync() =>
            [.. (await server.GetAsync($"{Scorers}versions?experiment_id={experiment}&name=s"))["scorers"]!.AsArray().Select(scorer => (int)scorer!["scorer_version"]!)];
        async Task RefusedAsync(object message, string part)
        {
            using var answer = await server.SendAsync(HttpMethod.Delete, Scorers + "delete", ApiServer.Json(message));
            await ApiServer.AssertErrorAsync(answer, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", part);
        }
    }

    [Theory]
    [BothDatabases("""{"name": "s", "serialized_scorer": "x"}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": null, "name": "s", "serialized_scorer": "x"}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": "0", "serialized_scorer": "x"}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": "", "serialized_scorer": "x"}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": "  ", "serialized_scorer": "x"}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": 5, "serialized_scorer": "x"}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": "s"}""", "serialized_scorer")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "serialized_scorer": ""}""", "serialized_scorer")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "serialized_scorer": {}}""", "serialized_scorer")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "serialized_scorer": "\u0000"}""", "serialized_scorer")]
    public async Task Register_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.PostInvalidAsync(Scorers + "register", message, part);
    }

    [Theory]
    [BothDatabases("list", "experiment_id")]
    [BothDatabases("versions?experiment_id=0", "name")]
    [BothDatabases("versions?name=s", "experiment_id")]
    [BothDatabases("get?experiment_id=0", "name")]
    [BothDatabases("get?name=s", "experiment_id")]
    [BothDatabases("get?experiment_id=0&name=s&version=x", "version")]
    [BothDatabases("get?experiment_id=0&name=s&version=1.5", "version")]
    [BothDatabases("get?experiment_id=0&name=s&version=99999999999", "version")]
    [BothDatabases("online-configs", "scorer_ids")]
    [BothDatabases("online-configs?scorer_id=x", "scorer_ids")]
    public async Task Read_WithSomethingWrong_IsRefused(DatabaseKind kind, string route, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        await server.GetRefusedAsync(Scorers + route, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", part);
    }

    [Theory]
    [BothDatabases("""{"name": "s"}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": "0"}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "version": "x"}""", "version")]
    public async Task Delete_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        using var answer = await server.SendAsync(HttpMethod.Delete, Scorers + "delete", ApiServer.JsonText(message));
        await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", part);
    }

    [Theory, BothDatabases]
    public async Task Name_OfMoreThan256CodePoints_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var longest = string.Concat(Enumerable.Repeat("😀", 256));
        await RegisterAsync(server, experiment, longest, "x");
        Assert.Equal(longest, (string)(await server.GetAsync($"{Scorers}get?experiment_id={experiment}&name={Uri.EscapeDataString(longest)}"))["scorer"]!["scorer_name"]!);
        await server.PostInvalidAsync(Scorers + "register", new { experiment_id = experiment, name = longest + "x", serialized_scorer = "x" }, "'name' exceeds");
    }

    [Theory, BothDatabases]
    public async Task Experiment_UnknownOrDeleted_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var deleted = await server.CreateExperimentAsync();
        await RegisterAsync(server, deleted, "s", "x");
        await server.PostAsync("experiments/delete", new { experiment_id = deleted });
        foreach (var (id, status, code) in new[]
        {
            ("999999999", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST"),
            ("nonsense", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST"),
            (deleted, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE"),
        })
        {
            await server.PostRefusedAsync(Scorers + "register", new { experiment_id = id, name = "s", serialized_scorer = "x" }, status, code, id);
            foreach (var route in new[] { $"list?experiment_id={id}", $"versions?experiment_id={id}&name=s", $"get?experiment_id={id}&name=s" })
                await server.GetRefusedAsync(Scorers + route, status, code, id);
            using var answer = await server.SendAsync(HttpMethod.Delete, Scorers + "delete", ApiServer.Json(new { experiment_id = id, name = "s" }));
            await ApiServer.AssertErrorAsync(answer, status, code, id);
        }

        await server.PostAsync("experiments/restore", new { experiment_id = deleted });
        Assert.Single((await server.GetAsync($"{Scorers}list?experiment_id={deleted}"))["scorers"]!.AsArray());
    }

    /// <summary>Where nothing is scored, a rate of 0 is all that can be set, and is what holds anyhow (contract: since-3.6 §4).</summary>
    [Theory, BothDatabases]
    public async Task OnlineConfig_OfRateZero_IsAnswered(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var scorer = (string)(await RegisterAsync(server, experiment, "s", "x"))["scorer_id"]!;
        var config = (await SendAsync(server, HttpMethod.Put, "online-config", new { experiment_id = experiment, name = "s", sample_rate = 0.0, filter_string = "status = 'OK'" }))["config"]!.AsObject();
        Assert.Matches("^[0-9a-f]{32}$", (string)config["online_scoring_config_id"]!);
        Assert.Equal(
            (scorer, 0.0, experiment, "status = 'OK'"),
            ((string)config["scorer_id"]!, (double)config["sample_rate"]!, (string)config["experiment_id"]!, (string?)config["filter_string"]));
        using var ajax = await server.SendAsync(HttpMethod.Put, "/ajax-api/3.0/mlflow/scorers/online-config", ApiServer.Json(new { experiment_id = experiment, name = "s", sample_rate = 0 }));
        var without = JsonNode.Parse(await ajax.Content.ReadAsStringAsync())!["config"]!.AsObject();
        Assert.True(without.ContainsKey("filter_string") && without["filter_string"] is null);
        Assert.NotEqual((string)config["online_scoring_config_id"]!, (string)without["online_scoring_config_id"]!);
        Assert.Equal("""{"configs":[]}""", (await server.GetAsync($"{Scorers}online-configs?scorer_ids={scorer}")).ToJsonString());
    }

    [Theory]
    [BothDatabases("""{"name": "s", "sample_rate": 0}""", "experiment_id")]
    [BothDatabases("""{"experiment_id": "0", "sample_rate": 0}""", "name")]
    [BothDatabases("""{"experiment_id": "0", "name": "s"}""", "sample_rate")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": "x"}""", "sample_rate")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": -0.1}""", "sample_rate", "from 0 to 1")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": 1.1}""", "sample_rate", "from 0 to 1")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": "NaN"}""", "sample_rate")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": 0, "filter_string": "nonsense"}""", "nonsense")]
    [BothDatabases("""{"experiment_id": "0", "name": "s", "sample_rate": 0, "filter_string": 5}""", "filter_string")]
    public async Task OnlineConfig_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, params string[] parts)
    {
        var server = await TestServer.SharedAsync(kind);
        using var answer = await server.SendAsync(HttpMethod.Put, Scorers + "online-config", ApiServer.JsonText(message));
        await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", parts);
    }

    [Theory, BothDatabases]
    public async Task OnlineConfig_OfAnUnknownScorerOrAboveZero_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await RegisterAsync(server, experiment, "s", "x");
        foreach (var (id, name, rate, status, code, part) in new[]
        {
            (experiment, "other", 0.5, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "\"other\" not found"),
            ("999999999", "s", 0, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "999999999"),
            (experiment, "s", 0.5, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "gateway"),
            (experiment, "s", 1, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "gateway"),
        })
        {
            using var answer = await server.SendAsync(HttpMethod.Put, Scorers + "online-config", ApiServer.Json(new { experiment_id = id, name, sample_rate = rate }));
            await ApiServer.AssertErrorAsync(answer, status, code, part);
        }
    }

    [Theory, BothDatabases]
    public async Task Routes_AreTheSameUnderBothPrefixesAndNoOther(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostAsync("/ajax-api/3.0/mlflow/scorers/register", new { experiment_id = int.Parse(experiment, null), name = "s", serialized_scorer = "x" });
        foreach (var route in (string[])["list?", "versions?name=s&", "get?name=s&", "get?name=s&version=1&"])
        {
            var query = $"{route}experiment_id={experiment}";
            Assert.Equal((await server.GetAsync(Scorers + query)).ToJsonString(), (await server.GetAsync("/ajax-api/3.0/mlflow/scorers/" + query)).ToJsonString());
        }

        foreach (var (method, route, status) in new[]
        {
            (HttpMethod.Get, $"/api/2.0/mlflow/scorers/list?experiment_id={experiment}", HttpStatusCode.NotFound),
            (HttpMethod.Get, Scorers + "nothing", HttpStatusCode.NotFound),
            (HttpMethod.Post, Scorers + "delete", HttpStatusCode.MethodNotAllowed),
            (HttpMethod.Post, Scorers + "online-config", HttpStatusCode.MethodNotAllowed),
            (HttpMethod.Put, Scorers + "register", HttpStatusCode.MethodNotAllowed),
        })
        {
            using var answer = await server.SendAsync(method, route);
            Assert.Equal((route, status), (route, answer.StatusCode));
            Assert.Equal("text/html", answer.Content.Headers.ContentType?.MediaType);
        }
    }

    [Theory, BothDatabases]
    public async Task Versions_RegisteredAtOnce_AreConsecutive(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 64).Select(i => RegisterAsync(server, experiment, $"s{i % 2}", $"{i}")));
        foreach (var name in new[] { "s0", "s1" })
        {
            var registered = answers.Where(answer => (string)answer["name"]! == name).ToDictionary(answer => (int)answer["version"]!, answer => (string)answer["serialized_scorer"]!);
            Assert.Equal(Enumerable.Range(1, 32), registered.Keys.Order());
            var listed = (await server.GetAsync($"{Scorers}versions?experiment_id={experiment}&name={name}"))["scorers"]!.AsArray();
            Assert.Equal(
                registered.OrderBy(version => version.Key).Select(version => (version.Key, version.Value)),
                listed.Select(scorer => ((int)scorer!["scorer_version"]!, (string)scorer["serialized_scorer"]!)));
            Assert.Single(answers.Where(answer => (string)answer["name"]! == name).Select(answer => (string)answer["scorer_id"]!).Distinct());
        }
    }

    private static Task<JsonObject> RegisterAsync(TestServer server, string experiment, string name, string serialized) =>
        server.PostAsync(Scorers + "register", new { experiment_id = experiment, name, serialized_scorer = serialized });

    private static async Task<JsonObject> SendAsync(TestServer server, HttpMethod method, string route, object message)
    {
        using var answer = await server.SendAsync(method, Scorers + route, ApiServer.Json(message));
        var body = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.StatusCode == HttpStatusCode.OK, body);
        return JsonNode.Parse(body)!.AsObject();
    }

    /// <summary>What the readings show of a version that was registered.</summary>
    private static string Of(JsonObject registered) => JsonSerializer.SerializeToNode(new
    {
        experiment_id = long.Parse((string)registered["experiment_id"]!, null),
        scorer_name = (string)registered["name"]!,
        scorer_version = (int)registered["version"]!,
        serialized_scorer = (string)registered["serialized_scorer"]!,
        creation_time = (long)registered["creation_time"]!,
        scorer_id = (string)registered["scorer_id"]!,
    })!.ToJsonString();

    private static List<string> Texts(JsonObject answer) => [.. answer["scorers"]!.AsArray().Select(scorer => scorer!.ToJsonString())];
}
