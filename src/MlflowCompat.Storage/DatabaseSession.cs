using System.Data.Common;

namespace MlflowCompat.Storage;

/// <summary>A connection in use by one request, inside a transaction when it comes from <see cref="Database.WriteAsync{T}"/>.</summary>
public abstract class DatabaseSession : IAsyncDisposable
{
    private protected DatabaseSession()
    {
    }

    /// <summary>Runs a statement that returns rows. The reader has to be disposed before the next statement.</summary>
    public abstract Task<DbDataReader> QueryAsync(Statement statement, CancellationToken cancellationToken);

    /// <summary>Runs a statement and returns the number of rows that it changed.</summary>
    public abstract Task<int> ExecuteAsync(Statement statement, CancellationToken cancellationToken);

    /// <summary>Runs statements in order; on a database server all of them in one round trip.</summary>
    public abstract Task ExecuteAsync(IReadOnlyList<Statement> statements, CancellationToken cancellationToken);

    /// <summary>Adds rows, or does whatever else the statement does with them.</summary>
    public abstract Task ExecuteAsync(RowsStatement statement, CancellationToken cancellationToken);

    /// <summary>
    /// Runs a statement as one of the last of its transaction: a database server gets it together with the commit. Nothing may be read
    /// after it that depends on it, and its failure may come out of <see cref="Database.WriteAsync{T}"/> instead of from here.
    /// </summary>
    /// <exception cref="InvalidOperationException">The session is for reading.</exception>
    public abstract Task ExecuteLastAsync(Statement statement, CancellationToken cancellationToken);

    /// <inheritdoc cref="ExecuteLastAsync(Statement, CancellationToken)"/>
    public abstract Task ExecuteLastAsync(RowsStatement statement, CancellationToken cancellationToken);

    /// <summary>
    /// Runs a statement as the last of its transaction, on a database server together with the commit, and returns its mapped first row,
    /// or null when there is none. The row is true only when the commit has succeeded, that is, when
    /// <see cref="Database.WriteAsync{T}"/> returns it.
    /// </summary>
    /// <exception cref="InvalidOperationException">The session is for reading.</exception>
    public abstract Task<T?> CommitWithAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
        where T : class;

    /// <summary>
    /// As the other one, for many rows that go in and all rows that come back; PostgreSQL only, since SQLite runs a statement row by row.
    /// </summary>
    public abstract Task<List<T>> CommitWithAsync<T>(RowsStatement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken);

    /// <summary>
    /// Has <paramref name="action"/> run once the transaction is committed, and never if it is not. It must be quick and must not fail.
    /// </summary>
    /// <exception cref="InvalidOperationException">The session is for reading.</exception>
    public abstract void AfterCommit(Action action);

    /// <summary>The mapped first row, or null when there is none.</summary>
    public async Task<T?> FirstOrDefaultAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
        where T : class
    {
        var reader = await QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using (reader.ConfigureAwait(false))
            return await reader.ReadAsync(cancellationToken).ConfigureAwait(false) ? map(reader) : null;
    }

    /// <summary>The first column of the first row, or null when there is no row or it is NULL.</summary>
    public async Task<T?> ScalarAsync<T>(Statement statement, CancellationToken cancellationToken)
        where T : struct
    {
        var reader = await QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using (reader.ConfigureAwait(false))
        {
            return await reader.ReadAsync(cancellationToken).ConfigureAwait(false) && !reader.IsDBNull(0)
                ? reader.GetFieldValue<T>(0)
                : null;
        }
    }

    /// <summary>All rows, mapped.</summary>
    public async Task<List<T>> ListAsync<T>(Statement statement, Func<DbDataReader, T> map, CancellationToken cancellationToken)
    {
        var rows = new List<T>();
        var reader = await QueryAsync(statement, cancellationToken).ConfigureAwait(false);
        await using (reader.ConfigureAwait(false))
        {
            while (await reader.ReadAsync(cancellationToken).ConfigureAwait(false))
                rows.Add(map(reader));
        }

        return rows;
    }

    /// <summary>Gives the connection back.</summary>
    public abstract ValueTask DisposeAsync();
}
