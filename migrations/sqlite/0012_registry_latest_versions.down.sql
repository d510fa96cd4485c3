DROP INDEX idx_registry_latest;
