using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using MlflowCompat.Server.Tests.Host;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Metrics;

/// <summary>
/// Requests that reach the server together, and may be written together: each gets the answer that it would have got alone, and what is
/// there in the end is what one client in order would have left.
/// </summary>
public sealed class ConcurrentLoggingTests
{
    private const int Clients = 16;

    private static readonly double[] Values =
        [double.NaN, double.PositiveInfinity, double.NegativeInfinity, double.MaxValue, double.Epsilon, 1, -1, 2.5, -1e300, 0.1];

    private static readonly long[] Steps = [-2, -1, 0, 1, 2, 3, long.MinValue, long.MaxValue];
    private static readonly long[] Times = [0, 1, 2, 1_700_000_000_000, 1_700_000_000_123_456_789];

    [Theory]
    [BothDatabases(1)]
    [BothDatabases(2)]
    [BothDatabases(3)]
    public async Task Points_OfManyClients_LeaveWhatOneClientInOrderWouldLeave(DatabaseKind kind, int seed)
    {
        var server = await TestServer.SharedAsync(kind);
        var random = new Random(seed);
        var experiment = await server.CreateExperimentAsync();
        var runs = new List<string>();
        for (var i = 0; i < 4; i++)
            runs.Add(await server.CreateRunAsync(experiment));

        var points = new Dictionary<(string Run, string Key), HashSet<Point>>();
        var messages = new List<(string Route, object Message)>();
        for (var i = 0; i < 200; i++)
        {
            var run = runs[random.Next(runs.Count)];
            // Keys beyond the first few have few points; on them, batches of different clients rarely meet.
            var width = random.Next(4) == 0 ? 40 : 4;
            var batch = Enumerable.Range(0, random.Next(3) == 0 ? 1 : random.Next(1, 60)).Select(_ =>
            {
                var (key, point) = ($"m{random.Next(width)}", new Point(Pick(Values, random), Pick(Times, random), Pick(Steps, random)));
                if (!points.TryGetValue((run, key), out var known))
                    points.Add((run, key), known = []);
                known.Add(Stored(point));
                return Metric(run, key, point);
            }).ToList();
            var message = batch.Count == 1 && random.Next(2) == 0 ? ("runs/log-metric", batch[0]) : ("runs/log-batch", (object)new { run_id = run, metrics = batch });
            // Some clients send what others have sent too, at about the same time or later.
            messages.Add(message);
            if (random.Next(5) == 0)
                messages.Insert(random.Next(messages.Count), message);
        }

        var next = -1;
        using var done = new CancellationTokenSource();
        var watching = WatchAsync(server, runs[0], done.Token);
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(async _ =>
        {
            while (Interlocked.Increment(ref next) is var i && i < messages.Count)
                await server.PostAsync(messages[i].Route, messages[i].Message);
        }));
        await done.CancelAsync();
        await watching;

        foreach (var run in runs)
        {
            var latest = (await server.GetRunAsync(run)).Metrics();
            var expected = points.Where(pair => pair.Key.Run == run).ToDictionary(pair => pair.Key.Key, pair => pair.Value.MaxBy(Order)!);
            Assert.Equal(expected.OrderBy(pair => pair.Key, StringComparer.Ordinal), latest.OrderBy(pair => pair.Key, StringComparer.Ordinal));
            foreach (var key in expected.Keys)
                Assert.Equal(Sorted(points[(run, key)]), await server.HistoryAsync(run, key));
        }

        // A search finds and shows the same.
        var found = await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment } });
        foreach (var run in found["runs"]!.AsArray().Select(run => run!.AsObject()))
        {
            var id = (string)run["info"]!["run_id"]!;
            Assert.Equal((await server.GetRunAsync(id)).Metrics().OrderBy(pair => pair.Key), run.Metrics().OrderBy(pair => pair.Key));
        }
    }

    /// <summary>NaN, 0 and −0 at one step and time compare as equal: whichever was stored first is the latest, and all are in the history.</summary>
    [Theory, BothDatabases]
    public async Task Points_ThatCompareAsEqual_HaveOneLatest(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var id = await server.CreateRunAsync();
        double[] equal = [double.NaN, 0.0, -0.0];
        await TogetherAsync(Enumerable.Range(0, 60).Select(i => (Func<Task>)(() =>
            server.PostAsync("runs/log-metric", Metric(id, $"m{i % 5}", new Point(equal[i % 3], 7, 7))))));

        var latest = (await server.GetRunAsync(id)).Metrics();
        for (var i = 0; i < 5; i++)
        {
            Assert.Contains(latest[$"m{i}"], new[] { new Point(double.NaN, 7, 7), new Point(0, 7, 7) });
            Assert.Equal([new Point(0, 7, 7), new Point(double.NaN, 7, 7)], (await server.HistoryAsync(id, $"m{i}")).Distinct());
        }
    }

    [Theory, BothDatabases]
    public async Task Params_OfManyClients_HaveOneValueAndOnlyTheOthersAreRefused(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        for (var round = 0; round < 6; round++)
        {
            var id = await server.CreateRunAsync(experiment);
            var other = await server.CreateRunAsync(experiment);
            object[] Param(string key, string value) => [new { key, value }];
            object Neighbour(string run, int i) => new
            {
                run_id = run,
                metrics = new[] { new { key = $"neighbour {i}", value = i, timestamp = i, step = i } },
                @params = Param($"neighbour {i}", $"{i}"),
                tags = Param($"neighbour {i}", $"{i}"),
            };
            // The fought-over param stands in the middle of what must not be written with it.
            object Fighter(int i) => new
            {
                run_id = id,
                metrics = new[] { new { key = $"fighter {i}", value = i, timestamp = i, step = i } },
                @params = new[] { new { key = $"before {i}", value = "x" }, new { key = "fought", value = $"value {i}" }, new { key = $"zz behind {i}", value = "x" } },
                tags = Param($"fighter {i}", "x"),
            };
            var calls = new List<(string Kind, int Number, string Route, object Message)>();
            for (var i = 0; i < 6; i++)
            {
                calls.Add(("fighter", i, "runs/log-batch", Fighter(i)));
                calls.Add(("single", i, "runs/log-parameter", new { run_id = id, key = "fought", value = $"value {i}" }));
                calls.Add(("neighbour", i, "runs/log-batch", Neighbour(id, i)));
                calls.Add(("neighbour", i, "runs/log-batch", Neighbour(other, i)));
                calls.Add(("agreed", i, "runs/log-parameter", new { run_id = id, key = "agreed", value = "the same" }));
                calls.Add(("agreed", i, "runs/log-batch", new { run_id = id, @params = Param("agreed", "the same"), tags = Param($"agreed {i}", "x") }));
                calls.Add(("twice", i, "runs/log-batch", new { run_id = id, @params = new[] { new { key = $"twice {i}", value = "x" }, new { key = $"twice {i}", value = "x" } } }));
            }

            Shuffle(calls, new Random(round));
            var answers = await TogetherAsync(calls.Select(call => (Func<Task<HttpResponseMessage>>)(() =>
                server.SendAsync(HttpMethod.Post, call.Route, ApiServer.Json(call.Message)))));

            var run = await server.GetRunAsync(id);
            var (metrics, parameters, tags) = (run.Metrics(), run.Params(), run.Tags());
            var winner = parameters["fought"];
            for (var i = 0; i < calls.Count; i++)
            {
                var (sort, number, _, _) = calls[i];
                if (sort == "twice")
                    await ApiServer.AssertErrorAsync(answers[i], HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Duplicate parameter keys", $"twice {number}");
                else if (sort is "fighter" or "single" && winner != $"value {number}")
                    await ApiServer.AssertErrorAsync(answers[i], HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed", "fought", winner, $"value {number}");
                else
                    await AssertAcceptedAsync(answers[i]);
            }

            var numbers = Enumerable.Range(0, 6).ToList();
            var won = numbers.Where(i => winner == $"value {i}").ToList();
            Assert.Single(won);
            AssertSame([.. won.Select(i => $"fighter {i}"), .. numbers.Select(i => $"neighbour {i}")], metrics.Keys);
            AssertSame(["fought", "agreed", .. won.Select(i => $"before {i}"), .. won.Select(i => $"zz behind {i}"), .. numbers.Select(i => $"neighbour {i}")], parameters.Keys);
            AssertSame(["mlflow.runName", .. won.Select(i => $"fighter {i}"), .. numbers.Select(i => $"agreed {i}"), .. numbers.Select(i => $"neighbour {i}")], tags.Keys);
            foreach (var fighter in numbers.Except(won))
                Assert.Empty(await server.HistoryAsync(id, $"fighter {fighter}"));
            AssertSame(numbers.Select(i => $"neighbour {i}"), (await server.GetRunAsync(other)).Params().Keys);
        }
    }

    [Theory, BothDatabases]
    public async Task Tags_OfManyClients_EndWithOneOfTheValuesAndTheNameWithTheSame(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        for (var round = 0; round < 5; round++)
        {
            var names = Enumerable.Range(0, 24).Select(i => $"round {round} name {i}").ToList();
            await TogetherAsync(names.Select((name, i) => (Func<Task>)(() => (i % 4) switch
            {
                0 => server.PostAsync("runs/set-tag", new { run_id = id, key = "mlflow.runName", value = name }),
                1 => server.PostAsync("runs/update", new { run_id = id, run_name = name }),
                2 => server.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = name }),
                _ => server.PostAsync("runs/log-batch", new
                {
                    run_id = id,
                    // Of equal keys in one request the last one counts.
                    tags = new[] { new { key = "t", value = "not this" }, new { key = "mlflow.runName", value = name }, new { key = "t", value = name }, new { key = $"own {i}", value = name } },
                }),
            })));
            var run = await server.GetRunAsync(id);
            var tags = run.Tags();
            Assert.Contains(tags["t"], names);
            Assert.Contains(tags["mlflow.runName"], names);
            Assert.Equal(tags["mlflow.runName"], (string)run["info"]!["run_name"]!);
            for (var i = 3; i < names.Count; i += 4)
                Assert.Equal(names[i], tags[$"own {i}"]);
            Assert.Equal([tags["mlflow.runName"]], await server.SearchNamesAsync(experiment, $"attributes.run_name = '{tags["mlflow.runName"]}' AND tags.t = '{tags["t"]}'"));

            // Who comes after the answers of all others has the last word.
            await server.PostAsync("runs/set-tag", new { run_id = id, key = "t", value = "last" });
            await server.PostAsync("runs/log-batch", new { run_id = id, tags = new[] { new { key = "mlflow.runName", value = $"last {round}" } } });
            run = await server.GetRunAsync(id);
            Assert.Equal("last", run.Tags()["t"]);
            Assert.Equal($"last {round}", (string)run["info"]!["run_name"]!);
        }
    }

    [Theory, BothDatabases]
    public async Task Run_DeletedWhileItIsWrittenTo_RefusesEverythingFromThenOnUntilItIsRestored(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        var neighbour = await server.CreateRunAsync(experiment);
        var accepted = new HashSet<string>();
        var refused = new HashSet<string>();
        for (var cycle = 0; cycle < 4; cycle++)
        {
            var count = 0;
            var deleted = 0;
            var some = new TaskCompletionSource();
            var writers = Enumerable.Range(0, 12).Select(writer => Task.Run(async () =>
            {
                for (var i = 0; ; i++)
                {
                    var mark = $"{cycle}-{writer}-{i}";
                    if (writer >= 10)
                    {
                        await server.PostAsync("runs/set-tag", new { run_id = neighbour, key = mark, value = "x" });
                        lock (accepted)
                            accepted.Add(mark);
                        if (Volatile.Read(ref deleted) == 1)
                            return;
                        continue;
                    }

                    var late = Volatile.Read(ref deleted) == 1;
                    var (route, message) = Write(id, writer, mark);
                    using var answer = await server.SendAsync(HttpMethod.Post, route, ApiServer.Json(message));
                    lock (accepted)
                        (answer.StatusCode == HttpStatusCode.OK ? accepted : refused).Add(mark);
                    if (answer.StatusCode != HttpStatusCode.OK)
                    {
                        await ApiServer.AssertErrorAsync(answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "active", id);
                        return;
                    }

                    Assert.False(late, $"{route} was accepted after the deletion was acknowledged");
                    if (Interlocked.Increment(ref count) == 60)
                        some.SetResult();
                }
            })).ToList();
            await Task.WhenAny(some.Task, Task.WhenAll(writers));
            await server.PostAsync("runs/delete", new { run_id = id });
            Volatile.Write(ref deleted, 1);
            await Task.WhenAll(writers);

            var run = await server.GetRunAsync(id);
            Assert.Equal("deleted", (string)run["info"]!["lifecycle_stage"]!);
            var there = run.Metrics().Keys.Concat(run.Params().Keys).Concat(run.Tags().Keys).Concat((await server.GetRunAsync(neighbour)).Tags().Keys).ToHashSet();
            foreach (var dataset in run["inputs"]!["dataset_inputs"]?.AsArray() ?? [])
                there.Add((string)dataset!["dataset"]!["name"]!);
            var unlisted = accepted.Where(mark => IsUnlisted(int.Parse(mark.Split('-')[1], CultureInfo.InvariantCulture))).ToList();
            AssertSame(accepted.Except(unlisted), there.Intersect(accepted.Union(refused)));
            foreach (var (writer, i) in Enumerable.Range(0, 10).Select(writer => (writer, 0)))
            {
                var (route, message) = Write(id, writer, $"late-{writer}-{i}");
                await server.PostInvalidAsync(route, message, "active", id);
            }

            await server.PostAsync("runs/restore", new { run_id = id });
        }

        // Updates and logged models leave no mark of their own; the last ones that were accepted are there.
        await TogetherAsync(Enumerable.Range(0, 10).Select(writer => (Func<Task>)(() =>
        {
            var (route, message) = Write(id, writer, $"restored-{writer}");
            return server.PostAsync(route, message);
        })));
        var restored = await server.GetRunAsync(id);
        Assert.Equal("active", (string)restored["info"]!["lifecycle_stage"]!);
        Assert.Equal("FINISHED", (string)restored["info"]!["status"]!);
        Assert.Contains("restored-0", restored.Metrics().Keys);
        var models = JsonNode.Parse(restored.Tags()["mlflow.log-model.history"])!.AsArray().Select(model => (string)model!["artifact_path"]!).ToList();
        AssertSame(accepted.Where(mark => mark.Split('-')[1] == "9").Append("restored-9"), models);
    }

    [Theory, BothDatabases]
    public async Task Requests_OfAllKindsTogether_EachGetTheirOwnAnswer(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var random = new Random(5);
        for (var round = 0; round < 4; round++)
        {
            var experiment = await server.CreateExperimentAsync();
            var gone = await server.CreateExperimentAsync();
            await server.PostAsync("experiments/delete", new { experiment_id = gone });
            var id = await server.CreateRunAsync(experiment, new { tags = new[] { new { key = "kept", value = "x" } } });
            var other = await server.CreateRunAsync(experiment);
            var deleted = await server.CreateRunAsync(experiment);
            await server.PostAsync("runs/delete", new { run_id = deleted });
            await server.PostAsync("runs/log-parameter", new { run_id = id, key = "old", value = "1" });
            var unknown = Guid.NewGuid().ToString("N");
            var model = $"m-{Guid.NewGuid():N}";
            var long251 = new string('n', 251);

            object Tag(string run, string key, string value = "x") => new { run_id = run, key, value };
            object Batch(string run, string mark, object? metric = null, object? param = null, object? tag = null) => new
            {
                run_id = run,
                metrics = new[] { new { key = mark, value = 1, timestamp = 1 }, metric }.Where(item => item is not null),
                @params = new[] { new { key = mark, value = "x" }, param }.Where(item => item is not null),
                tags = new[] { new { key = mark, value = "x" }, tag }.Where(item => item is not null),
            };

            // What is refused, with the status, the code and a part of the message; all of it names "bad", which must be found nowhere.
            (string Route, object Message, int Status, string Code, string Part)[] wrong =
            [
                ("runs/log-batch", Batch(unknown, "bad"), 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/log-metric", new { run_id = unknown, key = "bad", value = 1, timestamp = 1 }, 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/log-parameter", Tag(unknown, "bad"), 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/set-tag", Tag(unknown, "bad"), 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/update", new { run_id = unknown, run_name = "bad" }, 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/delete", new { run_id = unknown }, 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/restore", new { run_id = unknown }, 404, "RESOURCE_DOES_NOT_EXIST", unknown),
                ("runs/log-metric", new { run_id = "no id", key = "bad", value = 1, timestamp = 1 }, 404, "RESOURCE_DOES_NOT_EXIST", "no id"),
                ("runs/log-batch", Batch("no id", "bad"), 400, "INVALID_PARAMETER_VALUE", "run_id"),
                ("runs/log-batch", Batch(deleted, "bad"), 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/log-batch", new { run_id = deleted }, 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/log-metric", new { run_id = deleted, key = "bad", value = 1, timestamp = 1 }, 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/log-parameter", Tag(deleted, "bad"), 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/set-tag", Tag(deleted, "bad"), 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/delete-tag", new { run_id = deleted, key = "mlflow.runName" }, 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/update", new { run_id = deleted, run_name = "bad" }, 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/log-inputs", new { run_id = deleted, datasets = Array.Empty<object>() }, 400, "INVALID_PARAMETER_VALUE", deleted),
                ("runs/delete-tag", new { run_id = id, key = "bad" }, 404, "RESOURCE_DOES_NOT_EXIST", "bad"),
                ("runs/log-batch", Batch(id, "bad", metric: new { key = "a//b", value = 1, timestamp = 1 }), 400, "INVALID_PARAMETER_VALUE", "metrics[1].name"),
                ("runs/log-batch", Batch(id, "bad", metric: new { key = "bad", timestamp = 1 }), 400, "INVALID_PARAMETER_VALUE", "metrics[1].value"),
                ("runs/log-batch", Batch(id, "bad", metric: new { key = "bad", value = 1, timestamp = -1 }), 400, "INVALID_PARAMETER_VALUE", "metrics[1].timestamp"),
                ("runs/log-batch", Batch(id, "bad", metric: new { key = "bad", value = 1, timestamp = 1, model_id = model }), 404, "RESOURCE_DOES_NOT_EXIST", model),
                ("runs/log-batch", Batch(id, "bad", param: new { key = "old", value = "2" }), 400, "INVALID_PARAMETER_VALUE", "Changing param values"),
                ("runs/log-batch", Batch(id, "bad", param: new { key = "bad", value = "x" }), 400, "INVALID_PARAMETER_VALUE", "Duplicate parameter keys"),
                ("runs/log-batch", Batch(id, "bad", tag: new { key = "mlflow.runName", value = long251 }), 400, "INVALID_PARAMETER_VALUE", "run_name"),
                ("runs/log-batch", Batch(other, "bad", tag: new { key = "a\\b", value = "x" }), 400, "INVALID_PARAMETER_VALUE", "tags[1].key"),
                ("runs/set-tag", Tag(id, "mlflow.runName", long251), 400, "INVALID_PARAMETER_VALUE", "run_name"),
                ("runs/update", new { run_id = id, run_name = long251 }, 400, "INVALID_PARAMETER_VALUE", "run_name"),
                ("runs/log-parameter", Tag(id, "old", "3"), 400, "INVALID_PARAMETER_VALUE", "Changing param values"),
                ("runs/log-metric", $$"""{"run_id": "{{id}}", "key": "bad", "value": "x", "timestamp": 1}""", 400, "INVALID_PARAMETER_VALUE", "value"),
                ("runs/log-metric", $$"""{"run_id": "{{id}}", "key": "bad", "value": 1, "timestamp": 1""", 400, "", ""),
                ("runs/create", new { experiment_id = gone, run_name = "bad" }, 400, "INVALID_PARAMETER_VALUE", gone),
                ("runs/create", new { experiment_id = "987654321987", run_name = "bad" }, 404, "RESOURCE_DOES_NOT_EXIST", "987654321987"),
            ];
            var calls = wrong.Select(call => (call.Route, call.Message, call.Status, call.Code, call.Part)).ToList();
            for (var i = 0; i < 24; i++)
            {
                var run = i % 3 == 0 ? other : id;
                var (route, message) = (i % 6) switch
                {
                    0 => ("runs/log-metric", (object)new { run_id = run, key = $"good {i}", value = i, timestamp = i, step = i }),
                    1 => ("runs/set-tag", Tag(run, $"good {i}")),
                    2 => ("runs/log-parameter", Tag(run, $"good {i}")),
                    _ => ("runs/log-batch", Batch(run, $"good {i}")),
                };
                calls.Add((route, message, 200, "", ""));
            }

            calls.Add(("runs/delete-tag", new { run_id = id, key = "kept" }, 200, "", ""));
            calls.Add(("runs/update", new { run_id = other, status = "FINISHED", end_time = 5 }, 200, "", ""));
            calls.Add(("runs/create", new { experiment_id = experiment, run_name = "good" }, 200, "", ""));
            // Of equal fingerprints one is new; what the others break inside the database is nobody else's concern.
            for (var i = 0; i < 5; i++)
                calls.Add(("runs/create", new { experiment_id = experiment, run_name = "only one", tags = new[] { new { key = "run_fingerprint", value = "f" } } }, 0, "RESOURCE_ALREADY_EXISTS", "f"));
            Shuffle(calls, random);
            var answers = await TogetherAsync(calls.Select(call => (Func<Task<HttpResponseMessage>>)(() => server.SendAsync(
                HttpMethod.Post, call.Route, call.Message is string text ? ApiServer.JsonText(text) : ApiServer.Json(call.Message)))));

            var created = 0;
            for (var i = 0; i < calls.Count; i++)
            {
                var (route, message, status, code, part) = calls[i];
                if (status == 0 && answers[i].StatusCode == HttpStatusCode.OK)
                    created++;
                else if (status == 200)
                    await AssertAcceptedAsync(answers[i]);
                else if (code.Length > 0)
                    await ApiServer.AssertErrorAsync(answers[i], status == 0 ? HttpStatusCode.BadRequest : (HttpStatusCode)status, code, part);
                else
                    Assert.True(status == (int)answers[i].StatusCode, $"{route} {message}");
            }

            Assert.Equal(1, created);
            AssertSame(["good", "only one"], (await server.SearchNamesAsync(experiment)).Where(name => name is "good" or "only one" or "bad"));
            foreach (var run in new[] { id, other })
            {
                var now = await server.GetRunAsync(run);
                var mine = Enumerable.Range(0, 24).Where(i => (i % 3 == 0 ? other : id) == run).ToList();
                AssertSame(mine.Where(i => i % 6 is 0 or > 2).Select(i => $"good {i}"), now.Metrics().Keys);
                AssertSame([.. mine.Where(i => i % 6 is 2 or > 2).Select(i => $"good {i}"), .. run == id ? ["old"] : Array.Empty<string>()], now.Params().Keys);
                AssertSame(["mlflow.runName", .. mine.Where(i => i % 6 is 1 or > 2).Select(i => $"good {i}")], now.Tags().Keys);
                Assert.Empty(await server.HistoryAsync(run, "bad"));
            }

            Assert.Equal("1", (await server.GetRunAsync(id)).Params()["old"]);
            Assert.Equal("FINISHED", (string)(await server.GetRunAsync(other))["info"]!["status"]!);
            await server.AssertEmptyAsync(deleted);
        }
    }

    /// <summary>Clients that hang up: before the request is whole, right after it, or at any moment until its answer.</summary>
    [Theory, BothDatabases]
    public async Task Requests_WhoseClientsGoAway_DisturbNoOtherAndAreWholeOrAbsent(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        string[] runs = [await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment)];
        object Batch(int i) => new
        {
            run_id = runs[i % runs.Length],
            metrics = Enumerable.Range(0, 10).Select(n => new { key = $"{i}/{n}", value = n, timestamp = i, step = n }),
            @params = new[] { new { key = $"{i}", value = "x" } },
            tags = new[] { new { key = $"{i}", value = "x" } },
        };
        var random = new Random(3);
        var acknowledged = new HashSet<int>();
        var incomplete = new HashSet<int>();
        var number = 0;
        for (var round = 0; round < 8; round++)
        {
            var calls = new List<Func<Task>>();
            for (var n = 0; n < 24; n++)
            {
                var (i, delay, size) = (number++, TimeSpan.FromMilliseconds(random.NextDouble() * 12), random.NextDouble());
                switch (n % 4)
                {
                    case 0:
                        incomplete.Add(i);
                        calls.Add(() => HangUpAsync(server, Batch(i), size, TimeSpan.Zero));
                        break;
                    case 1:
                        calls.Add(() => HangUpAsync(server, Batch(i), 1, delay));
                        break;
                    case 2:
                        calls.Add(async () =>
                        {
                            using var impatience = new CancellationTokenSource(delay);
                            try
                            {
                                using var answer = await server.Client.PostAsync(
                                    new Uri("/api/2.0/mlflow/runs/log-batch", UriKind.Relative), ApiServer.Json(Batch(i)), impatience.Token);
                                await AssertAcceptedAsync(answer);
                                lock (acknowledged)
                                    acknowledged.Add(i);
                            }
                            catch (OperationCanceledException)
                            {
                                // The point of the exercise.
                            }
                        });
                        break;
                    default:
                        calls.Add(async () =>
                        {
                            await server.PostAsync("runs/log-batch", Batch(i));
                            lock (acknowledged)
                                acknowledged.Add(i);
                        });
                        break;
                }
            }

            await TogetherAsync(calls);
        }

        var there = new HashSet<int>();
        foreach (var id in runs)
        {
            // One answer is one moment; what is written meanwhile comes with a later one.
            var run = await server.GetRunAsync(id);
            var (metrics, parameters, tags) = (run.Metrics(), run.Params(), run.Tags());
            AssertSame(parameters.Keys.Append("mlflow.runName"), tags.Keys);
            Assert.Equal(10 * parameters.Count, metrics.Count);
            foreach (var i in parameters.Keys.Select(key => int.Parse(key, CultureInfo.InvariantCulture)))
            {
                there.Add(i);
                for (var n = 0; n < 10; n++)
                    Assert.Equal(new Point(n, i, n), metrics[$"{i}/{n}"]);
                Assert.Equal([new Point(9, i, 9)], await server.HistoryAsync(id, $"{i}/9"));
            }
        }

        Assert.Empty(acknowledged.Except(there));
        Assert.Empty(there.Intersect(incomplete));
    }

    /// <summary>
    /// More requests than a server lets wait, while somebody else holds what they want to write to: whoever is not served is told to come
    /// again, and has left nothing.
    /// </summary>
    [Theory, BothDatabases]
    public async Task Requests_MoreThanCanWait_AreWrittenOrToldToComeAgain(DatabaseKind kind)
    {
        const int Requests = 500;
        await using var database = await TestDatabase.CreateAsync(kind);
        await using var server = await TestServer.StartAsync(database.Address);
        var experiment = await server.CreateExperimentAsync();
        string[] runs = [await server.CreateRunAsync(experiment), await server.CreateRunAsync(experiment)];
        await using var other = database.Open();
        var held = new TaskCompletionSource();
        var release = new TaskCompletionSource();
        var holder = other.WriteAsync(
            async (session, token) =>
            {
                await session.ExecuteAsync(other.Statement("UPDATE runs SET user_id = user_id WHERE run_uuid = $1").Add(Guid.ParseExact(runs[0], "N")), token);
                held.SetResult();
                await release.Task;
            },
            CancellationToken.None);
        await held.Task;

        var sent = 0;
        var answering = TogetherAsync(Enumerable.Range(0, Requests).Select(i => (Func<Task<HttpResponseMessage>>)(() =>
        {
            var message = new { run_id = runs[i % 5 == 0 ? 1 : 0], metrics = new[] { new { key = "m", value = i, timestamp = i, step = i } }, tags = new[] { new { key = $"{i}", value = "x" } } };
            var answer = server.SendAsync(HttpMethod.Post, "runs/log-batch", ApiServer.Json(message));
            Interlocked.Increment(ref sent);
            return answer;
        })));
        while (Volatile.Read(ref sent) < Requests)
            await Task.Delay(10);
        release.SetResult();
        await holder;

        var answers = await answering;
        var accepted = new List<int>();
        for (var i = 0; i < answers.Length; i++)
        {
            if (answers[i].StatusCode == HttpStatusCode.OK)
            {
                accepted.Add(i);
                continue;
            }

            await ApiServer.AssertErrorAsync(answers[i], HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
            Assert.NotNull(answers[i].Headers.RetryAfter);
        }

        Assert.NotEmpty(accepted);
        for (var n = 0; n < 2; n++)
        {
            var mine = accepted.Where(i => (i % 5 == 0 ? 1 : 0) == n).ToList();
            Assert.Equal(mine.Select(i => (long)i), (await server.HistoryAsync(runs[n], "m")).Select(point => point.Step));
            AssertSame(mine.Select(i => $"{i}").Append("mlflow.runName"), (await server.GetRunAsync(runs[n])).Tags().Keys);
        }

        await server.PostAsync("runs/set-tag", new { run_id = runs[0], key = "after", value = "x" });
    }

    [Theory, BothDatabases]
    public async Task Points_OfModelsThatDoNotExist_AreRefusedAlone(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var id = await server.CreateRunAsync(experiment);
        var other = await server.CreateRunAsync(experiment);
        for (var round = 0; round < 5; round++)
        {
            var calls = new List<(string Mark, string? Model, string Route, object Message)>();
            for (var i = 0; i < 36; i++)
            {
                var (mark, run) = ($"{round}-{i}", i % 4 == 0 ? other : id);
                var model = i % 3 == 1 ? null : i % 3 == 0 ? $"m-{Guid.NewGuid():N}" : $"not-a-model {i}";
                calls.Add((mark, model, i % 2 == 0 ? "runs/log-batch" : "runs/log-metric", i % 2 == 0
                    ? new
                    {
                        run_id = run,
                        metrics = new object[] { new { key = mark, value = 1, timestamp = 1 }, new { key = $"{mark} too", value = 1, timestamp = 1, model_id = model } },
                        @params = new[] { new { key = mark, value = "x" } },
                        tags = new[] { new { key = mark, value = "x" } },
                    }
                    : new { run_id = run, key = mark, value = 1, timestamp = 1, model_id = model }));
            }

            var answers = await TogetherAsync(calls.Select(call => (Func<Task<HttpResponseMessage>>)(() =>
                server.SendAsync(HttpMethod.Post, call.Route, ApiServer.Json(call.Message)))));
            var metrics = (await server.GetRunAsync(id)).Metrics().Keys.Concat((await server.GetRunAsync(other)).Metrics().Keys).ToHashSet();
            for (var i = 0; i < calls.Count; i++)
            {
                if (calls[i].Model is { } model)
                    await ApiServer.AssertErrorAsync(answers[i], HttpStatusCode.NotFound, "RESOURCE_DOES_NOT_EXIST", model);
                else
                    await AssertAcceptedAsync(answers[i]);
                Assert.Equal(calls[i].Model is null, metrics.Contains(calls[i].Mark));
            }
        }

        foreach (var run in new[] { await server.GetRunAsync(id), await server.GetRunAsync(other) })
        {
            AssertSame(run.Params().Keys.Append("mlflow.runName"), run.Tags().Keys);
            Assert.Equal(run.Params().Count, run.Metrics().Keys.Count(key => key.EndsWith(" too", StringComparison.Ordinal)));
        }
    }

    /// <summary>One of the writes that a deleted run refuses; most leave their mark where it can be read.</summary>
    private static (string Route, object Message) Write(string run, int writer, string mark) => writer switch
    {
        0 or 1 => ("runs/log-metric", new { run_id = run, key = mark, value = 1, timestamp = 1 }),
        2 => ("runs/log-parameter", new { run_id = run, key = mark, value = "x" }),
        3 or 4 => ("runs/set-tag", new { run_id = run, key = mark, value = "x" }),
        5 => ("runs/log-inputs", new { run_id = run, datasets = new[] { new { dataset = new { name = mark, digest = "d", source_type = "t", source = "s" } } } }),
        6 => ("runs/log-batch", new { run_id = run, metrics = new[] { new { key = mark, value = 1, timestamp = 1 } } }),
        7 => ("runs/log-batch", new { run_id = run, @params = new[] { new { key = mark, value = "x" } } }),
        8 => ("runs/update", new { run_id = run, status = "FINISHED", end_time = 1 }),
        _ => ("runs/log-model", new { run_id = run, model_json = JsonSerializer.Serialize(new { artifact_path = mark, flavors = new { }, utc_time_created = "now", run_id = run }) }),
    };

    private static bool IsUnlisted(int writer) => writer is 8 or 9;

    /// <summary>Sends a part of a request, or all of it, and cuts the connection a moment later.</summary>
    private static async Task HangUpAsync(ApiServer server, object message, double part, TimeSpan delay)
    {
        var body = JsonSerializer.Serialize(message);
        var request = Encoding.UTF8.GetBytes($"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}");
        using var connection = await RawHttp.ConnectAsync(server);
        await connection.GetStream().WriteAsync(request.AsMemory(0, part < 1 ? (int)(part * (request.Length - 1)) : request.Length));
        await Task.Delay(delay);
        // Not a farewell but a reset.
        connection.Client.LingerState = new LingerOption(true, 0);
    }

    private static async Task AssertAcceptedAsync(HttpResponseMessage answer) =>
        Assert.True(answer.StatusCode == HttpStatusCode.OK, $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");

    /// <summary>Starts everything at the same moment and waits for all of it.</summary>
    private static async Task<T[]> TogetherAsync<T>(IEnumerable<Func<Task<T>>> calls)
    {
        var start = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var waiting = calls.Select(call => Task.Run(async () =>
        {
            await start.Task;
            return await call();
        })).ToList();
        start.SetResult();
        return await Task.WhenAll(waiting);
    }

    private static Task<bool[]> TogetherAsync(IEnumerable<Func<Task>> calls) => TogetherAsync(calls.Select(call => (Func<Task<bool>>)(async () =>
    {
        await call();
        return true;
    })));

    /// <summary>Reads a run again and again: the latest point of a metric never goes back.</summary>
    private static async Task WatchAsync(ApiServer server, string run, CancellationToken cancellationToken)
    {
        var before = new Dictionary<string, Point>();
        while (!cancellationToken.IsCancellationRequested)
        {
            var now = (await server.GetRunAsync(run)).Metrics();
            foreach (var (key, point) in before)
                Assert.True(Order(now[key]).CompareTo(Order(point)) >= 0, $"{key}: {now[key]} after {point}");
            before = now;
        }
    }

    /// <summary>The order of the rule: step, then time, then value with NaN as 0.</summary>
    private static (long Step, long Time, double Value) Order(Point point) => (point.Step, point.Timestamp, double.IsNaN(point.Value) ? 0 : point.Value);

    /// <summary>The order of histories. No value here is 0, so that NaN equals no other.</summary>
    private static IEnumerable<Point> Sorted(IEnumerable<Point> points) =>
        points.OrderBy(point => (point.Timestamp, point.Step, double.IsNaN(point.Value) ? 0 : point.Value));

    private static Point Stored(Point point) => point with
    {
        Value = double.IsInfinity(point.Value) ? Math.CopySign(double.MaxValue, point.Value) : point.Value,
    };

    private static object Metric(string run, string key, Point point) => new
    {
        run_id = run,
        key,
        value = double.IsFinite(point.Value) ? (object)point.Value : point.Value.ToString(CultureInfo.InvariantCulture),
        timestamp = point.Timestamp,
        step = point.Step,
    };

    private static T Pick<T>(T[] choices, Random random) => choices[random.Next(choices.Length)];

    private static void Shuffle<T>(List<T> list, Random random) => random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(list));

    private static void AssertSame(IEnumerable<string> expected, IEnumerable<string> actual) =>
        Assert.Equal(expected.Order(StringComparer.Ordinal), actual.Order(StringComparer.Ordinal));
}
