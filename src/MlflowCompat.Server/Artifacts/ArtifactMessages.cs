using System.Text.Json.Serialization;
using MlflowCompat.Artifacts;
using MlflowCompat.Server.Runs;

namespace MlflowCompat.Server.Artifacts;

/// <summary>A file or folder in a listing.</summary>
/// <param name="Path">Its name in listings of the proxy, the path from the run's root in those of a run.</param>
/// <param name="IsDir">Whether it is a folder.</param>
/// <param name="FileSize">Bytes; null for folders and empty files.</param>
public sealed record FileInfo(string Path, bool IsDir, long? FileSize)
{
    internal static FileInfo Of(string path, ArtifactEntry entry) => new(path, entry.IsFolder, entry is { IsFolder: false, Size: > 0 } ? entry.Size : null);
}

/// <summary>A listing of the proxy.</summary>
/// <param name="Files">By name; null when there are none.</param>
public sealed record ListFilesResponse(List<FileInfo>? Files);

/// <summary>Asks for the files of a run.</summary>
public sealed class ListArtifacts : IRunRequest
{
    /// <inheritdoc/>
    public string? RunId { get; set; }

    /// <inheritdoc/>
    public string? RunUuid { get; set; }

    /// <summary>A folder below the run's root; the root itself when absent.</summary>
    public string? Path { get; set; }

    /// <summary>Has no effect: a listing is one page.</summary>
    public string? PageToken { get; set; }
}

/// <summary>The files of a run.</summary>
/// <param name="RootUri">Root of the run's artifacts.</param>
/// <param name="Files">By path; null when there are none.</param>
public sealed record ListArtifactsResponse(string RootUri, List<FileInfo>? Files);

/// <summary>Asks for an address to which a client uploads a file by itself.</summary>
public sealed class CreatePresignedUpload
{
    /// <summary>The run.</summary>
    public string? RunId { get; set; }

    /// <summary>The file, below the run's root.</summary>
    public string? Path { get; set; }

    /// <summary>How long the address is good for, in seconds; 900 when absent.</summary>
    public long? Expiration { get; set; }
}

/// <summary>Where to upload a file.</summary>
/// <param name="PresignedUrl">Takes one PUT.</param>
/// <param name="Headers">To be sent with it.</param>
public sealed record PresignedUploadResponse(string PresignedUrl, IReadOnlyDictionary<string, string> Headers);

/// <summary>Where to download a file.</summary>
/// <param name="Url">Takes GET, also of ranges.</param>
/// <param name="Headers">To be sent with it.</param>
/// <param name="FileSize">Bytes, if known.</param>
public sealed record PresignedDownloadResponse(string Url, IReadOnlyDictionary<string, string> Headers, long? FileSize);

/// <summary>Begins an upload in parts; the address names the folder.</summary>
public sealed class CreateMultipartUpload
{
    /// <summary>Path of the file on the client, of which the name counts.</summary>
    public string? Path { get; set; }

    /// <summary>How many parts there will be.</summary>
    public long? NumParts { get; set; }
}

/// <summary>An upload in parts that has begun.</summary>
/// <param name="UploadId">Names it.</param>
/// <param name="Credentials">Where each part goes.</param>
public sealed record CreateMultipartUploadResponse(string UploadId, List<MultipartCredential> Credentials);

/// <summary>Where a part goes.</summary>
/// <param name="Url">Takes a PUT.</param>
/// <param name="PartNumber">Counted from 1.</param>
/// <param name="Headers">To be sent with it.</param>
public sealed record MultipartCredential(string Url, int PartNumber, IReadOnlyDictionary<string, string> Headers);

/// <summary>Puts a file together from its parts.</summary>
public sealed class CompleteMultipartUpload
{
    /// <summary>As when the upload was begun.</summary>
    public string? Path { get; set; }

    /// <summary>The upload.</summary>
    public string? UploadId { get; set; }

    /// <summary>The parts that were sent.</summary>
    public List<MultipartPart>? Parts { get; set; }
}

/// <summary>A part that was sent.</summary>
public sealed class MultipartPart
{
    /// <summary>Counted from 1.</summary>
    public int? PartNumber { get; set; }

    /// <summary>As the answer to its PUT had it.</summary>
    public string? Etag { get; set; }

    /// <summary>Where it went; not needed here.</summary>
    public string? Url { get; set; }
}

/// <summary>Gives an upload in parts up.</summary>
public sealed class AbortMultipartUpload
{
    /// <summary>As when the upload was begun.</summary>
    public string? Path { get; set; }

    /// <summary>The upload.</summary>
    public string? UploadId { get; set; }
}

[JsonSerializable(typeof(ListFilesResponse))]
[JsonSerializable(typeof(ListArtifacts))]
[JsonSerializable(typeof(ListArtifactsResponse))]
[JsonSerializable(typeof(CreatePresignedUpload))]
[JsonSerializable(typeof(PresignedUploadResponse))]
[JsonSerializable(typeof(PresignedDownloadResponse))]
[JsonSerializable(typeof(CreateMultipartUpload))]
[JsonSerializable(typeof(CreateMultipartUploadResponse))]
[JsonSerializable(typeof(CompleteMultipartUpload))]
[JsonSerializable(typeof(AbortMultipartUpload))]
internal sealed partial class ArtifactsJson : JsonSerializerContext;
