-- Takes back 0007.

DROP TRIGGER system_config_audit_delete;
DROP TRIGGER system_config_audit_update;
DROP TRIGGER system_config_audit_insert;
DROP TRIGGER user_experiments_audit_delete;
DROP TRIGGER user_experiments_audit_update;
DROP TRIGGER user_experiments_audit_insert;
DROP TRIGGER users_audit_delete;
DROP TRIGGER users_audit_update;
DROP TRIGGER users_audit_insert;
DROP TRIGGER model_registry_audit_delete;
DROP TRIGGER model_registry_audit_update;
DROP TRIGGER model_registry_audit_insert;
DROP TRIGGER models_audit_delete;
DROP TRIGGER models_audit_update;
DROP TRIGGER models_audit_insert;
DROP TRIGGER experiments_audit_delete;
DROP TRIGGER experiments_audit_update;
DROP TRIGGER experiments_audit_insert;
DROP TRIGGER audit_changed_fields;
