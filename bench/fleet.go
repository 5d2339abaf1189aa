package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// measureStart measures how fast an existing data directory is served, and what
// an idle portal holds.
func measureStart(ctx context.Context, b *bench) error {
	p, err := b.portal("start")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	if _, err := p.Run(ctx, "import", filepath.Join(b.root, "examples", "fleet")); err != nil {
		return err
	}
	var ready spread
	for range 10 {
		if err := p.Stop(); err != nil {
			return err
		}
		d, err := timed(func() error { return p.Start(ctx) })
		if err != nil {
			return err
		}
		ready = append(ready, d)
	}
	b.row("ready on an existing data directory", "< 300 ms", "%s", ready)
	if err := pause(ctx, 10*time.Second); err != nil {
		return err
	}
	mb, err := memory(p.PID())
	if err != nil {
		return err
	}
	b.row("idle memory", "< 120 MB", "%.0f MB", mb)
	return p.Stop()
}

// pause lets an idle portal be idle for a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var deployAll = map[string]any{
	"actions": []string{"provision", "deploy", "start"}, "filter": map[string]any{}, "max_parallel": 14,
}

// running brings the example fleet to RUNNING.
func (b *bench) running(ctx context.Context, p *drive.Portal) error {
	if _, err := p.Run(ctx, "import", filepath.Join(b.root, "examples", "fleet")); err != nil {
		return err
	}
	bulk, err := p.RunBulk(ctx, deployAll)
	if err != nil {
		return err
	}
	if bulk.State != "SUCCEEDED" {
		return fmt.Errorf("the bulk operation is %s: %+v", bulk.State, bulk.Items)
	}
	return nil
}

// measureFleet measures import to ready of the 14 agents.
func measureFleet(ctx context.Context, b *bench) error {
	var times spread
	for i := range 3 {
		p, err := b.portal(fmt.Sprintf("fleet%d", i))
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		d, err := timed(func() error { return b.running(ctx, p) })
		if err != nil {
			return err
		}
		times = append(times, d)
		if err := b.retire(ctx, p); err != nil {
			return err
		}
	}
	b.row("14 agents, import to RUNNING and ready", "< 5 s", "%s", times)
	return nil
}

// retire revokes all agents, so that nothing is left running, and stops the portal.
func (b *bench) retire(ctx context.Context, p *drive.Portal) error {
	bulk, err := p.RunBulk(ctx, map[string]any{"action": "revoke", "filter": map[string]any{}, "max_parallel": 50})
	if err != nil {
		return err
	}
	if bulk.Failed > 0 {
		return fmt.Errorf("agents could not be revoked: %w", failures(bulk))
	}
	return p.Stop()
}

// answers waits until the instance's own /ready answers 200.
func answers(ctx context.Context, port int) error {
	client := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	url := fmt.Sprintf("http://127.0.0.1:%d/ready", port)
	return drive.Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		resp, err := client.Get(url)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}

// measureRecovery kills and hangs instances and waits for their return.
func measureRecovery(ctx context.Context, b *bench) error {
	p, err := b.portal("recovery")
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	spec := map[string]any{"name": "victim", "runtime": "process", "template": "blank",
		"probes": map[string]any{
			"liveness":  map[string]any{"http": map[string]any{"path": "/health", "port": "$(PORT)"}, "interval": "1s", "timeout": "500ms", "failure_threshold": 2},
			"readiness": map[string]any{"http": map[string]any{"path": "/ready", "port": "$(PORT)"}, "interval": "1s", "timeout": "500ms"}},
		"restart": map[string]any{"max_restarts": 100, "window": "1s"}}
	if err := p.Call(ctx, "POST", "/agents", spec, nil); err != nil {
		return err
	}
	for _, action := range []string{"provision", "deploy", "start"} {
		if op, err := p.Act(ctx, "victim", action); err != nil || op.State != "SUCCEEDED" {
			return fmt.Errorf("%s: %+v %w", action, op, err)
		}
	}
	killed, err := b.strike(ctx, p, syscall.SIGKILL, 20, 1200*time.Millisecond)
	if err != nil {
		return err
	}
	b.row("instance killed -9, ready again", "< 2 s", "%s", killed)
	hung, err := b.strike(ctx, p, syscall.SIGSTOP, 5, 10*time.Second)
	if err != nil {
		return err
	}
	b.row("hung instance (probe every 1 s), ready again", "< 3 s", "%s", hung)
	return b.retire(ctx, p)
}

// strike sends the signal to the victim's process n times, each after a calm in
// which earlier restarts are forgiven (its window, or the pause between two
// remedies), and measures until a new process of it is ready.
func (b *bench) strike(ctx context.Context, p *drive.Portal, sig syscall.Signal, n int, calm time.Duration) (spread, error) {
	var times spread
	for range n {
		before, err := steady(ctx, p)
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, calm); err != nil {
			return nil, err
		}
		if before, err = steady(ctx, p); err != nil {
			return nil, err
		}
		d, err := timed(func() error {
			if err := syscall.Kill(before.PID, sig); err != nil {
				return err
			}
			if err := gone(ctx, before.PID); err != nil {
				return err
			}
			return answers(ctx, before.Port)
		})
		if err != nil {
			return nil, err
		}
		times = append(times, d)
	}
	return times, nil
}

// steady waits until the victim is healthy with one running instance.
func steady(ctx context.Context, p *drive.Portal) (drive.Instance, error) {
	var in drive.Instance
	err := drive.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		a, err := p.Agent(ctx, "victim")
		if err != nil || len(a.Instances) != 1 {
			return false, err
		}
		in = a.Instances[0]
		return a.State == "RUNNING" && a.Health == "healthy" && in.State == "running" && drive.Alive(in.PID), nil
	})
	return in, err
}

// gone waits until the process has ended.
func gone(ctx context.Context, pid int) error {
	return drive.Poll(ctx, time.Millisecond, func() (bool, error) {
		return !drive.Alive(pid), nil
	})
}
