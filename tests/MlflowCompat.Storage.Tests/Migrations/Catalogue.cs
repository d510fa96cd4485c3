using System.Data.Common;
using Microsoft.Data.Sqlite;
using Npgsql;

namespace MlflowCompat.Storage.Tests.Migrations;

/// <summary>Everything that the catalogue of a database says about what people made in it, as lines that can be compared.</summary>
internal static class Catalogue
{
    /// <summary>Roles and extensions stay when a schema goes, so they and what belongs to them are left out.</summary>
    private const string PostgreSql = """
        WITH extension_members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
             spaces AS (
                SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
             relations AS (
                SELECT c.*, n.nspname || '.' || c.relname AS name FROM pg_class c JOIN spaces n ON n.oid = c.relnamespace
                WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM extension_members))
        SELECT 'schema ' || nspname AS line FROM spaces
        UNION ALL
        SELECT format('grant on schema %s: %s %s', nspname, grantee::regrole, privilege_type)
          FROM spaces, aclexplode(COALESCE(nspacl, acldefault('n', nspowner)))
        UNION ALL
        SELECT format('grant on database: %s %s', grantee::regrole, privilege_type)
          FROM pg_database, aclexplode(COALESCE(datacl, acldefault('d', datdba))) WHERE datname = current_database()
        UNION ALL
        SELECT format('setting %s', setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
         WHERE datname = current_database()
        UNION ALL
        SELECT format('%s %s rls=%s %s %s %s', relkind, name, relrowsecurity, reloptions, pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid))
          FROM relations
        UNION ALL
        SELECT format('grant on %s: %s %s', name, grantee::regrole, privilege_type)
          FROM relations, aclexplode(COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)))
        UNION ALL
        SELECT format('column %s.%s %s %s not null=%s generated=%s default=%s',
                      r.name, row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, pg_get_expr(adbin, adrelid))
          FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND attnum > 0 AND NOT attisdropped
          LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
        UNION ALL
        SELECT format('constraint on %s: %s %s', r.name, conname, pg_get_constraintdef(k.oid))
          FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
        UNION ALL
        SELECT 'index ' || pg_get_indexdef(r.oid) FROM relations r WHERE relkind IN ('i', 'I')
        UNION ALL
        SELECT format('view %s: %s', name, pg_get_viewdef(oid)) FROM relations WHERE relkind IN ('v', 'm')
        UNION ALL
        SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT tgisinternal
        UNION ALL
        SELECT format('policy %s on %s: %s %s %s %s %s', polname, r.name, polcmd, polpermissive,
                      (SELECT string_agg(role::regrole::text, ' ' ORDER BY role::regrole::text) FROM unnest(polroles) role),
                      pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
          FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
        UNION ALL
        SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN spaces n ON n.oid = p.pronamespace
         WHERE prokind IN ('f', 'p') AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extension_members)
        UNION ALL
        SELECT format('comment on %s.%s: %s', r.name, objsubid, description)
          FROM relations r JOIN pg_description c ON c.classoid = 'pg_class'::regclass AND c.objoid = r.oid
        UNION ALL
        SELECT format('default grants %s %s', defaclnamespace::regnamespace, defaclacl) FROM pg_default_acl
        ORDER BY line
        """;

    private const string Sqlite = """
        SELECT type || ' ' || name || ' on ' || tbl_name || ': ' || COALESCE(sql, '') FROM sqlite_master
        WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY 1
        """;

    public static async Task<List<string>> ReadAsync(TestDatabase database)
    {
        await using DbConnection connection = database.Kind == DatabaseKind.PostgreSql
            ? new NpgsqlConnection(database.Address + ";Pooling=false")
            : new SqliteConnection($"Data Source={FileOf(database)};Pooling=false");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = database.Kind == DatabaseKind.PostgreSql ? PostgreSql : Sqlite;
        await using var reader = await command.ExecuteReaderAsync();
        var lines = new List<string>();
        while (await reader.ReadAsync())
            lines.Add(reader.GetString(0));
        return lines;
    }

    /// <summary>The file of a SQLite database.</summary>
    public static string FileOf(TestDatabase database) => database.Address["sqlite:///".Length..];
}
