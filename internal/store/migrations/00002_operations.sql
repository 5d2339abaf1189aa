-- Durable operations and bulk operations. They outlive the agents that they
-- worked on, so agent ids are not references here.

-- +goose Up
CREATE TABLE operations (
    id         {{key}} NOT NULL PRIMARY KEY,
    kind       {{key}} NOT NULL,
    agent_id   {{key}} NOT NULL,
    parent_id  {{key}} NOT NULL,
    state      {{key}} NOT NULL,
    request    {{key}} NOT NULL,
    input      TEXT NOT NULL,
    result     TEXT NOT NULL,
    problem    TEXT NOT NULL,
    completed  BIGINT NOT NULL,
    total      BIGINT NOT NULL,
    actor      {{key}} NOT NULL,
    reason     TEXT NOT NULL,
    undo       TEXT NOT NULL,
    undo_of    {{key}} NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at   BIGINT
);
CREATE INDEX operations_by_created ON operations (created_at, id);
CREATE INDEX operations_by_agent ON operations (agent_id, created_at, id);
CREATE INDEX operations_by_parent ON operations (parent_id, created_at, id);
CREATE INDEX operations_by_state ON operations (state, created_at, id);
CREATE INDEX operations_by_kind ON operations (kind, created_at, id);
CREATE INDEX operations_by_actor ON operations (actor, created_at, id);

CREATE TABLE operation_steps (
    operation_id {{key}} NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    place        BIGINT NOT NULL,
    name         {{key}} NOT NULL,
    state        {{key}} NOT NULL,
    attempts     BIGINT NOT NULL,
    detail       TEXT NOT NULL,
    problem      TEXT NOT NULL,
    started_at   BIGINT,
    ended_at     BIGINT,
    PRIMARY KEY (operation_id, place)
);

CREATE TABLE operation_attempts (
    operation_id {{key}} NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    place        BIGINT NOT NULL,
    step         {{key}} NOT NULL,
    number       BIGINT NOT NULL,
    undo         BOOLEAN NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL,
    error        TEXT NOT NULL,
    PRIMARY KEY (operation_id, place)
);

CREATE TABLE bulks (
    id           {{key}} NOT NULL PRIMARY KEY,
    state        {{key}} NOT NULL,
    actions      TEXT NOT NULL,
    max_parallel BIGINT NOT NULL,
    on_failure   {{key}} NOT NULL,
    reason       TEXT NOT NULL,
    actor        {{key}} NOT NULL,
    total        BIGINT NOT NULL,
    completed    BIGINT NOT NULL,
    succeeded    BIGINT NOT NULL,
    failed       BIGINT NOT NULL,
    skipped      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    ended_at     BIGINT
);
CREATE INDEX bulks_by_created ON bulks (created_at, id);

CREATE TABLE bulk_items (
    bulk_id    {{key}} NOT NULL REFERENCES bulks (id) ON DELETE CASCADE,
    agent_id   {{key}} NOT NULL,
    wave       BIGINT NOT NULL,
    state      {{key}} NOT NULL,
    action     {{key}} NOT NULL,
    operations TEXT NOT NULL,
    problem    TEXT NOT NULL,
    note       TEXT NOT NULL,
    started_at BIGINT,
    ended_at   BIGINT,
    PRIMARY KEY (bulk_id, agent_id)
);

-- +goose Down
DROP TABLE bulk_items;
DROP TABLE bulks;
DROP TABLE operation_attempts;
DROP TABLE operation_steps;
DROP TABLE operations;
