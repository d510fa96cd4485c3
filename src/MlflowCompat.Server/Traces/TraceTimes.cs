using System.Globalization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>
/// Times and durations of traces, to whole milliseconds, and their form in protobuf's JSON (contract: semantics §2). Times are those of the
/// calendar, years 1 to 9999, which is all that this form can say; so no difference or sum of them overflows.
/// </summary>
internal static class TraceTimes
{
    private const long Min = -62_135_596_800_000;
    private const long Max = 253_402_300_799_999;

    /// <summary>A time that came as a number of milliseconds since 1970; absent is 1970.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static long Checked(long? milliseconds, string parameter) => milliseconds is null or (>= Min and <= Max)
        ? milliseconds ?? 0
        : throw MlflowException.InvalidValue(
            parameter,
            milliseconds.Value.ToString(CultureInfo.InvariantCulture),
            "it must be a time in milliseconds since 1970, between the years 1 and 9999.");

    /// <summary>Reads an RFC 3339 time; absent is 1970.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static long Parse(string? time, string parameter)
    {
        if (string.IsNullOrEmpty(time))
            return 0;
        return DateTimeOffset.TryParse(time, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var parsed) && char.IsAsciiDigit(time[0])
            ? parsed.ToUnixTimeMilliseconds()
            : throw MlflowException.InvalidValue(parameter, MlflowException.Quote(time), "it must be a time such as 2025-01-31T12:00:00.500Z.");
    }

    /// <summary>A time as a date; what no calendar carries is its nearest bound.</summary>
    public static DateTimeOffset ToDate(long milliseconds) => DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(milliseconds, Min, Max));

    /// <summary>A time as clients see it.</summary>
    public static string Format(long milliseconds)
    {
        var time = ToDate(milliseconds);
        return time.ToString(time.Millisecond == 0 ? "yyyy-MM-dd'T'HH:mm:ss'Z'" : "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
    }

    /// <summary>Reads a duration; null when absent.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static long? ParseDuration(string? duration, string parameter)
    {
        if (string.IsNullOrEmpty(duration))
            return null;
        return duration[^1] == 's'
            && decimal.TryParse(duration.AsSpan(..^1), NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && Math.Abs(seconds) < 1e15m
            ? (long)Math.Truncate(seconds * 1000)
            : throw MlflowException.InvalidValue(parameter, MlflowException.Quote(duration), "it must be a duration such as 1.500s.");
    }

    /// <summary>A duration as clients see it.</summary>
    public static string FormatDuration(long milliseconds)
    {
        var seconds = milliseconds / 1000;
        var rest = Math.Abs(milliseconds % 1000);
        var sign = milliseconds < 0 && seconds == 0 ? "-" : "";
        return rest == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{sign}{seconds}s")
            : string.Create(CultureInfo.InvariantCulture, $"{sign}{seconds}.{rest:000}s");
    }
}
