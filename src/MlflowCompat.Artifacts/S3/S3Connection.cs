using System.Net;
using System.Security.Cryptography.X509Certificates;
using Amazon;
using Amazon.Runtime;
using Amazon.S3;

namespace MlflowCompat.Artifacts.S3;

/// <summary>
/// The way to an S3 server, shared by all stores on it: the client with its connections, the bounds on waiting, and what failures mean.
/// </summary>
internal sealed class S3Connection : IDisposable
{
    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(3);
    private const int Retries = 2;

    private readonly HttpClient http;

    /// <summary>Connects at the first call.</summary>
    /// <exception cref="ArgumentException">The CA bundle cannot be read.</exception>
    public S3Connection(S3Options options)
    {
        Options = options;
        // A limit on the whole request would end large uploads: every call has its own.
        http = new HttpClient(Handler(options)) { Timeout = Timeout.InfiniteTimeSpan };
        var config = new AmazonS3Config
        {
            HttpClientFactory = new OneClient(http),
            ForcePathStyle = options.PathStyle,
            MaxErrorRetry = Retries,
            RetryMode = RequestRetryMode.Standard,
            IgnoreConfiguredEndpointUrls = true,
            // Contents are signed with their SHA-256, which every server checks, or protected by TLS. Checksums in trailers say no more, and
            // many that speak S3 do not know them.
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
        };
        if (options.Endpoint is { } endpoint)
        {
            config.ServiceURL = endpoint.ToString();
            config.AuthenticationRegion = options.Region ?? "us-east-1";
        }
        else
        {
            config.RegionEndpoint = options.Region is { } region
                ? RegionEndpoint.GetBySystemName(region)
                : FallbackRegionFactory.GetRegionEndpoint(includeInstanceMetadata: false) ?? RegionEndpoint.USEast1;
        }

        if (options.Profile is { } profile)
            config.Profile = new Profile(profile);
        Client = options switch
        {
            { AccessKeyId: { } key, SessionToken: { } token } =>
                new AmazonS3Client(new SessionAWSCredentials(key, options.SecretAccessKey, token), config),
            { AccessKeyId: { } key } => new AmazonS3Client(new BasicAWSCredentials(key, options.SecretAccessKey), config),
            _ => new AmazonS3Client(config),
        };
        if (options.ExpectedBucketOwner is { } owner)
        {
            Client.BeforeRequestEvent += (_, arguments) =>
            {
                if (arguments is WebServiceRequestEventArgs request)
                    request.Headers["x-amz-expected-bucket-owner"] = owner;
            };
        }
    }

    public S3Options Options { get; }

    public AmazonS3Client Client { get; }

    /// <summary>Whether connections are encrypted.</summary>
    public bool IsTls => Options.Endpoint is not { Scheme: "http" };

    /// <summary>How long it may take to send so many bytes, at 256 KiB a second.</summary>
    public TimeSpan LimitFor(long bytes) => Options.CallLimit + TimeSpan.FromSeconds(bytes >> 18);

    /// <summary>Makes a call, and turns what goes wrong into what it means.</summary>
    /// <exception cref="ArtifactStoreException">All but <see cref="ArtifactFault.InvalidPath"/> and <see cref="ArtifactFault.NotAFile"/>.</exception>
    public async Task<T> CallAsync<T>(
        Func<AmazonS3Client, CancellationToken, Task<T>> call, CancellationToken cancellationToken, TimeSpan? limit = null)
    {
        using var limited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limited.CancelAfter(limit ?? Options.CallLimit);
        try
        {
            return await call(Client, limited.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && Meaning(exception) is { } fault)
        {
            throw fault;
        }
    }

    /// <summary>What a failure of the SDK or of the network means; null when it is neither.</summary>
    public static ArtifactStoreException? Meaning(Exception exception)
    {
        const string Look = "whoever runs this server has to look at";
        return exception switch
        {
            AmazonS3Exception { ErrorCode: "QuotaExceeded" or "XMinioStorageFull" or "XMinioAdminBucketQuotaExceeded" }
                or AmazonS3Exception { StatusCode: HttpStatusCode.InsufficientStorage } =>
                new(ArtifactFault.Full, "The artifact store has no room left", exception),
            AmazonS3Exception { ErrorCode: "SlowDown" or "RequestTimeout" or "InternalError" or "ServiceUnavailable" }
                or AmazonS3Exception { StatusCode: >= HttpStatusCode.InternalServerError and not HttpStatusCode.NotImplemented
                    or HttpStatusCode.TooManyRequests or HttpStatusCode.RequestTimeout } => Unavailable(exception),
            AmazonS3Exception { ErrorCode: "NoSuchBucket" } =>
                Refused($"The artifact store has no such bucket; {Look} the artifacts destination", exception),
            AmazonS3Exception { ErrorCode: "NoSuchUpload" or "InvalidPart" or "InvalidPartOrder" } =>
                MultipartUploads.NoSuchUpload(exception),
            // Some of these come without an error of S3's, from what stands before it.
            AmazonServiceException { StatusCode: HttpStatusCode.NotFound } =>
                new(ArtifactFault.NotFound, "No such artifact", exception),
            AmazonServiceException { StatusCode: HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden } refused => Refused(
                $"The artifact store refuses this server ({refused.ErrorCode}); {Look} its credentials and what they permit", exception),
            AmazonS3Exception { ErrorCode: "ExpiredToken" or "InvalidToken" or "InvalidAccessKeyId" } refused => Refused(
                $"The artifact store refuses this server ({refused.ErrorCode}); {Look} its credentials", exception),
            AmazonS3Exception { ErrorCode: "AuthorizationHeaderMalformed" or "PermanentRedirect" or "IllegalLocationConstraintException" }
                or AmazonS3Exception { StatusCode: HttpStatusCode.MovedPermanently or HttpStatusCode.TemporaryRedirect } => Refused(
                $"The artifact store's bucket is elsewhere; {Look} the region (AWS_REGION) and the endpoint", exception),
            AmazonS3Exception { StatusCode: not 0 } refused =>
                Refused($"The artifact store did not take the request ({refused.ErrorCode})", exception),
            // No answer at all. What the SDK itself gives up before it asks is wrapped in nothing: there are no credentials to sign with.
            AmazonServiceException or HttpRequestException or IOException or TimeoutException or OperationCanceledException =>
                Unavailable(exception),
            AmazonClientException { InnerException: HttpRequestException or IOException or WebException } => Unavailable(exception),
            AmazonClientException => Refused($"This server has no credentials for the artifact store; {Look} them", exception),
            _ => null,
        };

        static ArtifactStoreException Refused(string message, Exception inner) => new(ArtifactFault.Refused, message, inner);
        static ArtifactStoreException Unavailable(Exception inner) =>
            new(ArtifactFault.Unavailable, "The artifact store does not answer", inner);
    }

    public void Dispose()
    {
        Client.Dispose();
        http.Dispose();
    }

    private static SocketsHttpHandler Handler(S3Options options)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            ConnectTimeout = ConnectLimit,
            // Addresses of S3 change; a connection that lasts must not outlive them by much.
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        };
        if (options.IgnoreTls)
        {
#pragma warning disable CA5359 // It is what the operator asks for.
            handler.SslOptions.RemoteCertificateValidationCallback = (_, _, _, _) => true;
#pragma warning restore CA5359
        }
        else if (options.CaBundle is { } bundle)
        {
            var authorities = new X509Certificate2Collection();
            try
            {
                authorities.ImportFromPemFile(bundle);
            }
            catch (Exception exception) when (exception is System.Security.Cryptography.CryptographicException or IOException or UnauthorizedAccessException)
            {
                throw new ArgumentException($"AWS_CA_BUNDLE '{bundle}': it cannot be read.", exception);
            }

            var policy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
            };
            policy.CustomTrustStore.AddRange(authorities);
            handler.SslOptions.CertificateChainPolicy = policy;
        }

        return handler;
    }

    private sealed class OneClient(HttpClient client) : HttpClientFactory
    {
        public override HttpClient CreateHttpClient(IClientConfig clientConfig) => client;

        public override bool UseSDKHttpClientCaching(IClientConfig clientConfig) => false;

        public override bool DisposeHttpClientsAfterUse(IClientConfig clientConfig) => false;
    }
}
