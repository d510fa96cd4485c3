-- Tables that MLflow needs and the specified schema does not have: the latest value of every
-- metric (C-25), and the links between runs, data sets and models with their tags (C-44).
-- WITHOUT ROWID: the rows of one run or link lie together, and the key is stored once.

-- The point of a metric with the greatest (step, timestamp, value); a NaN counts and is stored as 0.
CREATE TABLE latest_metrics (
    run_id              INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    metric_name         TEXT NOT NULL CHECK (length(metric_name) <= 250),
    metric_value        REAL NOT NULL,
    is_nan              INTEGER NOT NULL DEFAULT 0 CHECK (is_nan IN (0, 1)),
    metric_step         INTEGER NOT NULL,
    metric_timestamp_ms INTEGER NOT NULL,
    PRIMARY KEY (run_id, metric_name)
) WITHOUT ROWID;

-- MLflow names the ends of a link: DATASET to RUN, RUN_INPUT to MODEL_INPUT, RUN_OUTPUT to
-- MODEL_OUTPUT. They are of several tables, so there are no foreign keys; who removes a run or
-- a data set for good removes its links.
CREATE TABLE inputs (
    input_uuid       TEXT NOT NULL UNIQUE CHECK (length(input_uuid) = 36),
    source_type      TEXT NOT NULL CHECK (length(source_type) <= 36),
    source_id        TEXT NOT NULL CHECK (length(source_id) <= 36),
    destination_type TEXT NOT NULL CHECK (length(destination_type) <= 36),
    destination_id   TEXT NOT NULL CHECK (length(destination_id) <= 36),
    step             INTEGER NOT NULL DEFAULT 0,
    -- By source: the runs of a data set, the model inputs and outputs of a run.
    PRIMARY KEY (source_type, source_id, destination_type, destination_id)
) WITHOUT ROWID;

-- By destination: the data sets of a run, the runs of a model.
CREATE INDEX idx_inputs_destination ON inputs(destination_type, destination_id, source_type, source_id);

CREATE TABLE input_tags (
    input_uuid TEXT NOT NULL REFERENCES inputs(input_uuid) ON DELETE CASCADE,
    name       TEXT NOT NULL CHECK (length(name) <= 255),
    value      TEXT NOT NULL CHECK (length(value) <= 500),
    PRIMARY KEY (input_uuid, name)
) WITHOUT ROWID;
