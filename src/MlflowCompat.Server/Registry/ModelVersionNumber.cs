using System.Globalization;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.Registry;

/// <summary>Numbers of versions: INTEGER in the database, text for clients, counted from 1 within a registered model.</summary>
public static class ModelVersionNumber
{
    /// <summary>Reads the registered model and the number of a request.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: not given, or no integer; RESOURCE_DOES_NOT_EXIST: no version has it.</exception>
    public static (string Name, int Number) Of(IModelVersionRequest request)
    {
        var name = FieldRules.Required(request.Name, "name");
        return (name, Parse(name, FieldRules.Required(request.Version, "version")));
    }

    /// <summary>Reads a number.</summary>
    /// <param name="name">The registered model, for the message.</param>
    /// <param name="version">The text.</param>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: no integer; RESOURCE_DOES_NOT_EXIST: no version has it.</exception>
    public static int Parse(string name, string version)
    {
        var digits = version.Trim();
        if (int.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
            return number;
        // An integer of any size is the number of a version that does not exist.
        var unsigned = digits.StartsWith('-') || digits.StartsWith('+') ? digits[1..] : digits;
        throw unsigned.Length > 0 && unsigned.All(char.IsAsciiDigit)
            ? NotFound(name, version)
            : MlflowException.InvalidParameter($"Parameter 'version' must be an integer, got {MlflowException.Quote(version)}.");
    }

    /// <summary>What clients see.</summary>
    public static string Format(int number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>The error for an unknown version, or one of an unknown registered model.</summary>
    public static MlflowException NotFound(string name, string version) =>
        MlflowException.NotFound($"Model Version (name={name}, version={version}) not found");

    /// <inheritdoc cref="NotFound(string, string)"/>
    public static MlflowException NotFound(string name, int number) => NotFound(name, Format(number));
}
