using System.Net;
using System.Text;
using MlflowCompat.Server.Tests.Artifacts;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.LoggedModels;

/// <summary>The files of logged models (contract: endpoints §6, security §2; mapping C-30, C-31, C-45).</summary>
public sealed class LoggedModelFilesTests
{
    private const string Ajax = "/ajax-api/2.0/mlflow/";

    [Theory, EachStore]
    public async Task Files_AreListedAndRead(DatabaseKind database, StoreKind store)
    {
        var server = await ArtifactServer.SharedAsync(database, store);
        var (experiment, model) = await CreateAsync(server);
        var empty = await server.GetAsync($"logged-models/{model}/artifacts/directories");
        Assert.Equal($$"""{"root_uri":"mlflow-artifacts:/{{experiment}}/models/{{model}}/artifacts"}""", empty.ToJsonString());

        await PutAsync(server, experiment, model, "MLmodel", "flavors: {}\n");
        await PutAsync(server, experiment, model, "data/weights.bin", "12345");
        await PutAsync(server, experiment, model, "data/empty", "");
        var root = await server.GetAsync($"logged-models/{model}/artifacts/directories?page_token=ignored");
        Assert.Equal(
            """[{"path":"MLmodel","is_dir":false,"file_size":12},{"path":"data","is_dir":true}]""", root["files"]!.ToJsonString());
        Assert.Equal($"mlflow-artifacts:/{experiment}/models/{model}/artifacts", (string?)root["root_uri"]);
        foreach (var folder in new[] { "data", "data/", "%64ata" })
        {
            var listed = await server.GetAsync($"{Ajax}logged-models/{model}/artifacts/directories?artifact_directory_path={folder}");
            Assert.Equal(
                """[{"path":"data/empty","is_dir":false},{"path":"data/weights.bin","is_dir":false,"file_size":5}]""", listed["files"]!.ToJsonString());
        }

        Assert.False((await server.GetAsync($"logged-models/{model}/artifacts/directories?artifact_directory_path=none")).ContainsKey("files"));
        using var file = await server.SendAsync(HttpMethod.Get, $"{Ajax}logged-models/{model}/artifacts/files?artifact_file_path=data/weights.bin");
        Assert.Equal((HttpStatusCode.OK, "12345"), (file.StatusCode, await file.Content.ReadAsStringAsync()));
        Assert.Equal("attachment; filename=weights.bin", file.Content.Headers.ContentDisposition?.ToString());
        Assert.Equal(["nosniff"], file.Headers.GetValues("X-Content-Type-Options"));
        using var head = await server.SendAsync(HttpMethod.Head, $"{Ajax}logged-models/{model}/artifacts/files?artifact_file_path=MLmodel");
        Assert.Equal((HttpStatusCode.OK, 12), (head.StatusCode, head.Content.Headers.ContentLength));
    }

    [Theory, BothDatabases]
    public async Task Files_Refusals(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, model) = await CreateAsync(server);
        await PutAsync(server, experiment, model, "folder/file.txt", "x");
        var files = $"{Ajax}logged-models/{model}/artifacts/files";
        await server.RefusedAsync("GET", files, null, HttpStatusCode.BadRequest, "BAD_REQUEST", "artifact_file_path");
        await server.RefusedAsync("GET", $"{files}?artifact_file_path=", null, HttpStatusCode.BadRequest, "BAD_REQUEST", "artifact_file_path");
        foreach (var path in new[] { "nope.txt", "folder", "folder/file.txt/deeper" })
            await server.NotFoundAsync("GET", $"{files}?artifact_file_path={path}", null);
        foreach (var path in new[] { "../x", "folder/../../x", "%252e%252e/x", "/etc/passwd", "a%5Cb", "file:///etc/passwd", "c:/x", ".", "folder/%00" })
        {
            await server.InvalidAsync("GET", $"{files}?artifact_file_path={path}", null);
            await server.InvalidAsync("GET", $"logged-models/{model}/artifacts/directories?artifact_directory_path={path}", null);
        }

        foreach (var id in new[] { LoggedModelCalls.Unknown, "bogus" })
        {
            await server.NotFoundAsync("GET", $"logged-models/{id}/artifacts/directories", null, id, "not found");
            await server.NotFoundAsync("GET", $"{Ajax}logged-models/{id}/artifacts/files?artifact_file_path=x", null, id, "not found");
        }

        // For the web interface only.
        using var api = await server.SendAsync(HttpMethod.Get, $"logged-models/{model}/artifacts/files?artifact_file_path=folder/file.txt");
        Assert.Equal((HttpStatusCode.NotFound, "text/html"), (api.StatusCode, api.Content.Headers.ContentType?.MediaType));
    }

    [Theory, BothDatabases]
    public async Task Files_InAPlaceThatTheServerDoesNotServe_AreRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = (string)(await server.PostAsync(
            "experiments/create", new { name = ApiServer.FreshName("far"), artifact_location = "s3://elsewhere/p" }))["experiment_id"]!;
        var model = await server.CreateModelIdAsync(experiment);
        await server.InvalidAsync("GET", $"logged-models/{model}/artifacts/directories", null);
        await server.InvalidAsync("GET", $"{Ajax}logged-models/{model}/artifacts/files?artifact_file_path=x", null);
        // And nothing of it keeps the model from being finished.
        Assert.Equal("LOGGED_MODEL_READY", (await server.FinalizeAsync(model)).Status());
    }

    [Theory, BothDatabases]
    public async Task Rows_OfFiles_BelongToTheModel(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, model) = await CreateAsync(server);
        await PutAsync(server, experiment, model, "data/weights.ckpt", "12345");
        Assert.Equal(
            ["data/weights.ckpt", "model", 5L, null, null],
            await server.ModelRowAsync(model, """
                SELECT a.artifact_path, a.artifact_type, a.file_size_bytes, a.run_id, a.experiment_id
                FROM artifacts a JOIN models m ON m.model_id = a.model_id WHERE m.model_uuid = $1
                """));

        // A folder called after a model elsewhere than its root is nobody's but the experiment's.
        using var foreign = await server.SendAsync(
            HttpMethod.Put, $"/api/2.0/mlflow-artifacts/artifacts/{experiment}/copy/models/{model}/artifacts/x", new StringContent("x"));
        Assert.Equal(HttpStatusCode.OK, foreign.StatusCode);
        Assert.Equal([1L], await server.ModelRowAsync(model, "SELECT count(*) FROM artifacts a JOIN models m ON m.model_id = a.model_id WHERE m.model_uuid = $1"));
    }

    [Theory]
    [BothDatabases("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn:\n    code: null\n    sklearn_version: 1.4.2\nmodel_size_bytes: 500\n", "sklearn", "1.4.2", 500L)]
    [BothDatabases("flavors:\r\n  python_function:\r\n    python_version: 3.13.5\r\nmodel_size_bytes: 0\r\n", "python_function", null, null)]
    [BothDatabases("flavors:\n  keras:\n    data: x\n  pytorch:\n    pytorch_version: '2.5'\n", "keras", null, null)]
    [BothDatabases("flavors: {}\nmodel_id: x\nmodel_size_bytes: 7\n", "other", null, 7L)]
    [BothDatabases("signature:\n  inputs: x\nsklearn:\n", "other", null, null)]
    [BothDatabases("\0 not YAML at all", "other", null, null)]
    [BothDatabases("flavors:\n  sklearn:\n    sklearn_version: 1.0\0x\n", "sklearn", null, null)]
    [BothDatabases(null, "other", null, null)]
    public async Task Finalize_ReadsWhatTheModelFileSays(DatabaseKind kind, string? content, string framework, string? version, long? size)
    {
        var server = await TestServer.SharedAsync(kind);
        var (experiment, model) = await CreateAsync(server);
        if (content is not null)
            await PutAsync(server, experiment, model, "MLmodel", content);
        const string Columns = "SELECT framework, framework_version, model_size_bytes FROM models WHERE model_uuid = $1";
        await server.FinalizeAsync(model, "LOGGED_MODEL_UPLOAD_FAILED");
        Assert.Equal(["other", null, null], await server.ModelRowAsync(model, Columns));
        await server.FinalizeAsync(model);
        Assert.Equal([framework, version, size], await server.ModelRowAsync(model, Columns));

        // A tag knows better.
        await server.SendAsync("PATCH", $"logged-models/{model}/tags", new { tags = new[] { new { key = "framework", value = "darts" } } });
        await server.FinalizeAsync(model);
        Assert.Equal(["darts", version, size], await server.ModelRowAsync(model, Columns));
    }

    private static async Task<(string Experiment, string Model)> CreateAsync(TestServer server)
    {
        var experiment = await server.CreateExperimentAsync();
        return (experiment, await server.CreateModelIdAsync(experiment));
    }

    private static async Task PutAsync(TestServer server, string experiment, string model, string path, string content)
    {
        using var answer = await server.SendAsync(
            HttpMethod.Put,
            $"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{model}/artifacts/{path}",
            new ByteArrayContent(Encoding.UTF8.GetBytes(content)));
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
    }
}
