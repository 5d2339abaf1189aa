-- Alerts and what belongs to them: their history, silences, receivers, what is to
-- be told, and what was changed of rules. data is the whole as JSON; the other
-- columns are what is searched for.

-- +goose Up
CREATE TABLE alerts (
    id          {{key}} NOT NULL PRIMARY KEY,
    rule_id     {{key}} NOT NULL,
    name        {{key}} NOT NULL,
    severity    {{key}} NOT NULL,
    status      {{key}} NOT NULL,
    agent_id    {{key}} NOT NULL,
    place       BIGINT NOT NULL,
    changed_at  BIGINT NOT NULL,
    resolved_at BIGINT,
    data        TEXT NOT NULL
);
CREATE INDEX alerts_by_place ON alerts (place, changed_at, id);
CREATE INDEX alerts_by_agent ON alerts (agent_id, place, changed_at);
CREATE INDEX alerts_by_end ON alerts (resolved_at);

CREATE TABLE alert_changes (
    id       {{identity}},
    alert_id {{key}} NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    at       BIGINT NOT NULL,
    status   {{key}} NOT NULL,
    actor    {{key}} NOT NULL,
    note     TEXT NOT NULL
);
CREATE INDEX alert_changes_by_alert ON alert_changes (alert_id, id);

CREATE TABLE silences (
    id      {{key}} NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL,
    data    TEXT NOT NULL
);
CREATE INDEX silences_by_end ON silences (ends_at, id);

CREATE TABLE alert_receivers (
    id   {{key}} NOT NULL PRIMARY KEY,
    name {{key}} NOT NULL UNIQUE,
    data TEXT NOT NULL
);

CREATE TABLE alert_dispatches (
    receiver_id {{key}} NOT NULL REFERENCES alert_receivers (id) ON DELETE CASCADE,
    group_key   {{key}} NOT NULL,
    due_at      BIGINT NOT NULL,
    data        TEXT NOT NULL,
    PRIMARY KEY (receiver_id, group_key)
);
CREATE INDEX alert_dispatches_by_due ON alert_dispatches (due_at);

CREATE TABLE alert_deliveries (
    id          {{key}} NOT NULL PRIMARY KEY,
    receiver_id {{key}} NOT NULL REFERENCES alert_receivers (id) ON DELETE CASCADE,
    state       {{key}} NOT NULL,
    created_at  BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    data        TEXT NOT NULL,
    message     TEXT NOT NULL
);
CREATE INDEX alert_deliveries_by_due ON alert_deliveries (state, next_at);
CREATE INDEX alert_deliveries_by_receiver ON alert_deliveries (receiver_id, created_at, id);
CREATE INDEX alert_deliveries_by_created ON alert_deliveries (created_at, id);

CREATE TABLE alert_files (
    name       {{key}} NOT NULL PRIMARY KEY,
    content    TEXT NOT NULL,
    actor      {{key}} NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE alert_overrides (
    rule_id {{key}} NOT NULL PRIMARY KEY,
    data    TEXT NOT NULL
);

CREATE TABLE marks (
    name  {{key}} NOT NULL PRIMARY KEY,
    place BIGINT NOT NULL
);

-- +goose Down
DROP TABLE marks;
DROP TABLE alert_overrides;
DROP TABLE alert_files;
DROP TABLE alert_deliveries;
DROP TABLE alert_dispatches;
DROP TABLE alert_receivers;
DROP TABLE silences;
DROP TABLE alert_changes;
DROP TABLE alerts;
