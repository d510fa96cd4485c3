-- Takes back 0013.

DROP TRIGGER model_registry_audit_insert;
DROP TRIGGER model_registry_audit_update;
DROP TRIGGER model_registry_audit_delete;

CREATE INDEX idx_registry_production ON model_registry(registered_model_name, model_version)
    WHERE current_stage = 'production';
DROP INDEX idx_registry_source_run;
DROP INDEX idx_registry_name;
DROP INDEX idx_registry_listing;
DROP INDEX idx_registered_models_updated;
DROP INDEX idx_registered_models_listing;
ALTER TABLE model_registry DROP COLUMN is_prompt;
ALTER TABLE registered_models DROP COLUMN is_prompt;

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
            'deleted_at', NEW.deleted_at));
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
            'deleted_at', OLD.deleted_at),
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
            'deleted_at', NEW.deleted_at));
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
            'deleted_at', OLD.deleted_at));
END;
