namespace MlflowCompat.Storage.Migrations;

/// <summary>How a migration stands in a database.</summary>
public enum MigrationState
{
    /// <summary>Applied as this build knows it.</summary>
    Applied,

    /// <summary>Known to this build, not applied yet.</summary>
    Pending,

    /// <summary>Applied, but from another text than this build's.</summary>
    Edited,

    /// <summary>Applied by a newer build; this one does not know it.</summary>
    Unknown,
}

/// <summary>One line of <c>db status</c>.</summary>
/// <param name="Version">Number of the migration.</param>
/// <param name="Name">Its name.</param>
/// <param name="State">How it stands.</param>
/// <param name="AppliedAt">When it was applied, UTC.</param>
public sealed record MigrationStatus(int Version, string Name, MigrationState State, DateTime? AppliedAt);

/// <summary>What a database holds, compared with what this build expects.</summary>
/// <param name="Migrations">All migrations that the build or the database knows, ascending.</param>
/// <param name="ForeignTables">
/// Why the database is not one of ours, when it has no migration history but tables of somebody else: the names that were found.
/// </param>
public sealed record SchemaStatus(IReadOnlyList<MigrationStatus> Migrations, IReadOnlyList<string> ForeignTables)
{
    /// <summary>Whether every known migration is applied and nothing else.</summary>
    public bool IsUpToDate => ForeignTables.Count == 0 && Migrations.All(migration => migration.State == MigrationState.Applied);

    /// <summary>Why this build must leave the database alone, or null when it may use and upgrade it.</summary>
    public string? Refusal
    {
        get
        {
            if (ForeignTables.Contains("alembic_version"))
            {
                return "it belongs to an MLflow server (it has the table alembic_version). MlflowCompat keeps its data in tables of its own "
                    + "and does not touch MLflow's; point --backend-store-uri at an empty database.";
            }

            if (ForeignTables.Count > 0)
            {
                return $"it has tables that MlflowCompat did not make ({string.Join(", ", ForeignTables)}); "
                    + "point --backend-store-uri at an empty database.";
            }

            if (Migrations.LastOrDefault(migration => migration.State == MigrationState.Unknown) is { } newer)
            {
                return $"its schema is newer than this server: it has migration {newer.Version} ({newer.Name}). Run a newer MlflowCompat.";
            }

            if (Migrations.FirstOrDefault(migration => migration.State == MigrationState.Edited) is { } edited)
            {
                return $"migration {edited.Version} ({edited.Name}) was applied from another text than this server's; "
                    + "'mlflow-compat db status' shows all differences.";
            }

            return null;
        }
    }
}

/// <summary>The database is not one that this build may use; the message says why. Nothing was changed.</summary>
public sealed class SchemaRefusedException : Exception
{
    /// <summary>Names the database and the reason.</summary>
    public SchemaRefusedException(string message)
        : base(message)
    {
    }
}
