using MlflowCompat.Storage;

namespace MlflowCompat.Server.Summaries;

/// <summary>
/// One of the specified summary views (mapping C-56). They are materialized on PostgreSQL, and so show what was there when they were last
/// refreshed; on SQLite they are plain views, always current, and nothing here has anything to do.
/// </summary>
/// <param name="name">Its name.</param>
/// <param name="tables">The tables that it reads.</param>
public sealed class SummaryView(string name, params string[] tables)
{
    /// <summary>With the name of the schema it is the advisory lock of whoever refreshes on schedule: "mlfv" in ASCII.</summary>
    internal const int AdvisoryLock = 0x6d6c6676;

    private readonly string[] tables = tables;

    /// <summary>All of them.</summary>
    public static IReadOnlyList<SummaryView> All { get; } =
    [
        new("mv_experiment_summary", "experiments", "runs"),
        new("mv_model_performance", "models", "model_registry", "runs", "metrics"),
    ];

    /// <summary>Name of the view.</summary>
    public string Name { get; } = name;

    /// <summary>Refreshes the view; those who read or write meanwhile do not wait.</summary>
    /// <exception cref="System.Data.Common.DbException">See <see cref="DatabaseFaults"/>.</exception>
    public Task RefreshAsync(Database database, CancellationToken cancellationToken) =>
        database.Kind == DatabaseKind.Sqlite
            ? Task.CompletedTask
            : database.WriteAsync(
                async (session, token) =>
                {
                    var change = await ReadChangeAsync(database, session, token).ConfigureAwait(false);
                    await RefreshAsync(database, session, change.Now, token).ConfigureAwait(false);
                },
                cancellationToken);

    /// <summary>
    /// Refreshes the view if one of its tables has changed since that was done last, by whatever server or person, and no other server is at it.
    /// </summary>
    /// <returns>Whether it was refreshed.</returns>
    /// <exception cref="System.Data.Common.DbException">See <see cref="DatabaseFaults"/>.</exception>
    public async Task<bool> RefreshIfChangedAsync(Database database, CancellationToken cancellationToken)
    {
        if (database.Kind == DatabaseKind.Sqlite)
            return false;
        var reading = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (reading.ConfigureAwait(false))
        {
            if (!(await ReadChangeAsync(database, reading, cancellationToken).ConfigureAwait(false)).IsDue)
                return false;
        }

        return await database.WriteAsync(
            async (session, token) =>
            {
                var isMine = await session.ScalarAsync<bool>(
                    database.Statement($"SELECT pg_try_advisory_xact_lock({AdvisoryLock}, hashtext(current_schema()))"), token).ConfigureAwait(false);
                if (isMine is not true)
                    return false;
                // Another server may have done it just now.
                var change = await ReadChangeAsync(database, session, token).ConfigureAwait(false);
                if (change.IsDue)
                    await RefreshAsync(database, session, change.Now, token).ConfigureAwait(false);
                return change.IsDue;
            },
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// PostgreSQL's own counters of changed rows, which cost nothing to read. They may be a second late, but never early: what they do not
    /// count yet makes another refresh later.
    /// </summary>
    private async Task<Change> ReadChangeAsync(Database database, DatabaseSession session, CancellationToken cancellationToken) =>
        (await session.FirstOrDefaultAsync(
            database.Statement(
                """
                SELECT CASE WHEN current_setting('track_counts')::boolean THEN (
                        SELECT string_agg(concat_ws(' ', relname, n_tup_ins, n_tup_upd, n_tup_del), ', ' ORDER BY relname)
                        FROM pg_stat_user_tables WHERE relid IN (SELECT name::regclass FROM unnest($1) AS name)) END,
                    (SELECT source_changes FROM view_refreshes WHERE view_name = $2)
                """).Add(tables).Add(Name),
            reader => new Change(reader.GetStringOrNull(0), reader.GetStringOrNull(1)),
            cancellationToken).ConfigureAwait(false))!;

    /// <param name="database">The database.</param>
    /// <param name="session">A transaction.</param>
    /// <param name="changes">The counters as they were before.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    private async Task RefreshAsync(Database database, DatabaseSession session, string? changes, CancellationToken cancellationToken)
    {
        await session.ExecuteAsync(
            database.Statement($"REFRESH MATERIALIZED VIEW CONCURRENTLY {Name}").WithoutTimeLimit(), cancellationToken).ConfigureAwait(false);
        await session.ExecuteLastAsync(
            database.Statement(
                """
                INSERT INTO view_refreshes (view_name, source_changes) VALUES ($1, $2)
                ON CONFLICT (view_name) DO UPDATE SET refreshed_at = excluded.refreshed_at, source_changes = excluded.source_changes
                """).Add(Name).Add(changes),
            cancellationToken).ConfigureAwait(false);
    }

    /// <param name="Now">The counters; null when PostgreSQL keeps none.</param>
    /// <param name="Refreshed">What they were when the view was refreshed.</param>
    private sealed record Change(string? Now, string? Refreshed)
    {
        public bool IsDue => Now is null || Now != Refreshed;
    }
}
