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
        session.FirstOrDefaultAsync(Select(database, "registered_model_name = $1", "").Add(name), Read, cancellationToken);

    /// <summary>
    /// Holds those of two registered models that there are, in the order of their names: two renamings to each other's name do not wait
    /// for each other.
    /// </summary>
    public static async Task<(HeldRegisteredModel? One, HeldRegisteredModel? Other)> TryLockBothAsync(
        Database database, DatabaseSession session, string one, string other, CancellationToken cancellationToken)
    {
        var held = await session.ListAsync(
            Select(database, "registered_model_name IN ($1, $2)", "ORDER BY registered_model_name").Add(one).Add(other), Read, cancellationToken)
            .ConfigureAwait(false);
        return (held.Find(model => model.Name == one), held.Find(model => model.Name == other));
    }

    /// <summary>The error for an unknown registered model.</summary>
    public static MlflowException NotFound(string name) => MlflowException.NotFound($"Registered Model with name={name} not found");

    private static Statement Select(Database database, string condition, string order) => database.Statement(
        $"SELECT registered_model_name, {PromptTags.Value(database, "tags")} FROM registered_models WHERE {condition} {order}"
        + database.Choose(" FOR UPDATE", ""));

    private static HeldRegisteredModel Read(DbDataReader reader) =>
        new(reader.GetString(0), PromptTags.IsTrue(reader.GetStringOrNull(1)));
}
