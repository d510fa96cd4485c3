using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>
/// Generated filters and orders against the registry's searches: nothing but an answer or INVALID_PARAMETER_VALUE comes of any of them, and
/// both databases find the same. The seeds are fixed, so that a failure can be repeated.
/// </summary>
public sealed class RegistrySearchFuzzTests
{
    private const string PromptTag = "mlflow.prompt.is_prompt";

    private static readonly string[] Texts =
    [
        "'; DROP TABLE models; --", "' OR '1'='1", "it's", "say \"hi\"", "a\\", "\\", "a\\b", "%", "_", "100%", "a_b", "axb", "a%b", "*", "?", "[a]", "[", "a*b", "^",
        "{\"a\": 1}", "$1", "?1", "NULL", "TRUE", "--", ";", "a\nb", "\u0001", "é", "É", "e\u0301", "漢字", "😀", "\uff21", "\ufeff", "1", " lead", "trail ", "x", "X", "ß", "ω", "Ω",
        "true", "false", "K", "\u212a",
    ];

    private static readonly string[] Tokens =
    [
        "name", "attribute.name", "tags.t", "tag.", "run_id", "source_path", "version_number", "timestamp", "`a b`", "'k'", "..", ".", "é", "=", "!=", ">", "<=", "==", "LIKE",
        "ILIKE", "IN", "NOT IN", "IS", "NULL", "AND", "OR", "NOT", "(", ")", ",", ";", "--", "1", "-1", ".5", "1e400", "'v'", "\"v\"", "''", "('a', 'b',)", "()", "'", "\"", "`", "\\",
        " ", "\0", "😀",
    ];

    [Theory]
    [InlineData("registered-models/search", 51)]
    [InlineData("model-versions/search", 52)]
    public async Task Filters_MadeOfFittingParts_FindTheSameOnBothDatabases(string route, int seed)
    {
        var twins = await Twins.SharedAsync();
        var ofVersions = route.StartsWith("model-versions", StringComparison.Ordinal);
        var random = new Random(seed);
        var (accepted, found) = (0, 0);
        for (var i = 0; i < 400; i++)
        {
            var filter = string.Join(random.Next(5) == 0 ? " and " : " AND ", Enumerable.Range(0, random.Next(1, 3)).Select(_ => Clause(random, ofVersions)));
            var order = random.Next(3) > 0 ? [] : Enumerable.Range(0, random.Next(1, 3)).Select(_ => Order(random, ofVersions)).ToArray();
            var page = random.Next(4) == 0 ? $"&max_results={random.Next(1, 10)}" : "";
            if (await twins.SearchAsync(route, filter, order, page) is not { } rows)
                continue;
            accepted++;
            found += rows;
        }

        Assert.InRange(accepted, 300, 400);
        Assert.InRange(found, 400, 400 * Twins.Models);
    }

    [Theory]
    [InlineData("registered-models/search", 53)]
    [InlineData("model-versions/search", 54)]
    public async Task Filters_MadeOfAnything_AreAnsweredAlikeByBothDatabases(string route, int seed)
    {
        var twins = await Twins.SharedAsync();
        var ofVersions = route.StartsWith("model-versions", StringComparison.Ordinal);
        var random = new Random(seed);
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
                text.Append(Clause(random, ofVersions));
                var at = random.Next(text.Length);
                _ = random.Next(3) switch
                {
                    0 => text.Remove(at, 1),
                    1 => text.Insert(at, text[at]),
                    _ => text.Remove(at, 1).Insert(at, Pick(random, Tokens)),
                };
            }

            if (await twins.SearchAsync(route, text.ToString(), random.Next(4) == 0 ? [Order(random, ofVersions) + Pick(random, Tokens)] : [], "") is not null)
                accepted++;
        }

        Assert.InRange(accepted, 20, 280);
    }

    [Theory, BothDatabases]
    public async Task HardTexts_AsNamesTagsAndSources_FindThemselvesAndNothingElse(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var stem = ApiServer.FreshName("hard");
        foreach (var text in Texts)
        {
            var name = $"{stem}{text}";
            await server.PostAsync("registered-models/create", new { name, tags = new[] { new { key = "t", value = text } } });
            await server.PostAsync("model-versions/create", new { name, source = $"s3://{stem}/m", run_id = text, tags = new[] { new { key = "t", value = text } } });
        }

        foreach (var text in Texts)
        {
            if (text.Contains('\'', StringComparison.Ordinal) && text.Contains('"', StringComparison.Ordinal))
                continue;
            var quote = text.Contains('\'', StringComparison.Ordinal) ? '"' : '\'';
            var ofStem = $"name LIKE '{stem}%' AND ";
            Assert.Equal([$"{stem}{text}"], await FindAsync("registered-models", $"name = {quote}{stem}{text}{quote}"));
            Assert.Equal([$"{stem}{text}"], await FindAsync("registered-models", $"{ofStem}tags.t = {quote}{text}{quote}"));
            Assert.Equal([$"{stem}{text}"], await FindAsync("model-versions", $"name = {quote}{stem}{text}{quote}"));
            Assert.Equal([$"{stem}{text}"], await FindAsync("model-versions", $"{ofStem}run_id = {quote}{text}{quote}"));
            Assert.Equal([$"{stem}{text}"], await FindAsync("model-versions", $"{ofStem}run_id IN ({quote}{text}{quote}, 'none')"));
            Assert.Equal(Texts.Length - 1, (await FindAsync("model-versions", $"{ofStem}tags.t != {quote}{text}{quote}")).Count);
        }

        var inOrder = Texts.Order(Comparer<string>.Create((left, right) => Encoding.UTF8.GetBytes(left).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(right))));
        Assert.Equal(inOrder.Select(text => stem + text), await FindAsync("registered-models", $"name LIKE '{stem}%'"));

        async Task<List<string>> FindAsync(string resource, string filter)
        {
            var page = await server.GetAsync($"{resource}/search?max_results=1000&filter={Uri.EscapeDataString(filter)}");
            return [.. (page[resource.Replace('-', '_')]?.AsArray() ?? []).Select(found => (string)found!["name"]!)];
        }
    }

    private static string Clause(Random random, bool ofVersions)
    {
        switch (random.Next(6))
        {
            case 0:
                return Pick(random, "tags.", "tag.") + $"`{PromptTag}`" + Pick(random, " = ", " != ", " LIKE ", " ILIKE ") + Pick(random, "'true'", "'false'", "'TRUE'", "'%'", "'x'");
            case 1 when ofVersions:
                return "version_number" + Pick(random, "=", " != ", " >", ">= ", " < ", "<=")
                    + Pick(random, "1", "2", "'2'", "0", "-1", "1.5", ".5", "1e400", "-1e400", "9223372036854775808", "4294967297", "'x'");
            case 2 when ofVersions:
                return Pick(random, "run_id IN ", "run_id in") + $"({Quoted(random)}, {Quoted(random)}{Pick(random, "", ",")})";
            case 3 when ofVersions:
                return Pick(random, "run_id", "source_path", "attribute.run_id") + Pick(random, " = ", "!=", " LIKE ", " ILIKE ") + Quoted(random);
            case 4:
                return Pick(random, "name", "attribute.name") + Pick(random, " = ", "!=", " LIKE ", " ILIKE ", " like ") + Pick(random, "'%", "'*") + Quoted(random)[1..];
            default:
                return Pick(random, "tags.t", "tag.`u v`", "tags._e", "tags.none") + Pick(random, " = ", "!=", " LIKE ", " ILIKE ", " ilike ") + Quoted(random);
        }
    }

    private static string Quoted(Random random)
    {
        var text = random.Next(6) switch
        {
            0 => "%" + Pick(random, Texts),
            1 => Pick(random, Texts) + "%",
            2 => "%",
            _ => Pick(random, Texts),
        };
        return text.Contains('\'', StringComparison.Ordinal) ? $"\"{text}\"" : $"'{text}'";
    }

    private static string Order(Random random, bool ofVersions) =>
        (ofVersions ? Pick(random, "name", "version_number", "creation_timestamp", "last_updated_timestamp") : Pick(random, "name", "timestamp", "last_updated_timestamp"))
        + Pick(random, "", " ASC", " DESC", " desc");

    private static string Pick(Random random, params string[] from) => from[random.Next(from.Length)];

    /// <summary>The same models and versions on both databases, made in the same order, none within the same millisecond.</summary>
    private sealed class Twins
    {
        public const int Models = 30;

        private static readonly Lazy<Task<Twins>> Shared = new(MakeAsync);

        private readonly List<TestServer> sides = [];
        private readonly string stem = ApiServer.FreshName("twin");

        public static Task<Twins> SharedAsync() => Shared.Value;

        /// <summary>How many rows both find, or null when both refuse.</summary>
        public async Task<int?> SearchAsync(string route, string filter, string[] orderBy, string page)
        {
            // Behind the filter, so that it cannot hide what is wrong with its end.
            var whole = filter.Replace("'*", $"'{stem}", StringComparison.Ordinal) + $" AND name LIKE '{stem}%'";
            var query = $"{route}?filter={Uri.EscapeDataString(whole)}{string.Concat(orderBy.Select(key => $"&order_by={Uri.EscapeDataString(key)}"))}{page}";
            var answers = await Task.WhenAll(sides.Select(async server =>
            {
                using var answer = await server.SendAsync(HttpMethod.Get, query);
                if (answer.StatusCode != HttpStatusCode.OK)
                {
                    await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
                    return null;
                }

                var found = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
                return (found["registered_models"] ?? found["model_versions"])?.AsArray().Select(one => $"{one!["name"]} {one["version"]}").ToList() ?? [];
            }));
            Assert.True(
                answers[0] is null ? answers[1] is null : answers[1] is not null && answers[0]!.SequenceEqual(answers[1]!),
                $"{query}: {Show(answers[0])} and {Show(answers[1])}");
            return answers[0]?.Count;

            static string Show(List<string>? names) => names is null ? "refused" : string.Join('|', names);
        }

        private static async Task<Twins> MakeAsync()
        {
            var twins = new Twins();
            foreach (var kind in new[] { DatabaseKind.Sqlite, DatabaseKind.PostgreSql })
                twins.sides.Add(await TestServer.SharedAsync(kind));
            var random = new Random(50);
            for (var i = 0; i < Models; i++)
            {
                var isPrompt = random.Next(4);
                var model = new { name = $"{twins.stem}{Texts[(i * 7) % Texts.Length]}", tags = SomeTags(isPrompt) };
                var versions = Enumerable.Range(0, random.Next(4)).Select(_ => new
                {
                    model.name,
                    source = $"s3://bucket/{Pick(random, "a", "A", "é", "x y")}",
                    run_id = random.Next(3) == 0 ? null : Pick(random, Texts),
                    tags = SomeTags(isPrompt),
                }).ToList();
                foreach (var server in twins.sides)
                {
                    await server.PostAsync("registered-models/create", model);
                    foreach (var version in versions)
                    {
                        await Task.Delay(2);
                        await server.PostAsync("model-versions/create", version);
                    }

                    await Task.Delay(2);
                }
            }

            return twins;

            object[] SomeTags(int isPrompt) =>
            [
                .. new[] { "t", "u v", "_e" }.Where(_ => random.Next(4) > 0).Select(key => new { key, value = Pick(random, Texts) }),
                .. isPrompt == 0 ? [new { key = PromptTag, value = "true" }] : isPrompt == 1 ? new[] { new { key = PromptTag, value = "false" } } : [],
            ];
        }
    }
}
