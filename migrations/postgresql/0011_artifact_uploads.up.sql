-- The row of a file is written before the file is shown: until both are known to agree it carries the upload.
-- Further the index by which a folder's rows are found, and fewer indexes to write per file: nothing asks for files
-- by type, name, hash, time or tags without their run, experiment or place.

ALTER TABLE artifacts ADD COLUMN upload_id TEXT;
CREATE INDEX idx_artifacts_upload_id ON artifacts(upload_id) WHERE upload_id IS NOT NULL;

-- The beginning of the path, because an index entry cannot hold a long one.
CREATE INDEX idx_artifacts_storage_path ON artifacts((left(storage_path, 500)) COLLATE "C");

DROP INDEX idx_artifacts_type;
DROP INDEX idx_artifacts_name;
DROP INDEX idx_artifacts_hash;
DROP INDEX idx_artifacts_created_at;
DROP INDEX idx_artifacts_tags;
