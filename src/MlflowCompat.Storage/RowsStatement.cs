using Npgsql;
using NpgsqlTypes;
using SQLitePCL;

namespace MlflowCompat.Storage;

/// <summary>
/// An INSERT of any number of rows: what of it does not depend on them. PostgreSQL gets it once, with an array per column that
/// <c>unnest</c> opens; SQLite runs it once per row, prepared.
/// </summary>
public sealed class RowsInsert
{
    /// <summary>Names the columns.</summary>
    /// <param name="table">The table.</param>
    /// <param name="columns">Names of its columns, separated by commas, in the order in which <see cref="RowsStatement"/> gets them.</param>
    /// <param name="onConflict">What follows the rows.</param>
    public RowsInsert(string table, string columns, string onConflict = "")
    {
        var placeholders = string.Join(", ", columns.Split(',').Select((_, index) => Statement.Placeholder(index)));
        PostgreSql = $"INSERT INTO {table} ({columns}) SELECT * FROM unnest({placeholders}) {onConflict}";
        Sqlite = $"INSERT INTO {table} ({columns}) VALUES ({placeholders}) {onConflict}";
    }

    /// <summary>A statement, also another one than an INSERT, that opens the arrays of PostgreSQL itself.</summary>
    /// <param name="postgreSql">The text for PostgreSQL, with an array per column: <c>$1</c>, <c>$2</c> …</param>
    public RowsInsert(string postgreSql)
    {
        PostgreSql = postgreSql;
        Sqlite = "";
    }

    /// <summary>The text for SQLite, run once per row: <c>?1</c>, <c>?2</c> …; empty where SQLite is never asked.</summary>
    public string Sqlite { get; init; }

    internal string PostgreSql { get; }
}

/// <summary>
/// The rows of a <see cref="RowsInsert"/>, given column by column. As in <see cref="Statement"/>, this is where a value takes the form of
/// its column.
/// </summary>
public sealed class RowsStatement
{
    private readonly DatabaseKind kind;
    private readonly List<Column> columns = [];

    internal RowsStatement(DatabaseKind kind, RowsInsert insert)
    {
        this.kind = kind;
        Sql = kind == DatabaseKind.PostgreSql ? insert.PostgreSql : insert.Sqlite;
    }

    /// <summary>The text: its parameters are arrays on PostgreSQL, single values on SQLite.</summary>
    internal string Sql { get; }

    /// <summary>How many rows every column has.</summary>
    internal int RowCount { get; private set; }

    /// <summary>Adds a column of BIGINT.</summary>
    public RowsStatement Add(long[] values) => Add(new Column<long>(values, static (statement, index, value) => raw.sqlite3_bind_int64(statement, index, value)));

    /// <summary>Adds a column of BIGINT that may be NULL.</summary>
    public RowsStatement Add(long?[] values) => Add(new Column<long?>(values, static (statement, index, value) =>
        value is { } number ? raw.sqlite3_bind_int64(statement, index, number) : raw.sqlite3_bind_null(statement, index)));

    /// <summary>Adds a column of UUID: text with hyphens on SQLite.</summary>
    public RowsStatement Add(Guid[] values) => Add(new Column<Guid>(values, static (statement, index, value) => raw.sqlite3_bind_text(statement, index, value.ToString("D"))));

    /// <summary>Adds a column of DOUBLE PRECISION.</summary>
    public RowsStatement Add(double[] values) => Add(new Column<double>(values, static (statement, index, value) => raw.sqlite3_bind_double(statement, index, value)));

    /// <summary>Adds a column of BOOLEAN.</summary>
    public RowsStatement Add(bool[] values) => Add(new Column<bool>(values, static (statement, index, value) => raw.sqlite3_bind_int(statement, index, value ? 1 : 0)));

    /// <summary>Adds a column of text that may be NULL.</summary>
    public RowsStatement Add(string?[] values) => Add(new Column<string?>(values, static (statement, index, value) =>
        value is null ? raw.sqlite3_bind_null(statement, index) : raw.sqlite3_bind_text(statement, index, value)));

    /// <summary>Adds a column of text that is at hand in UTF-8.</summary>
    public RowsStatement AddUtf8(byte[][] values) => Add(new Column<byte[]>(
        values,
        static (statement, index, value) => raw.sqlite3_bind_text(statement, index, value.AsSpan()),
        NpgsqlDbType.Array | NpgsqlDbType.Text));

    /// <summary>Adds a column of BYTEA.</summary>
    public RowsStatement AddBytes(byte[][] values) => Add(new Column<byte[]>(
        values,
        static (statement, index, value) => raw.sqlite3_bind_blob(statement, index, value.AsSpan()),
        NpgsqlDbType.Array | NpgsqlDbType.Bytea));

    /// <summary>Adds a column of times in milliseconds since 1970 that has no overflow column.</summary>
    public RowsStatement AddTimes(long[] milliseconds) =>
        kind == DatabaseKind.Sqlite
            ? Add(milliseconds)
            : Add(new Column<DateTime>(Array.ConvertAll(milliseconds, StoredTime.ToTimestamp), null, NpgsqlDbType.Array | NpgsqlDbType.Timestamp));

    /// <summary>Adds two columns: times in milliseconds since 1970, and what goes to their overflow column (mapping C-2).</summary>
    public RowsStatement AddTimesAndOverflows(long[] milliseconds) =>
        kind == DatabaseKind.Sqlite
            ? Add(milliseconds).Add(new long?[milliseconds.Length])
            : AddTimes(milliseconds).Add(Array.ConvertAll(milliseconds, StoredTime.ToOverflow));

    /// <summary>The columns as arrays, for PostgreSQL.</summary>
    internal IEnumerable<NpgsqlParameter> ToArrays() => columns.Select(column => column.ToArray());

    /// <summary>
    /// Binds one row, for SQLite, and returns its result code. The row before it, if any, has to be bound: equal values stay where they are.
    /// </summary>
    internal int Bind(sqlite3_stmt statement, int row)
    {
        for (var i = 0; i < columns.Count; i++)
        {
            var result = columns[i].Bind(statement, i + 1, row);
            if (result != raw.SQLITE_OK)
                return result;
        }

        return raw.SQLITE_OK;
    }

    private RowsStatement Add<T>(Column<T> column)
    {
        if (columns.Count > 0 && column.Length != RowCount)
            throw new ArgumentException($"The column has {column.Length} values and those before it {RowCount}.", nameof(column));
        RowCount = column.Length;
        columns.Add(column);
        return this;
    }

    private abstract class Column
    {
        public abstract NpgsqlParameter ToArray();

        public abstract int Bind(sqlite3_stmt statement, int index, int row);
    }

    private sealed class Column<T>(T[] values, Func<sqlite3_stmt, int, T, int>? bind, NpgsqlDbType? type = null) : Column
    {
        public int Length => values.Length;

        public override NpgsqlParameter ToArray()
        {
            var parameter = new NpgsqlParameter<T[]> { TypedValue = values };
            if (type is { } given)
                parameter.NpgsqlDbType = given;
            return parameter;
        }

        public override int Bind(sqlite3_stmt statement, int index, int row)
        {
            if (row > 0 && EqualityComparer<T>.Default.Equals(values[row], values[row - 1]))
                return raw.SQLITE_OK;
            return bind!(statement, index, values[row]);
        }
    }
}
