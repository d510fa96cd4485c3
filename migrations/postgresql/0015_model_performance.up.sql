-- mv_model_performance as it has to be for what MLflow clients log; when and after which changes views were refreshed.
--
-- Departures from the specified schema (docs/schema.md):
--   C-32  a deployed model was evaluated before, and is still shown
--   C-28  a model is shown without its run when that is gone
--   C-33  a deleted model is not shown
--   C-35  a version of a model that is no logged model is shown when it has been in production, with registry_id and no model_id
--   C-23  the measures are found under the names that say what they were measured on, and MLflow's own names for them
--   C-24  what is not known of the model is taken from its run, when that has no other model

DROP MATERIALIZED VIEW mv_model_performance;

CREATE MATERIALIZED VIEW mv_model_performance AS
WITH prefixes(prefix) AS (
    VALUES (''), ('val_'), ('val/'), ('valid_'), ('valid/'), ('validation_'), ('validation/'), ('test_'), ('test/')),
measures(spelling, measure) AS (
    VALUES ('mae', 'mae'), ('MAE', 'mae'), ('mean_absolute_error', 'mae'),
           ('rmse', 'rmse'), ('RMSE', 'rmse'), ('root_mean_squared_error', 'rmse'),
           ('smape', 'smape'), ('sMAPE', 'smape'), ('SMAPE', 'smape')),
names(metric_name, measure) AS MATERIALIZED (
    SELECT prefix || spelling, measure FROM prefixes CROSS JOIN measures),
-- measured_run is the run whose own metrics tell what those of the model do not: they can be meant for one model only.
shown(subject, model_id, model_name, model_type, framework, run_id, experiment_id, measured_run,
      training_duration_seconds, model_size_bytes, created_at, registry_id) AS (
    SELECT m.model_id, m.model_id, m.model_name, m.model_type, m.framework, m.run_id, COALESCE(r.experiment_id, m.experiment_id),
        CASE WHEN (SELECT COUNT(*) FROM models other WHERE other.run_id = m.run_id) = 1 THEN m.run_id END,
        m.training_duration_seconds, m.model_size_bytes, m.created_at, NULL::bigint
    FROM models m
    LEFT JOIN runs r ON r.run_id = m.run_id
    WHERE m.status IN ('evaluated', 'deployed') AND m.deleted_at IS NULL
    UNION ALL
    SELECT -v.registry_id, NULL, v.registered_model_name, '', 'other', r.run_id, r.experiment_id, r.run_id,
        NULL, NULL, v.created_at, v.registry_id
    FROM model_registry v
    JOIN runs r ON r.run_uuid = CASE WHEN v.source_run_uuid ~ '^[0-9a-f]{32}$' THEN v.source_run_uuid::uuid END
    WHERE v.model_id IS NULL AND v.deployed_at IS NOT NULL AND v.deleted_at IS NULL),
points(subject, is_of_model, metric_name, dataset_type, metric_value) AS (
    SELECT s.subject, 1, mt.metric_name, mt.dataset_type, mt.metric_value
    FROM shown s
    JOIN metrics mt ON mt.model_id = s.model_id
    WHERE NOT mt.is_nan AND mt.metric_name IN (SELECT metric_name FROM names)
    UNION ALL
    SELECT s.subject, 0, mt.metric_name, mt.dataset_type, mt.metric_value
    FROM shown s
    JOIN metrics mt ON mt.run_id = s.measured_run AND mt.model_id IS NULL
    WHERE NOT mt.is_nan AND mt.metric_name IN (SELECT metric_name FROM names)),
errors(subject, error, value) AS (
    SELECT p.subject, p.dataset_type || '_' || n.measure,
        COALESCE(MAX(CASE WHEN p.is_of_model = 1 THEN p.metric_value END), MAX(p.metric_value))
    FROM points p
    JOIN names n ON n.metric_name = p.metric_name
    GROUP BY p.subject, p.dataset_type || '_' || n.measure)
SELECT
    s.model_id,
    s.model_name,
    s.model_type,
    s.framework,
    s.run_id,
    s.experiment_id,
    MAX(CASE WHEN e.error = 'validation_mae' THEN e.value END) AS validation_mae,
    MAX(CASE WHEN e.error = 'validation_rmse' THEN e.value END) AS validation_rmse,
    MAX(CASE WHEN e.error = 'validation_smape' THEN e.value END) AS validation_smape,
    MAX(CASE WHEN e.error = 'test_mae' THEN e.value END) AS test_mae,
    MAX(CASE WHEN e.error = 'test_rmse' THEN e.value END) AS test_rmse,
    MAX(CASE WHEN e.error = 'test_smape' THEN e.value END) AS test_smape,
    s.training_duration_seconds,
    s.model_size_bytes,
    s.created_at,
    s.registry_id
FROM shown s
LEFT JOIN errors e ON e.subject = s.subject
GROUP BY s.subject, s.model_id, s.model_name, s.model_type, s.framework, s.run_id, s.experiment_id,
         s.training_duration_seconds, s.model_size_bytes, s.created_at, s.registry_id;

CREATE UNIQUE INDEX idx_mv_model_perf_id ON mv_model_performance(model_id);
CREATE INDEX idx_mv_model_perf_type ON mv_model_performance(model_type);

COMMENT ON COLUMN mv_model_performance.registry_id IS 'Set where model_id is not: the model version that is shown';

CREATE TABLE view_refreshes (
    view_name      VARCHAR(63) PRIMARY KEY,
    refreshed_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    source_changes TEXT
);

COMMENT ON TABLE view_refreshes IS 'When the materialized views were refreshed';
COMMENT ON COLUMN view_refreshes.source_changes IS 'How many rows of the tables below the view had changed before';

DO $$
DECLARE
    v_grant RECORD;
BEGIN
    FOR v_grant IN
        SELECT * FROM (VALUES
            ('readonly_user',  'SELECT ON mv_model_performance'),
            ('data_scientist', 'SELECT ON mv_model_performance'),
            ('admin_user',     'ALL ON mv_model_performance'),
            ('readonly_user',  'SELECT ON view_refreshes'),
            ('data_scientist', 'SELECT ON view_refreshes'),
            ('admin_user',     'ALL ON view_refreshes')) AS g(role, privileges)
         WHERE role IN (SELECT rolname FROM pg_roles)
    LOOP
        EXECUTE format('GRANT %s TO %I', v_grant.privileges, v_grant.role);
    END LOOP;
END
$$;
