package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// The size of what live pages are measured with.
const (
	pages      = 2000
	sleepers   = 500
	inSight    = 100 // rows that one page looks at
	perImport  = 50  // changes of one import, which is one transaction
	importGap  = 50 * time.Millisecond
	changeTime = 20 * time.Second
)

// sleeperDocs are agents that nothing runs of; version n makes them differ.
func sleeperDocs(from, to int, n int64) []map[string]any {
	docs := make([]map[string]any, 0, to-from)
	for i := from; i < to; i++ {
		docs = append(docs, map[string]any{"name": fmt.Sprintf("sleeper-%03d", i), "command": "/bin/sleep", "args": []string{"86400"},
			"version": fmt.Sprintf("1.0.%d", n)})
	}
	return docs
}

// release changes the versions of agents, perImport in one transaction, until ctx
// ends, and counts the changes.
func release(ctx context.Context, p *drive.Portal, count *atomic.Int64) error {
	tick := time.NewTicker(importGap)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		from := int(n*perImport) % sleepers
		err := p.Call(ctx, "POST", "/agents/import?mode=apply", sleeperDocs(from, from+perImport, n), nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		count.Add(perImport)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// strain changes agents for a while and gives the changes a second, the share of a
// core that the portal used, and the most memory it held.
func strain(ctx context.Context, p *drive.Portal) (perSecond, cores, mb float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	before, err := cpuTime(p.PID())
	if err != nil {
		return 0, 0, 0, err
	}
	begun := time.Now()
	var count atomic.Int64
	done := make(chan error, 1)
	go func() { done <- release(ctx, p, &count) }()
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		select {
		case err := <-done:
			tick.Stop()
			took := time.Since(begun)
			after, cpuErr := cpuTime(p.PID())
			if err == nil {
				err = cpuErr
			}
			return float64(count.Load()) / took.Seconds(), float64(after-before) / float64(took), mb, err
		case <-tick.C:
			if now, err := memory(p.PID()); err == nil {
				mb = max(mb, now)
			}
		}
	}
}

// measureViews measures pages that look at rows while these change.
func measureViews(ctx context.Context, b *bench) error {
	p, err := b.portal("views")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if err := p.Call(ctx, "POST", "/agents/import", sleeperDocs(0, sleepers, 0), nil); err != nil {
		return err
	}
	alone, aloneCores, _, err := strain(ctx, p)
	if err != nil {
		return err
	}
	var c *audience
	took, err := timed(func() (err error) {
		c, err = b.gather(ctx, p, pages, func(i int, w *watcher) {
			w.rooms, w.timed = []string{"view:pulse:agents"}, i%10 == 0
			w.views = []string{"view:fleet"}
			of := "agent" // lists of agents; those that measure show everything of theirs
			if w.timed {
				of = "detail"
			}
			for n := range inSight {
				w.views = append(w.views, fmt.Sprintf("view:%s:sleeper-%03d", of, (i*37+n)%sleepers))
			}
		})
		return err
	})
	if err != nil {
		return err
	}
	defer c.leave()
	b.row(fmt.Sprintf("%d pages connect", pages), "", "%s", round(took))
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	idle, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	if err := pause(ctx, 15*time.Second); err != nil {
		return err
	}
	calm, err := cpuTime(p.PID())
	if err != nil {
		return err
	}
	c.ages()
	frames, bytes := c.frames.Load(), c.bytes.Load()
	own, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	perSecond, cores, mb, err := strain(ctx, p)
	if err != nil {
		return err
	}
	ownAfter, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	ages := c.ages()
	if len(ages) == 0 {
		return errNobody
	}
	frames, bytes = c.frames.Load()-frames, c.bytes.Load()-bytes
	what := fmt.Sprintf("%d pages of %d of %d agents, %.0f changes a second", pages, inSight, sleepers, perSecond)
	b.row("change to message, "+what, "p99 < 100 ms", "%s", ages)
	b.row("portal's CPU, "+what, "< 1 core", "%.2f cores; %.2f for %.0f changes a second without pages; %.2f at rest",
		cores, aloneCores, alone, float64(calm-idle)/float64(15*time.Second))
	b.row("portal's memory, "+what, "< 200 MB", "%.0f MB", mb)
	b.row("sent, "+what, "", "%.0f messages and %.1f MB a second; the pages' own CPU is %.2f cores", float64(frames)/changeTime.Seconds(), float64(bytes)/1e6/changeTime.Seconds(), float64(ownAfter-own)/float64(changeTime))
	c.leave()
	return p.Stop()
}
