using System.Data.Common;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Server.Webhooks;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Registry;

/// <summary>Registered models, prompts included, and their aliases in the database (mapping C-34, C-39).</summary>
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
        var now = Now();
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
            throw NameTaken(name, await FindAsync(name, cancellationToken).ConfigureAwait(false), PromptTags.SayPrompt(tags));
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

    private static long Now() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    private static MlflowException NameTaken(string name, RegisteredModel? holder, bool wantsPrompt)
    {
        var (kind, wanted) = (Kind(PromptTags.SayPrompt(holder?.Tags)), Kind(wantsPrompt));
        return new MlflowException(ErrorCode.ResourceAlreadyExists, kind == wanted
            ? $"{kind} (name={name}) already exists."
            : $"The name {MlflowException.Quote(name)} is already taken by a {kind.ToLowerInvariant()}: models and prompts share their names, so no {wanted.ToLowerInvariant()} can have it.");

        static string Kind(bool isPrompt) => isPrompt ? "Prompt" : "Registered Model";
    }
}
