-- The identity of a point (C-22) in the order in which histories are read, so that they are read without
-- being sorted: time, step, value. Also serves every lookup by run and by (run, name).
-- NaN is stored as 0, and the overflow column stays unused: both may be read without the rows themselves.

DROP INDEX uq_metrics_point;
CREATE UNIQUE INDEX uq_metrics_point ON metrics (
    run_id, metric_name, timestamp, metric_step, metric_value, is_nan,
    COALESCE(timestamp_ms, -1), COALESCE(model_id, 0));
