-- Takes back 0017.

DROP TABLE scorer_versions;
DROP TABLE scorers;
DROP TABLE entity_associations;
DROP TABLE evaluation_dataset_records;
DROP TABLE evaluation_datasets;
