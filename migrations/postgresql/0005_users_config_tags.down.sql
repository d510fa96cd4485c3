-- Takes back 0005.

DROP FUNCTION decrypt_value(BYTEA, TEXT);
DROP FUNCTION encrypt_value(TEXT, TEXT);
DROP TABLE secure_config;
DROP TABLE tags;
DROP TABLE system_config;
DROP TABLE user_experiments;
DROP TABLE users;
