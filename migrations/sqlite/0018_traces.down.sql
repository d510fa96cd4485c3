-- Takes back 0018.

DROP TABLE assessments;
DROP TABLE spans;
DROP TABLE trace_info;
DROP VIEW trace_entries_of;
DROP TABLE trace_entries;
