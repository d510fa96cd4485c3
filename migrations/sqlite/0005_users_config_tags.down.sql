-- Takes back 0005.

DROP TABLE secure_config;
DROP TABLE tags;
DROP TABLE system_config;
DROP TABLE user_experiments;
DROP TABLE users;
