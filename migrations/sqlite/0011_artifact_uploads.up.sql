-- The row of a file is written before the file is shown: until both are known to agree it carries the upload.
-- Further fewer indexes to write per file: nothing asks for files by type, name, hash or time without their run,
-- experiment or place. uq_artifacts_storage_path also finds the rows of a folder.

ALTER TABLE artifacts ADD COLUMN upload_id TEXT;
CREATE INDEX idx_artifacts_upload_id ON artifacts(upload_id) WHERE upload_id IS NOT NULL;

DROP INDEX idx_artifacts_type;
DROP INDEX idx_artifacts_name;
DROP INDEX idx_artifacts_hash;
DROP INDEX idx_artifacts_created_at;
