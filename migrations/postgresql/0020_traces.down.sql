-- Takes back 0020.

DROP TABLE entity_associations;
DROP TABLE assessments;
DROP TABLE spans;
DROP TABLE trace_info;
