using Microsoft.Extensions.Logging.Console;

namespace MlflowCompat.Server.Configuration;

/// <summary>How the log looks: on the console, one line a message.</summary>
internal static class ConsoleLog
{
    /// <summary>Logs as text for people, or as JSON for machines.</summary>
    public static void WriteToConsole(this ILoggingBuilder logging, bool json)
    {
        logging.SetMinimumLevel(LogLevel.Information);
        logging.AddFilter("Microsoft", LogLevel.Warning);
        // What keeps the server from starting is said once, by the command that starts it, and not in a stack trace.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.Critical);
        if (json)
            logging.AddJsonConsole(console => SetTime(console, "yyyy-MM-dd'T'HH:mm:ss.fff'Z'"));
        else
            logging.AddSimpleConsole(console => SetTime(console, "yyyy-MM-dd HH:mm:ss' UTC '").SingleLine = true);
    }

    private static T SetTime<T>(T console, string format)
        where T : ConsoleFormatterOptions
    {
        console.UseUtcTimestamp = true;
        console.TimestampFormat = format;
        return console;
    }
}
