-- The newest version in each stage, which every answer about a registered model tells, in one step of the index each.

CREATE INDEX idx_registry_latest ON model_registry(registered_model_name, current_stage, model_version) WHERE deleted_at IS NULL;
