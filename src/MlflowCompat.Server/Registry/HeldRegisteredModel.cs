using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>
/// A registered model that a transaction holds: until it ends nobody else changes the model, its versions or its aliases. Every write to
/// one of them begins here, and takes no second one afterwards, so writes neither number a version twice nor wait in a circle.
/// </summary>
/// <param name="Name">Its name.</param>
/// <param name="IsPrompt">Whether it is a prompt.</param>
internal sealed record HeldRegisteredModel(string Name, bool IsPrompt)
{
    /// <summary>Finds a registered model and holds it.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public static async Task<HeldRegisteredModel> LockAsync(
        Database database, DatabaseSession session, string name, CancellationToken cancellationToken) =>
        await TryLockAsync(database, session, name, cancellationToken).ConfigureAwait(false) ?? throw NotFound(name);

    /// <summary>Finds a registered model and holds it; null when there is none.</summary>
    public static Task<HeldRegisteredModel?> TryLockAsync(
        Database database, DatabaseSession session, string name, CancellationToken cancellationToken) =>
        session.FirstOrDefaultAsync(
            database.Statement(
                $"SELECT registered_model_name, {PromptTags.Value(database, "tags")} FROM registered_models WHERE registered_model_name = $1"
                + database.Choose(" FOR UPDATE", "")).Add(name),
            Read,
            cancellationToken);

    /// <summary>The error for an unknown registered model.</summary>
    public static MlflowException NotFound(string name) => MlflowException.NotFound($"Registered Model with name={name} not found");

    private static HeldRegisteredModel Read(DbDataReader reader) =>
        new(reader.GetString(0), PromptTags.IsTrue(reader.GetStringOrNull(1)));
}
