using System.Text;

namespace MlflowCompat.Storage;

/// <summary>
/// Puts a statement together whose shape depends on the request. Values only ever become parameters: each Add returns the placeholder to
/// write into the text.
/// </summary>
/// <param name="database">Whose dialect is written.</param>
public sealed class StatementBuilder(Database database)
{
    private readonly StringBuilder text = new();
    private readonly List<Func<Statement, Statement>> values = [];
    private int parameters;

    /// <summary>The database that the statement is for.</summary>
    public Database Database { get; } = database;

    /// <summary>Appends SQL of this code.</summary>
    public StatementBuilder Append(string sql)
    {
        text.Append(sql);
        return this;
    }

    /// <summary>Puts SQL of this code in front of what is there.</summary>
    public StatementBuilder Prepend(string sql)
    {
        text.Insert(0, sql);
        return this;
    }

    /// <inheritdoc cref="Statement.Add(long)"/>
    public string Add(long value) => Add(statement => statement.Add(value));

    /// <inheritdoc cref="Statement.Add(double)"/>
    public string Add(double value) => Add(statement => statement.Add(value));

    /// <inheritdoc cref="Statement.Add(string)"/>
    public string Add(string value) => Add(statement => statement.Add(value));

    /// <inheritdoc cref="Statement.Add(Guid)"/>
    public string Add(Guid value) => Add(statement => statement.Add(value));

    /// <inheritdoc cref="Statement.Add(IReadOnlyList{long})"/>
    public string Add(IReadOnlyList<long> values) => Add(statement => statement.Add(values));

    /// <inheritdoc cref="Statement.Add(IReadOnlyList{string})"/>
    public string Add(IReadOnlyList<string> values) => Add(statement => statement.Add(values));

    /// <inheritdoc cref="Statement.Add(IReadOnlyList{Guid})"/>
    public string Add(IReadOnlyList<Guid> values) => Add(statement => statement.Add(values));

    /// <inheritdoc cref="Statement.AddJson(string)"/>
    public string AddJson(string json) => Add(statement => statement.AddJson(json));

    /// <inheritdoc cref="Statement.AddTime(long)"/>
    public string AddTime(long milliseconds) => Add(statement => statement.AddTime(milliseconds));

    /// <summary>Adds a time and what goes to its overflow column; returns both placeholders.</summary>
    public (string Time, string Overflow) AddTimeAndOverflow(long? milliseconds)
    {
        values.Add(statement => statement.AddTimeAndOverflow(milliseconds));
        parameters += 2;
        return (Statement.Placeholder(parameters - 2), Statement.Placeholder(parameters - 1));
    }

    /// <summary>The finished statement.</summary>
    public Statement ToStatement()
    {
        var statement = Database.Statement(text.ToString());
        foreach (var add in values)
            add(statement);
        return statement;
    }

    private string Add(Func<Statement, Statement> add)
    {
        values.Add(add);
        return Statement.Placeholder(parameters++);
    }
}
