namespace MlflowCompat.Server.Http;

/// <summary>MLflow's error codes that this server answers with; the HTTP statuses are those of contract: semantics §3.</summary>
public enum ErrorCode
{
    /// <summary>500: a defect of this server.</summary>
    InternalError,

    /// <summary>500: the resource is in a state that does not allow the operation (renaming a deleted experiment).</summary>
    InvalidState,

    /// <summary>501: what keeps the artifacts cannot do this; clients then do it another way.</summary>
    NotImplemented,

    /// <summary>507: no room is left for artifacts. MLflow has no code for it; the status is one that clients do not retry.</summary>
    StorageFull,

    /// <summary>503: the database or the artifact store is away or busy; clients retry.</summary>
    TemporarilyUnavailable,

    /// <summary>429: more is waiting to be written than is kept in memory; clients retry.</summary>
    RequestLimitExceeded,

    /// <summary>400, although other services would say 409: clients depend on it.</summary>
    ResourceAlreadyExists,

    /// <summary>400: refused by the database in MLflow, for example a rename to a taken name.</summary>
    BadRequest,

    /// <summary>400: a field is missing, of the wrong type or out of its limits.</summary>
    InvalidParameterValue,

    /// <summary>404: no such experiment, run, tag …</summary>
    ResourceDoesNotExist,

    /// <summary>404: a trace has no file of spans.</summary>
    NotFound,
}

/// <summary>What an <see cref="ErrorCode"/> looks like on the wire.</summary>
public static class ErrorCodes
{
    /// <summary>The value of <c>error_code</c>.</summary>
    public static string WireName(this ErrorCode code) => code switch
    {
        ErrorCode.InternalError or ErrorCode.StorageFull => "INTERNAL_ERROR",
        ErrorCode.NotImplemented => "NOT_IMPLEMENTED",
        ErrorCode.InvalidState => "INVALID_STATE",
        ErrorCode.TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
        ErrorCode.RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
        ErrorCode.ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
        ErrorCode.BadRequest => "BAD_REQUEST",
        ErrorCode.InvalidParameterValue => "INVALID_PARAMETER_VALUE",
        ErrorCode.ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
        ErrorCode.NotFound => "NOT_FOUND",
        _ => throw new ArgumentOutOfRangeException(nameof(code), code, null),
    };

    /// <summary>The HTTP status.</summary>
    public static int HttpStatus(this ErrorCode code) => code switch
    {
        ErrorCode.InternalError or ErrorCode.InvalidState => StatusCodes.Status500InternalServerError,
        ErrorCode.NotImplemented => StatusCodes.Status501NotImplemented,
        ErrorCode.StorageFull => StatusCodes.Status507InsufficientStorage,
        ErrorCode.TemporarilyUnavailable => StatusCodes.Status503ServiceUnavailable,
        ErrorCode.RequestLimitExceeded => StatusCodes.Status429TooManyRequests,
        ErrorCode.ResourceDoesNotExist or ErrorCode.NotFound => StatusCodes.Status404NotFound,
        _ => StatusCodes.Status400BadRequest,
    };
}
