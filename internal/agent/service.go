package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// Service changes agents: each change is stored together with its revision,
// history, audit entry and event, or not at all.
type Service struct {
	Store   Store
	History History
	Tx      txn.Runner
	Audit   *audit.Recorder
	Events  event.Log
	Now     func() time.Time
	NewID   func() string
	// Runtimes are those that this portal has, by the names that specs give them.
	Runtimes []string
}

// Create stores a new agent in DRAFT. It fails with Invalid for a spec that is
// not valid or closes a cycle, and with Conflict for a taken id or name. The
// warnings name dependencies that are not in the fleet.
func (s *Service) Create(ctx context.Context, spec Spec) (*Agent, []string, error) {
	if err := invalidSpec(append(spec.Validate(), s.misplaced(spec)...)); err != nil {
		return nil, nil, err
	}
	spec = spec.WithDefaults()
	var a *Agent
	var warnings []string
	err := s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.free(ctx, spec, ""); err != nil {
			return err
		}
		rel, err := s.relate(ctx, spec)
		if err != nil {
			return err
		}
		warnings = rel.warnings(spec)
		d, err := s.insert(ctx, spec, "")
		if err != nil {
			return err
		}
		a = d.a
		return s.note(ctx, "", d)
	})
	if err != nil {
		return nil, nil, err
	}
	return a, warnings, nil
}

// insert stores a checked spec as a new agent, which has still to be noted.
func (s *Service) insert(ctx context.Context, spec Spec, reason string) (*done, error) {
	now := s.now()
	actor := audit.ActorFrom(ctx).ID
	a := &Agent{ID: spec.ID, Spec: spec, Revision: 1, State: Draft, Health: HealthUnknown, CreatedAt: now, UpdatedAt: now}
	rev := Revision{AgentID: a.ID, Number: 1, Spec: spec, CreatedBy: actor, Reason: reason, CreatedAt: now}
	if err := s.Store.Create(ctx, a, rev); err != nil {
		return nil, err
	}
	first := Transition{ID: s.NewID(), AgentID: a.ID, State: Draft, TriggeredBy: actor, CreatedAt: now}
	if err := s.History.AddTransition(ctx, first); err != nil {
		return nil, err
	}
	return &done{a: a, event: event.AgentCreated, act: audit.Act{Action: "agent.create", Target: target(a.ID), After: recordOf(spec)}}, nil
}

// update stores a checked spec as the agent's, of which it becomes the next
// revision by note.
func (s *Service) update(ctx context.Context, a *Agent, spec Spec, changes []FieldChange) (*done, error) {
	a.Spec, a.UpdatedAt = spec, s.now()
	a.Revision++
	if err := s.Store.Save(ctx, a); err != nil {
		return nil, err
	}
	before, after := forRecord(changes)
	return &done{a: a, event: event.AgentUpdated, act: audit.Act{Action: "agent.update", Target: target(a.ID), Before: before, After: after}}, nil
}

// done is a change of an agent that is stored and has still to be noted.
type done struct {
	a     *Agent
	event event.Type
	act   audit.Act
}

// note stores of changes what is kept beside the agents: revisions, the record, and
// what is announced. Many are written at once.
func (s *Service) note(ctx context.Context, reason string, list ...*done) error {
	actor := audit.ActorFrom(ctx).ID
	var revisions []Revision
	acts, events := make([]audit.Act, len(list)), make([]event.Event, len(list))
	for i, d := range list {
		if d.event == event.AgentUpdated {
			revisions = append(revisions, Revision{AgentID: d.a.ID, Number: d.a.Revision, Spec: d.a.Spec, CreatedBy: actor, Reason: reason, CreatedAt: d.a.UpdatedAt})
		}
		acts[i], events[i] = d.act, s.announcement(ctx, d.event, d.a, reason)
	}
	if err := s.History.AddRevision(ctx, revisions...); err != nil {
		return err
	}
	if err := s.Audit.RecordEach(ctx, audit.Done, reason, acts...); err != nil {
		return err
	}
	return s.Events.Append(ctx, events...)
}

// Patch changes the spec of an agent by an RFC 7396 merge patch of its JSON
// form, and stores a revision if that makes a difference. ifMatch is the
// LockVersion the caller saw, 0 for any. It fails with NotFound, Stale, Invalid
// as Create does, and Conflict for a REVOKED agent or for a new name while
// others depend on the old one.
func (s *Service) Patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (*Agent, []string, error) {
	const tries = 3 // without ifMatch, somebody else's change at the same instant is no reason to fail
	for try := 1; ; try++ {
		a, warnings, err := s.patch(ctx, id, ifMatch, mergePatch, reason)
		if err == nil {
			return a, warnings, nil
		}
		if ifMatch != 0 || try == tries || !fault.Is(err, fault.Stale) {
			return nil, nil, err
		}
	}
}

func (s *Service) patch(ctx context.Context, id string, ifMatch int64, mergePatch map[string]any, reason string) (a *Agent, warnings []string, err error) {
	err = s.Tx.Do(ctx, func(ctx context.Context) error {
		if a, err = s.Store.Get(ctx, id); err != nil {
			return err
		}
		if err := matches(a, ifMatch); err != nil {
			return err
		}
		spec, err := patched(a, mergePatch)
		if err != nil {
			return err
		}
		changes, rel, err := s.change(ctx, a, spec)
		if err != nil {
			return err
		}
		warnings = rel.warnings(spec)
		if len(changes) == 0 {
			return nil
		}
		d, err := s.update(ctx, a, spec, changes)
		if err != nil {
			return err
		}
		return s.note(ctx, reason, d)
	})
	return a, warnings, err
}

// change checks that the agent may get the spec and says what that changes.
func (s *Service) change(ctx context.Context, a *Agent, spec Spec) ([]FieldChange, relations, error) {
	if a.State == Revoked {
		return nil, nil, revoked(a)
	}
	changes := Diff(a.Spec, spec)
	if spec.Runtime != a.Spec.Runtime {
		if err := invalidSpec(s.misplaced(spec)); err != nil {
			return nil, nil, err
		}
	}
	if spec.Name != a.Spec.Name {
		if err := s.rename(ctx, a, spec); err != nil {
			return nil, nil, err
		}
	}
	rel, err := s.relate(ctx, spec)
	return changes, rel, err
}

// misplaced refuses a place that the portal is not configured with, which is likely
// to be a slip. Of the kinds it is for the fleet to say whether they are there.
func (s *Service) misplaced(spec Spec) []fault.Field {
	if !strings.Contains(spec.Runtime, "/") || !RuntimeName(spec.Runtime) || slices.Contains(s.Runtimes, spec.Runtime) {
		return nil
	}
	return []fault.Field{{Path: "runtime", Message: fmt.Sprintf("%s is no place that this portal is configured with; it has %s", spec.Runtime, strings.Join(s.Runtimes, ", "))}}
}

func revoked(a *Agent) *fault.Error {
	return fault.New(fault.Conflict, "agent.revoked", "The agent %s can't be changed", a.Spec.Name).
		Because("it is REVOKED, which is final").Do("Create a new agent instead.").With("state", a.State)
}

// patched gives the agent's spec with the merge patch applied.
func patched(a *Agent, mergePatch map[string]any) (Spec, error) {
	tree := a.Spec.Tree()
	_, template := mergePatch["template"]
	if !template && a.Spec.Template == DefaultTemplate && (mergePatch["command"] != nil || mergePatch["image"] != nil) {
		delete(tree, "template") // what runs where nothing is named yields to what is named now
	}
	merge(tree, mergePatch)
	spec, _, err := Decode(tree, Strict)
	if id, given := mergePatch["id"]; given && id != a.ID {
		f := fault.Field{Path: "id", Message: "can't be changed; it is " + a.ID}
		if e := fault.As(err); e != nil {
			return Spec{}, e.At(f)
		}
		return Spec{}, invalidSpec([]fault.Field{f})
	}
	return spec.WithDefaults(), err
}

// merge applies an RFC 7396 merge patch to the tree.
func merge(tree, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(tree, k)
		case map[string]any:
			sub, ok := tree[k].(map[string]any)
			if !ok {
				sub = map[string]any{}
				tree[k] = sub
			}
			merge(sub, v)
		default:
			tree[k] = v
		}
	}
}

// Delete removes an agent that is DRAFT or REVOKED, with its revisions and
// history; its audit entries stay. It fails with NotFound, Stale, and Conflict
// in any other state or while an operation works on it.
func (s *Service) Delete(ctx context.Context, id string, ifMatch int64) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		a, err := s.Store.Get(ctx, id)
		if err != nil {
			return err
		}
		if err := matches(a, ifMatch); err != nil {
			return err
		}
		f := fault.New(fault.Conflict, "agent.not_deletable", "The agent %s can't be deleted now", a.Spec.Name)
		switch {
		case a.ActiveOperation != "":
			return f.Because("the operation %s is working on it", a.ActiveOperation).
				Do("Wait for it to end, or cancel it.").With("operation", a.ActiveOperation)
		case a.State != Draft && a.State != Revoked:
			return f.Because("it is %s", a.State).Do("Revoke it first.").With("state", a.State).With("allowed", Allowed(a.State))
		}
		// An action that begins at the same instant must find the agent either
		// untouched or gone, so the row is claimed before it is removed.
		a.UpdatedAt = s.now()
		if err := s.Store.Save(ctx, a); err != nil {
			return err
		}
		if err := s.Store.Delete(ctx, a.ID); err != nil {
			return err
		}
		if err := s.Audit.Record(ctx, "agent.delete", target(a.ID), audit.Done, "", recordOf(a.Spec), nil); err != nil {
			return err
		}
		return s.Events.Append(ctx, s.announcement(ctx, event.AgentDeleted, a, ""))
	})
}

// Transition moves the agent to another state, because of reason. It stores
// what the caller changed in a, the entry of the history with meta, the audit
// entry (of the action in meta["action"], if there is one) and the event. It
// does not ask whether an action allows the move (see Next), but nothing
// leaves REVOKED. It fails with Stale if a is no longer what is stored.
func (s *Service) Transition(ctx context.Context, a *Agent, to State, reason string, meta map[string]any) error {
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		from := a.State
		if from == Revoked {
			return revoked(a)
		}
		now := s.now()
		a.State, a.UpdatedAt = to, now
		if to != Errored {
			a.Failure = nil
		}
		if err := s.Store.Save(ctx, a); err != nil {
			a.State = from
			return err
		}
		data := map[string]any{}
		for k, v := range meta {
			data[k] = v
		}
		if reason != "" {
			data["reason"] = reason
		}
		actor := audit.ActorFrom(ctx).ID
		t := Transition{ID: s.NewID(), AgentID: a.ID, State: to, PreviousState: from, Metadata: data, TriggeredBy: actor, CreatedAt: now}
		if err := s.History.AddTransition(ctx, t); err != nil {
			return err
		}
		if err := s.recordMove(ctx, a, from, reason, meta); err != nil {
			return err
		}
		payload := event.StateChanged{AgentID: a.ID, OldState: string(from), NewState: string(to), Reason: reason, Timestamp: now}
		return s.Events.Append(ctx, event.New(event.AgentStateChanged, a.ID, actor, now, payload, event.RoomAgents, event.RoomAgent(a.ID)))
	})
}

func (s *Service) recordMove(ctx context.Context, a *Agent, from State, reason string, meta map[string]any) error {
	action, outcome := "agent.transition", audit.Done
	if v, ok := meta["action"]; ok {
		action = "agent." + strings.TrimPrefix(fmt.Sprint(v), "agent.")
	}
	if a.State == Errored {
		outcome = audit.Failed
	}
	return s.Audit.Record(ctx, action, target(a.ID), outcome, reason, map[string]any{"state": from}, map[string]any{"state": a.State})
}

func (s *Service) announcement(ctx context.Context, t event.Type, a *Agent, reason string) event.Event {
	now := s.now()
	payload := event.AgentChange{AgentID: a.ID, Name: a.Spec.Name, Revision: a.Revision, Reason: reason, Timestamp: now}
	return event.New(t, a.ID, audit.ActorFrom(ctx).ID, now, payload, event.RoomAgents, event.RoomAgent(a.ID))
}

// now is the time as every store keeps it.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

func target(id string) string { return "agent/" + id }

// matches refuses if the caller saw another version of the agent.
func matches(a *Agent, ifMatch int64) error {
	if ifMatch == 0 || ifMatch == a.LockVersion {
		return nil
	}
	return fault.New(fault.Stale, "agent.stale", "The agent %s has changed meanwhile", a.Spec.Name).
		Because("its version is %d, not %d", a.LockVersion, ifMatch).
		Do("Read it again and repeat the change.").With("current", a.LockVersion)
}
