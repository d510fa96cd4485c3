using MlflowCompat.Storage.PostgreSql;
using MlflowCompat.Storage.Sqlite;
using Npgsql;

namespace MlflowCompat.Storage.Tests;

public sealed class BackendStoreUriTests
{
    [Theory]
    [InlineData("sqlite:///mlflow.db", "mlflow.db")]
    [InlineData("sqlite:///data/mlflow.db", "data/mlflow.db")]
    [InlineData("sqlite:///./mlflow.db", "mlflow.db")]
    [InlineData("sqlite+pysqlite:///mlflow.db", "mlflow.db")]
    [InlineData("SQLite:///mlflow.db", "mlflow.db")]
    [InlineData("  sqlite:///mlflow.db\n", "mlflow.db")]
    [InlineData("sqlite:///mlflow.db?timeout=30", "mlflow.db")]
    [InlineData("sqlite:////var/lib/mlflow.db", "/var/lib/mlflow.db")]
    [InlineData("sqlite:////var/lib/a b.db", "/var/lib/a b.db")]
    public async Task Sqlite_RelativeOrAbsolutePath_NamesTheFile(string uri, string path)
    {
        await using var database = Assert.IsType<SqliteDatabase>(BackendStoreUri.Parse(uri));
        Assert.Equal(DatabaseKind.Sqlite, database.Kind);
        Assert.Equal(Path.GetFullPath(path), database.FilePath);
        Assert.Contains(database.FilePath, database.Description, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("sqlite://", "on disk")]
    [InlineData("sqlite:///", "on disk")]
    [InlineData("sqlite:///:memory:", "on disk")]
    [InlineData("sqlite://host/mlflow.db", "three slashes")]
    [InlineData("mlflow.db", "sqlite:///mlflow.db")]
    [InlineData("", "neither")]
    [InlineData("mysql://localhost/mlflow", "mysql")]
    [InlineData("mssql+pyodbc://localhost/mlflow", "mssql")]
    [InlineData("http://localhost:5000", "http")]
    [InlineData("postgresql://localhost:port/mlflow", "port")]
    [InlineData("postgresql://localhost:0/mlflow", "port")]
    [InlineData("postgresql://localhost:65536/mlflow", "65536")]
    [InlineData("postgresql://localhost/mlflow?sslmode=maybe", "sslmode=maybe")]
    [InlineData("postgresql://localhost/mlflow?sslmode", "sslmode")]
    [InlineData("postgresql://localhost/mlflow?connect_timeout=soon", "connect_timeout=soon")]
    [InlineData("postgresql://localhost/mlflow?port=-1", "-1")]
    [InlineData("postgresql://localhost/mlflow?no_such_option=1", "no such option")]
    [InlineData("postgresql://localhost/mlflow?target_session_attrs=read-write", "multiple hosts")]
    [InlineData("postgresql://localhost/mlflow?maximum_pool_size=-1", "maximum pool size")]
    [InlineData("Host=localhost;No Such Option=1", "no such option")]
    [InlineData("Host=localhost;Maximum Pool Size=many", "maximum pool size")]
    public void Parse_WhatNamesNoSupportedDatabase_IsRefusedSayingWhy(string uri, string reason)
    {
        var refusal = Assert.Throws<FormatException>(() => BackendStoreUri.Parse(uri));
        Assert.Contains(reason, refusal.Message, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("postgresql://scott:tiger@db.example.com:6432/mlflow", "db.example.com", 6432, "mlflow", "scott", "tiger")]
    [InlineData("postgresql+psycopg2://scott:tiger@db/mlflow", "db", 5432, "mlflow", "scott", "tiger")]
    [InlineData("postgresql+asyncpg://scott@db/mlflow", "db", 5432, "mlflow", "scott", null)]
    [InlineData("postgres://scott@db/mlflow", "db", 5432, "mlflow", "scott", null)]
    [InlineData("POSTGRESQL://db/mlflow", "db", 5432, "mlflow", null, null)]
    [InlineData("postgresql:///mlflow", "localhost", 5432, "mlflow", null, null)]
    [InlineData("postgresql://db", "db", 5432, null, null, null)]
    [InlineData("postgresql://[::1]:6432/mlflow", "::1", 6432, "mlflow", null, null)]
    [InlineData("postgresql://[::1]/mlflow", "::1", 5432, "mlflow", null, null)]
    [InlineData("postgresql://s%40c:p%40s%2Fs%3Aw%25@db/ml%20flow", "db", 5432, "ml flow", "s@c", "p@s/s:w%")]
    [InlineData("postgresql://scott:p@ss:w;'\"=+@db/mlflow", "db", 5432, "mlflow", "scott", "p@ss:w;'\"=+")]
    [InlineData("postgresql://scott:@db/mlflow", "db", 5432, "mlflow", "scott", "")]
    [InlineData("postgresql://scott@/mlflow?host=/var/run/postgresql&port=6432", "/var/run/postgresql", 6432, "mlflow", "scott", null)]
    public void PostgreSqlUri_EveryForm_NamesServerDatabaseAndUser(
        string uri, string host, int port, string? database, string? user, string? password)
    {
        var settings = new NpgsqlConnectionStringBuilder(BackendStoreUri.PostgreSqlConnectionString(uri));
        Assert.Equal(
            (host, port, database, user, string.IsNullOrEmpty(password) ? null : password),
            (settings.Host!, settings.Port, settings.Database, settings.Username, string.IsNullOrEmpty(settings.Password) ? null : settings.Password));
    }

    [Theory]
    [InlineData("disable", SslMode.Disable)]
    [InlineData("allow", SslMode.Allow)]
    [InlineData("prefer", SslMode.Prefer)]
    [InlineData("require", SslMode.Require)]
    [InlineData("verify-ca", SslMode.VerifyCA)]
    [InlineData("verify-full", SslMode.VerifyFull)]
    public void PostgreSqlUri_SslMode_IsTakenOver(string text, SslMode expected) =>
        Assert.Equal(expected, Settings($"postgresql://db/mlflow?sslmode={text}").SslMode);

    [Fact]
    public void PostgreSqlUri_OptionsOfLibpqAndOfNpgsql_AreTakenOver()
    {
        var settings = Settings(
            "postgresql://db/mlflow?sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&connect_timeout=7&application_name=my+app"
            + "&options=-c%20search_path%3Dteam&command_timeout=11&Keepalive=5");
        Assert.Equal(
            ("/ca.pem", "/c.pem", "/k.pem", 7, "my app", "-c search_path=team", 11, 5),
            (settings.RootCertificate, settings.SslCertificate, settings.SslKey, settings.Timeout, settings.ApplicationName,
                settings.Options, settings.CommandTimeout, settings.KeepAlive));
    }

    [Fact]
    public void PostgreSqlUri_SeveralServers_AreAllKnown()
    {
        var settings = Settings("postgresql://scott@db1:6432,db2:6433/mlflow?target_session_attrs=read-write");
        Assert.Equal(("db1:6432,db2:6433", "read-write"), (settings.Host, settings.TargetSessionAttributes));
    }

    [Theory]
    [InlineData("postgresql://db/mlflow")]
    [InlineData("Host=db;Database=mlflow")]
    public void Pool_NothingSaid_IsTheSpecifiedOne(string uri)
    {
        var settings = Settings(uri);
        Assert.Equal(
            (2, 30, 30, 3600),
            (settings.MinPoolSize, settings.MaxPoolSize, settings.Timeout, settings.ConnectionLifetime));
    }

    [Theory]
    [InlineData("postgresql://db/mlflow?minimum_pool_size=1&maximum_pool_size=5&timeout=3&connection_lifetime=60")]
    [InlineData("postgresql://db/mlflow?Minimum%20Pool%20Size=1&Maximum%20Pool%20Size=5&connect_timeout=3&Connection%20Lifetime=60")]
    [InlineData("Host=db;Database=mlflow;Minimum Pool Size=1;Maximum Pool Size=5;Timeout=3;Connection Lifetime=60")]
    [InlineData("Host=db;Database=mlflow;MinPoolSize=1;MaxPoolSize=5;Timeout=3;Load Balance Timeout=60")]
    public void Pool_OtherSettings_WinOverTheSpecifiedOnes(string uri)
    {
        var settings = Settings(uri);
        Assert.Equal(
            (1, 5, 3, 60),
            (settings.MinPoolSize, settings.MaxPoolSize, settings.Timeout, settings.ConnectionLifetime));
    }

    [Theory]
    [InlineData("postgresql://db/mlflow?maximum_pool_size=1")]
    [InlineData("Host=db;Database=mlflow;Maximum Pool Size=1")]
    public void Pool_SmallerMaximumThanTheSpecifiedMinimum_LowersTheMinimum(string uri)
    {
        var settings = Settings(uri);
        Assert.Equal((1, 1), (settings.MinPoolSize, settings.MaxPoolSize));
    }

    [Theory]
    [InlineData("postgresql://scott:tiger@db/mlflow?timezone=Europe/Berlin")]
    [InlineData("Host=db;Database=mlflow;Username=scott;Password=tiger;Timezone=Europe/Berlin")]
    public void PostgreSql_TimeZoneOfConnections_IsUtcWhateverWasSaid(string uri) => Assert.Equal("UTC", Settings(uri).Timezone);

    [Theory]
    [InlineData("postgresql://scott:tiger@db:6432/mlflow")]
    [InlineData("Host=db;Port=6432;Database=mlflow;Username=scott;Password=tiger")]
    public async Task Description_OfPostgreSql_NamesThePlaceAndNoPassword(string uri)
    {
        await using var database = BackendStoreUri.Parse(uri);
        Assert.Equal(DatabaseKind.PostgreSql, database.Kind);
        Assert.Contains("db:6432/mlflow", database.Description, StringComparison.Ordinal);
        Assert.DoesNotContain("tiger", database.Description, StringComparison.Ordinal);
    }

    private static NpgsqlConnectionStringBuilder Settings(string uri)
    {
        using var database = new Scope(BackendStoreUri.Parse(uri));
        return new(Assert.IsType<PostgreSqlDatabase>(database.Value).ConnectionString);
    }

    private sealed record Scope(Database Value) : IDisposable
    {
        public void Dispose() => Value.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
}
