using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Traces;

/// <summary>Tags and metadata of traces that mean something to the server.</summary>
internal static class TraceTags
{
    /// <summary>
    /// Tells clients where the files of a trace are. The server sets it, as it sets the artifact_uri of a run, and nobody changes it; it does
    /// not itself go by it (<see cref="FolderOf"/>).
    /// </summary>
    public const string ArtifactLocation = "mlflow.artifactLocation";

    /// <summary>Where its spans are.</summary>
    public const string SpansLocation = "mlflow.trace.spansLocation";

    /// <summary>Value of <see cref="SpansLocation"/>: with the server.</summary>
    public const string TrackingStore = "TRACKING_STORE";

    /// <summary>The tag that says so, as JSON.</summary>
    public const string SpansInStore = $$"""{"{{SpansLocation}}":"{{TrackingStore}}"}""";

    /// <summary>What clients call the name of a trace.</summary>
    public const string Name = "mlflow.traceName";

    /// <summary>Metadata: the run in which it was made.</summary>
    public const string SourceRun = "mlflow.sourceRun";

    /// <summary>Metadata: tokens of all its spans, as JSON.</summary>
    public const string TokenUsage = "mlflow.trace.tokenUsage";

    /// <summary>Metadata: cost of all its spans, as JSON.</summary>
    public const string Cost = "mlflow.trace.cost";

    /// <summary>Metadata: how many spans it has, as JSON.</summary>
    public const string SizeStats = "mlflow.trace.sizeStats";

    /// <summary>Where the files of a trace are below the location of its experiment.</summary>
    public static string FolderOf(string traceId) => $"traces/{traceId}/artifacts";

    /// <summary>Whether clients may change a tag.</summary>
    public static bool IsChangeable(string key) => key != ArtifactLocation;

    /// <summary>Refuses to change a tag that is the server's.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE.</exception>
    public static void RequireChangeable(string key)
    {
        if (!IsChangeable(key))
            throw MlflowException.InvalidValue("key", MlflowException.Quote(key), "where the files of a trace are is for the server to say.");
    }

    /// <summary>The tags that the server gives a new trace.</summary>
    /// <param name="experimentLocation">Artifact location of its experiment; null when it is not known, because the trace is there already.</param>
    /// <param name="traceId">The trace.</param>
    /// <param name="hasSpans">Whether its spans come to the server.</param>
    public static Dictionary<string, string> OfNewTrace(string? experimentLocation, string traceId, bool hasSpans)
    {
        var tags = new Dictionary<string, string>(StringComparer.Ordinal);
        if (experimentLocation is not null)
            tags.Add(ArtifactLocation, Configuration.ArtifactRoots.Append(experimentLocation, FolderOf(traceId)));
        if (hasSpans)
            tags.Add(SpansLocation, TrackingStore);
        return tags;
    }
}
