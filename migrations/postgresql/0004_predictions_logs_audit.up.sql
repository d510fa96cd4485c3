-- The partitioned tables predictions, system_logs and audit.audit_logs, and the function that
-- creates their partitions.
--
-- Departures from the specified schema (docs/schema.md):
--   Primary keys contain the partition key, as PostgreSQL demands.
--   Every table has a default partition: without one a row outside the partitions is refused,
--   and with the audit trail every change of an experiment.
--   audit.audit_logs is shared by all workspaces, so it names the schema of the changed table.
--   Partitions are calendar quarters and months, created by a function instead of a script.

SET LOCAL TIME ZONE 'UTC';

CREATE TABLE predictions (
    prediction_id    BIGSERIAL,
    run_id           BIGINT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    model_id         BIGINT NOT NULL REFERENCES models(model_id) ON DELETE CASCADE,
    prediction_date  TIMESTAMP NOT NULL,
    unique_id        TEXT NOT NULL,
    horizon          INTEGER NOT NULL,
    predicted_value  DOUBLE PRECISION NOT NULL,
    actual_value     DOUBLE PRECISION,
    lower_bound      DOUBLE PRECISION,
    upper_bound      DOUBLE PRECISION,
    confidence_level NUMERIC(3, 2) DEFAULT 0.95,
    metadata         JSONB DEFAULT '{}',
    created_at       TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    PRIMARY KEY (prediction_id, prediction_date),
    CONSTRAINT ck_predictions_horizon CHECK (horizon > 0),
    CONSTRAINT ck_predictions_confidence CHECK (confidence_level > 0 AND confidence_level < 1)
) PARTITION BY RANGE (prediction_date);

CREATE TABLE predictions_default PARTITION OF predictions DEFAULT;

CREATE INDEX idx_predictions_run_id ON predictions(run_id);
CREATE INDEX idx_predictions_model_id ON predictions(model_id);
CREATE INDEX idx_predictions_date ON predictions(prediction_date);
CREATE INDEX idx_predictions_composite ON predictions(unique_id, prediction_date, horizon);

COMMENT ON TABLE predictions IS 'Predictions made by models (partitioned by quarter)';
COMMENT ON COLUMN predictions.horizon IS 'Forecast horizon (how many steps ahead)';

CREATE TABLE system_logs (
    log_id         BIGSERIAL,
    log_level      VARCHAR(20) NOT NULL,
    log_message    TEXT NOT NULL,
    log_source     VARCHAR(255),
    run_id         BIGINT REFERENCES runs(run_id) ON DELETE SET NULL,
    user_id        VARCHAR(255),
    stack_trace    TEXT,
    exception_type VARCHAR(255),
    extra_data     JSONB DEFAULT '{}',
    created_at     TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    PRIMARY KEY (log_id, created_at),
    CONSTRAINT ck_logs_level CHECK (log_level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'))
) PARTITION BY RANGE (created_at);

CREATE TABLE system_logs_default PARTITION OF system_logs DEFAULT;

CREATE INDEX idx_logs_level ON system_logs(log_level);
CREATE INDEX idx_logs_created_at ON system_logs(created_at DESC);
CREATE INDEX idx_logs_run_id ON system_logs(run_id) WHERE run_id IS NOT NULL;
CREATE INDEX idx_logs_source ON system_logs(log_source);

COMMENT ON TABLE system_logs IS 'System log (partitioned by month)';

-- IF NOT EXISTS: another workspace may have created it.
CREATE TABLE IF NOT EXISTS audit.audit_logs (
    audit_id       BIGSERIAL,
    table_schema   VARCHAR(63),
    table_name     VARCHAR(255) NOT NULL,
    operation_type VARCHAR(20) NOT NULL,
    record_id      BIGINT,
    old_values     JSONB,
    new_values     JSONB,
    changed_fields JSONB,
    user_id        VARCHAR(255),
    user_ip        VARCHAR(50),
    session_id     VARCHAR(255),
    created_at     TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,

    PRIMARY KEY (audit_id, created_at),
    CONSTRAINT ck_audit_operation CHECK (operation_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
) PARTITION BY RANGE (created_at);

CREATE TABLE IF NOT EXISTS audit.audit_logs_default PARTITION OF audit.audit_logs DEFAULT;

CREATE INDEX IF NOT EXISTS idx_audit_table ON audit.audit_logs(table_name);
CREATE INDEX IF NOT EXISTS idx_audit_operation ON audit.audit_logs(operation_type);
CREATE INDEX IF NOT EXISTS idx_audit_user ON audit.audit_logs(user_id);
CREATE INDEX IF NOT EXISTS idx_audit_created_at ON audit.audit_logs(created_at DESC);

COMMENT ON TABLE audit.audit_logs IS 'Audit trail of database operations (partitioned by quarter)';
COMMENT ON COLUMN audit.audit_logs.table_schema IS 'Schema (workspace) of the changed table';
COMMENT ON COLUMN audit.audit_logs.changed_fields IS 'New value of every column that an update changed';
COMMENT ON COLUMN audit.audit_logs.session_id IS 'Id of the request that made the change';

-- Covers the period of p_from and every period that begins within p_months_ahead months after
-- the month of p_from; returns the partitions it created. Rows that wait in the default
-- partition move along, because a partition cannot be attached while they lie there.
CREATE FUNCTION create_future_partitions(
    p_parent       REGCLASS,
    p_granularity  TEXT,
    p_months_ahead INTEGER DEFAULT 6,
    p_from         DATE    DEFAULT CURRENT_DATE
) RETURNS SETOF TEXT AS $$
DECLARE
    v_schema  NAME;
    v_table   NAME;
    v_key     NAME;
    v_default REGCLASS;
    v_step    INTERVAL;
    v_suffix  TEXT;
    v_lower   TIMESTAMP;
    v_upper   TIMESTAMP;
    v_last    TIMESTAMP;
    v_name    TEXT;
BEGIN
    CASE p_granularity
        WHEN 'month'   THEN v_step := INTERVAL '1 month';  v_suffix := '"_"YYYY"_"MM';
        WHEN 'quarter' THEN v_step := INTERVAL '3 months'; v_suffix := '"_"YYYY"_q"Q';
        ELSE RAISE EXCEPTION 'granularity must be month or quarter, not %', p_granularity;
    END CASE;
    IF p_months_ahead < 0 THEN
        RAISE EXCEPTION 'months_ahead must not be negative';
    END IF;

    SELECT n.nspname, c.relname, a.attname, NULLIF(pt.partdefid, 0)
      INTO v_schema, v_table, v_key, v_default
      FROM pg_partitioned_table pt
      JOIN pg_class c ON c.oid = pt.partrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = pt.partattrs[0]
     WHERE pt.partrelid = p_parent AND pt.partstrat = 'r' AND pt.partnatts = 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not partitioned by range on one column', p_parent;
    END IF;

    v_lower := date_trunc(p_granularity, p_from::TIMESTAMP);
    v_last  := date_trunc('month', p_from::TIMESTAMP) + make_interval(months => p_months_ahead);
    WHILE v_lower <= v_last LOOP
        v_upper := v_lower + v_step;
        v_name  := v_table || to_char(v_lower, v_suffix);
        IF to_regclass(format('%I.%I', v_schema, v_name)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                           v_schema, v_name, p_parent);
            IF v_default IS NOT NULL THEN
                EXECUTE format('WITH moved AS (DELETE FROM ONLY %s WHERE %I >= %L AND %I < %L RETURNING *)
                                INSERT INTO %I.%I SELECT * FROM moved',
                               v_default, v_key, v_lower, v_key, v_upper, v_schema, v_name);
            END IF;
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                           p_parent, v_schema, v_name, v_lower, v_upper);
            RETURN NEXT format('%I.%I', v_schema, v_name);
        END IF;
        v_lower := v_upper;
    END LOOP;
END
$$ LANGUAGE plpgsql;

COMMENT ON FUNCTION create_future_partitions(REGCLASS, TEXT, INTEGER, DATE) IS
    'Creates the partitions of the coming months (run it from the scheduler)';

-- The specified partitions, then those of the coming months.
SELECT create_future_partitions('predictions', 'quarter', 23, '2025-01-01');
SELECT create_future_partitions('predictions', 'quarter', 6);
SELECT create_future_partitions('system_logs', 'month', 2, '2025-01-01');
SELECT create_future_partitions('system_logs', 'month', 3);
SELECT create_future_partitions('audit.audit_logs', 'quarter', 0, '2025-01-01');
SELECT create_future_partitions('audit.audit_logs', 'quarter', 3);
