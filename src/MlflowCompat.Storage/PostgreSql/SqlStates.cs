namespace MlflowCompat.Storage.PostgreSql;

/// <summary>The SQLSTATE codes that this server reacts to, as listed in appendix A of PostgreSQL's documentation.</summary>
internal static class SqlStates
{
    public const string UniqueViolation = "23505";
    public const string UndefinedTable = "42P01";
    public const string SerializationFailure = "40001";
    public const string DeadlockDetected = "40P01";
    public const string LockNotAvailable = "55P03";
    public const string QueryCanceled = "57014";
    public const string AdminShutdown = "57P01";
    public const string CrashShutdown = "57P02";
    public const string CannotConnectNow = "57P03";
    public const string ReadOnlyTransaction = "25006";

    private const string ConnectionClass = "08";
    private const string InsufficientResourcesClass = "53";
    private const string SystemErrorClass = "58";

    public static DatabaseFault Classify(string sqlState) => sqlState switch
    {
        UniqueViolation => DatabaseFault.Duplicate,
        SerializationFailure or DeadlockDetected => DatabaseFault.Contention,
        AdminShutdown or CrashShutdown or CannotConnectNow or LockNotAvailable or QueryCanceled or ReadOnlyTransaction =>
            DatabaseFault.Unavailable,
        _ when sqlState.StartsWith(ConnectionClass, StringComparison.Ordinal)
            || sqlState.StartsWith(InsufficientResourcesClass, StringComparison.Ordinal)
            || sqlState.StartsWith(SystemErrorClass, StringComparison.Ordinal) => DatabaseFault.Unavailable,
        _ => DatabaseFault.Other,
    };
}
