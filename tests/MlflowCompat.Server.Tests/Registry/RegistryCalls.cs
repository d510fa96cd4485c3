using System.Net;
using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>The calls about registered models and versions that many tests make.</summary>
internal static class RegistryCalls
{
    /// <summary>Sends a message with any method and returns the answer, which has to be a 200.</summary>
    public static async Task<JsonObject> CallAsync(this ApiServer server, HttpMethod method, string route, object message)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        var body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.OK, $"{method} {route}: {(int)response.StatusCode} {body}");
        return JsonNode.Parse(body)!.AsObject();
    }

    /// <summary>Sends a message with any method that has to be refused.</summary>
    public static async Task RefusedAsync(
        this ApiServer server, HttpMethod method, string route, object message, HttpStatusCode status, string errorCode, params string[] parts)
    {
        using var response = await server.SendAsync(method, route, ApiServer.Json(message));
        await ApiServer.AssertErrorAsync(response, status, errorCode, parts);
    }

    /// <summary>Refused as INVALID_PARAMETER_VALUE.</summary>
    public static Task InvalidAsync(this ApiServer server, HttpMethod method, string route, object message, params string[] parts) =>
        server.RefusedAsync(method, route, message, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", parts);

    /// <summary>Refused as RESOURCE_DOES_NOT_EXIST.</summary>
    public static Task NotFoundAsync(this ApiServer server, HttpMethod method, string route, object message, params string[] parts) =>
        server.RefusedAsync(method, route, message, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", parts);

    /// <summary>GET that has to be refused as INVALID_PARAMETER_VALUE.</summary>
    public static Task GetInvalidAsync(this ApiServer server, string route, params string[] parts) =>
        server.GetRefusedAsync(route, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", parts);

    /// <summary>GET that has to be refused as RESOURCE_DOES_NOT_EXIST.</summary>
    public static Task GetNotFoundAsync(this ApiServer server, string route, params string[] parts) =>
        server.GetRefusedAsync(route, HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", parts);

    /// <summary>Makes a registered model under a fresh name, which it returns.</summary>
    public static async Task<string> CreateModelAsync(this ApiServer server, string? name = null, object? tags = null)
    {
        name ??= ApiServer.FreshName("model");
        await server.PostAsync("registered-models/create", new { name, tags });
        return name;
    }

    /// <summary>Makes a prompt without versions under a fresh name, which it returns.</summary>
    public static Task<string> CreatePromptAsync(this ApiServer server) => server.CreateModelAsync(tags: PromptTags("true"));

    /// <summary>The tag of prompts.</summary>
    public static object PromptTags(string value) => new[] { new { key = "mlflow.prompt.is_prompt", value } };

    /// <summary>Makes a version and returns it.</summary>
    public static async Task<JsonObject> CreateVersionAsync(
        this ApiServer server, string name, string source = "s3://bucket/model", string? run_id = null, string? model_id = null, object? tags = null) =>
        (await server.PostAsync("model-versions/create", new { name, source, run_id, model_id, tags }))["model_version"]!.AsObject();

    public static async Task<JsonObject> GetModelAsync(this ApiServer server, string name) =>
        (await server.GetAsync($"registered-models/get?name={Uri.EscapeDataString(name)}"))["registered_model"]!.AsObject();

    public static async Task<JsonObject> GetVersionAsync(this ApiServer server, string name, string version) =>
        (await server.GetAsync($"model-versions/get?name={Uri.EscapeDataString(name)}&version={version}"))["model_version"]!.AsObject();

    public static Task SetAliasAsync(this ApiServer server, string name, string alias, string version) =>
        server.PostAsync("registered-models/alias", new { name, alias, version });

    /// <summary>What an alias leads to: the number of the version.</summary>
    public static async Task<string> VersionOfAliasAsync(this ApiServer server, string name, string alias) =>
        (string)(await server.GetAsync($"registered-models/alias?name={Uri.EscapeDataString(name)}&alias={alias}"))["model_version"]!["version"]!;

    /// <summary>The texts of a list of texts; empty when it is not there.</summary>
    public static List<string> Texts(JsonNode? list) => [.. (list?.AsArray() ?? []).Select(text => (string)text!)];

    /// <summary>The numbers of the newest versions, in the order of the answer.</summary>
    public static List<string> LatestVersions(JsonObject model) =>
        [.. (model["latest_versions"]?.AsArray() ?? []).Select(version => (string)version!["version"]!)];

    /// <summary>Aliases and the versions that they lead to.</summary>
    public static Dictionary<string, string> Aliases(JsonObject model) =>
        (model["aliases"]?.AsArray() ?? []).ToDictionary(alias => (string)alias!["alias"]!, alias => (string)alias!["version"]!);

    /// <summary>Puts a logged model into the database and returns its id.</summary>
    public static async Task<string> InsertLoggedModelAsync(
        this TestServer server, string location, string status = "trained", string? runId = null, string tags = "{}", string stage = "active")
    {
        var id = Guid.NewGuid();
        await server.Database.WriteAsync(
            (session, token) => session.ExecuteAsync(
                server.Database.Statement("""
                    INSERT INTO models (model_uuid, experiment_id, model_name, model_file_path, status, source_run_uuid, tags, lifecycle_stage)
                    VALUES ($1, 0, 'm', $2, $3, $4, $5, $6)
                    """).Add(id).Add(location).Add(status).Add(runId).AddJson(tags).Add(stage),
                token),
            CancellationToken.None);
        return $"m-{id:N}";
    }

    /// <summary>The first row of a query about a logged model (parameter $1); what it selects are texts.</summary>
    public static async Task<List<string?>> LoggedModelAsync(this TestServer server, string modelId, params string[] columns)
    {
        await using var session = await server.Database.OpenAsync(CancellationToken.None);
        var texts = string.Join(", ", columns.Select(column => $"CAST({column} AS TEXT)"));
        var rows = await session.ListAsync(
            server.Database.Statement($"SELECT {texts} FROM models WHERE model_uuid = $1").Add(Guid.ParseExact(modelId[2..], "N")),
            reader => Enumerable.Range(0, columns.Length).Select(reader.GetStringOrNull).ToList(),
            CancellationToken.None);
        return Assert.Single(rows);
    }

    /// <summary>Lets the clock of the server move on by a millisecond, the grain of its times.</summary>
    public static async Task TickAsync()
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        while (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() == now)
            await Task.Delay(1);
    }

    /// <summary>Whether a call changes the time of the last update, of a model and of its version 1.</summary>
    public static async Task<(bool Model, bool Version)> BumpsAsync(this ApiServer server, string name, Func<Task> call, string? nameAfter = null)
    {
        var model = await server.GetModelAsync(name);
        var version = await server.GetVersionAsync(name, "1");
        await TickAsync();
        await call();
        var modelAfter = await server.GetModelAsync(nameAfter ?? name);
        var versionAfter = await server.GetVersionAsync(nameAfter ?? name, "1");
        Assert.Equal((long)model["creation_timestamp"]!, (long)modelAfter["creation_timestamp"]!);
        Assert.Equal((long)version["creation_timestamp"]!, (long)versionAfter["creation_timestamp"]!);
        return (Changed(model, modelAfter), Changed(version, versionAfter));

        static bool Changed(JsonObject before, JsonObject after) =>
            (long)before["last_updated_timestamp"]! != (long)after["last_updated_timestamp"]!;
    }
}
