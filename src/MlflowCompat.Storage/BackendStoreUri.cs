using System.Globalization;
using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;
using Npgsql;

namespace MlflowCompat.Storage;

/// <summary>
/// Where the tracking data lives, in the forms that <c>--backend-store-uri</c> takes: SQLAlchemy's <c>sqlite:///relative.db</c>,
/// <c>sqlite:////absolute.db</c>, <c>postgresql://user:password@host:port/database?sslmode=…</c> (with or without a driver as in
/// <c>postgresql+psycopg2</c>), or a connection string in Npgsql's own words (<c>Host=…;Database=…</c>).
/// </summary>
public static class BackendStoreUri
{
    /// <summary>The pool of the specification (decisions 2). A later key wins, so whatever the user says goes behind.</summary>
    private const string PoolDefaults = "Minimum Pool Size=2;Maximum Pool Size=30;Timeout=30;Connection Lifetime=3600;";

    /// <summary>Makes the database that <paramref name="uri"/> names; nothing is opened yet.</summary>
    /// <param name="uri">One of the forms above.</param>
    /// <param name="defineSqliteFunctions">Handed to <see cref="SqliteDatabase"/>.</param>
    /// <exception cref="FormatException">The text is of no known form, or names a database that is not supported.</exception>
    public static Database Parse(string uri, Action<Microsoft.Data.Sqlite.SqliteConnection>? defineSqliteFunctions = null)
    {
        ArgumentNullException.ThrowIfNull(uri);
        var text = uri.Trim();
        var schemeEnd = text.IndexOf("://", StringComparison.Ordinal);
        if (schemeEnd < 0)
        {
            return text.Contains('=', StringComparison.Ordinal)
                ? PostgreSql(PoolDefaults + text)
                : throw new FormatException(
                    $"Backend store '{text}' is neither a database URI nor a connection string. For a SQLite file write sqlite:///{text}");
        }

        var scheme = text[..schemeEnd].Split('+')[0].ToLowerInvariant();
        return scheme switch
        {
            "sqlite" => new SqliteDatabase(SqlitePath(text, schemeEnd), defineSqliteFunctions),
            "postgresql" or "postgres" => PostgreSql(PostgreSqlConnectionString(text)),
            _ => throw new FormatException(
                $"Backend store scheme '{scheme}' is not supported; use postgresql://… or sqlite:///…"),
        };
    }

    private static string SqlitePath(string text, int schemeEnd)
    {
        var path = text[(schemeEnd + "://".Length)..];
        if (path.IndexOf('?', StringComparison.Ordinal) is var query and >= 0)
            path = path[..query];
        if (path is "" or "/" || path.Contains(":memory:", StringComparison.Ordinal))
            throw new FormatException($"Backend store '{text}' keeps nothing on disk; name a file, as in sqlite:///mlflow-compat.db");
        if (path[0] != '/')
            throw new FormatException($"Backend store '{text}' names a host; a SQLite file has three slashes (relative) or four (absolute)");
        return path[1..];
    }

    private static PostgreSqlDatabase PostgreSql(string connectionString)
    {
        try
        {
            var settings = new NpgsqlConnectionStringBuilder(connectionString);
            // Who lowers the maximum alone does not mean to contradict the default minimum.
            settings.MinPoolSize = Math.Min(settings.MinPoolSize, settings.MaxPoolSize);
            return new PostgreSqlDatabase(settings.ToString());
        }
        catch (Exception exception) when (exception is ArgumentException or NotSupportedException)
        {
            throw new FormatException($"Backend store settings: {exception.Message}", exception);
        }
    }

    internal static string PostgreSqlConnectionString(string text)
    {
        // The password may hold anything but '@' and '/', as in SQLAlchemy; Uri is stricter about the rest than its users are.
        var rest = text[(text.IndexOf("://", StringComparison.Ordinal) + "://".Length)..];
        var settings = new NpgsqlConnectionStringBuilder(PoolDefaults) { Host = "localhost" };

        var queryStart = rest.IndexOf('?', StringComparison.Ordinal);
        var query = queryStart < 0 ? "" : rest[(queryStart + 1)..];
        rest = queryStart < 0 ? rest : rest[..queryStart];

        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var authority = slash < 0 ? rest : rest[..slash];
        if (slash >= 0 && slash + 1 < rest.Length)
            settings.Database = Uri.UnescapeDataString(rest[(slash + 1)..]);

        var at = authority.LastIndexOf('@');
        if (at >= 0)
        {
            var user = authority[..at];
            var colon = user.IndexOf(':', StringComparison.Ordinal);
            settings.Username = Uri.UnescapeDataString(colon < 0 ? user : user[..colon]);
            if (colon >= 0)
                settings.Password = Uri.UnescapeDataString(user[(colon + 1)..]);
            authority = authority[(at + 1)..];
        }

        // Of several servers each carries its own port, in the form that Npgsql takes for hosts too.
        var portColon = authority.LastIndexOf(':');
        if (portColon > authority.LastIndexOf(']') && !authority.Contains(',', StringComparison.Ordinal))
        {
            settings.Port = Port(authority[(portColon + 1)..]);
            authority = authority[..portColon];
        }

        if (authority.Length > 0)
            settings.Host = Uri.UnescapeDataString(authority.Trim('[', ']'));

        try
        {
            foreach (var pair in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
            {
                var equals = pair.IndexOf('=', StringComparison.Ordinal);
                if (equals < 0)
                    throw new FormatException($"Backend store option '{pair}' has no value");
                Apply(settings, Uri.UnescapeDataString(pair[..equals]), Uri.UnescapeDataString(pair[(equals + 1)..].Replace('+', ' ')));
            }
        }
        catch (ArgumentException exception)
        {
            throw new FormatException($"Backend store options: {exception.Message}", exception);
        }

        return settings.ToString();
    }

    /// <summary>libpq's option names, which SQLAlchemy passes on, and otherwise Npgsql's own.</summary>
    private static void Apply(NpgsqlConnectionStringBuilder settings, string name, string value)
    {
        switch (name)
        {
            case "host":
                settings.Host = value;
                break;
            case "port":
                settings.Port = Port(value);
                break;
            case "sslmode":
                settings.SslMode = value switch
                {
                    "disable" => SslMode.Disable,
                    "allow" => SslMode.Allow,
                    "prefer" => SslMode.Prefer,
                    "require" => SslMode.Require,
                    "verify-ca" => SslMode.VerifyCA,
                    "verify-full" => SslMode.VerifyFull,
                    _ => throw new FormatException($"Backend store option sslmode={value} is not known"),
                };
                break;
            case "sslrootcert":
                settings.RootCertificate = value;
                break;
            case "sslcert":
                settings.SslCertificate = value;
                break;
            case "sslkey":
                settings.SslKey = value;
                break;
            case "connect_timeout":
                settings.Timeout = int.TryParse(value, CultureInfo.InvariantCulture, out var seconds) && seconds >= 0
                    ? seconds
                    : throw new FormatException($"Backend store option connect_timeout={value} is not a number of seconds");
                break;
            case "application_name":
                settings.ApplicationName = value;
                break;
            case "options":
                settings.Options = value;
                break;
            case "target_session_attrs":
                settings.TargetSessionAttributes = value;
                break;
            default:
                settings[name.Replace('_', ' ')] = value;
                break;
        }
    }

    private static int Port(string text) =>
        int.TryParse(text, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= 65535
            ? port
            : throw new FormatException($"Backend store port '{text}' is not a port number");
}
