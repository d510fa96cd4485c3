-- Takes back 0015.

DROP TABLE view_refreshes;
DROP MATERIALIZED VIEW mv_model_performance;

CREATE MATERIALIZED VIEW mv_model_performance AS
SELECT
    m.model_id,
    m.model_name,
    m.model_type,
    m.framework,
    r.run_id,
    r.experiment_id,
    MAX(CASE WHEN mt.metric_name = 'mae' AND mt.dataset_type = 'validation' THEN mt.metric_value END) AS validation_mae,
    MAX(CASE WHEN mt.metric_name = 'rmse' AND mt.dataset_type = 'validation' THEN mt.metric_value END) AS validation_rmse,
    MAX(CASE WHEN mt.metric_name = 'smape' AND mt.dataset_type = 'validation' THEN mt.metric_value END) AS validation_smape,
    MAX(CASE WHEN mt.metric_name = 'mae' AND mt.dataset_type = 'test' THEN mt.metric_value END) AS test_mae,
    MAX(CASE WHEN mt.metric_name = 'rmse' AND mt.dataset_type = 'test' THEN mt.metric_value END) AS test_rmse,
    MAX(CASE WHEN mt.metric_name = 'smape' AND mt.dataset_type = 'test' THEN mt.metric_value END) AS test_smape,
    m.training_duration_seconds,
    m.model_size_bytes,
    m.created_at
FROM models m
JOIN runs r ON m.run_id = r.run_id
LEFT JOIN metrics mt ON m.model_id = mt.model_id AND NOT mt.is_nan
WHERE m.status = 'evaluated'
GROUP BY m.model_id, m.model_name, m.model_type, m.framework, r.run_id, r.experiment_id,
         m.training_duration_seconds, m.model_size_bytes, m.created_at;

CREATE UNIQUE INDEX idx_mv_model_perf_id ON mv_model_performance(model_id);
CREATE INDEX idx_mv_model_perf_type ON mv_model_performance(model_type);

DO $$
DECLARE
    v_grant RECORD;
BEGIN
    FOR v_grant IN
        SELECT * FROM (VALUES
            ('readonly_user',  'SELECT ON mv_model_performance'),
            ('data_scientist', 'SELECT ON mv_model_performance'),
            ('admin_user',     'ALL ON mv_model_performance')) AS g(role, privileges)
         WHERE role IN (SELECT rolname FROM pg_roles)
    LOOP
        EXECUTE format('GRANT %s TO %I', v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
