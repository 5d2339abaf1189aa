-- People: users, their sessions and passkeys, what is remembered while somebody
-- signs in, and how often that failed. Sessions of earlier versions end: they
-- belonged to nobody.

-- +goose Up
CREATE TABLE users (
    id           {{key}} NOT NULL PRIMARY KEY,
    email        {{key}} NOT NULL,
    name         TEXT NOT NULL,
    provider     {{key}} NOT NULL,
    subject      {{key}} NOT NULL,
    role         {{key}} NOT NULL,
    claims       TEXT NOT NULL,
    password     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT,
    disabled_at  BIGINT
);
CREATE UNIQUE INDEX users_by_subject ON users (provider, subject) WHERE subject <> '';
CREATE UNIQUE INDEX users_invited ON users (provider, email) WHERE subject = '';
CREATE INDEX users_by_created ON users (created_at, id);

DROP TABLE sessions;
CREATE TABLE sessions (
    id             {{key}} NOT NULL PRIMARY KEY,
    user_id        {{key}} NOT NULL,
    kind           {{key}} NOT NULL,
    method         {{key}} NOT NULL,
    role           {{key}} NOT NULL,
    hash           {{key}} NOT NULL UNIQUE,
    previous       {{key}} NOT NULL,
    previous_until BIGINT,
    address        {{key}} NOT NULL,
    user_agent     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    seen_at        BIGINT NOT NULL,
    rotated_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL
);
CREATE INDEX sessions_by_previous ON sessions (previous);
CREATE INDEX sessions_by_user ON sessions (user_id, seen_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE passkeys (
    id              {{key}} NOT NULL PRIMARY KEY,
    user_id         {{key}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    public_key      {{blob}} NOT NULL,
    sign_count      BIGINT NOT NULL,
    transports      TEXT NOT NULL,
    aaguid          {{key}} NOT NULL,
    attestation     {{key}} NOT NULL,
    backup_eligible BOOLEAN NOT NULL,
    backed_up       BOOLEAN NOT NULL,
    created_at      BIGINT NOT NULL,
    last_used_at    BIGINT
);
CREATE INDEX passkeys_by_user ON passkeys (user_id, created_at, id);

CREATE TABLE flows (
    hash       {{key}} NOT NULL PRIMARY KEY,
    kind       {{key}} NOT NULL,
    data       {{blob}} NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX flows_by_expiry ON flows (expires_at);

CREATE TABLE sign_in_attempts (
    attempt    {{key}} NOT NULL PRIMARY KEY,
    failures   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_in_attempts_by_expiry ON sign_in_attempts (expires_at);

ALTER TABLE sign_in_links ADD COLUMN user_id {{key}} NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN user_id {{key}} NOT NULL DEFAULT '';
DROP INDEX tokens_by_name;
CREATE UNIQUE INDEX tokens_by_name ON tokens (user_id, name) WHERE revoked_at IS NULL;
CREATE INDEX tokens_by_user ON tokens (user_id, created_at, id);

-- +goose Down
DROP INDEX tokens_by_user;
DROP INDEX tokens_by_name;
DELETE FROM tokens WHERE user_id <> '';
ALTER TABLE tokens DROP COLUMN user_id;
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
DELETE FROM sign_in_links WHERE user_id <> '';
ALTER TABLE sign_in_links DROP COLUMN user_id;
DROP TABLE sign_in_attempts;
DROP TABLE flows;
DROP TABLE passkeys;
DROP TABLE sessions;
CREATE TABLE sessions (
    hash       {{key}} NOT NULL PRIMARY KEY,
    data       {{blob}} NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
DROP TABLE users;
