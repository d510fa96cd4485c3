using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Many clients at the same registered models: what they are told agrees, and so does what is left.</summary>
public sealed class RegistryConcurrencyTests
{
    private const int Clients = 16;

    [Theory, BothDatabases]
    public async Task Versions_MadeByManyClients_HaveConsecutiveNumbers(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var models = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => server.InsertLoggedModelAsync("mlflow-artifacts:/x")));
        var numbers = await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            var own = new List<int>();
            for (var i = 0; i < 8; i++)
            {
                var model = i % 2 == 0 ? models[client % models.Length] : null;
                own.Add(int.Parse((string)(await server.CreateVersionAsync(name, $"s3://b/{client}/{i}", model_id: model))["version"]!, null));
            }

            Assert.Equal(own.Order(), own);
            return own;
        })));
        Assert.Equal(Enumerable.Range(1, Clients * 8), numbers.SelectMany(own => own).Order());
        Assert.Equal([$"{Clients * 8}"], RegistryCalls.LatestVersions(await server.GetModelAsync(name)));

        // Every version that is one of a logged model is in the list of that model.
        var listed = new List<int>();
        foreach (var model in models)
        {
            var tags = JsonNode.Parse((await server.LoggedModelAsync(model, "tags"))[0]!)!;
            listed.AddRange(JsonNode.Parse((string)tags["mlflow.modelVersions"]!)!.AsArray().Select(version => (int)version!["version"]!));
        }

        Assert.Equal(Clients * 4, listed.Distinct().Count());
    }

    [Theory, BothDatabases]
    public async Task SameName_WantedByManyClients_IsGivenOnce(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = ApiServer.FreshName("wanted");
        var statuses = await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            // Half of them make a model of that name, half of them rename one.
            var own = client % 2 == 0 ? null : await server.CreateModelAsync();
            return await StatusAsync(server, HttpMethod.Post, own is null ? "registered-models/create" : "registered-models/rename",
                own is null ? new { name } : new { name = own, new_name = name });
        })));
        Assert.Single(statuses, HttpStatusCode.OK);
        Assert.All(statuses, status => Assert.True(status is HttpStatusCode.OK or HttpStatusCode.BadRequest, $"{status}"));
    }

    [Theory, BothDatabases]
    public async Task Renamings_InCircles_LeaveEachModelWithAllThatItHad(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var names = Enumerable.Range(0, 4).Select(i => ApiServer.FreshName($"circle{i}")).ToArray();
        for (var i = 0; i < 3; i++)
        {
            await server.CreateModelAsync(names[i], new[] { new { key = "origin", value = $"{i}" } });
            await server.CreateVersionAsync(names[i], $"s3://b/{i}");
            await server.SetAliasAsync(names[i], $"a{i}", "1");
        }

        // Of four names three are taken: each renaming goes to one of them that may or may not be free, or from one that may be gone.
        await Task.WhenAll(Enumerable.Range(0, 8).Select(client => Task.Run(async () =>
        {
            var random = new Random(client);
            for (var i = 0; i < 15; i++)
            {
                var (name, newName) = (names[random.Next(4)], names[random.Next(4)]);
                var status = await StatusAsync(server, HttpMethod.Post, "registered-models/rename", new { name, new_name = newName });
                Assert.True(status is HttpStatusCode.OK or HttpStatusCode.NotFound or HttpStatusCode.BadRequest, $"rename: {status}");
                status = await StatusAsync(server, HttpMethod.Post, "registered-models/alias", new { name, alias = "moved", version = "1" });
                Assert.True(status is HttpStatusCode.OK or HttpStatusCode.NotFound, $"alias: {status}");
                status = await StatusAsync(server, HttpMethod.Post, "model-versions/set-tag", new { name, version = "1", key = $"c{client}", value = $"{i}" });
                Assert.True(status is HttpStatusCode.OK or HttpStatusCode.NotFound, $"tag: {status}");
                status = await StatusAsync(server, HttpMethod.Post, "model-versions/create", new { name, source = "s3://b/new" });
                Assert.True(status is HttpStatusCode.OK or HttpStatusCode.NotFound, $"create: {status}");
            }
        })));

        var origins = new List<string>();
        foreach (var name in names)
        {
            using var response = await server.SendAsync(HttpMethod.Get, $"registered-models/get?name={name}");
            if (response.StatusCode == HttpStatusCode.NotFound)
                continue;
            var model = await server.GetModelAsync(name);
            var origin = RunCalls.KeyValues(model["tags"])["origin"];
            origins.Add(origin);
            Assert.Equal("1", RegistryCalls.Aliases(model)[$"a{origin}"]);
            Assert.Equal($"s3://b/{origin}", (string)(await server.GetVersionAsync(name, "1"))["source"]!);
            var newest = int.Parse(RegistryCalls.LatestVersions(model).Single(), null);
            for (var version = 2; version <= newest; version++)
                Assert.Equal("s3://b/new", (string)(await server.GetVersionAsync(name, $"{version}"))["source"]!);
        }

        Assert.Equal(["0", "1", "2"], origins.Order(StringComparer.Ordinal));
    }

    [Theory, BothDatabases]
    public async Task Aliases_MovedByManyClients_LeadToOneVersionEach(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        for (var i = 0; i < 4; i++)
            await server.CreateVersionAsync(name);
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            var random = new Random(client);
            for (var i = 0; i < 10; i++)
            {
                var alias = $"alias{random.Next(3)}";
                await server.SetAliasAsync(name, alias, $"{random.Next(1, 5)}");
                if (random.Next(4) == 0)
                    await server.CallAsync(HttpMethod.Delete, "registered-models/alias", new { name, alias });
                await server.PostAsync("registered-models/alias", new { name, alias = $"own{client}", version = $"{random.Next(1, 5)}" });
            }
        })));

        var aliases = RegistryCalls.Aliases(await server.GetModelAsync(name));
        Assert.Equal(Clients, aliases.Keys.Count(alias => alias.StartsWith("own", StringComparison.Ordinal)));
        foreach (var (alias, version) in aliases)
        {
            Assert.Equal(version, await server.VersionOfAliasAsync(name, alias));
            Assert.Contains(alias, RegistryCalls.Texts((await server.GetVersionAsync(name, version))["aliases"]));
        }
    }

    [Theory, BothDatabases]
    public async Task Stages_ChangedByManyClients_LeaveOneInProduction(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var model = await server.InsertLoggedModelAsync("mlflow-artifacts:/x");
        for (var i = 0; i < Clients; i++)
            await server.CreateVersionAsync(name, model_id: model);
        await Task.WhenAll(Enumerable.Range(1, Clients).Select(version => Task.Run(async () =>
        {
            for (var i = 0; i < 5; i++)
            {
                await server.PostAsync(
                    "model-versions/transition-stage", new { name, version = $"{version}", stage = "Production", archive_existing_versions = true });
            }
        })));
        var stages = new List<string>();
        for (var version = 1; version <= Clients; version++)
            stages.Add((string)(await server.GetVersionAsync(name, $"{version}"))["current_stage"]!);
        Assert.Single(stages, "Production");
        Assert.Equal(Clients - 1, stages.Count(stage => stage == "Archived"));
    }

    [Theory, BothDatabases]
    public async Task Model_DeletedWhileItIsWrittenTo_IsGoneOrNew(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        var writes = new (HttpMethod Method, string Route, object Message)[]
        {
            (HttpMethod.Post, "registered-models/create", new { name }),
            (HttpMethod.Delete, "registered-models/delete", new { name }),
            (HttpMethod.Post, "model-versions/create", new { name, source = "s3://b/x" }),
            (HttpMethod.Delete, "model-versions/delete", new { name, version = "1" }),
            (HttpMethod.Post, "registered-models/alias", new { name, alias = "a", version = "1" }),
            (HttpMethod.Delete, "registered-models/alias", new { name, alias = "a" }),
            (HttpMethod.Post, "registered-models/set-tag", new { name, key = "k", value = "v" }),
            (HttpMethod.Patch, "registered-models/update", new { name, description = "d" }),
            (HttpMethod.Post, "model-versions/transition-stage", new { name, version = "1", stage = "Production", archive_existing_versions = true }),
            (HttpMethod.Post, "model-versions/set-tag", new { name, version = "1", key = "k", value = "v" }),
            (HttpMethod.Post, "registered-models/rename", new { name, new_name = name }),
        };
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            var random = new Random(client);
            for (var i = 0; i < 15; i++)
            {
                var (method, route, message) = writes[random.Next(writes.Length)];
                var status = await StatusAsync(server, method, route, message);
                Assert.True(status is HttpStatusCode.OK or HttpStatusCode.NotFound or HttpStatusCode.BadRequest, $"{method} {route}: {status}");
            }
        })));
    }

    private static async Task<HttpStatusCode> StatusAsync(ApiServer server, HttpMethod method, string route, object message)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        return response.StatusCode;
    }
}
