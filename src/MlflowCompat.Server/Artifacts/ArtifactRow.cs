using System.Globalization;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Artifacts;

/// <summary>What the artifacts table says of a file. All but its content follows from where it is (mapping C-45 … C-47).</summary>
/// <param name="File">Where it is.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Sha256">Hash of its content; null when nobody has read it.</param>
/// <param name="UploadId">Set while it is not sure that the file is in its place.</param>
/// <param name="Time">When that was so, in milliseconds since 1970.</param>
internal sealed record ArtifactRow(ArtifactLocation File, long Size, string? Sha256, string? UploadId, long Time)
{
    private const int MaxNameLength = 255;
    private const int MaxFormatLength = 50;

    /// <summary>About how much memory it takes, in bytes.</summary>
    public const int EstimatedBytes = 1000;

    /// <summary>Where it is, over all stores.</summary>
    public string StoragePath { get; } = File.StoragePath;

    /// <summary>Whose it seems to be.</summary>
    public ArtifactOwner Owner { get; } = ArtifactOwner.Of(File.Path);

    /// <summary>The column artifact_name.</summary>
    public string Name => FieldRules.Truncate(File.Path.Name, MaxNameLength);

    /// <summary>The column mime_type.</summary>
    public string MediaType => ArtifactContentTypes.Of(File.Path.Name);

    /// <summary>The column file_format: the last extension.</summary>
    public string? Format => Extension is { Length: > 0 and <= MaxFormatLength } extension ? extension : null;

    /// <summary>The column artifact_type.</summary>
    public string Type =>
        Owner.Model is not null || File.Path.Name == "MLmodel" ? "model"
        : Extension is "ckpt" ? "checkpoint"
        : File.Path.Name.Contains("prediction", StringComparison.OrdinalIgnoreCase) ? "prediction"
        : Extension is "html" or "htm" || MediaType.StartsWith("image/", StringComparison.Ordinal) ? "plot"
        : Extension switch
        {
            "log" or "txt" => "log",
            "yaml" or "yml" or "json" or "toml" => "config",
            "md" or "pdf" => "report",
            "csv" or "parquet" => "data",
            _ => "other",
        };

    private string Extension =>
        File.Path.Name.LastIndexOf('.') is > 0 and var dot ? File.Path.Name[(dot + 1)..].ToLowerInvariant() : "";
}

/// <summary>
/// Whose a file seems to be by its path: <c>…/(run id)/artifacts/(path)</c>, <c>…/models/m-…/artifacts/(path)</c> or
/// <c>(experiment id)/(path)</c>. Whether there is such an owner, and has its artifacts there, is for the database to say.
/// </summary>
/// <param name="Run">Id of a run.</param>
/// <param name="Model">Id of a logged model.</param>
/// <param name="Experiment">Id of an experiment.</param>
/// <param name="Root">What the owner's artifact root ends with.</param>
/// <param name="Path">The path below the owner's root.</param>
internal sealed record ArtifactOwner(Guid? Run, Guid? Model, long? Experiment, string Root, string Path)
{
    /// <summary>Looks at a path below a store's root.</summary>
    public static ArtifactOwner Of(ArtifactPath path)
    {
        var segments = path.Value.Split('/');
        long? experiment = segments.Length > 1 && long.TryParse(segments[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null;
        for (var i = 0; i < segments.Length - 2; i++)
        {
            if (segments[i + 1] != "artifacts")
                continue;
            var run = RunId.TryParse(segments[i]);
            var model = i > 0 && segments[i - 1] == "models" && segments[i].StartsWith("m-", StringComparison.Ordinal) ? RunId.TryParse(segments[i][2..]) : null;
            if (run is not null || model is not null)
                return new ArtifactOwner(run, model, experiment, "/" + string.Join('/', segments[..(i + 2)]), string.Join('/', segments[(i + 2)..]));
        }

        return new ArtifactOwner(null, null, experiment, "", experiment is null ? path.Value : string.Join('/', segments[1..]));
    }
}
