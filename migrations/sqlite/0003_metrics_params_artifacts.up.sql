-- Metrics and their summaries, hyperparameters and search spaces, artifacts. The departures are
-- those of the PostgreSQL migration; NaN is stored as 0 with is_nan (C-21), timestamp_ms stays unused.

CREATE TABLE metrics (
    metric_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id             INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id           INTEGER REFERENCES models(model_id) ON DELETE CASCADE,
    metric_name        TEXT NOT NULL CHECK (length(metric_name) <= 250),
    metric_value       REAL NOT NULL,
    is_nan             INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    metric_step        INTEGER NOT NULL DEFAULT 0,
    dataset_type       TEXT NOT NULL DEFAULT 'validation',
    dataset_id         INTEGER REFERENCES datasets(dataset_id) ON DELETE SET NULL,
    dataset_name       TEXT CHECK (length(dataset_name) <= 500),
    dataset_digest     TEXT CHECK (length(dataset_digest) <= 36),
    evaluation_context TEXT CHECK (length(evaluation_context) <= 100),
    timestamp          INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    timestamp_ms       INTEGER,
    metadata           TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),

    CONSTRAINT ck_metrics_dataset_type CHECK (dataset_type IN ('train', 'validation', 'test', 'production'))
);

-- Also serves every lookup by run, by (run, name) and by (run, name, step).
CREATE UNIQUE INDEX uq_metrics_point ON metrics (
    run_id, metric_name, metric_step, timestamp, metric_value, is_nan,
    COALESCE(model_id, 0), COALESCE(timestamp_ms, -1));
CREATE INDEX idx_metrics_model_id ON metrics(model_id) WHERE model_id IS NOT NULL;

CREATE TABLE metric_summaries (
    summary_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id       INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id     INTEGER REFERENCES models(model_id) ON DELETE CASCADE,
    metric_name  TEXT NOT NULL CHECK (length(metric_name) <= 250),
    dataset_type TEXT NOT NULL CHECK (length(dataset_type) <= 50),
    min_value    REAL,
    max_value    REAL,
    mean_value   REAL,
    median_value REAL,
    std_value    REAL,
    q1_value     REAL,
    q3_value     REAL,
    sample_count INTEGER NOT NULL,
    created_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at   INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT uq_summary_run_metric UNIQUE (run_id, metric_name, dataset_type)
);

CREATE INDEX idx_summary_model_id ON metric_summaries(model_id);
CREATE INDEX idx_summary_metric ON metric_summaries(metric_name);

CREATE TABLE hyperparameters (
    hyperparameter_id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id            INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    param_key         TEXT NOT NULL CHECK (length(param_key) <= 255),
    param_value       TEXT NOT NULL,
    param_type        TEXT NOT NULL DEFAULT 'string',
    is_hyperparameter INTEGER DEFAULT 1 CHECK (is_hyperparameter IN (0, 1)),
    param_category    TEXT CHECK (length(param_category) <= 100),
    created_at        INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_params_type CHECK (param_type IN ('string', 'integer', 'float', 'boolean', 'json')),
    CONSTRAINT uq_run_param_key UNIQUE (run_id, param_key)
);

CREATE INDEX idx_params_key ON hyperparameters(param_key);
CREATE INDEX idx_params_category ON hyperparameters(param_category) WHERE param_category IS NOT NULL;

CREATE TABLE hyperparameter_search_spaces (
    search_space_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    space_name              TEXT NOT NULL UNIQUE CHECK (length(space_name) <= 255),
    space_description       TEXT,
    model_type              TEXT NOT NULL CHECK (length(model_type) <= 100),
    framework               TEXT NOT NULL CHECK (length(framework) <= 50),
    search_space_definition TEXT NOT NULL CHECK (json_valid(search_space_definition)),
    created_by              TEXT CHECK (length(created_by) <= 255),
    is_active               INTEGER DEFAULT 1 CHECK (is_active IN (0, 1)),
    tags                    TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    created_at              INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at              INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);

CREATE INDEX idx_search_space_model ON hyperparameter_search_spaces(model_type);
CREATE INDEX idx_search_space_active ON hyperparameter_search_spaces(is_active) WHERE is_active = 1;

CREATE TABLE artifacts (
    artifact_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_uuid    TEXT NOT NULL UNIQUE CHECK (length(artifact_uuid) = 36),
    run_id           INTEGER REFERENCES runs(run_id) ON DELETE CASCADE,
    experiment_id    INTEGER REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    model_id         INTEGER REFERENCES models(model_id) ON DELETE CASCADE,
    artifact_name    TEXT NOT NULL CHECK (length(artifact_name) <= 255),
    artifact_type    TEXT NOT NULL,
    artifact_path    TEXT NOT NULL,
    file_size_bytes  INTEGER,
    file_format      TEXT CHECK (length(file_format) <= 50),
    mime_type        TEXT CHECK (length(mime_type) <= 100),
    file_hash        TEXT CHECK (length(file_hash) <= 64),
    storage_type     TEXT NOT NULL DEFAULT 'local',
    storage_path     TEXT NOT NULL,
    description      TEXT,
    tags             TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata         TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    is_public        INTEGER DEFAULT 0 CHECK (is_public IN (0, 1)),
    access_count     INTEGER DEFAULT 0,
    last_accessed_at INTEGER,
    created_at       INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at       INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_artifacts_type CHECK (artifact_type IN (
        'model', 'checkpoint', 'prediction', 'plot', 'log', 'config', 'report', 'data', 'other')),
    CONSTRAINT ck_artifacts_storage CHECK (storage_type IN ('local', 's3', 'gcs', 'azure', 'mlflow', 'wandb')),
    CONSTRAINT ck_artifacts_size CHECK (file_size_bytes IS NULL OR file_size_bytes >= 0)
);

CREATE UNIQUE INDEX uq_artifacts_storage_path ON artifacts(storage_path);
CREATE INDEX idx_artifacts_run_id ON artifacts(run_id);
CREATE INDEX idx_artifacts_experiment_id ON artifacts(experiment_id) WHERE experiment_id IS NOT NULL;
CREATE INDEX idx_artifacts_model_id ON artifacts(model_id) WHERE model_id IS NOT NULL;
CREATE INDEX idx_artifacts_type ON artifacts(artifact_type);
CREATE INDEX idx_artifacts_name ON artifacts(artifact_name);
CREATE INDEX idx_artifacts_hash ON artifacts(file_hash);
CREATE INDEX idx_artifacts_created_at ON artifacts(created_at DESC);
