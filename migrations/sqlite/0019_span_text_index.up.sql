-- An index over the text of spans, made behind their storing: which traces contain which sequences of three characters (C-57).

-- Traces with spans that no segment knows yet: searches read them.
CREATE TABLE span_text_pending (
    pending_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment_id INTEGER NOT NULL,
    trace_id      TEXT NOT NULL
);

CREATE INDEX idx_span_text_pending ON span_text_pending(experiment_id);

-- About a thousand traces each, indexed together. trace_ids are separated by line feeds, in the order in which postings count them.
CREATE TABLE span_text_segments (
    segment_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment_id INTEGER NOT NULL REFERENCES experiments(experiment_id) ON DELETE CASCADE,
    trace_ids     TEXT NOT NULL
);

CREATE INDEX idx_span_text_segments_experiment ON span_text_segments(experiment_id);

-- Of each sequence of a bucket the traces of the segment that contain it.
CREATE TABLE span_text_postings (
    segment_id INTEGER NOT NULL REFERENCES span_text_segments(segment_id) ON DELETE CASCADE,
    bucket     INTEGER NOT NULL,
    postings   BLOB NOT NULL,
    PRIMARY KEY (segment_id, bucket)
) WITHOUT ROWID;

INSERT INTO span_text_pending (experiment_id, trace_id)
SELECT t.experiment_id, t.trace_id FROM trace_info t
 WHERE EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id)
 ORDER BY t.experiment_id, t.timestamp_ms;
