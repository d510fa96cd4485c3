-- Evaluation data sets with their records, what belongs to which experiment, and scorers with their versions (C-57).

CREATE TABLE evaluation_datasets (
    dataset_id       TEXT PRIMARY KEY CHECK (length(dataset_id) <= 36),
    name             TEXT NOT NULL CHECK (length(name) <= 255),
    -- Names and types in inputs, outputs and expectations of the records, JSON.
    schema           TEXT,
    -- Number of records, JSON.
    profile          TEXT,
    digest           TEXT NOT NULL CHECK (length(digest) <= 64),
    tags             TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(tags)),
    created_time     INTEGER NOT NULL,
    last_update_time INTEGER NOT NULL,
    created_by       TEXT,
    last_updated_by  TEXT
);

-- The orders of a search.
CREATE INDEX idx_evaluation_datasets_created_time ON evaluation_datasets(created_time, dataset_id);
CREATE INDEX idx_evaluation_datasets_last_update_time ON evaluation_datasets(last_update_time, dataset_id);
CREATE INDEX idx_evaluation_datasets_name ON evaluation_datasets(name, dataset_id);

CREATE TABLE evaluation_dataset_records (
    dataset_record_id TEXT PRIMARY KEY CHECK (length(dataset_record_id) <= 36),
    dataset_id        TEXT NOT NULL REFERENCES evaluation_datasets(dataset_id) ON DELETE CASCADE,
    inputs            TEXT NOT NULL CHECK (json_valid(inputs)),
    outputs           TEXT CHECK (outputs IS NULL OR json_valid(outputs)),
    expectations      TEXT CHECK (expectations IS NULL OR json_valid(expectations)),
    tags              TEXT CHECK (tags IS NULL OR json_valid(tags)),
    source            TEXT CHECK (source IS NULL OR json_valid(source)),
    source_id         TEXT CHECK (length(source_id) <= 255),
    source_type       TEXT CHECK (length(source_type) <= 255),
    created_time      INTEGER NOT NULL,
    last_update_time  INTEGER NOT NULL,
    created_by        TEXT,
    last_updated_by   TEXT,
    -- SHA-256 of inputs with sorted keys, hex digits.
    input_hash        TEXT NOT NULL CHECK (length(input_hash) <= 64),
    CONSTRAINT uq_evaluation_dataset_records_input UNIQUE (dataset_id, input_hash)
);

-- The order in which records are read.
CREATE INDEX idx_evaluation_dataset_records_order ON evaluation_dataset_records(dataset_id, created_time, dataset_record_id);

-- What belongs to what: evaluation_dataset to experiment. The ends are of several tables, and may be unknown here, so there are
-- no foreign keys; who removes one of them removes its links.
CREATE TABLE entity_associations (
    association_id   TEXT NOT NULL UNIQUE CHECK (length(association_id) = 36),
    source_type      TEXT NOT NULL CHECK (length(source_type) <= 36),
    source_id        TEXT NOT NULL CHECK (length(source_id) <= 250),
    destination_type TEXT NOT NULL CHECK (length(destination_type) <= 36),
    destination_id   TEXT NOT NULL CHECK (length(destination_id) <= 300),
    created_time     INTEGER NOT NULL,
    PRIMARY KEY (source_type, source_id, destination_type, destination_id)
) WITHOUT ROWID;

CREATE INDEX idx_entity_associations_destination
    ON entity_associations(destination_type, destination_id, source_type, source_id);

CREATE TABLE scorers (
    scorer_id     TEXT PRIMARY KEY CHECK (length(scorer_id) = 36),
    experiment_id INTEGER NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    scorer_name   TEXT NOT NULL CHECK (length(scorer_name) <= 256),
    CONSTRAINT uq_scorers_experiment_name UNIQUE (experiment_id, scorer_name)
);

CREATE TABLE scorer_versions (
    scorer_id         TEXT NOT NULL REFERENCES scorers(scorer_id) ON DELETE CASCADE,
    scorer_version    INTEGER NOT NULL CHECK (scorer_version > 0),
    serialized_scorer TEXT NOT NULL,
    creation_time     INTEGER NOT NULL,
    PRIMARY KEY (scorer_id, scorer_version)
);
