using System.Text.Json;

namespace MlflowCompat.Artifacts.S3;

/// <summary>
/// How S3 and what speaks its language is reached. The variables are those of MLflow's clients and of boto3, so that a server and its
/// clients can be given the same ones. What is not said here (instance roles, profiles, the region of a profile) is found by the SDK.
/// </summary>
public sealed record S3Options
{
    /// <summary>The server, if it is not Amazon's; no variable of another name reaches the SDK behind this one's back.</summary>
    public Uri? Endpoint { get; init; }

    /// <summary>Whether the server's certificate is believed whatever it says.</summary>
    public bool IgnoreTls { get; init; }

    /// <summary>File with the certificates (PEM) of the authorities to believe instead of the machine's own.</summary>
    public string? CaBundle { get; init; }

    /// <summary>Whether the bucket is the first segment of the path and not a part of the host name.</summary>
    public bool PathStyle { get; init; }

    /// <summary>The region; needed for Amazon's, invented for others.</summary>
    public string? Region { get; init; }

    /// <summary>The access key; with it goes <see cref="SecretAccessKey"/>.</summary>
    public string? AccessKeyId { get; init; }

    /// <summary>The secret of the access key.</summary>
    public string? SecretAccessKey { get; init; }

    /// <summary>What comes with keys that are valid for a while.</summary>
    public string? SessionToken { get; init; }

    /// <summary>The profile in the SDK's own files, where there are no keys.</summary>
    public string? Profile { get; init; }

    /// <summary>The account that the bucket must belong to.</summary>
    public string? ExpectedBucketOwner { get; init; }

    /// <summary>Headers that every new object is written with: encryption, storage class and the like.</summary>
    public IReadOnlyDictionary<string, string> UploadHeaders { get; init; } = new Dictionary<string, string>();

    /// <summary>How long a call without content may take, repetitions included.</summary>
    internal TimeSpan CallLimit { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>How long the next bytes of a content may take.</summary>
    internal TimeSpan IdleLimit { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The names that <c>MLFLOW_S3_UPLOAD_EXTRA_ARGS</c> may have, and the headers that they stand for.</summary>
    private static readonly Dictionary<string, string> UploadArguments = new()
    {
        ["ACL"] = "x-amz-acl",
        ["BucketKeyEnabled"] = "x-amz-server-side-encryption-bucket-key-enabled",
        ["CacheControl"] = "Cache-Control",
        ["ContentDisposition"] = "Content-Disposition",
        ["ContentEncoding"] = "Content-Encoding",
        ["ContentLanguage"] = "Content-Language",
        ["ContentType"] = "Content-Type",
        ["GrantFullControl"] = "x-amz-grant-full-control",
        ["GrantRead"] = "x-amz-grant-read",
        ["GrantReadACP"] = "x-amz-grant-read-acp",
        ["GrantWriteACP"] = "x-amz-grant-write-acp",
        ["ServerSideEncryption"] = "x-amz-server-side-encryption",
        ["SSEKMSEncryptionContext"] = "x-amz-server-side-encryption-context",
        ["SSEKMSKeyId"] = "x-amz-server-side-encryption-aws-kms-key-id",
        ["StorageClass"] = "x-amz-storage-class",
        ["Tagging"] = "x-amz-tagging",
    };

    /// <summary>Reads the variables; an empty one counts as not set.</summary>
    /// <param name="variable">The value of an environment variable, or null.</param>
    /// <exception cref="ArgumentException">One has a value that it cannot have; the message names it, for whoever starts the server.</exception>
    public static S3Options Read(Func<string, string?> variable)
    {
        string? Get(params string[] names) => names.Select(variable).FirstOrDefault(value => !string.IsNullOrWhiteSpace(value))?.Trim();

        var endpoint = Get("MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
        if (endpoint is not null && (!Uri.TryCreate(endpoint, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https")))
            throw new ArgumentException($"MLFLOW_S3_ENDPOINT_URL '{endpoint}': it must be an address that begins with http:// or https://.");
        var style = Get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE") ?? "auto";
        if (style is not ("auto" or "path" or "virtual"))
            throw new ArgumentException($"MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE '{style}': it must be auto, path or virtual.");
        var bundle = Get("AWS_CA_BUNDLE");
        if (bundle is not null && !File.Exists(bundle))
            throw new ArgumentException($"AWS_CA_BUNDLE '{bundle}': there is no such file.");
        var key = Get("AWS_ACCESS_KEY_ID");
        var secret = Get("AWS_SECRET_ACCESS_KEY");
        if ((key is null) != (secret is null))
            throw new ArgumentException("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: either both are set or neither is.");

        var owner = Get("MLFLOW_S3_EXPECTED_BUCKET_OWNER");
        return new S3Options
        {
            Endpoint = endpoint is null ? null : new Uri(endpoint),
            IgnoreTls = Flag("MLFLOW_S3_IGNORE_TLS", Get("MLFLOW_S3_IGNORE_TLS")),
            CaBundle = bundle,
            PathStyle = style == "path" || (style == "auto" && endpoint is not null),
            Region = Get("AWS_REGION", "AWS_DEFAULT_REGION"),
            AccessKeyId = key,
            SecretAccessKey = secret,
            SessionToken = Get("AWS_SESSION_TOKEN"),
            Profile = Get("AWS_PROFILE"),
            ExpectedBucketOwner = owner,
            UploadHeaders = ReadUploadHeaders(Get("MLFLOW_S3_UPLOAD_EXTRA_ARGS"), owner),
        };
    }

    /// <summary>Says nothing of the keys.</summary>
    public override string ToString() => $"S3 at {Endpoint?.ToString() ?? "Amazon"}, region {Region}";

    private static bool Flag(string name, string? text) => text?.ToUpperInvariant() switch
    {
        null or "FALSE" or "0" => false,
        "TRUE" or "1" => true,
        _ => throw new ArgumentException($"{name} '{text}': it must be true or false."),
    };

    private static Dictionary<string, string> ReadUploadHeaders(string? json, string? owner)
    {
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        if (json is null)
            return headers;
        try
        {
            using var document = JsonDocument.Parse(json);
            foreach (var (name, value) in document.RootElement.EnumerateObject().Select(property => (property.Name, property.Value)))
            {
                if (name == "Metadata")
                {
                    foreach (var entry in value.EnumerateObject())
                        headers["x-amz-meta-" + entry.Name] = entry.Value.GetString()!;
                }
                else if (UploadArguments.TryGetValue(name, out var header))
                {
                    headers[header] = value.ValueKind is JsonValueKind.True or JsonValueKind.False
                        ? value.GetRawText()
                        : value.GetString()!;
                }
                else if (name != "ExpectedBucketOwner" || value.GetString() != owner)
                {
                    throw new ArgumentException(
                        $"MLFLOW_S3_UPLOAD_EXTRA_ARGS: this server does not know '{name}'; it knows Metadata, {string.Join(", ", UploadArguments.Keys)}.");
                }
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new ArgumentException("MLFLOW_S3_UPLOAD_EXTRA_ARGS: it must be a JSON object whose values are texts.", exception);
        }

        return headers;
    }
}
