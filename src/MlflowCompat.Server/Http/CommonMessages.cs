namespace MlflowCompat.Server.Http;

/// <summary>A message without fields, printed <c>{}</c>: the answer of every write that has nothing to tell.</summary>
public sealed class Empty
{
    /// <summary>The one value.</summary>
    public static Empty Value { get; } = new();
}

/// <summary>The body of every error.</summary>
/// <param name="ErrorCode">MLflow's code.</param>
/// <param name="Message">What is wrong, for people.</param>
public sealed record ErrorBody(string ErrorCode, string Message);

/// <summary>A tag or a parameter. A value that was not sent is "".</summary>
public sealed class KeyValue
{
    /// <summary>Its name.</summary>
    public string? Key { get; set; }

    /// <summary>Its value.</summary>
    public string? Value { get; set; }
}
