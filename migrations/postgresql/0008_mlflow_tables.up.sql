-- Tables that MLflow needs and the specified schema does not have: the latest value of every
-- metric (C-25), and the links between runs, data sets and models with their tags (C-44).

CREATE TABLE latest_metrics (
    run_id              BIGINT NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
    metric_name         VARCHAR(250) NOT NULL,
    metric_value        DOUBLE PRECISION NOT NULL,
    is_nan              BOOLEAN NOT NULL DEFAULT FALSE,
    metric_step         BIGINT NOT NULL,
    metric_timestamp_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, metric_name)
);

COMMENT ON TABLE latest_metrics IS 'The point of a metric with the greatest (step, timestamp, value)';
COMMENT ON COLUMN latest_metrics.metric_value IS '0 when is_nan, as MLflow compares it';

-- MLflow names the ends of a link: DATASET to RUN, RUN_INPUT to MODEL_INPUT, RUN_OUTPUT to
-- MODEL_OUTPUT. They are of several tables, so there are no foreign keys; who removes a run or
-- a data set for good removes its links.
CREATE TABLE inputs (
    input_uuid       UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    source_type      VARCHAR(36) NOT NULL,
    source_id        VARCHAR(36) NOT NULL,
    destination_type VARCHAR(36) NOT NULL,
    destination_id   VARCHAR(36) NOT NULL,
    step             BIGINT NOT NULL DEFAULT 0,
    -- By source: the runs of a data set, the model inputs and outputs of a run.
    PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);

-- By destination: the data sets of a run, the runs of a model.
CREATE INDEX idx_inputs_destination ON inputs(destination_type, destination_id, source_type, source_id);

COMMENT ON TABLE inputs IS 'Links between runs, data sets and models';
COMMENT ON COLUMN inputs.source_id IS 'UUID of a data set or run, with hyphens';
COMMENT ON COLUMN inputs.destination_id IS 'UUID of a run, with hyphens, or MLflow''s id of a logged model';

CREATE TABLE input_tags (
    input_uuid UUID NOT NULL REFERENCES inputs(input_uuid) ON DELETE CASCADE,
    name       VARCHAR(255) NOT NULL,
    value      VARCHAR(500) NOT NULL,
    PRIMARY KEY (input_uuid, name)
);

COMMENT ON TABLE input_tags IS 'Tags of links; mlflow.data.context says what a data set was used for';

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
        EXECUTE format('GRANT %s ON latest_metrics, inputs, input_tags TO %I', v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
