using System.Text.RegularExpressions;
using MlflowCompat.Server.Configuration;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>
/// What a client may name as the source of a version (contract: security §3). A source becomes a place that this server reads from, so what
/// it says is judged by its text alone: nothing is looked up on the server's disk.
/// </summary>
public static partial class ModelVersionSource
{
    /// <summary>Longest source, in code points.</summary>
    public const int MaxLength = 500;

    /// <summary>The scheme of sources that name a logged model or a version.</summary>
    public const string ModelsScheme = "models:";

    /// <summary>Refuses a source that the operator does not want.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it holds no match of the pattern, or looking for one takes too long.</exception>
    public static void CheckPattern(string source, Regex? pattern)
    {
        try
        {
            if (pattern is null || pattern.IsMatch(source))
                return;
        }
        catch (RegexMatchTimeoutException)
        {
            // As good as no match: a source nobody can judge is not let in.
        }

        throw MlflowException.InvalidParameter($"Invalid model version source: '{source}'.");
    }

    /// <summary>Refuses a source that leads to where it does not say, or to files of this machine that are not the run's or the model's.</summary>
    /// <param name="source">What the client sent.</param>
    /// <param name="ownRoot">The artifact root of the run or of the logged model that the request names; null when it names none that is known.</param>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static void Check(string source, string? ownRoot)
    {
        if (LocalPath(source) is { } path)
            CheckLocal(source, path, ownRoot);
        else
            CheckUri(source);
    }

    /// <summary>Whether a source is a path of this machine: then the request has to say whose files they are.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is one of another machine.</exception>
    public static bool IsLocal(string source) => LocalPath(source) is not null;

    private static void CheckLocal(string source, string path, string? ownRoot)
    {
        var leadsUpwardsOnceDecoded = Decode(path) is var decoded && decoded != path && Separators().Split(decoded).Contains("..");
        if (!leadsUpwardsOnceDecoded && ownRoot is not null && LocalPath(ownRoot) is { Length: > 0 } root && Path.IsPathRooted(path) && !path.Contains('\0', StringComparison.Ordinal)
            && ArtifactRoots.IsWithin(Path.GetFullPath(path).TrimEnd('/'), Path.GetFullPath(root).TrimEnd('/')))
        {
            return;
        }

        throw MlflowException.InvalidParameter(
            $"Invalid model version source: '{source}'. To use a local path as a model version source, the request has to name the run (run_id) "
            + "or the logged model (model_id) whose artifact directory contains it.");
    }

    /// <summary>
    /// However often it is encoded, nothing in it may lead upwards, in the query and the fragment neither, and its path has to be absolute
    /// and in normal form.
    /// </summary>
    private static void CheckUri(string source)
    {
        var decoded = Decode(source);
        var path = PathOf(decoded);
        if (decoded.Contains('\0', StringComparison.Ordinal)
            || decoded != decoded.Trim()
            || Separators().Split(decoded).Contains("..")
            || path.Length == 0 || path[0] != '/'
            || path.Trim('/') is not { Length: > 0 } segments
            || segments.Split('/').Contains("."))
        {
            throw MlflowException.InvalidParameter(
                $"Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, objectstore, or "
                + "mlflow-artifacts uri, its path has to be absolute and must not have relative references.");
        }
    }

    private static string Decode(string text)
    {
        while (true)
        {
            var decoded = Uri.UnescapeDataString(text.Replace('+', ' '));
            if (decoded == text)
                return text;
            text = decoded;
        }
    }

    /// <summary>The path of a URI that has a scheme: without host, query and fragment.</summary>
    private static string PathOf(string uri)
    {
        var path = uri[(uri.IndexOf(':', StringComparison.Ordinal) + 1)..];
        if (path.StartsWith("//", StringComparison.Ordinal))
            path = path.IndexOfAny(['/', '?', '#'], 2) is > 0 and var hostEnd ? path[hostEnd..] : "";
        return path.IndexOfAny(['?', '#']) is >= 0 and var end ? path[..end] : path;
    }

    private static string? LocalPath(string source) => ArtifactRoots.LocalPath(source, "source");

    [GeneratedRegex(@"[/\\?#&=]")]
    private static partial Regex Separators();
}
