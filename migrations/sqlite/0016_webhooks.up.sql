-- Webhooks, the events that they subscribe to, and what is to be delivered: an event of the registry writes its
-- deliveries in its own transaction, and the server sends them afterwards.

CREATE TABLE webhooks (
    -- The order of creation, which times alone do not give.
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id   TEXT NOT NULL UNIQUE CHECK (length(webhook_id) <= 36),
    name         TEXT NOT NULL CHECK (length(name) <= 256),
    description  TEXT CHECK (length(description) <= 1000),
    url          TEXT NOT NULL CHECK (length(url) <= 500),
    status       TEXT NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'DISABLED')),
    -- Encrypted by the server, never in plain; NULL when deliveries are not signed.
    secret       TEXT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    deleted_at   INTEGER,
    -- The server process that sends this webhook's deliveries at the moment, and when another one may take over.
    sender       TEXT CHECK (length(sender) = 36),
    sender_until INTEGER
);

CREATE TABLE webhook_events (
    webhook_id TEXT NOT NULL REFERENCES webhooks(webhook_id) ON DELETE CASCADE,
    entity     TEXT NOT NULL CHECK (length(entity) <= 50),
    action     TEXT NOT NULL CHECK (length(action) <= 50),
    PRIMARY KEY (webhook_id, entity, action)
) WITHOUT ROWID;

-- By event: who is to be told.
CREATE INDEX idx_webhook_events_event ON webhook_events(entity, action, webhook_id);

-- Outbox of the webhooks; what is finished is removed after some days.
CREATE TABLE webhook_deliveries (
    delivery_number INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id     TEXT NOT NULL UNIQUE CHECK (length(delivery_id) = 36),
    webhook_id      TEXT NOT NULL REFERENCES webhooks(webhook_id) ON DELETE CASCADE,
    -- The JSON that is sent, byte for byte.
    payload         TEXT NOT NULL,
    status          TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed', 'cancelled')),
    -- How often it was sent; attempts that a server did not live to finish are not counted.
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    response_status INTEGER,
    error           TEXT CHECK (length(error) <= 500),
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER
);

-- What is due, in the order in which it is sent.
CREATE INDEX idx_webhook_deliveries_due ON webhook_deliveries(webhook_id, next_attempt_at, delivery_number) WHERE status = 'pending';
-- What may be removed.
CREATE INDEX idx_webhook_deliveries_finished ON webhook_deliveries(finished_at) WHERE finished_at IS NOT NULL;
