using System.Security.Cryptography;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Runs;

/// <summary>
/// Fingerprints of runs: live runs of an experiment have different ones. A run whose client gave none has a random one, so that nobody is
/// ever refused without having asked for it (mapping C-12).
/// </summary>
internal static class RunFingerprints
{
    /// <summary>A fingerprint that no run has.</summary>
    public static string Random() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));

    /// <summary>
    /// The statement that readies deleted runs for being restored, which never fails: a fingerprint that is taken stays with the run that
    /// has it, and the restored one keeps its own in the metadata.
    /// </summary>
    /// <param name="database">Whose dialect.</param>
    /// <param name="restored">Condition on the rows of <c>runs</c> that are restored.</param>
    /// <param name="taken">Condition on another row, <c>other</c>, with the same fingerprint: whether that one has it.</param>
    public static Statement GiveUpTaken(Database database, string restored, string taken)
    {
        var (metadata, fingerprint) = database.Kind == DatabaseKind.PostgreSql
            ? ("COALESCE(metadata, '{}') || jsonb_build_object('fingerprint', run_fingerprint)", "DEFAULT")
            : ("json_set(COALESCE(metadata, '{}'), '$.fingerprint', run_fingerprint)", "lower(hex(randomblob(32)))");
        return database.Statement($"""
            UPDATE runs SET metadata = {metadata}, run_fingerprint = {fingerprint}
            WHERE {restored} AND EXISTS (
                SELECT 1 FROM runs other
                WHERE other.experiment_id = runs.experiment_id AND other.run_fingerprint = runs.run_fingerprint AND {taken})
            """);
    }
}
