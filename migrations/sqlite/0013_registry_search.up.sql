-- What the searches of the registry walk in the order of their answers (docs/schema.md, Indexes).

-- Prompts are told from models by a tag, and hidden unless they are asked for: every search asks
-- for one kind, so the kind stands in front of every order. Deleted versions are of no kind, and so
-- in no search.
ALTER TABLE registered_models ADD COLUMN is_prompt INTEGER NOT NULL
    GENERATED ALWAYS AS (COALESCE(lower(json_extract(tags, '$."mlflow.prompt.is_prompt"')) = 'true', 0)) VIRTUAL;
ALTER TABLE model_registry ADD COLUMN is_prompt INTEGER
    GENERATED ALWAYS AS (CASE WHEN deleted_at IS NULL THEN COALESCE(lower(json_extract(tags, '$."mlflow.prompt.is_prompt"')) = 'true', 0) END) VIRTUAL;

CREATE INDEX idx_registered_models_listing ON registered_models(is_prompt, registered_model_name);
CREATE INDEX idx_registered_models_updated ON registered_models(is_prompt, updated_at DESC, registered_model_name);

CREATE INDEX idx_registry_listing
    ON model_registry(is_prompt, updated_at DESC, registered_model_name, model_version DESC);
CREATE INDEX idx_registry_name ON model_registry(is_prompt, registered_model_name, model_version DESC);
CREATE INDEX idx_registry_source_run ON model_registry(source_run_uuid);

-- idx_registry_latest finds those in production, too.
DROP INDEX idx_registry_production;

-- The trail names every column.
DROP TRIGGER model_registry_audit_insert;
DROP TRIGGER model_registry_audit_update;
DROP TRIGGER model_registry_audit_delete;

CREATE TRIGGER model_registry_audit_insert AFTER INSERT ON model_registry BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('model_registry', 'INSERT', NEW.registry_id, json_object(
            'registry_id', NEW.registry_id, 'model_id', NEW.model_id,
            'registered_model_name', NEW.registered_model_name, 'model_version', NEW.model_version,
            'current_stage', NEW.current_stage, 'previous_stage', NEW.previous_stage,
            'stage_transition_at', NEW.stage_transition_at, 'approved_by', NEW.approved_by,
            'approved_at', NEW.approved_at, 'approval_notes', NEW.approval_notes, 'deployed_at', NEW.deployed_at,
            'deployment_target', NEW.deployment_target, 'production_metrics', json(NEW.production_metrics),
            'description', NEW.description, 'source', NEW.source, 'storage_location', NEW.storage_location,
            'source_run_uuid', NEW.source_run_uuid, 'run_link', NEW.run_link, 'user_id', NEW.user_id,
            'version_status', NEW.version_status, 'status_message', NEW.status_message, 'tags', json(NEW.tags),
            'metadata', json(NEW.metadata), 'created_at', NEW.created_at, 'updated_at', NEW.updated_at,
            'deleted_at', NEW.deleted_at, 'is_prompt', NEW.is_prompt));
END;

CREATE TRIGGER model_registry_audit_update AFTER UPDATE ON model_registry BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('model_registry', 'UPDATE', NEW.registry_id, json_object(
            'registry_id', OLD.registry_id, 'model_id', OLD.model_id,
            'registered_model_name', OLD.registered_model_name, 'model_version', OLD.model_version,
            'current_stage', OLD.current_stage, 'previous_stage', OLD.previous_stage,
            'stage_transition_at', OLD.stage_transition_at, 'approved_by', OLD.approved_by,
            'approved_at', OLD.approved_at, 'approval_notes', OLD.approval_notes, 'deployed_at', OLD.deployed_at,
            'deployment_target', OLD.deployment_target, 'production_metrics', json(OLD.production_metrics),
            'description', OLD.description, 'source', OLD.source, 'storage_location', OLD.storage_location,
            'source_run_uuid', OLD.source_run_uuid, 'run_link', OLD.run_link, 'user_id', OLD.user_id,
            'version_status', OLD.version_status, 'status_message', OLD.status_message, 'tags', json(OLD.tags),
            'metadata', json(OLD.metadata), 'created_at', OLD.created_at, 'updated_at', OLD.updated_at,
            'deleted_at', OLD.deleted_at, 'is_prompt', OLD.is_prompt),
        json_object(
            'registry_id', NEW.registry_id, 'model_id', NEW.model_id,
            'registered_model_name', NEW.registered_model_name, 'model_version', NEW.model_version,
            'current_stage', NEW.current_stage, 'previous_stage', NEW.previous_stage,
            'stage_transition_at', NEW.stage_transition_at, 'approved_by', NEW.approved_by,
            'approved_at', NEW.approved_at, 'approval_notes', NEW.approval_notes, 'deployed_at', NEW.deployed_at,
            'deployment_target', NEW.deployment_target, 'production_metrics', json(NEW.production_metrics),
            'description', NEW.description, 'source', NEW.source, 'storage_location', NEW.storage_location,
            'source_run_uuid', NEW.source_run_uuid, 'run_link', NEW.run_link, 'user_id', NEW.user_id,
            'version_status', NEW.version_status, 'status_message', NEW.status_message, 'tags', json(NEW.tags),
            'metadata', json(NEW.metadata), 'created_at', NEW.created_at, 'updated_at', NEW.updated_at,
            'deleted_at', NEW.deleted_at, 'is_prompt', NEW.is_prompt));
END;

CREATE TRIGGER model_registry_audit_delete AFTER DELETE ON model_registry BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('model_registry', 'DELETE', OLD.registry_id, json_object(
            'registry_id', OLD.registry_id, 'model_id', OLD.model_id,
            'registered_model_name', OLD.registered_model_name, 'model_version', OLD.model_version,
            'current_stage', OLD.current_stage, 'previous_stage', OLD.previous_stage,
            'stage_transition_at', OLD.stage_transition_at, 'approved_by', OLD.approved_by,
            'approved_at', OLD.approved_at, 'approval_notes', OLD.approval_notes, 'deployed_at', OLD.deployed_at,
            'deployment_target', OLD.deployment_target, 'production_metrics', json(OLD.production_metrics),
            'description', OLD.description, 'source', OLD.source, 'storage_location', OLD.storage_location,
            'source_run_uuid', OLD.source_run_uuid, 'run_link', OLD.run_link, 'user_id', OLD.user_id,
            'version_status', OLD.version_status, 'status_message', OLD.status_message, 'tags', json(OLD.tags),
            'metadata', json(OLD.metadata), 'created_at', OLD.created_at, 'updated_at', OLD.updated_at,
            'deleted_at', OLD.deleted_at, 'is_prompt', OLD.is_prompt));
END;
