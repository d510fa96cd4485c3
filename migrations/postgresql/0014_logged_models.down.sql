-- Takes back 0014.

DROP INDEX idx_models_listing;
CREATE INDEX idx_models_created_at ON models(created_at DESC);
CREATE INDEX idx_models_experiment_id ON models(experiment_id) WHERE experiment_id IS NOT NULL;

DROP INDEX idx_metrics_model;
CREATE INDEX idx_metrics_model_id ON metrics(model_id) WHERE model_id IS NOT NULL;
