-- Indexes that runs/search walks in the order of its answer (docs/schema.md, Indexes). Each holds
-- what that order needs, so that the wide rows of runs are read for the page only.

DROP INDEX idx_runs_experiment_start;
CREATE INDEX idx_runs_listing ON runs(experiment_id, lifecycle_stage, start_time DESC, run_uuid);
CREATE INDEX idx_runs_name ON runs(experiment_id, lifecycle_stage, run_name, start_time DESC, run_uuid);
CREATE INDEX idx_runs_end_time ON runs(experiment_id, lifecycle_stage, end_time, start_time DESC, run_uuid);

DROP INDEX idx_runs_status;
DROP INDEX idx_runs_fingerprint;

CREATE INDEX idx_latest_metrics_value ON latest_metrics(metric_name, is_nan, metric_value, run_id);

DROP INDEX idx_params_key;
CREATE INDEX idx_params_key_value ON hyperparameters(param_key, param_value, run_id);
