-- Takes back 0004.

DROP TABLE audit_audit_logs;
DROP TABLE system_logs;
DROP TABLE predictions;
