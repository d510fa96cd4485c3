using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>
/// The records of one request, checked, each once: what repeats the inputs of an earlier one has been merged into that (contract:
/// endpoints §15).
/// </summary>
internal sealed class UpsertedRecords
{
    /// <summary>Most records of one request: what is known of each, besides its text, is held in memory.</summary>
    public const int MaxRecords = 500_000;

    /// <summary>How deep a record may be nested; PostgreSQL and SQLite both check deeper ones.</summary>
    private const int MaxDepth = 128;

    private const int MaxSourceIdLength = 255;
    private const string UserTag = "mlflow.user";

    private static readonly string[] SourceTypes = ["UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"];
    private static readonly JsonDocumentOptions DocumentOptions = new() { MaxDepth = MaxDepth };
    private static readonly byte[] EmptyObject = "{}"u8.ToArray();
    private static readonly string EmptyHash = Convert.ToHexStringLower(SHA256.HashData(EmptyObject));

    private readonly Dictionary<string, UpsertedRecord> byHash = new(StringComparer.Ordinal);
    private readonly bool hasMarks;

    private UpsertedRecords(bool hasMarks) => this.hasMarks = hasMarks;

    /// <summary>The records, in the order in which their inputs came first.</summary>
    public List<UpsertedRecord> Distinct { get; } = [];

    /// <summary>How many were given.</summary>
    public int Given { get; private set; }

    /// <summary>What they hold.</summary>
    public RecordsSchema Schema { get; } = new();

    /// <summary>Who the last of them that says so is from.</summary>
    public string? User { get; private set; }

    /// <summary>Reads the records of a request.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: they are no array of records.</exception>
    public static UpsertedRecords Parse(EmbeddedJson json)
    {
        try
        {
            return Parse(json.Utf8, hasMarks: false);
        }
        catch (JsonException exception)
        {
            // Python writes what is missing in a data frame as a bare NaN. Marked and in quotes it is JSON that databases accept.
            if (BareNumbers.Quote(json.Utf8.Span) is not { } quoted)
                throw Malformed(exception);
            try
            {
                return Parse(quoted, hasMarks: true);
            }
            catch (JsonException again)
            {
                throw Malformed(again);
            }
        }
    }

    private static MlflowException Malformed(JsonException exception) => MlflowException.InvalidParameter(string.Create(
        CultureInfo.InvariantCulture,
        $"Invalid value for parameter 'records' supplied: it must hold a JSON array of records, but at byte {exception.BytePositionInLine + 1} of line {exception.LineNumber + 1} it is no valid JSON, or nested deeper than {MaxDepth}."));

    private static UpsertedRecords Parse(ReadOnlyMemory<byte> json, bool hasMarks)
    {
        var records = new UpsertedRecords(hasMarks);
        var reader = new Utf8JsonReader(json.Span, new JsonReaderOptions { MaxDepth = MaxDepth + 1 });
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
            throw MlflowException.InvalidValue("records", Text(json.Span), "it must hold a JSON array of records");
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            var start = (int)reader.TokenStartIndex;
            reader.Skip();
            records.Add(json[start..(int)reader.BytesConsumed]);
        }

        // What stands behind the array is an error.
        reader.Read();
        return records;
    }

    private void Add(ReadOnlyMemory<byte> json)
    {
        if (Given == MaxRecords)
            throw MlflowException.InvalidParameter($"Too many values for parameter 'records' supplied: at most {MaxRecords} records at a time.");
        CheckTexts(json.Span);
        using var document = JsonDocument.Parse(json, DocumentOptions);
        var record = document.RootElement;
        if (record.ValueKind != JsonValueKind.Object)
            throw Invalid("", record, "it must be an object");

        ReadOnlyMemory<byte> inputs = EmptyObject;
        var hash = EmptyHash;
        if (record.TryGetProperty("inputs", out var given))
        {
            if (given.ValueKind != JsonValueKind.Object)
                throw Invalid(".inputs", given, "it must be an object");
            inputs = Slice(json, given);
            hash = CanonicalJson.Hash(given);
        }

        ReadOnlyMemory<byte>? outputs = null;
        var hasOutputs = record.TryGetProperty("outputs", out given);
        if (hasOutputs && given.ValueKind != JsonValueKind.Null)
            outputs = Slice(json, given);
        var expectations = Object(json, record, "expectations", out _);
        var tags = Object(json, record, "tags", out var tagMembers);
        var user = tagMembers.ValueKind == JsonValueKind.Object && tagMembers.TryGetProperty(UserTag, out given) && given.ValueKind == JsonValueKind.String
            ? given.GetString()
            : null;
        var source = Source(record);
        Schema.Add(record);
        User = user ?? User;
        Given++;

        if (byHash.TryGetValue(hash, out var known))
        {
            known.Merge(hasOutputs, outputs, expectations, tags, user);
            return;
        }

        known = new UpsertedRecord(hash, inputs, hasOutputs, outputs, expectations, tags, user, source);
        byHash.Add(hash, known);
        Distinct.Add(known);
    }

    /// <summary>Every text has to be one that both databases keep.</summary>
    private void CheckTexts(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        while (reader.Read())
        {
            if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName) || !reader.ValueIsEscaped)
                continue;
            string text;
            try
            {
                text = reader.GetString()!;
            }
            catch (InvalidOperationException)
            {
                throw MlflowException.InvalidParameter($"Invalid value for parameter '{Path("")}' supplied: it must be well-formed Unicode text");
            }

            var isMarkedWord = hasMarks && reader.TokenType == JsonTokenType.String && text is ("\0NaN" or "\0Infinity" or "\0-Infinity");
            if (text.Contains('\0', StringComparison.Ordinal) && !isMarkedWord)
                throw MlflowException.InvalidParameter($"Invalid value for parameter '{Path("")}' supplied: it must not contain U+0000");
        }
    }

    private ReadOnlyMemory<byte>? Object(ReadOnlyMemory<byte> json, JsonElement record, string name, out JsonElement value)
    {
        if (!record.TryGetProperty(name, out value) || value.ValueKind == JsonValueKind.Null)
            return null;
        return value.ValueKind == JsonValueKind.Object ? Slice(json, value) : throw Invalid("." + name, value, "it must be an object");
    }

    private RecordSource? Source(JsonElement record)
    {
        if (!record.TryGetProperty("source", out var source) || source.ValueKind == JsonValueKind.Null)
            return null;
        if (source.ValueKind != JsonValueKind.Object)
            throw Invalid(".source", source, "it must be an object with source_type and source_data");
        if (!source.EnumerateObject().Any())
            return null;
        string? type = null;
        var data = "{}";
        string? id = null;
        foreach (var member in source.EnumerateObject())
        {
            if (member.NameEquals("source_type"))
            {
                type = member.Value.ValueKind == JsonValueKind.String ? member.Value.GetString()!.ToUpperInvariant() : null;
                if (Array.IndexOf(SourceTypes, type) < 0)
                    throw Invalid(".source.source_type", member.Value, $"it must be one of {string.Join(", ", SourceTypes)}");
            }
            else if (!member.NameEquals("source_data"))
            {
                throw Invalid(".source", source, $"it has only source_type and source_data, not {MlflowException.Quote(member.Name)}");
            }
            else if (member.Value.ValueKind == JsonValueKind.Object)
            {
                data = member.Value.GetRawText();
            }
            else if (member.Value.ValueKind != JsonValueKind.Null)
            {
                throw Invalid(".source.source_data", member.Value, "it must be an object");
            }
        }

        if (type is null)
            throw FieldRules.Missing(Path(".source.source_type"));
        if (source.TryGetProperty("source_data", out var members) && members.ValueKind == JsonValueKind.Object
            && members.TryGetProperty(type == "TRACE" ? "trace_id" : "source_id", out var given) && given.ValueKind == JsonValueKind.String)
        {
            id = FieldRules.MaxLength(given.GetString()!, MaxSourceIdLength, Path(".source.source_data"));
        }

        return new RecordSource($$"""{"source_type": "{{type}}", "source_data": {{data}}}""", type, id);
    }

    private string Path(string member) => string.Create(CultureInfo.InvariantCulture, $"records[{Given}]{member}");

    private MlflowException Invalid(string member, JsonElement value, string reason) =>
        MlflowException.InvalidValue(Path(member), Text(JsonMarshal.GetRawUtf8Value(value)), reason);

    /// <summary>The part of the record's text that a value stands for, which is not copied.</summary>
    private static ReadOnlyMemory<byte> Slice(ReadOnlyMemory<byte> json, JsonElement value)
    {
        var raw = JsonMarshal.GetRawUtf8Value(value);
        return json.Span.Overlaps(raw, out var offset) ? json.Slice(offset, raw.Length) : raw.ToArray();
    }

    private static string Text(ReadOnlySpan<byte> json) => Encoding.UTF8.GetString(json.Length <= 1000 ? json : json[..1000]);
}

/// <summary>Where a record is from.</summary>
/// <param name="Json">As clients see it.</param>
/// <param name="Type">Kind of the source.</param>
/// <param name="Id">Id of the trace, or what the source itself names as its id.</param>
internal sealed record RecordSource(string Json, string Type, string? Id);

/// <summary>A record of a request, with what later ones of equal inputs have changed. All parts are JSON.</summary>
internal sealed class UpsertedRecord
{
    /// <summary>The first record with these inputs.</summary>
    public UpsertedRecord(
        string hash,
        ReadOnlyMemory<byte> inputs,
        bool hasOutputs,
        ReadOnlyMemory<byte>? outputs,
        ReadOnlyMemory<byte>? expectations,
        ReadOnlyMemory<byte>? tags,
        string? user,
        RecordSource? source)
    {
        Hash = hash;
        Inputs = inputs;
        HasOutputs = hasOutputs;
        Outputs = outputs;
        Expectations = expectations;
        Tags = tags;
        CreatedBy = user;
        LastUpdatedBy = user;
        Source = source;
    }

    /// <summary>Hash of the inputs, by which a record is known.</summary>
    public string Hash { get; }

    /// <summary>The inputs.</summary>
    public ReadOnlyMemory<byte> Inputs { get; }

    /// <summary>Whether outputs were given, if only null ones; else a stored record keeps its own, and a new one has none: <c>{}</c>.</summary>
    public bool HasOutputs { get; private set; }

    /// <summary>The outputs.</summary>
    public ReadOnlyMemory<byte>? Outputs { get; private set; }

    /// <summary>The expectations, or what of them is new.</summary>
    public ReadOnlyMemory<byte>? Expectations { get; private set; }

    /// <summary>The tags, or those that are new.</summary>
    public ReadOnlyMemory<byte>? Tags { get; private set; }

    /// <summary>Who a new record is from.</summary>
    public string? CreatedBy { get; }

    /// <summary>Who changed it last; null if that was not said.</summary>
    public string? LastUpdatedBy { get; private set; }

    /// <summary>Where a new record is from; a stored one keeps its source.</summary>
    public RecordSource? Source { get; }

    /// <summary>Merges a later record of equal inputs.</summary>
    public void Merge(bool hasOutputs, ReadOnlyMemory<byte>? outputs, ReadOnlyMemory<byte>? expectations, ReadOnlyMemory<byte>? tags, string? user)
    {
        if (hasOutputs)
            (HasOutputs, Outputs) = (true, outputs);
        Expectations = JsonMembers.Merge(Expectations, expectations);
        Tags = JsonMembers.Merge(Tags, tags);
        LastUpdatedBy = user ?? LastUpdatedBy;
    }
}
