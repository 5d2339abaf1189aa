package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// voices are the ways in which the sacrificial agent speaks.
var voices = []string{"go", "python", "node", "java", "json", "plain"}

// scene is one fault with one seed: an agent, what is done to it, and how it
// shows that it is well again.
type scene struct {
	p      *portal
	rng    *rand.Rand
	name   string
	self   []string // the command that is the sacrificial agent
	dir    string   // for files of the lab
	voice  string
	detail string // what the seed has chosen, for the report

	spec    map[string]any
	env     map[string]any
	helpers []map[string]any
	inject  func(ctx context.Context) error
	// cured is what has to be true beside the agent's health.
	cured func(ctx context.Context) (bool, error)
	// patience is how long the portal may take to notice.
	patience time.Duration
	closers  []func()
}

// newScene makes what all scenes have in common.
func (l *Lab) newScene(fault string, seed int64, tag string) *scene {
	h := fnv.New64a()
	_, _ = h.Write([]byte(fault))
	rng := rand.New(rand.NewPCG(uint64(seed), h.Sum64()))
	s := &scene{p: l.portal, rng: rng, self: l.self, dir: l.dir, patience: l.cfg.Patience}
	s.name = fmt.Sprintf("lab-%s-%d-%s", dashes(fault), seed, tag)
	s.voice = voices[(int(seed)+rng.IntN(len(voices)))%len(voices)]
	s.env = map[string]any{"VOICE": s.voice, "SEED": strconv.FormatInt(seed, 10)}
	s.spec = s.agentSpec(s.name, s.env)
	return s
}

func dashes(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}

// agentSpec is a sacrificial agent that is watched closely.
func (s *scene) agentSpec(name string, env map[string]any) map[string]any {
	probe := func(path string, every string, failures int) map[string]any {
		return map[string]any{"http": map[string]any{"path": path, "port": "$(PORT)"}, "interval": every, "timeout": "1s", "failure_threshold": failures}
	}
	return map[string]any{
		"name": name, "version": "1.0.0", "labels": map[string]any{"purpose": "fault-laboratory"},
		"description": "Sacrificial agent of the fault laboratory; it may be removed at any time.",
		"command":     s.self[0], "args": s.self[1:], "env": env, "stop_timeout": "2s",
		"probes":  map[string]any{"liveness": probe("/health", "1s", 3), "readiness": probe("/ready", "500ms", 2)},
		"restart": map[string]any{"max_restarts": 4, "window": "1m", "backoff": map[string]any{"initial": "200ms", "max": "2s"}},
	}
}

// pick gives one of the texts.
func (s *scene) pick(texts ...string) string { return texts[s.rng.IntN(len(texts))] }

// between gives a number from lo to hi.
func (s *scene) between(lo, hi int) int { return lo + s.rng.IntN(hi-lo+1) }

func (s *scene) note(format string, args ...any) { s.detail = fmt.Sprintf(format, args...) }

// redeploy brings a changed specification to the agent, as an operator does.
// That it does not come up with it is what the fault is about.
func (s *scene) redeploy(ctx context.Context, change map[string]any) error {
	if err := s.p.patch(ctx, s.name, change); err != nil {
		return err
	}
	for _, action := range []string{"stop", "deploy", "start"} {
		op, err := s.p.act(ctx, s.name, action)
		if err != nil && statusOf(err) != http.StatusConflict {
			return err
		}
		if op.State == "FAILED" {
			return nil // as far as it goes
		}
	}
	return nil
}

// misbehave lets the agent begin a plan.
func (s *scene) misbehave(ctx context.Context, kind string, more map[string]any) error {
	plan := map[string]any{"kind": kind}
	maps.Copy(plan, more)
	return s.p.task(ctx, s.name, map[string]any{"type": "misbehave", "payload": plan})
}

// freePort gives a port that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// up creates the agents of the scene and waits until they are well.
func (s *scene) up(ctx context.Context) error {
	for _, spec := range append(s.helpers, s.spec) {
		if err := s.p.call(ctx, http.MethodPost, "/agents", spec, nil); err != nil {
			return err
		}
		name := fmt.Sprint(spec["name"])
		for _, action := range []string{"provision", "deploy", "start"} {
			op, err := s.p.act(ctx, name, action)
			if err != nil {
				return err
			}
			if op.State == "FAILED" && op.Problem != nil {
				return fmt.Errorf("%s of %s failed: %s %s", action, name, op.Problem.What, op.Problem.Why)
			}
		}
		ok, err := until(ctx, 60*time.Second, func(ctx context.Context) (bool, error) {
			v, err := s.p.agent(ctx, name)
			return v.well(), err
		})
		if err != nil {
			return err
		}
		if !ok {
			v, _ := s.p.agent(ctx, name)
			return fmt.Errorf("%s did not get well before anything was done to it: %s, %s %s", name, v.State, v.Health, v.HealthReason)
		}
	}
	return nil
}

// down removes everything that the scene has made.
func (s *scene) down(ctx context.Context) error {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	var failed []error
	for _, spec := range append([]map[string]any{s.spec}, s.helpers...) {
		failed = append(failed, s.remove(ctx, fmt.Sprint(spec["name"])))
	}
	return errors.Join(failed...)
}

// remove ends an agent for good. What stands in the way passes: an operation
// that is under way, of the portal's own accord perhaps.
func (s *scene) remove(ctx context.Context, name string) error {
	var last error
	done, err := until(ctx, 90*time.Second, func(ctx context.Context) (bool, error) {
		v, err := s.p.agent(ctx, name)
		if statusOf(err) == http.StatusNotFound {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if v.State != "DRAFT" && v.State != "REVOKED" {
			if _, last = s.p.act(ctx, name, "revoke"); last != nil {
				return false, nil //nolint:nilerr // it is tried again
			}
		}
		last = s.p.call(ctx, http.MethodDelete, "/agents/"+name, nil, nil)
		return last == nil || statusOf(last) == http.StatusNotFound, nil
	})
	if err == nil && !done {
		err = fmt.Errorf("%s could not be removed: %w", name, last)
	}
	return err
}
