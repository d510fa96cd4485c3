using System.Buffers;
using System.Data.Common;
using System.Globalization;
using System.Text;
using System.Text.Json;
using MlflowCompat.Server.Http;
using MlflowCompat.Server.Searching;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.EvaluationDatasets;

/// <summary>
/// Writes records into the answer as they come from the database (contract: endpoints §15). They are read in chunks, each from where the
/// last one ended and in a session of its own, so that a page of any size needs the memory of one chunk, and no connection waits for a
/// slow client.
/// </summary>
/// <param name="database">The workspace's database.</param>
public sealed class DatasetRecordReader(Database database)
{
    private const int ChunkRecords = 250;

    /// <summary>Bytes after which a chunk ends early.</summary>
    private const int ChunkBytes = 2 * 1024 * 1024;

    private const string Columns = """
        dataset_record_id, created_time, last_update_time, created_by, last_updated_by, source_id, source_type, source, inputs, outputs,
        expectations, tags
        """;

    /// <summary>Writes a page of the records of a data set, in the order in which they were made.</summary>
    /// <param name="datasetId">The data set; an unknown one has none.</param>
    /// <param name="maxResults">Records per page.</param>
    /// <param name="after">The record behind which the page begins, or null.</param>
    /// <param name="response">Where to.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal async Task WriteAsync(
        string datasetId, int maxResults, RecordPosition? after, HttpResponse response, CancellationToken cancellationToken)
    {
        var chunk = new Chunk(after);
        await ReadAsync(chunk, datasetId, maxResults, cancellationToken).ConfigureAwait(false);

        var answer = new StreamedObject(response);
        await using var ownedAnswer = answer.ConfigureAwait(false);
        var writer = answer.Writer;
        writer.WritePropertyName("records"u8);
        writer.WriteStringValueSegment("["u8, isFinalSegment: false);
        writer.WriteStringValueSegment(chunk.Json.WrittenSpan, isFinalSegment: false);
        while (chunk.IsMoreBehind && chunk.Count < maxResults)
        {
            await answer.FlushAsync(cancellationToken).ConfigureAwait(false);
            chunk.Json.ResetWrittenCount();
            await ReadAsync(chunk, datasetId, maxResults, cancellationToken).ConfigureAwait(false);
            writer.WriteStringValueSegment(chunk.Json.WrittenSpan, isFinalSegment: false);
        }

        writer.WriteStringValueSegment("]"u8, isFinalSegment: true);
        if (chunk.IsMoreBehind)
            writer.WriteString("next_page_token"u8, chunk.Last!.Value.ToToken());
        await answer.EndAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads the next records of a page that has <paramref name="maxResults"/> at most.</summary>
    private async Task ReadAsync(Chunk chunk, string datasetId, int maxResults, CancellationToken cancellationToken)
    {
        var rows = Math.Min(ChunkRecords, maxResults - chunk.Count);
        var behind = chunk.Last is null ? "" : "AND (created_time, dataset_record_id) > ($3, $4)";
        // One more, which is not written, tells whether there are any behind.
        var statement = database.Statement($"""
            SELECT {Columns} FROM evaluation_dataset_records WHERE dataset_id = $1 {behind}
            ORDER BY created_time, dataset_record_id LIMIT $2
            """).Add(datasetId).Add(rows + 1L);
        if (chunk.Last is { } last)
            statement.AddTime(last.CreatedTime).Add(last.RecordId);

        var session = await database.OpenAsync(cancellationToken).ConfigureAwait(false);
        await using var ownedSession = session.ConfigureAwait(false);
        var reader = await session.QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using var ownedReader = reader.ConfigureAwait(false);
        var read = 0;
        while (chunk.IsMoreBehind = await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            if (read++ == rows || chunk.Json.WrittenCount > ChunkBytes)
                break;
            Append(chunk, datasetId, reader);
        }
    }

    private static void Append(Chunk chunk, string datasetId, DbDataReader reader)
    {
        if (chunk.Count++ > 0)
            chunk.Json.Write(", "u8);
        var (id, created) = (reader.GetString(0), reader.GetMilliseconds(1));
        chunk.Last = new RecordPosition(created, id);
        using var writer = new Utf8JsonWriter(chunk.Json, StreamedObject.WriterOptions);
        writer.WriteStartObject();
        writer.WriteString("dataset_record_id"u8, id);
        writer.WriteString("dataset_id"u8, datasetId);
        WriteJson("inputs", reader.GetString(8));
        WriteJson("outputs", reader.GetStringOrNull(9));
        WriteJson("expectations", reader.GetStringOrNull(10));
        WriteJson("tags", reader.GetStringOrNull(11) ?? "{}");
        WriteJson("source", reader.GetStringOrNull(7));
        WriteText("source_id", reader.GetStringOrNull(5));
        WriteText("source_type", reader.GetStringOrNull(6));
        writer.WriteNumber("created_time"u8, created);
        writer.WriteNumber("last_update_time"u8, reader.GetMilliseconds(2));
        WriteText("created_by", reader.GetStringOrNull(3));
        WriteText("last_updated_by", reader.GetStringOrNull(4));
        writer.WriteEndObject();

        void WriteText(string name, string? text)
        {
            if (text is not null)
                writer.WriteString(name, text);
        }

        void WriteJson(string name, string? json)
        {
            if (json is null)
                return;
            var text = Encoding.UTF8.GetBytes(json);
            writer.WritePropertyName(name);
            writer.WriteRawValue(BareNumbers.Unquote(text) ?? text, skipInputValidation: true);
        }
    }

    /// <summary>What was read last, and where it ended.</summary>
    private sealed class Chunk(RecordPosition? after)
    {
        /// <summary>The records, separated by commas; a comma leads where others went before.</summary>
        public ArrayBufferWriter<byte> Json { get; } = new();

        /// <summary>Records of the page so far.</summary>
        public int Count { get; set; }

        /// <summary>The last record, or that behind which the page begins.</summary>
        public RecordPosition? Last { get; set; } = after;

        /// <summary>Whether there are records behind it.</summary>
        public bool IsMoreBehind { get; set; }
    }
}

/// <summary>The place of a record in the order of its data set.</summary>
/// <param name="CreatedTime">When it was made, in milliseconds since 1970.</param>
/// <param name="RecordId">Its id.</param>
internal readonly record struct RecordPosition(long CreatedTime, string RecordId)
{
    /// <summary>Reads a page token.</summary>
    /// <exception cref="MlflowException">INVALID_PARAMETER_VALUE: it is none of ours.</exception>
    public static RecordPosition? FromToken(string? token) => PageToken.Read<RecordPosition>(
        token,
        content =>
        {
            var text = Encoding.UTF8.GetString(content);
            var colon = text.IndexOf(':', StringComparison.Ordinal);
            return colon > 0 && !text.Contains('\0', StringComparison.Ordinal)
                && long.TryParse(text.AsSpan(0, colon), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var time)
                ? new RecordPosition(time, text[(colon + 1)..])
                : null;
        });

    /// <summary>The token for the page behind the record.</summary>
    public string ToToken() => PageToken.Write(string.Create(CultureInfo.InvariantCulture, $"{CreatedTime}:{RecordId}"));
}
