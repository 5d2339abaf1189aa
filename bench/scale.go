package main

import (
	"context"
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// measureScale measures a large fleet: reading it, and what it costs at rest.
func measureScale(ctx context.Context, b *bench) error {
	p, err := b.portal("scale")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if err := b.fill(ctx, p); err != nil {
		return err
	}
	d, err := timed(func() error {
		bulk, err := p.RunBulk(ctx, map[string]any{"actions": []string{"provision", "deploy", "start"}, "selector": "run=yes", "max_parallel": 50})
		if err == nil && bulk.State != "SUCCEEDED" {
			err = fmt.Errorf("the bulk operation is %s: %d of %d failed", bulk.State, bulk.Failed, bulk.Total)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("%d agents to RUNNING in one bulk call", b.agents), "", "%s", round(d))
	if err := b.atRest(ctx, p); err != nil {
		return err
	}
	if err := b.reads(ctx, p); err != nil {
		return err
	}
	if _, err := p.RunBulk(ctx, map[string]any{"action": "revoke", "selector": "run=yes", "max_parallel": 50}); err != nil {
		return err
	}
	return p.Stop()
}

// fill imports the sleepers, 500 a request.
func (b *bench) fill(ctx context.Context, p *drive.Portal) error {
	for from := 0; from < b.all; from += 500 {
		var docs []map[string]any
		for i := from; i < min(from+500, b.all); i++ {
			doc := map[string]any{"name": fmt.Sprintf("sleeper-%05d", i), "command": "/bin/sleep", "args": []string{"86400"}, "tier": i%6 + 1,
				"labels": map[string]string{"run": "no", "team": fmt.Sprint("team-", i%40)}}
			if i < b.agents {
				doc["labels"] = map[string]string{"run": "yes", "team": fmt.Sprint("team-", i%40)}
				doc["probes"] = map[string]any{"liveness": map[string]any{"exec": map[string]any{"command": []string{"/bin/true"}}, "interval": "10s"}}
			}
			docs = append(docs, doc)
		}
		if err := p.Call(ctx, "POST", "/agents/import", docs, nil); err != nil {
			return err
		}
	}
	return nil
}

// atRest measures memory and CPU over 30 s in which nobody asks for anything.
func (b *bench) atRest(ctx context.Context, p *drive.Portal) error {
	percent, mb, err := resting(ctx, p)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("idle CPU, %d running, exec probe every 10 s", b.agents), "< 20 %", "%.1f %% of one core", percent)
	b.row(fmt.Sprintf("memory, %d running, %d in all", b.agents, b.all), "< 500 MB", "%.0f MB", mb)
	return nil
}

// resting gives how much of a core a portal uses that nobody asks for anything, and
// its memory.
func resting(ctx context.Context, p *drive.Portal) (percent, mb float64, err error) {
	if err := pause(ctx, 20*time.Second); err != nil {
		return 0, 0, err
	}
	before, err := cpuTime(p.PID())
	if err != nil {
		return 0, 0, err
	}
	const window = 30 * time.Second
	if err := pause(ctx, window); err != nil {
		return 0, 0, err
	}
	after, err := cpuTime(p.PID())
	if err != nil {
		return 0, 0, err
	}
	mb, err = memory(p.PID())
	return 100 * float64(after-before) / float64(window), mb, err
}

// reads measures list, search, filter and get.
func (b *bench) reads(ctx context.Context, p *drive.Portal) error {
	for _, r := range []struct {
		name string
		path func(i int) string
	}{
		{"list of 100", func(int) string { return "/agents?limit=100" }},
		{"search", func(i int) string { return fmt.Sprintf("/agents?limit=50&q=sleeper-%03d", i%1000) }},
		{"filter by label and state", func(i int) string {
			return fmt.Sprintf("/agents?limit=50&state=RUNNING&selector=team%%3Dteam-%d", i%40)
		}},
		{"get", func(i int) string { return fmt.Sprintf("/agents/sleeper-%05d", (i*37)%b.all) }},
	} {
		var times spread
		for i := range 500 {
			d, err := timed(func() error { return p.Call(ctx, "GET", r.path(i), nil, nil) })
			if err != nil {
				return err
			}
			times = append(times, d)
		}
		b.row(r.name+fmt.Sprintf(" with %d agents", b.all), "p99 < 50 ms", "%s", times)
	}
	return nil
}
