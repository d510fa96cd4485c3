-- Takes back 0013.

CREATE INDEX idx_registry_production ON model_registry(registered_model_name, model_version)
    WHERE current_stage = 'production';
DROP INDEX idx_registry_tags;
DROP INDEX idx_registry_source_run;
DROP INDEX idx_registry_name;
DROP INDEX idx_registry_listing;
DROP INDEX idx_registered_models_tags;
CREATE INDEX idx_registered_models_tags ON registered_models USING GIN(tags);
DROP INDEX idx_registered_models_updated;
DROP INDEX idx_registered_models_listing;
ALTER TABLE model_registry DROP COLUMN is_prompt;
ALTER TABLE registered_models DROP COLUMN is_prompt;
