-- Indexes for logged models: the order of a listing, and the points of a model's metric with the latest first
-- (docs/schema.md, Indexes). Each takes the place of one that it begins like, or that no query is left for.

DROP INDEX idx_metrics_model_id;
CREATE INDEX idx_metrics_model ON metrics(model_id, metric_name, timestamp DESC, metric_step DESC, metric_id DESC) WHERE model_id IS NOT NULL;

DROP INDEX idx_models_experiment_id;
DROP INDEX idx_models_created_at;
CREATE INDEX idx_models_listing ON models(experiment_id, lifecycle_stage, created_at DESC, model_id DESC);
