-- What was found by looking at the portal and at agents.

-- +goose Up
CREATE TABLE diagnoses (
    id         {{uuid}} NOT NULL PRIMARY KEY,
    place      {{key}} NOT NULL, -- "portal", or "agent/" and its id: what the history is of
    agent_id   {{key}} REFERENCES agents (id) ON DELETE CASCADE,
    cause      {{key}} NOT NULL,
    actor      {{key}} NOT NULL,
    status     {{key}} NOT NULL,
    name       TEXT NOT NULL,
    findings   TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL
);
CREATE INDEX diagnoses_by_place ON diagnoses (place, started_at, id);
CREATE INDEX diagnoses_by_time ON diagnoses (started_at, id);
CREATE INDEX diagnoses_by_agent ON diagnoses (agent_id);

-- diagnosis_try is a row that is written and read only to see how long that takes.
CREATE TABLE diagnosis_try (
    id    BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    tries BIGINT NOT NULL
);
INSERT INTO diagnosis_try (id, tries) VALUES (1, 0);

-- +goose Down
DROP TABLE diagnosis_try;
DROP TABLE diagnoses;
