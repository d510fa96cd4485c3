using System.Globalization;
using System.Text.RegularExpressions;
using MlflowCompat.Search;
using MlflowCompat.Storage;

namespace MlflowCompat.Server.Searching;

/// <summary>
/// Turns single clauses of a filter into conditions of SQL, the same meaning on both databases (contract: search §1, semantics §13):
/// text compares by code point, LIKE knows no escape, a missing value meets no condition but IS NULL, and times compare as numbers of milliseconds
/// whatever the column holds.
/// </summary>
public static class Conditions
{
    /// <summary>Name of the SQL function that <see cref="DefineSqliteFunctions"/> adds.</summary>
    private const string ILikeFunction = "mlflow_ilike";

    private const string RLikeFunction = "mlflow_rlike";

    private const string OutOfTime = "mlflow_rlike: out of time";

    /// <summary>How long SQLite may search by a regular expression; PostgreSQL's statements have a time limit of their own.</summary>
    private const long MaxSearchMilliseconds = 20_000;

    private const string Never = "1 = 0";

    private static readonly TimeSpan MaxMatchTime = TimeSpan.FromSeconds(5);

    [ThreadStatic]
    private static Regex? lastExpression;

    /// <summary>
    /// Adds to a SQLite connection what it cannot do itself: ignoring the case of letters beyond ASCII, and regular expressions.
    /// </summary>
    public static void DefineSqliteFunctions(Microsoft.Data.Sqlite.SqliteConnection connection)
    {
        connection.CreateFunction(
            ILikeFunction,
            (string? text, string pattern) => text is not null && LikePattern.Matches(text, pattern, ignoreCase: true),
            isDeterministic: true);
        connection.CreateFunction(
            RLikeFunction,
            (string? text, string pattern, long deadline) => text is not null && IsMatch(text, pattern, deadline),
            isDeterministic: true);
    }

    /// <summary>Whether SQLite has given up a statement because of a regular expression.</summary>
    public static bool TookTooLong(System.Data.Common.DbException exception) => exception.Message.Contains(OutOfTime, StringComparison.Ordinal);

    /// <summary>A condition on a text column or expression.</summary>
    public static string Text(StatementBuilder sql, string column, Comparator comparator, FilterValue value)
    {
        var database = sql.Database;
        if (value is TextListValue list)
        {
            var texts = sql.Add(list.Texts);
            return comparator == Comparator.In
                ? database.Choose($"{column} = ANY({texts})", $"{column} IN (SELECT value FROM json_each({texts}))")
                : database.Choose($"{column} <> ALL({texts})", $"{column} NOT IN (SELECT value FROM json_each({texts}))");
        }

        var text = value is TextValue given ? given.Text : "";
        switch (comparator)
        {
            case Comparator.Equal:
                return $"{column} = {sql.Add(text)}";
            case Comparator.NotEqual:
                return $"{column} <> {sql.Add(text)}";
            case Comparator.Like:
                return database.Kind == DatabaseKind.PostgreSql
                    ? $"{column} LIKE {sql.Add(text)} ESCAPE ''"
                    : $"{column} GLOB {sql.Add(LikePattern.ToGlob(text))}";
            case Comparator.ILike:
                // A pattern of ASCII can meet no letter beyond it, and to fold those of every value would take three times as long.
                var isAscii = System.Text.Ascii.IsValid(text);
                return database.Kind == DatabaseKind.PostgreSql ? $"{column}{(isAscii ? " COLLATE \"C\"" : "")} ILIKE {sql.Add(text)} ESCAPE ''"
                    : isAscii ? $"{column} LIKE {sql.Add(text)}"
                    : $"{ILikeFunction}({column}, {sql.Add(text)})";
            case Comparator.Greater or Comparator.GreaterOrEqual or Comparator.Less or Comparator.LessOrEqual:
                return $"{Ordinal(database, column)} {Operator(comparator)} {sql.Add(text)}";
            case Comparator.IsNull:
                return $"{column} IS NULL";
            case Comparator.IsNotNull:
                return $"{column} IS NOT NULL";
            case Comparator.RLike:
                var expression = RegularExpression.Parse(text);
                _ = Expression(expression.DotNet);
                return database.Kind == DatabaseKind.PostgreSql
                    ? $"{column} ~ {sql.Add(expression.PostgreSql)}"
                    : $"{RLikeFunction}({column}, {sql.Add(expression.DotNet)}, {sql.Add(Environment.TickCount64 + MaxSearchMilliseconds)})";
            default:
                throw Unexpected(comparator);
        }
    }

    /// <summary>A condition on a column or expression of integers; the value is any number, and compares as what it is.</summary>
    public static string Whole(StatementBuilder sql, string column, Comparator comparator, FilterValue value) =>
        ToWhole(column, ref comparator, (NumberValue)value, out var whole) ?? $"{column} {Operator(comparator)} {sql.Add(whole)}";

    /// <summary>A condition on a column of doubles.</summary>
    public static string Number(StatementBuilder sql, string column, Comparator comparator, FilterValue value) =>
        $"{column} {Operator(comparator)} {sql.Add(((NumberValue)value).Value)}";

    /// <summary>A condition on a column of integers. Its value is any number: no integer equals a fraction.</summary>
    public static string WholeNumber(StatementBuilder sql, string column, Comparator comparator, FilterValue value) =>
        value is NumberValue { WholeValue: { } whole }
            ? $"{column} {Operator(comparator)} {sql.Add(whole)}"
            : Number(sql, column, comparator, value);

    /// <summary>A condition on a member of a JSON object of tags; a tag that is not there meets none but IS NULL.</summary>
    public static string Tag(StatementBuilder sql, string column, string key, Comparator comparator, FilterValue value)
    {
        if (sql.Database.Kind == DatabaseKind.PostgreSql)
        {
            // Containment is what the GIN index on the tags can answer.
            return comparator == Comparator.Equal
                ? $"{column} @> {sql.AddJson(Tags.ToJson(key, ((TextValue)value).Text))}"
                : Text(sql, $"({column} ->> {sql.Add(key)})", comparator, value);
        }

        var name = sql.Add(key);
        return comparator == Comparator.IsNull
            ? $"NOT EXISTS (SELECT 1 FROM json_each({column}) AS tag WHERE tag.key = {name})"
            : $"EXISTS (SELECT 1 FROM json_each({column}) AS tag WHERE tag.key = {name} AND {Text(sql, "tag.value", comparator, value)})";
    }

    /// <summary>
    /// A condition on a time. Its value is any number: fractions and numbers beyond int64 are compared as what they are, not rounded.
    /// </summary>
    /// <param name="sql">Statement under construction.</param>
    /// <param name="column">The time column.</param>
    /// <param name="overflowColumn">Its overflow column (mapping C-2), or null when it has none.</param>
    /// <param name="comparator">One of the six comparisons of numbers.</param>
    /// <param name="value">Milliseconds since 1970.</param>
    public static string Time(StatementBuilder sql, string column, string? overflowColumn, Comparator comparator, FilterValue value)
    {
        if (ToWhole(column, ref comparator, (NumberValue)value, out var milliseconds) is { } decided)
            return decided;
        var always = Always(column);
        var operation = Operator(comparator);
        if (sql.Database.Kind == DatabaseKind.Sqlite)
            return $"{column} {operation} {sql.Add(milliseconds)}";
        if (StoredTime.FitsCalendar(milliseconds))
            return $"{column} {operation} {sql.AddTime(milliseconds)}";
        // Beyond the calendar only the overflow column tells values apart; all others lie on the near side, as 0 does.
        return $"({always} AND COALESCE({overflowColumn ?? "NULL::bigint"}, 0) {operation} {sql.Add(milliseconds)})";
    }

    /// <summary>A text expression in the order of code points, whatever the database's locale is.</summary>
    public static string Ordinal(Database database, string column) => database.Choose($"{column} COLLATE \"C\"", column);

    /// <summary>LIMIT and OFFSET of a page, as literals: a planner that does not know the limit does not choose the plan for few rows.</summary>
    public static string Limit(long rows, long offset) =>
        string.Create(CultureInfo.InvariantCulture, $" LIMIT {rows} OFFSET {offset}");

    /// <summary>Turns a comparison with any number into one with an integer, or decides it.</summary>
    private static string? ToWhole(string column, ref Comparator comparator, NumberValue number, out long whole)
    {
        if (number.WholeValue is { } given)
        {
            whole = given;
            return null;
        }

        whole = 0;
        switch (comparator)
        {
            case Comparator.Equal:
                return Never;
            case Comparator.NotEqual:
                return Always(column);
        }

        // No integer equals a fraction, so > 200.5 is > 200 and < 200.5 is < 201.
        var greater = comparator is Comparator.Greater or Comparator.GreaterOrEqual;
        var bound = greater ? Math.Floor(number.Value) : Math.Ceiling(number.Value);
        if (bound is not (>= long.MinValue and < long.MaxValue))
            return bound > 0 == greater ? Never : Always(column);
        whole = (long)bound;
        comparator = greater ? Comparator.Greater : Comparator.Less;
        return null;
    }

    private static string Always(string column) => $"{column} IS NOT NULL";

    /// <summary>A regular expression whose time is linear in the text, whatever a client writes.</summary>
    /// <exception cref="Http.MlflowException">INVALID_PARAMETER_VALUE: it is none, or needs to look back or ahead.</exception>
    /// <exception cref="RegexMatchTimeoutException">The text is too long for the expression, or there are too many; see <see cref="TookTooLong"/>.</exception>
    private static bool IsMatch(string text, string pattern, long deadline)
    {
        try
        {
            if (Environment.TickCount64 < deadline)
                return Expression(pattern).IsMatch(text);
        }
        catch (RegexMatchTimeoutException)
        {
        }

        throw new RegexMatchTimeoutException(OutOfTime);
    }

    private static Regex Expression(string pattern)
    {
        if (lastExpression is { } last && last.ToString() == pattern)
            return last;
        try
        {
            return lastExpression = new Regex(
                pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant | RegexOptions.Singleline, MaxMatchTime);
        }
        catch (Exception exception) when (exception is ArgumentException or NotSupportedException)
        {
            throw Http.MlflowException.InvalidParameter($"Invalid regular expression {Http.MlflowException.Quote(pattern)}: {exception.Message}");
        }
    }

    private static string Operator(Comparator comparator) => comparator switch
    {
        Comparator.Equal => "=",
        Comparator.NotEqual => "<>",
        Comparator.Greater => ">",
        Comparator.GreaterOrEqual => ">=",
        Comparator.Less => "<",
        Comparator.LessOrEqual => "<=",
        _ => throw Unexpected(comparator),
    };

    private static InvalidOperationException Unexpected(Comparator comparator) =>
        new($"The vocabulary let the comparator {comparator} through.");
}
