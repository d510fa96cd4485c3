-- Indexes that runs/search walks in the order of its answer (docs/schema.md, Indexes), and none on
-- runs that nothing reads: finishing a run or tagging it writes every one of them.

-- The order of a listing. The key of the row, too: an order by something else is then found
-- without reading the rows of the runs.
DROP INDEX idx_runs_experiment_start;
CREATE INDEX idx_runs_listing
    ON runs(experiment_id, lifecycle_stage, start_time DESC, start_time_ms DESC, run_uuid) INCLUDE (run_id);

CREATE INDEX idx_runs_name
    ON runs(experiment_id, lifecycle_stage, run_name COLLATE "C", start_time DESC, start_time_ms DESC, run_uuid) INCLUDE (run_id);
CREATE INDEX idx_runs_end_time ON runs(experiment_id, lifecycle_stage, end_time, end_time_ms);

-- Containment is all that is asked of tags.
DROP INDEX idx_runs_tags;
CREATE INDEX idx_runs_tags ON runs USING GIN(tags jsonb_path_ops);

DROP INDEX idx_runs_status;
DROP INDEX idx_runs_fingerprint;
DROP INDEX idx_runs_metadata_gin;

CREATE INDEX idx_latest_metrics_value ON latest_metrics(metric_name, is_nan, metric_value, run_id);

-- The beginning of the value: an index entry cannot hold all of it.
DROP INDEX idx_params_key;
CREATE INDEX idx_params_key_value ON hyperparameters(param_key, left(param_value, 128) COLLATE "C", run_id);
