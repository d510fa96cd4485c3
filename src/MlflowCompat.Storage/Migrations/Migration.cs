using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;

namespace MlflowCompat.Storage.Migrations;

/// <summary>One numbered step of the schema: the files <c>NNNN_name.up.sql</c> and <c>NNNN_name.down.sql</c> of one database.</summary>
/// <param name="Version">Its number; steps are applied in ascending order.</param>
/// <param name="Name">The rest of the file name.</param>
/// <param name="Up">The SQL that makes the step.</param>
/// <param name="Down">The SQL that takes it back.</param>
public sealed record Migration(int Version, string Name, string Up, string Down)
{
    /// <summary>SHA-256 of <see cref="Up"/> in hex digits. An applied step whose checksum differs was edited afterwards.</summary>
    public string Checksum => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Up)));

    /// <summary>All steps for one database, ascending.</summary>
    public static IReadOnlyList<Migration> Load(DatabaseKind kind)
    {
        var assembly = typeof(Migration).Assembly;
        var folder = kind == DatabaseKind.PostgreSql ? "migrations/postgresql/" : "migrations/sqlite/";
        const string UpSuffix = ".up.sql";
        var migrations = new List<Migration>();
        foreach (var resource in assembly.GetManifestResourceNames())
        {
            if (!resource.StartsWith(folder, StringComparison.Ordinal) || !resource.EndsWith(UpSuffix, StringComparison.Ordinal))
                continue;
            var stem = resource[folder.Length..^UpSuffix.Length];
            var separator = stem.IndexOf('_', StringComparison.Ordinal);
            migrations.Add(new Migration(
                int.Parse(stem[..separator], CultureInfo.InvariantCulture),
                stem[(separator + 1)..],
                Read(assembly, resource),
                Read(assembly, folder + stem + ".down.sql")));
        }

        migrations.Sort((left, right) => left.Version.CompareTo(right.Version));
        return migrations;
    }

    private static string Read(Assembly assembly, string resource)
    {
        using var stream = assembly.GetManifestResourceStream(resource)
            ?? throw new InvalidOperationException($"Migration {resource} is missing from the build.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        // A checkout with other line ends must not look like an edited migration.
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}
