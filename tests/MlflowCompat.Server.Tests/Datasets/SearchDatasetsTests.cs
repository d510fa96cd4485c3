using System.Net;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Datasets;

/// <summary>experiments/search-datasets (contract: endpoints §1).</summary>
public sealed class SearchDatasetsTests
{
    [Theory, BothDatabases]
    public async Task Summaries_AreTheDistinctUsesOfTheExperiments(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var (first, second) = (await server.CreateExperimentAsync(), await server.CreateExperimentAsync());
        foreach (var (experiment, name, context) in new (string, string, string?)[]
        {
            (first, "a", "train"), (first, "a", "train"), (first, "a", "test"), (first, "b", null), (second, "a", "train"), (second, "c", ""),
        })
        {
            await server.PostAsync("runs/log-inputs", new
            {
                run_id = await server.CreateRunAsync(experiment),
                datasets = new[]
                {
                    new
                    {
                        dataset = new { name, digest = "d", source_type = "t", source = "s" },
                        tags = context is null ? null : new[] { new { key = "mlflow.data.context", value = context } },
                    },
                },
            });
        }

        var ofFirst = new (string, string, string?)[] { (first, "a", "test"), (first, "a", "train"), (first, "b", null) };
        var ofSecond = new (string, string, string?)[] { (second, "a", "train"), (second, "c", "") };
        foreach (var prefix in new[] { "/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/" })
        {
            Assert.Equal(ofFirst, await SearchAsync(prefix, first));
            Assert.Equal(ofSecond, await SearchAsync(prefix, second));
            Assert.Equal(ofFirst.Concat(ofSecond).Order(), (await SearchAsync(prefix, first, second, second, "987654321", "abc")).Order());
        }

        foreach (var nothing in new[] { await server.CreateExperimentAsync(), "987654321", "abc", "99999999999999999999" })
            Assert.Equal("{}", (await server.PostAsync("experiments/search-datasets", new { experiment_ids = new[] { nothing } })).ToJsonString());

        async Task<List<(string Experiment, string Name, string? Context)>> SearchAsync(string prefix, params string[] experiments)
        {
            var answer = await server.PostAsync(prefix + "experiments/search-datasets", new { experiment_ids = experiments });
            return
            [
                .. answer["dataset_summaries"]!.AsArray().Select(summary =>
                {
                    Assert.Equal("d", (string)summary!["digest"]!);
                    return ((string)summary["experiment_id"]!, (string)summary["name"]!, (string?)summary["context"]);
                }).OrderBy(summary => (summary.Item2, summary.Item3)),
            ];
        }
    }

    [Theory, BothDatabases]
    public async Task Experiments_NoneOrTooMany_AreRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        const string Route = "experiments/search-datasets";
        await server.PostInvalidAsync(Route, new { }, "experiment_ids");
        await server.PostInvalidAsync(Route, new { experiment_ids = Array.Empty<string>() }, "experiment_ids");
        await server.PostInvalidAsync(Route, """{"experiment_ids": "0"}""", "experiment_ids");
        await server.PostInvalidAsync(Route, """{"experiment_ids": [null]}""", "experiment_ids");
        await server.PostInvalidAsync(Route, new { experiment_ids = Enumerable.Range(1_000_000, 21) }, "experiment_ids", "20", "21");
        await server.PostAsync(Route, new { experiment_ids = Enumerable.Range(1_000_000, 20) });
        using var get = await server.SendAsync(HttpMethod.Get, Route + "?experiment_ids=0");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, get.StatusCode);
    }

    [Theory, BothDatabases]
    public async Task Summaries_AreAtMostAThousand(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        await server.PostAsync("runs/log-inputs", new
        {
            run_id = await server.CreateRunAsync(experiment),
            datasets = Enumerable.Range(0, 1010).Select(i => new { dataset = new { name = $"n{i}", digest = "d", source_type = "t", source = "s" } }),
        });
        var answer = await server.PostAsync("experiments/search-datasets", new { experiment_ids = new[] { experiment } });
        var names = answer["dataset_summaries"]!.AsArray().Select(summary => (string)summary!["name"]!).ToList();
        Assert.Equal(1000, names.Distinct().Count());
        Assert.Equal(1000, names.Count);
    }
}
