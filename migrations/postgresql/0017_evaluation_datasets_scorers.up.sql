-- Evaluation data sets with their records, what belongs to which experiment, and scorers with their versions (C-57).

CREATE TABLE evaluation_datasets (
    dataset_id       VARCHAR(36) COLLATE "C" PRIMARY KEY,
    name             VARCHAR(255) NOT NULL,
    -- As clients read them: the order of members would be lost in JSONB.
    schema           TEXT,
    profile          TEXT,
    digest           VARCHAR(64) NOT NULL,
    tags             JSONB NOT NULL DEFAULT '{}',
    created_time     TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    created_by       TEXT,
    last_updated_by  TEXT
);

-- The orders of a search.
CREATE INDEX idx_evaluation_datasets_created_time ON evaluation_datasets(created_time, dataset_id);
CREATE INDEX idx_evaluation_datasets_last_update_time ON evaluation_datasets(last_update_time, dataset_id);
CREATE INDEX idx_evaluation_datasets_name ON evaluation_datasets(name COLLATE "C", dataset_id);
CREATE INDEX idx_evaluation_datasets_tags ON evaluation_datasets USING GIN (tags jsonb_path_ops);

COMMENT ON TABLE evaluation_datasets IS 'Data sets for the evaluation of models and agents';
COMMENT ON COLUMN evaluation_datasets.dataset_id IS 'd- and 32 hex digits';
COMMENT ON COLUMN evaluation_datasets.schema IS 'Names and types in inputs, outputs and expectations of the records, JSON';
COMMENT ON COLUMN evaluation_datasets.profile IS 'Number of records, JSON';

CREATE TABLE evaluation_dataset_records (
    dataset_record_id VARCHAR(36) COLLATE "C" PRIMARY KEY,
    dataset_id        VARCHAR(36) COLLATE "C" NOT NULL REFERENCES evaluation_datasets(dataset_id) ON DELETE CASCADE,
    -- JSON keeps what was sent: JSONB would change the order of members and turn 1e2 into 100, a float into an integer.
    inputs            JSON NOT NULL,
    outputs           JSON,
    expectations      JSON,
    tags              JSON,
    source            JSON,
    source_id         VARCHAR(255),
    source_type       VARCHAR(255),
    -- Whole milliseconds: pages continue behind the time that clients see.
    created_time      TIMESTAMP NOT NULL DEFAULT date_trunc('milliseconds', CURRENT_TIMESTAMP),
    last_update_time  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    created_by        TEXT,
    last_updated_by   TEXT,
    input_hash        VARCHAR(64) COLLATE "C" NOT NULL,
    CONSTRAINT uq_evaluation_dataset_records_input UNIQUE (dataset_id, input_hash)
);

-- The order in which records are read.
CREATE INDEX idx_evaluation_dataset_records_order ON evaluation_dataset_records(dataset_id, created_time, dataset_record_id);

COMMENT ON TABLE evaluation_dataset_records IS 'Records of evaluation data sets, one for each inputs';
COMMENT ON COLUMN evaluation_dataset_records.dataset_record_id IS 'dr- and 32 hex digits';
COMMENT ON COLUMN evaluation_dataset_records.input_hash IS 'SHA-256 of inputs with sorted keys, hex digits';

-- Links by the ids that clients know: evaluation_dataset to experiment. The ends are of several tables, and may be unknown here, so
-- there are no foreign keys; who removes an end for good removes its links.
CREATE TABLE entity_associations (
    association_id   UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    source_type      VARCHAR(36) NOT NULL,
    source_id        VARCHAR(250) COLLATE "C" NOT NULL,
    destination_type VARCHAR(36) NOT NULL,
    destination_id   VARCHAR(300) COLLATE "C" NOT NULL,
    created_time     BIGINT NOT NULL,
    PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);

CREATE INDEX idx_entity_associations_destination
    ON entity_associations(destination_type, destination_id, source_type, source_id);

COMMENT ON TABLE entity_associations IS 'Links between experiments, evaluation data sets, runs, models and traces';
COMMENT ON COLUMN entity_associations.source_id IS 'Id as clients know it';
COMMENT ON COLUMN entity_associations.destination_id IS 'Id as clients know it';
COMMENT ON COLUMN entity_associations.created_time IS 'Milliseconds since 1970';

CREATE TABLE scorers (
    scorer_id     UUID PRIMARY KEY,
    experiment_id BIGINT NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    scorer_name   VARCHAR(256) NOT NULL,
    CONSTRAINT uq_scorers_experiment_name UNIQUE (experiment_id, scorer_name)
);

COMMENT ON TABLE scorers IS 'Scorers of experiments by name';

CREATE TABLE scorer_versions (
    scorer_id         UUID NOT NULL REFERENCES scorers(scorer_id) ON DELETE CASCADE,
    scorer_version    INTEGER NOT NULL CHECK (scorer_version > 0),
    serialized_scorer TEXT NOT NULL,
    creation_time     TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (scorer_id, scorer_version)
);

COMMENT ON TABLE scorer_versions IS 'Versions of scorers';

DO $$
DECLARE
    v_grant RECORD;
BEGIN
    FOR v_grant IN
        SELECT * FROM (VALUES
            ('readonly_user',  'SELECT'),
            ('data_scientist', 'SELECT, INSERT, UPDATE'),
            ('admin_user',     'ALL')) AS g(role, privileges)
         WHERE role IN (SELECT rolname FROM pg_roles)
    LOOP
        EXECUTE format(
            'GRANT %s ON evaluation_datasets, evaluation_dataset_records, entity_associations, scorers, scorer_versions TO %I',
            v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
