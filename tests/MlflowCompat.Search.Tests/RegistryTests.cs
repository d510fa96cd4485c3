namespace MlflowCompat.Search.Tests;

/// <summary>
/// The verdicts of contract search §4 and §5, by the numbers that they have there. Which of them hide prompts is no matter of the language.
/// </summary>
public sealed class RegistryTests
{
    private const string Run = "a0000000000000000000000000000001";

    private const string PromptTag = "mlflow.prompt.is_prompt";

    private static readonly Item[] Models =
    [
        new("alpha") { Texts = new() { ["name"] = "alpha" }, Tags = new() { ["k"] = "v", ["Team"] = "A", [PromptTag] = "false" } },
        new("Beta") { Texts = new() { ["name"] = "Beta" }, Tags = new() { ["k"] = "V", [PromptTag] = "false" } },
        new("prompt1")
        {
            Texts = new() { ["name"] = "prompt1" },
            Tags = new() { ["k"] = "v", [PromptTag] = "true", ["_mlflow_experiment_ids"] = ",1,7," },
        },
    ];

    private static readonly Item[] Versions =
    [
        Version("alpha:1", Run, "s3://b/1", []),
        Version("alpha:2", "", "s3://b/2", []),
        Version("alpha:3", "other", "s3://B/4", []),
        Version("Beta:1", "", "file", new() { ["k"] = "v", ["z"] = "1" }),
        Version("prompt1:1", "", "prompt-template", new() { [PromptTag] = "true" }),
    ];

    [Theory]
    [InlineData(101, "", "alpha Beta prompt1")]
    [InlineData(102, "name = 'alpha'", "alpha")]
    [InlineData(102, "attribute.name = 'alpha'", "alpha")]
    [InlineData(102, "name like '%alpha'", "alpha")]
    [InlineData(103, "name ILIKE '%ALPHA'", "alpha")]
    [InlineData(103, "name = 'ALPHA'", "")]
    [InlineData(105, "tags.k = 'V'", "Beta")]
    [InlineData(105, "tags.k != 'v'", "Beta")]
    [InlineData(105, "tag.k ILIKE 'v'", "alpha Beta prompt1")]
    [InlineData(106, "tags.k = 'v' AND tags.Team = 'A'", "alpha")]
    [InlineData(107, "tags.`mlflow.prompt.is_prompt` = 'true'", "prompt1")]
    [InlineData(107, "tag.`mlflow.prompt.is_prompt` = 'true'", "prompt1")]
    [InlineData(107, "tags.mlflow.prompt.is_prompt = 'true'", "prompt1")]
    [InlineData(108, "tags.`mlflow.prompt.is_prompt` != 'true'", "alpha Beta")]
    [InlineData(108, "tags.`mlflow.prompt.is_prompt` = 'false'", "alpha Beta")]
    [InlineData(108, "name LIKE 'a%' AND tag.`mlflow.prompt.is_prompt` != 'true'", "alpha")]
    [InlineData(109, "tags.`mlflow.prompt.is_prompt` != 'false'", "prompt1")]
    [InlineData(110, "tags.`mlflow.prompt.is_prompt` = 'true' AND tags.k = 'v'", "prompt1")]
    [InlineData(110, "tags.`mlflow.prompt.is_prompt` = 'true' AND tags._mlflow_experiment_ids LIKE '%,1,%'", "prompt1")]
    [InlineData(110, "tags._mlflow_experiment_ids LIKE '%,2,%'", "")]
    public void ModelFilter_ValidRow_MatchesTheModelsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal((row, expected), (row, Evaluator.Filter(Models, FilterParser.Parse(filter, Vocabularies.RegisteredModels))));

    [Theory]
    [InlineData(104, "attributes.name = 'x'", "Invalid entity type 'attributes'. Valid entity types: attribute, tags, tag")]
    [InlineData(104, "name > 'a'", "Invalid comparator '>' for attribute 'name'. Valid comparators: =, !=, LIKE, ILIKE")]
    [InlineData(104, "name IN ('a')", "Invalid comparator 'IN'")]
    [InlineData(104, "name = alpha", "expected a quoted text")]
    [InlineData(111, "description = 'x'", "Invalid attribute key 'description' specified. Valid keys: name")]
    [InlineData(111, "creation_timestamp > 0", "Invalid attribute key")]
    [InlineData(111, "last_updated_timestamp > 0", "Invalid attribute key")]
    [InlineData(111, "timestamp > 0", "Invalid attribute key")]
    [InlineData(111, "version = 1", "Invalid attribute key")]
    [InlineData(111, "run_id = 'x'", "Invalid attribute key")]
    [InlineData(111, "aliases.al = '2'", "Invalid entity type 'aliases'")]
    [InlineData(111, "tags.k IS NULL", "Invalid comparator 'IS NULL'")]
    [InlineData(111, "name IS NOT NULL", "Invalid comparator 'IS NOT NULL'")]
    public void ModelFilter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message) =>
        AssertRefused(row, message, () => FilterParser.Parse(filter, Vocabularies.RegisteredModels));

    [Theory]
    [InlineData("timestamp DESC", "last_updated_timestamp", false)]
    [InlineData("last_updated_timestamp", "last_updated_timestamp", true)]
    [InlineData("name DESC", "name", false)]
    public void ModelOrder_OfRow112_IsAccepted(string element, string key, bool ascending) =>
        Assert.Equal([new(EntityKind.Attribute, key, ascending)], OrderByParser.Parse([element], Vocabularies.RegisteredModels));

    [Fact]
    public void ModelOrder_OfTwoKeys_IsAccepted() => Assert.Equal(
        [new(EntityKind.Attribute, "name", true), new(EntityKind.Attribute, "last_updated_timestamp", true)],
        OrderByParser.Parse(["name", "timestamp"], Vocabularies.RegisteredModels));

    [Theory]
    [InlineData(113, "Invalid attribute key 'creation_timestamp' specified. Valid keys: name, last_updated_timestamp", "creation_timestamp")]
    [InlineData(113, "Invalid attribute key 'foo'", "foo")]
    [InlineData(113, "Invalid tag key 'k'", "tags.k")]
    [InlineData(113, "must stand without quotes", "`name`")]
    [InlineData(113, "must stand without quotes", "attribute.`name`")]
    [InlineData(114, "the key 'name' is given more than once", "name", "name")]
    [InlineData(114, "the key 'last_updated_timestamp' is given more than once", "timestamp", "last_updated_timestamp")]
    public void ModelOrder_OfRows113And114_IsRefused(int row, string message, params string[] orderBy) =>
        AssertRefused(row, message, () => OrderByParser.Parse(orderBy, Vocabularies.RegisteredModels));

    [Theory]
    [InlineData(115, "name = 'alpha'", "alpha:1 alpha:2 alpha:3")]
    [InlineData(115, "name ILIKE 'ALPHA'", "alpha:1 alpha:2 alpha:3")]
    [InlineData(116, "name = 'alpha' AND run_id = '" + Run + "'", "alpha:1")]
    [InlineData(117, "run_id IN ('" + Run + "','x')", "alpha:1")]
    [InlineData(118, "run_id != '" + Run + "'", "alpha:2 alpha:3 Beta:1 prompt1:1")]
    [InlineData(118, "run_id = ''", "alpha:2 Beta:1 prompt1:1")]
    [InlineData(119, "source_path = 's3://b/1'", "alpha:1")]
    [InlineData(119, "source_path LIKE 's3://b/%'", "alpha:1 alpha:2")]
    [InlineData(119, "source_path ILIKE 's3://b/%'", "alpha:1 alpha:2 alpha:3")]
    [InlineData(121, "version_number > 1", "alpha:2 alpha:3")]
    [InlineData(121, "version_number >= '1'", "alpha:1 alpha:2 alpha:3 Beta:1 prompt1:1")]
    [InlineData(121, "version_number > 1.5", "alpha:2 alpha:3")]
    [InlineData(121, "version_number != 1", "alpha:2 alpha:3")]
    [InlineData(123, "tags.k = 'v' AND tags.z = '1'", "Beta:1")]
    [InlineData(124, "tags.`mlflow.prompt.is_prompt` = 'true'", "prompt1:1")]
    public void VersionFilter_ValidRow_MatchesTheVersionsOfTheTable(int row, string filter, string expected) =>
        Assert.Equal((row, expected), (row, Evaluator.Filter(Versions, FilterParser.Parse(filter, Vocabularies.ModelVersions))));

    [Theory]
    [InlineData(117, "run_id NOT IN ('a')", "Invalid comparator 'NOT IN' for attribute 'run_id'. Valid comparators: =, !=, LIKE, ILIKE, IN")]
    [InlineData(120, "source = 's3://b/1'", "Invalid attribute key 'source' specified. Valid keys: name, source_path, run_id, version_number")]
    [InlineData(120, "version = 1", "Invalid attribute key 'version'")]
    [InlineData(120, "version = '1'", "Invalid attribute key 'version'")]
    [InlineData(122, "version_number IN (1)", "Invalid comparator 'IN'")]
    [InlineData(122, "name IN ('x')", "Invalid comparator 'IN'")]
    [InlineData(122, "source_path IN ('x')", "Invalid comparator 'IN'")]
    [InlineData(122, "version_number > 'x'", "expected an unquoted number for attribute 'version_number'")]
    [InlineData(125, "current_stage = 'None'", "Invalid attribute key")]
    [InlineData(125, "status = 'READY'", "Invalid attribute key")]
    [InlineData(125, "creation_timestamp > 0", "Invalid attribute key")]
    [InlineData(125, "last_updated_timestamp > 0", "Invalid attribute key")]
    [InlineData(125, "user_id = 'x'", "Invalid attribute key")]
    [InlineData(125, "description LIKE '%'", "Invalid attribute key")]
    [InlineData(125, "tags.k IS NULL", "Invalid comparator 'IS NULL'")]
    public void VersionFilter_InvalidRow_IsRefusedNamingTheReason(int row, string filter, string message) =>
        AssertRefused(row, message, () => FilterParser.Parse(filter, Vocabularies.ModelVersions));

    [Theory]
    [InlineData("name", "name", true)]
    [InlineData("`name`", "name", true)]
    [InlineData("version_number DESC", "version_number", false)]
    [InlineData("creation_timestamp asc", "creation_timestamp", true)]
    [InlineData("attribute.last_updated_timestamp DESC", "last_updated_timestamp", false)]
    public void VersionOrder_OrderableKey_IsAccepted(string element, string key, bool ascending) =>
        Assert.Equal([new(EntityKind.Attribute, key, ascending)], OrderByParser.Parse([element], Vocabularies.ModelVersions));

    [Theory]
    [InlineData("Invalid attribute key 'timestamp' specified", "timestamp")]
    [InlineData("Invalid attribute key 'run_id' specified", "run_id")]
    [InlineData("Invalid attribute key 'foo' specified", "foo")]
    [InlineData("Invalid tag key 'k'", "tags.k")]
    [InlineData("the key 'name' is given more than once", "name", "name")]
    public void VersionOrder_OfRow126_IsRefused(string message, params string[] orderBy) =>
        AssertRefused(126, message, () => OrderByParser.Parse(orderBy, Vocabularies.ModelVersions));

    private static void AssertRefused(int row, string message, Action parse)
    {
        SearchSyntaxException error = Assert.Throws<SearchSyntaxException>(parse);
        Assert.True(error.Message.Contains(message, StringComparison.Ordinal), $"row {row}: {error.Message}");
    }

    private static Item Version(string id, string run, string source, Dictionary<string, string> tags)
    {
        string[] parts = id.Split(':');
        return new(id)
        {
            Texts = new() { ["name"] = parts[0], ["run_id"] = run, ["source_path"] = source },
            Numbers = new() { ["version_number"] = long.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture) },
            Tags = tags,
        };
    }
}
