using System.Globalization;

namespace MlflowCompat.Server.Http;

/// <summary>
/// How a message calls a field: <c>run_id</c>, or <c>metrics[3].value</c> for one of a list. The text is only put together when there is
/// something to say, since a batch has thousands of fields that are fine.
/// </summary>
/// <param name="Name">The field.</param>
/// <param name="List">The list that it is in, or null.</param>
/// <param name="Index">Position in that list, counted from 0.</param>
public readonly record struct FieldName(string Name, string? List = null, int Index = 0)
{
    /// <summary>A field outside of lists.</summary>
    public static implicit operator FieldName(string name) => new(name);

    /// <inheritdoc/>
    public override string ToString() =>
        List is null ? Name : string.Create(CultureInfo.InvariantCulture, $"{List}[{Index}].{Name}");
}
