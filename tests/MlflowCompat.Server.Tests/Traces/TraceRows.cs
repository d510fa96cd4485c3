using MlflowCompat.Storage;

namespace MlflowCompat.Server.Tests.Traces;

/// <summary>What has to hold between the tables of traces, whatever happened to the server and whoever came at the same time.</summary>
internal static class TraceRows
{
    /// <summary>Asserts that every span and assessment has its trace, and that every trace shows what is stored of it.</summary>
    public static async Task AssertWholeAsync(Database database)
    {
        await using var session = await database.OpenAsync(CancellationToken.None);
        foreach (var (what, broken) in Broken(database))
        {
            Assert.Equal(
                (what, 0), (what, await session.ScalarAsync<long>(database.Statement($"SELECT count(*) FROM ({broken}) AS broken"), CancellationToken.None)));
        }
    }

    /// <summary>How many rows a table has.</summary>
    public static async Task<long> CountAsync(Database database, string table)
    {
        await using var session = await database.OpenAsync(CancellationToken.None);
        return (await session.ScalarAsync<long>(database.Statement($"SELECT count(*) FROM {table}"), CancellationToken.None))!.Value;
    }

    private static IEnumerable<(string What, string Sql)> Broken(Database database)
    {
        foreach (var table in (string[])["spans", "assessments"])
        {
            yield return ($"{table} without their trace",
                $"SELECT 1 FROM {table} x WHERE NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.trace_id = x.trace_id AND t.experiment_id = x.experiment_id)");
        }

        yield return ("sums that are none of the spans", database.Choose(
            """
            SELECT 1 FROM trace_info t
            LEFT JOIN (SELECT trace_id, sum((usage ->> 'input_tokens')::bigint) AS tokens FROM spans GROUP BY trace_id) s ON s.trace_id = t.trace_id
            WHERE COALESCE(s.tokens, 0) <> COALESCE(((t.trace_metadata ->> 'mlflow.trace.tokenUsage')::jsonb ->> 'input_tokens')::bigint, 0)
            """,
            """
            SELECT 1 FROM trace_info t
            LEFT JOIN (SELECT trace_id, sum(json_extract(usage, '$.input_tokens')) AS tokens FROM spans GROUP BY trace_id) s ON s.trace_id = t.trace_id
            WHERE COALESCE(s.tokens, 0) <> COALESCE(json_extract(json_extract(t.trace_metadata, '$."mlflow.trace.tokenUsage"'), '$.input_tokens'), 0)
            """));
        if (database.Kind != DatabaseKind.Sqlite)
            yield break;
        const string Shown = """
            SELECT t.experiment_id, e.kind, e.key, e.value, e.trace_id FROM trace_entries_of e JOIN trace_info t ON t.trace_id = e.trace_id
            """;
        const string Kept = "SELECT experiment_id, kind, key, value, trace_id FROM trace_entries";
        yield return ("entries that are missing", $"{Shown} EXCEPT {Kept}");
        yield return ("entries of what is gone", $"{Kept} EXCEPT {Shown}");
    }
}
