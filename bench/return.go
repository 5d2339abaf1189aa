package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// measureReturn measures how pages come back after the portal was started anew,
// and whether each hears of every event.
func measureReturn(ctx context.Context, b *bench) error {
	p, err := b.portal("return")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if err := p.Call(ctx, "POST", "/agents/import", sleeperDocs(0, sleepers, 0), nil); err != nil {
		return err
	}
	c, err := b.gather(ctx, p, pages, func(i int, w *watcher) {
		w.rooms = []string{"agent:sleeper-000", "view:pulse:agents"}
		for n := range inSight {
			w.views = append(w.views, fmt.Sprintf("view:agent:sleeper-%03d", (i*37+n)%sleepers))
		}
	})
	if err != nil {
		return err
	}
	defer c.leave()
	for _, how := range []struct {
		name string
		end  func() error
	}{{"stopped", p.Stop}, {"killed -9", p.Kill9}} {
		if err := b.comeBack(ctx, p, c, how.name, how.end); err != nil {
			return err
		}
	}
	c.leave()
	return p.Stop()
}

// touch changes the agent whose events everybody hears, n times.
func (c *audience) touch(ctx context.Context, p *drive.Portal, prefix string, n int) error {
	for i := range n {
		body := map[string]any{"labels": map[string]any{"n": fmt.Sprint(prefix, c.told, "-", i)}}
		if err := p.Call(ctx, "PATCH", "/agents/sleeper-000", body, nil, "Content-Type", "application/merge-patch+json"); err != nil {
			return err
		}
		c.told++
	}
	return nil
}

func (b *bench) comeBack(ctx context.Context, p *drive.Portal, c *audience, name string, end func() error) error {
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := c.touch(ctx, p, "before-", 10); err != nil {
		return err
	}
	tries := c.tries()
	gone := time.Now()
	if err := end(); err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	up := time.Now()
	before, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	if err := c.touch(ctx, p, "after-", 10); err != nil { // while they come back
		return err
	}
	if err := c.all(ctx); err != nil {
		return err
	}
	all := time.Now()
	after, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil { // what is told twice comes by then
		return err
	}
	// What comes late is not lost.
	patience := time.Now().Add(20 * time.Second)
	if err := drive.Poll(ctx, 100*time.Millisecond, func() (bool, error) {
		lost, _, _ := c.missing()
		return lost == 0 || time.Now().After(patience), nil
	}); err != nil {
		return err
	}
	var back spread
	for _, w := range c.watches {
		w.mu.Lock()
		back = append(back, w.backAt.Sub(gone))
		w.mu.Unlock()
	}
	lost, doubles, resets := c.missing()
	mb, err := memory(p.PID())
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("portal %s: end to all %d pages live again", name, pages), "< 5 s", "%s after its end, %s after it was ready; %s", round(all.Sub(gone)), round(max(0, all.Sub(up))), back)
	b.row(fmt.Sprintf("portal %s: events lost by %d pages", name, pages), "0", "%d lost, %d twice, %d pages sent back to the start", lost, doubles, resets)
	b.row(fmt.Sprintf("portal %s: what the return costs", name), "", "%.2f s of CPU, %.1f attempts a page, %.0f MB", (after - before).Seconds(), float64(c.tries()-tries)/pages, mb)
	return nil
}

func (c *audience) tries() int {
	n := 0
	for _, w := range c.watches {
		w.mu.Lock()
		n += w.attempts
		w.mu.Unlock()
	}
	return n
}

// missing counts the events that a page should have got and did not.
func (c *audience) missing() (lost, doubles, resets int) {
	all := map[int64]bool{}
	for _, w := range c.watches {
		w.mu.Lock()
		for n := range w.seen {
			all[n] = true
		}
		w.mu.Unlock()
	}
	var numbers []int64
	for n := range all {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	lost = max(0, c.told-len(numbers)) * len(c.watches)
	for _, w := range c.watches {
		w.mu.Lock()
		for _, n := range numbers {
			if !w.seen[n] {
				lost++
			}
		}
		doubles, resets = doubles+w.doubles, resets+w.resets
		w.mu.Unlock()
	}
	return lost, doubles, resets
}
