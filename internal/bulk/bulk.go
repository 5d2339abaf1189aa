// Package bulk runs actions on many agents as one durable operation: in
// dependency order, at most N at once, with a result for each agent.
package bulk

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/operation"
)

// OnFailure is what happens to the rest when one agent fails.
type OnFailure string

// The choices.
const (
	Continue OnFailure = "continue" // go on with those that do not depend on it
	Stop     OnFailure = "stop"     // start nothing more
	Rollback OnFailure = "rollback" // start nothing more and undo what succeeded
)

// Request is what a user asks for.
type Request struct {
	Actions     []agent.Action
	AgentIDs    []string     // exactly one of AgentIDs, Selector and Filter
	Selector    string       // label selector
	Filter      *agent.Query // as in the list of agents
	MaxParallel int          // default 5, at most 50
	OnFailure   OnFailure    // default Continue
	Reason      string
}

// ItemState is where one agent's part is.
type ItemState string

// The states of an item.
const (
	ItemPending    ItemState = "pending"
	ItemRunning    ItemState = "running"
	ItemSucceeded  ItemState = "succeeded"
	ItemFailed     ItemState = "failed"
	ItemSkipped    ItemState = "skipped"     // already there, or a dependency failed
	ItemCancelled  ItemState = "cancelled"   // not started before the cancel or stop
	ItemRolledBack ItemState = "rolled_back" // succeeded, then undone
)

// Item is one agent's part.
type Item struct {
	AgentID    string             `json:"agent_id"`
	Wave       int                `json:"wave"` // 0 first; every dependency is in an earlier wave
	State      ItemState          `json:"state"`
	Action     agent.Action       `json:"action,omitempty"` // the one in progress, or the last one
	Operations []string           `json:"operations,omitempty"`
	Problem    *operation.Problem `json:"problem,omitempty"`
	Note       string             `json:"note,omitempty"` // e.g. "already RUNNING"
	StartedAt  *time.Time         `json:"started_at,omitempty"`
	EndedAt    *time.Time         `json:"ended_at,omitempty"`
}

// Bulk is one bulk operation; ID is also the id of its operation.
type Bulk struct {
	ID          string          `json:"id"`
	State       operation.State `json:"state"`
	Actions     []agent.Action  `json:"actions"`
	MaxParallel int             `json:"max_parallel"`
	OnFailure   OnFailure       `json:"on_failure"`
	Reason      string          `json:"reason,omitempty"`
	Actor       string          `json:"actor"`
	Items       []Item          `json:"items,omitempty"`
	Total       int             `json:"total"`
	Completed   int             `json:"completed"` // items that are final
	Succeeded   int             `json:"succeeded"`
	Failed      int             `json:"failed"`
	Skipped     int             `json:"skipped"`
	CreatedAt   time.Time       `json:"created_at"`
	EndedAt     *time.Time      `json:"ended_at,omitempty"`
}

// Store keeps bulk operations. NotFound for an unknown id.
type Store interface {
	InsertBulk(ctx context.Context, b *Bulk) error
	// Bulk gives one with its items, in order of wave and agent id.
	Bulk(ctx context.Context, id string) (*Bulk, error)
	// Bulks lists newest first, without items.
	Bulks(ctx context.Context, cursor string, limit int) (list []*Bulk, next string, err error)
	// UpdateBulk stores everything but the items.
	UpdateBulk(ctx context.Context, b *Bulk) error
	// SaveItem stores one item by its agent id.
	SaveItem(ctx context.Context, bulkID string, it Item) error
}
