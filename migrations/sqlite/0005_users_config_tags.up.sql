-- Users and their rights on experiments, settings, the dictionary of tags, encrypted settings. The
-- departures are those of the PostgreSQL migration; encryption is done by the server alone.

CREATE TABLE users (
    user_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    user_uuid     TEXT NOT NULL UNIQUE CHECK (length(user_uuid) = 36),
    username      TEXT NOT NULL UNIQUE CHECK (length(username) <= 255),
    email         TEXT UNIQUE CHECK (length(email) <= 255),
    full_name     TEXT CHECK (length(full_name) <= 255),
    password_hash TEXT CHECK (length(password_hash) <= 255),
    auth_provider TEXT DEFAULT 'local',
    external_id   TEXT CHECK (length(external_id) <= 255),
    is_active     INTEGER DEFAULT 1 CHECK (is_active IN (0, 1)),
    is_superuser  INTEGER DEFAULT 0 CHECK (is_superuser IN (0, 1)),
    last_login_at INTEGER,
    login_count   INTEGER DEFAULT 0,
    preferences   TEXT DEFAULT '{}' CHECK (preferences IS NULL OR json_valid(preferences)),
    metadata      TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at    INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at    INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_users_auth_provider CHECK (auth_provider IN ('local', 'oauth2', 'ldap', 'saml'))
);

CREATE INDEX idx_users_active ON users(is_active) WHERE is_active = 1;
CREATE INDEX idx_users_provider ON users(auth_provider);

CREATE TABLE user_experiments (
    user_experiment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id            INTEGER NOT NULL REFERENCES users(user_id) ON DELETE CASCADE,
    experiment_id      INTEGER NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    permission_level   TEXT NOT NULL DEFAULT 'read',
    created_at         INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_user_exp_permission CHECK (permission_level IN ('read', 'write', 'admin', 'owner', 'none')),
    CONSTRAINT uq_user_experiment UNIQUE (user_id, experiment_id)
);

CREATE INDEX idx_user_exp_experiment_id ON user_experiments(experiment_id);
CREATE INDEX idx_user_exp_permission ON user_experiments(permission_level);

CREATE TABLE system_config (
    config_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    config_key       TEXT NOT NULL UNIQUE CHECK (length(config_key) <= 255),
    config_value     TEXT NOT NULL,
    config_type      TEXT NOT NULL DEFAULT 'string',
    description      TEXT,
    category         TEXT CHECK (length(category) <= 100),
    validation_regex TEXT,
    is_secret        INTEGER DEFAULT 0 CHECK (is_secret IN (0, 1)),
    created_at       INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at       INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_config_type CHECK (config_type IN ('string', 'integer', 'float', 'boolean', 'json'))
);

CREATE INDEX idx_config_category ON system_config(category);

INSERT INTO system_config (config_key, config_value, config_type, category, description) VALUES
    ('max_parallel_runs', '10', 'integer', 'execution', 'Maximum number of runs executed in parallel'),
    ('default_retention_days', '90', 'integer', 'storage', 'Default data retention period (days)'),
    ('enable_mlflow', 'true', 'boolean', 'tracking', 'Enable MLflow tracking'),
    ('enable_wandb', 'false', 'boolean', 'tracking', 'Enable W&B tracking'),
    ('log_level', 'INFO', 'string', 'logging', 'Log level');

CREATE TABLE tags (
    tag_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    tag_name        TEXT NOT NULL UNIQUE CHECK (length(tag_name) <= 255),
    tag_category    TEXT CHECK (length(tag_category) <= 100),
    tag_description TEXT,
    usage_count     INTEGER DEFAULT 0,
    metadata        TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at      INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at      INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);

CREATE INDEX idx_tags_category ON tags(tag_category);
CREATE INDEX idx_tags_usage ON tags(usage_count DESC);

CREATE TABLE secure_config (
    config_id              INTEGER PRIMARY KEY AUTOINCREMENT,
    config_key             TEXT NOT NULL CHECK (length(config_key) <= 255),
    config_value_encrypted BLOB NOT NULL,
    encryption_key_id      TEXT NOT NULL CHECK (length(encryption_key_id) <= 255),
    created_at             INTEGER DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);
