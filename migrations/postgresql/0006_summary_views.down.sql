-- Takes back 0006.

DROP MATERIALIZED VIEW mv_model_performance;
DROP MATERIALIZED VIEW mv_experiment_summary;
