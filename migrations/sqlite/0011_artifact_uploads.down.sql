-- Takes back 0011.

CREATE INDEX idx_artifacts_type ON artifacts(artifact_type);
CREATE INDEX idx_artifacts_name ON artifacts(artifact_name);
CREATE INDEX idx_artifacts_hash ON artifacts(file_hash);
CREATE INDEX idx_artifacts_created_at ON artifacts(created_at DESC);
DROP INDEX idx_artifacts_upload_id;
ALTER TABLE artifacts DROP COLUMN upload_id;
