package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/live"
)

func TestStopSpreadsTheReturn(t *testing.T) {
	w := newWorld(t)
	delays := map[int64]bool{}
	var all []*listener
	for range 20 {
		all = append(all, must(w.dial("rooms=agents")), must(w.stream("rooms=agents")))
	}
	for w.hub.Connections() < len(all) {
		runtime.Gosched()
	}
	if err := w.hub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		var hint struct {
			AfterMS int64 `json:"after_ms"`
		}
		m := l.get()
		if err := json.Unmarshal(m.Data, &hint); m.Event != "retry" || err != nil || hint.AfterMS < 0 || hint.AfterMS > 2000 {
			t.Fatalf("before the end came %+v", m)
		}
		delays[hint.AfterMS] = true
		_ = l.ended()
	}
	if len(delays) < 10 {
		t.Errorf("%d clients come back at %d moments", len(all), len(delays))
	}
	w.quiet()
}

// quiet waits until no goroutine of the hub is left.
func (w *world) quiet() {
	w.t.Helper()
	buf := make([]byte, 4<<20)
	deadline := time.Now().Add(patience)
	for {
		stacks := string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "internal/live.(*") {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("goroutines are left:\n%s", stacks)
		}
		runtime.Gosched()
	}
}

func TestACrowdIsLetInOneAfterTheOther(t *testing.T) {
	w := newWorld(t, func(c *live.Config) { c.Admit = 5 })
	begun := time.Now()
	for range 4 {
		must(w.dial("rooms=agents"))
	}
	if took := time.Since(begun); took < 500*time.Millisecond { // 1 at once, 3 at 5 a second
		t.Errorf("4 were let in within %s", took)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for range 30 {
		wg.Go(func() {
			if _, status := w.dial("rooms=agents"); status == 429 {
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
	}
	if wg.Wait(); refused == 0 {
		t.Error("a crowd that would wait for seconds is not sent away")
	}
}

// counting is a log that counts what is asked of it for rooms.
type counting struct {
	event.Log
	mu sync.Mutex
	n  int
}

func (c *counting) Find(ctx context.Context, q event.Query) ([]event.Event, error) {
	if len(q.Rooms) > 0 {
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
	}
	return c.Log.Find(ctx, q)
}

func TestAfterARestartTheStoreIsNotAskedForEveryClient(t *testing.T) {
	c := &counting{}
	w := newWorld(t, func(cfg *live.Config) { c.Log, cfg.Log = cfg.Log, c })
	first := w.say("agents")
	second := w.say("agents")
	if err := w.hub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := w.say("agents")
	if err := w.hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l := must(w.dial(fmt.Sprintf("rooms=agents&since=%d", first)))
		for _, want := range []int64{second, third} {
			if n := number(t, l.get()); n != want {
				t.Errorf("got %d, want %d", n, want)
			}
		}
	}
	if c.n > 0 {
		t.Errorf("the store was asked %d times", c.n)
	}
	if p := w.hub.Place(); p != third {
		t.Errorf("the place is %d, want %d", p, third)
	}
}

func TestFirstLooksDoNotFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shown{}
		h := live.New(live.Config{Log: quiet{}, Viewer: s, Logger: slog.New(slog.DiscardHandler)})
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var rooms []string
		for i := range 600 {
			s.set(fmt.Sprintf("agent:%d", i), "text", strings.Repeat("x", 1000))
			rooms = append(rooms, fmt.Sprintf("view:agent:%d", i))
		}
		var takes []func() []string
		for range 100 { // they are to be shown 60 MB
			take, err := h.Attach(viewer, rooms...)
			if err != nil {
				t.Fatal(err)
			}
			takes = append(takes, take)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		got, rows, first := make([]int, len(takes)), 0, true
		for round := 0; rows < 600*len(takes) && round < 1000; round++ {
			taken := 0
			for i, take := range takes {
				for _, m := range take() {
					taken += len(m)
					got[i] += strings.Count(m, `"text"`)
					rows += strings.Count(m, `"text"`)
				}
			}
			if taken > 20<<20 {
				t.Fatalf("%d MB waited at once", taken>>20)
			}
			if first && rows == 0 {
				t.Fatal("nobody got anything")
			}
			first = false
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		for i, n := range got {
			if n != 600 {
				t.Errorf("client %d got %d rows", i, n)
			}
		}
		if err := h.Stop(canceled(t)); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("stop: %v", err)
		}
	})
}

// counted counts what a connection reads.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func TestFirstLooksAreCompressed(t *testing.T) {
	s := &shown{}
	w := newWorld(t, viewed(s))
	s.set("agent:a", "text", strings.Repeat("all the same ", 5000))
	var read atomic.Int64
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return counted{conn, &read}, err
	}
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(w.server.URL, "http")+"/live?rooms=view:agent:a", &websocket.DialOptions{
		CompressionMode: websocket.CompressionNoContextTakeover, HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	for {
		_, data, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "all the same") {
			if n := read.Load(); len(data) < 50_000 || n > 10_000 {
				t.Errorf("%d bytes came as %d", len(data), n)
			}
			return
		}
	}
}
