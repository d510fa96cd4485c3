-- Takes back 0001.

DROP TABLE runs;
DROP TABLE experiments;
