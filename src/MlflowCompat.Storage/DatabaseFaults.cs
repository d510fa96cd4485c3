using System.Net.Sockets;
using Microsoft.Data.Sqlite;
using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;
using Npgsql;

namespace MlflowCompat.Storage;

/// <summary>What a failed statement means for the caller.</summary>
public enum DatabaseFault
{
    /// <summary>Not a fault of the database's availability: a defect, or a constraint that the code did not foresee.</summary>
    Other,

    /// <summary>The database is away, busy, full or shutting down; the same request may succeed later.</summary>
    Unavailable,

    /// <summary>The transaction was given up in favour of another one; running it again at once is right.</summary>
    Contention,

    /// <summary>A row with the same key is already there.</summary>
    Duplicate,
}

/// <summary>Tells the kinds of database failure apart, whichever driver reports them.</summary>
public static class DatabaseFaults
{
    /// <summary>Classifies an exception thrown by a statement, a commit or the opening of a connection.</summary>
    public static DatabaseFault Classify(Exception exception) => exception switch
    {
        PostgresException postgres => SqlStates.Classify(postgres.SqlState),
        // The drivers' own failures: no connection to be had, or it broke while in use.
        NpgsqlException => DatabaseFault.Unavailable,
        SqliteException sqlite => SqliteDatabase.Classify(sqlite),
        SocketException or TimeoutException => DatabaseFault.Unavailable,
        _ => DatabaseFault.Other,
    };
}
