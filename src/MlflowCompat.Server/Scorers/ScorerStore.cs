using System.Data.Common;
using MlflowCompat.Server.Experiments;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Scorers;

/// <summary>
/// Scorers and their versions (mapping section 6). Who registers or deletes one holds its experiment, so that versions are numbered one by
/// one whoever comes at the same time.
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class ScorerStore(Database database)
{
    private const string Select = """
        SELECT s.experiment_id, s.scorer_name, v.scorer_version, v.serialized_scorer, v.creation_time, s.scorer_id
        FROM scorers s JOIN scorer_versions v ON v.scorer_id = s.scorer_id
        WHERE s.experiment_id = $1
        """;

    /// <summary>Adds a version to a scorer, which is made if there is none of that name.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public Task<Scorer> RegisterAsync(long experimentId, string name, string serialized, CancellationToken cancellationToken)
    {
        var id = Guid.NewGuid();
        return database.WriteAsync(
            async (session, token) =>
            {
                await ExperimentStore.RequireActiveAsync(database, session, experimentId, token).ConfigureAwait(false);
                var now = StoredTime.Now();
                await session.ExecuteLastAsync(
                    database.Statement("INSERT INTO scorers (scorer_id, experiment_id, scorer_name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                        .Add(id).Add(experimentId).Add(name),
                    token).ConfigureAwait(false);
                return (await session.CommitWithAsync(
                    database.Statement("""
                        INSERT INTO scorer_versions (scorer_id, scorer_version, serialized_scorer, creation_time)
                        SELECT s.scorer_id, 1 + COALESCE((SELECT max(v.scorer_version) FROM scorer_versions v WHERE v.scorer_id = s.scorer_id), 0),
                            $3, $4
                        FROM scorers s WHERE s.experiment_id = $1 AND s.scorer_name = $2
                        RETURNING scorer_version, scorer_id
                        """).Add(experimentId).Add(name).Add(serialized).AddTime(now),
                    reader => new Scorer(experimentId, name, reader.GetInt32(0), serialized, now, reader.GetGuid(1).ToString("D")),
                    token).ConfigureAwait(false))!;
            },
            cancellationToken,
            serialized.Length);
    }

    /// <summary>The latest version of each scorer of an experiment, by name.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public Task<List<Scorer>> ListAsync(long experimentId, CancellationToken cancellationToken) => ReadAsync(
        experimentId,
        database.Statement($"""
            {Select} AND v.scorer_version = (SELECT max(later.scorer_version) FROM scorer_versions later WHERE later.scorer_id = s.scorer_id)
            ORDER BY {Searching.Conditions.Ordinal(database, "s.scorer_name")}
            """).Add(experimentId),
        cancellationToken);

    /// <summary>All versions of a scorer, ascending; none when there is no such scorer.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public Task<List<Scorer>> ListVersionsAsync(long experimentId, string name, CancellationToken cancellationToken) => ReadAsync(
        experimentId,
        database.Statement($"{Select} AND s.scorer_name = $2 ORDER BY v.scorer_version").Add(experimentId).Add(name),
        cancellationToken);

    /// <summary>A version of a scorer, or its latest one, or null.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public async Task<Scorer?> FindAsync(long experimentId, string name, int? version, CancellationToken cancellationToken)
    {
        var statement = version is { } number
            ? database.Statement($"{Select} AND s.scorer_name = $2 AND v.scorer_version = $3").Add(experimentId).Add(name).Add((long)number)
            : database.Statement($"{Select} AND s.scorer_name = $2 ORDER BY v.scorer_version DESC LIMIT 1").Add(experimentId).Add(name);
        return (await ReadAsync(experimentId, statement, cancellationToken).ConfigureAwait(false)).FirstOrDefault();
    }

    /// <summary>Deletes a version of a scorer, or the scorer with all of them, and returns whether there was any.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; INVALID_PARAMETER_VALUE when the experiment is deleted.</exception>
    public Task<bool> DeleteAsync(long experimentId, string name, int? version, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await ExperimentStore.RequireActiveAsync(database, session, experimentId, token).ConfigureAwait(false);
            const string OfScorer = "scorer_id = (SELECT scorer_id FROM scorers WHERE experiment_id = $1 AND scorer_name = $2)";
            if (version is { } number)
            {
                return await session.ExecuteAsync(
                    database.Statement($"DELETE FROM scorer_versions WHERE {OfScorer} AND scorer_version = $3")
                        .Add(experimentId).Add(name).Add((long)number),
                    token).ConfigureAwait(false) > 0;
            }

            // A scorer whose versions were deleted one by one counts as none, but its name begins anew with another id.
            var versions = await session.ExecuteAsync(
                database.Statement($"DELETE FROM scorer_versions WHERE {OfScorer}").Add(experimentId).Add(name), token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM scorers WHERE experiment_id = $1 AND scorer_name = $2").Add(experimentId).Add(name),
                token).ConfigureAwait(false);
            return versions > 0;
        },
        cancellationToken);

    private async Task<List<Scorer>> ReadAsync(long experimentId, Statement statement, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var scorers = await session.ListAsync(statement, Read, cancellationToken).ConfigureAwait(false);
            // Nothing needs to be held for reading: whether the experiment is there is asked after, and only what was read then counts.
            await ExperimentStore.CheckActiveAsync(database, session, experimentId, cancellationToken).ConfigureAwait(false);
            return scorers;
        }
    }

    private static Scorer Read(DbDataReader reader) => new(
        reader.GetInt64(0),
        reader.GetString(1),
        reader.GetInt32(2),
        reader.GetString(3),
        reader.GetMilliseconds(4),
        reader.GetGuid(5).ToString("D"));
}
