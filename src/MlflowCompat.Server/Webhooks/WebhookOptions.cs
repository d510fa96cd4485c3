using System.Net;

namespace MlflowCompat.Server.Webhooks;

/// <summary>How webhooks are delivered; MLflow's variables of the same names fill it.</summary>
public sealed record WebhookOptions
{
    private static readonly string[] HttpsOnly = [Uri.UriSchemeHttps];
    private static readonly Func<string, CancellationToken, Task<IPAddress[]>> Dns = System.Net.Dns.GetHostAddressesAsync;

    /// <summary>Schemes that addresses may have (MLFLOW_WEBHOOK_ALLOWED_SCHEMES), in lower case.</summary>
    public IReadOnlyList<string> AllowedSchemes { get; init; } = HttpsOnly;

    /// <summary>Whether deliveries may go to addresses that are not public (MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS).</summary>
    public bool AllowPrivateIps { get; init; }

    /// <summary>
    /// The key that secrets are encrypted under, 32 bytes (MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, in which it is base64); null for one that
    /// the server makes and keeps in a file.
    /// </summary>
    public IReadOnlyList<byte>? SecretEncryptionKey { get; init; }

    /// <summary>How many deliveries are under way at a time (MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS).</summary>
    public int MaxWorkers { get; init; } = 10;

    /// <summary>How long a receiver may take (MLFLOW_WEBHOOK_REQUEST_TIMEOUT).</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often a delivery is repeated that has failed for a reason that may pass (MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES).</summary>
    public int MaxRetries { get; init; } = 3;

    /// <summary>Pause before the first repetition; each further one is twice as long.</summary>
    public TimeSpan RetryPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often a server looks for what others have left, when it knows of webhooks.</summary>
    public TimeSpan PollInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a webhook remains with a server that does not say that it is still there.</summary>
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long finished deliveries are kept.</summary>
    public TimeSpan Retention { get; init; } = TimeSpan.FromDays(7);

    /// <summary>Finds the addresses of a host.</summary>
    public Func<string, CancellationToken, Task<IPAddress[]>> ResolveAsync { get; init; } = Dns;

    /// <summary>What <see cref="SecretEncryptionKey"/> is in the form of MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY: 32 bytes as base64, usual or URL-safe.</summary>
    /// <returns>Null when it is not of this form.</returns>
    public static IReadOnlyList<byte>? ParseKey(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var key = new byte[33];
        var base64 = text.Trim().Replace('-', '+').Replace('_', '/');
        return Convert.TryFromBase64String(base64, key, out var length) && length == 32 ? key[..32] : null;
    }
}
