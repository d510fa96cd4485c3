using System.Collections.Frozen;

namespace MlflowCompat.Server.Artifacts;

/// <summary>Media types by file name (contract: endpoints §4).</summary>
internal static class MediaTypes
{
    private const string Unknown = "application/octet-stream";

    /// <summary>What the web interface shows as text: last extensions, or whole names without one, as they are written.</summary>
    private static readonly FrozenSet<string> ShownAsText = new[]
    {
        "txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml", "yaml", "yml", "xml", "json", "js",
        "py", "py3", "csv", "tsv", "md", "rst", "MLmodel", "MLproject",
    }.ToFrozenSet(StringComparer.Ordinal);

    private static readonly FrozenDictionary<string, string> ByExtension = new Dictionary<string, string>
    {
        ["aac"] = "audio/aac",
        ["avi"] = "video/x-msvideo",
        ["avif"] = "image/avif",
        ["bmp"] = "image/bmp",
        ["c"] = "text/plain",
        ["cfg"] = "text/plain",
        ["css"] = "text/css",
        ["csv"] = "text/csv",
        ["doc"] = "application/msword",
        ["eps"] = "application/postscript",
        ["gif"] = "image/gif",
        ["h"] = "text/plain",
        ["h5"] = "application/x-hdf5",
        ["hdf"] = "application/x-hdf",
        ["heic"] = "image/heic",
        ["htm"] = "text/html",
        ["html"] = "text/html",
        ["ico"] = "image/vnd.microsoft.icon",
        ["jpe"] = "image/jpeg",
        ["jpeg"] = "image/jpeg",
        ["jpg"] = "image/jpeg",
        ["js"] = "application/javascript",
        ["json"] = "application/json",
        ["mjs"] = "application/javascript",
        ["mov"] = "video/quicktime",
        ["mp3"] = "audio/mpeg",
        ["mp4"] = "video/mp4",
        ["mpeg"] = "video/mpeg",
        ["mpg"] = "video/mpeg",
        ["nc"] = "application/x-netcdf",
        ["opus"] = "audio/opus",
        ["pdf"] = "application/pdf",
        ["png"] = "image/png",
        ["ppm"] = "image/x-portable-pixmap",
        ["ppt"] = "application/vnd.ms-powerpoint",
        ["ps"] = "application/postscript",
        ["py"] = "text/x-python",
        ["pyc"] = "application/x-python-code",
        ["sh"] = "application/x-sh",
        ["svg"] = "image/svg+xml",
        ["tar"] = "application/x-tar",
        ["tex"] = "application/x-tex",
        ["tif"] = "image/tiff",
        ["tiff"] = "image/tiff",
        ["tsv"] = "text/tab-separated-values",
        ["txt"] = "text/plain",
        ["vtt"] = "text/vtt",
        ["wasm"] = "application/wasm",
        ["wav"] = "audio/x-wav",
        ["webm"] = "video/webm",
        ["webp"] = "image/webp",
        ["xls"] = "application/vnd.ms-excel",
        ["xml"] = "text/xml",
        ["zip"] = "application/zip",
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    /// <summary>The type of a file.</summary>
    public static string Of(string name)
    {
        var dot = name.LastIndexOf('.');
        var extension = name[(dot + 1)..];
        return ShownAsText.Contains(extension) ? "text/plain"
            : dot > 0 && ByExtension.TryGetValue(extension, out var type) ? type
            : Unknown;
    }
}
