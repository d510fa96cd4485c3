using System.Reflection;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing.Patterns;

namespace MlflowCompat.Server.Http;

/// <summary>
/// Maps the endpoints of one capability. A route is named by what follows its prefix and is mapped under every prefix that it has at once,
/// with the same handler and the same policies, so that no alias can miss a check (contract: endpoints §0).
/// </summary>
/// <typeparam name="TStore">What the handlers work on; made for each request.</typeparam>
/// <param name="endpoints">Where the routes go.</param>
/// <param name="version">The version in their prefixes: <c>2.0</c> or <c>3.0</c>.</param>
public sealed class MlflowRoutes<TStore>(IEndpointRouteBuilder endpoints, string version)
    where TStore : notnull
{
    private static readonly string[] GetMethods = [HttpMethods.Get, HttpMethods.Head];
    private static readonly string[] PostMethods = [HttpMethods.Post];
    private static readonly string[] PutMethods = [HttpMethods.Put];
    private static readonly string[] PatchMethods = [HttpMethods.Patch];
    private static readonly string[] DeleteMethods = [HttpMethods.Delete];

    private string[] BothTwins => [$"/api/{version}/mlflow/", .. AjaxOnly];

    private string[] AjaxOnly => [$"/ajax-api/{version}/mlflow/"];

    /// <summary>Maps GET (and HEAD), with the message in the query string.</summary>
    public void Get<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(BothTwins, route, GetMethods, handler);

    /// <summary>Maps POST, with the message as JSON body.</summary>
    public void Post<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(BothTwins, route, PostMethods, handler);

    /// <summary>Maps PUT, with the message as JSON body.</summary>
    public void Put<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(BothTwins, route, PutMethods, handler);

    /// <summary>Maps PATCH, with the message as JSON body.</summary>
    public void Patch<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(BothTwins, route, PatchMethods, handler);

    /// <summary>Maps DELETE, with the message as JSON body, if there is one.</summary>
    public void Delete<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(BothTwins, route, DeleteMethods, handler);

    /// <summary>Maps GET for the web interface only: the twin under /api is no endpoint.</summary>
    public void AjaxGet<TRequest, TResponse>(string route, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => Map(AjaxOnly, route, GetMethods, handler);

    /// <summary>
    /// Maps GET for an answer that is too large to be held in memory: the handler writes it as it is made, and it has to look like
    /// <typeparamref name="TResponse"/>.
    /// </summary>
    public void GetStreamed<TRequest, TResponse>(string route, Func<TRequest, TStore, HttpResponse, CancellationToken, Task> handler)
        where TRequest : class, new() => MapStreamed<TRequest, TResponse>(BothTwins, route, handler);

    /// <summary>As <see cref="GetStreamed"/>, for the web interface only.</summary>
    public void AjaxGetStreamed<TRequest, TResponse>(string route, Func<TRequest, TStore, HttpResponse, CancellationToken, Task> handler)
        where TRequest : class, new() => MapStreamed<TRequest, TResponse>(AjaxOnly, route, handler);

    private void Map<TRequest, TResponse>(
        string[] prefixes, string route, string[] methods, Func<TRequest, TStore, CancellationToken, Task<TResponse>> handler)
        where TRequest : class, new() => MapAnswer<TRequest, TResponse>(prefixes, route, methods, handler.Method, async (request, store, context) =>
        {
            var response = await handler(request, store, context.RequestAborted).ConfigureAwait(false);
            await context.Response.WriteMessageAsync(response, context.RequestAborted).ConfigureAwait(false);
        });

    private void MapStreamed<TRequest, TResponse>(
        string[] prefixes, string route, Func<TRequest, TStore, HttpResponse, CancellationToken, Task> handler)
        where TRequest : class, new() => MapAnswer<TRequest, TResponse>(
            prefixes, route, GetMethods, handler.Method, (request, store, context) => handler(request, store, context.Response, context.RequestAborted));

    private void MapAnswer<TRequest, TResponse>(
        string[] prefixes, string route, string[] methods, MethodInfo handler, Func<TRequest, TStore, HttpContext, Task> answer)
        where TRequest : class, new()
    {
        var operation = new MlflowOperation(typeof(TRequest), typeof(TResponse));
        // Found by the first request: the descriptions of all messages together would take a good part of the server's start.
        var inPath = new Lazy<JsonPropertyInfo[]>(() => PathFields<TRequest>(route));
        foreach (var prefix in prefixes)
            endpoints.MapMethods(prefix + route, methods, Handle).WithMetadata(handler, operation);

        async Task Handle(HttpContext context)
        {
            var request = await RequestBinding.ReadAsync<TRequest>(context).ConfigureAwait(false);
            foreach (var field in inPath.Value)
            {
                var value = (string)context.GetRouteValue(field.Name)!;
                if (HasEncodedSlash(context, value))
                {
                    context.Response.StatusCode = StatusCodes.Status404NotFound;
                    return;
                }

                field.Set!(request, value);
            }

            await answer(request, context.RequestServices.GetRequiredService<TStore>(), context).ConfigureAwait(false);
        }
    }

    private static JsonPropertyInfo[] PathFields<TRequest>(string route)
    {
        if (!route.Contains('{', StringComparison.Ordinal))
            return [];
        var names = RoutePatternFactory.Parse(route).Parameters.Select(parameter => parameter.Name);
        return [.. names.Select(name => MlflowJson.TypeInfo<TRequest>().Properties.Single(field => field.Name == name && InPathAttribute.IsOn(field)))];
    }

    /// <summary>
    /// Whether a client has encoded a slash, which routing leaves as it is: the reference takes it for one, and finds no route (contract: endpoints §6).
    /// </summary>
    private static bool HasEncodedSlash(HttpContext context, string value) =>
        value.Contains("%2F", StringComparison.OrdinalIgnoreCase)
        && context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget.Contains("%2F", StringComparison.OrdinalIgnoreCase);
}

/// <summary>Marks a field of a message that stands in the path of its route, as the route's parameter of the same name, and nowhere else.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class InPathAttribute : Attribute
{
    /// <summary>Whether a field is marked.</summary>
    public static bool IsOn(JsonPropertyInfo field) => field.AttributeProvider?.IsDefined(typeof(InPathAttribute), inherit: true) == true;
}

/// <summary>Which messages an endpoint speaks, for the description of the API.</summary>
/// <param name="Request">Type of the request message.</param>
/// <param name="Response">Type of the answer.</param>
public sealed record MlflowOperation(Type Request, Type Response);

/// <summary>Finds the routes of a capability.</summary>
public static class MlflowRoutes
{
    /// <summary>Starts a route table whose handlers work on <typeparamref name="TStore"/>.</summary>
    public static MlflowRoutes<TStore> MlflowRoutesFor<TStore>(this IEndpointRouteBuilder endpoints, string version = "2.0")
        where TStore : notnull => new(endpoints, version);
}
