package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// measureCrash kills the portal under load and measures until every instance is
// known again, with the pid it had.
func measureCrash(ctx context.Context, b *bench) error {
	p, err := b.portal("crash")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if err := b.running(ctx, p); err != nil {
		return err
	}
	pids := func() (map[string]int, error) {
		list, err := p.Agents(ctx, "state=RUNNING")
		out := map[string]int{}
		for _, a := range list {
			for _, in := range a.Instances {
				if in.State == "running" {
					out[in.ID] = in.PID
				}
			}
		}
		return out, err
	}
	before, err := pids()
	if err != nil {
		return err
	}
	var adopted spread
	kept := 0
	for range 10 {
		if err := p.Kill9(); err != nil {
			return err
		}
		d, err := timed(func() error {
			if err := p.Start(ctx); err != nil {
				return err
			}
			return drive.Poll(ctx, 5*time.Millisecond, func() (bool, error) {
				after, err := pids()
				return len(after) == len(before), err
			})
		})
		if err != nil {
			return err
		}
		adopted = append(adopted, d)
		after, err := pids()
		if err != nil {
			return err
		}
		for id, pid := range before {
			if after[id] == pid {
				kept++
			}
		}
	}
	b.row("portal killed -9: start to all instances adopted", "< 1 s", "%s", adopted)
	b.row("portal killed -9: instances that kept their pid", "all", "%d of %d", kept, 10*len(before))
	return b.retire(ctx, p)
}

// measureMutation measures changes of a spec over HTTP, one after the other and
// four at a time.
func measureMutation(ctx context.Context, b *bench) error {
	p, err := b.portal("mutation")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	for i := range 4 {
		if err := p.Call(ctx, "POST", "/agents", map[string]any{"name": fmt.Sprint("m", i), "command": "/bin/sleep", "args": []string{"600"}}, nil); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var times spread
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for i := range 4 {
		wg.Go(func() {
			for n := range 250 {
				d, err := timed(func() error {
					return p.Call(ctx, "PATCH", fmt.Sprint("/agents/m", i), map[string]any{"labels": map[string]any{"n": fmt.Sprint(n)}}, nil,
						"Content-Type", "application/merge-patch+json")
				})
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				times = append(times, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	b.row("mutation (PATCH, 4 at a time)", "p99 < 50 ms", "%s", times)
	return p.Stop()
}

// measureLive measures from the time that an event carries to its arrival at
// each of 200 clients.
func measureLive(ctx context.Context, b *bench) error {
	p, err := b.portal("live")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	const clients, changes = 200, 100
	if err := p.Call(ctx, "POST", "/agents", map[string]any{"name": "live", "command": "/bin/sleep", "args": []string{"600"}}, nil); err != nil {
		return err
	}
	streams, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived := make(chan time.Duration, clients*changes)
	opened := make(chan error, clients)
	for range clients {
		go listen(streams, p, opened, arrived)
	}
	for range clients {
		if err := <-opened; err != nil {
			return err
		}
	}
	for n := range changes {
		if err := p.Call(ctx, "PATCH", "/agents/live", map[string]any{"labels": map[string]any{"n": fmt.Sprint(n)}}, nil,
			"Content-Type", "application/merge-patch+json"); err != nil {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	var times spread
	for range clients * changes {
		select {
		case d := <-arrived:
			times = append(times, d)
		case <-time.After(5 * time.Second):
			return fmt.Errorf("only %d of %d events arrived", len(times), clients*changes)
		}
	}
	b.row("event to live client, 200 clients (SSE)", "p99 < 20 ms", "%s", times)
	cancel()
	return p.Stop()
}

// listen opens one event stream and reports how old each change is when it arrives.
func listen(ctx context.Context, p *drive.Portal, opened chan<- error, arrived chan<- time.Duration) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/api/platform/live/sse?rooms=agent:live", nil)
	if err != nil {
		opened <- err
		return
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("live stream: %s", resp.Status)
	}
	opened <- err
	if err != nil {
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var m struct {
			Event string `json:"event"`
			Data  struct {
				Timestamp time.Time `json:"timestamp"`
			} `json:"data"`
		}
		if json.Unmarshal([]byte(data), &m) == nil && m.Event == "agent:updated" {
			arrived <- time.Since(m.Data.Timestamp)
		}
	}
}
