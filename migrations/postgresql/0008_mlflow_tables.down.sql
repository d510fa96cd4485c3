-- Takes back 0008.

DROP TABLE input_tags;
DROP TABLE inputs;
DROP TABLE latest_metrics;
