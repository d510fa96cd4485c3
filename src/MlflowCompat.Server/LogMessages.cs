using MlflowCompat.Artifacts;

namespace MlflowCompat.Server;

/// <summary>Every message that the server logs.</summary>
internal static partial class LogMessages
{
    [LoggerMessage(1, LogLevel.Warning, "{Method} {Path}: database unavailable: {Reason}")]
    public static partial void DatabaseUnavailable(this ILogger logger, string method, string path, string reason);

    [LoggerMessage(2, LogLevel.Error, "{Method} {Path} failed")]
    public static partial void RequestFailed(this ILogger logger, Exception exception, string method, string path);

    [LoggerMessage(3, LogLevel.Information, "applied migration {Version} {Name}")]
    public static partial void MigrationApplied(this ILogger logger, int version, string name);

    [LoggerMessage(4, LogLevel.Warning, "option {Option} is for MLflow's Python server and has no effect here")]
    public static partial void OptionIgnored(this ILogger logger, string option);

    [LoggerMessage(5, LogLevel.Information, "{Product} {Version}, MLflow API {ApiVersion}, listens on {Addresses}; database: {Database}; artifacts: {Artifacts}; clients: MLFLOW_TRACKING_URI={TrackingUri}")]
    public static partial void Started(
        this ILogger logger, string product, string version, string apiVersion, string addresses, string database, string artifacts, string trackingUri);

    [LoggerMessage(6, LogLevel.Warning, "the checks of hosts, origins and frames are switched off; any web page that a user visits can reach this server")]
    public static partial void SecurityDisabled(this ILogger logger);

    [LoggerMessage(7, LogLevel.Warning, "{Method} {Path} refused: Host header {Host} is not among the allowed hosts")]
    public static partial void HostRefused(this ILogger logger, string method, string path, string host);

    [LoggerMessage(8, LogLevel.Warning, "{Method} {Path} refused: origin {Origin} is not among the allowed origins")]
    public static partial void OriginRefused(this ILogger logger, string method, string path, string origin);

    [LoggerMessage(9, LogLevel.Error, "{Method} {Path}: artifact store: {Fault}: {Reason} ({Detail})")]
    public static partial void ArtifactStoreFailed(
        this ILogger logger, string method, string path, ArtifactFault fault, string reason, string? detail);

    [LoggerMessage(10, LogLevel.Warning, "artifacts: {Task} put off: {Reason}")]
    public static partial void ArtifactUpkeepFailed(this ILogger logger, string task, string reason);

    [LoggerMessage(11, LogLevel.Information, "artifacts: {Count} uploads that a server did not finish were finished or forgotten")]
    public static partial void UploadsRecovered(this ILogger logger, int count);

    [LoggerMessage(12, LogLevel.Warning, "{View} was not refreshed: {Reason}")]
    public static partial void ViewRefreshFailed(this ILogger logger, string view, string reason);

    [LoggerMessage(13, LogLevel.Information, "webhooks: made the key file {File}, under which secrets are encrypted; keep it with the database")]
    public static partial void WebhookKeyFileMade(this ILogger logger, string file);

    [LoggerMessage(14, LogLevel.Warning, "webhooks: secrets are encrypted under the key in {File}, which only this server has; if others use the same database, set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY to what is in it, on all of them")]
    public static partial void WebhookKeyOfOneServer(this ILogger logger, string file);

    [LoggerMessage(15, LogLevel.Error, "webhooks: key file {File}: {Reason}")]
    public static partial void WebhookKeyFileFailed(this ILogger logger, string file, string reason);

    [LoggerMessage(16, LogLevel.Information, "webhook {WebhookId}: delivery {DeliveryId} to {Host}, attempt {Attempt}: {Reason}; next attempt in {Seconds:0.0} s")]
    public static partial void WebhookDeliveryFailed(
        this ILogger logger, string webhookId, Guid deliveryId, string host, int attempt, string reason, double seconds);

    [LoggerMessage(17, LogLevel.Warning, "webhook {WebhookId}: delivery {DeliveryId} to {Host} given up after {Attempts} attempts: {Reason}")]
    public static partial void WebhookDeliveryGivenUp(
        this ILogger logger, string webhookId, Guid deliveryId, string host, int attempts, string reason);

    [LoggerMessage(18, LogLevel.Warning, "webhooks: deliveries put off: {Reason}")]
    public static partial void WebhookDeliveryPutOff(this ILogger logger, string reason);

    [LoggerMessage(19, LogLevel.Information, "traces: {Count} were older than they are to be kept, and are deleted")]
    public static partial void OldTracesDeleted(this ILogger logger, long count);

    [LoggerMessage(20, LogLevel.Warning, "traces: deletion of old ones put off: {Reason}")]
    public static partial void TraceRetentionFailed(this ILogger logger, string reason);

    [LoggerMessage(21, LogLevel.Debug, "{Method} {Path}: the client has gone")]
    public static partial void ClientHasGone(this ILogger logger, string method, string path);

    [LoggerMessage(22, LogLevel.Warning, "traces: indexing the text of spans put off: {Reason}")]
    public static partial void SpanTextIndexingFailed(this ILogger logger, string reason);
}
