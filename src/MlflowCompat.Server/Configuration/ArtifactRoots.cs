using System.Globalization;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Http;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Configuration;

/// <summary>
/// Where artifacts go: the server's default root, the rules for locations that clients choose, and the stores behind those that the server
/// itself reads and writes (contract: semantics §9, security §2).
/// </summary>
/// <param name="options">The server's options.</param>
/// <param name="stores">Opens stores.</param>
public sealed class ArtifactRoots(ServerOptions options, ArtifactStores stores)
{
    /// <summary>The location that clients reach through this server.</summary>
    private const string ProxiedRoot = "mlflow-artifacts:/";

    private const string ProxiedScheme = "mlflow-artifacts:";
    private const string ProxiedRoute = "/api/2.0/mlflow-artifacts/artifacts";

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
    public static string ForRun(Database database, string location, string runId) => ForPart(database, location, runId);

    /// <summary>Artifact root of a logged model, made as that of a run.</summary>
    /// <param name="database">Whose dialect is written.</param>
    /// <param name="location">An expression for the location of the experiment.</param>
    /// <param name="modelId">An expression for the id of the model, as clients know it.</param>
    public static string ForModel(Database database, string location, string modelId) => ForPart(database, location, $"'models/' || {modelId}");

    private static string ForPart(Database database, string location, string folder)
    {
        var root = database.Choose($"split_part({location}, '?', 1)", $"substr({location}, 1, instr({location} || '?', '?') - 1)");
        return $"{root} || CASE WHEN {root} LIKE '%/' THEN '' ELSE '/' END || {folder} || '/artifacts' || substr({location}, length({root}) + 1)";
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

    /// <summary>Whether clients reach a location through a server's artifact proxy.</summary>
    public static bool IsProxied(string uri) => ProxiedPath(uri) is not null;

    /// <summary>What takes uploads in parts below the artifacts destination; null if nothing does.</summary>
    public MultipartUploads? Multipart => options.MultipartUploads switch
    {
        MultipartUploadMode.Off => null,
        MultipartUploadMode.On => Destination.Multipart,
        _ => Destination.Multipart is { PartsComeThroughServer: false } multipart ? multipart : null,
    };

    /// <summary>The stores that this server reads and writes; one that lies in another one is left out.</summary>
    public IReadOnlyList<ArtifactStore> Stores
    {
        get
        {
            var all = OwnRoots().Select(TryOpen).OfType<ArtifactStore>().DistinctBy(Location).ToList();
            return [.. all.Where(store => !all.Exists(other => Remainder(Location(store), Location(other)) is { Length: > 0 }))];

            static string Location(ArtifactStore store) => store.LocationOf(ArtifactPath.Root);
        }
    }

    private ArtifactStore Destination => stores.Open(options.ArtifactsDestination);

    /// <summary>A path below the artifacts destination.</summary>
    public ArtifactLocation AtDestination(ArtifactPath path) => new(Destination, path);

    /// <summary>
    /// The store and path behind an artifact URI, as runs, logged models and model versions have it. It is checked at each access: the
    /// database may hold older ones than the options, and nobody may make this server read and write folders or buckets of his choosing.
    /// </summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is not one that this server serves.</exception>
    /// <exception cref="ArtifactStoreException"><see cref="ArtifactFault.InvalidPath"/>.</exception>
    public ArtifactLocation Resolve(string uri)
    {
        if (uri.Length == 0 || uri.AsSpan().ContainsAny('#', '\0') || uri[0] == '?')
            throw NotServed();
        // As in ForRun, a query is no part of the path.
        var query = uri.IndexOf('?', StringComparison.Ordinal);
        var location = query < 0 ? uri : uri[..query];
        if (ProxiedPath(location) is { } proxied)
            return options.ServeArtifacts ? AtDestination(ArtifactPath.Parse(Uri.UnescapeDataString(proxied))) : throw NotServed();
        var local = LocalPath(location) is { } path ? Path.GetFullPath(path) : null;
        foreach (var root in OwnRoots())
        {
            var below = local is null ? Remainder(location.TrimEnd('/'), root.TrimEnd('/'))
                : LocalPath(root) is { } folder ? Remainder(local.TrimEnd('/'), Path.GetFullPath(folder).TrimEnd('/'))
                : null;
            if (below is not null)
                return new ArtifactLocation(stores.Open(root), ArtifactPath.Parse(below));
        }

        throw NotServed();

        static MlflowException NotServed() =>
            MlflowException.InvalidParameter("The artifact location is not one that this server reads and writes: it is neither below its artifacts destination nor below its default root.");
    }

    /// <summary>The file that a storage path of the artifacts table names, or null if it is in none of the stores.</summary>
    public ArtifactLocation? Find(string storagePath)
    {
        foreach (var store in Stores)
        {
            if (Remainder(storagePath, store.LocationOf(ArtifactPath.Root)) is { Length: > 0 } below)
            {
                try
                {
                    return new ArtifactLocation(store, ArtifactPath.Parse(below));
                }
                catch (ArtifactStoreException)
                {
                    return null;
                }
            }
        }

        return null;
    }

    /// <summary>Puts a relative path behind a location; a query string stays at the end.</summary>
    internal static string Append(string location, string path)
    {
        var query = location.IndexOf('?', StringComparison.Ordinal);
        var (root, rest) = query < 0 ? (location, "") : (location[..query], location[query..]);
        return root.EndsWith('/') ? $"{root}{path}{rest}" : $"{root}/{path}{rest}";
    }

    /// <summary>The roots that are this server's own: no others are read or written.</summary>
    private IEnumerable<string> OwnRoots() =>
        IsProxied(DefaultRoot) ? [options.ArtifactsDestination] : [options.ArtifactsDestination, DefaultRoot];

    /// <summary>The store of a root; null if it is of a kind that only clients know.</summary>
    private ArtifactStore? TryOpen(string root)
    {
        try
        {
            return stores.Open(root);
        }
        catch (ArtifactStoreException exception) when (exception.Fault == ArtifactFault.NotSupported)
        {
            return null;
        }
    }

    private IEnumerable<string> LocalRoots() => OwnRoots().Select(root => LocalPath(root)).OfType<string>().Select(Path.GetFullPath);

    /// <summary>What follows a root in a path that is the root or below it; else null.</summary>
    private static string? Remainder(string path, string root) =>
        path == root ? "" : path.StartsWith(root + "/", StringComparison.Ordinal) ? path[(root.Length + 1)..] : null;

    /// <summary>What of a location lies below the artifacts destination of the server that serves it; null if it is none of that kind.</summary>
    private static string? ProxiedPath(string location)
    {
        if (location.StartsWith(ProxiedScheme, StringComparison.OrdinalIgnoreCase))
        {
            var path = location[ProxiedScheme.Length..];
            if (path.StartsWith("//", StringComparison.Ordinal))
                path = path.IndexOf('/', 2) is > 0 and var hostEnd ? path[hostEnd..] : "";
            return path.Trim('/');
        }

        if (!location.StartsWith("http:", StringComparison.OrdinalIgnoreCase) && !location.StartsWith("https:", StringComparison.OrdinalIgnoreCase))
            return null;
        var route = location.IndexOf(ProxiedRoute, StringComparison.Ordinal);
        return route >= 0 && location[(route + ProxiedRoute.Length)..] is var below && (below.Length == 0 || below[0] == '/') ? below.Trim('/') : null;
    }

    /// <summary>Whether an absolute path is a folder or lies below it; both without segments that lead up.</summary>
    internal static bool IsWithin(string path, string root) =>
        path == root || path.StartsWith(root.EndsWith('/') ? root : root + "/", StringComparison.Ordinal);

    private static string AbsoluteIfLocal(string location) =>
        LocalPath(location) is { } path && !location.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? Path.GetFullPath(path) : location;

    /// <summary>The path of a local location (no scheme, or <c>file:</c>), else null.</summary>
    /// <param name="location">The location.</param>
    /// <param name="parameter">The field that it was given in.</param>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: a file URI of another machine.</exception>
    internal static string? LocalPath(string location, string parameter = "artifact_location")
    {
        if (location.StartsWith("file:", StringComparison.OrdinalIgnoreCase))
        {
            var path = location["file:".Length..];
            if (path.StartsWith("//", StringComparison.Ordinal))
            {
                var hostEnd = path.IndexOf('/', 2);
                var host = hostEnd < 0 ? path[2..] : path[2..hostEnd];
                if (host is not ("" or "localhost" or "127.0.0.1"))
                    throw MlflowException.InvalidValue(parameter, MlflowException.Quote(location), "it names a file of another machine.");
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
