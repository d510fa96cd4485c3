-- The audit trail (C-55): every change of experiments, models, model versions, users, their rights on
-- experiments and settings, without password hashes and values of secret settings (there null). The
-- acting user is not recorded. A column added to one of these tables is to be added to its triggers.
-- SQLite has neither roles nor row level security; the server checks permissions.

-- One place for changed_fields: the new value of every member that differs.
CREATE TRIGGER audit_changed_fields AFTER INSERT ON audit_audit_logs WHEN NEW.operation_type = 'UPDATE' BEGIN
    UPDATE audit_audit_logs
       SET changed_fields = (
           SELECT CASE WHEN count(*) > 0 THEN json_group_object(n.key,
                      json(CASE WHEN n.type IN ('object', 'array') THEN n.value ELSE json_quote(n.value) END)) END
             FROM json_each(NEW.new_values) AS n
            WHERE n.value IS NOT json_extract(NEW.old_values, n.fullkey))
     WHERE audit_id = NEW.audit_id;
END;

CREATE TRIGGER experiments_audit_insert AFTER INSERT ON experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('experiments', 'INSERT', NEW.experiment_id, json_object(
            'experiment_id', NEW.experiment_id, 'experiment_name', NEW.experiment_name,
            'experiment_description', NEW.experiment_description, 'experiment_type', NEW.experiment_type,
            'artifact_location', NEW.artifact_location, 'status', NEW.status,
            'lifecycle_stage', NEW.lifecycle_stage, 'created_by', NEW.created_by, 'created_at', NEW.created_at,
            'updated_at', NEW.updated_at, 'deleted_at', NEW.deleted_at, 'tags', json(NEW.tags),
            'metadata', json(NEW.metadata)));
END;

CREATE TRIGGER experiments_audit_update AFTER UPDATE ON experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('experiments', 'UPDATE', NEW.experiment_id, json_object(
            'experiment_id', OLD.experiment_id, 'experiment_name', OLD.experiment_name,
            'experiment_description', OLD.experiment_description, 'experiment_type', OLD.experiment_type,
            'artifact_location', OLD.artifact_location, 'status', OLD.status,
            'lifecycle_stage', OLD.lifecycle_stage, 'created_by', OLD.created_by, 'created_at', OLD.created_at,
            'updated_at', OLD.updated_at, 'deleted_at', OLD.deleted_at, 'tags', json(OLD.tags),
            'metadata', json(OLD.metadata)),
        json_object(
            'experiment_id', NEW.experiment_id, 'experiment_name', NEW.experiment_name,
            'experiment_description', NEW.experiment_description, 'experiment_type', NEW.experiment_type,
            'artifact_location', NEW.artifact_location, 'status', NEW.status,
            'lifecycle_stage', NEW.lifecycle_stage, 'created_by', NEW.created_by, 'created_at', NEW.created_at,
            'updated_at', NEW.updated_at, 'deleted_at', NEW.deleted_at, 'tags', json(NEW.tags),
            'metadata', json(NEW.metadata)));
END;

CREATE TRIGGER experiments_audit_delete AFTER DELETE ON experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('experiments', 'DELETE', OLD.experiment_id, json_object(
            'experiment_id', OLD.experiment_id, 'experiment_name', OLD.experiment_name,
            'experiment_description', OLD.experiment_description, 'experiment_type', OLD.experiment_type,
            'artifact_location', OLD.artifact_location, 'status', OLD.status,
            'lifecycle_stage', OLD.lifecycle_stage, 'created_by', OLD.created_by, 'created_at', OLD.created_at,
            'updated_at', OLD.updated_at, 'deleted_at', OLD.deleted_at, 'tags', json(OLD.tags),
            'metadata', json(OLD.metadata)));
END;

CREATE TRIGGER models_audit_insert AFTER INSERT ON models BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('models', 'INSERT', NEW.model_id, json_object(
            'model_id', NEW.model_id, 'model_uuid', NEW.model_uuid, 'experiment_id', NEW.experiment_id,
            'run_id', NEW.run_id, 'source_run_uuid', NEW.source_run_uuid, 'model_name', NEW.model_name,
            'model_type', NEW.model_type, 'model_version', NEW.model_version, 'framework', NEW.framework,
            'framework_version', NEW.framework_version, 'model_config', json(NEW.model_config),
            'hyperparameters', json(NEW.hyperparameters), 'training_dataset_id', NEW.training_dataset_id,
            'training_samples', NEW.training_samples, 'training_duration_seconds', NEW.training_duration_seconds,
            'model_size_bytes', NEW.model_size_bytes, 'model_file_path', NEW.model_file_path,
            'checkpoint_path', NEW.checkpoint_path, 'status', NEW.status, 'status_message', NEW.status_message,
            'lifecycle_stage', NEW.lifecycle_stage, 'tags', json(NEW.tags), 'metadata', json(NEW.metadata),
            'created_at', NEW.created_at, 'updated_at', NEW.updated_at, 'deleted_at', NEW.deleted_at));
END;

CREATE TRIGGER models_audit_update AFTER UPDATE ON models BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('models', 'UPDATE', NEW.model_id, json_object(
            'model_id', OLD.model_id, 'model_uuid', OLD.model_uuid, 'experiment_id', OLD.experiment_id,
            'run_id', OLD.run_id, 'source_run_uuid', OLD.source_run_uuid, 'model_name', OLD.model_name,
            'model_type', OLD.model_type, 'model_version', OLD.model_version, 'framework', OLD.framework,
            'framework_version', OLD.framework_version, 'model_config', json(OLD.model_config),
            'hyperparameters', json(OLD.hyperparameters), 'training_dataset_id', OLD.training_dataset_id,
            'training_samples', OLD.training_samples, 'training_duration_seconds', OLD.training_duration_seconds,
            'model_size_bytes', OLD.model_size_bytes, 'model_file_path', OLD.model_file_path,
            'checkpoint_path', OLD.checkpoint_path, 'status', OLD.status, 'status_message', OLD.status_message,
            'lifecycle_stage', OLD.lifecycle_stage, 'tags', json(OLD.tags), 'metadata', json(OLD.metadata),
            'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_at', OLD.deleted_at),
        json_object(
            'model_id', NEW.model_id, 'model_uuid', NEW.model_uuid, 'experiment_id', NEW.experiment_id,
            'run_id', NEW.run_id, 'source_run_uuid', NEW.source_run_uuid, 'model_name', NEW.model_name,
            'model_type', NEW.model_type, 'model_version', NEW.model_version, 'framework', NEW.framework,
            'framework_version', NEW.framework_version, 'model_config', json(NEW.model_config),
            'hyperparameters', json(NEW.hyperparameters), 'training_dataset_id', NEW.training_dataset_id,
            'training_samples', NEW.training_samples, 'training_duration_seconds', NEW.training_duration_seconds,
            'model_size_bytes', NEW.model_size_bytes, 'model_file_path', NEW.model_file_path,
            'checkpoint_path', NEW.checkpoint_path, 'status', NEW.status, 'status_message', NEW.status_message,
            'lifecycle_stage', NEW.lifecycle_stage, 'tags', json(NEW.tags), 'metadata', json(NEW.metadata),
            'created_at', NEW.created_at, 'updated_at', NEW.updated_at, 'deleted_at', NEW.deleted_at));
END;

CREATE TRIGGER models_audit_delete AFTER DELETE ON models BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('models', 'DELETE', OLD.model_id, json_object(
            'model_id', OLD.model_id, 'model_uuid', OLD.model_uuid, 'experiment_id', OLD.experiment_id,
            'run_id', OLD.run_id, 'source_run_uuid', OLD.source_run_uuid, 'model_name', OLD.model_name,
            'model_type', OLD.model_type, 'model_version', OLD.model_version, 'framework', OLD.framework,
            'framework_version', OLD.framework_version, 'model_config', json(OLD.model_config),
            'hyperparameters', json(OLD.hyperparameters), 'training_dataset_id', OLD.training_dataset_id,
            'training_samples', OLD.training_samples, 'training_duration_seconds', OLD.training_duration_seconds,
            'model_size_bytes', OLD.model_size_bytes, 'model_file_path', OLD.model_file_path,
            'checkpoint_path', OLD.checkpoint_path, 'status', OLD.status, 'status_message', OLD.status_message,
            'lifecycle_stage', OLD.lifecycle_stage, 'tags', json(OLD.tags), 'metadata', json(OLD.metadata),
            'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_at', OLD.deleted_at));
END;

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

CREATE TRIGGER users_audit_insert AFTER INSERT ON users BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('users', 'INSERT', NEW.user_id, json_object(
            'user_id', NEW.user_id, 'user_uuid', NEW.user_uuid, 'username', NEW.username, 'email', NEW.email,
            'full_name', NEW.full_name, 'auth_provider', NEW.auth_provider, 'external_id', NEW.external_id,
            'is_active', NEW.is_active, 'is_superuser', NEW.is_superuser, 'last_login_at', NEW.last_login_at,
            'login_count', NEW.login_count, 'preferences', json(NEW.preferences), 'metadata', json(NEW.metadata),
            'created_at', NEW.created_at, 'updated_at', NEW.updated_at));
END;

CREATE TRIGGER users_audit_update AFTER UPDATE ON users BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('users', 'UPDATE', NEW.user_id, json_object(
            'user_id', OLD.user_id, 'user_uuid', OLD.user_uuid, 'username', OLD.username, 'email', OLD.email,
            'full_name', OLD.full_name, 'auth_provider', OLD.auth_provider, 'external_id', OLD.external_id,
            'is_active', OLD.is_active, 'is_superuser', OLD.is_superuser, 'last_login_at', OLD.last_login_at,
            'login_count', OLD.login_count, 'preferences', json(OLD.preferences), 'metadata', json(OLD.metadata),
            'created_at', OLD.created_at, 'updated_at', OLD.updated_at),
        json_object(
            'user_id', NEW.user_id, 'user_uuid', NEW.user_uuid, 'username', NEW.username, 'email', NEW.email,
            'full_name', NEW.full_name, 'auth_provider', NEW.auth_provider, 'external_id', NEW.external_id,
            'is_active', NEW.is_active, 'is_superuser', NEW.is_superuser, 'last_login_at', NEW.last_login_at,
            'login_count', NEW.login_count, 'preferences', json(NEW.preferences), 'metadata', json(NEW.metadata),
            'created_at', NEW.created_at, 'updated_at', NEW.updated_at));
END;

CREATE TRIGGER users_audit_delete AFTER DELETE ON users BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('users', 'DELETE', OLD.user_id, json_object(
            'user_id', OLD.user_id, 'user_uuid', OLD.user_uuid, 'username', OLD.username, 'email', OLD.email,
            'full_name', OLD.full_name, 'auth_provider', OLD.auth_provider, 'external_id', OLD.external_id,
            'is_active', OLD.is_active, 'is_superuser', OLD.is_superuser, 'last_login_at', OLD.last_login_at,
            'login_count', OLD.login_count, 'preferences', json(OLD.preferences), 'metadata', json(OLD.metadata),
            'created_at', OLD.created_at, 'updated_at', OLD.updated_at));
END;

CREATE TRIGGER user_experiments_audit_insert AFTER INSERT ON user_experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('user_experiments', 'INSERT', NEW.user_experiment_id, json_object(
            'user_experiment_id', NEW.user_experiment_id, 'user_id', NEW.user_id,
            'experiment_id', NEW.experiment_id, 'permission_level', NEW.permission_level,
            'created_at', NEW.created_at));
END;

CREATE TRIGGER user_experiments_audit_update AFTER UPDATE ON user_experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('user_experiments', 'UPDATE', NEW.user_experiment_id, json_object(
            'user_experiment_id', OLD.user_experiment_id, 'user_id', OLD.user_id,
            'experiment_id', OLD.experiment_id, 'permission_level', OLD.permission_level,
            'created_at', OLD.created_at),
        json_object(
            'user_experiment_id', NEW.user_experiment_id, 'user_id', NEW.user_id,
            'experiment_id', NEW.experiment_id, 'permission_level', NEW.permission_level,
            'created_at', NEW.created_at));
END;

CREATE TRIGGER user_experiments_audit_delete AFTER DELETE ON user_experiments BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('user_experiments', 'DELETE', OLD.user_experiment_id, json_object(
            'user_experiment_id', OLD.user_experiment_id, 'user_id', OLD.user_id,
            'experiment_id', OLD.experiment_id, 'permission_level', OLD.permission_level,
            'created_at', OLD.created_at));
END;

CREATE TRIGGER system_config_audit_insert AFTER INSERT ON system_config BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, new_values)
    VALUES ('system_config', 'INSERT', NEW.config_id, json_object(
            'config_id', NEW.config_id, 'config_key', NEW.config_key,
            'config_value', CASE WHEN NEW.is_secret THEN NULL ELSE NEW.config_value END,
            'config_type', NEW.config_type, 'description', NEW.description, 'category', NEW.category,
            'validation_regex', NEW.validation_regex, 'is_secret', NEW.is_secret, 'created_at', NEW.created_at,
            'updated_at', NEW.updated_at));
END;

CREATE TRIGGER system_config_audit_update AFTER UPDATE ON system_config BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values, new_values)
    VALUES ('system_config', 'UPDATE', NEW.config_id, json_object(
            'config_id', OLD.config_id, 'config_key', OLD.config_key,
            'config_value', CASE WHEN OLD.is_secret OR NEW.is_secret THEN NULL ELSE OLD.config_value END,
            'config_type', OLD.config_type, 'description', OLD.description, 'category', OLD.category,
            'validation_regex', OLD.validation_regex, 'is_secret', OLD.is_secret, 'created_at', OLD.created_at,
            'updated_at', OLD.updated_at),
        json_object(
            'config_id', NEW.config_id, 'config_key', NEW.config_key,
            'config_value', CASE WHEN OLD.is_secret OR NEW.is_secret THEN NULL ELSE NEW.config_value END,
            'config_type', NEW.config_type, 'description', NEW.description, 'category', NEW.category,
            'validation_regex', NEW.validation_regex, 'is_secret', NEW.is_secret, 'created_at', NEW.created_at,
            'updated_at', NEW.updated_at));
END;

CREATE TRIGGER system_config_audit_delete AFTER DELETE ON system_config BEGIN
    INSERT INTO audit_audit_logs (table_name, operation_type, record_id, old_values)
    VALUES ('system_config', 'DELETE', OLD.config_id, json_object(
            'config_id', OLD.config_id, 'config_key', OLD.config_key,
            'config_value', CASE WHEN OLD.is_secret THEN NULL ELSE OLD.config_value END,
            'config_type', OLD.config_type, 'description', OLD.description, 'category', OLD.category,
            'validation_regex', OLD.validation_regex, 'is_secret', OLD.is_secret, 'created_at', OLD.created_at,
            'updated_at', OLD.updated_at));
END;
