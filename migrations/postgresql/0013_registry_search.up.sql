-- What the searches of the registry walk in the order of their answers (docs/schema.md, Indexes).

-- Prompts are told from models by a tag, and hidden unless they are asked for: every search asks
-- for one kind, so the kind stands in front of every order. Deleted versions are of no kind, and so
-- in no search: a condition of its own (deleted_at IS NULL) would make a planner without statistics
-- expect next to no rows, and sort them all.
ALTER TABLE registered_models ADD COLUMN is_prompt BOOLEAN NOT NULL
    GENERATED ALWAYS AS (COALESCE(lower(tags ->> 'mlflow.prompt.is_prompt') = 'true', FALSE)) STORED;
ALTER TABLE model_registry ADD COLUMN is_prompt BOOLEAN
    GENERATED ALWAYS AS (CASE WHEN deleted_at IS NULL THEN COALESCE(lower(tags ->> 'mlflow.prompt.is_prompt') = 'true', FALSE) END) STORED;

CREATE INDEX idx_registered_models_listing ON registered_models(is_prompt, registered_model_name COLLATE "C");
CREATE INDEX idx_registered_models_updated ON registered_models(is_prompt, updated_at DESC, registered_model_name COLLATE "C");
DROP INDEX idx_registered_models_tags;
CREATE INDEX idx_registered_models_tags ON registered_models USING GIN(tags jsonb_path_ops);

CREATE INDEX idx_registry_listing
    ON model_registry(is_prompt, updated_at DESC, registered_model_name COLLATE "C", model_version DESC);
CREATE INDEX idx_registry_name ON model_registry(is_prompt, registered_model_name COLLATE "C", model_version DESC);
CREATE INDEX idx_registry_source_run ON model_registry(source_run_uuid);
CREATE INDEX idx_registry_tags ON model_registry USING GIN(tags jsonb_path_ops);

-- idx_registry_latest finds those in production, too.
DROP INDEX idx_registry_production;
