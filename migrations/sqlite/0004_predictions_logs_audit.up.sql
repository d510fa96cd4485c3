-- Predictions, system log and audit trail. SQLite has neither partitions nor schemas: each is one
-- table, audit.audit_logs is called audit_audit_logs and, a file being one workspace, needs no
-- table_schema; there is no create_future_partitions.

CREATE TABLE predictions (
    prediction_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id           INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id         INTEGER NOT NULL REFERENCES models(model_id) ON DELETE CASCADE,
    prediction_date  INTEGER NOT NULL,
    unique_id        TEXT NOT NULL,
    horizon          INTEGER NOT NULL,
    predicted_value  REAL NOT NULL,
    actual_value     REAL,
    lower_bound      REAL,
    upper_bound      REAL,
    confidence_level NUMERIC DEFAULT 0.95,
    metadata         TEXT DEFAULT '{}' CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at       INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_predictions_horizon CHECK (horizon > 0),
    CONSTRAINT ck_predictions_confidence CHECK (confidence_level > 0 AND confidence_level < 1)
);

CREATE INDEX idx_predictions_run_id ON predictions(run_id);
CREATE INDEX idx_predictions_model_id ON predictions(model_id);
CREATE INDEX idx_predictions_date ON predictions(prediction_date);
CREATE INDEX idx_predictions_composite ON predictions(unique_id, prediction_date, horizon);

CREATE TABLE system_logs (
    log_id         INTEGER PRIMARY KEY AUTOINCREMENT,
    log_level      TEXT NOT NULL,
    log_message    TEXT NOT NULL,
    log_source     TEXT CHECK (length(log_source) <= 255),
    run_id         INTEGER REFERENCES runs(run_id) ON DELETE SET NULL,
    user_id        TEXT CHECK (length(user_id) <= 255),
    stack_trace    TEXT,
    exception_type TEXT CHECK (length(exception_type) <= 255),
    extra_data     TEXT DEFAULT '{}' CHECK (extra_data IS NULL OR json_valid(extra_data)),
    created_at     INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_logs_level CHECK (log_level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'))
);

CREATE INDEX idx_logs_level ON system_logs(log_level);
CREATE INDEX idx_logs_created_at ON system_logs(created_at DESC);
CREATE INDEX idx_logs_run_id ON system_logs(run_id) WHERE run_id IS NOT NULL;
CREATE INDEX idx_logs_source ON system_logs(log_source);

CREATE TABLE audit_audit_logs (
    audit_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name     TEXT NOT NULL CHECK (length(table_name) <= 255),
    operation_type TEXT NOT NULL,
    record_id      INTEGER,
    old_values     TEXT CHECK (old_values IS NULL OR json_valid(old_values)),
    new_values     TEXT CHECK (new_values IS NULL OR json_valid(new_values)),
    changed_fields TEXT CHECK (changed_fields IS NULL OR json_valid(changed_fields)),
    user_id        TEXT CHECK (length(user_id) <= 255),
    user_ip        TEXT CHECK (length(user_ip) <= 50),
    session_id     TEXT CHECK (length(session_id) <= 255),
    created_at     INTEGER NOT NULL DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),

    CONSTRAINT ck_audit_operation CHECK (operation_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
);

CREATE INDEX idx_audit_table ON audit_audit_logs(table_name);
CREATE INDEX idx_audit_operation ON audit_audit_logs(operation_type);
CREATE INDEX idx_audit_user ON audit_audit_logs(user_id);
CREATE INDEX idx_audit_created_at ON audit_audit_logs(created_at DESC);
