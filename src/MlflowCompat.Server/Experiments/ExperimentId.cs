using System.Globalization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Experiments;

/// <summary>Experiment ids: BIGINT in the database, decimal text for clients (mapping section 1).</summary>
public static class ExperimentId
{
    /// <summary>Reads an id.</summary>
    /// <exception cref="MlflowException">RESOURCE_DOES_NOT_EXIST: it is no integer, so no experiment has it.</exception>
    public static long Parse(string id) => TryParse(id) ?? throw NotFound(id);

    /// <summary>Reads an id; null when no experiment can have it.</summary>
    public static long? TryParse(string id) =>
        long.TryParse(id, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>What clients see.</summary>
    public static string Format(long id) => id.ToString(CultureInfo.InvariantCulture);

    /// <summary>The error for an unknown experiment.</summary>
    public static MlflowException NotFound(string id) => MlflowException.NotFound($"No Experiment with id={id} exists");

    /// <summary>The error for an unknown experiment.</summary>
    public static MlflowException NotFound(long id) => NotFound(Format(id));

    /// <summary>The error for writing to a deleted experiment.</summary>
    public static MlflowException NotActive(long id) => MlflowException.InvalidParameter(
        $"The experiment {Format(id)} must be in the 'active' state; its lifecycle_stage is 'deleted'.");
}
