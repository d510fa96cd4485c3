using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Aliases of registered models in the database (mapping C-39).</summary>
/// <param name="database">The workspace's database.</param>
/// <param name="outbox">Is told what happens.</param>
public sealed class RegisteredModelAliasStore(Database database, WebhookOutbox outbox)
{
    /// <summary>Makes an alias, or moves it to another version.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such version, or no such registered model.</exception>
    public Task SetAsync(string name, string alias, int number, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var held = await HeldRegisteredModel.TryLockAsync(database, session, name, token).ConfigureAwait(false)
                ?? throw ModelVersionNumber.NotFound(name, number);
            var set = await session.ExecuteAsync(
                database.Statement($"""
                    INSERT INTO registered_model_aliases (registered_model_name, alias, model_version)
                    SELECT registered_model_name, $2, model_version FROM model_registry
                    WHERE registered_model_name = $1 AND model_version = $3 AND {ModelVersionReader.IsThere}
                    ON CONFLICT (registered_model_name, alias) DO UPDATE SET model_version = excluded.model_version
                    """).Add(held.Name).Add(alias).Add(number),
                token).ConfigureAwait(false);
            if (set == 0)
                throw ModelVersionNumber.NotFound(name, number);
            await outbox.AddAsync(
                session, RegistryEvent.AliasCreated(held.IsPrompt, held.Name, alias, ModelVersionNumber.Format(number)), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Deletes an alias; nothing happens when there is none.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: no such registered model.</exception>
    public Task DeleteAsync(string name, string alias, CancellationToken cancellationToken) => database.WriteAsync(
        async (session, token) =>
        {
            var held = await HeldRegisteredModel.LockAsync(database, session, name, token).ConfigureAwait(false);
            await session.ExecuteLastAsync(
                database.Statement("DELETE FROM registered_model_aliases WHERE registered_model_name = $1 AND alias = $2").Add(held.Name).Add(alias),
                token).ConfigureAwait(false);
            await outbox.AddAsync(session, RegistryEvent.AliasDeleted(held.IsPrompt, held.Name, alias), token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>The version that an alias leads to, with all its aliases; null when there is no such alias.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: the version was deleted.</exception>
    public async Task<ModelVersion?> FindAsync(string name, string alias, CancellationToken cancellationToken)
    {
        var found = await FindAsync(
            database.Statement($"""
                SELECT alias.model_version, {ModelVersionReader.ColumnsWithAliases(database)}
                FROM registered_model_aliases alias
                LEFT JOIN model_registry ON model_registry.registered_model_name = alias.registered_model_name
                    AND model_registry.model_version = alias.model_version AND {ModelVersionReader.IsThere}
                WHERE alias.registered_model_name = $1 AND alias.alias = $2
                """).Add(name).Add(alias),
            reader => Tuple.Create(reader.GetInt32(0), reader.IsDBNull(1) ? null : ModelVersionReader.Read(reader, 1)),
            cancellationToken).ConfigureAwait(false);
        return found is null ? null : found.Item2 ?? throw ModelVersionNumber.NotFound(name, found.Item1);
    }

    /// <summary>The newest version, with its aliases; null when there is none.</summary>
    public Task<ModelVersion?> FindLatestAsync(string name, CancellationToken cancellationToken) => FindAsync(
        database.Statement($"""
            SELECT {ModelVersionReader.ColumnsWithAliases(database)} FROM model_registry
            WHERE model_registry.registered_model_name = $1 AND {ModelVersionReader.IsThere}
            ORDER BY model_registry.model_version DESC LIMIT 1
            """).Add(name),
        reader => ModelVersionReader.Read(reader),
        cancellationToken);

    private async Task<T?> FindAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
        where T : class
    {
        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
            return await session.FirstOrDefaultAsync(statement, map, cancellationToken).ConfigureAwait(false);
    }
}
