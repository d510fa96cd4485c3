-- Takes back 0002.

DROP TABLE model_registry;
DROP TABLE registered_model_aliases;
DROP TABLE registered_models;
DROP TABLE models;
DROP TABLE dataset_features;
DROP TABLE datasets;
