using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Registered models, prompts included, in the database (mapping C-34, C-39).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="outbox">Is told what happens.</param>
public sealed class RegisteredModelStore(Database database, WebhookOutbox outbox)
{
    /// <summary>Makes a registered model without versions.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="description">Its description, or null.</param>
    /// <param name="tags">Its tags, each key once.</param>
    /// <param name="cancellationToken">Gives up before the commit.</param>
    /// <exception cref="MlflowException">RESOURCE_ALREADY_EXISTS: a model or a prompt has the name.</exception>
    public async Task<RegisteredModel> CreateAsync(string name, string? description, List<KeyValue> tags, CancellationToken cancellationToken)
    {
        var now = StoredTime.Now();
        try
        {
            await database.WriteAsync(
                async (session, token) =>
                {
                    await session.ExecuteLastAsync(
                        database.Statement("""
                            INSERT INTO registered_models (registered_model_name, description, tags, created_at, updated_at)
                            VALUES ($1, $2, $3, $4, $4)
                            """).Add(name).Add(description).AddJson(Tags.ToJson(tags)).AddTime(now),
                        token).ConfigureAwait(false);
                    await outbox.AddAsync(session, RegistryEvent.ModelCreated(PromptTags.SayPrompt(tags), name, tags, description), token).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw await NameTakenAsync(name, PromptTags.SayPrompt(tags), cancellationToken).ConfigureAwait(false);
        }

        return new RegisteredModel(name, now, now, string.IsNullOrEmpty(description) ? null : description, null, tags.Count == 0 ? null : tags, null);
    }

    /// <summary>A registered model, or null.</summary>
    public async Task<RegisteredModel?> FindAsync(string name, CancellationToken cancellationToken)
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await RegisteredModelReader.FindAsync(database, session, name, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Changes or, with null, clears the description.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task<RegisteredModel> UpdateAsync(string name, string? description, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            await session.ExecuteAsync(
                database.Statement("UPDATE registered_models SET description = $2, updated_at = $3 WHERE registered_model_name = $1")
                    .Add(name).Add(description).AddTime(StoredTime.Now()),
                token).ConfigureAwait(false);
            return await RegisteredModelReader.FindAsync(database, session, name, token).ConfigureAwait(false)
                ?? throw HeldRegisteredModel.NotFound(name);
        },
        cancellationToken);

    /// <summary>Renames a registered model; versions and aliases follow.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST; RESOURCE_ALREADY_EXISTS: another one has the new name.</exception>
    public async Task<RegisteredModel> RenameAsync(string name, string newName, CancellationToken cancellationToken)
    {
        try
        {
            return await database.WriteAsync(
                async (session, token) =>
                {
                    var held = await HeldRegisteredModel.LockAsync(database, session, name, token).ConfigureAwait(false);
                    // Only looked at, not held: renamings to each other's names would wait in a circle. Their primary key decides in the end.
                    var takenBy = await session.FirstOrDefaultAsync(
                        database.Statement(
                            $"SELECT COALESCE({PromptTags.Value(database, "tags")}, '') FROM registered_models WHERE registered_model_name = $1").Add(newName),
                        reader => reader.GetString(0),
                        token).ConfigureAwait(false);
                    if (takenBy is not null && newName != name)
                        throw NameTaken(newName, PromptTags.IsTrue(takenBy), held.IsPrompt);
                    var now = StoredTime.Now();
                    // Versions and aliases follow by their foreign keys.
                    await session.ExecuteAsync(
                        [
                            database.Statement("UPDATE registered_models SET registered_model_name = $2, updated_at = $3 WHERE registered_model_name = $1")
                                .Add(name).Add(newName).AddTime(now),
                            database.Statement("UPDATE model_registry SET updated_at = $2 WHERE registered_model_name = $1 AND deleted_at IS NULL")
                                .Add(newName).AddTime(now),
                        ],
                        token).ConfigureAwait(false);
                    return (await RegisteredModelReader.FindAsync(database, session, newName, token).ConfigureAwait(false))!;
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (DbException exception) when (DatabaseFaults.Classify(exception) == DatabaseFault.Duplicate)
        {
            throw await NameTakenAsync(newName, wantsPrompt: null, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Deletes a registered model for good, with its versions and aliases.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task DeleteAsync(string name, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var deleted = await session.ExecuteAsync(
                database.Statement("DELETE FROM registered_models WHERE registered_model_name = $1").Add(name), token).ConfigureAwait(false);
            if (deleted == 0)
                throw HeldRegisteredModel.NotFound(name);
        },
        cancellationToken);

    /// <summary>Sets a tag.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST.</exception>
    public Task SetTagAsync(string name, string key, string value, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var held = await HeldRegisteredModel.LockAsync(database, session, name, token).ConfigureAwait(false);
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE registered_models SET tags = ")
                .Append(Tags.Merge(database, "tags", sql.AddJson(Tags.ToJson(key, value))))
                .Append($" WHERE registered_model_name = {sql.Add(held.Name)}");
            await session.ExecuteLastAsync(sql.ToStatement(), token).ConfigureAwait(false);
            if (held.IsPrompt)
                await outbox.AddAsync(session, RegistryEvent.PromptTagSet(name, key, value), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Deletes a tag; nothing happens when there is none.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such registered model.</exception>
    public Task DeleteTagAsync(string name, string key, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var held = await HeldRegisteredModel.LockAsync(database, session, name, token).ConfigureAwait(false);
            var sql = new StatementBuilder(database);
            sql.Append("UPDATE registered_models SET tags = ").Append(Tags.Without(sql, "tags", key))
                .Append($" WHERE registered_model_name = {sql.Add(held.Name)}");
            await session.ExecuteLastAsync(sql.ToStatement(), token).ConfigureAwait(false);
            if (held.IsPrompt)
                await outbox.AddAsync(session, RegistryEvent.PromptTagDeleted(name, key), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>The error for a name that somebody took in the same moment.</summary>
    private async Task<MlflowException> NameTakenAsync(string name, bool? wantsPrompt, CancellationToken cancellationToken)
    {
        var isPrompt = PromptTags.SayPrompt((await FindAsync(name, cancellationToken).ConfigureAwait(false))?.Tags);
        return NameTaken(name, isPrompt, wantsPrompt ?? isPrompt);
    }

    private static MlflowException NameTaken(string name, bool isPrompt, bool wantsPrompt)
    {
        return new MlflowException(ErrorCode.ResourceAlreadyExists, isPrompt == wantsPrompt
            ? $"{(isPrompt ? "Prompt" : "Registered Model")} (name={name}) already exists."
            : $"No {Kind(wantsPrompt)} can have the name {MlflowException.Quote(name)}: a {Kind(isPrompt)} has it, and models and prompts share their names.");

        static string Kind(bool isPrompt) => isPrompt ? "prompt" : "registered model";
    }
}
