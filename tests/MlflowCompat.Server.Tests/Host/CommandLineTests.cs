using System.CommandLine;
using MlflowCompat.Server.Commands;
using MlflowCompat.Server.Configuration;

namespace MlflowCompat.Server.Tests.Host;

public sealed class CommandLineTests
{
    private static readonly Dictionary<string, string> NoVariables = [];

    [Fact]
    public void NothingGiven_IsTheDefault() => Assert.Equal(new ServerOptions(), Read([], NoVariables));

    [Fact]
    public void Options_AreThoseOfMlflowServer()
    {
        var options = Read(
            [
                "--backend-store-uri", "postgresql://localhost/m", "--registry-store-uri", "postgresql://localhost/m",
                "--default-artifact-root", "s3://bucket/a", "--artifacts-destination=s3://bucket", "--no-serve-artifacts", "--artifacts-only",
                "-h", "0.0.0.0", "-p", "8080", "--static-prefix", "/p", "--allowed-hosts", "a, b:*,", "--cors-allowed-origins", "https://a",
                "--x-frame-options", "deny", "--view-refresh-seconds", "0", "--disable-security-middleware", "--log-format", "json",
            ],
            NoVariables);

        Assert.Equivalent(
            new ServerOptions
            {
                BackendStoreUri = "postgresql://localhost/m",
                DefaultArtifactRoot = "s3://bucket/a",
                ArtifactsDestination = "s3://bucket",
                ServeArtifacts = false,
                ArtifactsOnly = true,
                Host = "0.0.0.0",
                Port = 8080,
                StaticPrefix = "/p",
                AllowedHosts = ["a", "b:*"],
                CorsAllowedOrigins = ["https://a"],
                XFrameOptions = "DENY",
                DisableSecurityMiddleware = true,
                ViewRefreshInterval = TimeSpan.Zero,
                JsonLog = true,
            },
            options,
            strict: true);
    }

    [Fact]
    public void Variables_AreThoseOfMlflowServer()
    {
        var options = Read([], new()
        {
            ["MLFLOW_BACKEND_STORE_URI"] = "sqlite:///a.db",
            ["MLFLOW_REGISTRY_STORE_URI"] = "sqlite:///a.db",
            ["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = "/artifacts",
            ["MLFLOW_ARTIFACTS_DESTINATION"] = "/destination",
            ["MLFLOW_SERVE_ARTIFACTS"] = "false",
            ["MLFLOW_ARTIFACTS_ONLY"] = "1",
            ["MLFLOW_HOST"] = "::",
            ["MLFLOW_PORT"] = "5001",
            ["MLFLOW_STATIC_PREFIX"] = "/p/q",
            ["MLFLOW_SERVER_ALLOWED_HOSTS"] = "*",
            ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = "https://a,https://b",
            ["MLFLOW_SERVER_X_FRAME_OPTIONS"] = "NONE",
            ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "True",
            ["MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH"] = "100",
            ["MLFLOW_TRUNCATE_LONG_VALUES"] = "no",
            ["MLFLOW_COMPAT_VIEW_REFRESH_SECONDS"] = "60",
        });

        Assert.Equivalent(
            new ServerOptions
            {
                BackendStoreUri = "sqlite:///a.db",
                DefaultArtifactRoot = "/artifacts",
                ArtifactsDestination = "/destination",
                ServeArtifacts = false,
                ArtifactsOnly = true,
                Host = "::",
                Port = 5001,
                StaticPrefix = "/p/q",
                AllowedHosts = ["*"],
                CorsAllowedOrigins = ["https://a", "https://b"],
                XFrameOptions = "NONE",
                DisableSecurityMiddleware = true,
                ArtifactLocationMaxLength = 100,
                TruncateLongValues = false,
                ViewRefreshInterval = TimeSpan.FromMinutes(1),
            },
            options,
            strict: true);
    }

    [Fact]
    public void PatternOfSources_HasATimeLimit()
    {
        var pattern = Read([], new() { ["MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"] = "^s3://mine/" }).ModelVersionSourcePattern!;

        Assert.Equal("^s3://mine/", pattern.ToString());
        Assert.Equal(TimeSpan.FromSeconds(1), pattern.MatchTimeout);
        Assert.Null(Read([], new() { ["MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"] = "" }).ModelVersionSourcePattern);
    }

    [Fact]
    public void CommandLine_BeatsTheEnvironment()
    {
        var options = Read(
            ["--port", "2", "--serve-artifacts", "--backend-store-uri", "sqlite:///b.db"],
            new()
            {
                ["MLFLOW_PORT"] = "not even a number", ["MLFLOW_HOST"] = "10.0.0.1", ["MLFLOW_SERVE_ARTIFACTS"] = "false",
                ["MLFLOW_BACKEND_STORE_URI"] = "sqlite:///a.db",
            });

        Assert.Equal(2, options.Port);
        Assert.Equal("10.0.0.1", options.Host);
        Assert.True(options.ServeArtifacts);
        Assert.Equal("sqlite:///b.db", options.BackendStoreUri);
    }

    [Fact]
    public void EmptyVariable_IsNotSet() => Assert.Equal(
        new ServerOptions(),
        Read([], new() { ["MLFLOW_PORT"] = "", ["MLFLOW_SERVER_ALLOWED_HOSTS"] = "", ["MLFLOW_SERVE_ARTIFACTS"] = "", ["MLFLOW_BACKEND_STORE_URI"] = "" }));

    [Fact]
    public void OptionGivenTwice_CountsAsGivenLast()
    {
        var options = Read(["-p", "1", "--no-serve-artifacts", "--port", "2", "--serve-artifacts"], NoVariables);

        Assert.Equal(2, options.Port);
        Assert.True(options.ServeArtifacts);
    }

    [Fact]
    public void OptionsOfPythonProcesses_AreNamedAndIgnored()
    {
        string[] args =
        [
            "-w", "4", "--gunicorn-opts", "--timeout 60", "--uvicorn-opts", "--reload", "--waitress-opts=--threads=4", "--dev", "--port", "7",
        ];
        var command = new ServerCommand(name => name == "MLFLOW_EXPOSE_PROMETHEUS" ? "/metrics" : null);
        var result = command.Parse(args);

        Assert.Empty(result.Errors);
        Assert.Equal(7, command.ReadOptions(result).Port);
        Assert.Equal(
            ["--dev", "--gunicorn-opts", "--uvicorn-opts", "--waitress-opts", "--workers", "MLFLOW_EXPOSE_PROMETHEUS"],
            command.ReadIgnored(result).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("--port", "abc")]
    [InlineData("--port", "-1")]
    [InlineData("--port", "65536")]
    [InlineData("--x-frame-options", "ALLOW")]
    [InlineData("--view-refresh-seconds", "5m")]
    [InlineData("--log-format", "xml")]
    [InlineData("--static-prefix", "p")]
    [InlineData("--static-prefix", "/p/")]
    [InlineData("--static-prefix", "/")]
    public void BadValue_IsRefusedWithItsName(string option, string value)
    {
        var exception = Assert.Throws<UsageException>(() => Read([$"{option}={value}"], NoVariables));

        Assert.Contains(option, exception.Message, StringComparison.Ordinal);
        Assert.Contains($"'{value}'", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OtherRegistryStore_IsRefusedWithoutItsPassword()
    {
        var exception = Assert.Throws<UsageException>(() => Read(["--registry-store-uri", "postgresql://me:secret@localhost/models"], NoVariables));

        Assert.Contains("--registry-store-uri", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("MLFLOW_PORT", "5000x")]
    [InlineData("MLFLOW_SERVE_ARTIFACTS", "maybe")]
    [InlineData("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "2")]
    [InlineData("MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH", "0")]
    [InlineData("MLFLOW_TRUNCATE_LONG_VALUES", "perhaps")]
    [InlineData("MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX", "s3://(")]
    public void BadVariable_IsRefusedWithItsName(string variable, string value)
    {
        var exception = Assert.Throws<UsageException>(() => Read([], new() { [variable] = value }));

        Assert.Contains(variable, exception.Message, StringComparison.Ordinal);
        Assert.Contains($"'{value}'", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--bogus")]
    [InlineData("server", "--bogus")]
    [InlineData("serve")]
    [InlineData("--port")]
    [InlineData("server", "extra")]
    [InlineData("--app-name", "basic-auth")]
    [InlineData("db")]
    [InlineData("db", "migrate")]
    [InlineData("db", "upgrade", "a", "b")]
    public void UnknownWords_AreErrors(params string[] args) =>
        Assert.NotEmpty(CommandLine.Parse(args, _ => null).Errors);

    [Fact]
    public void ServerOptions_AreTakenWithoutTheCommandToo()
    {
        var bare = CommandLine.Parse(["-h", "localhost", "--no-serve-artifacts"], _ => null);
        var named = CommandLine.Parse(["server", "-h", "localhost", "--no-serve-artifacts"], _ => null);

        Assert.Empty(bare.Errors);
        Assert.Empty(named.Errors);
        Assert.Equal("localhost", Assert.Single(bare.GetRequiredValue<string[]>("--host")));
        Assert.Equal("localhost", Assert.Single(named.GetRequiredValue<string[]>("--host")));
    }

    [Theory]
    [InlineData(new string[0], 1, null)]
    [InlineData(new[] { "3" }, 3, null)]
    [InlineData(new[] { "all" }, null, null)]
    [InlineData(new[] { "sqlite:///a.db" }, 1, "sqlite:///a.db")]
    [InlineData(new[] { "2", "sqlite:///a.db" }, 2, "sqlite:///a.db")]
    [InlineData(new[] { "all", "sqlite:///a.db" }, null, "sqlite:///a.db")]
    public void DowngradeArguments_AreANumberAndAnAddress(string[] arguments, int? steps, string? url) =>
        Assert.Equal((steps, url), DatabaseCommand.ReadSteps(arguments));

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("sqlite:///a.db", "2")]
    [InlineData("sqlite:///a.db", "sqlite:///b.db")]
    public void DowngradeArguments_ThatMakeNoSense_AreRefused(params string[] arguments) =>
        Assert.Throws<UsageException>(() => DatabaseCommand.ReadSteps(arguments));

    [Theory]
    [InlineData(null, null, null, "http://127.0.0.1:5000/health")]
    [InlineData(null, "0.0.0.0", "8080", "http://127.0.0.1:8080/health")]
    [InlineData(null, "::", null, "http://[::1]:5000/health")]
    [InlineData(null, "[::1]", null, "http://[::1]:5000/health")]
    [InlineData(null, "mlflow", "80", "http://mlflow/health")]
    [InlineData("https://mlflow.example.com/p/", "0.0.0.0", "1", "https://mlflow.example.com/p/health")]
    public void HealthAddress_IsTheServersOwn(string? url, string? host, string? port, string expected)
    {
        var command = new HealthCommand(name => name == HealthCommand.HostVariable ? host : name == HealthCommand.PortVariable ? port : null);

        Assert.Equal(expected, command.Address(url).ToString());
    }

    [Theory]
    [InlineData("mlflow:5000")]
    [InlineData("ftp://mlflow")]
    [InlineData("")]
    public void HealthAddress_HasToBeHttp(string url) => Assert.Throws<UsageException>(() => new HealthCommand(_ => null).Address(url));

    [Fact]
    public void WebhookVariables_AreThoseOfMlflowServer()
    {
        var webhooks = Read([], new()
        {
            ["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] = "HTTPS, http",
            ["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] = "true",
            ["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            ["MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS"] = "3",
            ["MLFLOW_WEBHOOK_REQUEST_TIMEOUT"] = "5",
            ["MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES"] = "0",
        }).Webhooks;

        Assert.Equal(["https", "http"], webhooks.AllowedSchemes);
        Assert.True(webhooks.AllowPrivateIps);
        Assert.Equal("01234567890123456789012345678901"u8.ToArray(), webhooks.SecretEncryptionKey!);
        Assert.Equal((3, TimeSpan.FromSeconds(5), 0), (webhooks.MaxWorkers, webhooks.RequestTimeout, webhooks.MaxRetries));
    }

    [Theory]
    [InlineData("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "https,ftp", "http and https")]
    [InlineData("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "perhaps", "true or false")]
    [InlineData("MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS", "0", "whole number")]
    [InlineData("MLFLOW_WEBHOOK_REQUEST_TIMEOUT", "0", "whole number")]
    [InlineData("MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES", "-1", "whole number")]
    [InlineData("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "not-a-key", "32 bytes")]
    public void WebhookVariableThatMakesNoSense_IsNamed(string variable, string value, string reason)
    {
        var exception = Assert.Throws<UsageException>(() => Read([], new() { [variable] = value }));

        Assert.Contains(variable, exception.Message, StringComparison.Ordinal);
        Assert.Contains(reason, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("not-a-key", exception.Message, StringComparison.Ordinal);
    }

    private static ServerOptions Read(string[] args, Dictionary<string, string> variables)
    {
        var command = new ServerCommand(variables.GetValueOrDefault);
        var result = command.Parse(args);
        Assert.Empty(result.Errors);
        return command.ReadOptions(result);
    }
}
