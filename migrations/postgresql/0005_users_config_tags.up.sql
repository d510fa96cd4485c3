-- Users and their rights on experiments, settings, the dictionary of tags, encrypted settings.
--
-- Departures from the specified schema (docs/schema.md):
--   C-49  users need no e-mail address and have a password hash
--   C-50  the permission 'none' stands for MLflow's NO_PERMISSIONS
--   encrypt_value and decrypt_value find pgcrypto in whatever schema it was installed.
--   Indexes that repeat a unique constraint are left out.

SET LOCAL TIME ZONE 'UTC';

CREATE TABLE users (
    user_id       BIGSERIAL PRIMARY KEY,
    user_uuid     UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    username      VARCHAR(255) NOT NULL UNIQUE,
    email         VARCHAR(255) UNIQUE,
    full_name     VARCHAR(255),
    password_hash VARCHAR(255),
    auth_provider VARCHAR(50) DEFAULT 'local',
    external_id   VARCHAR(255),
    is_active     BOOLEAN DEFAULT TRUE,
    is_superuser  BOOLEAN DEFAULT FALSE,
    last_login_at TIMESTAMP,
    login_count   INTEGER DEFAULT 0,
    preferences   JSONB DEFAULT '{}',
    metadata      JSONB DEFAULT '{}',
    created_at    TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at    TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_users_auth_provider CHECK (auth_provider IN ('local', 'oauth2', 'ldap', 'saml'))
);

CREATE INDEX idx_users_active ON users(is_active) WHERE is_active = TRUE;
CREATE INDEX idx_users_provider ON users(auth_provider);

COMMENT ON TABLE users IS 'Users of the system';
COMMENT ON COLUMN users.preferences IS 'User preferences (user interface, notifications, ...)';

CREATE TABLE user_experiments (
    user_experiment_id BIGSERIAL PRIMARY KEY,
    user_id            BIGINT NOT NULL REFERENCES users(user_id) ON DELETE CASCADE,
    experiment_id      BIGINT NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    permission_level   VARCHAR(50) NOT NULL DEFAULT 'read',
    created_at         TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_user_exp_permission CHECK (permission_level IN ('read', 'write', 'admin', 'owner', 'none')),
    CONSTRAINT uq_user_experiment UNIQUE (user_id, experiment_id)
);

CREATE INDEX idx_user_exp_experiment_id ON user_experiments(experiment_id);
CREATE INDEX idx_user_exp_permission ON user_experiments(permission_level);

COMMENT ON TABLE user_experiments IS 'Access rights of users on experiments';

CREATE TABLE system_config (
    config_id        BIGSERIAL PRIMARY KEY,
    config_key       VARCHAR(255) NOT NULL UNIQUE,
    config_value     TEXT NOT NULL,
    config_type      VARCHAR(50) NOT NULL DEFAULT 'string',
    description      TEXT,
    category         VARCHAR(100),
    validation_regex TEXT,
    is_secret        BOOLEAN DEFAULT FALSE,
    created_at       TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at       TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_config_type CHECK (config_type IN ('string', 'integer', 'float', 'boolean', 'json'))
);

CREATE INDEX idx_config_category ON system_config(category);

COMMENT ON TABLE system_config IS 'System-wide settings';
COMMENT ON COLUMN system_config.is_secret IS 'TRUE: confidential, never given out and not in the audit trail';

INSERT INTO system_config (config_key, config_value, config_type, category, description) VALUES
    ('max_parallel_runs', '10', 'integer', 'execution', 'Maximum number of runs executed in parallel'),
    ('default_retention_days', '90', 'integer', 'storage', 'Default data retention period (days)'),
    ('enable_mlflow', 'true', 'boolean', 'tracking', 'Enable MLflow tracking'),
    ('enable_wandb', 'false', 'boolean', 'tracking', 'Enable W&B tracking'),
    ('log_level', 'INFO', 'string', 'logging', 'Log level');

CREATE TABLE tags (
    tag_id          BIGSERIAL PRIMARY KEY,
    tag_name        VARCHAR(255) NOT NULL UNIQUE,
    tag_category    VARCHAR(100),
    tag_description TEXT,
    usage_count     INTEGER DEFAULT 0,
    metadata        JSONB DEFAULT '{}',
    created_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX idx_tags_category ON tags(tag_category);
CREATE INDEX idx_tags_usage ON tags(usage_count DESC);

COMMENT ON TABLE tags IS 'Dictionary of the tag keys in use; tag values are in the tags column of their entity';

CREATE TABLE secure_config (
    config_id              SERIAL PRIMARY KEY,
    config_key             VARCHAR(255) NOT NULL,
    config_value_encrypted BYTEA NOT NULL,
    encryption_key_id      VARCHAR(255) NOT NULL,
    created_at             TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

COMMENT ON TABLE secure_config IS 'Encrypted settings';

CREATE FUNCTION encrypt_value(plain_text TEXT, encryption_key TEXT) RETURNS BYTEA AS $$
DECLARE
    v_pgcrypto NAME;
    v_result   BYTEA;
BEGIN
    SELECT n.nspname INTO STRICT v_pgcrypto
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgcrypto';
    EXECUTE format('SELECT %I.pgp_sym_encrypt($1, $2)', v_pgcrypto) INTO v_result USING plain_text, encryption_key;
    RETURN v_result;
EXCEPTION
    WHEN no_data_found THEN RAISE EXCEPTION 'extension pgcrypto is not installed';
END
$$ LANGUAGE plpgsql;

CREATE FUNCTION decrypt_value(encrypted_data BYTEA, encryption_key TEXT) RETURNS TEXT AS $$
DECLARE
    v_pgcrypto NAME;
    v_result   TEXT;
BEGIN
    SELECT n.nspname INTO STRICT v_pgcrypto
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgcrypto';
    EXECUTE format('SELECT %I.pgp_sym_decrypt($1, $2)', v_pgcrypto) INTO v_result USING encrypted_data, encryption_key;
    RETURN v_result;
EXCEPTION
    WHEN no_data_found THEN RAISE EXCEPTION 'extension pgcrypto is not installed';
END
$$ LANGUAGE plpgsql;
