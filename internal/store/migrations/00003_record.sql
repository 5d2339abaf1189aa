-- The stream of events and the audit log. Each has one head row that numbers
-- its entries inside the transaction that appends them, so that numbers follow
-- the order of commits.

-- +goose Up
CREATE TABLE event_head (
    id  BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
);
INSERT INTO event_head (id, seq) VALUES (1, 0);

CREATE TABLE events (
    seq      {{seq}},
    type     {{key}} NOT NULL,
    agent_id {{key}} NOT NULL,
    rooms    TEXT NOT NULL,
    actor    {{key}} NOT NULL,
    at       BIGINT NOT NULL,
    data     TEXT NOT NULL
);
CREATE INDEX events_by_agent ON events (agent_id, seq);
CREATE INDEX events_by_type ON events (type, seq);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE event_rooms (
    room {{key}} NOT NULL,
    seq  BIGINT NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    PRIMARY KEY (room, seq)
);
CREATE INDEX event_rooms_by_seq ON event_rooms (seq);

CREATE TABLE audit_head (
    id   BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL,
    hash {{key}} NOT NULL
);
INSERT INTO audit_head (id, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE audit_entries (
    seq     {{seq}},
    at      BIGINT NOT NULL,
    actor   {{key}} NOT NULL,
    role    {{key}} NOT NULL,
    origin  {{key}} NOT NULL,
    action  {{key}} NOT NULL,
    target  {{key}} NOT NULL,
    outcome {{key}} NOT NULL,
    reason  TEXT NOT NULL,
    request {{key}} NOT NULL,
    before  TEXT NOT NULL,
    after   TEXT NOT NULL,
    prev    {{key}} NOT NULL,
    hash    {{key}} NOT NULL
);
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, seq);
CREATE INDEX audit_entries_by_action ON audit_entries (action, seq);
CREATE INDEX audit_entries_by_target ON audit_entries (target, seq);
CREATE INDEX audit_entries_by_outcome ON audit_entries (outcome, seq);

-- +goose Down
DROP TABLE audit_entries;
DROP TABLE audit_head;
DROP TABLE event_rooms;
DROP TABLE events;
DROP TABLE event_head;
