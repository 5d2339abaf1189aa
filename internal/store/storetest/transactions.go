package storetest

import (
	"context"
	"sync"
	"testing"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/txn"
)

var transactions = []promise{
	{"a commit keeps everything and then runs the hooks", func(t *testing.T, s *store.Store) {
		seen := -1
		must(t, s.Do(t.Context(), func(ctx context.Context) error {
			txn.AfterCommit(ctx, func() { seen = eventCount(t, s) })
			return writeAll(ctx, t, s, "one")
		}))
		if seen != 1 {
			t.Fatalf("the hook saw %d events, want the 1 committed", seen)
		}
		_, err := s.Agents().Get(t.Context(), "one")
		must(t, err)
	}},
	{"an error rolls everything back and comes out unchanged", func(t *testing.T, s *store.Store) {
		hook := false
		err := s.Do(t.Context(), func(ctx context.Context) error {
			txn.AfterCommit(ctx, func() { hook = true })
			must(t, writeAll(ctx, t, s, "one"))
			return errStop
		})
		if err != errStop { //nolint:errorlint // unchanged is what is promised
			t.Fatalf("got %v", err)
		}
		if hook {
			t.Fatal("the hook ran after a rollback")
		}
		nothingStored(t, s)
	}},
	{"a panic rolls everything back and goes on", func(t *testing.T, s *store.Store) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = s.Do(t.Context(), func(ctx context.Context) error {
				must(t, writeAll(ctx, t, s, "one"))
				panic("out")
			})
		}()
		nothingStored(t, s)
		create(t, s, draft("two")) // the store is usable
	}},
	{"a context that ends before the commit rolls everything back", func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Do(ctx, func(ctx context.Context) error {
			must(t, writeAll(ctx, t, s, "one"))
			cancel()
			return nil
		})
		if err == nil {
			t.Fatal("committed after the context had ended")
		}
		nothingStored(t, s)
	}},
	{"a context that has ended is refused", func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Do(ctx, func(context.Context) error { return nil }); err == nil {
			t.Fatal("began a transaction")
		}
		if _, err := s.Agents().Get(ctx, "one"); err == nil || fault.Is(err, fault.NotFound) {
			t.Fatalf("got %v", err)
		}
	}},
	{"reads inside see the writes, reads outside do not", func(t *testing.T, s *store.Store) {
		must(t, s.Do(t.Context(), func(ctx context.Context) error {
			must(t, writeAll(ctx, t, s, "one"))
			_, err := s.Agents().Get(ctx, "one")
			must(t, err)
			_, err = s.Agents().Get(t.Context(), "one")
			wantKind(t, err, fault.NotFound)
			return nil
		}))
	}},
	{"a Do inside joins: it is lost with the outer one", func(t *testing.T, s *store.Store) {
		inner := false
		err := s.Do(t.Context(), func(ctx context.Context) error {
			must(t, s.Do(ctx, func(ctx context.Context) error {
				txn.AfterCommit(ctx, func() { inner = true })
				return writeAll(ctx, t, s, "one")
			}))
			if inner {
				t.Error("the inner hook ran before the commit")
			}
			return errStop
		})
		if err != errStop { //nolint:errorlint // unchanged is what is promised
			t.Fatal(err)
		}
		if inner {
			t.Error("the inner hook ran after a rollback")
		}
		nothingStored(t, s)
	}},
	{"a Do inside that fails leaves nothing, and the outer one goes on", nestedFailure},
	{"a fault of one write does not spoil the transaction", func(t *testing.T, s *store.Store) {
		create(t, s, draft("taken"))
		must(t, s.Do(t.Context(), func(ctx context.Context) error {
			wantKind(t, writeAll(ctx, t, s, "taken"), fault.Conflict)
			_, err := s.Agents().Get(ctx, "none")
			wantKind(t, err, fault.NotFound)
			return writeAll(ctx, t, s, "free")
		}))
		_, err := s.Agents().Get(t.Context(), "free")
		must(t, err)
	}},
	{"a hook may write, and the context of an ended transaction is as good as none", func(t *testing.T, s *store.Store) {
		var left context.Context
		must(t, s.Do(t.Context(), func(ctx context.Context) error {
			left = ctx
			txn.AfterCommit(ctx, func() { must(t, writeAll(ctx, t, s, "hook")) })
			return nil
		}))
		must(t, writeAll(left, t, s, "late"))
		for _, name := range []string{"hook", "late"} {
			_, err := s.Agents().Get(t.Context(), name)
			must(t, err)
		}
	}},
	{"transactions run one after the other", serial},
	{"a closed store says that it does not answer", func(t *testing.T, s *store.Store) {
		must(t, s.Ping(t.Context()))
		must(t, s.Close())
		must(t, s.Close())
		wantKind(t, s.Ping(t.Context()), fault.Unavailable)
		_, err := s.Agents().Get(t.Context(), "one")
		wantKind(t, err, fault.Unavailable)
		wantKind(t, s.Do(t.Context(), func(context.Context) error { return nil }), fault.Unavailable)
	}},
}

// writeAll stores an agent, an event and an audit entry.
func writeAll(ctx context.Context, t testing.TB, s *store.Store, name string) error {
	t.Helper()
	a := draft(name)
	if err := s.Agents().Create(ctx, a, firstRevision(a)); err != nil {
		return err
	}
	if err := s.Audit().Append(ctx, audit.Entry{At: epoch, Actor: "test", Action: "agent.create", Target: "agent/" + name}); err != nil {
		return err
	}
	return s.Events().Append(ctx, event.Event{Type: event.AgentCreated, At: epoch, Data: []byte(`{}`)})
}

func nothingStored(t *testing.T, s *store.Store) {
	t.Helper()
	_, err := s.Agents().Get(t.Context(), "one")
	wantKind(t, err, fault.NotFound)
	equal(t, "events", eventCount(t, s), 0)
	seq, hash, err := s.Audit().Head(t.Context())
	must(t, err)
	equal(t, "head of the audit log", []any{seq, hash}, []any{int64(0), audit.Origin})
	// Numbers that were rolled back are given again.
	must(t, s.Events().Append(t.Context(), event.Event{Type: event.AgentCreated, At: epoch}))
	oldest, newest, err := s.Events().Bounds(t.Context())
	must(t, err)
	equal(t, "bounds", []int64{oldest, newest}, []int64{1, 1})
}

func eventCount(t testing.TB, s *store.Store) int {
	t.Helper()
	list, err := s.Events().Find(t.Context(), event.Query{})
	must(t, err)
	return len(list)
}

func nestedFailure(t *testing.T, s *store.Store) {
	hooks := []string{}
	must(t, s.Do(t.Context(), func(ctx context.Context) error {
		must(t, writeAll(ctx, t, s, "before"))
		for range 2 {
			err := s.Do(ctx, func(ctx context.Context) error {
				txn.AfterCommit(ctx, func() { hooks = append(hooks, "lost") })
				must(t, s.Do(ctx, func(ctx context.Context) error { return writeAll(ctx, t, s, "inside") }))
				return errStop
			})
			if err != errStop { //nolint:errorlint // unchanged is what is promised
				t.Fatal(err)
			}
		}
		txn.AfterCommit(ctx, func() { hooks = append(hooks, "kept") })
		return writeAll(ctx, t, s, "after")
	}))
	equal(t, "hooks", hooks, []string{"kept"})
	equal(t, "events", eventCount(t, s), 2)
	_, err := s.Agents().Get(t.Context(), "inside")
	wantKind(t, err, fault.NotFound)
	report, err := audit.Verify(t.Context(), s.Audit())
	must(t, err)
	equal(t, "audit log", []any{report.OK, report.Entries}, []any{true, int64(2)})
}

// serial reads and writes a counter from many goroutines: none may be lost.
func serial(t *testing.T, s *store.Store) {
	a := create(t, s, draft("one"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 5 {
				err := s.Do(t.Context(), func(ctx context.Context) error {
					got, err := s.Agents().Get(ctx, a.ID)
					if err != nil {
						return err
					}
					got.DeployedRevision++
					return s.Agents().Save(ctx, got)
				})
				if err != nil {
					t.Errorf("lost a turn: %v", chain(err))
				}
			}
		})
	}
	group.Wait()
	got, err := s.Agents().Get(t.Context(), a.ID)
	must(t, err)
	equal(t, "counter and version", []int64{int64(got.DeployedRevision), got.LockVersion}, []int64{40, 41})
}
