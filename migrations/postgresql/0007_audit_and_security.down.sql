-- Takes back 0007. What all workspaces share (the audit function, the rights on the database
-- and on the shared schemas) stays until the last of them goes.

DROP POLICY user_experiments_insert_policy ON experiments;
DROP POLICY user_experiments_update_policy ON experiments;
DROP POLICY user_experiments_policy ON experiments;
ALTER TABLE experiments DISABLE ROW LEVEL SECURITY;

DROP TRIGGER system_config_audit_trigger ON system_config;
DROP TRIGGER user_experiments_audit_trigger ON user_experiments;
DROP TRIGGER users_audit_trigger ON users;
DROP TRIGGER model_registry_audit_trigger ON model_registry;
DROP TRIGGER models_audit_trigger ON models;
DROP TRIGGER experiments_audit_trigger ON experiments;

DO $$
DECLARE
    v_main   CONSTANT TEXT := quote_ident(current_schema());
    v_shared BOOLEAN := EXISTS (SELECT FROM pg_trigger WHERE tgfoid = 'audit.log_changes()'::regprocedure);
    v_tables CONSTANT TEXT := 'experiments, users, user_experiments, runs, datasets, dataset_features, models,
        registered_models, registered_model_aliases, model_registry, metrics, metric_summaries, hyperparameters,
        hyperparameter_search_spaces, artifacts, predictions, system_logs, system_config, tags, secure_config,
        mv_experiment_summary, mv_model_performance';
    v_sequences TEXT;
    v_role   TEXT;
    v_revoke TEXT;
BEGIN
    SELECT string_agg(s.oid::regclass::text, ', ') INTO v_sequences
      FROM pg_class s
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
     WHERE s.relkind = 'S'
       AND d.refobjid = ANY (string_to_array(regexp_replace(v_tables, '\s', '', 'g'), ',')::regclass[]);

    FOR v_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('readonly_user', 'data_scientist', 'admin_user') LOOP
        FOREACH v_revoke IN ARRAY ARRAY[
                'REVOKE ALL ON ' || v_tables,
                'REVOKE ALL ON SEQUENCE ' || v_sequences,
                'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || v_main || ' REVOKE ALL ON TABLES',
                'REVOKE ALL ON SCHEMA ' || v_main]
            || CASE WHEN NOT v_shared THEN ARRAY[
                'REVOKE ALL ON audit.audit_logs',
                'REVOKE ALL ON SEQUENCE audit.audit_logs_audit_id_seq',
                'REVOKE ALL ON SCHEMA audit, staging, archive',
                'REVOKE ALL ON DATABASE ' || quote_ident(current_database())] END
        LOOP
            BEGIN
                EXECUTE v_revoke || ' FROM ' || quote_ident(v_role);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE NOTICE '% FROM % skipped: %', v_revoke, v_role, SQLERRM;
            END;
        END LOOP;
    END LOOP;

    IF NOT v_shared THEN
        DROP FUNCTION audit.log_changes();
    END IF;
END
$$;
