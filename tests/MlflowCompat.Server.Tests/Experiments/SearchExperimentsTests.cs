using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Experiments;

/// <summary>experiments/search (contract: search §1 and §3 with its rows, semantics §11 and §12).</summary>
public sealed class SearchExperimentsTests
{
    private static readonly Dictionary<DatabaseKind, Lazy<Task<TestServer>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => FixtureAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => FixtureAsync(DatabaseKind.PostgreSql)),
    };

    [Theory]
    [BothDatabases(0, "", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(0, "   ", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(83, "name = 'alpha'", "alpha")]
    [BothDatabases(83, "name = 'ALPHA'", "")]
    [BothDatabases(84, "name != 'alpha'", "Beta gammaYx gamma_x")]
    [BothDatabases(85, "name LIKE '%gamma_x'", "gammaYx gamma_x")]
    [BothDatabases(85, "name LIKE 'gamma_x'", "gammaYx gamma_x")]
    [BothDatabases(85, "name LIKE 'gamma___'", "")]
    [BothDatabases(85, "name LIKE 'gamma'", "")]
    [BothDatabases(85, "name LIKE 'gamma\\_x'", "")]
    [BothDatabases(85, "name LIKE 'GAMMA%'", "")]
    [BothDatabases(86, "name ILIKE '%ALPHA'", "alpha")]
    [BothDatabases(86, "name ILIKE 'GAMMA%X'", "gammaYx gamma_x")]
    [BothDatabases(87, "name like '%alpha'", "alpha")]
    [BothDatabases(88, "attribute.name = 'alpha'", "alpha")]
    [BothDatabases(89, "tags.k = 'v'", "alpha")]
    [BothDatabases(89, "tag.k = 'v'", "alpha")]
    [BothDatabases(89, "tags.`k` = 'v'", "alpha")]
    [BothDatabases(89, "tags.\"k\" = 'v'", "alpha")]
    [BothDatabases(89, "tags.k ILIKE 'V'", "Beta alpha")]
    [BothDatabases(89, "tags.k LIKE 'V'", "Beta")]
    [BothDatabases(90, "tags.k != 'v'", "Beta")]
    [BothDatabases(90, "tags.missing != 'v'", "")]
    [BothDatabases(90, "tags.k IS NULL", "gammaYx gamma_x")]
    [BothDatabases(90, "tags.k is not null", "Beta alpha")]
    [BothDatabases(90, "tags.k IS NOT NULL AND tags.Team IS NULL", "Beta")]
    [BothDatabases(91, "tags.k.d = '1'", "gamma_x")]
    [BothDatabases(91, "tags.`a/b` = '2'", "gamma_x")]
    [BothDatabases(93, "tags.k = 'v' AND tags.Team = 'A'", "alpha")]
    [BothDatabases(93, "tags.k = 'v' AND tags.Team = 'B'", "")]
    [BothDatabases(93, "tags.k = 'v' and name LIKE 'a%'", "alpha")]
    [BothDatabases(96, "creation_time > 0", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(96, "creation_time = 2000", "Beta gamma_x")]
    [BothDatabases(96, "creation_time >= 2000", "Beta gammaYx gamma_x")]
    [BothDatabases(96, "creation_time < 2000", "alpha")]
    [BothDatabases(96, "creation_time != 2000", "alpha gammaYx")]
    [BothDatabases(96, "creation_time > 99999999999999999999", "")]
    [BothDatabases(96, "creation_time > -9223372036854775808", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(96, "creation_time < 9223372036854775807", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(97, "last_update_time != 0", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(97, "last_update_time <= 2001", "alpha")]
    [BothDatabases(100, "creation_time > 0.5", "Beta alpha gammaYx gamma_x")]
    [BothDatabases(100, "creation_time > 1999.5", "Beta gammaYx gamma_x")]
    [BothDatabases(100, "creation_time < 2000.5 AND creation_time > 1999.5", "Beta gamma_x")]
    [BothDatabases(100, "creation_time = 2000.5", "")]
    public async Task Filter_ValidRow_FindsTheExperimentsOfTheTable(DatabaseKind kind, int row, string filter, string expected)
    {
        var server = await Fixtures[kind].Value;
        Assert.Equal((row, expected), (row, Names(await SearchAsync(server, new { max_results = 100, filter, order_by = new[] { "name" } }))));
        Assert.Equal(
            (row, expected),
            (row, Names(await server.GetAsync($"experiments/search?max_results=100&order_by=name&filter={Uri.EscapeDataString(filter)}"))));
    }

    [Theory]
    [BothDatabases(88, "attributes.name = 'alpha'", "attributes")]
    [BothDatabases(88, "attr.name = 'alpha'", "attr")]
    [BothDatabases(92, "tags.a/b = '2'", "Invalid clause(s) in filter string")]
    [BothDatabases(94, "tags.k = 'v' OR tags.Team = 'A'", "Invalid clause(s) in filter string")]
    [BothDatabases(94, "NOT tags.k = 'v'", "Invalid clause(s) in filter string")]
    [BothDatabases(94, "(tags.k = 'v')", "Invalid clause(s) in filter string")]
    [BothDatabases(95, "tags.k IN ('v')", "Invalid comparator")]
    [BothDatabases(95, "name IS NULL", "Invalid comparator")]
    [BothDatabases(95, "name IN ('a')", "Invalid comparator")]
    [BothDatabases(95, "name > 'a'", "Invalid comparator")]
    [BothDatabases(96, "creation_time >= '5'", "number")]
    [BothDatabases(96, "creation_time LIKE '1'", "Invalid comparator")]
    [BothDatabases(98, "experiment_id = '1'", "Invalid attribute key")]
    [BothDatabases(98, "lifecycle_stage = 'active'", "Invalid attribute key")]
    [BothDatabases(98, "metrics.a > 1", "metrics")]
    [BothDatabases(98, "params.a = '1'", "params")]
    [BothDatabases(99, "name = alpha", "quoted")]
    [BothDatabases(0, "name = 'alpha'; DROP TABLE experiments", "Invalid clause(s) in filter string")]
    [BothDatabases(0, "name = 'alpha", "'alpha")]
    [BothDatabases(0, "name", "name")]
    public async Task Filter_InvalidRow_IsRefusedNamingTheReason(DatabaseKind kind, int row, string filter, string reason)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", new { max_results = 100, filter }, reason);
        await server.GetRefusedAsync(
            $"experiments/search?max_results={100 + row}&filter={Uri.EscapeDataString(filter)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", reason);
    }

    [Theory]
    [BothDatabases("", "gammaYx Beta gamma_x alpha")]
    [BothDatabases("name", "Beta alpha gammaYx gamma_x")]
    [BothDatabases("name ASC", "Beta alpha gammaYx gamma_x")]
    [BothDatabases("attribute.name desc", "gamma_x gammaYx alpha Beta")]
    [BothDatabases("creation_time", "alpha gamma_x Beta gammaYx")]
    [BothDatabases("creation_time DESC", "gammaYx gamma_x Beta alpha")]
    [BothDatabases("creation_time,experiment_id", "alpha Beta gamma_x gammaYx")]
    [BothDatabases("creation_time,name DESC", "alpha gamma_x Beta gammaYx")]
    [BothDatabases("last_update_time", "alpha Beta gamma_x gammaYx")]
    [BothDatabases("experiment_id", "alpha Beta gamma_x gammaYx")]
    [BothDatabases("experiment_id DESC", "gammaYx gamma_x Beta alpha")]
    [BothDatabases("name,name DESC", "Beta alpha gammaYx gamma_x")]
    public async Task OrderBy_AnyKeys_OrdersByThemAndThenAsTheContractSays(DatabaseKind kind, string keys, string expected)
    {
        var server = await Fixtures[kind].Value;
        var order = keys.Split(',', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(expected, Names(await SearchAsync(server, new { max_results = 100, order_by = order })));
        var query = string.Concat(order.Select(key => "&order_by=" + Uri.EscapeDataString(key)));
        Assert.Equal(expected, Names(await server.GetAsync("experiments/search?max_results=100" + query)));
    }

    [Theory]
    [BothDatabases("tags.k")]
    [BothDatabases("attributes.name")]
    [BothDatabases("lifecycle_stage")]
    [BothDatabases("name, creation_time")]
    [BothDatabases("name DESCENDING")]
    [BothDatabases("name nulls last")]
    [BothDatabases("")]
    public async Task OrderBy_OtherKey_IsRefused(DatabaseKind kind, string key)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", new { max_results = 100, order_by = new[] { key } });
    }

    [Theory, BothDatabases]
    public async Task OrderBy_ExperimentId_ComparesNumbers(DatabaseKind kind)
    {
        await using var server = await TestServer.StartAsync(kind);
        var expected = new List<string> { "0" };
        for (var i = 0; i < 11; i++)
            expected.Add(await server.CreateExperimentAsync());
        var found = await SearchAsync(server, new { max_results = 100, order_by = new[] { "experiment_id" } });
        Assert.Equal(expected, found["experiments"]!.AsArray().Select(experiment => (string)experiment!["experiment_id"]!));
    }

    [Theory]
    [BothDatabases(null, "Beta alpha gammaYx gamma_x")]
    [BothDatabases("\"ACTIVE_ONLY\"", "Beta alpha gammaYx gamma_x")]
    [BothDatabases("1", "Beta alpha gammaYx gamma_x")]
    [BothDatabases("\"DELETED_ONLY\"", "Default gone")]
    [BothDatabases("2", "Default gone")]
    [BothDatabases("\"2\"", "Default gone")]
    [BothDatabases("\"ALL\"", "Beta Default alpha gammaYx gamma_x gone")]
    [BothDatabases("3", "Beta Default alpha gammaYx gamma_x gone")]
    [BothDatabases("null", "Beta alpha gammaYx gamma_x")]
    public async Task ViewType_ByNameOrNumber_DecidesWhatIsShown(DatabaseKind kind, string? viewType, string expected)
    {
        var server = await Fixtures[kind].Value;
        var body = $$"""{"max_results": 100, "order_by": ["name"]{{(viewType is null ? "" : $", \"view_type\": {viewType}")}}}""";
        using var response = await server.SendAsync(HttpMethod.Post, "experiments/search", TestServer.JsonText(body));
        Assert.Equal(expected, Names(JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject()));
        if (viewType is not (null or "null"))
        {
            Assert.Equal(expected, Names(await server.GetAsync(
                $"experiments/search?max_results=100&order_by=name&view_type={viewType.Trim('"')}")));
        }
    }

    [Theory]
    [BothDatabases("\"SOME\"")]
    [BothDatabases("\"active_only\"")]
    [BothDatabases("\"\"")]
    [BothDatabases("0")]
    [BothDatabases("99")]
    [BothDatabases("1.5")]
    [BothDatabases("true")]
    [BothDatabases("[]")]
    public async Task ViewType_Unknown_IsRefusedNamingTheKnownOnes(DatabaseKind kind, string viewType)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", $$"""{"max_results": 100, "view_type": {{viewType}}}""", "view_type", "ACTIVE_ONLY");
    }

    [Theory]
    [BothDatabases("{}")]
    [BothDatabases("""{"max_results": null}""")]
    [BothDatabases("""{"max_results": 0}""")]
    [BothDatabases("""{"max_results": -1}""")]
    [BothDatabases("""{"max_results": 50001}""")]
    [BothDatabases("""{"max_results": "50001"}""")]
    [BothDatabases("""{"max_results": 9223372036854775808}""")]
    [BothDatabases("""{"max_results": 1.5}""")]
    [BothDatabases("""{"max_results": "many"}""")]
    [BothDatabases("""{"max_results": ""}""")]
    [BothDatabases("""{"max_results": true}""")]
    [BothDatabases("""{"max_results": [5]}""")]
    public async Task MaxResults_OutOfBoundsOrNoNumber_IsRefusedNamingIt(DatabaseKind kind, string body)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", body, "max_results");
    }

    [Theory]
    [BothDatabases("50000")]
    [BothDatabases("\"50000\"")]
    [BothDatabases("5.0")]
    [BothDatabases("\" 5 \"")]
    public async Task MaxResults_InAnySpellingOfItsType_IsAccepted(DatabaseKind kind, string maxResults)
    {
        var server = await Fixtures[kind].Value;
        using var response = await server.SendAsync(
            HttpMethod.Post, "experiments/search", TestServer.JsonText($$"""{"max_results": {{maxResults}}, "order_by": ["name"]}"""));
        Assert.Equal("Beta alpha gammaYx gamma_x", Names(JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject()));
    }

    [Theory]
    [BothDatabases(1)]
    [BothDatabases(2)]
    [BothDatabases(3)]
    [BothDatabases(4)]
    public async Task Paging_WithAnyPageSize_GivesEveryExperimentOnceAndNoTokenAtTheEnd(DatabaseKind kind, int pageSize)
    {
        var server = await Fixtures[kind].Value;
        var names = new List<string>();
        string? token = null;
        do
        {
            var page = await SearchAsync(server, new { max_results = pageSize, page_token = token, order_by = new[] { "name" } });
            Assert.InRange(page["experiments"]!.AsArray().Count, 1, pageSize);
            names.Add(Names(page));
            Assert.NotEqual("", (string?)page["next_page_token"]);
            token = (string?)page["next_page_token"];
        }
        while (token is not null);
        Assert.Equal("Beta alpha gammaYx gamma_x", string.Join(' ', names));
        Assert.Equal((4 + pageSize - 1) / pageSize, names.Count);
    }

    [Theory]
    [BothDatabases("", "Beta alpha gammaYx gamma_x")]
    [BothDatabases("""{"offset": 1}""", "alpha gammaYx gamma_x")]
    [BothDatabases("""{"offset": "2"}""", "gammaYx gamma_x")]
    [BothDatabases("""{"offset": 3.0}""", "gamma_x")]
    [BothDatabases("""{"offset": 4}""", "")]
    [BothDatabases("""{"offset": 9223372036854775807}""", "")]
    public async Task PageToken_WithAnOffset_SkipsThatMany(DatabaseKind kind, string token, string expected)
    {
        var server = await Fixtures[kind].Value;
        var found = await SearchAsync(server, new { max_results = 100, page_token = Encode(token), order_by = new[] { "name" } });
        Assert.Equal(expected, Names(found));
    }

    [Theory]
    [BothDatabases("""{"offset": 0}""")]
    [BothDatabases("""{"offset": -1}""")]
    [BothDatabases("""{"offset": null}""")]
    [BothDatabases("""{"offset": [1]}""")]
    [BothDatabases("""{"offset": 1e30}""")]
    [BothDatabases("""{"offset": "x"}""")]
    [BothDatabases("""{"offset": 1.5}""")]
    [BothDatabases("""{"other": 1}""")]
    [BothDatabases("[1]")]
    [BothDatabases("5")]
    [BothDatabases("nonsense")]
    public async Task PageToken_WithoutAUsableOffset_IsRefused(DatabaseKind kind, string token)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", new { max_results = 100, page_token = Encode(token) }, "Invalid page token");
    }

    [Theory]
    [BothDatabases("x")]
    [BothDatabases("%%%")]
    [BothDatabases("eyJvZmZzZXQiOiAxfQ")]
    public async Task PageToken_ThatIsNotBase64_IsRefused(DatabaseKind kind, string token)
    {
        var server = await Fixtures[kind].Value;
        await server.PostInvalidAsync("experiments/search", new { max_results = 100, page_token = token }, "Invalid page token");
        await server.GetRefusedAsync(
            $"experiments/search?max_results=100&page_token={Uri.EscapeDataString(token)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Invalid page token");
    }

    [Theory, BothDatabases]
    public async Task NothingFound_IsAnEmptyMessage(DatabaseKind kind)
    {
        var server = await Fixtures[kind].Value;
        Assert.Empty(await SearchAsync(server, new { max_results = 100, filter = "name = 'nobody'" }));
    }

    [Theory, BothDatabases]
    public async Task Found_Experiments_AreWhatGetAnswers(DatabaseKind kind)
    {
        var server = await Fixtures[kind].Value;
        var found = await SearchAsync(server, new { max_results = 100, view_type = "ALL" });
        Assert.Equal(["experiments"], found.Select(field => field.Key));
        foreach (var experiment in found["experiments"]!.AsArray())
        {
            var alone = await server.GetAsync($"experiments/get?experiment_id={(string)experiment!["experiment_id"]!}");
            Assert.Equal(alone["experiment"]!.ToJsonString(), experiment.ToJsonString());
        }
    }

    private static async Task<TestServer> FixtureAsync(DatabaseKind kind)
    {
        var server = await TestServer.StartAsync(kind);
        await server.PostAsync("experiments/delete", new { experiment_id = "0" });
        await CreateAsync("alpha", 1000, ("k", "v"), ("Team", "A"));
        await CreateAsync("Beta", 2000, ("k", "V"));
        await CreateAsync("gamma_x", 2000, ("k.d", "1"), ("a/b", "2"));
        await CreateAsync("gammaYx", 3000);
        await server.PostAsync("experiments/delete", new { experiment_id = await CreateAsync("gone", 4000, ("k", "v")) });
        return server;

        // Experiments are made at times that are known: created in the given one, last updated a little more apart.
        async Task<string> CreateAsync(string name, long created, params (string Key, string Value)[] tags)
        {
            var message = new { name, tags = tags.Select(tag => new { key = tag.Key, value = tag.Value }) };
            var id = (string)(await server.PostAsync("experiments/create", message))["experiment_id"]!;
            var number = long.Parse(id, CultureInfo.InvariantCulture);
            await server.Database.WriteAsync(
                async (session, token) => await session.ExecuteAsync(
                    server.Database.Statement("UPDATE experiments SET created_at = $2, updated_at = $3 WHERE experiment_id = $1")
                        .Add(number).AddTime(created).AddTime(1000 + created + number),
                    token),
                CancellationToken.None);
            return id;
        }
    }

    private static Task<JsonObject> SearchAsync(TestServer server, object message) => server.PostAsync("experiments/search", message);

    private static string Encode(string token) => Convert.ToBase64String(Encoding.UTF8.GetBytes(token));

    private static string Names(JsonObject answer) =>
        string.Join(' ', (answer["experiments"]?.AsArray() ?? []).Select(experiment => (string)experiment!["name"]!));
}
