using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Artifacts;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.LoggedModels;

/// <summary>
/// What the file MLmodel, which MLflow puts beside every model, says for columns of the specified schema (mapping C-30, C-31). It is read
/// when a model is ready; one that the server cannot read says nothing.
/// </summary>
/// <param name="Framework">The first flavor that is not <c>python_function</c>; that one if there is no other.</param>
/// <param name="FrameworkVersion">Its version, of at most 50 characters.</param>
/// <param name="SizeBytes">Bytes of all files of the model; more than 0.</param>
internal sealed partial record ModelFile(string? Framework, string? FrameworkVersion, long? SizeBytes)
{
    private const string Name = "MLmodel";
    private const string AnyFlavor = "python_function";

    /// <summary>What is read of the file: the signature, which may be long, comes at its end.</summary>
    private const int MaxBytes = 64 * 1024;

    private static readonly ModelFile None = new(null, null, null);

    /// <summary>Reads the file of a model.</summary>
    /// <param name="files">The files of artifacts.</param>
    /// <param name="rootUri">The root of the model's files.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<ModelFile> ReadAsync(ArtifactFiles files, string rootUri, CancellationToken cancellationToken)
    {
        try
        {
            var file = files.Roots.Resolve(rootUri).Append(ArtifactPath.Parse(Name));
            var content = await file.Store.OpenAsync(file.Path, cancellationToken).ConfigureAwait(false);
            await using (content.ConfigureAwait(false))
            {
                using var bytes = new MemoryStream();
                await content.CopyToAsync(bytes, 0, Math.Min(content.Entry.Size, MaxBytes), cancellationToken).ConfigureAwait(false);
                return Parse(Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length));
            }
        }
        catch (Exception exception) when (exception is MlflowException or ArtifactStoreException or IOException)
        {
            // Not there, or in a place that only clients reach.
            return None;
        }
    }

    /// <summary>Reads the text of the file, as MLflow writes it: block style, two blanks per level.</summary>
    public static ModelFile Parse(string text)
    {
        var flavors = new List<(string Name, string? Version)>();
        long? size = null;
        var isInFlavors = false;
        foreach (var line in text.Split('\n').Select(line => line.TrimEnd()))
        {
            if (line.Length > 0 && line[0] != ' ')
            {
                isInFlavors = line == "flavors:";
                if (line.StartsWith("model_size_bytes: ", StringComparison.Ordinal)
                    && long.TryParse(line.AsSpan("model_size_bytes: ".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) && bytes > 0)
                {
                    size = bytes;
                }
            }
            else if (isInFlavors && Flavor().Match(line) is { Success: true } flavor)
            {
                flavors.Add((flavor.Groups[1].Value, null));
            }
            else if (isInFlavors && flavors.Count > 0 && line.StartsWith($"    {flavors[^1].Name}_version: ", StringComparison.Ordinal))
            {
                var version = line[(line.IndexOf(':', StringComparison.Ordinal) + 2)..].Trim('\'', '"');
                flavors[^1] = flavors[^1] with { Version = Version().IsMatch(version) ? version : null };
            }
        }

        if (flavors.Count == 0)
            return None with { SizeBytes = size };
        var first = flavors.FindIndex(flavor => flavor.Name != AnyFlavor) is >= 0 and var specific ? flavors[specific] : flavors[0];
        return new ModelFile(first.Name, first.Version, size);
    }

    [GeneratedRegex(@"^  ([a-z0-9][a-z0-9_.-]{0,49}):")]
    private static partial Regex Flavor();

    [GeneratedRegex(@"^[A-Za-z0-9.+_!-]{1,50}\z")]
    private static partial Regex Version();
}
