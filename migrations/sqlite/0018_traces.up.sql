-- Traces, their spans and assessments (mapping sections 3 and 6, C-57).

-- timestamp_ms and execution_time_ms are milliseconds; the latter is NULL as long as nothing has ended.
CREATE TABLE trace_info (
    trace_id          TEXT PRIMARY KEY NOT NULL CHECK (length(trace_id) <= 50),
    experiment_id     INTEGER NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    timestamp_ms      INTEGER NOT NULL,
    execution_time_ms INTEGER,
    status            TEXT NOT NULL CHECK (length(status) <= 50),
    client_request_id TEXT CHECK (length(client_request_id) <= 50),
    request_preview   TEXT CHECK (length(request_preview) <= 1000),
    response_preview  TEXT CHECK (length(response_preview) <= 1000),
    tags              TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(tags)),
    trace_metadata    TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(trace_metadata))
);

-- The order of a listing, and the window of time that a search reads.
CREATE INDEX idx_trace_info_listing ON trace_info(experiment_id, timestamp_ms DESC, trace_id);
CREATE INDEX idx_trace_info_client_request_id ON trace_info(client_request_id) WHERE client_request_id IS NOT NULL;

-- What the GIN indexes of PostgreSQL are for: the traces that have a tag or metadata entry. Kept by the triggers below. Left out are
-- values of more than 250 characters, and keys whose values nearly all traces have different, or all the same.
CREATE TABLE trace_entries (
    experiment_id INTEGER NOT NULL,
    kind          TEXT NOT NULL CHECK (kind IN ('tag', 'metadata')),
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,
    trace_id      TEXT NOT NULL
);

-- The rows themselves are only appended, which costs little, and give a trigger the keys of what it takes away.
CREATE UNIQUE INDEX idx_trace_entries ON trace_entries(experiment_id, kind, key, value, trace_id);

CREATE VIEW trace_entries_of AS
    SELECT t.trace_id, 'tag' AS kind, e.key, e.value FROM trace_info t, json_each(t.tags) e
     WHERE e.type = 'text' AND length(e.value) <= 250 AND e.key NOT IN ('mlflow.artifactLocation', 'mlflow.trace.spansLocation')
    UNION ALL
    SELECT t.trace_id, 'metadata', e.key, e.value FROM trace_info t, json_each(t.trace_metadata) e
     WHERE e.type = 'text' AND length(e.value) <= 250
       AND e.key NOT IN ('mlflow.traceInputs', 'mlflow.traceOutputs', 'mlflow.trace.sizeStats', 'mlflow.trace.sizeBytes',
                         'mlflow.trace.tokenUsage', 'mlflow.trace_schema.version');

CREATE TRIGGER trace_entries_insert AFTER INSERT ON trace_info
BEGIN
    INSERT INTO trace_entries (experiment_id, kind, key, value, trace_id)
    SELECT NEW.experiment_id, e.kind, e.key, e.value, NEW.trace_id FROM trace_entries_of e WHERE e.trace_id = NEW.trace_id;
END;

CREATE TRIGGER trace_entries_before_update BEFORE UPDATE OF tags, trace_metadata, experiment_id ON trace_info
WHEN OLD.tags IS NOT NEW.tags OR OLD.trace_metadata IS NOT NEW.trace_metadata OR OLD.experiment_id <> NEW.experiment_id
BEGIN
    DELETE FROM trace_entries WHERE rowid IN (
        SELECT x.rowid FROM trace_entries_of e CROSS JOIN trace_entries x
         WHERE e.trace_id = OLD.trace_id AND x.experiment_id = OLD.experiment_id AND x.kind = e.kind AND x.key = e.key
           AND x.value = e.value AND x.trace_id = OLD.trace_id);
END;

CREATE TRIGGER trace_entries_after_update AFTER UPDATE OF tags, trace_metadata, experiment_id ON trace_info
WHEN OLD.tags IS NOT NEW.tags OR OLD.trace_metadata IS NOT NEW.trace_metadata OR OLD.experiment_id <> NEW.experiment_id
BEGIN
    INSERT INTO trace_entries (experiment_id, kind, key, value, trace_id)
    SELECT NEW.experiment_id, e.kind, e.key, e.value, NEW.trace_id FROM trace_entries_of e WHERE e.trace_id = NEW.trace_id;
END;

CREATE TRIGGER trace_entries_delete BEFORE DELETE ON trace_info
BEGIN
    DELETE FROM trace_entries WHERE rowid IN (
        SELECT x.rowid FROM trace_entries_of e CROSS JOIN trace_entries x
         WHERE e.trace_id = OLD.trace_id AND x.experiment_id = OLD.experiment_id AND x.kind = e.kind AND x.key = e.key
           AND x.value = e.value AND x.trace_id = OLD.trace_id);
END;

-- The spans that came by OTLP. experiment_id is that of the trace; parent_span_id is NULL for a root, and the parent may come later or
-- never; usage has tokens, cost in USD, model and provider of a call to a model; content is the span as MLflow's JSON, attribute
-- values as JSON texts.
CREATE TABLE spans (
    trace_id             TEXT NOT NULL REFERENCES trace_info(trace_id) ON DELETE CASCADE,
    span_id              TEXT NOT NULL CHECK (length(span_id) <= 50),
    experiment_id        INTEGER NOT NULL,
    parent_span_id       TEXT CHECK (length(parent_span_id) <= 50),
    name                 TEXT NOT NULL,
    type                 TEXT CHECK (length(type) <= 500),
    status               TEXT NOT NULL CHECK (length(status) <= 50),
    start_time_unix_nano INTEGER NOT NULL,
    end_time_unix_nano   INTEGER,
    duration_ns          INTEGER GENERATED ALWAYS AS (end_time_unix_nano - start_time_unix_nano) VIRTUAL,
    usage                TEXT CHECK (usage IS NULL OR json_valid(usage)),
    content              TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);

CREATE INDEX idx_spans_name ON spans(experiment_id, name, trace_id);
CREATE INDEX idx_spans_error ON spans(experiment_id, trace_id) WHERE status = 'ERROR';
-- Few spans have a usage, and their trace sums them.
CREATE INDEX idx_spans_usage ON spans(trace_id) WHERE usage IS NOT NULL;

-- Feedback on traces and expectations of them. experiment_id is that of the trace; value, error and assessment_metadata are JSON texts;
-- overrides names the assessment that this one replaces, and valid is 0 when another one replaces it.
CREATE TABLE assessments (
    assessment_id          TEXT PRIMARY KEY NOT NULL CHECK (length(assessment_id) <= 50),
    trace_id               TEXT NOT NULL REFERENCES trace_info(trace_id) ON DELETE CASCADE,
    experiment_id          INTEGER NOT NULL,
    span_id                TEXT CHECK (length(span_id) <= 50),
    name                   TEXT NOT NULL CHECK (length(name) <= 250),
    assessment_type        TEXT NOT NULL CHECK (assessment_type IN ('feedback', 'expectation', 'issue')),
    value                  TEXT NOT NULL,
    error                  TEXT,
    created_timestamp      INTEGER NOT NULL,
    last_updated_timestamp INTEGER NOT NULL,
    source_type            TEXT NOT NULL CHECK (length(source_type) <= 50),
    source_id              TEXT CHECK (length(source_id) <= 250),
    run_id                 TEXT CHECK (length(run_id) <= 32),
    rationale              TEXT,
    overrides              TEXT CHECK (length(overrides) <= 50),
    valid                  INTEGER NOT NULL DEFAULT 1 CHECK (valid IN (0, 1)),
    assessment_metadata    TEXT
);

CREATE INDEX idx_assessments_trace ON assessments(trace_id, created_timestamp);
CREATE INDEX idx_assessments_value ON assessments(experiment_id, name, assessment_type, value, trace_id);
CREATE INDEX idx_assessments_run_id ON assessments(run_id) WHERE run_id IS NOT NULL;
