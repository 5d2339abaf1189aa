// Package audit keeps the record of who did what, in a chain of hashes that
// shows any later change, removal or reordering.
package audit

import (
	"context"
	"encoding/json"
	"time"
)

// Outcome says whether the attempt was carried out.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Entry is one line of the record.
type Entry struct {
	Seq     int64           `json:"seq"` // 1, 2, 3 … without gaps; set by Append
	At      time.Time       `json:"at"`  // UTC, microseconds
	Actor   string          `json:"actor"`
	Role    string          `json:"role,omitempty"`
	From    string          `json:"from,omitempty"` // address it came from
	Action  string          `json:"action"`         // e.g. "agent.start"
	Target  string          `json:"target"`         // e.g. "agent/wow-memory"
	Outcome Outcome         `json:"outcome"`
	Reason  string          `json:"reason,omitempty"`
	Request string          `json:"request,omitempty"` // id of the request or operation
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
	Prev    string          `json:"prev"` // hash of the entry before, hex; 64 zeros for the first
	Hash    string          `json:"hash"` // SHA-256 over the canonical form of all other fields
}

// Query selects entries. Zero fields do not restrict.
type Query struct {
	Actor, Action, Target string   // exact; Action and Target may end in "*"
	Targets               []string // any of these, each as Target
	Outcome               Outcome
	Search                string // in action, target, reason, before and after
	Since, Until          time.Time
	Limit                 int // default 100, at most 1000
	Cursor                string
}

// Store keeps the chain.
type Store interface {
	// Append numbers, links, hashes and stores the entries, one after the other, in
	// the transaction in ctx (it makes one if there is none).
	Append(ctx context.Context, entries ...Entry) error
	// Find lists newest first.
	Find(ctx context.Context, q Query) (list []Entry, next string, err error)
	// Walk calls fn with each entry from seq on, oldest first.
	Walk(ctx context.Context, from int64, fn func(Entry) error) error
	// Head gives the number and hash that the chain should end with.
	Head(ctx context.Context) (seq int64, hash string, err error)
}
