using System.Globalization;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Datasets;

/// <summary>What goes into runs and comes out of them (contract: endpoints §1, §2; semantics §8).</summary>
public static class DatasetsApi
{
    private const int MaxNameLength = 500;
    private const int MaxDigestLength = 36;
    private const int MaxSourceTypeLength = 36;
    private const int MaxSourceLength = 65_535;
    private const int MaxSchemaLength = 1_048_575;
    private const int MaxProfileLength = 16_777_215;
    private const int MaxTagKeyLength = 255;
    private const int MaxTagValueLength = 500;
    private const int MaxModelIdLength = 36;
    private const int MaxSearchExperiments = 20;

    /// <summary>Maps the endpoints.</summary>
    public static void MapDatasets(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<DatasetStore>();
        routes.Post<LogInputs, Empty>("runs/log-inputs", LogInputs);
        routes.Post<LogOutputs, Empty>("runs/outputs", LogOutputs);
        routes.Post<SearchDatasets, SearchDatasetsResponse>("experiments/search-datasets", Search);
    }

    private static async Task<Empty> LogInputs(LogInputs request, DatasetStore store, CancellationToken cancellationToken)
    {
        var run = RunId.RequireForm(request.RunId);
        var datasets = request.Datasets ?? [];
        for (var i = 0; i < datasets.Count; i++)
            Check(datasets[i], string.Create(CultureInfo.InvariantCulture, $"datasets[{i}]"));
        var models = (request.Models ?? []).ConvertAll(model => CheckModelId(model.ModelId));
        await store.LogInputsAsync(RunId.Parse(run), datasets, models, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<Empty> LogOutputs(LogOutputs request, DatasetStore store, CancellationToken cancellationToken)
    {
        var run = RunId.Parse(FieldRules.Required(request.RunId, "run_id"));
        var models = request.Models ?? throw FieldRules.Missing("models");
        foreach (var model in models)
            CheckModelId(model.ModelId);
        await store.LogOutputsAsync(run, models, cancellationToken).ConfigureAwait(false);
        return Empty.Value;
    }

    private static async Task<SearchDatasetsResponse> Search(SearchDatasets request, DatasetStore store, CancellationToken cancellationToken)
    {
        if (request.ExperimentIds is not { Count: > 0 } ids)
        {
            throw MlflowException.InvalidParameter(
                "Missing value for required parameter 'experiment_ids': a SearchDatasets request must specify at least one experiment_id.");
        }

        if (ids.Count > MaxSearchExperiments)
        {
            throw MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture,
                $"Too many values for parameter 'experiment_ids': a SearchDatasets request cannot specify more than {MaxSearchExperiments}. It has {ids.Count}."));
        }

        var found = await store.SearchAsync([.. ids.Select(ExperimentId.TryParse).OfType<long>()], cancellationToken).ConfigureAwait(false);
        return new SearchDatasetsResponse(found.Count == 0 ? null : found);
    }

    private static void Check(DatasetInput input, string path)
    {
        var dataset = input.Dataset ?? throw FieldRules.Missing(path + ".dataset");
        // Missing members are stored as "", as in the reference: clients read back what they sent.
        dataset.Name = FieldRules.MaxLength(dataset.Name ?? "", MaxNameLength, "name");
        dataset.Digest = FieldRules.MaxLength(dataset.Digest ?? "", MaxDigestLength, "digest");
        dataset.SourceType = FieldRules.MaxLength(dataset.SourceType ?? "", MaxSourceTypeLength, "source_type");
        dataset.Source = FieldRules.MaxLength(dataset.Source ?? "", MaxSourceLength, "source");
        FieldRules.MaxLength(dataset.Schema ?? "", MaxSchemaLength, "schema");
        FieldRules.MaxLength(dataset.Profile ?? "", MaxProfileLength, "profile");
        foreach (var tag in input.Tags ?? [])
        {
            FieldRules.MaxLength(FieldRules.Required(tag.Key, path + ".tags.key"), MaxTagKeyLength, "key");
            FieldRules.MaxLength(tag.Value ?? "", MaxTagValueLength, "value");
        }
    }

    /// <summary>Whether there is such a model is not asked: it may live on another server (contract: semantics §8).</summary>
    private static string CheckModelId(string? id) =>
        FieldRules.MaxLength(FieldRules.Required(id, "model_id"), MaxModelIdLength, "model_id");
}
