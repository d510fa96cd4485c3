-- Metrics and their summaries, hyperparameters and search spaces, artifacts.
--
-- Departures from the specified schema (docs/schema.md):
--   C-2   timestamp_ms holds milliseconds that no calendar date can carry
--   C-19, C-20  any 64-bit step; metric names up to 250 characters
--   C-21  is_nan, because SQLite cannot store NaN and MLflow compares it as 0
--   C-22  a metric point is unique, so that logging it twice is harmless
--   C-24  the data set of a model's metric
--   C-26  of the specified indexes on metrics only the one on model_id is kept
--   C-45, C-46  an artifact may belong to a model or an experiment; its storage path is unique

CREATE TABLE metrics (
    metric_id          BIGSERIAL PRIMARY KEY,
    run_id             BIGINT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id           BIGINT REFERENCES models(model_id) ON DELETE CASCADE,
    metric_name        VARCHAR(250) NOT NULL,
    metric_value       DOUBLE PRECISION NOT NULL,
    is_nan             BOOLEAN NOT NULL DEFAULT FALSE,
    metric_step        BIGINT NOT NULL DEFAULT 0,
    dataset_type       VARCHAR(50) NOT NULL DEFAULT 'validation',
    dataset_id         BIGINT REFERENCES datasets(dataset_id) ON DELETE SET NULL,
    dataset_name       VARCHAR(500),
    dataset_digest     VARCHAR(36),
    evaluation_context VARCHAR(100),
    timestamp          TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    timestamp_ms       BIGINT,
    metadata           JSONB DEFAULT '{}',

    CONSTRAINT ck_metrics_dataset_type CHECK (dataset_type IN ('train', 'validation', 'test', 'production'))
);

-- Also serves every lookup by run, by (run, name) and by (run, name, step).
CREATE UNIQUE INDEX uq_metrics_point ON metrics (
    run_id, metric_name, metric_step, timestamp, metric_value, is_nan,
    COALESCE(model_id, 0), COALESCE(timestamp_ms, -1));
CREATE INDEX idx_metrics_model_id ON metrics(model_id) WHERE model_id IS NOT NULL;

COMMENT ON TABLE metrics IS 'Evaluation metrics of runs and models';
COMMENT ON COLUMN metrics.metric_value IS 'NaN when is_nan; infinities are stored as the largest finite number';
COMMENT ON COLUMN metrics.metric_step IS 'Training step (number of epochs, iterations, ...)';
COMMENT ON COLUMN metrics.evaluation_context IS 'Evaluation context (for example backtest_fold_1)';
COMMENT ON COLUMN metrics.timestamp_ms IS
    'Milliseconds since 1970, set only when timestamp cannot hold them (it then holds the nearest bound)';

CREATE TABLE metric_summaries (
    summary_id   BIGSERIAL PRIMARY KEY,
    run_id       BIGINT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id     BIGINT REFERENCES models(model_id) ON DELETE CASCADE,
    metric_name  VARCHAR(250) NOT NULL,
    dataset_type VARCHAR(50) NOT NULL,
    min_value    DOUBLE PRECISION,
    max_value    DOUBLE PRECISION,
    mean_value   DOUBLE PRECISION,
    median_value DOUBLE PRECISION,
    std_value    DOUBLE PRECISION,
    q1_value     DOUBLE PRECISION,
    q3_value     DOUBLE PRECISION,
    sample_count INTEGER NOT NULL,
    created_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT uq_summary_run_metric UNIQUE (run_id, metric_name, dataset_type)
);

CREATE INDEX idx_summary_model_id ON metric_summaries(model_id);
CREATE INDEX idx_summary_metric ON metric_summaries(metric_name);

COMMENT ON TABLE metric_summaries IS 'Aggregated evaluation metrics (for fast queries)';

CREATE TABLE hyperparameters (
    hyperparameter_id BIGSERIAL PRIMARY KEY,
    run_id            BIGINT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    param_key         VARCHAR(255) NOT NULL,
    param_value       TEXT NOT NULL,
    param_type        VARCHAR(50) NOT NULL DEFAULT 'string',
    is_hyperparameter BOOLEAN DEFAULT TRUE,
    param_category    VARCHAR(100),
    created_at        TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_params_type CHECK (param_type IN ('string', 'integer', 'float', 'boolean', 'json')),
    CONSTRAINT uq_run_param_key UNIQUE (run_id, param_key)
);

CREATE INDEX idx_params_key ON hyperparameters(param_key);
CREATE INDEX idx_params_category ON hyperparameters(param_category) WHERE param_category IS NOT NULL;

COMMENT ON TABLE hyperparameters IS 'Hyperparameters and configuration parameters';
COMMENT ON COLUMN hyperparameters.is_hyperparameter IS 'TRUE: hyperparameter, FALSE: configuration parameter';

CREATE TABLE hyperparameter_search_spaces (
    search_space_id         BIGSERIAL PRIMARY KEY,
    space_name              VARCHAR(255) NOT NULL UNIQUE,
    space_description       TEXT,
    model_type              VARCHAR(100) NOT NULL,
    framework               VARCHAR(50) NOT NULL,
    search_space_definition JSONB NOT NULL,
    created_by              VARCHAR(255),
    is_active               BOOLEAN DEFAULT TRUE,
    tags                    JSONB DEFAULT '{}',
    created_at              TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at              TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX idx_search_space_model ON hyperparameter_search_spaces(model_type);
CREATE INDEX idx_search_space_active ON hyperparameter_search_spaces(is_active) WHERE is_active = TRUE;

COMMENT ON TABLE hyperparameter_search_spaces IS 'Search space definitions for hyperparameters';
COMMENT ON COLUMN hyperparameter_search_spaces.search_space_definition IS 'Search space in Optuna / Ray Tune form (JSONB)';

CREATE TABLE artifacts (
    artifact_id      BIGSERIAL PRIMARY KEY,
    artifact_uuid    UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    run_id           BIGINT REFERENCES runs(run_id) ON DELETE CASCADE,
    experiment_id    BIGINT REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    model_id         BIGINT REFERENCES models(model_id) ON DELETE CASCADE,
    artifact_name    VARCHAR(255) NOT NULL,
    artifact_type    VARCHAR(100) NOT NULL,
    artifact_path    TEXT NOT NULL,
    file_size_bytes  BIGINT,
    file_format      VARCHAR(50),
    mime_type        VARCHAR(100),
    file_hash        VARCHAR(64),
    storage_type     VARCHAR(50) NOT NULL DEFAULT 'local',
    storage_path     TEXT NOT NULL,
    description      TEXT,
    tags             JSONB DEFAULT '{}',
    metadata         JSONB DEFAULT '{}',
    is_public        BOOLEAN DEFAULT FALSE,
    access_count     INTEGER DEFAULT 0,
    last_accessed_at TIMESTAMP,
    created_at       TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at       TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT ck_artifacts_type CHECK (artifact_type IN (
        'model', 'checkpoint', 'prediction', 'plot', 'log', 'config', 'report', 'data', 'other')),
    CONSTRAINT ck_artifacts_storage CHECK (storage_type IN ('local', 's3', 'gcs', 'azure', 'mlflow', 'wandb')),
    CONSTRAINT ck_artifacts_size CHECK (file_size_bytes IS NULL OR file_size_bytes >= 0)
);

-- Over a hash, because a path may be longer than an index entry.
CREATE UNIQUE INDEX uq_artifacts_storage_path ON artifacts(md5(storage_path));
CREATE INDEX idx_artifacts_run_id ON artifacts(run_id);
CREATE INDEX idx_artifacts_experiment_id ON artifacts(experiment_id) WHERE experiment_id IS NOT NULL;
CREATE INDEX idx_artifacts_model_id ON artifacts(model_id) WHERE model_id IS NOT NULL;
CREATE INDEX idx_artifacts_type ON artifacts(artifact_type);
CREATE INDEX idx_artifacts_name ON artifacts(artifact_name);
CREATE INDEX idx_artifacts_hash ON artifacts(file_hash);
CREATE INDEX idx_artifacts_created_at ON artifacts(created_at DESC);
CREATE INDEX idx_artifacts_tags ON artifacts USING GIN(tags);

COMMENT ON TABLE artifacts IS 'Artifacts produced by experiments';
COMMENT ON COLUMN artifacts.file_hash IS 'SHA-256 hash of the file content';
COMMENT ON COLUMN artifacts.storage_path IS 'Actual storage path (URI)';
