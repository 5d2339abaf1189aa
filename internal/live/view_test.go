package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/live"
)

// shown is a Viewer whose rows the test sets.
type shown struct {
	mu    sync.Mutex
	rows  map[string]map[string]json.RawMessage
	asked [][]string
	err   error
}

// set changes one cell.
func (s *shown) set(key, cell, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[string]map[string]json.RawMessage{}
	}
	next := maps.Clone(s.rows[key])
	if next == nil {
		next = map[string]json.RawMessage{}
	}
	next[cell] = json.RawMessage(fmt.Sprintf("%q", text))
	s.rows[key] = next
}

func (s *shown) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, key)
}

func (s *shown) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shown) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *shown) Rows(_ context.Context, keys []string) (map[string]map[string]json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, slices.Sorted(slices.Values(keys)))
	if s.err != nil {
		return nil, s.err
	}
	out := map[string]map[string]json.RawMessage{}
	for _, k := range keys {
		if r, ok := s.rows[k]; ok {
			out[k] = r
		}
	}
	return out, nil
}

// rows gives what the next message shows.
func (l *listener) rows() string {
	l.t.Helper()
	m := l.get()
	if m.Event != "view" || m.ID != "" {
		l.t.Fatalf("message %+v shows nothing, or has a place", m)
	}
	return string(m.Data)
}

func (l *listener) shows(want string) {
	l.t.Helper()
	if got := l.rows(); got != `{"rows":{`+want+`}}` {
		l.t.Errorf("got  %s\nwant {\"rows\":{%s}}", got, want)
	}
}

// viewed is a world with a Viewer.
func viewed(s *shown, change ...func(*live.Config)) func(*live.Config) {
	return func(c *live.Config) {
		c.Viewer, c.Coalesce = s, time.Millisecond
		for _, fn := range change {
			fn(c)
		}
	}
}

func TestRowsAreShownAndThenWhatChanges(t *testing.T) {
	s := &shown{}
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		s.set("agent:a", "state", "Stopped")
		s.set("agent:a", "health", "Unknown")
		s.set("agent:b", "state", "Running")
		l := must(open("rooms=view:agent:a"))
		l.shows(`"agent:a":{"health":"Unknown","state":"Stopped"}`)
		s.set("agent:a", "state", "Running")
		w.say("agents", "agent:a")
		l.shows(`"agent:a":{"state":"Running"}`)

		// Nothing that it shows has changed, or nothing that it looks at.
		w.say("agents", "agent:a")
		s.set("agent:b", "state", "Stopped")
		w.say("agents", "agent:b")
		w.hub.Touch("agent:a", "agent:b", "fleet", "agent:nobody")
		s.set("agent:a", "health", "Healthy")
		w.hub.Touch("agent:a")
		l.shows(`"agent:a":{"health":"Healthy"}`)

		// Who comes later gets the row as it is, the first nothing.
		second := must(open("rooms=view:agent:a,view:agent:b,view:agent:c"))
		got := second.rows()
		for !strings.Contains(got, "agent:b") || !strings.Contains(got, "agent:c") {
			got += second.rows()
		}
		for _, part := range []string{`"agent:a":{"health":"Healthy","state":"Running"}`, `"agent:b":{"state":"Stopped"}`, `"agent:c":null`} {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %s", got, part)
			}
		}
		s.remove("agent:a")
		w.say("agent:a")
		l.shows(`"agent:a":null`)
	}, viewed(s))
}

func TestEventsSoilWhatTheyConcern(t *testing.T) {
	for _, c := range []struct{ rooms, changed string }{
		{"agents,agent:a", "agent:a detail:a fleet"}, {"operations,operation:o,agent:a", "agent:a detail:a fleet operation:o"}, {"bulk:k,operations", "bulk:k fleet"},
		{"queues,agent:a", "agent:a detail:a fleet"}, {"agents,agent:x", "fleet"},
	} {
		s := &shown{}
		w := newWorld(t, viewed(s))
		keys := []string{"agent:a", "detail:a", "fleet", "operation:o", "bulk:k"}
		for _, k := range keys {
			s.set(k, "n", "1")
		}
		l := must(w.dial("rooms=view:" + strings.Join(keys, ",view:")))
		for got := ""; strings.Count(got, `"1"`) < len(keys); {
			got += l.rows()
		}
		for _, k := range keys {
			s.set(k, "n", "2")
		}
		w.say(strings.Split(c.rooms, ",")...)
		want, got := strings.Fields(c.changed), []string{}
		for len(got) < len(want) {
			var m struct{ Rows map[string]any }
			if err := json.Unmarshal([]byte(l.rows()), &m); err != nil {
				t.Fatal(err)
			}
			got = append(got, slices.Collect(maps.Keys(m.Rows))...)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("an event for %s changed %v, want %v", c.rooms, got, want)
		}
	}
}

func TestPulse(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		first := w.say("agents", "agent:a")
		for patience := time.Now().Add(time.Minute); w.hub.Place() < first && time.Now().Before(patience); {
			runtime.Gosched() // the hub reads what was stored by itself
		}
		l := must(open("rooms=view:pulse:agents"))
		l.shows(fmt.Sprintf(`"pulse:agents":{"agent:state_changed":%d,"since":0}`, first))
		w.say("operations", "agent:a")
		second := w.say("agents", "agent:b")
		l.shows(fmt.Sprintf(`"pulse:agents":{"agent:state_changed":%d}`, second))
		if _, status := open("rooms=view:pulse:audit", "Role", "operator"); status != 403 {
			t.Errorf("an operator may see that something was audited: %d", status)
		}
		for _, room := range []string{"view:pulse:kitchen", "view:pulse:fleet", "view:kitchen", "view:", "view:agents", "view:view:fleet", "view:agent:a%22b"} {
			if _, status := open("rooms=" + room); status != 400 {
				t.Errorf("%s: %d", room, status)
			}
		}
	}, viewed(&shown{}))
}

func TestLookingElsewhere(t *testing.T) {
	s := &shown{}
	w := newWorld(t, viewed(s))
	s.set("agent:a", "n", "1")
	s.set("agent:b", "n", "1")
	l := must(w.dial("rooms=view:agent:a"))
	l.shows(`"agent:a":{"n":"1"}`)
	l.send(`{"subscribe":["view:agent:b"],"unsubscribe":["view:agent:a"]}`)
	if m := l.get(); string(m.Data) != `{"rooms":["view:agent:b"]}` {
		t.Errorf("answer %s", m.Data)
	}
	l.shows(`"agent:b":{"n":"1"}`)
	asked := s.times()
	s.set("agent:a", "n", "2")
	w.hub.Touch("agent:a")
	s.set("agent:b", "n", "2")
	w.hub.Touch("agent:b")
	l.shows(`"agent:b":{"n":"2"}`)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keys := range s.asked[asked:] {
		if slices.Contains(keys, "agent:a") {
			t.Error("it looks up what nobody looks at")
		}
	}
}

func TestRowsAreLookedUpAgainAfterAFailure(t *testing.T) {
	s := &shown{}
	w := newWorld(t, viewed(s))
	s.set("agent:a", "n", "1")
	s.fail(errors.New("no answer"))
	l := must(w.dial("rooms=view:agent:a"))
	for s.times() == 0 {
		runtime.Gosched()
	}
	s.fail(nil)
	l.shows(`"agent:a":{"n":"1"}`)
}

// quiet is a log without events.
type quiet struct{ event.Log }

func (quiet) Find(context.Context, event.Query) ([]event.Event, error) { return nil, nil }
func (quiet) Bounds(context.Context) (int64, int64, error)             { return 0, 0, nil }
func (quiet) Watch() (<-chan struct{}, func())                         { return nil, func() {} }

var viewer = auth.Principal{ID: "v", From: "x", Role: auth.Viewer}

func TestChangesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shown{}
		h := live.New(live.Config{Log: quiet{}, Viewer: s, Logger: slog.New(slog.DiscardHandler)})
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			s.set(fmt.Sprintf("agent:%d", i), "n", "0")
		}
		var rooms []string
		for i := range 10 {
			rooms = append(rooms, fmt.Sprintf("view:agent:%d", i))
		}
		all, err := h.Attach(viewer, rooms...)
		if err != nil {
			t.Fatal(err)
		}
		half, err := h.Attach(viewer, rooms[:5]...)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m := all(); len(m) != 1 || strings.Count(m[0], "agent:") != 10 {
			t.Fatalf("the first look is %q", m)
		}
		time.Sleep(time.Second) // who comes just after a look waits for the next
		synctest.Wait()
		if m := half(); len(m) != 1 || strings.Count(m[0], "agent:") != 5 {
			t.Fatalf("the first look is %q", m)
		}
		asked := s.times()
		s.set("agent:0", "n", "now")
		h.Touch("agent:0")
		synctest.Wait() // the first change after a calm goes out at once
		if m := all(); len(m) != 1 || m[0] != `{"event":"view","data":{"rows":{"agent:0":{"n":"now"}}}}` {
			t.Errorf("at once: %q", m)
		}
		for n := range 1000 { // 1,000 changes in a second
			time.Sleep(time.Millisecond)
			s.set(fmt.Sprintf("agent:%d", n%10), "n", fmt.Sprint(n))
			h.Touch(fmt.Sprintf("agent:%d", n%10))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.times() - asked; n > 43 {
			t.Errorf("1,000 changes in a second were looked up %d times", n)
		}
		messages := all()
		if len(messages) > 43 || len(messages) < 36 {
			t.Errorf("they came in %d messages", len(messages))
		}
		last := map[string]string{}
		for _, m := range messages {
			var got struct {
				Data struct {
					Rows map[string]struct{ N string }
				}
			}
			if err := json.Unmarshal([]byte(m), &got); err != nil {
				t.Fatal(err)
			}
			for key, r := range got.Data.Rows {
				last[key] = r.N
			}
		}
		for i := range 10 {
			if key := fmt.Sprintf("agent:%d", i); last[key] != fmt.Sprint(990+i) {
				t.Errorf("%s ended as %q", key, last[key])
			}
		}
		if m := strings.Join(half(), ""); strings.Contains(m, "agent:7") || !strings.Contains(m, "agent:3") {
			t.Error("a client got rows of others, or not its own")
		}
		if err := h.Stop(canceled(t)); !errors.Is(err, context.Canceled) && err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

// canceled is a context that waits for nothing.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestManyRowsComeInSeveralMessages(t *testing.T) {
	s := &shown{}
	w := newWorld(t, viewed(s), func(c *live.Config) { c.Coalesce = 50 * time.Millisecond })
	rooms := []string{}
	for i := range 600 {
		s.set(fmt.Sprintf("agent:%d", i), "text", strings.Repeat("x", 500))
		rooms = append(rooms, fmt.Sprintf(`"view:agent:%d"`, i))
	}
	l := must(w.dial("rooms=agents"))
	l.send(`{"subscribe":[` + strings.Join(rooms, ",") + `]}`)
	if m := l.get(); m.Event != "subscribed" {
		t.Fatalf("answer %+v", m)
	}
	for n := 0; n < 600; {
		m := l.get()
		if n += strings.Count(string(m.Data), `"text"`); len(m.Data) > 70_000 {
			t.Errorf("a message of %d bytes", len(m.Data))
		}
	}
	l.send(`{"subscribe":["view:agent:601"]}`)
	if m := l.get(); m.Event != "error" || !strings.Contains(string(m.Data), "live.too_many_rooms") {
		t.Errorf("the 601st: %+v", m)
	}
	l.send(`{"subscribe":["view:agent:601"],"unsubscribe":["view:agent:1"]}`)
	if m := l.get(); m.Event != "subscribed" {
		t.Errorf("in place of another: %+v", m)
	}
}

func TestAccessIsCheckedAtOnce(t *testing.T) {
	for name, tell := range map[string]func(w *world){
		"by an event": func(w *world) {
			e := event.New(event.TokenChanged, "", "test", time.Now(), struct{}{}, event.RoomAudit)
			if err := w.store.Events().Append(context.Background(), e); err != nil {
				w.t.Fatal(err)
			}
		},
		"when asked": func(w *world) { w.hub.RecheckNow() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, viewed(&shown{}, func(c *live.Config) { c.Recheck = time.Hour }))
			ws, sse := must(w.dial("rooms=view:fleet")), must(w.stream("rooms=view:fleet"))
			ws.rows()
			sse.rows()
			w.revoked.Store(true)
			tell(w)
			if code := websocket.CloseStatus(ws.ended()); code != websocket.StatusPolicyViolation {
				t.Errorf("closed with %d", code)
			}
			if err := sse.ended(); !errors.Is(err, io.EOF) {
				t.Errorf("ended by %v", err)
			}
		})
	}
}
