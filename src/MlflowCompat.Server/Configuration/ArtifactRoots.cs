using System.Globalization;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Configuration;

/// <summary>
/// Where artifacts go: the server's default root, and the rules for locations that clients choose (contract: semantics §9, security §2).
/// </summary>
/// <param name="options">The server's options.</param>
public sealed class ArtifactRoots(ServerOptions options)
{
    /// <summary>The location that clients reach through this server.</summary>
    private const string ProxiedRoot = "mlflow-artifacts:/";

    /// <summary>Root of experiments that name none.</summary>
    public string DefaultRoot { get; } = options.DefaultArtifactRoot is { Length: > 0 } root ? AbsoluteIfLocal(root)
        : options.ServeArtifacts ? ProxiedRoot
        : AbsoluteIfLocal(options.ArtifactsDestination);

    /// <summary>Location of an experiment under the default root.</summary>
    public string ForExperiment(long experimentId) => Append(DefaultRoot, experimentId.ToString(CultureInfo.InvariantCulture));

    /// <summary>
    /// Artifact root of a run, fixed when the run is created: SQL, because the location is at hand where the run is written. A query string
    /// stays at the end.
    /// </summary>
    /// <param name="database">Whose dialect is written.</param>
    /// <param name="location">An expression for the location of the experiment.</param>
    /// <param name="runId">An expression for the id of the run, as clients know it.</param>
    public static string ForRun(Database database, string location, string runId)
    {
        var root = database.Choose($"split_part({location}, '?', 1)", $"substr({location}, 1, instr({location} || '?', '?') - 1)");
        return $"{root} || CASE WHEN {root} LIKE '%/' THEN '' ELSE '/' END || {runId} || '/artifacts' || substr({location}, length({root}) + 1)";
    }

    /// <summary>Checks a location that a client chose and makes a local one absolute; URIs stay as they were sent.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: too long, ambiguous, or outside of what this server may touch.</exception>
    public string ResolveLocation(string location)
    {
        const string Parameter = "artifact_location";
        if (FieldRules.CodePoints(location) > options.ArtifactLocationMaxLength)
        {
            throw MlflowException.InvalidParameter(string.Create(
                CultureInfo.InvariantCulture,
                $"Invalid artifact path length: {Parameter} {MlflowException.Quote(location)} has more than {options.ArtifactLocationMaxLength} characters."));
        }

        if (location.Contains('#', StringComparison.Ordinal))
            throw MlflowException.InvalidValue(Parameter, MlflowException.Quote(location), "it must not have a fragment ('#').");
        var query = location.IndexOf('?', StringComparison.Ordinal);
        if (query >= 0 && Uri.UnescapeDataString(location[query..]).Contains("..", StringComparison.Ordinal))
            throw MlflowException.InvalidValue(Parameter, MlflowException.Quote(location), "its query must not contain '..'.");
        if (LocalPath(location) is not { } path)
            return location;

        // This server reads and writes below the locations that it accepts, so a client must not be able to name any folder of the machine.
        var full = Path.GetFullPath(path);
        if (!LocalRoots().Any(root => IsWithin(full, root)))
        {
            throw MlflowException.InvalidValue(
                Parameter, MlflowException.Quote(location), "a local location must lie within the server's own artifact folder.");
        }

        return location.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? "file://" + full : full;
    }

    /// <summary>Puts a relative path behind a location; a query string stays at the end.</summary>
    private static string Append(string location, string path)
    {
        var query = location.IndexOf('?', StringComparison.Ordinal);
        var (root, rest) = query < 0 ? (location, "") : (location[..query], location[query..]);
        return root.EndsWith('/') ? $"{root}{path}{rest}" : $"{root}/{path}{rest}";
    }

    private IEnumerable<string> LocalRoots() =>
        new[] { options.ArtifactsDestination, DefaultRoot }.Select(LocalPath).OfType<string>().Select(Path.GetFullPath);

    private static bool IsWithin(string path, string root) =>
        path == root || path.StartsWith(root.EndsWith('/') ? root : root + "/", StringComparison.Ordinal);

    private static string AbsoluteIfLocal(string location) =>
        LocalPath(location) is { } path && !location.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? Path.GetFullPath(path) : location;

    /// <summary>The path of a local location (no scheme, or <c>file:</c>), else null.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: a file URI of another machine.</exception>
    private static string? LocalPath(string location)
    {
        if (location.StartsWith("file:", StringComparison.OrdinalIgnoreCase))
        {
            var path = location["file:".Length..];
            if (path.StartsWith("//", StringComparison.Ordinal))
            {
                var hostEnd = path.IndexOf('/', 2);
                var host = hostEnd < 0 ? path[2..] : path[2..hostEnd];
                if (host is not ("" or "localhost" or "127.0.0.1"))
                    throw MlflowException.InvalidValue("artifact_location", MlflowException.Quote(location), "it names a file of another machine.");
                path = hostEnd < 0 ? "/" : path[hostEnd..];
            }

            return Uri.UnescapeDataString(path);
        }

        // A single letter before the colon is a drive, not a scheme.
        var colon = location.IndexOf(':', StringComparison.Ordinal);
        var slash = location.IndexOfAny(['/', '\\', '?']);
        var hasScheme = colon > 1 && (slash < 0 || colon < slash);
        return hasScheme ? null : location;
    }
}
