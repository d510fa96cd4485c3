using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Datasets;

/// <summary>A data set that went into a run, with the tags of that use.</summary>
public sealed class DatasetInput
{
    /// <summary>Tags of this input; <c>mlflow.data.context</c> says what the data set was used for.</summary>
    public List<KeyValue>? Tags { get; set; }

    /// <summary>The data set; required.</summary>
    public Dataset? Dataset { get; set; }
}

/// <summary>A data set, known within its experiment by name and digest.</summary>
public sealed class Dataset
{
    /// <summary>At most 500 characters.</summary>
    public string? Name { get; set; }

    /// <summary>Fingerprint of its contents, at most 36 characters.</summary>
    public string? Digest { get; set; }

    /// <summary>Kind of its source.</summary>
    public string? SourceType { get; set; }

    /// <summary>Where it comes from, as JSON text.</summary>
    public string? Source { get; set; }

    /// <summary>Its schema, as JSON text.</summary>
    public string? Schema { get; set; }

    /// <summary>Its profile (number of rows …), as JSON text.</summary>
    public string? Profile { get; set; }
}

/// <summary>A logged model that went into a run.</summary>
public sealed class ModelInput
{
    /// <summary>Id of the logged model.</summary>
    public string? ModelId { get; set; }
}

/// <summary>A logged model that came out of a run.</summary>
public sealed class ModelOutput
{
    /// <summary>Id of the logged model.</summary>
    public string? ModelId { get; set; }

    /// <summary>Step of the run at which it was made.</summary>
    public long? Step { get; set; }
}
