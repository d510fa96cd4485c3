-- Data sets and their features, models, registered models with aliases, model versions.
-- Data sets come first because models refer to them.
--
-- Departures from the specified schema (docs/schema.md):
--   C-40, C-41, C-43  datasets know experiment and digest, and keep source, schema and profile as sent
--   C-42  file_format knows 'other'
--   C-27, C-28  a model belongs to an experiment, optionally to a run, and survives the run
--   C-29 … C-31  longer model name and type; defaults for what MLflow clients do not send;
--         any lower-case identifier is a framework
--   C-32, C-33  status message; deletion apart from the status
--   C-34, C-39  registered models are rows of their own, with aliases
--   C-35  a model version outlives its model
--   C-37, C-38  soft deletion and the columns of an MLflow model version
--   Indexes that repeat another one are left out; one per added foreign key is added.

CREATE TABLE datasets (
    dataset_id          BIGSERIAL PRIMARY KEY,
    dataset_uuid        UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    experiment_id       BIGINT REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    dataset_name        VARCHAR(500) NOT NULL,
    dataset_digest      VARCHAR(36),
    dataset_description TEXT,
    dataset_type        VARCHAR(50) NOT NULL,
    dataset_source_type VARCHAR(36),
    dataset_source      TEXT,
    dataset_schema      TEXT,
    dataset_profile     TEXT,
    file_path           TEXT NOT NULL,
    file_format         VARCHAR(50) NOT NULL DEFAULT 'csv',
    file_size_bytes     BIGINT,
    file_hash           VARCHAR(64),
    num_rows            INTEGER,
    num_columns         INTEGER,
    num_time_series     INTEGER,
    date_column         VARCHAR(100),
    target_column       VARCHAR(100),
    frequency           VARCHAR(20),
    start_date          TIMESTAMP,
    end_date            TIMESTAMP,
    schema_definition   JSONB,
    column_types        JSONB,
    missing_values_count INTEGER DEFAULT 0,
    duplicate_rows_count INTEGER DEFAULT 0,
    version             VARCHAR(50) DEFAULT '1.0.0',
    parent_dataset_id   BIGINT REFERENCES datasets(dataset_id),
    tags                JSONB DEFAULT '{}',
    metadata            JSONB DEFAULT '{}',
    created_at          TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at          TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

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

COMMENT ON TABLE datasets IS 'Data sets used for training and evaluation';
COMMENT ON COLUMN datasets.dataset_digest IS 'Digest computed by the client, no hash of the file';
COMMENT ON COLUMN datasets.file_hash IS 'SHA-256 hash of the file content';
COMMENT ON COLUMN datasets.dataset_schema IS 'Column schema as the client sent it; schema_definition is the parsed copy';
COMMENT ON COLUMN datasets.schema_definition IS 'Definition of the column schema (JSONB)';

CREATE TABLE dataset_features (
    feature_id        BIGSERIAL PRIMARY KEY,
    dataset_id        BIGINT NOT NULL REFERENCES datasets(dataset_id) ON DELETE CASCADE,
    feature_name      VARCHAR(255) NOT NULL,
    feature_type      VARCHAR(50) NOT NULL,
    data_type         VARCHAR(50) NOT NULL,
    min_value         DOUBLE PRECISION,
    max_value         DOUBLE PRECISION,
    mean_value        DOUBLE PRECISION,
    median_value      DOUBLE PRECISION,
    std_value         DOUBLE PRECISION,
    num_unique_values INTEGER,
    unique_values     JSONB,
    missing_count     INTEGER DEFAULT 0,
    missing_percentage NUMERIC(5, 2) DEFAULT 0.00,
    feature_role      VARCHAR(50),
    is_target         BOOLEAN DEFAULT FALSE,
    is_exogenous      BOOLEAN DEFAULT FALSE,
    exogenous_type    VARCHAR(50),
    importance_score  DOUBLE PRECISION,
    correlation_with_target DOUBLE PRECISION,
    tags              JSONB DEFAULT '{}',
    created_at        TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at        TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_features_type CHECK (feature_type IN ('numeric', 'categorical', 'datetime', 'text', 'boolean')),
    CONSTRAINT ck_features_role CHECK (feature_role IN ('target', 'feature', 'id', 'timestamp', 'weight', 'ignore')),
    CONSTRAINT ck_features_exog_type CHECK (exogenous_type IS NULL OR exogenous_type IN ('future', 'historic', 'static')),
    CONSTRAINT ck_features_missing_pct CHECK (missing_percentage >= 0 AND missing_percentage <= 100),
    CONSTRAINT uq_dataset_feature UNIQUE (dataset_id, feature_name)
);

CREATE INDEX idx_features_name ON dataset_features(feature_name);
CREATE INDEX idx_features_type ON dataset_features(feature_type);
CREATE INDEX idx_features_role ON dataset_features(feature_role);
CREATE INDEX idx_features_target ON dataset_features(is_target) WHERE is_target = TRUE;

COMMENT ON TABLE dataset_features IS 'Features of data sets';
COMMENT ON COLUMN dataset_features.exogenous_type IS 'future: future values are available, historic: past values only, static: time-invariant';

CREATE TABLE models (
    model_id            BIGSERIAL PRIMARY KEY,
    model_uuid          UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    experiment_id       BIGINT REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    run_id              BIGINT REFERENCES runs(run_id) ON DELETE SET NULL,
    source_run_uuid     VARCHAR(256),
    model_name          VARCHAR(500) NOT NULL,
    model_type          VARCHAR(500) NOT NULL DEFAULT '',
    model_version       VARCHAR(50) NOT NULL DEFAULT '1.0.0',
    framework           VARCHAR(50) NOT NULL DEFAULT 'other',
    framework_version   VARCHAR(50),
    model_config        JSONB NOT NULL DEFAULT '{}',
    hyperparameters     JSONB NOT NULL DEFAULT '{}',
    training_dataset_id BIGINT REFERENCES datasets(dataset_id),
    training_samples    INTEGER,
    training_duration_seconds NUMERIC(12, 3),
    model_size_bytes    BIGINT,
    model_file_path     TEXT NOT NULL,
    checkpoint_path     TEXT,
    status              VARCHAR(50) NOT NULL DEFAULT 'training',
    status_message      VARCHAR(1000),
    lifecycle_stage     VARCHAR(50) NOT NULL DEFAULT 'active',
    tags                JSONB DEFAULT '{}',
    metadata            JSONB DEFAULT '{}',
    created_at          TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at          TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at          TIMESTAMP,

    CONSTRAINT ck_models_status CHECK (
        status IN ('training', 'trained', 'evaluating', 'evaluated', 'deployed', 'archived', 'failed')),
    CONSTRAINT ck_models_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted')),
    CONSTRAINT ck_models_framework CHECK (
        framework IN ('neuralforecast', 'pytorch', 'tensorflow', 'sklearn', 'darts', 'gluonts', 'prophet')
        OR framework ~ '^[a-z0-9][a-z0-9_.-]*$'),
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
CREATE INDEX idx_models_config ON models USING GIN(model_config);
CREATE INDEX idx_models_tags ON models USING GIN(tags);

COMMENT ON TABLE models IS 'Trained models';
COMMENT ON COLUMN models.model_uuid IS 'MLflow''s model id is m- and this value without hyphens';
COMMENT ON COLUMN models.source_run_uuid IS 'Run id as MLflow gives it out; stays when the run is collected';
COMMENT ON COLUMN models.model_type IS 'Kind of model (for example AutoNHITS, AutoLSTM, AutoTFT); empty when not given';
COMMENT ON COLUMN models.model_config IS 'Detailed model configuration (JSONB)';
COMMENT ON COLUMN models.hyperparameters IS 'Hyperparameters (JSONB)';

CREATE TABLE registered_models (
    registered_model_name VARCHAR(256) PRIMARY KEY,
    description           TEXT,
    tags                  JSONB NOT NULL DEFAULT '{}',
    created_by            VARCHAR(256),
    created_at            TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at            TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX idx_registered_models_tags ON registered_models USING GIN(tags);

COMMENT ON TABLE registered_models IS 'Registered models and prompts; their versions are in model_registry';

CREATE TABLE registered_model_aliases (
    registered_model_name VARCHAR(256) NOT NULL
        REFERENCES registered_models(registered_model_name) ON UPDATE CASCADE ON DELETE CASCADE,
    alias                 VARCHAR(256) NOT NULL,
    model_version         INTEGER NOT NULL,
    PRIMARY KEY (registered_model_name, alias)
);

COMMENT ON TABLE registered_model_aliases IS 'Names that point to one version of a registered model';

CREATE TABLE model_registry (
    registry_id           BIGSERIAL PRIMARY KEY,
    model_id              BIGINT REFERENCES models(model_id) ON DELETE SET NULL,
    registered_model_name VARCHAR(256) NOT NULL,
    model_version         INTEGER NOT NULL,
    current_stage         VARCHAR(50) NOT NULL DEFAULT 'staging',
    previous_stage        VARCHAR(50),
    stage_transition_at   TIMESTAMP,
    approved_by           VARCHAR(255),
    approved_at           TIMESTAMP,
    approval_notes        TEXT,
    deployed_at           TIMESTAMP,
    deployment_target     VARCHAR(100),
    production_metrics    JSONB DEFAULT '{}',
    description           TEXT,
    source                TEXT,
    storage_location      TEXT,
    source_run_uuid       VARCHAR(256),
    run_link              TEXT,
    user_id               VARCHAR(256),
    version_status        VARCHAR(20) NOT NULL DEFAULT 'READY',
    status_message        TEXT,
    tags                  JSONB DEFAULT '{}',
    metadata              JSONB DEFAULT '{}',
    created_at            TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at            TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at            TIMESTAMP,

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

COMMENT ON TABLE model_registry IS 'Model versions and their stage transitions';
COMMENT ON COLUMN model_registry.current_stage IS 'staging, production, archived, none';
COMMENT ON COLUMN model_registry.production_metrics IS 'Evaluation metrics measured in production';
COMMENT ON COLUMN model_registry.source_run_uuid IS 'Run id given by the client; the run may live on another server';
COMMENT ON COLUMN model_registry.deleted_at IS 'A deleted version keeps its row, so that its number is not used again';
