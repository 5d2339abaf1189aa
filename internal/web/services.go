package web

import (
	"context"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/queue"
)

// AgentReader reads agents. See agent.Store.
type AgentReader interface {
	Get(ctx context.Context, id string) (*agent.Agent, error)
	Find(ctx context.Context, q agent.Query) (agent.Page, error)
	Counts(ctx context.Context) (map[agent.State]int, map[agent.Health]int, error)
	Dependencies(ctx context.Context) (map[string][]string, error)
}

// AgentEditor changes what agents are declared to be. See agent.Service.
type AgentEditor interface {
	Create(ctx context.Context, spec agent.Spec) (*agent.Agent, []string, error)
	Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*agent.Agent, []string, error)
	Import(ctx context.Context, docs []map[string]any, opts agent.ImportOptions) (agent.ImportResult, error)
	Delete(ctx context.Context, id string, ifMatch int64) error
}

// HistoryReader reads what agents were. See agent.History.
type HistoryReader interface {
	Revision(ctx context.Context, agentID string, number int) (*agent.Revision, error)
	Revisions(ctx context.Context, agentID string, before, limit int) ([]agent.Revision, error)
	Transitions(ctx context.Context, agentID, cursor string, limit int) (list []agent.Transition, next string, err error)
}

// Fleet acts on agents and shows what runs. See fleet.Service.
type Fleet interface {
	Act(ctx context.Context, agentID string, action agent.Action, opt fleet.ActOptions) (*operation.Operation, error)
	Impact(ctx context.Context, id string, action agent.Action) (fleet.Impact, error)
	Instances(ctx context.Context, agentIDs ...string) (map[string][]fleet.Instance, error)
	Logs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error
}

// Steward knows what agents hold where, and clears what nobody owns. See
// fleet.Service.
type Steward interface {
	RuntimeNames() []string
	Account(ctx context.Context, agentID string) (*fleet.Account, error)
	Holders(ctx context.Context, q fleet.HolderQuery) (*fleet.Holders, error)
	QuotaUses(ctx context.Context) ([]fleet.QuotaUse, error)
	Orphans(ctx context.Context) (list []fleet.Orphan, notes []string, err error)
	Orphan(ctx context.Context, runtime, id string) (*fleet.Orphan, error)
	RemoveOrphan(ctx context.Context, runtime, id, reason string) (*fleet.Orphan, error)
}

// Mover moves agents between runtimes, and takes over what others made of them there.
// See fleet.Service.
type Mover interface {
	AdoptDrift(ctx context.Context, agentID string, ifMatch int64, reason string) (a *agent.Agent, warnings []string, err error)
	PlanAdoption(ctx context.Context, agentID string) (*fleet.Adoption, error)
	RuntimeNames() []string
	PlanMove(ctx context.Context, agentID string, opt fleet.MoveOptions) (*fleet.MovePlan, error)
	Move(ctx context.Context, agentID string, opt fleet.MoveOptions) (*operation.Operation, error)
}

// Operations shows and steers operations. See operation.Service.
type Operations interface {
	Get(ctx context.Context, id string) (*operation.Operation, error)
	Find(ctx context.Context, q operation.Query) ([]*operation.Operation, string, error)
	Attempts(ctx context.Context, id string) ([]operation.Attempt, error)
	Pause(ctx context.Context, id string) (*operation.Operation, error)
	Resume(ctx context.Context, id string) (*operation.Operation, error)
	Cancel(ctx context.Context, id string) (*operation.Operation, error)
	Undo(ctx context.Context, id string) (*operation.Operation, error)
}

// Bulks starts, shows and steers bulk operations. See bulk.Service.
type Bulks interface {
	Preview(ctx context.Context, r bulk.Request) (bulk.Preview, error)
	Start(ctx context.Context, r bulk.Request) (*bulk.Bulk, error)
	Get(ctx context.Context, id string) (*bulk.Bulk, error)
	List(ctx context.Context, cursor string, limit int) (list []*bulk.Bulk, next string, err error)
	Cancel(ctx context.Context, id string) (*bulk.Bulk, error)
	RollBack(ctx context.Context, id string) (*bulk.Bulk, error)
}

// ProbeReader reads what probes found. See health.Store.
type ProbeReader interface {
	Results(ctx context.Context, agentID, cursor string, limit int) (list []health.Result, next string, err error)
}

// EventReader reads the stored stream of events. See event.Log.
type EventReader interface {
	Find(ctx context.Context, q event.Query) ([]event.Event, error)
}

// QueueReader reads what waits in all queues, by agent. See bus.Bus.
type QueueReader interface {
	Backlogs(ctx context.Context) (map[string]queue.Stats, error)
}

// Preferences remembers what a person likes. See preference.Service.
type Preferences interface {
	Get(ctx context.Context, owner, key string, v any) error
	List(ctx context.Context, owner, prefix string) ([]preference.Preference, error)
	Put(ctx context.Context, owner, key string, v any) error
	Delete(ctx context.Context, owner, key string) error
}
