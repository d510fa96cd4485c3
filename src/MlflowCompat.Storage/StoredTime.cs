using System.Data.Common;

namespace MlflowCompat.Storage;

/// <summary>
/// MLflow's times, int64 milliseconds since 1970, at the edge of the storage (mapping C-2). PostgreSQL keeps them in TIMESTAMP columns in
/// UTC, which carry what a calendar date can carry; every other value goes to a BIGINT overflow column beside, and the TIMESTAMP holds the
/// nearest bound. SQLite keeps the milliseconds themselves and leaves the overflow column NULL.
/// </summary>
public static class StoredTime
{
    /// <summary>
    /// The bound that stands for everything before the calendar: 0001-01-01T00:00:00.001. Npgsql takes the millisecond before it,
    /// <see cref="DateTime.MinValue"/>, for PostgreSQL's <c>-infinity</c>, with which no other reader can calculate.
    /// </summary>
    public const long CalendarMin = -62_135_596_799_999;

    /// <summary>The bound that stands for everything after the calendar: 9999-12-31T23:59:59.999.</summary>
    public const long CalendarMax = 253_402_300_799_999;

    /// <summary>The present time, as MLflow counts it.</summary>
    public static long Now() => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    /// <summary>
    /// Whether the value is kept by the TIMESTAMP column alone. The bounds themselves are not, so that a comparison with a value inside
    /// the calendar never has to look at the overflow column.
    /// </summary>
    public static bool FitsCalendar(long milliseconds) => milliseconds is > CalendarMin and < CalendarMax;

    /// <summary>The value of the TIMESTAMP column, which Npgsql wants to be of unspecified kind.</summary>
    internal static DateTime ToTimestamp(long milliseconds) =>
        DateTime.SpecifyKind(
            DateTime.UnixEpoch.AddMilliseconds(Math.Clamp(milliseconds, CalendarMin, CalendarMax)),
            DateTimeKind.Unspecified);

    /// <summary>The value of the overflow column.</summary>
    internal static long? ToOverflow(long milliseconds) => FitsCalendar(milliseconds) ? null : milliseconds;

    /// <summary>Reads a time column; finer parts that other writers left are cut off.</summary>
    public static long GetMilliseconds(this DbDataReader reader, int ordinal) =>
        reader is Npgsql.NpgsqlDataReader ? ToMilliseconds(reader.GetDateTime(ordinal)) : reader.GetInt64(ordinal);

    /// <summary>Milliseconds since 1970 of what a TIMESTAMP column holds; finer parts are cut off.</summary>
    public static long ToMilliseconds(DateTime timestamp) =>
        Math.DivRem(timestamp.Ticks - DateTime.UnixEpoch.Ticks, TimeSpan.TicksPerMillisecond) is var (quotient, rest) && rest < 0
            ? quotient - 1
            : quotient;

    /// <summary>Reads a nullable time column.</summary>
    public static long? GetMillisecondsOrNull(this DbDataReader reader, int ordinal) =>
        reader.IsDBNull(ordinal) ? null : reader.GetMilliseconds(ordinal);

    /// <summary>Reads a time column with its overflow column.</summary>
    public static long GetMilliseconds(this DbDataReader reader, int ordinal, int overflowOrdinal) =>
        reader.IsDBNull(overflowOrdinal) ? reader.GetMilliseconds(ordinal) : reader.GetInt64(overflowOrdinal);

    /// <summary>Reads a nullable time column with its overflow column.</summary>
    public static long? GetMillisecondsOrNull(this DbDataReader reader, int ordinal, int overflowOrdinal) =>
        reader.IsDBNull(ordinal) ? null : reader.GetMilliseconds(ordinal, overflowOrdinal);

    /// <summary>Reads a nullable text column.</summary>
    public static string? GetStringOrNull(this DbDataReader reader, int ordinal) =>
        reader.IsDBNull(ordinal) ? null : reader.GetString(ordinal);
}
