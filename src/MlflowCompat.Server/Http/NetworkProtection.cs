using System.Buffers;
using System.IO.Enumeration;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Primitives;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Http;

/// <summary>
/// Keeps foreign web pages away from the server (contract: security §1): the Host header must be one that was meant to lead here (DNS
/// rebinding), requests that change something must not come from a page of another origin, and pages must not be framed elsewhere.
/// The rules are worked out once, at the start.
/// </summary>
public sealed class NetworkProtection
{
    private const string NotebookRenderer = "/static-files/lib/notebook-trace-renderer";
    private const string PreflightMethods = "GET, POST, PUT, DELETE, OPTIONS, PATCH";
    private const string PreflightMaxAgeSeconds = "600";

    private readonly List<HostRule>? hosts;
    private readonly List<string> origins;
    private readonly bool everyHost;
    private readonly bool everyOrigin;
    private readonly StringValues frameOptions;
    private readonly Func<object, Task> addHeaders;

    /// <summary>Works the rules out.</summary>
    /// <param name="options">The server's options.</param>
    public NetworkProtection(ServerOptions options)
    {
        everyHost = options.AllowedHosts?.Contains("*") is true;
        hosts = options.AllowedHosts?.Select(HostRule.Parse).ToList();
        everyOrigin = options.CorsAllowedOrigins.Contains("*");
        // Browsers send no slash behind an origin, people write one.
        origins = [.. options.CorsAllowedOrigins.Select(origin => origin.TrimEnd('/'))];
        frameOptions = options.XFrameOptions == "NONE" ? StringValues.Empty : options.XFrameOptions;
        addHeaders = AddHeaders;
    }

    /// <summary>Whether a request with this Host header is let in.</summary>
    /// <param name="header">The header's value; "" when there is none.</param>
    public bool AllowsHost(string header)
    {
        if (everyHost)
            return true;
        if (!Authority.TryParse(header, out var authority))
            return false;
        if (hosts is null)
            return IsLocal(authority.Host, alsoPrivate: true);
        foreach (var rule in hosts)
        {
            if (rule.Matches(header, authority.Host))
                return true;
        }

        return false;
    }

    /// <summary>
    /// Whether a page of this origin may change something: local pages, listed ones, and the server's own. The own origin is told by the
    /// Host header, so it counts only where that header is checked.
    /// </summary>
    /// <param name="origin">The Origin header.</param>
    /// <param name="host">The Host header.</param>
    public bool AllowsOrigin(string origin, string host)
    {
        if (everyOrigin)
            return true;
        var schemeEnd = origin.IndexOf("://", StringComparison.Ordinal);
        var wellFormed = Authority.TryParse(schemeEnd < 0 ? "" : origin.AsSpan(schemeEnd + "://".Length), out var authority);
        if (wellFormed && (IsLocal(authority.Host, alsoPrivate: false) || IsOwn(origin.AsSpan(0, schemeEnd), authority, host)))
            return true;
        foreach (var listed in origins)
        {
            if (origin.Equals(listed, StringComparison.OrdinalIgnoreCase)
                || (wellFormed && listed.Contains('*', StringComparison.Ordinal) && FileSystemName.MatchesSimpleExpression(listed, origin)))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Refuses the request, answers it when it is a preflight, or sends it on.</summary>
    internal Task InvokeAsync(HttpContext context, RequestDelegate next, ILogger logger)
    {
        var request = context.Request;
        var response = context.Response;
        // Set last, because an answer that fails half way starts again without headers.
        response.OnStarting(addHeaders, context);

        var host = request.Headers.Host.ToString();
        if (!AllowsHost(host) && request.Path.Value is not ("/health" or "/version"))
        {
            logger.HostRefused(request.Method, request.Path.Value ?? "", host);
            response.StatusCode = StatusCodes.Status403Forbidden;
            response.ContentType = "text/plain";
            return response.WriteAsync("Invalid Host header: this server is not known under that name (possible DNS rebinding attack); see --allowed-hosts");
        }

        var origin = request.Headers.Origin.ToString();
        if (origin.Length == 0)
            return next(context);

        var allowed = AllowsOrigin(origin, host);
        if (HttpMethods.IsOptions(request.Method) && request.Headers.AccessControlRequestMethod.Count > 0)
            return AnswerPreflight(context, allowed);
        if (!allowed && !HttpMethods.IsGet(request.Method) && !HttpMethods.IsHead(request.Method) && !HttpMethods.IsOptions(request.Method))
        {
            logger.OriginRefused(request.Method, request.Path.Value ?? "", origin);
            return RefuseOriginAsync(response, StatusCodes.Status403Forbidden);
        }

        return next(context);
    }

    private static Task AnswerPreflight(HttpContext context, bool allowed)
    {
        if (!allowed)
            return RefuseOriginAsync(context.Response, StatusCodes.Status400BadRequest);
        var headers = context.Response.Headers;
        headers.AccessControlAllowMethods = PreflightMethods;
        headers.AccessControlAllowHeaders = context.Request.Headers.AccessControlRequestHeaders;
        headers.AccessControlMaxAge = PreflightMaxAgeSeconds;
        return Task.CompletedTask;
    }

    private static Task RefuseOriginAsync(HttpResponse response, int status)
    {
        response.StatusCode = status;
        response.ContentType = "text/plain";
        return response.WriteAsync("Cross-origin request blocked");
    }

    private Task AddHeaders(object state)
    {
        var context = (HttpContext)state;
        var headers = context.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        if (frameOptions.Count > 0 && !context.Request.Path.StartsWithSegments(NotebookRenderer, StringComparison.Ordinal))
            headers.XFrameOptions = frameOptions;

        var origin = context.Request.Headers.Origin;
        if (origin.Count > 0)
        {
            headers.Append("Vary", "Origin");
            if (AllowsOrigin(origin.ToString(), context.Request.Headers.Host.ToString()))
            {
                headers.AccessControlAllowOrigin = origin;
                headers.AccessControlAllowCredentials = "true";
            }
        }

        return Task.CompletedTask;
    }

    private bool IsOwn(ReadOnlySpan<char> scheme, Authority authority, string host) =>
        !everyHost && scheme is "http" or "https" && authority.Text.Equals(host, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a host is this machine, by name or address, or (if asked) an address of a private network.</summary>
    private static bool IsLocal(ReadOnlySpan<char> host, bool alsoPrivate)
    {
        if (host.Equals("localhost", StringComparison.OrdinalIgnoreCase))
            return true;
        if (host[0] == '[')
        {
            return IPAddress.TryParse(host, out var ip) && ip.AddressFamily == AddressFamily.InterNetworkV6
                && (ip.Equals(IPAddress.IPv6Loopback) || (alsoPrivate && ip.IsIPv6UniqueLocal));
        }

        const uint Loopback = 0x7F_00_00_01;
        return TryParseIPv4(host, out var address)
            && (address == Loopback || (alsoPrivate && (address == 0 || address >> 24 == 10 || address >> 20 == 0xAC1 || address >> 16 == 0xC0A8)));
    }

    /// <summary>Four decimal numbers; not the octal, hexadecimal and shortened forms that <see cref="IPAddress"/> takes as well.</summary>
    private static bool TryParseIPv4(ReadOnlySpan<char> text, out uint address)
    {
        address = 0;
        var count = 0;
        foreach (var range in text.Split('.'))
        {
            var part = text[range];
            if (++count > 4 || part.Length is 0 or > 3 || part.ContainsAnyExceptInRange('0', '9') || (part.Length > 1 && part[0] == '0')
                || !byte.TryParse(part, out var number))
            {
                return false;
            }

            address = (address << 8) | number;
        }

        return count == 4;
    }

    /// <summary>One entry of the allowed hosts.</summary>
    /// <param name="Text">As it was given: with a port when only that port is allowed.</param>
    /// <param name="IsPattern">Whether it has wildcards.</param>
    /// <param name="IsAddress">
    /// Whether it stands for addresses, such as <c>192.168.*</c>: a name that only looks like the beginning of one is not meant.
    /// </param>
    private sealed record HostRule(string Text, bool IsPattern, bool IsAddress)
    {
        private static readonly SearchValues<char> AddressCharacters = SearchValues.Create("0123456789.*");

        public static HostRule Parse(string text)
        {
            var host = text.AsSpan();
            if (host.IndexOf(':') is var colon and >= 0)
                host = host[..colon];
            return new HostRule(
                text, text.Contains('*', StringComparison.Ordinal), host.ContainsAnyInRange('0', '9') && !host.ContainsAnyExcept(AddressCharacters));
        }

        public bool Matches(string header, ReadOnlySpan<char> host) => !IsPattern
            ? header.Equals(Text, StringComparison.OrdinalIgnoreCase)
            : (!IsAddress || TryParseIPv4(host, out _)) && FileSystemName.MatchesSimpleExpression(Text, header);
    }

    /// <summary><c>host</c> or <c>host:port</c>; an IPv6 address stands in brackets.</summary>
    private readonly ref struct Authority
    {
        private const int MaxPortDigits = 5;

        private static readonly SearchValues<char> NotInHosts = SearchValues.Create("/\\@?# ,");

        private Authority(ReadOnlySpan<char> text, int hostLength)
        {
            Text = text;
            Host = text[..hostLength];
        }

        public ReadOnlySpan<char> Text { get; }

        public ReadOnlySpan<char> Host { get; }

        public static bool TryParse(ReadOnlySpan<char> text, out Authority authority)
        {
            authority = default;
            var hostEnd = text.StartsWith('[') ? text.IndexOf(']') + 1 : text.IndexOf(':');
            if (hostEnd < 0)
                hostEnd = text.Length;
            if (hostEnd == 0 || text[..hostEnd].ContainsAny(NotInHosts) || (hostEnd < text.Length && !IsPort(text[hostEnd..])))
                return false;
            authority = new Authority(text, hostEnd);
            return true;
        }

        private static bool IsPort(ReadOnlySpan<char> text) =>
            text[0] == ':' && text.Length is > 1 and <= MaxPortDigits + 1 && !text[1..].ContainsAnyExceptInRange('0', '9');
    }
}

/// <summary>Puts <see cref="NetworkProtection"/> in front of the application.</summary>
public static class NetworkProtectionMiddleware
{
    /// <summary>Checks every request, unless the options switch that off.</summary>
    public static void UseNetworkProtection(this WebApplication app, ServerOptions options)
    {
        if (options.DisableSecurityMiddleware)
            return;
        var protection = new NetworkProtection(options);
        app.Use((context, next) => protection.InvokeAsync(context, next, app.Logger));
    }
}
