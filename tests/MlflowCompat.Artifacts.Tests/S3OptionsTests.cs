using MlflowCompat.Artifacts.S3;

namespace MlflowCompat.Artifacts.Tests;

public sealed class S3OptionsTests
{
    [Fact]
    public void Read_OfNothing_LeavesItToTheSdk()
    {
        var options = Read();
        Assert.Null(options.Endpoint);
        Assert.Null(options.AccessKeyId);
        Assert.False(options.PathStyle);
        Assert.False(options.IgnoreTls);
        Assert.Empty(options.UploadHeaders);
    }

    [Fact]
    public void Read_OfAllVariables_TakesThem()
    {
        var options = Read(
            ("MLFLOW_S3_ENDPOINT_URL", "https://minio:9000"), ("AWS_ENDPOINT_URL", "https://elsewhere"), ("MLFLOW_S3_IGNORE_TLS", "true"),
            ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "token"), ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("MLFLOW_S3_EXPECTED_BUCKET_OWNER", "1234"), ("AWS_PROFILE", "work"),
            ("MLFLOW_S3_UPLOAD_EXTRA_ARGS", """{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k", "BucketKeyEnabled": true, "Metadata": {"a": "b"}}"""));
        Assert.Equal("https://minio:9000/", options.Endpoint?.ToString());
        Assert.True(options.PathStyle);
        Assert.True(options.IgnoreTls);
        Assert.Equal(
            ("id", "secret", "token", "eu-west-1", "1234", "work"),
            (options.AccessKeyId, options.SecretAccessKey, options.SessionToken, options.Region, options.ExpectedBucketOwner, options.Profile));
        Assert.Equal(
            ["x-amz-meta-a=b", "x-amz-server-side-encryption-aws-kms-key-id=k", "x-amz-server-side-encryption-bucket-key-enabled=true", "x-amz-server-side-encryption=aws:kms"],
            options.UploadHeaders.Select(header => $"{header.Key}={header.Value}").Order(StringComparer.Ordinal));
        Assert.DoesNotContain("secret", options.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("path", null, true)]
    [InlineData("virtual", "http://h", false)]
    [InlineData("auto", null, false)]
    [InlineData("auto", "http://h", true)]
    public void AddressingStyle_WithAndWithoutEndpoint_IsThatOfBoto(string style, string? endpoint, bool pathStyle) =>
        Assert.Equal(pathStyle, Read(("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", style), ("AWS_ENDPOINT_URL_S3", endpoint)).PathStyle);

    [Theory]
    [InlineData("MLFLOW_S3_ENDPOINT_URL", "minio:9000")]
    [InlineData("MLFLOW_S3_IGNORE_TLS", "perhaps")]
    [InlineData("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "long")]
    [InlineData("AWS_CA_BUNDLE", "/nowhere/ca.pem")]
    [InlineData("AWS_ACCESS_KEY_ID", "alone")]
    [InlineData("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "{")]
    [InlineData("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "[]")]
    [InlineData("MLFLOW_S3_UPLOAD_EXTRA_ARGS", """{"ACL": 1}""")]
    [InlineData("MLFLOW_S3_UPLOAD_EXTRA_ARGS", """{"SSECustomerKey": "x"}""")]
    public void Read_OfAWrongValue_NamesTheVariable(string name, string value) =>
        Assert.Contains(name, Assert.Throws<ArgumentException>(() => Read((name, value))).Message, StringComparison.Ordinal);

    private static S3Options Read(params (string Name, string? Value)[] variables) =>
        S3Options.Read(name => variables.FirstOrDefault(variable => variable.Name == name).Value);
}
