using System.Text;

namespace MlflowCompat.Artifacts.Tests;

public sealed class ArtifactPathTests
{
    [Fact]
    public void Root_AppendedToNothing_IsRoot() => Assert.True(ArtifactPath.Root.Append(ArtifactPath.Root).IsRoot);

    /// <summary>The rows of the contract's table (security §2) that are refused.</summary>
    [Theory]
    [InlineData("../x")]
    [InlineData("..%2fx")]
    [InlineData("%2e%2e/x")]
    [InlineData("%2e%2e%2fx")]
    [InlineData("%252e%252e%252fx")]
    [InlineData("%25252e%25252e/x")]
    [InlineData("a/../b")]
    [InlineData("a/..%2f..%2fb")]
    [InlineData("..")]
    [InlineData("a/..")]
    [InlineData("/etc/passwd")]
    [InlineData("%2fetc%2fpasswd")]
    [InlineData("//etc")]
    [InlineData("/")]
    [InlineData("C:/x")]
    [InlineData("C:")]
    [InlineData("C:%5Cx")]
    [InlineData("%5C%5Chost%5Cx")]
    [InlineData("file:/etc/passwd")]
    [InlineData("file:///etc/passwd")]
    [InlineData("file:a")]
    [InlineData("FILE:a")]
    [InlineData("%66ile:a")]
    [InlineData("h%23h.txt")]
    [InlineData("h#h.txt")]
    [InlineData("a%5Cb")]
    [InlineData("a\\b")]
    [InlineData("a%5C..%5Cb")]
    [InlineData("a\0b")]
    [InlineData("a\nb")]
    [InlineData("a\u007fb")]
    [InlineData(".")]
    [InlineData("./a")]
    [InlineData("a/./b")]
    [InlineData("a/.")]
    [InlineData("a/")]
    [InlineData("a//")]
    [InlineData("a%2f")]
    [InlineData("http://h/x")]
    [InlineData("http:/h/x")]
    [InlineData("s3://bucket/x")]
    public void Parse_PathOfTheTable_IsInvalid(string text) => AssertInvalid(text);

    [Theory]
    [InlineData("", "")]
    [InlineData("a", "a")]
    [InlineData("a/b/c.txt", "a/b/c.txt")]
    [InlineData("...", "...")]
    [InlineData("..a/b", "..a/b")]
    [InlineData("a../b", "a../b")]
    [InlineData("~/.ssh", "~/.ssh")]
    [InlineData("a;b", "a;b")]
    [InlineData("a//b", "a/b")]
    [InlineData("a%2f%2Fb", "a/b")]
    [InlineData("p%25p.txt", "p%p.txt")]
    [InlineData("sp%20ace.txt", "sp ace.txt")]
    [InlineData("%C3%A9.txt", "é.txt")]
    [InlineData("%25C3%25A9.txt", "é.txt")]
    [InlineData("pl+us.txt", "pl+us.txt")]
    [InlineData("c:x", "c:x")]
    [InlineData("a/C:/x", "a/C:/x")]
    [InlineData("a?b", "a?b")]
    [InlineData("%ff", "%ff")] // No UTF-8, so no escape.
    [InlineData("%c0%ae%c0%ae/x", "%c0%ae%c0%ae/x")]
    public void Parse_PathOfTheTable_IsTaken(string text, string expected)
    {
        Assert.Equal(expected, ArtifactPath.Parse(text).Value);
        // What has come through a web framework is decoded once already.
        Assert.Equal(expected, ArtifactPath.Parse(Uri.UnescapeDataString(text)).Value);
    }

    /// <summary>As the reference keeps them: names of logged images have a percent sign before numbers.</summary>
    [Theory]
    [InlineData("loss%step%1%timestamp%1700000000000", "loss%step%1%timestamp%1700000000000")]
    [InlineData("a%00b", "a%00b")]
    [InlineData("a%2500b", "a%00b")]
    [InlineData("a%0Ab", "a%0Ab")]
    public void Parse_ControlCharacterThatIsStillEncoded_StaysSo(string text, string expected) =>
        Assert.Equal(expected, ArtifactPath.Parse(text).Value);

    [Fact]
    public void Parse_EncodedTenTimes_IsInvalid()
    {
        var nine = "%" + string.Concat(Enumerable.Repeat("25", 8)) + "41";
        Assert.Equal("A", ArtifactPath.Parse(nine).Value);
        AssertInvalid(nine.Replace("%", "%25", StringComparison.Ordinal));
    }

    [Fact]
    public void Parse_HalfASurrogatePair_IsInvalid()
    {
        AssertInvalid("a\ud800b");
        AssertInvalid("\udc00");
    }

    [Fact]
    public void Parse_TooLong_IsInvalid()
    {
        Assert.Equal(255, ArtifactPath.Parse(new string('a', 255)).Value.Length);
        AssertInvalid(new string('a', 256));
        AssertInvalid(new string('é', 128));
        var kilobyte = string.Join('/', Enumerable.Repeat(new string('a', 204), 5));
        Assert.Equal(1024, ArtifactPath.Parse(kilobyte).Value.Length);
        AssertInvalid(kilobyte + "a");
    }

    [Theory]
    [InlineData("a/b/c", "a/b", "c")]
    [InlineData("a", "", "a")]
    [InlineData("", "", "")]
    public void ParentAndName_OfPath_AreItsParts(string text, string parent, string name)
    {
        var path = ArtifactPath.Parse(text);
        Assert.Equal(parent, path.Parent.Value);
        Assert.Equal(name, path.Name);
    }

    [Theory]
    [InlineData("a%41")]
    [InlineData("a\\b")]
    [InlineData("a\nb")]
    [InlineData("file:x")]
    [InlineData("..")]
    public void Below_NameThatNoClientCanSend_IsNothing(string name) => Assert.Null(ArtifactPath.Root.Below(name));

    /// <summary>Whatever is made of pieces that mean something to somebody is refused, or stays below the root and means itself.</summary>
    [Fact]
    public void Parse_AnyText_StaysBelowTheRoot()
    {
        string[] pieces =
        [
            "a", "b.txt", ".", "..", "...", "/", "//", "\\", "%2e", "%2E%2e", "%252e", "%2f", "%252f", "%5c", "%255C", "%25", "%", "%%", "2e",
            "2f", "%c0%ae", "%e0%80%af", "%u002e", "%00", "\0", "\n", "file:", "C:", "http:", ":", "#", "~", " ", "é", "%C3%A9", "\u2024",
            "\uff0f", "\ud83d\ude00", "\ud83d", "?", "*", "..;", "localhost",
        ];
        var random = new Random(4);
        var accepted = 0;
        for (var round = 0; round < 200_000; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(1, 8)).Select(_ => pieces[random.Next(pieces.Length)]));
            ArtifactPath path;
            try
            {
                path = ArtifactPath.Parse(text);
            }
            catch (ArtifactStoreException exception)
            {
                Assert.Equal("Invalid path", exception.Message);
                continue;
            }

            accepted++;
            var full = Path.GetFullPath(Path.Join("/root/of/store", path.Value));
            Assert.True(full == "/root/of/store/" + path.Value, text);
            Assert.DoesNotContain(path.Value.Split('/'), segment => segment is "" or "." or "..");
            Assert.False(path.Value.AsSpan().ContainsAny("\\#\0\n"), text);
            Assert.Equal(path, ArtifactPath.Parse(path.Value));
            Assert.Equal(path.Value, Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(path.Value)));
        }

        Assert.InRange(accepted, 1_000, 199_000);
    }

    private static void AssertInvalid(string text)
    {
        var exception = Assert.Throws<ArtifactStoreException>(() => ArtifactPath.Parse(text));
        Assert.Equal(ArtifactFault.InvalidPath, exception.Fault);
        Assert.Equal("Invalid path", exception.Message);
    }
}
