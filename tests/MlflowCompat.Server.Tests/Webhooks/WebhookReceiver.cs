using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MlflowCompat.Server.Tests.Webhooks;

/// <summary>An HTTP server on the loopback interface that keeps what it is sent.</summary>
public sealed class WebhookReceiver : IAsyncDisposable
{
    private readonly WebApplication app;
    private readonly ConcurrentQueue<Received> requests = [];
    private readonly SemaphoreSlim arrived = new(0);

    private WebhookReceiver(Func<HttpContext, Received, Task> answer)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        app = builder.Build();
        app.Run(async context =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            var received = new Received(
                context.Request.Method,
                context.Request.Path + context.Request.QueryString,
                context.Request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase),
                body.ToArray());
            requests.Enqueue(received);
            arrived.Release();
            await answer(context, received);
        });
    }

    /// <summary>Its address, without a slash at the end.</summary>
    public string Url => app.Urls.First();

    /// <summary>What has arrived so far.</summary>
    public IReadOnlyList<Received> Requests => [.. requests];

    /// <summary>Starts one.</summary>
    /// <param name="answer">What it does with a request; without it every request is answered with 200.</param>
    public static async Task<WebhookReceiver> StartAsync(Func<HttpContext, Received, Task>? answer = null)
    {
        var receiver = new WebhookReceiver(answer ?? ((_, _) => Task.CompletedTask));
        await receiver.app.StartAsync();
        return receiver;
    }

    /// <summary>Starts one that answers its first requests with these statuses, and all further ones with 200.</summary>
    public static Task<WebhookReceiver> AnsweringAsync(params int[] statuses)
    {
        var left = new ConcurrentQueue<int>(statuses);
        return StartAsync((context, _) =>
        {
            context.Response.StatusCode = left.TryDequeue(out var status) ? status : 200;
            return Task.CompletedTask;
        });
    }

    /// <summary>Waits until so many requests have arrived, and returns them.</summary>
    public async Task<IReadOnlyList<Received>> UntilAsync(int count)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (requests.Count < count)
            await arrived.WaitAsync(patience.Token);
        return Requests;
    }

    public async ValueTask DisposeAsync()
    {
        await app.DisposeAsync();
        arrived.Dispose();
    }

    /// <summary>A request that has arrived.</summary>
    public sealed record Received(string Method, string Target, IReadOnlyDictionary<string, string> Headers, byte[] Body)
    {
        /// <summary>The delivery that it is an attempt of.</summary>
        public string DeliveryId => Headers["X-MLflow-Delivery-Id"];

        /// <summary>The body as JSON.</summary>
        public JsonObject Json => JsonNode.Parse(Body)!.AsObject();

        /// <summary>The signature that it has to have.</summary>
        public string Signature(string secret)
        {
            var signed = $"{DeliveryId}.{Headers["X-MLflow-Timestamp"]}.{Encoding.UTF8.GetString(Body)}";
            return "v1," + Convert.ToBase64String(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes(signed)));
        }
    }
}
