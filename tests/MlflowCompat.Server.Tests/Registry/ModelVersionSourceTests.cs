using MlflowCompat.Server.Http;
using MlflowCompat.Server.Registry;

namespace MlflowCompat.Server.Tests.Registry;

/// <summary>Which sources a version may have (contract: security §3).</summary>
public sealed class ModelVersionSourceTests
{
    [Theory]
    [InlineData("s3://b/a")]
    [InlineData("s3:/b/x")]
    [InlineData("gs://b/a")]
    [InlineData("dbfs:/a")]
    [InlineData("hdfs://h/a")]
    [InlineData("ftp://h/a")]
    [InlineData("http://h/a")]
    [InlineData("https://h/a/")]
    [InlineData("http://127.0.0.1/a")]
    [InlineData("runs:/RID/m")]
    [InlineData("models:/m-0123")]
    [InlineData("models:/name/1")]
    [InlineData("mlflow-artifacts:/x")]
    [InlineData("mlflow-artifacts://h:5/x")]
    [InlineData("mlflow-artifacts:/x//y")]
    [InlineData("mlflow-artifacts:/x/")]
    [InlineData("mlflow-artifacts:/x#frag")]
    [InlineData("s3://b/a b")]
    [InlineData("s3://b/a+b")]
    [InlineData("s3://b/a%20b%")]
    [InlineData("s3://b/é/%C3%A9")]
    [InlineData("s3://b/c?x=y")]
    [InlineData("s3://b/..c/c../.c/...")]
    [InlineData("wasbs://container@account.blob.core.windows.net/a")]
    public void Uri_ThatLeadsWhereItSays_IsTaken(string source)
    {
        ModelVersionSource.Check(source, null);
        ModelVersionSource.Check(source, "/root");
        Assert.False(ModelVersionSource.IsLocal(source));
    }

    [Theory]
    [InlineData("s3://b/../x")]
    [InlineData("s3://b/a/..%2fx")]
    [InlineData("s3://b/%2e%2e/x")]
    [InlineData("s3://b/%252e%252e/x")]
    [InlineData("s3://b/%2e%252e/x")]
    [InlineData("s3://b/a\\..\\x")]
    [InlineData("s3://b/a%5c..%5cx")]
    [InlineData("http://h/api/2.0/mlflow-artifacts/artifacts/../x")]
    [InlineData("mlflow-artifacts:/../x")]
    [InlineData("mlflow-artifacts:/%2e%2e/x")]
    [InlineData("runs:/../x")]
    [InlineData("models:/x/..")]
    [InlineData("mlflow-artifacts:/x%00")]
    [InlineData("mlflow-artifacts:/x%2500")]
    [InlineData("gs://b/.")]
    [InlineData("gs://b/./c")]
    [InlineData("gs://b/%2e/c")]
    [InlineData("s3://b/c?x=../y")]
    [InlineData("s3://b/c?..")]
    [InlineData("s3://b/c#../y")]
    [InlineData("s3://b/c#..")]
    [InlineData("mlflow-artifacts:x")]
    [InlineData("mlflow-artifacts:")]
    [InlineData("mlflow-artifacts:/")]
    [InlineData("http://")]
    [InlineData("s3://b")]
    [InlineData("s3://b/")]
    [InlineData("s3://../b")]
    [InlineData("s3:b/x")]
    public void Uri_ThatLeadsElsewhere_IsRefused(string source)
    {
        Refused(source, null);
        Refused(source, "/root");
        Refused(source, source);
    }

    [Theory]
    [InlineData("/etc/passwd")]
    [InlineData("etc/passwd")]
    [InlineData("./x")]
    [InlineData("../x")]
    [InlineData("dummy")]
    [InlineData("a/b")]
    [InlineData("a/b:c")]
    [InlineData("databricks")]
    [InlineData("file:/etc/passwd")]
    [InlineData("FILE:/etc/passwd")]
    [InlineData("file:///etc/passwd")]
    [InlineData("file://localhost/etc/passwd")]
    [InlineData("file:etc")]
    [InlineData("C:\\x")]
    [InlineData("C:/x")]
    [InlineData("\\\\host\\x")]
    [InlineData("~/x")]
    [InlineData("/run/root/../x")]
    [InlineData("/run/rootx")]
    [InlineData("/run")]
    [InlineData("file:///run/root/%2e%2e/x")]
    [InlineData("/run/root/%2e%2e/x")]
    [InlineData("/run/root/%252e%252e/x")]
    [InlineData("file:///run/root/m%00")]
    public void Path_OutsideOfTheOwnRoot_IsRefused(string source)
    {
        Assert.True(ModelVersionSource.IsLocal(source));
        Refused(source, null);
        Refused(source, "/run/root");
        Refused(source, "mlflow-artifacts:/0/r/artifacts");
        Refused(source, "");
    }

    [Theory]
    [InlineData("/run/root")]
    [InlineData("/run/root/")]
    [InlineData("/run/root/m")]
    [InlineData("/run/root//m/./x/..")]
    [InlineData("/run/x/../root/m")]
    [InlineData("file:/run/root/m")]
    [InlineData("file:///run/root/m%20x")]
    [InlineData("file://localhost/run/root/m")]
    [InlineData("file://127.0.0.1/run/root/m")]
    public void Path_WithinTheOwnRoot_IsTaken(string source)
    {
        foreach (var root in new[] { "/run/root", "/run/root/", "file:///run/root", "file:/run/x/../root" })
            ModelVersionSource.Check(source, root);
    }

    [Fact]
    public void FileOfAnotherMachine_IsRefused() => Refused("file://remote/etc", "/etc");

    /// <summary>Whatever is done to a way up, encoding it again and again, it stays refused; what has none stays allowed.</summary>
    [Fact]
    public void WaysUp_EncodedInAnyWay_AreRefused()
    {
        var random = new Random(5);
        string[] starts = ["s3://b/", "mlflow-artifacts:/", "mlflow-artifacts://h:1/", "https://h/api/2.0/mlflow-artifacts/artifacts/", "runs:/r/", "s3://b/c?q=", "s3://b/c#"];
        string[] harmless = ["a", "b c", "..d", "d..", "é", "x%", "1+1"];
        for (var i = 0; i < 20_000; i++)
        {
            var start = starts[random.Next(starts.Length)];
            var segments = Enumerable.Range(0, random.Next(0, 4)).Select(_ => harmless[random.Next(harmless.Length)]).ToList();
            var allowed = start + string.Join('/', segments.Append("end"));
            ModelVersionSource.Check(allowed, null);

            segments.Insert(random.Next(segments.Count + 1), "..");
            var refused = start + string.Join('/', segments);
            for (var round = random.Next(0, 4); round > 0; round--)
                refused = start + Encode(refused[start.Length..], random);
            Refused(refused, null);
        }
    }

    /// <summary>Writes some characters as the percent code of one of their bytes, others as they are.</summary>
    private static string Encode(string text, Random random) => string.Concat(text.Select(character => character is '.' or '/' or '%' && random.Next(2) == 0
        ? Uri.HexEscape(character)
        : character.ToString()));

    private static void Refused(string source, string? ownRoot)
    {
        var exception = Assert.Throws<MlflowException>(() => ModelVersionSource.Check(source, ownRoot));
        Assert.Equal(ErrorCode.InvalidParameterValue, exception.Code);
    }
}
