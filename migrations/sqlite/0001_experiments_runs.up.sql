-- The tables experiments and runs; the departures are those of the PostgreSQL migration.
--
-- Forms that SQLite asks for, in all migrations (docs/schema.md): times are integer milliseconds
-- since 1970, so the overflow columns start_time_ms and end_time_ms stay unused; UUIDs are text of
-- 36 characters made by the server; JSON is checked text, booleans are 0 or 1, lengths are checks;
-- there are no GIN indexes, roles, extensions or further schemas.

CREATE TABLE experiments (
    experiment_id          INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment_name        TEXT NOT NULL CHECK (length(experiment_name) <= 500),
    experiment_description TEXT,
    experiment_type        TEXT NOT NULL DEFAULT 'training',
    artifact_location      TEXT,
    status                 TEXT NOT NULL DEFAULT 'active',
    lifecycle_stage        TEXT NOT NULL DEFAULT 'active',
    created_by             TEXT CHECK (length(created_by) <= 255),
    created_at             INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at             INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    deleted_at             INTEGER,
    tags                   TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata               TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),

    CONSTRAINT ck_experiments_status CHECK (status IN ('active', 'archived', 'deleted')),
    CONSTRAINT ck_experiments_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted', 'archived')),
    CONSTRAINT ck_experiments_type CHECK (experiment_type IN ('training', 'testing', 'production', 'development'))
);

CREATE UNIQUE INDEX uq_experiments_name ON experiments(experiment_name);
CREATE INDEX idx_experiments_created_at ON experiments(created_at DESC);
CREATE INDEX idx_experiments_status_created ON experiments(status, created_at DESC) WHERE status = 'active';
CREATE INDEX idx_experiments_active ON experiments(experiment_name) WHERE status = 'active' AND deleted_at IS NULL;

CREATE TABLE runs (
    run_id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    run_uuid                 TEXT NOT NULL UNIQUE CHECK (length(run_uuid) = 36),
    experiment_id            INTEGER NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    parent_run_id            INTEGER REFERENCES runs(run_id) ON DELETE SET NULL,
    run_name                 TEXT NOT NULL CHECK (length(run_name) <= 255),
    run_description          TEXT,
    run_fingerprint          TEXT NOT NULL DEFAULT (lower(hex(randomblob(32)))) CHECK (length(run_fingerprint) <= 64),
    status                   TEXT NOT NULL DEFAULT 'running',
    mlflow_status            TEXT GENERATED ALWAYS AS (CASE status WHEN 'completed' THEN 'FINISHED' ELSE upper(status) END) STORED,
    lifecycle_stage          TEXT NOT NULL DEFAULT 'active',
    start_time               INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    start_time_ms            INTEGER,
    end_time                 INTEGER,
    end_time_ms              INTEGER,
    execution_duration_seconds NUMERIC,
    artifact_uri             TEXT,
    source_type              TEXT,
    source_name              TEXT,
    git_commit_hash          TEXT CHECK (length(git_commit_hash) <= 40),
    git_branch               TEXT CHECK (length(git_branch) <= 255),
    git_repo_url             TEXT,
    user_id                  TEXT CHECK (length(user_id) <= 256),
    tags                     TEXT DEFAULT '{}' CHECK (tags IS NULL OR json_valid(tags)),
    metadata                 TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at               INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    updated_at               INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    deleted_at               INTEGER,

    CONSTRAINT ck_runs_status CHECK (status IN ('running', 'completed', 'failed', 'killed', 'scheduled')),
    CONSTRAINT ck_runs_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted')),
    CONSTRAINT ck_runs_source_type CHECK (source_type IN ('notebook', 'script', 'cli', 'api', 'scheduled')),
    CONSTRAINT ck_runs_duration CHECK (execution_duration_seconds IS NULL OR execution_duration_seconds >= 0)
);

-- The order of a listing: start_time descending, then run id ascending.
CREATE INDEX idx_runs_experiment_start ON runs(experiment_id, start_time DESC, run_uuid);
CREATE INDEX idx_runs_composite ON runs(experiment_id, status, start_time DESC);
CREATE INDEX idx_runs_status ON runs(status);
CREATE INDEX idx_runs_running ON runs(start_time DESC) WHERE status = 'running';
CREATE INDEX idx_runs_parent_run ON runs(parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX idx_runs_fingerprint ON runs(run_fingerprint);
CREATE UNIQUE INDEX idx_runs_unique_fingerprint ON runs(experiment_id, run_fingerprint) WHERE deleted_at IS NULL;
