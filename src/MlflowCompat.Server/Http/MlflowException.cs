namespace MlflowCompat.Server.Http;

/// <summary>A request that cannot be answered as asked; becomes <c>{"error_code": …, "message": …}</c> with the code's status.</summary>
public sealed class MlflowException : Exception
{
    /// <summary>Makes the error.</summary>
    /// <param name="code">MLflow's code.</param>
    /// <param name="message">Names the field and the value at fault; shown to the client, so without SQL or paths of this machine.</param>
    public MlflowException(ErrorCode code, string message)
        : base(message) => Code = code;

    /// <summary>MLflow's code.</summary>
    public ErrorCode Code { get; }

    /// <summary>INVALID_PARAMETER_VALUE with the sentence that MLflow's own tests look for.</summary>
    /// <param name="parameter">Path of the field, such as <c>metrics[0].name</c>.</param>
    /// <param name="value">The value as JSON or as it was given; cut when long.</param>
    /// <param name="reason">What would be right.</param>
    public static MlflowException InvalidValue(string parameter, string value, string reason) =>
        new(ErrorCode.InvalidParameterValue, $"Invalid value {Shorten(value)} for parameter '{parameter}' supplied: {reason}");

    /// <summary>INVALID_PARAMETER_VALUE without a value to show.</summary>
    public static MlflowException InvalidParameter(string message) => new(ErrorCode.InvalidParameterValue, message);

    /// <summary>RESOURCE_DOES_NOT_EXIST.</summary>
    public static MlflowException NotFound(string message) => new(ErrorCode.ResourceDoesNotExist, message);

    /// <summary>A value for a message: quoted, and cut when it is long.</summary>
    public static string Quote(string value) => $"\"{Shorten(value)}\"";

    private static string Shorten(string value) => value.Length <= 200 ? value : value[..(char.IsHighSurrogate(value[199]) ? 199 : 200)] + "…";
}
