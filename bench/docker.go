package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// engine is a Docker engine of the bench's own.
type engine struct {
	script, root string
}

// docker starts an engine, which needs root and Docker's programs.
func (b *bench) docker(ctx context.Context) (*engine, error) {
	e := &engine{script: filepath.Join(b.root, "scripts", "testenv"), root: filepath.Join(b.dir, "engine")}
	if out, err := exec.CommandContext(ctx, e.script, "up", "docker", e.root).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("start a Docker engine: %w: %s", err, out)
	}
	return e, nil
}

func (e *engine) host() string { return "unix://" + filepath.Join(e.root, "docker.sock") }

func (e *engine) end() error {
	out, err := exec.Command(e.script, "down", "docker", e.root).CombinedOutput()
	if err != nil {
		return fmt.Errorf("end the Docker engine: %w: %s", err, out)
	}
	return nil
}

// run calls Docker's command line and gives the lines that it prints.
func (e *engine) run(ctx context.Context, args ...string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "docker", append([]string{"--host", e.host()}, args...)...).Output()
	var lines []string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, err
}

// living gives the containers of any portal, by their process, or by their id
// where they have none.
func (e *engine) living(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	ids, err := e.run(ctx, "ps", "--all", "--quiet", "--filter", "label=io.platform-portal.owner")
	if err != nil || len(ids) == 0 {
		return out, err
	}
	lines, err := e.run(ctx, append([]string{"inspect", "--format", `{{.State.Pid}} {{.Name}} {{index .Config.Labels "io.platform-portal.instance"}}`}, ids...)...)
	if err != nil {
		return nil, err // one went away meanwhile
	}
	for _, line := range lines {
		var pid, id, instance string
		_, _ = fmt.Sscan(line, &pid, &id, &instance) // helpers are no instance
		if pid == "0" {
			pid = id
		}
		out[pid] = instance
	}
	return out, nil
}

// measureDocker measures the example fleet in containers, and the return of one
// that crashed.
func measureDocker(ctx context.Context, b *bench) (err error) {
	e, err := b.docker(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, e.end()) }()
	var cold, warm, crash spread
	for i := range 3 {
		p, err := b.portal(fmt.Sprintf("docker%d", i), "--docker-host", e.host())
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		if err := b.exampleOn(ctx, p, "docker"); err != nil {
			return err
		}
		d, err := timed(func() error { return b.deploy(ctx, p) })
		if err != nil {
			return err
		}
		if i == 0 {
			cold = append(cold, d)
		} else {
			warm = append(warm, d)
		}
		if i == 0 {
			if crash, err = b.crashes(ctx, p, 10); err != nil {
				return err
			}
		}
		if err := b.retire(ctx, p); err != nil {
			return err
		}
		if left, err := e.living(ctx); err != nil || len(left) > 0 {
			return fmt.Errorf("after revoke there still live %v: %w", left, err)
		}
	}
	b.row("docker: 14 agents, DRAFT to RUNNING and ready, the first on an engine", "< 20 s", "%s", round(cold[0]))
	b.row("docker: 14 agents, DRAFT to RUNNING and ready", "< 20 s", "%s", warm)
	b.row("docker: container killed -9, ready again", "< 5 s", "%s", crash)
	return nil
}

// exampleOn brings the example fleet to DRAFT with the runtime.
func (b *bench) exampleOn(ctx context.Context, p *drive.Portal, runtime string) error {
	if _, err := p.Run(ctx, "import", filepath.Join(b.root, "examples", "fleet")); err != nil {
		return err
	}
	agents, err := p.Agents(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range agents {
		if err := p.Call(ctx, http.MethodPatch, "/agents/"+a.ID, map[string]any{"runtime": runtime}, nil); err != nil {
			return err
		}
	}
	return nil
}

// deploy brings every agent to RUNNING.
func (b *bench) deploy(ctx context.Context, p *drive.Portal) error {
	bulk, err := p.RunBulk(ctx, deployAll)
	if err != nil || bulk.State == "SUCCEEDED" {
		return err
	}
	return failures(bulk)
}

// failures says which parts of a bulk operation did not succeed, and why.
func failures(bulk drive.Bulk) error {
	var failed []string
	for _, item := range bulk.Items {
		if item.State != "succeeded" {
			failed = append(failed, item.AgentID+" "+item.State+": "+string(item.Problem))
		}
	}
	return fmt.Errorf("%d of %d failed: %s", bulk.Failed, bulk.Total, strings.Join(failed, "; "))
}

// crashes kills one instance of one agent after the other, and measures until
// each is ready again.
func (b *bench) crashes(ctx context.Context, p *drive.Portal, n int) (spread, error) {
	agents, err := p.Agents(ctx, "state=RUNNING")
	if err != nil {
		return nil, err
	}
	var times spread
	for _, a := range agents[:min(n, len(agents))] {
		a, err := p.Agent(ctx, a.ID)
		if err != nil || len(a.Instances) == 0 {
			return nil, fmt.Errorf("%s has no instance: %w", a.ID, err)
		}
		in := a.Instances[0]
		d, err := timed(func() error {
			if err := syscall.Kill(in.PID, syscall.SIGKILL); err != nil {
				return err
			}
			if err := gone(ctx, in.PID); err != nil {
				return err
			}
			return answers(ctx, in.Port)
		})
		if err != nil {
			return nil, err
		}
		times = append(times, d)
	}
	return times, nil
}

// measureDockerKills kills the portal at random moments while containers are
// made, changed and removed.
func measureDockerKills(ctx context.Context, b *bench) (err error) {
	e, err := b.docker(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, e.end()) }()
	p, err := b.portal("docker-kills", "--docker-host", e.host())
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	s := drive.NewSiege(p, 6, uint64(time.Now().UnixNano()))
	s.Window, s.Living = 1500*time.Millisecond, e.living
	for i := range s.Size {
		spec := map[string]any{"name": fmt.Sprint("victim-", i), "template": "blank", "runtime": "docker", "replicas": 1 + i%2,
			"restart": map[string]any{"max_restarts": 1000, "window": "1s"}}
		if err := p.Call(ctx, http.MethodPost, "/agents", spec, nil); err != nil {
			return err
		}
	}
	start := time.Now()
	for i := range b.kills {
		if err := s.Round(ctx); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
	}
	took := time.Since(start)
	if err := s.Clear(ctx); err != nil {
		return err
	}
	volumes, err := e.run(ctx, "volume", "ls", "--quiet")
	if err != nil || len(volumes) > 0 {
		return fmt.Errorf("volumes are left: %v: %w", volumes, err)
	}
	b.row(fmt.Sprintf("docker: portal killed -9 %d times at random moments", b.kills), "no stray object",
		"none; %d operations ended in %s", len(s.Accepted), round(took))
	return nil
}

// measureDeployments deploys revision after revision, on processes and in
// containers, and counts failures, and those whose cause is not told.
func measureDeployments(ctx context.Context, b *bench) (err error) {
	if err := b.deployments(ctx, "process", b.deploys, 4); err != nil {
		return err
	}
	e, err := b.docker(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, e.end()) }()
	return b.deployments(ctx, "docker", max(1, b.deploys/5), 4, "--docker-host", e.host())
}

func (b *bench) deployments(ctx context.Context, runtime string, n, abreast int, args ...string) error {
	p, err := b.portal("deployments-"+runtime, args...)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	type result struct {
		times         spread
		failed, quiet int
		err           error
	}
	results := make(chan result)
	for w := range abreast {
		go func() {
			var r result
			name := fmt.Sprint("deployed-", w)
			r.err = p.Call(ctx, http.MethodPost, "/agents", map[string]any{"name": name, "template": "blank", "runtime": runtime}, nil)
			if r.err == nil {
				r.err = acts(ctx, p, name, "provision")
			}
			for i := w; i < n && r.err == nil; i += abreast {
				d, err := timed(func() error { return revision(ctx, p, name, i) })
				var f *notDone
				switch {
				case err == nil:
					r.times = append(r.times, d)
				case errors.As(err, &f):
					r.failed++
					if f.op.Problem == nil || f.op.Problem.What == "" || f.op.Problem.Why == "" {
						r.quiet++
					}
				default:
					r.err = err
				}
			}
			results <- r
		}()
	}
	var all result
	for range abreast {
		r := <-results
		all.times, all.failed, all.quiet, all.err = append(all.times, r.times...), all.failed+r.failed, all.quiet+r.quiet, errors.Join(all.err, r.err)
	}
	if all.err != nil {
		return all.err
	}
	b.row(fmt.Sprintf("%s: %d deployments in a row, failures not told with their cause", runtime, n), "0",
		"%d (%d failed); from stop to ready %s", all.quiet, all.failed, all.times)
	return b.retire(ctx, p)
}

// notDone is an operation that did not succeed.
type notDone struct{ op drive.Operation }

func (n *notDone) Error() string {
	b, _ := json.Marshal(n.op)
	return "not done: " + string(b)
}

func acts(ctx context.Context, p *drive.Portal, name string, actions ...string) error {
	for _, action := range actions {
		op, err := p.Act(ctx, name, action)
		if err != nil {
			return err
		}
		if op.State != "SUCCEEDED" {
			return &notDone{op}
		}
	}
	return nil
}

// revision puts a new revision of the agent where the old one runs.
func revision(ctx context.Context, p *drive.Portal, name string, n int) error {
	if err := p.Call(ctx, http.MethodPatch, "/agents/"+name, map[string]any{"env": map[string]string{"ROUND": fmt.Sprint(n)}}, nil); err != nil {
		return err
	}
	a, err := p.Agent(ctx, name)
	if err != nil {
		return err
	}
	if a.State == "RUNNING" {
		if err := acts(ctx, p, name, "stop"); err != nil {
			return err
		}
	}
	return acts(ctx, p, name, "deploy", "start")
}
