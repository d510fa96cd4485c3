-- Data sets and their features, models, registered models with aliases, model versions. The
-- departures are those of the PostgreSQL migration; its regular expression for frameworks is a GLOB.

CREATE TABLE datasets (
    dataset_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset_uuid         TEXT NOT NULL UNIQUE CHECK (length(dataset_uuid) = 36),
    experiment_id        INTEGER REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    dataset_name         TEXT NOT NULL CHECK (length(dataset_name) <= 500),
    dataset_digest       TEXT CHECK (length(dataset_digest) <= 36),
    dataset_description  TEXT,
    dataset_type         TEXT NOT NULL,
    dataset_source_type  TEXT CHECK (length(dataset_source_type) <= 36),
    dataset_source       TEXT,
    dataset_schema       TEXT,
    dataset_profile      TEXT,
    file_path            TEXT NOT NULL,
    file_format          TEXT NOT NULL DEFAULT 'csv',
    file_size_bytes      INTEGER,
    file_hash            TEXT CHECK (length(file_hash) <= 64),
    num_rows             INTEGER,
    num_columns          INTEGER,
    num_time_series      INTEGER,
    date_column          TEXT CHECK (length(date_column) <= 100),
    target_column        TEXT CHECK (length(target_column) <= 100),
    frequency            TEXT CHECK (length(frequency) <= 20),
    start_date           INTEGER,
    end_date             INTEGER,
    schema_definition    TEXT CHECK (schema_definition IS NULL OR json_valid(schema_definition)),
    column_types         TEXT CHECK (column_types IS NULL OR json_valid(column_types)),
    missing_values_count INTEGER DEFAULT 0,
    duplicate_rows_count INTEGER DEFAULT 0,
    version              TEXT DEFAULT '1.0.0' CHECK (length(version) <= 50),
    parent_dataset_id    INTEGER REFERENCES datasets(dataset_id),
    tags                 TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata             TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at           INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at           INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_datasets_type CHECK (dataset_type IN ('raw', 'processed', 'training', 'validation', 'test', 'production')),
    CONSTRAINT ck_datasets_format CHECK (file_format IN ('csv', 'parquet', 'json', 'feather', 'other')),
    CONSTRAINT ck_datasets_rows CHECK (num_rows IS NULL OR num_rows >= 0),
    CONSTRAINT ck_datasets_columns CHECK (num_columns IS NULL OR num_columns > 0)
);

CREATE UNIQUE INDEX uq_datasets_experiment_name_digest
    ON datasets(experiment_id, dataset_name, dataset_digest) WHERE experiment_id IS NOT NULL;
CREATE INDEX idx_datasets_name ON datasets(dataset_name);
CREATE INDEX idx_datasets_type ON datasets(dataset_type);
CREATE INDEX idx_datasets_file_hash ON datasets(file_hash);
CREATE INDEX idx_datasets_created_at ON datasets(created_at DESC);
CREATE INDEX idx_datasets_parent ON datasets(parent_dataset_id) WHERE parent_dataset_id IS NOT NULL;

CREATE TABLE dataset_features (
    feature_id              INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset_id              INTEGER NOT NULL REFERENCES datasets(dataset_id) ON DELETE CASCADE,
    feature_name            TEXT NOT NULL CHECK (length(feature_name) <= 255),
    feature_type            TEXT NOT NULL,
    data_type               TEXT NOT NULL CHECK (length(data_type) <= 50),
    min_value               REAL,
    max_value               REAL,
    mean_value              REAL,
    median_value            REAL,
    std_value               REAL,
    num_unique_values       INTEGER,
    unique_values           TEXT CHECK (unique_values IS NULL OR json_valid(unique_values)),
    missing_count           INTEGER DEFAULT 0,
    missing_percentage      NUMERIC DEFAULT 0,
    feature_role            TEXT,
    is_target               INTEGER DEFAULT 0 CHECK (is_target IN (0, 1)),
    is_exogenous            INTEGER DEFAULT 0 CHECK (is_exogenous IN (0, 1)),
    exogenous_type          TEXT,
    importance_score        REAL,
    correlation_with_target REAL,
    tags                    TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    created_at              INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at              INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_features_type CHECK (feature_type IN ('numeric', 'categorical', 'datetime', 'text', 'boolean')),
    CONSTRAINT ck_features_role CHECK (feature_role IN ('target', 'feature', 'id', 'timestamp', 'weight', 'ignore')),
    CONSTRAINT ck_features_exog_type CHECK (exogenous_type IS NULL OR exogenous_type IN ('future', 'historic', 'static')),
    CONSTRAINT ck_features_missing_pct CHECK (missing_percentage >= 0 AND missing_percentage <= 100),
    CONSTRAINT uq_dataset_feature UNIQUE (dataset_id, feature_name)
);

CREATE INDEX idx_features_name ON dataset_features(feature_name);
CREATE INDEX idx_features_type ON dataset_features(feature_type);
CREATE INDEX idx_features_role ON dataset_features(feature_role);
CREATE INDEX idx_features_target ON dataset_features(is_target) WHERE is_target = 1;

CREATE TABLE models (
    model_id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    model_uuid               TEXT NOT NULL UNIQUE CHECK (length(model_uuid) = 36),
    experiment_id            INTEGER REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    run_id                   INTEGER REFERENCES runs(run_id) ON DELETE SET NULL,
    source_run_uuid          TEXT CHECK (length(source_run_uuid) <= 256),
    model_name               TEXT NOT NULL CHECK (length(model_name) <= 500),
    model_type               TEXT NOT NULL DEFAULT '' CHECK (length(model_type) <= 500),
    model_version            TEXT NOT NULL DEFAULT '1.0.0' CHECK (length(model_version) <= 50),
    framework                TEXT NOT NULL DEFAULT 'other' CHECK (length(framework) <= 50),
    framework_version        TEXT CHECK (length(framework_version) <= 50),
    model_config             TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(model_config)),
    hyperparameters          TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(hyperparameters)),
    training_dataset_id      INTEGER REFERENCES datasets(dataset_id),
    training_samples         INTEGER,
    training_duration_seconds NUMERIC,
    model_size_bytes         INTEGER,
    model_file_path          TEXT NOT NULL,
    checkpoint_path          TEXT,
    status                   TEXT NOT NULL DEFAULT 'training',
    status_message           TEXT CHECK (length(status_message) <= 1000),
    lifecycle_stage          TEXT NOT NULL DEFAULT 'active',
    tags                     TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata                 TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at               INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at               INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    deleted_at               INTEGER,

    CONSTRAINT ck_models_status CHECK (
        status IN ('training', 'trained', 'evaluating', 'evaluated', 'deployed', 'archived', 'failed')),
    CONSTRAINT ck_models_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted')),
    CONSTRAINT ck_models_framework CHECK (
        framework IN ('neuralforecast', 'pytorch', 'tensorflow', 'sklearn', 'darts', 'gluonts', 'prophet')
        OR (framework GLOB '[a-z0-9]*' AND framework NOT GLOB '*[^a-z0-9_.-]*')),
    CONSTRAINT ck_models_training_samples CHECK (training_samples IS NULL OR training_samples > 0),
    CONSTRAINT ck_models_size CHECK (model_size_bytes IS NULL OR model_size_bytes > 0)
);

CREATE INDEX idx_models_run_id ON models(run_id);
CREATE INDEX idx_models_experiment_id ON models(experiment_id) WHERE experiment_id IS NOT NULL;
CREATE INDEX idx_models_name ON models(model_name);
CREATE INDEX idx_models_type_created ON models(model_type, created_at DESC);
CREATE INDEX idx_models_framework ON models(framework);
CREATE INDEX idx_models_status ON models(status);
CREATE INDEX idx_models_created_at ON models(created_at DESC);

CREATE TABLE registered_models (
    registered_model_name TEXT NOT NULL PRIMARY KEY CHECK (length(registered_model_name) <= 256),
    description           TEXT,
    tags                  TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(tags)),
    created_by            TEXT CHECK (length(created_by) <= 256),
    created_at            INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at            INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);

CREATE TABLE registered_model_aliases (
    registered_model_name TEXT NOT NULL
        REFERENCES registered_models(registered_model_name) ON UPDATE CASCADE ON DELETE CASCADE,
    alias                 TEXT NOT NULL CHECK (length(alias) <= 256),
    model_version         INTEGER NOT NULL,
    PRIMARY KEY (registered_model_name, alias)
) WITHOUT ROWID;

CREATE TABLE model_registry (
    registry_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id              INTEGER REFERENCES models(model_id) ON DELETE SET NULL,
    registered_model_name TEXT NOT NULL,
    model_version         INTEGER NOT NULL,
    current_stage         TEXT NOT NULL DEFAULT 'staging',
    previous_stage        TEXT CHECK (length(previous_stage) <= 50),
    stage_transition_at   INTEGER,
    approved_by           TEXT CHECK (length(approved_by) <= 255),
    approved_at           INTEGER,
    approval_notes        TEXT,
    deployed_at           INTEGER,
    deployment_target     TEXT CHECK (length(deployment_target) <= 100),
    production_metrics    TEXT DEFAULT '{}' CHECK (production_metrics IS NULL OR json_valid(production_metrics)),
    description           TEXT,
    source                TEXT,
    storage_location      TEXT,
    source_run_uuid       TEXT CHECK (length(source_run_uuid) <= 256),
    run_link              TEXT,
    user_id               TEXT CHECK (length(user_id) <= 256),
    version_status        TEXT NOT NULL DEFAULT 'READY' CHECK (length(version_status) <= 20),
    status_message        TEXT,
    tags                  TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata              TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at            INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at            INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    deleted_at            INTEGER,

    CONSTRAINT ck_registry_stage CHECK (current_stage IN ('staging', 'production', 'archived', 'none')),
    CONSTRAINT ck_registry_version CHECK (model_version > 0),
    CONSTRAINT uq_registry_name_version UNIQUE (registered_model_name, model_version),
    CONSTRAINT fk_registry_registered_model FOREIGN KEY (registered_model_name)
        REFERENCES registered_models(registered_model_name) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX idx_registry_model_id ON model_registry(model_id);
CREATE INDEX idx_registry_stage ON model_registry(current_stage);
CREATE INDEX idx_registry_deployed_at ON model_registry(deployed_at DESC) WHERE deployed_at IS NOT NULL;
CREATE INDEX idx_registry_production ON model_registry(registered_model_name, model_version)
    WHERE current_stage = 'production';
