-- Takes back 0009.

DROP INDEX idx_params_key_value;
CREATE INDEX idx_params_key ON hyperparameters(param_key);

DROP INDEX idx_latest_metrics_value;

CREATE INDEX idx_runs_metadata_gin ON runs USING GIN(metadata);
CREATE INDEX idx_runs_fingerprint ON runs(run_fingerprint);
CREATE INDEX idx_runs_status ON runs(status);

DROP INDEX idx_runs_tags;
CREATE INDEX idx_runs_tags ON runs USING GIN(tags);

DROP INDEX idx_runs_end_time;
DROP INDEX idx_runs_name;
DROP INDEX idx_runs_listing;
CREATE INDEX idx_runs_experiment_start ON runs(experiment_id, start_time DESC, run_uuid);
