-- What was observed of instances, the ports they were given, and what their
-- probes said.

-- +goose Up
CREATE TABLE instances (
    agent_id {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    id       {{key}} NOT NULL,
    place    BIGINT NOT NULL,
    data     TEXT NOT NULL,
    PRIMARY KEY (agent_id, id)
);

CREATE TABLE ports (
    port     BIGINT NOT NULL PRIMARY KEY,
    agent_id {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    place    BIGINT NOT NULL,
    UNIQUE (agent_id, place)
);

-- port_cursor is the port that was given last: the search for a free one goes
-- on after it.
CREATE TABLE port_cursor (
    id   BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    port BIGINT NOT NULL
);
INSERT INTO port_cursor (id, port) VALUES (1, 0);

CREATE TABLE probe_results (
    id          {{identity}},
    agent_id    {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    instance_id {{key}} NOT NULL,
    kind        {{key}} NOT NULL,
    ok          BOOLEAN NOT NULL,
    reason      TEXT NOT NULL,
    latency     BIGINT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE INDEX probe_results_by_agent ON probe_results (agent_id, at, id);
CREATE INDEX probe_results_by_time ON probe_results (at);

-- +goose Down
DROP TABLE probe_results;
DROP TABLE port_cursor;
DROP TABLE ports;
DROP TABLE instances;
