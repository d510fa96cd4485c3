using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Webhooks;

/// <summary>Something to be sent.</summary>
/// <param name="WebhookId">The webhook.</param>
/// <param name="Url">Where to.</param>
/// <param name="Secret">What it is signed with, encrypted; null when it is not.</param>
/// <param name="DeliveryId">What it is known by, however often it is sent.</param>
/// <param name="Payload">The JSON.</param>
public record WebhookDispatch(string WebhookId, string Url, string? Secret, Guid DeliveryId, string Payload);

/// <summary>What came of sending something once.</summary>
/// <param name="Status">The receiver's status; null when there was no answer.</param>
/// <param name="Error">What went wrong; null when nothing did.</param>
/// <param name="MayPass">Whether it is worth sending again.</param>
/// <param name="RetryAfter">How long the receiver wants to be left alone.</param>
/// <param name="Body">The beginning of its answer, when that was asked for.</param>
public sealed record WebhookOutcome(int? Status, string? Error = null, bool MayPass = false, TimeSpan? RetryAfter = null, string? Body = null)
{
    /// <summary>Whether the receiver has taken it.</summary>
    public bool IsDelivered => Error is null;
}

/// <summary>
/// Sends deliveries (contract: security §4): signed, only to where <see cref="WebhookAddress"/> allows, past proxies of the environment, and
/// without following redirects, which would lead anywhere.
/// </summary>
public sealed class WebhookSender : IDisposable
{
    /// <summary>So much of an answer is shown to who tests a webhook.</summary>
    private const int MaxBodyBytes = 16 * 1024;

    /// <summary>What is left of an answer is read, so that the connection can be used again, only if it is no more than this.</summary>
    private const int MaxDrainBytes = 64 * 1024;

    private readonly WebhookOptions options;
    private readonly WebhookAddress address;
    private readonly WebhookSecrets secrets;
    private readonly HttpClient client;

    /// <summary>Makes one; nothing is connected yet.</summary>
    /// <param name="options">How long receivers may take.</param>
    /// <param name="address">Opens connections.</param>
    /// <param name="secrets">Decrypts secrets.</param>
    public WebhookSender(WebhookOptions options, WebhookAddress address, WebhookSecrets secrets)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(address);
        this.options = options;
        this.address = address;
        this.secrets = secrets;
        client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = address.ConnectAsync,
            AllowAutoRedirect = false,
            UseProxy = false,
            UseCookies = false,
            ActivityHeadersPropagator = null,
            MaxResponseDrainSize = MaxDrainBytes,
            // Names are looked up again now and then.
            PooledConnectionLifetime = TimeSpan.FromMinutes(2),
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        client.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue(MlflowApp.Product, MlflowApp.ProductVersion));
    }

    /// <summary>Sends something once. Whatever goes wrong is an outcome, not an exception.</summary>
    /// <param name="dispatch">What to send.</param>
    /// <param name="readsBody">Whether the answer is wanted.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    public async Task<WebhookOutcome> SendAsync(WebhookDispatch dispatch, bool readsBody, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(dispatch);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(options.RequestTimeout);
        try
        {
            using var request = Request(dispatch);
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token).ConfigureAwait(false);
            var outcome = Judge(response);
            return readsBody
                ? outcome with { Body = await ReadBodyAsync(response, patience.Token).ConfigureAwait(false) }
                : outcome;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new WebhookOutcome(null, string.Create(CultureInfo.InvariantCulture, $"no answer within {options.RequestTimeout.TotalSeconds} s"), MayPass: true);
        }
        catch (Exception exception) when (exception is MlflowException or WebhookSecretException || exception.InnerException is WebhookAddressException)
        {
            return new WebhookOutcome(null, (exception.InnerException as WebhookAddressException ?? exception).Message);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Sockets fail in more ways than HttpClient has exceptions for.
            return new WebhookOutcome(null, Printable(exception.Message), MayPass: true);
        }
    }

    /// <summary>Closes its connections.</summary>
    public void Dispose() => client.Dispose();

    private HttpRequestMessage Request(WebhookDispatch dispatch)
    {
        var body = Encoding.UTF8.GetBytes(dispatch.Payload);
        var deliveryId = dispatch.DeliveryId.ToString("D");
        var timestamp = DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        // The settings may have changed since the webhook was made.
        var request = new HttpRequestMessage(HttpMethod.Post, address.Parse(dispatch.Url))
        {
            Content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue(ResponseWriting.JsonMediaType) } },
        };
        request.Headers.Add("X-MLflow-Delivery-Id", deliveryId);
        request.Headers.Add("X-MLflow-Timestamp", timestamp);
        if (dispatch.Secret is not null)
        {
            byte[] content = [.. Encoding.ASCII.GetBytes($"{deliveryId}.{timestamp}."), .. body];
            var signature = HMACSHA256.HashData(secrets.Decrypt(dispatch.WebhookId, dispatch.Secret), content);
            request.Headers.Add("X-MLflow-Signature", $"v1,{Convert.ToBase64String(signature)}");
        }

        return request;
    }

    /// <summary>A message may quote what a receiver sent instead of an answer, and goes to the log and to the database.</summary>
    private static string Printable(string message) => string.Concat(message.Select(character => char.IsControl(character) ? '\uFFFD' : character));

    private static WebhookOutcome Judge(HttpResponseMessage response)
    {
        var status = (int)response.StatusCode;
        if (status is >= 200 and < 300)
            return new WebhookOutcome(status);
        var error = string.Create(CultureInfo.InvariantCulture, $"the receiver answered {status}")
            + (status is >= 300 and < 400 ? ", and redirects are not followed" : "");
        var mayPass = response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.InternalServerError or HttpStatusCode.BadGateway
            or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout;
        var retryAfter = response.Headers.RetryAfter is not { } wish ? null : wish.Delta ?? wish.Date - DateTimeOffset.UtcNow;
        return new WebhookOutcome(status, error, mayPass, retryAfter);
    }

    private static async Task<string> ReadBodyAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        var content = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        await using (content.ConfigureAwait(false))
        {
            var body = new byte[MaxBodyBytes];
            var length = await content.ReadAtLeastAsync(body, body.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
            return Encoding.UTF8.GetString(body, 0, length);
        }
    }
}
