-- An index over the text of spans, made behind their storing: which traces contain which sequences of three characters (C-57).

CREATE TABLE span_text_pending (
    pending_id    BIGINT GENERATED ALWAYS AS IDENTITY,
    experiment_id BIGINT NOT NULL,
    trace_id      VARCHAR(50) COLLATE "C" NOT NULL,
    PRIMARY KEY (experiment_id, pending_id)
);

COMMENT ON TABLE span_text_pending IS 'Traces with spans that no segment knows yet: searches read them';

CREATE TABLE span_text_segments (
    segment_id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    experiment_id BIGINT NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    trace_ids     TEXT NOT NULL
);

COMMENT ON TABLE span_text_segments IS 'About a thousand traces each, indexed together';
COMMENT ON COLUMN span_text_segments.trace_ids IS 'Ids separated by line feeds, in the order in which postings count them';

CREATE INDEX idx_span_text_segments_experiment ON span_text_segments(experiment_id);

CREATE TABLE span_text_postings (
    segment_id BIGINT NOT NULL REFERENCES span_text_segments(segment_id) ON DELETE CASCADE,
    bucket     INTEGER NOT NULL,
    postings   BYTEA NOT NULL,
    PRIMARY KEY (segment_id, bucket)
);

COMMENT ON COLUMN span_text_postings.postings IS 'Of each sequence of the bucket the traces of the segment that contain it';

-- It is packed already.
ALTER TABLE span_text_postings ALTER COLUMN postings SET STORAGE EXTERNAL;

INSERT INTO span_text_pending (experiment_id, trace_id)
SELECT t.experiment_id, t.trace_id FROM trace_info t
 WHERE EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id)
 ORDER BY t.experiment_id, t.timestamp_ms;

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
        EXECUTE format('GRANT %s ON span_text_pending, span_text_segments, span_text_postings TO %I', v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
