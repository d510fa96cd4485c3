-- Takes back 0015.

DROP TABLE webhook_deliveries;
DROP TABLE webhook_events;
DROP TABLE webhooks;
