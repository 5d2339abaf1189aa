package recovery

import (
	"context"
	"log/slog"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Fleet is what recovery asks of the fleet. See fleet.Service.
type Fleet interface {
	Act(ctx context.Context, agentID string, action agent.Action, opt fleet.ActOptions) (*operation.Operation, error)
	Impact(ctx context.Context, id string, action agent.Action) (fleet.Impact, error)
	Instances(ctx context.Context, agentIDs ...string) (map[string][]fleet.Instance, error)
	Logs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error
	Runtime(name string) (fleet.Runtime, error)
}

// Editor changes specifications. See agent.Service.
type Editor interface {
	Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*agent.Agent, []string, error)
}

// Operations carry out fixes. See operation.Service.
type Operations interface {
	Register(d operation.Definition)
	OnUndo(kind string, fn operation.UndoFunc)
	Create(ctx context.Context, op *operation.Operation) error
	Get(ctx context.Context, id string) (*operation.Operation, error)
	Wait(ctx context.Context, id string) (*operation.Operation, error)
}

// Keys keeps the credential of each agent. See auth.Keyring.
type Keys interface {
	Issue(ctx context.Context, agentID string) (secret string, err error)
	Revoke(ctx context.Context, agentID string) error
}

// Machine is the machine that processes run on.
type Machine interface {
	// HolderOf gives the process that listens on a port; pid 0 if it can't be seen.
	HolderOf(port int) (pid int, command, agentID string, ok bool)
	// FreePort gives a port near the one that nobody uses; 0 if there is none.
	FreePort(near int) int
	// FindCommand looks a command up for an agent, and gives those of almost the same name.
	FindCommand(agentID, command, path string) (there bool, near []string)
	// DiskFree is what is left where agents keep their files, in bytes; -1 if not known.
	DiskFree() int64
	// Disposable lists what FreeDisk would delete of an agent's own directories.
	Disposable(agentID string) (files []string, size int64, err error)
	FreeDisk(agentID string) (freed int64, err error)
}

// Queues are the queues of agents. See queue.Broker.
type Queues interface {
	Stats(ctx context.Context, agentID string) (queue.Stats, error)
}

// Letters are the messages that make trouble. See queue.Inspector.
type Letters interface {
	// Working gives the oldest message that is being worked on; nil if there is none.
	Working(ctx context.Context, agentID string) (*queue.Message, error)
	// Bury makes a message a dead letter; no error if it is gone.
	Bury(ctx context.Context, agentID string, sequence uint64, why string) error
}

// Probes gives the history of probes. See health.Store.
type Probes interface {
	Results(ctx context.Context, agentID, cursor string, limit int) (list []health.Result, next string, err error)
}

// Service keeps incidents and mends what they are about. Register must be called
// before the engine of the operations starts.
type Service struct {
	Store    Store
	Memory   Memory
	Decided  PolicyStore
	Agents   agent.Store
	History  agent.History
	Editor   Editor
	Fleet    Fleet
	Ops      Operations
	Machine  Machine // nil where the runtime is elsewhere
	Queues   Queues
	Letters  Letters // may be nil
	Keys     Keys
	Probes   Probes
	Tx       txn.Runner
	Audit    *audit.Recorder
	Events   event.Log
	Now      func() time.Time
	NewID    func() string
	Log      *slog.Logger  // nil means slog.Default()
	UndoTime time.Duration // how long a fix can be undone; 0 means an hour
	// Steady is how long an agent must run without trouble to count as recovered;
	// 0 means 3 seconds.
	Steady time.Duration

	watch watch
}

func (s *Service) log() *slog.Logger {
	if s.Log == nil {
		return slog.Default()
	}
	return s.Log
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func (s *Service) steady() time.Duration {
	if s.Steady <= 0 {
		return 3 * time.Second
	}
	return s.Steady
}

// List gives a page of incidents, newest first, with suggestions in the order of
// what is known to help now.
func (s *Service) List(ctx context.Context, q Query) ([]*Incident, string, error) {
	list, next, err := s.Store.Incidents(ctx, q)
	if err != nil {
		return nil, "", err
	}
	odds, err := s.odds(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, in := range list {
		odds.order(in)
	}
	return list, next, nil
}

// Get gives one incident; NotFound.
func (s *Service) Get(ctx context.Context, id string) (*Incident, error) {
	in, err := s.Store.Incident(ctx, id)
	if err != nil {
		return nil, err
	}
	odds, err := s.odds(ctx)
	if err == nil {
		odds.order(in)
	}
	return in, err
}

// recurring is how far back patterns look, and how often something must have
// come back.
const (
	patternsOver  = 30 * 24 * time.Hour
	patternsLeast = 2
)

// Patterns gives what came back again and again in the last 30 days.
func (s *Service) Patterns(ctx context.Context, agentIDs []string, least, limit int) ([]Pattern, error) {
	return s.Store.Patterns(ctx, agentIDs, max(least, patternsLeast), s.now().Add(-patternsOver), limit)
}

// Dismiss ends an incident without a fix. Conflict if it has ended or is being fixed.
func (s *Service) Dismiss(ctx context.Context, id, reason string) (*Incident, error) {
	var out *Incident
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		in, err := s.Store.Incident(ctx, id)
		if err != nil {
			return err
		}
		if in.State != Open {
			return fault.New(fault.Conflict, "error.not_open", "The error can't be dismissed").
				Because("it is %s", in.State).Do("Only open errors can be dismissed.").With("state", in.State)
		}
		before := in.State
		in.State, in.Note, in.NeedsHuman = Dismissed, reason, false
		if err := s.save(ctx, in); err != nil {
			return err
		}
		out = in
		return s.Audit.Record(ctx, "error.dismiss", "error/"+in.ID, audit.Done, reason, map[string]any{"state": before},
			map[string]any{"state": in.State, "agent": in.AgentID, "cause": in.Cause})
	})
	return out, s.refused(ctx, "error.dismiss", id, err)
}

// refused writes the audit entry of what was not allowed, and gives err back.
func (s *Service) refused(ctx context.Context, action, id string, err error) error {
	f := fault.As(err)
	if f == nil || f.Kind == fault.Internal {
		return err
	}
	if e := s.Audit.Record(context.WithoutCancel(ctx), action, "error/"+id, audit.Refused, f.Error(), nil, nil); e != nil {
		return e
	}
	return err
}

// save stores a changed incident and announces it, in the transaction in ctx.
func (s *Service) save(ctx context.Context, in *Incident) error {
	if err := s.Store.UpdateIncident(ctx, in); err != nil {
		return err
	}
	return s.announce(ctx, event.ErrorChanged, in)
}

func (s *Service) announce(ctx context.Context, t event.Type, in *Incident) error {
	now := s.now()
	return s.Events.Append(ctx, event.New(t, in.AgentID, auth.From(ctx).ID, now, event.Error{
		ErrorID: in.ID, AgentID: in.AgentID, Class: string(in.Class), Cause: string(in.Cause), State: string(in.State), Title: in.Title,
		Count: in.Count, OperationID: in.OperationID, NeedsHuman: in.NeedsHuman, Timestamp: now,
	}, event.RoomErrors, event.RoomAgent(in.AgentID)))
}

// odds are how often each fix helped against each cause.
type odds map[cause.Code]map[cause.Fix]Outcome

func (s *Service) odds(ctx context.Context) (odds, error) {
	list, err := s.Memory.Outcomes(ctx)
	if err != nil {
		return nil, err
	}
	o := odds{}
	for _, r := range list {
		if o[r.Cause] == nil {
			o[r.Cause] = map[cause.Fix]Outcome{}
		}
		o[r.Cause][r.Fix] = r
	}
	return o, nil
}

// weight is how many tries the experience with a cause in general counts for.
const weight = 6.0

// order makes expected success of what is known of the cause in general and of
// what happened here, puts what failed for this very incident last, and sorts.
func (o odds) order(in *Incident) {
	failed := in.failed()
	for i := range in.Suggestions {
		sg := &in.Suggestions[i]
		r := o[in.Cause][sg.Fix]
		sg.ExpectedSuccess = round((sg.ExpectedSuccess*weight + float64(r.Helped)) / (weight + float64(r.Tried)))
		if failed[sg.Fix] {
			sg.ExpectedSuccess = round(sg.ExpectedSuccess * 0.1)
		}
	}
	sortSuggestions(in.Suggestions)
}
