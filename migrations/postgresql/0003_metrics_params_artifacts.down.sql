-- Takes back 0003.

DROP TABLE artifacts;
DROP TABLE hyperparameter_search_spaces;
DROP TABLE hyperparameters;
DROP TABLE metric_summaries;
DROP TABLE metrics;
