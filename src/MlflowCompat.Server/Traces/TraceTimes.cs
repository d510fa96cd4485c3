using System.Globalization;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Traces;

/// <summary>Times and durations in protobuf's JSON form, to whole milliseconds (contract: semantics §2).</summary>
internal static class TraceTimes
{
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

    /// <summary>A time as clients see it; what no calendar carries is shown as its nearest bound.</summary>
    public static string Format(long milliseconds)
    {
        var time = DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(milliseconds, StoredTime.CalendarMin, StoredTime.CalendarMax));
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
