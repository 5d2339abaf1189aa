package fleettest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// The limits where a launch leaves them out, as the specification has them.
const (
	defaultRestarts = 5
	defaultWindow   = 5 * time.Minute
	defaultBackoff  = 100 * time.Millisecond
	defaultMaxWait  = 30 * time.Second
	lastLogs        = 20
)

func (w *world) agent(id string) *fakeAgent {
	if w.agents[id] == nil {
		w.agents[id] = &fakeAgent{instances: map[string]*fakeInstance{}, files: map[string]string{}, volumes: map[string][]byte{}}
	}
	return w.agents[id]
}

func (w *world) find(agentID, instanceID string) *fakeInstance {
	if a := w.agents[agentID]; a != nil {
		return a.instances[instanceID]
	}
	return nil
}

// set changes the state and tells every view.
func (w *world) set(in *fakeInstance, s fleet.InstanceState, reason string) {
	in.State, in.Reason = s, reason
	for _, f := range w.views {
		select {
		case f.changes <- in.AgentID:
		default:
		}
	}
}

func (w *world) start(in *fakeInstance) {
	w.pid++
	in.run++
	in.PID, in.StartedAt, in.EndedAt, in.count = w.pid, time.Now(), time.Time{}, 0
	w.set(in, fleet.InstanceRunning, "")
	w.play(in, in.run)
}

// later runs fn after d, unless the instance was started anew or is gone.
func (w *world) later(in *fakeInstance, run int, d time.Duration, fn func()) {
	time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if in.run == run && w.find(in.AgentID, in.ID) == in {
			fn()
		}
	})
}

func (in *fakeInstance) behaviour(i int) string {
	for at, arg := range in.launch.Args {
		if _, ok := behaviours[arg]; ok && at+i < len(in.launch.Args) {
			return in.launch.Args[at+i]
		}
	}
	return ""
}

// play does what the behaviour does while it runs.
func (w *world) play(in *fakeInstance, run int) {
	switch in.behaviour(0) {
	case "ticks":
		w.later(in, run, tickEvery, func() {
			if in.State != fleet.InstanceRunning {
				return
			}
			in.count++
			w.print(in, "stdout", "tick "+strconv.Itoa(in.count))
			w.play(in, run)
		})
	case "exit":
		code, _ := strconv.Atoi(in.behaviour(1))
		w.later(in, run, time.Millisecond, func() {
			w.print(in, "stderr", "exiting with "+strconv.Itoa(code))
			w.exit(in, code)
		})
	case "print":
		n, _ := strconv.Atoi(in.behaviour(1))
		for i := range n {
			w.print(in, "stdout", "line "+strconv.Itoa(i))
		}
	case "env":
		for _, name := range in.launch.Args[len(in.launch.Args)-1:] {
			w.print(in, "stdout", name+"="+in.launch.Env[name])
		}
	case "file":
		a := w.agents[in.AgentID]
		a.files[in.behaviour(1)] += in.behaviour(2)
		w.print(in, "stdout", a.files[in.behaviour(1)])
	case "graceful", "stubborn", "family":
		w.print(in, "stdout", "ready")
	}
}

// exit is an end that nobody asked for.
func (w *world) exit(in *fakeInstance, code int) {
	in.ExitCode, in.Signal, in.EndedAt = &code, "", time.Now()
	if in.State == fleet.InstanceStopping {
		w.end(in)
		return
	}
	policy := cmp.Or(in.launch.Restart.Policy, "always")
	if policy == "always" || policy == "on-failure" && code != 0 {
		if w.mayRestart(in, "exit code "+strconv.Itoa(code)) {
			w.backOff(in)
		}
		return
	}
	in.PID = 0
	in.LastLogs = w.lastLines(in)
	if code != 0 {
		w.set(in, fleet.InstanceFailed, "exit code "+strconv.Itoa(code))
		return
	}
	w.set(in, fleet.InstanceExited, "exit code 0")
}

// mayRestart counts a restart, or makes the instance failed.
func (w *world) mayRestart(in *fakeInstance, reason string) bool {
	now := time.Now()
	window := in.launch.Restart.Window.Or(defaultWindow)
	limit := cmp.Or(in.launch.Restart.MaxRestarts, defaultRestarts)
	in.starts = slices.DeleteFunc(in.starts, func(t time.Time) bool { return now.Sub(t) > window })
	in.LastLogs = w.lastLines(in)
	if now.Sub(in.StartedAt) >= window {
		in.failures = 0
	}
	in.PID = 0
	if len(in.starts) >= limit {
		in.run++
		w.set(in, fleet.InstanceFailed,
			fmt.Sprintf("crash loop: %d starts within %s, last %s", limit+1, brief(window), reason))
		return false
	}
	in.starts = append(in.starts, now)
	in.Restarts++
	return true
}

func (w *world) backOff(in *fakeInstance) {
	wait := in.launch.Restart.Backoff.Initial.Or(defaultBackoff) << min(in.failures, 20)
	wait = min(wait, in.launch.Restart.Backoff.Max.Or(defaultMaxWait))
	in.failures++
	w.set(in, fleet.InstanceBackoff, "will be started again in "+wait.String())
	w.later(in, in.run, wait, func() {
		if in.State == fleet.InstanceBackoff {
			w.start(in)
		}
	})
}

// linger is a stop that the program ignores until its grace is over.
func (w *world) linger(in *fakeInstance, grace time.Duration) chan struct{} {
	if in.stopping != nil {
		w.later(in, in.run, grace, func() { w.end(in) })
		return in.stopping
	}
	in.stopping = make(chan struct{})
	w.set(in, fleet.InstanceStopping, "told to end")
	w.print(in, "stdout", "ignoring SIGTERM")
	w.later(in, in.run, grace, func() { w.end(in) })
	return in.stopping
}

// end takes the instance away; its lines stay.
func (w *world) end(in *fakeInstance) {
	if in.PID != 0 && in.behaviour(0) == "graceful" && in.State == fleet.InstanceRunning {
		w.print(in, "stdout", "bye")
	}
	in.run++
	in.PID = 0
	delete(w.agents[in.AgentID].instances, in.ID)
	w.set(in, fleet.InstanceExited, "")
	if in.stopping != nil {
		close(in.stopping)
	}
}

// fakeExec plays the behaviours that make sense for a command that ends.
func fakeExec(ctx context.Context, in *fakeInstance, command []string) (int, string, error) {
	for i, arg := range command {
		rest := command[i+1:]
		switch {
		case arg == "exit" && len(rest) > 0:
			code, _ := strconv.Atoi(rest[0])
			return code, "exiting with " + rest[0] + "\n", nil
		case arg == "env" && len(rest) > 0:
			return 0, rest[0] + "=" + in.launch.Env[rest[0]] + "\n", nil
		case arg == "print" && len(rest) > 0:
			n, _ := strconv.Atoi(rest[0])
			var out []byte
			for i := range n {
				out = append(out, "line "+strconv.Itoa(i)+"\n"...)
			}
			return 0, string(out[:min(len(out), 4096)]), nil
		case arg == "wait" || arg == "stubborn":
			<-ctx.Done()
			return -1, "", fault.New(fault.Unavailable, "exec.timeout", "the command did not end in time").
				Wrap(fmt.Errorf("%w: %w", errDeadline, ctx.Err()))
		}
	}
	return 0, "", nil
}

// brief writes 5m0s as 5m.
func brief(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
