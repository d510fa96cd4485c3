using System.Reflection;
using MlflowCompat.Storage;
using Xunit.Sdk;

namespace MlflowCompat.Testing;

/// <summary>
/// Runs a theory once on SQLite and once on PostgreSQL: the <see cref="DatabaseKind"/> is its first argument, what the attribute is given
/// are the others. Several attributes on one method are several rows.
/// </summary>
/// <param name="values">The further arguments.</param>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
public sealed class BothDatabasesAttribute(params object?[]? values) : DataAttribute
{
    // A single null is taken for the array itself.
    private readonly object?[] values = values ?? [null];

    public override IEnumerable<object?[]> GetData(MethodInfo testMethod) =>
        [[DatabaseKind.Sqlite, .. values], [DatabaseKind.PostgreSql, .. values]];
}
