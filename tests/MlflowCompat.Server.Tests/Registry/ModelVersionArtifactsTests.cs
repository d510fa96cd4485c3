using System.Net;
using MlflowCompat.Server.Tests.Artifacts;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Files of versions (contract: endpoints §8, security §2, §3).</summary>
public sealed class ModelVersionArtifactsTests
{
    [Theory, EachStore]
    public async Task File_OfAVersion_IsSent(DatabaseKind database, StoreKind store)
    {
        await using var artifacts = await ArtifactServer.StartAsync(database, store, options => options with { StaticPrefix = "/p" });
        var server = artifacts.Server;
        var info = (await server.CreateWholeRunAsync("0"))["info"]!;
        var (run, root) = ((string)info["run_id"]!, (string)info["artifact_uri"]!);
        await artifacts.WriteAsync($"0/{run}/artifacts/m/MLmodel", "flavors");
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name, $"{root}/m", run_id: run);
        await server.CreateVersionAsync(name, $"runs:/{run}/m", run_id: run);
        await server.CreateVersionAsync(name, $"runs:/{run}", run_id: run);
        await server.CreateVersionAsync(name, $"models:/{name}/1");
        var model = await server.InsertLoggedModelAsync($"{root}/m");
        await server.CreateVersionAsync(name, $"models:/{model}");
        foreach (var (version, path) in new[] { (1, "MLmodel"), (2, "MLmodel"), (3, "m/MLmodel"), (4, "MLmodel"), (5, "MLmodel") })
        {
            foreach (var prefix in new[] { "", "/p" })
            {
                using var response = await server.SendAsync(
                    HttpMethod.Get, $"{prefix}/model-versions/get-artifact?name={name}&version={version}&path={path}");
                Assert.Equal("flavors", await response.Content.ReadAsStringAsync());
                Assert.Equal("attachment", response.Content.Headers.ContentDisposition?.DispositionType);
            }
        }

        await RefusedAsync(server, name, "1", "absent", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST");
        await RefusedAsync(server, name, "9", "MLmodel", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "version=9");
        await RefusedAsync(server, "absent", "1", "MLmodel", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "absent");
        await RefusedAsync(server, name, "x", "MLmodel", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "integer");
        await RefusedAsync(server, "", "1", "MLmodel", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "'name'");
        await RefusedAsync(server, "%00", "1", "MLmodel", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "name");
        foreach (var path in new[] { "../x", "..%2fx", "%252e%252e/x", "/etc/passwd", "file:///etc/passwd", "a%5C..%5Cb" })
            await RefusedAsync(server, name, "1", path, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Invalid path");
        using var without = await server.SendAsync(HttpMethod.Get, $"/model-versions/get-artifact?name={name}&version=1");
        Assert.Equal(HttpStatusCode.BadRequest, without.StatusCode);
        await server.CallAsync(HttpMethod.Delete, "model-versions/delete", new { name, version = "1" });
        await RefusedAsync(server, name, "1", "MLmodel", HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", "version=1");
    }

    [Theory, BothDatabases]
    public async Task Place_ThatIsNotTheServers_IsNotRead(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        foreach (var source in new[] { "s3://b/x", "http://127.0.0.1:1/x", "ftp://h/x", "hdfs://h/x", "runs:/nope/x" })
        {
            var version = (string)(await server.CreateVersionAsync(name, source))["version"]!;
            var unknownRun = source.StartsWith("runs:", StringComparison.Ordinal);
            await RefusedAsync(
                server, name, version, "passwd", unknownRun ? HttpStatusCode.NotFound : HttpStatusCode.BadRequest,
                unknownRun ? "RESOURCE_DOES_NOT_EXIST" : "INVALID_PARAMETER_VALUE");
        }
    }

    [Theory, BothDatabases]
    public async Task Place_InTheDatabase_IsJudgedAgainAtEachAccess(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var name = await server.CreateModelAsync();
        await server.CreateVersionAsync(name);
        foreach (var location in new[] { "/etc", "file:///etc", "etc", "file://remote/etc", "mlflow-artifacts:/../..", "mlflow-artifacts:/%252e%252e", "", "C:/x" })
        {
            await server.Database.WriteAsync(
                (session, token) => session.ExecuteAsync(
                    server.Database.Statement("UPDATE model_registry SET storage_location = $2 WHERE registered_model_name = $1").Add(name).Add(location),
                    token),
                CancellationToken.None);
            await RefusedAsync(server, name, "1", "passwd", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE");
        }
    }

    [Theory, BothDatabases]
    public async Task Prompt_NeverLeadsToFiles_AlsoWhenItIsNoneAnyMore(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var folder = server.Folder();
        Directory.CreateDirectory(Path.Combine(folder, "prompted"));
        await File.WriteAllTextAsync(Path.Combine(folder, "prompted", "secret.txt"), "secret");
        foreach (var source in new[] { "/etc", "mlflow-artifacts:/prompted", Path.Combine(folder, "prompted") })
        {
            var name = await server.CreatePromptAsync();
            await server.CreateVersionAsync(name, source, tags: RegistryCalls.PromptTags("true"));
            await RefusedAsync(server, name, "1", "secret.txt", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "no files");
            await RefusedAsync(server, name, "1", "passwd", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "no files");
            await server.CallAsync(HttpMethod.Delete, "registered-models/delete-tag", new { name, key = "mlflow.prompt.is_prompt" });
            await server.CallAsync(HttpMethod.Delete, "model-versions/delete-tag", new { name, version = "1", key = "mlflow.prompt.is_prompt" });
            await RefusedAsync(server, name, "1", "secret.txt", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "no files");
            await RefusedAsync(server, name, "1", "passwd", HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "no files");
        }
    }

    private static async Task RefusedAsync(
        TestServer server, string name, string version, string path, HttpStatusCode status, string code, params string[] parts)
    {
        using var response = await server.SendAsync(HttpMethod.Get, $"/model-versions/get-artifact?name={name}&version={version}&path={path}");
        await ApiServer.AssertErrorAsync(response, status, code, parts);
    }
}
