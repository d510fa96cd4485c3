-- Takes back 0012.

DROP TABLE entity_associations;
DROP TABLE assessments;
DROP TABLE spans;
DROP TABLE trace_info;
DROP VIEW trace_entries_of;
DROP TABLE trace_entries;
