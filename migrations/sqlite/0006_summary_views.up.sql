-- The summaries over experiments and over evaluated models, as plain and so always current views.
-- C-56: mv_model_performance leaves out NaN, which is stored as 0.

CREATE VIEW mv_experiment_summary AS
SELECT
    e.experiment_id,
    e.experiment_name,
    e.status,
    COUNT(r.run_id) AS total_runs,
    COUNT(CASE WHEN r.status = 'completed' THEN 1 END) AS completed_runs,
    COUNT(CASE WHEN r.status = 'failed' THEN 1 END) AS failed_runs,
    AVG(r.execution_duration_seconds) AS avg_duration,
    MAX(r.end_time) AS last_run_time,
    e.created_at
FROM experiments e
LEFT JOIN runs r ON e.experiment_id = r.experiment_id
WHERE e.deleted_at IS NULL
GROUP BY e.experiment_id, e.experiment_name, e.status, e.created_at;

CREATE VIEW mv_model_performance AS
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
