using System.Collections.Concurrent;
using System.Net;
using System.Text.Json.Nodes;

namespace MlflowCompat.Server.Tests;

/// <summary>
/// Many clients that write everything a run can hold to the same runs, one request after the other each, and that know what they were
/// told: afterwards, every acknowledged request has to be there, every other one whole or not at all, and nothing else.
/// </summary>
/// <param name="clients">Clients at work at the same time.</param>
/// <param name="runs">Runs that all of them write to.</param>
internal sealed class WriteLoad(int clients, int runs)
{
    private const int MetricKeys = 3;
    private const int BatchPoints = 12;

    private readonly List<string> shared = [];
    private readonly ConcurrentBag<Log> logs = [];
    private readonly ConcurrentBag<Creation> creations = [];
    private readonly ConcurrentBag<Contest> contests = [];
    private readonly List<Client> all = [];
    private string experiment = "";
    private int lastNumber;
    private int acknowledged;

    private enum Fate
    {
        Unknown,
        There,
        Absent,
    }

    /// <summary>How many requests were acknowledged so far.</summary>
    public int Acknowledged => Volatile.Read(ref acknowledged);

    /// <summary>Makes the experiment and the runs.</summary>
    public async Task PrepareAsync(ApiServer server)
    {
        experiment = await server.CreateExperimentAsync();
        for (var i = 0; i < runs; i++)
            shared.Add(await server.CreateRunAsync(experiment));
        for (var i = 0; i < clients; i++)
            all.Add(new Client(i, await server.CreateRunAsync(experiment)));
    }

    /// <summary>
    /// Lets the clients write, client i to the server i modulo their number, until they are told to stop or lose their server. Clients
    /// go through the runs upwards or downwards, so that those of a group of requests come in every order.
    /// </summary>
    /// <param name="servers">The servers, all on one database.</param>
    /// <param name="stopping">The servers may refuse requests with 503: they were told to stop.</param>
    /// <param name="cancellationToken">Stops after the request at hand.</param>
    public Task RunAsync(IReadOnlyList<ApiServer> servers, bool stopping, CancellationToken cancellationToken) =>
        Task.WhenAll(all.Select(client => Task.Run(
            async () =>
            {
                try
                {
                    while (!cancellationToken.IsCancellationRequested && await WriteAsync(client, servers[client.Number % servers.Count], stopping))
                        Interlocked.Increment(ref acknowledged);
                }
                catch (HttpRequestException)
                {
                    // The server is gone, and whether it has done this last request is not known.
                }
            },
            CancellationToken.None)));

    /// <summary>
    /// Sends every second request again of those that nobody has answered, as clients do that try again; to be called before the clients
    /// go on, as it comes before whatever else they send.
    /// </summary>
    public async Task SendAgainAsync(ApiServer server)
    {
        foreach (var log in logs.Where(log => !log.Answered && log.Number % 2 == 0))
        {
            await server.PostAsync("runs/log-batch", log.Message());
            log.Fate = Fate.There;
            log.Answered = true;
        }
    }

    /// <summary>Asserts that the database holds what was acknowledged, all of it and not twice, and nothing torn.</summary>
    /// <remarks>What is found here of a request without an answer has to stay as it is for ever.</remarks>
    public async Task AssertKeptAsync(ApiServer server)
    {
        foreach (var run in shared)
            await AssertSharedRunAsync(server, run);
        foreach (var client in all)
            await AssertOwnRunAsync(server, client);
        await AssertCreationsAsync(server);
    }

    private async Task<bool> WriteAsync(Client client, ApiServer server, bool stopping)
    {
        client.Step += client.Number % 2 == 0 ? 1 : runs - 1;
        var run = shared[(client.Step + client.Number) % runs];
        var number = Interlocked.Increment(ref lastNumber);
        switch (client.Random.Next(100))
        {
            case < 70:
                var log = new Log(number, run, client.Number, client.Random.Next(2) == 0 ? 1 : BatchPoints);
                logs.Add(log);
                if (!await SentAsync(server, log.Points == 1 ? "runs/log-metric" : "runs/log-batch", log.Points == 1 ? log.Metric(0) : log.Message(), stopping))
                    return false;
                log.Fate = Fate.There;
                log.Answered = true;
                return true;

            case < 82:
                var tag = client.Tags.GetOrAdd(run, _ => new Counter());
                tag.Sent++;
                if (!await SentAsync(server, "runs/set-tag", new { run_id = run, key = $"counter {client.Number}", value = $"{tag.Sent}" }, stopping))
                    return false;
                tag.Known = tag.Sent;
                return true;

            case < 90:
                var own = client.Updates;
                own.Sent++;
                var update = new { run_id = client.Run, run_name = $"name {own.Sent}", status = Status(own.Sent), end_time = own.Sent };
                if (!await SentAsync(server, "runs/update", update, stopping))
                    return false;
                own.Known = own.Sent;
                return true;

            case < 95:
                return await ContestAsync(client, server, stopping);

            default:
                var creation = new Creation(number);
                creations.Add(creation);
                using (var answer = await server.SendAsync(HttpMethod.Post, "runs/create", ApiServer.Json(creation.Message(experiment))))
                {
                    if (!await AcceptedAsync(answer, stopping))
                        return false;
                    creation.Id = (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["run"]!["info"]!["run_id"]!;
                }

                return true;
        }
    }

    /// <summary>Two neighbours, which have different servers if there are two, want the same param with different values.</summary>
    private async Task<bool> ContestAsync(Client client, ApiServer server, bool stopping)
    {
        var round = client.Contests++;
        var run = shared[round % runs];
        var contest = new Contest(run, client.Number, $"contest {client.Number / 2} {round}");
        contests.Add(contest);
        using var answer = await server.SendAsync(HttpMethod.Post, "runs/log-batch", ApiServer.Json(contest.Message()));
        if (answer.StatusCode == HttpStatusCode.BadRequest)
        {
            await ApiServer.AssertErrorAsync(
                answer, HttpStatusCode.BadRequest, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed", contest.Key, contest.Value);
            contest.Fate = Fate.Absent;
            return true;
        }

        if (!await AcceptedAsync(answer, stopping))
            return false;
        contest.Fate = Fate.There;
        return true;
    }

    private static async Task<bool> SentAsync(ApiServer server, string route, object message, bool stopping)
    {
        using var answer = await server.SendAsync(HttpMethod.Post, route, ApiServer.Json(message));
        return await AcceptedAsync(answer, stopping);
    }

    private static async Task<bool> AcceptedAsync(HttpResponseMessage answer, bool stopping)
    {
        if (stopping && answer.StatusCode == HttpStatusCode.ServiceUnavailable)
        {
            await ApiServer.AssertErrorAsync(answer, HttpStatusCode.ServiceUnavailable, "TEMPORARILY_UNAVAILABLE");
            return false;
        }

        Assert.True(answer.StatusCode == HttpStatusCode.OK, $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");
        return true;
    }

    private async Task AssertSharedRunAsync(ApiServer server, string id)
    {
        var run = await server.GetRunAsync(id);
        var (latest, parameters, tags) = (run.Metrics(), run.Params(), run.Tags());
        var found = new Dictionary<long, HashSet<(string, Point)>>();
        for (var i = 0; i < MetricKeys; i++)
        {
            var key = Log.Key(i);
            var history = await server.HistoryAsync(id, key);
            Assert.Equal(history.Count, history.Distinct().Count());
            Assert.Equal(history.MaxBy(point => (point.Step, point.Timestamp, point.Value)), latest.GetValueOrDefault(key));
            foreach (var point in history)
            {
                if (!found.TryGetValue(point.Timestamp, out var points))
                    found.Add(point.Timestamp, points = []);
                points.Add((key, point));
            }
        }

        var expectedParams = new Dictionary<string, string>();
        var expectedTags = new Dictionary<string, string> { ["mlflow.runName"] = tags["mlflow.runName"] };
        foreach (var log in logs.Where(log => log.Run == id).OrderBy(log => log.Number))
        {
            found.Remove(log.Number, out var points);
            if (log.Fate == Fate.Unknown)
                log.Fate = points is null ? Fate.Absent : Fate.There;
            Assert.Equal(log.Fate == Fate.There ? [.. Enumerable.Range(0, log.Points).Select(log.Point)] : [], points ?? []);
            if (log.Fate != Fate.There || log.Points == 1)
                continue;
            if (log.HasParam)
                expectedParams.Add($"{log.Number}", $"of {log.Number}");
            expectedTags[$"batch {log.Client}"] = $"{log.Number}";
        }

        Assert.Empty(found);
        foreach (var client in all)
        {
            if (!client.Tags.TryGetValue(id, out var counter))
                continue;
            counter.Settle(tags.TryGetValue($"counter {client.Number}", out var value) ? int.Parse(value, null) : 0);
            if (counter.Known > 0)
                expectedTags.Add($"counter {client.Number}", $"{counter.Known}");
        }

        foreach (var contest in contests.Where(contest => contest.Run == id))
        {
            var won = parameters.TryGetValue(contest.Key, out var value) && value == contest.Value;
            if (contest.Fate == Fate.Unknown)
                contest.Fate = won ? Fate.There : Fate.Absent;
            Assert.Equal(contest.Fate == Fate.There, won);
            if (won)
            {
                // That there is one winner is what adding a key only once asserts.
                expectedParams.Add(contest.Key, contest.Value);
                expectedParams.Add(contest.Mark, "with it");
            }
        }

        Assert.Equal(expectedParams.OrderBy(pair => pair.Key, StringComparer.Ordinal), parameters.OrderBy(pair => pair.Key, StringComparer.Ordinal));
        Assert.Equal(expectedTags.OrderBy(pair => pair.Key, StringComparer.Ordinal), tags.OrderBy(pair => pair.Key, StringComparer.Ordinal));
    }

    private static async Task AssertOwnRunAsync(ApiServer server, Client client)
    {
        var run = await server.GetRunAsync(client.Run);
        var info = run["info"]!;
        client.Updates.Settle(info["end_time"] is { } end ? (int)(long)end : 0);
        var updates = client.Updates.Known;
        Assert.Equal(updates == 0 ? "RUNNING" : Status(updates), (string)info["status"]!);
        Assert.Equal((string)info["run_name"]!, run.Tags()["mlflow.runName"]);
        if (updates > 0)
            Assert.Equal($"name {updates}", (string)info["run_name"]!);
    }

    private async Task AssertCreationsAsync(ApiServer server)
    {
        var answer = await server.PostAsync("runs/search", new { experiment_ids = new[] { experiment }, max_results = 50_000, filter = "attributes.user_id = 'creator'" });
        var found = (answer["runs"]?.AsArray() ?? []).Select(run => run!.AsObject()).ToDictionary(run => (string)run["info"]!["run_name"]!);
        foreach (var creation in creations)
        {
            if (!found.Remove(creation.Name, out var run))
            {
                Assert.Null(creation.Id);
                Assert.False(creation.Found, $"{creation.Name} was there before");
                continue;
            }

            creation.Found = true;
            Assert.Equal(creation.Id ?? (string)run["info"]!["run_id"]!, (string)run["info"]!["run_id"]!);
            Assert.Equal(creation.Number, (long)run["info"]!["start_time"]!);
            Assert.Equal(creation.Tags, run.Tags().OrderBy(tag => tag.Key, StringComparer.Ordinal));
        }

        Assert.Empty(found);
    }

    private static string Status(int update) => update % 2 == 0 ? "FINISHED" : "FAILED";

    /// <summary>What one client keeps in mind.</summary>
    private sealed class Client(int number, string run)
    {
        public int Number { get; } = number;

        /// <summary>The run that only this client updates.</summary>
        public string Run { get; } = run;

        public Random Random { get; } = new(number);

        public ConcurrentDictionary<string, Counter> Tags { get; } = [];

        public Counter Updates { get; } = new();

        public int Contests { get; set; }

        public int Step { get; set; }
    }

    /// <summary>A value that one client counts up, request by request.</summary>
    private sealed class Counter
    {
        public int Sent { get; set; }

        public int Known { get; set; }

        /// <summary>Takes note of what is stored: what is known, or what was sent after it and not answered.</summary>
        public void Settle(int stored)
        {
            Assert.InRange(stored, Known, Sent);
            Known = Sent = stored;
        }
    }

    /// <summary>
    /// A point by itself, or a batch of points, a tag and sometimes a param. Its number is the timestamp of its points, and everything
    /// else follows from it.
    /// </summary>
    private sealed class Log(int number, string run, int client, int points)
    {
        public int Number { get; } = number;

        public string Run { get; } = run;

        public int Client { get; } = client;

        public int Points { get; } = points;

        public bool HasParam => Number % 3 == 0;

        public Fate Fate { get; set; }

        public bool Answered { get; set; }

        public static string Key(int i) => $"m{i % MetricKeys}";

        public (string Key, Point Point) Point(int i) => (Key(i + Number), new Point((Number * 31 % 17) - i, Number, ((Number * 7) + i) % 40));

        public object Metric(int i)
        {
            var (key, point) = Point(i);
            return new { run_id = Run, key, value = point.Value, timestamp = point.Timestamp, step = point.Step };
        }

        public object Message() => new
        {
            run_id = Run,
            metrics = Enumerable.Range(0, Points).Select(Metric),
            @params = Points > 1 && HasParam ? new[] { new { key = $"{Number}", value = $"of {Number}" } } : null,
            tags = Points > 1 ? new[] { new { key = $"batch {Client}", value = $"{Number}" } } : null,
        };
    }

    /// <summary>A param that somebody else may have set to something else, and one that is there only if this one is.</summary>
    private sealed class Contest(string run, int client, string key)
    {
        public string Run { get; } = run;

        public string Key { get; } = key;

        public string Value { get; } = $"by {client}";

        public string Mark { get; } = $"{key} by {client}";

        public Fate Fate { get; set; }

        public object Message() => new { run_id = Run, @params = new[] { new { key = Mark, value = "with it" }, new { key = Key, value = Value } } };
    }

    /// <summary>A run that is made; its id is known when that was acknowledged.</summary>
    private sealed class Creation(int number)
    {
        public int Number { get; } = number;

        public string Name { get; } = $"created {number}";

        public string? Id { get; set; }

        public bool Found { get; set; }

        public IEnumerable<KeyValuePair<string, string>> Tags => [new("mlflow.runName", Name), new("one", $"{Number}"), new("two", Name)];

        public object Message(string experiment) => new
        {
            experiment_id = experiment,
            user_id = "creator",
            run_name = Name,
            start_time = Number,
            tags = new[] { new { key = "one", value = $"{Number}" }, new { key = "two", value = Name } },
        };
    }
}
