-- Takes back 0004. The audit trail goes with the last workspace of the database: those that
-- remain still write to it. (A table archive.system_logs is no workspace.)

DROP FUNCTION create_future_partitions(REGCLASS, TEXT, INTEGER, DATE);
DROP TABLE system_logs;
DROP TABLE predictions;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relname = 'system_logs' AND c.relkind = 'p'
                      AND n.nspname NOT IN (current_schema(), 'archive')) THEN
        DROP TABLE audit.audit_logs;
    END IF;
END
$$;
