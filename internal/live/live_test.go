package live_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/live"
)

// both runs the test over WebSocket and as server-sent events.
func both(t *testing.T, test func(t *testing.T, w *world, open func(query string, header ...string) (*listener, int)), change ...func(*live.Config)) {
	t.Run("websocket", func(t *testing.T) { w := newWorld(t, change...); test(t, w, w.dial) })
	t.Run("sse", func(t *testing.T) { w := newWorld(t, change...); test(t, w, w.stream) })
}

func TestClientsHearTheirRooms(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		all, _ := open("rooms=agents,agent:a,operations")
		one, _ := open("rooms=agent:a&rooms=bulk:7")
		w.say("agents", "agent:b")
		second := w.say("agents", "agent:a")
		third := w.say("operations", "operation:1", "bulk:7")
		var got []int64
		for range 3 {
			got = append(got, number(t, all.get()))
		}
		if want := []int64{second - 1, second, third}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v, each once", got, want)
		}
		m := one.get()
		if number(t, m) != second || m.Event != "agent:state_changed" || !strings.Contains(string(m.Data), `"agent_id":"a"`) {
			t.Errorf("message %+v", m)
		}
		if n := number(t, one.get()); n != third {
			t.Errorf("then %d, want %d", n, third)
		}
	})
}

func TestWhoMayListen(t *testing.T) {
	both(t, func(t *testing.T, _ *world, open func(string, ...string) (*listener, int)) {
		many := make([]string, 101)
		for i := range many {
			many[i] = fmt.Sprint("agent:", i)
		}
		for _, c := range []struct {
			query, role string
			ok          bool
			status      int
		}{
			{"rooms=agents", "nobody", false, 401}, {"rooms=audit", "viewer", false, 403}, {"rooms=agents,audit", "operator", false, 403}, {"rooms=audit", "admin", true, 0},
			{"rooms=kitchen", "admin", false, 400}, {"", "admin", false, 400}, {"rooms=,", "admin", false, 400}, {"rooms=agent:", "viewer", false, 400},
			{"rooms=agent:../x", "viewer", false, 400}, {"rooms=agent:a%20b", "viewer", false, 400}, {"rooms=" + strings.Join(many, ","), "viewer", false, 400},
			{"rooms=" + strings.Join(many[:100], ","), "viewer", true, 0}, {"rooms=agents&since=x", "viewer", false, 400}, {"rooms=agents&since=-1", "viewer", false, 400},
		} {
			l, status := open(c.query, "Role", c.role)
			if c.ok != (l != nil) || !c.ok && status != c.status {
				t.Errorf("%.40s as %s: %d", c.query, c.role, status)
			}
		}
	})
}

func TestResume(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		first := w.say("agents")
		w.say("operations")
		third := w.say("agents")
		for _, l := range []*listener{
			must(open(fmt.Sprintf("rooms=agents&since=%d", first))),
			must(open("rooms=agents", "Last-Event-ID", fmt.Sprint(first))),
			must(open(fmt.Sprintf("rooms=agents&since=%d", first-1), "Last-Event-ID", fmt.Sprint(first))),
		} {
			if n := number(t, l.get()); n != third {
				t.Errorf("missed %d came, want %d", n, third)
			}
		}
		l := must(open("rooms=agents&since=0"))
		fourth := w.say("agents")
		for _, want := range []int64{first, third, fourth} {
			if n := number(t, l.get()); n != want {
				t.Errorf("got %d, want %d", n, want)
			}
		}
	})
}

func must(l *listener, status int) *listener {
	if l == nil {
		panic(fmt.Sprint("refused with ", status))
	}
	return l
}

// Clients that come and go while events pour in get each exactly once, from
// memory as well as from the log.
func TestResumeWithoutGapOrDouble(t *testing.T) {
	for name, recent := range map[string]int{"from memory": 100_000, "from the log": 1} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
				const total = 400
				var wg sync.WaitGroup
				for c := range 3 {
					wg.Go(func() {
						place, got := int64(0), 0
						for got < total {
							l := must(open(fmt.Sprintf("rooms=agents,agent:a&since=%d", place)))
							for range 20 + 30*c {
								m := l.get()
								if n := number(t, m); m.Event != "agent:state_changed" || n <= place {
									t.Errorf("after %d came %+v", place, m)
									return
								} else {
									place = n
								}
								if want := fmt.Sprintf(`"new_state":"%d"`, got+1); !strings.Contains(string(m.Data), want) {
									t.Errorf("event %d is %s", got+1, m.Data)
									return
								}
								if got++; got == total {
									break
								}
							}
							l.close()
						}
					})
				}
				for range total {
					w.say("agents", "agent:a")
				}
				wg.Wait()
			}, func(c *live.Config) { c.Recent = recent })
		})
	}
}

func TestReset(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		for range 20 {
			w.say("agents")
		}
		if _, err := w.store.Events().Prune(t.Context(), time.Now().Add(time.Hour), 5); err != nil {
			t.Fatal(err)
		}
		_, newest, err := w.store.Events().Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := must(open("rooms=agents&since=3")).get()
		if m.Event != "reset" || number(t, m) < newest-1 || !strings.Contains(string(m.Data), "too_old") {
			t.Errorf("too old: %+v", m)
		}
		l := must(open("rooms=agents&since=99999"))
		if m := l.get(); m.Event != "reset" || !strings.Contains(string(m.Data), "unknown_since") {
			t.Errorf("from the future: %+v", m)
		}
		if n := w.say("agents"); number(t, l.get()) != n {
			t.Error("after the reset it does not go on")
		}
		if m := must(open(fmt.Sprintf("rooms=agents&since=%d", newest-2))).get(); number(t, m) != newest-1 {
			t.Errorf("kept ones: %+v", m)
		}
	}, func(c *live.Config) { c.Recent = 1 })
}

func TestHeartbeat(t *testing.T) {
	w := newWorld(t, func(c *live.Config) { c.Heartbeat = 10 * time.Millisecond })
	n := w.say("operations")
	l := must(w.dial("rooms=agents"))
	for range 3 {
		if m, err := l.next(); err != nil || m.Event != "heartbeat" || m.ID == "" {
			t.Errorf("%+v %v", m, err)
		}
	}
	for { // it says where the stream is, also if nothing came for the room
		m, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		if number(t, m) == n {
			break
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/live/sse?rooms=agents", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 200)
	if _, err := io.ReadFull(resp.Body, b); err != nil || strings.Count(string(b), ": heartbeat\nid: ") < 3 {
		t.Errorf("%q %v", b, err)
	}
}

func TestSubscribeWhileConnected(t *testing.T) {
	w := newWorld(t)
	l := must(w.dial("rooms=operations"))
	l.send(`{"subscribe":["agent:a","queues"]}`)
	m := l.get()
	if m.Event != "subscribed" || string(m.Data) != `{"rooms":["agent:a","operations","queues"]}` {
		t.Errorf("answer %+v", m)
	}
	if n := w.say("agent:a"); number(t, l.get()) != n {
		t.Error("the new room is silent")
	}
	l.send(`{"unsubscribe":["agent:a"],"subscribe":["agent:b"]}`)
	if m := l.get(); string(m.Data) != `{"rooms":["agent:b","operations","queues"]}` {
		t.Errorf("answer %+v", m)
	}
	w.say("agent:a")
	if n := w.say("operations"); number(t, l.get()) != n {
		t.Error("the room that was left is not silent")
	}
	for text, code := range map[string]string{`{"subscribe":["audit"]}`: "live.room_refused", `{"subscribe":["kitchen"]}`: "live.unknown_room", `{"dance":1}`: "live.message"} {
		l.send(text)
		if m := l.get(); m.Event != "error" || !strings.Contains(string(m.Data), code) {
			t.Errorf("%s: %+v", text, m)
		}
	}
	if n := w.say("audit", "operations"); number(t, l.get()) != n {
		t.Error("a complaint ended the connection")
	}
}

func TestAbuse(t *testing.T) {
	w := newWorld(t)
	var rooms []string
	for i := range 101 {
		rooms = append(rooms, fmt.Sprintf(`"agent:%d"`, i))
	}
	for name, c := range map[string]struct {
		send func(l *listener)
		code websocket.StatusCode
	}{
		"too many messages": {func(l *listener) {
			for range 100 {
				if l.conn.Write(context.Background(), websocket.MessageText, []byte(`{"subscribe":["agents"]}`)) != nil {
					return
				}
			}
		}, websocket.StatusPolicyViolation},
		"rubbish": {func(l *listener) {
			for range 20 {
				if l.conn.Write(context.Background(), websocket.MessageText, []byte(`rubbish`)) != nil {
					return
				}
			}
		}, websocket.StatusPolicyViolation},
		"binary":      {func(l *listener) { _ = l.conn.Write(context.Background(), websocket.MessageBinary, []byte{1}) }, websocket.StatusPolicyViolation},
		"too large":   {func(l *listener) { l.send(strings.Repeat("x", 70_000)) }, websocket.StatusMessageTooBig},
		"more rooms ": {func(l *listener) { l.send(`{"subscribe":[` + strings.Join(rooms, ",") + `]}`) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := must(w.dial("rooms=agents"))
			c.send(l)
			if c.code == 0 {
				if m := l.get(); !strings.Contains(string(m.Data), "live.too_many_rooms") {
					t.Errorf("answer %+v", m)
				}
				return
			}
			if got := websocket.CloseStatus(l.ended()); got != c.code {
				t.Errorf("closed with %d, want %d", got, c.code)
			}
		})
	}
}

func TestRevokedAccessEndsTheConnection(t *testing.T) {
	w := newWorld(t)
	ws, sse := must(w.dial("rooms=agents")), must(w.stream("rooms=agents"))
	w.say("agents")
	ws.get()
	sse.get()
	w.revoked.Store(true)
	if code := websocket.CloseStatus(ws.ended()); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %d", code)
	}
	if err := sse.ended(); !errors.Is(err, io.EOF) {
		t.Errorf("ended by %v", err)
	}
	w.empty()
}

// empty waits until the hub has forgotten every client.
func (w *world) empty() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.hub.Connections() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("%d connections are left", w.hub.Connections())
		}
	}
}

func TestLimits(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		first := must(open("rooms=agents", "Who", "a"))
		must(open("rooms=agents", "Who", "a"))
		if _, status := open("rooms=agents", "Who", "a"); status != 429 {
			t.Errorf("third of one principal: %d", status)
		}
		must(open("rooms=agents", "Who", "b"))
		if _, status := open("rooms=agents", "Who", "c"); status != 429 {
			t.Errorf("fourth of one address: %d", status)
		}
		first.close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for w.hub.Connections() > 2 && ctx.Err() == nil {
			w.say("agents") // the end shows when something is written, at the latest
		}
		must(open("rooms=agents", "Who", "a"))
	}, func(c *live.Config) { c.PerPrincipal, c.PerAddress = 2, 3 })
}

func TestSlowClientIsCutAndComesBack(t *testing.T) {
	both(t, func(t *testing.T, w *world, open func(string, ...string) (*listener, int)) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(w.server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(1024)
		path := "/live/sse?rooms=agents HTTP/1.1\r\n"
		if strings.HasSuffix(t.Name(), "websocket") {
			path = "/live?rooms=agents HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
		}
		if _, err := io.WriteString(conn, "GET "+path+"Host: x\r\nWho: slow\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		quick := must(open("rooms=agents", "Who", "quick"))
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		for w.hub.Connections() < 2 && ctx.Err() == nil {
			w.say("operations")
		}
		sent := 0
		for w.hub.Connections() > 1 { // the slow one reads nothing at all
			if ctx.Err() != nil {
				t.Fatal("the slow client was not cut")
			}
			e := event.Event{Type: event.QueueUpdate, At: time.Now(), Rooms: []string{"agents"}, Data: []byte(`"` + strings.Repeat("x", 60_000) + `"`)}
			if err := w.store.Events().Append(ctx, e); err != nil {
				t.Fatal(err)
			}
			sent++
			quick.get() // others are not held up
		}
		back := must(open("rooms=agents&since=0", "Who", "slow"))
		for range sent {
			if m := back.get(); m.Event != "queue_update" {
				t.Fatalf("message %s", m.Event)
			}
		}
	}, func(c *live.Config) { c.Queue, c.WriteTimeout = 50, time.Second })
}

func TestOrigins(t *testing.T) {
	w := newWorld(t, func(c *live.Config) { c.Origins = []string{"portal.example.com"} })
	host := strings.TrimPrefix(w.server.URL, "http://")
	for origin, ok := range map[string]bool{"": true, "http://" + host: true, "https://portal.example.com": true, "https://portal.example.com:8443": true,
		"https://evil.example": false, "https://portal.example.com.evil.example": false, "null": false, "http://localhost:1": false, "%%%": false} {
		l, status := w.dial("rooms=agents", "Origin", origin)
		if (l != nil) != ok || !ok && status != 403 {
			t.Errorf("origin %q: %d", origin, status)
		}
	}
}

func TestNoWebSocket(t *testing.T) {
	w := newWorld(t)
	for _, h := range []map[string]string{
		{}, {"Connection": "Upgrade", "Upgrade": "h2c"},
		{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "8", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
		{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/live?rooms=agents", nil)
		for name, value := range h {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "WebSocket") {
			t.Errorf("%v: %d %s", h, resp.StatusCode, body)
		}
	}
}

func TestStopTellsClientsToComeBack(t *testing.T) {
	w := newWorld(t)
	ws, sse := must(w.dial("rooms=agents")), must(w.stream("rooms=agents"))
	if err := w.hub.Start(t.Context()); err == nil {
		t.Error("it started twice")
	}
	if err := w.hub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := websocket.CloseStatus(ws.ended()); code != websocket.StatusServiceRestart {
		t.Errorf("closed with %d", code)
	}
	if err := sse.ended(); !errors.Is(err, io.EOF) {
		t.Errorf("ended by %v", err)
	}
	if _, status := w.dial("rooms=agents"); status != 503 {
		t.Errorf("while stopped: %d", status)
	}
	if status := w.asks(); status != 503 {
		t.Errorf("asked while stopped: %d", status)
	}
	missed := w.say("agents")
	if err := w.hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := must(w.dial(fmt.Sprintf("rooms=agents&since=%d", missed-1))).get(); number(t, m) != missed {
		t.Errorf("after the restart: %+v", m)
	}
	if status := w.asks(); status != 400 {
		t.Errorf("asked after the restart: %d", status)
	}
}

// A page learns why no connection comes about: it takes nobody's turn to ask.
func TestACrowdIsToldToWait(t *testing.T) {
	w := newWorld(t, func(c *live.Config) { c.Admit = 1 })
	for range 5 {
		if status := w.asks(); status != 400 {
			t.Fatalf("asked while nobody comes: %d", status)
		}
	}
	var crowd sync.WaitGroup
	var over atomic.Bool
	for range 8 { // one a second is let in, and two wait
		crowd.Go(func() {
			for !over.Load() {
				w.dial("rooms=agents")
			}
		})
	}
	limit, status := time.Now().Add(time.Minute), 0
	for status != 429 && time.Now().Before(limit) {
		status = w.asks()
	}
	over.Store(true)
	crowd.Wait()
	if status != 429 {
		t.Errorf("asked while many come: %d", status)
	}
}

// asks tells with which status the hub says whether it takes connections.
func (w *world) asks() int {
	w.t.Helper()
	req, _ := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.server.URL+"/live", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// failing is a log that can't be read for a while.
type failing struct {
	event.Log
	mu   sync.Mutex
	down bool
}

func (f *failing) Find(ctx context.Context, q event.Query) ([]event.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("no answer")
	}
	return f.Log.Find(ctx, q)
}

func (f *failing) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func TestALogThatFailsForAWhile(t *testing.T) {
	f := &failing{}
	w := newWorld(t, func(c *live.Config) { f.Log, c.Log = c.Log, f })
	l := must(w.dial("rooms=agents"))
	f.set(true)
	n := w.say("agents")
	f.set(false)
	if m := l.get(); number(t, m) != n {
		t.Errorf("message %+v", m)
	}
}

func TestRoomsTable(t *testing.T) {
	for _, row := range live.Rooms {
		room := row.Room
		if strings.HasSuffix(room, ":") {
			room += "x"
		}
		for _, role := range []auth.Role{auth.Nobody, auth.Viewer, auth.Operator, auth.Admin} {
			if ok := live.Authorise(role, []string{room}) == nil; ok != (role.Includes(row.Role) && role.Valid()) {
				t.Errorf("%q in %s: %v", role, room, ok)
			}
		}
	}
}

func FuzzOrder(f *testing.F) {
	for _, s := range []string{`{"subscribe":["agents"]}`, `{"unsubscribe":["agent:a,b"]}`, `{}`, `[]`, `{"subscribe":[1]}`, `{"subscribe":["a"]}{}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		subscribe, unsubscribe, err := live.ParseOrder(data)
		if err != nil {
			return
		}
		if len(subscribe)+len(unsubscribe) == 0 || slices.Contains(subscribe, "") {
			t.Errorf("%q gives %q and %q", data, subscribe, unsubscribe)
		}
		_ = live.Authorise(auth.Viewer, subscribe)
	})
}
