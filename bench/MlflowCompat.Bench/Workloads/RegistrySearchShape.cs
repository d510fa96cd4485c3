using System.Globalization;
using System.Text;
using MlflowCompat.Bench.Seeding;

namespace MlflowCompat.Bench.Workloads;

/// <summary>A search for a page of 100 of the <see cref="SeededModels"/> or of their versions.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Description">What it asks for.</param>
/// <param name="IsOfVersions">Whether versions are searched, not models.</param>
/// <param name="Filter">The filter, or null.</param>
/// <param name="OrderBy">The keys of the order with commas between them, or null for the default.</param>
/// <param name="Offset">How many rows the pages before it had.</param>
/// <param name="Expected">How many rows the page has.</param>
internal sealed record RegistrySearchShape(
    string Name, string Description, bool IsOfVersions, string? Filter, string? OrderBy, int Offset, int Expected)
{
    /// <summary>How many registered models there have to be.</summary>
    public const int Models = 10_000;

    private const int PageSize = 100;
    private const string Prompts = $"tags.`{SeededModels.PromptTag}` = 'true'";
    private const string NoPrompts = $"tags.`{SeededModels.PromptTag}` != 'true'";

    /// <summary>All shapes.</summary>
    public static IReadOnlyList<RegistrySearchShape> All { get; } =
    [
        OfModels("models", "the first 100 models by name"),
        OfModels("models-recent", "the last changed, without prompts, as the web interface asks", NoPrompts, "last_updated_timestamp DESC"),
        OfModels("models-deep", "a page in the middle", offset: Models / 2),
        OfModels("models-like", "a part of the name, which 261 have", "name LIKE '%77%'"),
        OfModels("models-ilike", "a part of the name in any case", "name ILIKE '%MODEL-77%'"),
        OfModels("models-name", "one name", $"name = '{SeededModels.Name(7777)}'", expected: 1),
        OfModels("models-tag", "a tag, which a tenth have", "tags.t = 't3'"),
        OfModels("models-prompts", "prompts, which a tenth are", Prompts),
        OfVersions("versions", "the last changed versions"),
        OfVersions("versions-deep", "a page in the middle", offset: Models * SeededModels.Versions / 2),
        OfVersions("versions-name", "the versions of a model", $"name = '{SeededModels.Name(7777)}'", expected: SeededModels.Versions),
        OfVersions("versions-like", "a part of the name", "name LIKE '%77%'"),
        OfVersions("versions-ilike", "a part of the name in any case, which few have", "name ILIKE '%MODEL-777%'", expected: 50),
        OfVersions("versions-run", "the version of a run", $"run_id = '{SeededModels.Run(7777, 3)}'", expected: 1),
        OfVersions("versions-tag", "a tag, which a tenth have", "tags.v = 'v3'"),
        OfVersions("versions-order", "ordered by name and version", null, "name,version_number"),
        OfVersions("versions-prompts", "versions of prompts", Prompts),
    ];

    /// <summary>The request, without the prefix.</summary>
    public string Route
    {
        get
        {
            var token = Convert.ToBase64String(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{{\"offset\": {Offset}}}")));
            return string.Create(CultureInfo.InvariantCulture, $"{(IsOfVersions ? "model-versions" : "registered-models")}/search?max_results={PageSize}")
                + (Filter is null ? "" : $"&filter={Uri.EscapeDataString(Filter)}")
                + (OrderBy is null ? "" : string.Concat(OrderBy.Split(',').Select(key => $"&order_by={Uri.EscapeDataString(key)}")))
                + (Offset == 0 ? "" : $"&page_token={Uri.EscapeDataString(token)}");
        }
    }

    private static RegistrySearchShape OfModels(
        string name, string description, string? filter = null, string? orderBy = null, int offset = 0, int expected = PageSize) =>
        new(name, description, false, filter, orderBy, offset, expected);

    private static RegistrySearchShape OfVersions(
        string name, string description, string? filter = null, string? orderBy = null, int offset = 0, int expected = PageSize) =>
        new(name, description, true, filter, orderBy, offset, expected);
}
