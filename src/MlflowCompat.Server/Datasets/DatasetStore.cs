using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Datasets;

/// <summary>
/// Data sets, and the links between runs, data sets and logged models (mapping 2.9, 2.10, C-40 to C-44). A data set is known within its
/// experiment by name and digest: what was stored of it first stays, and so do the tags of its first link to a run.
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class DatasetStore(Database database)
{
    private const int MaxSummaries = 1000;

    private const string InsertLink = """
        INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
        """;

    /// <summary>Links data sets and models to a run as its inputs.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the run is deleted.</exception>
    public Task LogInputsAsync(
        Guid runId, IReadOnlyList<DatasetInput> inputs, IReadOnlyList<string> modelIds, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await ActiveRun.LockAsync(database, session, runId, token).ConfigureAwait(false);
            var statements = new List<Statement>();
            foreach (var modelId in modelIds)
                statements.Add(Link(Guid.NewGuid(), "RUN_INPUT", IdText(run.Id), "MODEL_INPUT", modelId, 0));
            if (inputs.Count > 0)
                await AddDatasetsAsync(session, run, inputs, statements, token).ConfigureAwait(false);
            await session.ExecuteAsync(statements, token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Links models to a run as its outputs. The same output may be given again, but not with another step.</summary>
    /// <exception cref="MlflowException">
    /// RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the run is deleted, or has one of the models as its output at another step.
    /// </exception>
    public Task LogOutputsAsync(Guid runId, IReadOnlyList<ModelOutput> outputs, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var run = await ActiveRun.LockAsync(database, session, runId, token).ConfigureAwait(false);
            var steps = (await session.ListAsync(
                database.Statement(
                    "SELECT destination_id, step FROM inputs WHERE source_type = 'RUN_OUTPUT' AND source_id = $1 AND destination_type = 'MODEL_OUTPUT' AND destination_id "
                        + database.Choose("= ANY($2)", "IN (SELECT value FROM json_each($2))"))
                    .Add(IdText(run.Id)).Add((IReadOnlyList<string>)[.. outputs.Select(output => output.ModelId!)]),
                reader => (ModelId: reader.GetString(0), Step: reader.GetInt64(1)),
                token).ConfigureAwait(false)).ToDictionary(row => row.ModelId, row => row.Step, StringComparer.Ordinal);
            var links = new List<Statement>();
            foreach (var output in outputs)
            {
                var step = output.Step ?? 0;
                if (steps.TryAdd(output.ModelId!, step))
                    links.Add(Link(Guid.NewGuid(), "RUN_OUTPUT", IdText(run.Id), "MODEL_OUTPUT", output.ModelId!, step));
                else if (steps[output.ModelId!] is var linked && linked != step)
                    throw MlflowException.InvalidParameter($"The model {MlflowException.Quote(output.ModelId!)} is an output of the run at step {linked}; it cannot be one at step {step} too.");
            }

            await session.ExecuteAsync(links, token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>The data sets that runs of some experiments have used, with what for; at most 1000.</summary>
    public async Task<List<DatasetSummary>> SearchAsync(IReadOnlyList<long> experimentIds, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.ListAsync(
                database.Statement($"""
                    SELECT DISTINCT d.experiment_id, d.dataset_name, d.dataset_digest, t.value
                    FROM datasets d
                    JOIN inputs i ON i.source_type = 'DATASET' AND i.source_id = {database.Choose("d.dataset_uuid::text", "d.dataset_uuid")}
                        AND i.destination_type = 'RUN'
                    LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'
                    WHERE d.experiment_id {database.Choose("= ANY($1)", "IN (SELECT value FROM json_each($1))")}
                    ORDER BY 1, 2, 3, 4{Conditions.Limit(MaxSummaries, 0)}
                    """).Add(experimentIds),
                reader => new DatasetSummary(
                    ExperimentId.Format(reader.GetInt64(0)), reader.GetString(1), reader.GetString(2), reader.GetStringOrNull(3)),
                cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task AddDatasetsAsync(
        DatabaseSession session, ActiveRun run, IReadOnlyList<DatasetInput> inputs, List<Statement> statements, CancellationToken cancellationToken)
    {
        // Of a data set that is given twice the first one counts, as it would in two requests. Runs that log the same ones at once insert
        // them in the same order, or they would wait for each other.
        var given = inputs
            .DistinctBy(input => (input.Dataset!.Name, input.Dataset.Digest))
            .OrderBy(input => input.Dataset!.Name, StringComparer.Ordinal).ThenBy(input => input.Dataset!.Digest, StringComparer.Ordinal)
            .Select(input => (Input: input, Id: Guid.NewGuid(), Facts: DatasetFacts.Of(input)))
            .ToList();
        await session.ExecuteAsync([.. given.Select(item => Insert(run, item.Id, item.Input.Dataset!, item.Facts))], cancellationToken)
            .ConfigureAwait(false);
        var stored = (await session.ListAsync(
            database.Statement(
                "SELECT dataset_id, dataset_uuid, dataset_name, dataset_digest FROM datasets WHERE experiment_id = $1 AND dataset_name "
                    + database.Choose("= ANY($2)", "IN (SELECT value FROM json_each($2))"))
                .Add(run.ExperimentId).Add((IReadOnlyList<string>)[.. given.Select(item => item.Input.Dataset!.Name!)]),
            reader => (Key: reader.GetInt64(0), Id: reader.GetGuid(1), Name: reader.GetString(2), Digest: reader.GetStringOrNull(3)),
            cancellationToken).ConfigureAwait(false)).ToDictionary(row => (row.Name, row.Digest));
        var linked = (await session.ListAsync(
            database.Statement("SELECT source_id FROM inputs WHERE destination_type = 'RUN' AND destination_id = $1 AND source_type = 'DATASET'")
                .Add(IdText(run.Id)),
            reader => reader.GetString(0),
            cancellationToken).ConfigureAwait(false)).ToHashSet(StringComparer.Ordinal);

        foreach (var (input, id, facts) in given)
        {
            var row = stored[(input.Dataset!.Name!, input.Dataset.Digest)];
            if (row.Id == id)
                statements.AddRange(facts.Features.Select(feature => Insert(row.Key, feature)));
            if (linked.Contains(IdText(row.Id)))
                continue;
            var link = Guid.NewGuid();
            statements.Add(Link(link, "DATASET", IdText(row.Id), "RUN", IdText(run.Id), 0));
            foreach (var tag in (input.Tags ?? []).GroupBy(tag => tag.Key, StringComparer.Ordinal).Select(group => group.Last()))
            {
                statements.Add(database.Statement("INSERT INTO input_tags (input_uuid, name, value) VALUES ($1, $2, $3)")
                    .Add(link).Add(tag.Key).Add(tag.Value ?? ""));
            }
        }
    }

    private Statement Insert(ActiveRun run, Guid id, Dataset dataset, DatasetFacts facts) => database.Statement("""
        INSERT INTO datasets (dataset_uuid, experiment_id, dataset_name, dataset_digest, dataset_source_type, dataset_source,
            dataset_schema, dataset_profile, dataset_type, file_path, file_format, num_rows, num_columns, schema_definition, column_types)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        ON CONFLICT DO NOTHING
        """)
        .Add(id).Add(run.ExperimentId).Add(dataset.Name).Add(dataset.Digest).Add(dataset.SourceType).Add(dataset.Source)
        .Add(dataset.Schema).Add(dataset.Profile).Add(facts.DatasetType).Add(facts.FilePath).Add(facts.FileFormat)
        .Add(facts.NumRows).Add(facts.NumColumns).AddJson(facts.SchemaDefinition).AddJson(facts.ColumnTypes);

    private Statement Insert(long datasetKey, DatasetFeature feature) => database.Statement("""
        INSERT INTO dataset_features (dataset_id, feature_name, feature_type, data_type) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """).Add(datasetKey).Add(feature.Name).Add(feature.FeatureType).Add(feature.DataType);

    private Statement Link(Guid id, string sourceType, string sourceId, string destinationType, string destinationId, long step) =>
        database.Statement(InsertLink)
            .Add(id).Add(sourceType).Add(sourceId).Add(destinationType).Add(destinationId).Add(step);

    private static string IdText(Guid id) => id.ToString("D");
}
