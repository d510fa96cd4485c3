namespace MlflowCompat.Artifacts.Tests;

public sealed class ArtifactPathTests
{
    [Fact]
    public void Root_AppendedToNothing_IsRoot() => Assert.True(ArtifactPath.Root.Append(ArtifactPath.Root).IsRoot);
}
