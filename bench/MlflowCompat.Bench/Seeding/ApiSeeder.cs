using MlflowCompat.Bench.Http;
using MlflowCompat.Bench.Workloads;

namespace MlflowCompat.Bench.Seeding;

/// <summary>Makes the data that is read through a server's API. What is there already is left as it is.</summary>
internal sealed class ApiSeeder(ServerAddress server)
{
    private const int Writers = 4;
    private const int PointsPerBatch = 1000;

    /// <summary>Makes an experiment with so many of the <see cref="SeededRuns"/>.</summary>
    /// <returns>Whether it had to be made.</returns>
    /// <exception cref="UnexpectedAnswerException">The server refused something; the experiment is incomplete then.</exception>
    public bool SeedRuns(int runs)
    {
        using var client = new MlflowClient(server);
        if (client.FindExperiment(SeededRuns.Experiment(runs)) is not null)
            return false;
        var experimentId = client.CreateExperiment(SeededRuns.Experiment(runs));
        Parallel.For(
            0,
            runs,
            new ParallelOptions { MaxDegreeOfParallelism = Writers },
            () => new MlflowClient(server),
            (run, _, writer) =>
            {
                var start = SeededRuns.StartTime(run);
                var id = writer.CreateRun(experimentId, SeededRuns.Name(run), start, SeededRuns.TagsOf(run));
                writer.LogBatch(
                    id, SeededRuns.MetricsOf(run, runs).Select(metric => (metric.Key, metric.Value, 0L)), SeededRuns.ParamsOf(run), [], start);
                writer.Finish(id, start + SeededRuns.Duration);
                return writer;
            },
            writer => writer.Dispose());
        return true;
    }

    /// <summary>Makes so many of the <see cref="SeededModels"/>; their times are those of the server.</summary>
    /// <inheritdoc cref="SeedRuns"/>
    public bool SeedModels(int models)
    {
        using var client = new MlflowClient(server);
        if (client.HasRegisteredModel(SeededModels.Name(models - 1)))
            return false;
        Parallel.For(
            0,
            models,
            new ParallelOptions { MaxDegreeOfParallelism = Writers },
            () => new MlflowClient(server),
            (model, _, writer) =>
            {
                var name = SeededModels.Name(model);
                writer.CreateRegisteredModel(name, SeededModels.TagsOf(model));
                for (var version = 1; version <= SeededModels.Versions; version++)
                {
                    writer.CreateModelVersion(
                        name, SeededModels.Source(model, version), SeededModels.Run(model, version), SeededModels.TagsOf(model, version));
                    if (SeededModels.Stage(model, version) is not "none" and var stage)
                        writer.TransitionStage(name, version, stage);
                }

                if (SeededModels.HasAlias(model))
                    writer.SetAlias(name, SeededModels.Alias, SeededModels.AliasedVersion);
                return writer;
            },
            writer => writer.Dispose());
        return true;
    }

    /// <summary>Makes an experiment with so many of the <see cref="SeededTraces"/>, which have to be hundreds.</summary>
    /// <inheritdoc cref="SeedRuns"/>
    public bool SeedTraces(int traces)
    {
        using var client = new MlflowClient(server);
        if (client.FindExperiment(SeededTraces.Experiment(traces)) is not null)
            return false;
        if (traces % SeededTraces.Kinds != 0)
            throw new FormatException($"--traces {traces}: it must be a multiple of {SeededTraces.Kinds}.");
        var experimentId = client.CreateExperiment(SeededTraces.Experiment(traces));
        var export = SeededTraces.Export();
        Parallel.For(
            0,
            traces / SeededTraces.Kinds,
            new ParallelOptions { MaxDegreeOfParallelism = Writers },
            () => new MlflowClient(server),
            (hundred, _, writer) =>
            {
                var first = hundred * SeededTraces.Kinds;
                var ids = Enumerable.Range(first, SeededTraces.Kinds).Select(trace => SeededTraces.Id(trace, traces)).ToArray();
                for (var i = 0; i < ids.Length; i++)
                {
                    var trace = first + i;
                    writer.StartTrace(
                        SpanExport.MlflowId(ids[i]),
                        experimentId,
                        SeededTraces.Start(trace),
                        SeededTraces.Duration(trace, traces),
                        SeededTraces.State(trace),
                        SeededTraces.TagsOf(trace));
                    if (SeededTraces.FeedbackOf(trace) is { } value)
                        writer.GiveFeedback(SpanExport.MlflowId(ids[i]), SeededTraces.Feedback, value);
                }

                writer.Export(export, experimentId, ids, i => SeededTraces.Start(first + i) * 1_000_000);
                return writer;
            },
            writer => writer.Dispose());
        return true;
    }

    /// <summary>Makes a run with so many points of one metric.</summary>
    /// <inheritdoc cref="SeedRuns"/>
    public bool SeedHistory(int points)
    {
        using var client = new MlflowClient(server);
        var experimentId = client.FindExperiment(SeededRuns.HistoryExperiment) ?? client.CreateExperiment(SeededRuns.HistoryExperiment);
        if (client.FindRun(experimentId, SeededRuns.HistoryRun(points)) is not null)
            return false;
        var id = client.CreateRun(experimentId, SeededRuns.HistoryRun(points), SeededRuns.FirstStart);
        for (var first = 0; first < points; first += PointsPerBatch)
        {
            var batch = Enumerable.Range(first, Math.Min(PointsPerBatch, points - first))
                .Select(step => (SeededRuns.HistoryMetric, SeededRuns.HistoryValue(step), (long)step));
            client.LogBatch(id, batch, [], [], SeededRuns.FirstStart);
        }

        client.Finish(id, SeededRuns.FirstStart + SeededRuns.Duration);
        return true;
    }
}
