package auth

import (
	"context"
	"time"
)

// Replay is the answer that was given to a request with an Idempotency-Key, so
// that the same request gets the same answer again without being done twice.
type Replay struct {
	Key       string // as sent
	Principal string // id of who sent it; keys of different principals do not meet
	Method    string
	Path      string
	BodyHash  string // SHA-256 of the request's body, hex
	Status    int
	Header    map[string]string
	Body      []byte
	CreatedAt time.Time
}

// IdempotencyStore keeps replays.
type IdempotencyStore interface {
	// PutReplay stores one; Conflict if there is one of the principal and key.
	PutReplay(ctx context.Context, r Replay) error
	// Replay gives the one of the principal and key; NotFound.
	Replay(ctx context.Context, principal, key string) (*Replay, error)
	// PruneReplays removes those made before.
	PruneReplays(ctx context.Context, before time.Time) error
}
