using System.Globalization;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Metrics;

/// <summary>
/// The params of runs that a transaction holds: what is stored of those that it is about to log, and what it adds. A param never changes
/// its value (contract: semantics §6).
/// </summary>
internal sealed class RunParams
{
    private static readonly RowsInsert Inserted = new("hyperparameters", "run_id, param_key, param_value, param_type");

    private readonly Database database;
    private readonly Dictionary<(long Run, string Key), string> known = [];
    private readonly List<(long Run, string Key, string Value)> added = [];

    private RunParams(Database database) => this.database = database;

    /// <summary>Reads what is stored of the params that some requests log.</summary>
    public static async Task<RunParams> ReadAsync(
        Database database,
        DatabaseSession session,
        Dictionary<Guid, HeldRun> held,
        List<PendingLog> logs,
        CancellationToken cancellationToken)
    {
        var result = new RunParams(database);
        var asking = logs.FindAll(log => log.Log.Params.Count > 0);
        if (asking.Count == 0)
            return result;
        var asked = asking.SelectMany(log => log.Log.Params, (log, parameter) => (Run: held[log.RunId].Key, Key: parameter.Key!)).Distinct();
        if (database.Kind == DatabaseKind.PostgreSql)
        {
            var pairs = asked.ToList();
            await result.ReadAsync(
                session,
                // OFFSET 0 keeps the planner from reading the table for a join with the list: it looks up one param after the other.
                database.Statement("""
                    SELECT h.run_id, h.param_key, h.param_value
                    FROM unnest($1, $2) AS asked(run_id, param_key) CROSS JOIN LATERAL (
                        SELECT p.run_id, p.param_key, p.param_value FROM hyperparameters p
                        WHERE p.run_id = asked.run_id AND p.param_key = asked.param_key OFFSET 0) AS h
                    """).Add([.. pairs.Select(pair => pair.Run)]).Add([.. pairs.Select(pair => pair.Key)]),
                cancellationToken).ConfigureAwait(false);
            return result;
        }

        // SQLite cannot join two lists by position without going through one for each element of the other.
        foreach (var run in asked.GroupBy(pair => pair.Run, pair => pair.Key))
        {
            await result.ReadAsync(
                session,
                database.Statement("""
                    SELECT run_id, param_key, param_value FROM hyperparameters
                    WHERE run_id = $1 AND param_key IN (SELECT value FROM json_each($2))
                    """).Add(run.Key).Add([.. run]),
                cancellationToken).ConfigureAwait(false);
        }

        return result;
    }

    /// <summary>Adds the params of a request, unless the run has them already.</summary>
    /// <exception cref="MlflowException">
    /// INVALID_PARAMETER_VALUE naming every param that has another value; then none of them was added.
    /// </exception>
    public void Add(ActiveRun run, IReadOnlyList<KeyValue> parameters)
    {
        var conflicts = parameters
            .Where(parameter => known.TryGetValue((run.Key, parameter.Key!), out var old) && old != parameter.Value)
            .Select(parameter =>
                $"Param with key={MlflowException.Quote(parameter.Key!)} is {MlflowException.Quote(known[(run.Key, parameter.Key!)])} and was sent as {MlflowException.Quote(parameter.Value!)}")
            .ToList();
        if (conflicts.Count > 0)
        {
            throw MlflowException.InvalidParameter(
                $"Changing param values is not allowed. {string.Join("; ", conflicts)} (run {RunId.Format(run.Id)})");
        }

        foreach (var parameter in parameters)
        {
            if (known.TryAdd((run.Key, parameter.Key!), parameter.Value!))
                added.Add((run.Key, parameter.Key!, parameter.Value!));
        }
    }

    /// <summary>The statement that stores what was added.</summary>
    public RowsStatement Insert()
    {
        var rows = added.ToArray();
        return database.Rows(Inserted)
            .Add(Array.ConvertAll(rows, row => row.Run))
            .Add(Array.ConvertAll(rows, row => row.Key))
            .Add(Array.ConvertAll(rows, row => row.Value))
            .Add(Array.ConvertAll(rows, row => TypeOf(row.Value)));
    }

    private async Task ReadAsync(DatabaseSession session, Statement statement, CancellationToken cancellationToken)
    {
        var rows = await session.ListAsync(
            statement, reader => (Run: reader.GetInt64(0), Key: reader.GetString(1), Value: reader.GetString(2)), cancellationToken)
            .ConfigureAwait(false);
        foreach (var (run, key, value) in rows)
            known.Add((run, key), value);
    }

    /// <summary>What a param looks like, for readers of the specified schema; clients never see it (mapping C-54).</summary>
    private static string TypeOf(string value)
    {
        if (long.TryParse(value, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _))
            return "integer";
        if (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _))
            return "float";
        if (value is "true" or "false" or "True" or "False")
            return "boolean";
        return IsJson(value) ? "json" : "string";
    }

    private static bool IsJson(string value)
    {
        if (value.Length < 2 || value[0] is not ('{' or '[') || value[^1] is not ('}' or ']'))
            return false;
        try
        {
            using var document = JsonDocument.Parse(value);
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
