// Package health probes instances, remembers what it found, and restarts what
// hangs, within limits.
package health

import (
	"context"
	"time"
)

// Kind is which of the two questions a probe asks.
type Kind string

// The kinds of probe.
const (
	Liveness  Kind = "liveness"
	Readiness Kind = "readiness"
)

// Result is one change of what a probe says; unchanged answers are not stored.
type Result struct {
	AgentID    string        `json:"agent_id"`
	InstanceID string        `json:"instance_id"`
	Kind       Kind          `json:"kind"`
	OK         bool          `json:"ok"`
	Reason     string        `json:"reason,omitempty"` // e.g. "GET /health: 503"
	Latency    time.Duration `json:"latency_ns"`
	At         time.Time     `json:"at"`
}

// Store keeps the history of probe results.
type Store interface {
	AddResult(ctx context.Context, r Result) error
	// Results lists newest first.
	Results(ctx context.Context, agentID, cursor string, limit int) (list []Result, next string, err error)
	// PruneResults removes those older than before.
	PruneResults(ctx context.Context, before time.Time) (int, error)
}
