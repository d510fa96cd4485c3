using System.Data.Common;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Data.Sqlite;
using Npgsql;
using NpgsqlTypes;

namespace MlflowCompat.Storage;

/// <summary>
/// SQL text with its positional parameters, typed for the database that it is meant for. This is the one place where a value takes the
/// form that a column has there: a UUID, a time, a JSON object, an array.
/// </summary>
public sealed class Statement
{
    private static readonly string[] Placeholders = [.. Enumerable.Range(0, 32).Select(MakePlaceholder)];

    private readonly DatabaseKind kind;
    private readonly List<DbParameter> parameters = [];

    internal Statement(DatabaseKind kind, string sql)
    {
        this.kind = kind;
        Sql = sql;
    }

    /// <summary>The text, with <c>$1</c>, <c>$2</c> … in the order of the Add calls.</summary>
    public string Sql { get; }

    internal IReadOnlyList<DbParameter> Parameters => parameters;

    /// <summary>Whether it may take longer than the connection allows.</summary>
    internal bool HasNoTimeLimit { get; private set; }

    /// <summary>How the text refers to the parameter added as number <paramref name="index"/>, counted from 0.</summary>
    internal static string Placeholder(int index) => index < Placeholders.Length ? Placeholders[index] : MakePlaceholder(index);

    /// <summary>Adds a BIGINT.</summary>
    public Statement Add(long value) => Typed(value);

    /// <summary>Adds a BIGINT or NULL.</summary>
    public Statement Add(long? value) => value is { } number ? Typed(number) : Null(NpgsqlDbType.Bigint);

    /// <summary>Adds a DOUBLE PRECISION.</summary>
    public Statement Add(double value) => Typed(value);

    /// <summary>Adds a BOOLEAN.</summary>
    public Statement Add(bool value) => kind == DatabaseKind.PostgreSql ? Typed(value) : Typed(value ? 1L : 0L);

    /// <summary>Adds a text or NULL.</summary>
    public Statement Add(string? value) => value is null ? Null(NpgsqlDbType.Text) : Typed(value);

    /// <summary>Adds a UUID: text with hyphens on SQLite.</summary>
    public Statement Add(Guid value) => kind == DatabaseKind.PostgreSql ? Typed(value) : Typed(Text(value));

    /// <summary>Adds a JSON document given as text: JSONB on PostgreSQL.</summary>
    public Statement AddJson(string? json) =>
        json is null ? Null(NpgsqlDbType.Jsonb)
        : kind == DatabaseKind.PostgreSql ? Add(new NpgsqlParameter<string> { TypedValue = json, NpgsqlDbType = NpgsqlDbType.Jsonb })
        : Typed(json);

    /// <summary>Adds a time in milliseconds since 1970 for a column without an overflow column.</summary>
    public Statement AddTime(long milliseconds) =>
        kind == DatabaseKind.PostgreSql
            ? Add(new NpgsqlParameter<DateTime> { TypedValue = StoredTime.ToTimestamp(milliseconds), NpgsqlDbType = NpgsqlDbType.Timestamp })
            : Typed(milliseconds);

    /// <summary>Adds what a TIMESTAMP column holds, as a reader gave it; PostgreSQL only.</summary>
    public Statement AddTime(DateTime timestamp) => Typed(timestamp);

    /// <summary>Adds two parameters: a time and what goes to its overflow column (mapping C-2).</summary>
    public Statement AddTimeAndOverflow(long? milliseconds) =>
        milliseconds is not { } time ? Null(NpgsqlDbType.Timestamp).Null(NpgsqlDbType.Bigint)
        : kind == DatabaseKind.PostgreSql ? AddTime(time).Add(StoredTime.ToOverflow(time))
        : AddTime(time).Add((long?)null);

    /// <summary>Adds a BIGINT array: a JSON array on SQLite, to be opened with <c>json_each</c>.</summary>
    public Statement Add(IReadOnlyList<long> values) =>
        kind == DatabaseKind.PostgreSql ? Typed(values.ToArray()) : Typed(JsonSerializer.Serialize(values.ToArray(), ArrayJson.Default.Int64Array));

    /// <summary>Adds a text array: a JSON array on SQLite, to be opened with <c>json_each</c>.</summary>
    public Statement Add(IReadOnlyList<string> values) =>
        kind == DatabaseKind.PostgreSql ? Typed(values.ToArray()) : Typed(JsonSerializer.Serialize(values.ToArray(), ArrayJson.Default.StringArray));

    /// <summary>Adds a UUID array: a JSON array of texts on SQLite, to be opened with <c>json_each</c>.</summary>
    public Statement Add(IReadOnlyList<Guid> values) =>
        kind == DatabaseKind.PostgreSql ? Typed(values.ToArray()) : Add(values.Select(Text).ToArray());

    /// <summary>Lets it take as long as it takes, which is for work that nobody waits for.</summary>
    public Statement WithoutTimeLimit()
    {
        HasNoTimeLimit = true;
        return this;
    }

    /// <summary>Adds an array of times in milliseconds since 1970 for a column with or without an overflow column: a JSON array on SQLite.</summary>
    public Statement AddTimes(IReadOnlyList<long> milliseconds) =>
        kind == DatabaseKind.PostgreSql
            ? Add(new NpgsqlParameter<DateTime[]>
            {
                TypedValue = [.. milliseconds.Select(StoredTime.ToTimestamp)],
                NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Timestamp,
            })
            : Add(milliseconds);

    private static string MakePlaceholder(int index) => string.Create(CultureInfo.InvariantCulture, $"${index + 1}");

    private static string Text(Guid value) => value.ToString("D");

    private Statement Typed<T>(T value) =>
        Add(kind == DatabaseKind.PostgreSql ? new NpgsqlParameter<T> { TypedValue = value } : new SqliteParameter { Value = value });

    private Statement Null(NpgsqlDbType type) =>
        Add(kind == DatabaseKind.PostgreSql
            ? new NpgsqlParameter { Value = DBNull.Value, NpgsqlDbType = type }
            : new SqliteParameter { Value = DBNull.Value });

    private Statement Add(DbParameter parameter)
    {
        if (kind == DatabaseKind.Sqlite)
            parameter.ParameterName = Placeholder(parameters.Count);
        parameters.Add(parameter);
        return this;
    }
}

[JsonSerializable(typeof(long[]))]
[JsonSerializable(typeof(string[]))]
internal sealed partial class ArrayJson : JsonSerializerContext;
