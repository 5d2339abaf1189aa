package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

var events = []promise{
	{"an event comes back as it was appended, with its number", func(t *testing.T, s *store.Store) {
		ctx, e := t.Context(), s.Events()
		in := event.New(event.AgentStateChanged, "one", "token:x", epoch, event.StateChanged{AgentID: "one", NewState: "RUNNING"}, event.RoomAgents, event.RoomAgent("one"))
		must(t, e.Append(ctx))
		must(t, e.Append(ctx, in, event.Event{Type: event.QueueUpdate}))
		got, err := e.Find(ctx, event.Query{})
		must(t, err)
		in.Seq = 1
		equal(t, "event", got[0], in)
		if got[1].Seq != 2 || time.Since(got[1].At) > time.Hour || got[1].Rooms != nil || got[1].Data != nil {
			t.Fatalf("got %+v", got[1])
		}
	}},
	{"events are found by every filter, in both directions", findEvents},
	{"events are found by who, when and what they say", searchEvents},
	{"numbers follow the order of commits, without gaps", eventOrder},
	{"a watcher wakes after the commit, not before", watching},
	{"a pruned stream keeps what is young and the newest", pruneEvents},
}

func findEvents(t *testing.T, s *store.Store) {
	ctx, e := t.Context(), s.Events()
	for i := 1; i <= 9; i++ {
		one := event.Event{Type: event.AgentUpdated, AgentID: []string{"one", "two", ""}[i%3], At: epoch, Rooms: []string{event.RoomAgents}}
		if i%3 == 0 {
			one.Type = event.AgentDeleted
		}
		if i%4 == 0 {
			one.Rooms = []string{event.RoomOperations, event.RoomAgents, event.RoomOperations}
		}
		if i == 5 {
			one.Rooms = nil
		}
		must(t, e.Append(ctx, one))
	}
	for _, c := range []struct {
		q    event.Query
		want []int64
	}{
		{event.Query{}, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{event.Query{Newest: true, Limit: 3}, []int64{9, 8, 7}},
		{event.Query{After: 2, Before: 6}, []int64{3, 4, 5}},
		{event.Query{After: 7, Limit: 1}, []int64{8}},
		{event.Query{After: 9}, []int64{}},
		{event.Query{Types: []event.Type{event.AgentDeleted}}, []int64{3, 6, 9}},
		{event.Query{Types: []event.Type{event.AgentDeleted, event.AgentUpdated}, Limit: 2}, []int64{1, 2}},
		{event.Query{AgentID: []string{"two", "none"}}, []int64{1, 4, 7}},
		{event.Query{AgentID: []string{"two"}, Types: []event.Type{event.AgentDeleted}}, []int64{}},
		{event.Query{Rooms: []string{event.RoomOperations}}, []int64{4, 8}},
		{event.Query{Rooms: []string{event.RoomOperations, event.RoomAgents, "none"}}, []int64{1, 2, 3, 4, 6, 7, 8, 9}},
		{event.Query{Rooms: []string{event.RoomOperations, event.RoomAgents}, Newest: true, Limit: 2}, []int64{9, 8}},
		{event.Query{Rooms: []string{event.RoomAgents, event.RoomOperations}, After: 3, Limit: 3}, []int64{4, 6, 7}},
		{event.Query{Rooms: []string{event.RoomAgents}, AgentID: []string{"one"}, Before: 7}, []int64{3, 6}},
		{event.Query{Rooms: []string{event.RoomAgents, event.RoomAgents}, After: 8}, []int64{9}},
	} {
		list, err := e.Find(ctx, c.q)
		must(t, err)
		equal(t, fmt.Sprintf("numbers of %+v", c.q), seqs(list), c.want)
	}
}

func searchEvents(t *testing.T, s *store.Store) {
	ctx, e := t.Context(), s.Events()
	for i, one := range []event.Event{
		{Type: event.AgentStateChanged, AgentID: "Alpha", Actor: "user:ann@example.com/1", Rooms: []string{event.RoomAgents}, Data: []byte(`{"reason":"Port 8080 in use"}`)},
		{Type: event.AgentHealthUpdate, AgentID: "beta", Actor: "system", Data: []byte(`{"reason":"100% of it_all"}`)},
		{Type: event.SignIn, Actor: "user:ann@example.com/1", Rooms: []string{event.RoomAudit}, Data: []byte(`{}`)},
		{Type: event.UserChanged, Actor: "token:ci/2", Rooms: []string{event.RoomAudit, event.RoomAgents}, Data: []byte(`{"name":"Ärger"}`)},
	} {
		one.At = epoch.Add(time.Duration(i) * time.Minute)
		must(t, e.Append(ctx, one))
	}
	for _, c := range []struct {
		q    event.Query
		want []int64
	}{
		{event.Query{Types: []event.Type{"agent:*"}}, []int64{1, 2}},
		{event.Query{Types: []event.Type{"agent:h*", event.SignIn}}, []int64{2, 3}},
		{event.Query{Types: []event.Type{"*"}}, []int64{1, 2, 3, 4}},
		{event.Query{Types: []event.Type{"%"}}, []int64{}},
		{event.Query{Actors: []string{"system"}}, []int64{2}},
		{event.Query{Actors: []string{"user:*", "token:ci/2"}}, []int64{1, 3, 4}},
		{event.Query{Since: epoch.Add(time.Minute)}, []int64{2, 3, 4}},
		{event.Query{Until: epoch.Add(time.Minute)}, []int64{1}},
		{event.Query{Since: epoch.Add(time.Minute), Until: epoch.Add(3 * time.Minute)}, []int64{2, 3}},
		{event.Query{Search: "port 8080"}, []int64{1}},
		{event.Query{Search: "ALPHA"}, []int64{1}},
		{event.Query{Search: "100% of it_"}, []int64{2}},
		{event.Query{Search: "%"}, []int64{2}},
		{event.Query{Search: "health"}, []int64{2}},
		{event.Query{Search: "Ärger"}, []int64{4}},
		{event.Query{Search: "ann@"}, []int64{1, 3}},
		{event.Query{Search: "nothing\x00 like it"}, []int64{}},
		{event.Query{Open: true}, []int64{1, 2, 4}},
		{event.Query{Open: true, Rooms: []string{event.RoomAudit}}, []int64{4}},
		{event.Query{Search: "ann@", Rooms: []string{event.RoomAgents}, Newest: true}, []int64{1}},
	} {
		list, err := e.Find(ctx, c.q)
		must(t, err)
		equal(t, fmt.Sprintf("numbers of %+v", c.q), seqs(list), c.want)
	}
}

func seqs(list []event.Event) []int64 {
	out := []int64{}
	for _, e := range list {
		out = append(out, e.Seq)
	}
	return out
}

// eventOrder appends from many goroutines while a reader remembers the last
// number it saw: the reader must miss nothing.
func eventOrder(t *testing.T, s *store.Store) {
	const writers, each = 6, 10
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for i := range each {
				err := s.Do(t.Context(), func(ctx context.Context) error {
					if err := s.Events().Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch}); err != nil {
						return err
					}
					if i%5 == 4 {
						return errStop
					}
					return s.Events().Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch})
				})
				if err != nil && err != errStop { //nolint:errorlint // unchanged is what is promised
					t.Errorf("append: %v", chain(err))
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { group.Wait(); close(finished) }()
	seen, last := int64(0), false
	for !last {
		select {
		case <-finished:
			last = true
		default:
		}
		list, err := s.Events().Find(t.Context(), event.Query{After: seen})
		must(t, err)
		for _, e := range list {
			if seen++; e.Seq != seen {
				t.Fatalf("saw %d after %d", e.Seq, seen-1)
			}
		}
	}
	equal(t, "events", seen, int64(writers*each*8/10*2))
}

func watching(t *testing.T, s *store.Store) {
	ctx, e := t.Context(), s.Events()
	one, stopOne := e.Watch()
	two, stopTwo := e.Watch()
	defer stopTwo()
	one, two = settled(one), settled(two)
	must(t, s.Do(ctx, func(ctx context.Context) error {
		must(t, e.Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch}))
		select {
		case <-one:
			t.Error("woken before the commit")
		default:
		}
		return nil
	}))
	wantWake(t, one)
	wantWake(t, two)
	for range 3 { // nobody takes the wakes meanwhile, and nobody waits for that
		must(t, e.Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch}))
	}
	stopOne()
	stopOne()
	wantWake(t, two)
	list, err := e.Find(ctx, event.Query{After: 1})
	must(t, err)
	equal(t, "events", seqs(list), []int64{2, 3, 4})
}

// settled takes the wake that a watcher may get when it begins to listen.
func settled(wake <-chan struct{}) <-chan struct{} {
	select {
	case <-wake:
	default:
	}
	return wake
}

func wantWake(t testing.TB, wake <-chan struct{}) {
	t.Helper()
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("not woken")
	}
}

func pruneEvents(t *testing.T, s *store.Store) {
	ctx, e := t.Context(), s.Events()
	prune := func(before time.Time, keep, want int, left ...int64) {
		t.Helper()
		n, err := e.Prune(ctx, before, keep)
		must(t, err)
		equal(t, "removed", n, want)
		list, err := e.Find(ctx, event.Query{})
		must(t, err)
		equal(t, "left", seqs(list), append([]int64{}, left...))
		oldest, newest, err := e.Bounds(ctx)
		must(t, err)
		if len(left) > 0 {
			equal(t, "bounds", []int64{oldest, newest}, []int64{left[0], left[len(left)-1]})
		}
	}
	prune(epoch, 0, 0)
	for i, minute := range []int{0, 1, 2, 3, 1, 5, 6} { // the clock jumped back at the fifth
		must(t, e.Append(ctx, event.Event{Type: event.AgentUpdated, At: *after(time.Duration(minute) * time.Minute), Rooms: []string{event.RoomAgents, fmt.Sprint(i)}}))
	}
	prune(epoch, 0, 0, 1, 2, 3, 4, 5, 6, 7)
	prune(*after(2 * time.Minute), 0, 2, 3, 4, 5, 6, 7)
	prune(*after(time.Hour), 4, 1, 4, 5, 6, 7)
	prune(*after(time.Hour), 9, 0, 4, 5, 6, 7)
	list, err := e.Find(ctx, event.Query{Rooms: []string{event.RoomAgents}})
	must(t, err)
	equal(t, "in the room", seqs(list), []int64{4, 5, 6, 7})
	must(t, e.Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch}))
	prune(*after(time.Hour), 0, 5)
	must(t, e.Append(ctx, event.Event{Type: event.AgentUpdated, At: epoch}))
	list, err = e.Find(ctx, event.Query{})
	must(t, err)
	equal(t, "numbers are not given twice", seqs(list), []int64{9})
}

var audits = []promise{
	{"entries are linked, and come back as they were hashed", func(t *testing.T, s *store.Store) {
		ctx, a := t.Context(), s.Audit()
		in := audit.Entry{
			At: epoch.Add(789 * time.Nanosecond).In(time.FixedZone("", 3600)), Actor: "token:x", Role: "admin", From: "192.0.2.1", Action: "agent.start",
			Target: "agent/one", Outcome: audit.Refused, Reason: "nul \x00 \xff 'x'", Request: uuid(1),
			Before: []byte(`{ "b": [1, 2.50],  "ä": "\u0000" }`), After: []byte(`null`),
		}
		must(t, a.Append(ctx, in))
		must(t, a.Append(ctx, audit.Entry{Action: "a", Target: "t"}))
		list, next, err := a.Find(ctx, audit.Query{})
		must(t, err)
		equal(t, "next", next, "")
		want := in
		want.Seq, want.At, want.Reason, want.Prev = 1, epoch, "nul  \uFFFD 'x'", audit.Origin
		want.Hash = audit.HashOf(want)
		equal(t, "entry", list[1], want)
		equal(t, "link", []any{list[0].Seq, list[0].Prev}, []any{int64(2), want.Hash})
		seq, hash, err := a.Head(ctx)
		must(t, err)
		equal(t, "head", []any{seq, hash}, []any{int64(2), list[0].Hash})
		report, err := audit.Verify(ctx, a)
		must(t, err)
		equal(t, "verified", []any{report.OK, report.Entries}, []any{true, int64(2)})
	}},
	{"the chain holds under parallel appends", func(t *testing.T, s *store.Store) {
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				for i := range 10 {
					err := s.Do(t.Context(), func(ctx context.Context) error {
						entries := slices.Repeat([]audit.Entry{{At: epoch, Action: "a", Target: "t"}}, 1+i%3)
						if err := s.Audit().Append(ctx, entries...); err != nil || i%2 == 0 {
							return err
						}
						return errStop
					})
					if err != nil && err != errStop { //nolint:errorlint // unchanged is what is promised
						t.Errorf("append: %v", chain(err))
					}
				}
			})
		}
		group.Wait()
		report, err := audit.Verify(t.Context(), s.Audit())
		must(t, err)
		equal(t, "verified", []any{report.OK, report.Entries}, []any{true, int64(60)})
	}},
	{"entries are found by every filter, newest first", findEntries},
	{"a walk goes through all from the number on, and stops at an error", func(t *testing.T, s *store.Store) {
		ctx, a := t.Context(), s.Audit()
		must(t, s.Do(ctx, func(ctx context.Context) error {
			for range 1203 {
				must(t, a.Append(ctx, audit.Entry{At: epoch, Action: "a", Target: "t"}))
			}
			return nil
		}))
		want := int64(5)
		must(t, a.Walk(ctx, 5, func(e audit.Entry) error {
			if e.Seq != want {
				t.Fatalf("saw %d, want %d", e.Seq, want)
			}
			want++
			return nil
		}))
		equal(t, "last", want, int64(1204))
		if err := a.Walk(ctx, 1, func(audit.Entry) error { return errStop }); err != errStop { //nolint:errorlint // unchanged is what is promised
			t.Fatal(err)
		}
	}},
}

func findEntries(t *testing.T, s *store.Store) {
	ctx, a := t.Context(), s.Audit()
	for i := 1; i <= 8; i++ {
		must(t, a.Append(ctx, audit.Entry{
			At: *after(time.Duration(i) * time.Second), Actor: []string{"ann", "bob"}[i%2], Action: []string{"agent.start", "agent.stop", "token.create"}[i%3],
			Target: fmt.Sprintf("agent/a%d", i%4), Outcome: []audit.Outcome{audit.Done, audit.Refused}[i%2],
			Reason: "Because Ä" + string(rune('A'+i)), After: fmt.Appendf(nil, `{"replicas":%d}`, i),
		}))
	}
	for _, c := range []struct {
		q    audit.Query
		want []int64
	}{
		{audit.Query{}, []int64{8, 7, 6, 5, 4, 3, 2, 1}},
		{audit.Query{Actor: "ann"}, []int64{8, 6, 4, 2}},
		{audit.Query{Action: "agent.stop"}, []int64{7, 4, 1}},
		{audit.Query{Action: "agent.*"}, []int64{7, 6, 4, 3, 1}},
		{audit.Query{Action: "agent"}, []int64{}},
		{audit.Query{Action: "*", Target: "agent/a1"}, []int64{5, 1}},
		{audit.Query{Target: "agent/a%*"}, []int64{}},
		{audit.Query{Targets: []string{"agent/a1", "agent/a3*"}}, []int64{7, 5, 3, 1}},
		{audit.Query{Targets: []string{"agent/a1", "agent/a3"}, Target: "agent/*", Actor: "bob", Action: "agent.*"}, []int64{7, 3, 1}},
		{audit.Query{Outcome: audit.Refused}, []int64{7, 5, 3, 1}},
		{audit.Query{Since: *after(3 * time.Second), Until: *after(5 * time.Second)}, []int64{4, 3}},
		{audit.Query{Search: "Because ÄC"}, []int64{2}},
		{audit.Query{Search: "ause"}, []int64{8, 7, 6, 5, 4, 3, 2, 1}},
		{audit.Query{Search: `REPLICAS":7`}, []int64{7}},
		{audit.Query{Search: "token.c"}, []int64{8, 5, 2}},
		{audit.Query{Search: "%"}, []int64{}},
	} {
		got, cursor := []int64{}, ""
		for {
			c.q.Limit, c.q.Cursor = 3, cursor
			list, next, err := a.Find(ctx, c.q)
			must(t, err)
			for _, e := range list {
				got = append(got, e.Seq)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		equal(t, fmt.Sprintf("entries of %+v", c.q), got, c.want)
	}
	_, _, err := a.Find(ctx, audit.Query{Cursor: "?"})
	wantKind(t, err, fault.Invalid)
}
