using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>
/// Tags of runs: what MLflow's own tags mean to the specified columns of a run (mapping 2.2, C-15 to C-17). The tag is always the truth
/// and is stored as sent; the column is a copy for readers of the specified schema, NULL when the value does not fit it.
/// </summary>
public static class RunTags
{
    /// <summary>The tag that repeats the name of a run.</summary>
    public const string RunName = "mlflow.runName";

    /// <summary>The tag by which a client asks that equal runs be refused (mapping C-12).</summary>
    public const string Fingerprint = "run_fingerprint";

    /// <summary>The tag that collects what log-model records.</summary>
    public const string LoggedModelHistory = "mlflow.log-model.history";

    /// <summary>Longest name of a run.</summary>
    public const int MaxRunNameLength = 250;

    /// <summary>Longest fingerprint: the hex digits of a SHA-256.</summary>
    public const int MaxFingerprintLength = 64;

    private const int MaxValueLength = 8000;

    private const string Note = "mlflow.note.content";
    private const string Parent = "mlflow.parentRunId";
    private const string SourceType = "mlflow.source.type";
    private const string SourceName = "mlflow.source.name";
    private const string GitCommit = "mlflow.source.git.commit";
    private const string GitBranch = "mlflow.source.git.branch";
    private const string GitRepository = "mlflow.source.git.repoURL";

    private const int MaxGitCommitLength = 40;
    private const int MaxGitBranchLength = 255;

    /// <summary>A tag value within its limit: cut, or refused where the server is configured so (contract: semantics §4.1).</summary>
    public static string Value(ServerOptions options, string? value, FieldName parameter) => options.TruncateLongValues
        ? FieldRules.Truncate(value ?? "", MaxValueLength)
        : FieldRules.MaxLength(value ?? "", MaxValueLength, parameter);

    /// <summary>Refuses tags that what hangs on them cannot take.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: a name of the run that is too long.</exception>
    public static void Check(IReadOnlyList<KeyValue> tags)
    {
        foreach (var tag in tags)
        {
            if (tag.Key == RunName)
                FieldRules.MaxLength(tag.Value ?? "", MaxRunNameLength, "run_name");
        }
    }

    /// <summary>
    /// The statement that sets tags of a run, which were checked, with everything that hangs on them: its name and the copied columns.
    /// </summary>
    public static Statement Set(Database database, long runKey, IReadOnlyList<KeyValue> tags)
    {
        // An empty name changes neither the name nor the tag that repeats it (contract: semantics §5).
        var last = LastOfEach(tags.Where(tag => tag.Key != RunName || !string.IsNullOrEmpty(tag.Value))).ToList();
        var sql = new StatementBuilder(database);
        sql.Append("UPDATE runs SET tags = ").Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(last))));
        foreach (var tag in last)
        {
            if (tag.Key == RunName)
                sql.Append($", run_name = {sql.Add(tag.Value!)}");
            if (Column(tag.Key!, tag.Value) is { } column)
                sql.Append($", {column.Name} = {Expression(sql, column)}");
        }

        sql.Append($" WHERE run_id = {sql.Add(runKey)}");
        return sql.ToStatement();
    }

    /// <summary>The statement that deletes a tag of a run; it changes no row when the run does not have it.</summary>
    public static Statement Delete(Database database, long runKey, string key)
    {
        var sql = new StatementBuilder(database);
        sql.Append("UPDATE runs SET tags = ").Append(Tags.Without(sql, "tags", key));
        if (Column(key, null) is { } column)
            sql.Append($", {column.Name} = NULL");
        sql.Append($" WHERE run_id = {sql.Add(runKey)} AND ").Append(Tags.Has(sql, "tags", key));
        return sql.ToStatement();
    }

    /// <summary>The copied columns of a new run: their names and the expressions of their values.</summary>
    public static (string Names, string Expressions) Columns(StatementBuilder sql, IReadOnlyList<KeyValue> tags)
    {
        var columns = LastOfEach(tags).Select(tag => Column(tag.Key!, tag.Value)).OfType<DerivedColumn>().ToList();
        // A run that says nothing of its source was made by plain REST (mapping C-15).
        if (columns.TrueForAll(column => column.Name != "source_type"))
            columns.Add(new DerivedColumn("source_type", "api"));
        return (
            string.Concat(columns.Select(column => ", " + column.Name)),
            string.Concat(columns.Select(column => ", " + Expression(sql, column))));
    }

    private static IEnumerable<KeyValue> LastOfEach(IEnumerable<KeyValue> tags) =>
        tags.GroupBy(tag => tag.Key, StringComparer.Ordinal).Select(group => group.Last());

    private static DerivedColumn? Column(string key, string? value) => key switch
    {
        Note => new DerivedColumn("run_description", value),
        Parent => new DerivedColumn("parent_run_id", value),
        SourceType => new DerivedColumn("source_type", value switch
        {
            "NOTEBOOK" => "notebook",
            "LOCAL" => "script",
            "PROJECT" => "cli",
            "JOB" => "scheduled",
            _ => null,
        }),
        SourceName => new DerivedColumn("source_name", value),
        GitCommit => new DerivedColumn("git_commit_hash", IfFits(value, MaxGitCommitLength)),
        GitBranch => new DerivedColumn("git_branch", IfFits(value, MaxGitBranchLength)),
        GitRepository => new DerivedColumn("git_repo_url", value),
        _ => null,
    };

    private static string? IfFits(string? value, int limit) => value is null || FieldRules.CodePoints(value) <= limit ? value : null;

    private static string Expression(StatementBuilder sql, DerivedColumn column) =>
        column.Name == "parent_run_id"
            ? column.Value is not null && RunId.TryParse(column.Value) is { } parent
                ? $"(SELECT parent.run_id FROM runs parent WHERE parent.run_uuid = {sql.Add(parent)})"
                : "NULL"
            : column.Value is null ? "NULL" : sql.Add(column.Value);

    private sealed record DerivedColumn(string Name, string? Value);
}
