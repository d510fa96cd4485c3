using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>
/// Generated filters and orders against the endpoint: nothing but an answer or INVALID_PARAMETER_VALUE comes of any of them, and both
/// databases find the same runs. The seeds are fixed, so that a failure can be repeated.
/// </summary>
public sealed class SearchFuzzTests
{
    /// <summary>What looks like SQL, like quoting, like patterns, or is hard to store.</summary>
    private static readonly string[] HardTexts =
    [
        "'; DROP TABLE runs; --", "\"; DELETE FROM runs; --", "' OR '1'='1", "') OR 1=1 --", "it's", "it''s", "say \"hi\"", "`tick`", "a\\", "\\", "\\'",
        "a\\b", "%", "_", "100%", "a_b", "axb", "a%b", "*", "?", "[a]", "[", "]", "a*b", "^", "{}", "{\"a\": 1}", "$1", "@p", ":p", "?1", "NULL", "null", "TRUE",
        "SELECT", "AND", "1 AND 1", "--", "/* */", ";", "\t", "a\nb", "\u0001", "\u007f", "é", "É", "e\u0301", "漢字", "😀", "😀😀", "\u200b", "\ufeff", "\uffff", "1", "1.0",
        " lead", "trail ", "  ", "x", "X", "xx", "ß", "ω", "Ω", "\\u0000", "%00", "\\x00", "a\u00a0b",
    ];

    private static readonly string[] Tokens =
    [
        "metrics.a", "metric.", "params.p", "parameters.", "tags.t", "tag.", "attributes.", "run.", "dataset.name", "datasets.context", "run_id", "status",
        "start_time", "created", "end_time", "`run name`", "name", "`a b`", "\"a`b\"", "'k'", "`metrics`.", "..", ".", "k.d", "é", "𝒜", "\u0301", "=", "!=", ">",
        ">=", "<", "<=", "==", "<>", "LIKE", "like", "ILIKE", "RLIKE", "IN", "NOT IN", "not", "in", "IS", "NULL", "AND", "and", "OR", "NOT", "BETWEEN", "(", ")",
        ",", ";", "--", "/*", "*/", "-", "+", "#", "1", "-1", "0.5", ".5", "1.", "1e400", "-1e400", "1e", "5e-1", "0x1", "1_0", "123456789012345678901234567890",
        "NaN", "'v'", "\"v\"", "'it''s'", "'C:\\'", "''", "'%_'", "('a', 'b',)", "()", "'", "\"", "`", "\\", " ", "\t", "\u00a0", "\0", "😀", "\ufffd",
    ];

    [Theory, BothDatabases]
    public async Task HardTexts_AsValues_FindThemselvesAndNothingElse(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var ids = new Dictionary<string, string>();
        foreach (var text in HardTexts)
        {
            var id = await server.CreateRunAsync(experiment, new { run_name = text, user_id = text });
            ids.Add(text, id);
            await server.PostAsync("runs/log-batch", new
            {
                run_id = id,
                @params = new[] { new { key = "p", value = text } },
                tags = new[] { new { key = "t", value = text } },
            });
            await server.PostAsync("runs/log-inputs", new
            {
                run_id = id,
                datasets = new[]
                {
                    new
                    {
                        dataset = new { name = text, digest = text, source_type = "t", source = "s" },
                        tags = new[] { new { key = "mlflow.data.context", value = text } },
                    },
                },
            });
            var run = await server.GetRunAsync(id);
            Assert.Equal((text, text, text), ((string)run["info"]!["run_name"]!, run.Params()["p"], run.Tags()["t"]));
            Assert.Equal((string)run["inputs"]!["dataset_inputs"]![0]!["dataset"]!["name"]!, text);
        }

        string[] ofRun = ["params.p", "tags.t", "run_name", "user_id", "`run name`"];
        string[] ofDatasets = ["dataset.name", "dataset.digest", "dataset.context"];
        foreach (var (number, text) in HardTexts.Index())
        {
            if (text.Contains('\'', StringComparison.Ordinal) && text.Contains('"', StringComparison.Ordinal))
                continue;
            var literal = text.Contains('\'', StringComparison.Ordinal) ? $"\"{text}\"" : $"'{text}'";
            foreach (var field in ofRun)
                Assert.Equal([ids[text]], await SearchAsync($"{field} = {literal}"));

            // What answers at length or takes longer, each text with another field.
            var dataset = ofDatasets[number % ofDatasets.Length];
            Assert.Equal([ids[text]], await SearchAsync($"{dataset} = {literal}"));
            Assert.Equal([ids[text]], await SearchAsync($"{dataset} IN ({literal}, 'none of them')"));
            Assert.Equal(HardTexts.Length - 1, (await SearchAsync($"{dataset} NOT IN ({literal})")).Count);
            var any = ofRun.Concat(ofDatasets).ElementAt(number % (ofRun.Length + ofDatasets.Length));
            Assert.Equal(HardTexts.Length - 1, (await SearchAsync($"{any} != {literal}")).Count);
            var like = HardTexts.Where(other => Matches(other, text)).Select(other => ids[other]).Order(StringComparer.Ordinal);
            Assert.Equal(like, (await SearchAsync($"{any} LIKE {literal}")).Order(StringComparer.Ordinal));
        }

        // Whatever was in the texts, nothing happened to what they speak of.
        Assert.Equal(HardTexts.Length, (await server.SearchNamesAsync(experiment)).Count);
        foreach (var order in new[] { "params.p", "tags.t", "run_name", "user_id" })
        {
            Assert.Equal(
                HardTexts.OrderBy(text => text, Comparer<string>.Create(CompareCodePoints)),
                await server.SearchNamesAsync(experiment, null, order));
        }

        async Task<List<string>> SearchAsync(string filter) =>
            RunCalls.Ids(await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, filter }));
    }

    [Fact]
    public async Task Filters_MadeOfFittingParts_FindTheSameOnBothDatabases()
    {
        var twins = await Twins.CreateAsync();
        var random = new Random(21);
        var (accepted, found) = (0, 0);
        for (var i = 0; i < 500; i++)
        {
            var clauses = Enumerable.Range(0, random.Next(1, 4)).Select(_ => Clause(random));
            var filter = string.Join(random.Next(5) == 0 ? " and " : " AND ", clauses);
            var order = random.Next(3) > 0 ? [] : Enumerable.Range(0, random.Next(1, 3)).Select(_ => Order(random)).ToArray();
            if (await twins.SearchAsync(filter, order) is not { } runs)
                continue;
            accepted++;
            found += runs;
        }

        Assert.InRange(accepted, 400, 500);
        Assert.InRange(found, 500, 500 * Twins.Runs / 2);
    }

    [Fact]
    public async Task Filters_MadeOfAnything_AreAnsweredAlikeByBothDatabases()
    {
        var twins = await Twins.CreateAsync();
        var random = new Random(22);
        var accepted = 0;
        for (var i = 0; i < 600; i++)
        {
            var text = new StringBuilder();
            if (i % 3 == 0)
            {
                for (var tokens = random.Next(1, 10); tokens > 0; tokens--)
                    text.Append(Pick(random, Tokens)).Append(random.Next(3) > 0 ? " " : "");
            }
            else
            {
                // Almost right: one character removed, doubled or replaced.
                text.Append(Clause(random));
                var at = random.Next(text.Length);
                _ = random.Next(3) switch
                {
                    0 => text.Remove(at, 1),
                    1 => text.Insert(at, text[at]),
                    _ => text.Remove(at, 1).Insert(at, Pick(random, Tokens)),
                };
            }

            var orders = random.Next(4) == 0 ? new[] { Order(random) + (random.Next(2) == 0 ? Pick(random, Tokens) : "") } : [];
            if (await twins.SearchAsync(text.ToString(), orders) is not null)
                accepted++;
        }

        Assert.InRange(accepted, 50, 550);
    }

    [Theory, BothDatabases]
    public async Task Filter_OfAnyLength_IsAnswered(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        foreach (var clauses in new[] { 50, 500, 5000, 50_000 })
        {
            var filter = string.Join(" AND ", Enumerable.Range(0, clauses).Select(i => $"metrics.m{i} > {i} AND tags.t != '{i}' AND params.p LIKE '%{i}%'"));
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, order_by = Enumerable.Range(0, clauses).Select(i => $"metrics.m{i}") });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter = $"run_id IN ({string.Join(',', Enumerable.Repeat($"'{id}'", clauses))})" });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter = $"tags.t LIKE '{string.Concat(Enumerable.Repeat("%_", clauses))}'" });
            await AssertAnsweredAsync(new { experiment_ids = Enumerable.Range(0, clauses).Select(i => $"{i + 1_000_000}").Append(experiment) });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter = new string('(', clauses) });
        }

        Assert.Equal([id], RunCalls.Ids(await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment } })));

        async Task AssertAnsweredAsync(object message)
        {
            using var answer = await server.SendAsync(HttpMethod.Post, "runs/search", TestServer.Json(message));
            if (answer.StatusCode != HttpStatusCode.OK)
                await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        }
    }

    private static string Clause(Random random)
    {
        switch (random.Next(6))
        {
            case 0:
                return $"{Pick(random, "metrics.a", "metric.b", "metrics.`m 1`", "metrics.none", "start_time", "end_time", "attr.created")}"
                    + $"{Pick(random, "=", " != ", " >", ">= ", " < ", "<=")}"
                    + Pick(random, "0", "1", "-1", "0.5", ".5", "00.5", "1e400", "-1e400", "1e-320", "1000.5", "1003", "1010", "9223372036854775808", "-9223372036854775809", "1.7976931348623157e308");
            case 1:
                return $"{Pick(random, "run_id", "dataset.name", "datasets.digest", "dataset.context")} {Pick(random, "IN", "NOT IN", "in", "not  in")} "
                    + $"({Quoted(random)}, {Quoted(random)}{Pick(random, "", ",", " , " + Quoted(random))})";
            case 2:
                // Ids are random: a pattern for a part of one would find what only one of the databases has.
                return Pick(random, "artifact_uri", "run_id", "attr.run_id") + Pick(random, " = ", "!=", " LIKE ", " ILIKE ")
                    + Pick(random, "'%'", "''", "'none of them'", "'%artifacts'", "'%ARTIFACTS'", "\"it's\"", "'_'");
            default:
                return Pick(random, "params.p", "parameter.`q`", "tags.t", "tag.\"u v\"", "tags.mlflow.runName", "run_name", "status", "user_id", "dataset.name", "dataset.context", "params.none")
                    + Pick(random, " = ", "!=", " LIKE ", " ILIKE ", " like ", " ilike ") + Quoted(random);
        }
    }

    private static string Quoted(Random random)
    {
        var text = random.Next(8) switch
        {
            0 => "%" + Pick(random, HardTexts),
            1 => Pick(random, HardTexts) + "%",
            2 => "%",
            3 => Pick(random, "FINISHED", "fin%", "RUNNING", "r1_", "r%", "u1", "U_", "%artifacts", "train", "ds1"),
            _ => Pick(random, HardTexts),
        };
        return text.Contains('\'', StringComparison.Ordinal) ? $"\"{text}\"" : $"'{text}'";
    }

    private static string Order(Random random) =>
        Pick(random, "metrics.a", "metrics.`m 1`", "params.p", "tags.t", "tag.`u v`", "run_name", "status", "user_id", "start_time", "end_time", "params.none")
        + Pick(random, "", " ASC", " DESC", " desc");

    private static string Pick(Random random, params string[] from) => from[random.Next(from.Length)];

    /// <summary>LIKE of the contract: % and _ and nothing else, by code points.</summary>
    private static bool Matches(string text, string pattern)
    {
        var (runes, wanted) = (text.EnumerateRunes().ToArray(), pattern.EnumerateRunes().ToArray());
        var reached = new bool[runes.Length + 1];
        reached[0] = true;
        foreach (var rune in wanted)
        {
            var next = new bool[runes.Length + 1];
            for (var i = 0; i <= runes.Length; i++)
            {
                next[i] = rune.Value == '%'
                    ? reached[i] || (i > 0 && next[i - 1])
                    : i > 0 && reached[i - 1] && (rune.Value == '_' || rune == runes[i - 1]);
            }

            reached = next;
        }

        return reached[^1];
    }

    private static int CompareCodePoints(string left, string right) =>
        Encoding.UTF8.GetBytes(left).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(right));

    /// <summary>The same runs on both databases; they started one after the other, so that every order is decided.</summary>
    private sealed class Twins
    {
        public const int Runs = 30;

        private static readonly Lazy<Task<Twins>> Shared = new(MakeAsync);

        private readonly List<(TestServer Server, string Experiment)> sides = [];

        public static Task<Twins> CreateAsync() => Shared.Value;

        /// <summary>How many runs both find, or null when both refuse.</summary>
        public async Task<int?> SearchAsync(string filter, string[] orderBy)
        {
            var answers = await Task.WhenAll(sides.Select(async side =>
            {
                using var answer = await side.Server.SendAsync(
                    HttpMethod.Post, "runs/search", TestServer.Json(new { experiment_ids = new[] { side.Experiment }, filter, order_by = orderBy }));
                if (answer.StatusCode != HttpStatusCode.OK)
                {
                    await TestServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
                    return null;
                }

                return RunCalls.Names(JsonNode.Parse(await answer.Content.ReadAsStringAsync())!.AsObject());
            }));
            Assert.True(
                answers[0] is null ? answers[1] is null : answers[1] is not null && answers[0]!.SequenceEqual(answers[1]!),
                $"{filter} ordered by [{string.Join(" | ", orderBy)}]: {Show(answers[0])} and {Show(answers[1])}");
            return answers[0]?.Count;

            static string Show(List<string>? names) => names is null ? "refused" : string.Join(' ', names);
        }

        private static async Task<Twins> MakeAsync()
        {
            var twins = new Twins();
            foreach (var kind in new[] { DatabaseKind.Sqlite, DatabaseKind.PostgreSql })
            {
                var server = await TestServer.SharedAsync(kind);
                twins.sides.Add((server, await server.CreateExperimentAsync()));
            }

            var random = new Random(20);
            object[] values = [0, 1, -1, 0.5, "NaN", "Infinity", "-Infinity", 5e-324, -0.0];
            for (var i = 0; i < Runs; i++)
            {
                var create = new { run_name = $"r{i}", start_time = 1000 + i, user_id = Pick(random, "u1", "U1", "", "u2") };
                object Batch(string id, object[] metrics, object[] parameters, object[] tags) =>
                    new { run_id = id, metrics, @params = parameters, tags };
                object[] metrics =
                [
                    .. new[] { "a", "b", "m 1" }.Where(_ => random.Next(4) > 0)
                        .Select(key => new { key, value = values[random.Next(values.Length)], timestamp = 1 }),
                ];
                object[] parameters = [.. new[] { "p", "q" }.Where(_ => random.Next(5) > 0).Select(key => new { key, value = Pick(random, HardTexts) })];
                object[] tags = [.. new[] { "t", "u v" }.Where(_ => random.Next(5) > 0).Select(key => new { key, value = Pick(random, HardTexts) })];
                var datasets = Enumerable.Range(0, random.Next(3)).Select(number => new
                {
                    dataset = new { name = random.Next(2) == 0 ? "ds1" : Pick(random, HardTexts), digest = $"d{number}", source_type = "t", source = "s" },
                    tags = random.Next(3) == 0 ? null : new[] { new { key = "mlflow.data.context", value = random.Next(2) == 0 ? "train" : Pick(random, HardTexts) } },
                }).ToArray();
                var status = random.Next(1, 6);
                var end = random.Next(3) == 0 ? 0 : 1000 + random.Next(20);
                foreach (var (server, experiment) in twins.sides)
                {
                    var id = await server.CreateRunAsync(experiment, create);
                    await server.PostAsync("runs/log-batch", Batch(id, metrics, parameters, tags));
                    await server.PostAsync("runs/log-inputs", new { run_id = id, datasets });
                    await server.PostAsync("runs/update", new { run_id = id, status, end_time = end });
                }
            }

            return twins;
        }
    }
}
