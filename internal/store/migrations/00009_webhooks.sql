-- Who outside is told what happened, how far each has been told, and what was
-- sent lately.

-- +goose Up
CREATE TABLE webhooks (
    id         {{key}} NOT NULL PRIMARY KEY,
    name       {{key}} NOT NULL UNIQUE, -- in lower case
    definition {{json}} NOT NULL,
    progress   {{json}} NOT NULL,
    version    BIGINT NOT NULL
);

CREATE TABLE webhook_attempts (
    id         {{key}} NOT NULL PRIMARY KEY,
    webhook_id {{key}} NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    at         BIGINT NOT NULL,
    data       {{json}} NOT NULL
);
CREATE INDEX webhook_attempts_by_time ON webhook_attempts (webhook_id, at, id);

-- +goose Down
DROP TABLE webhook_attempts;
DROP TABLE webhooks;
