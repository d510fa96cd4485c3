using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Xml.Linq;
using MlflowCompat.Artifacts.S3;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Extensions;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace MlflowCompat.Testing;

/// <summary>
/// What the stores use of S3, in memory, for what no small S3 server has: conditions, unfinished uploads, and failures when a test wants
/// them. It checks signatures, and what is sent against its SHA-256, and takes no body in aws-chunked form.
/// </summary>
internal sealed class FakeS3 : IAsyncDisposable
{
    private const string Secret = "hush";

    private readonly WebApplication app;

    private FakeS3(X509Certificate2? certificate)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Listen(IPAddress.Loopback, 0, listen =>
            {
                if (certificate is not null)
                    listen.UseHttps(certificate);
            });
        });
        app = builder.Build();
        app.Run(HandleAsync);
    }

    public sealed record StoredObject(byte[] Content, string ETag, DateTime Modified, Dictionary<string, string> Headers);

    public sealed record Upload(string Key, DateTime Initiated, Dictionary<string, string> Headers)
    {
        public SortedDictionary<int, StoredObject> Parts { get; } = [];
    }

    public SortedDictionary<string, StoredObject> Objects { get; } = new(StringComparer.Ordinal);

    public Dictionary<string, Upload> Uploads { get; } = [];

    /// <summary>All requests so far: method, path and query.</summary>
    public List<string> Requests { get; } = [];

    /// <summary>Answers a request in place of the server, if it returns true.</summary>
    public Func<HttpContext, Task<bool>>? Intercept { get; set; }

    public Uri Endpoint => new(app.Urls.Single());

    public S3Options Options => new()
    {
        Endpoint = Endpoint, PathStyle = true, AccessKeyId = "AKIDTEST", SecretAccessKey = Secret, Region = "eu-central-1",
    };

    /// <summary>Starts one, with TLS if there is a certificate.</summary>
    public static async Task<FakeS3> StartAsync(X509Certificate2? certificate = null)
    {
        var fake = new FakeS3(certificate);
        await fake.app.StartAsync();
        return fake;
    }

    public async ValueTask DisposeAsync() => await app.DisposeAsync();

    /// <summary>Puts an object there as somebody does who needs no server for it.</summary>
    public void Write(string key, byte[] content)
    {
        lock (Objects)
            Objects[key] = Stored(content, []);
    }

    /// <summary>Takes an object away.</summary>
    public void Remove(string key)
    {
        lock (Objects)
            Objects.Remove(key);
    }

    public static async Task FailAsync(HttpContext context, int status, string code)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/xml";
        if (!HttpMethods.IsHead(context.Request.Method))
            await context.Response.WriteAsync($"<Error><Code>{code}</Code><Message>no</Message><RequestId>1</RequestId></Error>");
    }

    private async Task HandleAsync(HttpContext context)
    {
        lock (Requests)
            Requests.Add($"{context.Request.Method} {context.Request.GetEncodedPathAndQuery()}");
        if (Intercept is { } intercept && await intercept(context))
            return;
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        var content = body.ToArray();
        var declared = context.Request.Headers["x-amz-content-sha256"].ToString();
        if (!IsSigned(context.Request))
            await FailAsync(context, 403, "SignatureDoesNotMatch");
        else if (declared.StartsWith("STREAMING", StringComparison.Ordinal))
            await FailAsync(context, 501, "NotImplemented");
        else if (declared.Length == 64 && declared != Convert.ToHexStringLower(SHA256.HashData(content)))
            await FailAsync(context, 400, "XAmzContentSHA256Mismatch");
        else
            await AnswerAsync(context, content);
    }

    private async Task AnswerAsync(HttpContext context, byte[] content)
    {
        var request = context.Request;
        // As it was sent: a name may hold what looks like a character in percent encoding.
        var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget.Split('?')[0];
        var path = Uri.UnescapeDataString(target).TrimStart('/').Split('/', 2);
        var (bucket, key) = (path[0], path.Length > 1 ? path[1] : "");
        var uploadId = request.Query["uploadId"].ToString();
        XElement? answer = null;
        var error = bucket != "bucket" ? "NoSuchBucket" : Encoding.UTF8.GetByteCount(key) > 1024 ? "KeyTooLongError" : null;
        lock (Objects)
        {
            if (error is null)
            {
                (answer, error) = (request.Method, key, request.Query) switch
                {
                    ("GET", "", { } query) when query.ContainsKey("uploads") => ListUploads(query["prefix"].ToString()),
                    ("GET", "", _) => List(request.Query),
                    ("POST", "", { } query) when query.ContainsKey("delete") => DeleteMany(content),
                    ("POST", _, { } query) when query.ContainsKey("uploads") => Begin(key, HeadersOf(request)),
                    ("POST", _, _) => Complete(key, uploadId, content, context),
                    ("PUT", _, _) when uploadId.Length > 0 => PutPart(uploadId, request, content, context),
                    ("PUT", _, _) => Put(key, content, HeadersOf(request), context),
                    ("DELETE", _, _) when uploadId.Length > 0 => (null, Uploads.Remove(uploadId) ? null : "NoSuchUpload"),
                    ("DELETE", _, _) => (null, Objects.Remove(key) ? null : null),
                    ("GET", _, _) when uploadId.Length > 0 => ListParts(uploadId, request.Query["part-number-marker"].ToString()),
                    ("GET" or "HEAD", _, _) => (null, Objects.ContainsKey(key) ? null : "NoSuchKey"),
                    _ => (null, "NotImplemented"),
                };
            }
        }

        if (error is not null)
            await FailAsync(context, error switch { "NotImplemented" => 501, "InvalidPart" or "KeyTooLongError" => 400, _ => 404 }, error);
        else if (answer is not null)
            await context.Response.WriteAsync(answer.ToString());
        else if (request.Method is "GET" or "HEAD")
            await GetAsync(context, key);
    }

    /// <summary>Whether the signature, in a header or in the query, is right (AWS Signature Version 4).</summary>
    private static bool IsSigned(HttpRequest request)
    {
        var target = request.HttpContext.Features.Get<IHttpRequestFeature>()!.RawTarget.Split('?', 2);
        var query = (target.Length > 1 ? target[1] : "").Split('&', StringSplitOptions.RemoveEmptyEntries)
            .Select(pair => pair.Split('=', 2)).ToDictionary(pair => Uri.UnescapeDataString(pair[0]), pair => pair.Length > 1 ? Uri.UnescapeDataString(pair[1]) : "");
        var given = request.Headers.Authorization.ToString() is { Length: > 0 } header
            ? header.Split([' ', ','], StringSplitOptions.RemoveEmptyEntries)[1..].Select(pair => pair.Split('=', 2)).ToDictionary(pair => pair[0], pair => pair[1])
            : query.ToDictionary(pair => pair.Key.Replace("X-Amz-", "", StringComparison.Ordinal), pair => pair.Value);
        if (!query.Remove("X-Amz-Signature") && !given.ContainsKey("Signature"))
            return false;

        var scope = given["Credential"].Split('/', 2)[1];
        var signedHeaders = given["SignedHeaders"];
        var canonical = string.Join(
            '\n',
            request.Method,
            string.Join('/', target[0].Split('/').Select(segment => Uri.EscapeDataString(Uri.UnescapeDataString(segment)))),
            string.Join('&', query.Select(pair => $"{Uri.EscapeDataString(pair.Key)}={Uri.EscapeDataString(pair.Value)}").Order(StringComparer.Ordinal)),
            string.Concat(signedHeaders.Split(';').Select(name => $"{name}:{request.Headers[name].ToString().Trim()}\n")),
            signedHeaders,
            request.Headers["x-amz-content-sha256"] is { Count: > 0 } declared ? declared.ToString() : "UNSIGNED-PAYLOAD");
        var toSign = string.Join(
            '\n',
            "AWS4-HMAC-SHA256",
            query.GetValueOrDefault("X-Amz-Date") ?? request.Headers["x-amz-date"].ToString(),
            scope,
            Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical))));
        var key = scope.Split('/').Aggregate(
            Encoding.UTF8.GetBytes("AWS4" + Secret), (key, part) => HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(part)));
        return given["Signature"] == Convert.ToHexStringLower(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(toSign)));
    }

    private static (XElement?, string?) Ok(XElement? answer = null) => (answer, null);

    private (XElement?, string?) List(IQueryCollection query)
    {
        var (prefix, delimiter, after) = (query["prefix"].ToString(), query["delimiter"].ToString(), query["continuation-token"].ToString());
        var most = int.TryParse(query["max-keys"], out var asked) ? asked : 1000;
        var answer = new XElement("ListBucketResult");
        var commons = new SortedSet<string>(StringComparer.Ordinal);
        var (count, last) = (0, "");
        var truncated = false;
        foreach (var (key, found) in Objects.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal)))
        {
            var slash = delimiter.Length == 0 ? -1 : key.IndexOf(delimiter, prefix.Length, StringComparison.Ordinal);
            var name = slash < 0 ? key : key[..(slash + 1)];
            if (string.CompareOrdinal(name, after) <= 0 || commons.Contains(name))
                continue;
            if (truncated = count == most)
                break;
            (count, last) = (count + 1, name);
            if (slash >= 0)
                commons.Add(name);
            else
                answer.Add(new XElement("Contents", new XElement("Key", key), Time("LastModified", found.Modified), new XElement("ETag", found.ETag), new XElement("Size", found.Content.Length)));
        }

        answer.Add(commons.Select(common => new XElement("CommonPrefixes", new XElement("Prefix", common))));
        answer.Add(new XElement("IsTruncated", truncated), new XElement("KeyCount", count));
        if (truncated)
            answer.Add(new XElement("NextContinuationToken", last));
        return Ok(answer);
    }

    private (XElement?, string?) ListUploads(string prefix) => Ok(new XElement(
        "ListMultipartUploadsResult",
        new XElement("IsTruncated", false),
        Uploads.Where(pair => pair.Value.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(pair => new XElement(
            "Upload", new XElement("Key", pair.Value.Key), new XElement("UploadId", pair.Key), Time("Initiated", pair.Value.Initiated)))));

    private (XElement?, string?) ListParts(string uploadId, string marker)
    {
        const int page = 2;
        if (!Uploads.TryGetValue(uploadId, out var upload))
            return (null, "NoSuchUpload");
        var after = int.TryParse(marker, CultureInfo.InvariantCulture, out var number) ? number : 0;
        var left = upload.Parts.Where(pair => pair.Key > after).ToList();
        return Ok(new XElement(
            "ListPartsResult",
            new XElement("IsTruncated", left.Count > page),
            left.Count > 0 ? new XElement("NextPartNumberMarker", left.Take(page).Last().Key) : null,
            left.Take(page).Select(pair => new XElement(
                "Part", new XElement("PartNumber", pair.Key), new XElement("ETag", pair.Value.ETag), new XElement("Size", pair.Value.Content.Length)))));
    }

    private (XElement?, string?) DeleteMany(byte[] body)
    {
        foreach (var key in XDocument.Parse(Encoding.UTF8.GetString(body)).Descendants().Where(element => element.Name.LocalName == "Key"))
            Objects.Remove(key.Value);
        return Ok(new XElement("DeleteResult"));
    }

    private (XElement?, string?) Begin(string key, Dictionary<string, string> headers)
    {
        var id = "u" + Guid.NewGuid().ToString("N");
        Uploads[id] = new Upload(key, DateTime.UtcNow, headers);
        return Ok(new XElement("InitiateMultipartUploadResult", new XElement("Bucket", "bucket"), new XElement("Key", key), new XElement("UploadId", id)));
    }

    private (XElement?, string?) PutPart(string uploadId, HttpRequest request, byte[] content, HttpContext context)
    {
        if (!Uploads.TryGetValue(uploadId, out var upload))
            return (null, "NoSuchUpload");
        var part = Stored(content, []);
        upload.Parts[int.Parse(request.Query["partNumber"]!, CultureInfo.InvariantCulture)] = part;
        context.Response.Headers.ETag = part.ETag;
        return Ok();
    }

    private (XElement?, string?) Complete(string key, string uploadId, byte[] body, HttpContext context)
    {
        if (!Uploads.TryGetValue(uploadId, out var upload))
            return (null, "NoSuchUpload");
        var named = XDocument.Parse(Encoding.UTF8.GetString(body)).Descendants().Where(element => element.Name.LocalName == "Part")
            .Select(part => part.Elements().ToDictionary(element => element.Name.LocalName, element => element.Value)).ToList();
        if (named.Exists(part => !upload.Parts.TryGetValue(int.Parse(part["PartNumber"], CultureInfo.InvariantCulture), out var sent)
            || sent.ETag.Trim('"') != part["ETag"].Trim('"')))
            return (null, "InvalidPart");
        Uploads.Remove(uploadId);
        var whole = upload.Parts.Values.SelectMany(part => part.Content).ToArray();
        Put(key, whole, upload.Headers, context);
        Objects[key] = Objects[key] with { ETag = Objects[key].ETag.TrimEnd('"') + $"-{upload.Parts.Count}\"" };
        return Ok(new XElement("CompleteMultipartUploadResult", new XElement("ETag", Objects[key].ETag)));
    }

    private (XElement?, string?) Put(string key, byte[] content, Dictionary<string, string> headers, HttpContext context)
    {
        Objects[key] = Stored(content, headers);
        context.Response.Headers.ETag = Objects[key].ETag;
        return Ok();
    }

    private async Task GetAsync(HttpContext context, string key)
    {
        StoredObject found;
        lock (Objects)
            found = Objects[key];
        var (request, response) = (context.Request, context.Response);
        if (request.Headers.IfMatch.ToString() is { Length: > 0 } wanted && wanted != found.ETag)
        {
            await FailAsync(context, 412, "PreconditionFailed");
            return;
        }

        var content = found.Content.AsMemory();
        if (request.GetTypedHeaders().Range?.Ranges.Single() is { } range)
        {
            content = content[(int)range.From!..(int)(range.To! + 1)];
            response.StatusCode = 206;
        }

        response.Headers.ETag = found.ETag;
        response.Headers.LastModified = found.Modified.ToString("R", CultureInfo.InvariantCulture);
        response.ContentLength = content.Length;
        if (request.Method == "GET")
            await response.Body.WriteAsync(content);
    }

    private static StoredObject Stored(byte[] content, Dictionary<string, string> headers) =>
#pragma warning disable CA5351 // It is what S3 makes ETags of.
        new(content, $"\"{Convert.ToHexStringLower(MD5.HashData(content))}\"", DateTime.UtcNow, headers);
#pragma warning restore CA5351

    private static XElement Time(string name, DateTime time) => new(name, time.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture));

    private static Dictionary<string, string> HeadersOf(HttpRequest request) =>
        request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase);
}
