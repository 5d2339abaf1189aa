package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// audience is many pages that are open at once. They behave as the script of the
// pages does: rooms of the rows in sight, back-off with full jitter, and going
// on from the last place.
type audience struct {
	portal  *drive.Portal
	tokens  []string
	watches []*watcher
	wg      sync.WaitGroup
	stop    context.CancelFunc

	connected atomic.Int64
	frames    atomic.Int64
	bytes     atomic.Int64
	told      int // events that every page is to get
}

// perToken keeps below the limit of connections of one principal, and perAddress
// below that of one address: a audience that big comes from many machines.
const perToken, perAddress = 200, 400

// watcher is one page.
type watcher struct {
	audience *audience
	token    string
	from     net.IP   // address of its machine
	rooms    []string // of events
	views    []string
	timed    bool // it measures how old changes are on arrival

	mu       sync.Mutex
	place    int64
	ages     spread
	seen     map[int64]bool // numbers of the events it got
	doubles  int
	resets   int
	attempts int
	backAt   time.Time // when it was connected last
}

// gather opens n pages; make says what each looks at.
func (b *bench) gather(ctx context.Context, p *drive.Portal, n int, make func(i int, w *watcher)) (*audience, error) {
	c := &audience{portal: p}
	for i := 0; i < n; i += perToken {
		var made struct{ Secret string }
		if err := p.Call(ctx, "POST", "/tokens", map[string]any{"name": fmt.Sprint("audience-", i), "role": "viewer"}, &made); err != nil {
			return nil, err
		}
		c.tokens = append(c.tokens, made.Secret)
	}
	ctx, c.stop = context.WithCancel(ctx)
	for i := range n {
		w := &watcher{audience: c, token: c.tokens[i/perToken], place: -1, seen: map[int64]bool{}, from: net.IPv4(127, 0, 0, byte(2+i/perAddress))}
		make(i, w)
		c.watches = append(c.watches, w)
		c.wg.Go(func() { w.live(ctx) })
	}
	return c, c.all(ctx)
}

// all waits until every page is connected.
func (c *audience) all(ctx context.Context) error {
	return drive.Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		return int(c.connected.Load()) == len(c.watches), nil
	})
}

func (c *audience) leave() {
	c.stop()
	c.wg.Wait()
}

// live keeps one page connected until ctx ends.
func (w *watcher) live(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		pause, err := w.connect(ctx, func() { failures = 0 })
		if err != nil && pause < 0 {
			most := min(2*time.Second, 500*time.Millisecond<<min(failures, 5))
			pause = time.Duration(rand.Int64N(int64(most)))
			failures++
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// connect is one connection. It gives when the portal wants the page back, -1
// for no wish.
func (w *watcher) connect(ctx context.Context, opened func()) (time.Duration, error) {
	w.mu.Lock()
	w.attempts++
	path := "/api/platform/live?rooms=" + strings.Join(w.rooms, ",")
	if w.place >= 0 {
		path += "&since=" + strconv.FormatInt(w.place, 10)
	}
	w.mu.Unlock()
	conn, err := dialSocket(ctx, strings.TrimPrefix(w.audience.portal.URL, "http://"), path, w.token, w.from)
	if err != nil {
		return -1, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if len(w.views) > 0 {
		order, err := json.Marshal(map[string][]string{"subscribe": w.views})
		if err == nil {
			err = conn.send(opText, order)
		}
		if err != nil {
			return -1, err
		}
	}
	opened()
	w.mu.Lock()
	w.backAt = time.Now()
	w.mu.Unlock()
	w.audience.connected.Add(1)
	defer w.audience.connected.Add(-1)
	pause := time.Duration(-1)
	for {
		data, err := conn.next()
		if err != nil {
			return pause, err
		}
		if after := w.take(data, time.Now()); after >= 0 {
			pause = after
		}
	}
}

var (
	viewHead  = []byte(`{"event":"view"`)
	changedAt = []byte(`"at":"`)
)

// take reads one message. It gives the portal's wish when to come back, or -1.
func (w *watcher) take(data []byte, at time.Time) time.Duration {
	w.audience.frames.Add(1)
	w.audience.bytes.Add(int64(len(data)))
	if bytes.HasPrefix(data, viewHead) {
		w.look(data, at)
		return -1
	}
	var m struct {
		ID, Event string
		Data      struct {
			AfterMS int64 `json:"after_ms"`
		}
	}
	if json.Unmarshal(data, &m) != nil {
		return -1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, err := strconv.ParseInt(m.ID, 10, 64); err == nil {
		w.place = max(w.place, n)
		if strings.HasPrefix(m.Event, "agent:") {
			if w.seen[n] {
				w.doubles++
			}
			w.seen[n] = true
		}
	}
	switch m.Event {
	case "retry":
		return time.Duration(m.Data.AfterMS) * time.Millisecond
	case "reset":
		w.resets++
	}
	return -1
}

// look measures how long ago the rows of a message were changed.
func (w *watcher) look(data []byte, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.timed {
		return
	}
	for {
		i := bytes.Index(data, changedAt)
		if i < 0 {
			return
		}
		data = data[i+len(changedAt):]
		end := bytes.IndexByte(data, '"')
		if changed, err := time.Parse(time.RFC3339, string(data[:max(0, end)])); err == nil {
			w.ages = append(w.ages, at.Sub(changed))
		}
	}
}

// ages gives what all pages measured since the last call.
func (c *audience) ages() spread {
	var out spread
	for _, w := range c.watches {
		w.mu.Lock()
		out, w.ages = append(out, w.ages...), nil
		w.mu.Unlock()
	}
	return out
}

var errNobody = errors.New("no page measured anything")
