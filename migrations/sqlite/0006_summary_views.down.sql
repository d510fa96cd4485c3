-- Takes back 0006.

DROP VIEW mv_model_performance;
DROP VIEW mv_experiment_summary;
