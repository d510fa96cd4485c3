using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;
using static MlflowCompat.Server.Tests.EvaluationDatasets.DatasetCalls;

namespace MlflowCompat.Server.Tests.EvaluationDatasets;

/// <summary>datasets/search (contract: search §1 and §8 with its rows, semantics §11 and §12).</summary>
public sealed class SearchEvaluationDatasetsTests
{
    private const string Search = Route + "search";

    private static readonly Dictionary<DatabaseKind, Lazy<Task<Fixture>>> Fixtures = new()
    {
        [DatabaseKind.Sqlite] = new(() => FixtureAsync(DatabaseKind.Sqlite)),
        [DatabaseKind.PostgreSql] = new(() => FixtureAsync(DatabaseKind.PostgreSql)),
    };

    [Theory]
    [BothDatabases(0, "", "Zebra x xY x_y")]
    [BothDatabases(0, "  ", "Zebra x xY x_y")]
    [BothDatabases(174, "name = 'x'", "x")]
    [BothDatabases(174, "name = 'X'", "")]
    [BothDatabases(174, "name LIKE 'x%'", "x xY x_y")]
    [BothDatabases(174, "name LIKE 'x_y'", "x_y")]
    [BothDatabases(174, "name LIKE 'x\\_y'", "")]
    [BothDatabases(174, "name ILIKE 'X%'", "x xY x_y")]
    [BothDatabases(174, "created_by = 'me'", "Zebra x")]
    [BothDatabases(174, "created_by != 'me'", "xY")]
    [BothDatabases(174, "last_updated_by ILIKE 'M_'", "Zebra x xY")]
    [BothDatabases(174, "last_updated_by = 'somebody'", "")]
    [BothDatabases(174, "tags.n = '5'", "x")]
    [BothDatabases(174, "tags.n LIKE '5%'", "x xY")]
    [BothDatabases(174, "tags.n != '5'", "xY")]
    [BothDatabases(174, "tags.n ILIKE '5É'", "xY")]
    [BothDatabases(174, "tags.mlflow.user = 'me'", "Zebra x")]
    [BothDatabases(174, "tags.none != '5'", "")]
    [BothDatabases(174, "name != 'zzz'", "Zebra x xY x_y")]
    [BothDatabases(175, "tags.`n` = '5'", "x")]
    [BothDatabases(175, "tags.\"a b/c\" = '1'", "x_y")]
    [BothDatabases(177, "name like 'x%'", "x xY x_y")]
    [BothDatabases(0, "name > 'x'", "xY x_y")]
    [BothDatabases(0, "name >= 'x' AND name <= 'xY'", "x xY")]
    [BothDatabases(0, "name < 'a'", "Zebra")]
    [BothDatabases(0, "created_time = 1000", "x")]
    [BothDatabases(0, "created_time != 1000", "Zebra xY x_y")]
    [BothDatabases(0, "created_time >= 2000 AND created_time < 2999.5", "xY x_y")]
    [BothDatabases(0, "created_time > 1999.5 and created_time <= 2000", "xY x_y")]
    [BothDatabases(0, "last_update_time > 99999999999999999999", "")]
    [BothDatabases(0, "last_update_time <= 5001", "Zebra x")]
    public async Task Filter_ValidRow_FindsTheDatasetsOfTheTable(DatabaseKind kind, int row, string filter, string expected)
    {
        var fixture = await Fixtures[kind].Value;
        Assert.Equal((row, expected), (row, Names(await fixture.Server.PostAsync(Search, new { filter_string = filter, order_by = new[] { "name" } }))));
        Assert.Equal((row, expected), (row, Names(await fixture.Server.GetAsync($"{Search}?order_by=name&filter_string={Uri.EscapeDataString(filter)}"))));
    }

    [Theory]
    [BothDatabases(176, "tag.n = '5'", "tag")]
    [BothDatabases(176, "attribute.name = 'x'", "attribute")]
    [BothDatabases(176, "digest = 'x'", "Invalid attribute key")]
    [BothDatabases(176, "dataset_id = 'x'", "Invalid attribute key")]
    [BothDatabases(176, "name IN ('x')", "Invalid comparator")]
    [BothDatabases(176, "a OR b", "OR")]
    [BothDatabases(176, "name = 'a' OR name = 'b'", "Invalid clause(s)")]
    [BothDatabases(176, "created_time > '0'", "number")]
    [BothDatabases(0, "bogus = 'x'", "Invalid attribute key")]
    [BothDatabases(0, "name = 5", "quoted")]
    [BothDatabases(0, "name IS NULL", "IS")]
    [BothDatabases(0, "tags.n IS NOT NULL", "IS")]
    [BothDatabases(0, "tags.n > '5'", "Invalid comparator")]
    public async Task Filter_InvalidRow_IsRefusedNamingTheReason(DatabaseKind kind, int row, string filter, string message)
    {
        var fixture = await Fixtures[kind].Value;
        Assert.InRange(row, 0, 178);
        await fixture.Server.PostInvalidAsync(Search, new { filter_string = filter }, message);
        await fixture.Server.GetRefusedAsync(
            $"{Search}?filter_string={Uri.EscapeDataString(filter)}", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", message);
    }

    [Theory]
    [BothDatabases("", "Zebra xY+x_y x")]
    [BothDatabases("created_time", "x xY+x_y Zebra")]
    [BothDatabases("created_time DESC", "Zebra xY+x_y x")]
    [BothDatabases("last_update_time", "x Zebra x_y xY")]
    [BothDatabases("last_update_time desc", "xY x_y Zebra x")]
    [BothDatabases("name", "Zebra x xY x_y")]
    [BothDatabases("name DESC", "x_y xY x Zebra")]
    [BothDatabases("created_time ASC,name DESC", "x x_y xY Zebra")]
    [BothDatabases("name,name DESC", "Zebra x xY x_y")]
    public async Task OrderBy_Key_OrdersByCodePointsAndThenById(DatabaseKind kind, string order, string expected)
    {
        var fixture = await Fixtures[kind].Value;
        // Of data sets that the order leaves equal, the one with the greater id comes first.
        var equal = string.CompareOrdinal(fixture.Ids["xY"], fixture.Ids["x_y"]) > 0 ? "xY x_y" : "x_y xY";
        var message = new { order_by = order.Split(',', StringSplitOptions.RemoveEmptyEntries) };
        Assert.Equal(expected.Replace("xY+x_y", equal, StringComparison.Ordinal), Names(await fixture.Server.PostAsync(Search, message)));
    }

    [Theory]
    [BothDatabases("digest")]
    [BothDatabases("tags.a")]
    [BothDatabases("name foo")]
    [BothDatabases("dataset_id")]
    [BothDatabases("created_by")]
    [BothDatabases("bogus")]
    [BothDatabases("name, created_time")]
    public async Task OrderBy_OtherKey_IsRefused(DatabaseKind kind, string order)
    {
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.PostInvalidAsync(Search, new { order_by = new[] { order } });
    }

    [Theory, BothDatabases]
    public async Task ExperimentIds_AreAnyOf(DatabaseKind kind)
    {
        var (server, ids, experiments) = await Fixtures[kind].Value;
        Assert.Equal(4, ids.Count);
        Assert.Equal("x xY", await OfAsync(experiments[0]));
        Assert.Equal("xY x_y", await OfAsync(experiments[1]));
        Assert.Equal("x xY x_y", await OfAsync(experiments[0], experiments[1], experiments[0], "nonsense"));
        Assert.Equal("", await OfAsync("999999999"));
        Assert.Equal("Zebra x xY x_y", await OfAsync());
        Assert.Equal("x", Names(await server.PostAsync(Search, new { experiment_ids = new[] { experiments[0] }, filter_string = "tags.n = '5'" })));
        Assert.Equal("x xY", Names(await server.GetAsync($"{Search}?order_by=name&experiment_ids={experiments[0]}")));
        Assert.Equal("x xY x_y", Names(await server.GetAsync($"{Search}?order_by=name&experiment_ids={experiments[0]}&experiment_ids={experiments[1]}")));
        Assert.Equal("x xY", Names(await server.PostAsync(Search, new { experiment_ids = new[] { int.Parse(experiments[0], null) }, order_by = new[] { "name" } })));

        async Task<string> OfAsync(params string[] of) => Names(await server.PostAsync(Search, new { experiment_ids = of, order_by = new[] { "name" } }));
    }

    [Theory]
    [BothDatabases(1)]
    [BothDatabases(2)]
    [BothDatabases(3)]
    [BothDatabases(4)]
    [BothDatabases(50_000)]
    public async Task Paging_WithAnyPageSize_GivesEveryDatasetOnce(DatabaseKind kind, int pageSize)
    {
        var fixture = await Fixtures[kind].Value;
        var names = new List<string>();
        string? token = null;
        do
        {
            var page = await fixture.Server.PostAsync(Search, new { max_results = pageSize, page_token = token, order_by = new[] { "name" } });
            names.Add(Names(page));
            token = (string?)page["next_page_token"];
            Assert.NotEqual("", token);
        }
        while (token is not null);
        Assert.Equal("Zebra x xY x_y", string.Join(' ', names));
        Assert.Equal((4 + Math.Min(pageSize, 4) - 1) / Math.Min(pageSize, 4), names.Count);
    }

    [Theory]
    [BothDatabases("""{"max_results": 0}""", "max_results")]
    [BothDatabases("""{"max_results": -1}""", "max_results")]
    [BothDatabases("""{"max_results": 50001}""", "max_results")]
    [BothDatabases("""{"max_results": "x"}""", "max_results")]
    [BothDatabases("""{"page_token": "x"}""", "Invalid page token")]
    [BothDatabases("""{"page_token": "eyJvZmZzZXQiOiAwfQ=="}""", "Invalid page token")]
    [BothDatabases("""{"experiment_ids": "1"}""", "experiment_ids")]
    [BothDatabases("""{"order_by": "name"}""", "order_by")]
    [BothDatabases("""{"filter_string": 5}""", "filter_string")]
    public async Task Request_WithSomethingWrong_IsRefused(DatabaseKind kind, string message, string part)
    {
        var fixture = await Fixtures[kind].Value;
        await fixture.Server.SendInvalidAsync(HttpMethod.Post, Search, message, part);
    }

    [Theory, BothDatabases]
    public async Task Found_Datasets_AreWhatGetAnswers(DatabaseKind kind)
    {
        var (server, ids, _) = await Fixtures[kind].Value;
        var found = await server.PostAsync(Search, new { });
        Assert.Equal(["datasets"], found.Select(field => field.Key));
        Assert.Equal(ids.Values.Order(), found["datasets"]!.AsArray().Select(dataset => (string)dataset!["dataset_id"]!).Order());
        foreach (var dataset in found["datasets"]!.AsArray())
            Assert.Equal((await server.GetDatasetAsync((string)dataset!["dataset_id"]!)).ToJsonString(), dataset.ToJsonString());
        Assert.Empty(await server.PostAsync(Search, new { filter_string = "name = 'nobody'" }));
    }

    /// <summary>Generated filters and orders: both databases answer alike, with data sets or with INVALID_PARAMETER_VALUE.</summary>
    [Fact]
    public async Task Filters_MadeOfAnything_AreAnsweredAlikeByBothDatabases()
    {
        string[] texts =
        [
            "x", "X", "xY", "%", "_", "x%", "%y", "a\\", "\\", "it's", "[a]", "*", "?", "é", "É", "😀", "\uffff", "", " ", "5", "'; DROP TABLE evaluation_datasets; --", "{\"a\": 1}", "$1", "ß", "ω", "Ω",
        ];
        string[] tokens =
        [
            "name", "created_by", "last_updated_by", "created_time", "last_update_time", "tags.t", "tags.`u v`", "tag.t", "attribute.name", "digest", ".", "=", "!=", ">", "<=", "LIKE", "ilike", "IN", "IS",
            "NULL", "AND", "OR", "NOT", "(", ")", ",", ";", "--", "1", "-1", "1e400", ".5", "'x'", "\"x\"", "'", "`", "\0", "😀", "('x')",
        ];
        var random = new Random(8);
        var (servers, experiments) = (new List<TestServer>(), new List<string>());
        foreach (var kind in new[] { DatabaseKind.Sqlite, DatabaseKind.PostgreSql })
        {
            servers.Add(await TestServer.SharedAsync(kind));
            experiments.Add(await servers[^1].CreateExperimentAsync());
        }

        for (var i = 0; i < texts.Length; i++)
        {
            var (user, tag, other) = (random.Next(3) == 0 ? null : Pick(texts), Pick(texts), random.Next(2) == 0 ? null : Pick(texts));
            var tags = new Dictionary<string, string?> { ["t"] = tag, ["u v"] = other, ["mlflow.user"] = user };
            for (var side = 0; side < 2; side++)
            {
                var created = await servers[side].CreateDatasetAsync(texts[i].Length == 0 ? "empty" : texts[i], tags, experiments[side]);
                await SetTimesAsync(servers[side], (string)created["dataset_id"]!, 1000 + (10 * i), 2000 + (7 * i % 50 * 10) + i);
            }
        }

        var (accepted, found) = (0, 0);
        for (var i = 0; i < 600; i++)
        {
            var filter = new StringBuilder(string.Join(Pick(" AND ", " and "), Enumerable.Range(0, random.Next(1, 3)).Select(_ => Clause())));
            if (i % 3 == 0)
            {
                var at = random.Next(filter.Length);
                _ = random.Next(3) switch
                {
                    0 => filter.Remove(at, 1),
                    1 => filter.Insert(at, filter[at]),
                    _ => filter.Remove(at, 1).Insert(at, Pick(tokens)),
                };
            }
            else if (i % 10 == 1)
            {
                filter.Clear();
                for (var length = random.Next(1, 8); length > 0; length--)
                    filter.Append(Pick(tokens)).Append(random.Next(3) > 0 ? " " : "");
            }

            var order = new[] { Pick("name", "created_time", "last_update_time", "digest") + Pick("", " DESC", " asc", " foo") };
            if (await SearchBothAsync(filter.ToString(), random.Next(4) == 0 ? order : ["created_time"]) is not { } count)
                continue;
            accepted++;
            found += count;
        }

        Assert.InRange(accepted, 300, 580);
        Assert.InRange(found, 300, 600 * texts.Length / 2);

        string Pick(params string[] from) => from[random.Next(from.Length)];

        string Clause() => random.Next(3) == 0
            ? Pick("created_time", "last_update_time") + Pick("=", " != ", ">", " >= ", "< ", "<=") + Pick("1000", "1100", "1100.5", "2035", "-1", "1e400", "-1e400", ".5")
            : Pick("name", "created_by", "last_updated_by", "tags.t", "tags.`u v`", "tags.none", "tags.mlflow.user") + Pick(" = ", "!=", " LIKE ", " ILIKE ", " like ", " ilike ", " > ", " <= ")
                + Quoted(Pick(texts));

        static string Quoted(string text) => text.Contains('\'', StringComparison.Ordinal) ? $"\"{text.Replace("\"", "", StringComparison.Ordinal)}\"" : $"'{text}'";

        async Task<int?> SearchBothAsync(string filter, string[] order)
        {
            var answers = new List<string?>();
            for (var side = 0; side < 2; side++)
            {
                using var answer = await servers[side].SendAsync(
                    HttpMethod.Post, Search, ApiServer.Json(new { experiment_ids = new[] { experiments[side] }, filter_string = filter, order_by = order }));
                if (answer.StatusCode == HttpStatusCode.OK)
                    answers.Add(Names(JsonNode.Parse(await answer.Content.ReadAsStringAsync())!.AsObject(), "\n"));
                else
                    await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
                if (answers.Count == side)
                    answers.Add(null);
            }

            Assert.True(answers[0] == answers[1], $"{filter} ordered by {order[0]}: {answers[0] ?? "refused"} and {answers[1] ?? "refused"}");
            return answers[0]?.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length;
        }
    }

    private static async Task<Fixture> FixtureAsync(DatabaseKind kind)
    {
        var server = await TestServer.StartAsync(kind);
        string[] experiments = [await server.CreateExperimentAsync(), await server.CreateExperimentAsync()];
        var ids = new Dictionary<string, string>();
        await CreateAsync("x", 1000, 5000, new() { ["n"] = "5", ["mlflow.user"] = "me" }, experiments[0]);
        await CreateAsync("xY", 2000, 7000, new() { ["n"] = "5é", ["mlflow.user"] = "ME" }, experiments[0], experiments[1]);
        await CreateAsync("x_y", 2000, 6000, new() { ["a b/c"] = "1" }, experiments[1]);
        await CreateAsync("Zebra", 3000, 5001, new() { ["mlflow.user"] = "me" });
        return new Fixture(server, ids, experiments);

        async Task CreateAsync(string name, long created, long updated, Dictionary<string, string> tags, params string[] of)
        {
            ids[name] = (string)(await server.CreateDatasetAsync(name, tags, of))["dataset_id"]!;
            await SetTimesAsync(server, ids[name], created, updated);
        }
    }

    private static Task<int> SetTimesAsync(TestServer server, string id, long created, long updated) => server.Database.WriteAsync(
        async (session, token) => await session.ExecuteAsync(
            server.Database.Statement("UPDATE evaluation_datasets SET created_time = $2, last_update_time = $3 WHERE dataset_id = $1")
                .Add(id).AddTime(created).AddTime(updated),
            token),
        CancellationToken.None);

    private static string Names(JsonObject answer, string separator = " ") =>
        string.Join(separator, (answer["datasets"]?.AsArray() ?? []).Select(dataset => (string)dataset!["name"]!));

    private sealed record Fixture(TestServer Server, Dictionary<string, string> Ids, string[] Experiments);
}
