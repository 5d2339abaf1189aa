-- Who may come in: API tokens, credentials of agents, sign-in links, sessions,
-- and the answers kept for repeated requests.

-- +goose Up
CREATE TABLE tokens (
    id           {{key}} NOT NULL PRIMARY KEY,
    name         {{key}} NOT NULL,
    role         {{key}} NOT NULL,
    hash         {{key}} NOT NULL UNIQUE,
    created_by   {{key}} NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX tokens_by_created ON tokens (created_at, id);

CREATE TABLE credentials (
    agent_id   {{key}} NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    hash       {{key}} NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE sign_in_links (
    hash       {{key}} NOT NULL PRIMARY KEY,
    role       {{key}} NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    hash       {{key}} NOT NULL PRIMARY KEY,
    data       {{blob}} NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE replays (
    principal  {{key}} NOT NULL,
    idem_key   {{key}} NOT NULL,
    method     {{key}} NOT NULL,
    path       TEXT NOT NULL,
    body_hash  {{key}} NOT NULL,
    status     BIGINT NOT NULL,
    header     TEXT NOT NULL,
    body       {{blob}} NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, idem_key)
);
CREATE INDEX replays_by_created ON replays (created_at);

-- +goose Down
DROP TABLE replays;
DROP TABLE sessions;
DROP TABLE sign_in_links;
DROP TABLE credentials;
DROP TABLE tokens;
