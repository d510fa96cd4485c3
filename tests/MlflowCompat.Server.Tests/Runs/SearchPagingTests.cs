using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Runs;

/// <summary>Pages of runs, several experiments, ids that are none (contract: semantics §11, §12).</summary>
public sealed class SearchPagingTests
{
    [Theory, BothDatabases]
    public async Task Pages_OfEverySize_MakeUpTheWhole(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        var runs = new List<(string Id, long Start)>();
        for (var i = 0; i < 17; i++)
        {
            var start = i / 6 * 100L;
            var id = await server.CreateRunAsync(experiment, new { start_time = start });
            runs.Add((id, start));
            await server.PostAsync("runs/log-metric", new { run_id = id, key = "same", value = i % 2, timestamp = 1 });
        }

        var byDefault = runs.OrderByDescending(run => run.Start).ThenBy(run => run.Id, StringComparer.Ordinal).Select(run => run.Id).ToList();
        var byMetric = byDefault.OrderBy(id => runs.FindIndex(run => run.Id == id) % 2).ToList();
        foreach (var (expected, orderBy) in new[] { (byDefault, Array.Empty<string>()), (byMetric, ["metrics.same"]), (byDefault, ["metrics.none DESC"]) })
        {
            for (var size = 1; size <= runs.Count + 1; size++)
            {
                var found = new List<string>();
                string? token = null;
                var pages = 0;
                do
                {
                    var page = await server.PostAsync(
                        "runs/search", new { experiment_ids = new[] { experiment }, order_by = orderBy, max_results = size, page_token = token });
                    var ids = RunCalls.Ids(page);
                    token = (string?)page["next_page_token"];
                    // A token is given whenever the page is full, also when nothing follows.
                    Assert.Equal(ids.Count == size, token is not null);
                    Assert.Equal(ids.Count > 0, page.ContainsKey("runs"));
                    found.AddRange(ids);
                    pages++;
                }
                while (token is not null);
                Assert.Equal(expected, found);
                Assert.Equal((runs.Count / size) + 1, pages);
            }
        }
    }

    [Theory]
    [BothDatabases("{\"offset\": 2}", 1)]
    [BothDatabases("{\"offset\":2}", 1)]
    [BothDatabases("{\"offset\": 3}", 0)]
    [BothDatabases("{\"offset\": 1000000}", 0)]
    [BothDatabases("{\"offset\": 9223372036854775807}", 0)]
    public async Task Token_OfAnOffset_BeginsThere(DatabaseKind kind, string token, int expected)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        for (var i = 0; i < 3; i++)
            await server.CreateRunAsync(experiment);
        var page = await server.PostAsync("runs/search", new
        {
            experiment_ids = new[] { experiment },
            page_token = Convert.ToBase64String(System.Text.Encoding.ASCII.GetBytes(token)),
        });
        Assert.Equal(expected, RunCalls.Ids(page).Count);
        Assert.Equal(expected == 0 ? "{}" : null, expected == 0 ? page.ToJsonString() : null);
    }

    [Theory, BothDatabases]
    public async Task Experiments_SeveralAndUnknown_AreSearchedTogether(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiments = new[] { await server.CreateExperimentAsync(), await server.CreateExperimentAsync(), await server.CreateExperimentAsync() };
        var ids = new List<string>();
        for (var i = 0; i < 9; i++)
            ids.Add(await server.CreateRunAsync(experiments[i % 3], new { start_time = 1000 - i, run_name = $"r{i % 3}" }));

        Assert.Equal(ids, await SearchAsync(experiments));
        Assert.Equal(ids, await SearchAsync([.. experiments, .. experiments]));
        Assert.Equal(ids.Where((_, i) => i % 3 != 1), await SearchAsync([experiments[2], "987654321", experiments[0], "abc", "", "99999999999999999999", "-1"]));
        Assert.Equal(ids.Where((_, i) => i % 3 == 2), await SearchAsync(experiments, "run_name = 'r2'"));
        foreach (var nothing in new string[][] { [], ["987654321"], ["abc"], ["99999999999999999999", "1 OR 1=1"] })
            Assert.Equal("{}", (await server.PostAsync("runs/search", new { experiment_ids = nothing })).ToJsonString());
        Assert.Equal("{}", (await server.PostAsync("runs/search", new { })).ToJsonString());
        Assert.Equal("{}", (await server.PostAsync("runs/search", new { experiment_ids = (string[]?)null })).ToJsonString());

        // A bad filter is told also where nothing could be found.
        await server.PostInvalidAsync("runs/search", new { filter = "bad" });

        async Task<List<string>> SearchAsync(string[] experimentIds, string? filter = null) =>
            RunCalls.Ids(await server.PostAsync("runs/search", new { experiment_ids = experimentIds, filter }));
    }

    [Theory, BothDatabases]
    public async Task Order_OfTimesBeyondTheCalendar_IsThatOfTheNumbers(DatabaseKind kind)
    {
        var server = await TestServer.SharedAsync(kind);
        var experiment = await server.CreateExperimentAsync();
        long[] times =
        [
            long.MinValue, -62_135_596_800_001, -62_135_596_799_999, -62_135_596_799_998, -1, 0, 1, 1_700_000_000_000,
            253_402_300_799_998, 253_402_300_799_999, 253_402_300_800_000, 1_700_000_000_123_456_789, long.MaxValue,
        ];
        foreach (var time in times)
        {
            var id = await server.CreateRunAsync(experiment, new { run_name = $"at {time}", start_time = time });
            await server.PostAsync("runs/update", new { run_id = id, end_time = time });
        }

        var names = times.Select(time => $"at {time}").ToList();
        Assert.Equal(Enumerable.Reverse(names), await server.SearchNamesAsync(experiment));
        Assert.Equal(names, await server.SearchNamesAsync(experiment, null, "start_time"));
        // The end of 0 is none.
        Assert.Equal([.. names.Where(name => name != "at 0"), "at 0"], await server.SearchNamesAsync(experiment, null, "end_time ASC"));
        Assert.Equal([.. Enumerable.Reverse(names).Where(name => name != "at 0"), "at 0"], await server.SearchNamesAsync(experiment, null, "end_time DESC"));
        foreach (var bound in times)
        {
            foreach (var (comparator, holds) in new (string, Func<long, bool>)[]
            {
                ("=", time => time == bound), ("!=", time => time != bound), (">", time => time > bound),
                (">=", time => time >= bound), ("<", time => time < bound), ("<=", time => time <= bound),
            })
            {
                var expected = times.Where(holds).Select(time => $"at {time}").ToList();
                Assert.Equal(expected, await server.SearchNamesAsync(experiment, $"start_time {comparator} {bound}", "start_time"));
                expected.Remove("at 0");
                Assert.Equal(expected, await server.SearchNamesAsync(experiment, $"end_time {comparator} {bound}", "end_time"));
            }
        }
    }
}
