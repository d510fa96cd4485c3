-- Webhooks, the events that they subscribe to, and what is to be delivered: an event of the registry writes its
-- deliveries in its own transaction, and the servers send them afterwards.

SET LOCAL TIME ZONE 'UTC';

CREATE TABLE webhooks (
    webhook_id   VARCHAR(36) PRIMARY KEY,
    -- The order of creation, which times alone do not give.
    number       BIGINT NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    name         VARCHAR(256) NOT NULL,
    description  VARCHAR(1000),
    url          VARCHAR(500) NOT NULL,
    status       VARCHAR(20) NOT NULL DEFAULT 'ACTIVE',
    secret       TEXT,
    created_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    deleted_at   TIMESTAMP,
    sender       UUID,
    sender_until TIMESTAMP,

    CONSTRAINT ck_webhooks_status CHECK (status IN ('ACTIVE', 'DISABLED'))
);

COMMENT ON TABLE webhooks IS 'Addresses to which events of the model registry are sent';
COMMENT ON COLUMN webhooks.secret IS 'Encrypted by the server, never in plain; NULL when deliveries are not signed';
COMMENT ON COLUMN webhooks.sender IS 'The server process that sends this webhook''s deliveries at the moment';
COMMENT ON COLUMN webhooks.sender_until IS 'When another server may take over, unless the sender prolongs it';

CREATE TABLE webhook_events (
    webhook_id VARCHAR(36) NOT NULL REFERENCES webhooks(webhook_id) ON DELETE CASCADE,
    entity     VARCHAR(50) NOT NULL,
    action     VARCHAR(50) NOT NULL,
    PRIMARY KEY (webhook_id, entity, action)
);

-- By event: who is to be told.
CREATE INDEX idx_webhook_events_event ON webhook_events(entity, action, webhook_id);

COMMENT ON TABLE webhook_events IS 'The events that a webhook subscribes to';

CREATE TABLE webhook_deliveries (
    delivery_number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    delivery_id     UUID NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    webhook_id      VARCHAR(36) NOT NULL REFERENCES webhooks(webhook_id) ON DELETE CASCADE,
    payload         TEXT NOT NULL,
    status          VARCHAR(20) NOT NULL DEFAULT 'pending',
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TIMESTAMP NOT NULL,
    response_status INTEGER,
    error           VARCHAR(500),
    created_at      TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    finished_at     TIMESTAMP,

    CONSTRAINT ck_webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed', 'cancelled'))
);

-- What is due, in the order in which it is sent.
CREATE INDEX idx_webhook_deliveries_due ON webhook_deliveries(webhook_id, next_attempt_at, delivery_number) WHERE status = 'pending';
-- What may be removed.
CREATE INDEX idx_webhook_deliveries_finished ON webhook_deliveries(finished_at) WHERE finished_at IS NOT NULL;

COMMENT ON TABLE webhook_deliveries IS 'Outbox of the webhooks; what is finished is removed after some days';
COMMENT ON COLUMN webhook_deliveries.payload IS 'The JSON that is sent, byte for byte';
COMMENT ON COLUMN webhook_deliveries.attempts IS 'How often it was sent; attempts that a server did not live to finish are not counted';

-- An address may be as good as a password: only administrators see them, other roles not even by default privileges.
DO $$
DECLARE
    v_role NAME;
BEGIN
    FOR v_role IN SELECT rolname FROM pg_roles WHERE rolname IN ('readonly_user', 'data_scientist') LOOP
        EXECUTE format('REVOKE ALL ON webhooks, webhook_events, webhook_deliveries FROM %I', v_role);
    END LOOP;
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'admin_user') THEN
        GRANT ALL ON webhooks, webhook_events, webhook_deliveries TO admin_user;
    END IF;
END
$$;
