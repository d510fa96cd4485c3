-- Takes back 0010.

DROP INDEX uq_metrics_point;
CREATE UNIQUE INDEX uq_metrics_point ON metrics (
    run_id, metric_name, metric_step, timestamp, metric_value, is_nan,
    COALESCE(model_id, 0), COALESCE(timestamp_ms, -1));
