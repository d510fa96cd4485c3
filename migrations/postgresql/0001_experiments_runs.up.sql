-- Shared schemas, extensions and roles; the tables experiments and runs.
--
-- Main tables go to the first schema of the search_path (one schema per workspace); audit,
-- staging and archive are shared by all workspaces of the database. Departures from the
-- specified schema (docs/schema.md):
--   C-2   start_time_ms, end_time_ms hold milliseconds that no calendar date can carry
--   C-7   experiment names are unique, deleted experiments included, up to 500 characters
--   C-10  artifact_location and artifact_uri
--   C-12  run_fingerprint has a random default, so that its uniqueness never blocks a client
--   C-13  mlflow_status carries the status in MLflow's words
--   C-16  runs.user_id is one character longer
--   Indexes that repeat another one are left out; one for the listing of runs takes the place of
--   idx_runs_start_time.
-- Roles belong to the cluster and extensions to the database: what cannot be created here is
-- reported by a NOTICE and skipped, because the server itself needs none of them.

DO $$
DECLARE
    v_schema TEXT;
BEGIN
    FOREACH v_schema IN ARRAY ARRAY['audit', 'staging', 'archive'] LOOP
        -- IF NOT EXISTS would ask for CREATE on the database even when the schema is there.
        IF to_regnamespace(v_schema) IS NULL THEN
            EXECUTE format('CREATE SCHEMA %I', v_schema);
        END IF;
    END LOOP;
END
$$;

-- TIMESTAMP columns hold UTC, and CURRENT_TIMESTAMP is cast in the zone of the connection.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET timezone TO %L', current_database(), 'UTC');
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'time zone of the database not set to UTC: %', SQLERRM;
END
$$;

DO $$
DECLARE
    -- In a schema of their own workspaces would take the extensions away from each other.
    v_schema    CONSTANT TEXT := CASE WHEN to_regnamespace('public') IS NULL THEN current_schema() ELSE 'public' END;
    v_extension TEXT;
BEGIN
    FOREACH v_extension IN ARRAY ARRAY['pgcrypto', 'uuid-ossp', 'pg_stat_statements'] LOOP
        BEGIN
            EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', v_extension, v_schema);
        EXCEPTION
            WHEN OTHERS THEN
                RAISE NOTICE 'extension % not installed: %', v_extension, SQLERRM;
        END;
    END LOOP;
END
$$;

DO $$
DECLARE
    v_role RECORD;
BEGIN
    FOR v_role IN
        SELECT * FROM (VALUES ('readonly_user', ''), ('data_scientist', ''), ('admin_user', 'CREATEDB CREATEROLE'))
                   AS r(name, options)
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = v_role.name);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', v_role.name, v_role.options);
        EXCEPTION
            -- Another database of the cluster was migrated at the same moment.
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % not created: %', v_role.name, SQLERRM;
        END;
    END LOOP;
END
$$;

CREATE TABLE experiments (
    experiment_id          BIGSERIAL PRIMARY KEY,
    experiment_name        VARCHAR(500) NOT NULL,
    experiment_description TEXT,
    experiment_type        VARCHAR(50) NOT NULL DEFAULT 'training',
    artifact_location      TEXT,
    status                 VARCHAR(50) NOT NULL DEFAULT 'active',
    lifecycle_stage        VARCHAR(50) NOT NULL DEFAULT 'active',
    created_by             VARCHAR(255),
    created_at             TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at             TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at             TIMESTAMP,
    tags                   JSONB DEFAULT '{}',
    metadata               JSONB DEFAULT '{}',

    CONSTRAINT ck_experiments_status CHECK (status IN ('active', 'archived', 'deleted')),
    CONSTRAINT ck_experiments_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted', 'archived')),
    CONSTRAINT ck_experiments_type CHECK (experiment_type IN ('training', 'testing', 'production', 'development'))
);

CREATE UNIQUE INDEX uq_experiments_name ON experiments(experiment_name);
CREATE INDEX idx_experiments_created_at ON experiments(created_at DESC);
CREATE INDEX idx_experiments_status_created ON experiments(status, created_at DESC) WHERE status = 'active';
CREATE INDEX idx_experiments_active ON experiments(experiment_name) WHERE status = 'active' AND deleted_at IS NULL;
CREATE INDEX idx_experiments_tags ON experiments USING GIN(tags);
CREATE INDEX idx_experiments_tags_jsonb_path ON experiments USING GIN(tags jsonb_path_ops);

COMMENT ON TABLE experiments IS 'Basic information about experiments';
COMMENT ON COLUMN experiments.experiment_id IS 'Unique identifier of the experiment; 0 is the experiment Default';
COMMENT ON COLUMN experiments.experiment_name IS 'Experiment name (given by the user)';
COMMENT ON COLUMN experiments.lifecycle_stage IS 'Stage kept for compatibility with MLflow';
COMMENT ON COLUMN experiments.artifact_location IS 'URI under which the runs of the experiment keep their artifacts';
COMMENT ON COLUMN experiments.tags IS 'Custom tags (JSONB), every value a string';

CREATE TABLE runs (
    run_id          BIGSERIAL PRIMARY KEY,
    run_uuid        UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    experiment_id   BIGINT NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    parent_run_id   BIGINT REFERENCES runs(run_id) ON DELETE SET NULL,
    run_name        VARCHAR(255) NOT NULL,
    run_description TEXT,
    run_fingerprint VARCHAR(64) NOT NULL DEFAULT encode(sha256(convert_to(gen_random_uuid()::text, 'UTF8')), 'hex'),
    status          VARCHAR(50) NOT NULL DEFAULT 'running',
    -- COLLATE "C": a Turkish locale would spell RUNNING with a dotted I.
    mlflow_status   VARCHAR(20) GENERATED ALWAYS AS (
        CASE status WHEN 'completed' THEN 'FINISHED' ELSE upper(status COLLATE "C") END) STORED,
    lifecycle_stage VARCHAR(50) NOT NULL DEFAULT 'active',
    start_time      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    start_time_ms   BIGINT,
    end_time        TIMESTAMP,
    end_time_ms     BIGINT,
    execution_duration_seconds NUMERIC(12, 3),
    artifact_uri    TEXT,
    source_type     VARCHAR(50),
    source_name     TEXT,
    git_commit_hash VARCHAR(40),
    git_branch      VARCHAR(255),
    git_repo_url    TEXT,
    user_id         VARCHAR(256),
    tags            JSONB DEFAULT '{}',
    metadata        JSONB DEFAULT '{}',
    created_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at      TIMESTAMP,

    CONSTRAINT ck_runs_status CHECK (status IN ('running', 'completed', 'failed', 'killed', 'scheduled')),
    CONSTRAINT ck_runs_lifecycle CHECK (lifecycle_stage IN ('active', 'deleted')),
    CONSTRAINT ck_runs_source_type CHECK (source_type IN ('notebook', 'script', 'cli', 'api', 'scheduled')),
    CONSTRAINT ck_runs_duration CHECK (execution_duration_seconds IS NULL OR execution_duration_seconds >= 0)
);

-- The order of a listing: start_time descending, then run id ascending. An index on start_time
-- alone would be taken instead of this one and walk through the newer runs of other experiments.
CREATE INDEX idx_runs_experiment_start ON runs(experiment_id, start_time DESC, run_uuid);
CREATE INDEX idx_runs_composite ON runs(experiment_id, status, start_time DESC);
CREATE INDEX idx_runs_status ON runs(status);
CREATE INDEX idx_runs_running ON runs(start_time DESC) WHERE status = 'running';
CREATE INDEX idx_runs_parent_run ON runs(parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX idx_runs_fingerprint ON runs(run_fingerprint);
CREATE UNIQUE INDEX idx_runs_unique_fingerprint ON runs(experiment_id, run_fingerprint) WHERE deleted_at IS NULL;
CREATE INDEX idx_runs_tags ON runs USING GIN(tags);
CREATE INDEX idx_runs_metadata_gin ON runs USING GIN(metadata);

COMMENT ON TABLE runs IS 'Individual executions of experiments';
COMMENT ON COLUMN runs.run_uuid IS 'MLflow''s run id is this value without hyphens';
COMMENT ON COLUMN runs.run_fingerprint IS
    'Hash that identifies the execution conditions (SHA-256); random unless the client gave one';
COMMENT ON COLUMN runs.parent_run_id IS 'Parent run of a hyperparameter tuning job';
COMMENT ON COLUMN runs.start_time_ms IS
    'Milliseconds since 1970, set only when start_time cannot hold them (it then holds the nearest bound)';
COMMENT ON COLUMN runs.end_time_ms IS
    'Milliseconds since 1970, set only when end_time cannot hold them (it then holds the nearest bound)';
