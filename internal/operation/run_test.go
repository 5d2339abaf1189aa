package operation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

func TestSuccess(t *testing.T) {
	w := newWorld(t)
	var actor audit.Actor
	w.boot(w.definition(
		w.step("a", func(ctx context.Context, run operation.Run) error {
			run.Detail(ctx, "looking")
			actor = audit.ActorFrom(ctx)
			if p := auth.From(ctx); p.ID != "token:x" {
				return fmt.Errorf("acts as %q", p.ID)
			}
			if want := run.Operation().ID + "/a"; run.Key() != want {
				return fmt.Errorf("key %q, want %q", run.Key(), want)
			}
			return run.Result(map[string]int{"n": 7})
		}),
		w.step("b", nil),
	))
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Succeeded)
	w.wantSeen("do a", "do b", "finish SUCCEEDED")
	if op.Completed != 2 || op.Total != 2 || op.StartedAt == nil || op.EndedAt == nil || op.Request != "" {
		t.Errorf("not complete: %+v", op)
	}
	if string(op.Result) != `{"n":7}` {
		t.Errorf("result %s", op.Result)
	}
	for _, st := range op.Steps {
		if st.State != operation.StepDone || st.Attempts != 1 || st.StartedAt == nil || st.EndedAt == nil {
			t.Errorf("step %+v", st)
		}
	}
	if op.Steps[0].Detail != "looking" {
		t.Errorf("detail %q", op.Steps[0].Detail)
	}
	if actor.ID != "token:x" || actor.Request != op.ID {
		t.Errorf("the record would name %+v", actor)
	}
	list := w.attempts(op.ID)
	if len(list) != 2 || list[0].Step != "a" || list[1].Step != "b" || list[0].Error != "" || list[0].Number != 1 {
		t.Errorf("attempts %+v", list)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", nil), w.step("b", nil)))
	id := w.wait(w.create("work").ID).ID
	list, err := w.store.Events().Find(t.Context(), event.Query{Rooms: []string{event.RoomOperation(id)}})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, e := range list {
		if !slices.Contains(e.Rooms, event.RoomAgent("agent-1")) || !slices.Contains(e.Rooms, event.RoomOperations) || e.Actor != "token:x" {
			t.Errorf("event %+v is not told to everyone", e)
		}
		switch e.Type {
		case event.OperationChanged:
			var p event.Operation
			if err := json.Unmarshal(e.Data, &p); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, fmt.Sprintf("%s %d/%d", p.State, p.Completed, p.Total))
		case event.StepCompleted:
			var p event.Step
			if err := json.Unmarshal(e.Data, &p); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, p.Step+" "+p.Status)
		}
	}
	want := []string{"PENDING 0/2", "RUNNING 0/2", "a done", "RUNNING 1/2", "RUNNING 1/2", "b done", "RUNNING 2/2", "SUCCEEDED 2/2"}
	if !slices.Equal(seen, want) {
		t.Errorf("events\n got %q\nwant %q", seen, want)
	}
}

// Whichever step fails, it and those before it are undone, last first, and
// those after it are not begun.
func TestFailAtEveryStep(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for k, failing := range names {
		t.Run(failing, func(t *testing.T) {
			w := newWorld(t)
			var steps []operation.StepDef
			var want []string
			for i, name := range names {
				steps = append(steps, w.step(name, func(context.Context, operation.Run) error {
					if name == failing {
						return fault.New(fault.Conflict, "test.broken", "It broke").Because("it is a test").Do("Go on.")
					}
					return nil
				}))
				if i <= k {
					want = append(want, "do "+name)
				}
			}
			for i := k; i >= 0; i-- {
				want = append(want, "undo "+names[i])
			}
			w.boot(w.definition(steps...))
			op := w.wait(w.create("work").ID)
			wantState(t, op, operation.Failed)
			w.wantSeen(append(want, "finish FAILED")...)
			for i, st := range op.Steps {
				should := operation.StepUndone
				if i == k {
					should = operation.StepFailed
				} else if i > k {
					should = operation.StepSkipped
				}
				if st.State != should {
					t.Errorf("step %s is %s, want %s", st.Name, st.State, should)
				}
			}
			p := operation.Problem{Code: "test.broken", What: "It broke", Why: "it is a test", Remedy: "Go on."}
			if op.Problem == nil || *op.Problem != p || op.Steps[k].Problem == nil || *op.Steps[k].Problem != p {
				t.Errorf("problem %+v", op.Problem)
			}
			if op.Completed != 0 {
				t.Errorf("completed %d of what was undone", op.Completed)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	w := newWorld(t)
	tries := 0
	flaky := w.step("flaky", func(context.Context, operation.Run) error {
		if tries++; tries < 3 {
			return fault.New(fault.Unavailable, "test.away", "It is away")
		}
		return nil
	})
	flaky.Retry = operation.Retry{Attempts: 3, Backoff: time.Millisecond}
	w.boot(w.definition(flaky))
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Succeeded)
	if st := op.Steps[0]; st.Attempts != 3 || st.Problem != nil {
		t.Errorf("step %+v", st)
	}
	var errs []string
	for _, a := range w.attempts(op.ID) {
		errs = append(errs, fmt.Sprint(a.Number, a.Error))
	}
	if want := []string{"1It is away", "2It is away", "3"}; !slices.Equal(errs, want) {
		t.Errorf("attempts %q, want %q", errs, want)
	}
}

func TestWhatIsNotRetried(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Invalid, fault.Conflict, fault.NotFound, fault.Forbidden} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			s := w.step("a", func(context.Context, operation.Run) error { return fault.New(kind, "test", "No") })
			s.Retry.Attempts = 5
			w.boot(w.definition(s))
			op := w.wait(w.create("work").ID)
			wantState(t, op, operation.Failed)
			if op.Steps[0].Attempts != 1 {
				t.Errorf("%d attempts", op.Steps[0].Attempts)
			}
		})
	}
}

func TestRetriesAreUsedUp(t *testing.T) {
	w := newWorld(t)
	s := w.step("a", func(context.Context, operation.Run) error { return fault.New(fault.Unavailable, "test", "Away") })
	s.Retry = operation.Retry{Attempts: 4, Backoff: time.Microsecond}
	w.boot(w.definition(s))
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Failed)
	if op.Steps[0].Attempts != 4 || len(w.attempts(op.ID)) != 5 { // and one of undoing
		t.Errorf("%d attempts, %d recorded", op.Steps[0].Attempts, len(w.attempts(op.ID)))
	}
}

func TestTimeout(t *testing.T) {
	w := newWorld(t)
	s := w.step("slow", func(ctx context.Context, _ operation.Run) error { <-ctx.Done(); return ctx.Err() })
	s.Timeout = 10 * time.Millisecond
	w.boot(w.definition(s))
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Failed)
	if op.Problem.Code != "operation.step_timeout" || !strings.Contains(op.Problem.What, "slow") {
		t.Errorf("problem %+v", op.Problem)
	}
}

// What is no fault is told to the log alone, under an id that people see.
func TestInternalErrorsDoNotLeak(t *testing.T) {
	secret := "password=hunter2"
	for name, do := range map[string]func() error{
		"error": func() error { return errors.New(secret) },
		"panic": func() error { panic(secret) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.boot(w.definition(w.step("a", nil), w.step("b", func(context.Context, operation.Run) error { return do() })))
			op := w.wait(w.create("work").ID)
			wantState(t, op, operation.Failed)
			w.wantSeen("do a", "do b", "undo b", "undo a", "finish FAILED")
			shown, err := json.Marshal([]any{op, w.attempts(op.ID)})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(shown), "hunter2") {
				t.Errorf("people see the cause: %s", shown)
			}
			_, id, _ := strings.Cut(op.Problem.Why, "under ")
			if log := w.logged.String(); op.Problem.Code != "internal" || !strings.Contains(log, secret) || !strings.Contains(log, id) {
				t.Errorf("problem %+v, log %s", op.Problem, log)
			}
		})
	}
}

func TestProblemNamesFields(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", func(context.Context, operation.Run) error {
		return fault.New(fault.Invalid, "test", "Wrong").At(fault.Field{Path: "x.y", Message: "is missing"}, fault.Field{Path: "z", Message: "is long"})
	})))
	op := w.wait(w.create("work").ID)
	if want := "x.y: is missing; z: is long"; op.Problem.Why != want {
		t.Errorf("why %q, want %q", op.Problem.Why, want)
	}
}

func TestUndoFailure(t *testing.T) {
	w := newWorld(t)
	b := w.step("b", nil)
	b.Undo = func(context.Context, operation.Run) error {
		w.note("undo b")
		return fault.New(fault.Unavailable, "test.stuck", "It is stuck")
	}
	b.Retry.Attempts = 2
	c := w.step("c", func(context.Context, operation.Run) error {
		return fault.New(fault.Conflict, "test.broken", "It broke")
	})
	c.Undo = func(context.Context, operation.Run) error { panic("twice bad") }
	w.boot(w.definition(w.step("a", nil), b, c))
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Failed)
	w.wantSeen("do a", "do b", "do c", "undo b", "undo b", "undo a", "finish FAILED")
	if op.Problem.Code != "test.broken" {
		t.Errorf("the failure of undoing hides the problem: %+v", op.Problem)
	}
	if got := states(op); !slices.Equal(got, []operation.StepState{operation.StepUndone, operation.StepDone, operation.StepFailed}) {
		t.Errorf("steps %v", got)
	}
	if d := op.Steps[1].Detail; !strings.Contains(d, "It is stuck") {
		t.Errorf("detail %q does not say what is left", d)
	}
	var undos []string
	for _, a := range w.attempts(op.ID) {
		if a.Undo {
			undos = append(undos, fmt.Sprintf("%s%d %t", a.Step, a.Number, a.Error == ""))
		}
	}
	if want := []string{"c1 false", "b1 false", "b2 false", "a1 true"}; !slices.Equal(undos, want) {
		t.Errorf("attempts of undoing %q, want %q", undos, want)
	}
}

func TestFinishIsPartOfTheEnd(t *testing.T) {
	w := newWorld(t)
	def := w.definition(w.step("a", nil))
	tries := 0
	def.Finish = func(ctx context.Context, op *operation.Operation) error {
		w.note("finish %s", op.State)
		if err := w.store.Audit().Append(ctx, audit.Entry{At: time.Now(), Actor: "x", Action: "test.finish", Target: string(op.State)}); err != nil {
			return err
		}
		if tries++; op.State == operation.Succeeded {
			return fault.New(fault.Conflict, "test.taken", "Somebody was faster")
		}
		return nil
	}
	w.boot(def)
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Failed)
	if op.Problem.Code != "test.taken" {
		t.Errorf("problem %+v", op.Problem)
	}
	// Of the refused tries nothing is left.
	if list := w.audited("test.finish"); len(list) != 1 || list[0].Target != "FAILED" {
		t.Errorf("entries %+v", list)
	}
}

func TestFinishThatNeverWorks(t *testing.T) {
	w := newWorld(t)
	def := w.definition(w.step("a", nil))
	def.Finish = func(context.Context, *operation.Operation) error { panic("always") }
	w.boot(def)
	op := w.wait(w.create("work").ID)
	wantState(t, op, operation.Failed)
	if op.Problem.Code != "internal" {
		t.Errorf("problem %+v", op.Problem)
	}
}

func TestNoSteps(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition())
	wantState(t, w.wait(w.create("work").ID), operation.Succeeded)
	w.wantSeen("finish SUCCEEDED")
}

func TestCreateIsRefused(t *testing.T) {
	w := newWorld(t)
	bad := w.definition(w.step("a", nil), w.step("a", nil))
	bad.Kind = "twice"
	broken := operation.Definition{Kind: "broken", Steps: func(*operation.Operation) []operation.StepDef { panic("no plan") }}
	w.boot(w.definition(), bad, broken)
	for _, kind := range []string{"unknown", "twice", "broken"} {
		if err := w.svc.Create(t.Context(), &operation.Operation{Kind: kind}); err == nil {
			t.Errorf("an operation of kind %q was created", kind)
		}
	}
}

// An operation that was not committed is not run.
func TestCreateIsRolledBack(t *testing.T) {
	w := newWorld(t)
	w.boot(w.definition(w.step("a", nil)))
	op := &operation.Operation{Kind: "work"}
	no := errors.New("no")
	err := w.store.Do(t.Context(), func(ctx context.Context) error {
		if err := w.svc.Create(ctx, op); err != nil {
			return err
		}
		return no
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	w.wait(w.create("work").ID)
	w.wantSeen("do a", "finish SUCCEEDED")
	if _, err := w.svc.Get(t.Context(), op.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("the operation is there: %v", err)
	}
	if op.Actor != "system" {
		t.Errorf("without a principal the actor is %q", op.Actor)
	}
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a kind was registered twice")
		}
	}()
	s := &operation.Service{}
	s.Register(operation.Definition{Kind: "k"})
	s.Register(operation.Definition{Kind: "k"})
}
