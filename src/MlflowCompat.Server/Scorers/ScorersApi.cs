using System.Globalization;
using MlflowCompat.Search;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Scorers;

/// <summary>Scorers of experiments (contract: endpoints §15). Their code is run by clients; here they are texts with versions.</summary>
public static class ScorersApi
{
    private const int MaxNameLength = 256;

    /// <summary>Maps the endpoints.</summary>
    public static void MapScorers(this IEndpointRouteBuilder endpoints)
    {
        var routes = endpoints.MlflowRoutesFor<ScorerStore>("3.0");
        routes.Post<RegisterScorer, RegisterScorerResponse>("scorers/register", Register);
        routes.Get<ListScorers, ListScorersResponse>("scorers/list", List);
        routes.Get<ListScorerVersions, ListScorersResponse>("scorers/versions", ListVersions);
        routes.Get<ScorerRequest, GetScorerResponse>("scorers/get", Get);
        routes.Delete<ScorerRequest, Empty>("scorers/delete", Delete);
        routes.Get<GetOnlineScoringConfigs, OnlineScoringConfigsResponse>("scorers/online-configs", GetOnlineConfigs);
        routes.Put<SetOnlineScoringConfig, OnlineScoringConfigResponse>("scorers/online-config", SetOnlineConfig);
    }

    private static async Task<RegisterScorerResponse> Register(RegisterScorer request, ScorerStore store, CancellationToken cancellationToken)
    {
        var experiment = FieldRules.Required(request.ExperimentId, "experiment_id");
        var name = FieldRules.MaxLength(FieldRules.Required(request.Name, "name"), MaxNameLength, "name");
        if (string.IsNullOrWhiteSpace(name))
            throw MlflowException.InvalidValue("name", MlflowException.Quote(name), "a scorer has to have a name");
        var serialized = FieldRules.Required(request.SerializedScorer, "serialized_scorer");
        var scorer = await store.RegisterAsync(ExperimentId.Parse(experiment), name, serialized, cancellationToken).ConfigureAwait(false);
        return new RegisterScorerResponse(
            scorer.ScorerVersion, scorer.ScorerId, ExperimentId.Format(scorer.ExperimentId), name, serialized, scorer.CreationTime);
    }

    private static async Task<ListScorersResponse> List(ListScorers request, ScorerStore store, CancellationToken cancellationToken)
    {
        var experiment = FieldRules.Required(request.ExperimentId, "experiment_id");
        var scorers = await store.ListAsync(ExperimentId.Parse(experiment), cancellationToken).ConfigureAwait(false);
        return new ListScorersResponse(scorers.Count == 0 ? null : scorers);
    }

    private static async Task<ListScorersResponse> ListVersions(ListScorerVersions request, ScorerStore store, CancellationToken cancellationToken)
    {
        var (experiment, name) = (FieldRules.Required(request.ExperimentId, "experiment_id"), FieldRules.Required(request.Name, "name"));
        var versions = await store.ListVersionsAsync(ExperimentId.Parse(experiment), name, cancellationToken).ConfigureAwait(false);
        return new ListScorersResponse(versions.Count > 0 ? versions : throw NotFound(experiment, name, null));
    }

    private static async Task<GetScorerResponse> Get(ScorerRequest request, ScorerStore store, CancellationToken cancellationToken)
    {
        var (experiment, name) = (FieldRules.Required(request.ExperimentId, "experiment_id"), FieldRules.Required(request.Name, "name"));
        return new GetScorerResponse(
            await store.FindAsync(ExperimentId.Parse(experiment), name, request.Version, cancellationToken).ConfigureAwait(false)
            ?? throw NotFound(experiment, name, request.Version));
    }

    private static async Task<Empty> Delete(ScorerRequest request, ScorerStore store, CancellationToken cancellationToken)
    {
        var (experiment, name) = (FieldRules.Required(request.ExperimentId, "experiment_id"), FieldRules.Required(request.Name, "name"));
        if (!await store.DeleteAsync(ExperimentId.Parse(experiment), name, request.Version, cancellationToken).ConfigureAwait(false))
            throw NotFound(experiment, name, request.Version);
        return Empty.Value;
    }

    /// <summary>Clients since 3.9 ask this with every scorer that they read. Scoring needs models behind a gateway, and there is none here.</summary>
    private static Task<OnlineScoringConfigsResponse> GetOnlineConfigs(
        GetOnlineScoringConfigs request, ScorerStore store, CancellationToken cancellationToken) =>
        request.ScorerIds is { Count: > 0 }
            ? Task.FromResult(new OnlineScoringConfigsResponse([]))
            : throw FieldRules.Missing("scorer_ids");

    /// <summary>
    /// How many traces a scorer is to score as they come in: none is all that can be set where nothing is scored, and needs not be kept, since it
    /// is so without being set.
    /// </summary>
    private static async Task<OnlineScoringConfigResponse> SetOnlineConfig(
        SetOnlineScoringConfig request, ScorerStore store, CancellationToken cancellationToken)
    {
        var (experiment, name) = (FieldRules.Required(request.ExperimentId, "experiment_id"), FieldRules.Required(request.Name, "name"));
        var rate = FieldRules.Required(request.SampleRate, "sample_rate");
        if (rate is not (>= 0 and <= 1))
            throw MlflowException.InvalidValue("sample_rate", rate.ToString(CultureInfo.InvariantCulture), "it must be from 0 to 1.");
        FilterParser.Parse(request.FilterString, Vocabularies.Traces);
        var scorer = await store.FindAsync(ExperimentId.Parse(experiment), name, null, cancellationToken).ConfigureAwait(false)
            ?? throw NotFound(experiment, name, null);
        if (rate > 0)
        {
            throw MlflowException.InvalidValue(
                "sample_rate",
                rate.ToString(CultureInfo.InvariantCulture),
                "traces are scored as they come in only with models of a gateway, and this server has none.");
        }

        return new OnlineScoringConfigResponse(new OnlineScoringConfig(
            Guid.NewGuid().ToString("N"), scorer.ScorerId, rate, ExperimentId.Format(scorer.ExperimentId), request.FilterString));
    }

    private static MlflowException NotFound(string experiment, string name, int? version) => MlflowException.NotFound(
        $"Scorer with name {MlflowException.Quote(name)}"
        + (version is { } number ? string.Create(CultureInfo.InvariantCulture, $" and version {number}") : "")
        + $" not found for experiment {experiment}.");
}
