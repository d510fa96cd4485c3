using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Storage;
using MlflowCompat.Storage.Sqlite;

namespace MlflowCompat.Server.Webhooks;

/// <summary>
/// Encrypts the secrets of webhooks for the database: AES-256-GCM, under a key derived from MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY or, without
/// that, from a key file that is made when the first secret is stored. A stored secret belongs to its webhook: in the row of another one
/// it cannot be decrypted.
/// </summary>
/// <param name="options">The key that was given.</param>
/// <param name="database">Where secrets are stored; the key file is beside an SQLite file, otherwise in the working folder.</param>
/// <param name="logger">Where it says that a file was made.</param>
public sealed class WebhookSecrets(WebhookOptions options, Database database, ILogger<WebhookSecrets> logger)
{
    /// <summary>Ends the name of the key file.</summary>
    public const string KeyFileSuffix = "webhook-key";

    /// <summary>Begins each stored secret; another way to encrypt would have another one.</summary>
    private const string Format = "v1.";

    private const int KeyLength = 32;
    private const int NonceLength = 12;
    private const int TagLength = 16;

    private readonly Lock keyLock = new();
    private byte[]? key;

    /// <summary>Where the key is when none was given.</summary>
    public string KeyFile { get; } = database is SqliteDatabase sqlite
        ? $"{sqlite.FilePath}.{KeyFileSuffix}"
        : Path.GetFullPath($"mlflow-compat.{KeyFileSuffix}");

    /// <summary>The form in which a secret is stored.</summary>
    /// <exception cref="WebhookSecretException">There is no key, and none can be made.</exception>
    public string Encrypt(string webhookId, string secret)
    {
        var plain = Encoding.UTF8.GetBytes(secret);
        var sealedSecret = new byte[NonceLength + TagLength + plain.Length];
        var nonce = sealedSecret.AsSpan(0, NonceLength);
        RandomNumberGenerator.Fill(nonce);
        using var cipher = new AesGcm(Key(mayMake: true), TagLength);
        cipher.Encrypt(
            nonce, plain, sealedSecret.AsSpan(NonceLength + TagLength), sealedSecret.AsSpan(NonceLength, TagLength), Encoding.UTF8.GetBytes(webhookId));
        return Format + Convert.ToBase64String(sealedSecret);
    }

    /// <summary>The secret, as UTF-8.</summary>
    /// <exception cref="WebhookSecretException">There is no key, or it is not the one under which the secret was encrypted.</exception>
    public byte[] Decrypt(string webhookId, string stored)
    {
        try
        {
            if (!stored.StartsWith(Format, StringComparison.Ordinal))
                throw new FormatException();
            var sealedSecret = Convert.FromBase64String(stored[Format.Length..]);
            var plain = new byte[sealedSecret.Length - NonceLength - TagLength];
            using var cipher = new AesGcm(Key(mayMake: false), TagLength);
            cipher.Decrypt(
                sealedSecret.AsSpan(0, NonceLength),
                sealedSecret.AsSpan(NonceLength + TagLength),
                sealedSecret.AsSpan(NonceLength, TagLength),
                plain,
                Encoding.UTF8.GetBytes(webhookId));
            return plain;
        }
        catch (Exception exception) when (exception is CryptographicException or FormatException or OverflowException)
        {
            throw new WebhookSecretException(
                "the webhook's secret cannot be decrypted: it was encrypted under another key than this server has (MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, or its key file)");
        }
    }

    private byte[] Key(bool mayMake)
    {
        lock (keyLock)
            return key ??= HKDF.DeriveKey(HashAlgorithmName.SHA256, GivenKey(mayMake), KeyLength, info: "mlflow-compat webhook secrets"u8.ToArray());
    }

    private byte[] GivenKey(bool mayMake)
    {
        if (options.SecretEncryptionKey is { } given)
            return [.. given];
        try
        {
            if (!File.Exists(KeyFile))
            {
                if (!mayMake)
                    throw new WebhookSecretException("the webhook's secret cannot be decrypted: MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY is not set, and this server has no key file");
                MakeKeyFile();
            }

            if (WebhookOptions.ParseKey(File.ReadAllText(KeyFile)) is not { } kept)
                throw new WebhookSecretException("the server's key file for webhook secrets is damaged");
            if (database.Kind == DatabaseKind.PostgreSql)
                logger.WebhookKeyOfOneServer(KeyFile);
            return [.. kept];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            logger.WebhookKeyFileFailed(KeyFile, exception.Message);
            throw new WebhookSecretException("the server cannot keep a key for webhook secrets; set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY");
        }
    }

    /// <summary>Whoever is first makes it for all: a file that is there is complete, and is never replaced.</summary>
    private void MakeKeyFile()
    {
        var draft = $"{KeyFile}.{Guid.NewGuid():N}";
        var create = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            create.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        using (var file = new FileStream(draft, create))
        {
            file.Write(Encoding.ASCII.GetBytes(Convert.ToBase64String(RandomNumberGenerator.GetBytes(KeyLength)).Replace('+', '-').Replace('/', '_')));
            file.Flush(flushToDisk: true);
        }

        try
        {
            File.Move(draft, KeyFile, overwrite: false);
        }
        catch (IOException) when (File.Exists(KeyFile))
        {
            File.Delete(draft);
            return;
        }

        logger.WebhookKeyFileMade(KeyFile);
    }
}

/// <summary>A secret cannot be encrypted or decrypted.</summary>
/// <param name="message">Why; without paths of this machine.</param>
public sealed class WebhookSecretException(string message) : Exception(message);
