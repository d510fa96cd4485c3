namespace MlflowCompat.Artifacts;

/// <summary>What kind of content a file has, by its name (contract: endpoints §4).</summary>
public static class ArtifactContentTypes
{
    private const string Unknown = "application/octet-stream";

    /// <summary>What is shown as text whatever else it may be.</summary>
    private static readonly HashSet<string> Text =
    [
        "txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml", "yaml", "yml", "xml", "json", "js",
        "py", "py3", "csv", "tsv", "md", "rst", "MLmodel", "MLproject",
    ];

    private static readonly Dictionary<string, string> Guesses = new(StringComparer.OrdinalIgnoreCase)
    {
        ["avi"] = "video/x-msvideo",
        ["avif"] = "image/avif",
        ["bin"] = Unknown,
        ["bmp"] = "image/bmp",
        ["css"] = "text/css",
        ["csv"] = "text/csv",
        ["doc"] = "application/msword",
        ["docx"] = "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ["gif"] = "image/gif",
        ["h5"] = "application/x-hdf5",
        ["htm"] = "text/html",
        ["html"] = "text/html",
        ["ico"] = "image/vnd.microsoft.icon",
        ["jpeg"] = "image/jpeg",
        ["jpg"] = "image/jpeg",
        ["js"] = "text/javascript",
        ["json"] = "application/json",
        ["m4a"] = "audio/mp4",
        ["md"] = "text/markdown",
        ["mjs"] = "text/javascript",
        ["mov"] = "video/quicktime",
        ["mp3"] = "audio/mpeg",
        ["mp4"] = "video/mp4",
        ["ogg"] = "audio/ogg",
        ["otf"] = "font/otf",
        ["parquet"] = "application/vnd.apache.parquet",
        ["pdf"] = "application/pdf",
        ["png"] = "image/png",
        ["ppt"] = "application/vnd.ms-powerpoint",
        ["pptx"] = "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ["py"] = "text/x-python",
        ["rtf"] = "application/rtf",
        ["sh"] = "application/x-sh",
        ["svg"] = "image/svg+xml",
        ["tar"] = "application/x-tar",
        ["tif"] = "image/tiff",
        ["tiff"] = "image/tiff",
        ["tsv"] = "text/tab-separated-values",
        ["ttf"] = "font/ttf",
        ["txt"] = "text/plain",
        ["wasm"] = "application/wasm",
        ["wav"] = "audio/x-wav",
        ["webm"] = "video/webm",
        ["webp"] = "image/webp",
        ["woff"] = "font/woff",
        ["woff2"] = "font/woff2",
        ["xls"] = "application/vnd.ms-excel",
        ["xlsx"] = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ["xml"] = "text/xml",
        ["zip"] = "application/zip",
    };

    /// <summary>The type with which this server sends a file: what can be read as text is text.</summary>
    /// <param name="name">The last segment of its path.</param>
    public static string Of(string name) => Text.Contains(name[(name.LastIndexOf('.') + 1)..]) ? "text/plain" : Guess(name);

    /// <summary>The type that a store keeps with a file, as clients that write to it themselves guess it.</summary>
    /// <param name="name">The last segment of its path.</param>
    public static string Guess(string name) =>
        name.LastIndexOf('.') is var dot and > 0 && Guesses.TryGetValue(name[(dot + 1)..], out var type) ? type : Unknown;
}
