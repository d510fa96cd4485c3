namespace MlflowCompat.Artifacts.Tests;

public sealed class ArtifactContentTypesTests
{
    [Theory]
    [InlineData("a.json", "text/plain", "application/json")]
    [InlineData("MLmodel", "text/plain", "application/octet-stream")]
    [InlineData("a.b.csv", "text/plain", "text/csv")]
    [InlineData("a.CSV", "text/csv", "text/csv")]
    [InlineData("png", "application/octet-stream", "application/octet-stream")]
    [InlineData(".png", "application/octet-stream", "application/octet-stream")]
    [InlineData("plot.html", "text/html", "text/html")]
    [InlineData("plot.png", "image/png", "image/png")]
    [InlineData("model.pkl", "application/octet-stream", "application/octet-stream")]
    [InlineData("", "application/octet-stream", "application/octet-stream")]
    public void Type_OfAName_GoesByItsEnding(string name, string sent, string kept)
    {
        Assert.Equal(sent, ArtifactContentTypes.Of(name));
        Assert.Equal(kept, ArtifactContentTypes.Guess(name));
    }
}
