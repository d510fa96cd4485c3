-- The audit trigger, the rights of the three roles, row level security on experiments.
--
-- Departures from the specified schema (docs/schema.md):
--   C-55  the trail names the user, address and request that the server states, covers four
--         more tables, and leaves out password hashes and secret settings
--   The function works on tables with any key column and runs with its owner's rights, so that
--   users can neither skip, read nor forge the trail.
--   An experiment is visible to its creator, to superusers and to everyone with a right of read
--   or better on it; the creator and a right of write or better may change it.
--   Only users.password_hash is hidden from readers; nobody but administrators changes users,
--   their rights on experiments or the creator of an experiment, because visibility hangs on them.
-- The owner of the tables, which is the login of the server, is not subject to the policies: the
-- server checks permissions itself. Rights of roles that do not exist are skipped; whoever creates
-- the roles later runs the block that grants them again.

-- OR REPLACE: shared by all workspaces.
CREATE OR REPLACE FUNCTION audit.log_changes() RETURNS TRIGGER AS $$
DECLARE
    v_key     TEXT  := TG_ARGV[0];
    v_old     JSONB := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'password_hash' END;
    v_new     JSONB := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'password_hash' END;
    v_changed JSONB;
    -- current_user is the owner of this function; this is the one of the calling statement.
    v_user    TEXT  := COALESCE(NULLIF(current_setting('role', TRUE), 'none'), session_user);
    v_ip      TEXT  := host(inet_client_addr());
    v_request TEXT;
BEGIN
    IF v_key IS NULL THEN
        RAISE EXCEPTION 'audit.log_changes() needs the name of the key column as trigger argument';
    END IF;

    -- The server has one login for all its users and states the acting one. Only the owner of
    -- the table is believed: anybody can set these settings.
    IF (SELECT pg_get_userbyid(relowner) = session_user FROM pg_class WHERE oid = TG_RELID) THEN
        v_user    := COALESCE(NULLIF(current_setting('mlflow_compat.user', TRUE), ''), v_user);
        v_ip      := COALESCE(NULLIF(current_setting('mlflow_compat.user_ip', TRUE), ''), v_ip);
        v_request := NULLIF(current_setting('mlflow_compat.request_id', TRUE), '');
    END IF;

    IF (v_old ->> 'is_secret')::BOOLEAN OR (v_new ->> 'is_secret')::BOOLEAN THEN
        v_old := v_old - 'config_value';
        v_new := v_new - 'config_value';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(n.key, n.value) INTO v_changed
          FROM jsonb_each(v_new) AS n WHERE n.value IS DISTINCT FROM v_old -> n.key;
    END IF;

    INSERT INTO audit.audit_logs (table_schema, table_name, operation_type, record_id,
                                  old_values, new_values, changed_fields, user_id, user_ip, session_id)
    VALUES (TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP, (COALESCE(v_new, v_old) ->> v_key)::BIGINT,
            v_old, v_new, v_changed, left(v_user, 255), left(v_ip, 50), left(v_request, 255));
    RETURN NULL;
END
$$ LANGUAGE plpgsql
   SECURITY DEFINER
   SET search_path = pg_catalog, audit, pg_temp;

CREATE TRIGGER experiments_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON experiments
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('experiment_id');
CREATE TRIGGER models_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON models
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('model_id');
CREATE TRIGGER model_registry_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON model_registry
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('registry_id');
CREATE TRIGGER users_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('user_id');
CREATE TRIGGER user_experiments_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON user_experiments
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('user_experiment_id');
CREATE TRIGGER system_config_audit_trigger AFTER INSERT OR UPDATE OR DELETE ON system_config
    FOR EACH ROW EXECUTE FUNCTION audit.log_changes('config_id');

-- Only our own tables are named: the schema may hold others, among them the history of the
-- migrations.
DO $$
DECLARE
    v_views     CONSTANT TEXT := 'mv_experiment_summary, mv_model_performance';
    v_data      CONSTANT TEXT := 'runs, datasets, dataset_features, models, registered_models,
        registered_model_aliases, model_registry, metrics, metric_summaries, hyperparameters,
        hyperparameter_search_spaces, artifacts, predictions, system_logs, system_config, tags, secure_config';
    v_main      CONSTANT TEXT := quote_ident(current_schema());
    v_database  CONSTANT TEXT := quote_ident(current_database());
    v_sequences TEXT;
    v_user_columns       TEXT;
    v_experiment_columns TEXT;
    v_grant     RECORD;
BEGIN
    SELECT string_agg(s.oid::regclass::text, ', ') INTO v_sequences
      FROM pg_class s
      JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
     WHERE s.relkind = 'S'
       AND d.refobjid = ANY (string_to_array(
               regexp_replace('experiments, users, user_experiments, ' || v_data, '\s', '', 'g'), ',')::regclass[]);
    SELECT string_agg(quote_ident(attname), ', ') INTO v_user_columns
      FROM pg_attribute
     WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'password_hash';
    SELECT string_agg(quote_ident(attname), ', ') INTO v_experiment_columns
      FROM pg_attribute
     WHERE attrelid = 'experiments'::regclass AND attnum > 0 AND NOT attisdropped
       AND attname NOT IN ('experiment_id', 'created_by');

    FOR v_grant IN
        SELECT * FROM (VALUES
            ('readonly_user',  'GRANT CONNECT ON DATABASE ' || v_database),
            ('readonly_user',  'GRANT USAGE ON SCHEMA ' || v_main),
            ('readonly_user',  'GRANT SELECT ON experiments, user_experiments, ' || v_data || ', ' || v_views),
            ('readonly_user',  'GRANT SELECT (' || v_user_columns || ') ON users'),
            ('readonly_user',  'ALTER DEFAULT PRIVILEGES IN SCHEMA ' || v_main || ' GRANT SELECT ON TABLES'),
            ('data_scientist', 'GRANT CONNECT ON DATABASE ' || v_database),
            ('data_scientist', 'GRANT USAGE ON SCHEMA ' || v_main),
            ('data_scientist', 'GRANT SELECT, INSERT ON experiments'),
            ('data_scientist', 'GRANT UPDATE (' || v_experiment_columns || ') ON experiments'),
            ('data_scientist', 'GRANT SELECT, INSERT, UPDATE ON ' || v_data),
            ('data_scientist', 'GRANT SELECT ON user_experiments, ' || v_views),
            ('data_scientist', 'GRANT SELECT (' || v_user_columns || ') ON users'),
            ('data_scientist', 'GRANT USAGE, SELECT ON SEQUENCE ' || v_sequences),
            ('admin_user',     'GRANT ALL ON DATABASE ' || v_database),
            ('admin_user',     'GRANT ALL ON SCHEMA audit, staging, archive, ' || v_main),
            ('admin_user',     'GRANT ALL ON experiments, users, user_experiments, ' || v_data || ', ' || v_views),
            ('admin_user',     'GRANT ALL ON SEQUENCE ' || v_sequences),
            ('admin_user',     'GRANT ALL ON audit.audit_logs'),
            ('admin_user',     'GRANT ALL ON SEQUENCE audit.audit_logs_audit_id_seq')) AS g(role, statement)
         WHERE role IN (SELECT rolname FROM pg_roles)
    LOOP
        BEGIN
            EXECUTE v_grant.statement || ' TO ' || quote_ident(v_grant.role);
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE '% TO % skipped: %', v_grant.statement, v_grant.role, SQLERRM;
        END;
    END LOOP;
END
$$;

ALTER TABLE experiments ENABLE ROW LEVEL SECURITY;

CREATE POLICY user_experiments_policy ON experiments FOR SELECT
    USING (created_by = current_user
           OR EXISTS (SELECT FROM users u WHERE u.username = current_user AND u.is_superuser)
           OR EXISTS (SELECT FROM users u JOIN user_experiments ue ON ue.user_id = u.user_id
                       WHERE u.username = current_user AND ue.experiment_id = experiments.experiment_id
                         AND ue.permission_level IN ('read', 'write', 'admin', 'owner')));

CREATE POLICY user_experiments_update_policy ON experiments FOR UPDATE
    USING (created_by = current_user
           OR EXISTS (SELECT FROM users u JOIN user_experiments ue ON ue.user_id = u.user_id
                       WHERE u.username = current_user AND ue.experiment_id = experiments.experiment_id
                         AND ue.permission_level IN ('write', 'admin', 'owner')));

CREATE POLICY user_experiments_insert_policy ON experiments FOR INSERT
    WITH CHECK (created_by = current_user);
