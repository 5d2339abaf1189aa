-- What went wrong with agents, what was tried, and what helped.

-- +goose Up
CREATE TABLE incidents (
    id           {{key}} NOT NULL PRIMARY KEY,
    agent_id     {{key}} NOT NULL,
    state        {{key}} NOT NULL,
    class        {{key}} NOT NULL,
    cause        {{key}} NOT NULL,
    fingerprint  {{key}} NOT NULL,
    count        BIGINT NOT NULL,
    first_seen   BIGINT NOT NULL,
    last_seen    BIGINT NOT NULL,
    recovered_at BIGINT,
    version      BIGINT NOT NULL,
    seq          BIGINT NOT NULL,
    data         TEXT NOT NULL
);
CREATE INDEX incidents_by_time ON incidents (first_seen, id);
CREATE INDEX incidents_by_agent ON incidents (agent_id, first_seen, id);
CREATE INDEX incidents_by_state ON incidents (state, first_seen, id);
CREATE INDEX incidents_by_fingerprint ON incidents (fingerprint, last_seen);

-- recovery_state holds what recovery remembers of itself: where in the stream of
-- events it is, and its policies.
CREATE TABLE recovery_state (
    name  {{key}} NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- fix_outcomes counts which fix helped against which cause.
CREATE TABLE fix_outcomes (
    cause  {{key}} NOT NULL,
    fix    {{key}} NOT NULL,
    tried  BIGINT NOT NULL,
    helped BIGINT NOT NULL,
    PRIMARY KEY (cause, fix)
);

-- good_revisions are the revisions that were seen to run well.
CREATE TABLE good_revisions (
    agent_id {{key}} NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (agent_id, revision)
);

-- +goose Down
DROP TABLE good_revisions;
DROP TABLE fix_outcomes;
DROP TABLE recovery_state;
DROP TABLE incidents;
