-- Takes back 0012.

DROP TABLE webhook_deliveries;
DROP TABLE webhook_events;
DROP TABLE webhooks;
