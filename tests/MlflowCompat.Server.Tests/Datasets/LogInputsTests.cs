using System.Text.Json.Nodes;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Datasets;

/// <summary>log-inputs and outputs (contract: endpoints §2, semantics §4, §8), and what of them stands in the specified tables (mapping 2.9, 2.10).</summary>
public sealed class LogInputsTests
{
    private const string OfRun = """
        FROM datasets d JOIN inputs i ON CAST(d.dataset_uuid AS TEXT) = i.source_id
        JOIN runs r ON CAST(r.run_uuid AS TEXT) = i.destination_id WHERE r.run_uuid = $1 ORDER BY d.dataset_name
        """;

    [Theory, BothDatabases]
    public async Task Inputs_OfEveryKind_AreReadBack(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        var schema = """{ "mlflow_colspec" : [ {"type": "long", "name": "é😀"} ] }""";
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            datasets = new object[]
            {
                new
                {
                    dataset = new { name = "whole", digest = "d1", source_type = "http", source = """{"url": "http://h/a.csv"}""", schema, profile = """{"num_rows": 3}""" },
                    tags = new[] { new { key = "mlflow.data.context", value = "training" }, new { key = "bad$key", value = "v" }, new { key = "none", value = "" } },
                },
                new { dataset = new { name = "bare", digest = "d2", source_type = "s", source = "text" } },
            },
            models = new[] { new { model_id = "m-0123456789abcdef0123456789abcdef" }, new { model_id = "m-elsewhere" } },
        });
        await server.PostAsync("runs/outputs", new { run_id = id, models = new object[] { new { model_id = "m-out", step = 7 }, new { model_id = "m-first" } } });

        var run = await server.GetRunAsync(id);
        var inputs = run["inputs"]!["dataset_inputs"]!.AsArray().OrderBy(input => (string)input!["dataset"]!["name"]!, StringComparer.Ordinal).ToList();
        Assert.Equal("""{"dataset":{"digest":"d2","name":"bare","source":"text","source_type":"s"}}""", Normal(inputs[0]!));
        var whole = inputs[1]!["dataset"]!;
        Assert.Equal(
            ("d1", "http", """{"url": "http://h/a.csv"}""", schema, """{"num_rows": 3}"""),
            ((string)whole["digest"]!, (string)whole["source_type"]!, (string)whole["source"]!, (string)whole["schema"]!, (string)whole["profile"]!));
        Assert.Equal(
            new Dictionary<string, string> { ["mlflow.data.context"] = "training", ["bad$key"] = "v", ["none"] = "" }, RunCalls.KeyValues(inputs[1]!["tags"]));
        Assert.Equal(
            ["m-0123456789abcdef0123456789abcdef", "m-elsewhere"],
            run["inputs"]!["model_inputs"]!.AsArray().Select(model => (string)model!["model_id"]!).Order(StringComparer.Ordinal));
        Assert.Equal(
            [("m-first", 0L), ("m-out", 7L)],
            run["outputs"]!["model_outputs"]!.AsArray().Select(model => ((string)model!["model_id"]!, (long)model["step"]!)).Order());

        // A search tells the data sets and the outputs, not the models that went in.
        var found = (await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment } }))["runs"]![0]!;
        Assert.Equal(2, found["inputs"]!["dataset_inputs"]!.AsArray().Count);
        Assert.False(found["inputs"]!.AsObject().ContainsKey("model_inputs"));
        Assert.Equal(2, found["outputs"]!["model_outputs"]!.AsArray().Count);
    }

    [Theory, BothDatabases]
    public async Task Dataset_LoggedAgain_StaysAsItWasFirst(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var (first, second) = (await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment));
        var elsewhere = await server.CreateRunAsync();
        await LogAsync(first, "first", "train");
        await LogAsync(first, "again", "test");
        await LogAsync(second, "second", "eval");
        await LogAsync(elsewhere, "elsewhere", "test");
        Assert.Equal(("first", "train"), await ReadAsync(first));
        // What the data set is stays; what it was used for belongs to each run.
        Assert.Equal(("first", "eval"), await ReadAsync(second));
        Assert.Equal(("elsewhere", "test"), await ReadAsync(elsewhere));

        // The same twice in one request, and one with the same name and another digest.
        var third = await server.CreateRunAsync(experiment);
        await server.PostAsync("runs/log-inputs", new { run_id = third, datasets = new[] { Input("x", "train"), Input("y", "test"), Input("z", "test", "other") } });
        var inputs = (await server.GetRunAsync(third))["inputs"]!["dataset_inputs"]!.AsArray();
        Assert.Equal(
            [("other", "z", "test"), ("same", "first", "train")],
            inputs.Select(input => ((string)input!["dataset"]!["digest"]!, (string)input["dataset"]!["source"]!, (string)input["tags"]![0]!["value"]!)).Order());

        Task LogAsync(string run, string source, string context) =>
            server.PostAsync("runs/log-inputs", new { run_id = run, datasets = new[] { Input(source, context) } });

        static object Input(string source, string context, string digest = "same") => new
        {
            dataset = new { name = "ds", digest, source_type = "local", source },
            tags = new[] { new { key = "mlflow.data.context", value = context } },
        };

        async Task<(string Source, string Context)> ReadAsync(string run)
        {
            var input = Assert.Single((await server.GetRunAsync(run))["inputs"]!["dataset_inputs"]!.AsArray())!;
            return ((string)input["dataset"]!["source"]!, (string)Assert.Single(input["tags"]!.AsArray())!["value"]!);
        }
    }

    [Theory, BothDatabases]
    public async Task Models_LoggedAgain_AreThereOnce(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        for (var i = 0; i < 3; i++)
        {
            await server.PostAsync("runs/log-inputs", new { run_id = id, models = new[] { new { model_id = "m-in" }, new { model_id = "m-in" } } });
            await server.PostAsync("runs/outputs", new { run_id = id, models = new[] { new { model_id = "m-out", step = 1 }, new { model_id = "m-out", step = 1 } } });
        }

        var run = await server.GetRunAsync(id);
        Assert.Equal("m-in", (string)Assert.Single(run["inputs"]!["model_inputs"]!.AsArray())!["model_id"]!);
        var output = Assert.Single(run["outputs"]!["model_outputs"]!.AsArray())!;
        Assert.Equal(("m-out", 1), ((string)output["model_id"]!, (int)output["step"]!));
    }

    [Theory, BothDatabases]
    public async Task Output_AtAnotherStep_IsRefused_WithAllThatCameWithIt(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/outputs", new { run_id = id, models = new[] { new { model_id = "m-out", step = 5 } } });
        await server.PostInvalidAsync("runs/outputs", new { run_id = id, models = new object[] { new { model_id = "m-new", step = 5 }, new { model_id = "m-out", step = 77 } } }, "m-out");
        await server.PostInvalidAsync("runs/outputs", new { run_id = id, models = new object[] { new { model_id = "m-out" } } }, "m-out");
        await server.PostInvalidAsync("runs/outputs", new { run_id = id, models = new[] { new { model_id = "m-new", step = 1 }, new { model_id = "m-new", step = 2 } } }, "m-new");

        var output = Assert.Single((await server.GetRunAsync(id))["outputs"]!["model_outputs"]!.AsArray())!;
        Assert.Equal(("m-out", 5), ((string)output["model_id"]!, (int)output["step"]!));
    }

    [Theory, BothDatabases]
    public async Task Nothing_IsTakenWhereItMayBe(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-inputs", new { run_id = id });
        await server.PostAsync("runs/log-inputs", new { run_id = id, datasets = Array.Empty<object>(), models = Array.Empty<object>() });
        await server.PostAsync("runs/outputs", new { run_id = id, models = Array.Empty<object>() });
        await server.PostInvalidAsync("runs/outputs", new { run_id = id }, "models");
        await server.PostInvalidAsync("runs/outputs", $$"""{"run_id": "{{id}}", "models": null}""", "models");
        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task Dataset_OfWhichNothingIsSaid_IsKeptWithEmptyTexts(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        for (var round = 0; round < 2; round++)
            await server.PostAsync("runs/log-inputs", new { run_id = id, datasets = new[] { new { dataset = new { } } } });
        var input = Assert.Single((await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]!.AsArray())!;
        Assert.Equal("""{"dataset":{"digest":"","name":"","source":"","source_type":""}}""", Normal(input));
    }

    [Theory]
    [BothDatabases("name", 500)]
    [BothDatabases("digest", 36)]
    [BothDatabases("source_type", 36)]
    [BothDatabases("source", 65_535)]
    [BothDatabases("schema", 1_048_575)]
    public async Task Text_OfADataset_MayBeAsLongAsItsLimit(DatabaseKind kind, string field, int limit)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-inputs", Message("😀", limit + 1), $"'{field}' exceeds", limit.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await server.AssertEmptyAsync(id);
        await server.PostAsync("runs/log-inputs", Message("😀", limit));
        var dataset = (await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]![0]!["dataset"]!;
        Assert.Equal(2 * limit, ((string)dataset[field]!).Length);

        JsonNode Message(string character, int length)
        {
            var dataset = new JsonObject { ["name"] = "n", ["digest"] = "d", ["source_type"] = "t", ["source"] = "s" };
            dataset[field] = string.Concat(Enumerable.Repeat(character, length));
            return new JsonObject { ["run_id"] = id, ["datasets"] = new JsonArray(new JsonObject { ["dataset"] = dataset }) };
        }
    }

    [Theory, BothDatabases]
    public async Task Profile_OfSixteenMillionCharacters_IsTheLongest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostInvalidAsync("runs/log-inputs", Message(16_777_216), "'profile' exceeds");
        await server.PostAsync("runs/log-inputs", Message(16_777_215));
        var row = await server.RowAsync(id, $"SELECT length(d.dataset_profile) {OfRun}");
        Assert.Equal([16_777_215L], row);

        object Message(int length) => new
        {
            run_id = id,
            datasets = new[] { new { dataset = new { name = "n", digest = "d", source_type = "t", source = "s", profile = new string('p', length) } } },
        };
    }

    [Theory]
    [BothDatabases("""{"datasets": {}}""", "datasets")]
    [BothDatabases("""{"datasets": [5]}""", "datasets[0]")]
    [BothDatabases("""{"datasets": [null]}""", "datasets")]
    [BothDatabases("""{"datasets": [{}]}""", "datasets[0].dataset")]
    [BothDatabases("""{"datasets": [{"dataset": "x"}]}""", "datasets[0].dataset")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": 5, "digest": "d", "source_type": "t", "source": "s"}}]}""", "datasets[0].dataset.name")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": "n\u0000", "digest": "d", "source_type": "t", "source": "s"}}]}""", "datasets[0].dataset.name")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": "n", "digest": "d", "source_type": "t", "source": "s", "schema": {}}}]}""", "schema")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": "n", "digest": "d", "source_type": "t", "source": "s", "profile": "\ud800"}}]}""", "profile")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": "n", "digest": "d", "source_type": "t", "source": "s"}, "tags": [{"value": "v"}]}]}""", "key")]
    [BothDatabases("""{"datasets": [{"dataset": {"name": "n", "digest": "d", "source_type": "t", "source": "s"}, "tags": {"a": "b"}}]}""", "tags")]
    [BothDatabases("""{"models": [{}]}""", "model_id")]
    [BothDatabases("""{"models": [{"model_id": 5}]}""", "model_id")]
    [BothDatabases("""{"models": "m"}""", "models")]
    public async Task Inputs_WithABadField_AreRefusedNamingIt(DatabaseKind kind, string fields, string named)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        var message = $$"""{"run_id": "{{id}}", {{fields[1..]}}""";
        await server.PostInvalidAsync("runs/log-inputs", message, named);
        await server.AssertEmptyAsync(id);
    }

    [Theory, BothDatabases]
    public async Task Inputs_WithABadOneAmongGoodOnes_AreRefusedAltogether(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        object Input(string name, string tag) => new
        {
            dataset = new { name, digest = "d", source_type = "t", source = "s" },
            tags = new[] { new { key = tag, value = new string('v', 500) } },
        };
        await server.PostInvalidAsync("runs/log-inputs", new { run_id = id, datasets = new[] { Input("good", "k"), Input(new string('n', 501), "k") } }, "'name' exceeds", "500");
        await server.PostInvalidAsync("runs/log-inputs", new { run_id = id, datasets = new[] { Input("good", "k"), Input("bad", new string('k', 256)) } }, "'key' exceeds", "255");
        await server.PostInvalidAsync(
            "runs/log-inputs",
            new
            {
                run_id = id,
                datasets = new[]
                {
                    new { dataset = new { name = "n", digest = "d", source_type = "t", source = "s" }, tags = new[] { new { key = "k", value = new string('v', 501) } } },
                },
            },
            "'value' exceeds", "500");
        await server.PostInvalidAsync("runs/log-inputs", new { run_id = id, datasets = new[] { Input("good", "k") }, models = new[] { new { model_id = "" } } }, "model_id");
        await server.PostInvalidAsync("runs/outputs", new { run_id = id, models = new[] { new { model_id = "m-good" }, new { model_id = new string('m', 37) } } }, "model_id");
        await server.AssertEmptyAsync(id);
        await server.PostAsync("runs/log-inputs", new { run_id = id, datasets = new[] { Input("good", new string('k', 255)) } });
        Assert.Single((await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]!.AsArray());
    }

    [Theory, BothDatabases]
    public async Task ThousandDatasets_AtOnce_AreTaken(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            datasets = Enumerable.Range(0, 1001).Select(i => new { dataset = new { name = $"n{i}", digest = "d", source_type = "t", source = "s" } }),
        });
        Assert.Equal(1001, (await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]!.AsArray().Count);
    }

    [Theory, BothDatabases]
    public async Task Run_LoggingTheSameDatasetsAtOnceWithOthers_SharesTheirRows(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var ids = new List<string>();
        for (var i = 0; i < 10; i++)
            ids.Add(await server.CreateRunAsync(experiment));
        await Task.WhenAll(ids.Select((id, i) => server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            // Each in another order: whoever locks in that order meets the others.
            datasets = Enumerable.Range(0, 12).Select(n => new { dataset = new { name = $"n{(n + i) % 12}", digest = "d", source_type = "t", source = "s" } }),
        })));
        foreach (var id in ids)
            Assert.Equal(12, (await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]!.AsArray().Count);
        Assert.Equal(
            [12L], await server.RowAsync(ids[0], "SELECT count(*) FROM datasets WHERE experiment_id = (SELECT experiment_id FROM runs WHERE run_uuid = $1)"));
    }

    [Theory]
    [BothDatabases("""{"uri": "s3://bucket/a.parquet"}""", "s3://bucket/a.parquet", "parquet")]
    [BothDatabases("""{"path": "/data/a.CSV", "other": 1}""", "/data/a.CSV", "csv")]
    [BothDatabases("""{"url": "https://host/a.json?x=1"}""", "https://host/a.json?x=1", "json")]
    [BothDatabases("""{"url": "https://host/a.feather"}""", "https://host/a.feather", "feather")]
    [BothDatabases("""{"tags": {"mlflow.source.name": "train.py"}}""", """{"tags": {"mlflow.source.name": "train.py"}}""", "other")]
    [BothDatabases("plain/path.csv", "plain/path.csv", "csv")]
    [BothDatabases("""{"uri": 5}""", """{"uri": 5}""", "other")]
    [BothDatabases("[1]", "[1]", "other")]
    public async Task Source_TellsPathAndFormat(DatabaseKind kind, string source, string path, string format)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-inputs", new { run_id = id, datasets = new[] { new { dataset = new { name = "n", digest = "d", source_type = "t", source } } } });
        Assert.Equal(
            ["n", "d", "t", source, path, format],
            await server.RowAsync(id, $"SELECT d.dataset_name, d.dataset_digest, d.dataset_source_type, d.dataset_source, d.file_path, d.file_format {OfRun}"));
    }

    [Theory]
    [BothDatabases("training", "training")]
    [BothDatabases("train", "training")]
    [BothDatabases("validation", "validation")]
    [BothDatabases("eval", "validation")]
    [BothDatabases("test", "test")]
    [BothDatabases("testing", "test")]
    [BothDatabases("other", "raw")]
    [BothDatabases(null, "raw")]
    public async Task Context_TellsTheType(DatabaseKind kind, string? context, string type)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            datasets = new[]
            {
                new
                {
                    dataset = new { name = "n", digest = "d", source_type = "t", source = "s" },
                    tags = context is null ? null : new[] { new { key = "mlflow.data.context", value = context } },
                },
            },
        });
        Assert.Equal([type], await server.RowAsync(id, $"SELECT d.dataset_type {OfRun}"));
    }

    [Theory, BothDatabases]
    public async Task Schema_ThatCanBeRead_BecomesFeatures(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        const string Columns = """
            {"mlflow_colspec": [
                {"type": "long", "name": "y", "required": true}, {"type": "double", "name": "x é"}, {"type": "string", "name": "unique_id"},
                {"type": "datetime", "name": "ds"}, {"type": "boolean", "name": "flag"}, {"type": "long", "name": "y"}, {"type": "long"}]}
            """;
        const string Tensors = """
            {"mlflow_tensorspec": {
                "features": "[{\"name\": \"a\", \"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float64\", \"shape\": [-1, 3]}}]",
                "targets": "[{\"name\": \"b\", \"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"int64\", \"shape\": [-1]}}]"}}
            """;
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = id,
            datasets = new object[]
            {
                new { dataset = new { name = "1 columns", digest = "d", source_type = "t", source = "s", schema = Columns, profile = """{"num_rows": 144, "num_elements": 720}""" } },
                new { dataset = new { name = "2 tensors", digest = "d", source_type = "t", source = "s", schema = Tensors, profile = """{"features_shape": [150, 4], "targets_shape": [150]}""" } },
                new { dataset = new { name = "3 no schema", digest = "d", source_type = "t", source = "s" } },
                new { dataset = new { name = "4 not JSON", digest = "d", source_type = "t", source = "s", schema = "x: int", profile = "144 rows" } },
                new { dataset = new { name = "5 nothing in it", digest = "d", source_type = "t", source = "s", schema = """{"mlflow_colspec": []}""", profile = """{"num_rows": -1}""" } },
                new { dataset = new { name = "6 odd", digest = "d", source_type = "t", source = "s", schema = """{"mlflow_colspec": {"a": [1]}, "x": "\u0000"}""", profile = """{"num_rows": "9"}""" } },
            },
        });

        Assert.Equal(
            [
                ["1 columns", 144L, 5L, 1L], ["2 tensors", 150L, 2L, 1L], ["3 no schema", null, null, 0L],
                ["4 not JSON", null, null, 0L], ["5 nothing in it", null, null, 1L], ["6 odd", null, null, 0L],
            ],
            await server.RowsAsync(id, $"SELECT d.dataset_name, d.num_rows, d.num_columns, d.schema_definition IS NOT NULL {OfRun}"));
        var features = OfRun.Replace("FROM datasets d", "FROM dataset_features f JOIN datasets d ON d.dataset_id = f.dataset_id", StringComparison.Ordinal) + ", f.feature_id";
        Assert.Equal(
            [
                ["y", "numeric", "long"], ["x é", "numeric", "double"], ["unique_id", "text", "string"], ["ds", "datetime", "datetime"],
                ["flag", "boolean", "boolean"], ["a", "numeric", "float64"], ["b", "numeric", "int64"],
            ],
            await server.RowsAsync(id, $"SELECT f.feature_name, f.feature_type, f.data_type {features}"));

        // However it could be read, it is given out as it came.
        var schemas = (await server.GetRunAsync(id))["inputs"]!["dataset_inputs"]!.AsArray().ToDictionary(
            input => (string)input!["dataset"]!["name"]!, input => (string?)input!["dataset"]!["schema"]);
        Assert.Equal((Columns, Tensors, null, "x: int"), (schemas["1 columns"], schemas["2 tensors"], schemas["3 no schema"], schemas["4 not JSON"]));
    }

    private static string Normal(JsonNode node) => node switch
    {
        JsonObject members => "{" + string.Join(',', members.OrderBy(member => member.Key, StringComparer.Ordinal)
            .Select(member => $"\"{member.Key}\":{Normal(member.Value!)}")) + "}",
        _ => node.ToJsonString(),
    };
}
