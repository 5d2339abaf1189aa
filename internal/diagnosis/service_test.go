package diagnosis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// says is a check that comes to what a test gives it.
type says struct {
	name  string
	scope diagnosis.Scope
	run   func(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome
}

func (s says) Name() string           { return s.name }
func (s says) Scope() diagnosis.Scope { return s.scope }
func (s says) Run(ctx context.Context, on diagnosis.Subject) diagnosis.Outcome {
	return s.run(ctx, on)
}

// always gives a check of the portal with one outcome.
func always(name string, o diagnosis.Outcome) says {
	return says{name, diagnosis.Portal, func(context.Context, diagnosis.Subject) diagnosis.Outcome { return o }}
}

func service(t *testing.T, s *store.Store, checks ...diagnosis.Check) *diagnosis.Service {
	t.Helper()
	var n atomic.Int64
	now := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	return &diagnosis.Service{
		Checks: checks, Agents: s.Agents(), Revisions: s.History(), Observed: s.Instances(), Store: s.Diagnoses(), Tx: s,
		Audit: &audit.Recorder{Store: s.Audit(), Now: now}, Events: s.Events(), Now: now, Log: slog.New(slog.DiscardHandler),
		NewID: func() string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", n.Add(1)) },
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestARunIsKeptRecordedAndAnnounced looks at the portal and at an agent.
func TestARunIsKeptRecordedAndAnnounced(t *testing.T) {
	s := storetest.New(t)
	must(t, storetest.Seed(t.Context(), s, 0, 1))
	svc := service(t, s,
		always("fine", diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{"seen"}}),
		says{"about", diagnosis.Agent, func(_ context.Context, on diagnosis.Subject) diagnosis.Outcome {
			return diagnosis.Outcome{Status: diagnosis.Failed, Evidence: []string{on.Agent.ID, on.Spec.Name}}
		}},
		always("odd", diagnosis.Outcome{Status: diagnosis.Warning, Remedy: "Do it."}),
		always("none", diagnosis.Outcome{Status: diagnosis.Skipped}),
	)
	ctx := auth.With(t.Context(), auth.Principal{ID: "token:x", Role: auth.Operator})
	ctx = audit.WithActor(ctx, audit.Actor{ID: "token:x", Role: "operator"})
	portal, err := svc.Run(ctx, "")
	must(t, err)
	if portal.Status != diagnosis.Warning || portal.Counts[diagnosis.OK] != 1 || portal.Counts[diagnosis.Skipped] != 1 || portal.By != "token:x" ||
		len(portal.Findings) != 3 || portal.Findings[1].Check != "odd" || portal.Findings[1].Remedy != "Do it." {
		t.Fatalf("portal: %+v", portal)
	}
	one, err := svc.Run(ctx, "AGENT-00000")
	must(t, err)
	if one.Status != diagnosis.Failed || one.AgentID != "id-agent-00000" || !slices.Equal(one.Findings[0].Evidence, []string{"id-agent-00000", "agent-00000"}) {
		t.Fatalf("agent: %+v", one)
	}
	if _, err := svc.Run(ctx, "nobody"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("an unknown agent: %v", err)
	}
	got, err := svc.Get(ctx, portal.ID)
	must(t, err)
	if fmt.Sprint(*got) != fmt.Sprint(portal) {
		t.Errorf("kept %+v\nfound %+v", *got, portal)
	}
	entries, _, err := s.Audit().Find(ctx, audit.Query{Action: "diagnostic.run"})
	must(t, err)
	if len(entries) != 2 || entries[0].Target != "agent/id-agent-00000" || entries[1].Target != "portal" || entries[1].Actor != "token:x" {
		t.Errorf("recorded: %+v", entries)
	}
	events, err := s.Events().Find(ctx, event.Query{Types: []event.Type{event.DiagnosticFinished}, Rooms: []string{event.RoomDiagnostics}})
	must(t, err)
	if len(events) != 2 || !slices.Contains(events[1].Rooms, event.RoomAgent("id-agent-00000")) || !strings.Contains(string(events[1].Data), `"failed":1`) {
		t.Errorf("announced: %+v", events)
	}
}

// TestOnlyTheLastRunsStay makes more runs than are kept.
func TestOnlyTheLastRunsStay(t *testing.T) {
	s := storetest.New(t)
	svc := service(t, s, always("fine", diagnosis.Outcome{Status: diagnosis.OK}))
	var last diagnosis.Diagnosis
	for range diagnosis.Keep + 5 {
		var err error
		last, err = svc.Run(t.Context(), "")
		must(t, err)
	}
	list, next, err := svc.History(t.Context(), diagnosis.Query{Limit: 100})
	must(t, err)
	if len(list) != diagnosis.Keep || next != "" || list[0].ID != last.ID {
		t.Errorf("%d runs are kept, the newest is %s", len(list), list[0].ID)
	}
}

// TestWhatACheckSaysIsBounded has checks that break, hang, say too much and
// tell secrets.
func TestWhatACheckSaysIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var much []string
		for range 100 {
			much = append(much, strings.Repeat("ä", 1000)+"\x00\xff")
		}
		release := make(chan struct{})
		defer close(release)
		checks := []diagnosis.Check{
			says{"breaks", diagnosis.Portal, func(context.Context, diagnosis.Subject) diagnosis.Outcome { panic("secret words") }},
			says{"hangs", diagnosis.Portal, func(context.Context, diagnosis.Subject) diagnosis.Outcome { <-release; return diagnosis.Outcome{} }},
			always("talks", diagnosis.Outcome{Status: diagnosis.OK, Evidence: much, Meaning: strings.Repeat("x", 9000)}),
			always("tells", diagnosis.Outcome{Status: diagnosis.OK, Evidence: []string{"postgres://me:hush-hush@db/x refused"}}),
			always("odd", diagnosis.Outcome{Status: "weird"}),
		}
		start := time.Now()
		found := diagnosis.Look(t.Context(), checks, diagnosis.Portal, diagnosis.Subject{}, time.Now, slog.New(slog.DiscardHandler))
		if took := time.Since(start); took != diagnosis.CheckTime {
			t.Errorf("a check that hangs held the others up for %v", took)
		}
		for i, want := range []diagnosis.Status{diagnosis.Failed, diagnosis.Failed, diagnosis.OK, diagnosis.OK, diagnosis.Failed} {
			if found[i].Status != want {
				t.Errorf("%s: %+v", found[i].Check, found[i])
			}
		}
		all := fmt.Sprintf("%+v", found)
		if strings.Contains(all, "hush-hush") || strings.Contains(all, "secret words") || !strings.Contains(all, "db/x") || len(all) > 20_000 || strings.Contains(all, "\x00") {
			t.Errorf("%d bytes: %.2000s", len(all), all)
		}
	})
}

// TestTheSameIsLookedAtOnce has many callers ask for the same at once.
func TestTheSameIsLookedAtOnce(t *testing.T) {
	s := storetest.New(t)
	began, release := make(chan struct{}), make(chan struct{})
	var runs atomic.Int64
	svc := service(t, s, says{"slow", diagnosis.Portal, func(context.Context, diagnosis.Subject) diagnosis.Outcome {
		if runs.Add(1) == 1 {
			close(began)
		}
		<-release
		return diagnosis.Outcome{Status: diagnosis.OK}
	}})
	impatient, leave := context.WithCancel(t.Context())
	ids := make(chan string, 8)
	var all sync.WaitGroup
	ask := func(ctx context.Context) {
		d, err := svc.Run(ctx, "")
		if err != nil {
			ids <- err.Error()
			return
		}
		ids <- d.ID
	}
	all.Go(func() { ask(impatient) })
	<-began
	for range 3 {
		all.Go(func() { ask(t.Context()) })
	}
	leave() // the run goes on for the others
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := svc.Run(gone, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait got %v", err)
	}
	close(release)
	all.Wait()
	first := <-ids
	for range 3 {
		if id := <-ids; id != first && runs.Load() == 1 {
			t.Errorf("one got %s and another %s", first, id)
		}
	}
	if first != "01900000-0000-7000-8000-000000000001" {
		t.Errorf("got %s", first)
	}
}

// fleetOf is a fleet of agents that run, and a history that only counts.
type fleetOf struct {
	diagnosis.Store
	diagnosis.Observed
	ids []string

	mu    sync.Mutex
	asked []string
	kept  []diagnosis.Diagnosis
}

func (f *fleetOf) Get(_ context.Context, id string) (*agent.Agent, error) {
	return &agent.Agent{ID: id, Spec: agent.Spec{Name: id}}, nil
}

func (f *fleetOf) Find(_ context.Context, q agent.Query) (agent.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q.Cursor)
	from, _ := slices.BinarySearch(f.ids, q.Cursor)
	page := agent.Page{}
	for _, id := range f.ids[from:] {
		if len(page.Agents) == q.Limit {
			page.Next = id
			break
		}
		page.Agents = append(page.Agents, &agent.Agent{ID: id, Spec: agent.Spec{Name: id}})
	}
	return page, nil
}

func (f *fleetOf) Do(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
func (f *fleetOf) Append(context.Context, ...event.Event) error                 { return nil }
func (f *fleetOf) PutDiagnosis(_ context.Context, d diagnosis.Diagnosis, _ int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = append(f.kept, d)
	return nil
}

// TestTheScheduleGoesRound has more agents than one tick looks at.
func TestTheScheduleGoesRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleetOf{}
		for i := range 70 {
			f.ids = append(f.ids, fmt.Sprintf("a%03d", i))
		}
		svc := &diagnosis.Service{
			Checks: []diagnosis.Check{always("fine", diagnosis.Outcome{Status: diagnosis.OK})},
			Agents: f, Observed: nothing{}, Store: f, Tx: f, Events: f, Now: time.Now, NewID: func() string { return "x" }, Every: time.Hour,
			Jitter: func(d time.Duration) time.Duration { return d },
		}
		must(t, svc.Start(t.Context()))
		counts := []int{}
		for range 3 {
			time.Sleep(time.Hour)
			synctest.Wait()
			f.mu.Lock()
			counts = append(counts, len(f.kept))
			f.mu.Unlock()
		}
		must(t, svc.Stop(context.Background()))
		if fmt.Sprint(counts) != "[51 72 123]" {
			t.Errorf("kept %v runs after each hour", counts)
		}
		if fmt.Sprint(f.asked) != "[ a050 ]" || f.kept[0].Scope != diagnosis.Portal || f.kept[0].Trigger != diagnosis.Scheduled || f.kept[52].AgentID != "a050" {
			t.Errorf("asked %v, %+v", f.asked, f.kept[52])
		}
	})
}

type nothing struct{ diagnosis.Observed }

// TestNoSchedule runs a portal whose schedule is off.
func TestNoSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := &diagnosis.Service{}
		must(t, svc.Start(t.Context()))
		must(t, svc.Stop(context.Background()))
	})
}

func (nothing) Instances(context.Context, ...string) (map[string][]fleet.Instance, error) {
	return nil, nil
}
