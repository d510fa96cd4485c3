using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Aliases of registered models (contract: endpoints §9).</summary>
public sealed class AliasesTests
{
    [Theory, BothDatabases]
    public async Task Alias_SetMovedAndDeleted_LeadsWhereItShould(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.CreateVersionAsync(name);
        foreach (var alias in new[] { "champion", "Champion", "é_-1", "v1a", "漢", new string('x', 255) })
            Assert.Equal("{}", (await server.PostAsync("registered-models/alias", new { name, alias, version = "1" })).ToJsonString());
        await server.SetAliasAsync(name, "champion", " 02 ");

        Assert.Equal("2", await server.VersionOfAliasAsync(name, "champion"));
        Assert.Equal("1", await server.VersionOfAliasAsync(name, "Champion"));
        var found = (await server.GetAsync($"registered-models/alias?name={name}&alias=v1a"))["model_version"]!;
        Assert.Equal(["Champion", "v1a", new string('x', 255), "é_-1", "漢"], RegistryCalls.Texts(found["aliases"]));
        Assert.True(JsonNode.DeepEquals(found, await server.GetVersionAsync(name, "1")));
        Assert.Equal(["champion"], RegistryCalls.Texts((await server.GetVersionAsync(name, "2"))["aliases"]));
        Assert.Equal(6, RegistryCalls.Aliases(await server.GetModelAsync(name)).Count);

        await server.CallAsync(HttpMethod.Delete, "registered-models/alias", new { name, alias = "champion" });
        await server.CallAsync(HttpMethod.Delete, "registered-models/alias", new { name, alias = "champion" });
        await server.GetInvalidAsync($"registered-models/alias?name={name}&alias=champion", "champion not found");
        Assert.Null((await server.GetVersionAsync(name, "2"))["aliases"]);
    }

    [Theory]
    [BothDatabases("latest", "reserved")]
    [BothDatabases("LaTest", "reserved")]
    [BothDatabases("v1", "reserved")]
    [BothDatabases("V007", "reserved")]
    [BothDatabases("with space", "Invalid alias name")]
    [BothDatabases("sl/ash", "Invalid alias name")]
    [BothDatabases("do.t", "Invalid alias name")]
    [BothDatabases("co:lon", "Invalid alias name")]
    [BothDatabases("line\n", "Invalid alias name")]
    [BothDatabases("a\u0301", "Invalid alias name")]
    [BothDatabases("😀", "Invalid alias name")]
    [BothDatabases("", "'alias'")]
    [BothDatabases(null, "'alias'")]
    public async Task Alias_ThatTheRulesForbid_IsNotSet(DatabaseKind kind, string? alias, string part)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.PostInvalidAsync("registered-models/alias", new { name, alias, version = "1" }, part);
        Assert.Empty(RegistryCalls.Aliases(await server.GetModelAsync(name)));
    }

    [Theory, BothDatabases]
    public async Task Alias_OfWrongFieldsOrUnknownThings_IsRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        const string Route = "registered-models/alias";
        await server.PostInvalidAsync(Route, new { name, alias = new string('x', 256), version = "1" }, "'Registered model alias name' exceeds", "255");
        await server.PostInvalidAsync(Route, new { alias = "a", version = "1" }, "'name'");
        await server.PostInvalidAsync(Route, new { name, alias = "a" }, "'version'");
        await server.PostInvalidAsync(Route, new { name, alias = "a", version = "zero" }, "'version' must be an integer", "zero");
        await server.PostInvalidAsync(Route, new { name, alias = "a", version = 1 }, "version", "1");
        await server.PostNotFoundAsync(Route, new { name, alias = "a", version = "9" }, $"Model Version (name={name}, version=9) not found");
        await server.PostNotFoundAsync(Route, new { name = "absent", alias = "a", version = "1" }, "Model Version (name=absent, version=1) not found");
        await server.InvalidAsync(HttpMethod.Delete, Route, new { name }, "'alias'");
        await server.InvalidAsync(HttpMethod.Delete, Route, new { alias = "a" }, "'name'");
        await server.NotFoundAsync(HttpMethod.Delete, Route, new { name = "absent", alias = "a" }, "Registered Model with name=absent not found");
        await server.GetInvalidAsync($"{Route}?name={name}", "'alias'");
        await server.GetInvalidAsync($"{Route}?alias=a", "'name'");
        await server.GetInvalidAsync($"{Route}?name={name}&alias=v1", "v1 not found");
        await server.GetInvalidAsync($"{Route}?name=absent&alias=a", "a not found");
    }

    [Theory, BothDatabases]
    public async Task Latest_InAnyCase_IsTheNewestVersion(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.GetNotFoundAsync($"registered-models/alias?name={name}&alias=latest", name);
        await server.GetNotFoundAsync("registered-models/alias?name=absent&alias=latest", "absent");
        for (var i = 0; i < 11; i++)
            await server.CreateVersionAsync(name);
        await server.PostAsync("model-versions/transition-stage", new { name, version = "11", stage = "Archived" });
        await server.SetAliasAsync(name, "a", "11");
        Assert.Equal("11", await server.VersionOfAliasAsync(name, "latest"));
        var found = (await server.GetAsync($"registered-models/alias?name={name}&alias=LATEST"))["model_version"]!;
        Assert.Equal(["a"], RegistryCalls.Texts(found["aliases"]));
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "11" });
        Assert.Equal("10", await server.VersionOfAliasAsync(name, "latest"));
    }

    [Theory, BothDatabases]
    public async Task Alias_OfADeletedVersion_LeadsNowhereAndCanBeMoved(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        await server.CreateVersionAsync(name);
        await server.SetAliasAsync(name, "a", "2");
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "2" });
        await server.GetNotFoundAsync($"registered-models/alias?name={name}&alias=a", $"Model Version (name={name}, version=2) not found");
        Assert.Equal("2", RegistryCalls.Aliases(await server.GetModelAsync(name))["a"]);
        await server.PostRefusedAsync(
            "registered-models/alias", new { name, alias = "b", version = "2" }, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        await server.SetAliasAsync(name, "a", "1");
        Assert.Equal("1", await server.VersionOfAliasAsync(name, "a"));
    }
}
