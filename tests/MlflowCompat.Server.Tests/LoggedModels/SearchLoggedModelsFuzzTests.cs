using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>
/// Generated filters, data sets and orders against the endpoint: nothing but an answer or INVALID_PARAMETER_VALUE comes of any of them, and
/// both databases find the same models in the same order. The seeds are fixed, so that a failure can be repeated.
/// </summary>
public sealed class SearchLoggedModelsFuzzTests
{
    private const int Models = 30;

    private static readonly string[] HardTexts =
    [
        "'; DROP TABLE models; --", "' OR '1'='1", "it''s", "a\\", "a\\b", "%", "_", "a_b", "axb", "a%b", "*", "?", "[a]", "{}", "{\"a\": 1}", "$1", "NULL",
        "\t", "é", "É", "漢字", "😀", "\uffff", "1", "1.0", " lead", "x", "X", "ß", "",
    ];

    private static readonly string[] Tokens =
    [
        "metrics.a", "metric.", "params.p", "tags.t", "attributes.", "name", "status", "model_id", "creation_time", "`a b`", "\"a b\"", "'k'", "..", "=", "!=", ">", ">=",
        "==", "LIKE", "like", "ILIKE", "RLIKE", "IN", "NOT IN", "IS", "NULL", "AND", "OR", "NOT", "(", ")", ",", ";", "--", "-", "1", "-1", "0.5", "1e400", "NaN", "'v'",
        "\"v\"", "('a', 'b',)", "()", "'", "`", "\\", " ", "\0", "😀",
    ];

    private static readonly Lazy<Task<List<(TestServer Server, string Experiment)>>> Twins = new(MakeAsync);

    [Fact]
    public async Task Searches_MadeOfFittingParts_FindTheSameOnBothDatabases()
    {
        var random = new Random(31);
        var (accepted, found) = (0, 0);
        for (var i = 0; i < 300; i++)
        {
            var filter = string.Join(" AND ", Enumerable.Range(0, random.Next(0, 4)).Select(_ => Clause(random)));
            var order = random.Next(2) > 0 ? [] : Enumerable.Range(0, random.Next(1, 3)).Select(_ => Order(random)).ToArray();
            var datasets = random.Next(4) > 0 ? [] : Enumerable.Range(0, random.Next(1, 3)).Select(_ => Dataset(random)).ToArray();
            if (await SearchAsync(filter, order, datasets) is not { } models)
                continue;
            accepted++;
            found += models;
        }

        Assert.InRange(accepted, 250, 300);
        Assert.InRange(found, 300, 300 * Models);
    }

    [Fact]
    public async Task Searches_MadeOfAnything_AreAnsweredAlikeByBothDatabases()
    {
        var random = new Random(32);
        var accepted = 0;
        for (var i = 0; i < 300; i++)
        {
            var text = new StringBuilder();
            if (i % 3 == 0)
            {
                for (var tokens = random.Next(1, 8); tokens > 0; tokens--)
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

            object[] order = random.Next(4) == 0 ? [new { field_name = Pick(random, "metrics.", "metrics.a'", "metrics.`", "name ", "params.p", "x", "status", "metrics.a b\"") }] : [];
            if (await SearchAsync(text.ToString(), order, []) is not null)
                accepted++;
        }

        Assert.InRange(accepted, 20, 280);
    }

    [Theory, BothDatabases]
    public async Task Search_OfAnyLength_IsAnswered(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateModelIdAsync(experiment);
        foreach (var count in new[] { 50, 500, 5000 })
        {
            var filter = string.Join(" AND ", Enumerable.Range(0, count).Select(i => i % 2 == 0 ? $"metrics.m{i} > {i}" : $"params.p LIKE '%{i}%'"));
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, order_by = Enumerable.Range(0, count).Select(i => new { field_name = $"metrics.m{i}" }) });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, datasets = Enumerable.Range(0, count).Select(i => new { dataset_name = $"d{i}" }) });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter = "metrics.m > 1 AND metrics.n > 1", datasets = Enumerable.Range(0, count).Select(i => new { dataset_name = $"d{i}", dataset_digest = $"{i}" }) });
            await AssertAnsweredAsync(new { experiment_ids = new[] { experiment }, filter = $"model_id IN ({string.Join(',', Enumerable.Repeat($"'{id}'", count))})" });
            await AssertAnsweredAsync(new { experiment_ids = Enumerable.Range(0, count).Select(i => $"{i + 1_000_000}").Append(experiment) });
        }

        async Task AssertAnsweredAsync(object message)
        {
            using var answer = await server.SendAsync(HttpMethod.Post, "logged-models/search", ApiServer.Json(message));
            if (answer.StatusCode != HttpStatusCode.OK)
                await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        }
    }

    private static string Clause(Random random)
    {
        switch (random.Next(5))
        {
            case 0:
                return $"{Pick(random, "metrics.a", "metrics.b", "metrics.`m 1`", "metrics.none", "creation_time", "attributes.last_updated_timestamp")}"
                    + $"{Pick(random, "=", " != ", " >", ">= ", " < ", "<=")}{Pick(random, "0", "1", "-1", "0.5", "1e400", "-1e400", "1000.5", "9223372036854775808", "1.7976931348623157e308")}";
            case 1:
                return $"{Pick(random, "name", "model_type", "params.p", "tags.t", "tags.`u v`", "status")} {Pick(random, "IN", "NOT IN", "in")} ({Quoted(random)}, {Quoted(random)})";
            case 2:
                // Ids and places are different on the two: a pattern for a part of one would find what only one of the databases has.
                return Pick(random, "artifact_location", "model_id", "source_run_id", "lifecycle_stage") + Pick(random, " = ", "!=", " LIKE ", " ILIKE ")
                    + Pick(random, "'%'", "''", "'none of them'", "'%artifacts'", "'M-%'", "'active'", "'ACT%'");
            default:
                return Pick(random, "params.p", "params.`q`", "tags.t", "tags.\"u v\"", "name", "attributes.model_type", "status", "params.none", "tags.t", "params.p")
                    + Pick(random, " = ", "!=", " LIKE ", " ILIKE ", " like ") + (random.Next(9) == 0 ? "1" : Quoted(random));
        }
    }

    private static string Quoted(Random random)
    {
        var text = random.Next(7) switch
        {
            0 => "%" + Pick(random, HardTexts),
            1 => Pick(random, HardTexts) + "%",
            2 => "%",
            3 => Pick(random, "1", "2", "READY", "LOGGED_MODEL_%", "n1_", "n%", "ts"),
            _ => Pick(random, HardTexts),
        };
        return text.Contains('\'', StringComparison.Ordinal) ? $"\"{text}\"" : $"'{text}'";
    }

    private static object Order(Random random) => new
    {
        field_name = Pick(random, "metrics.a", "metrics.b", "metrics.m 1", "metrics.none", "name", "model_type", "status", "lifecycle_stage", "creation_time"),
        ascending = random.Next(2) == 0,
        dataset_name = Pick(random, null, null, "d1", "d2", "none"),
        dataset_digest = Pick(random, null, null, "g1", "g2"),
    };

    private static object Dataset(Random random) => new { dataset_name = Pick(random, "d1", "d2", "none"), dataset_digest = Pick(random, null, "", "g1", "g2") };

    private static T Pick<T>(Random random, params T[] from) => from[random.Next(from.Length)];

    /// <summary>How many models both find, or null when both refuse.</summary>
    private static async Task<int?> SearchAsync(string filter, object[] orderBy, object[] datasets)
    {
        var answers = await Task.WhenAll((await Twins.Value).Select(async side =>
        {
            var message = new { experiment_ids = new[] { side.Experiment }, filter, order_by = orderBy, datasets };
            using var answer = await side.Server.SendAsync(HttpMethod.Post, "logged-models/search", ApiServer.Json(message));
            if (answer.StatusCode == HttpStatusCode.OK)
                return LoggedModelCalls.Names(JsonNode.Parse(await answer.Content.ReadAsStringAsync())!.AsObject());
            await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
            return null;
        }));
        Assert.True(
            answers[0] == answers[1],
            $"{filter} ordered by [{string.Join(" | ", orderBy)}] on [{string.Join(" | ", datasets)}]: {answers[0] ?? "refused"} and {answers[1] ?? "refused"}");
        return answers[0] is null ? null : answers[0]!.Count(character => character == ' ') + (answers[0]!.Length > 0 ? 1 : 0);
    }

    /// <summary>The same models on both databases, made one after the other so that every order is decided; names without blanks.</summary>
    private static async Task<List<(TestServer Server, string Experiment)>> MakeAsync()
    {
        var sides = new List<(TestServer Server, string Experiment)>();
        foreach (var kind in new[] { DatabaseKind.Sqlite, DatabaseKind.PostgreSql })
        {
            var server = await TestServer.SharedAsync(kind);
            sides.Add((server, await server.CreateExperimentAsync()));
        }

        var random = new Random(30);
        object[] values = [0, 1, -1, 0.5, "NaN", "Infinity", "-Infinity", 5e-324, -0.0];
        var runs = await Task.WhenAll(sides.Select(side => side.Server.CreateRunAsync(side.Experiment)));
        for (var i = 0; i < Models; i++)
        {
            var create = new
            {
                name = $"n{i}",
                model_type = Pick(random, HardTexts),
                @params = new[] { "p", "q" }.Where(_ => random.Next(5) > 0).Select(key => new { key, value = Pick(random, HardTexts) }).ToArray(),
                tags = new[] { "t", "u v" }.Where(_ => random.Next(5) > 0).Select(key => new { key, value = Pick(random, HardTexts) }).ToArray(),
            };
            var points = new[] { "a", "b", "m 1" }.SelectMany(key => Enumerable.Range(0, random.Next(4)).Select(number => new
            {
                key,
                value = values[random.Next(values.Length)],
                timestamp = random.Next(3),
                step = number,
                dataset_name = Pick(random, null, "d1", "d2"),
                dataset_digest = Pick(random, null, "g1", "g2"),
            })).ToArray();
            var status = random.Next(1, 4);
            foreach (var (number, (server, experiment)) in sides.Index())
            {
                var model = await server.CreateModelIdAsync(experiment, create);
                await server.PostAsync("runs/log-batch", new
                {
                    run_id = runs[number],
                    metrics = points.Select(point => new { point.key, point.value, point.timestamp, point.step, point.dataset_name, point.dataset_digest, model_id = model }),
                });
                await server.FinalizeAsync(model, status);
            }

            await Task.Delay(2);
        }

        return sides;
    }
}
