-- Agents, their specs and their history.
-- Words in double braces are replaced for the dialect, see migrate.go.
-- Times are microseconds since 1970, UTC.

-- +goose Up
-- What lists filter and sort by. The spec is kept apart so that scans of the
-- whole fleet read little. words is what a search looks in: id, name, display
-- name and description in lower case.
CREATE TABLE agents (
    id                {{key}} NOT NULL PRIMARY KEY,
    id_key            {{key}} NOT NULL UNIQUE,
    name              {{key}} NOT NULL,
    name_key          {{key}} NOT NULL UNIQUE,
    tier              BIGINT NOT NULL,
    domain            {{key}} NOT NULL,
    runtime           {{key}} NOT NULL,
    template          {{key}} NOT NULL,
    customer_id       {{key}} NOT NULL,
    revision          BIGINT NOT NULL,
    deployed_revision BIGINT NOT NULL,
    state             {{key}} NOT NULL,
    health            {{key}} NOT NULL,
    health_reason     TEXT NOT NULL,
    lock_version      BIGINT NOT NULL,
    active_operation  {{key}} NOT NULL,
    failure           TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    words             TEXT NOT NULL
);
CREATE INDEX agents_by_state ON agents (state, id);
CREATE INDEX agents_by_health ON agents (health, id);
CREATE INDEX agents_by_tier ON agents (tier, id);
CREATE INDEX agents_by_customer ON agents (customer_id, id);
CREATE INDEX agents_by_updated ON agents (updated_at, id);
CREATE INDEX agents_by_created ON agents (created_at, id);

CREATE TABLE agent_specs (
    agent_id {{key}} NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    spec     TEXT NOT NULL
);

CREATE TABLE agent_labels (
    agent_id {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    name     {{key}} NOT NULL,
    value    {{key}} NOT NULL,
    PRIMARY KEY (agent_id, name)
);
CREATE INDEX agent_labels_by_name ON agent_labels (name, value, agent_id);

CREATE TABLE agent_dependencies (
    agent_id {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    place    BIGINT NOT NULL,
    needs    {{key}} NOT NULL,
    PRIMARY KEY (agent_id, place)
);

CREATE TABLE agent_revisions (
    agent_id   {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    spec       TEXT NOT NULL,
    created_by {{key}} NOT NULL,
    reason     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, number)
);

CREATE TABLE agent_states (
    id             {{uuid}} NOT NULL PRIMARY KEY,
    agent_id       {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    state          {{key}} NOT NULL,
    previous_state {{key}} NOT NULL,
    metadata       {{json}} NOT NULL,
    triggered_by   {{key}} NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX agent_states_by_agent ON agent_states (agent_id, created_at, id);

-- +goose Down
DROP TABLE agent_states;
DROP TABLE agent_revisions;
DROP TABLE agent_dependencies;
DROP TABLE agent_labels;
DROP TABLE agent_specs;
DROP TABLE agents;
