namespace MlflowCompat.Testing;

/// <summary>A fact about a PostgreSQL that is stopped and started; skipped, with the reason, where no private one can be made.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class PrivateClusterFactAttribute : Xunit.FactAttribute
{
    public PrivateClusterFactAttribute() => Skip = PostgreSqlServer.PrivateClusterImpossible;
}
