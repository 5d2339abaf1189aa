-- What each person likes of the portal, for example saved filters.

-- +goose Up
CREATE TABLE preferences (
    owner      {{key}} NOT NULL,
    name       {{key}} NOT NULL,
    value      TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (owner, name)
);

-- +goose Down
DROP TABLE preferences;
