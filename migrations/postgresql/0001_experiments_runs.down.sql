-- Takes back 0001. Roles stay, because other databases of the cluster may use them, and so do
-- extensions, because other objects of the database may. The shared schemas go only when no
-- other workspace is left (0004 keeps audit.audit_logs for it) and when they are empty.

DROP TABLE runs;
DROP TABLE experiments;

DO $$
DECLARE
    v_schema TEXT;
BEGIN
    IF to_regclass('audit.audit_logs') IS NOT NULL THEN
        RETURN;
    END IF;
    FOREACH v_schema IN ARRAY ARRAY['audit', 'staging', 'archive'] LOOP
        BEGIN
            EXECUTE format('DROP SCHEMA IF EXISTS %I', v_schema);
        EXCEPTION
            WHEN dependent_objects_still_exist OR insufficient_privilege THEN
                RAISE NOTICE 'schema % kept: %', v_schema, SQLERRM;
        END;
    END LOOP;
    BEGIN
        EXECUTE format('ALTER DATABASE %I RESET timezone', current_database());
    EXCEPTION
        WHEN insufficient_privilege THEN
            RAISE NOTICE 'time zone of the database not reset: %', SQLERRM;
    END;
END
$$;
