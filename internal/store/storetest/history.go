package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store"
)

var history = []promise{
	{"revisions are numbered once and listed newest first", func(t *testing.T, s *store.Store) {
		ctx, h := t.Context(), s.History()
		a := create(t, s, draft("one"))
		for n := 2; n <= 5; n++ {
			spec := a.Spec
			spec.Replicas = n
			must(t, h.AddRevision(ctx, agent.Revision{AgentID: a.ID, Number: n, Spec: spec, CreatedBy: "token:x", Reason: "more", CreatedAt: *after(time.Second)}))
		}
		wantKind(t, h.AddRevision(ctx, agent.Revision{AgentID: a.ID, Number: 3}), fault.Conflict)
		wantKind(t, h.AddRevision(ctx, agent.Revision{AgentID: a.ID, Number: 6}, agent.Revision{AgentID: a.ID, Number: 5}), fault.Conflict)
		_, err := h.Revision(ctx, a.ID, 6)
		wantKind(t, err, fault.NotFound) // all or none
		got, err := h.Revision(ctx, a.ID, 3)
		must(t, err)
		want := a.Spec
		want.Replicas = 3
		equal(t, "revision", got, &agent.Revision{AgentID: a.ID, Number: 3, Spec: want, CreatedBy: "token:x", Reason: "more", CreatedAt: *after(time.Second)})
		_, err = h.Revision(ctx, a.ID, 9)
		wantKind(t, err, fault.NotFound)
		for _, c := range []struct {
			before, limit int
			want          []int
		}{{0, 0, []int{5, 4, 3, 2, 1}}, {0, 2, []int{5, 4}}, {4, 2, []int{3, 2}}, {2, 2, []int{1}}, {1, 2, []int{}}} {
			list, err := h.Revisions(ctx, a.ID, c.before, c.limit)
			must(t, err)
			numbers := []int{}
			for _, r := range list {
				numbers = append(numbers, r.Number)
			}
			equal(t, "numbers", numbers, c.want)
		}
	}},
	{"transitions are listed newest first, page by page", func(t *testing.T, s *store.Store) {
		ctx, h := t.Context(), s.History()
		a, other := create(t, s, draft("one")), create(t, s, draft("two"))
		want := []agent.Transition{}
		for i := range 7 {
			tr := agent.Transition{
				ID: uuid(i), AgentID: a.ID, State: agent.Running, PreviousState: agent.Deployed, TriggeredBy: "token:x",
				Metadata: map[string]any{"operation": uuid(i), "n": 1.0}, CreatedAt: *after(time.Duration(i/2) * time.Microsecond),
			}
			must(t, h.AddTransition(ctx, tr))
			want = append([]agent.Transition{tr}, want...)
		}
		must(t, h.AddTransition(ctx, agent.Transition{ID: uuid(50), AgentID: other.ID, CreatedAt: epoch}))
		got, cursor := []agent.Transition{}, ""
		for range 4 {
			list, next, err := h.Transitions(ctx, a.ID, cursor, 3)
			must(t, err)
			got = append(got, list...)
			if cursor = next; cursor == "" {
				break
			}
			_, _, err = h.Transitions(ctx, other.ID, cursor, 3)
			wantKind(t, err, fault.Invalid) // another agent's list
		}
		equal(t, "transitions", got, want)
	}},
}

var operations = []promise{
	{"an operation comes back with its steps as it was stored", func(t *testing.T, s *store.Store) {
		ctx, o := t.Context(), s.Operations()
		op := fullOperation(uuid(1))
		must(t, o.Insert(ctx, op))
		wantKind(t, o.Insert(ctx, op), fault.Conflict)
		got, err := o.Get(ctx, op.ID)
		must(t, err)
		equal(t, "operation", got, op)

		bare := &operation.Operation{ID: uuid(2), Kind: "bulk", State: operation.Pending, CreatedAt: epoch}
		must(t, o.Insert(ctx, bare))
		got, err = o.Get(ctx, bare.ID)
		must(t, err)
		equal(t, "operation", got, bare)
	}},
	{"an update leaves the steps, a step leaves the rest", func(t *testing.T, s *store.Store) {
		ctx, o := t.Context(), s.Operations()
		op := fullOperation(uuid(1))
		must(t, o.Insert(ctx, op))
		changed := *op
		changed.State, changed.Steps, changed.Problem, changed.Undo = operation.Running, nil, nil, nil
		changed.Request, changed.Result, changed.Completed, changed.EndedAt = "cancel", []byte(`{"x":1}`), 1, nil
		must(t, o.Update(ctx, &changed))
		step := operation.Step{Name: "run", State: operation.StepDone, Attempts: 2, Detail: "ran", StartedAt: after(time.Millisecond), EndedAt: after(time.Second)}
		must(t, o.SaveStep(ctx, op.ID, 1, step))
		got, err := o.Get(ctx, op.ID)
		must(t, err)
		changed.Steps = []operation.Step{op.Steps[0], step}
		equal(t, "operation", got, &changed)
	}},
	{"unknown operations are not found", func(t *testing.T, s *store.Store) {
		ctx, o := t.Context(), s.Operations()
		_, err := o.Get(ctx, uuid(9))
		wantKind(t, err, fault.NotFound)
		wantKind(t, o.Update(ctx, fullOperation(uuid(9))), fault.NotFound)
		wantKind(t, o.SaveStep(ctx, uuid(9), 0, operation.Step{}), fault.NotFound)
		wantKind(t, o.AddAttempt(ctx, operation.Attempt{OperationID: uuid(9)}), fault.NotFound)
		must(t, o.Insert(ctx, fullOperation(uuid(1))))
		wantKind(t, o.SaveStep(ctx, uuid(1), 2, operation.Step{}), fault.NotFound)
		list, err := o.Attempts(ctx, uuid(9))
		must(t, err)
		equal(t, "attempts", len(list), 0)
	}},
	{"attempts are listed in the order they were added", func(t *testing.T, s *store.Store) {
		ctx, o := t.Context(), s.Operations()
		must(t, o.Insert(ctx, fullOperation(uuid(1))))
		want := []operation.Attempt{}
		for i := range 12 {
			a := operation.Attempt{OperationID: uuid(1), Step: "run", Number: 12 - i, Undo: i%2 == 0, StartedAt: *after(-time.Duration(i) * time.Second), EndedAt: epoch, Error: "no"}
			must(t, o.AddAttempt(ctx, a))
			want = append(want, a)
		}
		got, err := o.Attempts(ctx, uuid(1))
		must(t, err)
		equal(t, "attempts", got, want)
	}},
	{"operations are found by every filter, newest first", findOperations},
}

func fullOperation(id string) *operation.Operation {
	return &operation.Operation{
		ID: id, Kind: "agent.start", AgentID: "one", ParentID: uuid(90), State: operation.Failed, Request: "pause",
		Input: []byte(`{"a": 1}`), Result: []byte(`"r"`), Problem: &operation.Problem{Code: "c", What: "w", Why: "y", Remedy: "r"},
		Steps: []operation.Step{
			{Name: "check", State: operation.StepFailed, Attempts: 3, Detail: "d", Problem: &operation.Problem{What: "w"}, StartedAt: after(time.Second), EndedAt: after(time.Minute)},
			{Name: "run", State: operation.StepPending},
		},
		Completed: 1, Total: 2, Actor: "token:x", Reason: "because", UndoOf: uuid(91),
		Undo:      &operation.Undo{Action: "stop", Until: *after(time.Hour), UsedBy: uuid(92), Details: "d"},
		CreatedAt: epoch, StartedAt: after(time.Second), EndedAt: after(time.Minute),
	}
}

func opQuery(cursor string) operation.Query { return operation.Query{Cursor: cursor} }

func findOperations(t *testing.T, s *store.Store) {
	ctx, o := t.Context(), s.Operations()
	states := []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling, operation.Succeeded, operation.Failed, operation.Cancelled}
	for i, state := range states {
		must(t, o.Insert(ctx, &operation.Operation{
			ID: uuid(i), Kind: []string{"agent.start", "agent.stop", "bulk"}[i%3], AgentID: []string{"one", "two"}[i%2],
			ParentID: []string{"", uuid(90)}[i/4], State: state, Actor: []string{"a", "b"}[i%2], CreatedAt: *after(time.Duration(i/2) * time.Second),
		}))
	}
	for _, c := range []struct {
		q    operation.Query
		want []int
	}{
		{operation.Query{}, []int{6, 5, 4, 3, 2, 1, 0}},
		{operation.Query{States: []operation.State{operation.Running, operation.Failed}}, []int{5, 1}},
		{operation.Query{Kinds: []string{"bulk", "agent.stop"}}, []int{5, 4, 2, 1}},
		{operation.Query{AgentIDs: []string{"two"}}, []int{5, 3, 1}},
		{operation.Query{AgentIDs: []string{"two", "one"}, Kinds: []string{"bulk"}}, []int{5, 2}},
		{operation.Query{ParentID: uuid(90)}, []int{6, 5, 4}},
		{operation.Query{Actor: "a"}, []int{6, 4, 2, 0}},
		{operation.Query{Since: *after(2 * time.Second)}, []int{6, 5, 4}},
		{operation.Query{Kinds: []string{"none"}}, []int{}},
	} {
		got, cursor := []int{}, ""
		for {
			c.q.Limit, c.q.Cursor = 2, cursor
			list, next, err := o.Find(ctx, c.q)
			must(t, err)
			for _, op := range list {
				got = append(got, slices.Index(states, op.State))
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		equal(t, "operations", got, c.want)
	}
	open, err := o.Unfinished(ctx)
	must(t, err)
	equal(t, "unfinished", open, []string{uuid(0), uuid(1), uuid(2), uuid(3)})
}

var bulks = []promise{
	{"a bulk operation comes back with its items in order", func(t *testing.T, s *store.Store) {
		ctx, b := t.Context(), s.Bulks()
		want := fullBulk(uuid(1), 0)
		stored := fullBulk(uuid(1), 0)
		stored.Items[0], stored.Items[2] = stored.Items[2], stored.Items[0]
		must(t, b.InsertBulk(ctx, stored))
		wantKind(t, b.InsertBulk(ctx, stored), fault.Conflict)
		got, err := b.Bulk(ctx, want.ID)
		must(t, err)
		equal(t, "bulk", got, want)

		want.State, want.Completed, want.Failed, want.EndedAt = operation.Failed, 3, 1, after(time.Hour)
		must(t, b.UpdateBulk(ctx, want))
		want.Items[1] = bulk.Item{
			AgentID: "b", Wave: 1, State: bulk.ItemFailed, Action: agent.Stop, Operations: []string{uuid(5), uuid(6)},
			Problem: &operation.Problem{What: "w"}, Note: "n", StartedAt: after(1000), EndedAt: after(2000),
		}
		must(t, b.SaveItem(ctx, want.ID, want.Items[1]))
		got, err = b.Bulk(ctx, want.ID)
		must(t, err)
		equal(t, "bulk", got, want)
	}},
	{"bulk operations are listed newest first, without items", func(t *testing.T, s *store.Store) {
		ctx, b := t.Context(), s.Bulks()
		for i := range 5 {
			must(t, b.InsertBulk(ctx, fullBulk(uuid(i), i)))
		}
		got, cursor := []string{}, ""
		for {
			list, next, err := b.Bulks(ctx, cursor, 2)
			must(t, err)
			for _, one := range list {
				equal(t, "items", len(one.Items), 0)
				got = append(got, one.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		equal(t, "bulks", got, []string{uuid(4), uuid(3), uuid(2), uuid(1), uuid(0)})
	}},
	{"unknown bulk operations are not found", func(t *testing.T, s *store.Store) {
		ctx, b := t.Context(), s.Bulks()
		_, err := b.Bulk(ctx, uuid(9))
		wantKind(t, err, fault.NotFound)
		wantKind(t, b.UpdateBulk(ctx, fullBulk(uuid(9), 0)), fault.NotFound)
		must(t, b.InsertBulk(ctx, fullBulk(uuid(1), 0)))
		wantKind(t, b.SaveItem(ctx, uuid(1), bulk.Item{AgentID: "none"}), fault.NotFound)
		wantKind(t, b.SaveItem(ctx, uuid(9), bulk.Item{AgentID: "a"}), fault.NotFound)
		_, _, err = b.Bulks(ctx, "x", 2)
		wantKind(t, err, fault.Invalid)
	}},
}

func fullBulk(id string, n int) *bulk.Bulk {
	return &bulk.Bulk{
		ID: id, State: operation.Running, Actions: []agent.Action{agent.Provision, agent.Deploy}, MaxParallel: 5,
		OnFailure: bulk.Rollback, Reason: "r", Actor: "token:x", Total: 3, Completed: 1, Succeeded: 1, Skipped: 1,
		Items: []bulk.Item{
			{AgentID: "c", Wave: 0, State: bulk.ItemPending},
			{AgentID: "b", Wave: 1, State: bulk.ItemRunning},
			{AgentID: "d", Wave: 1, State: bulk.ItemSkipped, Note: "already RUNNING"},
		},
		CreatedAt: *after(time.Duration(n) * time.Second),
	}
}
