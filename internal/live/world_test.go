package live_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/live"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// message is what clients get.
type message struct {
	ID    string          `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// world is a hub on a real store behind a real server. The role of a request
// stands in the header "Role", the principal in "Who".
type world struct {
	t       testing.TB
	store   *store.Store
	hub     *live.Hub
	server  *httptest.Server
	revoked atomic.Bool
	n       atomic.Int64
}

func newWorld(t testing.TB, change ...func(*live.Config)) *world {
	t.Helper()
	w := &world{t: t, store: storetest.New(t)}
	cfg := live.Config{Log: w.store.Events(), Logger: slog.New(slog.DiscardHandler), Recheck: 20 * time.Millisecond}
	for _, fn := range change {
		fn(&cfg)
	}
	w.hub = live.New(cfg)
	if err := w.hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.hub.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		w.server.Close()
	})
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	role := auth.Role(r.Header.Get("Role"))
	if role == "" {
		role = auth.Viewer
	}
	if role == "nobody" {
		role = auth.Nobody
	}
	ctx := auth.With(r.Context(), auth.Principal{ID: "token:" + r.Header.Get("Who"), Role: role})
	ctx = auth.WithRecheck(ctx, func(ctx context.Context) (auth.Principal, error) {
		if w.revoked.Load() {
			return auth.Principal{}, fault.New(fault.Unauthenticated, "auth.token_revoked", "The token was revoked")
		}
		return auth.From(ctx), nil
	})
	serve := w.hub.WebSocket
	if strings.HasSuffix(r.URL.Path, "/sse") {
		serve = w.hub.SSE
	}
	if err := serve(rw, r.WithContext(ctx)); err != nil {
		status := map[fault.Kind]int{fault.Invalid: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.RateLimited: 429, fault.Unavailable: 503}[fault.KindOf(err)]
		http.Error(rw, err.Error(), status)
	}
}

// say appends one event for the rooms and gives its number.
func (w *world) say(rooms ...string) int64 {
	w.t.Helper()
	n := w.n.Add(1)
	e := event.New(event.AgentStateChanged, "a", "test", time.Now(), event.StateChanged{AgentID: "a", NewState: fmt.Sprint(n)}, rooms...)
	if err := w.store.Events().Append(context.Background(), e); err != nil {
		w.t.Fatal(err)
	}
	_, newest, err := w.store.Events().Bounds(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return newest
}

// listener is a client of either kind.
type listener struct {
	t     testing.TB
	next  func() (message, error)
	close func()
	conn  *websocket.Conn // nil for SSE
}

// get gives the next message but heart-beats.
func (l *listener) get() message {
	l.t.Helper()
	for {
		m, err := l.next()
		if err != nil {
			l.t.Fatalf("no message: %v", err)
		}
		if m.Event != "heartbeat" {
			return m
		}
	}
}

// ended gives the error with which the connection ends.
func (l *listener) ended() error {
	l.t.Helper()
	for {
		if _, err := l.next(); err != nil {
			return err
		}
	}
}

func (l *listener) send(text string) {
	l.t.Helper()
	if err := l.conn.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		l.t.Fatalf("send: %v", err)
	}
}

const patience = time.Minute

func headers(pairs []string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// dial opens a WebSocket; status is that of the refusal.
func (w *world) dial(query string, header ...string) (l *listener, status int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(w.server.URL, "http")+"/live?"+query, &websocket.DialOptions{HTTPHeader: headers(header)})
	if err != nil {
		cancel()
		if resp == nil {
			w.t.Fatal(err)
		}
		return nil, resp.StatusCode
	}
	conn.SetReadLimit(1 << 20)
	w.t.Cleanup(func() { cancel(); _ = conn.CloseNow() })
	next := func() (message, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var m message
		_, data, err := conn.Read(ctx)
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		return m, err
	}
	return &listener{t: w.t, next: next, close: func() { _ = conn.CloseNow() }, conn: conn}, 101
}

// stream opens server-sent events.
func (w *world) stream(query string, header ...string) (l *listener, status int) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/live/sse?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = headers(header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		cancel()
		return nil, resp.StatusCode
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		w.t.Errorf("content type %q", ct)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &listener{t: w.t, close: cancel, next: func() (message, error) { return parseSSE(lines, cancel) }}, 200
}

// parseSSE gives the next event, as a browser would.
func parseSSE(lines *bufio.Scanner, cancel func()) (message, error) {
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	var id, name, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && data != "":
			var m message
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				return m, err
			}
			if m.ID != "" && m.ID != id || m.Event != name {
				return m, fmt.Errorf("the fields say %q %q, the data %q %q", id, name, m.ID, m.Event)
			}
			return m, nil
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "data":
			data = value
		}
	}
	return message{}, errors.Join(lines.Err(), io.EOF)
}

func number(t testing.TB, m message) int64 {
	t.Helper()
	n, err := strconv.ParseInt(m.ID, 10, 64)
	if err != nil {
		t.Fatalf("message %+v has no number", m)
	}
	return n
}
