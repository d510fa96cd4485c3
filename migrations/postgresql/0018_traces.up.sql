-- Traces, their spans and assessments (mapping sections 3 and 6, C-57). Ids compare by code point:
-- they end every order, and an index has that order only if the column does.

CREATE TABLE trace_info (
    trace_id          VARCHAR(50) COLLATE "C" PRIMARY KEY,
    experiment_id     BIGINT NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    timestamp_ms      BIGINT NOT NULL,
    execution_time_ms BIGINT,
    status            VARCHAR(50) COLLATE "C" NOT NULL,
    client_request_id VARCHAR(50) COLLATE "C",
    request_preview   VARCHAR(1000),
    response_preview  VARCHAR(1000),
    tags              JSONB NOT NULL DEFAULT '{}',
    trace_metadata    JSONB NOT NULL DEFAULT '{}'
) WITH (fillfactor = 85);

COMMENT ON TABLE trace_info IS 'Traces; fillfactor leaves room for the updates that come with each batch of spans';
COMMENT ON COLUMN trace_info.timestamp_ms IS 'Start, milliseconds since 1970';
COMMENT ON COLUMN trace_info.execution_time_ms IS 'NULL as long as nothing of it has ended';
COMMENT ON COLUMN trace_info.status IS 'OK, ERROR, IN_PROGRESS or STATE_UNSPECIFIED';

-- The order of a listing, and the window of time that a search reads.
CREATE INDEX idx_trace_info_listing ON trace_info(experiment_id, timestamp_ms DESC, trace_id);
CREATE INDEX idx_trace_info_client_request_id ON trace_info(client_request_id) WHERE client_request_id IS NOT NULL;
-- Containment is all that is asked. A search has to read what waits to be sorted in, so little may wait.
CREATE INDEX idx_trace_info_tags ON trace_info USING GIN(tags jsonb_path_ops) WITH (gin_pending_list_limit = 256);
CREATE INDEX idx_trace_info_metadata ON trace_info USING GIN(trace_metadata jsonb_path_ops) WITH (gin_pending_list_limit = 256);

CREATE TABLE spans (
    trace_id             VARCHAR(50) COLLATE "C" NOT NULL REFERENCES trace_info(trace_id) ON DELETE CASCADE,
    span_id              VARCHAR(50) COLLATE "C" NOT NULL,
    experiment_id        BIGINT NOT NULL,
    parent_span_id       VARCHAR(50) COLLATE "C",
    name                 TEXT NOT NULL,
    type                 VARCHAR(500),
    status               VARCHAR(50) NOT NULL,
    start_time_unix_nano BIGINT NOT NULL,
    end_time_unix_nano   BIGINT,
    duration_ns          BIGINT GENERATED ALWAYS AS (end_time_unix_nano - start_time_unix_nano) STORED,
    usage                JSONB,
    content              TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);

COMMENT ON TABLE spans IS 'Spans that came by OTLP';
COMMENT ON COLUMN spans.experiment_id IS 'Of the trace';
COMMENT ON COLUMN spans.parent_span_id IS 'NULL for a root; the parent may come later, or never';
COMMENT ON COLUMN spans.status IS 'OK, ERROR or UNSET';
COMMENT ON COLUMN spans.end_time_unix_nano IS 'NULL for a span that has not ended';
COMMENT ON COLUMN spans.usage IS 'Tokens, cost in USD, model and provider of a call to a model';
COMMENT ON COLUMN spans.content IS 'The span as MLflow''s JSON, attribute values as JSON texts';

-- Spans of a name; the beginning of it, because an index entry cannot hold all.
CREATE INDEX idx_spans_name ON spans(experiment_id, left(name, 128) COLLATE "C", trace_id);
CREATE INDEX idx_spans_error ON spans(experiment_id, trace_id) WHERE status = 'ERROR';
-- Few spans have a usage, and their trace sums them.
CREATE INDEX idx_spans_usage ON spans(trace_id) WHERE usage IS NOT NULL;

-- Takes a fraction of the time of the default method, where the server has it.
DO $$
BEGIN
    ALTER TABLE spans ALTER COLUMN content SET COMPRESSION lz4;
EXCEPTION
    WHEN OTHERS THEN NULL;
END
$$;

CREATE TABLE assessments (
    assessment_id          VARCHAR(50) COLLATE "C" PRIMARY KEY,
    trace_id               VARCHAR(50) COLLATE "C" NOT NULL REFERENCES trace_info(trace_id) ON DELETE CASCADE,
    experiment_id          BIGINT NOT NULL,
    span_id                VARCHAR(50),
    name                   VARCHAR(250) NOT NULL,
    assessment_type        VARCHAR(50) NOT NULL CHECK (assessment_type IN ('feedback', 'expectation', 'issue')),
    value                  TEXT NOT NULL,
    error                  TEXT,
    created_timestamp      BIGINT NOT NULL,
    last_updated_timestamp BIGINT NOT NULL,
    source_type            VARCHAR(50) NOT NULL,
    source_id              VARCHAR(250),
    run_id                 VARCHAR(32),
    rationale              TEXT,
    overrides              VARCHAR(50),
    valid                  BOOLEAN NOT NULL DEFAULT TRUE,
    assessment_metadata    TEXT
);

COMMENT ON TABLE assessments IS 'Feedback on traces and expectations of them';
COMMENT ON COLUMN assessments.experiment_id IS 'Of the trace';
COMMENT ON COLUMN assessments.value IS 'JSON text, as filters compare it';
COMMENT ON COLUMN assessments.error IS 'Why feedback could not be given, JSON text';
COMMENT ON COLUMN assessments.run_id IS 'Run that made it, from its metadata';
COMMENT ON COLUMN assessments.overrides IS 'Assessment that this one replaces';
COMMENT ON COLUMN assessments.valid IS 'FALSE when another one replaces it';

CREATE INDEX idx_assessments_trace ON assessments(trace_id, created_timestamp);
CREATE INDEX idx_assessments_value
    ON assessments(experiment_id, name COLLATE "C", assessment_type, left(value, 128) COLLATE "C", trace_id);
CREATE INDEX idx_assessments_run_id ON assessments(run_id) WHERE run_id IS NOT NULL;

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
        EXECUTE format('GRANT %s ON trace_info, spans, assessments TO %I', v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
