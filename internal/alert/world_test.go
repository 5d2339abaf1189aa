package alert_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/rulefile"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// world is a portal's alerts with a clock that tests set. The store outlives the
// service.
type world struct {
	t     testing.TB
	store *store.Store
	svc   *alert.Service
	facts *facts
	out   *outbox
	files []alert.Text

	mu  sync.Mutex
	now time.Time
	ids int
}

func newWorld(t testing.TB, rules string) *world {
	t.Helper()
	w := &world{t: t, store: storetest.New(t), facts: &facts{values: map[string][]series{}}, out: &outbox{fails: map[string]error{}},
		now: time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)}
	if rules != "" {
		w.files = []alert.Text{{Name: "mine.yml", Source: alert.Directory, Content: []byte(rules)}}
	}
	w.boot()
	return w
}

// boot makes a service as a portal that starts does, without its loops.
func (w *world) boot() {
	w.t.Helper()
	w.svc = &alert.Service{
		Stores: w.store.Alerts(), Tx: w.store, Events: w.store.Events(), Audit: &audit.Recorder{Store: w.store.Audit(), Now: w.clock},
		Language: rulefile.Language{}, Folder: w, Querier: w.facts, Appender: w.facts, Sender: w.out, Now: w.clock, NewID: w.id,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), PublicURL: "https://portal.example.com",
	}
	if err := w.svc.Prepare(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) Files(context.Context) ([]alert.Text, error) { return w.files, nil }

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) id() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("01900000-0000-7000-8000-%012d", w.ids)
}

// evaluate evaluates all rules of the file of the test, now.
func (w *world) evaluate() {
	w.t.Helper()
	for _, g := range w.svc.Groups() {
		if g.File == "mine.yml" {
			w.svc.Evaluate(w.t.Context(), g, w.clock())
		}
	}
}

// shows tells what alerts there are: "Name agent state", by urgency.
func (w *world) shows(want ...string) {
	w.t.Helper()
	list, _, err := w.svc.Find(w.t.Context(), alert.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Name, a.AgentID, a.Status)))
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("alerts are\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

// only gives the one alert that there is.
func (w *world) only() alert.Alert {
	w.t.Helper()
	list, _, err := w.svc.Find(w.t.Context(), alert.Query{})
	if err != nil || len(list) != 1 {
		w.t.Fatalf("%d alerts, %v", len(list), err)
	}
	return list[0]
}

// told sends what is due and gives it: "receiver: Name agent state, …".
func (w *world) told(want ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.svc.Dispatch(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := w.svc.SendDue(ctx); err != nil {
		w.t.Fatal(err)
	}
	if got := w.out.take(); !slices.Equal(got, want) {
		w.t.Fatalf("told\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func (w *world) append(events ...event.Event) {
	w.t.Helper()
	if err := w.store.Events().Append(w.t.Context(), events...); err != nil {
		w.t.Fatal(err)
	}
	if err := w.svc.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// events gives the types of the events about alerts since the last call.
func (w *world) events() []string {
	w.t.Helper()
	list, err := w.store.Events().Find(w.t.Context(), event.Query{Rooms: []string{event.RoomAlerts}, Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, string(e.Type))
	}
	return out
}

func (w *world) receiver(r alert.Receiver) *alert.Receiver {
	w.t.Helper()
	if r.Kind == "" {
		r.Kind, r.URL, r.Secret = alert.Webhook, "https://example.com/hook", "file:hook"
	}
	saved, err := w.svc.SaveReceiver(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return saved
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Fatalf("error %v, want one of kind %s", err, kind)
	}
}

// series is what an expression gives.
type series struct {
	labels map[string]string
	value  float64
}

func of(agent string, value float64) series {
	return series{map[string]string{"__name__": "x", "agent": agent, "agent_name": agent + "-name"}, value}
}

// facts is a metrics.Querier that knows the answers, and keeps what is recorded.
type facts struct {
	mu       sync.Mutex
	values   map[string][]series
	history  map[string][]metrics.Points
	err      error
	recorded []metrics.Sample
}

func (f *facts) are(expr string, list ...series) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[expr] = list
}

func (f *facts) Instant(_ context.Context, expr string, at time.Time) (metrics.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return metrics.Result{}, f.err
	}
	out := metrics.Result{Type: metrics.Vector}
	for _, s := range f.values[expr] {
		out.Series = append(out.Series, metrics.Points{Labels: maps.Clone(s.labels), Points: []metrics.Point{{At: at, Value: s.value}}})
	}
	return out, nil
}

func (f *facts) Range(_ context.Context, expr string, _ metrics.Range) (metrics.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return metrics.Result{Type: metrics.Matrix, Series: f.history[expr]}, f.err
}

func (f *facts) Append(_ context.Context, samples []metrics.Sample) error {
	f.recorded = append(f.recorded, samples...)
	return nil
}

// outbox is an alert.Sender that remembers.
type outbox struct {
	mu    sync.Mutex
	sent  []string
	keys  []string
	fails map[string]error // by receiver
	hold  chan struct{}    // a receiver named "hangs" waits for it
	done  chan struct{}    // gets a value for each message, if it is not nil
}

func (o *outbox) Check(alert.Receiver) error { return nil }

func (o *outbox) Send(ctx context.Context, r alert.Receiver, m alert.Message, key string) error {
	if r.Name == "hangs" {
		select {
		case <-o.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys = append(o.keys, key)
	if err := o.fails[r.Name]; err != nil {
		return err
	}
	var parts []string
	for _, a := range m.Alerts {
		parts = append(parts, strings.Join(strings.Fields(a.Name+" "+a.AgentID+" "+string(a.Status)), " "))
	}
	o.sent = append(o.sent, r.Name+": "+strings.Join(parts, ", "))
	if o.done != nil {
		o.done <- struct{}{}
	}
	return nil
}

func (o *outbox) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.sent
	o.sent = nil
	slices.Sort(out)
	return out
}
