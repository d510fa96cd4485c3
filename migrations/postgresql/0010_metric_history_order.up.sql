-- The identity of a point (C-22) in the order in which histories are read, so that they are read without
-- being sorted: time, step, value. Also serves every lookup by run and by (run, name).
-- NaN is compared as 0 in that order, and the overflow column follows the time that it refines.

DROP INDEX uq_metrics_point;
CREATE UNIQUE INDEX uq_metrics_point ON metrics (
    run_id, metric_name, timestamp, COALESCE(timestamp_ms, -1), metric_step,
    (CASE WHEN is_nan THEN 0 ELSE metric_value END), is_nan, COALESCE(model_id, 0));
